"""The drawn figures of the lessons, as code; `python -m vaelab.diagrams FOLDER` writes them as PNG.

Each function returns a figure. Positions are in hundreds of pixels or so, from the lower left corner;
colours mean what they mean in `vaelab.plotting`.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from .plotting import BLACK, COLORS, GREY

INK = "#222222"
Point = tuple[float, float]


# ------------------------------------------------------------------------------------------- the pen


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = plt.figure(figsize=(width, height), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return figure, ax


def _text(ax: Axes, at: Point, text: str, size: float = 14, color: str = INK, **style: Any) -> None:
    place = {"ha": "center", "va": "center", "math_fontfamily": "dejavusans", "zorder": 5}
    ax.text(*at, text, size=size, color=color, **{**place, **style})


def _node(ax: Axes, at: Point, text: str, color: str = INK, fill: str = "white") -> Patch:
    """Draw a random variable: a circle with its name."""
    patch = Circle(at, 0.45, facecolor=fill, edgecolor=color, linewidth=2.2, zorder=3)
    _text(ax, at, text, size=20)
    return ax.add_patch(patch)


def _box(
    ax: Axes, at: Point, size: Point, text: str = "", color: str = INK, tint: float = 0.16, font: float = 14
) -> Patch:
    """Draw something computed: a rounded box, tinted with its colour."""
    corner = (at[0] - size[0] / 2, at[1] - size[1] / 2)
    style = {"facecolor": _tint(color, tint), "edgecolor": color, "linewidth": 2, "zorder": 3}
    patch = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.14", **style)
    _text(ax, at, text, size=font)
    return ax.add_patch(patch)


def _region(ax: Axes, low: Point, high: Point, color: str, tint: float = 0.0) -> None:
    """Draw a plate, or a tinted area, behind everything else."""
    size = (high[0] - low[0], high[1] - low[1])
    style = {"facecolor": _tint(color, tint), "edgecolor": color if tint == 0 else "none", "linewidth": 1.8}
    box = "round,pad=0,rounding_size=0.2"
    ax.add_patch(FancyBboxPatch(low, *size, boxstyle=box, zorder=1, **style))


def _tint(color: str, amount: float) -> tuple[float, float, float]:
    """Mix a colour with white, so that what lies below does not shine through."""
    red, green, blue, _ = to_rgba(color)
    return tuple(1 - amount * (1 - c) for c in (red, green, blue))  # type: ignore[return-value]


def _arrow(
    ax: Axes, start: Patch | Point, end: Patch | Point, color: str = INK, bend: float = 0.0, **style: Any
) -> None:
    """Draw an arrow between the edges of two patches, or between points; bend > 0 curves to the right."""
    a, b = (_center(p) if isinstance(p, Patch) else p for p in (start, end))
    clip = {k: p for k, p in (("patchA", start), ("patchB", end)) if isinstance(p, Patch)}
    shape = {"arrowstyle": "-|>", "mutation_scale": 20, "linewidth": 2, "shrinkA": 2, "shrinkB": 2, "zorder": 2}
    curve = f"arc3,rad={bend}"
    ax.add_patch(FancyArrowPatch(a, b, connectionstyle=curve, color=color, **{**shape, **clip, **style}))


def _center(patch: Patch) -> Point:
    box = patch.get_path().get_extents(patch.get_patch_transform())
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


# ----------------------------------------------------------------------------------------- the figures


def graphical_model() -> Figure:
    """Draw the latent variable model in plate notation, and the approximate posterior, dashed.

    Returns:
        the Figure: z -> x inside a plate of N images, theta -> x outside it, dashed phi -> z and x -> z.

    Source: Kingma and Welling 2014, Fig. 1.
    """
    figure, ax = _canvas(8.4, 5)
    _region(ax, (2.2, 0.45), (5.0, 4.6), INK)
    _text(ax, (4.6, 0.8), "$N$", size=18)
    z = _node(ax, (3.6, 3.7), "$z$")
    x = _node(ax, (3.6, 1.6), "$x$", fill="#D0D0D0")
    decoder, encoder = COLORS["decoder"], COLORS["encoder"]
    theta, phi = _box(ax, (6.0, 1.6), (0.7, 0.7), r"$\theta$", decoder, font=20), None
    phi = _box(ax, (1.0, 3.7), (0.7, 0.7), r"$\varphi$", encoder, font=20)
    _arrow(ax, z, x, bend=-0.25)
    _arrow(ax, theta, x)
    _arrow(ax, phi, z, encoder, linestyle=(0, (4, 2)))
    _arrow(ax, x, z, encoder, bend=-0.25, linestyle=(0, (4, 2)))
    left: dict[str, Any] = {"ha": "left"}
    _text(ax, (5.35, 4.25), "prior, no parameters", **left)
    _text(ax, (5.35, 3.8), r"$p(z) = \mathcal{N}(0, I)$", size=17, **left)
    _text(ax, (5.35, 2.9), "likelihood: the decoder", **left)
    _text(ax, (6.55, 1.6), r"$p_\theta(x \mid z)$", size=17, **left)
    _text(ax, (0.1, 2.6), "approximate\nposterior:\nthe encoder", color="#9A4A78", **left)
    _text(ax, (0.1, 1.55), r"$q_\varphi(z \mid x)$", size=17, color="#9A4A78", **left)
    _text(ax, (5.35, 0.75), "grey: observed,  white: latent", size=13, color="#555555", **left)
    return figure
