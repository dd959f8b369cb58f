"""What is wrong with your VAE? Probes from outside; nobody's source is read.

The loss is asked for its slopes at planted tensors: the slope in a pixel tells the likelihood,
those in mu and logvar tell the KL, their sizes tell the weights. The model runs with planted noise:
z is the tensor that equals mu without noise and moves with it.
"""

from __future__ import annotations

import html
import math
import random
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .checks import check_functions, kind_of
from .runs import plain_arithmetic, seeded

# Where the lessons explain a finding: the lesson's number and a heading in it.
SECTIONS: dict[str, tuple[int, str]] = {
    "pixels": (2, "A mean over pixels is β = 784 in disguise"),
    "weight": (2, "2.1 Why put a weight on the rate?"),
    "kl": (1, "1.4 The rate in closed form"),
    "noise": (1, "1.3 The reparameterization trick"),
    "likelihood": (1, "1.5 The likelihood: Bernoulli pixels"),
    "grey": (1, "Grey levels are not coin flips"),
    "model": (1, "1.6 The model and its training"),
    "loop": (1, "The loop"),
    "average": (1, "How not to average"),
    "evaluate": (2, "2.4 Evaluate at β = 1, whatever was trained"),
    "floor": (3, "3.2 Free bits"),
    "aggregate": (3, "Three numbers that tell the two apart"),
}
# Every finding: its section, and what it does to training.
KINDS: dict[str, tuple[str, str]] = {
    "pixels averaged": (
        "pixels",
        "The KL outweighs the pixels, and the decoder learns to ignore z.",
    ),
    "kl averaged": ("weight", "The KL is too cheap: codes leave the prior, and samples fail."),
    "kl weight": ("weight", "It trades rate for distortion; report results at a weight of 1."),
    "kl sign": ("kl", "An optimizer that minimizes this loss drives a term the wrong way."),
    "kl formula": ("kl", "What is minimized is not D plus the KL to N(0, I), the negative ELBO."),
    "variance": ("noise", "The KL prices another spread than z has, so the sum is no bound."),
    "noise": ("noise", "A decoder trained so knows single points; a loss so taken is no ELBO."),
    "detached": ("noise", "The pixels cannot teach the encoder through this path."),
    "targets": ("grey", "For such pixels a Bernoulli loss falls without end."),
    "range": ("likelihood", "Decoder and loss must agree on where the one sigmoid is."),
    "likelihood": ("likelihood", "This sets the price of the rate as beta does; report it."),
    "batch size": ("average", "The last, short batch and other batch sizes train something else."),
    "modes": ("evaluate", "What is trained is not what is evaluated; compare in one mode only."),
    "not finite": ("model", "One such value, and the next step makes every weight NaN."),
    "batch sum": ("loop", "With SGD the step grows with the batch; Adam mostly rescales it."),
    "free bits": ("floor", "Rate below the floor is free, so the sum is not the ELBO."),
    "batch term": (
        "aggregate",
        "It acts on the codes of a whole batch, as MMD does; a KL would not.",
    ),
}
# How the model's third tensor t may be meant: sigma^2 as a function of t, and t for a sigma^2.
READINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[float], float]]] = {
    "log sigma^2": (lambda t: t.exp(), lambda v: math.log(v)),
    "log sigma": (lambda t: (2 * t).exp(), lambda v: math.log(v) / 2),
    "2 log sigma^2": (lambda t: (t / 2).exp(), lambda v: math.log(v) * 2),
    "sigma^2": (lambda t: t, lambda v: v),
    "sigma": (lambda t: t.square(), lambda v: math.sqrt(v)),
}
# The slope of one pixel's -log p(x|z) in the decoder's output r.
PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Bernoulli on probabilities": lambda r, x: (r - x) / (r * (1 - r)),
    "Bernoulli on logits": lambda r, x: r.sigmoid() - x,
    "Bernoulli after two sigmoids": lambda r, x: (
        (r.sigmoid().sigmoid() - x) * r.sigmoid() * (1 - r.sigmoid())
    ),
    "Bernoulli with recon and x swapped": lambda r, x: (1 - x).log() - x.log(),
    "squared error": lambda r, x: r - x,  # of a Gaussian with sigma = 1
    "absolute error": lambda r, x: (r - x).sign(),  # of a Laplace distribution with scale 1
}
BERNOULLI = [*PIXELS][:4]
# Names that share what a probe must know first.
OF_KL = ("kl sign", "kl weight", "kl averaged", "pixels averaged", "likelihood", "variance")
OF_BALANCE = ("kl sign", "kl weight", "kl averaged", "pixels averaged")
OF_BATCH = ("batch size", "batch sum")
OF_NOISE = ("noise", "variance", "detached")
NO_PIXEL = "the slope in a pixel is that of no known likelihood"
MOST = 16  # images that the probes use


# --- what is returned -----------------------------------------------------------------------------


@dataclass
class Finding:
    """What is or may be wrong.

    Attributes:
        name: a key of KINDS.
        level: "fault", or "note" for what may be meant.
        message: what was measured, and what it does to training.
        section: a key of SECTIONS, the place in the lessons that explains it.
    """

    name: str
    level: str
    message: str
    section: str


