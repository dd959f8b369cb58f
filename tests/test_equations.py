r"""Every equation that a lesson displays is tagged, and every tag is proved by a test.

A lesson writes \tag{lesson.number}; a test that proves it @pytest.mark.equation("lesson.number").
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
Proof = tuple[str, bool]  # the equation that a test is marked with, and whether it claims anything


def tags_of(nb: NotebookNode) -> list[str]:
    """The tags of all displayed equations, in order; "" for an equation without a tag."""
    sources = [CODE.sub("", cell.source) for cell in markdown_cells(nb)]
    displays = [match.group() for source in sources for match in DISPLAY.finditer(source)]
    return [tag for one in displays for tag in re.findall(r"\\tag\*?\{([^}]*)\}", one) or [""]]


def proofs_of(source: str) -> Iterator[Proof]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks, body = ast.unparse(node).split(f"def {node.name}(", maxsplit=1)
            claims = bool(re.search(r"\bassert|raises\(", body))
            for numbers in re.findall(r"pytest\.mark\.equation\((.*?)\)", marks):
                yield from ((tag, claims) for tag in re.findall(r"[\d.]+", numbers))


def problems(tags: dict[int, list[str]], proofs: list[Proof]) -> Iterator[str]:
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


ONE = r"$$ a = b \tag{1.1} $$"
TWO = r"""As `$$` is none, and $b$,
\begin{align}
a &= b \tag{1.1} \\
  &= c \tag{1.2}
\end{align}
"""


@pytest.mark.parametrize(
    ("source", "numbers", "claim", "said"),
    [
        (TWO, "'1.1', '1.2'", "assert True", ""),
        (ONE, "'1.1'", "with pytest.raises(ValueError): f()", ""),
        (f"$$\na = b\n$$\n\n{ONE}", "'', '1.1'", "assert True", "tags ['', '1.1']"),
        (r"\begin{align} a = b \end{align}", "''", "assert True", "tags ['']"),
        (r"\[ a = b \]", "''", "assert True", "tags ['']"),
        (f"{TWO} and {ONE}", "'1.1', '1.2'", "assert True", "tags ['1.1', '1.2', '1.1']"),
        (TWO, "'1.1'", "assert True", "no test proves equation 1.2"),
        (ONE, "'1.1', '2.10'", "assert True", "no lesson has equation 2.10"),
        (ONE, "'1.1'", "print('done')", "a test of 1.1 claims nothing"),
    ],
)
def test_what_does_not_fit_is_found(source: str, numbers: str, claim: str, said: str) -> None:
    proofs = proofs_of(f"@pytest.mark.equation({numbers})\ndef test_it():\n    {claim}")
    first = next(problems({1: tags_of(lesson(text(source)))}, list(proofs)), "")
    assert first.startswith(said) and bool(first) == bool(said)
