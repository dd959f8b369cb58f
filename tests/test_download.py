"""Oracles: made-up sets in MNIST's own format, a web server on this machine, planted pictures."""

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
from PIL import Image
from torchvision import datasets
from torchvision.datasets import MNIST

from vaelab import Digits, download, load_folder, load_mnist, load_torchvision
from vaelab.download import read_folder

COUNTS = {"train": 7, "t10k": 3}
RESOURCES = [f"{part}-{kind}-ubyte" for part in COUNTS for kind in ("images-idx3", "labels-idx1")]
SETS = ("MNIST", "FashionMNIST", "KMNIST")


def pixels(part: str) -> np.ndarray:
    return np.random.default_rng(len(part)).integers(0, 256, (COUNTS[part], 28, 28), np.uint8)


def labels(part: str) -> np.ndarray:
    return np.arange(COUNTS[part], dtype=np.uint8) + (part == "t10k")


def idx(array: np.ndarray) -> bytes:
    """The format of yann.lecun.com/exdb/mnist: 0, 0, 8 for bytes, dimensions, sizes, data."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def content(name: str) -> bytes:
    """What a file of the made-up set holds."""
    part = name.split("-")[0]
    return idx(pixels(part) if "images" in name else labels(part))


@pytest.fixture(autouse=True)
def _made_up_sets_only(monkeypatch, tmp_path):
    """No setting of this machine reaches a test, and its home folder is left alone."""
    for name in ("VAELAB_MNIST", "VAELAB_DATA", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "COUNTS", tuple(COUNTS.values()))
    sums = {name: hashlib.md5(content(name)).hexdigest() for name in RESOURCES}
    monkeypatch.setattr(download, "CHECKSUMS", dict.fromkeys(SETS, sums))


def write_set(root: Path, name: str = "MNIST") -> Path:
    """A folder in torchvision's layout, with 7 training and 3 test images."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for file in RESOURCES:
        (raw / file).write_bytes(content(file))
    return root