@dataclass
class Checkup:
    """What a checkup found; it shows as a table.

    Attributes:
        findings: faults, then notes.
        right: the names of what was checked and is right.
        not_checked: name -> why it could not be checked.
    """

    findings: list[Finding] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    not_checked: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No fault; notes and things that could not be checked there may be."""
        return all(finding.level != "fault" for finding in self.findings)

    def fault(self, name: str, seen: str, level: str = "fault") -> None:
        """It changes what is trained, without saying so."""
        section, effect = KINDS[name]
        self.findings.append(Finding(name, level, f"{seen}. {effect}", section))

    def note(self, name: str, seen: str) -> None:
        """It may be meant."""
        self.fault(name, seen, "note")

    def skip(self, why: str, *names: str) -> None:
        """What cannot be checked; the first reason counts."""
        self.not_checked = dict.fromkeys(names, why) | self.not_checked

    def settle(self) -> Checkup:
        """A name that was found is only there, and right is what nothing was left out of."""
        self.skip("no probe came to it", *KINDS.keys() - {*self.right})
        names, found = [*KINDS], {finding.name for finding in self.findings}
        left = [name for name in names if name in self.not_checked.keys() - found]
        self.not_checked = {name: self.not_checked[name] for name in left}
        self.right = [name for name in names if name not in {*found, *left}]
        self.findings.sort(key=lambda finding: (finding.level, names.index(finding.name)))
        return self

    def _rows(self) -> list[tuple[str, str, str]]:
        place = {key: f"See lesson {n}, “{heading}”." for key, (n, heading) in SECTIONS.items()}
        rows = [(f.level, f.name, f"{f.message} {place[f.section]}") for f in self.findings]
        rows.append(("right", "checked and right", ", ".join(self.right) or "nothing"))
        left = "; ".join(f"{name} ({why})" for name, why in self.not_checked.items())
        return [*rows, ("open", "not checked", left or "nothing")]

    def __repr__(self) -> str:
        rows = [(f"{level:<6} {name:<18} ", words) for level, name, words in self._rows()]
        fill = partial(textwrap.fill, width=100, subsequent_indent=" " * 26)
        return "\n".join(fill(words, initial_indent=start) for start, words in rows)

    def _repr_html_(self) -> str:
        cell = "<td style='text-align:left'>{}</td>".format
        rows = ("".join(cell(html.escape(part)) for part in row) for row in self._rows())
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


@torch.enable_grad()
def checkup(model: nn.Module, loss: Callable[..., Tensor], images: Tensor) -> Checkup:
    """Look for the usual mistakes in a VAE and its loss, which are left as they were.

    Args:
        model: gives ``model(x) -> (recon, mu, logvar)``, more entries allowed. The third may also
            be log sigma, sigma or sigma^2, if the loss takes it for the same.
        loss: gives ``loss(recon, x, mu, logvar) -> scalar``, to be minimized.
        images: (B, 784) or (B, 1, 28, 28), B >= 4, as the model takes them and where it is; the
            first 16 are used.

    Returns:
        Faults and notes, what is right, and what could not be checked.

    Raises:
        TypeError: if ``model`` is no module, ``loss`` no function or ``images`` no float tensor.
        ValueError: if ``images`` are too few or not finite, or model or loss fail on them.
    """
    _check(model, loss, images)
    result = Checkup()
    device = images.device
    with untouched(model, loss) as put_back, seeded(0, device), plain_arithmetic(device):
        subject = Subject(model, loss, images[:MOST].detach(), put_back)
        for probe, names in PROBES.items():
            try:
                probe(subject, result)
            except Exception as error:  # of the user's code, where a probe leads it
                result.skip(f"{type(error).__name__}: {error}"[:200], *names)
    return result.settle()


def _check(model: nn.Module, loss: Callable[..., Tensor], images: Tensor) -> None:
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}: call it" if isinstance(model, type) else kind_of(model)
        raise TypeError(f"model must be a module that gives (recon, mu, logvar), got {got}")
    check_functions(loss=loss)
    if loss is None or isinstance(loss, type):
        raise TypeError(f"loss must be a function (recon, x, mu, logvar) -> scalar, got {loss!r}")
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"images must be a float tensor, got {kind_of(images)}")
    if images.ndim < 2 or len(images) < 4 or not images.numel():
        raise ValueError(f"images must be (B, ...) with B >= 4, got {tuple(images.shape)}")
    if not bool(images.isfinite().all()):
        raise ValueError("images must be finite, got NaN or infinity")


@contextmanager
def untouched(*parts: Any) -> Iterator[Callable[[], None]]:
    """Put back tensors and attributes (modes, counters), and numpy's and Python's random state.

    What it hands over puts back the attributes alone: a loss that counts its calls to raise beta
    then gives the same beta to every probe.
    """
    parts = (*parts, *(getattr(p, name, None) for p in parts for name in ("__self__", "func")))
    modules = {m for p in parts if isinstance(p, nn.Module) for m in p.modules()}
    owners = {*modules, *(p for p in parts if hasattr(p, "__dict__"))}
    kept = [(vars(o), {k: (v, _content(v)) for k, v in vars(o).items()}) for o in owners]
    tensors = [t for m in modules for t in (*m.parameters(False), *m.buffers(False))]
    copies = [t.detach().clone() for t in tensors]
    states = np.random.get_state(), random.getstate()

    def put_back() -> None:
        for now, before in kept:
            now.clear()
            for name, (value, content) in before.items():
                now[name] = value
                if content is not None and _content(value) != content:
                    value.clear()
                    (value.update if isinstance(value, dict) else value.extend)(content)

    try:
        yield put_back
    finally:
        put_back()
        np.random.set_state(states[0])
        random.setstate(states[1])
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies):
                if not torch.equal(tensor, copy):  # a needless write would break the user's graph
                    tensor.copy_(copy)


def _content(value: Any) -> Any:
    """What a container holds, to be put back into the same one: hooks know theirs."""
    return value.copy() if isinstance(value, (dict, list)) else None


# --- what is probed -------------------------------------------------------------------------------


@dataclass
class Run:
    """One pass: what the model gave, the noise it drew (kind, shape), what may have been z."""

    recon: Tensor
    mu: Tensor
    t: Tensor
    drawn: list[tuple[str, torch.Size]]
    held: list[Tensor]


# The operations that draw random numbers, by their names in PyTorch's core.
RANDOM = {
    "normal": ("randn", "randn_like", "normal", "normal_"),
    "uniform": ("rand", "rand_like", "uniform_"),
    "dropout": ("bernoulli", "bernoulli_", "native_dropout"),
}


class Draws(TorchDispatchMode):
    """Sees every operation, plants noise in the place of noise, and keeps what may be z.

    Whatever a model calls (randn_like, normal_, rsample ...) comes here as one of few operations.
    Normal numbers that fit z become +-level, others 0; uniform ones become 1/2 + level / 4.
    """

    def __init__(self, shape: torch.Size | None, level: float | None) -> None:
        super().__init__()
        self.level, self.size = level, math.prod(shape or [0])
        self.fitting = {self.size, self.size // shape[0], shape[0], 1} if shape else set()
        self.drawn: list[tuple[str, torch.Size]] = []
        self.held: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(out, Tensor):
            self._plant(func._schema.name.removeprefix("aten::"), out, args, kwargs or {})
        if isinstance(out, Tensor) and out.numel() == self.size and out.is_floating_point():
            self.held.append(out.detach().clone())
        return out

    def _plant(self, name: str, out: Tensor, args: Any, kwargs: Any) -> None:
        kind = next((kind for kind, names in RANDOM.items() if name in names), "other")
        fits = out.numel() in self.fitting
        self.drawn.append((kind if fits or kind == "dropout" else "other", out.shape))
        if self.level is not None and kind == "normal":
            mean, std = self._moments(name, args, kwargs)
            sign = torch.arange(out.numel()).remainder(7).remainder(2).mul(2).sub(1)
            out.copy_(mean + std * (self.level if fits else 0.0) * sign.view(out.shape).to(out))
        elif self.level is not None and kind == "uniform" and fits:
            out.fill_(0.5 + self.level / 4)

    @staticmethod
    def _moments(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        first = {"normal": 0, "normal_": 1}.get(name, len(args))
        given = dict(zip(("mean", "std"), args[first:])) | kwargs
        return given.get("mean", 0.0), given.get("std", 1.0)


class Subject:
    """Model, loss and images, the planted tensors, and what the probes know by now.

    Attributes:
        own: a pass over the images in eval mode, with noise of its own.
        planted: recon, x, mu and t in float64 if the loss takes it.
        slope: the loss differentiated in recon, mu and t there.
        pixel, reading: keys of PIXELS and READINGS; empty if there is none.
        d_scale, kl_scale: what D and KL of one image weigh, as planted; NaN if unknown.
        dims: (D,) what the KL of each dimension weighs.
        averaged: is D, is the KL a mean over the batch; empty if neither mean nor sum.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        images: Tensor,
        put_back: Callable[[], None],
    ) -> None:
        self.model, self.loss, self.images, self.put_back = model, loss, images, put_back
        self.shape: torch.Size | None = None
        with torch.no_grad():
            self.own = self.run(None, train=False)
        self.shape = self.own.mu.shape
        self.finite = all(
            bool(v.isfinite().all()) for v in (self.own.recon, self.own.mu, self.own.t)
        )
        self.pixel = self.reading = ""
        self.d_scale = self.kl_scale = math.nan
        self.dims = torch.ones(self.shape[1:].numel())
        self.averaged: tuple[bool, ...] = ()
        self.planted = self._plant(images.device)
        self.slope = self._first_slopes()

    def _plant(self, device: torch.device) -> list[Tensor]:
        """Pixels 0 or 1, mu above any floor; t fit for a sigma."""
        shapes = (v.shape for v in (self.own.recon, self.images, self.own.mu, self.own.t))
        uniform = [torch.rand(shape, dtype=torch.float64, device="cpu") for shape in shapes]
        signed = (uniform[2] - 0.5).sign() * (2 + 2 * torch.rand_like(uniform[2]))
        made = [0.1 + 0.8 * uniform[0], uniform[1].round(), signed, 0.3 + 1.3 * uniform[3]]
        return [tensor.to(device) for tensor in made]

    def _first_slopes(self) -> list[Tensor]:
        try:
            return self.slopes(*self.planted)
        except Exception:  # it may insist on the model's own type
            self.planted = [v.to(self.own.recon.dtype) for v in self.planted]
        try:
            return self.slopes(*self.planted)
        except Exception as error:
            shapes = [tuple(v.shape) for v in self.planted]
            wish = f"loss must give a scalar for (recon, x, mu, logvar) of the shapes {shapes}"
            raise ValueError(f"{wish}, it raised {type(error).__name__}: {error}") from error

    def run(self, level: float | None, *, train: bool, seed: int = 0, factor: float = 1.0) -> Run:
        """One pass with planted noise, or with the model's own if ``level`` is None."""
        self.put_back()
        self.model.train(train)
        reseed(seed, self.images.device)
        got = f"images {tuple(self.images.shape)} of {self.images.dtype} on {self.images.device}"
        try:
            with Draws(self.shape, level) as draws:
                out = self.model(self.images * factor if factor != 1 else self.images)
        except Exception as error:
            why = f"it raised {type(error).__name__}: {error}"
            raise ValueError(f"model must take {got}, {why}") from error
        wish = f"model must give float tensors recon (B, ...), mu (B, D), logvar (B, D) for {got}"
        three = out[:3] if isinstance(out, (tuple, list)) else [out]
        if len(three) < 3 or not all(isinstance(v, Tensor) for v in three):
            raise ValueError(f"{wish}, it gave {[type(v).__name__ for v in three]}")
        recon, mu, t = three
        batch = {len(v) if v.ndim > 1 and v.is_floating_point() else -1 for v in three}
        if mu.shape != t.shape or batch != {len(self.images)}:
            raise ValueError(f"{wish}, it gave {[(v.dtype, tuple(v.shape)) for v in three]}")
        return Run(recon, mu, t, draws.drawn, draws.held)

    def slopes(self, *tensors: Tensor) -> list[Tensor]:
        """The loss differentiated in recon, mu and t at these (recon, x, mu, t)."""
        recon, x, mu, t = (v.detach().clone() for v in tensors)
        leaves = [v.requires_grad_() for v in (recon, mu, t)]
        value = self.value(recon, x, mu, t)
        found = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        return [torch.zeros_like(v) if g is None else g for g, v in zip(found, leaves)]

    def value(self, *tensors: Tensor) -> Tensor:
        """The loss, which may draw noise: the same each time."""
        self.put_back()
        reseed(0, self.images.device)
        value = self.loss(*tensors)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"a loss must be a scalar tensor (average the batch), got {got}")
        return value


