"""`make student` and `make slides`, tried on a small made-up lesson and on the lessons."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag

import editions
import pages
from notebook_tools import LESSONS, ROOT, code, code_cells, lesson, read, tags, text
from publish import SOURCE
from test_html import EQUATION, requests

LONG = "\n".join(f"number_{i} = {i}" for i in range(60))


def small_lesson(folder: Path) -> Path:
    """A made-up lesson with an exercise, its solution, a prediction and a long cell."""
    path = folder / "01_small.ipynb"
    nb = lesson(
        text("# A small lesson\n\n[![a badge](https://example.org/a.svg)](https://example.org/a)"),
        text(f"## First\n\nOne.\n\n{EQUATION}\n\n> **Predict.** Which?"),
        code("print(6 * 7)", "42\n"),
        text("Then a long one."),
        code(LONG),
        code("assert 6 * 7 == 42  # guarded", tags=("guard",)),
        text("### Exercise\n\nWrite `double`. See [lesson 2](02_next.ipynb)."),
        code("double = None", tags=("exercise",)),
        text("<details><summary>Hint</summary>\n\nTwo of them.\n\n</details>\n\nSolution: add."),
        code("def double(x):\n    return 2 * x", tags=("solution",)),
        text("A check:"),
        code("if double is not None:\n    assert double(2) == 4"),
    )
    nbformat.write(nb, path)
    return path


def slides_of(path: Path) -> Path:
    """Its slides, with MathJax and a stand-in for reveal.js where it was not fetched."""
    folder = path.parent / "html" / "slides"
    folder.mkdir(parents=True)
    pages.copy_mathjax(folder.parent)
    if editions.REVEAL.exists():
        editions.copy_reveal(folder)
    return editions.slides(path, folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small lesson."""
    return small_lesson(tmp_path_factory.mktemp("lessons"))


@pytest.fixture(scope="module")
def deck(path: Path) -> Path:
    """Its slides."""
    return slides_of(path)


# --- without solutions --------------------------------------------------------------------------


def test_students_get_no_solution_no_output_and_no_badge(path: Path, tmp_path, capsys) -> None:
    nb = read(editions.student(path, tmp_path))
    assert [tags(cell) for cell in code_cells(nb)] == [[], [], ["guard"], ["exercise"], []]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(nb))
    assert "badge" not in nb.cells[0].source
    assert nb.cells[7].source.endswith("Two of them.\n\n</details>")
    assert nb.cells[1].source == read(path).cells[1].source
    exec("\n".join(cell.source for cell in code_cells(nb)), {})
    assert capsys.readouterr().out == "42\n"


def test_what_students_get_finds_the_package_from_its_folder(tmp_path: Path) -> None:
    def source(folder: Path) -> str:
        nb = read(editions.student(LESSONS[0], folder))
        return SOURCE.search(code_cells(nb)[0].source)[0]

    with TemporaryDirectory(dir=ROOT) as inside:  # as build/student is
        assert source(Path(inside) / "student") == 'SOURCE = "../.."'
    assert source(tmp_path) == 'SOURCE = ".."'


@pytest.mark.parametrize("lesson_path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_has_an_edition_for_students(lesson_path: Path, tmp_path: Path) -> None:
    whole, nb = read(lesson_path), read(editions.student(lesson_path, tmp_path))
    solutions = sum("solution" in tags(cell) for cell in whole.cells)
    assert len(nb.cells) == len(whole.cells) - solutions
    assert not any("solution" in tags(cell) or cell.get("outputs") for cell in nb.cells)
    undefined = ["check", "--isolated", "--select", "F821", str(tmp_path)]  # by a solution only
    assert subprocess.run([sys.executable, "-m", "ruff", *undefined]).returncode == 0


# --- slides -------------------------------------------------------------------------------------


def sections(deck: Path) -> list[list[Tag]]:
    """The slides of each column."""
    soup = BeautifulSoup(deck.read_text("utf-8"), "html.parser")
    columns = soup.select(".slides > section")
    return [column.find_all("section", recursive=False) for column in columns]


def test_slides_begin_at_headings_predictions_and_when_one_is_full(deck: Path) -> None:
    shown = [[section.get_text(" ", strip=True) for section in column] for column in sections(deck)]
    assert [len(column) for column in shown] == [1, 5]
    assert shown[0][0].startswith("A small lesson")
    first, question, answer, full, exercise = shown[1]
    assert first.startswith("First") and "Predict" not in first
    assert question == "Predict. Which?"
    assert "42" in answer and "number_59" not in answer
    assert full.startswith("Then a long one.") and "number_59" in full
    assert exercise.startswith("Exercise") and "return 2 * x" not in exercise
    assert "Solution" not in exercise
    assert sections(deck)[1][-1].select_one("details p").get_text() == "Two of them."


def test_slides_leave_out_what_only_guards_a_claim(path: Path, deck: Path) -> None:
    assert "guarded" in path.read_text("utf-8") and "guarded" not in deck.read_text("utf-8")


def test_slides_ask_the_network_for_nothing(deck: Path) -> None:
    html = deck.read_text("utf-8")
    assert requests(html) == []
    assert 'href="02_next.html"' in html


@pytest.mark.parametrize("lesson_path", LESSONS, ids=lambda path: path.stem)
def test_slides_lose_no_cell_of_a_lesson(lesson_path: Path) -> None:
    nb = read(lesson_path)
    parts = editions.cut(read(lesson_path)).cells
    joined = "".join("".join(part.source.split()) for part in parts)
    assert joined == "".join("".join(cell.source.split()) for cell in nb.cells)
    kinds = [part.metadata.slideshow.slide_type for part in parts]
    assert kinds[0] == "slide" and len(kinds) < 5 * sum(kind != "-" for kind in kinds)


def test_the_student_edition_and_the_slides_are_linked(path: Path, deck: Path) -> None:
    folder = deck.parent.parent
    editions.student(path, folder / "student")
    shutil.copy(deck, folder / "01_small.html")
    html = pages.index([folder / "01_small.html"], folder).read_text("utf-8")
    assert 'href="slides/01_small.html"' in html and 'href="student/01_small.ipynb"' in html
    assert requests(html) == []
