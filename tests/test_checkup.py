"""Checkup: correct VAEs without a fault, planted mistakes found by name, nothing left changed.

CORRECT and PLANTED are the tables. Their models are written here, in the ways of public code
(torch.distributions, in-place noise, layers called by functions, heads cut from one layer ...), so
that a probe which leans on one way of writing a VAE fails.
"""

from __future__ import annotations

import copy
import math
import random
import re
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

import vaelab
from notebook_tools import LESSONS, markdown_cells, number, read
from vaelab import Checkup, bernoulli_nll, checkup, gaussian_kl, load_mnist
from vaelab.checkup import KINDS, PROBES, SECTIONS

# --- models ---------------------------------------------------------------------------------------


class MLP(nn.Module):
    """784-64-8, decoder `out` on top; subclasses override a step."""

    noise_size, flat = 8, True

    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid, hidden: int = 64) -> None:
        super().__init__()
        self.out = out
        self.fc1, self.fc2 = nn.Linear(784, hidden), nn.Linear(self.noise_size, hidden)
        self.mu, self.logvar = (nn.Linear(hidden, self.noise_size) for _ in range(2))
        self.fc3 = nn.Linear(hidden, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.fc1(x.view(-1, 784)))
        return self.mu(h), self.logvar(h)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.fc3(F.relu(self.fc2(z))))

    def forward(self, x: Tensor) -> Any:
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class Conv(MLP):
    """Two strided convolutions each way, images (B, 1, 28, 28)."""

    flat = False

    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        nn.Module.__init__(self)
        self.out = out
        self.down = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 4, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.mu, self.logvar = (nn.Linear(8 * 49, self.noise_size) for _ in range(2))
        self.widen = nn.Linear(self.noise_size, 8 * 49)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down(x)
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.up(F.relu(self.widen(z)).view(-1, 8, 7, 7)))


class Original(MLP):
    """The model that this collection grew out of, written anew: 784-400-50, sigmoid at the end."""

    noise_size = 50

    def __init__(self) -> None:
        super().__init__(hidden=400)


class OneHead(MLP):
    """Means and log-variances are the halves of one layer; the decoder is written inline."""

    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__(out)
        self.both = nn.Linear(64, 16)
        del self.mu, self.logvar

    def forward(self, x: Tensor) -> Any:
        mu, logvar = self.both(torch.tanh(self.fc1(x.flatten(1)))).chunk(2, dim=1)
        z = torch.randn(mu.shape).mul(logvar.div(2).exp()).add(mu)
        h = F.relu(F.linear(z, self.fc2.weight, self.fc2.bias))
        return self.out(h @ self.fc3.weight.T + self.fc3.bias), mu, logvar


