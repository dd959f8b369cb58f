"""Models trained with different betas, side by side: pictures, samples, and the plane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks import check_range
from ..data import Digits
from ..losses import bernoulli_nll
from ..plotting import COLORS, image_rows
from .explorer import (
    Explorer,
    Figure,
    as_bytes,
    choice,
    module_text,
    packed,
    rate_of,
    slider,
    square_images,
)  # fmt: skip

COLUMNS = 8
GROUPS = 4  # of eight test images
DRAWS = 4  # of sixteen z


class BetaExplorer(Explorer):
    """Walk through models that were trained with different betas; nothing is trained here.

    The pictures are made once and stored as bytes: several decoders would weigh megabytes.

    Args:
        models_by_beta: trained VAEs by the beta of their training.
        digits: the first test images are reconstructed; all of them give rate and distortion, with
            one sample of z each.

    Raises:
        TypeError: if a model is not a VAE that a browser can run.
        ValueError: if there is no model, a beta is negative, or there are fewer than 8 test images.
    """

    _esm = module_text("beta")

    def __init__(self, models_by_beta: Mapping[float, nn.Module], digits: Digits) -> None:
        models = _sorted_models(models_by_beta)
        self.models = {b: packed(m, f"models_by_beta[{b:g}]")[0] for b, m in models.items()}
        sizes = {int(m.from_latent.in_features) for m in self.models.values()}
        if len(sizes) > 1:
            raise ValueError(f"models_by_beta must share one latent_dim, got {sorted(sizes)}")
        first = next(iter(self.models.values()))
        test, _, self.side = square_images(digits, first, least=COLUMNS)
        self.scores = {beta: score(model, test) for beta, model in self.models.items()}
        groups = min(GROUPS, len(test) // COLUMNS)
        self.images = test[: groups * COLUMNS]  # (G * 8, P)
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(DRAWS * 2 * COLUMNS, sizes.pop(), generator=generator)  # the same for all
        with torch.no_grad():
            self.decoded = {
                beta: torch.cat([m.decode(m.encode(self.images)[0]), m.decode(z)]).sigmoid()
                for beta, m in self.models.items()
            }  # each (G * 8 + 64, P): reconstructions, then samples
        nearest = min(models, key=lambda beta: abs(beta - 1))
        controls = {
            "beta": choice("trained with β", nearest, {beta: f"{beta:g}" for beta in models}),
            "group": slider("test images, eight at a time", 0, 0, max(1, groups - 1), 1),
            "draw": slider("draw of z ~ p(z), no.", 0, 0, DRAWS - 1, 1),
        }
        pictures = torch.cat([self.images, *self.decoded.values()])
        scores = [[beta, score["rate"], score["distortion"]] for beta, score in self.scores.items()]
        super().__init__(
            controls,
            images=as_bytes(pictures),
            side=self.side,
            groups=groups,
            draws=DRAWS,
            scores=scores,
        )

    def read_out(self, beta: float, **_: Any) -> dict[str, float]:
        """Rate, distortion and ELBO of the model at beta = 1, in nats per test image."""
        return {"beta": beta, **self.scores[beta]}

    def pixels(self, **values: Any) -> np.ndarray:
        """(32, P) pixel means: 8 inputs, 8 reconstructions, 16 samples."""
        values = self.completed(values)
        decoded, groups = self.decoded[values["beta"]], len(self.images) // COLUMNS
        start = COLUMNS * (int(values["group"]) % groups)
        samples = len(self.images) + 2 * COLUMNS * int(values["draw"])
        rows = [
            self.images[start:],
            decoded[start:],
            decoded[samples:],
            decoded[samples + COLUMNS :],
        ]
        return torch.cat([row[:COLUMNS] for row in rows]).numpy()

    def snapshot(self, **values: Any) -> Figure:
        """Reconstructions and samples of every model, a row to each, above the plane."""
        self.size = (10.4, 0.62 * (len(self.models) + 1) + 4.0)
        return super().snapshot(**values)

    def draw(self, figure: Figure, **values: Any) -> None:
        """Every model at once: a picture can show what the page shows one after the other."""
        layout: Any = [["decoded", "samples"], ["plane", "plane"]]
        height = 0.62 * (len(self.models) + 1) + 0.6
        parts = figure.subplot_mosaic(layout, height_ratios=[height, 3.4])
        shown = {f"β = {b:g}": self.pixels(**{**values, "beta": b}) for b in self.models}
        inputs = {"input": next(iter(shown.values()))[:COLUMNS]}
        decoded = inputs | {name: rows[COLUMNS : 2 * COLUMNS] for name, rows in shown.items()}
        samples = {name: rows[2 * COLUMNS : 3 * COLUMNS] for name, rows in shown.items()}
        image_rows(decoded, ax=parts["decoded"], title="Decoded from mu")
        image_rows(samples, ax=parts["samples"], title="Decoded from z ~ p(z)")
        parts["decoded"].set_anchor("N")
        parts["samples"].set_anchor("N")
        self._draw_plane(parts["plane"], values["beta"])

    def _draw_plane(self, ax: Any, chosen: float) -> None:
        points = np.array([[s["rate"], s["distortion"]] for s in self.scores.values()])
        ax.plot(points[:, 0], points[:, 1], "o-", color="#888888", lw=1.5, ms=7)
        named: list[np.ndarray] = []  # a name that would lie on another is left out
        apart = 0.06 * np.maximum(np.ptp(points, axis=0), 1e-6)
        for beta, place in zip(self.scores, points):
            if all((abs(place - other) > apart).any() for other in named):
                ax.annotate(f"β = {beta:g}", place, (10, 8), textcoords="offset points", size=13)
                named.append(place)
        score = self.scores[chosen]
        ax.plot(score["rate"], score["distortion"], "o", ms=13, color=COLORS["rate"])
        ax.set(xlabel="rate R in nats", ylabel="distortion D in nats")
        ax.margins(0.2)


@torch.no_grad()
def score(model: Any, images: torch.Tensor) -> dict[str, float]:
    """Rate, distortion and ELBO in nats per image (N, P), with one sample of z for each."""
    mu, logvar = model.encode(images)  # (N, D), (N, D)
    generator = torch.Generator().manual_seed(0)
    z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=generator)  # (N, D)
    distortion = float(bernoulli_nll(model.decode(z), images).mean())
    rate = float(rate_of(mu, logvar).mean())
    return {"rate": rate, "distortion": distortion, "elbo": -distortion - rate}


def _sorted_models(models_by_beta: Mapping[float, nn.Module]) -> dict[float, nn.Module]:
    if not isinstance(models_by_beta, Mapping):
        kind = type(models_by_beta).__name__
        raise TypeError(f"models_by_beta must be a dict {{beta: model}}, got {kind}")
    if not models_by_beta:
        raise ValueError("models_by_beta must hold at least one {beta: trained model}, got {}")
    for beta in models_by_beta:
        check_range("every beta in models_by_beta", beta, 0, math.inf, "[)")
    return dict(sorted(models_by_beta.items()))
