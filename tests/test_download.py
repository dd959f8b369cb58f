"""Oracles: a made-up set in MNIST's own format, a web server on this machine, planted pictures."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from vaelab import Digits, download, load_folder, load_mnist, load_torchvision
from vaelab.download import read_folder

SETS = ("MNIST", "FashionMNIST", "KMNIST")
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 28, 28), np.uint8)
COUNTED = np.arange(10, dtype=np.uint8)
GRAY = PIXELS[0]
OK = b"HTTP/1.1 200 OK\r\n"


def idx(array: np.ndarray) -> bytes:
    """The format of yann.lecun.com/exdb/mnist: 0, 0, 8 for bytes, dimensions, sizes, data."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


FILES = {  # the made-up set: 7 images to train on, 3 to test on
    "train-images-idx3-ubyte": idx(PIXELS[:7]),
    "train-labels-idx1-ubyte": idx(COUNTED[:7]),
    "t10k-images-idx3-ubyte": idx(PIXELS[7:10]),
    "t10k-labels-idx1-ubyte": idx(COUNTED[1:4]),
}
TRAIN, TRAIN_LABELS, TEST, TEST_LABELS = FILES
PACKED = {f"{name}.gz": gzip.compress(content) for name, content in FILES.items()}


@pytest.fixture
def said(monkeypatch, tmp_path):
    """What a web server on this machine says when it is asked for a file: the whole set at first.

    After dots, which are not sent, it neither speaks nor hangs up. No setting of a user is used.
    """
    answers = {name: OK + b"\r\n" + content for name, content in PACKED.items()}
    over = threading.Event()

    def answer(request: socket.socket, *_: object) -> None:
        told = answers.get(request.recv(65536).split()[1].decode().strip("/"), b"")
        request.sendall(told.removesuffix(b"..."))
        if told.endswith(b"..."):
            over.wait()

    for name in ("VAELAB_MNIST", "VAELAB_DATA", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "COUNTS", (7, 3))
    sums = {name: md5(content).hexdigest() for name, content in (FILES | PACKED).items()}
    monkeypatch.setattr(download, "CHECKSUMS", dict.fromkeys(SETS, sums))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        for kind in (getattr(datasets, name) for name in SETS):
            monkeypatch.setattr(kind, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
            monkeypatch.setattr(kind, "resources", [(name, sums[name]) for name in PACKED])
        yield answers
        over.set()
        server.shutdown()
        thread.join()  # before the socket is closed, or it may wake at another test's


def lay(raw: Path, files: dict[str, bytes] = FILES) -> None:
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)


def assert_made_up(got: Digits) -> None:
    pixels = torch.tensor(PIXELS.reshape(70, 784) / 255, dtype=torch.float32)
    right = (pixels[:7], torch.arange(7), pixels[7:10], torch.arange(1, 4))
    torch.testing.assert_close(got[:4], right, rtol=0, atol=1e-7)


def refused(root: Path, said: str) -> None:
    """The set is refused so, and no file is left."""
    with pytest.raises(RuntimeError, match=f"(?s){said}"):
        load_mnist("full", root=root)
    assert {path.name for path in root.rglob("*")} <= {"MNIST", "raw"}


SETTINGS = [  # of the environment, the arguments, and the folder in which the full set is found
    ("", (), None),
    ("VAELAB_MNIST=full VAELAB_DATA=here", (), "here"),
    ("VAELAB_MNIST=full VAELAB_DATA=here", ("5k",), None),  # an argument wins
    ("VAELAB_MNIST=5k VAELAB_DATA=here", ("full",), "here"),
    ("VAELAB_DATA=elsewhere", ("full", "here"), "here"),
    ("VAELAB_DATA=elsewhere", ("full", "~/here"), "home/here"),
    ("VAELAB_DATA=~/here", ("full",), "home/here"),
    ("VAELAB_MNIST=full XDG_CACHE_HOME=here", (), "here/vaelab"),
    ("VAELAB_MNIST=full", (), "home/.cache/vaelab"),
]


@pytest.mark.parametrize("settings, given, folder", SETTINGS)
def test_arguments_or_the_environment_choose(said, monkeypatch, tmp_path, settings, given, folder):
    said.clear()
    monkeypatch.chdir(tmp_path)
    for setting in settings.split():
        monkeypatch.setenv(*setting.split("="))
    if folder is None:
        assert load_mnist(*given).name == "MNIST, 5,000 digits"
    else:
        lay(tmp_path / folder / "MNIST" / "raw")
        assert_made_up(load_mnist(*given))


def test_another_size_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("VAELAB_MNIST", "6k")
    with pytest.raises(ValueError, match=r"'5k' or 'full', got '6k' \(argument or \$VAELAB_MNIST"):
        load_mnist()


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once_and_then_read_without_a_network(said, tmp_path, name):
    got = load_torchvision(name, root=tmp_path / "new" / "folder")
    assert_made_up(got)
    assert got.name == f"{name}, full"
    said.clear()
    assert_made_up(load_torchvision(name, root=str(tmp_path / "new" / "folder")))


