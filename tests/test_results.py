"""The grid trains what it says, the tables say what the file says, nothing half done is kept."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import results
import tables
from notebook_tools import ROOT
from results import OBJECTIVES, PRUNING, Run, carry_out_all, collect, file_name, grid
from vaelab import BetaELBO, Digits, History, load_mnist
from vaelab.results import RESULTS, load_results, mean_and_spread, runs_of, scores_of
from vaelab.training import Diverged

VANILLA = Run("5k", "binary", "mlp", 3000, "vanilla", 0)


def few_digits(size: str) -> Digits:
    """A part of a set: ten steps take a moment, to measure them on all digits much longer."""
    train, labels, test, test_labels, _ = load_mnist("5k")
    return Digits(train[:400], labels[:400], test[:150], test_labels[:150], "a few digits")


@contextmanager
def shortened() -> Iterator[None]:
    """A few digits, ten samples for each scored image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "load_mnist", few_digits)
        patch.setattr(results, "SCORED", 100)
        patch.setattr(results, "SAMPLES", 10)
        yield


def short(run: Run) -> dict[str, Any]:
    with shortened():
        return results.carry_out(run, steps=10)


@pytest.fixture(scope="module")
def small() -> list[dict[str, Any]]:
    return [short(VANILLA._replace(objective=name)) for name in ("vanilla", "soft 0.5")]


# --- the grid -----------------------------------------------------------------------------------


def test_every_run_of_the_grid_is_there_once_and_after_its_vanilla():
    runs = grid()
    assert len({file_name(run.key) for run in runs}) == len(runs)
    assert {run.objective for run in runs} == {*OBJECTIVES, PRUNING}
    for place, run in enumerate(runs):
        if run.objective != PRUNING:
            assert run._replace(objective="vanilla") in runs[: place + 1]


def test_the_table_counts_the_steps_below_one_of_every_warm_up():
    for name, steps in {(run.objective, run.steps) for run in grid()}:
        if name.startswith(("staircase", "linear", "cyclical")):
            schedule = OBJECTIVES[name](steps).schedule
            last = max(step for step in range(steps) if schedule(step / steps) < 1)
            assert abs(tables.ramp_of(name, steps) - (last + 1)) <= 1, (name, steps)


def test_a_run_adds_up(small):
    for run in small:
        for prefix in ("", "train_"):
            terms = [run[f"{prefix}{name}"] for name in ("neg_elbo", "distortion", "rate")]
            assert terms[0] == pytest.approx(terms[1] + terms[2], abs=2e-4)
            assert terms[2] == pytest.approx(sum(run[f"{prefix}kl_per_dim"]), abs=50 * 1e-4)
        assert run["path"]["rate"][-1] == pytest.approx(run["rate"], abs=1e-3)
        assert scores_of(run).shape == (100,)
        assert run["mutual_information"] <= run["mutual_information_ceiling"] + 1e-4


def test_weights_are_averaged_over_the_last_tenth_only():
    recorded = results.Recorded(BetaELBO(lambda progress: progress))
    for step in range(100):
        recorded(torch.zeros(2), torch.zeros(2, 3), step / 100)
    assert (recorded.total / recorded.calls).tolist() == pytest.approx(3 * [0.945])


def test_only_the_twin_has_no_z():
    digits, run = few_digits("5k"), Run("5k", "binary", "row", 1400, "vanilla", 0)
    names = ("vanilla", "z-free twin")
    own, twin = (results.trained(run._replace(objective=n), digits, "cpu", 1)[0] for n in names)
    assert (own.use_z, twin.use_z) == (True, False)
    assert results.measure(twin, digits, True)["rate"] == 0


def test_the_four_arms_of_the_pruning_experiment(monkeypatch):
    monkeypatch.setattr(results, "ALIVE", 0.3)  # after ten steps no dimension is below 0.05
    found = json.loads(json.dumps(short(Run("full", "binary", "mlp", 4690, PRUNING, 0))))
    names = {f"{model}, {how}" for model in ("vanilla", "linear 50 %") for how in ("cut", "uncut")}
    assert found["arms"].keys() == names
    for name, arm in found["arms"].items():
        kept = 50 if name.endswith("uncut") else found["kept"]
        assert len(arm["after"]["kl_per_dim"]) == kept
        assert arm["after"]["train_neg_elbo"] != arm["before"]["train_neg_elbo"]
    levels = found["arms"]["vanilla, uncut"]["before"]["train_kl_per_dim"]
    assert found["kept"] == sum(kl > 0.3 for kl in levels) < 50


# --- what is put together, and what is committed ------------------------------------------------


def test_a_run_without_its_vanilla_is_refused(small):
    with pytest.raises(ValueError, match=r"soft 0\.5/0 must have its vanilla run"):
        collect(small[1:], {})
    together = collect(small[1:], collect(small[:1], {}))  # vanilla came earlier
    assert together == collect(small, {}) == json.loads(results.as_text(together))
    assert "seconds" not in together["runs"][VANILLA.key]


