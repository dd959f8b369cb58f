"""The guards, word for word: what passes, to the last value that does, and what a refusal says."""

from __future__ import annotations

import re
from math import inf, nan  # noqa: F401 - the tables use them
from pathlib import Path  # noqa: F401
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, ones, tensor

from vaelab import Digits, checks

GRAY = np.array([[[0, 51], [102, 255]], [[0, 0], [51, 51]]], np.uint8)
TWO = Digits(ones(2, 4), tensor([0, 1]), ones(2, 4), tensor([1, 0]), "two")


def fill(low: float, high: float) -> np.ndarray:
    """(2, 2, 2) with these two values."""
    return np.array([[[low, high], [low, high]], [[low, high], [high, low]]])


def black(*shape: int) -> np.ndarray:
    return np.zeros(shape)


def rows_of(images: Any) -> Tensor:
    """What `as_pixels` makes of them, as whole gray levels."""
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
check_sizes(n=np.int64(3), m=1); check_seed(0); check_seed(2**63 - 1); check_seed(np.int64(7))
check_range("a", 0, 0, 1); check_range("a", np.float32(1), 0, 1); check_range("a", inf, 0)
check_range("a", 1, 0, 1, "(]"); check_range("a", 0, 0, 1, "[)"); controller(); controller(floor=1)
controller(init=0.25, floor=0.25, per_dimension=False); controller(init=ones(2), floor=1)
check_flags(a=True, b=False); check_schedule(np.float64(1)); check_schedule(len)
check_choice("size", "a", ("a", "b")); check_generator(None); check_generator(torch.Generator())
check_columns("z", ones(2, 3), 3); check_columns("z", ones(4, 2, 3), 3)
check_columns("z", ones(2, 3), 3, like=ones(2, 3)); check_x_and_z(ones(2, 5), ones(2, 3), 5, 3)
check_x_and_z(ones(2, 5), ones(7, 2, 3), 5, 3); check_terms(ones(1), ones(1, 1))
check_pair("a and b", "(B, D)", ones(2, 3), ones(2, 3)); check_scalar(tensor(1.0))
check_pair("a and b", "(B, D)", ones(5, 2, 3), ones(2, 3), stacked=True); check_means(ones(2, 1))
check_kl(ones(1, 3), ones(3), per_dimension=True); check_rows(ones(1, 3)); check_kind(TWO)
check_kl(ones(2, 3), ones(4), per_dimension=False); check_labels(tensor([0, 1]), 2, "y")
check_kl(ones(2, 3), tensor(1.0), per_dimension=True); check_images(tensor([[0.0, 1.0]]))
check_model(nn.Linear(2, 3), "weight"); check_pca(ones(2, 3), 0.5, 1); check_pca(ones(2, 3), 0.5, 3)
choices(); choices(objective=len, threads=1, f=len, g=None)
"""
# call -> what it gives, or says: after V in a ValueError, after T in a TypeError. Where values
# follow ::, each of them takes the place of ?. The rows under a line with ... go on from there: the
# call from what stands before the arrow, the message from what stands behind it.
SAID = """
check_sizes(m=1, n=?) -> V n must be a positive integer, got ? :: 0; 1.0; True
check_seed(... -> seed must be an integer of at least 0 and below 2**63, got ...
  ?) -> V ? :: 9223372036854775808; -1; False
check_range("a", ... -> a must be ...
  ?, 0, 1) -> V in [0, 1], got ? :: 1.5; -0.5; nan
  ?, 0, 1) -> T a number, got ? :: '1'; True
  ?, 0, 1, "()") -> V in (0, 1), got ? :: 0; 1
  0, 0, 1, "(]") -> V in (0, 1], got 0
  1, 0, 1, "[)") -> V in [0, 1), got 1
