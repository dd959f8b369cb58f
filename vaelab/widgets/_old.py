"""Things to move: every slider redraws one picture, at once.

Each explorer is a box of controls above a picture. What it shows is a pure function of what the
controls say, ``render(...)``; the picture travels to the browser as the bytes of one PNG file.
Decoded images are encoded straight from the array. Curves live in one matplotlib figure that is
drawn once; after that only the artists that move are drawn again.

Nothing queues up while a slider is dragged: the front end of ipywidgets holds back a slider's next
value until the kernel has answered the last one, and of those held back it keeps only the newest.
"""

from __future__ import annotations

import copy
import html
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple

import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.figure
import numpy as np
import torch
from IPython import get_ipython
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from . import schedules
from .checks import check_images, check_kind, check_range
from .data import Digits
from .diagnostics import encode_all
from .losses import bernoulli_nll, gaussian_kl
from .model import VAE
from .objectives import SoftFreeBits
from .plotting import COLORS, image_rows, mosaic, traversals, use_style
from .toy import GaussianToy
from .training import Evaluation, evaluate

CPU = torch.device("cpu")
RANDOM = np.random.default_rng()  # of the Random buttons: a click changes no result of the lesson
LABEL_WIDTH = "11em"
PICTURE = {"max_width": "100%", "align_self": "flex-start"}  # as many pixels as were drawn
TILE = 8  # screen pixels for each pixel of a large image
SMALL = 2  # and of a small one
SIDE = 28


class View(NamedTuple):
    """What an explorer shows.

    Attributes:
        png: the picture, a PNG file.
        text: the read-outs as HTML, with units.
        numbers: the same read-outs as floats.
    """

    png: bytes
    text: str
    numbers: dict[str, float]


# --------------------------------------------------------------------------------- pictures


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode an array as a PNG file, favouring speed over size.

    Args:
        pixels: (H, W) or (H, W, 3), uint8.

    Returns:
        The bytes of the file.
    """
    file = BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def enlarge(images: np.ndarray, columns: int, scale: int, gap: int = 2) -> np.ndarray:
    """Lay images out in rows and repeat every pixel.

    Args:
        images: (N, 784) in [0, 1].
        columns: images per row.
        scale: how often each pixel is repeated, both ways.
        gap: white pixels between images, before the repetition.

    Returns:
        (H, W) uint8, 0 black and 255 white.
    """
    picture = np.nan_to_num(mosaic(images, columns, gap), nan=1.0)  # (h, w)
    grey = (picture * 255).round().astype(np.uint8)
    return grey.repeat(scale, axis=0).repeat(scale, axis=1)


def sheet(width: int, height: int, texts: Mapping[tuple[int, int], str], size: int) -> np.ndarray:
    """A white page with captions, to paste images on.

    Args:
        width: in pixels.
        height: in pixels.
        texts: caption of each place (x, y), where (x, y) is the middle of its left edge.
        size: of the letters, in pixels.

    Returns:
        (height, width) uint8.
    """
    page = Image.new("L", (width, height), 255)
    font = ImageFont.truetype(findfont("DejaVu Sans"), size)
    for place, text in texts.items():
        ImageDraw.Draw(page).text(place, text, fill=0, font=font, anchor="lm")
    return np.array(page)


def paste(page: np.ndarray, x: int, y: int, tile: np.ndarray) -> None:
    """Put a tile on a page, in place, its upper left corner at (x, y)."""
    page[y : y + tile.shape[0], x : x + tile.shape[1]] = tile


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows even if no pyplot has been used before."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@contextmanager
def _styled_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure in the style of the collection; inches of 100 pixels. Draw inside."""
    with mpl.rc_context():
        use_style()
        yield Figure(figsize=(width, height), dpi=100, layout="constrained")


class Plot:
    """A figure that is drawn once; after that only its moving artists are drawn again.

    A subclass builds the axes in ``build``, which returns the artists that move (those in front
    last), and changes them in ``move``.

    Args:
        given: what ``build`` needs.
    """

    size = (9.6, 3.9)  # inches of 100 pixels each
    build: Callable[..., list[Artist]]
    move: Callable[..., None]

    def __init__(self, **given: Any) -> None:
        with _styled_figure(*self.size) as self.figure:
            self.moving = self.build(**given)
            self.canvas = FigureCanvasAgg(self.figure)
            for artist in self.moving:
                artist.set_animated(True)  # left out when the figure is drawn as a whole
                artist.set_in_layout(False)  # what moves must not move the axes
            self.canvas.draw()
            self.figure.set_layout_engine("none")
        self.still = self.canvas.copy_from_bbox(self.figure.bbox)

    def png(self) -> bytes:
        """The picture as it stands."""
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba()))
        return encode_png(np.asarray(picture.convert("RGB")))  # sooner than a slice of the array

    def finished(self, title: str) -> Figure:
        """The figure as an ordinary one, with a title, which draws all of its artists."""
        for artist in self.moving:
            artist.set_animated(False)
        self.figure.suptitle(title, size=13)
        self.figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)
        return self.figure


# ----------------------------------------------------------------------------- the common box


