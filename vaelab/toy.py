"""A latent-variable model small enough that everything about it is known exactly.

One latent number z and one observed number x:

    z ~ N(0, 1),    x | z ~ N(weight z + bias, noise^2).

Evidence, posterior, ELBO and gap all have closed forms, so every identity of the lessons can be
checked to rounding instead of believed. Below it, one simulated dimension under a controller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .checks import as_double, check_range, check_sizes

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


# ---------------------------------------------------------- one dimension under a controller


def resting_kl(strength: float, gamma: float) -> float:
    """The KL that pays best for a Gaussian latent dimension when each nat costs gamma.

    A dimension that carries a Gaussian signal of variance s, in units of the noise, leaves the
    distortion 0.5 s exp(-2 R) if it spends R nats. The sum of that and gamma R is least at
    R = 0.5 log(s / gamma), or at 0 if this is negative. With strength = 0.5 log s:

        R = max(0, strength - 0.5 log gamma).

    Args:
        strength: the KL at gamma = 1, nats; negative for a dimension that is unused there.
        gamma: weight on the KL; below the smallest positive float32 it counts as that.

    Returns:
        Nats.

    Source:
        Cover and Thomas (2006), Sections 10.3.2 and 10.3.3 (reverse water-filling).
    """
    return max(0.0, strength - 0.5 * math.log(max(gamma, 1.4e-45)))


@torch.inference_mode()
def simulate(
    update: Callable, strength: float, starved: int, steps: int, pace: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Let a controller steer two like dimensions, of which one is starved at first.

    A starved dimension has KL 0 whatever gamma is. Otherwise each step brings the KL nearer to
    `resting_kl` by the share ``pace`` of the distance: a stand-in for gradient descent.

    Args:
        update: what answers to the KL (1, 2) of a batch with gamma (2,), such as the `update` of a
            fresh `SoftFreeBits`.
        strength: see `resting_kl`, nats.
        starved: steps for which dimension 0 is starved.
        steps: length of the run, T.
        pace: in (0, 1].

    Returns:
        KL in nats and gamma at every step, each (T, 2): column 0 is starved, column 1 is not.

    Raises:
        TypeError, ValueError: if a number is out of its range.
    """
    check_range("strength", strength, -math.inf, math.inf, "()")
    check_range("pace", pace, 0, 1, "(]")
    check_range("starved", starved, 0)
    check_sizes(steps=steps)
    kl = [0.0 if starved else max(0.0, strength), max(0.0, strength)]
    kls, gammas = [], []
    for step in range(steps):
        kls.append(kl)
        gammas.append(update(torch.tensor([kl], dtype=torch.float64)).tolist())  # of one image
        kl = [k + pace * (resting_kl(strength, g) - k) for k, g in zip(kl, gammas[-1])]
        kl[0] *= step >= starved
    return np.array(kls), np.array(gammas)
