"""One vocabulary of refusals: what an argument must be, said in the same words everywhere.

Every check names the argument, what was expected and what came: ``TypeError`` where it is of
another kind, ``ValueError`` where shape or values do not fit. Whole numbers and real numbers are
those of `numbers.Integral` and `numbers.Real`, so NumPy's scalars pass; True is none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


class NotFinite(FloatingPointError):
    """A loss or a score that is NaN or infinite."""


# ------------------------------------------------------------------------------------- numbers


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are not positive integers, by name."""
    for name, size in sizes.items():
        if not _is_whole(size) or size < 1:
            raise ValueError(f"{name} must be a positive integer, got {size!r}")


def check_seed(seed: int) -> None:
    """Refuse what is no whole number that a random generator takes."""
    if not _is_whole(seed) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be an integer of at least 0 and below 2**63, got {seed!r}")


def check_range(
    name: str, value: float, low: float, high: float = math.inf, ends: str = "[]"
) -> None:
    """Refuse what is not a number within an interval.

    Args:
        name: the argument's name, for the message.
        value: what was passed for it.
        low, high: the ends of the interval.
        ends: its brackets; a round one excludes the end, so that ``"[)"`` with infinity means
            finite.
    """
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, got {value!r}")
    above = value >= low if ends[0] == "[" else value > low
    below = value <= high if ends[1] == "]" else value < high
    if not (above and below):  # also refuses NaN
        raise ValueError(f"{name} must be in {ends[0]}{low:g}, {high:g}{ends[1]}, got {value}")


def check_progress(progress: float) -> float:
    """Refuse what is no share of a run, in [0, 1]; give it back."""
    check_range("progress", progress, 0, 1)
    return progress


def check_controller(
    lam: float,
    tolerance: float,
    step: float,
    per_dimension: bool,
    init: float | Tensor,
    floor: float,
) -> None:
    """Refuse the settings of a controller of weights; ``init`` is a number or a tensor (D,)."""
    check_range("lam", lam, 0, math.inf, "[)")
    check_range("tolerance", tolerance, 0, 1, "[)")
    check_range("step", step, 0, 1, "()")
    check_range("floor", floor, 0, 1)
    if isinstance(init, Tensor):
        _check_tensor("init", init, "(D,)", init.ndim == 1)
    for value in init.tolist() if isinstance(init, Tensor) else [init]:
        check_range("init", value, floor, 1)
    check_flags(per_dimension=per_dimension)


def check_flags(**flags: bool) -> None:
    """Refuse what is neither True nor False, by name."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, got {flag!r}")


def check_schedule(schedule: Any) -> None:
    """Refuse what is neither a number nor a function."""
    if not (callable(schedule) or _is_number(schedule)):
        raise TypeError(f"schedule must be a number or a function, got {schedule!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...], where: str = "") -> None:
    """Refuse what is none of some words; ``where`` says at the end where it may come from."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}{where}")


def check_generator(generator: torch.Generator | None) -> None:
    """Refuse what is neither a source of random numbers nor left out (None)."""
    if not isinstance(generator, (torch.Generator, type(None))):
        raise TypeError(f"generator must be a torch.Generator or None, got {generator!r}")


def check_path(name: str, path: str | os.PathLike) -> Path:
    """Refuse what is no path; give it back as one."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, got {path!r}")
    return Path(path)


def check_finite(name: str, value: float) -> float:
    """Stop at a value that is NaN or infinite; give back any other."""
    if not math.isfinite(value):
        raise NotFinite(f"{name} is {value}")
    return value


def as_double(value: float | Tensor, *, positive: bool = False) -> Tensor:
    """A finite number or tensor of the toy model, in double precision, above 0 if ``positive``."""
    if not (isinstance(value, Tensor) or _is_number(value)):
        raise TypeError(f"x, z, mean and std must be numbers or tensors, got {value!r}")
    value = torch.as_tensor(value, dtype=torch.float64)
    if not bool(value.isfinite().all()):
        raise ValueError(f"x, z, mean and std must be finite, got {value}")
    if positive and not bool((value > 0).all()):
        raise ValueError(f"std must be positive, got {value}")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


# ------------------------------------------------------------------------- tensors of a shape


def kind_of(value: Any) -> str:
    """What to call a value in a message: a tensor by its type of numbers."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _check_tensor(name: str, value: Any, shape: str, fits: bool) -> None:
    """Refuse what is no float tensor, or has not this shape: the caller has compared it."""
    if not _is_float(value):
        raise TypeError(f"{name} must be a float tensor {shape}, got {kind_of(value)}")
    if not fits:
        raise ValueError(f"{name} must be {shape}, got {tuple(value.shape)}")


