"""What the tests of the lessons share: where they are, and how to take one apart."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# The lessons that must exist, in order: one that is lost or renamed is a red test.
EXPECTED = [
    "01_elbo_and_vanilla_vae.ipynb",
    "02_beta_annealing.ipynb",
    "03_soft_free_bits.ipynb",
]


def read(path: Path) -> NotebookNode:
    """A lesson, checked against the notebook format."""
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    return nb


def number(path: Path) -> int:
    """01_elbo_and_vanilla_vae.ipynb -> 1."""
    return int(path.name[:2])


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells, in order."""
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def markdown_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The markdown cells, in order."""
    return [cell for cell in nb.cells if cell.cell_type == "markdown"]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def lines(cell: NotebookNode) -> int:
    """How many lines of a cell are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def parse(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a code cell, magics included."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


def output_texts(cell: NotebookNode) -> list[str]:
    """Every text that a cell printed or displayed."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.text] if output.output_type == "stream" else []
        texts += [str(data) for kind, data in output.get("data", {}).items() if "text/" in kind]
    return texts


def text(source: str) -> NotebookNode:
    """A markdown cell for a made-up lesson."""
    return v4.new_markdown_cell(source)


def code(source: str, stdout: str = "", *, tags: tuple[str, ...] = ()) -> NotebookNode:
    """A code cell for a made-up lesson, with what it printed."""
    outputs = [v4.new_output("stream", name="stdout", text=stdout)] if stdout else []
    metadata = {"tags": list(tags)} if tags else {}
    return v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def lesson(*cells: NotebookNode) -> NotebookNode:
    """A made-up lesson as `make notebooks` leaves one: executed in order, metadata scrubbed."""
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return v4.new_notebook(cells=list(cells), metadata=metadata)