def reseed(seed: int, device: torch.device) -> None:
    """Start the random numbers again; `seeded`, in which the probes run, puts the old ones back."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def close(a: Tensor, b: Tensor, tolerance: float = 2e-3) -> bool:
    """Equal but for a share of the largest entry: losses add small numbers inside logarithms."""
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def near(a: float, *marks: float) -> bool:
    """As `close`, for one of these numbers."""
    return any(math.isclose(a, mark, rel_tol=3e-3) for mark in marks)


def factor_of(slope: Tensor, form: Tensor) -> float:
    """By which factor is it this form? NaN if by none."""
    factor = float((slope * form).sum() / form.square().sum())
    return factor if factor and close(slope, factor * form) else math.nan


def slope_of(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """The derivative of a function of each entry."""
    t = t.detach().requires_grad_()
    return torch.autograd.grad(function(t).sum(), t)[0]


# --- the loss -------------------------------------------------------------------------------------


def pixels(s: Subject, result: Checkup) -> None:
    """Which likelihood has this slope in a pixel, and with what weight?"""
    recon, x, mu, t = s.planted
    if not s.slope[0].any():
        result.fault("detached", "The loss has no slope in the reconstruction")
    for shade in (0.25 + 0.5 * x, x) if recon.numel() == x.numel() else ():
        try:
            slope = s.slopes(recon, shade, mu, t)
        except Exception:  # a loss that takes no grey pixels
            continue
        for name, form in PIXELS.items():
            scale = factor_of(slope[0], form(recon, shade.reshape_as(recon)))
            if not math.isnan(scale):
                s.pixel, s.d_scale, s.planted[1], s.slope = name, scale, shade, slope
                return


def kl(s: Subject, result: Checkup) -> None:
    """Are the slopes in mu and t those of a KL to N(0, I), and for which reading of t?"""
    mu, t, d_mu, d_t = (v.flatten(1) for v in (*s.planted[2:], *s.slope[1:]))
    if not _alone(s):
        result.note("batch term", "The slope in mu of an image changes with other images")
        return result.skip("the term on mu and logvar is none of each image", *OF_KL)
    result.right.append("batch term")
    if not d_mu.any() and not d_t.any():
        result.note("kl weight", "The loss has no slope in mu or logvar: the KL weighs 0")
        return result.skip("there is no KL", *OF_KL)
    dims = (d_mu / mu).median(dim=0).values  # (D,)
    used = dims.abs() > 1e-6 * dims.abs().max()
    wrong = ""
    if not close(d_mu, dims * mu):
        swapped = not math.isnan(factor_of(d_mu, mu.exp() - 1) * factor_of(d_t, t))
        at = f"at mu = {mu[0, 0]:.3g} and {mu[1, 0]:.3g} it is {d_mu[0, 0]:.3g} and"
        wrong = f"The slope in mu is not a factor times mu: {at} {d_mu[1, 0]:.3g}"
        wrong = "Mu and logvar are swapped" if swapped else wrong
    elif not d_t.any():
        wrong = "The KL has no slope in logvar: only mu has a price"
    else:
        s.dims, s.kl_scale = dims, float(dims.mean())
        wrong = _reading(s, result, (d_t / dims)[:, used], t[:, used])
    result.right.append("kl formula")
    if wrong:
        result.fault("kl formula", wrong)
    if math.isnan(s.kl_scale):
        result.skip("the KL has no known form", *OF_KL)


def _alone(s: Subject) -> bool:
    """Do the slopes of the first image stay when the codes of the others move?"""
    others = [v.clone() for v in s.planted]
    for v in others[2:]:
        v[1:] *= 0.5
    return all(close(a[:1], b[:1], 1e-3) for a, b in zip(s.slopes(*others)[1:], s.slope[1:]))


def _reading(s: Subject, result: Checkup, slope: Tensor, t: Tensor) -> str:
    """Find what t is to the KL, given its slope over that of 1/2 mu^2 + ...; say what is wrong."""
    parts = {}  # of the KL's slope: from sigma^2, and from its logarithm
    for name, (square, _) in READINGS.items():
        d_square = slope_of(square, t)
        parts[name] = (0.5 * d_square, 0.5 * d_square / square(t))
    for name, (rise, fall) in parts.items():
        factor = factor_of(slope, rise - fall)
        if near(factor, 1):
            s.reading = name
            return ""
        if not math.isnan(factor):
            why = "a 1/2 is missing in one of them, or terms are swapped"
            return f"The part with logvar weighs {factor:.3g} times the part with mu: {why}"
    for (one, (rise, _)), (other, (_, fall)) in product(parts.items(), parts.items()):
        if close(slope, rise - fall):
            seen = f"The KL takes logvar for {one} in sigma^2 and for {other} in its logarithm"
            result.fault("variance", seen)
            return ""
    return "The slope in logvar is that of no KL to N(0, I)"


def free_bits(s: Subject, result: Checkup) -> None:
    """Has the KL the same weight near the prior, where a floor would make it free?"""
    if not s.reading:
        return result.skip("the KL has no known form", "free bits")
    result.right.append("free bits")
    recon, x, mu, t = s.planted
    low_mu, low_t = 0.05 * mu.sign(), torch.full_like(t, READINGS[s.reading][1](1.0))
    low = s.slopes(recon, x, low_mu, low_t)[1] / low_mu
    if close(low.flatten(1), s.dims):
        return
    half = (torch.arange(len(mu), device=mu.device) % 2).view(-1, *[1] * (mu.ndim - 1)) == 1
    mixed = torch.where(half, low_mu, mu)
    each = (s.slopes(recon, x, mixed, torch.where(half, low_t, t))[1] / mixed).flatten(1)
    where = "on average over the batch" if close(each, s.dims) else "for each image alone"
    share = float((low.flatten(1) / s.dims).median())
    seen = f"Near the prior the KL weighs {share:.3g} of what it weighs far from it, {where}"
    result.note("free bits", seen)


def batches(s: Subject, result: Checkup) -> None:
    """Does the loss of a batch grow with it (a sum), or stay (a mean), in D and KL alike?"""
    twice = s.slopes(*(torch.cat([v, v]) for v in s.planted))
    shares = [1.0, 1.0]  # of a slope that is left: 1 in a sum, 1/2 in a mean
    for k in (0, 1):
        now = twice[k][: len(s.images)]
        shares[k] = float((now * s.slope[k]).sum() / s.slope[k].square().sum().clamp(min=1e-300))
    coupled = "batch term" in {finding.name for finding in result.findings}
    if not s.slope[1].any() or coupled:
        shares[1] = shares[0]
    if not s.slope[0].any():
        return result.skip("the loss has no slope in the reconstruction", *OF_BATCH)
    if coupled:
        result.skip("the term on mu and logvar is none of each image", "batch size")
    result.right.extend(OF_BATCH)
    if not all(near(share, 1, 0.5) for share in shares):
        seen = f"With twice the images the slope of D is {shares[0]:.3g} of what it was, of the KL "
        result.fault("batch size", f"{seen}{shares[1]:.3g}: neither a sum nor a mean")
        return result.skip("the loss is neither a sum nor a mean", "batch sum")
    s.averaged = (near(shares[0], 0.5), near(shares[1], 0.5))
    if s.averaged == (False, False):
        result.note("batch sum", "The loss is a sum over the images of a batch")
    elif not s.pixel and s.averaged != (True, True):
        result.fault("batch size", "Of D and KL one is a sum over the batch, one a mean")


def balance(s: Subject, result: Checkup) -> None:
    """What does the KL of an image weigh beside its D, and where does that weight come from?"""
    if math.isnan(s.d_scale) or not s.averaged:
        return result.skip(NO_PIXEL, *OF_BALANCE)
    if math.isnan(s.kl_scale):
        return
    result.right.extend(OF_BALANCE)
    width = s.images[0].numel()
    d, r = _of_one_image(s)
    if min(d, r) < 0:
        seen = f"D has the weight {d:.3g}, the KL {r:.3g}; in -ELBO = D + KL both are above 0"
        result.fault("kl sign", seen)
        d, r = abs(d), abs(r)
    plain = (1, 2) if s.pixel == "squared error" else (1,)  # half squares, or squares
    over_pixels, over_dims = near(d * width, *plain), _over_dims(s, r)
    written = r * len(s.dims) if over_dims else r  # the weight that somebody wrote
    beta = r / d
    if s.averaged[0] != s.averaged[1]:
        return _unequal(s, result, near(d, *plain), over_pixels, over_dims, (d, r))
    # A weight of 1/784 repairs a mean over pixels: only what moves beta away from 1 is a fault.
    mixed = not near(beta, 1) and abs(math.log(beta)) >= abs(math.log(written)) - 1e-3
    seen = f"so the KL weighs beta = {beta:.4g} times D"
    if mixed and over_pixels:
        result.fault("pixels averaged", f"D is a mean over {width} pixels, {seen}")
    if mixed and over_dims:
        result.fault("kl averaged", f"The KL is a mean over {len(s.dims)} dimensions, {seen}")
    if not close(s.dims, s.dims.mean().expand_as(s.dims)):
        _uneven(s, result)
    elif (mixed and (over_pixels or over_dims)) or s.pixel not in BERNOULLI:
        if not near(written, 1) and not near(beta, *(1 / p for p in plain)):
            result.note("kl weight", f"The KL is multiplied by {written:.4g}")
    elif near(beta, 2):
        result.note("kl formula", "The KL is twice the closed form: a 1/2 is missing, or beta = 2")
    elif not near(beta, 1):
        result.note("kl weight", f"The KL weighs beta = {beta:.4g} times D")


def _of_one_image(s: Subject) -> tuple[float, float]:
    """The weights of D and KL, without a mean over the batch."""
    rows = [len(s.images) if averaged else 1 for averaged in s.averaged]
    return s.d_scale * rows[0], s.kl_scale * rows[1]


def _uneven(s: Subject, result: Checkup) -> None:
    low, high = (float(v / s.dims.mean()) for v in s.dims.aminmax())
    seen = f"The KL of a dimension weighs {low:.3g} to {high:.3g} times their mean"
    result.note("kl weight", seen)


def _unequal(
    s: Subject, result: Checkup, d_plain: bool, over_pixels: bool, over_dims: bool, scales: Any
) -> None:
    """D is a sum over the batch and the KL is none, or the other way round."""
    now = f"for {len(s.images)} images the KL weighs {s.kl_scale / s.d_scale:.3g} times D"
    if s.averaged[1] and d_plain:
        over = "the batch and its dimensions" if over_dims else "the batch"
        result.fault("kl averaged", f"D is a sum, the KL a mean over {over}: {now}")
    elif s.averaged[0] and over_pixels:
        result.fault("pixels averaged", f"D is a mean over the pixels, the KL a sum: {now}")
    else:
        fixed, by = ("D", scales[0]) if s.averaged[1] else ("the KL", scales[1])
        how = "never divided" if near(by, 1) else f"always divided by {1 / by:.4g}"
        seen = f"One term is divided by the number of images, but {fixed} is {how}: {now}"
        result.fault("batch size", seen)
    if not close(s.dims, s.dims.mean().expand_as(s.dims)):
        _uneven(s, result)
    result.skip("it depends on the batch", *OF_BALANCE[1:])


def _over_dims(s: Subject, scale: float) -> bool:
    """Does the slope halve when there are twice as many dimensions?"""
    recon, x, mu, t = s.planted
    try:
        wide = s.slopes(recon, x, torch.cat([mu, mu], 1), torch.cat([t, t], 1))[1]
    except Exception:  # a loss that has a weight for each dimension takes no more of them
        return len(s.dims) > 1 and near(scale * len(s.dims), 1)
    return near(float((wide[:, : mu.shape[1]] / mu).mean()) / s.kl_scale, 0.5)


def likelihood(s: Subject, result: Checkup) -> None:
    """A squared error is a Gaussian: name its sigma, and the beta that it hides."""
    if not s.pixel:
        return result.skip(NO_PIXEL, "likelihood")
    result.right.append("likelihood")
    if s.pixel == "Bernoulli with recon and x swapped":
        seen = "The slope in a pixel is that of a cross-entropy with recon and x swapped"
        result.fault("likelihood", seen)
    if s.pixel in BERNOULLI or math.isnan(s.kl_scale) or not s.averaged:
        return
    d, r = _of_one_image(s)
    if s.pixel == "absolute error":
        return result.note("likelihood", f"Absolute error: a Laplace of scale {abs(r / d):.3g}")
    left = float((s.own.recon - s.images.reshape_as(s.own.recon)).square().mean())
    seen = (
        f"Squared error: a Gaussian of sigma = {math.sqrt(abs(r / d)):.3g}; this model misses by "
    )
    hidden = f"{math.sqrt(left):.3g}, a sigma beside which the KL weighs {abs(r / d) / left:.3g}"
    result.note("likelihood", seen + hidden)


def values(s: Subject, result: Checkup) -> None:
    """Are images and the decoder's outputs where the likelihood wants them?"""
    if not s.pixel:
        return result.skip(NO_PIXEL, "range", "targets")
    result.right.extend(["range", "targets"])
    low, high = (float(v) for v in s.images.aminmax())
    if s.pixel in BERNOULLI and (low < 0 or high > 1):
        result.fault("targets", f"The images reach from {low:.3g} to {high:.3g}")
    if not s.finite:
        return result.skip("the model's outputs are not finite", "range")
    low, high = (float(v) for v in s.own.recon.aminmax())
    inside = low >= -1e-6 and high <= 1 + 1e-6
    twice = low > 0.4999 and high < 0.7312  # a sigmoid of what is in [0, 1]
    wrong = {
        "Bernoulli after two sigmoids": "the loss applies a sigmoid twice",
        "Bernoulli on probabilities": ("a sigmoid of a sigmoid" if twice else "") if inside
        else "the loss wants probabilities",
        "Bernoulli on logits": "as after a sigmoid, and the loss applies another" if inside else "",
    }.get(s.pixel)  # fmt: skip
    if wrong:
        seen = f"The decoder's outputs reach from {low:.3g} to {high:.3g}: {wrong}"
        result.fault("range", seen)


