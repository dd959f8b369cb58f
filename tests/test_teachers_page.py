"""What the teacher's page names is there: sections, findings, tests, an hour in each session."""

from __future__ import annotations

import re

from notebook_tools import LESSONS, ROOT, markdown_cells, number, read
from vaelab.checkup import KINDS

PAGE = (ROOT / "notebooks" / "README.md").read_text("utf-8")
INDEX = PAGE.split("## Index by symptom")[1].split("## ")[0]
HEADING = re.compile(r"^#{2,4} (.+)$", flags=re.MULTILINE)


def headings() -> list[tuple[int, str]]:
    """Every heading of every lesson, with the lesson's number."""
    cells = [(number(path), cell.source) for path in LESSONS for cell in markdown_cells(read(path))]
    return [(lesson, text) for lesson, source in cells for text in HEADING.findall(source)]


def test_every_section_and_exercise_exists() -> None:
    numbers = re.compile(r"(?:Exercise )?(\d\.\d)")
    known = {match[1] for _, text in headings() if (match := numbers.match(text))}
    assert set(re.findall(r"(?<![\d.])[1-3]\.\d(?![\d.])", PAGE)) <= known


def test_every_quoted_part_exists() -> None:
    texts = {text for _, text in headings()}
    quoted = re.findall(r"(?:\d\.\d|lesson \d's|\d\.\d's) \"(.+?)\"", PAGE)
    assert len(quoted) > 15
    assert [part for part in quoted if part not in texts] == []


def test_every_finding_and_test_exists() -> None:
    rows = [line.split("|")[2] for line in INDEX.splitlines() if line.startswith('| "')]
    assert len(rows) > 15
    named = {name for row in rows for name in re.findall(r"`([a-z ]+)`", row) if name in KINDS}
    findings = re.findall(r"[Ff]indings? `([^`]+)`(?: and `([^`]+)`)?", INDEX)
    assert {name for pair in findings for name in pair if name} <= KINDS.keys()
    assert len(named) > 6
    tests = re.findall(r"`(tests/\w+\.py)`", PAGE)
    assert tests and all((ROOT / test).is_file() for test in tests)


def test_a_session_has_an_hour_of_core() -> None:
    sessions = re.findall(r"\*\*Session \d: .+?(?=\n\*\*Session|\n## )", PAGE, flags=re.DOTALL)
    assert len(sessions) == 3
    for text in sessions:
        rows = re.findall(r"^\| (\d+) \| (\S+)", text, flags=re.MULTILINE)
        assert sum(int(minutes) for minutes, section in rows if section != "|") == 60
