"""The results file says what its runs said, and the README says what the file says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from notebook_tools import ROOT
from vaelab import History, results
from vaelab.results import OBJECTIVES, Run, collect, readme_table, refresh, runs_of

STEPS = 10


@pytest.fixture(scope="module")
def small() -> list[dict]:
    """Two objectives, one seed, ten steps."""
    runs = [Run("5k", "binary", "mlp", name, 0) for name in ("vanilla", "free bits")]
    return [results.carry_out(run, steps=STEPS) for run in runs]


def test_the_grid_has_every_objective_and_seed_once():
    runs = results.grid("5k")
    assert len(runs) == len(set(runs)) == 3 * len(OBJECTIVES) * len(results.SEEDS)
    assert {run.decoder for run in results.grid("full")} == {"mlp"}
    assert len({results.file_of(run, Path()) for run in runs}) == len(runs)


def test_a_run_is_reproducible_and_adds_up(small):
    again = results.carry_out(Run("5k", "binary", "mlp", "free bits", 0), steps=STEPS)
    assert again == small[1]
    for run in small:
        assert run["steps"] == STEPS
        assert run["neg_elbo"] == pytest.approx(run["distortion"] + run["rate"], abs=2e-4)
        assert run["rate"] == pytest.approx(sum(run["kl_per_dim"]), abs=50 * 1e-4)
        assert len(run["per_image"]) == results.SCORED
        assert run["mutual_information"] <= run["mutual_information_ceiling"] + 1e-4


def test_pairing_subtracts_vanilla_image_by_image(small):
    collected = collect(small)["runs"]
    vanilla, free = (run["per_image"] for run in small)
    differences = [a - b for a, b in zip(vanilla, free)]  # of log scores: positive is worse
    mean = sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    paired = collected["5k/binary/mlp/free bits/0"]["paired"]
    assert paired == pytest.approx([mean, math.sqrt(variance / len(differences))], abs=2e-4)
    assert "paired" not in collected["5k/binary/mlp/vanilla/0"]
    assert "per_image" not in collected["5k/binary/mlp/vanilla/0"]


def test_runs_are_found_by_setting(small):
    found = runs_of(collect(small), "5k", "binary", "mlp", "vanilla")
    assert [run["seed"] for run in found] == [0]
    assert runs_of(collect(small), "5k", "binary", "mlp", "staircase") == []


def test_the_table_has_a_row_for_each_objective_with_all_seeds(small):
    runs = [run | {"seed": seed} for run in small for seed in results.SEEDS]
    table = readme_table(collect(runs[:-1]))  # one seed of free bits is missing
    assert "| vanilla |" in table and "| free bits |" not in table
    assert f"| free bits | {small[1]['neg_elbo']:.1f} ± 0.0 |" in readme_table(collect(runs))


def test_an_interrupted_run_is_not_a_result(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "fit", lambda *a, **k: History(None, interrupted=True))
    run = Run("5k", "grey", "mlp", "vanilla", 0)
    with pytest.raises(KeyboardInterrupt):
        results.write(results.file_of(run, tmp_path), json.dumps(results.carry_out(run)))
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_carried_out(monkeypatch, tmp_path):
    runs = [Run("5k", "grey", "mlp", "vanilla", seed) for seed in (0, 1)]
    results.file_of(runs[0], tmp_path).write_text("{}")
    monkeypatch.setattr(results, "grid", lambda data: runs)
    assert results.missing_of("5k", tmp_path) == runs[1:]


def test_refresh_needs_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="markers"):
        refresh(readme, {"runs": {}})


def test_the_readme_shows_the_committed_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = results.MARKERS
    assert text.split(start)[1].split(end)[0].strip() == readme_table(results.load_results())


def test_the_committed_results_follow_the_protocol():
    runs = results.load_results()["runs"]
    assert {run.key for run in results.grid("5k") if run.decoder == "mlp"} <= set(runs)
    for key, run in runs.items():
        assert run["steps"] == results.STEPS[run["data"], run["decoder"]], key
        assert run["score_samples"] == (results.SAMPLES if run["targets"] == "binary" else 1), key


def test_the_committed_file_is_plain_json():
    assert json.loads(results.RESULTS.read_text(encoding="utf-8"))["protocol"]["seeds"] == [0, 1, 2]