# --- the model ------------------------------------------------------------------------------------


def noise(s: Subject, result: Checkup) -> None:
    """Is z = mu + sigma * noise, with fresh noise for each image and dimension, in both modes?"""
    if not s.finite:
        return result.skip("the model's outputs are not finite", *OF_NOISE)
    seen = {mode: _noise_in(s, train=mode == "train") for mode in ("train", "eval")}
    result.right.append("noise")
    wrong = {mode: words for mode, (kind, words, _) in seen.items() if kind == "wrong"}
    if wrong:
        where = " and ".join(wrong)
        result.fault("noise", f"In {where} mode {'; '.join(dict.fromkeys(wrong.values()))}")
    for kind, words, _ in seen.values():
        if kind == "unknown":
            result.skip(words, "noise")
    pair = next((pair for _, _, pair in seen.values() if pair), None)
    if pair is None:
        return result.skip("z could not be told from outside", "variance", "detached")
    variance(s, result, *pair)
    if torch.equal(pair[0].recon, pair[1].recon):
        return result.skip("the decoder does not listen to z", "detached")
    detached(s, result)


def _noise_in(s: Subject, *, train: bool) -> tuple[str, str, tuple[Run, Run] | None]:
    """Right, wrong or unknown; what was seen; passes without and with noise that hold just z."""
    with torch.no_grad():
        still, moved = (s.run(level, train=train) for level in (0.0, 1.0))
        first, second, again = (s.run(None, train=train, seed=k) for k in (1, 2, 1))
    kinds = {kind for kind, _ in moved.drawn}
    at = [k for k in range(len(still.held)) if _is_z(k, still, moved)] if "normal" in kinds else []
    if at:
        frozen = torch.equal(first.held[at[-1]], second.held[at[-1]])
        still.held, moved.held = still.held[at[-1] :][:1], moved.held[at[-1] :][:1]
        shape = max((shape for kind, shape in moved.drawn if kind == "normal"), key=math.prod)
        if math.prod(shape) < still.mu.numel():
            words = f"one draw of shape {tuple(shape)} serves mu of shape {tuple(still.mu.shape)}"
            return "wrong", words, (still, moved)
        words = "the noise is the same in every pass" if frozen else ""
        return "wrong" if frozen else "right", words, (still, moved)
    if "uniform" in kinds and "normal" not in kinds:
        return _uniform_in(s, train)
    if "normal" in kinds and not close(still.recon, moved.recon, 1e-6):
        return "unknown", "noise comes to the decoder, but not as mu + sigma * noise", None
    if "other" in kinds or not close(first.recon, again.recon, 1e-4):
        return "unknown", "there is noise of another kind, or from elsewhere than PyTorch", None
    return "wrong", "z is mu, or mu and a constant: no noise comes to the decoder", None


