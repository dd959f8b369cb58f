"""Check on a GPU what the tests and the lessons check on the CPU: `python3 tools/gpu_check.py`.

Takes about two minutes, needs PyTorch, NumPy and tqdm, prints a table and exits with 1 if a line of
it says FAIL. Where there is no GPU it says so, and exits with 0.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import multiprocessing
import os
import platform
import random
import re
import signal
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes of the CPU runs share the cores
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from vaelab import (  # noqa: E402
    VAE,
    Diverged,
    RowGRUVAE,
    data,
    diagnostics,
    evaluate,
    fit,
    load,
    load_mnist,
    losses,
    runs,
    save,
    schedules,
    training,
)
from vaelab.objectives import ELBO, BetaELBO, FreeBits, SoftFreeBits  # noqa: E402

STEPS = 3000  # of a lesson's run
SEEDS = range(5)
ELBOS = ("-ELBO", "D", "R")
GRU = {"binarize": True, "clip_norm": 5.0}

# The bands that the lessons assert on numbers that they train themselves, as they stand there:
# lesson, cell, assertion. The names in them are made by `trained_as_in_the_lessons`.
BANDS = [
    (1, "cell-073", "109 < -result.elbo < 119 and 22 < result.rate < 30"),
    (1, "cell-087", "bounds.mean(dim=1).diff().min() > 0"),
    (1, "cell-087", "4 < (bounds[3] - bounds[0]).mean() < 9"),
    (1, "cell-094", "6 < on_train.elbo - result.elbo < 14"),
    (1, "cell-098", "norms[kl > 0.05].min() > norms[kl < 0.01].max()"),
    (1, "cell-098", "18 <= used <= 30"),
    (1, "cell-110", "150 < -flat_result.elbo < 180"),
    (2, "cell-022", "abs(collapsed.distortion - constant) < 8 and collapsed.rate < 1"),
    (2, "cell-048", "all(109 < -result.elbo < 120 for result in final.values())"),
    (
        2,
        "cell-048",
        'final["vanilla"].rate < final["linear warm-up"].rate < final["staircase"].rate',
    ),
    (2, "cell-054", 'peaks["vanilla"] < 1.1 * final["vanilla"].rate'),
    (2, "cell-054", 'peaks["staircase"] > 2 * final["staircase"].rate'),
    (2, "cell-070", 'wide["vanilla"] < min(wide["linear warm-up"], wide["staircase"])'),
    (2, "cell-075", "printed[-1] > printed[best] + 8 and (d + r)[-1] < (d + r)[best] - 15"),
    (2, "cell-105", "(rates.diff() < 0).all() and (distortions.diff() > 0).all()"),
    (2, "cell-111", "torch.allclose(slopes, expected, rtol=0.3)"),
    (2, "cell-122", "min(probes) > 0.84 and max(probes) - min(probes) < 0.05"),
    (3, "cell-011", "111 < -result.elbo < 117 and 24 < result.rate < 28 and 20 < used < 35"),
    (3, "cell-023", "gru.rate < 2.5 and 103 < -gru.elbo < 113"),
    (3, "cell-078", "after.active_units == 50 and 30 < after.rate < 35"),
    (3, "cell-078", "119 < -after.elbo < 126 and after.kl_per_dim.min() > 0.35"),
    (3, "cell-112", "gru_annealed.rate < 3.5 and 101 < -gru_annealed.elbo < 111"),
]


# ------------------------------------------------------------------------------------ the report


class Report:
    """What was seen, line by line, printed as it comes."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.start = time.monotonic()

    def line(self, verdict: str, what: str, seen: str = "") -> None:
        """One line of the table."""
        seconds = time.monotonic() - self.start
        print(f"{seconds:5.0f} s  {verdict:4s}  {what:58s}  {seen}", flush=True)

    def check(self, what: str, right: Any, seen: str = "") -> None:
        """PASS or FAIL."""
        verdict = "PASS" if bool(right) else "FAIL"
        self.failed += [what] * (verdict == "FAIL")
        self.line(verdict, what, seen)

    def says(self, what: str, seen: str) -> None:
        """A number that nothing depends on."""
        self.line("", what, seen)

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


def new(kind: type, seed: int = 0, **sizes: int) -> Any:
    """A model with the initial weights of this seed, made on the CPU; no random state changes."""
    with runs.seeded(seed):
        return kind(**sizes)


