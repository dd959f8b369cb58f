"""A lesson run twice in one kernel says the same twice, and again with its cells in another order.

That takes minutes a lesson: VAELAB_TWICE=1 asks for it, VAELAB_TWICE=01 for the first lesson only.
"""

from __future__ import annotations

import os
import random
import re
from functools import cache
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

from notebook_tools import LESSONS, before, code, code_cells, first_line, output_texts, read

ASKED = os.environ.get("VAELAB_TWICE", "")
TIMES = re.compile(r"\[\d+:\d+<.*?step[^,\]]*|0x[0-9a-f]+")  # of progress bars; addresses


def executed(cells: list[NotebookNode], folder: Path) -> list[NotebookNode]:
    """Copies of cells, run one after the other in a new kernel."""
    nb = v4.new_notebook(cells=[v4.new_code_cell(cell.source) for cell in cells])
    NotebookClient(nb, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    return nb.cells


@cache
def executed_twice(path: Path) -> list[NotebookNode]:
    """The cells of a lesson, run in order and then all once more in the same kernel."""
    return executed(2 * code_cells(read(path)), path.parent)


def different(ones: list[NotebookNode], others: list[NotebookNode]) -> list[str]:
    """The cells that say one thing here and something else there."""
    return [first_line(one) for one, other in zip(ones, others) if said(one) != said(other)]


def another_order(cells: list[NotebookNode], seed: int = 0) -> list[int]:
    """The places of the cells, shuffled; each stays behind what it needs."""
    chance, after, order = random.Random(seed), before(cells), []
    while len(order) < len(cells):
        ready = [i for i in range(len(cells)) if i not in order and after[i] <= set(order)]
        order.append(chance.choice(ready))
    return order


def said(cell: NotebookNode) -> list[str]:
    """What a cell printed, line by line: of a progress bar its end, without times and speed."""
    lines = "".join(output_texts(cell)).replace("\r\n", "\n").split("\n")
    return [TIMES.sub("", line.split("\r")[-1]) for line in lines]


@pytest.fixture
def lesson_asked_for(request: pytest.FixtureRequest) -> Path:
    path = request.param
    if not ASKED:
        pytest.skip("minutes a lesson: VAELAB_TWICE=1 runs it")
    if ASKED != "1" and not path.name.startswith(ASKED):
        pytest.skip(f"VAELAB_TWICE={ASKED}")
    return path


each_lesson = pytest.mark.parametrize(
    "lesson_asked_for", LESSONS, ids=lambda path: path.stem, indirect=True
)


@each_lesson
def test_a_lesson_run_twice_says_the_same(lesson_asked_for: Path) -> None:
    cells = executed_twice(lesson_asked_for)
    assert different(cells[: len(cells) // 2], cells[len(cells) // 2 :]) == []


@each_lesson
def test_a_lesson_in_another_order_says_the_same(lesson_asked_for: Path) -> None:
    cells = code_cells(read(lesson_asked_for))
    order = another_order(cells)
    in_order = executed_twice(lesson_asked_for)
    shuffled = executed([cells[i] for i in order], lesson_asked_for.parent)
    assert different(shuffled, [in_order[i] for i in order]) == []


# --- what these tests rest on --------------------------------------------------------------------


def test_a_progress_bar_differs_only_by_its_result():
    bar = "\r 50%|## | 1/2 [00:01<00:01, 9.1step/s]\r100%|####| 2/2 [{}, test -ELBO {} nats]\n"
    ends = [("00:02<00:00, 9.2step/s", 5.1), ("01:07<00:00, 2.3s/step", 5.1), ("00:02<00:00, 9", 5)]
    first, slower, other = (said(code("", bar.format(*end))) for end in ends)
    assert first == slower != other


def test_a_cell_stays_behind_what_it_needs() -> None:
    sources = {
        "import math": set(),
        "x = 1": set(),
        "for i in 'ab': print(i)": set(),
        "y = math.exp(x)": {0, 1},
        "import math\nfor i in 'cd': math.exp(1)": {0},  # i ties nothing: no cell needs it
        "def f(): return y": {3},
        "x = 2": {1, 3},  # binds anew what cells before have needed
        "print(f(), x)": {1, 5, 6},
    }
    assert before([code(source) for source in sources]) == list(sources.values())
