"""A lesson run twice in one kernel says the same twice, and again with its cells in another order.

That takes minutes a lesson: VAELAB_TWICE=1 asks for it, VAELAB_TWICE=01 for the first lesson only.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

import notebook_tools as tools

ASKED = os.environ.get("VAELAB_TWICE", "")
TIMES = re.compile(r"\[\d+:\d+<.*?step[^,\]]*|0x[0-9a-f]+")  # of progress bars; addresses


def said(cells: list[NotebookNode], folder: Path) -> list[list[str]]:
    """What cells print in a new kernel, line by line; of a progress bar its end, without times."""
    nb = v4.new_notebook(cells=[v4.new_code_cell(cell.source) for cell in cells])
    NotebookClient(nb, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    texts = ["".join(tools.output_texts(cell)).replace("\r\n", "\n") for cell in nb.cells]
    return [
        [TIMES.sub("", line.split("\r")[-1]).strip() for line in text.split("\n")] for text in texts
    ]


def another_order(cells: list[NotebookNode], chance: random.Random) -> list[int]:
    """The places of the cells, shuffled; a cell comes after what it needs.

    And after whoever needs what it binds anew. Names that no cell needs from another, as of a
    loop, tie nothing together; nor does importing once more.
    """
    binds, needs = [[f(cell) for cell in cells] for f in (tools.bound_by, tools.needed_by)]
    imports = [tools.imported_by(cell) for cell in cells]
    makes = [binds[i] | imports[i].difference(*imports[:i]) for i in range(len(cells))]
    shared = set().union(*needs)

    def tied(i: int, k: int) -> bool:
        return bool(makes[i] & needs[k] or binds[i] & binds[k] & shared or needs[i] & binds[k])

    order, left = [], list(range(len(cells)))
    while left:
        ready = [k for k in left if not any(tied(i, k) for i in left if i < k)]
        order.append(left.pop(left.index(chance.choice(ready))))
    return order


@pytest.mark.parametrize("path", tools.LESSONS, ids=lambda path: path.stem)
def test_a_lesson_run_twice_and_in_another_order_says_the_same(path: Path) -> None:
    if ASKED not in ("1", path.name[:2]):
        pytest.skip("minutes a lesson: VAELAB_TWICE=1 runs it")
    cells = tools.code_cells(tools.read(path))
    twice = said(2 * cells, path.parent)
    order = another_order(cells, random.Random(0))
    shuffled = dict(zip(order, said([cells[i] for i in order], path.parent)))
    for i, cell in enumerate(cells):
        assert twice[i] == twice[i + len(cells)] == shuffled[i], tools.first_line(cell)
