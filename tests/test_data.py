"""Oracles: the file itself, a made-up set in MNIST's own format, a web server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import multiprocessing
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from vaelab import Digits, binarize, load_mnist
from vaelab import data as data_module
from vaelab.checks import check_images
from vaelab.data import BUNDLED


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """No setting of this machine reaches a test, and its home folder is left alone."""
    for name in ("VAELAB_MNIST", "VAELAB_DATA", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")


# --- the bundled digits -------------------------------------------------------------------------


def test_bundled_digits_have_the_promised_shapes_and_values(digits):
    assert digits.train.shape == (4000, 784)
    assert digits.test.shape == (1000, 784)
    for images, labels in [(digits.train, digits.train_labels), (digits.test, digits.test_labels)]:
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert labels.shape == images.shape[:1]
        assert (images.min(), images.max()) == (0, 1)
        assert (images.mul(255) - images.mul(255).round()).abs().max() < 1e-4  # were 0 .. 255
        check_images(images)


def test_bundled_digits_are_stratified(digits):
    assert digits.train_labels.bincount().tolist() == [400] * 10
    assert digits.test_labels.bincount().tolist() == [100] * 10


def test_bundled_digits_are_shuffled(digits):
    for labels, share in [(digits.train_labels, 0.1), (digits.test_labels, 0.1)]:
        same = (labels[1:] == labels[:-1]).float().mean().item()
        assert abs(same - share) < 5 * (share * (1 - share) / len(labels)) ** 0.5


def test_no_digit_appears_twice(digits):
    rows = {image.numpy().tobytes() for image in torch.cat([digits.train, digits.test])}
    assert len(rows) == 5000


def test_bundled_digits_are_images_of_their_labels(digits):
    means = torch.stack([digits.train[digits.train_labels == d].mean(dim=0) for d in range(10)])
    nearest = torch.cdist(digits.test, means).argmin(dim=1)
    assert (nearest == digits.test_labels).float().mean() > 0.75  # nearest mean, about 0.8 on MNIST


def test_the_bundled_file_is_small_and_holds_plain_arrays_only():
    assert BUNDLED.stat().st_size <= 1.2e6
    with np.load(BUNDLED, allow_pickle=False) as file:
        assert set(file.files) == {"images", "labels"}
        assert all(file[name].dtype == np.uint8 for name in file.files)


def test_two_loads_share_no_memory():
    first, second = load_mnist("5k"), load_mnist("5k")
    first.train.zero_()
    assert second.train.any()


def test_digits_introduce_themselves(digits):
    assert repr(digits) == "Digits(MNIST, 5,000 digits: 4,000 train, 1,000 test)"


# --- which set ----------------------------------------------------------------------------------


def test_the_bundled_set_is_the_default():
    assert load_mnist().name == "MNIST, 5,000 digits"


def test_the_environment_chooses_the_set_and_the_folder(monkeypatch, made_up):
    monkeypatch.setenv("VAELAB_MNIST", "full")
    monkeypatch.setenv("VAELAB_DATA", str(made_up))
    assert load_mnist().name == "MNIST, full"
    assert load_mnist("5k").name == "MNIST, 5,000 digits"  # an argument wins
    monkeypatch.setenv("VAELAB_MNIST", "5k")
    assert load_mnist().name == "MNIST, 5,000 digits"
    assert load_mnist("full").name == "MNIST, full"


def test_the_folder_argument_wins_over_the_environment(monkeypatch, made_up, tmp_path):
    monkeypatch.setenv("VAELAB_DATA", str(tmp_path / "nowhere"))
    assert len(load_mnist("full", root=made_up).train) == 7


@pytest.mark.parametrize("cache", ["XDG_CACHE_HOME", None])
def test_without_a_folder_the_cache_is_used(monkeypatch, made_up, tmp_path, cache):
    folder = tmp_path / "home" / ".cache"
    if cache:
        folder = tmp_path / "elsewhere"
        monkeypatch.setenv(cache, str(folder))
    folder.mkdir(parents=True)
    made_up.rename(folder / "vaelab")
    assert len(load_mnist("full").train) == 7


@pytest.mark.parametrize("bad", ["6k", "FULL", "mnist"])
def test_another_size_is_refused_whoever_asks(monkeypatch, bad):
    with pytest.raises(ValueError, match=f"size must be '5k' or 'full', got {bad!r}"):
        load_mnist(bad)
    monkeypatch.setenv("VAELAB_MNIST", bad)
    with pytest.raises(ValueError, match=f"got {bad!r} .*VAELAB_MNIST"):
        load_mnist()


# --- the full set, made up ----------------------------------------------------------------------

COUNTS = {"train": 7, "t10k": 3}
RESOURCES = [f"{part}-{kind}-ubyte" for part in COUNTS for kind in ("images-idx3", "labels-idx1")]


def pixels(part: str) -> np.ndarray:
    return np.random.default_rng(len(part)).integers(0, 256, (COUNTS[part], 28, 28), np.uint8)


def labels(part: str) -> np.ndarray:
    return np.arange(COUNTS[part], dtype=np.uint8) + (part == "t10k")


def idx(array: np.ndarray) -> bytes:
    """The format of yann.lecun.com/exdb/mnist: 0, 0, 8 for bytes, dimensions, sizes, data."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