PLANTED = [  # a file of the set, what it holds, and what the message says
    (TRAIN, idx(PIXELS[10:]), r"is not MNIST: .* 60 entries, not 7\. .*from_arrays"),
    (TRAIN, idx(PIXELS[10:17]), "is not MNIST: .*images-idx3-ubyte holds other data"),
    (TEST_LABELS, idx(COUNTED[2:5]), "is not MNIST: .*t10k-labels.* holds other data"),
    (TRAIN, b"", "damaged .*VAELAB_DATA"),  # as an interrupted unpacking leaves it
    (TEST, FILES[TEST][:1000], "damaged .*VAELAB_DATA"),
]


def test_what_is_not_the_set_in_its_folder_is_refused(said, monkeypatch, tmp_path):
    for name in SETS:
        lay(tmp_path / name / "raw")
    for file, content, message in PLANTED:
        (tmp_path / "MNIST" / "raw" / file).write_bytes(content)
        with pytest.raises(RuntimeError, match=message):
            load_mnist("full", root=tmp_path)
        (tmp_path / "MNIST" / "raw" / file).write_bytes(FILES[file])
    monkeypatch.undo()  # the counts of the sets themselves
    for name in SETS:
        with pytest.raises(RuntimeError, match=f"is not {name}: .* 7 entries, not 60,000"):
            load_torchvision(name, root=tmp_path)


def test_without_a_network_the_error_says_what_to_do(said, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.KMNIST, "mirrors", ["http://127.0.0.1:0/"])  # no possible port
    socket.setdefaulttimeout(12.5)  # of other connections, which are left alone
    with pytest.raises(RuntimeError) as refusal:
        load_torchvision("KMNIST", root=tmp_path / "empty")
    assert socket.getdefaulttimeout() == 12.5
    socket.setdefaulttimeout(None)
    advice = ("VAELAB_DATA", "KMNIST/raw/train-images-idx3-ubyte", "load_mnist('5k')")
    for word in ("the full KMNIST", str(tmp_path / "empty"), *advice):
        assert word in str(refusal.value)


