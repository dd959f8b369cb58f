"""Dependencies point one way, and what is taught stays small: both read from the sources.

Taught code imports taught code and guards. Guards never reach Digits or a model, however far one
follows their imports. What is seen imports what is taught. Tools are outside the package.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name

import pytest

from notebook_tools import ROOT

PACKAGE = ROOT / "vaelab"
TAUGHT = {"data", "toy", "model", "losses", "schedules", "objectives", "training", "diagnostics"}
GUARDS = {"checks", "runs", "download"}
DRAWN = {"describe", "plotting", "diagrams"}  # of numbers: what draws never trains
SEEN = {*DRAWN, "widgets", "lesson", "exercises", "results", "checkup", "storage"}
MAY_IMPORT = dict.fromkeys(TAUGHT | GUARDS, TAUGHT | GUARDS)
MAY_IMPORT |= dict.fromkeys(SEEN, TAUGHT | GUARDS | SEEN) | dict.fromkeys(DRAWN, GUARDS | DRAWN)
MAY_IMPORT["__init__"] = TAUGHT | GUARDS | {"storage", "checkup"}
# What only some may know: pictures and widgets are slow to import, and no part of a model.
ONLY_IN = dict.fromkeys(["matplotlib", "IPython"], SEEN) | {"torchvision": {"data", "download"}}
ONLY_IN |= {"ipywidgets": {"widgets"}, "anywidget": {"widgets"}}
LINES, BODY, LOOP = 650, 25, 28  # of all taught code, of one function of it, of `fit`
PATHS = sorted(PACKAGE.rglob("*.py"))
SOURCES = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p.read_text("utf-8") for p in PATHS}


def imports(sources: dict[str, str]) -> dict[str, set[str]]:
    """module -> what it imports, wherever it does so, as "vaelab.data" or "torch".

    The files of a sub-package, as "exercises/lesson1", are one module.
    """
    edges = defaultdict(set)
    for name, source in sources.items():
        module, *inner = name.split("/")
        package = ".".join(["vaelab", module][: len(inner) + 1])
        for node in ast.walk(ast.parse(source)):
            full = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package)
                full = [f"{base}.{alias.name}" for alias in node.names]
            parts = [name.split(".") for name in full]
            edges[module] |= {".".join(p[: 2 if p[0] == "vaelab" else 1]) for p in parts}
        edges[module] -= {f"vaelab.{module}"}
    return edges


def reached(name: str, graph: dict[str, set[str]]) -> set[str]:
    """A module, all that it imports, and what that imports, and so on."""
    return {name}.union(*(reached(other, graph) for other in graph.get(name, ())))


def broken_rules(sources: dict[str, str]) -> Iterator[str]:
    """Every import that goes the wrong way."""
    edges = imports(sources)
    graph = {a: {b[7:] for b in to if b.startswith("vaelab.")} for a, to in edges.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError
    for name, others in graph.items():
        wrong = {other for other in edges[name] if name not in ONLY_IN.get(other, {name})}
        wrong |= others - MAY_IMPORT.get(name, set())
        yield from (f"{name} imports {other}" for other in wrong)
        if name not in MAY_IMPORT:
            yield f"{name} has no place: is it taught, a guard, or seen?"
        if name in GUARDS:
            yield from (f"{name} reaches {x}" for x in reached(name, graph) & {"data", "model"})


def test_the_package_keeps_the_order() -> None:
    assert list(broken_rules(SOURCES)) == []


PLANTED = [
    ({"losses": "from vaelab.storage import save"}, ["losses imports storage"]),
    ({"losses": "from vaelab import storage"}, ["losses imports storage"]),
    ({"checks": "from .data import Digits"}, ["checks reaches data"]),
    ({"runs": "from . import toy", "toy": "from .model import VAE"}, ["runs reaches model"]),
    ({"plotting": "def draw():\n    from .training import fit"}, ["plotting imports training"]),
    ({"exercises/lesson1": "from ..brand_new import x"}, ["exercises imports brand_new"]),
    ({"exercises/lesson1": "from . import x\nfrom .checking import y"}, []),
    ({"training": "import ipywidgets as w"}, ["training imports ipywidgets"]),
    ({"shortcuts": "import torch"}, ["shortcuts has no place: is it taught, a guard, or seen?"]),
]


@pytest.mark.parametrize(("sources", "faults"), PLANTED)
def test_a_planted_import_is_found(sources: dict[str, str], faults: list[str]) -> None:
    assert list(broken_rules(sources)) == faults


def test_import_vaelab_starts_fast(tmp_path) -> None:
    slow = {"torchvision", "sklearn", "scipy", "ipywidgets", "IPython", "matplotlib"}
    program = "import sys, vaelab; print('loaded', *{m.split('.')[0] for m in sys.modules})"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split("loaded ", 1)[1].split())
    assert "vaelab" in loaded and not loaded & slow


BREAKS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code: no docstring, no blank, no comment alone."""
    lines, before = set(), tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            docstring = token.type == tokenize.STRING and before in BREAKS
            if token.type not in BREAKS and not docstring:
                lines |= {*range(token.start[0], token.end[0] + 1)}
            before = token.type
    return lines


def test_taught_code_fits_an_evening_and_its_functions_a_slide() -> None:
    lines = {name: code_lines(SOURCES[name]) for name in TAUGHT}
    assert 0.9 * LINES < sum(map(len, lines.values())) <= LINES
    for name, known in lines.items():
        for node in ast.walk(ast.parse(SOURCES[name])):
            if isinstance(node, ast.FunctionDef):
                body = known & {*range(node.body[0].lineno, node.end_lineno + 1)}
                assert len(body) <= (LOOP if node.name == "fit" else BODY), node.name
