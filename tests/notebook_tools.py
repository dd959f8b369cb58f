"""What the tests of the lessons share: where they are, and how to take one apart."""

from __future__ import annotations

import ast
import copy
import symtable
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

# The lessons that must exist, in order: one that is lost or renamed is a red test.
EXPECTED = [
    "01_elbo_and_vanilla_vae.ipynb",
    "02_beta_annealing.ipynb",
    "03_soft_free_bits.ipynb",
]


def read(path: Path) -> NotebookNode:
    """A lesson, checked against the notebook format."""
    nb = v4.reads(path.read_text("utf-8"))
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
    """The syntax tree of a code cell, magics included. Whoever wants to change it must copy it."""
    return parsed(cell.source)


@cache
def parsed(source: str) -> ast.Module:
    """The same, of its text; a cell is taken apart again and again."""
    return ast.parse(TransformerManager().transform_cell(source))


def output_texts(cell: NotebookNode) -> list[str]:
    """Every text that a cell printed or displayed."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.text] if output.output_type == "stream" else []
        texts += [str(data) for kind, data in output.get("data", {}).items() if "text/" in kind]
    return texts


def first_line(cell: NotebookNode) -> str:
    """What a cell is called in a message."""
    return cell.source.splitlines()[0]


# --- what a cell binds, and what it needs from other cells ---------------------------------------


def stored(node: ast.AST) -> set[str]:
    """The names that a statement binds in the notebook; a new import binds the same thing."""
    if isinstance(node, (*FUNCTION, ast.ClassDef)):
        return {node.name}
    inner = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if isinstance(node, inner):
        return set()
    own = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return own.union(*(stored(child) for child in ast.iter_child_nodes(node)))


class WithScopes(ast.NodeTransformer):
    """Comprehensions as generators: those of Python 3.12 have no symbol table of their own."""

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> ast.GeneratorExp:
        self.generic_visit(node)
        return ast.GeneratorExp(node.elt, node.generators)

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> ast.GeneratorExp:
        self.generic_visit(node)
        return ast.GeneratorExp(ast.Tuple([node.key, node.value], ast.Load()), node.generators)


def read_by(node: ast.AST) -> set[str]:
    """The names of the notebook that a statement reads, also inside the functions it defines."""
    source = ast.unparse(WithScopes().visit(copy.deepcopy(node)))
    names, tables = set(), [symtable.symtable(source, "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        names |= {
            s.get_name()
            for s in table.get_symbols()
            if s.is_referenced() and (top or s.is_global())
        }
    return names | (stored(node.target) if isinstance(node, ast.AugAssign) else set())


def taken(body: list[ast.stmt], bound: set[str]) -> Iterator[set[str]]:
    """What statements read that was not bound before; `bound` grows with what they bind."""
    for node in body:
        if isinstance(node, (ast.For, ast.With, ast.If, ast.While)):
            heads = [node.iter] if isinstance(node, ast.For) else [getattr(node, "test", None)]
            heads += [item.context_expr for item in getattr(node, "items", [])]
            targets = [getattr(node, "target", None)]
            targets += [item.optional_vars for item in getattr(node, "items", [])]
            yield from (read_by(ast.Expr(head)) - bound for head in heads if head)
            bound |= set().union(*(stored(target) for target in targets if target))
            yield from taken(node.body + getattr(node, "orelse", []), bound)
        else:
            yield read_by(node) - bound
            bound |= stored(node)


def bound_by(cell: NotebookNode) -> set[str]:
    """The names that a cell binds in the notebook, imports aside."""
    return set().union(*(stored(node) for node in parse(cell).body))


def needed_by(cell: NotebookNode) -> set[str]:
    """The names that a cell takes from other cells, imports and Python's own included."""
    body = parse(cell).body
    functions = set().union(*(stored(node) for node in body if isinstance(node, FUNCTION)))
    return set().union(*taken(body, functions))


def imported_by(cell: NotebookNode) -> set[str]:
    """The names that a cell imports."""
    nodes = [node for node in parse(cell).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [alias.asname or alias.name for node in nodes for alias in node.names]
    return {name.split(".")[0] for name in names}


def before(cells: list[NotebookNode]) -> list[set[int]]:
    """The earlier cells that each cell must come after; any order that keeps to it should do.

    A cell comes after what it needs and after whoever needs what it binds anew. Names that no cell
    needs from another, as of a loop, tie nothing together; nor does importing once more.
    """
    binds, needs = [bound_by(cell) for cell in cells], [needed_by(cell) for cell in cells]
    imports = [imported_by(cell) for cell in cells]
    shared = set().union(*needs)

    def tied(i: int, k: int) -> bool:
        made = binds[i] | imports[i].difference(*imports[:i])
        return bool(made & needs[k] or binds[i] & binds[k] & shared or needs[i] & binds[k])

    return [{i for i in range(k) if tied(i, k)} for k in range(len(cells))]


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