FAULTS = {  # a file, and what is said in its place; after dots the server falls silent
    "a page of a portal": (TRAIN, OK + b"\r\n<html>Log in</html>"),
    "forbidden": (TRAIN, b"HTTP/1.1 403 Forbidden\r\n\r\n"),
    "missing": (TEST, b"HTTP/1.1 404 Not Found\r\n\r\n"),
    "a circle": (TRAIN, b"HTTP/1.1 302 Found\r\nLocation: /train-images-idx3-ubyte.gz\r\n\r\n"),
    "no HTTP": (TRAIN, b"220 smtp.example.org ready\r\n"),
    "a torn chunk": (TRAIN, OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nabc"),
    "less than promised": (TRAIN, OK + b"Content-Length: 99\r\n\r\nabc"),
    "silence in the middle": (TRAIN, OK + b"Content-Length: 99\r\n\r\nabc..."),
    "the line is cut": (TRAIN, b""),
    "silence": (TRAIN, b"..."),
    "a file cut off": (TEST_LABELS, OK + b"\r\n" + PACKED[f"{TEST_LABELS}.gz"][:-9]),
    "another file": (TRAIN_LABELS, OK + b"\r\n" + PACKED[f"{TEST_LABELS}.gz"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_says_anything_else_leaves_nothing(said, monkeypatch, tmp_path, fault):
    (file, told), silent = FAULTS[fault], "silence" in fault
    with monkeypatch.context() as patch:
        patch.setattr(download, "DOWNLOAD_TIMEOUT", 0.3 if silent else 30)
        patch.setitem(said, f"{file}.gz", told)
        reason = "timed out.*" if silent else ""
        refused(tmp_path, rf"could not be downloaded.*{reason}login.*load_mnist\('5k'\)")
    assert_made_up(load_mnist("full", root=tmp_path))  # the next try is not in its own way


def test_a_full_disk_leaves_nothing(said, tmpfs):
    filler = tmpfs / "filler"
    filler.write_bytes(b"x" * (1024 * 1024 - 3 * 4096))
    refused(tmpfs / "new", "No space left on device.*room for 90 MB")
    filler.unlink()
    assert_made_up(load_mnist("full", root=tmpfs / "new"))


def test_a_read_only_folder_is_refused_unless_the_set_is_there(said, tmpfs):
    lay(tmpfs / "stick" / "MNIST" / "raw", PACKED)
    said.clear()
    assert_made_up(load_mnist("full", root=tmpfs / "stick"))  # unpacks
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    assert_made_up(load_mnist("full", root=tmpfs / "stick"))
    refused(tmpfs / "new", "Read-only file system.*leave to write")


def count(root: Path) -> int:
    return len(load_mnist("full", root=root).train)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only a forked process is sent to this mirror")
def test_two_processes_at_once(said, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(count, 4 * [tmp_path / "a"], chunksize=1).get(timeout=300) == 4 * [7]
    with ThreadPoolExecutor(6) as pool:  # threads take the same steps in more orders
        assert list(pool.map(count, 12 * [tmp_path / "b"])) == 12 * [7]
    for root in (tmp_path / "a", tmp_path / "b"):
        assert {path.name for path in root.rglob("*")} == {"MNIST", "raw", *FILES}
        assert_made_up(load_mnist("full", root=root))


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_stop_while_the_files_are_moved(said, tmp_path, monkeypatch, at):
    replace, moved = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        if len(moved) == at:
            raise KeyboardInterrupt
        moved.append(replace(source, target))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stopped)
        load_mnist("full", root=tmp_path)
    assert_made_up(load_mnist("full", root=tmp_path))  # the rest comes


def put(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path):
    pictures = {
        "0.png": GRAY,
        "1.PNG": np.dstack([GRAY] * 3),
        "2.gif": GRAY,
        "3.png": GRAY.astype(np.uint16) * 257,
        "4.tiff": GRAY.astype(np.uint16) * 257,
        "5.png": np.dstack([GRAY * 0] * 3 + [255 - GRAY]),  # black ink
        "6.bmp": np.hstack([GRAY[:, :3], GRAY, GRAY[:, :3]]),
        "7.pgm": np.vstack([GRAY[:5], GRAY, GRAY[:6]]),
        "8.png": GRAY > 99,
    }
    for file, picture in pictures.items():
        put(tmp_path / file, picture)
    images, labels = read_folder(tmp_path, side=28)
    np.testing.assert_array_equal(images, [*8 * [GRAY], (GRAY > 99) * 255])
    assert labels == [-1] * 9


def test_a_picture_is_turned_cropped_and_resized(tmp_path):
    ramp = np.full((80, 120), 255, np.uint8)  # white on both sides, which the crop must not let in
    ramp[:, 20:100] = np.linspace(0, 200, 80)[:, None]
    exif = Image.Exif()
    exif[0x0112] = 6  # from a camera held on its side: turn by 90 degrees before you show it
    put(tmp_path / "a.png", ramp)
    put(tmp_path / "b.png", ramp, exif=exif)
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
    put(tmp_path / ".ipynb_checkpoints" / "0.png", GRAY)
    put(tmp_path / folders[0] / ".hidden.png", GRAY)
    (tmp_path / "notes.txt").write_text("no picture")
    got = load_folder(tmp_path, 8, test=0.5, name="mine", seed=3)
    assert (got.train.shape, got.test.shape, got.name) == ((2, 64), (2, 64), "mine")
    which = (torch.cat([got.train, got.test])[:, 0] * 255 / 40).round().int().tolist()
    labels = torch.cat([got.train_labels, got.test_labels]).tolist()
    assert sorted(which) == [0, 1, 2, 3] and labels == [(2 * classes)[i] for i in which]
    split = [load_folder(tmp_path, 8, test=0.5, **seed).train for seed in ({}, {"seed": 0})]
    assert torch.equal(*split)


LAYOUTS = {"lie deeper": "train/cat test/cat", "parts of a": "train Test", "holds both": ". cat"}


@pytest.mark.parametrize("said", LAYOUTS)
def test_a_layout_with_two_meanings_is_refused_with_the_call_that_has_one(tmp_path, said):
    for folder in LAYOUTS[said].split():
        for i in range(10):
            put(tmp_path / folder / f"{i}.png", GRAY)
    with pytest.raises(ValueError, match=f"path must .*{said}.*: ") as refusal:
        load_folder(tmp_path)
    call = str(refusal.value)[str(refusal.value).index("load_folder(") :]
    got = eval(call, {"load_folder": load_folder})
    assert (repr(got), got.train.shape[1]) == ("Digits(images: 8 train, 2 test)", 784)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda file: shutil.rmtree(file.parent), "nothing"),
        (lambda file: file.unlink(), "no file"),
        (lambda file: file.rename(file.with_suffix(".heic")), "'.heic'"),
        (lambda file: file.write_bytes(file.read_bytes()[:-200]), "a.png"),
        (lambda file: file.write_text("<html>"), "a.png"),
        (lambda file: Image.new("F", (9, 9)).save(file.with_suffix(".tif")), "pixels are floats"),
    ],
)
def test_what_is_no_folder_of_pictures_is_refused(tmp_path, spoil, said):
    spoil(put(tmp_path / "here" / "a.png", GRAY))
    with pytest.raises(ValueError, match=f"path must .*{said}"):
        load_folder(tmp_path / "here")
