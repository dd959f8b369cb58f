"""The experiments that the lessons rest on: every objective, three seeds, one protocol.

``make results`` trains what ``vaelab/results.json`` still lacks, keeps each finished run in
``build/results/``, so that a stopped grid goes on where it was, and writes ``results.json``,
``RESULTS.md`` and the table in ``README.md``. The full MNIST is read from ``VAELAB_DATA``. Runs are
independent: joblib spreads them over the cores of this machine, or with ``--scheduler ADDRESS``
over the workers of a dask cluster that have vaelab installed (and ``VAELAB_DATA``). No folder has
to be shared.

Protocol: the same steps, batches and initial weights for all objectives of a seed; everything at
beta = 1 with a sampled z, on all test images and on at most 5,000 training images; the
importance-weighted bound on the first 1,000 test images, and only on binarized digits; differences
to vanilla of the same seed paired image by image. Nothing is selected on the test images.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable, Container
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor
from tqdm import tqdm

import tables
from vaelab import runs
from vaelab.data import Digits, load_mnist
from vaelab.diagnostics import iw_log_likelihood, linear_probe, mutual_information, prune
from vaelab.model import VAE, Model, RowGRUVAE
from vaelab.objectives import ELBO, BetaELBO, FreeBits, Objective, SoftFreeBits
from vaelab.results import RESULTS, load_results, scores_of
from vaelab.schedules import cyclical, linear, staircase
from vaelab.training import Evaluation, History, evaluate, evaluation_images, fit

SEEDS = (0, 1, 2)
SCORED = 1000  # test images that are scored one by one
SAMPLES = 100  # k of the importance-weighted bound
MEASURED = 5000  # most training images on which a model is measured, and images for the information
EVALUATIONS = 20
ALIVE = 0.05  # nats; a dimension below is dead
LATE = 0.9  # weights are averaged from here on
PRUNING = "pruning"  # an experiment, not an objective

# Each is called with the number of steps.
OBJECTIVES: dict[str, Callable[[int], Objective]] = {
    "vanilla": lambda steps: ELBO(),
    "z-free twin": lambda steps: ELBO(),  # of a model without z
    "staircase": lambda steps: BetaELBO(staircase()),
    "linear 10 %": lambda steps: BetaELBO(linear(0.1)),
    "linear 25 %": lambda steps: BetaELBO(linear(0.25)),
    "linear 50 %": lambda steps: BetaELBO(linear(0.5)),
    "linear 100 %": lambda steps: BetaELBO(linear(1.0)),
    "linear 1,500 steps": lambda steps: BetaELBO(linear(1500 / steps)),
    "linear 2,345 steps": lambda steps: BetaELBO(linear(2345 / steps)),
    "cyclical": lambda steps: BetaELBO(cyclical()),
    "beta 0.5": lambda steps: BetaELBO(0.5),
    "beta 2": lambda steps: BetaELBO(2.0),
    "free bits 0.25": lambda steps: FreeBits(0.25),
    "free bits 0.5": lambda steps: FreeBits(0.5),
    "soft total 10": lambda steps: SoftFreeBits(10.0, per_dimension=False),
    "soft total 25": lambda steps: SoftFreeBits(25.0, per_dimension=False),
    "soft 0.5, step 0.1": lambda steps: SoftFreeBits(0.5, step=0.1),
    "soft 0.05": lambda steps: SoftFreeBits(0.05),
    "soft 0.1": lambda steps: SoftFreeBits(0.1),
    "soft 0.25": lambda steps: SoftFreeBits(0.25),
    "soft 0.5": lambda steps: SoftFreeBits(0.5),
    "soft 1.0": lambda steps: SoftFreeBits(1.0),
}


class Run(NamedTuple):
    """One training run of the grid.

    Attributes:
        data: ``"5k"`` or ``"full"``.
        targets: ``"gray"`` or ``"binary"``, drawn anew for every batch.
        decoder: ``"mlp"`` or ``"row"``.
        steps: the budget.
        objective: a key of ``OBJECTIVES``, or ``PRUNING``.
        seed: of the initial weights, the batches and the samples.
    """

    data: str
    targets: str
    decoder: str
    steps: int
    objective: str
    seed: int

    @property
    def key(self) -> str:
        """The name of the run in results.json."""
        return "/".join(map(str, self))


# What is trained, in this order; in each part seed by seed, vanilla first, long runs before short.
GRID: list[list[tuple[str, str, str, int, str]]] = [
    [
        (*("5k", "binary", "mlp"), 12_000, "vanilla; staircase; linear 10 %; linear 50 %; "
         "linear 1,500 steps; soft 0.5"),
        (*("5k", "binary", "mlp"), 3_000, "vanilla; staircase; linear 10 %; linear 25 %; "
         "linear 50 %; linear 100 %; cyclical; beta 0.5; beta 2; free bits 0.5; soft total 25; "
         "soft 0.5, step 0.1; soft 0.5; soft 0.05; soft 0.1; soft 0.25; soft 1.0"),
    ],
    [
        (*("full", "binary", "mlp"), 18_760, "vanilla; staircase; linear 10 %; linear 50 %; "
         "linear 2,345 steps; soft 0.5, step 0.1; soft 0.5"),
        (*("full", "binary", "mlp"), 4_690, "pruning; vanilla; staircase; linear 10 %; "
         "linear 50 %; cyclical; free bits 0.5; soft total 25; soft 0.5, step 0.1; soft 0.5"),
    ],
    [
        (*("5k", "binary", "row"), 5_600, "vanilla; z-free twin; linear 50 %"),
        (*("5k", "binary", "row"), 1_400, "vanilla; z-free twin; staircase; linear 50 %; "
         "cyclical; free bits 0.25; soft 0.25; soft total 10"),
    ],
    [
        (*("full", "gray", "mlp"), 4_690, "vanilla; staircase; linear 50 %; free bits 0.5; "
         "soft 0.5, step 0.1; soft 0.5"),
    ],
    [
        (*("full", "binary", "row"), 4_690, "vanilla; z-free twin; linear 50 %; soft total 10"),
    ],
    [
        (*("full", "binary", "mlp"), 18_760, "cyclical; free bits 0.5; soft total 25"),
    ],
]  # fmt: skip


def grid() -> list[Run]:
    """All runs, in the order in which they are carried out."""
    return [
        Run(*setting, objective, seed)
        for part in GRID
        for seed in SEEDS
        for *setting, objectives in part
        for objective in objectives.split("; ")
    ]


# -------------------------------------------------------------------------------------- one run


class Recorded:
    """An objective that also averages its weights over the last tenth of a run.

    Args:
        objective: what is minimized.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.total: Any = 0
        self.calls = 0

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """As the objective itself."""
        loss = self.objective(nll, kl, progress)
        if progress >= LATE:
            self.total = self.total + self.objective.weights(kl.shape[1])  # (D,)
            self.calls += 1
        return loss

    def weights(self, latent_dim: int) -> Tensor:
        """As the objective itself."""
        return self.objective.weights(latent_dim)


