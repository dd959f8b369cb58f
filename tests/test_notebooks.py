"""The lessons are kept clean, and every rule finds the fault that is planted for it."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile, groupby
from pathlib import Path

import pytest
from nbformat import NotebookNode, v4

import notebook_tools as tools
from notebook_tools import LESSONS, ROOT, code, code_cells, first_line, lesson, parse, tags, text
from pages import FOLDED, GUARD

DEFINED = (ast.FunctionDef, ast.ClassDef)
MODULES = [ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "vaelab").glob("*.py"))]
FUNCTIONS = [n for tree in MODULES for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
KNOWN = {node.name for tree in MODULES for node in tree.body if isinstance(node, DEFINED)}
PLACE = re.compile(r"/(home|Users|root|work|tmp|opt)/\w|\b[A-Z]:\\\w|site-packages|\.venv\b")
PICTURE = re.compile(r"(?:!\[[^\]]*\]\(|<img[^>]*src=\")(?!https://|data:)")
PARTS = ["Exercises", "Summary", "Further", "References"]  # after the core
IGNORED = "nbval-ignore-output"


def asserts(cell: NotebookNode) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(parse(cell)))


def shown(cell: NotebookNode) -> list[tuple[str, str]]:
    """The kinds of data that a cell displays, and the words that come along."""
    displays = [output for output in cell.get("outputs", []) if "data" in output]
    return [(kind, o.metadata.get(kind, {}).get("alt", "")) for o in displays for kind in o.data]


def bare(body: list[ast.stmt]) -> str:
    """Statements without layout and comments."""
    return "".join(f"{line.strip()}\n" for node in body for line in ast.unparse(node).splitlines())


def gist(function: ast.FunctionDef) -> str:
    """What a function does: without docstring, checks and, if something is left, the last line."""
    body = [*dropwhile(lambda n: isinstance(n, ast.Expr) or "check_" in bare([n]), function.body)]
    return bare(body[:-1] or body)


GISTS = [gist for gist in map(gist, FUNCTIONS) if len(gist) > 50]  # shorter ones are no copies


def run_by(cell: NotebookNode) -> Iterator[ast.AST]:
    """The nodes of a cell outside of the functions and classes that it defines."""
    found = list(parse(cell).body)
    for node in found:  # which grows
        yield node
        if not isinstance(node, (*DEFINED, ast.Lambda)):
            found += ast.iter_child_nodes(node)


def called(node: ast.AST) -> str:
    """The last part of what a node calls, if it does: randn for torch.randn(3)."""
    function = getattr(node, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def trains_what_it_did_not_make(cell: NotebookNode) -> bool:
    models = [node.args[0] for node in run_by(cell) if called(node) == "fit" and node.args]
    roots = [next(n.id for n in ast.walk(m) if isinstance(n, ast.Name)) for m in models]
    return any(root not in tools.bound_by(cell) for root in roots)


FORBIDDEN: dict[str, Callable[[NotebookNode], object]] = {
    "ends in an error": lambda c: any(o.output_type == "error" for o in c.get("outputs", [])),
    "warns": lambda c: re.search(r"\b\w*Warning\b", "\n".join(tools.output_texts(c))),
    "names a machine's path": lambda c: PLACE.search("\n".join([c.source, *tools.output_texts(c)])),
    "has metadata but tags and what folds it": lambda c: (
        {key: value for key, value in c.metadata.items() if key != "tags"}
        != (FOLDED if c.cell_type == "code" and {"solution", GUARD} & set(tags(c)) else {})
    ),
    "shows a widget without its model": lambda c: "widget-view" in str(shown(c)),
    "is hidden as a guard and asserts nothing": lambda c: GUARD in tags(c) and not asserts(c),
    "is kept from the check": lambda c: "nbval-skip" in tags(c) or "NBVAL_" in c.source,
    "defines what vaelab has": lambda c: any(
        isinstance(node, DEFINED) and node.name in KNOWN for node in parse(c).body
    ),
    "copies a function of vaelab": lambda c: any(map(bare(parse(c).body).count, GISTS)),
    "defines a function of more than 10 lines": lambda c: any(  # a class may be longer
        isinstance(n, ast.FunctionDef) and n.end_lineno - n.lineno >= 10 for n in parse(c).body
    ),
    "has a picture that Colab does not find": lambda c: PICTURE.search(c.source),
    "trains a model that another cell made": trains_what_it_did_not_make,
}


def forbidden(nb: NotebookNode) -> Iterator[str]:
    for what, does in FORBIDDEN.items():
        yield from (f"{first_line(cell)!r} {what}" for cell in nb.cells if does(cell))


def scrubbed(nb: NotebookNode) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts {counts}: not one run from top to bottom (make notebooks)"
    language = nb.metadata.get("language_info", {})
    if not nb.metadata.keys() <= {"kernelspec", "language_info"} or language.keys() != {"name"}:
        yield f"notebook metadata {dict(nb.metadata)}"


def in_parts(nb: NotebookNode) -> Iterator[str]:
    """A title, the set-up, the core, numbered without a gap, and what follows it."""
    if nb.cells[0].cell_type != "markdown" or not nb.cells[0].source.startswith("# "):
        yield "the first cell is not a title"
    prose = "\n".join(cell.source for cell in tools.markdown_cells(nb))
    found = [n or title for n, title in re.findall(r"(?m)^## (?:\d\.(\d+) )?(.+)$", prose)]
    core = [str(i) for i in range(1, len(found) - len(PARTS))]
    if found != ["Set-up", *core, *PARTS] or not core:
        yield f"parts {found}, not Set-up, the sections of the core, {PARTS}"


def in_time(nb: NotebookNode) -> Iterator[str]:
    """The core can be read, run and looked at in an hour; guards are hidden from readers."""
    until = (i for i, cell in enumerate(nb.cells) if cell.source.startswith("## Exercises"))
    core = v4.new_notebook(cells=nb.cells[: next(until, None)])
    prose = " ".join(cell.source for cell in tools.markdown_cells(core))
    cells = [cell for cell in code_cells(core) if GUARD not in tags(cell)]
    texts = [[line for line in cell.source.split("\n") if line.strip()] for cell in code_cells(nb)]
    lengths = sorted(map(len, texts)) or [0]
    for what, number, most in (
        ("words", len(re.sub(r"(?s)\$\$.*?\$\$", "", prose).split()), 3200),
        ("code cells", len(cells), 45),
        ("figures", str([shown(cell) for cell in cells]).count("image/png"), 12),
        ("lines in the median cell", statistics.median(lengths), 5),
        ("lines in nine of ten cells", lengths[int(0.9 * (len(lengths) - 1))], 12),
        ("lines in a cell", lengths[-1], 20),
    ):
        if number > most:
            yield f"{number} {what}, at most {most}"


def prose_around_code(nb: NotebookNode) -> Iterator[str]:
    seen = [cell for cell in nb.cells if GUARD not in tags(cell)]
    for kind, (cell, *more) in groupby(seen, key=lambda cell: cell.cell_type):
        if kind == "code" and len(more) > 1:
            yield f"from {first_line(cell)!r} three code cells without a word between them"


def ignored_output_is_asserted(nb: NotebookNode) -> Iterator[str]:
    cells = code_cells(nb)
    for i, cell in enumerate(cells):
        ignored = IGNORED in tags(cell) and "versions(" not in cell.source
        if ignored and not any(map(asserts, cells[i : i + 3])):
            yield f"no assert in or soon after {first_line(cell)!r}, its output is ignored"


# Cells that are run twice, or out of order, give the same again: a name that one takes from another
# means one thing, a model is trained where it is made, and who draws at random sets a seed.


def names_of_one_meaning(nb: NotebookNode) -> Iterator[str]:
    cells = [cell for cell in code_cells(nb) if "exercise" not in tags(cell)]
    binds = [tools.bound_by(cell) for cell in cells]
    for i, cell in enumerate(cells):
        taken = tools.needed_by(cell).intersection(set().union(*binds[:i]), set().union(*binds[i:]))
        yield from (f"{first_line(cell)!r} reads {name!r}, which is bound again" for name in taken)


DRAWING = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "sample"}
DRAWING |= {"rsample", "multinomial", "normal", "binarize", "reparameterize", "VAE", "RowGRUVAE"}


def drawn(run: Iterable[ast.AST], drawing: set[str]) -> set[str]:
    """The functions called that draw, unless a seed is set or they are handed a generator."""
    calls = [node for node in run if isinstance(node, ast.Call)]
    if any(called(c) == "manual_seed" and "torch" in ast.unparse(c) for c in calls):
        return set()
    handed = [c for c in calls if any(k.arg == "generator" for k in c.keywords)]
    handed += [c for c in calls if called(c) == "binarize" and len(c.args) == 2]
    return {called(c) for c in calls if c not in handed} & drawing


def seeded_where_it_draws(nb: NotebookNode) -> Iterator[str]:
    drawing = set(DRAWING)
    for cell in code_cells(nb):
        for node in parse(cell).body:
            if isinstance(node, ast.FunctionDef) and drawn(ast.walk(node), drawing):
                drawing.add(node.name)  # whoever calls it must set the seed
        for name in drawn(run_by(cell), drawing):
            yield f"{first_line(cell)!r} calls {name} without a seed of its own"


RULES = [forbidden, scrubbed, in_parts, in_time, prose_around_code, ignored_output_is_asserted]
RULES += [names_of_one_meaning, seeded_where_it_draws]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_keeps_the_rule(path: Path, rule: Callable) -> None:
    assert list(rule(tools.read(path))) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_picture_of_a_lesson_has_words(path: Path) -> None:
    displays = [display for cell in code_cells(tools.read(path)) for display in shown(cell)]
    assert min(len(words) for kind, words in displays if kind == "image/png") >= 15


BODY_OF = {f.name: "\n".join(map(ast.unparse, f.body[1:])) for f in FUNCTIONS}  # no docstring


def giving(kind: str, **more: object) -> NotebookNode:
    """A code cell with one output."""
    return v4.new_code_cell("f()", outputs=[v4.new_output(kind, **more)])


ENDING = "\n".join(f"## {part}" for part in PARTS)
PLANTED = [  # what is said, and the cells of a lesson that deserve it
    ("ends in an error", giving("error", ename="E", evalue="", traceback=[])),
    ("warns", code("f()", "a.py:3: FutureWarning: gone soon")),
    ("names a machine", code("f()", "saved in /home/someone/file")),
    ("has metadata", v4.new_code_cell("1", metadata={"tags": ["solution"]})),
    ("shows a widget", giving("display_data", data={"widget-view": ""})),
    ("asserts nothing", code("print(1)", tags=(GUARD,))),
    ("is kept from the check", code("# NBVAL_IGNORE_OUTPUT\n1")),
    ("defines what vaelab has", code("def gaussian_kl(mu, logvar):\n    return 0")),
    ("copies", code(BODY_OF["encode_all"].replace("return", "result ="))),
    ("copies", code("def other(x):\n    " + BODY_OF["gaussian_kl"].replace("\n", "\n    "))),
    ("more than 10 lines", code("def f():\n" + "    x = 1\n" * 10)),
    ("has a picture", text('<img width="3" src="../figures/model.png">')),
    ("has a picture", text("![a model](model.png)")),
    ("trains a model", code("for k in 'ab':\n    fit(m[k], d)")),
    ("parts", text(f"## Set-up\n## 1.2 It\n{ENDING}")),
    ("parts", text(f"## Set-up\n## 1.1 It\n## More\n{ENDING}")),
    ("parts", text(f"## 1.1 It\n{ENDING}")),
    ("parts", text("## Set-up\n## 1.1 It\n## Exercises\n## Summary")),
    ("words", text("word " * 3201)),
    ("46 code cells", *[code("1") for _ in range(46)]),
    ("13 figures", *[giving("display_data", data={"image/png": ""}) for _ in range(13)]),
    ("median", *[code("x = 1\n" * 7) for _ in range(3)]),
    ("nine of ten", *[code("1") for _ in range(8)], code("x = 1\n" * 13), code("x = 1\n" * 13)),
    ("lines in a cell", code("x = 1\n" * 21), *[code("1") for _ in range(50)]),
    ("not a title", code("# 1")),
    ("three code cells", text("# A lesson"), code("1"), code("2"), code("3")),
    ("no assert", code("f()", tags=(IGNORED,)), code("1"), code("1"), code("assert True")),
    ("reads 'x'", code("x = 1"), code("def f():\n    return x"), code("x = 2")),
    ("reads 'x'", code("x = 1"), code("x += 1")),
    ("calls g ", code("def f(): rand()\ndef g(): f()"), code("g()")),
]


@pytest.mark.parametrize(("said", "cells"), [(said, cells) for said, *cells in PLANTED])
def test_a_planted_fault_is_found(said: str, cells: list[NotebookNode]) -> None:
    nb = lesson(*cells)
    assert any(said in fault for rule in RULES for fault in rule(nb))


def test_another_order_of_execution_and_metadata_of_the_lesson_are_found() -> None:
    nb = v4.new_notebook(cells=[code("1")], metadata={"author": "A"})
    assert len(list(scrubbed(nb))) == 2
