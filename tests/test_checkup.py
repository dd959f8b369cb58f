"""Checkup: correct VAEs without a fault, planted mistakes found by name, nothing left changed.

CORRECT and PLANTED are the tables, of Python expressions. Models and losses are written in the ways
of public code (torch.distributions, in-place noise, layers called by functions, heads cut from one
layer ...), so that a probe which leans on one way of writing a VAE fails.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np  # noqa: F401 - the tables use these
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal, kl_divergence  # noqa: F401

import vaelab  # noqa: F401
from notebook_tools import LESSONS, markdown_cells, number, read
from vaelab import Checkup, checkup, load_mnist
from vaelab.checkup import KINDS, PROBES, SECTIONS

# --- models ---------------------------------------------------------------------------------------


class MLP(nn.Module):
    """784-64-8, decoder `out` on top; others override a step."""

    def __init__(self, out=torch.sigmoid, hidden=64, size=8, pixels=784) -> None:
        super().__init__()
        self.out = out
        self.fc1, self.fc2 = nn.Linear(784, hidden), nn.Linear(size, hidden)
        self.mu, self.logvar = (nn.Linear(hidden, size) for _ in range(2))
        self.fc3 = nn.Linear(hidden, pixels)

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.fc1(x.view(-1, 784)))

    def code(self, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        return mu, logvar

    def z(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.fc3(F.relu(self.fc2(z))))

    def forward(self, x: Tensor) -> Any:
        h = self.encode(x)
        mu, logvar = self.code(self.mu(h), self.logvar(h))
        return self.decode(self.z(mu, logvar)), mu, logvar


# The model that this collection grew out of, written anew: 784-400-50, sigmoid at the end.
Original = partial(MLP, hidden=400, size=50)


class Conv(MLP):
    """Two strided convolutions each way, images (B, 1, 28, 28)."""

    def __init__(self, out=torch.sigmoid) -> None:
        nn.Module.__init__(self)
        self.out = out
        first, second = nn.Conv2d(1, 8, 4, 2, 1), nn.Conv2d(8, 8, 4, 2, 1)
        self.down = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten())
        self.mu, self.logvar, self.widen = nn.Linear(392, 8), nn.Linear(392, 8), nn.Linear(8, 392)
        first, second = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 1, 4, 2, 1)
        self.up = nn.Sequential(first, nn.ReLU(), second)

    def encode(self, x: Tensor) -> Tensor:
        return self.down(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.up(F.relu(self.widen(z)).view(-1, 8, 7, 7)))


class SpatialConv(Conv):
    """z is a picture of 2 x 7 x 7."""

    def __init__(self) -> None:
        super().__init__()
        self.mu, self.logvar, self.widen = (nn.Conv2d(*io, 1) for io in ((8, 2), (8, 2), (2, 8)))
        del self.down[-1]


class OneHead(MLP):
    """Means and log-variances are the halves of one layer; the decoder is written inline."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(64, 16)
        del self.mu, self.logvar

    def forward(self, x: Tensor) -> Any:
        mu, logvar = self.both(torch.tanh(self.fc1(x.flatten(1)))).chunk(2, dim=1)
        z = torch.randn(mu.shape).mul(logvar.div(2).exp()).add(mu)
        h = F.relu(F.linear(z, self.fc2.weight, self.fc2.bias))
        return self.out(h @ self.fc3.weight.T + self.fc3.bias), mu, logvar


class Extended(MLP):
    """More entries than three, and it keeps its last z, which Python cannot copy."""

    def forward(self, x: Tensor) -> Any:
        recon, mu, logvar = super().forward(x)
        self.calls, self.last = getattr(self, "calls", 0) + 1, mu.sum()
        return recon, mu, logvar, {"calls": self.calls}


