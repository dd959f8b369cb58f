"""What is wrong with your VAE? Probes from outside; nobody's source is read.

The loss is differentiated at planted tensors: its slope in a pixel tells the likelihood, its slopes
in mu and logvar tell the KL, and their sizes tell the weights. The model runs with planted noise: z
is the tensor that equals mu without noise and moves with it.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from types import MethodType
from typing import Any

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
    "pixels averaged": ("pixels", "The KL outweighs the pixels; the decoder learns to ignore z."),
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
    "batch term": ("aggregate", "It acts on the codes of a whole batch, as MMD does, not a KL."),
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
PROBABILITIES, LOGITS, TWICE, SWAPPED, SQUARES, _ = PIXELS
BERNOULLI = (PROBABILITIES, LOGITS, TWICE, SWAPPED)
# The operations that draw random numbers, by their names in PyTorch's core.
RANDOM = {
    "normal": ("randn", "randn_like", "normal", "normal_"),
    "uniform": ("rand", "rand_like", "uniform_"),
    "dropout": ("bernoulli", "bernoulli_"),
}
Seen = Iterator[tuple[str, str, str]]  # a key of KINDS; "fault", "note" or "open"; what was seen


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

    def _rows(self) -> list[tuple[str, str, str]]:
        place = {key: f"See lesson {n}, “{heading}”." for key, (n, heading) in SECTIONS.items()}
        rows = [(f.level, f.name, f"{f.message} {place[f.section]}") for f in self.findings]
        rows.append(("right", "checked and right", ", ".join(self.right) or "nothing"))
        left = "; ".join(f"{name} ({why})" for name, why in self.not_checked.items())
        return [*rows, ("open", "not checked", left or "nothing")]

    def __repr__(self) -> str:
        fill = partial(textwrap.fill, width=100, subsequent_indent=" " * 26)
        return "\n".join(
            fill(f"{level:<6} {name:<18} {words}") for level, name, words in self._rows()
        )

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
    owner = loss.__self__ if isinstance(loss, MethodType) else loss
    with (
        untouched(model, owner) as put_back,
        seeded(0, images.device),
        plain_arithmetic(images.device),
    ):
        seen = [*examine(Subject(model, loss, images[:16].detach(), put_back))]
    findings = [
        Finding(name, level, f"{words}. {KINDS[name][1]}", KINDS[name][0])
        for name, level, words in sorted(seen, key=lambda one: (one[1], [*KINDS].index(one[0])))
        if level != "open"
    ]
    left = {name: why for name, level, why in reversed(seen) if level == "open"}  # the first why
    rest = [name for name in KINDS if name not in {finding.name for finding in findings}]
    right = [name for name in rest if name not in left]
    return Checkup(findings, right, {name: left[name] for name in rest if name in left})


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
    """Put back the tensors and attributes (modes, hooks, counters) of modules and loss objects.

    What it hands over puts back the attributes alone: a loss that counts its calls to raise beta
    then gives the same beta to every probe.
    """
    top = [part for part in parts if isinstance(part, nn.Module)]
    owners = [*parts, *(m for part in top for m in part.modules())]
    dicts = [v for o in owners if isinstance(v := getattr(o, "__dict__", None), dict)]
    dicts += [v for owned in dicts for v in owned.values() if isinstance(v, dict)]
    kept = [(now, now.copy()) for now in dicts]
    tensors = [t for part in top for t in (*part.parameters(), *part.buffers())]
    copies = [t.detach().clone() for t in tensors]

    def put_back() -> None:
        for now, before in kept:
            now.clear()
            now.update(before)

    try:
        yield put_back
    finally:
        put_back()
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies):
                if not torch.equal(tensor, copy):  # a needless write would break the user's graph
                    tensor.copy_(copy)


class Pass(TorchDispatchMode):
    """One pass of the model, in which every operation is seen.

    Whatever a model calls (randn_like, normal_, rsample ...) comes here as one of few operations.
    Normal numbers that fit z become +-level, others 0; uniform ones that fit become the level.

    Attributes:
        recon, mu, t: what the model gave.
        drawn: kind and shape of the noise.
        held: every tensor of z's size, in order.
    """

    recon: Tensor
    mu: Tensor
    t: Tensor

    def __init__(self, size: int, batch: int, level: float | None) -> None:
        super().__init__()
        self.size, self.level = size, level
        self.fitting = (size, size // batch, batch, 1)
        self.drawn: list[tuple[str, torch.Size]] = []
        self.held: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and torch.Tag.nondeterministic_seeded in func.tags:
            self._plant(func._schema.name.removeprefix("aten::"), out, args)
        if isinstance(out, Tensor) and out.numel() == self.size and out.is_floating_point():
            self.held.append(out.detach().clone())
        return out

    def _plant(self, name: str, out: Tensor, args: Any) -> None:
        kind = next((kind for kind, names in RANDOM.items() if name in names), "other")
        fits = out.numel() in self.fitting
        self.drawn.append((kind if fits or kind == "dropout" else "other", out.shape))
        if self.level is not None and kind == "normal":
            given = args[{"normal": 0, "normal_": 1}.get(name, len(args)) :][:2]
            mean, std = (*given, *(0.0, 1.0)[len(given) :])
            sign = torch.arange(out.numel()).remainder(7).remainder(2).mul(2).sub(1)
            out.copy_(mean + std * (self.level if fits else 0.0) * sign.view(out.shape).to(out))
        elif self.level is not None and kind == "uniform" and out.numel() == self.size:
            out.fill_(self.level)


class Subject:
    """Model, loss and images, the planted tensors, and what the probes know by now.

    Attributes:
        own: a pass over the images in eval mode, with noise of its own.
        planted: recon, x, mu and t in float64 if the loss takes it.
        slope: the loss differentiated in recon, mu and t there.
        finite, fit: are the model's outputs finite, and does the loss take them?
        pixel, reading: keys of PIXELS and READINGS; empty if there is none.
        d_scale, kl_scale: what D and KL of one image weigh, as planted; 0 if unknown.
        dims: (D,) what the KL of each dimension weighs.
        averaged: is D, is the KL a mean over the batch?
        weights: d_scale and kl_scale without that mean; empty if unknown.
        passes: without and with noise, each holding z alone; empty if z is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        images: Tensor,
        put_back: Callable[[], None],
    ) -> None:
        self.model, self.loss, self.images, self.put_back = model, loss, images, put_back
        self.size = 0  # of z, unknown until the first pass
        self.own = own = self.run(None, train=False)
        self.size = own.mu.numel()
        self.fit = self.finite = all(bool(v.isfinite().all()) for v in (own.recon, own.mu, own.t))
        self.pixel = self.reading = ""
        self.d_scale = self.kl_scale = 0.0
        self.averaged: tuple[bool, ...] = ()
        self.weights: tuple[float, ...] = ()
        self.passes: tuple[Pass, ...] = ()
        self.planted, self.slope = self._first_slopes()

    def _first_slopes(self) -> tuple[list[Tensor], list[Tensor]]:
        """At pixels that are grey if the loss takes them, mu above any floor, t fit for a sigma."""
        shapes = [v.shape for v in (self.own.recon, self.images, self.own.mu, self.own.t)]
        uniform = [torch.rand(shape, dtype=torch.float64, device="cpu") for shape in shapes]
        recon, t = 0.1 + 0.8 * uniform[0], 0.3 + 1.3 * uniform[3]
        mu = (uniform[2] - 0.5).sign() * (2 + 2 * torch.rand_like(uniform[2]))
        black = uniform[1].round()
        for dtype, x in product((torch.float64, self.own.recon.dtype), (0.25 + black / 2, black)):
            planted = [v.to(self.images.device, dtype) for v in (recon, x, mu, t)]
            try:
                return planted, self.slopes(*planted)
            except Exception as error:  # it may insist on the model's own type, or on 0 and 1
                why = error
        wish = f"loss must give a scalar for (recon, x, mu, logvar) of the shapes {shapes}"
        raise ValueError(f"{wish}, it raised {type(why).__name__}: {why}") from why

    def run(
        self,
        level: float | None,
        *,
        train: bool,
        seed: int = 0,
        factor: float = 1,
        grad: bool = False,
    ) -> Pass:
        """One pass with planted noise, or with the model's own if ``level`` is None."""
        self.put_back()
        self.model.train(train)
        reseed(seed, self.images.device)
        got = f"images {tuple(self.images.shape)} of {self.images.dtype} on {self.images.device}"
        try:
            with torch.set_grad_enabled(grad), Pass(self.size, len(self.images), level) as run:
                out = self.model(self.images * factor)
        except Exception as error:
            compiled = any(isinstance(m, torch.jit.ScriptModule) for m in self.model.modules())
            wish = (
                "be the module before torch.jit (what is compiled hides its noise) and " * compiled
            )
            why = f"it raised {type(error).__name__}: {error}"
            raise ValueError(f"model must {wish}take {got}, {why}") from error
        wish = f"model must give float tensors recon (B, ...), mu (B, D), logvar (B, D) for {got}"
        three = out[:3] if isinstance(out, (tuple, list)) else [out]
        if len(three) < 3 or not all(isinstance(v, Tensor) for v in three):
            raise ValueError(f"{wish}, it gave {[type(v).__name__ for v in three]}")
        run.recon, run.mu, run.t = three
        batch = {len(v) if v.ndim > 1 and v.is_floating_point() else -1 for v in three}
        if run.mu.shape != run.t.shape or batch != {len(self.images)}:
            raise ValueError(f"{wish}, it gave {[(v.dtype, tuple(v.shape)) for v in three]}")
        return run

    def slopes(self, *tensors: Tensor) -> list[Tensor]:
        """The loss differentiated in recon, mu and t at these (recon, x, mu, t)."""
        recon, x, mu, t = (v.detach().clone() for v in tensors)
        leaves = [v.requires_grad_() for v in (recon, mu, t)]
        value = self.value(recon, x, mu, t)
        return list(torch.autograd.grad(value.sum(), leaves, materialize_grads=True))

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
    """By which factor is it this form? 0 if by none."""
    factor = float((slope * form).sum() / form.square().sum())
    return factor if close(slope, factor * form) else 0.0