def _is_z(k: int, still: Run, moved: Run) -> bool:
    """Is the k-th tensor mu without noise, and does it move with noise?"""
    if k >= len(moved.held):
        return False
    a, b = still.held[k].flatten(), moved.held[k].flatten()
    return close(a, still.mu.flatten(), 1e-5) and not close(b, a, 1e-6)


def _uniform_in(s: Subject, train: bool) -> tuple[str, str, None]:
    """Uniform numbers instead of normal ones, or to make normal ones from, which is not linear?"""
    with torch.no_grad():
        runs = [s.run(level, train=train) for level in (0.0, 0.8, 1.6)]  # 0.5, 0.7, 0.9
    mu = runs[0].mu.flatten()
    for half, more, most in zip(*(run.held for run in runs)):
        at_half, at_zero = half.flatten(), (half - 2.5 * (more - half)).flatten()
        linear = close(most - more, more - half, 1e-3) and not close(more, half, 1e-6)
        if linear and (close(at_half, mu, 1e-5) or close(at_zero, mu, 1e-5)):
            return "wrong", "the noise is uniform, not normal", None
    return "unknown", "uniform numbers are drawn, and what becomes of them is not seen", None


def variance(s: Subject, result: Checkup, still: Run, moved: Run) -> None:
    """Is the sigma of the noise the one that the KL has a price for?"""
    if not s.reading:
        return result.skip("the KL has no known form", "variance")
    result.right.append("variance")
    sigma = (moved.held[0] - still.held[0]).abs().flatten()  # the noise is +-1
    read = {name: square(still.t.flatten()).sqrt() for name, (square, _) in READINGS.items()}
    rounding = max(1e-3, 8 * torch.finfo(sigma.dtype).eps)
    fits = [name for name, v in read.items() if close(sigma, v, rounding)]
    if s.reading not in fits:
        fit = f"as if it were {fits[0]}" if fits else "as none of these"
        first = f"sigma is {float(read[s.reading][0]):.3g} for the first entry of logvar"
        seen = f"To the KL, logvar is {s.reading}, and {first}; the noise has {float(sigma[0]):.3g}"
        result.fault("variance", f"{seen}, {fit}")
    elif len(fits) > 1:
        result.skip("every sigma is too close to 1 to tell", "variance")


