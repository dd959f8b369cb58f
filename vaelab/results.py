"""The results that the lessons cite, as `make results` wrote them: readers, nothing else."""

from __future__ import annotations

import base64
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).with_name("results.json")


def load_results() -> dict[str, Any]:
    """What ``make results`` wrote.

    Returns:
        ``"protocol"``; ``"runs"``: ``{"5k/binary/mlp/3000/vanilla/0": {...}, ...}``, a key being
        data, targets, decoder, steps, objective and seed; ``"pruning"``: the four arms of that
        experiment, by seed.
    """
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def runs_of(
    results: dict[str, Any],
    data: str,
    targets: str,
    decoder: str,
    objective: str,
    steps: int,
) -> list[dict[str, Any]]:
    """The runs of one objective in one setting.

    Args:
        results: what :func:`load_results` returns.
        data: ``"5k"`` or ``"full"``.
        targets: ``"gray"`` or ``"binary"``.
        decoder: ``"mlp"`` or ``"row"``.
        objective: such as ``"vanilla"``.
        steps: the budget.

    Returns:
        A dictionary for each seed.
    """
    names = ("data", "targets", "decoder", "objective", "steps")
    wanted = [data, targets, decoder, objective, steps]
    runs = results["runs"].values()
    return [run for run in runs if [run[name] for name in names] == wanted]


def mean_and_spread(runs: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """Mean and standard deviation over the seeds of one number."""
    if not runs or any(name not in run for run in runs):
        raise ValueError(f"name must be a number of each run, got {name!r} for {len(runs)} runs")
    values = [run[name] for run in runs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def scores_of(run: dict[str, Any]) -> np.ndarray:
    """The importance-weighted bound (the ELBO on gray digits) of each of the first test images.

    Args:
        run: one of the runs of :func:`load_results`.

    Returns:
        (1000,) nats; higher is better.
    """
    return np.frombuffer(base64.b64decode(run["per_image"]), "<f2").astype(np.float64)


# -------------------------------------------------------------------- lesson 3: what a floor costs


def ledger(run: dict[str, Any], vanilla: dict[str, Any]) -> dict[str, float]:
    """What a floor forces, returns and costs on training digits; KL of the same rank compared.

    Args:
        run: the KL of each dimension and the bound on training digits, and the weights; as in
            :func:`load_results`.
        vanilla: the same of the plain ELBO.

    Returns:
        Nats per image: what rose, what fell, the change of D, that of -ELBO, the last two priced
        with 1 - gamma (the change of the KL, and the KL itself), and the run's own weighted loss
        minus that of vanilla with its dimensions in the most favorable order.
    """
    kl, base = (np.array(r["train_kl_per_dim"]) for r in (run, vanilla))  # (D,)
    order, gamma = np.argsort(-kl), np.array(run["weights"])  # (D,)
    kl, gamma, base = kl[order], gamma[order], np.sort(base)[::-1]
    change = kl - base  # (D,), of the same rank
    distortion = run["train_distortion"] - vanilla["train_distortion"]
    cheapest = np.sort(gamma) @ base  # the largest KL gets the smallest weight
    return {
        "forced": float(change.clip(min=0).sum()),
        "returned": float(change.clip(max=0).sum()),
        "distortion": distortion,
        "cost": run["train_neg_elbo"] - vanilla["train_neg_elbo"],
        "moved": float(((1 - gamma) * change).sum()),
        "bill": float(((1 - gamma) * kl).sum()),
        "own loss": distortion + float(gamma @ kl - cheapest),
    }