# --- the loss -------------------------------------------------------------------------------------


def pixels(s: Subject) -> Seen:
    """Which likelihood has this slope in a pixel, and with what weight?"""
    recon, x = s.planted[:2]
    if not s.slope[0].any():
        yield "detached", "fault", "The loss has no slope in the reconstruction"
    elif recon.numel() == x.numel():
        for name, form in PIXELS.items():
            scale = factor_of(s.slope[0], form(recon, x.reshape_as(recon)))
            if scale and not s.pixel:
                s.pixel, s.d_scale = name, scale


def kl(s: Subject) -> Seen:
    """Are the slopes in mu and t those of a KL to N(0, I), and what is t to it?"""
    mu, t, d_mu, d_t = (v.flatten(1) for v in (*s.planted[2:], *s.slope[1:]))
    moved = s.slopes(*s.planted[:2], *(torch.cat([v[:1], v[1:] / 2]) for v in s.planted[2:]))[1:]
    if not all(close(a[:1], b[:1], 1e-3) for a, b in zip(moved, s.slope[1:])):
        yield "batch term", "note", "The slope in mu of an image changes with other images"
        yield "kl formula", "open", "the term on mu and logvar is none of each image"
        return
    if not d_mu.any() and not d_t.any():
        yield "kl weight", "note", "The loss has no slope in mu or logvar: the KL weighs 0"
        yield "kl formula", "open", "there is no KL"
        return
    dims = (d_mu / mu).median(dim=0).values  # (D,)
    if not close(d_mu, dims * mu):
        swapped = factor_of(d_mu, mu.exp() - 1) and factor_of(d_t, t)
        at = (
            f"at mu = {mu[0, 0]:.3g} and {mu[1, 0]:.3g} it is {d_mu[0, 0]:.3g} and {d_mu[1, 0]:.3g}"
        )
        wrong = (
            "Mu and logvar are swapped"
            if swapped
            else f"The slope in mu is no multiple of mu: {at}"
        )
        yield "kl formula", "fault", wrong
    elif not d_t.any():
        yield "kl formula", "fault", "The KL has no slope in logvar: only mu has a price"
    else:
        s.dims, s.kl_scale = dims, float(dims.mean())
        low, high = (float(v) / s.kl_scale for v in dims.aminmax())
        if not near(low, high):
            yield "kl weight", "note", f"Dimensions weigh {low:.3g} to {high:.3g} times their mean"
        used = dims.abs() > 1e-6 * dims.abs().max()
        yield from _reading(s, (d_t / dims)[:, used], t[:, used])


