"""Oracles: the bundled file itself, the arrays that went in, and what a repair should have made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vaelab import VAE, binarize, evaluate, fit, from_arrays, load_mnist
from vaelab import data as data_module
from vaelab.checks import check_images
from vaelab.data import BUNDLED

# --- the bundled digits -------------------------------------------------------------------------


def test_bundled_digits_are_what_is_promised(digits):
    assert repr(digits) == "Digits(MNIST, 5,000 digits: 4,000 train, 1,000 test)"
    parts = [(digits.train, digits.train_labels, 400), (digits.test, digits.test_labels, 100)]
    for images, labels, of_each in parts:
        assert images.shape == (10 * of_each, 784) and images.dtype == torch.float32
        assert (images.min(), images.max()) == (0, 1)
        assert (images.mul(255) - images.mul(255).round()).abs().max() < 1e-4  # were 0 .. 255
        assert labels.dtype == torch.int64 and labels.bincount().tolist() == [of_each] * 10
        same = (labels[1:] == labels[:-1]).float().mean().item()  # shuffled
        assert abs(same - 0.1) < 5 * (0.1 * 0.9 / len(labels)) ** 0.5
    assert (
        len({image.numpy().tobytes() for image in torch.cat([digits.train, digits.test])}) == 5000
    )


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


def test_a_pickle_in_place_of_the_bundled_file_is_not_run(monkeypatch, tmp_path):
    bad = tmp_path / "digits.npz"
    np.savez(bad, images=np.array([print], dtype=object), labels=np.zeros(1))
    monkeypatch.setattr(data_module, "BUNDLED", bad)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_mnist("5k")


# --- your own images ----------------------------------------------------------------------------

WHOLE = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
SHARES = WHOLE / 255
CLASSES = np.arange(20) % 3
KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "uint8": np.copy,
    "tensor of uint8": torch.tensor,
    "read only": lambda a: np.broadcast_to(a[:1], a.shape),
    "backwards": lambda a: a[::-1],
    "float16": lambda a: (a / 255).astype(np.float16),
    "float32": lambda a: (a / 255).astype(np.float32),
    "float64": lambda a: a / 255,
    "long double": lambda a: (a / 255).astype(np.longdouble),
    "another machine's floats": lambda a: (a / 255).astype(">f4"),
    "tensor of float64": lambda a: torch.tensor(a / 255),
    "tensor of bfloat16": lambda a: torch.tensor(a / 255).bfloat16(),
    "tensor with a gradient": lambda a: torch.tensor(a / 255).requires_grad_(),
    "list": list,
    "list of tensors": lambda a: list(torch.tensor(a)),
    "nested lists": lambda a: (a / 255).tolist(),
    "objects": lambda a: np.array((a / 255).tolist(), dtype=object),
}
SHAPES = [(20, 8, 8), (20, 8, 8, 1), (20, 1, 8, 8), (20, 64), (20, 1, 1), (20, 1, 1, 1)]


CASES = [(kind, SHAPES[0]) for kind in KINDS]
CASES += [(kind, shape) for kind in ("uint8", "nested lists") for shape in SHAPES[1:]]


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_every_kind_of_array_becomes_rows_of_grey_levels(kind, shape):
    whole = WHOLE.reshape(20, -1)[:, : np.prod(shape[1:])].reshape(shape)
    given = KINDS[kind](whole)
    got = from_arrays(given, range(20), test=0.25)  # the labels say which image is which
    order = torch.cat([got.train_labels, got.test_labels])
    assert (len(got.train), len(got.test), sorted(order.tolist())) == (15, 5, [*range(20)])
    expected = {"backwards": whole[::-1], "read only": whole[[0] * 20]}.get(kind, whole)
    rows = torch.tensor(expected.reshape(20, -1) / 255, dtype=torch.float32)[order]
    rounding = {"float16": 2**-11, "tensor of bfloat16": 2**-8}.get(kind, 1e-7)
    torch.testing.assert_close(torch.cat([got.train, got.test]), rows, rtol=0, atol=rounding)


@pytest.mark.parametrize(
    "labels", [CLASSES, torch.tensor(CLASSES), CLASSES.tolist(), CLASSES.astype(np.uint8)]
)
def test_labels_follow_their_images(labels):
    got = from_arrays(np.repeat(CLASSES / 2, 64).reshape(20, 64), labels)
    assert got.train_labels.dtype == torch.int64
    assert torch.equal(got.train[:, 0] * 2, got.train_labels.float())
    assert torch.equal(got.test[:, 0] * 2, got.test_labels.float())


def test_images_without_labels_can_be_trained_on():
    state = torch.get_rng_state()
    got = from_arrays(WHOLE, name="noise", seed=1)
    assert repr(got) == "Digits(noise: 16 train, 4 test)"
    assert got.train_labels.tolist() + got.test_labels.tolist() == [-1] * 20
    assert torch.equal(got.train, from_arrays(WHOLE, seed=np.int64(1)).train)
    assert not torch.equal(got.train, from_arrays(WHOLE).train)
    assert torch.equal(torch.get_rng_state(), state)
    model = VAE(2, 8, data_dim=64)
    fit(model, got, steps=2, batch_size=8, evaluations=1, progress=False)
    assert evaluate(model, got.test).distortion > 0


def middle(images: np.ndarray) -> np.ndarray:
    """Rows 1 to 6 of 8 and all 6 columns of images that are 8 x 6."""
    return images[:, 1:7]


COLOR = np.stack([WHOLE] * 3, axis=-1)
CLEAR = np.concatenate([COLOR, np.full_like(COLOR[..., :1], 7)], axis=-1)
BINARY = WHOLE > 100
# what comes in; what the line at the end of the message must make of it
REPAIRED: dict[str, tuple[Any, np.ndarray | None]] = {
    "colors": (COLOR, SHARES),
    "colors first": (torch.tensor(COLOR.transpose(0, 3, 1, 2)), SHARES),
    "colors, floats": (torch.tensor(COLOR / 255), SHARES),
    "colors, a list": (list(COLOR), SHARES),
    "transparency": (CLEAR, SHARES),
    "grey and transparency": (CLEAR[..., 2:], SHARES),
    "not square": (WHOLE[:, :, :6], middle(SHARES[:, :, :6])),
    "not square, channels last": (WHOLE[:, :, :6, None], middle(SHARES[:, :, :6])),
    "not square, channels first": (torch.tensor(SHARES)[:, None, :, :6], middle(SHARES[..., :6])),
    "unequal": ([WHOLE[0], WHOLE[1, :5]] * 5, None),
    "unequal floats": ([SHARES[0], SHARES[1, :5]] * 5, None),
    "unequal, of objects": (np.array([WHOLE[0], WHOLE[1, :5]] * 5, dtype=object), None),
    "whole, 0 to 255": (WHOLE.astype(int), SHARES),
    "16 bits": (WHOLE.astype(np.uint16) * 257, SHARES),
    "16 bits, a tensor": (torch.tensor(WHOLE).int() * 257, SHARES),
    "yes or no": (BINARY, BINARY * 1.0),
    "uint8, 0 and 1": (BINARY.astype(np.uint8), BINARY * 1.0),
    "int64, 0 and 1": (torch.tensor(BINARY).long(), BINARY * 1.0),
    "floats, 0 to 255": (SHARES * 255, SHARES),
    "floats, 0 to 16": (torch.tensor(SHARES * 16), SHARES),
    "-1 to 1": (SHARES * 1.6 - 0.8, SHARES * 0.8 + 0.1),
    "standardized": (torch.tensor((SHARES - 0.4) / 0.3), SHARES),
    "just outside": (SHARES * 1.02 - 0.01, (SHARES * 1.02 - 0.01).clip(0, 1)),
    "holes": (np.where(SHARES < 0.1, np.nan, SHARES), np.where(SHARES < 0.1, 0, SHARES)),
    "infinite": (torch.tensor(np.where(SHARES == 1, np.inf, SHARES)), SHARES),
}


def repaired(call: Callable[..., Any], names: dict[str, Any]) -> Any:
    """What a call gives after the line that its message ends in was carried out."""
    with pytest.raises((TypeError, ValueError)) as refusal:
        call(**names)
    line = re.search(r": ((?:from PIL .*; )?(?:images|labels) = .*)$", str(refusal.value))
    assert line, str(refusal.value)
    scope = {**names, "np": np, "torch": torch}
    exec(line[1], scope)
    return call(**{name: scope[name] for name in names})


@pytest.mark.parametrize("fault", REPAIRED)
def test_the_message_ends_in_the_line_that_repairs_the_images(fault):
    bad, right = REPAIRED[fault]
    got = repaired(from_arrays, {"images": bad})
    if right is not None:
        expected = from_arrays(right)
        torch.testing.assert_close(got.train, expected.train, rtol=0, atol=1e-6)
        torch.testing.assert_close(got.test, expected.test, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "labels, right",
    [
        (CLASSES * 1.0, CLASSES),
        (torch.tensor(CLASSES).float(), CLASSES),
        ((CLASSES + 3).astype(str), CLASSES + 3),
        (np.array([*"abc"])[CLASSES], CLASSES),
        ([[k] for k in CLASSES], CLASSES),
        (np.eye(3)[CLASSES], CLASSES),
        (torch.eye(3)[CLASSES], CLASSES),
    ],
)
def test_the_message_ends_in_the_line_that_repairs_the_labels(labels, right):
    got = repaired(lambda labels: from_arrays(WHOLE, labels), {"labels": labels})
    assert torch.equal(got.train_labels, from_arrays(WHOLE, right).train_labels)


@pytest.mark.parametrize("count, test", [(4, 0.2), (5, 0.9), (300, 0.001), (1000, 0.9999)])
def test_a_share_that_leaves_too_few_images_is_replaced(count, test):
    images = np.zeros((count, 4))
    with pytest.raises(ValueError, match="test must leave 2 or more") as refusal:
        from_arrays(images, test=test)
    got = from_arrays(images, test=float(str(refusal.value).split("test=")[1]))
    assert len(got.test) >= 2 and len(got.train) >= 2


# --- binarize -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 784), (2, 3, 5)])
def test_binarize_draws_zeros_and_ones_anew_from_the_generator_or_the_global_one(shape, dtype):
    images = torch.rand(shape, dtype=dtype)
    before, state = images.clone(), torch.get_rng_state()
    first, again = (binarize(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), state)
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert ((first == 0) | (first == 1)).all() and torch.equal(images, before)
    torch.manual_seed(3)
    assert torch.equal(first, binarize(images))
    assert not torch.equal(first, binarize(images))


def test_binarize_has_the_grey_level_for_its_mean():
    n, p = 20_000, torch.tensor([0.0, 0.02, 0.3, 0.5, 0.9, 1.0])
    drawn = binarize(p.expand(n, 6), torch.Generator().manual_seed(0))
    assert (drawn.mean(dim=0)[[0, 5]] == p[[0, 5]]).all()  # certain
    error = (drawn.mean(dim=0) - p)[1:5] / (p * (1 - p) / n).sqrt()[1:5]
    assert (error.abs() < 5).all()
    together = torch.corrcoef(drawn[:, 1:5].T).fill_diagonal_(0)
    assert together.abs().max() < 5 * n**-0.5  # every pixel is its own coin


# --- what is no image ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, message",
    [
        (torch.full((2, 3), 255.0), "got values from 255 to 255; if they are 0..255, divide them"),
        (torch.tensor([[0.0, 1.0001]]), r"within \[0, 1\]"),
        (torch.tensor([[0.0, float("nan")]]), r"within \[0, 1\], got values from nan"),
        (torch.zeros(3, 0), r"N >= 1, got \(3, 0\)"),
        (torch.zeros(784), r"\(N, pixels\) .*got \(784,\)"),
        (torch.zeros(2, 3, dtype=torch.uint8), "a float tensor .*got torch.uint8"),
        (np.zeros((2, 3), dtype=np.float32), "a float tensor .*got ndarray"),
    ],
)
def test_values_and_shapes_that_are_no_images_are_refused(bad, message):
    with pytest.raises((TypeError, ValueError), match=f"the thing must be .*{message}"):
        check_images(bad, "the thing")
    with pytest.raises((TypeError, ValueError), match="images must be"):
        binarize(bad)
    for good in (torch.zeros(1, 1), torch.ones(2, 3, 4), torch.rand(5, 784).double()):
        assert check_images(good) is None
