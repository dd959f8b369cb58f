"""What the tests of the lessons share: where they are, and how to take one apart."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("01_elbo_and_vanilla_vae", "02_beta_annealing", "03_soft_free_bits")
LESSONS = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]


def read(path: Path) -> NotebookNode:
    """A lesson, checked against the notebook format."""
    nb = v4.reads(path.read_text("utf-8"))
    nbformat.validate(nb)
    return nb


def number(path: Path) -> int:
    """01_elbo_and_vanilla_vae.ipynb -> 1."""
    return int(path.name[:2])


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def markdown_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "markdown"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def first_line(cell: NotebookNode) -> str:
    """What a cell is called in a message."""
    return cell.source.split("\n")[0][:80]


def output_texts(cell: NotebookNode) -> list[str]:
    """Every text that a cell printed or displayed."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.text] if output.output_type == "stream" else []
        texts += [str(data) for kind, data in output.get("data", {}).items() if "text/" in kind]
    return texts


def parse(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a code cell, magics included. Whoever wants to change it must copy it."""
    return parsed(cell.source if cell.cell_type == "code" else "")


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(TransformerManager().transform_cell(source))


# --- what a cell binds and needs, read from its bytecode, which is in the order of execution -----


def bound_by(cell: NotebookNode) -> set[str]:
    """The names that a cell binds in the notebook, imports aside."""
    return names(cell.source)[0] - imported_by(cell)


def needed_by(cell: NotebookNode) -> set[str]:
    """The names that a cell takes from other cells, imports and Python's own included."""
    return names(cell.source)[1]


def imported_by(cell: NotebookNode) -> set[str]:
    nodes = [node for node in parse(cell).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = [alias.asname or alias.name for node in nodes for alias in node.names]
    return {name.split(".")[0] for name in imported}


@cache
def names(source: str) -> tuple[set[str], set[str]]:
    """What a cell binds, and what it reads before; its functions may call each other."""
    tree = parsed(source)
    bound = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    needed: set[str] = set()
    for step in dis.get_instructions(compile(tree, "a cell", "exec", dont_inherit=True)):
        needed |= {*read_in(step)} - bound
        bound |= {step.argval} if step.opname == "STORE_NAME" else set()
    return bound, needed


def read_in(step: dis.Instruction) -> Iterator[str]:
    """The names of the notebook that an instruction reads, also in the function that it makes."""
    if isinstance(step.argval, CodeType):
        for inner in dis.get_instructions(step.argval):
            yield from read_in(inner)
    elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
        yield step.argval


text = v4.new_markdown_cell


def code(source: str, stdout: str = "", *, tags: tuple[str, ...] = ()) -> NotebookNode:
    """A code cell, with what it printed."""
    outputs = [v4.new_output("stream", name="stdout", text=stdout)] if stdout else []
    return v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)} if tags else {})


def lesson(*cells: NotebookNode) -> NotebookNode:
    """A made-up lesson as `make notebooks` leaves one: executed in order, metadata scrubbed."""
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    kernel = {"name": "python3", "display_name": "Python 3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=list(cells), metadata=metadata)
