"""The guards, word for word: what passes, to the last value that does, and what a refusal says."""

from __future__ import annotations

import re
from math import inf, nan  # noqa: F401 - the tables use them
from pathlib import Path  # noqa: F401
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, ones, tensor

from vaelab import Digits, checks

GREY = np.array([[[0, 51], [102, 255]], [[0, 0], [51, 51]]], np.uint8)
TWO = Digits(ones(2, 4), tensor([0, 1]), ones(2, 4), tensor([1, 0]), "two")


def fill(low: float, high: float) -> np.ndarray:
    """(2, 2, 2) with these two values."""
    return np.array([[[low, high], [low, high]], [[low, high], [high, low]]])


def black(*shape: int) -> np.ndarray:
    return np.zeros(shape)


def rows_of(images: Any) -> Tensor:
    """What `as_pixels` makes of them, as whole grey levels."""
    pixels = checks.as_pixels(images)
    assert pixels.dtype == torch.float32
    return pixels.mul(255).round().int()


def unsized() -> nn.Module:
    """A model of any number of pixels, as far as a guard looks at it."""
    model = nn.Linear(4, 2)
    model.encode = model.forward
    return model


def tiny() -> nn.Module:
    """The same of four pixels."""
    model = unsized()
    model.data_dim = 4
    return model


def made_inside() -> nn.Module:
    with torch.inference_mode():
        return tiny()


def controller(lam=0, tolerance=0, step=0.5, per_dimension=True, init=1, floor=0):
    checks.check_controller(lam, tolerance, step, per_dimension, init, floor)


def run(seed=1, steps=2, batch_size=3, evaluations=2, lr=1, clip_norm=None, binarize=True):
    return checks.check_run(seed, steps, batch_size, evaluations, lr, clip_norm, binarize)


def choices(model=None, batch_size=4, objective=None, threads=None, **functions):
    checks.check_choices(model or tiny(), 4, batch_size, objective, threads, **functions)


def told(call: str) -> str:
    """The error of a call, or what it gave; nothing for None."""
    try:
        given = eval(call, {**vars(checks), **globals()})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    given = given.tolist() if isinstance(given, Tensor) else given
    return "" if given is None else str(given)