class Explorer(widgets.VBox):
    """Controls above a picture and its read-outs; base of the explorers below.

    Args:
        controls: what can be moved, by name.
        rows: the same in rows, as they are shown.
        buttons: further buttons, label -> what a click does.
    """

    def __init__(
        self,
        controls: dict[str, Any],
        rows: Sequence[Sequence[Any]],
        buttons: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self.controls = controls
        self.picture = widgets.Image(format="png", layout=PICTURE)
        self.readout, self.problem = widgets.HTML(), widgets.HTML()
        self.numbers: dict[str, float] = {}
        actions = {"Reset": self.reset, **(buttons or {})}
        lines = [*rows, [_button(label, action) for label, action in actions.items()]]
        self.rows = [widgets.HBox(line, layout={"flex_flow": "row wrap"}) for line in lines]
        super().__init__([*self.rows, self.readout, self.picture, self.problem])
        for name, control in controls.items():
            control.observe(lambda change, name=name: self._moved(name), names="value")
        with self._together():
            self.follow("")
        self.start = self.values
        _close_earlier(self)

    render: Callable[..., View]  # what is shown for these values of the controls
    figure: Callable[..., Figure]  # the same story as a new figure
    _moving = False  # several controls are being moved together

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}: run this cell to move it; the figure below shows the same without a kernel"

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say."""
        return {name: control.value for name, control in self.controls.items()}

    def snapshot(self, **values: Any) -> Figure:
        """The same story as a figure that needs no kernel.

        Args:
            values: of controls, by name; those not given are taken as they stand.

        Returns:
            A new figure, unknown to pyplot: as the last value of a cell it is shown once.

        Raises:
            KeyError: if a name is not that of a control.
        """
        self._check_names(values)
        return self.figure(**self.values | values)

    def follow(self, name: str) -> None:
        """Adjust controls that depend on the one called ``name``, which has just moved."""

    def set(self, **values: Any) -> None:
        """Move several controls and draw once.

        Args:
            values: of controls, by name.

        Raises:
            KeyError: if a name is not that of a control.
        """
        self._check_names(values)
        with self._together():
            for name, value in values.items():
                self.controls[name].value = value
                self.follow(name)

    def reset(self) -> None:
        """Put every control back to where it was when the explorer was made."""
        self.set(**self.start)

    def close(self) -> None:
        """Take the explorer off the page and let go of its figure; in Python it still answers."""
        for widget in _family(self):
            if widget is not self:
                widget.close()
        super().close()
        for heavy in ("plot", "model", "models"):  # a notebook's Out still holds the box itself
            self.__dict__.pop(heavy, None)

    def _check_names(self, values: Mapping[str, Any]) -> None:
        unknown = [name for name in values if name not in self.controls]
        if unknown:
            raise KeyError(f"no control is called {unknown[0]!r}; there are {list(self.controls)}")

    def _moved(self, name: str) -> None:
        if not self._moving:
            with self._together():
                self.follow(name)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Let controls move inside, then draw once. An error is shown on the page, and raised."""
        self._moving = True
        try:
            yield
            with _one_thread():
                view = self.render(**self.values)
            self.picture.value, self.readout.value = view.png, view.text
            self.numbers, self.problem.value = view.numbers, ""
        except Exception:
            self.problem.value = _as_html_error(traceback.format_exc())
            raise
        finally:
            self._moving = False


