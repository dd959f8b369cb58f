"""Lessons run to the end with other settings than their own, and say that their numbers differ.

The first one always, the others where minutes are granted: VAELAB_TWICE=1.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from notebook_tools import LESSONS, ROOT, code, code_cells, output_texts, read, tags
from test_twice import ASKED

QUICK = {"STEPS": 60, "LATENT_DIM": 20, "HIDDEN_DIM": 100, "SWEEP_STEPS": 20}
QUICK |= {"GRU_STEPS": 20, "ROW_STEPS": 20}


def with_settings(path: Path, settings: dict[str, int]) -> NotebookNode:
    """A lesson with a cell after its parameters, as papermill injects it."""
    nb = read(path)
    place = next(i for i, cell in enumerate(nb.cells) if "parameters" in tags(cell))
    known = {
        name: value for name, value in settings.items() if f"{name} = " in nb.cells[place].source
    }
    nb.cells.insert(
        place + 1, code("\n".join(f"{name} = {value}" for name, value in known.items()))
    )
    return nb


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_one_cell_of_a_lesson_holds_its_parameters(path: Path) -> None:
    (cell,) = [cell for cell in code_cells(read(path)) if "parameters" in tags(cell)]
    assert "STEPS = " in cell.source and "LATENT_DIM = 50" in cell.source


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_to_its_end_with_other_settings(path: Path) -> None:
    if path != LESSONS[0] and not ASKED:
        pytest.skip("a minute a lesson: VAELAB_TWICE=1 runs it")
    nb = with_settings(path, QUICK)
    place = {"metadata": {"path": str(ROOT / "notebooks")}}
    NotebookClient(nb, timeout=600, resources=place).execute()
    said = "".join(part for cell in code_cells(nb) for part in output_texts(cell))
    assert len(re.findall(r"\bSTEPS is 60, not \d+; ", said)) == 1
    assert said.count("are not checked against it") == 1
