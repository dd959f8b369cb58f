"""Execute the lessons: in place (`make notebooks`) or as pages that need no network (`make html`).

Everything here is nbconvert's own; this file says only which steps, and in which order.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
from html import unescape
from pathlib import Path

import jupyter_server_mathjax
import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbconvert.preprocessors import (
    ClearMetadataPreprocessor,
    CoalesceStreamsPreprocessor,
    ExecutePreprocessor,
    TagRemovePreprocessor,
)
from nbformat import NotebookNode

from kernels import encrypted
from vaelab.widgets.explorer import fragment

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "html"
STUDENT = ROOT / "build" / "student"
EXPLORER = ROOT / "figures" / "explorer.html"
TEMPLATES = ROOT / "tools" / "page"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
KEPT = {"kernelspec", ("language_info", "name")}

# What folds a cell: the first entry in JupyterLab and Notebook 7, with its output; the second is
# what Colab reads, whose title is the `# @title` on the cell's first line.
GUARD = "guard"  # the tag of a cell that asserts what the text claims, and teaches nothing
FOLDED = {"jupyter": {"source_hidden": True, "outputs_hidden": True}, "cellView": "form"}


def executed(path: Path, live: bool = False) -> NotebookNode:
    """Run a notebook from top to bottom in a new kernel and clean what the run left in it.

    Args:
        path: the notebook; its own folder is the working directory, as in JupyterLab.
        live: put each explorer in the place of its picture, as HTML that needs no kernel.

    Returns:
        The notebook with new outputs and no metadata but tags, the kernel's name, and what folds a
        solution.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises.
    """
    nb = nbformat.read(path, as_version=4)
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nb.metadata.pop("widgets", None)
    explorers: dict = {}
    steps = [
        ExecutePreprocessor(
            timeout=1800, store_widget_state=live, record_timing=False, config=encrypted()
        ),
        CoalesceStreamsPreprocessor(),
        ClearMetadataPreprocessor(
            preserve_cell_metadata_mask={"tags"}, preserve_nb_metadata_mask=KEPT
        ),
    ]
    for step in steps:
        nb, _ = step.preprocess(nb, {"metadata": {"path": str(path.parent)}})
        if "widgets" in nb.metadata:  # which the last step clears
            explorers = nb.metadata.widgets.get(WIDGET_STATE, {}).get("state", {})
    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        if live:
            bring_to_life(cell, explorers)
        strip_widget_views(cell)
        fold(cell)
    return nb


def fold(cell: NotebookNode) -> None:
    """Fold a solution, so that nobody reads it by accident, and a cell that only guards a claim."""
    if cell.cell_type == "code" and {"solution", GUARD} & set(cell.metadata.get("tags", [])):
        cell.metadata.update(nbformat.from_dict(FOLDED))


def without_guards(nb: NotebookNode) -> NotebookNode:
    """A notebook for readers: what only guards a claim is left out of pages and slides."""
    return TagRemovePreprocessor(remove_cell_tags={GUARD}).preprocess(nb, {})[0]


def bring_to_life(cell: NotebookNode, states: dict) -> None:
    """Put an explorer in the place of its picture.

    Args:
        cell: whose outputs are changed.
        states: of every widget of the run, by its id, as nbclient keeps them.
    """
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kept = states.get(data.get(WIDGET_VIEW, {}).get("model_id"), {})
        state = kept.get("state", {})
        if "_esm" not in state or "image/png" not in data:
            continue
        given = dict(state["data"])
        for buffer in kept.get("buffers", []):
            given[buffer["path"][-1]] = base64.b64decode(buffer["data"])
        picture, words = data["image/png"], output.metadata["image/png"]["alt"]
        html = fragment(state["_esm"], given, state["values"], picture, words)
        output.data = nbformat.from_dict({"text/html": html})


def keep_alive(nb: NotebookNode, target: Path) -> None:
    """Keep the explorers of a run for the slides, which are made without a run."""
    explorers = {
        cell.id: {"source": cell.source, "html": output.data["text/html"]}
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if "vaelab-place" in output.get("data", {}).get("text/html", "")
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(explorers), encoding="utf-8")


def strip_widget_views(cell: NotebookNode) -> None:
    """Leave a widget's picture and text: where no kernel runs, its view says it has no model."""
    for output in cell.get("outputs", []):
        output.get("data", {}).pop(WIDGET_VIEW, None)


