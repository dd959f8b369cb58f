"""The results file says what its runs said, and the README says what the file says."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from notebook_tools import ROOT
from vaelab import Digits, History, load_mnist, results
from vaelab.results import OBJECTIVES, Run, carry_out_all, collect, readme_table, refresh, runs_of

STEPS = 10
PATIENCE = 300  # seconds; only so that a test ends, on a busy machine too


def few_digits(size: str) -> Digits:
    """A part of a set: ten steps take a moment, to measure what they did on all digits much longer.

    It travels to other processes as its source.
    """
    digits = load_mnist(size)
    return Digits(
        digits.train[:1000],
        digits.train_labels[:1000],
        digits.test[:200],
        digits.test_labels[:200],
        "a few digits",
    )


def short(objective: str) -> dict:
    """A run on binarised digits of ten steps, 100 images scored with ten samples each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "load_mnist", few_digits)
        patch.setattr(results, "SCORED", 100)
        patch.setattr(results, "SAMPLES", 10)
        return results.carry_out(Run("5k", "binary", "mlp", objective, 0), steps=STEPS)


@pytest.fixture(scope="module")
def small() -> list[dict]:
    """Two objectives, one seed."""
    return [short("vanilla"), short("free bits")]


def test_the_grid_has_every_objective_and_seed_once():
    runs = results.grid("5k")
    assert len(runs) == len(set(runs)) == 3 * len(OBJECTIVES) * len(results.SEEDS)
    assert {run.decoder for run in results.grid("full")} == {"mlp"}
    assert len({results.file_of(run, Path()) for run in runs}) == len(runs)


def test_a_run_is_reproducible_and_adds_up(small):
    assert short("free bits") == small[1]
    for run in small:
        assert (run["steps"], run["score_samples"]) == (STEPS, 10)
        assert run["neg_elbo"] == pytest.approx(run["distortion"] + run["rate"], abs=2e-4)
        assert run["rate"] == pytest.approx(sum(run["kl_per_dim"]), abs=50 * 1e-4)
        assert len(run["per_image"]) == 100
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


# --- many runs at once ---------------------------------------------------------------------------

GRID = [
    Run("5k", "grey", "mlp", name, 0) for name in ("vanilla", "soft free bits", "linear warm-up")
]
REST = [run for run in results.grid("5k") if run.decoder == "mlp" and run not in GRID]


def files(folder: Path) -> dict[str, str]:
    """Name -> text of every finished run."""
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.json")}


def carried_out(folder: Path, **how: Any) -> dict[str, str]:
    """What the short runs of GRID leave behind in a new folder."""
    folder.mkdir()
    carry_out_all(GRID, folder, steps=STEPS, **how)
    assert len(files(folder)) == len(GRID)
    return files(folder)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same on a few digits, one run after the other in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "load_mnist", few_digits)
        return carried_out(tmp_path_factory.mktemp("runs") / "serial", jobs=1)


def test_a_dask_cluster_gives_what_a_serial_run_gives(tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is an option, not a requirement")
    serial = carried_out(tmp_path / "serial", jobs=1)  # on all digits, as the workers will
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None)
    with cluster:  # two threads in one worker: they must not share a random state
        written = carried_out(tmp_path / "dask", scheduler=cluster.scheduler_address)
    assert written == serial


def test_a_run_that_fails_stops_the_grid_but_not_what_is_finished(serial, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "load_mnist", few_digits)
    broken = [GRID[0], GRID[0]._replace(objective="no such objective"), GRID[1]]
    with pytest.raises(KeyError, match="no such objective"):
        carry_out_all(broken, tmp_path, jobs=1, steps=STEPS)
    kept = files(tmp_path)
    assert kept and kept.items() <= serial.items()


class Stopped(NamedTuple):
    """What a grid leaves behind that Ctrl-C stopped."""

    files: dict[str, str]
    status: int
    missing: list[Run]


@pytest.fixture(scope="module")
def stopped(serial: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Two processes on a grid that begins with GRID, stopped as soon as that is written down."""
    if not hasattr(os, "killpg"):
        pytest.skip("no process groups on this system")
    folder = tmp_path_factory.mktemp("stopped")
    program = (
        f"from vaelab import Digits, load_mnist, results\n{inspect.getsource(few_digits)}"
        "def on_few_digits(run, steps):  # travels to the workers by value\n"
        "    results.load_mnist = few_digits\n"
        "    return results.carry_out_alone(run, steps)\n"
        # as a terminal starts it: whoever is started in the background ignores Ctrl-C, heirs too
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from vaelab.results import Run, carry_out_all\n"
        f"runs = [Run(*run) for run in {[tuple(run) for run in GRID + REST]!r}]\n"
        "results.carry_out_alone = on_few_digits\n"
        f"carry_out_all(runs, Path({str(folder)!r}), jobs=2, steps={STEPS})\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
    ) as grid:
        wait_until(lambda: serial.keys() <= set(os.listdir(folder)) or grid.poll() is not None)
        os.killpg(grid.pid, signal.SIGINT)  # as a terminal does: to the parent and to the workers
        status = grid.wait(timeout=PATIENCE)
    wait_until(lambda: not is_alive(grid.pid))
    missing = [run for run in GRID + REST if not results.file_of(run, folder).exists()]
    return Stopped(files(folder), status, missing)


def test_processes_write_what_a_serial_run_writes(serial, request, tmp_path):
    if hasattr(os, "killpg"):
        written = request.getfixturevalue("stopped").files  # two processes wrote them
    else:  # on all digits, as the workers will
        serial, written = (carried_out(tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert {name: written.get(name) for name in serial} == serial


def test_ctrl_c_loses_no_finished_run_and_leaves_no_process(stopped):
    assert stopped.status != 0
    assert len(GRID) <= len(stopped.files) < len(GRID + REST)
    assert len(stopped.missing) == len(GRID + REST) - len(stopped.files)
    assert all(json.loads(text)["steps"] == STEPS for text in stopped.files.values())


def wait_until(happened: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Look ten times a second."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(group: int) -> bool:
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


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