def _reading(s: Subject, slope: Tensor, t: Tensor) -> Seen:
    """Find what t is to the KL, given its slope beside that of 1/2 mu^2."""
    t = t.detach().requires_grad_()
    rise, fall = {}, {}  # half the slopes of sigma^2 and of its logarithm, of which the KL consists
    for name, (square, _) in READINGS.items():
        rise[name] = torch.autograd.grad(square(t).sum(), t)[0] / 2
        fall[name] = rise[name] / square(t.detach())
    for one in READINGS:
        factor = factor_of(slope, rise[one] - fall[one])
        if near(factor, 1):
            s.reading = one
            return
        if factor:
            why = "a 1/2 is missing in one of them, or terms are swapped"
            seen = f"The part with logvar weighs {factor:.3g} times the part with mu: {why}"
            yield "kl formula", "fault", seen
            return
    for one, other in product(READINGS, READINGS):
        if close(slope, rise[one] - fall[other]):
            seen = f"The KL takes logvar for {one} in sigma^2 and for {other} in its logarithm"
            yield "variance", "fault", seen
            return
    yield "kl formula", "fault", "The slope in logvar is that of no KL to N(0, I)"


def free_bits(s: Subject) -> Seen:
    """Has the KL the same weight near the prior, where a floor would make it free?"""
    recon, x, mu, t = s.planted
    low_mu, low_t = 0.05 * mu.sign(), torch.full_like(t, READINGS[s.reading][1](1.0))
    low = (s.slopes(recon, x, low_mu, low_t)[1] / low_mu).flatten(1)
    if not close(low, s.dims):
        share = float((low / s.dims).median())
        seen = f"Near the prior the KL weighs {share:.3g} of what it weighs far from it"
        yield "free bits", "note", seen