check_progress(0) -> 0
check_progress(1.01) -> V progress must be in [0, 1], got 1.01
controller(lam=?) -> V lam must be in [0, inf), got ? :: inf; -1
controller(tolerance=?) -> V tolerance must be in [0, 1), got ? :: 1; -0.1
controller(step=?) -> V step must be in (0, 1), got ? :: 0; 1
controller(init=?, floor=0.25) -> V init must be in [0.25, 1], got ? :: 0.2; 1.5
controller(init=tensor([0.5, 2])) -> V init must be in [0, 1], got 2.0
controller(init=ones(1, 2)) -> V init must be (D,), got (1, 2)
controller(init=ones(2).long()) -> T init must be a float tensor (D,), got torch.int64
controller(floor=?) -> V floor must be in [0, 1], got ? :: 1.5; -0.5
controller(per_dimension=1) -> T per_dimension must be True or False, got 1
check_schedule(?) -> T schedule must be a number or a function, got ? :: True; 'up'
check_choice("size", "c", ("a", "b")) -> V size must be 'a' or 'b', got 'c'
check_choice("size", None, ("a",), " (here)") -> V size must be 'a', got None (here)
check_generator(3) -> T generator must be a torch.Generator or None, got 3
check_path("root", "x") -> x
check_path("root", 3) -> T root must be a path, got 3
check_finite("D", 1.5) -> 1.5
check_finite("D", ?) -> NotFinite: D is ? :: nan; -inf
as_double(np.float32(1.5)).dtype -> torch.float64
as_double(ones(2), positive=True) -> [1.0, 1.0]
as_double(-1) -> -1.0
as_double(?) -> T x, z, mean and std must be numbers or tensors, got ? :: True; '1'
as_double(?) -> V x, z, mean and std must be finite, got ? :: tensor([1., nan], dtype=torch.float64)
as_double(?, positive=True) -> V std must be positive, got ?
    :: 0.0; tensor([1., 0.], dtype=torch.float64)
check_columns("z", ... -> z must be ...
  ones(?), 3) -> V (batch, 3), got ? :: (2, 4); (3,); (0, 3)
  ones(4, 2, 3), 3, stacked=False) -> V (batch, 3), got (4, 2, 3)
  ones(2, 3), 3, like=ones(4, 3)) -> V (4, 3), got (2, 3)
  ones(2, 3).long(), 3) -> T a float tensor (batch, 3), got torch.int64
  black(2, 3), 3) -> T a float tensor (batch, 3), got ndarray
check_x_and_z(ones(?), ones(2, 3), 5, 3) -> V x must be (batch, 5), got ? :: (1, 2, 5); (2, 6)
check_x_and_z(ones(2, 5), ones(... -> ...
  ?), 5, 3, stacked=False) -> V z must be (batch, 3), got ? :: (7, 2, 3); (2, 4)
  4, 3), 5, 3) -> V x and z must hold as many images, got 2 and 4
check_pair("a and b", "(B, D)", ... -> a and b must both be ...
  ones(?), ones(2, 3)) -> V (B, D), got ? and (2, 3) :: (2, 4); (5, 2, 3)
  ones(3), ones(3)) -> V (B, D), got (3,) and (3,)
  ones(5, 2, 4), ones(2, 3), stacked=True) -> V (B, D), got (5, 2, 4) and (2, 3)
  ones(2, 3), ones(2, 3).long()) -> T float tensors (B, D), got torch.int64
  None, ones(2, 3)) -> T float tensors (B, D), got NoneType
check_terms(ones(?), ones(2, 3)) -> V nll must be (B,), got ? :: (2, 1); (0,)
check_terms(1.0, ones(2, 3)) -> T nll must be a float tensor (B,), got float
check_terms(ones(2), ones(?)) -> V kl must be (2, D), got ? :: (3, 3); (2,)
check_terms(ones(2), [1.0]) -> T kl must be a float tensor (2, D), got list
check_kl(... -> kl must be ...
  ones(2, 3), ones(4), per_dimension=True) -> V (B, 4) as in the first call, got (2, 3)
  ones(?), ones(3), per_dimension=True) -> V (B, D) with B >= 1, got ? :: (3,); (0, 3)
  [[0.1]], ones(3), per_dimension=True) -> T a float tensor (B, D) with B >= 1, got list
check_scalar(... -> objective must return a scalar tensor (average the batch), got ...
  ones(2)) -> T (2,)
  1.0) -> T float
check_means(ones(?)) -> V mu must be (N, D) with N >= 2, got ? :: (1, 3); (2, 0); (2, 3, 4)
check_means(None) -> T mu must be a float tensor (N, D) with N >= 2, got NoneType
check_means(ones(2, 3) * inf) -> V mu must be finite, got NaN or infinity: did the training diverge?
check_indices(?, 3) -> ? :: [2, 0]; [0, 1, 2]; [1]
check_indices(tensor([True, False, True]), 3) -> [0, 2]
check_indices(... -> keep must be distinct indices within 0 .. 2 or a boolean mask (3,), got ...
  ?, 3) -> V ? :: [True, False]; [False, False, False]; [3]; [-1]; [0, 0]; []; [0.0]; [1j]; [[0]];
    'all'; None
