"""What a class waits for: the import, the digits, the lessons; and how waiting grows."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

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


class Growth(NamedTuple):
    """Something to do at a size, how much work that is, and the sizes."""

    do: Callable[[int], Callable[[], object]]
    work: Callable[[int], float]
    sizes: tuple[int, ...]


def noise(n: int) -> torch.Tensor:
    return torch.rand(n, 784)


def train(latent_dim: int = 50, n: int = 4000, steps: int = 200) -> Callable[[], object]:
    digits = Digits(noise(n), torch.zeros(n), noise(1000), torch.zeros(1000), "noise")
    model = VAE(latent_dim)
    return lambda: fit(model, digits, steps=steps, evaluations=1, progress=False)


def train_on(n: int) -> Callable[[], object]:
    return train(n=n)


def train_for(steps: int) -> Callable[[], object]:
    return train(steps=steps)


def evaluate_on(n: int) -> Callable[[], object]:
    model, images = VAE(), noise(n)
    return lambda: evaluate(model, images)


def bound_with(k: int) -> Callable[[], object]:
    model, images = VAE(), noise(250)
    return lambda: iw_log_likelihood(model, images, k)


def bound_on(n: int) -> Callable[[], object]:
    model, images = VAE(), noise(n)
    return lambda: iw_log_likelihood(model, images, 20)


def information_of(n: int) -> Callable[[], object]:
    model, images = VAE(), noise(n)
    return lambda: mutual_information(model, images)


def same(size: int) -> float:
    return 1.0


def products(latent_dim: int) -> float:
    return 2 * 784 * 400 + 3 * 400 * latent_dim


GROWTH = {
    "training, N": Growth(train_on, same, (4_000, 15_000, 60_000)),
    "training, steps": Growth(train_for, float, (100, 400, 1_600)),
    "training, latent size": Growth(train, products, (10, 50, 250)),
    "evaluation, N": Growth(evaluate_on, float, (2_000, 10_000, 50_000)),
    "bound, N": Growth(bound_on, float, (200, 1_000, 5_000)),
    "bound, k": Growth(bound_with, float, (10, 100, 1_000)),
    "mutual information, N": Growth(information_of, lambda n: n * n, (1_000, 3_000, 9_000)),
}


def megabytes() -> float:
    """The most memory that this process has held so far; Linux only.

    `ru_maxrss` would not do: a new process takes it over from the one that started it.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def time_and_memory(name: str, size: int) -> tuple[float, float]:
    """Seconds, the better of two runs, and megabytes beyond what was held before; one thread."""
    torch.set_num_threads(1)
    do = GROWTH[name].do(size)
    before, seconds = megabytes(), []
    for _ in range(2):
        start = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - start)
    return min(seconds), megabytes() - before


def alone(name: str, size: int) -> tuple[float, float]:
    """The same in a process of its own, which no other size has filled."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(time_and_memory, name, size).result()


@pytest.mark.parametrize("name", GROWTH)
def test_nothing_grows_faster_than_its_work(name, benchmark, row):
    def in_new_processes() -> list[tuple[float, float]]:
        return [alone(name, size) for size in sizes]

    _, work, sizes = GROWTH[name]
    measured = benchmark.pedantic(in_new_processes, rounds=1)
    per_work = [seconds / work(size) for size, (seconds, _) in zip(sizes, measured)]
    row(f"{name} {sizes[0]:,} to {sizes[-1]:,}: time", per_work[-1] / per_work[0], "times its work")
    for size, (seconds, memory) in zip(sizes, measured):
        row(f"  {size:,}: time", 1000 * seconds, "ms")
        row(f"  {size:,}: memory", memory, "MB more")