# Calls, divided by semicolons, that pass without a word.
PASS = """
check_sizes(n=1); check_sizes(n=np.int64(3), m=2); check_seed(0); check_seed(2**63 - 1)
check_seed(np.int64(7)); check_range("a", 0, 0, 1); check_range("a", np.float32(1), 0, 1)
check_range("a", inf, 0); check_range("a", 1, 0, 1, "(]"); check_range("a", 0, 0, 1, "[)")
controller(); controller(init=0.25, floor=0.25, per_dimension=False); controller(floor=1)
controller(init=ones(2), floor=1); check_flags(a=True, b=False); check_schedule(np.float64(1))
check_schedule(len); check_choice("size", "a", ("a", "b")); check_generator(None)
check_generator(torch.Generator()); check_columns("z", ones(2, 3), 3)
check_columns("z", ones(4, 2, 3), 3); check_columns("z", ones(2, 3), 3, like=ones(2, 3))
check_x_and_z(ones(2, 5), ones(2, 3), 5, 3); check_x_and_z(ones(2, 5), ones(7, 2, 3), 5, 3)
check_pair("a and b", "(B, D)", ones(2, 3), ones(2, 3)); check_terms(ones(1), ones(1, 1))
check_pair("a and b", "(B, D)", ones(5, 2, 3), ones(2, 3), stacked=True)
check_kl(ones(1, 3), ones(3), per_dimension=True); check_scalar(tensor(1.0))
check_kl(ones(2, 3), ones(4), per_dimension=False)
check_kl(ones(2, 3), tensor(1.0), per_dimension=True)
check_means(ones(2, 1)); check_rows(ones(1, 3)); check_images(tensor([[0.0, 1.0]]))
check_labels(tensor([0, 1]), 2, "y"); check_kind(TWO); check_model(nn.Linear(2, 3), "weight")
check_pca(ones(2, 3), 0.5, 1); check_pca(ones(2, 3), 0.5, 3); choices()
choices(objective=len, threads=1, f=len, g=None)
"""
# A call, and below it what is said or given: with ? for each of the values after ::, if there are.
SAID = """
check_sizes(m=1, n=?)
    ValueError: n must be a positive integer, got ? :: 0; 1.0; True
check_seed(?)
    ValueError: seed must be an integer of at least 0 and below 2**63, got ?
    :: 9223372036854775808; -1; False
check_range("a", ?, 0, 1)
    ValueError: a must be in [0, 1], got ? :: 1.5; -0.5; nan
check_range("a", ?, 0, 1)
    TypeError: a must be a number, got ? :: '1'; True
check_range("a", ?, 0, 1, "()")
    ValueError: a must be in (0, 1), got ? :: 0; 1
check_range("a", 0, 0, 1, "(]")
    ValueError: a must be in (0, 1], got 0
check_range("a", 1, 0, 1, "[)")
    ValueError: a must be in [0, 1), got 1
check_progress(0)
    0
check_progress(1.01)
    ValueError: progress must be in [0, 1], got 1.01
controller(lam=?)
    ValueError: lam must be in [0, inf), got ? :: inf; -1
controller(tolerance=?)
    ValueError: tolerance must be in [0, 1), got ? :: 1; -0.1
controller(step=?)
    ValueError: step must be in (0, 1), got ? :: 0; 1
controller(init=?, floor=0.25)
    ValueError: init must be in [0.25, 1], got ? :: 0.2; 1.5
controller(init=tensor([0.5, 2]))
    ValueError: init must be in [0, 1], got 2.0
controller(init=ones(1, 2))
    ValueError: init must be (D,), got (1, 2)
controller(init=ones(2).long())
    TypeError: init must be a float tensor (D,), got torch.int64
controller(floor=?)
    ValueError: floor must be in [0, 1], got ? :: 1.5; -0.5
controller(per_dimension=1)
    TypeError: per_dimension must be True or False, got 1
check_schedule(?)
    TypeError: schedule must be a number or a function, got ? :: True; 'up'
check_choice("size", "c", ("a", "b"))
    ValueError: size must be 'a' or 'b', got 'c'
check_choice("size", None, ("a",), " (here)")
    ValueError: size must be 'a', got None (here)
check_generator(3)
    TypeError: generator must be a torch.Generator or None, got 3
check_path("root", "x")
    x
check_path("root", 3)
    TypeError: root must be a path, got 3
check_finite("D", 1.5)
    1.5
check_finite("D", ?)
    NotFinite: D is ? :: nan; -inf
as_double(np.float32(1.5)).dtype
    torch.float64
as_double(ones(2), positive=True)
    [1.0, 1.0]
as_double(-1)
    -1.0
as_double(?)
    TypeError: x, z, mean and std must be numbers or tensors, got ? :: True; '1'
as_double(tensor([1, nan]))
    ValueError: x, z, mean and std must be finite, got tensor([1., nan], dtype=torch.float64)
as_double(?, positive=True)
    ValueError: std must be positive, got ? :: 0.0; tensor([1., 0.], dtype=torch.float64)
check_columns("z", ones(?), 3)
    ValueError: z must be (batch, 3), got ? :: (2, 4); (3,); (0, 3)
check_columns("z", ones(4, 2, 3), 3, stacked=False)
    ValueError: z must be (batch, 3), got (4, 2, 3)
check_columns("z", ones(2, 3).long(), 3)
    TypeError: z must be a float tensor (batch, 3), got torch.int64
check_columns("z", black(2, 3), 3)
    TypeError: z must be a float tensor (batch, 3), got ndarray
check_columns("z", ones(2, 3), 3, like=ones(4, 3))
    ValueError: z must be (4, 3), got (2, 3)
check_x_and_z(ones(?), ones(2, 3), 5, 3)
    ValueError: x must be (batch, 5), got ? :: (1, 2, 5); (2, 6)
check_x_and_z(ones(2, 5), ones(?), 5, 3, stacked=False)
    ValueError: z must be (batch, 3), got ? :: (7, 2, 3); (2, 4)
check_x_and_z(ones(2, 5), ones(4, 3), 5, 3)
    ValueError: x and z must hold as many images, got 2 and 4
check_pair("a and b", "(B, D)", ones(?), ones(2, 3))
    ValueError: a and b must both be (B, D), got ? and (2, 3) :: (2, 4); (5, 2, 3)
check_pair("a and b", "(B, D)", ones(3), ones(3))
    ValueError: a and b must both be (B, D), got (3,) and (3,)
check_pair("a and b", "(B, D)", ones(5, 2, 4), ones(2, 3), stacked=True)
    ValueError: a and b must both be (B, D), got (5, 2, 4) and (2, 3)
check_pair("a and b", "(B, D)", ones(2, 3), ones(2, 3).long())
    TypeError: a and b must both be float tensors (B, D), got torch.int64
check_pair("a and b", "(B, D)", None, ones(2, 3))
    TypeError: a and b must both be float tensors (B, D), got NoneType
check_terms(ones(?), ones(2, 3))
    ValueError: nll must be (B,), got ? :: (2, 1); (0,)
check_terms(1.0, ones(2, 3))
    TypeError: nll must be a float tensor (B,), got float
check_terms(ones(2), ones(?))
    ValueError: kl must be (2, D), got ? :: (3, 3); (2,)
check_terms(ones(2), [1.0])
    TypeError: kl must be a float tensor (2, D), got list
check_kl(ones(2, 3), ones(4), per_dimension=True)
    ValueError: kl must be (B, 4) as in the first call, got (2, 3)
check_kl(ones(?), ones(3), per_dimension=True)
    ValueError: kl must be (B, D) with B >= 1, got ? :: (3,); (0, 3)
check_kl([[0.1]], ones(3), per_dimension=True)
    TypeError: kl must be a float tensor (B, D) with B >= 1, got list
check_scalar(ones(2))
    TypeError: objective must return a scalar tensor (average the batch), got (2,)
check_scalar(1.0)
    TypeError: objective must return a scalar tensor (average the batch), got float
check_means(ones(?))
    ValueError: mu must be (N, D) with N >= 2, got ? :: (1, 3); (2, 0); (2, 3, 4)
check_means(None)
    TypeError: mu must be a float tensor (N, D) with N >= 2, got NoneType
check_means(ones(2, 3) * inf)
    ValueError: mu must be finite, got NaN or infinity: did the training diverge?
check_indices([2, 0], 3)
    [2, 0]
check_indices([?], 3)
    [?] :: 0, 1, 2; 1
check_indices(tensor([True, False, True]), 3)
    [0, 2]
check_indices(?, 3)
    ValueError: keep must be distinct indices within 0 .. 2 or a boolean mask (3,), got ?
    :: [True, False]; [False, False, False]; [3]; [-1]; [0, 0]; []; [0.0]; [1j]; [[0]]; 'all'; None
check_rows(ones(?))
    ValueError: images must be (N, P) with N >= 1, got ? :: (3,); (0, 3)
check_rows("x")
    TypeError: images must be a float tensor (N, P) with N >= 1, got str
check_images(ones(2, 3) * ?, "the thing")
    ValueError: the thing must be within [0, 1], got values from ? to ?; if they are 0..255, divide
    them by 255 :: 255; 1.25; -0.5; nan
check_images(ones(?))
    ValueError: images must be (N, pixels) with N >= 1, got ? :: (3,); (2, 0)
check_images(ones(2, 3).byte())
    TypeError: images must be a float tensor (N, pixels) with N >= 1, got torch.uint8
check_labels([0, 1], 2, "y")
    TypeError: y must be an int64 tensor of labels 0, 1, .., got list
check_labels(ones(2), 2, "y")
    TypeError: y must be an int64 tensor of labels 0, 1, .., got torch.float32
check_labels(tensor([0]), 2, "y")
    ValueError: y must be (2,), one to an image, got (1,)
check_labels(tensor([0, -1]), 2, "y")
    ValueError: y must be 0 or more, got -1, which means: no label
check_kind(ones(2, 3))
    TypeError: digits must be Digits, as load_mnist() returns them, got Tensor
as_labels(None, 2)
    [-1, -1]
as_labels([0, -1], 2)
    [0, -1]
as_labels(tensor([3, 4]), 2)
    [3, 4]
as_labels(np.array([True, False]), 2)
    [1, 0]
as_labels([0, -2], 2)
    ValueError: labels must be 0, 1, .., or -1 for none, got -2
as_labels(black(*?), 2)
    ValueError: labels must be (2,), one to each of the images, got ? :: (3,); (); (3, 3); (2, 2, 1)
as_labels(ones(3).bfloat16(), 2)
    ValueError: labels must be (2,), one to each of the images, got (3,)
as_labels([[1], [2, 3]], 2)
    ValueError: labels must be (2,), one to each of the images, got rows of unequal length
as_labels([[1], [2]], 2)
    ValueError: labels must be (2,), one to each of the images, got (2, 1): labels =
    np.asarray(labels).reshape(-1)
as_labels(torch.eye(2), 2)
    ValueError: labels must be (2,), one to each of the images, got (2, 2): labels =
    labels.argmax(1)
as_labels(np.array([0.0, 1.0]), 2)
    TypeError: labels must be whole numbers, got float64: labels =
    np.asarray(labels).astype(float).astype(int)
as_labels([0.5, 1.0], 2)
    TypeError: labels must be whole numbers, got float64: labels =
    np.unique(labels, return_inverse=True)[1]
as_labels(["7", "8"], 2)
    TypeError: labels must be whole numbers, got <U1: labels =
    np.asarray(labels).astype(float).astype(int)
as_labels(["a", "b"], 2)
    TypeError: labels must be whole numbers, got <U1: labels =
    np.unique(labels, return_inverse=True)[1]
as_labels([None, None], 2)
    TypeError: labels must be whole numbers, got object: labels =
    np.unique(labels, return_inverse=True)[1]
held_out(0.4, 4)
    2
held_out(?, 10)
    2 :: 0.2; 0.15
held_out(0.8, 10)
    8
held_out(0.01, 10)
    ValueError: test must leave 2 or more of the 10 images on each side, got 0.01, which holds out
    0: test=0.2
held_out(0.99, 10)
    ValueError: test must leave 2 or more of the 10 images on each side, got 0.99, which holds out
    10: test=0.8
held_out(0.001, 300)
    ValueError: test must leave 2 or more of the 300 images on each side, got 0.001, which holds
    out 0: test=0.01
held_out(0.999, 300)
    ValueError: test must leave 2 or more of the 300 images on each side, got 0.999, which holds
    out 300: test=0.99
held_out(0.5, 3)
    ValueError: images must be 4 or more, 2 to train and 2 to test on, got 3
held_out(?, 10)
    ValueError: test must be in (0, 1), got ? :: 0; 1
rows_of(?)
    [[0, 51, 102, 255], [0, 0, 51, 51]]
    :: GREY; GREY / 255; GREY[..., None]; GREY[:, None]; GREY.reshape(2, 4); [*GREY]; tuple(GREY);
    [*tensor(GREY)]; np.array((GREY / 255).tolist(), dtype=object); (GREY / 255).tolist();
    tensor(GREY / 255).bfloat16(); tensor(GREY / 255).half(); (GREY / 255).astype(">f4");
    [*tensor(GREY / 255).bfloat16()]; [tensor(GREY[0]), GREY[1]]
rows_of(GREY[:1, ..., None])
    [[0, 51, 102, 255]]
rows_of(black(2, 2, 2).astype(np.uint8))
    [[0, 0, 0, 0], [0, 0, 0, 0]]
as_pixels(?)
    TypeError: images must be arrays; picture files: load_folder('a.png') :: 'a.png'; Path('a.png')
as_pixels(?)
    ValueError: images must be (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P) with N >= 1, got ()
    :: 3; 0.5
as_pixels(black(*?))
    ValueError: images must be (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P) with N >= 1, got ?
    :: (2,); (1, 1, 2, 2, 2); (0, 2, 2)
as_pixels([])
    ValueError: images must be (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P) with N >= 1, got (0,)
as_pixels(object())
    TypeError: images must be an array or tensor of numbers, got object
as_pixels(None)
    TypeError: images must be an array or tensor of numbers, got NoneType
as_pixels(["a.png"])
    TypeError: images must be an array or tensor of numbers, got <U5
as_pixels(GREY * 1j)
    TypeError: images must be an array or tensor of numbers, got complex128
as_pixels(ones(2, 2, 2) * 1j)
    TypeError: images must be an array or tensor of numbers, got complex64
as_pixels([GREY[0], GREY[1, :1]])
    ValueError: images must be of one size, got (1, 2) and (2, 2): from PIL import Image, ImageOps;
    images = [ImageOps.fit(Image.fromarray(np.asarray(i)), (28, 28)) for i in images]
as_pixels([GREY[0] / 255, GREY[1, :1], GREY[0, :, :1]])
    ValueError: images must be of one size, got (1, 2) and (2, 2): from PIL import Image, ImageOps;
    images = [ImageOps.fit(Image.fromarray(np.uint8(255 * i)), (28, 28)) for i in images]
as_pixels(black(2, 4, 4, 3).astype(np.uint8))
    ValueError: images must be grey, got (2, 4, 4, 3): images = (images[..., :3] / 255).mean(3)
as_pixels(black(2, 3, 4, 4))
    ValueError: images must be grey, got (2, 3, 4, 4): images = images[:, :3].mean(1)
as_pixels(black(2, 4, 4, 4))
    ValueError: images must be grey, got (2, 4, 4, 4): images = images[..., :3].mean(3)
as_pixels(black(2, 4, 4, 2))
    ValueError: images must be grey, got (2, 4, 4, 2): images = images[..., :1].mean(3)
as_pixels([*torch.zeros(2, 4, 4, 3)])
    ValueError: images must be grey, got (2, 4, 4, 3): images = torch.stack(images)[..., :3].mean(3)
as_pixels([torch.zeros(4, 4, 3), black(4, 4, 3)])
    ValueError: images must be grey, got (2, 4, 4, 3): images = np.stack(images)[..., :3].mean(3)
as_pixels(black(2, 4, 7))
    ValueError: images must be square, got 4 x 7 pixels: images = images[:, 0:4, 1:5]
as_pixels(black(2, 7, 4, 1))
    ValueError: images must be square, got 7 x 4 pixels: images = images[:, 1:5, 0:4]
as_pixels(black(2, 1, 8, 4))
    ValueError: images must be square, got 8 x 4 pixels: images = images[..., 2:6, 0:4]
as_pixels(black(2, 4, 8))
    ValueError: images must be square, got 4 x 8 pixels: images = images[:, 0:4, 2:6]
as_pixels(black(2, 5))
    ValueError: images must be square, but rows of 5 pixels are not: pass (N, H, W)
as_pixels(fill(0, 1).astype(np.uint8))
    TypeError: images must be uint8 from 0 to 255 or floats, got uint8 from 0 to 1: images = images
    * 1.0
as_pixels(fill(0, 1) > 0)
    TypeError: images must be uint8 from 0 to 255 or floats, got bool from 0 to 1: images = images *
    1.0
as_pixels([*fill(-1, 1)])
    TypeError: images must be uint8 from 0 to 255 or floats, got int64 from -1 to 1: images =
    np.stack(images) / 1.0
as_pixels(fill(0, ?))
    TypeError: images must be uint8 from 0 to 255 or floats, got int64 from 0 to ?: images = images
    / ?.0 :: 15; 16; 256
as_pixels(fill(0, ?))
    TypeError: images must be uint8 from 0 to 255 or floats, got int64 from 0 to ?: images = images
    / 255 :: 17; 255
as_pixels(fill(0, ?))
    ValueError: images must be within [0, 1], got float64 from 0 to ?: images = images / ? :: 1.1;
    255.5
as_pixels(fill(0.5, 16))
    ValueError: images must be within [0, 1], got float64 from 0.5 to 16: images = images / 16.0
as_pixels(fill(0.5, ?))
    ValueError: images must be within [0, 1], got float64 from 0.5 to ?: images = images / 255
    :: 16.5; 255
as_pixels(fill(0, 1.05))
    ValueError: images must be within [0, 1], got float64 from 0 to 1.05: images = images.clip(0, 1)
as_pixels(fill(-0.05, 1))
    ValueError: images must be within [0, 1], got float64 from -0.05 to 1: images = images.clip(0,
    1)
as_pixels(fill(?, 0.5))
    ValueError: images must be within [0, 1], got float64 from ? to 0.5: images = (images + 1) / 2
    :: -0.1; -0.9
as_pixels(fill(-1.0, 1.0))
    ValueError: images must be within [0, 1], got float64 from -1 to 1: images = (images + 1) / 2
as_pixels(fill(-1.0, 1.5))
    ValueError: images must be within [0, 1], got float64 from -1 to 1.5: images = (images - -1.0) /
    2.5
as_pixels(fill(-1.5, 0.5))
    ValueError: images must be within [0, 1], got float64 from -1.5 to 0.5: images = (images - -1.5)
    / 2.0
as_pixels(fill(0, inf))
    ValueError: images must be within [0, 1], got float64 from 0 to inf: images =
    np.nan_to_num(np.asarray(images), posinf=1, neginf=0)
as_pixels(fill(-inf, 0))
    ValueError: images must be within [0, 1], got float64 from -inf to 0: images =
    np.nan_to_num(np.asarray(images), posinf=1, neginf=0)
check_model(nn.Linear(2, 3))
    TypeError: model must be a VAE or RowGRUVAE, with encode, got Linear
check_model(nn.Linear)
    TypeError: model must be a VAE or RowGRUVAE, with encode, got the class Linear: call it
check_model(None, "to_mu")
    TypeError: model must be a VAE or RowGRUVAE, with to_mu, got NoneType
check_inputs(None, ones(2, 4))
    TypeError: model must be a VAE or RowGRUVAE, with encode, got NoneType
check_inputs(tiny(), ones(1, 4))
    [[1.0, 1.0, 1.0, 1.0]]
check_inputs(tiny(), ones(?))
    ValueError: images must be (N, 4) with N >= 1 for this model, got ? :: (2, 3); (2, 1, 4)
check_inputs(unsized(), ones(1, 3))
    [[1.0, 1.0, 1.0]]
check_inputs(unsized(), ones(2, 1, 4))
    ValueError: images must be (N, 4) with N >= 1 for this model, got (2, 1, 4)
check_inputs(tiny(), ones(1, 4), "x", 2)
    ValueError: x must be (N, 4) with N >= 2 for this model, got (1, 4)
check_inputs(tiny(), ones(2, 4) * 2, "x")
    ValueError: x must be within [0, 1], got values from 2 to 2; if they are 0..255, divide them by
    255
check_inputs(tiny().to(?), ones(2, 4).double()).dtype
    torch.float32 :: torch.float16; torch.bfloat16; torch.float32
check_digits(tiny().double(), TWO._replace(train=ones(1, 4)), labelled=False)[0].dtype
    torch.float64
check_digits(tiny(), TWO._replace(train_labels=None))[0].dtype
    torch.float32
check_digits(tiny(), TWO._replace(train=ones(2, 3)))
    ValueError: digits.train must be (N, 4) with N >= 1 for this model, got (2, 3)
check_digits(tiny(), TWO._replace(test=ones(1, 4)))
    ValueError: digits.test must be (N, 4) with N >= 2 for this model, got (1, 4)
check_digits(tiny(), TWO._replace(train_labels=None), labelled=True)
    TypeError: digits.train_labels must be an int64 tensor of labels 0, 1, .., got NoneType
check_digits(tiny(), TWO._replace(test_labels=tensor([1])), labelled=True)
    ValueError: digits.test_labels must be (2,), one to an image, got (1,)
check_pca(ones(2, 3), 0.5, 4)
    ValueError: latent_dim must be in [1, 3], got 4
check_pca(ones(2, 3), 0.5, 0)
    ValueError: latent_dim must be a positive integer, got 0
check_pca(ones(2, 3), ?, 1)
    ValueError: noise must be in (0, inf), got ? :: 0; inf
check_pca(ones(2, 3, 4), 0.5, 1)
    ValueError: images must be (N, P) with N >= 1, got (2, 3, 4)
check_pca(ones(2, 3) * 2, 0.5, 1)
    ValueError: images must be within [0, 1], got values from 2 to 2; if they are 0..255, divide
    them by 255
run()
    {'seed': 1, 'steps': 2, 'batch_size': 3, 'lr': 1.0, 'clip_norm': None, 'binarize': True}
run(clip_norm=5, binarize=False)
    {'seed': 1, 'steps': 2, 'batch_size': 3, 'lr': 1.0, 'clip_norm': 5.0, 'binarize': False}
run(seed=-1)
    ValueError: seed must be an integer of at least 0 and below 2**63, got -1
run(?=0)
    ValueError: ? must be a positive integer, got 0 :: steps; batch_size; evaluations
run(evaluations=3)
    ValueError: evaluations must be at most steps, got 3 > 2
run(lr=?)
    ValueError: lr must be in (0, inf), got ? :: 0; inf
run(clip_norm=?)
    ValueError: clip_norm must be in (0, inf), got ? :: 0; inf
run(binarize=1)
    TypeError: binarize must be True or False, got 1
choices(batch_size=5)
    ValueError: batch_size 5 is more than the 4 training images
choices(objective=?)
    TypeError: objective must be an object such as ELBO() or a function, called with (nll, kl,
    progress), got ?; ELBO in vaelab.objectives shows how :: 0.5; 'ELBO'
choices(objective=dict)
    TypeError: objective must be an object such as ELBO() or a function, called with (nll, kl,
    progress), got <class 'dict'>; ELBO in vaelab.objectives shows how
choices(threads=0)
    ValueError: threads must be a positive integer, got 0
choices(f=3)
    TypeError: f must be a function, got 3
choices(tiny().to(?))
    TypeError: model must be trained in float32, got ?: call model.float() first
    :: torch.float16; torch.bfloat16
choices(made_inside())
    ValueError: model must be made outside torch.inference_mode(), got one made inside
usable("?")
    ? :: cpu; meta
kind_of(?)
    list :: [1]; []
kind_of(ones(2))
    torch.float32
device_of(tiny())
    cpu
dtype_of(?)
    torch.float32 :: tiny(); nn.Identity()
"""


SAYS: dict[str, str] = dict.fromkeys(re.split(r";\s|\n", PASS.strip()), "")
for block in re.split(r"\n(?! )", SAID.strip()):
    call, *rest = (line.strip() for line in block.split("\n"))
    said, _, values = " ".join(rest).partition(" :: ")
    for value in values.split("; ") if values else ["?"]:
        SAYS[call.replace("?", value)] = said.replace("?", value)


@pytest.mark.parametrize("call", SAYS)
def test_a_guard_says_this_and_no_more(call):
    assert told(call) == SAYS[call]
