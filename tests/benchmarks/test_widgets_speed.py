"""From a moved slider to a drawn frame, in Chromium. The target is for two idle cores."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import quantiles

import pytest
import torch

from vaelab import VAE, Digits
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    LatentExplorer,
    PlaneExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)

AIM = 8.0  # milliseconds at the 95th percentile
MOVES = """input => {
    const [low, high] = [Number(input.min), Number(input.max)];
    const move = share => {
        const start = performance.now();
        input.value = low + share * (high - low);
        input.dispatchEvent(new Event("input", { bubbles: true }));
        return performance.now() - start;
    };
    for (let i = 0; i < 10; i++) move(i / 10);
    return Array.from({ length: 60 }, (_, i) => move((i + 0.5) / 60));
}"""


def full_size(latent_dim: int = 50) -> VAE:
    """The lessons' model; weights that were not trained take as long as trained ones."""
    torch.manual_seed(0)
    return VAE(latent_dim=latent_dim)


def latent(images: Digits, **values: object) -> LatentExplorer:
    explorer = LatentExplorer(full_size(), images)
    explorer.set(**values)
    return explorer


CASES = {
    "one digit": (latent, "z["),
    "grid of dimensions": (lambda images: latent(images, view="grid"), "z["),
    "between two digits": (lambda images: latent(images, view="between"), "mix"),
    "plane": (lambda images: PlaneExplorer(full_size(2), images), "z1"),
    "bound": (lambda images: BoundExplorer(), "mean"),
    "schedule": (lambda images: ScheduleExplorer(), "warmup"),
    "playground": (lambda images: SoftFreeBitsPlayground(), "strength"),
    "betas": (lambda images: BetaExplorer({1.0: full_size()}, images), "draw"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_frame(name, benchmark, row, digits, tmp_path: Path):
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for browser in names if (found := shutil.which(browser))), None)
    if path is None:
        pytest.skip("no browser")
    make, moved = CASES[name]
    page_file = tmp_path / "page.html"
    page_file.write_text(make(digits).page(), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(page_file.as_uri())
        slider = page.locator(f".vaelab-explorer input[type=range][name^='{moved}']").first
        slider.wait_for()
        page.wait_for_timeout(1000)
        times = benchmark.pedantic(lambda: slider.evaluate(MOVES), rounds=1)
        browser.close()
    p95 = quantiles(times, n=20)[-1]
    row(f"frame after a move: {name}, 95th percentile of 60", p95, "ms", at_most=AIM)
