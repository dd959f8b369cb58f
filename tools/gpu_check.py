"""Check on a GPU what tests and lessons check on the CPU: `python3 tools/gpu_check.py`.

Executes the lessons there, so that their own assertions judge what they train, and compares the
package with itself on the CPU: three to four minutes. Where there is no GPU it says so, and exits
with 0. It needs what `vaelab` imports, nbclient and ipykernel; `vaelab` need not be installed.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # many processes share the cores
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from vaelab import (  # noqa: E402
    ELBO,
    VAE,
    Diverged,
    FreeBits,
    RowGRUVAE,
    SoftFreeBits,
    bernoulli_nll,
    checkup,
    diagnostics,
    evaluate,
    fit,
    gaussian_kl,
    load,
    load_mnist,
    save,
)
from vaelab.runs import seeded  # noqa: E402
from vaelab.training import evaluation_images  # noqa: E402

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT = 210  # seconds for a lesson
SEEDS = range(5)
ROWS = {"binarize": True, "clip_norm": 5.0}
# What is trained on both devices, as the lessons train it: the model, steps, settings.
RUNS: dict[str, tuple[type, int, dict[str, Any]]] = {
    "VAE": (VAE, 3000, {"binarize": True}),
    "RowGRUVAE": (RowGRUVAE, 300, ROWS),
}


class Report:
    """What was seen, line by line, printed as it comes."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.start = time.monotonic()

    def says(self, what: str, seen: str = "", verdict: str = "") -> None:
        """One line of the table."""
        seconds = time.monotonic() - self.start
        print(f"{seconds:4.0f} s  {verdict:4s}  {what:52s}  {seen}", flush=True)

    def check(self, what: str, right: Any, seen: str = "") -> None:
        """PASS or FAIL."""
        self.failed += [] if right else [what]
        self.says(what, seen, "PASS" if right else "FAIL")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """An error in a part, or a warning, is a FAIL; the parts after it still run."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                self.check(name, False, f"{type(error).__name__}: {error}")
                traceback.print_exc(file=sys.stdout)
        for message in sorted({f"{one.category.__name__}: {one.message}" for one in caught}):
            self.check(f"{name}: no warnings", False, message)


def new(kind: type, seed: int = 0) -> Any:
    """A model with the initial weights of this seed, made on the CPU."""
    with seeded(seed):
        return kind()


def train(kind: type, device: str, objective: Any = None, **settings: Any) -> tuple[Any, Any]:
    """Train a new model on the bundled digits."""
    model = new(kind, settings.get("seed", 0))
    settings = {"progress": False, "evaluations": 1, **settings}
    return model, fit(model, load_mnist("5k"), objective, device=device, **settings)


def device_of(model: nn.Module) -> str:
    """Where a model's weights lie."""
    return next(model.parameters()).device.type


# ------------------------------------------------------------------------------------- lessons