def carry_out(run: Run, device: str = "cpu", steps: int | None = None) -> dict[str, Any]:
    """Train and measure one run.

    Args:
        run: what to train.
        device: where; initial weights are made on the CPU wherever that is.
        steps: a smaller budget, to try the tool.

    Returns:
        Everything measured, ready for JSON.

    Raises:
        KeyboardInterrupt: if training was stopped: a stopped run is not a result.
    """
    import_module("torch.backends.cudnn").allow_tf32 = False  # by name: it cannot travel to workers
    began = time.monotonic()
    digits = load_mnist(run.data)
    measured = pruning if run.objective == PRUNING else training
    numbers = measured(run, digits, device, steps or run.steps)
    about = {"torch": torch.__version__, "device": device, "machine": machine(device)}
    seconds = round(time.monotonic() - began, 1)
    return {**run._asdict(), **about, "seconds": seconds, **numbers}


def machine(device: str) -> str:
    """What computes."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, one thread per run"


def training(run: Run, digits: Digits, device: str, steps: int) -> dict[str, Any]:
    """Train a model from its initial weights and measure it."""
    model, history = trained(run, digits, device, steps)
    binary = run.targets == "binary"
    samples = SAMPLES if binary else 1
    rows = 10_000 if device.startswith("cuda") else 500
    test = evaluation_images(digits, binary)
    scores = iw_log_likelihood(model, test[:SCORED], samples, rows=rows)  # (1000,)
    information = mutual_information(model, test[:MEASURED])
    late = history.objective.total / history.objective.calls  # (D,)
    return {
        **measure(model, digits, binary),
        "weights": rounded(late),
        "last_weights": rounded(history.weights[-1]),
        "mutual_information": round(information.value, 4),
        "mutual_information_ceiling": round(information.ceiling, 4),
        "probe_accuracy": round(linear_probe(model, digits), 4),
        "path": path_of(history),
        "score_samples": samples,
        "per_image": packed(scores),
    }


def trained(run: Run, digits: Digits, device: str, steps: int) -> tuple[Model, History]:
    """A model of the run's seed after its training."""
    with runs.seeded(run.seed):
        model = VAE() if run.decoder == "mlp" else RowGRUVAE(use_z=run.objective != "z-free twin")
    objective = Recorded(OBJECTIVES[run.objective](run.steps))
    return model, further(run, model.to(device), digits, objective, steps)