def batches(s: Subject) -> Seen:
    """Does the loss of a batch grow with it (a sum), or stay (a mean), in D and KL alike?"""
    if not s.slope[0].any():
        for name in ("batch size", "batch sum"):
            yield name, "open", "the loss has no slope in the reconstruction"
        return
    twice = s.slopes(*(torch.cat([v, v]) for v in s.planted))
    pairs = [(old, new[: len(old)]) for old, new in zip(s.slope, twice)][: 2 if s.kl_scale else 1]
    left = [float((old * new).sum() / old.square().sum()) for old, new in pairs]  # 1/2 in a mean
    if not s.kl_scale:
        yield "batch size", "open", "the KL has no known form"
    s.averaged = tuple(near(share, 0.5) for share in left)
    if not all(near(share, 1, 0.5) for share in left):
        shares = " and ".join(f"{share:.3g}" for share in left)
        seen = f"With twice the images, the slopes of D and KL are {shares} of what they were"
        yield "batch size", "fault", f"{seen}: neither a sum nor a mean"
        yield "batch sum", "open", "the loss is neither a sum nor a mean"
    elif not any(s.averaged):
        yield "batch sum", "note", "The loss is a sum over the images of a batch"
    elif not s.pixel and not all(s.averaged):
        yield "batch size", "fault", "Of D and KL one is a sum over the batch, one a mean"
    if s.averaged and s.d_scale and s.kl_scale:
        scales = zip((s.d_scale, s.kl_scale), s.averaged)
        s.weights = tuple(w * len(s.images) if mean else w for w, mean in scales)