@contextmanager
def _one_thread() -> Iterator[None]:
    """For matrices this small a second thread costs more than it brings, beside a busy browser."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _button(label: str, action: Callable[[], None]) -> Any:
    button = widgets.Button(description=label)
    button.on_click(lambda _: action())
    return button


def _as_html_error(text: str) -> str:
    return (
        '<pre role="alert" style="color:#B00020; white-space:pre-wrap; font-size:14px">'
        f"<b>This picture is not up to date:</b>\n{html.escape(text)}</pre>"
    )


def _family(widget: Any) -> Iterator[Any]:
    """A widget, its style and layout, and the same for its children."""
    yield widget
    yield from (part for name in ("style", "layout") if (part := getattr(widget, name, None)))
    for child in getattr(widget, "children", ()):
        yield from _family(child)


# ipywidgets keeps every widget alive until it is closed, so a cell that is run fifty times would
# keep fifty explorers. What a cell made is therefore closed when the cell runs again.
_open: dict[tuple[type, object], tuple[object, list[Explorer]]] = {}


def _close_earlier(explorer: Explorer) -> None:
    """Close what an earlier run of this cell made; outside a notebook, what was made before."""
    cell, run = _cell_and_run()
    earlier_run, made = _open.get((type(explorer), cell), (None, []))
    if run is None or run != earlier_run:
        for earlier in made:
            earlier.close()
        made = []
    _open[type(explorer), cell] = run, [*made, explorer]


def _cell_and_run() -> tuple[object, object]:
    """The running cell (its id, else its text) and which run of it this is; None outside one."""
    shell = get_ipython()
    if shell is None:
        return None, None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId") or shell.user_ns["In"][-1]
    return cell, shell.execution_count


def _slider(label: str, value: float, low: float, high: float, step: float, **more: Any) -> Any:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return widgets.FloatSlider(
        value=value, min=low, max=high, step=step, description=label,
        readout_format=f".{digits}f", **_look(), **more,
    )  # fmt: skip


def _count(label: str, value: int, low: int, high: int, step: int = 1) -> Any:
    return widgets.IntSlider(
        value=value, min=low, max=high, step=step, description=label, **_look()
    )


def _toggle(label: str, options: Mapping[str, str], value: str) -> Any:
    return widgets.ToggleButtons(
        options=list(options.items()),
        value=value,
        description=label,
        style={"description_width": LABEL_WIDTH, "button_width": "12em"},
    )


def _choice(label: str, options: Sequence[Any], value: Any) -> Any:
    return widgets.SelectionSlider(options=options, value=value, description=label, **_look())


def _look() -> dict[str, Any]:
    return {
        "style": {"description_width": LABEL_WIDTH},
        "layout": {"width": "34em"},
        "continuous_update": True,
    }


def _show(box: Any, shown: bool) -> None:
    box.layout.display = None if shown else "none"


def _readout(*lines: str) -> str:
    text = "<br>".join(lines)
    return f'<div style="font-size:17px; line-height:1.5">{text}</div>'


def _check_vae(model: nn.Module, name: str = "model") -> None:
    if not (isinstance(model, nn.Module) and hasattr(model, "encode") and hasattr(model, "decode")):
        raise TypeError(
            f"{name} must have encode(x) and decode(z), as VAE has, got {type(model).__name__}"
        )


# ------------------------------------------------------------------------------- the bound


class BoundPlot(Plot):
    """Prior, posterior and q over z; beside them log p(x) as a bar made of ELBO and gap."""

    def build(self, toy: GaussianToy) -> list[Artist]:
        """Axes whose limits hold for every position of the sliders."""
        self.toy = toy
        curves, bar = self.figure.subplots(1, 2, width_ratios=[2.1, 1])
        self.z = np.linspace(-4, 4, 401)
        peak = _normal(self.z * 0, 0, float(toy.posterior(0.0)[1]))[0]
        curves.set(xlim=(-4, 4), ylim=(0, 1.9 * max(peak, 0.4)), xlabel="$z$", ylabel="density")
        curves.plot(
            self.z, _normal(self.z, 0, 1), color=COLORS["prior"], ls=":", label="prior $p(z)$"
        )
        self.posterior = curves.plot([], [], color=COLORS["posterior"], label="posterior $p(z|x)$")[
            0
        ]
        self.q = curves.plot([], [], color=COLORS["q"], ls="--", lw=3, label="$q(z|x)$: yours")[0]
        curves.legend(loc="upper left")
        self.floor = float(toy.log_evidence(toy.bias)) - 10.0
        bar.set(xlim=(0, 1), ylim=(self.floor, self.floor + 11), ylabel="nats", xticks=[])
        bar.set_title(r"$\log p(x)$ = ELBO + gap")
        self.bound = bar.bar([0.34], [0], 0.6, self.floor, color=COLORS["elbo"])[0]
        self.gap = bar.bar([0.34], [0], 0.6, self.floor, color=COLORS["gap"])[0]
        self.level = bar.plot([0.0, 1], [0, 0], color=COLORS["evidence"], lw=3)[0]
        places = (0.34, "center"), (0.67, "left"), (0.04, "left")  # of ELBO, gap and log p(x)
        self.names = [bar.text(x, 0, "", ha=ha, va="center", fontsize=13) for x, ha in places]
        return [self.posterior, self.q, self.bound, self.gap, self.level, *self.names]

    def move(self, x: float, mean: float, std: float) -> None:
        """Show the posterior of this x, this q, and what the bound makes of them."""
        evidence, elbo, gap = _bound(self.toy, x, mean, std).values()
        self.posterior.set_data(self.z, _normal(self.z, *map(float, self.toy.posterior(x))))
        self.q.set_data(self.z, _normal(self.z, mean, std))
        split = max(self.floor, evidence - gap)  # below the axis there is nothing to draw
        self.bound.set_height(split - self.floor)
        self.gap.set(y=split, height=evidence - split)
        self.level.set_ydata([evidence, evidence])
        fits = split - self.floor > 1.2
        self.names[0].set(
            y=max((self.floor + split) / 2, self.floor + 0.6),
            text=f"ELBO {_signed(elbo)}" + ("" if split > self.floor else " (below)"),
            color="white" if fits else "black",
        )
        self.names[1].set(y=min((split + evidence) / 2, evidence - 0.6), text=f"gap {gap:.2f}")
        self.names[2].set(y=evidence + 0.55, text=rf"$\log p(x)$ = {_signed(evidence)}")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _bound(toy: GaussianToy, x: float, mean: float, std: float) -> dict[str, float]:
    return {
        "log_evidence": float(toy.log_evidence(x)),
        "elbo": float(toy.elbo(x, mean, std)),
        "gap": float(toy.gap(x, mean, std)),
    }


def _normal(z: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


class BoundExplorer(Explorer):
    """Move q and see log p(x), which does not change, split into ELBO and gap.

    Args:
        toy: the one-dimensional model in which all of it is exact.

    Raises:
        TypeError: if ``toy`` is not a GaussianToy.
    """

    def __init__(self, toy: GaussianToy | None = None) -> None:
        toy = GaussianToy() if toy is None else toy
        if not isinstance(toy, GaussianToy):
            raise TypeError(f"toy must be a GaussianToy, got {type(toy).__name__}")
        self.toy = toy
        reach = round(3 * math.hypot(toy.weight, toy.noise), 1)
        narrow = max(0.05, round(float(toy.posterior(0.0)[1]) / 2, 2))
        middle = round(toy.bias, 1)
        controls = {
            "x": _slider("observed x", middle + 1, middle - reach, middle + reach, 0.1),
            "mean": _slider("mean of q", -1.0, -3, 3, 0.05),
            "std": _slider("std of q", 1.0, narrow, 2, 0.01),
        }
        rows = [[controls["x"]], [controls["mean"], controls["std"]]]
        super().__init__(controls, rows, {"Random x": self.random})

    @cached_property
    def plot(self) -> BoundPlot:
        """The figure whose artists move."""
        return BoundPlot(toy=self.toy)

    def render(self, x: float, mean: float, std: float) -> View:
        """Split log p(x) for this q.

        Args:
            x: the observation.
            mean: of q(z|x).
            std: of q(z|x), > 0.

        Returns:
            The picture; numbers log_evidence, elbo and gap, in nats.
        """
        numbers = _bound(self.toy, x, mean, std)
        self.plot.move(x, mean, std)
        text = (
            f"log p(x) = ELBO + gap: <b>{numbers['log_evidence']:.3f}</b> = "
            f"<b>{numbers['elbo']:.3f}</b> + <b>{numbers['gap']:.3f}</b> nats"
        )
        return View(self.plot.png(), _readout(text), numbers)

    def figure(self, x: float, mean: float, std: float) -> Figure:
        """The same picture, with the numbers in the bars."""
        _bound(self.toy, x, mean, std)  # refuses what cannot be drawn, before a figure is made
        plot = BoundPlot(toy=self.toy)
        plot.move(x, mean, std)
        q = f"$q$ = N({_signed(mean)}, {std:.2f}$^2$)"
        return plot.finished(f"$x$ = {x:.2f}, {q}: the bar is as high whatever $q$ is")

    def random(self) -> None:
        """Observe an x drawn from the model."""
        z, noise = RANDOM.standard_normal(2)
        self.set(x=round(self.toy.weight * z + self.toy.bias + self.toy.noise * noise, 1))


# ------------------------------------------------------------------------------ the schedules

PARAMETERS = {
    "constant": ("beta",),
    "linear": ("warmup", "start", "stop"),
    "staircase": ("steps",),
    "sigmoid": ("midpoint", "steepness", "stop"),
    "cyclical": ("cycles", "ramp", "stop"),
}
FULL = 0.99  # a sigmoid only comes close to its plateau


class SchedulePlot(Plot):
    """Beta over the steps of a run."""

    def build(self, steps: int) -> list[Artist]:
        """One axis in steps, one in beta."""
        ax = self.figure.subplots()
        ax.set(xlim=(0, steps), ylim=(0, 2.05), xlabel="training step", ylabel=r"weight $\beta$")
        self.beta = ax.plot([], [], lw=3)[0]
        self.mean = ax.plot([0, steps], [0, 0], color="#555555", ls="--", lw=1.5)[0]
        self.name = ax.text(0.985 * steps, 0, "mean", ha="right", va="bottom", color="#555555")
        return [self.mean, self.beta, self.name]

    def move(self, kind: str, betas: np.ndarray) -> None:
        """Show beta (steps,) in the colour of its schedule, and its mean."""
        self.beta.set(data=(np.arange(len(betas)), betas), color=COLORS[kind])
        self.mean.set_ydata([betas.mean()] * 2)
        self.name.set_y(betas.mean() + 0.02)


class ScheduleExplorer(Explorer):
    """Shape beta over a run and see how much of the run is spent at its full value.

    Args:
        steps: length of the run.

    Raises:
        ValueError: if ``steps`` is not an integer of at least 10.
    """

    def __init__(self, steps: int = 3000) -> None:
        _check_count("steps", steps, 10)
        self.run_steps = steps
        controls = {
            "kind": _toggle("schedule", {kind: kind for kind in PARAMETERS}, "linear"),
            "beta": _slider("beta", 1, 0, 2, 0.05),
            "warmup": _slider("warm-up, share", 0.5, 0.05, 1, 0.05),
            "start": _slider("first beta", 0, 0, 2, 0.05),
            "steps": _count("stairs", 10, 1, 20),
            "midpoint": _slider("midpoint, share", 0.25, 0, 1, 0.05),
            "steepness": _slider("steepness k", 20, 1, 100, 1),
            "cycles": _count("cycles M", 4, 1, 10),
            "ramp": _slider("ramp R, share", 0.5, 0.05, 1, 0.05),
            "stop": _slider("last beta", 1, 0.05, 2, 0.05),
        }
        shapes = [control for name, control in controls.items() if name != "kind"]
        super().__init__(controls, [[controls["kind"]], shapes])

    @cached_property
    def plot(self) -> SchedulePlot:
        """The figure whose artists move."""
        return SchedulePlot(steps=self.run_steps)

    def follow(self, name: str) -> None:
        """Show the parameters of the chosen schedule only."""
        used = ("kind", *PARAMETERS[self.controls["kind"].value])
        for name, control in self.controls.items():
            _show(control, name in used)

    def betas(self, kind: str, **shape: float) -> np.ndarray:
        """(steps,) beta at every step, for what the sliders of this schedule say."""
        if kind not in PARAMETERS:
            raise ValueError(f"kind must be one of {list(PARAMETERS)}, got {kind!r}")
        schedule = getattr(schedules, kind)(**{key: shape[key] for key in PARAMETERS[kind]})
        return np.array([schedule(i / self.run_steps) for i in range(self.run_steps)])

    def render(self, kind: str, **shape: float) -> View:
        """Draw a schedule.

        Args:
            kind: constant, linear, staircase, sigmoid or cyclical.
            shape: values of its parameters, by name; others are not looked at.

        Returns:
            The picture; numbers share_at_full (in [0, 1]) and mean_beta.
        """
        betas = self.betas(kind, **shape)
        self.plot.move(kind, betas)
        numbers = _schedule_numbers(betas)
        return View(self.plot.png(), _readout(_schedule_text(numbers)), numbers)

    def figure(self, kind: str, **shape: float) -> Figure:
        """The same picture, with the read-outs as its title."""
        betas, plot = self.betas(kind, **shape), SchedulePlot(steps=self.run_steps)
        plot.move(kind, betas)
        text = _schedule_text(_schedule_numbers(betas)).replace("<b>", "").replace("</b>", "")
        return plot.finished(f"{kind}: {text}")


def _schedule_numbers(betas: np.ndarray) -> dict[str, float]:
    full = betas >= FULL * betas.max()
    return {"share_at_full": float(full.mean()), "mean_beta": float(betas.mean())}


def _schedule_text(numbers: Mapping[str, float]) -> str:
    return (
        f"<b>{numbers['share_at_full']:.0%}</b> of the run at full beta "
        f"(at least {FULL:.0%} of the largest); mean beta <b>{numbers['mean_beta']:.2f}</b>"
    )


# ------------------------------------------------------------------------- the latent space

VIEWS = {"one digit": "one", "grid of dimensions": "grid", "between two digits": "between"}
Z_STEP = 0.05  # the browser shows and sends multiples of it, so mu is rounded to one
GRID_VALUES = np.linspace(-3, 3, 7)
SHARES = np.linspace(0, 1, 11)


class LatentExplorer(Explorer):
    """Move the latent dimensions of a digit, the informative ones first, and see it decoded.

    Three views: one digit beside its input and its reconstruction; a grid with one dimension to a
    row; the way from one digit to another.

    Args:
        model: a trained VAE; it is copied, so training it further changes nothing here.
        digits: the test images are shown; KLs are averages over all of them.
        used: how many dimensions get a slider because their KL is large.
        dead: how many get one because it is small, for comparison.

    Raises:
        TypeError: if the model has no ``encode(x)`` or no ``decode(z)``.
        ValueError: if the test images are not labelled pixels in [0, 1], or a count is negative.
    """

    def __init__(self, model: nn.Module, digits: Digits, *, used: int = 8, dead: int = 2) -> None:
        _check_vae(model)
        _check_digits(digits)
        self.given, self.digits = model, digits
        self.mu, logvar = encode_all(self.model, digits.test)  # (N, D), (N, D)
        self.kl = gaussian_kl(self.mu, logvar).mean(dim=0)  # (D,)
        self.dims = most_and_least(self.kl, used, dead)
        self.names = [f"z[{d}]" for d in self.dims]
        controls = {"view": _toggle("show", VIEWS, "one"), **self._pickers(), **self._sliders()}
        pick = [["view"], ["digit", "example"], ["to_digit", "to_example", "mix"], self.names]
        rows = [[controls[name] for name in names] for names in pick]
        buttons = {"Random digit": self.random, "Back to mu": self.back_to_mu}
        super().__init__(controls, rows, buttons)

    @cached_property
    def model(self) -> Any:
        """A copy on the CPU: one image is decoded fastest there, and later training stays away."""
        return copy.deepcopy(self.given).to(CPU).eval()

    def _pickers(self) -> dict[str, Any]:
        classes = self.digits.test_labels.unique().tolist()
        return {
            "digit": _choice("digit", classes, classes[0]),
            "example": _count("example of it, no.", 0, 0, 1),
            "to_digit": _choice("to digit", classes, classes[-1]),
            "to_example": _count("example of it, no.", 0, 0, 1),
            "mix": _slider("share of the way", 0.5, 0, 1, 0.05),
        }

    def _sliders(self) -> dict[str, Any]:
        reach = max(3.0, math.ceil(float(self.mu[:, self.dims].abs().max())))
        return {
            name: _slider(self.label(d), 0, -reach, reach, Z_STEP)
            for name, d in zip(self.names, self.dims)
        }

    def label(self, d: int) -> str:
        """A dimension with its KL, as its slider is labelled."""
        return dimension_label(d, self.kl)

    def follow(self, name: str) -> None:
        """Keep the number of the example within its class, the sliders at mu, the rows in view."""
        for digit, example in (("digit", "example"), ("to_digit", "to_example")):
            count = int((self.digits.test_labels == self.controls[digit].value).sum())
            self.controls[example].max = count - 1
        if name in ("", "digit", "example"):
            index = self.index(self.controls["digit"].value, self.controls["example"].value)
            for control, d in zip(self.names, self.dims):
                self.controls[control].value = round(float(self.mu[index, d]) / Z_STEP) * Z_STEP
        view = self.controls["view"].value
        _show(self.rows[2], view == "between")
        _show(self.rows[3], view == "one")

    def index(self, digit: int, example: int) -> int:
        """The row of an example among the test images.

        Args:
            digit: its class.
            example: its number within the class, from 0.

        Returns:
            The row.

        Raises:
            ValueError: if there is no such example.
        """
        rows = (self.digits.test_labels == digit).nonzero().flatten().tolist()
        if not 0 <= example < len(rows):
            raise ValueError(f"no example {example} of digit {digit}: there are {len(rows)}")
        return rows[example]

    def latent(self, digit: int, example: int, values: Mapping[str, float]) -> Tensor:
        """(D,) mu of an example, with the dimensions that have sliders where ``values`` says."""
        z = self.mu[self.index(digit, example)].clone()  # (D,)
        for name in self.names:
            check_range(name, values[name], -math.inf, math.inf, "()")
        z[self.dims] = torch.tensor([float(values[name]) for name in self.names])
        return z

    @torch.no_grad()
    def decode(self, z: Tensor) -> tuple[Tensor, np.ndarray]:
        """Logits (N, 784) of latents (N, D), and the means of the pixels as an array."""
        logits = self.model.decode(z)  # (N, 784)
        return logits, logits.sigmoid().numpy()

    def render(self, view: str = "one", **values: Any) -> View:
        """Decode what the controls ask for.

        Args:
            view: "one", "grid" or "between".
            values: of the other controls, by name.

        Returns:
            The picture; numbers are distortions in nats: ``distortion`` and ``distortion_at_mu``,
            or between two digits ``distortion_from`` and ``distortion_to``.

        Raises:
            ValueError: if there is no such view or no such example.
        """
        shown: dict[str, Callable[..., View]] = {
            "one": self._one, "grid": self._grid, "between": self._between
        }  # fmt: skip
        if view not in shown:
            raise ValueError(f"view must be one of {list(shown)}, got {view!r}")
        return shown[view](**values)

    def _compare(
        self, digit: int, example: int, values: Any
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Input, decoded mu and decoded sliders, (3, 784), and what they cost."""
        index = self.index(digit, example)
        x = self.digits.test[index : index + 1].cpu()  # (1, 784)
        z = torch.stack([self.mu[index], self.latent(digit, example, values)])  # (2, D)
        logits, images = self.decode(z)  # (2, 784)
        at_mu, moved = bernoulli_nll(logits, x.expand(2, -1)).tolist()
        numbers = {"distortion": moved, "distortion_at_mu": at_mu}
        return np.concatenate([x.numpy(), images]), numbers

    def _one(self, digit: int, example: int, **values: Any) -> View:
        images, numbers = self._compare(digit, example, values)
        page = self._big_page.copy()
        paste(page, 0, 30, enlarge(images, 3, TILE))
        return View(encode_png(page), _readout(_distortion_text(numbers)), numbers)

    @cached_property
    def _big_page(self) -> np.ndarray:
        captions = ["input x", "decoded from mu", "decoded from the sliders"]
        places = {(240 * i, 15): caption for i, caption in enumerate(captions)}
        return sheet(704, 254, places, 17)

    def _grid(self, digit: int, example: int, **values: Any) -> View:
        _, numbers = self._compare(digit, example, values)
        images = self.traverse(self.latent(digit, example, values))  # (rows, 7, 784)
        page = self._grid_page.copy()
        paste(page, 160, 30, enlarge(images.reshape(-1, images.shape[-1]), len(GRID_VALUES), SMALL))
        text = "Each row moves one dimension from -3 to 3; the others stay where the sliders are."
        return View(encode_png(page), _readout(text, _distortion_text(numbers)), numbers)

    @cached_property
    def _grid_page(self) -> np.ndarray:
        rows = {(0, 58 + 60 * i): self.label(d) for i, d in enumerate(self.dims)}
        columns = {(180 + 60 * j, 15): f"{v:g}" for j, v in enumerate(GRID_VALUES)}
        return sheet(160 + 60 * len(columns), 30 + 60 * len(rows), rows | columns, 15)

    def traverse(self, z: Tensor) -> np.ndarray:
        """Decode z with one dimension at a time moved from -3 to 3.

        Args:
            z: (D,).

        Returns:
            (rows, 7, 784) pixel means, a row for each dimension that has a slider.
        """
        grid = z.repeat(len(self.dims), len(GRID_VALUES), 1)  # (rows, 7, D)
        for row, d in enumerate(self.dims):
            grid[row, :, d] = torch.tensor(GRID_VALUES)
        return self.decode(grid)[1]

    def _between(
        self, digit: int, example: int, to_digit: int, to_example: int, mix: float, **_: float
    ) -> View:
        ends = [self.index(digit, example), self.index(to_digit, to_example)]
        x = self.digits.test[ends].cpu()  # (2, 784)
        logits, images = self.decode(self.way(ends, [mix, *SHARES]))  # (12, 784)
        to_first, to_last = bernoulli_nll(logits[:1].expand(2, -1), x).tolist()
        page = self._way_page.copy()
        big = np.stack([x[0].numpy(), images[0], x[1].numpy()])  # (3, 784)
        paste(page, 0, 30, enlarge(big, 3, TILE))
        paste(page, 24, 278, enlarge(images[1:], len(SHARES), SMALL))
        paste(page, 24 + 60 * round(mix * (len(SHARES) - 1)), 338, np.zeros((6, 56), np.uint8))
        text = (
            f"distortion &minus;log p(x|z) of the image in the middle: <b>{to_first:.1f}</b> nats "
            f"against the first digit, <b>{to_last:.1f}</b> against the last"
        )
        numbers = {"distortion_from": to_first, "distortion_to": to_last}
        return View(encode_png(page), _readout(text), numbers)

    @cached_property
    def _way_page(self) -> np.ndarray:
        places = {(0, 15): "from", (240, 15): "decoded on the way", (480, 15): "to"}
        return sheet(704, 346, places, 17)

    def way(self, ends: Sequence[int], shares: Sequence[float]) -> Tensor:
        """Points on the straight line between the mu of two test images.

        Args:
            ends: rows of the two images.
            shares: of the way, 0 at the first and 1 at the last.

        Returns:
            (len(shares), D).
        """
        for share in shares:
            check_range("every share of the way (mix)", share, -math.inf, math.inf, "()")
        first, last = self.mu[list(ends)]  # (D,), (D,)
        t = torch.tensor([float(share) for share in shares]).unsqueeze(1)  # (S, 1)
        return first + t * (last - first)

    def figure(self, view: str, **values: Any) -> Figure:
        """One digit and its grid, or the way between two digits."""
        if view not in VIEWS.values():
            raise ValueError(f"view must be one of {list(VIEWS.values())}, got {view!r}")
        if view == "between":
            return self._figure_between(**values)
        images, _ = self._compare(values["digit"], values["example"], values)
        z = self.latent(values["digit"], values["example"], values)  # (D,)
        labels = [self.label(d) for d in self.dims]
        title = "Each row moves one dimension"
        with _styled_figure(6.9, 8.6) as figure:
            parts: Any = figure.subfigures(2, 1, height_ratios=[1, 4])
            top, bottom = (part.subplots() for part in parts)
            image_rows({f"digit {values['digit']}": images}, ["input x", "from mu", "sliders"], top)
            traversals(self.traverse(z), labels, GRID_VALUES, bottom, title)
            return figure

    def _figure_between(
        self, digit: int, example: int, to_digit: int, to_example: int, **_: Any
    ) -> Figure:
        ends = [self.index(digit, example), self.index(to_digit, to_example)]
        images = self.decode(self.way(ends, list(SHARES)))[1]  # (11, 784)
        labels = [f"{share:.0%}" for share in SHARES]
        with _styled_figure(9.6, 1.5) as figure:
            image_rows(
                {"decoded": images}, labels, figure.subplots(), "Between the mu of two digits"
            )
            return figure

    def random(self) -> None:
        """Choose a test image."""
        digit = int(RANDOM.choice(self.controls["digit"].options))
        count = int((self.digits.test_labels == digit).sum())
        self.set(digit=digit, example=int(RANDOM.integers(count)))

    def back_to_mu(self) -> None:
        """Put the sliders of z to the mean of q(z|x), to the nearest step."""
        self.set(example=self.controls["example"].value)


