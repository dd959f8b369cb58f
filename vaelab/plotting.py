"""Pictures from arrays.

Every function takes data (torch tensors, numpy arrays or lists) and draws it; none trains a model
and none calls `plt.show()`. Pass `ax` to draw into axes of your own; else a new figure is made.
The axes (where there are several: the figure) come back, so that a title or a limit can be changed.

One color, one meaning: `COLORS` is the legend of the whole collection.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .describe import describe_what_is_shown

# Okabe and Ito's color-blind-safe palette (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
# Two additions that stay apart from the eight by their lightness.
GRAY, WINE = "#7F7F7F", "#882255"

COLORS = {
    # quantities: log p(x) = ELBO + gap, -ELBO = distortion + rate
    "elbo": BLUE,
    "gap": ORANGE,
    "evidence": BLACK,
    "distortion": VERMILLION,
    "rate": GREEN,
    "gamma": VERMILLION,
    "band": YELLOW,
    # distributions: black is what is exact
    "prior": GRAY,
    "likelihood": SKY,
    "posterior": BLACK,
    "q": PURPLE,
    # the two networks and the noise between them
    "encoder": PURPLE,
    "decoder": SKY,
    "noise": GRAY,
    # methods and schedules
    "vanilla": BLUE,
    "constant": BLUE,
    "staircase": SKY,
    "linear": ORANGE,
    "sigmoid": WINE,
    "cyclical": GREEN,
    "free bits": PURPLE,
    "soft free bits": VERMILLION,
    "soft": VERMILLION,
    "soft total": WINE,
    # gradients, and their estimators
    "gradient": ORANGE,
    "score function": VERMILLION,
    "reparameterized": BLUE,
}
CYCLE = [BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, WINE, GRAY, BLACK, YELLOW]
LINESTYLES: list[Any] = ["-", "--", "-.", ":"]
DIGIT_MARKERS = "os^vDP*X<>"
TILE = 0.72  # inches for an image and the gap beside it, whatever its number of pixels
NATS = "nats per image"
PAPER: list[Any] = ["figure.facecolor", "figure.edgecolor", "axes.facecolor", "savefig.facecolor"]
INK: list[Any] = ["text.color", "axes.labelcolor", "xtick.color", "ytick.color", "patch.edgecolor"]
INK += [f"boxplot.{part}.color" for part in ("boxprops", "capprops", "flierprops", "whiskerprops")]
INK += ["boxplot.flierprops.markeredgecolor", "lines.color"]


def use_style() -> None:
    """Set matplotlib's rcParams for every lesson: fonts from 12, one palette, a light grid.

    Paper and ink are set too, since black lines would vanish on the paper of a dark style that was
    chosen before. In a notebook, every figure that is shown gets a description for readers who
    cannot see it.
    """
    describe_what_is_shown()
    mpl.rcParams.update(dict.fromkeys(PAPER, "white") | dict.fromkeys(INK, "black"))
    mpl.rcParams.update(
        {
            "figure.figsize": (7.5, 4.2),
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.w_pad": 0.09,
            "figure.constrained_layout.h_pad": 0.09,
            "font.size": 13,
            "axes.titlesize": 14,
            "axes.titlelocation": "left",
            "axes.titlepad": 9,
            "axes.labelsize": 13,
            "xtick.labelsize": 12,
            "ytick.labelsize": 12,
            "legend.fontsize": 12,
            "legend.framealpha": 0.85,
            "legend.edgecolor": "none",
            "figure.titlesize": 15,
            "mathtext.fontset": "dejavusans",
            "axes.prop_cycle": plt.cycler(color=CYCLE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#555555",
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2.2,
            "lines.markersize": 6,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        }
    )


def palette(labels: Iterable[str]) -> list[str]:
    """Give every label a color: the one `COLORS` reserves for it, else the next that is free.

    Args:
        labels: names of lines; "linear warm-up" starts with "linear" and gets its color,
            "$q(z|x)$" gets that of "q".

    Returns:
        one color per label; no color comes twice among the first ten labels.
    """
    if isinstance(labels, str):
        raise TypeError(f"labels must be a list of names, got the one name {labels!r}")
    labels = list(labels)
    chosen: dict[int, str] = {}
    for i, label in enumerate(labels):
        color = _reserved(label)
        if color is not None and color not in chosen.values():
            chosen[i] = color
    free = [color for color in CYCLE if color not in chosen.values()]
    rest = [i for i in range(len(labels)) if i not in chosen]
    for place, i in enumerate(rest):
        chosen[i] = (free or CYCLE)[place % len(free or CYCLE)]
    return [chosen[i] for i in range(len(labels))]


def _reserved(label: str) -> str | None:
    text = str(label).lower().lstrip("$-−\\ ")
    fitting = [name for name in COLORS if re.match(rf"{name}(?![a-z])", text)]
    return COLORS[max(fitting, key=len)] if fitting else None


def _array(values: Any, name: str, dims: str, **sizes: int) -> np.ndarray:
    """Return values as float64 with the dimensions that `dims` names, such as "T D", or refuse."""
    try:
        array = np.asarray(_plain(values), dtype=float)
    except (TypeError, ValueError) as error:
        kind = type(values).__name__
        raise TypeError(f"{name} must be numbers, one axis each for {dims}, got {kind}") from error
    names = dims.split()
    wrong = [d for d, n in zip(names, array.shape) if sizes.get(d, n) != n]
    if array.ndim != len(names) or wrong:
        expected = ", ".join(str(sizes.get(d, d)) for d in names) + ("," if len(names) == 1 else "")
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({expected}): one axis each for {dims}"
        )
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}: nothing to draw")
    if not np.isfinite(array).all():
        bad = (~np.isfinite(array)).sum()
        raise ValueError(f"{name} must be finite, got {bad} values that are NaN or infinite")
    return array


def _number(name: str, value: Any, least: float = -math.inf) -> None:
    """Refuse what is no finite number, or below `least`."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= least):
        low = "" if least == -math.inf else f" and at least {least:g}"
        raise ValueError(f"{name} must be finite{low}, got {value}")


