"""What a class waits for: the import, the digits, the lessons; and how waiting grows."""

from __future__ import annotations

import re
import subprocess
import sys
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import nbformat
import pytest
import torch
from nbconvert.preprocessors import ExecutePreprocessor

from notebook_tools import ROOT
from vaelab import VAE, Digits, evaluate, fit, iw_log_likelihood, mutual_information

# --- start-up -----------------------------------------------------------------------------------

START = """
from time import perf_counter
import torch
a = perf_counter()
import vaelab
b = perf_counter()
vaelab.load_mnist("5k")
print(b - a, perf_counter() - b)
"""


def test_start_up(benchmark, row):
    seen = []

    def start() -> None:
        run = subprocess.run([sys.executable, "-c", START], capture_output=True, check=True)
        seen.append([float(seconds) for seconds in run.stdout.split()])

    benchmark.pedantic(start, rounds=5, warmup_rounds=1)
    imported, loaded = (median(column) for column in zip(*seen[1:]))
    row("`import vaelab` after `import torch`", imported, "s", at_most=0.3)
    row("the first load_mnist()", loaded, "s", at_most=0.1)


# --- lessons ------------------------------------------------------------------------------------

LIMITS = {"01_elbo_and_vanilla_vae": 90, "02_beta_annealing": 150, "03_soft_free_bits": 180}


def seconds_of(cell: nbformat.NotebookNode) -> float:
    """From the moment the kernel takes a cell up to its reply."""
    times = cell.metadata.get("execution", {})
    begin, end = (times.get(name) for name in ("iopub.execute_input", "shell.execute_reply"))
    if not (begin and end):
        return 0.0
    return (datetime.fromisoformat(end[:26]) - datetime.fromisoformat(begin[:26])).total_seconds()


@pytest.mark.parametrize("name", LIMITS)
def test_a_lesson_from_a_cold_kernel(name, benchmark, row):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    lesson = nbformat.read(path, as_version=4)
    lesson.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    run = ExecutePreprocessor(timeout=1800, record_timing=True).preprocess
    benchmark.pedantic(run, args=(lesson, {"metadata": {"path": str(path.parent)}}), rounds=1)
    row(f"lesson {name}", benchmark.stats.stats.total, "s", at_most=LIMITS[name])
    cells = [cell for cell in lesson.cells if cell.cell_type == "code"]
    for cell in sorted(cells, key=seconds_of, reverse=True)[:5]:
        first = next(line for line in cell.source.splitlines() if line.strip())
        row(f"  [{cell.execution_count}] {first.strip()[:60]}", seconds_of(cell), "s")


# --- growth -------------------------------------------------------------------------------------


def noise(n: int) -> torch.Tensor:
    return torch.rand(n, 784)


def train(latent_dim: int = 50, n: int = 4000, steps: int = 200) -> Callable[[], object]:
    digits = Digits(noise(n), torch.zeros(n), noise(1000), torch.zeros(1000), "noise")
    return partial(fit, VAE(latent_dim), digits, steps=steps, evaluations=1, progress=False)


# Functions of a size, what to do and how much work that is; and the sizes.
GROWTH: dict[str, tuple[Callable, Callable, tuple[int, ...]]] = {
    "training, N": (lambda n: train(n=n), lambda n: 1, (4_000, 15_000, 60_000)),
    "training, steps": (lambda n: train(steps=n), lambda n: n, (100, 400, 1_600)),
    "training, latent size": (train, lambda n: 2 * 784 * 400 + 3 * 400 * n, (10, 50, 250)),
    "evaluation, N": (
        lambda n: partial(evaluate, VAE(), noise(n)), lambda n: n, (2_000, 10_000, 50_000)
    ),
    "bound, N": (
        lambda n: partial(iw_log_likelihood, VAE(), noise(n), 20), lambda n: n, (200, 1_000, 5_000)
    ),
    "bound, k": (
        lambda n: partial(iw_log_likelihood, VAE(), noise(250), n), lambda n: n, (10, 100, 1_000)
    ),
    "mutual information, N": (
        lambda n: partial(mutual_information, VAE(), noise(n)),
        lambda n: n * n,
        (1_000, 3_000, 9_000),
    ),
}  # fmt: skip


def megabytes() -> float:
    """The most memory that this process has held so far; Linux only.

    `ru_maxrss` would not do: a new process takes it over from the one that started it.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def time_and_memory(name: str, size: int) -> tuple[float, float]:
    """Seconds, the better of two runs, and megabytes beyond what was held before; one thread."""
    torch.set_num_threads(1)
    do = GROWTH[name][0](size)
    before = megabytes()
    return min(timeit.repeat(do, number=1, repeat=2)), megabytes() - before


@pytest.mark.parametrize("name", GROWTH)
def test_nothing_grows_faster_than_its_work(name, benchmark, row):
    _, work, sizes = GROWTH[name]

    def in_new_processes() -> list[tuple[float, float]]:  # which no other size has filled
        pools = [ProcessPoolExecutor(1, get_context("spawn")) for _ in sizes]
        return [pool.submit(time_and_memory, name, n).result() for pool, n in zip(pools, sizes)]

    measured = benchmark.pedantic(in_new_processes, rounds=1)
    per_work = [seconds / work(size) for size, (seconds, _) in zip(sizes, measured)]
    row(f"{name} {sizes[0]:,} to {sizes[-1]:,}: time", per_work[-1] / per_work[0], "times its work")
    for size, (seconds, memory) in zip(sizes, measured):
        row(f"  {size:,}: time", 1000 * seconds, "ms")
        row(f"  {size:,}: memory", memory, "MB more")