def _distortion_text(numbers: Mapping[str, float]) -> str:
    return (
        f"distortion &minus;log p(x|z): <b>{numbers['distortion']:.1f}</b> nats at the sliders, "
        f"<b>{numbers['distortion_at_mu']:.1f}</b> at mu, the mean of q(z|x)"
    )


def dimension_label(d: int, kl: Tensor) -> str:
    """A dimension with its KL; ``kl`` is (D,), nats."""
    return f"z[{d}]: {kl[d]:.2f} nats"


def most_and_least(kl: Tensor, used: int, dead: int) -> list[int]:
    """The dimensions worth a slider, by falling KL.

    Args:
        kl: (D,) nats.
        used: how many with the largest KL, at least 1.
        dead: how many with the smallest.

    Returns:
        Indices of dimensions; all of them if there are no more than asked for.

    Raises:
        ValueError: if a count is too small or no integer.
    """
    for name, count, least in (("used", used, 1), ("dead", dead, 0)):
        _check_count(name, count, least)
    order = kl.argsort(descending=True).tolist()
    return order if used + dead >= len(order) else order[:used] + order[len(order) - dead :]


def _check_digits(digits: Digits) -> None:
    check_kind(digits)
    check_images(digits.test, "digits.test")
    if digits.test.shape[1:] != (SIDE * SIDE,) or len(digits.test_labels) != len(digits.test):
        raise ValueError(
            f"digits.test must be (N, {SIDE * SIDE}) with N labels, got "
            f"{tuple(digits.test.shape)} and {tuple(digits.test_labels.shape)} labels"
        )


