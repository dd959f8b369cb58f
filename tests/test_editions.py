"""`make student` and `make slides`, tried on a small made-up lesson and on the lessons."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bs4 import BeautifulSoup

import editions
import pages
from notebook_tools import LESSONS, ROOT, code_cells, read, tags
from publish import SOURCE
from test_html import requests, small_lesson


def slides_of(path: Path) -> Path:
    """Its slides, with MathJax and a stand-in for reveal.js where it was not fetched."""
    folder = path.parent / "html" / "slides"
    folder.mkdir(parents=True)
    pages.copy_mathjax(folder.parent)
    if editions.REVEAL.exists():
        editions.copy_reveal(folder)
    return editions.slides(path, folder)


def test_students_get_no_solution_no_output_and_no_badge(tmp_path: Path) -> None:
    path = small_lesson(tmp_path)
    nb = read(editions.student(path, tmp_path / "student"))
    assert [tags(cell) for cell in code_cells(nb)] == [[], [], ["guard"], ["exercise"], ["a-tag"]]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(nb))
    assert "badge" not in nb.cells[0].source
    assert nb.cells[8].source.endswith("Two of them.\n\n</details>")
    assert nb.cells[1].source == read(path).cells[1].source


def test_what_students_get_finds_the_package_from_its_folder(tmp_path: Path) -> None:
    def source(folder: Path) -> str:
        nb = read(editions.student(LESSONS[0], folder))
        return SOURCE.search(code_cells(nb)[0].source)[0]

    with TemporaryDirectory(dir=ROOT) as inside:  # as build/student is
        assert source(Path(inside) / "student") == 'SOURCE = "../.."'
    assert source(tmp_path) == 'SOURCE = ".."'


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_an_edition_of_a_lesson_lacks_its_solutions_and_its_slides_lack_no_cell(path, tmp_path):
    whole, nb = read(path), read(editions.student(path, tmp_path))
    kept = [cell.id for cell in whole.cells if "solution" not in tags(cell)]
    assert [cell.id for cell in nb.cells] == kept
    assert not any(cell.get("outputs") for cell in nb.cells)
    undefined = ["check", "--isolated", "--select", "F821", str(tmp_path)]  # by a solution only
    assert subprocess.run([sys.executable, "-m", "ruff", *undefined]).returncode == 0
    parts = editions.cut(read(path)).cells
    joined, expected = ("".join("".join(c.source.split()) for c in x) for x in (parts, whole.cells))
    assert joined == expected
    kinds = [part.metadata.slideshow.slide_type for part in parts]
    assert kinds[0] == "slide" and len(kinds) < 5 * sum(kind != "-" for kind in kinds)


def test_slides_begin_at_headings_predictions_and_when_one_is_full(tmp_path: Path) -> None:
    html = slides_of(small_lesson(tmp_path)).read_text("utf-8")
    columns = BeautifulSoup(html, "html.parser").select(".slides > section")
    deck = [column.find_all("section", recursive=False) for column in columns]
    (start,), (first, question, answer, full, exercise) = (
        [slide.get_text(" ", strip=True) for slide in column] for column in deck
    )
    assert start.startswith("A small lesson")
    assert first.startswith("First") and "Predict" not in first
    assert question == "Predict. Which?"
    assert "42" in answer and "number_59" not in answer
    assert full.startswith("Then a long one.") and "number_59" in full
    assert exercise.startswith("Exercise") and "the answer" not in exercise
    assert "Solution" not in exercise and "guarded" not in html
    assert deck[1][-1].select_one("details p").get_text() == "Two of them."
    assert requests(html) == [] and 'href="02_next.html"' in html
