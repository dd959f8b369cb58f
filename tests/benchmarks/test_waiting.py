"""What a class waits for: the import, the digits, the lessons, a frame; and how waiting grows."""

from __future__ import annotations

import re
import subprocess
import sys
import timeit
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles

import nbformat
import pytest
import torch
from nbconvert.preprocessors import ExecutePreprocessor

import vaelab
from front_end import CELLS, LAPTOP, chromium, made
from notebook_tools import ROOT
from vaelab import VAE, Digits, fit

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

    def start():
        run = subprocess.run([sys.executable, "-c", START], capture_output=True, check=True)
        seen.append([float(seconds) for seconds in run.stdout.split()])

    benchmark.pedantic(start, rounds=5, warmup_rounds=1)
    imported, loaded = (median(column) for column in zip(*seen[1:]))
    row("`import vaelab` after `import torch`", imported, "s", at_most=0.3)
    row("the first load_mnist()", loaded, "s", at_most=0.1)


LIMITS = {"01_elbo_and_vanilla_vae": 90, "02_beta_annealing": 150, "03_soft_free_bits": 180}


def seconds_of(cell):
    """From the moment the kernel takes a cell up to its reply."""
    times = cell.metadata.get("execution", {})
    ends = [times.get(name) for name in ("iopub.execute_input", "shell.execute_reply")]
    begin, end = (datetime.fromisoformat(time[:26]) if time else datetime.min for time in ends)
    return (end - begin).total_seconds()


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
        first = cell.source.strip().splitlines()[0]
        row(f"  [{cell.execution_count}] {first[:60]}", seconds_of(cell), "s")


FRAMES = {  # which explorer, where it is put, and which slider moves
    "one digit": ("LatentExplorer", {}, "z["),
    "grid of dimensions": ("LatentExplorer", {"view": "grid"}, "z["),
    "between two digits": ("LatentExplorer", {"view": "between"}, "mix"),
    "plane": ("PlaneExplorer", {}, "z1"),
    "bound": ("BoundExplorer", {}, "mean"),
    "schedule": ("ScheduleExplorer", {}, "warmup"),
    "playground": ("SoftFreeBitsPlayground", {}, "strength"),
    "betas": ("BetaExplorer", {}, "draw"),
}
MOVES = """input => Array.from({ length: 70 }, (_, i) => {
    const start = performance.now();
    input.value = Number(input.min) + (i % 60) / 60 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return performance.now() - start;
}).slice(10)"""


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame(name, benchmark, row, tmp_path):
    pytest.importorskip("playwright")
    kind, values, moved = FRAMES[name]
    explorer = made(CELLS[kind], model=VAE(), other=VAE(), flat=VAE(2))  # of the lessons' size
    explorer.set(**values)
    path = tmp_path / "page.html"
    path.write_text(explorer.page(), encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport=LAPTOP)
        page.goto(path.as_uri())
        slider = page.locator(f".vaelab-explorer input[type=range][name^='{moved}']").first
        slider.wait_for()
        page.wait_for_timeout(1000)
        times = benchmark.pedantic(lambda: slider.evaluate(MOVES), rounds=1)
    p95 = quantiles(times, n=20)[-1]
    row(f"frame after a move: {name}, 95th percentile of 60", p95, "ms", at_most=8)


# what is timed; how it is made for a size n; how much work that is; the sizes
GROWTH = """
training, N           | train(n=n)                                       | 1     | 4000 15000 60000
training, steps       | train(steps=n)                                   | n     | 100 400 1600
training, latent size | train(n)                   | 2 * 784 * 400 + 3 * 400 * n | 10 50 250
evaluation, N         | partial(evaluate, VAE(), noise(n))               | n     | 2000 10000 50000
bound, N              | partial(iw_log_likelihood, VAE(), noise(n), 20)  | n     | 200 1000 5000
bound, k              | partial(iw_log_likelihood, VAE(), noise(250), n) | n     | 10 100 1000
mutual information, N | partial(mutual_information, VAE(), noise(n))     | n * n | 1000 3000 9000
"""
CASES = [tuple(map(str.strip, line.split("|"))) for line in GROWTH.strip().splitlines()]


def noise(n):
    return torch.rand(n, 784)


def train(latent_dim=50, n=4000, steps=200):
    digits = Digits(noise(n), torch.zeros(n), noise(1000), torch.zeros(1000), "noise")
    return partial(fit, VAE(latent_dim), digits, steps=steps, evaluations=1, progress=False)


def megabytes():
    """The most that this process has held; Linux only. `ru_maxrss` would begin at its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def time_and_memory(call, n):
    """Seconds, the better of two runs, and megabytes beyond what was held before; one thread."""
    torch.set_num_threads(1)
    do, before = eval(call, vars(vaelab) | globals(), {"n": n}), megabytes()
    return min(timeit.repeat(do, number=1, repeat=2)), megabytes() - before


@pytest.mark.parametrize(("what", "call", "work", "sizes"), CASES, ids=[case[0] for case in CASES])
def test_nothing_grows_faster_than_its_work(what, call, work, sizes, benchmark, row):
    sizes = list(map(int, sizes.split()))

    def in_new_processes():  # which no other size has filled
        pools = [ProcessPoolExecutor(1, get_context("spawn")) for _ in sizes]
        return [pool.submit(time_and_memory, call, n).result() for pool, n in zip(pools, sizes)]

    measured = benchmark.pedantic(in_new_processes, rounds=1)
    first, *_, last = (t / eval(work, {"n": n}) for n, (t, _) in zip(sizes, measured))
    row(f"{what} {sizes[0]:,} to {sizes[-1]:,}: time", last / first, "times its work")
    for n, (seconds, memory) in zip(sizes, measured):
        row(f"  {n:,}: time", 1000 * seconds, "ms")
        row(f"  {n:,}: memory", memory, "MB more")
