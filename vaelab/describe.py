"""Words for pictures: what a figure shows, for readers who hear it read aloud.

A drawing says it itself (`Figure.set_label`). For a chart, the words are made from what was drawn:
titles, axes, and where each line begins and ends. Pages put them into the `alt` of the image.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from IPython import get_ipython
from matplotlib.dates import DateLocator, num2date

MOST = 12  # lines, bars or labels that are told one by one


def describe(figure: Any) -> str:
    """Say what a matplotlib figure shows.

    Args:
        figure: a drawing with a label of its own, or a chart.

    Returns:
        Its label, or a description of each of its panels, in plain words.
    """
    if figure.get_label():
        return _plain(figure.get_label())
    panels = [text for ax in figure.axes if (text := " ".join(filter(None, _panel(ax))))]
    if len(panels) > 1:
        panels = [f"Panel {i} of {len(panels)}: {text}" for i, text in enumerate(panels, 1)]
    title = figure.get_suptitle() if hasattr(figure, "get_suptitle") else ""  # matplotlib 3.8
    return " ".join(filter(None, [_sentence(title), *panels]))


def describe_what_is_shown() -> None:
    """Send the words along with every figure that a notebook shows, as metadata of the image."""
    shell = get_ipython()
    if shell is not None:
        formatter = shell.display_formatter.mimebundle_formatter
        formatter.for_type_by_name("matplotlib.figure", "Figure", _metadata)


def _metadata(figure: Any, **_: Any) -> tuple[dict, dict]:
    """The words, where there are any; a figure that defies them is shown without, in silence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            words = describe(figure)
    except Exception:  # anyone's figure may hold anything, and must be seen all the same
        words = ""
    return {}, {"image/png": {"alt": words}} if words else {}


def _panel(ax: Any) -> Iterator[str]:
    yield _sentence(ax.get_title(loc="left") or ax.get_title())
    if hasattr(ax, "_colorbar"):
        yield f"Color scale: {_axis(ax.yaxis)}."
        return
    if ax.images:
        yield from _pictures(ax)
    if not ax.axison:
        return
    if not ax.images:
        yield from (
            f"{name}: {_axis(axis)}." for name, axis in (("Across", ax.xaxis), ("Up", ax.yaxis))
        )
    yield from _lines(ax)
    yield from _bars(ax)
    yield from _points(ax)
    written = [_plain(text.get_text()) for text in ax.texts if text.get_text().strip()]
    if written:
        yield f"Written in it: {_list(written)}."


def _pictures(ax: Any) -> Iterator[str]:
    """Rows and columns of images."""
    rows, columns = (_ticks(axis) for axis in (ax.yaxis, ax.xaxis))
    if ax.get_xlabel() or ax.get_ylabel():
        yield f"An image. Across: {_axis(ax.xaxis)}. Up: {_axis(ax.yaxis)}."
    else:
        told = ax.images[0].get_label()
        yield "An image." if told.startswith("_") else f"{told}."
        if rows:
            yield f"Rows: {_list(rows)}."
        if columns:
            yield f"Columns: {_list(columns)}."


def _lines(ax: Any) -> Iterator[str]:
    """Every line with a name, and those without one if that leaves only single points."""
    errors = [group for group in ax.containers if hasattr(group, "has_yerr")]
    names = {group.lines[0]: group.get_label() for group in errors if group.lines[0]}
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    names |= {line: line.get_label() for line in drawn if line.get_label()[:1] != "_"}
    yield from (f"{_plain(name)}: {_course(line)}." for line, name in names.items())
    rest = [line for line in drawn if line not in names and len(line.get_xdata()) > 1]
    if all(len(line.get_xdata()) == 1 for line in names):
        yield from _unnamed(rest)
    empty = [line.get_label() for line in ax.lines if not len(line.get_xdata())]
    keys = [_plain(label) for label in empty if label[:1] != "_"]
    if keys:
        yield f"Key: {_list(keys)}."


def _unnamed(lines: list[Any]) -> Iterator[str]:
    """A few lines one by one, many by where they begin and end."""
    if len(lines) <= MOST:
        yield from (f"A line: {_course(line)}." for line in lines)
        return
    ends = np.array([line.get_ydata(orig=False)[[0, -1]] for line in lines])  # (lines, 2)
    first, last = (f"{_number(end.min())} and {_number(end.max())}" for end in ends.T)
    yield f"{len(lines)} lines: they begin between {first} and end between {last}."