def detached(s: Subject, result: Checkup) -> None:
    """Do the weights of mu alone, and those of logvar alone, move the reconstruction?"""
    run = s.run(1.0, train=True)
    weights = [p for p in s.model.parameters() if p.requires_grad]

    def reach(of: Tensor) -> Tensor:
        if not of.requires_grad or not weights:
            return torch.zeros(1, device=of.device)
        mixed = (of * torch.linspace(1, 2, of.numel()).to(of).view_as(of)).sum()
        found = torch.autograd.grad(mixed, weights, retain_graph=True, allow_unused=True)
        return torch.cat([(w * 0 if g is None else g).flatten() for g, w in zip(found, weights)])

    recon, mu, t = reach(run.recon), reach(run.mu), reach(run.t)
    alone = {"mu": (mu != 0) & (t == 0), "logvar": (t != 0) & (mu == 0)}
    if not all(bool(mask.any()) for mask in alone.values()):
        return result.skip("no weight belongs to mu or logvar alone", "detached")
    result.right.append("detached")
    deaf = [f"{int(mask.sum())} of {k}" for k, mask in alone.items() if not (recon * mask).any()]
    if deaf:
        seen = (
            f"The reconstruction has slope 0 in all weights that make it alone, {', '.join(deaf)}"
        )
        result.fault("detached", seen)