def balance(s: Subject) -> Seen:
    """What does the KL of an image weigh beside its D, and where does that weight come from?"""
    d, r = s.weights
    if min(d, r) < 0:
        seen = f"D has the weight {d:.3g}, the KL {r:.3g}; in -ELBO = D + KL both are above 0"
        yield "kl sign", "fault", seen
    d, r = abs(d), abs(r)
    width, dims = s.images[0].numel(), len(s.dims)
    plain = (1, 2) if s.pixel == SQUARES else (1,)  # half squares, or squares
    over_pixels, over_dims = near(d * width, *plain), _over_dims(s)
    beta, written = r / d, r * dims if over_dims else r  # in effect, and as somebody wrote it
    if s.averaged[0] != s.averaged[1]:  # one of them is a sum over the batch
        now = f"for {len(s.images)} images the KL weighs {abs(s.kl_scale / s.d_scale):.3g} times D"
        if s.averaged[1] and near(d, *plain):
            yield "kl averaged", "fault", f"D is a sum over the batch, the KL a mean: {now}"
        elif s.averaged[0] and over_pixels:
            yield "pixels averaged", "fault", f"D is a mean over the pixels, the KL a sum: {now}"
        else:
            fixed, by = ("D", d) if s.averaged[1] else ("the KL", r)
            seen = (
                f"Of D and KL one is a mean over the batch, but {fixed} is divided by {1 / by:.4g}"
            )
            yield "batch size", "fault", f"{seen}: {now}"
        for name in ("pixels averaged", "kl averaged", "kl weight"):
            yield name, "open", "it depends on the batch"
        return
    # A weight of 1/784 repairs a mean over pixels: only what moves beta away from 1 is a fault.
    mixed = not near(beta, 1) and abs(math.log(beta)) >= abs(math.log(written)) - 1e-3
    seen = f"so the KL weighs beta = {beta:.4g} times D"
    if mixed and over_pixels:
        yield "pixels averaged", "fault", f"D is a mean over {width} pixels, {seen}"
    if mixed and over_dims:
        yield "kl averaged", "fault", f"The KL is a mean over {dims} dimensions, {seen}"
    if (mixed and (over_pixels or over_dims)) or s.pixel not in BERNOULLI:
        if not near(written, 1) and not near(beta, *(1 / p for p in plain)):
            yield "kl weight", "note", f"The KL is multiplied by {written:.4g}"
    elif near(beta, 2):
        seen = "The KL is twice the closed form: a 1/2 is missing, or beta = 2"
        yield "kl formula", "note", seen
    elif not near(beta, 1):
        yield "kl weight", "note", f"The KL weighs beta = {beta:.4g} times D"


def _over_dims(s: Subject) -> bool:
    """Does the slope halve when there are twice as many dimensions?"""
    recon, x, mu, t = s.planted
    try:
        wide = s.slopes(recon, x, torch.cat([mu, mu], 1), torch.cat([t, t], 1))[1]
    except Exception:  # a loss that has a weight for each dimension takes no more of them
        return len(s.dims) > 1 and near(abs(s.weights[1]) * len(s.dims), 1)
    return near(float((wide[:, : mu.shape[1]] / mu).mean()) / s.kl_scale, 0.5)


def likelihood(s: Subject) -> Seen:
    """A squared error is a Gaussian: name its sigma, and the beta that it hides."""
    if s.pixel == SWAPPED:
        yield "likelihood", "fault", "The slope is that of a cross-entropy with recon and x swapped"
    elif s.pixel not in BERNOULLI and not s.weights:
        yield "likelihood", "open", "D and KL have no known weights"
    elif s.pixel not in BERNOULLI:
        ratio = abs(s.weights[1] / s.weights[0])
        if s.pixel == SQUARES:
            miss = float((s.own.recon - s.images.reshape_as(s.own.recon)).square().mean())
            seen = f"Squared error: a Gaussian of sigma = {math.sqrt(ratio):.3g}; this model misses"
            hidden = f"{math.sqrt(miss):.3g}, a sigma beside which the KL weighs {ratio / miss:.3g}"
            yield "likelihood", "note", f"{seen} by {hidden}"
        else:
            yield "likelihood", "note", f"Absolute error: a Laplace of scale {ratio:.3g}"


def values(s: Subject) -> Seen:
    """Are images and the decoder's outputs where the likelihood wants them?"""
    low, high = (float(v) for v in s.images.aminmax())
    if s.pixel in BERNOULLI and (low < 0 or high > 1):
        s.fit = False
        yield "targets", "fault", f"The images reach from {low:.3g} to {high:.3g}"
    low, high = (float(v) for v in s.own.recon.aminmax())
    wrong = ""
    if s.pixel == TWICE:
        wrong = "the loss applies a sigmoid twice"
    elif low < -1e-6 or high > 1 + 1e-6:
        wrong = "the loss wants probabilities" if s.pixel == PROBABILITIES else ""
    elif s.pixel == LOGITS:
        wrong = "as after a sigmoid, and the loss applies another"
    elif s.pixel == PROBABILITIES and low > 0.4999 and high < 0.7312:
        wrong = "a sigmoid of what is in [0, 1], as of a sigmoid"
    if wrong:
        s.fit = False
        yield "range", "fault", f"The decoder's outputs reach from {low:.3g} to {high:.3g}: {wrong}"


# --- the model ------------------------------------------------------------------------------------