def _course(line: Any) -> str:
    """Where a line begins and ends, and where it is lowest and highest in between."""
    x, y = (np.asarray(part, dtype=float) for part in line.get_data(orig=False))
    x, y = (part[~np.isnan(x + y)] for part in (x.round(6), y))  # a grid through zero may miss it
    if not len(x):
        return "no number to draw"
    across, up = line.axes.xaxis, line.axes.yaxis
    if len(x) == 1:
        return f"a point at {_place(across, x[0])}, {_place(up, y[0])}"
    if len(x) == 2 and (y[0] == y[1] or x[0] == x[1]):  # axhline and axvline among them
        level = y[0] == y[1]
        return f"level at {_place(up, y[0])}" if level else f"upright at {_place(across, x[0])}"
    at = [f"{_place(up, y[i])} at {_place(across, x[i])}" for i in range(len(x))]
    words = [f"from {at[0]} to {at[-1]}"]
    for name, i in (("lowest", y.argmin()), ("highest", y.argmax())):
        if y[i] not in (y[0], y[-1]):
            words.append(f"{name} {at[i]}")
    return ", ".join(words)


def _bars(ax: Any) -> Iterator[str]:
    """Every group of bars, from the first bar to the last."""
    for bars in ax.containers:
        if not hasattr(bars, "orientation"):  # error bars: their line is told
            continue
        sizes = [p.get_height() if bars.orientation == "vertical" else p.get_width() for p in bars]
        name = "" if str(bars.get_label()).startswith("_") else f" {_plain(bars.get_label())}"
        if len(sizes) == 1:
            yield f"A bar{name}: {_number(sizes[0])}."
        elif sizes:
            yield (
                f"{len(sizes)} bars{name}, the first {_number(sizes[0])}, the last "
                f"{_number(sizes[-1])}, the longest {_number(max(sizes))}."
            )


def _points(ax: Any) -> Iterator[str]:
    """Every named group of points, and fields of color."""
    for part in ax.collections:
        kind, name = type(part).__name__, str(part.get_label())
        if kind == "PathCollection" and len(part.get_offsets()):
            middle = zip((ax.xaxis, ax.yaxis), part.get_offsets().mean(axis=0))
            at = ", ".join(_place(axis, value) for axis, value in middle)
            who = "" if name.startswith("_") else f" {_plain(name)}"
            yield f"{len(part.get_offsets())} points{who} around {at}."
        elif kind == "QuadMesh" and np.ma.count(part.get_array()):
            field = part.get_array()
            low, high = _number(field.min()), _number(field.max())
            yield f"A field of {' by '.join(map(str, field.shape))} colors, {low} to {high}."


def _axis(axis: Any) -> str:
    """What an axis measures, and from where to where."""
    low, high = sorted(axis.get_view_interval())
    scale = ", logarithmic" if axis.get_scale() == "log" else ""
    label = _plain(axis.get_label_text()) or "no label"
    named = [text for text in _ticks(axis) if re.search(r"[^\W\d_]{2}", text)]
    if named:
        return f"{label}, {_list(named)}"
    return f"{label}, {_place(axis, low)} to {_place(axis, high)}{scale}"


def _place(axis: Any, value: float) -> str:
    """A value on an axis: a number, or the name or date that stands there."""
    if isinstance(axis.get_major_locator(), DateLocator):
        return f"{num2date(value):%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    named = axis.have_units() and axis.get_major_formatter()(value)
    return _plain(named) if named else _number(value)


def _ticks(axis: Any) -> list[str]:
    texts = [_plain(text.get_text()) for text in axis.get_ticklabels()]
    return [text for text in texts if text]


def _list(texts: list[str]) -> str:
    more = [f"{len(texts) - MOST} more"] if len(texts) > MOST else []
    return "; ".join(texts[:MOST] + more)  # a label may hold a comma


def _sentence(text: str) -> str:
    text = _plain(text)
    return text if not text or text[-1] in ".?!:" else f"{text}."


def _plain(text: Any) -> str:
    """Text without the marks of mathematics, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"\\math\w+|[$\\{}]", "", str(text))).strip()


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