check_rows(ones(?)) -> V images must be (N, P) with N >= 1, got ? :: (3,); (0, 3)
check_rows("x") -> T images must be a float tensor (N, P) with N >= 1, got str
check_images(ones(2, 3) * ?, "the thing") -> V the thing must be within [0, 1], got values from ? to
    ?; if they are 0..255, divide them by 255 :: 255; 1.25; -0.5; nan
check_images(ones(?)) -> V images must be (N, pixels) with N >= 1, got ? :: (3,); (2, 0)
check_images(GRAY) -> T images must be a float tensor (N, pixels) with N >= 1, got ndarray
check_labels([0, 1], 2, "y") -> T y must be an int64 tensor of labels 0, 1, .., got list
check_labels(ones(2), 2, "y") -> T y must be an int64 tensor of labels 0, 1, .., got torch.float32
check_labels(tensor([0]), 2, "y") -> V y must be (2,), one to an image, got (1,)
check_labels(tensor([0, -1]), 2, "y") -> V y must be 0 or more, got -1, which means: no label
check_kind(ones(2, 3)) -> T digits must be Digits, as load_mnist() returns them, got Tensor
as_labels(None, 2) -> [-1, -1]
as_labels(?, 2) -> [1, 0] :: [1, 0]; tensor([1, 0]); np.array([True, False])
as_labels([0, -1], 2) -> [0, -1]
as_labels([0, -2], 2) -> V labels must be 0, 1, .., or -1 for none, got -2
as_labels(... -> labels must be (2,), one to each of the images, got ...
  black(*?), 2) -> V ? :: (3,); (); (3, 3); (2, 2, 1)
  ones(3).bfloat16(), 2) -> V (3,)
  [[1], [2, 3]], 2) -> V rows of unequal length
  [[1], [2]], 2) -> V (2, 1): labels = np.asarray(labels).reshape(-1)
  torch.eye(2), 2) -> V (2, 2): labels = labels.argmax(1)
as_labels(... -> labels must be whole numbers, got ...
  np.array([0.0, 1.0]), 2) -> T float64: labels = np.asarray(labels).astype(float).astype(int)
  [0.5, 1.0], 2) -> T float64: labels = np.unique(labels, return_inverse=True)[1]
  ["7", "8"], 2) -> T <U1: labels = np.asarray(labels).astype(float).astype(int)
  ["a", "b"], 2) -> T <U1: labels = np.unique(labels, return_inverse=True)[1]
  [None, None], 2) -> T object: labels = np.unique(labels, return_inverse=True)[1]
held_out(?, 10) -> 2 :: 0.2; 0.15
held_out(0.8, 10) -> 8
held_out(0.4, 4) -> 2
held_out(0.5, 3) -> V images must be 4 or more, 2 to train and 2 to test on, got 3
held_out(?, 10) -> V test must be in (0, 1), got ? :: 0; 1
held_out(... -> test must leave 2 or more of the ...
  0.01, 10) -> V 10 images on each side, got 0.01, which holds out 0: test=0.2
  0.99, 10) -> V 10 images on each side, got 0.99, which holds out 10: test=0.8
  0.001, 300) -> V 300 images on each side, got 0.001, which holds out 0: test=0.01
  0.999, 300) -> V 300 images on each side, got 0.999, which holds out 300: test=0.99
rows_of(?) -> [[0, 51, 102, 255], [0, 0, 51, 51]]
    :: GRAY; GRAY / 255; GRAY[..., None]; GRAY[:, None]; GRAY.reshape(2, 4); [*GRAY]; tuple(GRAY);
    [*tensor(GRAY)]; np.array((GRAY / 255).tolist(), dtype=object); (GRAY / 255).tolist();
    tensor(GRAY / 255).bfloat16(); tensor(GRAY / 255).half(); (GRAY / 255).astype(">f4");
    [*tensor(GRAY / 255).bfloat16()]; [tensor(GRAY[0]), GRAY[1]]
rows_of(GRAY[:1, ..., None]) -> [[0, 51, 102, 255]]
rows_of(black(2, 2, 2).astype(np.uint8)) -> [[0, 0, 0, 0], [0, 0, 0, 0]]
as_pixels(... -> images must be ...
  ?) -> T arrays; picture files: load_folder('a.png') :: 'a.png'; Path('a.png')
  ?) -> T an array or tensor of numbers, got NoneType :: None
  object()) -> T an array or tensor of numbers, got object
  ["a.png"]) -> T an array or tensor of numbers, got <U5
  GRAY * 1j) -> T an array or tensor of numbers, got complex128
  ones(2, 2, 2) * 1j) -> T an array or tensor of numbers, got complex64
  black(2, 5)) -> V square, but rows of 5 pixels are not: pass (N, H, W)