def noise(s: Subject) -> Seen:
    """Is z = mu + sigma * noise, with fresh noise for each image and dimension, in both modes?"""
    for mode in ("eval", "train"):  # what the first finds out about z is kept if there is no other
        for level, words in _noise_in(s, train=mode == "train"):
            yield "noise", level, f"In {mode} mode {words}"


def _noise_in(s: Subject, *, train: bool) -> Iterator[tuple[str, str]]:
    still, moved = (s.run(level, train=train) for level in (0.0, 1.0))
    first, again, other = (s.run(None, train=train, seed=seed) for seed in (1, 1, 2))
    kinds = {kind for kind, _ in moved.drawn}
    mu = still.mu.flatten()
    at = [
        k
        for k, (a, b) in enumerate(zip(still.held, moved.held))
        if close(a.flatten(), mu, 1e-5) and not close(b, a, 1e-6) and bool(b.isfinite().all())
    ]
    if at and kinds & {"normal", "uniform"}:
        still.held, moved.held = [still.held[at[-1]]], [moved.held[at[-1]]]
        s.passes = (still, moved)
        shape = max(
            (shape for kind, shape in moved.drawn if kind in ("normal", "uniform")), key=math.prod
        )
        if "normal" not in kinds:
            yield "fault", "the noise is uniform, not normal"
        elif math.prod(shape) < mu.numel():
            yield (
                "fault",
                f"one draw of shape {tuple(shape)} serves mu of shape {tuple(still.mu.shape)}",
            )
        elif torch.equal(first.held[at[-1]], other.held[at[-1]]):
            yield "fault", "the noise is the same in every pass"
    elif (
        "other" in kinds
        or not close(still.recon, moved.recon, 1e-6)
        or not close(first.recon, again.recon, 1e-4)
    ):
        yield "open", "there is noise, but not as mu + sigma * noise, or not by PyTorch"
    else:
        yield "fault", "z is mu, or mu and a constant: no noise comes to the decoder"


def variance(s: Subject) -> Seen:
    """Is the sigma of the noise the one that the KL has a price for?"""
    still, moved = s.passes
    sigma = (moved.held[0] - still.held[0]).abs().flatten()  # the noise is +-1
    read = {name: square(still.t.flatten()).sqrt() for name, (square, _) in READINGS.items()}
    rounding = max(1e-3, 8 * torch.finfo(sigma.dtype).eps)
    fits = [name for name, v in read.items() if close(sigma, v, rounding)]
    if s.reading not in fits:
        fit = f"as if it were {fits[0]}" if fits else "as none of these"
        first = f"sigma is {float(read[s.reading][0]):.3g} for the first entry of logvar"
        seen = f"To the KL, logvar is {s.reading}, and {first}; the noise has {float(sigma[0]):.3g}"
        yield "variance", "fault", f"{seen}, {fit}"
    elif len(fits) > 1:
        yield "variance", "open", "every sigma is too close to 1 to tell"


def detached(s: Subject) -> Seen:
    """Do the weights of mu alone, and those of logvar alone, move the reconstruction?"""
    run = s.run(1.0, train=True, grad=True)
    weights = [p for p in s.model.parameters() if p.requires_grad]

    def reach(of: Tensor) -> Tensor:
        mixed = (of * torch.rand_like(of)).sum()
        slopes = torch.autograd.grad(mixed, weights, retain_graph=True, materialize_grads=True)
        return torch.cat([slope.flatten() for slope in slopes])

    recon, mu, t = reach(run.recon), reach(run.mu), reach(run.t)
    alone = {"mu": (mu != 0) & (t == 0), "logvar": (t != 0) & (mu == 0)}
    deaf = [f"{int(mask.sum())} of {k}" for k, mask in alone.items() if not recon[mask].any()]
    if torch.equal(s.passes[0].recon, s.passes[1].recon):
        yield "detached", "open", "the decoder does not listen to z"
    elif not all(bool(mask.any()) for mask in alone.values()):
        yield "detached", "open", "no weight belongs to mu or logvar alone"
    elif deaf:
        seen = "The reconstruction has slope 0 in all weights that make it alone"
        yield "detached", "fault", f"{seen}, {', '.join(deaf)}"


