"""The lessons are kept clean: executed, scrubbed, short cells, nothing copied from the package.

Every rule is a function that yields what is wrong with a lesson. Each is tried twice: it must find
nothing in the lessons, and it must find the fault that is planted for it in a made-up one.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from textwrap import indent

import pytest
from nbformat import NotebookNode, v4

from notebook_tools import (
    EXPECTED,
    FUNCTION,
    LESSONS,
    ROOT,
    bound_by,
    code,
    code_cells,
    first_line,
    lesson,
    lines,
    markdown_cells,
    needed_by,
    output_texts,
    parse,
    read,
    stored,
    tags,
    text,
)
from pages import FOLDED, GUARD

Rule = Callable[[NotebookNode], Iterator[str]]
MACHINE_PATH = re.compile(
    r"/(?:home|Users|root|work|tmp|opt)/\w|\b[A-Z]:\\\w|site-packages|\.venv\b"
)
WARNING = re.compile(r"\b\w*Warning\b")
MODULES = [ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "vaelab").glob("*.py"))]


# --- the rules ----------------------------------------------------------------------------------


def executed_in_order(nb: NotebookNode) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts {counts}: not one run from top to bottom (make notebooks)"


def no_errors(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{output.ename} in {cell.source!r}"


def no_machine_paths(nb: NotebookNode) -> Iterator[str]:
    for cell in nb.cells:
        for part in [cell.source, *output_texts(cell)]:
            for match in MACHINE_PATH.finditer(part):
                yield f"{match.group()!r} names a place on one machine: {cell.source[:60]!r}"


def no_warnings(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for printed in output_texts(cell):
            if WARNING.search(printed):
                yield f"a warning in the output of {cell.source[:60]!r}: {printed[:200]!r}"


def short_cells(nb: NotebookNode) -> Iterator[str]:
    lengths = [lines(cell) for cell in code_cells(nb)] or [0]
    median, p90 = statistics.median(lengths), sorted(lengths)[int(0.9 * (len(lengths) - 1))]
    if median > 5 or p90 > 12 or max(lengths) > 20:
        yield f"code cells: median {median}, p90 {p90}, longest {max(lengths)}; at most 5, 12, 20"


def short_functions(nb: NotebookNode) -> Iterator[str]:
    """The model that the reader builds is a class; its methods may be longer."""
    for cell in code_cells(nb):
        for node in (node for node in parse(cell).body if isinstance(node, FUNCTION)):
            if node.end_lineno - node.lineno + 1 > 10:
                yield f"{node.name} has {node.end_lineno - node.lineno + 1} lines, at most 10"


PARTS = ["Exercises", "Summary", "Further", "References"]  # after the core


def in_parts(nb: NotebookNode) -> Iterator[str]:
    """The core, numbered without a gap, and what follows it."""
    headings = [
        h for cell in markdown_cells(nb) for h in re.findall(r"^## (.+)$", cell.source, re.M)
    ]
    numbered = [m for m in (re.match(r"(\d)\.(\d+) ", h) for h in headings) if m]
    if [int(m[2]) for m in numbered] != list(range(1, len(numbered) + 1)) or not numbered:
        yield f"the sections of the core are {[m[0] for m in numbered]}"
    if headings[-len(PARTS) :] != PARTS or headings[0] != "Set-up":
        yield f"parts {headings}: first Set-up and the core, last {PARTS}"
    if len(headings) != len(numbered) + 1 + len(PARTS):
        yield f"more parts than the core and {PARTS}: {headings}"


def short_core(nb: NotebookNode) -> Iterator[str]:
    """What has to be read, run and looked at in an hour; guards are hidden from readers."""
    until = (i for i, cell in enumerate(nb.cells) if cell.source.startswith("## Exercises"))
    core = v4.new_notebook(cells=nb.cells[: next(until, None)])
    prose = [re.sub(r"\$\$.*?\$\$", "", cell.source, flags=re.S) for cell in markdown_cells(core)]
    shown = [cell for cell in code_cells(core) if GUARD not in tags(cell)]
    outputs = [output for cell in shown for output in cell.outputs]
    words = len(" ".join(prose).split())
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    for number, limit, what in (
        (words, 3200, "words"),
        (len(shown), 45, "code cells"),
        (figures, 12, "figures"),
    ):
        if number > limit:
            yield f"the core has {number} {what}, at most {limit}"


def scrubbed(nb: NotebookNode) -> Iterator[str]:
    if set(nb.metadata) - {"kernelspec", "language_info"} or set(
        nb.metadata.get("language_info", {})
    ) != {"name"}:
        yield f"notebook metadata {dict(nb.metadata)}"
    for cell in nb.cells:
        folds = cell.cell_type == "code" and {"solution", GUARD} & set(tags(cell))
        folded = FOLDED if folds else {}
        if {k: v for k, v in cell.metadata.items() if k != "tags"} != folded:
            yield f"metadata {dict(cell.metadata)} of {cell.source[:60]!r}"
        if any(
            "widget-view" in kind for out in cell.get("outputs", []) for kind in out.get("data", {})
        ):
            yield f"a widget view without its model in {cell.source[:60]!r}"


def guards_assert(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        if GUARD in tags(cell) and not any(
            isinstance(n, ast.Assert) for n in ast.walk(parse(cell))
        ):
            yield f"{cell.source[:60]!r} is hidden as a guard and asserts nothing"


def nothing_skipped(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        if "nbval-skip" in tags(cell) or "NBVAL_" in cell.source:
            yield f"{cell.source[:60]!r} is kept from the check (of nbval's marks, use only tags)"


def nothing_redefined(nb: NotebookNode) -> Iterator[str]:
    known = {
        n.name for tree in MODULES for n in tree.body if isinstance(n, (*FUNCTION, ast.ClassDef))
    }
    for cell in code_cells(nb):
        for node in parse(cell).body:
            if isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name in known:
                yield f"{node.name} is vaelab's: import it and show its source"


def nothing_copied(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        tree = parse(cell)
        for body in [tree.body, *(body for _, body in functions(tree))]:
            here = dumps(body)
            for copy, name in package_functions().items():
                if copy and any(here[i : i + len(copy)] == copy for i in range(len(here))):
                    yield f"the body of {name} is copied into {cell.source[:60]!r}: show its source"


@cache
def package_functions() -> dict[tuple[str, ...], str]:
    """What each function of the package does, with its name."""
    return {core(body): name for tree in MODULES for name, body in functions(tree)}


def functions(tree: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The name and the statements of every function in a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            yield node.name, node.body


def core(body: list[ast.stmt]) -> tuple[str, ...]:
    """What a function does: without docstring, checks and, if enough is left, the return.

    Empty if that is too little to call its reappearance a copy.
    """
    body = [node for node in body if not is_docstring(node) and not is_check(node)]
    if len(body) > 3 and isinstance(body[-1], ast.Return):
        body = body[:-1]
    return dumps(body) if sum(1 for node in body for _ in ast.walk(node)) > 15 else ()


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_check(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)


def dumps(body: list[ast.stmt]) -> tuple[str, ...]:
    """Statements as comparable strings; layout and comments do not count."""
    return tuple(ast.dump(node) for node in body)


def prose_around_code(nb: NotebookNode) -> Iterator[str]:
    if not (
        nb.cells and nb.cells[0].cell_type == "markdown" and nb.cells[0].source.startswith("# ")
    ):
        yield "the first cell is not a title"
    for kind, run in groupby(nb.cells, key=lambda cell: cell.cell_type):
        run = list(run)
        run = [cell for cell in run if GUARD not in tags(cell)]
        if kind == "code" and len(run) > 2:
            yield f"{len(run)} code cells without a word between them, from {run[0].source[:60]!r}"


def ignored_output_is_asserted(nb: NotebookNode) -> Iterator[str]:
    cells = code_cells(nb)
    for i, cell in enumerate(cells):
        if "nbval-ignore-output" in tags(cell) and "versions(" not in cell.source:
            near = [node for c in cells[i : i + 3] for node in ast.walk(parse(c))]
            if not any(isinstance(node, ast.Assert) for node in near):
                yield f"no assert in or soon after {cell.source[:60]!r}, its output is ignored"


def pictures_are_drawn(nb: NotebookNode) -> Iterator[str]:
    for cell in markdown_cells(nb):
        for link in re.findall(r"!\[[^\]]*\]\(([^)]*)\)|<img[^>]*src=\"([^\"]*)", cell.source):
            if not "".join(link).startswith(("https://", "data:")):
                yield f"{''.join(link)!r} does not resolve on Colab: draw it into a cell's output"


# Cells that are run twice, or out of order, must give the same again. A cell therefore takes a name
# from another cell only if it means one thing in the whole lesson; it trains only a model that it
# made; and what it draws at random follows a seed that it sets.


def names_of_one_meaning(nb: NotebookNode) -> Iterator[str]:
    cells = [cell for cell in code_cells(nb) if "exercise" not in tags(cell)]
    binds = [bound_by(cell) for cell in cells]
    for i, cell in enumerate(cells):
        for name in sorted(needed_by(cell) & set().union(*binds[:i])):
            later = [k for k in range(i, len(cells)) if name in binds[k]]
            if later:
                other = f"cell {later[0] + 1}, {first_line(cells[later[0]])!r}"
                yield f"cell {i + 1}, {first_line(cell)!r}, reads {name!r}, bound again by {other}"


def calls_outside_functions(nodes: list[ast.stmt]) -> Iterator[ast.Call]:
    """The calls that a cell makes itself."""
    for node in nodes:
        if not isinstance(node, (*FUNCTION, ast.ClassDef, ast.Lambda)):
            yield from [node] if isinstance(node, ast.Call) else []
            yield from calls_outside_functions(list(ast.iter_child_nodes(node)))


def called(call: ast.Call) -> str:
    """The last part of what is called: randn for torch.randn(3)."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def trained_where_it_is_made(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        body = parse(cell).body
        own = set().union(*(stored(node) for node in body))
        for call in calls_outside_functions(body):
            if called(call) == "fit" and call.args:
                root = next(n.id for n in ast.walk(call.args[0]) if isinstance(n, ast.Name))
                if root not in own:
                    yield f"cell {first_line(cell)!r} trains {root!r}, which another cell made"


