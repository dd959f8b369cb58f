"""Lessons run to the end with other settings than their own, and say that their numbers differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notebook_tools import LESSONS, code, code_cells, read, tags
from test_twice import said

QUICK = {"STEPS": 60, "LATENT_DIM": 20, "HIDDEN_DIM": 100, "SWEEP_STEPS": 20}
QUICK |= {"GRU_STEPS": 20, "ROW_STEPS": 20}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_to_its_end_with_other_settings(path: Path) -> None:
    nb = read(path)
    (cell,) = [cell for cell in code_cells(nb) if "parameters" in tags(cell)]
    assert "STEPS = " in cell.source and "LATENT_DIM = 50" in cell.source
    known = [f"{name} = {value}" for name, value in QUICK.items() if f"{name} = " in cell.source]
    nb.cells.insert(nb.cells.index(cell) + 1, code("\n".join(known)))  # as papermill injects it
    lines = "\n".join(line for printed in said(code_cells(nb), path.parent) for line in printed)
    assert len(re.findall(r"\bSTEPS is 60, not \d+; .*are not checked against it", lines)) == 1
    assert lines.count("are not checked against it") == 1
    assert not re.search(r"\bis (\d+), not \1\b", lines)  # only what was changed
