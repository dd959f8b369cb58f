"""What a lesson's cells need besides the subject itself."""

from __future__ import annotations

import ast
import inspect
import platform
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

import torch
from IPython.display import Markdown


def show_source(*objects: Callable, docstrings: bool = False) -> Markdown:
    """The live source of functions, methods or classes: what is shown is what runs.

    Args:
        objects: functions, methods or classes written in Python.
        docstrings: keep them; without them the code fits a slide.

    Returns:
        A display object with highlighted Python.

    Raises:
        TypeError: if an object has no Python source.
    """
    sources = [textwrap.dedent(inspect.getsource(item)) for item in objects]
    if not docstrings:
        sources = [_without_docstrings(source) for source in sources]
    return Markdown("```python\n" + "\n\n\n".join(source.strip() for source in sources) + "\n```")


def versions() -> str:
    """Python, torch and ipywidgets versions, and what `fit` computes with, in one line."""
    device = {"cpu": "one thread of the CPU", "cuda": "the GPU"}[pick_device()]
    names = ("vaelab", "torch", "ipywidgets")  # asked themselves: vaelab need not be installed
    found = {name: import_module(name).__version__.split("+")[0] for name in names}
    packages = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"Python {platform.python_version()}, {packages}; training on {device}"


def pick_device() -> str:
    """``"cuda"`` where a GPU is at hand, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def as_committed(**settings: tuple[object, object]) -> bool:
    """Whether a lesson runs with the settings that its text is about; if not, one line says so.

    What a lesson asserts about numbers that it trains holds with these settings only:
    ``assert not committed or 109 < cost < 119``.

    Args:
        settings: by name, the value now and the one that the text is about.

    Returns:
        True if they are the same.

    Raises:
        TypeError: if a setting is not two values.
    """
    for name, pair in settings.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"{name} must be two values, now and in the text, got {pair!r}")
    changed = {name: pair for name, pair in settings.items() if pair[0] != pair[1]}
    if changed:
        said = "; ".join(f"{name} is {now}, not {then}" for name, (now, then) in changed.items())
        print(f"{said}: trained numbers will differ from the text, and are not checked against it.")
    return not changed


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    """A small table; floats are shown with one decimal, so format what needs another precision.

    Args:
        header: the column titles, with units.
        rows: one sequence for each row, as long as the header.

    Returns:
        A display object; the first column is left-aligned, the others right-aligned.

    Raises:
        TypeError: if the header or a row is not a list of entries.
        ValueError: if a row is not as long as the header.
    """
    _check_list("header", header)
    lines = [list(header), [":--"] + ["--:"] * (len(header) - 1)]
    for row in rows:
        _check_list("every one of rows", row)
        if len(row) != len(header):
            raise ValueError(
                f"every one of rows needs {len(header)} entries, got {len(row)}: {row}"
            )
        lines.append([f"{item:.1f}" if isinstance(item, float) else str(item) for item in row])
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _check_list(name: str, entries: Sequence[object]) -> None:
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise TypeError(f"{name} must be a list of entries, got {entries!r}")


def _without_docstrings(source: str) -> str:
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno or 0
            lines[first:last] = [None] * (last - first)
    return _squeeze(line for line in lines if line is not None)


def _squeeze(lines: Iterable[str]) -> str:
    """Join lines without the blank ones that a removed docstring left behind."""
    kept: list[str] = []
    for line in lines:
        after_header = bool(kept) and kept[-1].rstrip().endswith(":")
        if line.strip() or not (after_header or (kept and not kept[-1].strip())):
            kept.append(line)
    return "\n".join(kept)