@pytest.fixture
def made_up(tmp_path) -> Path:
    return write_set(tmp_path / "made_up")


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
def mirror(tmp_path, monkeypatch) -> Iterator[Path]:
    """Points torchvision's downloaders at a web server on this machine that has the made-up set."""
    folder, resources = tmp_path / "served", []
    folder.mkdir()
    for name in RESOURCES:
        packed = gzip.compress(content(name))
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(Quiet, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        for name in SETS:
            monkeypatch.setattr(getattr(datasets, name), "mirrors", [address])
            monkeypatch.setattr(getattr(datasets, name), "resources", resources)
        yield folder


@pytest.fixture
def dead_mirror(monkeypatch) -> None:
    """Points torchvision's downloaders at a port where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in SETS:
        monkeypatch.setattr(getattr(datasets, name), "mirrors", [f"http://127.0.0.1:{port}/"])


def assert_made_up(got: Digits) -> None:
    for images, targets, part in [
        (got.train, got.train_labels, "train"),
        (got.test, got.test_labels, "t10k"),
    ]:
        expected = torch.from_numpy(pixels(part)).reshape(-1, 784) / 255
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-7)
        assert targets.tolist() == labels(part).tolist()
        assert (images.dtype, targets.dtype) == (torch.float32, torch.int64)


# --- which set, and where -----------------------------------------------------------------------


def test_an_argument_or_the_environment_chooses_the_set_and_the_folder(monkeypatch, made_up):
    assert load_mnist().name == "MNIST, 5,000 digits"
    assert len(load_mnist("full", root=made_up).train) == 7
    monkeypatch.setenv("VAELAB_MNIST", "full")
    monkeypatch.setenv("VAELAB_DATA", str(made_up))
    assert load_mnist().name == "MNIST, full"
    assert load_mnist("5k").name == "MNIST, 5,000 digits"  # an argument wins
    monkeypatch.setenv("VAELAB_MNIST", "5k")
    assert load_mnist().name == "MNIST, 5,000 digits"
    assert load_mnist("full").name == "MNIST, full"
    monkeypatch.setenv("VAELAB_DATA", str(made_up / "nowhere"))
    assert len(load_mnist("full", root=made_up).train) == 7


@pytest.mark.parametrize(
    ("variable", "value", "root", "folder"),
    [
        ("XDG_CACHE_HOME", "elsewhere", None, "elsewhere/vaelab"),
        ("VAELAB_MNIST", "full", None, "home/.cache/vaelab"),
        ("VAELAB_DATA", "~/digits", None, "home/digits"),
        ("VAELAB_DATA", "elsewhere", "~/digits", "home/digits"),
    ],
)
def test_the_set_is_found_in_the_cache_or_below_a_tilde(
    monkeypatch, made_up, tmp_path, dead_mirror, variable, value, root, folder
):
    monkeypatch.chdir(tmp_path)  # so that a folder called ~ would end there
    (tmp_path / folder).parent.mkdir(parents=True)
    made_up.rename(tmp_path / folder)
    monkeypatch.setenv(variable, str(tmp_path / value) if value == "elsewhere" else value)
    assert_made_up(load_mnist("full", root=root))


def test_another_size_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("VAELAB_MNIST", "6k")
    with pytest.raises(ValueError, match=r"size must be '5k' or 'full', got '6k' .*VAELAB_MNIST"):
        load_mnist()


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once_and_then_read_without_a_network(mirror, tmp_path, name):
    folder = tmp_path / "new" / "folder"
    got = load_torchvision(name, root=folder)
    assert_made_up(got)
    assert got.name == f"{name}, full"
    shutil.rmtree(mirror)
    assert_made_up(load_torchvision(name, root=str(folder)))


# --- something else in its place ----------------------------------------------------------------


def test_other_images_in_the_folder_of_a_set_are_not_the_set(made_up, monkeypatch):
    raw = made_up / "MNIST" / "raw"
    other = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    (raw / RESOURCES[0]).write_bytes(idx(other))
    with pytest.raises(RuntimeError, match=r"is not MNIST: .* 60 entries, not 7\. .*from_arrays"):
        load_mnist("full", root=made_up)
    (raw / RESOURCES[0]).write_bytes(idx(other[:7]))
    with pytest.raises(RuntimeError, match=r"is not MNIST: .*images-idx3-ubyte holds other data"):
        load_mnist("full", root=made_up)
    (raw / RESOURCES[0]).write_bytes(content(RESOURCES[0]))
    (raw / RESOURCES[3]).write_bytes(idx(labels("t10k") + 1))
    with pytest.raises(RuntimeError, match="t10k-labels-idx1-ubyte holds other data"):
        load_mnist("full", root=made_up)
    monkeypatch.undo()  # the counts and checksums of MNIST itself
    for name in SETS:
        with pytest.raises(RuntimeError, match=f"is not {name}: .* 7 entries, not 60,000"):
            load_torchvision(name, root=made_up if name == "MNIST" else write_set(made_up, name))


@pytest.mark.parametrize(("name", "left"), [(RESOURCES[0], 0), (RESOURCES[2], 1000)])
def test_a_file_that_was_cut_off_is_an_error_with_a_way_out(made_up, name, left):
    file = made_up / "MNIST" / "raw" / name  # as an interrupted unpacking leaves it
    file.write_bytes(file.read_bytes()[:-1][:left])
    with pytest.raises(RuntimeError, match=r"damaged .*VAELAB_DATA"):
        load_mnist("full", root=made_up)


# --- what goes wrong on the way -----------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_without_a_network_the_error_says_what_to_do(dead_mirror, tmp_path, name):
    with pytest.raises(RuntimeError) as refusal:
        load_torchvision(name, root=tmp_path / "empty")
    advice = ("VAELAB_DATA", f"{name}/raw/train-images-idx3-ubyte", "load_mnist('5k')")
    for said in (f"the full {name}", str(tmp_path / "empty"), *advice):
        assert said in str(refusal.value)


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
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 0.3)
    answering(said, True)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out"):
        load_mnist("full", root=tmp_path / "new")
    assert time.monotonic() - begin < 20
    assert not valid_or_none(tmp_path / "new")


@pytest.mark.parametrize(
    ("which", "fault"), [(0, "cut"), (1, "changed"), (2, "missing"), (3, "cut"), (3, "changed")]
)
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


def test_a_full_disk_leaves_nothing(mirror, tmpfs, monkeypatch):
    filler = tmpfs / "filler"
    filler.write_bytes(b"x" * (1024 * 1024 - 3 * 4096))
    with pytest.raises(RuntimeError, match=r"(?s)No space left on device.*room for 90 MB"):
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


def test_a_read_only_folder_with_the_packed_set_of_a_stick_is_enough(mirror, tmpfs, dead_mirror):
    shutil.copytree(mirror, tmpfs / "MNIST" / "raw")
    assert_made_up(load_mnist("full", root=tmpfs))  # unpacks
    remount(tmpfs, "ro")
    assert_made_up(load_mnist("full", root=tmpfs))


def count(root: Path) -> int:
    return len(load_mnist("full", root=root).train)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only a forked process is sent to this mirror")
def test_two_processes_at_once(mirror, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        counts = pool.map_async(count, 4 * [tmp_path / "new"], chunksize=1).get(timeout=300)
    assert counts == [7, 7, 7, 7]
    assert valid_or_none(tmp_path / "new")
    with ThreadPoolExecutor(6) as pool:  # threads take the same steps in more orders
        assert list(pool.map(count, 12 * [tmp_path / "other"])) == [7] * 12
    assert valid_or_none(tmp_path / "other")


@pytest.mark.parametrize("at", [0, 2, 3])
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
    assert_made_up(load_mnist("full", root=tmp_path / "new"))  # the rest comes


# --- folders of pictures ------------------------------------------------------------------------

GREY = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
INK = np.dstack([GREY * 0] * 3 + [GREY])  # black, as transparent as GREY is dark
WIDE = np.hstack([GREY[:, :3], GREY, GREY[:, :3]])


def put(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def turned() -> Image.Exif:
    """What a camera writes that was held on its side: turn by 90 degrees before you show it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "file, picture, right",
    [
        ("a.png", GREY, GREY),
        ("A.PNG", np.dstack([GREY] * 3), GREY),
        ("a.gif", GREY, GREY),
        ("a.png", GREY.astype(np.uint16) * 257, GREY),
        ("a.tiff", GREY.astype(np.uint16) * 257, GREY),
        ("a.png", INK, 255 - GREY),
        ("a.bmp", WIDE, GREY),
        ("a.pgm", np.vstack([GREY[:5], GREY, GREY[:6]]), GREY),
        ("a.png", GREY > 99, (GREY > 99) * 255),
    ],
)
def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path, file, picture, right):
    put(tmp_path / file, picture)
    images, labels = read_folder(tmp_path, side=28)
    assert labels == [-1]
    np.testing.assert_array_equal(images[0], right)


