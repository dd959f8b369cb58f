"""Full sets through torchvision, whatever the network and the disk do, and folders of pictures.

A set is all there afterward, or none of it is, and every error says what to do.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import check_choice, check_path, check_sizes

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
COUNTS = (60_000, 10_000)  # images to train and to test on, in each of the three sets
# MD5 of the unpacked files. torchvision has those of the packed ones, which are gone once the set
# is there. MNIST's are computed from the files; Fashion-MNIST's are those that several projects
# publish; KMNIST's we do not know, so that its counts alone are compared.
CHECKSUMS: dict[str, dict[str, str]] = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "KMNIST": {},
}
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


# ------------------------------------------------------------------------- the sets of torchvision


def full_set(name: str, root: str | os.PathLike | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read a set that is made like MNIST; download it first where it is missing.

    Args:
        name: its class in torchvision: one of `CHECKSUMS`.
        root: its folder; None reads $VAELAB_DATA, else it is ``vaelab`` in the user's cache.

    Returns:
        Training images (60000, 28, 28) uint8 and labels (60000,) int64, then those to test on.

    Raises:
        TypeError: if ``root`` is no path.
        ValueError: if there is no set of this name.
        RuntimeError: if it cannot be downloaded, or what is there is damaged or another set.
    """
    check_choice("name", name, tuple(CHECKSUMS))
    check_path("root", "." if root is None else root)
    from torchvision import datasets  # slow to import, and only needed here
    from torchvision.datasets.mnist import read_image_file, read_label_file

    kind = getattr(datasets, name)
    folder = Path(root or os.environ.get("VAELAB_DATA") or _cache_folder()).expanduser()
    raw = folder / name / "raw"
    files = [raw / Path(packed).stem for packed, _ in kind.resources]
    if not all(file.is_file() for file in files):
        _download(kind, folder, raw)
    try:
        train, test = (read_image_file(str(file)) for file in files[::2])
        train_labels, test_labels = (read_label_file(str(file)) for file in files[1::2])
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise RuntimeError(
            f"the {name} in {raw} is damaged ({error}). Delete {folder / name} and call again to "
            f"download it anew, or {_instead(name)}"
        ) from error
    counts = [len(part) for part in (train, train_labels, test, test_labels)]
    for file, count, expected in zip(files, counts, np.repeat(COUNTS, 2)):
        known = CHECKSUMS[name].get(file.name)
        if count != expected:
            _refuse_another(name, folder, f"{file} holds {count:,} entries, not {expected:,}")
        if known and md5(file.read_bytes(), usedforsecurity=False).hexdigest() != known:
            _refuse_another(name, folder, f"{file} holds other data, by its checksum")
    return train, train_labels, test, test_labels


def _refuse_another(name: str, folder: Path, found: str) -> None:
    raise RuntimeError(
        f"what lies in {folder / name} is not {name}: {found}. If these are images of yours, load "
        f"them with from_arrays or load_folder; if not, delete {folder / name} and call again to "
        f"download it, or {_instead(name)}"
    )


def _download(kind: Any, root: Path, raw: Path) -> None:
    """Download beside the final place and move what is whole: a stop leaves all of it or nothing.

    Two processes that download at once replace each other's files by equal ones.
    """
    name = kind.__name__
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix="download-") as scratch:
            inside = Path(scratch, name, "raw")
            inside.mkdir(parents=True)
            for packed in raw.glob("*.gz"):  # brought along on a stick
                shutil.copy(packed, inside)
            with _network_timeout(DOWNLOAD_TIMEOUT):
                kind(scratch, download=True)  # compares checksums, unpacks and reads the files
            for file in (inside / Path(packed).stem for packed, _ in kind.resources):
                os.replace(file, raw / file.name)
    except (OSError, HTTPException, RuntimeError, ValueError, AssertionError) as error:
        raise RuntimeError(
            f"the full {name} is not in {root} and could not be downloaded ({error}). Connect to "
            "the network once (if it wants a login, open a browser first: what came may have been "
            "the login page), see that there is room for 90 MB and leave to write, or "
            f"{_instead(name)}"
        ) from error


