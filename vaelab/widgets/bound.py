"""The bound on one number: D, R and the gap as lengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..plotting import COLORS
from ..toy import GaussianToy
from .explorer import Explorer, Figure, module_text, slider

RATE = 0.1  # of the gradient step: a dozen of them settle


class BoundExplorer(Explorer):
    """Move q and see log p(x), which does not change, split into ELBO and gap.

    Args:
        toy: the one-dimensional model in which all of it is exact.

    Raises:
        TypeError: if ``toy`` is not a GaussianToy.
    """

    _esm = module_text("bound")

    def __init__(self, toy: GaussianToy | None = None) -> None:
        toy = GaussianToy() if toy is None else toy
        if not isinstance(toy, GaussianToy):
            raise TypeError(f"toy must be a GaussianToy, got {type(toy).__name__}")
        self.toy = toy
        reach = round(3 * math.hypot(toy.weight, toy.noise), 1)
        middle = round(toy.bias, 1)
        narrow = max(0.05, round(float(toy.posterior(0.0)[1]) / 2, 2))
        ends = round(middle - reach, 1), round(middle + reach, 1)
        controls = {
            "x": slider("observed x", round(middle + 1, 1), *ends, 0.1),
            "mean": slider("mean of q(z|x)", -1.0, -3.0, 3.0, 0.05),
            "std": slider("standard deviation of q(z|x)", 1.0, narrow, 2.0, 0.01),
        }
        parts = {"weight": toy.weight, "bias": toy.bias, "noise": toy.noise}
        super().__init__(controls, toy=parts, rate=RATE)

    def read_out(self, x: float, mean: float, std: float) -> dict[str, float]:
        """The parts of log p(x) in nats, and where one gradient step would take q."""
        toy = self.toy
        kl = 0.5 * (mean**2 + std**2 - 1) - math.log(std)
        elbo = float(toy.elbo(x, mean, std))
        downhill = toy.weight * (x - toy.weight * mean - toy.bias) / toy.noise**2 - mean
        widen = 1 - std**2 * (1 + (toy.weight / toy.noise) ** 2)  # of the ELBO, by log std
        return {
            "log_evidence": float(toy.log_evidence(x)),
            "elbo": elbo,
            "distortion": -elbo - kl,
            "rate": kl,
            "gap": float(toy.gap(x, mean, std)),
            "next_mean": mean + RATE * downhill,
            "next_std": std * math.exp(RATE * widen),
        }

    def draw(self, figure: Figure, x: float, mean: float, std: float) -> None:
        """Densities above, lengths below."""
        curves, bars = figure.subplots(2, 1, height_ratios=[2, 1])
        z, toy = np.linspace(-4, 4, 401), self.toy
        center, width = map(float, toy.posterior(x))
        likelihood = normal(x, toy.weight * z + toy.bias, toy.noise)
        curves.plot(z, normal(z, 0, 1), ":", color=COLORS["prior"], label="prior $p(z)$")
        curves.plot(z, likelihood, color=COLORS["likelihood"], label="likelihood $p(x|z)$")
        curves.plot(
            z, normal(z, center, width), color=COLORS["posterior"], label="posterior $p(z|x)$"
        )
        curves.plot(z, normal(z, mean, std), "--", lw=3, color=COLORS["q"], label="your $q(z|x)$")
        curves.set(xlim=(-4, 4), ylim=(0, None), xlabel="latent $z$", ylabel="density")
        curves.legend(loc="upper left")
        n = self.read_out(x, mean, std)
        lengths: list[tuple[Any, ...]] = [
            (1, 0, n["distortion"], "distortion", "$D$"),
            (1, n["distortion"], n["rate"], "rate", "$R$"),
            (0, 0, -n["log_evidence"], "evidence", r"$-\log p(x)$"),
            (0, -n["log_evidence"], n["gap"], "gap", "gap"),
        ]
        for row, start, length, meaning, name in lengths:
            bars.barh(row, length, 0.6, start, color=COLORS[meaning], label=f"{name} {length:.2f}")
        bars.axvline(-n["elbo"], color="#555555", ls="--", lw=1.5)
        bars.set(yticks=[], xlabel="nats: $D + R$ = $-$ELBO = $-\\log p(x)$ + gap")
        bars.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.suptitle(f"$x$ = {x:.2f}, $q$ = N({mean:.2f}, {std:.2f}²)")


def normal(z: Any, mean: Any, std: float) -> Any:
    """The density of N(mean, std^2) at z."""
    return np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