def test_runs_are_found_by_setting():
    runs = {run.key: run._asdict() | {"rate": 10.0 * run.seed} for run in grid()}
    found = runs_of({"runs": runs}, "5k", "binary", "mlp", "vanilla", 3000)
    assert found == [runs[VANILLA._replace(seed=seed).key] for seed in range(3)]
    assert runs_of({"runs": runs}, "5k", "binary", "mlp", "vanilla", 4690) == []
    assert mean_and_spread(found, "rate") == (10, 10)
    assert mean_and_spread(found[1:2], "rate") == (10, 0)
    with pytest.raises(ValueError, match="name must be a number of each run, got 'elbo' for 3"):
        mean_and_spread(found, "elbo")


def test_results_and_readme_show_the_committed_results():
    found, readme = load_results(), {"results": tables.readme_table}
    for name, markers in (("RESULTS.md", tables.TABLES), ("README.md", readme)):
        text = (ROOT / name).read_text("utf-8")
        for marker, make in markers.items():
            assert tables.between_markers(text, marker, make(found)) == text, marker
    with pytest.raises(ValueError, match="<!-- row -->"):
        tables.between_markers("no markers", "row", "")


def test_the_committed_results_follow_the_protocol():
    found = load_results()
    assert RESULTS.stat().st_size < 3e6
    assert results.as_text(found) == RESULTS.read_text("utf-8")
    assert collect([], found) == found  # score and pairs are those of the scores
    assert found["runs"].keys() | found["pruning"].keys() <= {run.key for run in grid()}
    for run in found["runs"].values():
        assert run["path"]["steps"][-1] == run["steps"]
        assert run["score_samples"] == (results.SAMPLES if run["targets"] == "binary" else 1)
        assert scores_of(run).shape == (results.SCORED,)


# --- many runs, and what goes wrong -------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
import results

folder, jobs, slow = Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
todo = [results.Run("5k", "binary", "mlp", 3000, "vanilla", seed) for seed in range(3)]
alone = results.carry_out_alone

def counted(run, *rest):  # travels to the workers by value
    with (folder / "carried_out").open("a") as log:
        log.write(f"{run.seed}\\n")
    if slow and run.seed == 1:
        time.sleep(600)  # killed here, in the middle of this run
    import test_results
    with test_results.shortened():
        return alone(run, *rest)

results.grid = lambda: todo
results.carry_out_alone = counted
results.main(["--jobs", jobs, "--folder", str(folder / "runs"), "--steps-scale", "0",
              "--no-collect", "--anew"])
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups on this system")
def test_a_killed_grid_goes_on_where_it_was(small, tmp_path, monkeypatch):
    script, log, runs = tmp_path / "grid.py", tmp_path / "carried_out", tmp_path / "runs"
    script.write_text(SCRIPT)
    started = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), "2", "slow"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300  # so that the test ends; a busy machine takes a minute
    while len(list(runs.glob("*.json"))) < 2 or "1" not in log.read_text().split():
        assert started.poll() is None, started.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()
    before = {path.name: path.read_bytes() for path in runs.glob("*.json")}
    there = json.loads(before[file_name(VANILLA.key)])  # of a worker: the bits of this process
    assert {**there, "seconds": 0} == {**json.loads(json.dumps(small[0])), "seconds": 0}

    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "1"])
    for name in ("grid", "carry_out_alone"):  # what the script replaces
        monkeypatch.setattr(results, name, getattr(results, name))
    runpy.run_path(str(script))
    assert sorted(log.read_text().split()) == ["0", "1", "1", "2"]  # only what was missing
    assert {name: (runs / name).read_bytes() for name in before} == before
    assert len(list(runs.glob("*.json"))) == 3


def test_what_fails_is_told_at_the_end_and_the_others_are_kept(monkeypatch, tmp_path):
    def carried(run: Run, *_: object) -> dict[str, Any]:
        if run.seed == 1:
            raise Diverged("the training loss is nan at step 1 of 3", History(None))
        return run._asdict()

    monkeypatch.setattr(results, "carry_out", carried)
    runs = [VANILLA._replace(seed=seed) for seed in range(3)]
    with pytest.raises(RuntimeError, match="vanilla/1: Diverged: the training loss"):
        carry_out_all(runs, tmp_path, jobs=1)
    assert {json.loads(path.read_text())["seed"] for path in tmp_path.iterdir()} == {0, 2}
    assert results.missing_of(tmp_path, "^5k/binary/mlp/3000/vanilla") == [runs[1]]


def test_an_interrupted_run_is_not_a_result(monkeypatch, tmp_path):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "fit", lambda *a, **k: History(None, interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        carry_out_all([VANILLA], tmp_path, jobs=1)
    carry_out_all([VANILLA], tmp_path, jobs=1, minutes=0)  # begins none: the time is up
    monkeypatch.setattr(results, "carry_out", lambda run, *_: run._asdict())
    monkeypatch.setattr(os, "replace", stopped)  # while the result is written
    with pytest.raises(KeyboardInterrupt):
        carry_out_all([VANILLA], tmp_path, jobs=1)
    assert results.missing_of(tmp_path) == grid()
