"""Dependencies point one way, and what is taught stays small: both read from the sources.

Four groups. Taught code imports taught code and guards. Guards never reach Digits or a model,
however far one follows their imports. What is seen imports what is taught. Tools import all, and
nobody imports them: they are outside the package.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from notebook_tools import ROOT

PACKAGE = ROOT / "vaelab"
TAUGHT = {"data", "toy", "model", "losses", "schedules", "objectives", "training", "diagnostics"}
GUARDS = {"checks", "runs", "download"}
SEEN = {
    *("describe", "plotting", "diagrams", "widgets"),
    *("lesson", "exercises", "results", "checkup", "storage"),
}
MAY_IMPORT = {
    **dict.fromkeys(TAUGHT | GUARDS, TAUGHT | GUARDS),
    **dict.fromkeys(SEEN, TAUGHT | GUARDS | SEEN),
    "__init__": TAUGHT | GUARDS | {"storage", "checkup"},
}
DRAWN = {"describe", "plotting", "diagrams"}  # of numbers: what draws never trains
MAY_IMPORT |= dict.fromkeys(DRAWN, GUARDS | DRAWN)

# What only some may know: pictures and widgets are slow to import, and no part of a model.
ONLY_IN = {
    "ipywidgets": {"widgets"},
    "anywidget": {"widgets"},
    "matplotlib": SEEN,
    "IPython": SEEN,
    "torchvision": {"data", "download"},
}
LINES, BODY, LOOP = 650, 25, 28  # of all taught code, of one function of it, of `fit`
Sources = dict[str, str]  # "data" or "exercises/lesson1" -> its source


# --- imports ------------------------------------------------------------------------------------


def the_package() -> Sources:
    """Every file of vaelab."""
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [path.relative_to(PACKAGE).with_suffix("").as_posix() for path in paths]
    return {name: path.read_text("utf-8") for name, path in zip(names, paths)}


def imports(name: str, source: str) -> Iterator[str]:
    """What a file imports, wherever it does so: "vaelab.data" of the package, else "torch"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level <= name.count("/"):
            if node.level:
                continue  # of its own sub-package
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            ends = [node.module] if node.module else [alias.name for alias in node.names]
            names = [f"vaelab.{end}" for end in ends]
        else:
            continue
        for full in names:
            top, *rest = full.split(".")
            yield ".".join([top, *rest[:1]]) if top == "vaelab" else top


def graph(sources: Sources) -> dict[str, set[str]]:
    """module -> the modules that it imports; the files of a sub-package are one."""
    edges: dict[str, set[str]] = {}
    for name, source in sources.items():
        found = {full for full in imports(name, source) if full.split(".")[0] == "vaelab"}
        edges.setdefault(name.split("/")[0], set()).update(f.split(".")[-1] for f in found)
    return edges


def reached(name: str, edges: dict[str, set[str]]) -> set[str]:
    """All that a module imports, and what that imports, and so on."""
    found, open_ends = set(), [name]
    while open_ends:
        new = edges.get(open_ends.pop(), set()) - found
        found |= new
        open_ends += new
    return found


def broken_rules(sources: Sources) -> Iterator[str]:
    """Every import that goes the wrong way."""
    edges = graph(sources)
    for name, others in edges.items():
        if name not in MAY_IMPORT:
            yield f"{name} has no place yet: is it taught, a guard, or seen?"
            continue
        yield from (f"{name} imports {other}" for other in others - MAY_IMPORT[name])
        if name in GUARDS:
            yield from (f"{name} reaches {x}" for x in reached(name, edges) & {"data", "model"})
    for name, source in sources.items():
        for other in {*imports(name, source)} & ONLY_IN.keys():
            if name.split("/")[0] not in ONLY_IN[other]:
                yield f"{name} imports {other}"


def test_the_package_keeps_the_order() -> None:
    assert list(broken_rules(the_package())) == []
    list(TopologicalSorter(graph(the_package())).static_order())  # raises CycleError


PLANTED = {
    "losses": "from vaelab.storage import save",
    "checks": "from .data import Digits",
    "plotting": "def draw():\n    from .training import fit",
    "exercises/lesson1": "from ..brand_new import x",
    "training": "import ipywidgets as w",
    "shortcuts": "import torch",
}


def test_a_planted_import_is_found() -> None:
    for name, source in PLANTED.items():
        assert len(list(broken_rules({name: source}))) == 1, name
    planted = {"runs": "from .losses import x", "losses": "from .model import VAE"}
    assert list(broken_rules(planted)) == ["runs reaches model"]  # through another
    circle = {"losses": "from . import model", "model": "from .losses import bernoulli_nll"}
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph(circle)).static_order())


def test_import_vaelab_starts_fast(tmp_path: Path) -> None:
    slow = {"torchvision", "sklearn", "scipy", "ipywidgets", "IPython", "matplotlib"}
    program = "import sys, vaelab; print('loaded', *{m.split('.')[0] for m in sys.modules})"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split("loaded ", 1)[1].split())
    assert "vaelab" in loaded and not loaded & slow


# --- the size of what is taught -------------------------------------------------------------------

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code: no docstring, no blank, no comment alone."""
    rows = iter(source.splitlines(keepends=True))
    tokens = [t for t in tokenize.generate_tokens(lambda: next(rows, "")) if t.string]
    lines = {i for t in tokens if t.type not in NO_CODE for i in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def bodies(source: str) -> Iterator[tuple[str, int]]:
    """Every function and the lines of code below its signature."""
    lines = code_lines(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0].lineno
            yield node.name, len(lines & set(range(first, node.end_lineno + 1)))


def test_lines_of_code_are_counted() -> None:
    source = '"""Doc."""\n\n# comment\ndef f(\n    x,\n):\n    """Doc.\n\n    More."""\n    # why\n'
    source += '    y = """two\n    lines"""\n\n    return y  # shape\n'
    assert len(code_lines(source)) == 6
    assert list(bodies(source)) == [("f", 3)]


def test_taught_code_fits_an_evening_and_its_functions_a_slide() -> None:
    sources = {name: source for name, source in the_package().items() if name in TAUGHT}
    counts = {name: len(code_lines(source)) for name, source in sources.items()}
    assert counts.keys() == TAUGHT and sum(counts.values()) <= LINES, counts
    for name, source in sources.items():
        for function, count in bodies(source):
            limit = LOOP if (name, function) == ("training", "fit") else BODY
            assert count <= limit, f"{name}.{function}"