def run(path: Path) -> None:
    """Execute a lesson in place."""
    nbformat.write(executed(path), path)
    print(f"    {path}")


def page(path: Path, folder: Path = PAGES) -> Path:
    """Execute a lesson and write it as a page.

    Args:
        path: the notebook.
        folder: where the page goes; MathJax is expected in ``folder / "mathjax"``.

    Returns:
        The page. Beside a folder with MathJax it asks the network for nothing.
    """
    nb = executed(path, live=True)
    keep_alive(nb, folder.parent / "live" / f"{path.stem}.json")
    nb = without_guards(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = local_links(cell.source)
    exporter = HTMLExporter(
        template_name="page",
        extra_template_basedirs=[str(ROOT / "tools")],
        mathjax_url="mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe",
    )
    html, _ = exporter.from_notebook_node(nb, {"metadata": {"name": title(nb, path)}})
    target = folder / f"{path.stem}.html"
    target.write_text(html, encoding="utf-8")
    print(f"    {target}")
    return target


def local_links(markdown: str) -> str:
    """Point links between lessons to the pages, and put words for pictures from the network."""
    markdown = re.sub(r"\]\((?:\./)?(\d\d_\w+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", markdown)
    return re.sub(r"!\[([^\]]*)\]\(https?://[^)]*\)", r"\1", markdown)


def title(nb: NotebookNode, path: Path) -> str:
    """The first heading without its markup, or the file name if there is none."""
    headings = re.findall(r"^# +(.+)$", nb.cells[0].source, flags=re.MULTILINE)
    return re.sub(r"[*`$\\]", "", headings[0]) if headings else path.stem


def index(pages: list[Path], folder: Path = PAGES) -> Path:
    """Write a page that leads to the others, and to what else lies in the folder.

    Args:
        pages: the lessons, as `page` wrote them.
        folder: where they lie; the explorer, slides and student notebooks are linked if they do.

    Returns:
        The page. Its words are those of the README.
    """
    readme = (ROOT / "README.md").read_text("utf-8")
    aims = dict(re.findall(r"^\| \[.+\]\(notebooks/(\w+)\.ipynb\) \| (.+?) \|", readme, re.M))
    explorer = folder / EXPLORER.name
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    html = template.get_template("home.html.j2").render(
        title=re.findall(r"^# (.+)$", readme, re.M)[0],
        summary=next(part for part in readme.split("\n\n")[1:] if not part.startswith("[")),
        lessons=[
            {
                "page": page.name,
                "title": unescape(re.findall("<title>(.*?)</title>", page.read_text("utf-8"))[0]),
                "aim": aims.get(page.stem),
                "more": editions(page.stem, folder),
            }
            for page in pages
        ],
        explorer=explorer.name if explorer.exists() else None,
    )
    target = folder / "index.html"
    target.write_text(html, encoding="utf-8")
    return target


def editions(stem: str, folder: Path) -> dict[str, str]:
    """What lies in the folder for one lesson, apart from its page: text of the link -> address."""
    number = int(stem[:2])
    offered = {
        f"Slides of lesson {number}": f"slides/{stem}.html",
        f"Notebook of lesson {number} without solutions": f"student/{stem}.ipynb",
    }
    return {text: place for text, place in offered.items() if (folder / place).exists()}


def copy_if_made(source: Path, folder: Path = PAGES) -> None:
    """Lay a file or a folder beside the pages, if it was made."""
    if source.is_dir():
        shutil.copytree(source, folder / source.name, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy(source, folder)


def copy_mathjax(folder: Path = PAGES) -> None:
    """Lay the MathJax that the Python package index ships beside the pages."""
    source = Path(jupyter_server_mathjax.__file__).parent / "static"
    shutil.copytree(source, folder / "mathjax", dirs_exist_ok=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "html"])
    parser.add_argument("lessons", nargs="+", type=Path)
    args = parser.parse_args()
    if args.command == "html":
        copy_mathjax()
        for made in (EXPLORER, STUDENT):
            copy_if_made(made)
        print(f"    {index([page(path) for path in args.lessons])}")
    else:
        for path in args.lessons:
            run(path)


if __name__ == "__main__":
    main()