# --------------------------------------------------------------------------- the controller


class Trace(NamedTuple):
    """One simulated latent dimension under the controller; column 0 is starved, column 1 is not.

    Attributes:
        kl: (T, 2) nats, what the controller sees at each step.
        gamma: (T, 2) what it answers.
    """

    kl: np.ndarray
    gamma: np.ndarray


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
    controller: SoftFreeBits, strength: float, starved: int, steps: int, response: float = 0.05
) -> Trace:
    """Let a controller steer two like dimensions, of which one is starved at first.

    A starved dimension has KL 0 whatever gamma is. Otherwise each step brings the KL nearer to
    `resting_kl` by the share ``response`` of the distance: a stand-in for gradient descent.

    Args:
        controller: a fresh one; it is used up.
        strength: see `resting_kl`, nats.
        starved: steps for which dimension 0 is starved.
        steps: length of the run, T.
        response: in (0, 1].

    Returns:
        KL and gamma at every step.

    Raises:
        TypeError, ValueError: if a number is out of its range.
    """
    check_range("strength", strength, -math.inf, math.inf, "()")
    check_range("response", response, 0, 1, "(]")
    _check_count("starved", starved, 0)
    _check_count("steps", steps, 1)
    kl = [0.0 if starved else max(0.0, strength), max(0.0, strength)]
    kls, gammas = [], []
    for step in range(steps):
        gamma = controller.update(torch.tensor([kl])).tolist()  # the batch is one image
        kls.append(kl)
        gammas.append(gamma)
        kl = [k + response * (resting_kl(strength, g) - k) for k, g in zip(kl, gamma)]
        kl[0] *= step >= starved
    return Trace(np.array(kls), np.array(gammas))


