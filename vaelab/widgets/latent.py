"""The latent space of a trained VAE, one slider to a dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import check_sizes
from ..data import Digits
from ..losses import bernoulli_nll
from ..plotting import image_rows, traversals
from .explorer import (
    Explorer,
    Figure,
    as_bytes,
    check_value,
    choice,
    module_text,
    noise,
    packed,
    rate_of,
    slider,
    square_images,
)  # fmt: skip

VIEWS = {"one": "one digit", "grid": "dimensions", "between": "between two"}
STEP = 0.05  # of a slider
GRID = np.linspace(-3, 3, 7)
SHARES = np.linspace(0, 1, 11)
PER_CLASS = 20


class LatentExplorer(Explorer):
    """Move the latent dimensions of a digit, the informative ones first, and see it decoded.

    Choose a test digit or draw one. Three views: one digit beside its input and its
    reconstruction; a grid with one dimension to a row; the way from one digit to another.

    Args:
        model: a trained `VAE`; training it further changes nothing here.
        digits: the first test images of each class are offered; the KL of a dimension is its
            average over all test images.
        used: how many dimensions get a slider because their KL is large.
        dead: how many get one because it is small, for comparison.

    Raises:
        TypeError: if the model is not a VAE that a browser can run.
        ValueError: if the test images do not fit it, or a count is negative.
    """

    _esm = module_text("latent")

    def __init__(self, model: nn.Module, digits: Digits, *, used: int = 8, dead: int = 2) -> None:
        self.model, weights = packed(model)
        test, labels, self.side = square_images(digits, self.model)
        mu, logvar = self.encode(test)  # (N, D), (N, D)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).mean(dim=0)  # (D,)
        self.dims = most_and_least(kl, used, dead)
        chosen = {int(c): (labels == c).nonzero().flatten()[:PER_CLASS] for c in labels.unique()}
        rows = torch.cat(list(chosen.values()))  # (M,)
        self.images, place = test[rows], iter(range(len(rows)))  # (M, P)
        self.rows = {label: [next(place) for _ in found] for label, found in chosen.items()}
        self.reach = max(3.0, math.ceil(float(mu[rows][:, self.dims].abs().max())))
        self.names = [f"z[{d}]: {kl[d]:.2f} nats" for d in self.dims]
        first = dict(zip(self.dims, self._places(mu[rows[0]])))
        super().__init__(
            self._controls(first),
            images=as_bytes(self.images),
            side=self.side,
            rows=self.rows,
            dims=self.dims,
            names=[f"z[{d}]" for d in self.dims],
            reach=self.reach,
            step=STEP,
            **weights,
        )

    def _controls(self, first: Mapping[int, float]) -> dict[str, dict[str, Any]]:
        """Every control; ``first`` says where the sliders of z start."""
        classes = {label: "all" if label < 0 else str(label) for label in self.rows}
        last = max(map(len, self.rows.values())) - 1
        controls = {
            "view": choice("show", "one", VIEWS),
            "digit": choice("digit", min(classes), classes),
            "example": slider("example of it, no.", 0, 0, max(1, last), 1),
            "to_digit": choice("to digit", max(classes), classes),
            "to_example": slider("example of it, no.", 0, 0, max(1, last), 1),
            "mix": slider("share of the way", 0.5, 0.0, 1.0, 0.05),
            "sample": slider("sample of q(z|x), no.; 0 is the mean", 0, 0, 9999, 1),
            "drawing": {"label": "a digit of your own", "value": None},
        }
        for d, name in zip(self.dims, self.names):
            z = slider(name, first[d], -self.reach, self.reach, STEP, row=True)
            controls[f"z[{d}]"] = z
        return controls

    def _check(self, values: Mapping[str, Any]) -> None:
        super()._check({name: value for name, value in values.items() if name != "drawing"})
        drawing, pixels = values.get("drawing"), self.side**2
        if drawing is not None:
            if not isinstance(drawing, list) or len(drawing) != pixels:
                raise ValueError(
                    f"drawing must be a list of {pixels} bytes or None, got {drawing!r}"
                )
            for byte in drawing:
                check_value("every pixel of drawing", byte, {"min": 0, "max": 255, "step": 1})

    def follow(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Another digit takes the sliders along to the mean of its q(z|x), a sample to its z."""
        changes = dict(changes)
        if {"digit", "example"} & changes.keys():
            changes.setdefault("drawing", None)
        if {"digit", "example", "drawing"} & changes.keys():
            changes.setdefault("sample", 0)
        if "sample" in changes and not {f"z[{d}]" for d in self.dims} <= changes.keys():
            z = self._places(self._drawn({**self.values, **changes}))
            for d, value in zip(self.dims, z):
                changes.setdefault(f"z[{d}]", value)
        return changes

    def _places(self, z: Tensor) -> list[float]:
        """Where the sliders are for a z (D,): at the nearest step."""
        steps = [math.floor(float(z[d]) / STEP + 0.5) * STEP for d in self.dims]
        return [round(max(-self.reach, min(self.reach, value)), 2) for value in steps]

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of images (N, P), each (N, D)."""
        return self.model.encode(x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Logits (N, P) of latents (N, D)."""
        return self.model.decode(z)

    def image(self, digit: int, example: int) -> Tensor:
        """(1, P) one of the images that are offered."""
        rows = self.rows[digit]
        return self.images[[rows[int(example) % len(rows)]]]

    def input(self, values: Mapping[str, Any]) -> Tensor:
        """(1, P) the drawing, or the chosen digit."""
        if values["drawing"] is None:
            return self.image(values["digit"], values["example"])
        return torch.tensor([values["drawing"]], dtype=torch.float32) / 255

    def _drawn(self, values: Mapping[str, Any]) -> Tensor:
        """(D,) the sample of q(z|x)."""
        mu, logvar = self.encode(self.input(values))  # (1, D), (1, D)
        epsilon = torch.from_numpy(noise(int(values["sample"]), mu.shape[1])).float()
        return (mu + (0.5 * logvar).exp() * epsilon)[0]

    def latent(self, values: Mapping[str, Any]) -> Tensor:
        """(D,) the sample, with the dimensions that have sliders where the sliders are."""
        z = self._drawn(values)
        z[self.dims] = torch.tensor([float(values[f"z[{d}]"]) for d in self.dims])
        return z

    def way(self, values: Mapping[str, Any], shares: Any) -> Tensor:
        """(S, D) points on the straight line between the means of two digits."""
        other = self.image(values["to_digit"], values["to_example"])
        first, last = self.encode(self.input(values))[0], self.encode(other)[0]  # (1, D)
        return first + torch.as_tensor(shares).float()[:, None] * (last - first)

    def read_out(self, **values: Any) -> dict[str, float]:
        """Distortions of the pictures and the rate of the input, in nats."""
        x = self.input(values)
        if values["view"] == "between":
            logits = self.decode(self.way(values, [values["mix"]]))  # (1, P)
            other = self.image(values["to_digit"], values["to_example"])
            ends = {"distortion_from": x, "distortion_to": other}
            return {name: float(bernoulli_nll(logits, end)) for name, end in ends.items()}
        mu, logvar = self.encode(x)
        return {
            "distortion": float(bernoulli_nll(self.decode(self.latent(values)[None]), x)),
            "distortion_at_mu": float(bernoulli_nll(self.decode(mu), x)),
            "rate": float(rate_of(mu, logvar)),
        }

    def pixels(self, **values: Any) -> np.ndarray:
        """(P,) pixel means decoded at the sliders or, between two digits, on the way."""
        values = self.completed(values)
        between = values["view"] == "between"
        z = self.way(values, [values["mix"]]) if between else self.latent(values)[None]
        return self.decode(z).sigmoid()[0].numpy()

    def traverse(self, values: Mapping[str, Any]) -> np.ndarray:
        """(rows, 7, P) pixel means, one dimension at a time moved from -3 to 3."""
        grid = self.latent(values).repeat(len(self.dims), len(GRID), 1)  # (rows, 7, D)
        for row, d in enumerate(self.dims):
            grid[row, :, d] = torch.tensor(GRID)
        return self.decode(grid).sigmoid().numpy()

    def snapshot(self, **values: Any) -> Figure:
        """One digit, the grid, or the way between two digits."""
        view = self.completed(values)["view"]
        self.size = {"one": (9.4, 4.4), "grid": (6.9, 0.62 * len(self.dims) + 0.8)}.get(
            view, (9.6, 1.6)
        )
        return super().snapshot(**values)

    def draw(self, figure: Figure, **values: Any) -> None:
        """What the view shows; for one digit, the sliders beside the pictures."""
        if values["view"] == "grid":
            title = "Each row moves one dimension"
            traversals(self.traverse(values), self.names, GRID, figure.subplots(), title)
        elif values["view"] == "between":
            shown = self.decode(self.way(values, SHARES)).sigmoid()
            labels = [f"{share:.0%}" for share in SHARES]
            image_rows(
                {"decoded": shown}, labels, figure.subplots(), "Between the means of two digits"
            )
        else:
            left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
            self._draw_sliders(left, values)
            x = self.input(values)
            z = torch.cat([self.encode(x)[0], self.latent(values)[None]])
            shown = torch.cat([x, self.decode(z).sigmoid()])
            labels = ["input x", "from the mean", "from the sliders"]
            image_rows({f"digit {values['digit']}": shown}, labels, right)

    def _draw_sliders(self, ax: Any, values: Mapping[str, Any]) -> None:
        mu, logvar = self.encode(self.input(values))
        for row, d in enumerate(self.dims):
            mean, spread = float(mu[0, d]), math.exp(0.5 * float(logvar[0, d]))
            ax.plot([-self.reach, self.reach], [row, row], color="#C9CED6", lw=3)
            ax.plot([mean - spread, mean + spread], [row, row], color="#CC79A7", lw=9, alpha=0.5)
            ax.plot(values[f"z[{d}]"], row, "o", ms=10, color="#0072B2")
        ax.set(ylim=(len(self.dims) - 0.5, -0.5), xlabel="z, with mean and spread of q")
        ax.set_yticks(range(len(self.dims)), self.names)
        ax.grid(False)
        ax.spines[:].set_visible(False)


def most_and_least(kl: Tensor, used: int, dead: int) -> list[int]:
    """The dimensions worth a slider, by falling KL.

    Args:
        kl: (D,) nats.
        used: how many with the largest KL, at least 1.
        dead: how many with the smallest, from 0 on.

    Returns:
        Indices of dimensions; all of them if there are no more than asked for.
    """
    check_sizes(used=used, **({} if isinstance(dead, int) and dead == 0 else {"dead": dead}))
    order = kl.argsort(descending=True).tolist()
    return order if used + dead >= len(order) else order[:used] + order[len(order) - dead :]
