"""A latent-variable model small enough that everything about it is known exactly.

One latent number z and one observed number x:

    z ~ N(0, 1),    x | z ~ N(weight z + bias, noise^2).

Evidence, posterior, ELBO and gap all have closed forms, so every identity of the lessons can be
checked to rounding instead of believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import as_double, check_range

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class GaussianToy:
    """The linear-Gaussian model with one latent and one observed dimension.

    Args:
        weight: slope of the mean of x in z.
        bias: mean of x at z = 0.
        noise: standard deviation of x given z, > 0.

    Raises:
        TypeError: if an argument is no number.
        ValueError: if ``noise`` is not positive or an argument is not finite.

    Source:
        Bishop (2006), Pattern Recognition and Machine Learning, Section 2.3.3.
    """

    weight: float = 1.5
    bias: float = 0.5
    noise: float = 0.8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_range(name, value, 0 if name == "noise" else -math.inf, math.inf, "()")

    def log_likelihood(self, x: float | Tensor, z: float | Tensor) -> Tensor:
        """log p(x|z), nats; x and z broadcast."""
        return _log_normal(as_double(x), self.weight * as_double(z) + self.bias, self.noise)

    def log_evidence(self, x: float | Tensor) -> Tensor:
        """log p(x), nats, in the shape of x: x is N(bias, weight^2 + noise^2)."""
        return _log_normal(as_double(x), self.bias, math.hypot(self.weight, self.noise))

    def posterior(self, x: float | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(z|x), each in the shape of x."""
        precision = 1 + (self.weight / self.noise) ** 2
        mean = self.weight * (as_double(x) - self.bias) / self.noise**2 / precision
        return mean, torch.full_like(mean, precision**-0.5)

    def elbo(self, x: float | Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
        """The bound for q(z) = N(mean, std^2), exactly.

        Args:
            x, mean, std: broadcast against each other; std > 0.

        Returns:
            E_q[log p(x|z)] - KL(q || p(z)), nats.

        Raises:
            ValueError: if ``std`` is not positive.
        """
        mean, std = as_double(mean), as_double(std, positive=True)
        spread = 0.5 * (self.weight * std / self.noise) ** 2  # what the noise in z costs
        return self.log_likelihood(x, mean) - spread - _kl(mean, std, 0.0, 1.0)

    def gap(self, x: float | Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
        """KL(q(z) || p(z|x)) for q(z) = N(mean, std^2), nats, by its own closed form.

        Args:
            x, mean, std: broadcast against each other; std > 0.

        Returns:
            What the bound misses, >= 0; zero where q is the posterior.

        Raises:
            ValueError: if ``std`` is not positive.
        """
        return _kl(as_double(mean), as_double(std, positive=True), *self.posterior(x))


def _log_normal(x: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    std = as_double(std)
    return -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * LOG_2PI


def _kl(m1: Tensor, s1: Tensor, m2: float | Tensor, s2: float | Tensor) -> Tensor:
    """KL(N(m1, s1^2) || N(m2, s2^2)) in one dimension."""
    m2, s2 = as_double(m2), as_double(s2)
    return (s2 / s1).log() + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
