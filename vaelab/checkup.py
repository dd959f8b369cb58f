"""What is wrong with your VAE? Probes from outside; nobody's source is read.

The loss is differentiated at planted tensors: its slope in a pixel tells the likelihood, its slopes
in mu and logvar tell the KL, and their sizes tell the weights. The model runs with planted noise: z
is the tensor that equals mu without noise and moves with it.
"""

from __future__ import annotations

import copy
import html
import math
import textwrap
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import permutations, product
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .checks import kind_of
from .runs import plain_arithmetic, seeded

# Where the lessons explain a finding: the lesson's number and a heading in it.
SECTIONS: dict[str, tuple[int, str]] = {
    "kl": (1, "The rate in closed form"), "noise": (1, "The reparameterization trick"),
    "likelihood": (1, "The likelihood: Bernoulli pixels"), "loop": (1, "The loop"),
    "gray": (1, "Gray levels are not coin flips"), "model": (1, "A soft bound on the log-variance"),
    "weight": (2, "Why a weight on the rate"), "average": (1, "How not to average"),
    "pixels": (2, "A mean over pixels is β = 784 in disguise"), "floor": (3, "3.2 Free bits"),
    "evaluate": (2, "Evaluate at β = 1, whatever was trained"),
    "squared": (1, "Squared error has a hidden β"),
    "aggregate": (3, "3.6 Nats are not information"),
}  # fmt: skip
# Every finding: its section, and what it does to training.
KINDS: dict[str, tuple[str, str]] = {
    "pixels averaged": ("pixels", "The KL outweighs the pixels; the decoder learns to ignore z."),
    "kl averaged": ("weight", "In -ELBO, dimensions are summed and images averaged, in D and KL."),
    "kl weight": ("weight", "It trades rate for distortion; report results at a weight of 1."),
    "kl sign": ("kl", "An optimizer that minimizes this loss drives a term the wrong way."),
    "kl formula": ("kl", "What is minimized is not D plus the KL to N(0, I), the negative ELBO."),
    "variance": ("noise", "The KL prices another spread than z has, so the sum is no bound."),
    "noise": ("noise", "A decoder trained so knows single points; a loss so taken is no ELBO."),
    "detached": ("noise", "The pixels cannot teach the encoder through this path."),
    "targets": ("gray", "For such pixels a Bernoulli loss falls without end."),
    "range": ("likelihood", "Decoder and loss must agree on where the one sigmoid is."),
    "likelihood": ("squared", "This sets the price of the rate as beta does; report it."),
    "batch size": ("average", "The last, short batch and other batch sizes train something else."),
    "modes": ("evaluate", "What is trained is not what is evaluated; compare in one mode only."),
    "not finite": ("model", "One such value, and the next step puts NaN into the weights."),
    "batch sum": ("loop", "With SGD the step grows with the batch; Adam mostly rescales it."),
    "free bits": ("floor", "Rate below the floor is free, so the sum is not the ELBO."),
    "batch term": ("aggregate", "It acts on the codes of a whole batch, as MMD does, not a KL."),
}
# How the model's third tensor t may be meant: sigma^2 as a function of t, and t for a log sigma^2.
READINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[float], float]]] = {
    "log sigma^2": (lambda t: t.exp(), lambda s: s),
    "log sigma": (lambda t: (2 * t).exp(), lambda s: s / 2),
    "2 log sigma^2": (lambda t: (t / 2).exp(), lambda s: s * 2),
    "sigma^2": (lambda t: t, lambda s: math.exp(s)),
    "sigma": (lambda t: t.square(), lambda s: math.exp(s / 2)),
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
PROBABILITIES, LOGITS, TWICE, SWAPPED, SQUARES, _ = PIXELS
BERNOULLI = (PROBABILITIES, LOGITS, TWICE, SWAPPED)
# The operations that draw random numbers, by their names in PyTorch's core.
RANDOM = {
    "randn": "normal", "randn_like": "normal", "normal": "normal", "normal_": "normal",
    "rand": "uniform", "rand_like": "uniform", "uniform_": "uniform",
    "bernoulli": "dropout", "bernoulli_": "dropout",
}  # fmt: skip
# Every probe: what must be known for it, and the names that it settles: right if it yields none.
PROBES: dict[str, tuple[str, str]] = {
    "kl": ("", "kl formula, batch term, variance"),
    "free_bits": ("reading", "free bits"),
    "batches": ("", "batch size, batch sum"),
    "balance": ("weights", "kl sign, kl weight, kl averaged, pixels averaged"),
    "likelihood": ("pixel weights", "likelihood"),
    "values": ("pixel outputs", "range, targets"),
    "noise": ("", "noise"),
    "variance": ("reading z", "variance"),
    "detached": ("z", "detached"),
    "modes": ("outputs", "modes"),
    "extremes": ("", "not finite"),
}
UNKNOWN = {
    "pixel": "the slope in a pixel is that of no known likelihood",
    "reading": "the KL has no known form",
    "weights": "D and KL have no known weights",
    "outputs": "the model's outputs are not finite or do not fit the loss",
    "z": "z could not be told from outside",
}
# A key of KINDS; "fault", "note" or "open"; what was seen. A probe returns why all else is open.
Seen = Generator[tuple[str, str, str], None, Any]


@dataclass
class Finding:
    """What is or may be wrong."""

    name: str  # a key of KINDS
    level: str  # "fault", or "note" for what may be meant
    message: str  # what was measured, and what it does to training
    section: str  # a key of SECTIONS, the place in the lessons that explains it


@dataclass
class Checkup:
    """What a checkup found; it shows as a table."""

    findings: list[Finding]  # faults, then notes
    right: list[str]  # the names of what was checked and is right
    not_checked: dict[str, str]  # name -> why it could not be checked

    @property
    def ok(self) -> bool:
        """No fault; notes and things that could not be checked there may be."""
        return all(finding.level != "fault" for finding in self.findings)

    def _rows(self) -> list[tuple[str, str, str]]:
        place = {key: f"See lesson {n}, “{heading}”." for key, (n, heading) in SECTIONS.items()}
        rows = [(f.level, f.name, f"{f.message} {place[f.section]}") for f in self.findings]
        rows.append(("right", "checked and right", ", ".join(self.right) or "nothing"))
        left = "; ".join(f"{name} ({why})" for name, why in self.not_checked.items())
        return [*rows, ("open", "not checked", left or "nothing")]

    def __repr__(self) -> str:
        rows = (f"{level:<6} {name:<18} {words}" for level, name, words in self._rows())
        return "\n".join(textwrap.fill(row, 100, subsequent_indent=" " * 26) for row in rows)

    def _repr_html_(self) -> str:
        cell = "<td style='text-align:left'>{}</td>".format
        rows = ("".join(cell(html.escape(part)) for part in row) for row in self._rows())
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


@torch.enable_grad()
def checkup(model: nn.Module, loss: Callable[..., Tensor], images: Tensor) -> Checkup:
    """Look for the usual mistakes in a VAE and its loss; copies are run, so both stay as they are.

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
    with plain_arithmetic(images.device):
        seen = [*Subject(model, loss, images[:16].detach()).examine()]
    seen.sort(key=lambda one: (one[1], [*KINDS].index(one[0])))  # stable: the first reason counts
    findings = [
        Finding(name, level, f"{words}. {KINDS[name][1]}", KINDS[name][0])
        for name, level, words in seen
        if level != "open"
    ]
    rest = [name for name in KINDS if name not in {finding.name for finding in findings}]
    why = {name: words for name, level, words in reversed(seen) if level == "open"}
    not_checked = {name: why[name] for name in rest if name in why}
    return Checkup(findings, [name for name in rest if name not in why], not_checked)


def _check(model: nn.Module, loss: Callable[..., Tensor], images: Tensor) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module that gives (recon, mu, logvar), got {model!r}")
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"loss must be a function (recon, x, mu, logvar) -> scalar, got {loss!r}")
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"images must be a float tensor, got {kind_of(images)}")
    if images.ndim < 2 or len(images) < 4 or not images.numel():
        raise ValueError(f"images must be (B, ...) with B >= 4, got {tuple(images.shape)}")
    if not finite(images):
        raise ValueError("images must be finite, got NaN or infinity")


def copy_of(part: Any) -> Any:
    """A model or loss to run in its place: modes, averages and counters of the user's own stay.

    Tensors with a history (a KL that a model keeps) cannot be copied, nor can locks or writers, and
    a copied generator would draw the same noise again: these are shared.
    """
    owner = getattr(part, "__self__", part)  # of a method
    owners = owner.modules() if isinstance(owner, nn.Module) else [owner]
    held = [v for o in owners for v in getattr(o, "__dict__", {}).values()]
    copied = (nn.Module, Tensor, dict, MethodType)
    shared = [v for v in held if not isinstance(v, copied) or not getattr(v, "is_leaf", True)]
    return copy.deepcopy(part, {id(v): v for v in shared})


class Pass(TorchDispatchMode):
    """One pass of the model, in which every operation is seen.

    Whatever a model calls (randn_like, normal_, rsample ...) comes here as one of few operations.
    Normal numbers that fit z become +-level, others 0; or else uniform ones become the level.
    """

    model: nn.Module
    recon: Tensor  # what the model gave
    mu: Tensor
    t: Tensor

    def __init__(self, size: int, batch: int, level: float | None, kind: str) -> None:
        super().__init__()
        self.size, self.level, self.kind = size, level, kind
        self.fitting = (size, size // batch, batch, 1)
        self.drawn: list[tuple[str, torch.Size]] = []  # kind and shape of the noise
        self.held: list[Tensor] = []  # every tensor of z's size, in order

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and torch.Tag.nondeterministic_seeded in func.tags:
            name, fits = func._schema.name.removeprefix("aten::"), out.numel() in self.fitting
            kind = RANDOM.get(name, "other")
            self.drawn.append((kind if fits or kind == "dropout" else "other", out.shape))
            if self.level is not None and kind == self.kind == "normal":
                given = args[{"normal": 0, "normal_": 1}.get(name, len(args)) :][:2]
                mean, std = tuple(given) + (0.0, 1.0)[len(given) :]
                sign = torch.arange(out.numel()).remainder(7).remainder(2).mul(2).sub(1)
                out.copy_(mean + std * (self.level if fits else 0.0) * sign.view(out.shape).to(out))
            elif self.level is not None and kind == self.kind and fits:
                out.fill_(self.level)
        if isinstance(out, Tensor) and out.numel() == self.size and out.is_floating_point():
            self.held.append(out.detach().clone())
        return out


@dataclass
class Subject:
    """Model, loss and images, the probes, and what these know by now: empty or 0 if unknown."""

    model: nn.Module
    loss: Callable[..., Tensor]
    images: Tensor
    size: int = 0  # of z
    pixel: str = ""  # a key of PIXELS
    reading: str = ""  # a key of READINGS
    d_scale: float = 0.0  # what D and KL of one image weigh in the loss of the batch
    kl_scale: float = 0.0
    dims: Tensor = field(init=False)  # (D,) what the KL of each dimension weighs there
    averaged: tuple[bool, ...] = ()  # is D, is the KL a mean over the batch?
    weights: tuple[float, ...] = ()  # d_scale and kl_scale without that mean
    z: tuple[Tensor, ...] = ()  # without noise, with noise, and the t of both

    def __post_init__(self) -> None:
        with torch.no_grad():
            self.own = self.run(None, train=False)
        self.size = self.own.mu.numel()
        self.outputs = self.finite = finite(self.own.recon, self.own.mu, self.own.t)
        self.planted, self.slope = self._plant()
        recon, x = self.planted[:2]
        for name, form in PIXELS.items() if recon.numel() == x.numel() else ():
            scale = factor_of(self.slope[0], form(recon, x.reshape_as(recon)))
            if scale and not self.pixel:
                self.pixel, self.d_scale = name, scale

    def _plant(self) -> tuple[list[Tensor], list[Tensor]]:
        """Recon, x, mu above any floor, t fit for a sigma; the slopes in recon, mu and t there."""
        shapes = [v.shape for v in (self.own.recon, self.images, self.own.mu, self.own.t)]
        with seeded(0):
            uniform = [torch.rand(shape, dtype=torch.float64, device="cpu") for shape in shapes]
        recon, t, black = 0.1 + 0.8 * uniform[0], 0.3 + 1.3 * uniform[3], uniform[1].round()
        mu = (uniform[2] - 0.5) * 4 + 2 * (uniform[2] - 0.5).sign()
        for dtype, x in product((torch.float64, self.own.recon.dtype), (0.25 + black / 2, black)):
            planted = [v.to(self.images.device, dtype) for v in (recon, x, mu, t)]
            try:
                return planted, self.slopes(*planted)
            except Exception as error:  # it may insist on the model's own type, or on black pixels
                why = error
        wish = f"loss must give a scalar for (recon, x, mu, logvar) of the shapes {shapes}"
        raise ValueError(f"{wish}, it raised {type(why).__name__}: {why}") from why

    def run(self, level: float | None, train: bool, seed: int = 0, kind: str = "normal") -> Pass:
        """One pass with planted noise of a kind, or with the model's own if ``level`` is None."""
        images, run = self.images, Pass(self.size, len(self.images), level, kind)
        wish = "model must give float tensors recon (B, ...), mu (B, D), logvar (B, D) for images"
        wish = f"{wish} {tuple(images.shape)} of {images.dtype} on {images.device}"
        if any(isinstance(m, torch.jit.ScriptModule) for m in self.model.modules()):
            wish += ", and be the module from before torch.jit.trace: a trace cannot be watched"
        try:
            run.model = copy_of(self.model).train(train)
            with seeded(seed, images.device), run:
                out = run.model(images)
            run.recon, run.mu, run.t = three = tuple(out)[:3]
            kinds = [(len(v), v.ndim > 1, v.is_floating_point()) for v in three]
        except Exception as error:
            raise ValueError(f"{wish}, it raised {type(error).__name__}: {error}") from error
        if run.mu.shape != run.t.shape or set(kinds) != {(len(images), True, True)}:
            raise ValueError(f"{wish}, it gave {[(v.dtype, tuple(v.shape)) for v in three]}")
        return run

    def value(self, *tensors: Tensor) -> Tensor:
        """The loss, which may draw noise: the same each time."""
        with seeded(0, self.images.device):
            value = copy_of(self.loss)(*tensors)
        if value.numel() != 1:
            raise ValueError(f"{tuple(value.shape)} is no scalar: average the batch")
        return value

    def slopes(self, *tensors: Tensor) -> list[Tensor]:
        """The loss differentiated in recon, mu and t at these (recon, x, mu, t)."""
        recon, x, mu, t = (v.detach().clone() for v in tensors)
        leaves = [v.requires_grad_() for v in (recon, mu, t)]
        value = self.value(recon, x, mu, t).sum()
        return list(torch.autograd.grad(value, leaves, materialize_grads=True))

    def examine(self) -> Seen:
        """What every probe sees, and what stays open for want of something or by an error."""
        for probe, (needs, names) in PROBES.items():
            why = next((UNKNOWN[need] for need in needs.split() if not getattr(self, need)), None)
            try:
                why = why or (yield from getattr(self, probe)())
            except Exception as error:  # of the user's code, where a probe leads it
                why = f"{type(error).__name__}: {error}"[:200]
            for name in names.split(", ") if why else ():
                yield name, "open", why

    def kl(self) -> Seen:
        """Are the slopes in mu and t those of a KL to N(0, I), and what is t to it?"""
        mu, t, d_mu, d_t = (v.flatten(1) for v in (*self.planted[2:], *self.slope[1:]))
        others = [v[:1].lerp(v, 0.1) for v in self.planted[2:]]  # near the first: within a kernel
        alone = zip(self.slopes(*self.planted[:2], *others)[1:], self.slope[1:])
        dims = (d_mu / mu).median(dim=0).values  # (D,)
        if not all(close(a[:1], b[:1], 1e-3) for a, b in alone):
            yield "batch term", "note", "The slope in mu of an image changes with other images"
            return "the term on mu and logvar is none of each image"
        elif not d_mu.any() and not d_t.any():
            yield "kl weight", "note", "The loss has no slope in mu or logvar: the KL weighs 0"
            yield "kl formula", "open", "there is no KL"
        elif not close(d_mu, dims * mu):
            at = f"{d_mu[0, 0]:.3g} at {mu[0, 0]:.3g}, {d_mu[1, 0]:.3g} at {mu[1, 0]:.3g}"
            yield "kl formula", "fault", f"The slope in mu is no multiple of mu: {at}"
        elif not d_t.any():
            yield "kl formula", "fault", "The KL has no slope in logvar: only mu has a price"
        else:
            self.dims, self.kl_scale = dims, float(dims.mean())
            low, high = (float(v) / self.kl_scale for v in dims.aminmax())
            if not near(low, high):
                seen = f"Its dimensions weigh {low:.3g} to {high:.3g} of their mean"
                yield "kl weight", "note", seen
            used = dims.abs() > 1e-6 * dims.abs().max()
            yield from self._reading((d_t / dims)[:, used], t[:, used])

    def _reading(self, slope: Tensor, t: Tensor) -> Seen:
        """Find what t is to the KL, given the slope in t beside that of 1/2 mu^2."""
        t = t.detach().requires_grad_()
        rise = {k: torch.autograd.grad(f(t).sum(), t)[0] / 2 for k, (f, _) in READINGS.items()}
        fall = {k: rise[k] / f(t.detach()) for k, (f, _) in READINGS.items()}
        for one, other in [*zip(READINGS, READINGS), *permutations(READINGS, 2)]:
            factor = factor_of(slope, rise[one] - fall[other])  # of sigma^2, of its log
            if one == other and near(factor, 1):
                self.reading = one
            elif one == other and factor:
                seen = f"The part with logvar weighs {factor:.3g} times the part with mu"
                yield "kl formula", "fault", f"{seen}: a 1/2 is missing, or terms are swapped"
            elif near(factor, 1):
                seen = f"The KL takes logvar for {one} in sigma^2 and for {other} in its log"
                yield "variance", "fault", seen
            else:
                continue
            return
        yield "kl formula", "fault", "The slope in logvar is that of no KL to N(0, I)"

    def free_bits(self) -> Seen:
        """Has the KL the same weight near the prior, where a floor would make it free?"""
        recon, x, mu, t = self.planted
        low_mu, low_t = 0.05 * mu.sign(), torch.full_like(t, READINGS[self.reading][1](0.0))
        low = (self.slopes(recon, x, low_mu, low_t)[1] / low_mu).flatten(1)
        if not close(low, self.dims):
            share = f"{float((low / self.dims).median()):.3g} of what it weighs far from it"
            yield "free bits", "note", f"Near the prior the KL weighs {share}"

    def batches(self) -> Seen:
        """Does the loss of a batch grow with it (a sum), or stay (a mean), in D and KL alike?"""
        if not self.slope[0].any():
            yield "detached", "fault", "The loss has no slope in the reconstruction"
            return "the loss has no slope in the reconstruction"
        twice = self.slopes(*(torch.cat([v, v]) for v in self.planted))
        pairs = zip(self.slope[:2], twice)
        shares = [float((a * b[: len(a)]).sum() / a.square().sum()) for a, b in pairs]
        if not self.kl_scale:
            yield "batch size", "open", UNKNOWN["reading"]
            shares[1] = shares[0]
        averaged = tuple(near(share, 0.5) for share in shares)  # 1/2 is left in a mean, 1 in a sum
        if not all(near(share, 1, 0.5) for share in shares):
            seen = "Twice the images leave {:.3g} of the slope of D in an image, {:.3g} of the KL's"
            yield "batch size", "fault", seen.format(*shares)
            return "the loss is neither a sum nor a mean"
        if not any(averaged):
            yield "batch sum", "note", "The loss is a sum over the images of a batch"
        if not self.pixel and averaged[0] != averaged[1]:
            yield "batch size", "fault", "Of D and KL one is a sum over the batch, one a mean"
        if self.pixel and self.kl_scale:
            d, r = (len(self.images) if mean else 1 for mean in averaged)
            self.averaged, self.weights = averaged, (self.d_scale * d, self.kl_scale * r)

    def balance(self) -> Seen:
        """What does the KL of an image weigh beside its D, and where does that weight come from?"""
        d, r = self.weights
        if min(d, r) < 0:
            seen = f"D has the weight {d:.3g}, the KL {r:.3g}; in -ELBO = D + KL both are above 0"
            yield "kl sign", "fault", seen
        d, r, beta = abs(d), abs(r), abs(self.kl_scale / self.d_scale)
        width, dims, count = self.images[0].numel(), len(self.dims), len(self.images)
        plain = (1, 2) if self.pixel == SQUARES else (1,)  # half squares, or squares
        over_pixels, over_dims = near(d * width, *plain), self._over_dims()
        written = r * dims if over_dims else r  # the weight that somebody wrote
        seen = f"so the KL weighs beta = {beta:.4g} times D"
        # A weight of 1/784 repairs a mean over pixels: only what moves beta away from 1 is a fault.
        mixed = not near(beta, 1) and abs(math.log(beta)) >= abs(math.log(written)) - 1e-3
        if self.averaged[0] != self.averaged[1]:
            mixed, seen = True, f"{seen} at {count} images"
        cheap = f"{seen}: too cheap, so codes leave the prior" if beta < 1 else seen
        if mixed and over_pixels:
            yield "pixels averaged", "fault", f"D is a mean over {width} pixels, {seen}"
        if mixed and over_dims:
            yield "kl averaged", "fault", f"The KL is a mean over {dims} dimensions, {cheap}"
        if self.averaged[0] != self.averaged[1]:
            if self.averaged[1] and near(d, *plain) and not over_dims:
                yield "kl averaged", "fault", f"The KL is a mean over the batch, D a sum, {cheap}"
            elif not over_pixels and not over_dims:
                fixed, by = ("D", d) if self.averaged[1] else ("the KL", r)
                seen = f"{fixed} is a sum, divided by {1 / by:.4g}, {seen}"
                yield "batch size", "fault", f"One term is a mean over the batch, but {seen}"
            for name in ("pixels averaged", "kl averaged", "kl weight"):
                yield name, "open", "it depends on the batch"
        elif (mixed and (over_pixels or over_dims)) or self.pixel not in BERNOULLI:
            if not near(written, 1) and not near(beta, *(1 / p for p in plain)):
                yield "kl weight", "note", f"The KL is multiplied by {written:.4g}"
        elif near(beta, 2):
            yield "kl formula", "note", "The KL is twice the closed form: no 1/2, or beta = 2"
        elif not near(beta, 1):
            yield "kl weight", "note", f"The KL weighs beta = {beta:.4g} times D"

    def _over_dims(self) -> bool:
        """Does the slope halve when there are twice as many dimensions?"""
        recon, x, mu, t = self.planted
        try:
            wide = self.slopes(recon, x, torch.cat([mu, mu], 1), torch.cat([t, t], 1))[1]
        except Exception:  # a loss that has a weight for each dimension takes no more of them
            return len(self.dims) > 1 and near(abs(self.weights[1]) * len(self.dims), 1)
        return near(float((wide[:, : mu.shape[1]] / mu).mean()) / self.kl_scale, 0.5)

    def likelihood(self) -> Seen:
        """A squared error is a Gaussian: name its sigma, and the beta that it hides."""
        if self.pixel == SWAPPED:
            yield "likelihood", "fault", "The slope is that of a cross-entropy of swapped arguments"
        elif self.pixel not in BERNOULLI:
            ratio = abs(self.weights[1] / self.weights[0])
            seen = f"Absolute error: a Laplace of scale {ratio:.3g}"
            if self.pixel == SQUARES:
                miss = (self.own.recon - self.images.reshape_as(self.own.recon)).square().mean()
                seen = f"Squared error: a Gaussian of sigma = {ratio**0.5:.3g}; this model misses"
                seen += f" by {miss**0.5:.3g}; with that sigma the KL weighs {ratio / miss:.3g}"
            yield "likelihood", "note", seen

    def values(self) -> Seen:
        """Are images and the decoder's outputs where the likelihood wants them?"""
        low, high = (float(v) for v in self.images.aminmax())
        if self.pixel in BERNOULLI and (low < 0 or high > 1):
            self.outputs = False
            yield "targets", "fault", f"The images reach from {low:.3g} to {high:.3g}"
        low, high = (float(v) for v in self.own.recon.aminmax())
        inside = low >= -1e-6 and high <= 1 + 1e-6
        squashed = low > 0.4999 and high < 0.7312  # a sigmoid of what is in [0, 1]
        wrong = {PROBABILITIES: squashed or not inside, LOGITS: inside, TWICE: True}
        if wrong.get(self.pixel):
            self.outputs = False
            seen = f"The decoder's outputs reach from {low:.3g} to {high:.3g}"
            seen += " as after two sigmoids" * squashed
            yield "range", "fault", f"{seen}; the loss wants those of {self.pixel}"

    def noise(self) -> Seen:
        """Is z = mu + sigma * noise, fresh for each image and dimension, in both modes?"""
        for train, mode in ((True, "train"), (False, "eval")):
            still, moved = (self.run(level, train) for level in (0.0, 1.0))
            first, again, other = (self.run(None, train, seed) for seed in (1, 1, 2))
            kinds, mu = {kind for kind, _ in moved.drawn}, still.mu.flatten()
            if "uniform" in kinds and "normal" not in kinds:
                still, moved = (self.run(level, train, kind="uniform") for level in (0.0, 1.0))
            shapes = [shape for kind, shape in moved.drawn if kind == "normal"]
            pairs = [(a.flatten(), b.flatten()) for a, b in zip(still.held, moved.held)]
            here = ((k, a, b) for k, (a, b) in enumerate(pairs) if a.device == mu.device)
            moved_on = [k for k, a, b in here if close(a, mu, 1e-5) and not close(b, a, 1e-6)]
            k = max(moved_on, default=None)  # the last is z
            same = close(still.recon, moved.recon, 1e-6) and close(first.recon, again.recon, 1e-4)
            wrong = ""
            if k is not None and shapes:
                self.z = self.z or (*pairs[k], still.t.detach().flatten())
                shape = tuple(max(shapes, key=math.prod))
                if math.prod(shape) < mu.numel():
                    wrong = f"one draw of shape {shape} serves mu of shape {tuple(still.mu.shape)}"
                elif torch.equal(first.held[k], other.held[k]):
                    wrong = "the noise is the same in every pass"
            elif k is not None and "uniform" in kinds and bool(pairs[k][1].isfinite().all()):
                wrong = "the noise is uniform, not normal"
            elif same and "other" not in kinds:
                wrong = "z is mu, or mu and a constant: no noise comes to the decoder"
            else:
                yield "noise", "open", "there is noise, but not as mu + sigma * noise from PyTorch"
            if wrong:
                yield "noise", "fault", f"In {mode} mode {wrong}"
                break

    def variance(self) -> Seen:
        """Is the sigma of the noise the one that the KL has a price for?"""
        sigma, t = (self.z[1] - self.z[0]).abs(), self.z[2]  # the noise is +-1
        read = {name: square(t).sqrt() for name, (square, _) in READINGS.items()}
        rounding = max(1e-3, 8 * torch.finfo(sigma.dtype).eps)
        fits = [name for name, v in read.items() if close(sigma, v, rounding)]
        if self.reading not in fits:
            seen = f"To the KL, logvar is {self.reading}, so sigma is {read[self.reading][0]:.3g}"
            fit = f"as if it were {fits[0]}" if fits else "as none of these"
            yield "variance", "fault", f"{seen} in the first; the noise has {sigma[0]:.3g}, {fit}"
        elif len(fits) > 1:
            return "every sigma is too close to 1 to tell"

    def detached(self) -> Seen:
        """Do the weights of mu alone, and those of logvar alone, move the reconstruction?"""
        still, run = self.run(0.0, train=True), self.run(1.0, train=True)
        weights = [p for p in run.model.parameters() if p.requires_grad]

        def reach(of: Tensor) -> Tensor:
            mixed = (of * torch.linspace(1, 2, of.numel()).to(of).view_as(of)).sum()
            found = torch.autograd.grad(mixed, weights, retain_graph=True, materialize_grads=True)
            return torch.cat([slope.flatten() for slope in found])

        recon, mu, t = map(reach, (run.recon, run.mu, run.t))
        alone = {"mu": (mu != 0) & (t == 0), "logvar": (t != 0) & (mu == 0)}
        deaf = [f"{int(own.sum())} of {k}" for k, own in alone.items() if not recon[own].any()]
        if torch.equal(still.recon, run.recon) or not all(own.any() for own in alone.values()):
            return "the decoder ignores z, or mu and logvar share all weights"
        elif deaf:
            seen = f"The reconstruction has slope 0 in weights of one head alone: {', '.join(deaf)}"
            yield "detached", "fault", seen

    def modes(self) -> Seen:
        """Is the loss the same in eval and train mode when z = mu in both?"""
        runs = [self.run(0.0, train) for train in (False, False, True)]
        low, again, high = (self.value(r.recon, self.images, r.mu, r.t).item() for r in runs)
        if not math.isclose(low, again, rel_tol=1e-6):  # a GPU may add in another order
            return "the loss changes without a change of mode"
        elif not math.isclose(low, high, rel_tol=1e-5, abs_tol=1e-5):
            seen = f"With z = mu the loss is {low:.5g} in eval mode and {high:.5g} in train mode"
            yield "modes", "note", seen

    def extremes(self) -> Seen:
        """Is the slope finite on these images, for saturated pixels, for small and large sigma?"""
        (recon, _, _, t), own = self.planted, self.own
        ends = {PROBABILITIES: (0.0, 1.0), LOGITS: (-60.0, 60.0), SQUARES: (-10.0, 10.0)}
        low, high = ends.get(self.pixel, (0.1, 0.9))
        third = torch.arange(recon.numel(), device=recon.device).view_as(recon) % 3 == 0
        tried = {f"for outputs of {low:g} and {high:g}": {0: torch.where(third, low, high)}}
        top = math.log(torch.finfo(own.t.dtype).max)
        place = READINGS[self.reading or "log sigma^2"][1]
        for power in (-min(20.0, 0.8 * top), min(20.0, 0.8 * top)):  # half precision ends at 11
            tried[f"for sigma^2 = exp({power:.3g})"] = {3: torch.full_like(t, place(power))}
        if self.outputs:
            tried["on these images"] = dict(enumerate((own.recon, self.images, own.mu, own.t)))
        elif not self.finite:
            yield "not finite", "fault", "The model's outputs hold NaN or infinity"
            return
        else:
            yield "not finite", "open", UNKNOWN["outputs"]
        for where, changed in tried.items():
            if not self._finite_at(changed):
                yield "not finite", "fault", f"The slope of the loss is not finite {where}"
                return
        if not self.reading:
            return UNKNOWN["reading"]
        if "log" in self.reading:
            limit = place(top)
            beyond = torch.full_like(t, limit + 10)
            if not self._finite_at({3: beyond}) and self._passes(limit):
                seen = f"Nothing keeps logvar below {limit:.3g}, where sigma^2 becomes infinite"
                yield "not finite", "note", f"{seen}: bound it with a tanh, or clamp it"

    def _finite_at(self, changed: dict[int, Tensor]) -> bool:
        """Are the slopes finite, in the model's type, with these in the place of the planted?"""
        plants = (changed.get(k, v).to(self.own.recon.dtype) for k, v in enumerate(self.planted))
        return finite(*self.slopes(*plants))

    def _passes(self, limit: float) -> bool:
        """Does logvar pass a limit for some weights, in this model with noise in their place?"""
        other = copy.copy(self)
        for power in range(-3, 6):  # in small steps: far beyond the limit a model may fail
            other.model = copy_of(self.model)
            with torch.no_grad(), seeded(0, self.images.device):
                for weight in other.model.parameters():
                    weight.normal_(0, 4.0**power)
            if bool((other.run(0.0, train=False).t > limit).any()):
                return True
        return False


def finite(*tensors: Tensor) -> bool:
    """No NaN and no infinity."""
    return all(bool(v.isfinite().all()) for v in tensors)


def close(a: Tensor, b: Tensor, tolerance: float = 2e-3) -> bool:
    """Equal but for a share of the largest entry: losses add small numbers inside logarithms."""
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def near(a: float, *marks: float) -> bool:
    """As `close`, for one of these numbers."""
    return any(math.isclose(a, mark, rel_tol=3e-3) for mark in marks)


def factor_of(slope: Tensor, form: Tensor) -> float:
    """By which factor is it this form? 0 if by none."""
    factor = float((slope * form).sum() / form.square().sum())
    return factor if close(slope, factor * form) else 0.0