@pytest.fixture
def made_up(tmp_path) -> Path:
    """A folder in torchvision's layout, with 7 training and 3 test images."""
    raw = tmp_path / "made_up" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in RESOURCES:
        part = name.split("-")[0]
        (raw / name).write_bytes(idx(pixels(part) if "images" in name else labels(part)))
    return tmp_path / "made_up"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[str]:
    """The address of a server that runs in a thread, which ends before the socket is closed.

    A thread left waiting at a closed socket may wake at the next one that gets its number, and
    answer another test's download.
    """
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mirror(tmp_path, made_up, monkeypatch) -> Iterator[Path]:
    """Points torchvision's downloader at a web server on this machine that has the made-up set."""
    folder, resources = tmp_path / "served", []
    folder.mkdir()
    for name in RESOURCES:
        packed = gzip.compress((made_up / "MNIST" / "raw" / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(Quiet, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        monkeypatch.setattr(MNIST, "resources", resources)
        yield folder


@pytest.fixture
def dead_mirror(monkeypatch) -> None:
    """Points torchvision's downloader at a port where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])


def assert_made_up(got: Digits) -> None:
    for images, targets, part in [
        (got.train, got.train_labels, "train"),
        (got.test, got.test_labels, "t10k"),
    ]:
        expected = torch.from_numpy(pixels(part)).reshape(-1, 784) / 255
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-7)
        assert targets.tolist() == labels(part).tolist()
        assert (images.dtype, targets.dtype) == (torch.float32, torch.int64)


def test_a_full_set_that_is_there_is_read_without_a_network(made_up, dead_mirror):
    got = load_mnist("full", root=made_up)
    assert_made_up(got)
    assert got.name == "MNIST, full"
    assert_made_up(load_mnist("full", root=str(made_up)))


def test_the_full_set_is_downloaded_once(mirror, tmp_path):
    assert_made_up(load_mnist("full", root=tmp_path / "new" / "folder"))
    for file in mirror.iterdir():
        file.unlink()
    assert_made_up(load_mnist("full", root=tmp_path / "new" / "folder"))


def test_a_damaged_download_is_refused_and_can_be_repeated(mirror, tmp_path):
    file = mirror / f"{RESOURCES[0]}.gz"
    good = file.read_bytes()
    file.write_bytes(good[:-20])
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        load_mnist("full", root=tmp_path / "new")
    file.write_bytes(good)
    assert_made_up(load_mnist("full", root=tmp_path / "new"))


def test_without_a_network_the_error_says_what_to_do(dead_mirror, tmp_path):
    with pytest.raises(RuntimeError) as refusal:
        load_mnist("full", root=tmp_path / "empty")
    message = str(refusal.value)
    assert str(tmp_path / "empty") in message
    for advice in ("VAELAB_DATA", "MNIST/raw/train-images-idx3-ubyte", "load_mnist('5k')"):
        assert advice in message


def test_a_server_that_never_answers_does_not_hang_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr(data_module, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        with pytest.raises(RuntimeError, match="could not be downloaded"):
            load_mnist("full", root=tmp_path / "empty")


@pytest.mark.parametrize("before", [None, 12.5])
def test_the_time_out_of_other_connections_is_left_alone(made_up, tmp_path, dead_mirror, before):
    socket.setdefaulttimeout(before)
    try:
        load_mnist("full", root=made_up)
        assert socket.getdefaulttimeout() == before
        with pytest.raises(RuntimeError):
            load_mnist("full", root=tmp_path / "empty")
        assert socket.getdefaulttimeout() == before
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize(
    "left",
    [0, 1000],
)
@pytest.mark.parametrize("name", RESOURCES[::2])
def test_a_file_that_was_cut_off_is_an_error_with_a_way_out(made_up, name, left):
    file = made_up / "MNIST" / "raw" / name  # as an interrupted unpacking leaves it
    file.write_bytes(file.read_bytes()[:-1][:left])
    with pytest.raises(RuntimeError, match="VAELAB_DATA"):
        load_mnist("full", root=made_up)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_tilde_means_the_home_folder(made_up, dead_mirror, monkeypatch, tmp_path, how):
    monkeypatch.chdir(tmp_path)  # so that a folder called ~ would end there
    (tmp_path / "home").mkdir()
    made_up.rename(tmp_path / "home" / "digits")
    monkeypatch.setenv("VAELAB_DATA", "~/digits")
    assert_made_up(load_mnist("full", root="~/digits" if how == "argument" else None))


# --- what goes wrong on the way -----------------------------------------------------------------


def valid_or_none(root: Path) -> bool:
    """Whether the set is there; whatever happened, it is all there or none of it is."""
    raw = root / "MNIST" / "raw"
    there = [(raw / name).exists() for name in RESOURCES]
    assert all(there) or not any(there), dict(zip(RESOURCES, there))
    assert not list(root.glob("download-*"))  # nothing half-finished lies around
    if all(there):
        assert_made_up(load_mnist("full", root=root))
    return all(there)


ANSWERS = {
    "a page of a proxy": "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>",
    "forbidden": "HTTP/1.1 403 Forbidden\r\n\r\n",
    "gone": "HTTP/1.1 404 Not Found\r\n\r\n",
    "a redirection in a circle": "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
    "no HTTP": "220 smtp.example.org ready\r\n",
    "nothing, and the line is cut": "",
    "a torn chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc",
    "less than promised": "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc",
}


@pytest.fixture
def answering(monkeypatch) -> Iterator[Callable[[str, bool], None]]:
    """Makes torchvision ask a server on this machine that says the same to everybody."""
    answer, let_go = [], threading.Event()

    class SayIt(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer[0].encode())
            let_go.wait()

    def start(said: str, hold: bool = False) -> None:
        answer.append(said)
        let_go.clear() if hold else let_go.set()

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), SayIt)) as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        yield start
        let_go.set()


@pytest.mark.parametrize("kind", ANSWERS)
def test_another_answer_than_the_file_leaves_nothing(answering, tmp_path, kind):
    answering(ANSWERS[kind], False)
    with pytest.raises(
        RuntimeError, match=r"(?s)could not be downloaded .*login.*load_mnist\('5k'\)"
    ):
        load_mnist("full", root=tmp_path / "new")
    assert not valid_or_none(tmp_path / "new")


@pytest.mark.parametrize("said", ["", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc"])
def test_a_server_that_falls_silent_is_left_after_the_time_out(
    answering, monkeypatch, tmp_path, said
):
    monkeypatch.setattr(data_module, "DOWNLOAD_TIMEOUT", 0.3)
    answering(said, True)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out"):
        load_mnist("full", root=tmp_path / "new")
    assert time.monotonic() - begin < 20
    assert not valid_or_none(tmp_path / "new")


def test_the_time_out_is_half_a_minute():
    assert data_module.DOWNLOAD_TIMEOUT == 30


@pytest.mark.parametrize("which", range(len(RESOURCES)))
@pytest.mark.parametrize("fault", ["cut", "changed", "missing"])
def test_a_bad_file_among_good_ones_leaves_nothing(mirror, tmp_path, which, fault):
    file = mirror / f"{RESOURCES[which]}.gz"
    good = file.read_bytes()
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(good[:-9] if fault == "cut" else good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        load_mnist("full", root=tmp_path / "new")
    assert not valid_or_none(tmp_path / "new")
    file.write_bytes(good)
    assert_made_up(load_mnist("full", root=tmp_path / "new"))  # the next try is not in its own way


def test_packed_files_from_a_stick_need_no_network(mirror, tmp_path, dead_mirror):
    raw = tmp_path / "stick" / "MNIST" / "raw"
    shutil.copytree(mirror, raw)
    assert_made_up(load_mnist("full", root=tmp_path / "stick"))


def test_a_full_disk_leaves_nothing(mirror, tmpfs, monkeypatch):
    filler = tmpfs / "filler"
    filler.write_bytes(b"x" * (1024 * 1024 - 3 * 4096))
    with pytest.raises(RuntimeError, match=r"(?s)No space left on device.*room for 70 MB"):
        load_mnist("full", root=tmpfs / "new")
    assert not valid_or_none(tmpfs / "new")
    filler.unlink()
    assert_made_up(load_mnist("full", root=tmpfs / "new"))


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_read_only_folder_without_the_set(mirror, tmpfs):
    remount(tmpfs, "ro")
    with pytest.raises(RuntimeError, match=r"(?s)Read-only file system.*leave to write"):
        load_mnist("full", root=tmpfs / "new")
    assert list(tmpfs.iterdir()) == []


def test_a_read_only_folder_with_the_set_is_enough(made_up, tmpfs, dead_mirror):
    shutil.copytree(made_up, tmpfs, dirs_exist_ok=True)
    remount(tmpfs, "ro")
    assert_made_up(load_mnist("full", root=tmpfs))


def test_a_folder_that_is_a_file(mirror, tmp_path):
    (tmp_path / "new").write_text("not a folder")
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        load_mnist("full", root=tmp_path / "new")


def test_many_at_once_all_get_the_set(mirror, tmp_path):
    """Threads of one process take the same steps as processes, in more orders."""
    with ThreadPoolExecutor(6) as pool:
        sets = list(pool.map(lambda _: load_mnist("full", root=tmp_path / "new"), range(12)))
    for got in sets:
        assert_made_up(got)
    assert valid_or_none(tmp_path / "new")


def count(root: Path) -> int:
    return len(load_mnist("full", root=root).train)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only a forked process is sent to this mirror")
def test_two_processes_at_once(mirror, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        counts = pool.map_async(count, 4 * [tmp_path / "new"], chunksize=1).get(timeout=300)
    assert counts == [7, 7, 7, 7]
    assert valid_or_none(tmp_path / "new")


@pytest.mark.parametrize("at", range(len(RESOURCES)))
def test_a_stop_while_the_files_are_moved(mirror, tmp_path, monkeypatch, at):
    calls, replace = [], os.replace

    def stopped(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == at + 1:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        load_mnist("full", root=tmp_path / "new")
    assert_made_up(
        load_mnist("full", root=tmp_path / "new")
    )  # what is there is whole, the rest comes


def test_a_pickle_in_place_of_the_bundled_file_is_not_run(monkeypatch, tmp_path):
    bad = tmp_path / "digits.npz"
    np.savez(bad, images=np.array([print], dtype=object), labels=np.zeros(1))
    monkeypatch.setattr(data_module, "BUNDLED", bad)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_mnist("5k")


# --- binarize -----------------------------------------------------------------------------------


def test_binarize_gives_zeros_and_ones_of_the_same_shape_and_type():
    for shape in [(3, 784), (2, 3, 5)]:
        for dtype in (torch.float32, torch.float64):
            images = torch.rand(shape, dtype=dtype)
            drawn = binarize(images)
            assert (drawn.shape, drawn.dtype) == (images.shape, images.dtype)
            assert ((drawn == 0) | (drawn == 1)).all()


def test_binarize_has_the_grey_level_for_its_mean():
    n, p = 20_000, torch.tensor([0.0, 0.02, 0.3, 0.5, 0.9, 1.0])
    drawn = binarize(p.expand(n, 6), torch.Generator().manual_seed(0))
    assert (drawn.mean(dim=0)[[0, 5]] == p[[0, 5]]).all()  # certain
    error = (drawn.mean(dim=0) - p)[1:5] / (p * (1 - p) / n).sqrt()[1:5]
    assert (error.abs() < 5).all()
    together = torch.corrcoef(drawn[:, 1:5].T).fill_diagonal_(0)
    assert together.abs().max() < 5 * n**-0.5  # every pixel is its own coin


def test_binarize_is_a_new_draw_at_every_call(few):
    before = few.test.clone()
    assert not torch.equal(binarize(few.test), binarize(few.test))
    assert torch.equal(few.test, before)


def test_binarize_draws_from_the_generator_or_else_from_the_global_one(few):
    first = binarize(few.test, torch.Generator().manual_seed(3))
    state = torch.get_rng_state()
    assert torch.equal(first, binarize(few.test, torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(first, binarize(few.test))


# --- what is no image ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, message",
    [
        (
            torch.full((2, 3), 255.0),
            "got values from 255 to 255; if they are 0..255, divide them by 255",
        ),
        (torch.tensor([[0.0, -0.1]]), r"within \[0, 1\], got values from -0.1"),
        (torch.tensor([[0.0, 1.0001]]), r"within \[0, 1\]"),
        (torch.tensor([[0.0, float("nan")]]), r"within \[0, 1\], got values from nan"),
        (torch.tensor([[float("inf"), 0.0]]), r"within \[0, 1\], got values from 0 to inf"),
        (torch.zeros(0, 784), r"N >= 1, got \(0, 784\)"),
        (torch.zeros(3, 0), r"N >= 1, got \(3, 0\)"),
        (torch.zeros(784), r"\(N, pixels\) .*got \(784,\)"),
        (torch.zeros(()), r"\(N, pixels\) .*got \(\)"),
    ],
)
def test_values_and_shapes_that_are_no_images_are_refused(bad, message):
    with pytest.raises(ValueError, match=f"the thing must be .*{message}"):
        check_images(bad, "the thing")
    with pytest.raises(ValueError, match="images must be"):
        binarize(bad)


@pytest.mark.parametrize(
    "bad, kind",
    [
        (torch.zeros(2, 3, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(2, 3, dtype=torch.int64), "torch.int64"),
        (torch.zeros(2, 3, dtype=torch.bool), "torch.bool"),
        (np.zeros((2, 3), dtype=np.float32), "ndarray"),
        ([[0.0]], "list"),
        (None, "NoneType"),
    ],
)
def test_other_types_are_refused_by_name(bad, kind):
    with pytest.raises(TypeError, match=f"the thing must be a float tensor .*got {kind}"):
        check_images(bad, "the thing")


def test_images_are_accepted_up_to_both_ends():
    for good in (torch.zeros(1, 1), torch.ones(2, 3, 4), torch.rand(5, 784).double()):
        assert check_images(good) is None
