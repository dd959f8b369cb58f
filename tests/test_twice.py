"""A lesson run twice in one kernel says the same twice.

That takes minutes a lesson: VAELAB_TWICE=1 asks for it, VAELAB_TWICE=01 for the first lesson only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from notebook_tools import LESSONS, code, code_cells, lesson, output_texts, read, text

ASKED = os.environ.get("VAELAB_TWICE", "")
TIMES = re.compile(r"\[\d+:\d+<.*?step[^,\]]*|0x[0-9a-f]+")  # of progress bars; addresses


def twice(nb: NotebookNode, folder: Path) -> list[str]:
    """The cells that say something else when all are run again in the same kernel."""
    first = code_cells(nb)
    again = nbformat.from_dict({**nb, "cells": [*nb.cells, *map(nbformat.from_dict, nb.cells)]})
    NotebookClient(again, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    cells = code_cells(again)
    return [
        one.source.splitlines()[0]
        for one, other in zip(cells[: len(first)], cells[len(first) :])
        if said(one) != said(other)
    ]


def said(cell: NotebookNode) -> list[str]:
    """What a cell printed, line by line: of a progress bar its end, without times and speed."""
    lines = "".join(output_texts(cell)).replace("\r\n", "\n").split("\n")
    return [TIMES.sub("", line.split("\r")[-1]) for line in lines]


@pytest.mark.skipif(not ASKED, reason="minutes a lesson: VAELAB_TWICE=1 runs it")
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_run_twice_says_the_same(path: Path) -> None:
    if ASKED != "1" and not path.name.startswith(ASKED):
        pytest.skip(f"VAELAB_TWICE={ASKED}")
    nb = read(path)
    assert twice(nb, path.parent) == []


def test_a_progress_bar_differs_only_by_its_result():
    bar = "\r 50%|## | 1/2 [00:01<00:01, 9.1step/s]\r100%|####| 2/2 [{}, test -ELBO {} nats]\n"
    ends = (
        ("00:02<00:00, 9.2step/s", "5.1"),
        ("01:07<00:00, 2.3s/step", "5.1"),
        ("00:02<00:00, 9.2step/s", "5.2"),
    )
    first, slower, other = (said(code("", bar.format(*end))) for end in ends)
    assert first == slower != other


def test_a_cell_that_counts_on_is_found(tmp_path: Path) -> None:
    nb = lesson(
        text("# A lesson"),
        code("n = 'n' in globals() and n + 1"),
        code("print(n)"),
        code("print(3)"),
    )
    assert twice(nb, tmp_path) == ["print(n)"]