def modes(s: Subject, result: Checkup) -> None:
    """Is the loss the same in eval and train mode when z = mu in both?"""
    if _unfit(s, result, "modes"):
        return
    with torch.no_grad():  # train mode last: there BatchNorm moves its averages
        runs = [s.run(0.0, train=train) for train in (False, False, True)]
        low, again, high = (float(s.value(run.recon, s.images, run.mu, run.t)) for run in runs)
    if not math.isclose(low, again, rel_tol=1e-6):  # a GPU may add in another order
        return result.skip("the loss changes without a change of mode", "modes")
    result.right.append("modes")
    if not math.isclose(low, high, rel_tol=1e-5, abs_tol=1e-5):
        seen = f"With z = mu the loss is {low:.5g} in eval mode and {high:.5g} in train mode"
        result.note("modes", seen)


def _unfit(s: Subject, result: Checkup, name: str) -> bool:
    """Does the loss not take the model's own outputs? On a GPU, to try it would end Python."""
    unfit = not s.finite or any(f.name in ("range", "targets") for f in result.findings)
    if unfit:
        result.skip("the loss does not take what the model gives", name)
    return unfit


def extremes(s: Subject, result: Checkup) -> None:
    """Is the slope finite on these images, for saturated pixels, and for small and large sigma?"""
    if not s.finite:
        return result.fault("not finite", "The model's outputs hold NaN or infinity")
    recon = s.planted[0]
    ends = {BERNOULLI[0]: (0.0, 1.0), BERNOULLI[1]: (-60.0, 60.0), "squared error": (-10.0, 10.0)}
    low, high = ends.get(s.pixel, (0.1, 0.9))
    third = torch.arange(recon.numel(), device=recon.device).view_as(recon) % 3 == 0
    tried = {f"for outputs of {low:g} and {high:g}": {0: torch.where(third, low, high)}}
    far = min(20.0, 0.8 * math.log(torch.finfo(s.own.t.dtype).max))  # half precision ends at 11
    for power in (-far, far):
        t = READINGS[s.reading or "log sigma^2"][1](math.exp(power))
        tried[f"for sigma^2 = exp({power:.3g})"] = {3: torch.full_like(s.planted[3], t)}
    if not _unfit(s, result, "not finite"):
        tried["on these images"] = dict(enumerate((s.own.recon, s.images, s.own.mu, s.own.t)))
    result.right.append("not finite")
    for where, changed in tried.items():
        if not _stays_finite(s, changed):
            return result.fault("not finite", f"The slope of the loss is not finite {where}")