DRAWING = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "sample"}
DRAWING |= {"rsample", "multinomial", "normal", "binarize", "reparameterize", "VAE", "RowGRUVAE"}


def unseeded_draws(calls: list[ast.Call], drawing: set[str]) -> list[str]:
    """The functions called that draw, unless a seed is set or they are handed a generator."""
    if any(called(c) == "manual_seed" and "torch" in ast.unparse(c) for c in calls):
        return []
    given = {id(c) for c in calls for k in c.keywords if k.arg == "generator"}
    given |= {id(c) for c in calls if called(c) == "binarize" and len(c.args) == 2}
    return [called(c) for c in calls if called(c) in drawing and id(c) not in given]


def seeded_where_it_draws(nb: NotebookNode) -> Iterator[str]:
    drawing = set(DRAWING)
    for cell in code_cells(nb):
        body = parse(cell).body
        for node in (n for n in body if isinstance(n, FUNCTION)):
            inside = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            if unseeded_draws(inside, drawing):
                drawing.add(node.name)  # whoever calls it must set the seed
        draws = unseeded_draws(list(calls_outside_functions(body)), drawing)
        if draws:
            yield f"cell {first_line(cell)!r} calls {draws[0]} without a seed of its own"


RULES: list[Rule] = [
    executed_in_order,
    no_errors,
    no_machine_paths,
    no_warnings,
    short_cells,
    short_functions,
    in_parts,
    short_core,
    scrubbed,
    guards_assert,
    nothing_skipped,
    nothing_redefined,
    nothing_copied,
    prose_around_code,
    ignored_output_is_asserted,
    pictures_are_drawn,
    names_of_one_meaning,
    trained_where_it_is_made,
    seeded_where_it_draws,
]