def _shape(value: Any) -> tuple[int, ...]:
    """Of a tensor; () for anything else, which is refused for its kind."""
    return tuple(getattr(value, "shape", ()))


def check_columns(
    name: str, rows: Tensor, columns: int, *, stacked: bool = True, like: Tensor | None = None
) -> None:
    """Refuse anything but floating-point rows, ``(batch, columns)``.

    Args:
        name: the argument's name, for the message.
        rows: what was passed for it.
        columns: how long each row must be.
        stacked: allow leading dimensions, (..., batch, columns).
        like: a tensor whose shape it must have.
    """
    shape = _shape(rows)
    flat = len(shape) >= 2 if stacked else len(shape) == 2
    fits = flat and shape[-1] == columns and 0 not in shape
    _check_tensor(name, rows, f"(batch, {columns})", fits)
    if like is not None:
        _check_tensor(name, rows, f"{tuple(like.shape)}", rows.shape == like.shape)


def check_x_and_z(
    x: Tensor, z: Tensor, data_dim: int, latent_dim: int, *, stacked: bool = True
) -> None:
    """Refuse anything but images (B, P) with latents (..., B, D), or (B, D) if not ``stacked``."""
    check_columns("x", x, data_dim, stacked=False)
    check_columns("z", z, latent_dim, stacked=stacked)
    if len(x) != z.shape[-2]:
        raise ValueError(f"x and z must hold as many images, got {len(x)} and {z.shape[-2]}")


def check_pair(names: str, shape: str, *pair: Tensor, stacked: bool = False) -> None:
    """Refuse two tensors that are not of one shape; their values would stop a GPU at every step."""
    for part in pair:
        if not _is_float(part):
            raise TypeError(f"{names} must both be float tensors {shape}, got {kind_of(part)}")
    first, second = map(_shape, pair)
    if len(second) != 2 or (first[-2:] if stacked else first) != second:
        raise ValueError(f"{names} must both be {shape}, got {first} and {second}")


def check_terms(nll: Tensor, kl: Tensor) -> None:
    """Refuse anything but the distortion (B,) and the KL (B, D) of one batch."""
    _check_tensor("nll", nll, "(B,)", len(_shape(nll)) == 1 and len(nll) > 0)
    _check_tensor("kl", kl, f"({len(nll)}, D)", len(_shape(kl)) == 2 and len(kl) == len(nll))


def check_kl(kl: Tensor, gamma: Tensor, *, per_dimension: bool) -> None:
    """Refuse anything but a KL (B, D), with as many dimensions as there are weights ``gamma``."""
    shape = _shape(kl)
    _check_tensor("kl", kl, "(B, D) with B >= 1", len(shape) == 2 and shape[0] > 0)
    if per_dimension and gamma.ndim == 1 and len(gamma) != shape[1]:
        raise ValueError(f"kl must be (B, {len(gamma)}) as in the first call, got {shape}")


def check_scalar(loss: Tensor) -> None:
    """Refuse what an objective returned if it is not one number."""
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else kind_of(loss)
        raise TypeError(f"objective must return a scalar tensor (average the batch), got {got}")


def check_means(mu: Tensor) -> None:
    """Refuse posterior means that are not (N, D), N >= 2, and finite."""
    shape = _shape(mu)
    _check_tensor("mu", mu, "(N, D) with N >= 2", len(shape) == 2 and shape[0] > 1 and shape[1] > 0)
    if not bool(mu.isfinite().all()):
        raise ValueError("mu must be finite, got NaN or infinity: did the training diverge?")


def check_indices(keep: Tensor | list[int], count: int) -> Tensor:
    """Refuse what are not distinct indices within 0 .. count - 1, or a mask (count,).

    Returns:
        The indices, int64.
    """
    try:
        index = torch.as_tensor(keep)
    except (TypeError, ValueError, RuntimeError):
        index = torch.tensor([])
    if index.dtype == torch.bool and index.shape == (count,):
        index = index.nonzero().flatten()
    whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    inside = whole and index.ndim == 1 and {*index.tolist()} <= {*range(count)}
    if not inside or not 0 < len(index) == len(index.unique()):
        wish = f"distinct indices within 0 .. {count - 1} or a boolean mask ({count},)"
        raise ValueError(f"keep must be {wish}, got {keep!r}")
    return index


# --------------------------------------------------------------------------- images and labels