def _stays_finite(s: Subject, changed: dict[int, Tensor]) -> bool:
    """In the model's own precision, with some of the planted tensors changed."""
    plants = [changed.get(k, v).to(s.own.recon.dtype) for k, v in enumerate(s.planted)]
    return all(bool(slope.isfinite().all()) for slope in s.slopes(*plants))


def overflow(s: Subject, result: Checkup) -> None:
    """Can exp(logvar) overflow: would the loss let it, and can the encoder come so far?"""
    limit = math.log(torch.finfo(s.own.t.dtype).max)
    if "not finite" not in result.right or not s.reading.startswith("log"):
        return
    if _stays_finite(s, {3: torch.full_like(s.planted[3], 2 * limit)}):
        return
    with torch.no_grad():
        far = [float(s.run(0.0, train=False, factor=k).t.max()) for k in (-1e6, 1e6)]
    if not max(far) < limit:
        seen = f"Nothing bounds logvar, and its exponential overflows above {limit:.3g}"
        result.note("not finite", seen)


# Every probe, and the names that it alone could settle.
PROBES: dict[Callable[[Subject, Checkup], None], tuple[str, ...]] = {
    pixels: (),
    kl: ("kl formula", "batch term", *OF_KL),
    free_bits: ("free bits",),
    batches: OF_BATCH,
    balance: OF_BALANCE,
    likelihood: ("likelihood",),
    values: ("range", "targets"),
    noise: OF_NOISE,
    modes: ("modes",),
    extremes: ("not finite",),
    overflow: ("not finite",),
}