# --- the lessons --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_keeps_the_rule(path: Path, rule: Rule) -> None:
    assert list(rule(read(path))) == []


def test_the_lessons_are_all_there() -> None:
    assert [path.name for path in LESSONS] == EXPECTED


# --- the rules find what is planted for them ----------------------------------------------------


def body_of(name: str) -> str:
    """The source of a function's body in vaelab, without its docstring."""
    for tree in MODULES:
        for node in ast.walk(tree):
            if isinstance(node, FUNCTION) and node.name == name:
                return "\n".join(ast.unparse(statement) for statement in node.body[1:])
    raise LookupError(f"vaelab has no function {name}")


def with_output(output: NotebookNode) -> NotebookNode:
    """A code cell with one output."""
    cell = code("f()")
    cell.outputs = [output]
    return cell


def with_count(count: int | None) -> NotebookNode:
    """A lesson whose only cell was executed as number `count`."""
    nb = lesson(text("# A lesson"), code("1"))
    nb.cells[1].execution_count = count
    return nb


def shown() -> NotebookNode:
    """A code cell with a picture."""
    return with_output(v4.new_output("display_data", data={"image/png": ""}))


ENDING = [text(f"## {part}") for part in PARTS]
VIEW = v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}})

GOOD = lesson(
    text("# A lesson\n\nIt has a picture: ![a sign](https://example.org/sign.svg)"),
    code("from vaelab import fit\nversions()", "vaelab 0.1.0", tags=("nbval-ignore-output",)),
    text("## Set-up\n\n## 1.1 Train\n\nTrain, then look.\n\n## 1.2 Look"),
    code("%time result = 2\nprint(result)", "took 3 s", tags=("nbval-ignore-output",)),
    code("def twice(x):\n    return 2 * x\nassert twice(1) == 2"),
    text("A name may be used again by cells that bind it before they read it."),
    code(
        "for x in range(3):\n    print(x)\ny = [x for x in 'ab']\n"
        "torch.manual_seed(0)\nm = VAE()\nfit(m)"
    ),
    code(
        "with f() as x:\n    print(x, result)\nx = 3; x += 1\n"
        "torch.rand(3, generator=g); binarize(x, g)"
    ),
    text("It fits."),
    *ENDING,
)