def execute(path: str) -> tuple[float, str, list[str]]:
    """Run a lesson, in a process of its own.

    Returns:
        Seconds, the line of its versions, and for each failing cell its first line and the error.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError

    sys.path.insert(0, str(ROOT / "tools"))
    from kernels import encrypted

    start, failed = time.monotonic(), []
    nb = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(Path(path).parent)}}
    settings = {"timeout": LIMIT, "kernel_name": "python3", "allow_errors": True}
    try:
        NotebookClient(nb, resources=place, config=encrypted(), **settings).execute()
    except CellTimeoutError:
        failed.append(f"a cell took more than {LIMIT} s")
    said = ""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            said = said or (output.get("text", "") if "training on" in str(output) else "")
            if output.output_type == "error":
                line = next(iter(cell.source.splitlines()), "")
                failed.append(f"{line!r}: {output.ename}: {output.evalue}")
    return time.monotonic() - start, said.strip(), failed


def report_lessons(report: Report, later: dict[str, Future]) -> None:
    """What came of the lessons: a failing cell is one whose assertion does not hold here."""
    for name, future in later.items():
        seconds, said, failed = future.result()
        report.check(f"{name} runs, all it asserts holds", not failed, f"{seconds:.0f} s; {said}")
        for line in failed:
            report.says("", line)
        report.check(f"{name} trains on the GPU", "the GPU" in said)


# ------------------------------------------------------------------------ the same as on the CPU


def scores(name: str, device: str, seed: int, steps: int) -> tuple[float, float, float]:
    """-ELBO, D and R of the test digits after one run; also called in processes of their own."""
    kind, _, settings = RUNS[name]
    model, _ = train(kind, device, steps=steps, seed=seed, **settings)
    result = evaluate(model, evaluation_images(load_mnist("5k"), binarize=True))
    return -result.elbo, result.distortion, result.rate


def compare_seeds(report: Report, device: str, share: float, later: dict[str, list]) -> None:
    """The same runs on both devices: their means differ by no more than chance.

    With five seeds a device, |t| of 8 degrees of freedom stays below 5 in all six lines at once in
    99.4 of 100 calls.
    """
    for name, futures in later.items():
        steps = max(2, round(RUNS[name][1] * share))
        there = [scores(name, device, seed, steps) for seed in SEEDS]
        here = [future.result() for future in futures]
        for quantity, a, b in zip(("-ELBO", "D", "R"), zip(*here), zip(*there)):
            spread = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
            apart = statistics.mean(b) - statistics.mean(a)
            report.check(
                f"{name}, {steps} steps, 5 seeds: {quantity} as on the CPU",
                abs(apart) < 5 * spread or apart == 0,
                f"CPU {statistics.mean(a):.2f} ± {statistics.stdev(a):.2f}, {device} "
                f"{statistics.mean(b):.2f} ± {statistics.stdev(b):.2f}, t = "
                f"{apart / spread if apart else 0:+.1f}",
            )


def speed(report: Report, device: str) -> None:
    """Steps per second, with nothing beside it."""
    for name, (kind, _, settings) in RUNS.items():
        said = []
        for where in ("cpu", device):
            for steps in (20, 300 if kind is VAE else 60):  # the first one warms up
                begin = time.perf_counter()
                train(kind, where, steps=steps, **settings)
                rate = steps / (time.perf_counter() - begin)
            said.append(f"{where} {rate:.0f}")
        report.says(f"{name}: steps a second", ", ".join(said))


def measurements(report: Report, device: str) -> None:
    """A model on the GPU and the same weights on the CPU are measured alike."""
    digits = load_mnist("5k")
    here, _ = train(VAE, "cpu", steps=200)
    there = copy.deepcopy(here).to(device)

    def loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return bernoulli_nll(recon, x).mean() + gaussian_kl(mu, logvar).sum(dim=1).mean()

    a, b = ([evaluate(m, digits.test, seed=s) for s in range(10)] for m in (here, there))
    kl = float((a[0].kl_per_dim - b[0].kl_per_dim).abs().max())
    report.check("evaluate: the KL of each dimension", kl < 1e-3, f"largest difference {kl:.1e}")
    d = [torch.tensor([one.distortion for one in results]) for results in (a, b)]
    error = float((d[0].var() + d[1].var()).div(10).sqrt())
    apart = float(d[1].mean() - d[0].mean())
    said = f"{apart:+.3f} ± {error:.3f} nats"
    report.check("evaluate: D, ten draws of z", abs(apart) <= 5 * error, said)
    bounds = [diagnostics.iw_log_likelihood(m, digits.test[:400], 50) for m in (here, there)]
    change = bounds[1].cpu() - bounds[0]  # (400,)
    error = float(change.std()) / 20
    said = f"{change.mean():+.3f} ± {error:.3f} nats, paired by image"
    report.check("iw_log_likelihood, k = 50", abs(change.mean()) <= 5 * error, said)
    keep = a[0].kl_per_dim > 0.05
    alike: dict[str, tuple[Callable[[nn.Module], Any], float]] = {
        "encode_all": (lambda m: diagnostics.encode_all(m, digits.test)[0], 1e-3),
        "decoder_weight_norms": (diagnostics.decoder_weight_norms, 1e-5),
        "mutual_information": (lambda m: diagnostics.mutual_information(m, digits.test)[0], 1e-3),
        "linear_probe": (lambda m: diagnostics.linear_probe(m, digits), 0.005),
        "R after prune": (lambda m: evaluate(diagnostics.prune(m, keep), digits.test).rate, 1e-2),
    }
    for name, (measure, tolerance) in alike.items():
        one, other = (torch.as_tensor(measure(m)).cpu() for m in (here, there))
        largest = float((one - other).abs().max())
        report.check(name, largest <= tolerance, f"largest difference {largest:.1e}")
    report.check("sample", there.sample(5).device.type == device)
    found = [checkup(m, loss, digits.test.to(device_of(m))) for m in (here, there)]
    report.check("checkup", found[0].ok and str(found[0]) == str(found[1]), f"ok: {found[1].ok}")


# ------------------------------------------------------------------ what a call leaves as it found


def state(device: str) -> dict[str, Any]:
    """All that a call must leave as it was."""
    found = {
        "random state": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "handler of Ctrl-C": signal.getsignal(signal.SIGINT),
    }
    if device == "cuda":
        found["random state of the GPU"] = torch.cuda.get_rng_state().tolist()
        found["bytes on the GPU"] = torch.cuda.memory_allocated()
    return found


def left_as_found(report: Report, device: str) -> None:
    """Random states, threads and memory are the same before and after each call."""
    digits, model = load_mnist("5k"), new(VAE).to(device)

    def nan(nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        return (nll + kl.sum(dim=1)).mean() * (math.nan if progress > 0.5 else 1.0)

    def diverged() -> Any:
        try:
            return train(VAE, device, nan, steps=20)
        except Diverged as error:
            return error.history

    def resumed() -> Any:
        half = {"steps": 20, "evaluations": 2, "progress": False, "device": device}
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder, "a.pt"), *train(VAE, on_evaluation=lambda *_: True, **half))
            again, history = load(Path(folder, "a.pt"))
        return fit(again, digits, ELBO(), resume=history, **half)

    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: train(VAE, device, steps=20, binarize=True),
        "fit, free bits": lambda: train(VAE, device, FreeBits(0.5), steps=20),
        "fit, soft free bits": lambda: train(VAE, device, SoftFreeBits(0.5), steps=20),
        "fit, RowGRUVAE": lambda: train(RowGRUVAE, device, steps=10, **ROWS),
        "fit, a loss of NaN": diverged,
        "fit, resumed from a file": resumed,
        "evaluate": lambda: evaluate(model, digits.test),
        "iw_log_likelihood": lambda: diagnostics.iw_log_likelihood(model, digits.test[:50]).cpu(),
        "linear_probe": lambda: diagnostics.linear_probe(model, digits),
    }
    for name, call in calls.items():
        call()  # the first call of a kind makes what PyTorch keeps, such as cuBLAS's workspace
        gc.collect()
        before = state(device)
        kept = call()  # a trained model is back on the CPU, so it may be kept
        gc.collect()
        after = state(device)
        changed = [what for what in before if before[what] != after[what]]
        report.check(f"{name}: nothing left behind", not changed, ", ".join(changed))
        del kept


def main() -> int:
    """Read the command line, check, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)  # to try the script
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)  # of the steps
    parser.add_argument("--lessons", nargs="*", default=LESSONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    device, share = given.device, given.share
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU: nothing to check here")
        return 0
    report, cores = Report(), os.cpu_count() or 2
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    report.says(f"{name}, {cores} cores", f"Python {sys.version.split()[0]}, {torch.__version__}")
    with report.part("speed"):
        speed(report, device)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, cores - 3), mp_context=spawn) as pool:
        lessons = {Path(p).stem: pool.submit(execute, str(p)) for p in given.lessons}
        later = {
            name: [pool.submit(scores, name, "cpu", s, max(2, round(steps * share))) for s in SEEDS]
            for name, (_, steps, _) in RUNS.items()
        }
        with report.part("measurements"):
            measurements(report, device)
        with report.part("state"):
            left_as_found(report, device)
        with report.part("seeds"):
            compare_seeds(report, device, share, later)
        with report.part("lessons"):
            report_lessons(report, lessons)
    bad = len(report.failed)
    print(f"\n{bad} FAIL: {'; '.join(report.failed)}" if bad else "\nall PASS")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
