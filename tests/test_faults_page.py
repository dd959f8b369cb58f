"""The page of faults names tests that exist, and misses no kind of fault."""

from __future__ import annotations

import ast
import re

from notebook_tools import ROOT

PAGE = ROOT / "tests" / "README.md"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows(page: str) -> list[str]:
    """The lines of its tables that are no heading."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith(("| fault |", "|---"))]


def exists(row: str) -> bool:
    """Four cells, and one test that exists."""
    named = NAMED.findall(row)
    if row.count("|") != 5 or len(named) != 1 or not (path := PAGE.parent / named[0][0]).exists():
        return False
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == named[0][1] for node in tree.body)


def test_every_fault_names_a_test_that_exists():
    found = rows(PAGE.read_text("utf-8"))
    assert [row for row in found if not exists(row)] == [] and len(found) > 30
    assert not exists(found[0].replace("::test_", "::test_no_"))
