"""The page of faults names tests that exist, and misses no kind of fault."""

from __future__ import annotations

import re

from notebook_tools import ROOT

TESTS = ROOT / "tests"
ROW = re.compile(r"\| [^|]+ \| [^|]+ \| [^|]+ \| `(test_\w+\.py)::(test_\w+)` \|")


def exists(row: str) -> bool:
    """Four cells, and one test that exists."""
    file, test = named.groups() if (named := ROW.fullmatch(row)) else ("", "")
    path = TESTS / file
    return path.is_file() and f"\ndef {test}(" in path.read_text("utf-8")


def test_every_fault_names_a_test_that_exists():
    page = (TESTS / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in page if line.startswith("|") and not line.startswith("|---")]
    rows = [row for row in rows if not row.startswith("| fault |")]
    assert [row for row in rows if not exists(row)] == [] and len(rows) > 30
    assert not exists(rows[0].replace("::test_", "::test_no_"))