def check_rows(images: Tensor) -> None:
    """Refuse what are no rows (N, P), without a look at their values."""
    shape = _shape(images)
    _check_tensor("images", images, "(N, P) with N >= 1", len(shape) == 2 and shape[0] > 0)


def check_images(images: Tensor, name: str = "images") -> None:
    """Refuse anything but rows of pixels in [0, 1].

    Args:
        images: what should be (..., P) float, finite, within [0, 1], not empty.
        name: the argument's name, for the message.
    """
    shape = _shape(images)
    _check_tensor(name, images, "(N, pixels) with N >= 1", len(shape) > 1 and 0 not in shape)
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise ValueError(
            f"{name} must be within [0, 1], got values from {low:g} to {high:g}; "
            "if they are 0..255, divide them by 255"
        )


def check_labels(labels: Tensor, count: int, name: str) -> None:
    """Refuse anything but one class, a whole number from 0 on, for each of ``count`` images."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"{name} must be an int64 tensor of labels 0, 1, .., got {kind_of(labels)}")
    if labels.shape != (count,):
        raise ValueError(f"{name} must be ({count},), one to an image, got {tuple(labels.shape)}")
    if labels.min() < 0:
        raise ValueError(f"{name} must be 0 or more, got {labels.min()}, which means: no label")


def check_kind(digits: Any) -> None:
    """Refuse what is no `Digits`, such as its images alone."""
    if not all(hasattr(digits, name) for name in ("train", "train_labels", "test", "test_labels")):
        got = type(digits).__name__
        raise TypeError(f"digits must be Digits, as load_mnist() returns them, got {got}")


# ------------------------------------------------------------------------------ your own images


def as_pixels(images: Any) -> Tensor:
    """Gray images of any usual kind as rows of pixels.

    Args:
        images: array, tensor, or list of either: (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P),
            square; uint8 0..255 or floats 0..1.

    Returns:
        (N, P) float32 in [0, 1].

    Raises:
        TypeError: if these are not such numbers.
        ValueError: if shape or values do not fit. Where one line repairs them, the message ends in
            this line.
    """
    values = _as_array(images)
    shape = values.shape
    if len(shape) not in (2, 3, 4) or values.size == 0:
        shapes = "(N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, P)"
        raise ValueError(f"images must be {shapes} with N >= 1, got {shape}")
    this = _written(images)
    first = len(shape) == 4 and shape[1] < shape[3]  # the channel stands before height and width
    if len(shape) == 4:
        axis = 1 if first else 3
        if shape[axis] != 1:
            raise ValueError(_repair(f"gray, got {shape}", _gray(values, this, axis)))
        values = values.squeeze(axis)
    height, width = values.shape[1:] if values.ndim == 3 else [math.isqrt(values.shape[1])] * 2
    if height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        crop = f"{'...' if first else ':'}, {top}:{top + side}, {left}:{left + side}"
        raise ValueError(_repair(f"square, got {height} x {width} pixels", f"{this}[{crop}]"))
    if values.size != len(values) * height * width:
        row = f"rows of {values.shape[1]} pixels are not"
        raise ValueError(f"images must be square, but {row}: pass (N, H, W)")
    return _levels(values, this).flatten(1)  # (N, P)


def as_labels(labels: Any, count: int) -> Tensor:
    """One class for each of ``count`` images, (count,) int64; -1 for each if ``labels`` is None."""
    if labels is None:
        return torch.full((count,), -1)
    this = "labels" if hasattr(labels, "shape") else "np.asarray(labels)"  # as a repair writes it
    try:
        array = np.asarray(labels.tolist() if isinstance(labels, Tensor) else labels)
        shape, got = array.shape, str(array.shape)
    except ValueError:
        shape, got = (), "rows of unequal length"
    if shape != (count,):
        line = f": labels = {this}.{'reshape(-1)' if shape[1:] == (1,) else 'argmax(1)'}"
        repair = line if len(shape) == 2 and shape[0] == count else ""
        raise ValueError(f"labels must be ({count},), one to each of the images, got {got}{repair}")
    if array.dtype.kind not in "biu":
        line = "np.asarray(labels).astype(float).astype(int)"
        if not _are_whole(array):
            line = "np.unique(labels, return_inverse=True)[1]"
        raise TypeError(f"labels must be whole numbers, got {array.dtype}: labels = {line}")
    if array.min() < -1:
        raise ValueError(f"labels must be 0, 1, .., or -1 for none, got {array.min()}")
    return torch.tensor(array.astype(np.int64))


def held_out(test: float, count: int) -> int:
    """How many of ``count`` images the share ``test`` holds out; refuses under two on a side."""
    check_range("test", test, 0, 1, "()")
    if count < 4:
        raise ValueError(f"images must be 4 or more, 2 to train and 2 to test on, got {count}")
    held = round(test * count)
    if not 2 <= held <= count - 2:
        least, most = math.ceil(200 / count) / 100, math.floor(100 - 200 / count) / 100
        raise ValueError(
            f"test must leave 2 or more of the {count} images on each side, got {test}, which "
            f"holds out {held}: test={min(max(test, least), most)}"
        )
    return held


def _as_array(images: Any) -> np.ndarray:
    """The numbers as they are, in an array."""
    if isinstance(images, (str, os.PathLike)):
        raise TypeError(f"images must be arrays; picture files: load_folder({str(images)!r})")
    if isinstance(images, (list, tuple)):
        array = _stack([_as_array(i if isinstance(i, Tensor) else np.asarray(i)) for i in images])
    elif isinstance(images, Tensor):  # NumPy has no bfloat16
        array = (images.float() if images.dtype in HALF else images).detach().cpu().numpy()
    else:
        array = np.asarray(images)
    if array.dtype == object and array.ndim:
        return _as_array(array.tolist())
    if array.dtype.kind not in "biuf":
        got = kind_of(images) if array.dtype == object else array.dtype
        raise TypeError(f"images must be an array or tensor of numbers, got {got}")
    return array


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """Images of one size in one array."""
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        ready = "np.asarray(i)" if parts[0].dtype == np.uint8 else "np.uint8(255 * i)"
        raise ValueError(
            f"images must be of one size, got {shapes[0]} and {shapes[-1]}: from PIL import Image, "
            f"ImageOps; images = [ImageOps.fit(Image.fromarray({ready}), (28, 28)) for i in images]"
        )
    return np.stack(parts) if parts else np.zeros(0)


def _are_whole(array: np.ndarray) -> bool:
    """Whether these are whole numbers, be they floats, objects or words."""
    try:
        return all(float(value).is_integer() for value in array.tolist())
    except (TypeError, ValueError):
        return False


def _written(images: Any) -> str:
    """How a repair writes the images, so that it can compute with them."""
    if hasattr(images, "shape"):
        return "images"
    tensors = all(isinstance(image, Tensor) for image in images)
    return "torch.stack(images)" if tensors else "np.stack(images)"


def _repair(rule: str, line: str) -> str:
    return f"images must be {rule}: images = {line}"


def _gray(values: np.ndarray, this: str, axis: int) -> str:
    """The line that averages the colors along an axis, without what says how transparent it is."""
    colors = values.shape[axis] - (values.shape[axis] in (2, 4))
    picked = f"{this}[:, :{colors}]" if axis == 1 else f"{this}[..., :{colors}]"
    scaled = f"({picked} / 255)" if values.dtype == np.uint8 else picked
    return f"{scaled}.mean({axis})"


def _levels(values: np.ndarray, this: str) -> Tensor:
    """The numbers as float32 in [0, 1], bytes divided by 255; refuses any other range."""
    low, high = float(values.min()), float(values.max())
    if values.dtype == np.uint8 and high != 1:
        return torch.tensor(np.ascontiguousarray(values)).float().div_(255)
    unit = low >= 0 and high <= 1  # not if one is NaN
    if unit and values.dtype.kind == "f":
        return torch.tensor(np.ascontiguousarray(values, np.float32))
    over = f"{this} / {255 if 16 < high <= 255 else high}"
    got = f"got {values.dtype} from {low:g} to {high:g}"
    if values.dtype.kind != "f":
        line = f"{this} * 1.0" if unit else over
        raise TypeError(_repair(f"uint8 from 0 to 255 or floats, {got}", line))
    if not (math.isfinite(low) and math.isfinite(high)):
        line = f"np.nan_to_num(np.asarray({this}), posinf=1, neginf=0)"
    elif low > -0.1 and high < 1.1:
        line = f"{this}.clip(0, 1)"
    elif low >= 0:
        line = over
    elif low >= -1 and high <= 1:
        line = f"({this} + 1) / 2"
    else:
        line = f"({this} - {low}) / {high - low}"
    raise ValueError(_repair(f"within [0, 1], {got}", line))


# -------------------------------------------------------------------------- models and objectives


def check_model(model: nn.Module, needs: str = "encode") -> None:
    """Refuse what is no model, or has no part of the name ``needs``."""
    if not isinstance(model, nn.Module) or not hasattr(model, needs):
        got = f"the class {model.__name__}: call it" if isinstance(model, type) else kind_of(model)
        raise TypeError(f"model must be a VAE or RowGRUVAE, with {needs}, got {got}")


def check_inputs(model: nn.Module, images: Tensor, name: str = "images", least: int = 1) -> Tensor:
    """Refuse anything but rows of pixels in [0, 1], as many as the model takes.

    Args:
        model: what they are meant for.
        images: what should be (N, P) float, finite, within [0, 1].
        name: the argument's name, for the message.
        least: smallest N.

    Returns:
        The images in the type of the model's parameters, float32 or better, (N, P).
    """
    check_model(model)
    check_images(images, name)
    pixels = getattr(model, "data_dim", images.shape[-1])
    fits = images.ndim == 2 and images.shape[1] == pixels and len(images) >= least
    _check_tensor(name, images, f"(N, {pixels}) with N >= {least} for this model", fits)
    kind = dtype_of(model)
    return images.to(torch.float32 if kind in HALF else kind)


def check_digits(model: nn.Module, digits: Any, *, labeled: bool = False) -> tuple[Tensor, Tensor]:
    """Refuse anything but Digits whose images the model takes, at least two of them to test on.

    Args:
        model: what they are meant for.
        digits: what should be Digits.
        labeled: each image must have a class.

    Returns:
        Training (N, P) and test images (M, P), in the type of the model's parameters.
    """
    check_kind(digits)
    train = check_inputs(model, digits.train, "digits.train")
    test = check_inputs(model, digits.test, "digits.test", least=2)
    if labeled:
        check_labels(digits.train_labels, len(train), "digits.train_labels")
        check_labels(digits.test_labels, len(test), "digits.test_labels")
    return train, test


def check_pca(images: Tensor, noise: float, latent_dim: int) -> None:
    """Refuse what has no `latent_dim` directions to compare with the noise."""
    check_images(images)
    check_rows(images)
    check_range("noise", noise, 0, math.inf, "()")
    check_sizes(latent_dim=latent_dim)
    check_range("latent_dim", latent_dim, 1, images.shape[1])


def check_run(
    seed: int,
    steps: int,
    batch_size: int,
    evaluations: int,
    lr: float,
    clip_norm: float | None,
    binarize: bool,
) -> dict[str, Any]:
    """Refuse the numbers of a run that could not take place as asked.

    Returns:
        Those that must be the same when the run is resumed, by name.
    """
    check_seed(seed)
    check_sizes(steps=steps, batch_size=batch_size, evaluations=evaluations)
    check_range("lr", lr, 0, math.inf, "()")
    if clip_norm is not None:
        check_range("clip_norm", clip_norm, 0, math.inf, "()")
    check_flags(binarize=binarize)
    if evaluations > steps:
        raise ValueError(f"evaluations must be at most steps, got {evaluations} > {steps}")
    numbers = {"lr": float(lr), "clip_norm": None if clip_norm is None else float(clip_norm)}
    counts = {"seed": int(seed), "steps": int(steps), "batch_size": int(batch_size)}
    return {**counts, **numbers, "binarize": binarize}


def check_choices(
    model: nn.Module,
    images: int,
    batch_size: int,
    objective: Any,
    threads: int | None,
    **functions: Callable | None,
) -> None:
    """Refuse before the first step what would only fail later; ``images`` is how many there are."""
    if batch_size > images:
        raise ValueError(f"batch_size {batch_size} is more than the {images} training images")
    if isinstance(objective, type) or not (objective is None or callable(objective)):
        raise TypeError(
            "objective must be an object such as ELBO() or a function, called with "
            f"(nll, kl, progress), got {objective!r}; ELBO in vaelab.objectives shows how"
        )
    if threads is not None:
        check_sizes(threads=threads)
    for name, function in functions.items():
        if not (function is None or callable(function)):
            raise TypeError(f"{name} must be a function, got {function!r}")
    if (kind := dtype_of(model)) in HALF:
        raise TypeError(f"model must be trained in float32, got {kind}: call model.float() first")
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError("model must be made outside torch.inference_mode(), got one made inside")


def usable(device: str | int | torch.device) -> torch.device:
    """A device that this machine has; tried with a tensor of one number."""
    try:
        return torch.zeros((), device=device).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"device must be one that this machine has, such as 'cpu', got {device!r} ({error})"
        ) from error


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of the model's floating-point parameters."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