def modes(s: Subject) -> Seen:
    """Is the loss the same in eval and train mode when z = mu in both?"""
    # train mode last: there BatchNorm moves its averages
    runs = [s.run(0.0, train=train) for train in (False, False, True)]
    low, again, high = (float(s.value(run.recon, s.images, run.mu, run.t)) for run in runs)
    if not math.isclose(low, again, rel_tol=1e-6):  # a GPU may add in another order
        yield "modes", "open", "the loss changes without a change of mode"
    elif not math.isclose(low, high, rel_tol=1e-5, abs_tol=1e-5):
        seen = f"With z = mu the loss is {low:.5g} in eval mode and {high:.5g} in train mode"
        yield "modes", "note", seen


def extremes(s: Subject) -> Seen:
    """Is the slope finite on these images, for saturated pixels, and for small and large sigma?"""
    if not s.finite:
        yield "not finite", "fault", "The model's outputs hold NaN or infinity"
        return
    if not s.fit:
        yield "not finite", "open", "the loss does not take what the model gives"

    def stays_finite(changed: dict[int, Tensor]) -> bool:
        plants = [changed.get(k, v).to(s.own.recon.dtype) for k, v in enumerate(s.planted)]
        return all(bool(slope.isfinite().all()) for slope in s.slopes(*plants))

    recon, _, _, t = s.planted
    ends = {PROBABILITIES: (0.0, 1.0), LOGITS: (-60.0, 60.0), SQUARES: (-10.0, 10.0)}
    low, high = ends.get(s.pixel, (0.1, 0.9))
    third = torch.arange(recon.numel(), device=recon.device).view_as(recon) % 3 == 0
    tried = {f"for outputs of {low:g} and {high:g}": {0: torch.where(third, low, high)}}
    limit = math.log(torch.finfo(s.own.t.dtype).max)
    far = min(20.0, 0.8 * limit)  # half precision ends at 11
    for power in (-far, far):
        value = READINGS[s.reading or "log sigma^2"][1](math.exp(power))
        tried[f"for sigma^2 = exp({power:.3g})"] = {3: torch.full_like(t, value)}
    if s.fit:
        tried["on these images"] = dict(enumerate((s.own.recon, s.images, s.own.mu, s.own.t)))
    where = next((where for where, changed in tried.items() if not stays_finite(changed)), "")
    if where:
        yield "not finite", "fault", f"The slope of the loss is not finite {where}"
    elif s.reading.startswith("log") and not stays_finite({3: torch.full_like(t, 2 * limit)}):
        reach = max(float(s.run(0.0, train=False, factor=k).t.max()) for k in (-1e6, 1e6))
        if not reach < limit:
            seen = f"Nothing bounds logvar, and its exponential overflows above {limit:.3g}"
            yield "not finite", "note", seen


# What a probe needs to know of its subject, and what is said if that is unknown.
NEEDS = {
    "finite": "the model's outputs are not finite",
    "pixel": "the slope in a pixel is that of no known likelihood",
    "reading": "the KL has no known form",
    "weights": "D and KL have no known weights",
    "passes": "z could not be told from outside",
    "fit": "the loss does not take what the model gives",
}
# Every probe, what it needs, and the names that it settles: right, if it says nothing of them.
PROBES: dict[Callable[[Subject], Seen], tuple[str, tuple[str, ...]]] = {
    pixels: ("", ()),
    kl: ("", ("kl formula", "batch term", "variance")),
    free_bits: ("reading", ("free bits",)),
    batches: ("", ("batch size", "batch sum")),
    balance: ("pixel weights", ("kl sign", "kl weight", "kl averaged", "pixels averaged")),
    likelihood: ("pixel", ("likelihood",)),
    values: ("pixel finite", ("range", "targets")),
    noise: ("finite", ("noise",)),
    variance: ("reading passes", ("variance",)),
    detached: ("passes", ("detached",)),
    modes: ("finite fit", ("modes",)),
    extremes: ("", ("not finite",)),
}


def examine(s: Subject) -> Seen:
    """What every probe sees, and what is left open for want of something or by an error."""
    for probe, (needs, names) in PROBES.items():
        missing = [
            why for need, why in NEEDS.items() if need in needs.split() and not getattr(s, need)
        ]
        try:
            yield from ((name, "open", missing[0]) for name in names) if missing else probe(s)
        except Exception as error:  # of the user's code, where a probe leads it
            for name in names:
                yield name, "open", f"{type(error).__name__}: {error}"[:200]