def _instead(name: str) -> str:
    return (
        "set VAELAB_DATA to a folder that has it in torchvision's layout "
        f"({name}/raw/train-images-idx3-ubyte ...), or use the bundled digits: load_mnist('5k')"
    )


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaelab"


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """torchvision sets no time-out of its own: a captive portal would hang the download."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# ---------------------------------------------------------------------------- folders of pictures


def read_folder(path: str | os.PathLike, side: int) -> tuple[Tensor, list[int]]:
    """Read the pictures of a folder, gray, square and of one size.

    Args:
        path: a folder with picture files, or with a sub-folder of them for each class.
        side: pixels along an edge.

    Returns:
        Images (N, side, side) uint8, and N labels: the whole number that names the sub-folder, its
        place among all if not every name is one, or -1 without sub-folders.

    Raises:
        TypeError: if ``path`` is no path.
        ValueError: if it is no folder of pictures, or one of them cannot be read.
    """
    folder = check_path("path", path).expanduser()
    check_sizes(side=side)
    labeled = _labeled(folder)
    images = np.stack([_gray_square(file, int(side)) for file, _ in labeled])
    return torch.from_numpy(images), [label for _, label in labeled]


def _labeled(folder: Path) -> list[tuple[Path, int]]:
    """Each picture of a folder with its label; refuses a folder that can be read in two ways."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise ValueError(f"path must be a folder of pictures, got {str(folder)!r}, which is {what}")
    here = _pictures(folder)
    classes = {sub.name: found for sub in _folders(folder) if (found := _pictures(sub))}
    deeper = [low for sub in _folders(folder) for low in _folders(sub) if _pictures(low)]
    rule = "path must hold pictures, or one sub-folder of pictures for each class"
    if deeper:
        inner = str(deeper[0].parent)
        raise ValueError(f"{rule}, but some lie deeper, in {deeper[0]}: load_folder({inner!r})")
    if here and classes:
        inner = str(folder / next(iter(classes)))
        raise ValueError(f"{rule}; {folder} holds both: move some, or load_folder({inner!r})")
    if not here and not classes:
        endings = sorted({file.suffix for file in folder.rglob("*") if file.is_file()})
        got = f"files ending in {', '.join(map(repr, endings))}" if endings else "no file"
        raise ValueError(f"{rule} ({' '.join(PICTURES)}); {folder} holds {got}")
    if classes and {name.lower() for name in classes} <= SPLITS:
        inner = str(folder / next(iter(classes)))
        raise ValueError(
            f"{rule}, but {sorted(classes)} are parts of a set: load_folder({inner!r})"
        )
    numbers = {int(name) for name in classes if name.isascii() and name.isdecimal()}
    numbered = len(numbers) == len(classes)
    pairs = [(file, -1) for file in here]
    for place, (name, files) in enumerate(classes.items()):
        pairs += [(file, int(name) if numbered else place) for file in files]
    return pairs


def _folders(folder: Path) -> list[Path]:
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
    return sorted(file for file in files if file.is_file() and file.name[0] != ".")


def _gray_square(file: Path, side: int) -> np.ndarray:
    """A picture as (side, side) uint8: gray, on white, the square in its middle, resized."""
    from PIL import Image, ImageOps  # only needed here

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)  # as the camera was held
            if image.mode.startswith("I"):  # 16 bits, which convert would cut off at 255
                sixteen = np.asarray(image).clip(0, 65535)
                image = Image.fromarray((sixteen / 257).round().astype(np.uint8))
            elif image.mode == "F":
                raise ValueError("its pixels are floats: read it yourself and use from_arrays")
            elif "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            edge = min(image.size)
            left, top = ((length - edge) // 2 for length in image.size)
            middle = image.convert("L").crop((left, top, left + edge, top + edge))
            return np.asarray(middle.resize((side, side)))
    except Exception as error:  # a damaged file can make Pillow's readers raise anything
        raise ValueError(
            f"path must hold pictures that can be read, but {file} cannot ({error}): mend or "
            "delete this file"
        ) from error