class Spatial(Conv):
    """z is a picture of 2 x 7 x 7."""

    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__(out)
        self.mu, self.logvar = (nn.Conv2d(8, 2, 1) for _ in range(2))
        self.widen = nn.Conv2d(2, 8, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down[:-1](x)
        return self.mu(h), self.logvar(h)


def noisy(kind: type[MLP], step: Callable[..., Tensor]) -> type[MLP]:
    """The same model with another reparameterization: step(model, mu, logvar) -> z."""
    return type(f"{kind.__name__}{step.__name__}", (kind,), {"reparameterize": step})


def in_place(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    std = logvar.mul(0.5).exp_()
    return std.data.new(std.size()).normal_().mul(std).add_(mu)


def distribution(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return Independent(Normal(mu, (0.5 * logvar).exp()), 1).rsample()


def addcmul(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    own = torch.Generator(mu.device).manual_seed(random.randrange(2**32))
    eps = torch.randn(mu.shape, generator=own, device=mu.device)
    return torch.addcmul(mu, logvar.exp().sqrt(), eps)


def torch_normal(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.normal(torch.zeros_like(mu), 1.0) * (logvar / 2).exp()


def log_sigma(model: nn.Module, mu: Tensor, logstd: Tensor) -> Tensor:
    return mu + logstd.exp() * torch.randn_like(mu)


def positive_sigma(model: nn.Module, mu: Tensor, std: Tensor) -> Tensor:
    return Normal(mu, std).rsample()


class Sigma(MLP):
    """Gives sigma in the third place, through a softplus."""

    reparameterize = positive_sigma

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, raw = super().encode(x)
        return mu, F.softplus(raw) + 1e-4


def bounded(kind: type[MLP], bound: Callable[[Tensor], Tensor]) -> type[MLP]:
    """The same model, whose encoder bounds logvar in this way."""

    def encode(self: MLP, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = kind.encode(self, x)
        return mu, bound(logvar)

    return type(kind.__name__, (kind,), {"encode": encode})


def softplus_below(logvar: Tensor) -> Tensor:
    """Never above 5, with a slope everywhere."""
    return 5 - F.softplus(5 - logvar)


class Extended(MLP):
    """More entries than three, and it keeps its last z, which Python cannot copy."""

    def forward(self, x: Tensor) -> Any:
        recon, mu, logvar = super().forward(x)
        self.calls = getattr(self, "calls", 0) + 1
        self.last = mu.sum()
        return recon, mu, logvar, {"calls": self.calls}


class OwnGenerator(MLP):
    """Draws from a generator that it keeps, which a copy must not wind back for every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        eps = torch.empty_like(mu, device="cpu").normal_(generator=self.generator).to(mu)
        return mu + eps * (0.5 * logvar).exp()


class Masked(MLP):
    """A mask made of uniform numbers that have z's shape, and are no noise of z."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = super().encode(x)
        return mu * (torch.rand_like(mu) > 0.1 * self.training), logvar


class Dropping(MLP):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(F.dropout(x, 0.2, self.training))


class Normed(Conv):
    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__(out)
        self.down.insert(1, nn.BatchNorm2d(8))


class NormedMLP(MLP):
    def __init__(self, out: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__(out)
        self.norm = nn.BatchNorm1d(64)

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.fc3(F.relu(self.norm(self.fc2(z)))))


class Both(nn.Module):
    """The decoder also learns the spread of every pixel, and gives both as one tensor."""

    flat = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = MLP(lambda h: h)
        self.inner.fc3 = nn.Linear(64, 2 * 784)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


def linear(h: Tensor) -> Tensor:
    return h


@cache
def trained_state(kind: type[MLP]) -> dict[str, Tensor]:
    """Weights after a hundred steps on the bundled digits: far from where they started."""
    torch.manual_seed(1)
    model = kind()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    x = load_mnist("5k").train[:3200]
    for batch in x.view(-1, 784).split(32) if kind.flat else x.view(-1, 1, 28, 28).split(32):
        optimizer.zero_grad()
        vanilla(*_with(batch, model(batch))).div(32).backward()
        optimizer.step()
    return model.state_dict()


def _with(x: Tensor, out: Any) -> tuple[Tensor, ...]:
    return out[0], x, out[1], out[2]


def fresh(kind: type, *arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return kind(*arguments)

    return make


def trained(kind: type, *arguments: Any) -> Callable[[], nn.Module]:
    """With trained weights, for a model whose layers are those of MLP or Conv."""

    def make() -> nn.Module:
        model = kind(*arguments)
        model.load_state_dict(trained_state(Conv if issubclass(kind, Conv) else MLP))
        return model

    return make


# --- losses ---------------------------------------------------------------------------------------


def vanilla(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """`loss_function_vanilla` of the original notebook, written anew: everything is summed."""
    x = x.view(-1, 784)
    bce = F.binary_cross_entropy(recon.view(-1, 784), x, reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def soft_bits(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, *, gamma: Any) -> Tensor:
    """The original's soft bits: divided by the loop's batch size, whatever the batch holds."""
    bce = F.binary_cross_entropy(recon.view(-1, 784), x.view(-1, 784), reduction="sum")
    kl = -0.5 * torch.mean(1 + logvar - mu.pow(2) - logvar.exp(), dim=0)
    return bce / 128 + torch.sum(gamma * kl)


def bits(recon: Tensor, x: Tensor) -> Tensor:
    """(B,) binary cross-entropy on probabilities."""
    return F.binary_cross_entropy(recon, x.view_as(recon), reduction="none").flatten(1).sum(1)


def logits(recon: Tensor, x: Tensor) -> Tensor:
    """(B,) binary cross-entropy on logits."""
    x = x.view_as(recon)
    return F.binary_cross_entropy_with_logits(recon, x, reduction="none").flatten(1).sum(1)


def squares(recon: Tensor, x: Tensor) -> Tensor:
    return (recon - x.view_as(recon)).square().flatten(1).sum(1)  # (B,)


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """(B, D)"""
    return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).flatten(1)


def mean_of(
    d: Callable[..., Tensor],
    weight: float = 1.0,
    rate: Callable[..., Tensor] = lambda mu, logvar: kl(mu, logvar).sum(1),
) -> Callable[..., Tensor]:
    """Mean over the batch of D + weight * R, from terms (B,)."""

    def loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return (d(recon, x) + weight * rate(mu, logvar)).mean()

    return loss


def gaussian(sigma: float, recon: Tensor, x: Tensor) -> Tensor:
    return squares(recon, x) / (2 * sigma**2) + 784 * math.log(sigma)


class LearnedSigma(nn.Module):
    """A Gaussian decoder whose one sigma is learned with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(-1.5))

    def forward(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        d = 0.5 * squares(recon, x) * (-2 * self.log_sigma).exp() + 784 * self.log_sigma
        return (d + kl(mu, logvar).sum(1)).mean()


def best_sigma(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """The best sigma of every batch in closed form."""
    mse = squares(recon, x).mean() / 784
    return 784 / 2 * mse.log() + kl(mu, logvar).sum(1).mean()


def per_pixel(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """For a decoder that gives mean and log-variance of every pixel in one tensor."""
    mean, spread = recon.chunk(2, dim=1)
    d = F.gaussian_nll_loss(mean, x, spread.exp(), reduction="none").sum(1)
    return (d + kl(mu, logvar).sum(1)).mean()


def by_distributions(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    q, p = Normal(mu, (0.5 * logvar).exp()), Normal(torch.zeros_like(mu), 1.0)
    pixels = torch.distributions.Bernoulli(logits=recon).log_prob(x.view_as(recon))
    return -pixels.flatten(1).sum(1).mean() + kl_divergence(q, p).sum(1).mean()


def of_sigma(mu: Tensor, std: Tensor) -> Tensor:
    return kl_divergence(Normal(mu, std), Normal(0.0, 1.0)).sum(1)


def of_log_sigma(mu: Tensor, logstd: Tensor) -> Tensor:
    return -0.5 * (1 + 2 * logstd - mu**2 - (2 * logstd).exp()).sum(1)


def kl_of_clamped(mu: Tensor, logvar: Tensor) -> Tensor:
    return kl(mu, logvar.clamp(-30, 20)).sum(1)


def free(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).mean() + kl(mu, logvar).mean(0).clamp(min=0.5).sum()


def mmd(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """A kernel between codes and prior draws in the place of the KL."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / a.shape[1]).mean()

    z, prior = mu + (0.5 * logvar).exp() * torch.randn_like(mu), torch.randn_like(mu)
    between = kernel(z, z) + kernel(prior, prior) - 2 * kernel(z, prior)
    return bits(recon, x).mean() + 1000 * between


def free_alone(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (bits(recon, x) + kl(mu, logvar).clamp(min=0.5).sum(1)).mean()


def free_in_all(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).mean() + kl(mu, logvar).sum(1).mean().clamp(min=3.0)


def moments(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Off-diagonal covariances of the means over the batch, as in DIP-VAE."""
    covariance = torch.cov(mu.T)
    return 10 * (covariance - covariance.diag().diag()).square().sum()


def with_kl_too(term: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        elbo = (bits(recon, x) + kl(mu, logvar).sum(1)).mean()
        return elbo + term(recon, x, mu, logvar)

    return loss


def of_vaelab(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (bernoulli_nll(recon, x) + gaussian_kl(mu, logvar).sum(1)).mean()


def averaged(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Everything divided by the number of pixels: beta is 1 all the same."""
    bce = F.binary_cross_entropy(recon, x.view_as(recon))
    return bce + kl(mu, logvar).sum(1).mean() / 784


# --- the table ------------------------------------------------------------------------------------


class Case(NamedTuple):
    model: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    names: str  # the findings that there must be, divided by commas
    images: Callable[[Tensor], Tensor] = lambda x: x  # what is made of the digits
    also: str = ""  # further findings that follow from the planted one


# Notes that any correct model may have, left out where the findings of a case are compared.
USUAL = {"batch sum", "not finite"}
MLPS, CONVS = "MLP", "Conv"

CORRECT: dict[str, Case] = {
    "the original, fresh": Case(fresh(Original), vanilla, "batch sum"),
    "MLP, sum, trained": Case(trained(MLP), vanilla, "batch sum"),
    "conv, sum": Case(fresh(Conv), vanilla, "batch sum"),
    "MLP, mean, probabilities": Case(fresh(MLP), mean_of(bits), ""),
    "conv, mean, logits, trained": Case(trained(Conv, linear), mean_of(logits), ""),
    "MLP, torch.distributions": Case(
        fresh(noisy(MLP, distribution), linear), by_distributions, "", torch.round
    ),
    "noise in place, one head, inline": Case(fresh(OneHead), mean_of(bits), ""),
    "noise in place, trained": Case(trained(noisy(MLP, in_place)), mean_of(bits), ""),
    "noise by a generator of its own": Case(fresh(noisy(Conv, addcmul)), mean_of(bits), ""),
    "noise by torch.normal": Case(trained(noisy(Conv, torch_normal)), mean_of(bits), ""),
    "log sigma throughout": Case(
        fresh(noisy(MLP, log_sigma)), mean_of(bits, rate=of_log_sigma), ""
    ),
    "sigma throughout": Case(fresh(Sigma), mean_of(bits, rate=of_sigma), ""),
    "logvar bounded by tanh": Case(
        fresh(bounded(MLP, lambda t: 6 * torch.tanh(t / 6))), mean_of(bits), ""
    ),
    "logvar clamped": Case(trained(bounded(Conv, lambda t: t.clamp(-10, 10))), vanilla, ""),
    "logvar bounded by softplus": Case(fresh(bounded(MLP, softplus_below)), vanilla, ""),
    "logvar clamped in the loss": Case(trained(MLP), mean_of(bits, rate=kl_of_clamped), ""),
    "more entries, keeps a tensor": Case(trained(Extended), mean_of(bits), ""),
    "z is a picture": Case(fresh(Spatial), mean_of(bits), ""),
    "vaelab's VAE": Case(lambda: vaelab.VAE(8, 64), of_vaelab, ""),
    "a GRU over rows": Case(lambda: vaelab.RowGRUVAE(8, 32), of_vaelab, ""),
    "float64": Case(lambda: fresh(MLP)().double(), mean_of(bits), "", Tensor.double),
    "all divided by 784": Case(fresh(MLP), averaged, ""),
    "beta-VAE": Case(fresh(Conv), mean_of(bits, 4.0), "kl weight"),
    "beta of a warm-up": Case(trained(MLP), mean_of(bits, 0.1), "kl weight"),
    "Gaussian, sigma 0.1": Case(
        fresh(MLP, linear), mean_of(partial(gaussian, 0.1)), "likelihood"
    ),
    "Gaussian, sigma 0.3, trained": Case(
        trained(Conv), mean_of(partial(gaussian, 0.3)), "likelihood"
    ),
    "Gaussian, sigma learned": Case(fresh(MLP, linear), LearnedSigma(), "likelihood"),
    "Gaussian, best sigma": Case(trained(Conv), best_sigma, "likelihood"),
    "Gaussian, sigma of every pixel": Case(fresh(Both), per_pixel, ""),
    "summed squares": Case(fresh(MLP), mean_of(squares), "likelihood"),
    "Gaussian on standardized digits": Case(
        fresh(MLP, linear), mean_of(squares), "likelihood", lambda x: (x - 0.13) / 0.31
    ),
    "free bits": Case(fresh(MLP), free, "free bits"),
    "free bits for each image": Case(trained(Conv), free_alone, "free bits"),
    "free nats in all": Case(trained(MLP), free_in_all, "free bits"),
    "MMD": Case(fresh(MLP), mmd, "batch term"),
    "KL and MMD": Case(trained(Conv), with_kl_too(mmd), "batch term"),
    "moments of the codes": Case(trained(MLP), with_kl_too(moments), "batch term"),
    "dropout": Case(fresh(Dropping), mean_of(bits), "modes"),
    "a mask of z's size": Case(fresh(Masked), mean_of(bits), "modes"),
    "a generator that the model keeps": Case(fresh(OwnGenerator), mean_of(bits), ""),
    "BatchNorm": Case(fresh(Normed), mean_of(bits), "modes"),
}  # fmt: skip
# Of these, z cannot be told from outside, or what is asked of it has no meaning.
Z_UNKNOWN: set[str] = {"MMD", "KL and MMD", "moments of the codes"}


# Nothing makes exp(logvar) infinite: bounds in the model, in the loss, or no logarithm at all.
BOUNDED = {
    *("logvar bounded by tanh", "logvar clamped", "logvar bounded by softplus", "vaelab's VAE"),
    *("logvar clamped in the loss", "sigma throughout", "a GRU over rows"),
}


def with_kl(rate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return mean_of(bits, rate=rate)


def mean_pixels(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.binary_cross_entropy(recon, x.view_as(recon)) + kl(mu, logvar).sum(1).mean()


def mean_squares(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.mse_loss(recon, x.view_as(recon)) + kl(mu, logvar).sum(1).mean()


def mean_pixels_of_logits(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    pixels = F.binary_cross_entropy_with_logits(recon, x.view_as(recon))
    return pixels + torch.mean(-0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), 1), 0)


def mean_pixels_sum_kl(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.binary_cross_entropy(recon, x.view_as(recon)) + kl(mu, logvar).sum()


def mean_everything(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.binary_cross_entropy(recon, x.view_as(recon)) + kl(mu, logvar).mean()


def mean_squares_small_weight(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.mse_loss(recon, x.view_as(recon)) + 0.00025 * kl(mu, logvar).sum(1).mean()


def kl_mean_over_all(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).sum() + kl(mu, logvar).mean()


def kl_mean_over_batch(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).sum() + kl(mu, logvar).sum(1).mean()


def kl_mean_over_dims(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return logits(recon, x).mean() + kl(mu, logvar).mean(1).mean()


def kl_over_global_batch(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return logits(recon, x).mean() + kl(mu, logvar).sum() / 64


def batch_against_sum(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).sum() / 100 + kl(mu, logvar).sum(1).mean()


def root_of_batch(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (bits(recon, x) + kl(mu, logvar).sum(1)).sum() / len(x) ** 0.5


def minus(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return bits(recon, x).sum() + 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def the_bound(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """The ELBO itself, which an optimizer must not minimize."""
    return -(logits(recon, x) + kl(mu, logvar).sum(1)).mean()


def log_likelihood_as_loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (-bits(recon, x) + kl(mu, logvar).sum(1)).mean()


def naive_log(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    x = x.view_as(recon)
    pixels = -(x * recon.log() + (1 - x) * (1 - recon).log())
    return (pixels.flatten(1).sum(1) + kl(mu, logvar).sum(1)).mean()


def naive_logits(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    p, x = torch.sigmoid(recon), x.view_as(recon)
    pixels = -(x * p.log() + (1 - x) * (1 - p).log())
    return (pixels.flatten(1).sum(1) + kl(mu, logvar).sum(1)).mean()


def naive_sigma(mu: Tensor, logvar: Tensor) -> Tensor:
    """Through a quotient of exponentials, which overflows long before log sigma^2 = 88."""
    fifth = torch.exp(5 * logvar)
    return 0.5 * (mu**2 + fifth / torch.exp(4 * logvar) - 1 - logvar).flatten(1).sum(1)


def custom_bits(recon: Tensor, x: Tensor) -> Tensor:
    """By hand with a small number inside the logarithms: no complaint about any input."""
    x, tiny = x.view_as(recon), 1e-7
    pixels = x * torch.log(recon + tiny) + (1 - x) * torch.log(1 - recon + tiny)
    return -pixels.flatten(1).sum(1)


def clamped_bits(recon: Tensor, x: Tensor) -> Tensor:
    return bits(recon.clamp(1e-6, 1 - 1e-6), x)


def logits_of_sigmoid(recon: Tensor, x: Tensor) -> Tensor:
    return logits(torch.sigmoid(recon), x)


def z_is_mu(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu


def one_draw_for_all(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn(mu.shape[1]) * (0.5 * logvar).exp()


def one_row_for_all(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu[:1]).expand_as(mu) * (0.5 * logvar).exp()


def one_number_for_an_image(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn(len(mu), 1) * (0.5 * logvar).exp()


def only_in_training(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu) * (0.5 * logvar).exp() if model.training else mu


def numpy_only_in_training(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return numpy_noise(model, mu, logvar) if model.training else mu


def uniform(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.rand_like(mu) * (0.5 * logvar).exp()


def seeded_anew(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    torch.manual_seed(0)
    return mu + torch.randn_like(mu) * (0.5 * logvar).exp()


def times_zero(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + 0 * torch.randn_like(mu) * (0.5 * logvar).exp()


def variance_as_sigma(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu) * logvar.exp()


def logvar_as_sigma(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu) * logvar


def unit_noise(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu)


def variance_to_normal(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return Normal(mu, logvar.exp()).rsample()


def sampled(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return Normal(mu, (0.5 * logvar).exp()).sample()


def by_normal(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return torch.normal(mu, (0.5 * logvar).exp())


def under_no_grad(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    with torch.no_grad():
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp()


def sigma_detached(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.randn_like(mu) * (0.5 * logvar).exp().detach()


def mean_detached(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu.data + torch.randn_like(mu) * (0.5 * logvar).exp()


def kl_of_squared_variance(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mu**2 - logvar.exp() ** 2).flatten(1).sum(1)


def kl_of_sigma_and_logvar(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mu**2 - (0.5 * logvar).exp()).flatten(1).sum(1)


def kl_of_log_of_log(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + 2 * logvar - mu**2 - logvar.exp()).flatten(1).sum(1)


def without_half(mu: Tensor, logvar: Tensor) -> Tensor:
    return -(1 + logvar - mu**2 - logvar.exp()).flatten(1).sum(1)


def half_of_a_part(mu: Tensor, logvar: Tensor) -> Tensor:
    return (mu**2 + 0.5 * (logvar.exp() - 1 - logvar)).flatten(1).sum(1)


def mu_not_squared(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mu - logvar.exp()).flatten(1).sum(1)


def swapped_terms(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar.exp() - mu**2 - logvar).flatten(1).sum(1)


def swapped_arguments(mu: Tensor, logvar: Tensor) -> Tensor:
    return kl(logvar, mu).sum(1)


def without_logvar(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2).flatten(1).sum(1)


def twice(h: Tensor) -> Tensor:
    return torch.sigmoid(torch.sigmoid(h))


def standardized(x: Tensor) -> Tensor:
    return (x - 0.1307) / 0.3081


def signed(x: Tensor) -> Tensor:
    return 2 * x - 1


def bytes_as_floats(x: Tensor) -> Tensor:
    return 255 * x


PLANTED: dict[str, Case] = {
    # reductions and weights
    "mean over pixels": Case(fresh(MLP), mean_pixels, "pixels averaged"),
    "mean over pixels, trained": Case(trained(MLP), mean_pixels, "pixels averaged"),
    "mean of squares": Case(trained(Conv), mean_squares, "pixels averaged", also="likelihood"),
    "mean over pixels of logits": Case(
        fresh(Conv, linear), mean_pixels_of_logits, "pixels averaged"
    ),
    "mean over pixels, KL summed": Case(fresh(Conv), mean_pixels_sum_kl, "pixels averaged"),
    "means of everything": Case(fresh(MLP), mean_everything, "pixels averaged, kl averaged"),
    "KL mean of all": Case(trained(MLP), kl_mean_over_all, "kl averaged"),
    "KL mean over the batch": Case(fresh(Conv), kl_mean_over_batch, "kl averaged"),
    "KL mean over dimensions": Case(trained(Conv, linear), kl_mean_over_dims, "kl averaged"),
    "KL mean over dimensions, beta 4": Case(
        fresh(Original),
        mean_of(bits, 4.0, lambda mu, logvar: kl(mu, logvar).mean(1)),
        "kl averaged, kl weight",
    ),
    "weight B / N": Case(fresh(MLP), mean_of(bits, 128 / 60000), "kl weight"),
    "weight 0.00025": Case(trained(Conv, linear), mean_of(logits, 0.00025), "kl weight"),
    "weight 0.00025 on mean squares": Case(
        fresh(Conv), mean_squares_small_weight, "kl weight", also="pixels averaged, likelihood"
    ),
    "no KL": Case(trained(MLP), mean_of(bits, 0.0), "kl weight"),
    "the original's soft bits": Case(
        fresh(Original),
        partial(soft_bits, gamma=torch.rand(1, 50, generator=torch.Generator().manual_seed(0))),
        "batch size",
        also="kl weight",
    ),
    "soft bits, trained, all weights 1": Case(
        trained(MLP), partial(soft_bits, gamma=torch.ones(1, 8)), "batch size"
    ),
    "KL by a global batch size": Case(fresh(Conv, linear), kl_over_global_batch, "batch size"),
    "D by a global batch size": Case(trained(Conv), batch_against_sum, "batch size"),
    "divided by the root of B": Case(fresh(MLP), root_of_batch, "batch size"),
    # the KL
    "KL with the wrong sign": Case(fresh(MLP), minus, "kl sign"),
    "the bound, minimized": Case(trained(Conv, linear), the_bound, "kl sign"),
    "log-likelihood as loss": Case(fresh(Conv), log_likelihood_as_loss, "kl sign"),
    "KL without 1/2": Case(fresh(MLP), with_kl(without_half), "kl formula"),
    "1/2 for a part": Case(trained(Conv), with_kl(half_of_a_part), "kl formula"),
    "mu not squared": Case(trained(MLP), with_kl(mu_not_squared), "kl formula"),
    "terms swapped": Case(fresh(Conv), with_kl(swapped_terms), "kl formula"),
    "mu and logvar swapped": Case(fresh(MLP), with_kl(swapped_arguments), "kl formula"),
    "logvar left out": Case(trained(Conv), with_kl(without_logvar), "kl formula"),
    "KL of sigma^4": Case(fresh(MLP), with_kl(kl_of_squared_variance), "variance"),
    "KL of sigma and log sigma^2": Case(
        trained(Conv), with_kl(kl_of_sigma_and_logvar), "variance"
    ),
    "KL of sigma^2 and log sigma^4": Case(trained(MLP), with_kl(kl_of_log_of_log), "variance"),
    "KL reads log sigma, noise log sigma^2": Case(
        fresh(Conv), with_kl(of_log_sigma), "variance"
    ),
    # the noise
    "sigma^2 as sigma": Case(fresh(noisy(MLP, variance_as_sigma)), mean_of(bits), "variance"),
    "sigma^2 given to Normal": Case(
        trained(noisy(Conv, variance_to_normal)), mean_of(bits), "variance"
    ),
    "log sigma^2 as sigma": Case(trained(noisy(MLP, logvar_as_sigma)), vanilla, "variance"),
    "noise of sigma 1": Case(fresh(noisy(Conv, unit_noise)), vanilla, "variance", also="detached"),
    "z is mu": Case(fresh(noisy(MLP, z_is_mu)), vanilla, "noise"),
    "z is mu, dropout": Case(fresh(noisy(Dropping, z_is_mu)), vanilla, "noise", also="modes"),
    "one draw for the batch": Case(trained(noisy(Conv, one_draw_for_all)), vanilla, "noise"),
    "one row for the batch": Case(fresh(noisy(MLP, one_row_for_all)), mean_of(bits), "noise"),
    "one number for an image": Case(
        fresh(noisy(Conv, one_number_for_an_image)), vanilla, "noise"
    ),
    "noise only in training": Case(trained(noisy(MLP, only_in_training)), vanilla, "noise"),
    "noise only in training, conv": Case(
        fresh(noisy(Conv, only_in_training)), mean_of(bits), "noise"
    ),
    "NumPy's noise only in training": Case(
        fresh(noisy(MLP, numpy_only_in_training)), vanilla, "noise", also="modes"
    ),
    "noise from U(0, 1)": Case(fresh(noisy(MLP, uniform)), vanilla, "noise"),
    "noise seeded anew": Case(trained(noisy(Conv, seeded_anew)), vanilla, "noise"),
    "noise times zero": Case(fresh(noisy(MLP, times_zero)), vanilla, "noise"),
    "Normal.sample": Case(fresh(noisy(MLP, sampled)), mean_of(bits), "detached"),
    "torch.normal": Case(trained(noisy(Conv, by_normal)), vanilla, "detached"),
    "z under no_grad": Case(trained(noisy(MLP, under_no_grad)), vanilla, "detached"),
    "sigma detached": Case(fresh(noisy(Conv, sigma_detached)), mean_of(bits), "detached"),
    "mu.data": Case(fresh(noisy(MLP, mean_detached)), vanilla, "detached"),
    # pixels
    "standardized digits": Case(
        fresh(MLP, linear), mean_of(logits), "targets", standardized
    ),
    "digits from -1 to 1": Case(trained(Conv), mean_of(custom_bits), "targets", signed),
    "digits from 0 to 255": Case(
        fresh(Conv, linear), mean_of(logits), "targets", bytes_as_floats
    ),
    "standardized digits, refused": Case(trained(MLP), vanilla, "targets", standardized),
    "sigmoid, then a loss on logits": Case(fresh(MLP), mean_of(logits), "range"),
    "sigmoid, then a loss on logits, trained": Case(trained(Conv), mean_of(logits), "range"),
    "two sigmoids": Case(trained(MLP, twice), vanilla, "range"),
    "two sigmoids, one in the loss": Case(
        fresh(Conv, linear), mean_of(logits_of_sigmoid), "range"
    ),
    "logits as probabilities": Case(fresh(MLP, linear), vanilla, "range"),
    "logits as probabilities, by hand": Case(
        trained(Conv, linear), mean_of(custom_bits), "range"
    ),
    "logits as probabilities, clamped": Case(
        fresh(Conv, linear), mean_of(clamped_bits), "range"
    ),
    "tanh as probabilities": Case(trained(MLP, torch.tanh), mean_of(clamped_bits), "range"),
    "squares": Case(fresh(MLP), mean_of(squares), "likelihood"),
    "squares, halved": Case(trained(Conv), mean_of(squares, 2.0), "likelihood", also="kl weight"),
    "absolute values": Case(
        fresh(Conv), mean_of(lambda r, x: (r - x).abs().flatten(1).sum(1)), "likelihood"
    ),
    "recon and x swapped": Case(
        fresh(MLP), mean_of(lambda recon, x: bits(x.view_as(recon), recon)), "likelihood",
        also="not finite",
    ),
    # what else
    "dropout, trained": Case(trained(Dropping), vanilla, "modes"),
    "BatchNorm in the decoder": Case(fresh(NormedMLP), vanilla, "modes"),
    "BatchNorm, convolutions": Case(fresh(Normed, linear), mean_of(logits), "modes"),
    "log by hand": Case(fresh(MLP), naive_log, "not finite"),
    "log of sigmoid by hand": Case(trained(Conv, linear), naive_logits, "not finite"),
    "exponentials by hand": Case(trained(MLP), with_kl(naive_sigma), "not finite"),
    "weights that are NaN": Case(
        lambda: _spoiled(fresh(Conv)()), vanilla, "not finite"
    ),
}  # fmt: skip
NOTES = {"likelihood", "modes", "kl weight", "batch sum", "free bits", "batch term"}
SWAPPED = "recon and x swapped"  # a likelihood that cannot be meant
MAY_BE_NOTE = {"KL without 1/2"}  # the same as beta = 2, so it may be meant


def _spoiled(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model.logvar.bias[0] = math.nan
    return model


@cache
def digits() -> Tensor:
    return load_mnist("5k").test[:32]


def images_for(model: nn.Module, case: Case) -> Tensor:
    x = case.images(digits())
    return x if getattr(model, "flat", True) else x.view(-1, 1, 28, 28)


@cache
def outcome(name: str) -> Checkup:
    case = (CORRECT | PLANTED)[name]
    model = case.model()
    return checkup(model, case.loss, images_for(model, case))


def names(text: str) -> set[str]:
    return set(filter(None, text.split(", ")))


def found(name: str, level: str | None = None) -> set[str]:
    findings = outcome(name).findings
    return {f.name for f in findings if level in (None, f.level)}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_vae_has_no_fault(name: str) -> None:
    result = outcome(name)
    assert result.ok, result
    assert found(name) - USUAL == names(CORRECT[name].names) - USUAL, result
    assert names(CORRECT[name].names) <= found(name), result


@pytest.mark.parametrize("name", CORRECT | PLANTED)
def test_an_overflow_is_a_note_where_nothing_prevents_it(name: str) -> None:
    case, result = (CORRECT | PLANTED)[name], outcome(name)
    level = next((f.level for f in result.findings if f.name == "not finite"), "")
    if "not finite" in names(case.names) | names(case.also):
        assert level == "fault"
    elif "not finite" in result.not_checked:
        assert name == "sigma^2 given to Normal" or result.not_checked.keys() & {"free bits"}
    else:
        assert level == ("" if name in BOUNDED else "note"), result


def test_the_noise_is_really_checked() -> None:
    known = {"noise", "variance", "detached"}
    assert len(CORRECT) - len(Z_UNKNOWN) >= 12
    for name in CORRECT.keys() - Z_UNKNOWN:
        assert known <= {*outcome(name).right}, outcome(name)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name: str) -> None:
    case, result = PLANTED[name], outcome(name)
    assert names(case.names) <= found(name), result
    assert found(name) - names(case.names) - names(case.also) <= USUAL, result
    if name not in MAY_BE_NOTE:
        assert names(case.names) - NOTES <= found(name, "fault"), result
        assert result.ok == (names(case.names) <= NOTES and name != SWAPPED), result


def test_every_finding_has_a_probe_that_settles_it() -> None:
    assert {name for _, names in PROBES.values() for name in names.split(", ")} == KINDS.keys()


def test_every_finding_has_three_variants_of_many_kinds() -> None:
    planted: dict[str, list[tuple[bool, bool]]] = {}
    for case in (*PLANTED.values(), *(c for c in CORRECT.values() if names(c.names) & NOTES)):
        kind = (isinstance(case.model(), Conv), "trained" in case.model.__qualname__)
        for name in names(case.names):
            planted.setdefault(name, []).append(kind)
    assert planted.keys() == KINDS.keys()
    for name, kinds in planted.items():
        assert len(kinds) >= 3, name
        assert {conv for conv, _ in kinds} == {True, False}, f"{name}: MLPs and convolutions"
        assert {old for _, old in kinds} == {True, False}, f"{name}: fresh and trained"


SEEN = {  # planted numbers that a message must name
    "mean over pixels": ("pixels averaged", "784"),
    "means of everything": ("pixels averaged", "beta = 98 "),
    "KL mean over dimensions": ("kl averaged", "0.125"),
    "KL mean over the batch": ("kl averaged", "0.0625"),  # of 16
    "KL mean over dimensions, beta 4": ("kl weight", "by 4"),
    "weight B / N": ("kl weight", "0.002133"),
    "weight 0.00025 on mean squares": ("kl weight", "by 0.00025"),
    "the original's soft bits": ("batch size", "divided by 128"),
    "KL by a global batch size": ("batch size", "divided by 64"),
    "log-likelihood as loss": ("kl sign", "D has the weight -1, the KL 1"),
    "1/2 for a part": ("kl formula", "0.5 times"),
    "terms swapped": ("kl formula", "-1 times"),
    "KL of sigma^4": ("variance", "for log sigma in sigma^2 and for log sigma^2"),
    "sigma^2 as sigma": ("variance", "as if it were log sigma"),
    "one draw for the batch": ("noise", "(8,)"),
    "noise only in training": ("noise", "In eval mode"),
    "sigma detached": ("detached", "of logvar"),
    "standardized digits": ("targets", "-0.424 to 2.82"),
    "digits from 0 to 255": ("targets", "0 to 255"),
    "squares": ("likelihood", "sigma = 0.707;"),
    "mean of squares": ("likelihood", "sigma = 19.8;"),
    "Gaussian, sigma 0.1": ("likelihood", "sigma = 0.1;"),
    "Gaussian, sigma learned": ("likelihood", f"sigma = {math.exp(-1.5):.3g};"),
    "beta-VAE": ("kl weight", "beta = 4 "),
    "free bits": ("free bits", "weighs 0 of"),
    "MLP, sum, trained": ("not finite", "below 88.7,"),
    "float64": ("not finite", "below 710,"),
    "log sigma throughout": ("not finite", "below 44.4,"),
}


@pytest.mark.parametrize(
    ("name", "cheap"), [("means of everything", False), ("KL mean over dimensions", True)]
)
def test_a_kl_that_is_averaged_is_too_cheap_only_below_beta_1(name: str, cheap: bool) -> None:
    (finding,) = (f for f in outcome(name).findings if f.name == "kl averaged")
    assert ("too cheap" in finding.message) is cheap


@pytest.mark.parametrize("name", SEEN)
def test_the_message_has_the_planted_number(name: str) -> None:
    kind, number = SEEN[name]
    finding = next(f for f in outcome(name).findings if f.name == kind)
    assert number in finding.message
    assert finding.message.endswith(KINDS[kind][1])
    assert finding.section == KINDS[kind][0]


def test_the_hidden_beta_is_that_of_the_residuals() -> None:
    case = CORRECT["summed squares"]
    model = case.model()
    torch.manual_seed(3)
    recon = model(digits())[0]
    error = (recon - digits()).square().mean()  # another draw of z changes it by some percent
    message = next(f.message for f in outcome("summed squares").findings if f.name == "likelihood")
    hidden = re.search(r"KL weighs ([\d.]+)\. ", message)
    assert float(hidden[1]) == pytest.approx(0.5 / error.item(), rel=0.05)


@pytest.mark.parametrize("name", CORRECT | PLANTED)
def test_every_name_is_found_or_right_or_not_checked(name: str) -> None:
    result = outcome(name)
    parts = [{f.name for f in result.findings}, {*result.right}, result.not_checked.keys()]
    assert set.union(*map(set, parts)) == KINDS.keys()
    assert sum(map(len, parts)) == len(KINDS)
    assert [f.level for f in result.findings] == sorted(f.level for f in result.findings)


# --- what could not be checked --------------------------------------------------------------------


def numpy_noise(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.from_numpy(np.random.randn(*mu.shape)).to(mu) * (0.5 * logvar).exp()


def inverse_cdf(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.special.ndtri(torch.rand_like(mu)) * (0.5 * logvar).exp()


def mean_of_five(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return (mu + torch.randn(5, *mu.shape) * (0.5 * logvar).exp()).mean(0)


def exponential(model: nn.Module, mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + (torch.empty_like(mu).exponential_() - 1) * (0.5 * logvar).exp()


@pytest.mark.parametrize("step", [numpy_noise, inverse_cdf, mean_of_five, exponential])
def test_noise_out_of_reach_is_not_called_right(step: Callable[..., Tensor]) -> None:
    result = checkup(noisy(MLP, step)(), mean_of(bits), digits())
    assert result.ok
    assert result.not_checked.keys() >= {"noise", "variance", "detached"}


def test_an_unknown_likelihood_is_not_called_right() -> None:
    def continuous(recon: Tensor, x: Tensor) -> Tensor:
        return -torch.distributions.ContinuousBernoulli(logits=recon).log_prob(x).sum(1)

    result = checkup(MLP(linear), mean_of(continuous), digits())
    assert result.ok
    assert result.not_checked.keys() >= {"likelihood", "kl weight", "range", "targets"}
    assert {"noise", "variance", "detached", "kl formula", "batch size"} <= {*result.right}


def test_a_term_on_the_batch_is_found_whatever_it_draws() -> None:
    model, images = trained(Conv)(), digits().view(-1, 1, 28, 28)
    for seed in range(12):

        def loss(*tensors: Tensor, seed: int = seed) -> Tensor:
            torch.manual_seed(seed)
            return with_kl_too(mmd)(*tensors)

        result = checkup(model, loss, images)
        assert result.ok, result
        assert "batch term" in {f.name for f in result.findings}, result


class Elsewhere(MLP):
    """Holds a tensor of z's size on another device on the way."""

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        mu.to("meta")
        return super().reparameterize(mu, logvar)


def test_a_tensor_on_another_device_does_not_hide_z() -> None:
    result = checkup(fresh(Elsewhere)(), mean_of(bits), digits())
    assert result.ok, result
    assert {"noise", "variance", "detached"} <= {*result.right}


def test_a_frozen_model_is_not_called_attached() -> None:
    assert "detached" in checkup(MLP().requires_grad_(False), vanilla, digits()).not_checked


def test_a_decoder_that_ignores_z_is_not_called_detached() -> None:
    model = MLP()
    nn.init.zeros_(model.fc2.weight)
    result = checkup(model, vanilla, digits())
    assert result.ok
    assert "detached" in result.not_checked


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_makes_no_fault(dtype: torch.dtype) -> None:
    result = checkup(MLP(linear).to(dtype), mean_of(logits), digits().to(dtype))
    assert result.ok, result
    assert {"noise", "detached", "kl formula"} <= {*result.right}


def test_sigmas_that_are_all_one_are_not_called_right() -> None:
    model = MLP()
    for head in (model.logvar, model.mu):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    result = checkup(model, vanilla, digits())
    assert result.ok, result
    assert "variance" in result.not_checked
    assert {"noise", "detached"} <= {*result.right}


def test_a_loss_that_fails_later_leaves_its_probe_out() -> None:
    def picky(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        if len(mu) > 16:
            raise RuntimeError("too many images")
        return vanilla(recon, x, mu, logvar)

    result = checkup(MLP(), picky, digits())
    assert "too many images" in result.not_checked["batch size"]
    assert result.not_checked.keys() >= {"batch sum", "kl weight", "pixels averaged"}
    assert "noise" in result.right


# --- nothing is changed ---------------------------------------------------------------------------


class Counting:
    """A loss that warms up by its own calls, which is a bad habit."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        self.calls += 1
        return (bits(recon, x) + min(1.0, self.calls / 10) * kl(mu, logvar).sum(1)).mean()


def state_of(*modules: nn.Module) -> list[Any]:
    seen: list[Any] = [torch.get_rng_state()]
    for module in (m for top in modules for m in top.modules()):
        seen += [
            module.training,
            {*vars(module)},
            {k: len(v) for k, v in vars(module).items() if "hooks" in k},
        ]
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            grad = None if tensor.grad is None else tensor.grad.clone()
            seen += [id(tensor), tensor.detach().clone(), grad, tensor.requires_grad]
    return seen


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


CHANGING = {
    "BatchNorm": (Normed, mean_of(bits)),
    "attributes": (Extended, mean_of(bits)),
    "seeds": (noisy(MLP, seeded_anew), vanilla),
    "dropout": (Dropping, LearnedSigma()),
    "a failing loss": (MLP, lambda recon, x, mu, logvar: recon),
}


@pytest.mark.parametrize("name", CHANGING)
def test_nothing_is_changed(name: str) -> None:
    kind, loss = CHANGING[name]
    model = fresh(kind)().train()
    model.fc3.eval() if hasattr(model, "fc3") else model.down.eval()  # a mode within another
    images = digits() if kind.flat else digits().view(-1, 1, 28, 28)
    model(images)[0].sum().backward()
    handle = model.register_forward_hook(lambda *_: None)
    modules = [model, *([loss] if isinstance(loss, nn.Module) else [])]
    before, pixels = state_of(*modules), images.clone()
    if name == "a failing loss":
        with pytest.raises(ValueError, match="loss must give a scalar"):
            checkup(model, loss, images)
    else:
        checkup(model, loss, images)
    after = state_of(*modules)
    assert len(before) == len(after)
    assert all(map(same, before, after))
    assert torch.equal(pixels, images)
    handle.remove()
    assert not model._forward_hooks


def test_a_loss_that_counts_goes_on_where_it_was() -> None:
    loss = Counting()
    loss(*_with(digits(), fresh(MLP)()(digits())))
    result = checkup(fresh(MLP)(), loss, digits())
    assert loss.calls == 1
    assert "beta = 0.2 " in next(f.message for f in result.findings if f.name == "kl weight")


def test_a_traced_model_is_refused_for_what_it_is() -> None:
    traced = torch.jit.trace(MLP(), digits(), check_trace=False)
    with pytest.raises(ValueError, match=r"torch\.jit\.trace"):
        checkup(traced, vanilla, digits())
    assert checkup(torch.jit.script(MLP()), vanilla, digits()).ok


def test_a_loss_from_before_can_still_go_backward() -> None:
    model = fresh(MLP)()
    value = vanilla(*_with(digits(), model(digits())))
    checkup(model, vanilla, digits())
    value.backward()
    assert model.fc1.weight.grad.abs().sum() > 0


def test_the_same_words_again_and_under_no_grad() -> None:
    model = trained(MLP)()
    first = checkup(model, vanilla, digits())
    torch.manual_seed(99)
    with torch.no_grad():
        assert repr(checkup(model.eval(), vanilla, digits())) == repr(first)


# --- what is shown --------------------------------------------------------------------------------


def test_the_table_shows_findings_then_right_then_not_checked() -> None:
    result = outcome("weight 0.00025 on mean squares")
    text = repr(result)
    order = [text.index(word) for word in ("kl weight", "checked and right", "not checked")]
    assert order == sorted(order)
    assert text.startswith("note")
    assert max(map(len, text.splitlines())) <= 100
    assert "See lesson 2, “{}”".format(SECTIONS["weight"][1]) in " ".join(text.split())
    assert repr(outcome("mean over pixels")).startswith("fault")


def test_the_table_of_a_notebook_says_the_same() -> None:
    result = checkup(
        MLP(), lambda recon, x, mu, logvar: (recon * 0 + 1).sum() + kl(mu, logvar).sum(), digits()
    )
    page = result._repr_html_()
    for finding in result.findings:
        assert f">{finding.name}<" in page
    assert page.count("<tr>") == page.count("</tr>") == len(result.findings) + 2
    result.not_checked["noise"] = "a < b"
    assert "a &lt; b" in result._repr_html_()


def test_every_section_is_in_its_lesson() -> None:
    headings = {
        (number(path), line.lstrip("#").strip())
        for path in LESSONS
        for cell in markdown_cells(read(path))
        for line in cell.source.splitlines()
        if line.startswith("#")
    }
    assert {*SECTIONS.values()} <= headings
    assert {section for section, _ in KINDS.values()} == SECTIONS.keys()


def test_it_takes_at_most_a_second_on_the_original() -> None:
    model, start = Original(), time.process_time()  # of one thread, whatever else runs
    checkup(model, vanilla, digits())
    assert time.process_time() - start < 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_findings() -> None:
    different = []
    for name, case in (CORRECT | PLANTED).items():
        model, loss = case.model().cuda(), case.loss
        images = images_for(model, case).cuda()
        if isinstance(loss, nn.Module):
            loss = copy.deepcopy(loss).cuda()
        if isinstance(loss, partial) and "gamma" in loss.keywords:
            loss = partial(loss.func, gamma=loss.keywords["gamma"].cuda())
        state = torch.cuda.get_rng_state()  # the models are made with a seed of their own
        with torch.device("cuda"):  # for noise that the models make without a device
            result = checkup(model, loss, images)
        if not torch.equal(state, torch.cuda.get_rng_state()):
            different.append(f"{name}: another random state")
        here, there = levels(outcome(name)), levels(result)
        if here != there:
            seen = f"on the CPU only {here - there}, there only {there - here}"
            different.append(f"{name}: {seen}; not checked: {result.not_checked}")
    assert not different, "\n".join(different)


def levels(result: Checkup) -> set[tuple[str, str]]:
    """Each name with its level, "right" or "not checked"."""
    found = {(f.name, f.level) for f in result.findings}
    found |= {(name, "right") for name in result.right}
    return found | {(name, "not checked") for name in result.not_checked}