as_pixels(... -> images must be (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P) with N >= 1, got ...
  ?) -> V () :: 3; 0.5
  []) -> V (0,)
  black(*?)) -> V ? :: (2,); (1, 1, 2, 2, 2); (0, 2, 2)
as_pixels([GRAY[... -> images must be of one size, got (1, 2) and (2, 2): from PIL import Image,
    ImageOps; images = [ImageOps.fit(Image.fromarray(np...
  0], GRAY[1, :1]]) -> V .asarray(i)), (28, 28)) for i in images]
  0] / 255, GRAY[1, :1], GRAY[0, :, :1]]) -> V .uint8(255 * i)), (28, 28)) for i in images]
as_pixels(... -> images must be gray, got (2, ...
  black(2, 4, 4, 3).astype(np.uint8)) -> V 4, 4, 3): images = (images[..., :3] / 255).mean(3)
  black(2, 3, 4, 4)) -> V 3, 4, 4): images = images[:, :3].mean(1)
  black(2, 4, 4, 4)) -> V 4, 4, 4): images = images[..., :3].mean(3)
  black(2, 4, 4, 2)) -> V 4, 4, 2): images = images[..., :1].mean(3)
  [*torch.zeros(2, 4, 4, 3)]) -> V 4, 4, 3): images = torch.stack(images)[..., :3].mean(3)
  [ones(4, 4, 3), black(4, 4, 3)]) -> V 4, 4, 3): images = np.stack(images)[..., :3].mean(3)
as_pixels(black(2, ... -> images must be square, got ...
  4, 7)) -> V 4 x 7 pixels: images = images[:, 0:4, 1:5]
  4, 8)) -> V 4 x 8 pixels: images = images[:, 0:4, 2:6]
  7, 4, 1)) -> V 7 x 4 pixels: images = images[:, 1:5, 0:4]
  1, 8, 4)) -> V 8 x 4 pixels: images = images[..., 2:6, 0:4]
as_pixels(... -> images must be uint8 from 0 to 255 or floats, got ...
  fill(0, 1).astype(np.uint8)) -> T uint8 from 0 to 1: images = images * 1.0
  fill(0, 1) > 0) -> T bool from 0 to 1: images = images * 1.0
  [*fill(-1, 1)]) -> T int64 from -1 to 1: images = np.stack(images) / 1.0
  fill(0, ?)) -> T int64 from 0 to ?: images = images / ?.0 :: 15; 16; 256
  fill(0, ?)) -> T int64 from 0 to ?: images = images / 255 :: 17; 255
as_pixels(fill(... -> images must be within [0, 1], got float64 from ...
  0, ?)) -> V 0 to ?: images = images / ? :: 1.1; 255.5
  0.5, 16)) -> V 0.5 to 16: images = images / 16.0
  0.5, ?)) -> V 0.5 to ?: images = images / 255 :: 16.5; 255
  0, 1.05)) -> V 0 to 1.05: images = images.clip(0, 1)
  -0.05, 1)) -> V -0.05 to 1: images = images.clip(0, 1)
  ?, 0.5)) -> V ? to 0.5: images = (images + 1) / 2 :: -0.1; -0.9
  -1.0, 1.0)) -> V -1 to 1: images = (images + 1) / 2
  -1.0, 1.5)) -> V -1 to 1.5: images = (images - -1.0) / 2.5
  -1.5, 0.5)) -> V -1.5 to 0.5: images = (images - -1.5) / 2.0
  0, inf)) -> V 0 to inf: images = np.nan_to_num(np.asarray(images), posinf=1, neginf=0)
  -inf, 0)) -> V -inf to 0: images = np.nan_to_num(np.asarray(images), posinf=1, neginf=0)
check_model(... -> model must be a VAE or RowGRUVAE, with ...
  nn.Linear(2, 3)) -> T encode, got Linear
  nn.Linear) -> T encode, got the class Linear: call it
  None, "to_mu") -> T to_mu, got NoneType
check_inputs(tiny(), ones(1, 4)) -> [[1.0, 1.0, 1.0, 1.0]]
check_inputs(unsized(), ones(1, 3)) -> [[1.0, 1.0, 1.0]]
check_inputs(tiny().to(?), ones(2, 4).double()).dtype -> torch.float32
    :: torch.float16; torch.bfloat16; torch.float32