def recovery(kl: np.ndarray, starved: int, near: float) -> float:
    """Steps that a starved dimension needs to come back for good.

    Args:
        kl: (T, 2), the starved dimension and its like that was not.
        starved: steps of the starved phase.
        near: largest difference between the two that counts as recovered, nats.

    Returns:
        Steps after the starved phase; infinite if the run ends before.
    """
    apart = np.flatnonzero(np.abs(kl[:, 0] - kl[:, 1]) > near)
    if len(apart) == 0:
        return 0.0
    return math.inf if apart[-1] == len(kl) - 1 else float(max(0, apart[-1] + 1 - starved))


class ControllerPlot(Plot):
    """KL with the dead band above gamma, over the steps of a run."""

    size = (9.0, 4.7)

    def build(self, steps: int) -> list[Artist]:
        """Axes that leave room for wind-up: KL linear below 1 nat, gamma logarithmic."""
        top, bottom = self.figure.subplots(2, 1, sharex=True)
        top.set_yscale("symlog", linthresh=1, linscale=1.2)
        top.set(xlim=(0, steps), ylim=(-0.03, 16), ylabel="KL in nats")
        top.set_yticks([0, 0.25, 0.5, 0.75, 1, 2, 5, 10], ["0", "", "0.5", "", "1", "2", "5", "10"])
        bottom.set(yscale="log", ylim=(1e-10, 6), xlabel="step", ylabel=r"weight $\gamma$")
        self.band = top.axhspan(0, 1, color=COLORS["band"], alpha=0.6, label="dead band")
        self.spans = [ax.axvspan(0, 1, color="#DDDDDD", label="starved") for ax in (top, bottom)]
        colors = COLORS["rate"], COLORS["gamma"]
        self.twins = [ax.plot([], [], color="#777777", lw=1.6, ls="--")[0] for ax in (top, bottom)]
        self.lines = [ax.plot([], [], color=c, lw=2.6)[0] for ax, c in zip((top, bottom), colors)]
        self.lines[0].set_label("this dimension")
        self.twins[0].set_label("the same, never starved")
        handles = [self.lines[0], self.twins[0], self.spans[0], self.band]
        top.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=4)
        return [*self.spans, self.band, *self.twins, *self.lines]

    def move(self, trace: Trace, starved: int, lam: float, tolerance: float) -> None:
        """Show a trace with the band and the starved phase that it belongs to."""
        self.band.set(y=(1 - tolerance) * lam, height=2 * tolerance * lam)
        for span in self.spans:
            span.set_width(starved)
        for line, twin, values in zip(self.lines, self.twins, trace):
            line.set_data(np.arange(len(values)), values[:, 0])
            twin.set_data(np.arange(len(values)), values[:, 1])


