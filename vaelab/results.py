"""The results that the lessons cite: every objective, three seeds, one protocol.

``python -m vaelab.results`` trains what is still missing, writes ``results.json`` beside this file
and refreshes the table in ``README.md`` if there is one in the current folder. Each finished run is
kept in ``build/results/`` at once, so a stopped grid goes on where it was. Runs are independent:
joblib spreads them over the cores of this machine, or with ``--scheduler ADDRESS`` over the workers
of a dask cluster that have vaelab installed (and ``VAELAB_DATA``, for the full set). No folder has
to be shared, and every number is the same as in a serial run on that kind of machine.

Protocol: the same steps, batches and initial weights for all objectives of a seed; -ELBO, D and R
on all test images at beta = 1; the importance-weighted bound only on binarised digits; differences
to vanilla paired image by image. Nothing is selected on the test images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor
from tqdm import tqdm

from .data import Digits, load_mnist
from .diagnostics import iw_log_likelihood, linear_probe, mutual_information
from .model import VAE, Model, RowGRUVAE
from .objectives import ELBO, BetaELBO, FreeBits, Objective, SoftFreeBits
from .schedules import linear, staircase
from .training import History, evaluate, evaluation_images, fit

MARKERS = ("<!-- results -->", "<!-- /results -->")
RESULTS = Path(__file__).with_name("results.json")
SEEDS = (0, 1, 2)
LAM = 0.5  # nats per dimension, for every kind of free bits
SCORED = 1000  # test images that are scored one by one
ONE_AT_A_TIME = threading.Lock()  # two runs in one process would draw from one random state
SAMPLES = 100  # k of the importance-weighted bound
STEPS = {("5k", "mlp"): 3000, ("full", "mlp"): 4690, ("5k", "gru"): 1400}
MODELS: dict[str, Callable[[], Model]] = {"mlp": VAE, "gru": RowGRUVAE}
OBJECTIVES: dict[
    str, Callable[[int], Objective]
] = {  # each is called with the number of dimensions
    "vanilla": lambda dims: ELBO(),
    "staircase": lambda dims: BetaELBO(staircase()),
    "linear warm-up": lambda dims: BetaELBO(linear(warmup=0.5)),
    "free bits": lambda dims: FreeBits(LAM),
    "soft free bits, total": lambda dims: SoftFreeBits(LAM * dims, step=0.1, per_dimension=False),
    "soft free bits": lambda dims: SoftFreeBits(LAM, step=0.1),
}


class Run(NamedTuple):
    """One training run of the grid.

    Attributes:
        data: ``"5k"`` or ``"full"``.
        targets: ``"grey"`` or ``"binary"``, drawn anew for every batch.
        decoder: ``"mlp"`` or ``"gru"``.
        objective: a key of ``OBJECTIVES``.
        seed: of the initial weights, the batches and the samples.
    """

    data: str
    targets: str
    decoder: str
    objective: str
    seed: int

    @property
    def key(self) -> str:
        """The name of the run in results.json and, without its blanks, in build/results."""
        return "/".join(map(str, self))


def grid(data: str) -> list[Run]:
    """All runs on one set of digits; the GRU decoder only on the bundled digits, binarised."""
    settings = [(targets, "mlp") for targets in ("grey", "binary")]
    settings += [("binary", "gru")] if data == "5k" else []
    return [
        Run(data, targets, decoder, objective, seed)
        for targets, decoder in settings
        for seed in SEEDS
        for objective in OBJECTIVES
    ]


def carry_out(run: Run, steps: int | None = None) -> dict[str, Any]:
    """Train and measure one run.

    Args:
        run: what to train.
        steps: the budget, default that of the protocol.

    Returns:
        Everything measured, ready for JSON; ``"per_image"`` holds the score of each image.

    Raises:
        KeyboardInterrupt: if training was stopped: a stopped run is not a result.
    """
    digits = load_mnist(run.data)
    torch.manual_seed(run.seed)
    model = MODELS[run.decoder]()
    history = fit(
        model,
        digits,
        OBJECTIVES[run.objective](model.latent_dim),
        steps=steps or STEPS[run.data, run.decoder],
        seed=run.seed,
        binarize=run.targets == "binary",
        clip_norm=5.0 if run.decoder == "gru" else None,
        progress=False,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return measure(run, model, digits, history)


def measure(run: Run, model: Model, digits: Digits, history: History) -> dict[str, Any]:
    """All that is kept of a run.

    Args:
        run: which run it was.
        model, digits, history: what it trained, on what, and how that went.

    Returns:
        Numbers in nats per image, rounded to 1e-4, and the score of each of the first 1,000 images:
        the one-sample ELBO on grey digits, the importance-weighted bound on binarised ones.
    """
    test = evaluation_images(digits, run.targets == "binary")
    final = evaluate(model, test)
    samples = SAMPLES if run.targets == "binary" else 1
    scores = iw_log_likelihood(model, test[:SCORED], samples)  # (1000,)
    information = mutual_information(model, test)
    return {
        **run._asdict(),
        "torch": torch.__version__,
        "steps": len(history.train_loss),
        "neg_elbo": round(-final.elbo, 4),
        "distortion": round(final.distortion, 4),
        "rate": round(final.rate, 4),
        "kl_per_dim": rounded(final.kl_per_dim),
        "weights": rounded(history.weights[-1]),
        "active_units": final.active_units,
        "mutual_information": round(information.value, 4),
        "mutual_information_ceiling": round(information.ceiling, 4),
        "probe_accuracy": round(linear_probe(model, digits), 4),
        "score_samples": samples,
        "path": {
            "steps": history.steps,
            "distortion": [round(value, 3) for value in history.distortion],
            "rate": [round(value, 3) for value in history.rate],
            "active_units": history.active_units,
        },
        "per_image": rounded(scores),
    }


def rounded(values: Tensor, digits: int = 4) -> list[float]:
    """A tensor (N,) as a list that prints short."""
    return [round(float(value), digits) for value in values]


def collect(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put finished runs together and pair each with vanilla.

    Args:
        runs: what :func:`carry_out` returned.

    Returns:
        ``{"protocol": ..., "runs": {key: numbers}}``. ``"score"`` is the mean over the images of
        the negative score, and ``"paired"`` its difference to vanilla of the same seed with the
        standard error of that difference over the images (positive: worse than vanilla).
    """
    finished = {run_of(numbers): numbers for numbers in runs}
    kept = {}
    for which, run in sorted(finished.items()):
        numbers = {name: value for name, value in run.items() if name != "per_image"}
        scores = -torch.tensor(run["per_image"])  # (1000,)
        numbers["score"] = round(float(scores.mean()), 4)
        vanilla = finished.get(which._replace(objective="vanilla"))
        if vanilla is not None and vanilla is not run:
            difference = scores + torch.tensor(vanilla["per_image"])  # (1000,)
            stderr = difference.std() / len(difference) ** 0.5
            numbers["paired"] = rounded(torch.stack([difference.mean(), stderr]))
        kept[which.key] = numbers
    return {"protocol": protocol(), "runs": kept}


