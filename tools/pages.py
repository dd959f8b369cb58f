"""Execute the lessons: in place (`make notebooks`) or as pages that need no network (`make html`).

Everything here is nbconvert's own; this file says only which steps, and in which order.
"""

from __future__ import annotations

import argparse
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
)
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "html"
STUDENT = ROOT / "build" / "student"
EXPLORER = ROOT / "figures" / "explorer.html"
TEMPLATES = ROOT / "tools" / "page"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT = {"kernelspec", ("language_info", "name")}

# What folds a cell: the first entry in JupyterLab and Notebook 7, with its output; the second is
# what Colab reads, whose title is the `# @title` on the cell's first line.
FOLDED = {"jupyter": {"source_hidden": True, "outputs_hidden": True}, "cellView": "form"}


def executed(path: Path) -> NotebookNode:
    """Run a notebook from top to bottom in a new kernel and clean what the run left in it.

    Args:
        path: the notebook; its own folder is the working directory, as in JupyterLab.

    Returns:
        The notebook with new outputs and no metadata but tags, the kernel's name, and what folds a
        solution.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises.
    """
    nb = nbformat.read(path, as_version=4)
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    steps = [
        ExecutePreprocessor(timeout=1800, store_widget_state=False, record_timing=False),
        CoalesceStreamsPreprocessor(),
        ClearMetadataPreprocessor(
            preserve_cell_metadata_mask={"tags"}, preserve_nb_metadata_mask=KEPT
        ),
    ]
    for step in steps:
        nb, _ = step.preprocess(nb, {"metadata": {"path": str(path.parent)}})
    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        strip_widget_views(cell)
        fold(cell)
    return nb


def fold(cell: NotebookNode) -> None:
    """Fold a code cell with the tag `solution`, so that nobody reads it by accident."""
    if cell.cell_type == "code" and "solution" in cell.metadata.get("tags", []):
        cell.metadata.update(nbformat.from_dict(FOLDED))


def strip_widget_views(cell: NotebookNode) -> None:
    """Leave only a widget's text: where no kernel runs, its view says that it has no model."""
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
    nb = executed(path)
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