class SoftFreeBitsPlayground(Explorer):
    """Turn the knobs of the soft free bits controller on one simulated latent dimension.

    The controller is `SoftFreeBits` itself; how the dimension answers is `simulate` and
    `resting_kl`, a model and not a trained network.

    Args:
        steps: length of the simulated run.

    Raises:
        ValueError: if ``steps`` is not an integer of at least 10.
    """

    def __init__(self, steps: int = 400) -> None:
        _check_count("steps", steps, 10)
        self.steps = steps
        controls = {
            "strength": _slider("KL at gamma 1, nats", -1.0, -2, 2, 0.1),
            "starved": _count("starved for, steps", 80, 0, 2 * steps // 5, 10),
            "floor": _choice("floor of gamma", [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1], 1e-3),
            "init": _slider("gamma at the start", 1.0, 0.1, 1, 0.05),
            "lam": _slider("lambda, nats", 0.5, 0.1, 2, 0.05),
            "tolerance": _slider("tolerance, share", 0.1, 0, 0.5, 0.01),
            "step": _slider("step of gamma", 0.1, 0.01, 0.3, 0.01),
        }
        super().__init__(controls, [list(controls.values())])

    @cached_property
    def plot(self) -> ControllerPlot:
        """The figure whose artists move."""
        return ControllerPlot(steps=self.steps)

    def run(self, strength: float, starved: int, **settings: Any) -> tuple[Trace, dict[str, float]]:
        """Simulate a run.

        Args:
            strength: see `resting_kl`, nats.
            starved: steps of the starved phase.
            settings: lam, tolerance, step, init and floor of the controller.

        Returns:
            The trace, and the read-outs: recovery in steps, the others in nats or as gamma.
        """
        trace = simulate(SoftFreeBits(**settings), strength, starved, self.steps)
        kl, gamma = trace.kl[:, 0], trace.gamma[:, 0]
        band = 2 * max(settings["tolerance"], 0.1) * settings["lam"]
        numbers = {
            "recovery": recovery(trace.kl, starved, band),
            "peak_kl": float(kl.max()),
            "final_kl": float(kl[-1]),
            "lowest_gamma": float(gamma.min()),
            "final_gamma": float(gamma[-1]),
        }
        return trace, numbers

    def render(self, strength: float, starved: int, **settings: Any) -> View:
        """Simulate and draw; arguments and numbers as in :meth:`run`."""
        trace, numbers = self.run(strength, starved, **settings)
        self.plot.move(trace, starved, settings["lam"], settings["tolerance"])
        text = [f"recovery: <b>{self.steps_text(numbers['recovery'])}</b>", _trace_text(numbers)]
        return View(self.plot.png(), _readout(*text), numbers)

    def steps_text(self, steps: float) -> str:
        """How long recovery took, in words."""
        if math.isinf(steps):
            return f"not within the {self.steps} steps shown"
        return f"{steps:.0f} steps after the starved phase"

    def figure(self, strength: float, starved: int, **settings: Any) -> Figure:
        """The same picture, with the time to recover as its title."""
        trace, numbers = self.run(strength, starved, **settings)
        plot = ControllerPlot(steps=self.steps)
        plot.move(trace, starved, settings["lam"], settings["tolerance"])
        floor = f"floor {settings['floor']:g}, starved for {starved} steps"
        return plot.finished(f"{floor}: recovery {self.steps_text(numbers['recovery'])}")


def _trace_text(numbers: Mapping[str, float]) -> str:
    return (
        f"KL peaks at <b>{numbers['peak_kl']:.2f}</b> nats and ends at "
        f"<b>{numbers['final_kl']:.2f}</b>; gamma falls to <b>{numbers['lowest_gamma']:.2g}</b> "
        f"and ends at <b>{numbers['final_gamma']:.2g}</b>"
    )


def _check_count(name: str, count: int, least: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {count!r}")


# ----------------------------------------------------------------------------- many betas


class BetaPlot(Plot):
    """Inputs, reconstructions and prior samples beside the rate-distortion plane."""

    size = (9.8, 4.3)
    columns = 8

    def build(self, scores: Mapping[float, Evaluation]) -> list[Artist]:
        """The curve through all models stays; the images and the point on it move."""
        left, right = self.figure.subplots(1, 2, width_ratios=[1.25, 1])
        blank = mosaic(np.ones((5 * self.columns, SIDE * SIDE)), self.columns)
        self.images = left.imshow(blank, cmap="gray", vmin=0, vmax=1)
        left.set(xticks=[])
        left.set_yticks([14, 44, 104], ["input", "decoded", "samples"])
        left.grid(False)
        left.tick_params(length=0)
        left.spines[:].set_visible(False)
        draw_plane(right, scores)
        self.point = right.plot([], [], "o", ms=15, color=COLORS["rate"], clip_on=False)[0]
        return [self.images, self.point]

    def move(self, images: np.ndarray, score: Evaluation) -> None:
        """Show 40 images (40, 784) and the point of their model."""
        self.images.set_data(np.nan_to_num(mosaic(images, self.columns), nan=1.0))
        self.point.set_data([score.rate], [score.distortion])


def draw_plane(ax: Axes, scores: Mapping[float, Evaluation]) -> None:
    """Rate and distortion of every model, each with its beta.

    Args:
        ax: where to draw.
        scores: by beta, ascending.
    """
    rates, distortions = zip(*[(score.rate, score.distortion) for score in scores.values()])
    ax.plot(rates, distortions, "o-", color="#888888", lw=1.5, ms=7)
    for beta, rate, distortion in zip(scores, rates, distortions):
        name = rf"$\beta$ = {beta:g}"
        ax.annotate(name, (rate, distortion), (10, 8), textcoords="offset points", fontsize=13)
    ax.set(xlabel="rate R in nats", ylabel="distortion D in nats")
    ax.margins(0.2)


class BetaExplorer(Explorer):
    """Walk through models that were trained with different betas; nothing is trained here.

    Args:
        models_by_beta: trained VAEs by the beta of their training.
        digits: the test images are reconstructed, and all of them give rate and distortion.

    Raises:
        TypeError: if a model has no ``encode(x)`` or no ``decode(z)``.
        ValueError: if there is no model, a beta is negative, or there are fewer than 8 test images.
    """

    def __init__(self, models_by_beta: Mapping[float, VAE], digits: Digits) -> None:
        _check_digits(digits)
        if len(digits.test) < BetaPlot.columns:
            least = BetaPlot.columns
            raise ValueError(f"digits.test must hold at least {least}, got {len(digits.test)}")
        self.given, self.digits = _sorted_models(models_by_beta), digits
        self.scores = {beta: evaluate(m, digits.test) for beta, m in self.given.items()}
        options = [(f"{beta:g}", beta) for beta in self.given]
        last = len(digits.test) - BetaPlot.columns
        controls = {
            "beta": _choice("beta", options, min(self.given, key=lambda beta: abs(beta - 1))),
            "first": _count("first image, no.", 0, 0, last),
            "draw": _count("draw of z, no.", 0, 0, 99),
        }
        super().__init__(controls, [list(controls.values())])

    @cached_property
    def plot(self) -> BetaPlot:
        """The figure whose artists move."""
        return BetaPlot(scores=self.scores)

    @cached_property
    def models(self) -> dict[float, Any]:
        """Copies on the CPU, which later training does not reach."""
        return {beta: copy.deepcopy(model).to(CPU).eval() for beta, model in self.given.items()}

    @torch.no_grad()
    def pictures(self, beta: float, first: int, draw: int) -> np.ndarray:
        """Inputs, what is decoded from their mu, and samples of the prior.

        Args:
            beta: which model.
            first: row of the first of 8 test images.
            draw: seed of the z ~ p(z), which are the same for every beta.

        Returns:
            (40, 784): 8 inputs, 8 reconstructions, 24 samples; pixel means.

        Raises:
            ValueError: if there is no model of this beta, or no 8 test images from ``first`` on.
        """
        if beta not in self.models:
            raise ValueError(f"beta must be one of {list(self.models)}, got {beta}")
        _check_count("first", first, 0)
        _check_count("draw", draw, 0)
        x = self.digits.test[first : first + BetaPlot.columns].cpu()  # (8, 784)
        if len(x) < BetaPlot.columns:
            raise ValueError(f"no {BetaPlot.columns} test images from number first = {first} on")
        model = self.models[beta]
        mu, _ = model.encode(x)  # (8, D)
        generator = torch.Generator().manual_seed(draw)
        z = torch.randn(3 * BetaPlot.columns, mu.shape[1], generator=generator)  # (24, D)
        return torch.cat([x, model.decode(torch.cat([mu, z])).sigmoid()]).numpy()  # (40, 784)

    def render(self, beta: float, first: int, draw: int) -> View:
        """Show the model of one beta; arguments as in :meth:`pictures`.

        Returns:
            The picture; numbers beta, distortion, rate and elbo (over all test images, beta = 1).
        """
        images = self.pictures(beta, first, draw)
        score = self.scores[beta]
        self.plot.move(images, score)
        text = (
            f"trained with beta = <b>{beta:g}</b>: &minus;ELBO <b>{-score.elbo:.1f}</b> = "
            f"D <b>{score.distortion:.1f}</b> + R <b>{score.rate:.1f}</b> nats per image"
        )
        terms = {"rate": score.rate, "distortion": score.distortion, "elbo": score.elbo}
        return View(self.plot.png(), _readout(text), {"beta": beta, **terms})

    def figure(self, beta: float, first: int, draw: int) -> Figure:
        """Reconstructions and samples of every model, a row to each, above the plane."""
        n = BetaPlot.columns
        shown = {
            f"\N{GREEK SMALL LETTER BETA} = {b:g}": self.pictures(b, first, draw)
            for b in self.models
        }
        inputs = {"input": next(iter(shown.values()))[:n]}
        height = 0.62 * (len(shown) + 1) + 0.6
        with _styled_figure(10.4, height + 3.4) as figure:
            layout: Any = [["decoded", "samples"], ["plane", "plane"]]
            parts = figure.subplot_mosaic(layout, height_ratios=[height, 3.4])
            decoded = inputs | {name: images[n : 2 * n] for name, images in shown.items()}
            samples = {name: images[2 * n : 3 * n] for name, images in shown.items()}
            image_rows(decoded, ax=parts["decoded"], title="Decoded from mu")
            image_rows(samples, ax=parts["samples"], title="Decoded from z ~ p(z)")
            parts["decoded"].set_anchor("N")
            parts["samples"].set_anchor("N")
            draw_plane(parts["plane"], self.scores)
            return figure


def _sorted_models(models_by_beta: Mapping[float, VAE]) -> dict[float, VAE]:
    if not isinstance(models_by_beta, Mapping):
        kind = type(models_by_beta).__name__
        raise TypeError(f"models_by_beta must be a dict {{beta: model}}, got {kind}")
    if not models_by_beta:
        raise ValueError("models_by_beta must hold at least one {beta: trained model}, got {}")
    for beta, model in models_by_beta.items():
        check_range("every beta in models_by_beta", beta, 0, math.inf, "[)")
        _check_vae(model, f"models_by_beta[{beta:g}]")
    return dict(sorted(models_by_beta.items()))
