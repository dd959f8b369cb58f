"""Two editions of the lessons for a class: notebooks without solutions, and slides.

`make student` and `make slides`. Both start from the lessons as they are committed; nothing is run.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import re
import shutil
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor
from nbformat import NotebookNode, v4

from pages import PAGES, ROOT, STUDENT, copy_mathjax, local_links, title, without_guards
from publish import HERE, with_badges

SLIDES = PAGES / "slides"
REVEAL = ROOT / "build" / "reveal" / "sphinx_revealjs" / "_static" / "revealjs"

# A slide is 1280 x 720 and holds 19 lines of prose of 100 letters; what is longer can be scrolled.
LINES, LETTERS, PIXELS = 19, 100, 34
CODE, FORMULA = 0.8, 1.6  # height of a line of code, and of a row of a displayed equation


def without_solutions(path: Path) -> NotebookNode:
    """Read a lesson without its solutions, the words that introduce them, and the badge.

    A badge opens the lesson with its solutions.
    """
    nb = nbformat.read(path, as_version=4)
    for text, solution in pairwise(nb.cells):
        if "solution" in solution.metadata.get("tags", []) and "</details>" in text.source:
            hint, fold, _ = text.source.rpartition("</details>")
            text.source = hint + fold
    nb, _ = TagRemovePreprocessor(remove_cell_tags={"solution"}).preprocess(nb, {})
    nb.cells[0].source = with_badges(nb.cells[0].source, "")
    return nb


def student(path: Path, folder: Path = STUDENT) -> Path:
    """Write a lesson without solutions and outputs.

    Inside this repository, its first cell looks for the package where it lies from there.

    Args:
        path: the notebook.
        folder: where the edition goes.

    Returns:
        The edition.
    """
    nb, _ = ClearOutputPreprocessor().preprocess(without_solutions(path), {})
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve().is_relative_to(ROOT):
        place = Path(os.path.relpath(ROOT, folder.resolve())).as_posix()
        for cell in nb.cells:
            cell.source = cell.source.replace(f'SOURCE = "{HERE}"', f'SOURCE = "{place}"')
    nbformat.write(nb, folder / path.name)
    return folder / path.name


def slides(path: Path, folder: Path = SLIDES) -> Path:
    """Write a lesson as slides.

    Args:
        path: the notebook, executed.
        folder: where the slides go; reveal.js is expected in ``folder / "reveal"`` and MathJax in
            ``folder.parent / "mathjax"``.

    Returns:
        The slides. They ask the network for nothing.
    """
    nb = without_guards(without_solutions(path))
    bring_back(nb, folder.parent.parent / "live" / f"{path.stem}.json")
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = local_links(cell.source)
    nb = cut(nb)
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(ROOT / "tools")],
        extra_template_paths=[str(ROOT / "tools")],
        mathjax_url="../mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe",
        reveal_url_prefix="reveal",
        reveal_theme="white",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    html, _ = exporter.from_notebook_node(nb, {"metadata": {"name": title(nb, path)}})
    target = folder / path.with_suffix(".html").name
    target.write_text(html, encoding="utf-8")
    return target


def bring_back(nb: NotebookNode, made: Path) -> None:
    """Put the explorers of the last `make html` in the place of their pictures."""
    kept = json.loads(made.read_text("utf-8")) if made.exists() else {}
    for cell in nb.cells:
        explorer = kept.get(cell.id, {})
        for output in cell.get("outputs", []):
            shown = "image/png" in output.get("data", {}) and output.output_type != "stream"
            if shown and explorer.get("source") == cell.source:
                output.data = nbformat.from_dict({"text/html": explorer["html"]})
    if not kept:
        print("    (explorers as pictures: `make html` makes them move)")


def cut(nb: NotebookNode) -> NotebookNode:
    """Begin a slide at every heading, around every prediction, and where the last one is full."""
    nb.cells = [part for cell in nb.cells for part in paragraphs(cell)]
    used, asked = 0.0, False
    for part, following in zip(nb.cells, [*nb.cells[1:], None]):
        predict = part.source.startswith("> **Predict")
        kind = heading(part) or ("subslide" if predict or asked else "-")
        if kind == "-" and used > 2.5 and used + needed(part, following) > LINES:
            kind = "subslide"
        part.metadata.slideshow = {"slide_type": kind}
        used, asked = height(part) + (used if kind == "-" else 0), predict
    return nb


def paragraphs(cell: NotebookNode) -> Iterator[NotebookNode]:
    """The paragraphs of a text as cells; other cells, and what is folded, as they are."""
    if cell.cell_type != "markdown" or "<details" in cell.source:
        yield cell
        return
    for i, source in enumerate(re.split(r"\n\s*\n", cell.source.strip())):
        yield v4.new_markdown_cell(source, id=f"{cell.id}-{i}")


def heading(part: NotebookNode) -> str | None:
    """What begins with a part that is a heading: a slide, or one below the last."""
    if part.cell_type == "markdown" and part.source.startswith("#"):
        return "subslide" if part.source.startswith("###") else "slide"
    return None


def needed(part: NotebookNode, following: NotebookNode | None) -> float:
    """How much room a part needs; a sentence stays with the code that it introduces."""
    room = height(part)
    if part.cell_type == "markdown" and following is not None and following.cell_type == "code":
        room += min(height(following), LINES - room)
    return room


def height(part: NotebookNode) -> float:
    """About how many lines of a slide a cell takes."""
    if part.cell_type == "markdown":
        return 0.7 + text_height(part.source)
    lines = CODE * len(part.source.splitlines()) + 1
    for output in part.outputs:
        data = output.get("data", {})
        if "vaelab-place" in data.get("text/html", ""):
            lines += LINES  # an explorer has a slide of its own
        elif "image/png" in data:
            lines += min(picture_height(data["image/png"]), 15) + 0.5
        elif "text/markdown" in data:
            lines += text_height(data["text/markdown"])
        else:
            lines += CODE * len((output.get("text") or data.get("text/plain", "")).splitlines())
    return lines


def text_height(markdown: str) -> float:
    """About how many lines a text takes: prose wraps, code does not, equations are tall."""
    if markdown.startswith("```"):
        return CODE * len(markdown.splitlines())
    if "$$" in markdown:
        return FORMULA * (1.5 + markdown.count(r"\\"))
    return sum(math.ceil(len(line) / LETTERS) for line in markdown.splitlines())


def picture_height(png: str) -> float:
    """The height of a picture in lines, from the header of the PNG."""
    _, pixels = struct.unpack(">II", base64.b64decode(png[:64])[16:24])
    return pixels / PIXELS


def copy_reveal(folder: Path = SLIDES) -> None:
    """Lay the reveal.js that `make slides` took from a Python package beside the slides."""
    for part in ("dist", "plugin/notes"):
        shutil.copytree(REVEAL / part, folder / "reveal" / part, dirs_exist_ok=True)
    shutil.copy(REVEAL / "LICENSE", folder / "reveal")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["student", "slides"])
    parser.add_argument("lessons", nargs="+", type=Path)
    args = parser.parse_args()
    if args.command == "slides":
        copy_mathjax()
        copy_reveal()
    for path in args.lessons:
        print(f"    {slides(path) if args.command == 'slides' else student(path)}")


if __name__ == "__main__":
    main()
