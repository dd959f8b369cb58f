"""A short animation of the latent explorer; `make figures` writes it as a GIF."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import nn

from .data import Digits
from .plotting import COLORS, use_style
from .widgets import LatentExplorer

MOVED = 5  # sliders
FRAMES = 16  # for each slider
REACH = 2.5


def preview(model: nn.Module, digits: Digits, digit: int = 3, example: int = 2) -> FuncAnimation:
    """Move the most informative dimensions of a digit, and one dead one, there and back.

    Args:
        model: a trained VAE.
        digits: a test image of them is shown.
        digit: its class.
        example: its number within the class.

    Returns:
        The animation; what it shows is what `LatentExplorer` decodes.
    """
    explorer = LatentExplorer(model, digits, used=MOVED - 1, dead=1)
    explorer.set(digit=digit, example=example)
    start = [explorer.values[name] for name in explorer.names]
    with mpl.rc_context():
        use_style()
        figure = Figure(figsize=(8.2, 3.1), dpi=100)
        FigureCanvasAgg(figure)
        tracks, shown = figure.subplots(1, 2, width_ratios=[1.7, 1])
        dots = _draw_tracks(tracks, [explorer.label(d) for d in explorer.dims])
        image = shown.imshow(np.zeros((28, 28)), cmap="gray", vmin=0, vmax=1)
        shown.set(xticks=[], yticks=[], title="decoded")
        figure.draw_without_rendering()
    figure.set_layout_engine("none")

    def frame(number: int) -> list[Artist]:
        values = _positions(start, number)
        dots.set_data(values, range(len(values)))
        z = explorer.latent(digit, example, dict(zip(explorer.names, values)))
        image.set_data(explorer.decode(z.unsqueeze(0))[1].reshape(28, 28))
        return [dots, image]

    return FuncAnimation(figure, frame, frames=MOVED * FRAMES, interval=90)


def _draw_tracks(ax: Axes, labels: list[str]) -> Line2D:
    """One line for each slider, labelled; the dots on them come back."""
    for row in range(len(labels)):
        ax.plot([-4, 4], [row, row], color="#BBBBBB", lw=5, solid_capstyle="round")
    ax.set(xlim=(-4.3, 4.3), ylim=(len(labels) - 0.5, -0.5), xlabel="$z$")
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax.plot([], [], "o", ms=14, color=COLORS["elbo"])[0]


def _positions(start: list[float], number: int) -> list[float]:
    """Where the sliders are in a frame: one of them swings once through, the others rest."""
    moving, phase = divmod(number, FRAMES)
    values = list(start)
    swing = math.sin(2 * math.pi * phase / FRAMES)
    values[moving] += abs(swing) * (math.copysign(REACH, swing) - start[moving])
    return values
