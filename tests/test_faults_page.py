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


def broken(page: str) -> list[str]:
    """Rows without exactly four cells and one test that exists."""
    return [row for row in rows(page) if row.count("|") != 5 or not exists(row)]


def exists(row: str) -> bool:
    named = NAMED.findall(row)
    if len(named) != 1 or not (path := PAGE.parent / named[0][0]).exists():
        return False
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == named[0][1] for node in tree.body)


def test_every_fault_names_a_test_that_exists():
    page = PAGE.read_text("utf-8")
    assert broken(page) == []
    assert len(rows(page)) > 30
    bad = rows(page)[0].replace("::test_", "::test_no_")
    assert broken(page.replace(rows(page)[0], bad)) == [bad]
