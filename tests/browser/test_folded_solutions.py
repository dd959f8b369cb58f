"""Solutions in JupyterLab: folded when the lesson opens, unfolded by a click, run like any cell."""

from __future__ import annotations

from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect

import pages
from notebook_tools import code, lesson, text

IDLE = "Python 3 (ipykernel) | Idle"

SECOND = 1000  # milliseconds


def test_a_solution_is_folded_until_it_is_asked_for(page: Page, lab: tuple[str, Path]) -> None:
    address, folder = lab
    nb = lesson(
        text("# An exercise"),
        code("from vaelab import exercises"),
        text("<details><summary>Hint</summary>\n\nthink twice\n\n</details>"),
        code("# @title Solution 1.1\nletter = 'c'\nexercises.check_choosing(letter)", "the answer"),
    )
    nb.cells[-1].metadata.tags = ["solution"]
    pages.fold(nb.cells[-1])
    nbformat.write(nb, folder / "exercise.ipynb")
    page.goto(f"{address}/lab/tree/exercise.ipynb?reset")
    expect(page.get_by_text(IDLE)).to_be_visible(timeout=60 * SECOND)

    hint = page.locator(".jp-RenderedMarkdown p", has_text="think twice")
    expect(hint).not_to_be_visible()
    page.locator(".jp-RenderedMarkdown summary").click()
    expect(hint).to_be_visible()

    solution = page.locator(".jp-CodeCell").last
    expect(solution).to_contain_text("Solution 1.1")
    expect(solution.get_by_text("letter = 'c'")).not_to_be_visible()
    expect(solution.get_by_text("the answer")).not_to_be_visible()

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("#jp-mainmenu-run").get_by_text("Run All Cells", exact=True).click()
    expect(solution.get_by_text("Right. Chosen where")).to_be_visible(timeout=60 * SECOND)
    expect(solution.get_by_text("letter = 'c'")).not_to_be_visible()
    solution.locator(".jp-InputPlaceholder").click()
    expect(solution.get_by_text("letter = 'c'")).to_be_visible()