def test_a_picture_is_turned_cropped_and_resized(tmp_path):
    ramp = np.full((80, 120), 255, np.uint8)  # white on both sides, which the crop must not let in
    ramp[:, 20:100] = np.linspace(0, 200, 80)[:, None]
    put(tmp_path / "a.png", ramp)
    put(tmp_path / "b.png", ramp, exif=turned())
    images, _ = read_folder(tmp_path, side=20)
    expected = np.linspace(0, 200, 80).reshape(20, 4).mean(axis=1)
    assert np.abs(images[0].numpy() - expected[:, None]).max() < 3
    assert np.abs(images[1].numpy() - expected[None, ::-1]).max() < 3


@pytest.mark.parametrize(
    "folders, classes", [(["dog", "cat"], [1, 0]), (["7", "10"], [7, 10]), (["", ""], [-1, -1])]
)
def test_sub_folders_are_classes(tmp_path, folders, classes):
    for i, folder in enumerate(2 * folders):
        put(tmp_path / folder / f"{i}.png", np.full((30, 40), 40 * i, np.uint8))
    (tmp_path / ".ipynb_checkpoints").mkdir()
    put(tmp_path / ".ipynb_checkpoints" / "0.png", GREY)
    put(tmp_path / folders[0] / ".hidden.png", GREY)
    (tmp_path / "notes.txt").write_text("no picture")
    got = load_folder(tmp_path, 8, test=0.5, name="mine", seed=3)
    assert (got.train.shape, got.test.shape, got.name) == ((2, 64), (2, 64), "mine")
    which = (torch.cat([got.train, got.test])[:, 0] * 255 / 40).round().int().tolist()
    right = [(2 * classes)[i] for i in which]
    assert torch.cat([got.train_labels, got.test_labels]).tolist() == right
    assert sorted(which) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "files, message",
    [
        (["train/cat/a.png", "test/cat/a.png"], "lie deeper"),
        (["train/a.png", "Test/a.png"], "parts of a set"),
        (["a.png", "cat/a.png"], "holds both"),
    ],
)
def test_a_layout_with_two_meanings_is_refused_with_the_call_that_has_one(tmp_path, files, message):
    for file in files:
        for i in range(10):
            put((tmp_path / file).with_stem(f"{i}"), GREY)
    with pytest.raises(ValueError, match=f"path must .*{message}.*: ") as refusal:
        load_folder(tmp_path)
    call = str(refusal.value)[str(refusal.value).index("load_folder(") :]
    assert len(eval(call, {"load_folder": load_folder}).test) == 2


@pytest.mark.parametrize("fault", ["missing", "a file", "empty", "no pictures", "cut", "a page"])
def test_what_is_no_folder_of_pictures_is_refused(tmp_path, fault):
    file = put(tmp_path / "here" / "a.png", GREY)
    data = file.read_bytes()
    {
        "missing": lambda: shutil.rmtree(tmp_path / "here"),
        "a file": lambda: None,
        "empty": file.unlink,
        "no pictures": lambda: file.rename(file.with_suffix(".heic")),
        "cut": lambda: file.write_bytes(data[:-200]),
        "a page": lambda: file.write_text("<html>"),
    }[fault]()
    said = {"missing": "nothing", "empty": "no file", "no pictures": "'.heic'"}
    with pytest.raises(ValueError, match=f"path must .*{said.get(fault, 'a.png')}"):
        load_folder(file if fault == "a file" else tmp_path / "here")