PLANTED: dict[Rule, NotebookNode] = {
    executed_in_order: with_count(2),
    no_errors: lesson(with_output(v4.new_output("error", ename="E", evalue="", traceback=[]))),
    no_machine_paths: lesson(code("f()", "saved in /home/someone/file")),
    no_warnings: lesson(code("f()", "a.py:3: FutureWarning: gone soon")),
    short_cells: lesson(*[code("\n".join(["x = 1"] * 7)) for _ in range(3)]),
    short_functions: lesson(code("def f():\n" + "    x = 1\n" * 10)),
    in_parts: lesson(text("# A lesson"), text("## Set-up"), text("## 1.2 It"), *ENDING),
    short_core: lesson(text("# A lesson\n" + "word " * 3200), *ENDING),
    scrubbed: lesson(with_output(VIEW)),
    guards_assert: lesson(code("print(1)", tags=("guard",))),
    nothing_skipped: lesson(code("# NBVAL_IGNORE_OUTPUT\n1")),
    nothing_redefined: lesson(code("def gaussian_kl(mu, logvar):\n    return 0")),
    nothing_copied: lesson(code(body_of("encode_all").replace("return", "result ="))),
    prose_around_code: lesson(text("# A lesson"), code("1"), code("2"), code("3")),
    ignored_output_is_asserted: lesson(code("f()", tags=("nbval-ignore-output",)), code("1")),
    pictures_are_drawn: lesson(text('<img width="3" src="../figures/model.png">')),
    names_of_one_meaning: lesson(code("x = 1"), code("def f():\n    return x"), code("x = 2")),
    trained_where_it_is_made: lesson(code("m = {}"), code("for k in 'ab':\n    fit(m[k], d)")),
    seeded_where_it_draws: lesson(code("def f():\n    return torch.rand(3)"), code("f()")),
}
MORE: list[tuple[Rule, NotebookNode]] = [  # what a rule once missed, or says in another way
    (executed_in_order, with_count(None)),
    (in_parts, lesson(text("# A lesson"), text("## Set-up"), text("## 1.1 It"), *ENDING[:-1])),
    (in_parts, lesson(text("## Set-up"), text("## 1.1 It"), text("## More"), *ENDING)),
    (short_core, lesson(text("# A lesson"), *[code("1") for _ in range(46)], *ENDING)),
    (short_core, lesson(text("# A lesson"), *[shown() for _ in range(13)], *ENDING)),
    (short_cells, lesson(code("\n".join(["x = 1"] * 26)), *[code("1") for _ in range(50)])),
    (scrubbed, lesson(v4.new_code_cell("1", metadata={"tags": ["solution"]}))),
    (nothing_copied, lesson(code("def other(x):\n" + indent(body_of("gaussian_kl"), "    ")))),
    (names_of_one_meaning, lesson(code("x = 1"), code("x += 1"))),
    (names_of_one_meaning, lesson(code("x = 1"), code("[x for _ in y_s]"), code("for x in z: 1"))),
]


def test_every_rule_has_a_planted_fault() -> None:
    assert PLANTED.keys() == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_clean_lesson_passes(rule: Rule) -> None:
    assert list(rule(GOOD)) == []


@pytest.mark.parametrize(("rule", "nb"), [*PLANTED.items(), *MORE])
def test_a_planted_fault_is_found(rule: Rule, nb: NotebookNode) -> None:
    assert list(rule(nb))