def run(kind: type, device: Any, objective: Any = None, **settings: Any) -> tuple[Any, Any]:
    """Train a new model of seed 0 on the bundled digits."""
    model = new(kind)
    settings = {"steps": STEPS, "seed": 0, "progress": False, **settings}
    return model, fit(model, load_mnist("5k"), objective, device=device, **settings)


def distance(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two weights, on the CPU."""
    pairs = zip(one.state_dict().values(), other.state_dict().values())
    return max(float((a.cpu() - b.cpu()).abs().max()) for a, b in pairs)


def bits(largest: float) -> str:
    """How to call a largest difference."""
    return "bit by bit" if largest == 0 else f"within {largest:.1e}"


# ------------------------------------------------------------------------- the same as on the CPU


def scores(device: str, binarize: bool, seed: int, steps: int) -> tuple[float, float, float]:
    """-ELBO, D and R of the test digits after one run; also called in processes of their own."""
    digits, model = load_mnist("5k"), new(VAE, seed)
    settings = {"steps": steps, "seed": seed, "evaluations": 1, "progress": False}
    fit(model, digits, binarize=binarize, device=device, **settings)
    result = evaluate(model, training.evaluation_images(digits, binarize))
    return -result.elbo, result.distortion, result.rate


def compare_seeds(report: Report, device: str, steps: int, pool: ProcessPoolExecutor) -> None:
    """The same runs on both devices: their means differ by no more than chance.

    With five seeds a device, |t| of 8 degrees of freedom stays below 5 in all six lines at once in
    99.4 of 100 calls.
    """
    later = {
        binarize: [pool.submit(scores, "cpu", binarize, seed, steps) for seed in SEEDS]
        for binarize in (True, False)
    }
    for binarize, futures in later.items():
        there = [scores(device, binarize, seed, steps) for seed in SEEDS]
        here = [future.result() for future in futures]
        name = "binarized" if binarize else "grey"
        for quantity, a, b in zip(ELBOS, zip(*here), zip(*there)):
            spread = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
            apart = statistics.mean(b) - statistics.mean(a)
            report.check(
                f"{name}, {steps} steps, {len(a)} seeds: {quantity} as on the CPU",
                abs(apart) < 5 * spread or apart == 0,
                f"CPU {statistics.mean(a):.2f} ± {statistics.stdev(a):.2f}, {device} "
                f"{statistics.mean(b):.2f} ± {statistics.stdev(b):.2f}, t = "
                f"{apart / spread if apart else 0:+.1f}",
            )


def speed(report: Report, device: str) -> None:
    """Steps per second, one process, nothing beside it."""
    digits = load_mnist("5k")
    kinds = {"VAE, grey": (VAE, {}), "VAE, binarized": (VAE, {"binarize": True})}
    for name, (kind, settings) in (kinds | {"RowGRUVAE": (RowGRUVAE, GRU)}).items():
        said = []
        for where in ("cpu", device):
            found = []
            for steps in (20, 60 if kind is RowGRUVAE else 300):  # the first one warms up
                model = new(kind)
                begin = time.perf_counter()
                quiet = {"evaluations": 1, "progress": False, **settings}
                fit(model, digits, steps=steps, device=where, **quiet)
                found.append(steps / (time.perf_counter() - begin))
            said.append(f"{where} {found[-1]:.0f}")
        report.says(f"steps a second, {name}", ", ".join(said))


# --------------------------------------------------------------------------- the lessons' bands


def trained_as_in_the_lessons(device: str, steps: int) -> Iterator[dict[str, Any]]:
    """The live trainings of the lessons, one lesson at a time: the names of its assertions."""
    digits, share = load_mnist("5k"), steps / STEPS
    settings = {"seed": 0, "progress": False, "device": device}

    def long(count: int) -> int:
        return max(10, round(count * share))

    def score(model: Any, images: Tensor = digits.test) -> Any:
        return evaluate(model, images)

    vae, grey_run = run(VAE, device, steps=steps, evaluations=min(30, steps))
    result = score(vae)
    kl, norms = result.kl_per_dim, diagnostics.decoder_weight_norms(vae)
    coin, _ = run(VAE, device, steps=long(2000), binarize=True)
    binary = data.binarize(digits.test[:400], torch.Generator().manual_seed(0))
    bounds = torch.stack([diagnostics.iw_log_likelihood(coin, binary, k) for k in (1, 5, 50, 500)])
    flat = new(VAE, latent_dim=2)
    fit(flat, digits, steps=long(1200), **settings)
    shared = {"result": result, "kl": kl, "norms": norms, "used": int((kl > 0.05).sum())}
    yield shared | {
        "bounds": bounds,
        "on_train": score(vae, digits.train[:1000]),
        "flat_result": score(flat),
    }

    def pixel_mean(nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        return (nll / 784).mean() + kl.sum(dim=1).mean()

    mean_image = digits.train.mean(dim=0).clamp(0.001, 0.999)  # (784,)
    logits = mean_image.logit().expand_as(digits.test)
    models, histories = {"vanilla": vae}, {"vanilla": grey_run}
    for name, schedule in {
        "staircase": schedules.staircase(10),
        "linear warm-up": schedules.linear(warmup=0.5),
    }.items():
        objective = BetaELBO(schedule)
        models[name], histories[name] = run(
            VAE, device, objective, steps=steps, evaluations=min(30, steps)
        )
    final = {name: score(model) for name, model in models.items()}
    stairs = histories["staircase"]
    d, r = torch.tensor(stairs.distortion), torch.tensor(stairs.rate)
    printed = d + torch.stack(stairs.weights)[:, 0] * r
    betas, sweep = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0], []
    for beta in betas:
        sweep.append(copy.deepcopy(vae))
        again = settings | {"seed": 1, "steps": long(500), "evaluations": 1}
        fit(sweep[-1], digits, BetaELBO(beta), **again)
    points = [score(model) for model in sweep]
    rates = torch.tensor([point.rate for point in points])
    distortions = torch.tensor([point.distortion for point in points])
    prices = torch.tensor(betas)
    yield shared | {
        "collapsed": score(run(VAE, device, pixel_mean, steps=long(300))[0]),
        "constant": float(losses.bernoulli_nll(logits, digits.test).mean()),
        "final": final,
        "peaks": {name: max(history.rate) for name, history in histories.items()},
        "wide": {name: int((e.kl_per_dim > 0.05).sum()) for name, e in final.items()},
        "printed": printed,
        "d": d,
        "r": r,
        "best": int(printed.argmin()),
        "rates": rates,
        "distortions": distortions,
        "slopes": distortions.diff() / rates.diff(),
        "expected": -(prices[1:] * prices[:-1]).sqrt(),
        "probes": [diagnostics.linear_probe(sweep[i], digits) for i in (0, 3, 5, 6)],
    }

    binary_test = training.evaluation_images(digits, binarize=True)
    gru = {"steps": long(400), **GRU}
    soft, _ = run(VAE, device, SoftFreeBits(0.5, step=0.1), steps=steps)
    warm = BetaELBO(schedules.linear(warmup=0.5))
    yield shared | {
        "gru": score(run(RowGRUVAE, device, **gru)[0], binary_test),
        "gru_annealed": score(run(RowGRUVAE, device, warm, **gru)[0], binary_test),
        "after": score(soft),
    }


def numbers(value: Any) -> str:
    """A short form of what an assertion looks at."""
    if isinstance(value, training.Evaluation):
        return str(value)
    if isinstance(value, dict):
        return "; ".join(f"{name} {numbers(part)}" for name, part in value.items())
    values = torch.as_tensor(value).detach().float()
    if values.numel() > 10:
        return f"{values.min():.2f} to {values.max():.2f}"
    return ", ".join(f"{number:.2f}" for number in values.flatten())


def bands(report: Report, device: str, steps: int) -> None:
    """Each band of the lessons, on the numbers of this device."""
    shown: set[str] = set()
    for lesson, names in enumerate(trained_as_in_the_lessons(device, steps), 1):
        for _, cell, assertion in (band for band in BANDS if band[0] == lesson):
            code = compile(assertion, cell, "eval")
            fresh = [n for n in names if n in code.co_names and n not in shown]
            shown |= set(fresh)
            seen = "; ".join(f"{name}: {numbers(names[name])}" for name in fresh)
            what = f"lesson {lesson}, {cell}: {assertion}"
            if steps == STEPS:
                report.check(what, eval(code, {"torch": torch, **names}), seen)
            else:
                report.says(f"{what} (not judged)", seen)


def stale(report: Report) -> None:
    """Say which cells that are cited hold other numbers by now: the lessons may have changed."""
    for lesson in (1, 2, 3):
        (path,) = (ROOT / "notebooks").glob(f"{lesson:02}_*.ipynb")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = {cell.get("id"): "".join(cell["source"]) for cell in cells}
        for _, cell, assertion in (band for band in BANDS if band[0] == lesson):
            bounds = re.findall(r"\d+\.?\d*", assertion)
            if not all(bound in sources.get(cell, "") for bound in bounds):
                report.says(f"lesson {lesson} has changed, see {cell}", f"not there: {assertion}")


# ---------------------------------------------------------------- everything that measures a model


def measurements(report: Report, device: str) -> None:
    """A model on the GPU and the same weights on the CPU are measured alike."""
    digits = load_mnist("5k")
    here, _ = run(VAE, "cpu", steps=200)
    there = copy.deepcopy(here).to(device)
    a, b = evaluate(here, digits.test), evaluate(there, digits.test)
    largest = float((a.kl_per_dim - b.kl_per_dim).abs().max())
    report.check("evaluate: KL of each dimension", largest < 1e-3, f"largest difference {largest}")
    costs = [
        torch.tensor([evaluate(m, digits.test, seed=s).distortion for s in range(10)])
        for m in (here, there)
    ]
    apart = float(costs[1].mean() - costs[0].mean())
    error = float((costs[0].var() + costs[1].var()) / 10) ** 0.5
    said = f"CPU {costs[0].mean():.3f}, {device} {costs[1].mean():.3f}, {error:.3f} standard error"
    report.check("evaluate: D, ten draws of z", abs(apart) < 5 * error or apart == 0, said)
    bounds = [diagnostics.iw_log_likelihood(m, digits.test[:400], 50) for m in (here, there)]
    change = bounds[1] - bounds[0]  # (400,)
    error = float(change.std()) / 20
    said = f"{change.mean():+.3f} ± {error:.3f} nats, paired by image; on {bounds[1].device}"
    report.check("iw_log_likelihood, k = 50", abs(change.mean()) <= 5 * error, said)
    codes = [diagnostics.encode_all(m, digits.test) for m in (here, there)]
    largest = max(float((one - other).abs().max()) for one, other in zip(*codes))
    report.check("encode_all", largest < 1e-3, f"largest difference {largest:.1e}")
    known = [diagnostics.mutual_information(m, digits.test) for m in (here, there)]
    said = f"{known[0].value:.5f} and {known[1].value:.5f} nats"
    report.check("mutual_information", abs(known[0].value - known[1].value) < 1e-3, said)
    shares = [diagnostics.linear_probe(m, digits) for m in (here, there)]
    report.check("linear_probe", abs(shares[0] - shares[1]) <= 0.005, f"{shares}")
    norms = [diagnostics.decoder_weight_norms(m) for m in (here, there)]
    report.check("decoder_weight_norms", torch.allclose(*norms), f"on {norms[1].device}")
    keep = a.kl_per_dim > 0.05
    small = diagnostics.prune(there, keep)
    scores_of = [evaluate(m, digits.test).rate for m in (diagnostics.prune(here, keep), small)]
    report.check(
        f"prune to {int(keep.sum())}",
        abs(scores_of[0] - scores_of[1]) < 1e-2 and runs.device_of(small).type == kind_of(device),
        f"R {scores_of[0]:.4f} and {scores_of[1]:.4f}, on {runs.device_of(small)}",
    )
    drawn = there.sample(5)
    said = f"{tuple(drawn.shape)} on {drawn.device}, {drawn.min():.3f} to {drawn.max():.3f}"
    report.check("sample", drawn.min() >= 0 and drawn.max() <= 1, said)


# ---------------------------------------------------------------- what a call leaves as it found it


def state(device: str) -> dict[str, Any]:
    """All that a call must leave as it was."""
    found = {
        "random state": torch.get_rng_state().tolist(),
        "Python's random state": random.getstate(),
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "handler of Ctrl-C": signal.getsignal(signal.SIGINT),
    }
    if kind_of(device) == "cuda":
        found["random state of the GPU"] = torch.cuda.get_rng_state().tolist()
        found["current device"] = torch.cuda.current_device()
        found["bytes on the GPU"] = torch.cuda.memory_allocated()
    return found


def left_as_found(report: Report, device: str) -> None:
    """Random states, threads, current device and memory: the same before and after each call.

    What a call returns is kept meanwhile, except where it is a model on the GPU.
    """
    digits, model = load_mnist("5k"), new(VAE).to(device)
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: run(VAE, device, steps=20, binarize=True),
        "fit, soft free bits": lambda: run(VAE, device, SoftFreeBits(0.5), steps=20),
        "fit, free bits": lambda: run(VAE, device, FreeBits(0.5), steps=20),
        "fit, RowGRUVAE": lambda: run(RowGRUVAE, device, steps=10, **GRU),
        "fit, Ctrl-C": lambda: run(VAE, device, steps=20, on_evaluation=ctrl_c),
        "fit, diverged": lambda: diverged(device),
        "fit, resumed": lambda: resumed(VAE, device, steps=20),
        "evaluate": lambda: evaluate(model, digits.test),
        "iw_log_likelihood": lambda: diagnostics.iw_log_likelihood(model, digits.test[:50]),
        "encode_all": lambda: diagnostics.encode_all(model, digits.test),
        "mutual_information": lambda: diagnostics.mutual_information(model, digits.test),
        "linear_probe": lambda: diagnostics.linear_probe(model, digits),
        "prune": lambda: diagnostics.prune(model, [0, 1]).latent_dim,
        "save and load": lambda: through_a_file(model, None),
    }
    torch.manual_seed(7)
    for name, call in calls.items():
        call()  # the first call of a kind makes what PyTorch keeps, such as cuBLAS's workspace
        gc.collect()
        before = state(device)
        kept = call()
        gc.collect()
        after = state(device)
        changed = [what for what in before if before[what] != after[what]]
        more = after.get("bytes on the GPU", 0) - before.get("bytes on the GPU", 0)
        said = f"changed: {', '.join(changed)} ({more:+} bytes)" if changed else ""
        report.check(f"{name}: random states, memory, threads as found", not changed, said)
        del kept


def ctrl_c(model: nn.Module, step: int) -> None:
    """Ask a run to stop, as the stop button does."""
    os.kill(os.getpid(), signal.SIGINT)


def diverged(device: str) -> tuple[nn.Module, Any]:
    """A run whose loss is no number from the eighth step on, and what its error holds."""
    calls = 0

    def broken(nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        nonlocal calls
        calls += 1
        return (nll + kl.sum(dim=1)).mean() * (math.nan if calls > 7 else 1.0)

    model = new(VAE)
    try:
        fit(model, load_mnist("5k"), broken, steps=20, device=device, progress=False)
    except Diverged as error:
        return model, error.history
    raise AssertionError("a loss of NaN did not stop the run")


# ------------------------------------------------------------------------------ resume, save, load


def through_a_file(model: nn.Module, history: Any) -> tuple[Any, Any]:
    """What comes back from a file; the model on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save(path, model, history)
        return load(path)


def resumed(kind: type, device: str, *, steps: int, by_file: bool = False, **settings: Any) -> Any:
    """A run that ends in its middle and goes on there, from the history or from a file."""
    half = {"steps": steps, "evaluations": 2, **settings}
    model, history = run(kind, device, on_evaluation=lambda *_: True, **half)
    if by_file:
        model, history = through_a_file(model, history)
    again = {"seed": 0, "progress": False, "device": device, "resume": history, **half}
    return model, fit(model, load_mnist("5k"), ELBO(), **again)


def resumption(report: Report, device: str, steps: int) -> None:
    """A resumed run is as near to an uninterrupted one as two uninterrupted ones are."""
    for kind, settings in ((VAE, {"binarize": True}), (RowGRUVAE, GRU)):
        count = max(10, (steps if kind is VAE else steps // 4) // 10)
        whole, twice = (
            run(kind, device, steps=count, evaluations=2, **settings)[0] for _ in range(2)
        )
        rounding = distance(whole, twice)
        name = f"{kind.__name__}, {count} steps"
        report.says(f"{name}: the same seed twice gives the same weights", bits(rounding))
        for how, by_file in {"from the history": False, "from a file": True}.items():
            model, history = resumed(kind, device, steps=count, by_file=by_file, **settings)
            apart = distance(whole, model)
            whole_history = history.steps == [round(count / 2), count]
            what = f"{name}: resumed {how} as never stopped"
            report.check(what, apart <= 3 * rounding and whole_history, bits(apart))
        model.to(device)
        back, _ = through_a_file(model, None)
        apart, where = distance(model, back), runs.device_of(back)
        what = f"{kind.__name__}: saved on the device, loaded to the CPU"
        report.check(what, apart == 0 and where.type == "cpu", f"on {where}, {bits(apart)}")


# -------------------------------------------------------------------------------- where things are


def devices(report: Report, device: str) -> None:
    """Every way to name the device means it; the model comes home; nothing around it matters."""
    seen: list[str] = []

    def look(model: nn.Module, step: int) -> None:
        seen.append(str(runs.device_of(model)))
        torch.randn(10, device=runs.device_of(model))  # draws must not change the run

    plain, again = (run(VAE, device, steps=20)[0] for _ in range(2))
    rounding = 3 * distance(plain, again)
    expected = "cuda:0" if kind_of(device) == "cuda" else "cpu"
    names: list[Any] = [0, "cuda", "cuda:0", torch.device("cuda")]
    for name in names if kind_of(device) == "cuda" else ["cpu", torch.device("cpu")]:
        seen.clear()
        model, _ = run(VAE, name, steps=20, on_evaluation=look)
        home, apart = runs.device_of(model), distance(plain, model)
        right = set(seen) == {expected} and home.type == "cpu" and apart <= rounding
        said = f"trained on {', '.join(set(seen))}, then on {home}, the same weights {bits(apart)}"
        report.check(f"device={name!r}", right, said)
    there = new(VAE).to(device)
    fit(there, load_mnist("5k"), steps=20, progress=False)
    stays, apart = str(runs.device_of(there)) == expected, distance(plain, there)
    said = f"on {runs.device_of(there)}, the same weights {bits(apart)}"
    report.check("device=None: trained where the model is", stays and apart <= rounding, said)
    test = load_mnist("5k").test
    with torch.autocast(kind_of(device), torch.bfloat16):
        inside, _ = run(VAE, device, steps=20)
        score = evaluate(inside.to(device), test).elbo
    outside, apart = evaluate(plain.to(device), test).elbo, distance(plain, inside)
    said = f"the same weights {bits(apart)}, -ELBO {-score:.4f} and {-outside:.4f}"
    same = apart <= rounding and abs(score - outside) < 1e-3
    report.check("autocast around fit and evaluate changes nothing", same, said)


def refusal(report: Report) -> None:
    """A device that is not there; last, since it ends in an error of CUDA's."""
    try:
        run(VAE, "cuda:99", steps=20)
    except ValueError as error:
        said = str(error).splitlines()[0]
        report.check('device="cuda:99" is refused', "device must be one" in said, said[:90])
    else:
        report.check('device="cuda:99" is refused', False, "it was taken")


def kind_of(device: str) -> str:
    """The type of a device by its name."""
    return torch.device(device).type


def main() -> int:
    """Read the command line, check, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)  # to try the script
    parser.add_argument("--steps", type=int, default=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device, steps = given.device, given.steps
    if kind_of(device) == "cuda" and not torch.cuda.is_available():
        print("no GPU: nothing to check here")
        return 0
    report, cores = Report(), len(os.sched_getaffinity(0)) if sys.platform == "linux" else 2
    name = torch.cuda.get_device_name() if kind_of(device) == "cuda" else "CPU"
    python = platform.python_version()
    report.says(f"{name}, {cores} cores", f"Python {python}, PyTorch {torch.__version__}")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(10, max(1, cores - 1)), mp_context=spawn) as pool:
        parts = {
            "speed": lambda: speed(report, device),
            "seeds": lambda: compare_seeds(report, device, steps, pool),
            "measurements": lambda: measurements(report, device),
            "devices": lambda: devices(report, device),
            "resumption": lambda: resumption(report, device, steps),
            "state": lambda: left_as_found(report, device),
            "bands": lambda: bands(report, device, steps),
            "stale": lambda: stale(report),
            "refusal": lambda: refusal(report),
        }
        for part in given.only or parts:
            with report.part(part):
                parts[part]()
    bad = len(report.failed)
    print(f"\n{bad} FAIL: {'; '.join(report.failed)}" if bad else "\nall PASS")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