def protocol() -> dict[str, Any]:
    """The budgets that belong to the numbers."""
    return {
        "machine": f"{platform.machine()} CPU, one thread per run",
        "seeds": list(SEEDS),
        "steps": {"/".join(setting): steps for setting, steps in STEPS.items()},
        "batch_size": 128,
        "learning_rate": 1e-3,
        "lam": LAM,
        "samples": SAMPLES,
        "scored_images": SCORED,
    }


def load_results() -> dict[str, Any]:
    """What ``python -m vaelab.results`` wrote.

    Returns:
        ``{"protocol": {...}, "runs": {"5k/grey/mlp/vanilla/0": {...}, ...}}``.
    """
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def runs_of(results: dict[str, Any], data: str, targets: str, decoder: str, objective: str) -> list:
    """The runs of one objective in one setting, a dictionary for each seed that is finished."""
    return [
        run
        for run in results["runs"].values()
        if (run["data"], run["targets"], run["decoder"], run["objective"])
        == (data, targets, decoder, objective)
    ]


def mean_and_spread(runs: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """Mean and standard deviation over the seeds of one number."""
    if not runs or any(name not in run for run in runs):
        raise ValueError(f"name must be a number of each run, got {name!r} for {len(runs)} runs")
    values = [run[name] for run in runs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def readme_table(results: dict[str, Any]) -> str:
    """The results as Markdown, a table for each setting.

    Args:
        results: what :func:`load_results` returns.

    Returns:
        Markdown; every number is the mean over the seeds ± their standard deviation, in nats.
    """
    settings = sorted({(r["data"], r["targets"], r["decoder"]) for r in results["runs"].values()})
    return "\n\n".join(setting_table(results, *setting) for setting in settings)


def setting_table(results: dict[str, Any], data: str, targets: str, decoder: str) -> str:
    """The table of one setting, as Markdown with a title.

    Args:
        results: what :func:`load_results` returns.
        data, targets, decoder: as in :class:`Run`.

    Returns:
        Markdown, a row for each objective of which all seeds are finished. The column after the
        bound is its difference to vanilla, paired image by image: the mean over the seeds, and the
        standard error over the images (mean over the seeds).
    """
    protocol = results["protocol"]
    binary = targets == "binary"
    title = (
        f"**{'The full MNIST' if data == 'full' else 'Bundled digits'}, "
        f"{'binarized' if binary else 'grey'}, {decoder.upper()} decoder** "
        f"({protocol['steps'][f'{data}/{decoder}']:,} steps, seeds {protocol['seeds']})"
    )
    score = f"-L_{protocol['samples']}" if binary else "-L_1"
    header = ["objective", "-ELBO", "D", "R", score, "minus vanilla (s.e.)", "active", "probe"]
    lines = [header, [":--"] + ["--:"] * (len(header) - 1)]
    for objective in OBJECTIVES:
        runs = runs_of(results, data, targets, decoder, objective)
        if len(runs) == len(SEEDS):
            lines.append([objective, *cells(runs)])
    return title + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(runs: list[dict[str, Any]]) -> list[str]:
    """One row of :func:`setting_table`: the runs of all seeds of one objective, formatted."""
    means = [mean_and_spread(runs, name) for name in ("neg_elbo", "distortion", "rate", "score")]
    paired = [run["paired"] for run in runs if "paired" in run]
    difference, stderr = (statistics.mean(column) for column in zip(*paired)) if paired else (0, 0)
    active, probe = (mean_and_spread(runs, name) for name in ("active_units", "probe_accuracy"))
    return [
        *(f"{mean:.1f} ± {spread:.1f}" for mean, spread in means),
        f"{difference:+.1f} ({stderr:.1f})" if paired else "",
        f"{active[0]:.0f} ± {active[1]:.0f}",
        f"{100 * probe[0]:.1f} ± {100 * probe[1]:.1f} %",
    ]


def refresh(readme: Path, results: dict[str, Any]) -> None:
    """Put the tables between the two markers of a README.

    Args:
        readme: the file; it holds ``<!-- results -->`` and ``<!-- /results -->``.
        results: what :func:`load_results` returns.

    Raises:
        ValueError: if a marker is missing.
    """
    text = readme.read_text(encoding="utf-8")
    start, end = MARKERS
    if start not in text or end not in text:
        raise ValueError(f"{readme} needs the markers {start} and {end}")
    before, after = text.split(start)[0], text.split(end)[1]
    write(readme, f"{before}{start}\n{readme_table(results)}\n{end}{after}")


def main(arguments: list[str] | None = None) -> None:
    """Carry out what is missing, then write the results."""
    parser = argparse.ArgumentParser(prog="python -m vaelab.results", description=__doc__)
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, -1: one per core")
    parser.add_argument("--folder", type=Path, default=Path("build/results"))
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster: all its workers")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    missing = missing_of(os.environ.get("VAELAB_MNIST") or "5k", options.folder)
    carry_out_all(missing, options.folder, jobs=options.jobs, scheduler=options.scheduler)
    finished = [json.loads(path.read_text()) for path in sorted(options.folder.glob("*.json"))]
    results = collect(finished)
    if RESULTS.exists():  # runs on other digits, finished earlier, stay
        results["runs"] = dict(sorted({**load_results()["runs"], **results["runs"]}.items()))
    write(RESULTS, json.dumps(results, indent=1) + "\n")
    if Path("README.md").exists():
        refresh(Path("README.md"), results)


def missing_of(data: str, folder: Path) -> list[Run]:
    """The runs on one set of digits that have not been finished."""
    return [run for run in grid(data) if not file_of(run, folder).exists()]


def carry_out_all(
    runs: list[Run],
    folder: Path,
    *,
    jobs: int = -1,
    scheduler: str | None = None,
    steps: int | None = None,
) -> None:
    """Carry out runs side by side and write each down, here, as soon as it arrives.

    Args:
        runs: what to train.
        folder: where a file for each run goes.
        jobs: runs side by side on this machine; -1 means one for each core.
        scheduler: address of a dask scheduler whose workers train instead.
        steps: the budget of each run, default that of the protocol.
    """
    where = {"backend": "dask", "scheduler_host": scheduler} if scheduler else {"backend": "loky"}
    tasks = [delayed(carry_out_alone)(run, steps) for run in runs]
    with parallel_config(**where, n_jobs=jobs):
        arriving = Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        for numbers in tqdm(arriving, total=len(tasks), unit="run"):
            write(file_of(run_of(numbers), folder), json.dumps(numbers))


def carry_out_alone(run: Run, steps: int | None = None) -> dict[str, Any]:
    """:func:`carry_out` in a worker: one run and one thread, so that company changes no bit."""
    with ONE_AT_A_TIME:
        torch.set_num_threads(1)
        return carry_out(run, steps)


def run_of(numbers: dict[str, Any]) -> Run:
    """Which run some results belong to."""
    return Run(*(numbers[name] for name in Run._fields))


def file_of(run: Run, folder: Path) -> Path:
    """Where a finished run is kept."""
    return folder / (run.key.replace("/", "-").replace(" ", "_").replace(",", "") + ".json")


def write(path: Path, text: str) -> None:
    """Replace a file in one go, so that a stop in the middle leaves the old one."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    import_module("vaelab.results").main()  # by name, as workers look up what they are sent