def _whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or below `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    _number(name, value, least)


def _plain(values: Any) -> Any:
    """Take tensors, and lists of them, off the graph and the accelerator."""
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _axes(ax: Axes | None, figsize: tuple[float, float] | None = None) -> Axes:
    if not isinstance(ax, Axes | None):
        raise TypeError(f"ax must be matplotlib Axes or None, got {type(ax).__name__}")
    return plt.subplots(figsize=figsize)[1] if ax is None else ax


def _refuse_unequal(name: str, labels: Sequence[Any] | None, count: int) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} {name} for {count} of them: pass exactly {count}")


def _refuse_empty(name: str, values: Mapping[str, Any]) -> None:
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} must be a dict {{label: values}}, got {type(values).__name__}")
    if not values:
        raise ValueError(f"{name} must be a dict with at least one {{label: values}}, got {{}}")


def _halo(width: float = 3.0) -> list[withStroke]:
    return [withStroke(linewidth=width, foreground="white")]


# ----------------------------------------------------------------------------------------- images


def mosaic(images: Any, columns: int, gap: int = 2) -> np.ndarray:
    """Lay square images out in rows, the first at the top left.

    Args:
        images: (N, P) pixels in [0, 1], P a square number such as 784.
        columns: images per row.
        gap: empty pixels between images.

    Returns:
        (H, W) one picture; gaps and missing images are NaN, which no pixel is.

    Raises:
        ValueError: not (N, P), P not a square number, columns below 1, or pixels outside [0, 1].
    """
    images = _array(images, "images", "N P")
    count, side = len(images), math.isqrt(images.shape[1])
    if side * side != images.shape[1]:
        raise ValueError(
            f"images have {images.shape[1]} pixels, expected a square number such as 784"
        )
    _whole("columns", columns, 1)
    _whole("gap", gap, 0)
    if images.min() < -1e-6 or images.max() > 1 + 1e-6:
        span = f"[{images.min():.3g}, {images.max():.3g}]"
        raise ValueError(
            f"pixels lie in {span}, expected [0, 1]: pass pixel means, so sigmoid(logits)"
        )
    rows, pitch = math.ceil(count / columns), side + gap
    picture = np.full((rows * pitch - gap, columns * pitch - gap), np.nan)
    for i, image in enumerate(images):
        top, left = i // columns * pitch, i % columns * pitch
        picture[top : top + side, left : left + side] = image.reshape(side, side)
    return picture


def _inches(length: int, pixels: int) -> float:
    """How long a side of a mosaic is drawn, so that large images and small ones fit the page."""
    return TILE / (math.isqrt(pixels) + 2) * length  # 2: the default gap of mosaic


def _show(ax: Axes, picture: np.ndarray, title: str | None) -> Axes:
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title)
    return ax


def image_grid(
    images: Any, columns: int | None = None, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw images as one mosaic, 0 black and 1 white.

    Args:
        images: (N, P) pixels in [0, 1], P a square number such as 784.
        columns: images per row; as square as possible if None.
        ax: where to draw; a new figure if None.
        title: written above.

    Returns:
        the Axes.

    Raises:
        ValueError: see `mosaic`.
    """
    count, pixels = _array(images, "images", "N P").shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    picture = mosaic(images, columns)
    height, width = (_inches(length, pixels) for length in picture.shape)
    ax = _axes(ax, (width + 0.2, height + (0.6 if title else 0.2)))
    _show(ax, picture, title).images[-1].set_label(f"{count} images, {columns} in a row")
    return ax


def image_rows(
    rows: Mapping[str, Any],
    column_labels: Sequence[Any] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw labeled rows of images, such as inputs above their reconstructions.

    Args:
        rows: {row label: (n, P) pixels in [0, 1]}, the same n in every row.
        column_labels: n labels, written above the columns.
        ax: where to draw; a new figure if None.
        title: written above.

    Returns:
        the Axes; its y ticks are the row labels, its x ticks the column labels.

    Raises:
        ValueError: no row, rows of different lengths, a label too many or too few, or see `mosaic`.
    """
    _refuse_empty("rows", rows)
    arrays = [_array(images, f"row {label!r}", "n P") for label, images in rows.items()]
    n, pixels = arrays[0].shape
    arrays = [_array(a, f"row {label!r}", "n P", n=n, P=pixels) for label, a in zip(rows, arrays)]
    _refuse_unequal("column labels", column_labels, n)
    picture = mosaic(np.concatenate(arrays), n)
    height, width = (_inches(length, pixels) for length in picture.shape)
    margin = 0.4 + 0.105 * max(len(str(label)) for label in rows)
    ax = _show(_axes(ax, (width + margin, height + 0.7)), picture, title)
    ax.images[-1].set_label(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'} of {n} images")
    side = math.isqrt(pixels)
    pitch = side + 2  # the default gap of mosaic
    ax.set_yticks([i * pitch + (side - 1) / 2 for i in range(len(rows))], list(rows))
    if column_labels is not None:
        ax.set_xticks(
            [j * pitch + (side - 1) / 2 for j in range(n)], [str(c) for c in column_labels]
        )
    ax.tick_params(length=0, labelbottom=False, labeltop=True)
    return ax


def traversals(
    images: Any,
    row_labels: Sequence[str],
    column_values: Any,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw what happens to an image while one latent dimension moves, a row per dimension.

    Args:
        images: (rows, steps, P) pixels in [0, 1].
        row_labels: one per row, such as "z[17], 1.9 nats".
        column_values: (steps,) the values that the dimension takes.
        ax: where to draw; a new figure if None.
        title: written above.

    Returns:
        the Axes.

    Raises:
        ValueError: labels or values do not fit the images, two labels are equal, or see `mosaic`.
    """
    images = _array(images, "images", "rows steps P")
    _refuse_unequal("row labels", row_labels, len(images))
    if len(set(row_labels)) != len(row_labels):
        raise ValueError(f"row labels are {list(row_labels)}, expected all of them to differ")
    values = _array(column_values, "column_values", "steps", steps=images.shape[1])
    columns = [f"{value:+.3g}".replace("-", "−") if value else "0" for value in values]
    return image_rows(dict(zip(row_labels, images)), columns, ax, title)


def latent_scatter(mu: Any, labels: Any, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw posterior means in a two-dimensional latent space, a color *and* a marker per class.

    Args:
        mu: (N, 2) posterior means.
        labels: (N,) whole numbers, at most ten different ones; each is written at its class mean.
            What has no label (-1) is drawn in light gray.
        ax: where to draw; a new figure if None.
        title: written above.

    Returns:
        the Axes.

    Raises:
        ValueError: shapes do not fit, mu has not two columns, or there are more than ten classes.
    """
    mu = _array(mu, "mu", "N two", two=2)
    labels = _classes(labels, len(mu))
    classes = np.unique(labels[labels >= 0])
    if len(classes) > len(CYCLE):
        raise ValueError(f"labels hold {len(classes)} classes, expected at most {len(CYCLE)}")
    ax = _axes(ax, (6.4, 6.4))
    if (labels < 0).any():
        x, y = mu[labels < 0].T
        ax.scatter(x, y, s=16, color="#BBBBBB", linewidth=0, label="no label")
    for name, color, marker in zip(classes, CYCLE, DIGIT_MARKERS):
        x, y = mu[labels == name].T
        ax.scatter(x, y, s=16, color=color, marker=marker, alpha=0.6, linewidth=0, label=str(name))
    _write_classes(ax, mu, labels)
    ax.set(xlabel=r"$\mu_1$", ylabel=r"$\mu_2$")
    ax.set_aspect("equal", adjustable="datalim")
    if title:
        ax.set_title(title)
    return ax


def _classes(labels: Any, count: int) -> np.ndarray:
    given = _array(labels, "labels", "N", N=count)
    labels = given.astype(int)
    if (labels != given).any():
        raise ValueError(f"labels must be whole numbers, got {given[labels != given][0]:g}")
    return labels


def _write_classes(ax: Axes, mu: np.ndarray, labels: np.ndarray) -> None:
    """Write every class at the mean of its points, in its color."""
    write: dict[str, Any] = {"size": 20, "weight": "bold", "ha": "center", "va": "center"}
    for name, color in zip(np.unique(labels[labels >= 0]), CYCLE):
        x, y = mu[labels == name].mean(axis=0)
        dark = "#8C8200" if color == YELLOW else color  # yellow on white cannot be read
        ax.text(x, y, str(name), color=dark, path_effects=_halo(5), **write)


# ------------------------------------------------------------------------------- training, curves

_PANELS = (
    ("−ELBO, lower is better", "elbo", -1),
    ("distortion D", "distortion", 1),
    ("rate R", "rate", 1),
)


def training_curves(history: Any, axes: Any = None) -> Figure:
    """Draw -ELBO, distortion and rate against the step, each in its own panel.

    Args:
        history: an object with `steps`, `elbo`, `distortion`, `rate` (evaluations, nats per
            image), or {label: such objects} to compare runs. For a single run `train_steps` and
            `train_loss` (what the optimizer saw, batch by batch) lie behind -ELBO. The limits
            leave out step 0.
        axes: three Axes to draw into; a new figure if None.

    Returns:
        the Figure.

    Raises:
        ValueError: not three axes, or the lists differ in length.
    """
    single = not isinstance(history, Mapping)
    runs = {"": history} if single else dict(history)
    _refuse_empty("history", runs)
    if axes is not None and len(axes) != 3:
        raise ValueError(f"{len(axes)} axes were passed, expected 3: -ELBO, distortion and rate")
    data = {label: _evaluations(run) for label, run in runs.items()}
    if axes is None:
        axes = plt.subplots(1, 3, figsize=(12, 3.8), sharex=True)[1]
    for ax, (title, key, _) in zip(axes, _PANELS):
        colors = [COLORS[key]] if single else palette(runs)
        for (label, (steps, values)), color in zip(data.items(), colors):
            ax.plot(steps, values[key], "o-", color=color, label=label or "test images")
        ax.set(title=title, xlabel="step", ylabel=NATS if ax is axes[0] else "")
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        _zoom(ax, [(steps, values[key]) for steps, values in data.values()])
    if single and len(history.train_steps):
        _training_loss(axes[0], history)
    axes[0].legend()
    return axes[0].figure


def _evaluations(run: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if not hasattr(run, "steps"):
        raise TypeError(f"history must be what fit returns, or a dict of it, got {run!r}")
    steps = _array(run.steps, "steps of history", "T")
    return steps, {
        key: sign * _array(getattr(run, key), key, "T", T=len(steps)) for _, key, sign in _PANELS
    }


def _zoom(ax: Axes, lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Fit the y limits to what comes after step 0: an untrained model would flatten the rest."""
    later = [values[steps > 0] if steps.max() > 0 else values for steps, values in lines]
    low, high = np.concatenate(later).min(), np.concatenate(later).max()
    margin = 0.08 * (high - low or 1.0)
    ax.set_ylim(low - margin, high + margin)


def _training_loss(ax: Axes, run: Any) -> None:
    """Draw the loss of every batch behind the evaluations, in view from the first of them on."""
    steps = _array(run.train_steps, "train_steps", "T")
    loss = _array(run.train_loss, "train_loss", "T", T=len(steps))
    style: dict[str, Any] = {"color": GRAY, "alpha": 0.55, "linewidth": 0.7, "zorder": 1}
    ax.plot(steps, loss, **style)
    ax.plot([], color=GRAY, label="training loss, per batch")  # a line thick enough for the legend
    after = loss[steps >= min((s for s in run.steps if s > 0), default=0)]
    if len(after):
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, after.min()), max(high, after.max()))


def curves(
    x: Any, lines: Mapping[str, Any], ax: Axes | None = None, xlabel: str = "", ylabel: str = ""
) -> Axes:
    """Draw labeled lines over one x, each with a band if it has one.

    Args:
        x: (T,) shared by all lines.
        lines: {label: (T,)} or {label: (mean, lower, upper)}, a tuple of three (T,).
        ax: where to draw; a new figure if None.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.

    Returns:
        the Axes.

    Raises:
        ValueError: no line, or a line whose length is not that of x.
    """
    _refuse_empty("lines", lines)
    x = _array(x, "x", "T")
    data = {
        label: [_array(v, f"line {label!r}", "T", T=len(x)) for v in _band(label, y)]
        for label, y in lines.items()
    }
    ax = _axes(ax)
    for (label, (y, *band)), color in zip(data.items(), palette(data)):
        ax.plot(x, y, color=color, label=label)
        if band:
            ax.fill_between(x, band[0], band[1], color=color, alpha=0.2, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return ax


def _pair(name: str, label: str, pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"{name} must hold a tuple of two for {label!r}, got {pair!r}")
    return pair


def _band(label: str, y: Any) -> tuple[Any, ...]:
    if not isinstance(y, tuple):
        return (y,)
    if len(y) != 3:
        raise ValueError(
            f"{label!r} is a tuple of {len(y)}, expected (mean, lower, upper), or one array"
        )
    return y


def schedule_curves(lines: Mapping[str, tuple[Any, Any]], ax: Axes | None = None) -> Axes:
    """Draw beta against the progress of training, a line style per schedule.

    Args:
        lines: {label: (progress (T,) in [0, 1], beta (T,))}.
        ax: where to draw; a new figure if None.

    Returns:
        the Axes.

    Raises:
        ValueError: no schedule, or progress and beta differ in length.
    """
    _refuse_empty("lines", lines)
    data = {}
    for label, pair in lines.items():
        progress, beta = _pair("lines", label, pair)
        progress = _array(progress, f"progress of {label!r} in lines", "T")
        data[label] = progress, _array(beta, f"beta of {label!r} in lines", "T", T=len(progress))
    ax = _axes(ax)
    for i, ((label, (progress, beta)), color) in enumerate(zip(data.items(), palette(data))):
        style: dict[str, Any] = {
            "linestyle": LINESTYLES[i % len(LINESTYLES)],
            "linewidth": max(1.5, 3.4 - 0.4 * i),
        }
        ax.plot(
            progress, beta, color=color, label=label, **style
        )  # thinner on top: overlaps stay visible
    ax.set(
        xlabel="progress through training",
        ylabel=r"$\beta$, the weight on the rate",
        ylim=(-0.04, None),
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


# --------------------------------------------------------------------------------- the KL per dim


def _sorted_dims(kl: np.ndarray, order: Any) -> np.ndarray:
    if order is None:
        return np.argsort(-kl, kind="stable")
    places = _array(order, "order", "D", D=len(kl)).astype(int)
    if sorted(places) != list(range(len(kl))):
        raise ValueError(f"order is {list(places)}, expected every index 0 .. {len(kl) - 1} once")
    return places


def kl_bars(
    kl_per_dim: Any,
    ax: Axes | None = None,
    *,
    order: Any = None,
    label: str | None = None,
    color: str = COLORS["rate"],
    threshold: float | None = None,
) -> Axes:
    """Draw the KL of every latent dimension as a bar, the largest first.

    Args:
        kl_per_dim: (D,) nats, already averaged over images.
        ax: where to draw; a new figure if None.
        order: (D,) indices, which dimension stands at each place; sorted by KL if None.
        label: title, completed by how many dimensions exceed the threshold.
        color: of the bars.
        threshold: nats; a line is drawn there and bars that do not reach above it are pale.

    Returns:
        the Axes.

    Raises:
        ValueError: not (D,), or order is not a permutation of the D indices.
    """
    kl = _array(kl_per_dim, "kl_per_dim", "D")
    if threshold is not None:
        _number("threshold", threshold, 0)
    order = _sorted_dims(kl, order)
    ax = _axes(ax)
    bars = ax.bar(range(len(kl)), kl[order], color=color, width=0.8)
    if threshold is not None:
        for bar in bars:
            bar.set_alpha(1.0 if bar.get_height() > threshold else 0.35)
        ax.axhline(threshold, color=BLACK, linewidth=1.2, linestyle="--")
        count = f"{(kl > threshold).sum()} of {len(kl)} above {threshold:g}"
        label = f"{label}: {count}" if label else count
    ax.set_title(label or "")
    ax.set_ylabel("KL in nats")
    _dim_ticks(ax, order, falling=bool((np.diff(kl[order]) <= 0).all()))
    return ax


def _dim_ticks(ax: Axes, order: np.ndarray, falling: bool) -> None:
    """Name the dimensions below the bars while they can be read, else only count them."""
    few = len(order) <= 20
    ax.set_xticks(range(len(order)) if few else [], [str(d) for d in order] if few else None)
    name = "latent dimension" if few else f"{len(order)} latent dimensions"
    ax.set_xlabel(name + (", sorted by KL" if falling else ""))
    ax.set_xlim(-0.8, len(order) - 0.2)
    ax.grid(False, axis="x")


def kl_and_weights(kl: Any, weight_norms: Any) -> Figure:
    """Draw the KL above the decoder's weight norm of every dimension, both in the order of the KL.

    Args:
        kl: (D,) nats.
        weight_norms: (D,) norms of the decoder's first-layer weights, one per latent dimension.

    Returns:
        the Figure, with two Axes.

    Raises:
        ValueError: the two differ in length.
    """
    kl = _array(kl, "kl", "D")
    norms = _array(weight_norms, "weight_norms", "D", D=len(kl))
    order = _sorted_dims(kl, None)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), sharex=True)
    kl_bars(kl, top, order=order, label="What the encoder puts into a dimension")
    top.set_xlabel("")
    bottom.bar(range(len(kl)), norms[order], color=COLORS["decoder"], width=0.8)
    bottom.set(ylabel="weight norm", title="What the decoder takes out of it")
    _dim_ticks(bottom, order, falling=True)
    return figure


def kl_heatmap(steps: Any, kl: Any, ax: Axes | None = None) -> Axes:
    """Draw how the KL of every dimension grows in training, the largest at the end on top.

    Args:
        steps: (T,) training steps, increasing.
        kl: (T, D) nats.
        ax: where to draw; a new figure if None.

    Returns:
        the Axes; a color bar in nats stands beside it.

    Raises:
        ValueError: shapes do not fit, or fewer than two steps.
    """
    steps = _array(steps, "steps", "T")
    kl = _array(kl, "kl", "T D", T=len(steps))
    if len(steps) < 2:
        raise ValueError(
            "one step was passed, expected at least 2: a map over time needs a span of time"
        )
    order = _sorted_dims(kl[-1], None)
    ax = _axes(ax)
    ranks = np.arange(1, len(order) + 1)
    mesh = ax.pcolormesh(steps, ranks, kl[:, order].T, shading="nearest", cmap="viridis", vmin=0)
    ax.figure.colorbar(mesh, ax=ax, label="KL in nats")
    ax.invert_yaxis()
    ax.set(xlabel="step", ylabel="latent dimensions, by final KL")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.grid(False)
    return ax


# -------------------------------------------------------------------------------------- the bound


def rate_distortion(
    paths: Mapping[str, tuple[Any, Any]],
    ax: Axes | None = None,
    *,
    iso_elbo: Sequence[float] | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Axes:
    """Draw models, or their way through training, in the rate-distortion plane.

    Args:
        paths: {label: (rate (T,), distortion (T,))}, nats per image; numbers for a single point.
            A path starts at a hollow dot and ends at a full one; arrows point forward in time.
        ax: where to draw; a new figure if None.
        iso_elbo: values of -ELBO = D + R whose lines are drawn; chosen by the limits if None,
            () for none.
        xlim: limits of the rate, nats.
        ylim: limits of the distortion, nats.

    Returns:
        the Axes. Along a gray line the ELBO is the same; toward the lower left it is better.

    Raises:
        ValueError: no path, or rate and distortion differ in length.

    Source: Alemi et al. 2018, Fixing a Broken ELBO, Fig. 1 (the plane; -ELBO = D + R).
    """
    _refuse_empty("paths", paths)
    data = {k: _rate_and_distortion(k, *_pair("paths", k, pair)) for k, pair in paths.items()}
    for limits, what in ((xlim, "xlim"), (ylim, "ylim")):
        if limits is not None:
            _array(limits, what, "ends", ends=2)
    if iso_elbo is not None and np.size(iso_elbo):
        _array(iso_elbo, "iso_elbo", "lines")
    ax = _axes(ax, (7.5, 5.4))
    for (label, (rate, distortion)), color in zip(data.items(), palette(data)):
        _path(ax, rate, distortion, color, label)
    ax.set(xlabel="rate R in nats", ylabel="distortion D in nats")
    ax.set_title("On a gray line D + R is the same; lower left is a better bound", size=13)
    ax.margins(0.08)
    ax.set(xlim=xlim or ax.get_xlim(), ylim=ylim or ax.get_ylim())
    _iso_lines(ax, iso_elbo)
    ax.grid(False)
    ax.legend()
    return ax


def _rate_and_distortion(label: str, rate: Any, distortion: Any) -> tuple[np.ndarray, np.ndarray]:
    rate = _array(np.atleast_1d(_plain(rate)), f"rate of {label!r} in paths", "T")
    distortion = np.atleast_1d(_plain(distortion))
    return rate, _array(distortion, f"distortion of {label!r} in paths", "T", T=len(rate))


def _path(ax: Axes, rate: np.ndarray, distortion: np.ndarray, color: str, label: str) -> None:
    ax.plot(rate, distortion, color=color, linewidth=1.8)
    ax.plot(rate[-1], distortion[-1], "o", markersize=10, color=color, label=label)
    if len(rate) == 1:
        return
    ax.plot(rate[0], distortion[0], "o", markersize=8, markerfacecolor="white", color=color)
    for i in {len(rate) // 3, 2 * len(rate) // 3} - {0}:
        ends = (rate[i], distortion[i]), (rate[i - 1], distortion[i - 1])
        ax.annotate(
            "", *ends, arrowprops={"arrowstyle": "-|>", "color": color, "mutation_scale": 18}
        )


def _iso_lines(ax: Axes, levels: Sequence[float] | None) -> None:
    """Draw D + R = c and write c on each line, where it enters the axes at the upper left."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    if levels is None:
        levels = [c for c in MaxNLocator(7).tick_values(x0 + y0, x1 + y1) if x0 + y0 < c < x1 + y1]
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    for level in levels:
        ax.axline((x0, level - x0), slope=-1, color="#BBBBBB", linewidth=1, zorder=0)
        left, right = max(x0, level - y1), min(x1, level - y0)
        if right - left < 0.25 * (x1 - x0):
            continue  # the line only cuts a corner
        x = left + 0.02 * (x1 - x0)
        text: dict[str, Any] = {
            "rotation": -45,
            "rotation_mode": "anchor",
            "transform_rotates_text": True,
            "color": "#666666",
        }
        place: dict[str, Any] = {"ha": "left", "va": "center", "size": 12, "zorder": 1}
        ax.text(x, level - x, f"−ELBO = {level:g}", bbox=box, **text, **place)


# ------------------------------------------------------------------------------------------ seeds


def dot_with_spread(
    values: Mapping[str, Any],
    ax: Axes | None = None,
    xlabel: str = "",
    reference: float | None = None,
) -> Axes:
    """Draw every seed as a dot and the mean as a bar, a row per method.

    Args:
        values: {label: (S,) one value per seed}.
        ax: where to draw; a new figure if None.
        xlabel: what the values are, with their unit.
        reference: a vertical line, such as 0 for differences.

    Returns:
        the Axes; the first label stands at the top.

    Raises:
        ValueError: no method, or not (S,).
    """
    _refuse_empty("values", values)
    if reference is not None:
        _number("reference", reference)
    data = {label: _array(v, label, "S") for label, v in values.items()}
    ax = _axes(ax, (8, 1.2 + 0.6 * len(data)))
    if reference is not None:
        ax.axvline(reference, color=BLACK, linewidth=1.2)
    for row, (points, color) in enumerate(zip(data.values(), palette(data))):
        mean = points.mean()
        ax.plot([mean, mean], [row - 0.32, row + 0.32], color=color, linewidth=2.6)
        ax.scatter(
            points,
            np.full(len(points), row),
            s=75,
            color=color,
            alpha=0.6,
            edgecolor="white",
            zorder=3,
        )
    ax.set_yticks(range(len(data)), list(data))
    ax.set(xlabel=xlabel, ylim=(len(data) - 0.5, -0.5))
    ax.grid(False, axis="y")
    return ax


def paired_differences(
    values: Mapping[str, Any], baseline: str = "vanilla", ax: Axes | None = None, xlabel: str = ""
) -> Axes:
    """Draw differences to a baseline, seed by seed: what a seed does to both cancels.

    Args:
        values: {label: (S,)}, the s-th value of every label from the same seed.
        baseline: the label that is subtracted.
        ax: where to draw; a new figure if None.
        xlabel: what the values are, with their unit; "minus {baseline}" is added.

    Returns:
        the Axes, with a line at zero.

    Raises:
        ValueError: the baseline is missing or alone, or numbers of seeds differ.
    """
    _refuse_empty("values", values)
    if baseline not in values or len(values) < 2:
        labels = list(values)
        raise ValueError(f"labels are {labels}, expected baseline {baseline!r} and another one")
    base = _array(values[baseline], baseline, "S")
    others = {k: _array(v, k, "S", S=len(base)) - base for k, v in values.items() if k != baseline}
    return dot_with_spread(others, ax, f"{xlabel}, minus {baseline}".lstrip(", "), reference=0.0)


# --------------------------------------------------------- lesson 1: a latent plane and its prior


def prior_circle(ax: Axes | None = None, share: float = 0.95) -> Axes:
    """Draw the circle around the origin that holds a share of N(0, I) in two dimensions.

    Args:
        ax: where to draw, in latent units; a new figure if None.
        share: of the prior, in (0, 1).

    Returns:
        the Axes.

    Raises:
        ValueError: share is not between 0 and 1.
    """
    radius, ax = _radius(share), _axes(ax)
    angle = np.linspace(0, 2 * math.pi, 200)
    style: dict[str, Any] = {"linewidth": 3, "label": f"circle: {share:.0%} of the prior"}
    ax.plot(radius * np.cos(angle), radius * np.sin(angle).round(12), color=BLACK, **style)
    return ax


def posterior_ellipses(
    mu: Any, logvar: Any, labels: Any, ax: Axes | None = None, share: float = 0.95
) -> Axes:
    """Draw q(z|x) of images in a latent plane, each as the ellipse that holds a share of it.

    Args:
        mu: (N, 2) means.
        logvar: (N, 2) log sigma^2.
        labels: (N,) whole numbers; each class has a color and is written at its mean.
        ax: where to draw; a new figure if None.
        share: of each posterior that its ellipse holds, in (0, 1).

    Returns:
        the Axes.

    Raises:
        ValueError: shapes do not fit, or share is not between 0 and 1.
    """
    mu = _array(mu, "mu", "N two", two=2)
    sigma = np.exp(0.5 * _array(logvar, "logvar", "N two", N=len(mu), two=2))
    labels = _classes(labels, len(mu))
    radius, ax = _radius(share), _axes(ax, (6.4, 6.4))
    for center, axes, label in zip(mu, sigma, np.unique(labels, return_inverse=True)[1]):
        width, height = 2 * radius * axes
        style: dict[str, Any] = {"color": CYCLE[label % len(CYCLE)], "alpha": 0.45, "linewidth": 0}
        ax.add_patch(Ellipse(tuple(center), width, height, **style))
    ax.scatter(mu[:, 0], mu[:, 1], s=4, color=BLACK, zorder=3, label="mean of an ellipse")
    _write_classes(ax, mu, labels)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    ax.set_aspect("equal", adjustable="datalim")
    return ax


def _radius(share: float) -> float:
    """How many standard deviations hold a share of a round normal distribution in the plane."""
    _number("share", share)
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    return math.sqrt(-2 * math.log(1 - share))
