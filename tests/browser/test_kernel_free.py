"""The page without a kernel, in a browser: its decoder is the one that Python has."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from vaelab import VAE, Digits
from vaelab.kernelfree import kernel_free_page
from vaelab.widgets import LatentExplorer

CANVAS = """canvas => Array.from(
    canvas.getContext("2d").getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 == 0))"""


@pytest.fixture
def explorer(page: Page, trained: tuple, digits: Digits, tmp_path: Path) -> Page:
    """The page of the small trained VAE, opened from disk; any request would be an error."""
    target = tmp_path / "explorer.html"
    target.write_text(kernel_free_page(trained[0], digits), encoding="utf-8")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(target.as_uri())
    assert requests == [target.as_uri()]
    return page


def assert_shows(page: Page, twin: LatentExplorer) -> None:
    """Pictures within 1e-2 per pixel of Python's, and its distortions to a tenth of a nat."""
    images, numbers = twin._compare(twin.values["digit"], twin.values["example"], twin.values)
    for canvas, expected in zip(page.locator("canvas").all(), images):
        shown = np.array(canvas.evaluate(CANVAS)) / 255
        assert np.abs(shown - expected).max() < 1e-2
    shown = re.findall(r"\d+\.\d", page.locator("#readout").inner_text())
    assert [float(text) for text in shown] == pytest.approx(list(numbers.values()), abs=0.16)


def test_decoder_matches(explorer: Page, trained: tuple) -> None:
    vae: VAE = trained[0]
    z = 1.5 * torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vae.decode(z).sigmoid()
    script = "rows => rows.map(z => Array.from(decode(Float32Array.from(z))))"
    shown = torch.tensor(explorer.evaluate(script, z.tolist()))
    assert (shown - expected).abs().max() < 1e-2


def test_keyboard_mouse_and_buttons(explorer: Page, trained: tuple, digits: Digits) -> None:
    twin = LatentExplorer(trained[0], digits)
    labels = [explorer.get_by_label(twin.label(d)) for d in twin.dims]
    assert_shows(explorer, twin)
    explorer.keyboard.press("Tab")  # the first thing that Tab reaches is the digit
    for _ in range(4):
        explorer.keyboard.press("ArrowRight")
    twin.set(digit=4)
    assert_shows(explorer, twin)
    for _ in range(20):
        labels[0].press("ArrowRight")
    twin.set(**{twin.names[0]: float(labels[0].input_value())})
    assert abs(twin.values[twin.names[0]] - twin.mu[twin.index(4, 0), twin.dims[0]]) > 0.5
    assert_shows(explorer, twin)
    labels[1].click(position={"x": 10, "y": 8})
    twin.set(**{twin.names[1]: float(labels[1].input_value())})
    assert twin.values[twin.names[1]] < -2
    assert_shows(explorer, twin)
    explorer.get_by_role("button", name="Back to mu").press("Enter")
    twin.back_to_mu()
    assert_shows(explorer, twin)
    explorer.get_by_role("button", name="Reset").press("Enter")
    twin.reset()
    assert_shows(explorer, twin)


def test_random_digit_is_one_of_the_page(explorer: Page) -> None:
    seen = set()
    for _ in range(15):
        explorer.get_by_role("button", name="Random digit").click()
        values = [explorer.locator("#choose input").nth(i).input_value() for i in range(2)]
        seen.add(tuple(values))
    assert len(seen) > 5
    assert all(0 <= int(digit) <= 9 and 0 <= int(example) <= 4 for digit, example in seen)
    expect(explorer.locator("#readout")).to_contain_text("nats")
