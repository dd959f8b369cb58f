"""Every lesson in JupyterLab: all cells run, and what can be moved moves.

This takes as long as the lessons take, and nbval has run their cells already, so it is done only
where VAELAB_BROWSER_LESSONS=1 asks for it, as `.ci/run` does.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from hands import drag, press
from notebook_tools import LESSONS, read, tags

IDLE = "Python 3 (ipykernel) | Idle"
LESSON = 30 * 60_000  # milliseconds; only so that a test ends, on a busy machine too
ASKED = os.environ.get("VAELAB_BROWSER_LESSONS") == "1"
MADE = re.compile(r"\b\w+(?:Explorer|Playground)\(")


def explorer_cells(path: Path) -> list[int]:
    """The places of the cells that show an explorer, counted as JupyterLab counts cells."""
    nb = read(path)
    return [
        place
        for place, cell in enumerate(nb.cells)
        if cell.cell_type == "code" and MADE.search(cell.source) and ".snapshot" not in cell.source
    ]


def last_number(path: Path) -> tuple[int, int]:
    """The number and the place of the last code cell that shows a number: a folded one does not."""
    cells = enumerate(read(path).cells)
    code = [(place, cell) for place, cell in cells if cell.cell_type == "code"]
    shown = [(n, place) for n, (place, cell) in enumerate(code, 1) if "solution" not in tags(cell)]
    return shown[-1]


def slider(cell: Locator) -> Locator:
    return cell.locator('[role="slider"]:visible').first


@pytest.mark.skipif(not ASKED, reason="takes minutes: only with VAELAB_BROWSER_LESSONS=1")
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_and_its_explorers_move(path: Path, lab: tuple[str, Path], page: Page) -> None:
    address, folder = lab
    shutil.copy(path, folder)
    page.goto(f"{address}/doc/tree/{path.name}")
    page.get_by_text(IDLE).wait_for()
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("Restart Kernel and Run All Cells")).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    number, place = last_number(path)
    final = page.locator(f'[data-windowed-list-index="{place}"] .jp-InputPrompt')
    expect(final).to_have_text(f"[{number}]:", timeout=LESSON)
    page.get_by_text(IDLE).wait_for()
    complaints = page.locator('.jp-OutputArea-output[data-mime-type*="err"]')  # errors and stderr
    assert complaints.all_inner_texts() == []
    for place in explorer_cells(path):
        assert_moves(page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{place}"]'))


def assert_moves(cell: Locator) -> None:
    """A key on its first slider changes the picture of an explorer, and so does the mouse."""
    cell.scroll_into_view_if_needed()
    image = cell.locator("img.widget-image")
    image.wait_for()
    for move in (lambda: press(slider(cell), "ArrowRight", 1), lambda: drag(slider(cell), 40, 10)):
        before = image.get_attribute("src")
        move()
        expect(image).not_to_have_attribute("src", before)
    expect(cell.get_by_role("alert")).to_have_count(0)
