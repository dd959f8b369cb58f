"""Oracles: the bundled file itself, the arrays that went in, and what a repair should have made."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from vaelab import binarize, data, from_arrays, load_mnist


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
    assert len({image.numpy().tobytes() for image in (*digits.train, *digits.test)}) == 5000
    means = torch.stack([digits.train[digits.train_labels == d].mean(dim=0) for d in range(10)])
    nearest = torch.cdist(digits.test, means).argmin(dim=1)
    assert (nearest == digits.test_labels).float().mean() > 0.75  # nearest mean, about 0.8 on MNIST
    assert load_mnist("5k").train.data_ptr() != digits.train.data_ptr()  # two loads share nothing


def test_the_bundled_file_is_small_and_a_pickle_in_its_place_is_not_run(monkeypatch, tmp_path):
    assert data.BUNDLED.stat().st_size <= 1.2e6
    np.savez(tmp_path / "bad.npz", images=np.array([print], dtype=object), labels=np.zeros(1))
    monkeypatch.setattr(data, "BUNDLED", tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_mnist("5k")


WHOLE = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
SHARES = WHOLE / 255
CLASSES = np.arange(20) % 3


def test_images_keep_their_labels_and_the_random_state_is_left_alone():
    state, rows = torch.get_rng_state(), torch.tensor(SHARES.reshape(20, 64), dtype=torch.float32)
    given = [WHOLE, np.copy(WHOLE[::-1])[::-1], np.asfortranarray(SHARES, np.longdouble)]
    for images in (*given, torch.tensor(SHARES).requires_grad_()):  # what no other table tries
        got = from_arrays(images, range(20), test=0.25, seed=np.int64(1))
        order = torch.cat([got.train_labels, got.test_labels])  # which image is which
        assert (len(got.train), len(got.test), sorted(order.tolist())) == (15, 5, [*range(20)])
        torch.testing.assert_close(torch.cat([got.train, got.test]), rows[order], rtol=0, atol=1e-7)
    plain = from_arrays(WHOLE)
    assert repr(plain) == "Digits(images: 16 train, 4 test)"
    assert plain.train_labels.tolist() + plain.test_labels.tolist() == [-1] * 20
    assert torch.equal(plain.train, from_arrays(SHARES, seed=0).train)
    assert not torch.equal(plain.train, from_arrays(WHOLE, seed=1).train)
    assert torch.equal(torch.get_rng_state(), state)


COLOR = np.stack([WHOLE] * 3, axis=-1)
CLEAR = np.concatenate([COLOR, np.full_like(COLOR[..., :1], 7)], axis=-1)
BINARY = WHOLE > 100
NARROW, MIDDLE = WHOLE[:, :, :6], SHARES[:, 1:7, :6]
UNEQUAL = [np.full((8, 8), 51, np.uint8), np.full((5, 8), 204, np.uint8)] * 10
REPAIRED = [  # an argument, what comes in, and what the line at the end of the message makes of it
    ("images", COLOR, SHARES),
    ("images", torch.tensor(COLOR.transpose(0, 3, 1, 2)), SHARES),
    ("images", torch.tensor(COLOR / 255), SHARES),
    ("images", list(COLOR), SHARES),
    ("images", CLEAR, SHARES),
    ("images", CLEAR[..., 2:], SHARES),
    ("images", NARROW, MIDDLE),
    ("images", NARROW[..., None], MIDDLE),
    ("images", torch.tensor(NARROW / 255)[:, None], MIDDLE),
    ("images", UNEQUAL, np.tile([[[0.2]], [[0.8]]], (10, 28, 28))),
    ("images", [image / 255 for image in UNEQUAL], np.tile([[[0.2]], [[0.8]]], (10, 28, 28))),
    ("images", WHOLE.astype(int), SHARES),
    ("images", WHOLE.astype(np.uint16) * 257, SHARES),
    ("images", BINARY, BINARY * 1.0),
    ("images", BINARY.astype(np.uint8), BINARY * 1.0),
    ("images", torch.tensor(BINARY).long(), BINARY * 1.0),
    ("images", SHARES * 255, SHARES),
    ("images", torch.tensor(SHARES * 16), SHARES),
    ("images", SHARES * 1.6 - 0.8, SHARES * 0.8 + 0.1),
    ("images", torch.tensor((SHARES - 0.4) / 0.3), SHARES),
    ("images", SHARES * 1.02 - 0.01, (SHARES * 1.02 - 0.01).clip(0, 1)),
    ("images", np.where(SHARES < 0.1, np.nan, SHARES), np.where(SHARES < 0.1, 0, SHARES)),
    ("images", torch.tensor(np.where(SHARES == 1, np.inf, SHARES)), SHARES),
    ("labels", torch.tensor(CLASSES).float(), CLASSES),
    ("labels", (CLASSES + 3).astype(str), CLASSES + 3),
    ("labels", np.array([*"abc"])[CLASSES], CLASSES),
    ("labels", [[k] for k in CLASSES], CLASSES),
    ("labels", np.eye(3)[CLASSES], CLASSES),
    ("labels", torch.eye(3)[CLASSES], CLASSES),
    ("test", 0.01, 0.1),
    ("test", 0.99, 0.9),
]


@pytest.mark.parametrize("name, bad, right", REPAIRED)
def test_the_message_ends_in_the_line_that_repairs(name, bad, right):
    given = {"images": WHOLE, name: bad}
    with pytest.raises((TypeError, ValueError)) as refusal:
        from_arrays(**given)
    line = re.search(rf": ((from PIL .*; )?{name} ?= ?.*)$", str(refusal.value))
    assert line, str(refusal.value)
    scope = given | {"np": np, "torch": torch}
    exec(line[1], scope)
    got, expected = (from_arrays(**given | {name: value}) for value in (scope[name], right))
    torch.testing.assert_close(got[:4], expected[:4], rtol=0, atol=1e-6)


def test_binarize_flips_a_coin_for_each_pixel_that_falls_as_its_gray_level_says():
    p, state = torch.tensor([0.0, 0.02, 0.3, 0.5, 0.9, 1.0]).double(), torch.get_rng_state()
    images = p.repeat(20_000, 1)
    drawn, again = (binarize(images, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(drawn, again) and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(0)
    assert torch.equal(drawn, binarize(images)) and not torch.equal(drawn, binarize(images))
    assert (drawn.shape, drawn.dtype) == (images.shape, images.dtype)
    assert ((drawn == 0) | (drawn == 1)).all() and (images == p).all()
    assert (drawn.mean(dim=0)[[0, 5]] == p[[0, 5]]).all()  # certain
    error = (drawn.mean(dim=0) - p)[1:5] / (p * (1 - p) / 20_000).sqrt()[1:5]
    together = torch.corrcoef(drawn[:, 1:5].T).fill_diagonal_(0)
    assert (error.abs() < 5).all() and together.abs().max() < 5 * 20_000**-0.5  # its own coin
