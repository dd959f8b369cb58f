"""What the teacher's page names is there: sections, findings, tests, an hour in each session."""

from __future__ import annotations

import re

from notebook_tools import LESSONS, ROOT, markdown_cells, read
from vaelab.checkup import KINDS

PAGE = (ROOT / "notebooks" / "README.md").read_text("utf-8")
PROSE = "\n".join(cell.source for path in LESSONS for cell in markdown_cells(read(path)))
HEADINGS = re.findall(r"(?m)^#{2,4} (.+)$", PROSE)


def test_every_section_exercise_and_quoted_part_exists() -> None:
    known = {match[1] for text in HEADINGS if (match := re.match(r"(?:Exercise )?(\d\.\d)", text))}
    assert set(re.findall(r"(?<![\d.])[1-3]\.\d(?![\d.])", PAGE)) <= known
    quoted = re.findall(r"(?:\d\.\d|lesson \d's|\d\.\d's) \"(.+?)\"", PAGE)
    assert len(quoted) > 15 and set(quoted) <= set(HEADINGS)


def test_every_finding_and_test_exists() -> None:
    index = PAGE.split("## Index by symptom")[1].split("## ")[0]
    findings = re.findall(r"[Ff]indings? `([^`]+)`(?: and `([^`]+)`)?", index)
    named = {name for pair in findings for name in pair if name}
    assert len(named) > 6 and named <= KINDS.keys()
    tests = re.findall(r"`(tests/\w+\.py)`", PAGE)
    assert tests and all((ROOT / test).is_file() for test in tests)


def test_a_session_has_an_hour_of_core() -> None:
    sessions = re.findall(r"(?s)\*\*Session \d: .+?(?=\n\*\*Session|\n## )", PAGE)
    rows = [re.findall(r"(?m)^\| (\d+) \| [^|\s]", session) for session in sessions]
    assert [sum(map(int, minutes)) for minutes in rows] == [60, 60, 60]
