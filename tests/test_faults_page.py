"""The page of faults names tests that exist, and misses no kind of fault."""

from __future__ import annotations

import re

from notebook_tools import ROOT

TESTS = ROOT / "tests"
ROW = re.compile(r"\| [^|]+ \| [^|]+ \| [^|]+ \| `(test_\w+\.py)::(test_\w+)` \|")


def test_every_fault_names_a_test_that_exists():
    page = (TESTS / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in page if re.match(r"\| (?!fault )", line)]
    named = [match.groups() for row in rows if (match := ROW.fullmatch(row))]
    assert len(named) == len(rows) > 30
    for file, test in named:
        assert f"\ndef {test}(" in (TESTS / file).read_text("utf-8"), test