def further(
    run: Run, model: Model, digits: Digits, objective: Any, steps: int, seed: int | None = None
) -> History:
    """Train a model as the protocol says."""
    history = fit(
        model,
        digits,
        objective,
        steps=steps,
        seed=run.seed if seed is None else seed,
        binarize=run.targets == "binary",
        evaluations=min(EVALUATIONS, steps),
        clip_norm=5.0 if run.decoder == "row" else None,
        progress=False,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def pruning(run: Run, digits: Digits, device: str, steps: int) -> dict[str, Any]:
    """Do surplus dimensions explain what an annealed model lacks? Four arms go on at beta = 1.

    An annealed model (linear, 50 %) and a vanilla one, as they are or cut to their k strongest
    dimensions, where k is how many dimensions of the vanilla model are alive; all measured by their
    KL on training images. A fresh Adam and the same batches in all arms.
    """
    binary = run.targets == "binary"
    train = training_images(digits, binary)
    models = {
        name: trained(run._replace(objective=name), digits, device, steps)[0]
        for name in ("vanilla", "linear 50 %")
    }
    kl = {name: evaluate(model, train).kl_per_dim for name, model in models.items()}  # (D,) each
    kept = max(1, int((kl["vanilla"] > ALIVE).sum()))
    arms = {}
    for name, model in models.items():
        for cut in (False, True):
            start = prune(model, kl[name].topk(kept).indices) if cut else copy.deepcopy(model)
            before = measure(start, digits, binary)
            history = further(run, start, digits, ELBO(), steps, seed=run.seed + 100)
            after = {**measure(start, digits, binary), "path": path_of(history)}
            arms[f"{name}, {'cut' if cut else 'uncut'}"] = {"before": before, "after": after}
    return {"kept": kept, "arms": arms}


def training_images(digits: Digits, binary: bool) -> Tensor:
    """The training images on which models are measured: all, at most 5,000; one fixed draw."""
    return evaluation_images(digits._replace(test=digits.train[:MEASURED]), binary)


def measure(model: Model, digits: Digits, binary: bool) -> dict[str, Any]:
    """Bound, terms and KL of each dimension on test and on training images."""
    test = evaluate(model, evaluation_images(digits, binary))
    train = evaluate(model, training_images(digits, binary))
    on_train = {f"train_{name}": value for name, value in terms(train).items()}
    return {**terms(test), **on_train}


def terms(found: Evaluation) -> dict[str, Any]:
    """An evaluation, ready for JSON."""
    return {
        "neg_elbo": round(-found.elbo, 4),
        "distortion": round(found.distortion, 4),
        "rate": round(found.rate, 4),
        "kl_per_dim": rounded(found.kl_per_dim),
        "active_units": found.active_units,
        "alive": int((found.kl_per_dim > ALIVE).sum()),
    }


def path_of(history: History) -> dict[str, Any]:
    """How the terms on test images went."""
    return {
        "steps": history.steps,
        "distortion": [round(value, 3) for value in history.distortion],
        "rate": [round(value, 3) for value in history.rate],
        "active_units": history.active_units,
    }


def rounded(values: Tensor) -> list[float]:
    """A tensor (N,) as a list that prints short."""
    return [round(value, 4) for value in values.tolist()]


def packed(scores: Tensor) -> str:
    """(N,) scores as text, two bytes each: to 1/16 of a nat, a fiftieth of their spread."""
    return base64.b64encode(scores.numpy().astype("<f2").tobytes()).decode()


# ------------------------------------------------------------------------------------ many runs


def carry_out_all(
    todo: list[Run],
    folder: Path,
    *,
    jobs: int = -1,
    scheduler: str | None = None,
    device: str = "cpu",
    scale: float = 1.0,
    minutes: float = math.inf,
) -> None:
    """Carry out runs side by side and write each down, here, as soon as it arrives.

    Args:
        todo: what to train.
        folder: where a file for each run goes.
        jobs: runs side by side on this machine; -1 means one for each core.
        scheduler: address of a dask scheduler whose workers train instead.
        device: where each run computes.
        scale: share of every budget, to try the tool.
        minutes: no run begins later than this after now.

    Raises:
        RuntimeError: at the end, if runs failed.
    """
    where = {"backend": "dask", "scheduler_host": scheduler} if scheduler else {"backend": "loky"}
    until = time.time() + 60 * minutes
    tasks = [delayed(carry_out_alone)(run, device, scale, until) for run in todo]
    failed = []
    with parallel_config(**where, n_jobs=jobs):
        arriving = Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        for key, numbers, error in tqdm(arriving, total=len(tasks), unit="run"):
            if numbers is not None:
                write(folder / file_name(key), json.dumps(numbers))
            elif error is not None:
                failed.append(f"{key}: {error}")
    if failed:
        raise RuntimeError(f"{len(failed)} runs failed, the others are kept:\n" + "\n".join(failed))


def carry_out_alone(
    run: Run, device: str, scale: float, until: float
) -> tuple[str, dict[str, Any] | None, str | None]:
    """:func:`carry_out` in a worker: one run and one thread, so that company changes no bit.

    Returns:
        The key of the run; its numbers, None if it failed or the time was up; why it failed.
    """
    if time.time() > until:
        return run.key, None, None
    steps = max(10, round(scale * run.steps))
    try:
        with runs.ONE_AT_A_TIME:  # threads of a dask worker share one random state
            torch.set_num_threads(1)
            return run.key, carry_out(run, device, steps), None
    except Exception as error:  # told at the end: one that fails must not take the others along
        return run.key, None, f"{type(error).__name__}: {error}"


def file_name(key: str) -> str:
    """Under which name a finished run is kept."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", key.replace("/", "-")) + ".json"


def write(path: Path, text: str) -> None:
    """Replace a file in one go, so that a stop in the middle leaves the old one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def missing_of(folder: Path, only: str = "", done: Container[str] = ()) -> list[Run]:
    """The runs whose keys match a pattern and that are not finished.

    Args:
        folder: has a file for each run that was finished here.
        only: a regular expression.
        done: keys of runs that were finished elsewhere.
    """
    chosen = [run for run in grid() if re.search(only, run.key) and run.key not in done]
    return [run for run in chosen if not (folder / file_name(run.key)).exists()]


# ------------------------------------------------------------------------------ what is committed


def collect(finished: list[dict[str, Any]], before: dict[str, Any]) -> dict[str, Any]:
    """Put finished runs together and pair each with vanilla.

    Args:
        finished: what :func:`carry_out` returned.
        before: earlier results, whose runs stay unless they were carried out again; may be empty.

    Returns:
        As :func:`vaelab.results.load_results` describes. ``"score"`` is the mean over the images of
        the negative score, and ``"paired"`` its difference to vanilla of the same seed with the
        standard error of that difference over the images (positive: worse than vanilla).

    Raises:
        ValueError: if the vanilla run that belongs to another is missing.
    """
    kept = {key: dict(run) for key, run in before.get("runs", {}).items()}
    experiments = dict(before.get("pruning", {}))
    for numbers in finished:
        run = Run(*(numbers[name] for name in Run._fields))
        told = {name: value for name, value in numbers.items() if name != "seconds"}
        (experiments if run.objective == PRUNING else kept)[run.key] = told
    for key, numbers in kept.items():
        run = Run(*(numbers[name] for name in Run._fields))
        vanilla = kept.get(run._replace(objective="vanilla").key)
        if vanilla is None:
            raise ValueError(f"{key} must have its vanilla run, which is not finished")
        scores = -scores_of(numbers)  # (1000,)
        difference = scores + scores_of(vanilla)  # (1000,)
        stderr = difference.std(ddof=1) / len(difference) ** 0.5
        numbers["score"] = round(float(scores.mean()), 4)
        numbers["paired"] = [round(float(difference.mean()), 4), round(float(stderr), 4)]
    order = {run.key: place for place, run in enumerate(grid())}
    return {
        "protocol": protocol(kept),
        "runs": {key: kept[key] for key in sorted(kept, key=order.__getitem__)},
        "pruning": dict(sorted(experiments.items())),
    }


def protocol(kept: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What belongs to the numbers."""
    machines = sorted({f"{run['machine']}, torch {run['torch']}" for run in kept.values()})
    return {
        "machines": machines,
        "seeds": list(SEEDS),
        "batch_size": 128,
        "learning_rate": 1e-3,
        "samples": SAMPLES,
        "scored_images": SCORED,
        "training_images": MEASURED,
        "alive": ALIVE,
    }


def as_text(results: dict[str, Any]) -> str:
    """JSON with a line to each run, so that a change of one is a change of one line."""
    parts = []
    for name, value in results.items():
        lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
        parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: list[str] | None = None) -> None:
    """Carry out what is missing, then write the results."""
    parser = argparse.ArgumentParser(prog="tools/results.py", description=__doc__)
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, -1: one per core")
    parser.add_argument("--folder", type=Path, default=Path("build/results"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default="", metavar="PATTERN", help="runs whose key matches")
    parser.add_argument("--anew", action="store_true", help="also runs that results.json has")
    parser.add_argument("--minutes", type=float, default=math.inf, help="then begin no other run")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster: all its workers")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="to try this tool")
    parser.add_argument("--no-collect", action="store_true", help="leave the files of each run")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    before = load_results() if RESULTS.exists() else {}
    done = {} if options.anew else {**before.get("runs", {}), **before.get("pruning", {})}
    carry_out_all(
        missing_of(options.folder, options.only, done),
        options.folder,
        jobs=options.jobs,
        scheduler=options.scheduler,
        device=options.device,
        scale=options.steps_scale,
        minutes=options.minutes,
    )
    if not options.no_collect:
        finished = [json.loads(path.read_text()) for path in sorted(options.folder.glob("*.json"))]
        results = collect(finished, before)
        write(RESULTS, as_text(results))
        tables.refresh(results)


if __name__ == "__main__":
    main()
