r"""Every equation that a lesson displays is tagged, and every tag is proved by a test.

A lesson numbers what it states with \tag{lesson.number}; a test that proves it carries
@pytest.mark.equation("lesson.number"). This file compares the two lists, and is tried on made-up
lessons and tests that break the rule.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode

from notebook_tools import LESSONS, ROOT, code, lesson, markdown_cells, number, read, text

CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`", re.DOTALL)
ENVIRONMENT = r"\\begin\{(align|equation|gather|multline|eqnarray)\*?\}.*?\\end\{\1\*?\}"
DISPLAY = re.compile(rf"\$\$.*?\$\$|\\\\?\[.*?\\\\?\]|{ENVIRONMENT}", re.DOTALL)
TAG = re.compile(r"\\tag\*?\{([^}]*)\}")


# --- the rules ----------------------------------------------------------------------------------


def displays(nb: NotebookNode) -> list[str]:
    """The displayed equations of a lesson, in order."""
    sources = [CODE.sub("", cell.source) for cell in markdown_cells(nb)]
    return [match.group() for source in sources for match in DISPLAY.finditer(source)]


def tagged(nb: NotebookNode) -> list[str]:
    """The tags of a lesson, in order."""
    return [tag for display in displays(nb) for tag in TAG.findall(display)]


def tag_problems(nb: NotebookNode, lesson_number: int) -> Iterator[str]:
    """What is wrong with the tags of one lesson."""
    for display in displays(nb):
        if not TAG.search(display):
            yield f"no tag: {display}"
    expected = [f"{lesson_number}.{i}" for i in range(1, len(tagged(nb)) + 1)]
    if tagged(nb) != expected:
        yield f"tags {tagged(nb)}, expected {expected}: unique, in order, without gaps"


def marked(source: str) -> Counter[str]:
    """equation number -> how many tests of a test file are marked with it."""
    marks: Counter[str] = Counter()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks.update(number for mark in node.decorator_list for number in numbers(mark))
    return marks


def numbers(decorator: ast.expr) -> list[str]:
    """The numbers of an @pytest.mark.equation decorator, none of any other."""
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.equation":
        return [ast.literal_eval(argument) for argument in decorator.args]
    return []


def toothless(source: str) -> Iterator[str]:
    """Tests of a test file that are marked with an equation and claim nothing about it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and any(map(numbers, node.decorator_list)):
            claims = [n for n in ast.walk(node) if isinstance(n, ast.Assert)]
            calls = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
            if not claims and not any("assert" in call or "raises" in call for call in calls):
                yield node.name


def unpaired(tags: Iterable[str], marks: Iterable[str], lessons: set[int]) -> Iterator[str]:
    """Tags without a test, and marks without a tag in the lessons that exist."""
    tags, marks = set(tags), set(marks)
    yield from (f"no test proves equation {tag}" for tag in sorted(tags - marks))
    for mark in sorted(marks - tags):
        if not re.fullmatch(r"[1-3]\.\d+", mark) or int(mark[0]) in lessons:
            yield f"a test claims to prove equation {mark}, which no lesson has"


# --- the lessons --------------------------------------------------------------------------------


def all_tests() -> list[str]:
    """The source of every test file."""
    return [path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_display_is_tagged(path: Path) -> None:
    assert list(tag_problems(read(path), number(path))) == []


def test_every_equation_is_proved_and_every_proof_has_its_equation() -> None:
    tags = [tag for path in LESSONS for tag in tagged(read(path))]
    marks = [mark for source in all_tests() for mark in marked(source)]
    assert list(unpaired(tags, marks, {number(path) for path in LESSONS})) == []


def test_no_proof_is_empty() -> None:
    assert [name for source in all_tests() for name in toothless(source)] == []


# --- the rules find what is planted for them ----------------------------------------------------

GOOD = r"""
The bound
$$
\log p(x) \ge \mathrm{ELBO} \tag{1.1}
$$
follows from $\mathrm{KL} \ge 0$, as `$$` does not:

\begin{align}
a &= b \tag{1.2} \\
  &= c \tag{1.3}
\end{align}
"""


def test_tags_are_read() -> None:
    nb = lesson(text("# A lesson"), text(GOOD), code('print("$$ x $$")'))
    assert tagged(nb) == ["1.1", "1.2", "1.3"]
    assert list(tag_problems(nb, 1)) == []


@pytest.mark.parametrize(
    "source",
    [
        "$$\na = b\n$$\n\n" + r"$$ a = c \tag{1.1} $$",
        r"\begin{align} a = b \end{align}",
        r"\[ a = b \]",
        r"$$ a = b \tag{1.1} $$ and $$ a = b \tag{1.1} $$",
        r"$$ a = b \tag{1.2} $$ and $$ a = b \tag{1.1} $$",
    ],
)
def test_a_planted_fault_in_a_lesson_is_found(source: str) -> None:
    assert list(tag_problems(lesson(text(source)), 1))


def test_a_planted_empty_proof_and_a_lack_of_one_are_found() -> None:
    mark = "@pytest.mark.equation('1.{}')\ndef test_it():\n    {}\n"
    proofs = mark.format(1, "assert True") + mark.format(2, "print('done')")
    assert marked(proofs) == {"1.1": 1, "1.2": 1}
    assert list(toothless(proofs)) == ["test_it"]
    assert list(unpaired(["1.1", "1.2"], ["1.1", "2.1"], {1})) == ["no test proves equation 1.2"]
    assert len(list(unpaired(["1.1"], ["1.1", "1.2", "4.1"], {1}))) == 2