check_inputs(None, ones(2, 4)) -> T model must be a VAE or RowGRUVAE, with encode, got NoneType
check_inputs(... -> ...
  tiny(), ones(?)) -> V images must be (N, 4) with N >= 1 for this model, got ? :: (2, 3); (2, 1, 4)
  unsized(), ones(?)) -> V images must be (N, 4) with N >= 1 for this model, got ? :: (2, 1, 4)
  tiny(), ones(1, 4), "x", 2) -> V x must be (N, 4) with N >= 2 for this model, got (1, 4)
  tiny(), ones(2, 4) * 2, "x") -> V x must be within [0, 1], got values from 2 to 2; if they are
    0..255, divide them by 255
check_digits(tiny().double(), TWO._replace(train=ones(1, 4)))[0].dtype -> torch.float64
check_digits(tiny(), TWO._replace(train_labels=None))[0].dtype -> torch.float32
check_digits(tiny(), TWO._replace(... -> digits....
  train=ones(2, 3))) -> V train must be (N, 4) with N >= 1 for this model, got (2, 3)
  test=ones(1, 4))) -> V test must be (N, 4) with N >= 2 for this model, got (1, 4)
  train_labels=None), labeled=True) -> T train_labels must be an int64 tensor of labels 0, 1, ..,
    got NoneType
  test_labels=tensor([1])), labeled=True) -> V test_labels must be (2,), one to an image, got (1,)
check_pca(ones(2, 3), 0.5, 4) -> V latent_dim must be in [1, 3], got 4
check_pca(ones(2, 3), 0.5, 0) -> V latent_dim must be a positive integer, got 0
check_pca(ones(2, 3), ?, 1) -> V noise must be in (0, inf), got ? :: 0; inf
check_pca(ones(2, 3, 4), 0.5, 1) -> V images must be (N, P) with N >= 1, got (2, 3, 4)
check_pca(GRAY, 0.5, 1) -> T images must be a float tensor (N, pixels) with N >= 1, got ndarray
run(... -> {'seed': 1, 'steps': 2, 'batch_size': 3, 'lr': 1.0, ...
  ) -> 'clip_norm': None, 'binarize': True}
  clip_norm=5, binarize=False) -> 'clip_norm': 5.0, 'binarize': False}
run(seed=-1) -> V seed must be an integer of at least 0 and below 2**63, got -1
run(?=0) -> V ? must be a positive integer, got 0 :: steps; batch_size; evaluations
run(evaluations=3) -> V evaluations must be at most steps, got 3 > 2
run(?=0) -> V ? must be in (0, inf), got 0 :: lr; clip_norm
run(?=inf) -> V ? must be in (0, inf), got inf :: lr; clip_norm
run(binarize=1) -> T binarize must be True or False, got 1
choices(batch_size=5) -> V batch_size 5 is more than the 4 training images
choices(objective=... -> objective must be an object such as ELBO() or a function, called with
    (nll, kl, progress), got ...
  ?) -> T ?; ELBO in vaelab.objectives shows how :: 0.5; 'ELBO'
  dict) -> T <class 'dict'>; ELBO in vaelab.objectives shows how
choices(threads=0) -> V threads must be a positive integer, got 0
choices(f=3) -> T f must be a function, got 3
choices(tiny().to(?)) -> T model must be trained in float32, got ?: call model.float() first
    :: torch.float16; torch.bfloat16
choices(made_inside()) -> V model must be made outside torch.inference_mode(), got one made inside
usable("?") -> ? :: cpu; meta
kind_of(?) -> list :: [1]; []
kind_of(ones(2)) -> torch.float32
device_of(tiny()) -> cpu
dtype_of(?) -> torch.float32 :: tiny(); nn.Identity()
"""

SAYS: dict[str, str] = dict.fromkeys(re.split(r";\s|\n", PASS.strip()), "")
opening = stem = ""
for row in re.sub(r"\n {4}", " ", SAID.strip()).split("\n"):
    call, said = row.strip().split(" -> ")
    if said.endswith("..."):
        opening, stem = call[:-3], said[:-3]
        continue
    before, after = (opening, stem) if row.startswith("  ") else ("", "")
    error = {"V ": "ValueError: ", "T ": "TypeError: "}.get(said[:2], "")
    said, _, values = said.removeprefix(said[:2] if error else "").partition(" :: ")
    for value in (values or "?").split("; "):
        SAYS[(before + call).replace("?", value)] = error + (after + said).replace("?", value)


def test_a_guard_says_this_and_no_more():
    assert {call: told(call) for call in SAYS} == SAYS
