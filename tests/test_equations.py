r"""Every equation that a lesson displays is tagged, and every tag is proved by a test.

A lesson numbers what it states with \tag{lesson.number}; a test that proves it carries
@pytest.mark.equation("lesson.number"). This file compares the two lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from nbformat import NotebookNode

from notebook_tools import LESSONS, ROOT, lesson, markdown_cells, number, read, text

CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`", re.DOTALL)
ENVIRONMENT = r"\\begin\{(align|equation|gather|multline|eqnarray)\*?\}.*?\\end\{\1\*?\}"
DISPLAY = re.compile(rf"\$\$.*?\$\$|\\\\?\[.*?\\\\?\]|{ENVIRONMENT}", re.DOTALL)
Proofs = list[tuple[str, bool]]  # the equation that a test is marked with, and whether it claims


def tags_of(nb: NotebookNode) -> list[str]:
    """The tags of all displayed equations, in order; "" for an equation without a tag."""
    sources = [CODE.sub("", cell.source) for cell in markdown_cells(nb)]
    displays = [match.group() for source in sources for match in DISPLAY.finditer(source)]
    return [tag for one in displays for tag in re.findall(r"\\tag\*?\{([^}]*)\}", one) or [""]]


def proofs_of(source: str) -> Iterator[tuple[str, bool]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks, body = map(ast.unparse, (ast.Module([node], []), ast.Module(node.body, [])))
            for numbers in re.findall(r"pytest\.mark\.equation\((.*?)\)", marks):
                claims = bool(re.search(r"\bassert|raises\(", body))
                yield from ((tag, claims) for tag in re.findall(r"[\d.]+", numbers))


def problems(tags: dict[int, list[str]], proofs: Proofs) -> Iterator[str]:
    """What is wrong, given the tags of each lesson."""
    for lesson_number, found in tags.items():
        if found != [f"{lesson_number}.{i}" for i in range(1, len(found) + 1)]:
            yield f"tags {found}: not one for each display, in order, without gaps"
    known, proved = {tag for found in tags.values() for tag in found}, {tag for tag, _ in proofs}
    yield from (f"no test proves equation {tag}" for tag in known - proved)
    yield from (f"no lesson has equation {tag}, which a test proves" for tag in proved - known)
    yield from (f"a test of {tag} claims nothing" for tag, claims in proofs if not claims)


def test_every_equation_is_tagged_and_proved_and_every_proof_has_its_equation() -> None:
    sources = [path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    proofs = [proof for one in sources if "mark.equation" in one for proof in proofs_of(one)]
    assert list(problems({number(path): tags_of(read(path)) for path in LESSONS}, proofs)) == []


# --- what is planted is found -------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        (GOOD, ["1.1", "1.2", "1.3"]),
        ("$$\na = b\n$$\n\n" + r"$$ a = c \tag{1.1} $$", ["", "1.1"]),
        (r"\begin{align} a = b \end{align}", [""]),
        (r"\[ a = b \]", [""]),
    ],
)
def test_displays_are_found(source: str, tags: list[str]) -> None:
    assert tags_of(lesson(text(source))) == tags


def test_marks_and_empty_proofs_are_found() -> None:
    mark = "@pytest.mark.equation({})\ndef test_it():\n    {}\n"
    source = mark.format("'1.1', '1.2'", "assert True") + mark.format("'2.10'", "print('done')")
    assert list(proofs_of(source)) == [("1.1", True), ("1.2", True), ("2.10", False)]


@pytest.mark.parametrize(
    ("tags", "proofs"),
    [
        (["1.1", "1.1"], [("1.1", True)]),
        (["1.2", "1.1"], [("1.1", True), ("1.2", True)]),
        (["1.1", "1.2"], [("1.1", True)]),
        (["1.1"], [("1.1", True), ("2.1", True)]),
        (["1.1"], [("1.1", False)]),
    ],
)
def test_what_does_not_fit_is_found(tags: list[str], proofs: Proofs) -> None:
    assert len(list(problems({1: tags}, proofs))) == 1
