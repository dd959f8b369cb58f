"""A latent space of two dimensions, seen whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Ellipse
from torch import Tensor, nn

from ..data import Digits
from ..losses import bernoulli_nll
from ..plotting import COLORS, CYCLE, image_rows, mosaic
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

STEP = 0.05  # of a slider
SHOWN = 300  # digits on the plane
TILES = 20  # of the plane, each way
MOST = 2.4477  # radius that holds 95 % of N(0, I) in two dimensions
BACKGROUNDS = {"both": "both", "plane": "decoded plane", "digits": "digits"}


class PlaneExplorer(Explorer):
    """See a latent plane decoded, with the test digits on it and the prior's circle around them.

    Hover to decode a point, click a digit to see its q(z|x) as an ellipse.

    Args:
        model: a trained `VAE` with two latent dimensions.
        digits: the first 300 test images are shown.

    Raises:
        TypeError: if the model is not a VAE that a browser can run.
        ValueError: if it has not two latent dimensions, or the test images do not fit it.
    """

    _esm = module_text("plane")
    size = (9.4, 5.0)

    def __init__(self, model: nn.Module, digits: Digits) -> None:
        self.model, weights = packed(model)
        if (latent_dim := int(self.model.from_latent.in_features)) != 2:
            raise ValueError(f"model must have two latent dimensions, got {latent_dim}")
        test, labels, self.side = square_images(digits, self.model)
        self.images, self.labels = test[:SHOWN], labels[:SHOWN].tolist()  # (M, P)
        self.mu, self.logvar = self.encode(self.images)  # (M, 2), (M, 2)
        self.reach = float(min(10, max(3, math.ceil(self.mu.abs().quantile(0.98)))))
        start = [
            round(max(-self.reach, min(self.reach, round(float(m) / STEP) * STEP)), 2)
            for m in self.mu[0]
        ]
        controls = {
            "background": choice("show", "both", BACKGROUNDS),
            "z1": slider("z₁ of the ring", start[0], -self.reach, self.reach, STEP, row=True),
            "z2": slider("z₂ of the ring", start[1], -self.reach, self.reach, STEP, row=True),
            "digit": slider("test digit, no.", 0, 0, max(1, len(self.images) - 1), 1, row=True),
        }
        super().__init__(
            controls,
            images=as_bytes(self.images),
            side=self.side,
            labels=self.labels,
            reach=self.reach,
            step=STEP,
            cycle=CYCLE,
            **weights,
        )

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of images (N, P), each (N, 2)."""
        return self.model.encode(x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Logits (N, P) of latents (N, 2)."""
        return self.model.decode(z)

    def read_out(self, z1: float, z2: float, digit: int, **_: Any) -> dict[str, float]:
        """Distortion of the digit at the ring and at its mean, its rate in nats, and its q."""
        row = slice(int(digit), int(digit) + 1)
        x, mu, logvar = self.images[row], self.mu[row], self.logvar[row]
        std = (0.5 * logvar[0]).exp()  # (2,)
        return {
            "radius": math.hypot(z1, z2),
            "distortion": float(bernoulli_nll(self.decode(torch.tensor([[z1, z2]]).float()), x)),
            "distortion_at_mu": float(bernoulli_nll(self.decode(mu), x)),
            "rate": float(rate_of(mu, logvar)),
            "mu1": float(mu[0, 0]),
            "mu2": float(mu[0, 1]),
            "std1": float(std[0]),
            "std2": float(std[1]),
        }

    def pixels(self, **values: Any) -> np.ndarray:
        """(P,) pixel means decoded at the ring."""
        values = self.completed(values)
        return (
            self.decode(torch.tensor([[values["z1"], values["z2"]]]).float()).sigmoid()[0].numpy()
        )

    def draw(self, figure: Figure, **values: Any) -> None:
        """The plane, and the chosen digit decoded."""
        left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
        reach, n, digit = self.reach, self.read_out(**values), int(values["digit"])
        spots = torch.linspace(-reach + reach / TILES, reach - reach / TILES, TILES)
        plane = torch.cartesian_prod(spots.flip(0), spots).flip(1)  # rows from the top: (T * T, 2)
        tiles = np.nan_to_num(mosaic(self.decode(plane).sigmoid(), TILES, 0), nan=0.0)
        left.imshow(tiles, cmap="gray", vmin=0, vmax=1, extent=(-reach, reach, -reach, reach))
        for place, label in zip(self.mu.tolist(), self.labels):
            color = CYCLE[label % len(CYCLE)] if label >= 0 else COLORS["elbo"]
            left.plot(*place, "o", ms=4, mec="white", mew=0.4, color=color)
        wide, tall = 2 * MOST * n["std1"], 2 * MOST * n["std2"]
        outline = {"fill": False, "lw": 2.5}
        left.add_patch(Ellipse((n["mu1"], n["mu2"]), wide, tall, color=COLORS["q"], **outline))
        left.add_patch(Ellipse((0, 0), 2 * MOST, 2 * MOST, color="white", ls="--", **outline))
        left.plot(values["z1"], values["z2"], "o", ms=13, mfc="none", mew=3, color=COLORS["gap"])
        left.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="$z_1$", ylabel="$z_2$")
        left.grid(False)
        shown = [self.images[digit], self.decode(self.mu[[digit]])[0].sigmoid()]
        shown.append(torch.from_numpy(self.pixels(**values)))
        labels = ["input x", "its mean", "at the ring"]
        image_rows({"": torch.stack(shown)}, labels, right)
