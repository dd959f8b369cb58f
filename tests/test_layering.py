"""Dependencies point one way: who may import whom, read from the source of every module.

The rules are tried on the package, and on made-up packages that break them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from notebook_tools import ROOT

PACKAGE = ROOT / "vaelab"

# Every module, and the siblings that it may import. `import vaelab` brings those of "__init__".
MAY_IMPORT: dict[str, set[str]] = {
    "data": set(),
    "losses": set(),
    "model": {"losses"},  # for log p(x|z)
    "schedules": set(),
    "toy": set(),
    "describe": set(),
    "plotting": {"describe"},  # every lesson sets the style once, and with it this
    "diagrams": {"plotting"},  # for the colours
    "lesson": set(),
    "objectives": {"losses", "schedules"},
    "diagnostics": {"data", "losses", "model", "schedules"},  # schedules: for check_range
    "training": {"data", "diagnostics", "losses", "model", "objectives", "schedules"},
    "checkup": {"checks", "runs"},
}
MAY_IMPORT["storage"] = {"diagnostics", "model", "training"}
MAY_IMPORT["__init__"] = {*MAY_IMPORT} - {"describe", "plotting", "diagrams", "lesson"}
MAY_IMPORT["exercises"] = {*MAY_IMPORT["__init__"]}
MAY_IMPORT["results"] = {*MAY_IMPORT["__init__"]}
MAY_IMPORT["widgets"] = {*MAY_IMPORT["__init__"], "plotting"}
MAY_IMPORT["preview"] = {*MAY_IMPORT["__init__"], "plotting", "widgets"}
MAY_IMPORT["figures"] = {*MAY_IMPORT["__init__"], "plotting", "diagrams", "preview"}
MAY_IMPORT["kernelfree"] = {*MAY_IMPORT["__init__"], "figures", "widgets"}

# What only one layer may know.
ONLY_IN: dict[str, set[str]] = {
    "ipywidgets": {"widgets"},
    "matplotlib": {"plotting", "diagrams", "figures", "preview", "widgets"},
    "torchvision": {"data"},
}


def imports(source: str) -> Iterator[tuple[str, str]]:
    """What a module of the package imports, wherever it does so: ("sibling" or "outside", name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, ["vaelab" if node.level else "", node.module]))
            names = (
                [f"vaelab.{alias.name}" for alias in node.names] if module == "vaelab" else [module]
            )
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            yield ("sibling", rest.split(".")[0] or top) if top == "vaelab" else ("outside", top)


def broken_rules(sources: dict[str, str]) -> Iterator[str]:
    """Every import that the tables above do not allow; `sources` is module name -> source."""
    for name, source in sources.items():
        if name not in MAY_IMPORT:
            yield f"{name}.py has no place yet: give it one in MAY_IMPORT"
            continue
        for kind, imported in sorted(set(imports(source))):
            if kind == "sibling" and imported not in MAY_IMPORT[name]:
                yield f"{name} imports {imported}"
            if name not in ONLY_IN.get(imported, {name}):
                yield f"{name} imports {imported}, which belongs to {sorted(ONLY_IN[imported])}"


def the_package() -> dict[str, str]:
    """The modules of vaelab."""
    return {path.stem: path.read_text("utf-8") for path in sorted(PACKAGE.glob("*.py"))}


def test_the_package_keeps_the_order() -> None:
    assert list(broken_rules(the_package())) == []


def test_every_module_has_a_place() -> None:
    assert the_package().keys() <= MAY_IMPORT.keys()


def test_the_order_has_no_circles() -> None:
    list(TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("losses", "from .data import Digits"),
        ("losses", "from . import data"),
        ("losses", "import vaelab.data"),
        ("losses", "from vaelab.data import Digits"),
        ("losses", "from vaelab import fit"),
        ("losses", "import vaelab"),
        ("plotting", "def draw():\n    from .training import fit"),
        ("diagnostics", "from .training import evaluate"),
        ("training", "from .plotting import style"),
        ("__init__", "from .plotting import style"),
        ("widgets", "from . import results"),
        ("training", "import ipywidgets as w"),
        ("plotting", "from ipywidgets import Box"),
        ("diagnostics", "import matplotlib.pyplot as plt"),
        ("model", "def f():\n    import torchvision"),
        ("shortcuts", "import torch"),
    ],
)
def test_a_planted_import_is_found(name: str, source: str) -> None:
    assert len(list(broken_rules({name: source}))) == 1


def test_a_planted_circle_is_found() -> None:
    with pytest.raises(CycleError):
        list(TopologicalSorter({**MAY_IMPORT, "losses": {"objectives"}}).static_order())


def loaded_by(statement: str, folder: Path) -> set[str]:
    """The top-level modules that a new Python has loaded after a statement."""
    program = f"import sys; {statement}; print('loaded', *{{m.split('.')[0] for m in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split("loaded ", 1)[1].split())


def test_import_vaelab_starts_fast(tmp_path: Path) -> None:
    slow = {"torchvision", "sklearn", "scipy", "ipywidgets", "IPython", "matplotlib"}
    assert loaded_by("import vaelab", tmp_path) & (slow | {"vaelab"}) == {"vaelab"}
    assert loaded_by("import ipywidgets", tmp_path) & slow >= {"ipywidgets"}  # and is seen if so
