"""From a moved slider to the bytes of a new picture. The targets are for two idle cores."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise
from statistics import quantiles

import pytest
import torch

from vaelab import VAE, Digits, load_mnist
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    Explorer,
    LatentExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)

EVENTS = 100
DECODED, DRAWN = (
    20.0,
    50.0,
)  # milliseconds aimed at where images are decoded, where curves are drawn


@pytest.fixture(scope="module")
def full_size() -> VAE:
    """The lessons' model; weights that were not trained take as long as trained ones."""
    torch.manual_seed(0)
    return VAE()


@pytest.fixture(scope="module")
def images() -> Digits:
    return load_mnist("5k")


def latent(view: str) -> Callable[[VAE, Digits], tuple[Explorer, str]]:
    def make(model: VAE, digits: Digits) -> tuple[Explorer, str]:
        explorer = LatentExplorer(model, digits)
        explorer.set(view=view)
        return explorer, "mix" if view == "between" else explorer.names[0]

    return make


CASES = {
    "one digit": (latent("one"), DECODED),
    "grid of dimensions": (latent("grid"), DECODED),
    "between two digits": (latent("between"), DECODED),
    "bound": (lambda model, digits: (BoundExplorer(), "mean"), DRAWN),
    "schedule": (lambda model, digits: (ScheduleExplorer(), "warmup"), DRAWN),
    "playground": (lambda model, digits: (SoftFreeBitsPlayground(), "strength"), DRAWN),
    "betas": (lambda model, digits: (BetaExplorer({1.0: model}, digits), "draw"), DRAWN),
}


@pytest.mark.parametrize("name", CASES)
def test_event_to_picture(name, benchmark, row, full_size, images):
    make, limit = CASES[name]
    explorer, moved = make(full_size, images)
    slider, pictures = explorer.controls[moved], [explorer.picture.value]
    start = slider.value
    values = cycle([start + i * slider.step for i in (1, 2, 3, 4, 3, 2)])

    def event() -> None:
        slider.value = next(values)
        pictures.append(explorer.picture.value)

    benchmark.pedantic(event, rounds=EVENTS, warmup_rounds=5)
    assert all(new != old for old, new in pairwise(pictures))
    p95 = 1000 * quantiles(benchmark.stats.stats.data, n=20)[-1]
    row(f"picture after a move: {name}, 95th percentile", p95, "ms", at_most=limit)