class OwnGenerator(MLP):
    """Draws from a generator that it keeps, which a copy must not wind back for every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def z(self, mu: Tensor, logvar: Tensor) -> Tensor:
        noise = torch.empty_like(mu, device="cpu").normal_(generator=self.generator)
        return mu + noise.to(mu) * sigma(logvar)


def then(model: nn.Module, place: str, layer: nn.Module) -> nn.Module:
    setattr(model, place, nn.Sequential(getattr(model, place), layer))
    return model


def filled(model: nn.Module, value: float, *places: str) -> nn.Module:
    for place in places:
        nn.init.constant_(model.get_parameter(place), value)
    return model


def trained(model: MLP) -> MLP:
    """With trained weights, if its layers are those of MLP or Conv."""
    model.load_state_dict(trained_state(Conv if isinstance(model, Conv) else MLP))
    return model


@cache
def trained_state(kind: type[MLP]) -> dict[str, Tensor]:
    """Weights after a hundred steps on the bundled digits: far from where they started."""
    torch.manual_seed(1)
    model = kind()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for batch in load_mnist("5k").train[:3200].view(-1, 1, 28, 28).split(32):
        optimizer.zero_grad()
        recon, mu, logvar = model(batch)
        vanilla(recon, batch, mu, logvar).div(32).backward()
        optimizer.step()
    return model.state_dict()


# --- noise and losses -----------------------------------------------------------------------------


def function(arguments: str, value: str) -> Callable[..., Any]:
    return eval(f"lambda {arguments}: ({value})")


# The words of the tables; tensors of pixels and of dimensions, if nothing else is said.
linear = nn.Identity()
sigma = function("logvar", "(0.5 * logvar).exp()")
eps = torch.randn_like
numpy_eps = function("mu", "torch.from_numpy(np.random.randn(*mu.shape)).to(mu)")
draw = function("mu, logvar", "mu + eps(mu) * sigma(logvar)")
bits = partial(F.binary_cross_entropy, reduction="none")
logits = partial(F.binary_cross_entropy_with_logits, reduction="none")
squares = partial(F.mse_loss, reduction="none")
by_hand = function("p, x, tiny=0", "-x * (p + tiny).log() - (1 - x) * (1 - p + tiny).log()")
kl = function("mu, logvar", "0.5 * (mu**2 + logvar.exp() - logvar - 1)")
distortion = function("recon, x", "bits(recon, x).sum(1).mean()")  # a scalar, as the rate
rate = function("mu, logvar", "kl(mu, logvar).sum(1).mean()")


def own_eps(mu: Tensor) -> Tensor:
    own = torch.Generator(mu.device).manual_seed(random.randrange(2**32))
    return torch.randn(mu.shape, generator=own, device=mu.device)


def vanilla(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """`loss_function_vanilla` of the original notebook, written anew: everything is summed."""
    bce = F.binary_cross_entropy(recon.view(-1, 784), x.view(-1, 784), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def mean_of(pixel: str, dimension: str = "kl(mu, logvar)") -> Callable[..., Tensor]:
    """Mean over the batch of D + R, given what they are of one pixel and of one dimension."""
    terms = function("recon, x, mu, logvar", f"{pixel}, {dimension}")
    return lambda *tensors: sum(term.flatten(1).sum(1) for term in terms(*tensors)).mean()


def with_kl(dimension: str) -> Callable[..., Tensor]:
    return mean_of("bits(recon, x)", dimension)


nelbo = with_kl("kl(mu, logvar)")  # the negative ELBO
nelbo_of_logits = mean_of("logits(recon, x)")


class LearnedSigma(nn.Module):
    """A Gaussian decoder whose one sigma is learned with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(-1.5))

    def forward(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        d = 0.5 * squares(recon, x) * (-2 * self.log_sigma).exp() + self.log_sigma
        return d.sum(1).mean() + rate(mu, logvar)


def mmd(mu: Tensor, logvar: Tensor) -> Tensor:
    """A kernel between codes and prior draws."""
    kernel = function("a, b", "(-torch.cdist(a, b).square() / a.shape[1]).exp().mean()")
    z, prior = draw(mu, logvar), torch.randn_like(mu)
    return 1000 * (kernel(z, z) + kernel(prior, prior) - 2 * kernel(z, prior))


# --- the tables -----------------------------------------------------------------------------------

GAMMA = torch.rand(1, 50, generator=torch.Generator().manual_seed(0))  # soft bits' weights


class Case(NamedTuple):
    model: str
    loss: str  # a function, or its value in recon, x, mu and logvar
    section: str
    names: set[str]  # of all that there must be
    more: dict[str, str]


def table(text: str) -> dict[str, Case]:
    """Lines `name | model | loss`, below the [finding] that there must be. What may follow:

    code, z: these steps of the model, in mu and logvar; images: what is made of the digits x;
    also: further findings; level: of all, where it is not the usual one; says: part of a message;
    bounded: there is no note of an overflow, by a bound or because there is no logarithm.
    """
    cases, section = {}, ""
    for line in text.replace("\n    ", " ").strip().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        else:
            name, model, loss, *rest = line.split(" | ")
            more = dict(part.partition(" ")[::2] for part in rest)
            names = {*section.split(", "), *more.get("also", "").split(", ")} - {""}
            cases[name] = Case(model, loss, section, names, more)
    return cases


CORRECT = table("""
[batch sum]
the original, fresh | Original() | vanilla
MLP, sum, trained | trained(MLP()) | vanilla | says below 88.7,
conv, sum | Conv() | vanilla
[]
MLP, mean, probabilities | MLP() | nelbo
conv, mean, logits, trained | trained(Conv(linear)) | nelbo_of_logits
MLP, torch.distributions | MLP(linear)
    | mean_of("-Bernoulli(logits=recon).log_prob(x)",
    "kl_divergence(Normal(mu, sigma(logvar)), Normal(0.0, 1.0))")
    | z torch.distributions.Independent(Normal(mu, sigma(logvar)), 1).rsample() | images x.round()
noise in place, one head, inline | OneHead() | nelbo
noise in place, trained | trained(MLP()) | nelbo
    | z mu.data.new(mu.size()).normal_().mul(sigma(logvar)).add_(mu)
noise by a generator of its own | Conv() | nelbo
    | z torch.addcmul(mu, logvar.exp().sqrt(), own_eps(mu))
noise by torch.normal | trained(Conv()) | nelbo
    | z mu + torch.normal(torch.zeros_like(mu), 1.0) * sigma(logvar)
log sigma throughout | MLP() | with_kl("-0.5 * (1 + 2 * logvar - mu**2 - (2 * logvar).exp())")
    | z mu + logvar.exp() * eps(mu) | says below 44.4,
sigma throughout | MLP() | with_kl("kl_divergence(Normal(mu, logvar), Normal(0.0, 1.0))")
    | code mu, F.softplus(logvar) + 1e-4 | z Normal(mu, logvar).rsample() | bounded
logvar bounded by tanh | MLP() | nelbo | code mu, 6 * torch.tanh(logvar / 6) | bounded
logvar clamped | trained(Conv()) | vanilla | code mu, logvar.clamp(-10, 10) | bounded
logvar bounded by softplus | MLP() | vanilla | code mu, 5 - F.softplus(5 - logvar) | bounded
logvar clamped in the loss | trained(MLP()) | with_kl("kl(mu, logvar.clamp(-30, 20))") | bounded
more entries, keeps a tensor | trained(Extended()) | nelbo
z is a picture | SpatialConv() | nelbo
vaelab's VAE | vaelab.VAE(8, 64)
    | (vaelab.bernoulli_nll(recon, x) + vaelab.gaussian_kl(mu, logvar).sum(1)).mean() | bounded
a GRU over rows | vaelab.RowGRUVAE(8, 32) | nelbo_of_logits | bounded
float64 | MLP().double() | nelbo | images x.double() | says below 710,
all divided by 784 | MLP() | nelbo(recon, x, mu, logvar) / 784
Gaussian, sigma of every pixel | MLP(linear, pixels=2 * 784)
    | F.gaussian_nll_loss(recon[:, :784], x, recon[:, 784:].exp(), reduction="sum") / len(x)
    + rate(mu, logvar)
a generator that the model keeps | OwnGenerator() | nelbo
a tensor of z's size elsewhere | MLP() | nelbo | z (mu.to("meta"), draw(mu, logvar))[1]
[kl weight]
beta-VAE | Conv() | with_kl("4 * kl(mu, logvar)") | says beta = 4 times
beta of a warm-up | trained(MLP()) | with_kl("0.1 * kl(mu, logvar)")
[likelihood]
Gaussian, sigma 0.1 | MLP(linear) | mean_of("squares(recon, x) / 0.02 + np.log(0.1)")
    | says sigma = 0.1;
Gaussian, sigma 0.3, trained | trained(Conv()) | mean_of("squares(recon, x) / 0.18 + np.log(0.3)")
Gaussian, sigma learned | MLP(linear) | LearnedSigma() | says sigma = 0.223;
Gaussian, best sigma | trained(Conv()) | 392 * squares(recon, x).mean().log() + rate(mu, logvar)
summed squares | MLP() | mean_of("squares(recon, x)")
Gaussian on standardized digits | MLP(linear) | mean_of("squares(recon, x)")
    | images (x - 0.13) / 0.31
[free bits]
free bits | MLP() | distortion(recon, x) + kl(mu, logvar).mean(0).clamp(min=0.5).sum()
    | says weighs 0 of
free bits for each image | trained(Conv()) | with_kl("kl(mu, logvar).clamp(min=0.5)")
free nats in all | trained(MLP()) | distortion(recon, x) + rate(mu, logvar).clamp(min=3.0)
[batch term]
MMD | MLP() | distortion(recon, x) + mmd(mu, logvar)
KL and MMD | trained(Conv()) | nelbo(recon, x, mu, logvar) + mmd(mu, logvar)
moments of the codes | trained(MLP())
    | nelbo(recon, x, mu, logvar) + 20 * torch.cov(mu.T).triu(1).square().sum()
[modes]
dropout | then(MLP(), "fc1", nn.Dropout(0.2)) | nelbo
a mask of z's size | MLP() | nelbo | code mu * (torch.rand_like(mu) > 0.1 * model.training), logvar
BatchNorm | then(Conv(), "down", nn.BatchNorm1d(392)) | nelbo
""")

PLANTED = table("""
[pixels averaged]
mean over pixels | MLP() | bits(recon, x).mean() + rate(mu, logvar) | says 784
mean over pixels, trained | trained(MLP()) | bits(recon, x).mean() + rate(mu, logvar)
mean of squares | trained(Conv()) | squares(recon, x).mean() + rate(mu, logvar) | also likelihood
    | says sigma = 19.8;
mean over pixels of logits | Conv(linear)
    | logits(recon, x).mean() - 0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
mean over pixels, KL summed | Conv() | bits(recon, x).mean() + kl(mu, logvar).sum()
means of everything | MLP() | bits(recon, x).mean() + kl(mu, logvar).mean() | also kl averaged
    | says beta = 98 times D. In
[kl averaged]
KL mean of all | trained(MLP()) | bits(recon, x).sum() + kl(mu, logvar).mean()
KL mean over the batch | Conv() | bits(recon, x).sum() + rate(mu, logvar) | says 0.0625
KL mean over dimensions | trained(Conv(linear))
    | logits(recon, x).sum() / len(x) + kl(mu, logvar).mean() | says 0.125 times D: too cheap
KL mean over dimensions, beta 4 | Original() | distortion(recon, x) + 4 * kl(mu, logvar).mean()
    | also kl weight | says by 4.
[kl weight]
weight B / N | MLP() | with_kl("128 / 60000 * kl(mu, logvar)") | says 0.002133
weight 0.00025 | trained(Conv(linear)) | mean_of("logits(recon, x)", "0.00025 * kl(mu, logvar)")
weight 0.00025 on mean squares | Conv() | squares(recon, x).mean() + 0.00025 * rate(mu, logvar)
    | also likelihood | says by 0.00025
no KL | trained(MLP()) | with_kl("0 * kl(mu, logvar)")
[batch size]
the original's soft bits | Original()
    | bits(recon, x).sum() / 128 + (GAMMA.to(mu) * kl(mu, logvar).mean(0)).sum() | also kl weight
    | says divided by 128
soft bits, trained, all weights 1 | trained(MLP())
    | bits(recon, x).sum() / 128 + (torch.ones(1, 8).to(mu) * kl(mu, logvar).mean(0)).sum()
KL by a global batch size | Conv(linear)
    | logits(recon, x).sum() / len(x) + kl(mu, logvar).sum() / 64 | says divided by 64
D by a global batch size | trained(Conv()) | bits(recon, x).sum() / 100 + rate(mu, logvar)
divided by the root of B | MLP() | nelbo(recon, x, mu, logvar) * len(x) ** 0.5
[kl sign]
KL with the wrong sign | MLP() | bits(recon, x).sum() - kl(mu, logvar).sum()
the bound, minimized | trained(Conv(linear)) | -nelbo_of_logits(recon, x, mu, logvar)
log-likelihood as loss | Conv() | mean_of("-bits(recon, x)") | says D has the weight -1, the KL 1
[kl formula]
KL without 1/2 | MLP() | with_kl("-(1 + logvar - mu**2 - logvar.exp())") | level note
1/2 for a part | trained(Conv()) | with_kl("mu**2 + 0.5 * (logvar.exp() - 1 - logvar)")
    | says 0.5 times
mu not squared | trained(MLP()) | with_kl("-0.5 * (1 + logvar - mu - logvar.exp())")
terms swapped | Conv() | with_kl("-0.5 * (1 + logvar.exp() - mu**2 - logvar)") | says -1 times
mu and logvar swapped | MLP() | with_kl("kl(logvar, mu)")
logvar left out | trained(Conv()) | with_kl("0.5 * mu**2")
[variance]
KL of sigma^4 | MLP() | with_kl("-0.5 * (1 + logvar - mu**2 - logvar.exp() ** 2)")
    | says for log sigma in sigma^2 and for log sigma^2
KL of sigma, log sigma^2 | trained(Conv()) | with_kl("-0.5 * (1 + logvar - mu**2 - sigma(logvar))")
KL of sigma^2, log sigma^4 | trained(MLP())
    | with_kl("-0.5 * (1 + 2 * logvar - mu**2 - logvar.exp())")
KL reads log sigma, noise log sigma^2 | Conv()
    | with_kl("-0.5 * (1 + 2 * logvar - mu**2 - (2 * logvar).exp())")
sigma^2 as sigma | MLP() | nelbo | z mu + eps(mu) * logvar.exp() | says as if it were log sigma
sigma^2 given to Normal | trained(Conv()) | nelbo | z Normal(mu, logvar.exp()).rsample() | bounded
log sigma^2 as sigma | trained(MLP()) | vanilla | z mu + eps(mu) * logvar
noise of sigma 1 | Conv() | vanilla | z mu + eps(mu) | also detached
[noise]
z is mu | MLP() | vanilla | z mu
z is mu, dropout | then(MLP(), "fc1", nn.Dropout(0.2)) | vanilla | z mu | also modes
one draw for the batch | trained(Conv()) | vanilla | z mu + torch.randn(mu.shape[1]) * sigma(logvar)
    | says (8,)
one row for the batch | MLP() | nelbo | z mu + eps(mu[:1]).expand_as(mu) * sigma(logvar)
one number for an image | Conv() | vanilla | z mu + torch.randn(len(mu), 1) * sigma(logvar)
noise only in training | trained(MLP()) | vanilla | z draw(mu, logvar) if model.training else mu
    | says In eval mode
noise only in training, conv | Conv() | nelbo | z draw(mu, logvar) if model.training else mu
NumPy's noise only in training | MLP() | vanilla
    | z mu + numpy_eps(mu) * sigma(logvar) if model.training else mu | also modes
noise from U(0, 1) | MLP() | vanilla | z mu + torch.rand_like(mu) * sigma(logvar)
noise seeded anew | trained(Conv()) | vanilla | z (torch.manual_seed(0), draw(mu, logvar))[1]
noise times zero | MLP() | vanilla | z mu + 0 * eps(mu) * sigma(logvar)
[detached]
Normal.sample | MLP() | nelbo | z Normal(mu, sigma(logvar)).sample()
torch.normal | trained(Conv()) | vanilla | z torch.normal(mu, sigma(logvar))
z under no_grad | trained(MLP()) | vanilla | z torch.no_grad()(draw)(mu, logvar)
sigma detached | Conv() | nelbo | z mu + eps(mu) * sigma(logvar).detach() | says of logvar
mu.data | MLP() | vanilla | z draw(mu.data, logvar)
[targets]
standardized digits | MLP(linear) | nelbo_of_logits | images (x - 0.1307) / 0.3081
    | says -0.424 to 2.82
digits from -1 to 1 | trained(Conv()) | mean_of("by_hand(recon, x, 1e-7)") | images 2 * x - 1
digits from 0 to 255 | Conv(linear) | nelbo_of_logits | images 255 * x | says 0 to 255
standardized digits, refused | trained(MLP()) | vanilla | images (x - 0.1307) / 0.3081
[range]
sigmoid, then a loss on logits | MLP() | nelbo_of_logits
sigmoid, then a loss on logits, trained | trained(Conv()) | nelbo_of_logits
two sigmoids | trained(MLP(lambda h: h.sigmoid().sigmoid())) | vanilla
two sigmoids, one in the loss | Conv(linear) | mean_of("logits(recon.sigmoid(), x)")
logits as probabilities | MLP(linear) | vanilla
logits as probabilities, by hand | trained(Conv(linear)) | mean_of("by_hand(recon, x, 1e-7)")
logits as probabilities, clamped | Conv(linear) | mean_of("bits(recon.clamp(1e-6, 1 - 1e-6), x)")
tanh as probabilities | trained(MLP(torch.tanh)) | mean_of("bits(recon.clamp(1e-6, 1 - 1e-6), x)")
[likelihood]
squares | MLP() | mean_of("squares(recon, x)") | says sigma = 0.707;
squares, halved | trained(Conv()) | mean_of("squares(recon, x)", "2 * kl(mu, logvar)")
    | says sigma = 1;
absolute values | Conv() | mean_of("(recon - x).abs()")
recon and x swapped | MLP() | mean_of("bits(x, recon)") | also not finite | level fault
[modes]
dropout, trained | then(trained(MLP()), "fc1", nn.Dropout(0.2)) | vanilla
BatchNorm in the decoder | then(MLP(), "fc2", nn.BatchNorm1d(64)) | vanilla
BatchNorm, convolutions | then(Conv(linear), "down", nn.BatchNorm1d(392)) | nelbo_of_logits
[not finite]
log by hand | MLP() | mean_of("by_hand(recon, x)")
log of sigmoid by hand | trained(Conv(linear)) | mean_of("by_hand(recon.sigmoid(), x)")
exponentials by hand | trained(MLP())
    | with_kl("0.5 * (mu**2 + (5 * logvar).exp() / (4 * logvar).exp() - 1 - logvar)")
weights that are NaN | filled(Conv(), float("nan"), "logvar.bias") | vanilla
""")

# Out of reach: all that could not be checked, and must not be called right, stands above the cases.
OUT_OF_REACH = table("""
[noise, variance, detached, modes]
NumPy's noise | MLP() | nelbo | z mu + numpy_eps(mu) * sigma(logvar)
[noise, variance, detached]
noise by an inverse CDF | MLP() | nelbo
    | z mu + torch.special.ndtri(torch.rand_like(mu)) * sigma(logvar)
the mean of five | MLP() | nelbo | z (mu + torch.randn(5, *mu.shape) * sigma(logvar)).mean(0)
exponential noise | MLP() | nelbo | z mu + (torch.empty_like(mu).exponential_() - 1) * sigma(logvar)
[likelihood, pixels averaged, kl averaged, kl weight, kl sign, range, targets]
continuous Bernoulli | MLP(linear) | mean_of("-ContinuousBernoulli(logits=recon).log_prob(x)")
[detached]
a frozen model | MLP().requires_grad_(False) | vanilla
a decoder that ignores z | filled(MLP(), 0, "fc2.weight") | vanilla
[variance]
every sigma 1 | filled(MLP(), 0, "logvar.weight", "logvar.bias", "mu.weight", "mu.bias") | vanilla
bfloat16 | MLP(linear).bfloat16() | nelbo_of_logits | images x.bfloat16()
[batch size, batch sum, pixels averaged, kl averaged, kl weight, kl sign, likelihood]
a loss that fails for more images | MLP() | vanilla(recon, x, mu, logvar) if len(x) <= 16 else 1 / 0
    | says division by zero
[]
half precision | MLP(linear).half() | nelbo_of_logits | images x.half()
""")

CASES = CORRECT | PLANTED
NOTES = {"likelihood", "modes", "kl weight", "batch sum", "free bits", "batch term"}
NOISE = {"noise", "variance", "detached"}


@cache
def digits() -> Tensor:
    return load_mnist("5k").test[:32]


def build(case: Case, device: str = "cpu") -> tuple[nn.Module, Callable[..., Tensor], Tensor]:
    torch.manual_seed(0)
    model = eval(case.model).to(device)
    own = {k: v for k, v in case.more.items() if k in ("code", "z")}
    steps = {k: function("model, mu, logvar", v) for k, v in own.items()}
    model.__class__ = type("Changed", (type(model),), steps)
    free = "recon" in compile(case.loss, "", "eval").co_names
    loss = function("recon, x, mu, logvar", case.loss) if free else eval(case.loss)
    loss = loss.to(device) if isinstance(loss, nn.Module) else loss
    images = function("x", case.more.get("images", "x"))(digits()).to(device)
    return model, loss, images.view(-1, 1, 28, 28) if isinstance(model, Conv) else images


@cache
def outcome(name: str) -> Checkup:
    return checkup(*build(CASES[name]))


def found(result: Checkup, *levels: str) -> set[str]:
    return {f.name for f in result.findings if f.level in (levels or ("fault", "note"))}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_vae_has_no_fault_and_right_noise(name: str) -> None:
    result = outcome(name)
    assert result.ok, result
    assert CORRECT[name].section == "batch term" or {*result.right} >= NOISE, result


@pytest.mark.parametrize("name", CASES)
def test_what_is_planted_is_found_and_nothing_else(name: str) -> None:
    case, result = CASES[name], outcome(name)
    faults = {"note": set(), "fault": case.names}.get(case.more.get("level"), case.names - NOTES)
    assert found(result, "fault") == faults, result
    assert result.ok == (not faults)
    noted = "bounded" not in case.more and "free bits" not in result.not_checked
    names = case.names | ({"not finite"} if noted else set())
    assert names <= found(result) <= names | {"batch sum"}, result
    said = case.more.get("says", "")
    assert any(said in finding.message for finding in result.findings) or not said, result


@pytest.mark.parametrize("name", CASES)
def test_every_name_is_found_or_right_or_not_checked(name: str) -> None:
    result = outcome(name)
    assert sorted([*found(result), *result.right, *result.not_checked]) == sorted(KINDS)
    assert [f.level for f in result.findings] == sorted(f.level for f in result.findings)
    for finding in result.findings:
        section, effect = KINDS[finding.name]
        assert finding.message.endswith(effect)
        assert finding.section == section


def test_every_finding_has_three_variants_of_many_kinds() -> None:
    for kind in KINDS:
        models = [case.model for case in CASES.values() if case.section == kind]
        assert len(models) >= 3, kind
        for word in ("Conv", "trained"):
            assert 0 < sum(word in model for model in models) < len(models), f"{kind}, {word}"


def test_the_hidden_beta_is_that_of_the_residuals() -> None:
    model, _, images = build(CASES["summed squares"])
    error = (model(images)[0] - images).square().mean()  # another draw of z: some percent
    message = next(f.message for f in outcome("summed squares").findings if f.name == "likelihood")
    hidden = re.search(r"KL weighs ([\d.]+)\. ", message)
    assert float(hidden[1]) == pytest.approx(0.5 / error.item(), rel=0.05)


@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_what_is_out_of_reach_is_not_called_right(name: str) -> None:
    case = OUT_OF_REACH[name]
    result = checkup(*build(case))
    assert found(result) <= {"batch sum", "not finite"}, result
    assert result.ok
    assert result.not_checked.keys() == case.names, result
    assert case.more.get("says", "") in str(result.not_checked)


def test_a_term_on_the_batch_is_found_whatever_it_draws() -> None:
    model, _, images = build(CASES["KL and MMD"])
    for seed in range(12):
        loss = f"torch.manual_seed({seed}), nelbo(recon, x, mu, logvar) + mmd(mu, logvar)"
        result = checkup(model, function("recon, x, mu, logvar", f"({loss})[1]"), images)
        assert found(result) == {"batch term"}, result


# --- nothing is changed ---------------------------------------------------------------------------


def state_of(*parts: Any) -> list[Any]:
    modules = [m for part in parts if isinstance(part, nn.Module) for m in part.modules()]
    tensors = [t for m in modules for t in (*m.parameters(False), *m.buffers(False))]
    return [
        torch.get_rng_state().tolist(),
        [(m.training, {*vars(m)}) for m in modules],
        [len(v) for m in modules for k, v in vars(m).items() if "hooks" in k],
        [(id(t), t.tolist(), t.requires_grad) for t in tensors],
        [t.grad.tolist() for t in tensors if t.grad is not None],
    ]


CHANGING = ["BatchNorm", "more entries, keeps a tensor", "noise seeded anew", "dropout"]


@pytest.mark.parametrize("name", [*CHANGING, "Gaussian, sigma learned"])
def test_nothing_is_changed(name: str) -> None:
    model, loss, images = build(CASES[name])
    model.train()
    [*model.children()][-1].eval()  # a mode within another
    model(images)[0].sum().backward()
    later = model(images)[0].sum()
    model.register_forward_hook(lambda *_: None)
    before, pixels = state_of(model, loss), images.clone()
    checkup(model, loss, images)
    with pytest.raises(ValueError, match="loss must give a scalar"):
        checkup(model, lambda recon, *_: recon, images)
    assert state_of(model, loss) == before
    assert torch.equal(pixels, images)
    later.backward()


def test_a_loss_that_counts_goes_on_where_it_was() -> None:
    class WarmUp:
        def __call__(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
            self.calls += 1
            return distortion(recon, x) + self.calls / 10 * rate(mu, logvar)

    loss = WarmUp()
    loss.calls = 1
    result = checkup(MLP(), loss, digits())
    assert loss.calls == 1
    assert "beta = 0.2 " in next(f.message for f in result.findings if f.name == "kl weight")


def test_a_traced_model_is_refused_for_what_it_is() -> None:
    traced = torch.jit.trace(MLP(), digits(), check_trace=False)
    with pytest.raises(ValueError, match=r"torch\.jit\.trace"):
        checkup(traced, vanilla, digits())
    assert checkup(torch.jit.script(MLP()), vanilla, digits()).ok


def test_the_same_words_again_and_under_no_grad() -> None:
    model = trained(MLP()).eval()
    torch.manual_seed(99)
    with torch.no_grad():
        assert repr(checkup(model, vanilla, digits())) == repr(outcome("MLP, sum, trained"))


# --- what is shown --------------------------------------------------------------------------------


def test_the_table_shows_findings_then_right_then_not_checked() -> None:
    text = repr(outcome("weight 0.00025 on mean squares"))
    order = [text.index(word) for word in ("kl weight", "checked and right", "not checked")]
    assert order == sorted(order)
    assert text.startswith("note")
    assert max(map(len, text.splitlines())) <= 100
    assert "See lesson 2, “{}”".format(SECTIONS["weight"][1]) in " ".join(text.split())
    assert repr(outcome("mean over pixels")).startswith("fault")


def test_the_table_of_a_notebook_says_the_same() -> None:
    result = checkup(MLP(), lambda recon, x, mu, logvar: kl(mu, logvar).sum() + 1, digits())
    result.not_checked["noise"] = "a < b"
    page = result._repr_html_()
    for finding in result.findings:
        assert f">{finding.name}<" in page
    assert page.count("<tr>") == page.count("</tr>") == len(result.findings) + 2
    assert "a &lt; b" in page


def test_every_finding_has_a_probe_and_a_section_in_a_lesson() -> None:
    assert {name for _, names in PROBES.values() for name in names.split(", ")} == KINDS.keys()
    assert {section for section, _ in KINDS.values()} == SECTIONS.keys()
    headings = {
        (number(path), line.lstrip("#").strip())
        for path in LESSONS
        for cell in markdown_cells(read(path))
        for line in cell.source.splitlines()
        if line.startswith("#")
    }
    assert {*SECTIONS.values()} <= headings


def test_it_takes_at_most_a_second_on_the_original() -> None:
    model, start = Original(), time.process_time()  # of one thread, whatever else runs
    checkup(model, vanilla, digits())
    assert time.process_time() - start < 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_findings() -> None:
    different = []
    for name, case in CASES.items():
        parts = build(case, "cuda")
        state = torch.cuda.get_rng_state()  # the models are made with a seed of their own
        with torch.device("cuda"):  # for noise that the models make without a device
            result = checkup(*parts)
        if not torch.equal(state, torch.cuda.get_rng_state()):
            different.append(f"{name}: another random state")
        if levels(result) != levels(outcome(name)):
            different.append(f"{name}:\n{result}\non the CPU:\n{outcome(name)}")
    assert not different, "\n".join(different)


def levels(result: Checkup) -> tuple:
    return {(f.name, f.level) for f in result.findings}, result.right, [*result.not_checked]
