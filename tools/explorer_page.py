"""The latent explorer of the first lesson as one file, and the README's moving picture of it.

`make figures` calls `write` with the model of the first lesson: ``explorer.html`` needs no Python
and no network; where there is a browser, ``latent_explorer.gif`` is the page itself, while a hand
draws a digit and moves its sliders.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from vaelab import VAE, Digits
from vaelab.widgets import LatentExplorer

TITLE = "Draw a digit, and move its latent dimensions"
WORDS = (
    "<p>The encoder and the decoder of a trained variational autoencoder run in this page: no "
    "Python, no network. Draw a digit, or choose one, then move its latent dimensions. Each is "
    "named with its average KL in nats; dimensions near 0 nats are dead.</p>"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 960, "height": 660}
SHOWN = 720  # pixels across the moving picture
MILLISECONDS = 90  # a frame

# A three as a hand draws it: points in shares of the canvas.
ARCS = ((0.48, 0.32, 0.18, 2.6, -1.57), (0.48, 0.68, 0.20, 1.57, -2.7))
STROKE = [
    (
        x + r * math.cos(start + (stop - start) * t / 9),
        y - r * math.sin(start + (stop - start) * t / 9),
    )
    for (x, y, r, start, stop) in ARCS
    for t in range(10)
]


def explorer_page(explorer: LatentExplorer) -> str:
    """The explorer's own page, with a title and some words."""
    page = explorer.page()
    heading = "<h1>Latent Explorer</h1>"
    if heading not in page:
        raise ValueError(f"the page of an explorer must hold {heading}")
    return page.replace(heading, f"<h1>{TITLE}</h1>\n{WORDS}").replace(
        "<title>Latent Explorer</title>", f"<title>{TITLE}</title>"
    )


def moves(page: Any) -> Iterator[None]:
    """What a hand does on the page, a frame at a time: draw a digit, then move four sliders."""
    canvas = page.get_by_role("img", name="draw a digit here").bounding_box()
    places = [
        (canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"]) for x, y in STROKE
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place)
        yield
    page.mouse.up()
    sliders = page.locator("input[type=range][name^='z[']")
    for number in (0, 1, 2, sliders.count() - 1):
        slider = sliders.nth(number)
        start = float(slider.input_value())
        slider.focus()
        for phase in range(1, 15):
            value = start + 2.2 * math.sin(2 * math.pi * phase / 14)
            slider.evaluate(
                "(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})) }",
                value,
            )
            yield


def animation(path: Path) -> list[Image.Image]:
    """Photograph the page while it is moved.

    Args:
        path: the page.

    Returns:
        The frames; none where there is no browser or no Playwright.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        print("no browser, or no Playwright: the moving picture stays as it is")
        return []
    frames = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport=SIZE)
        page.goto(path.resolve().as_uri())
        page.locator(".vaelab-explorer").wait_for()
        for _ in moves(page):
            frames.append(Image.open(io.BytesIO(page.locator(".vaelab-explorer").screenshot())))
        chromium.close()
    return frames


def write_animation(frames: list[Image.Image], target: Path) -> None:
    """Write frames as a GIF that loops."""
    height = round(frames[0].height * SHOWN / frames[0].width)
    small = [
        frame.convert("RGB").resize((SHOWN, height), Image.Resampling.LANCZOS) for frame in frames
    ]
    palette = small[len(small) // 2].quantize(128, method=Image.Quantize.MAXCOVERAGE)
    first, *rest = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    first.save(
        target, save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, optimize=True
    )


def write(model: VAE, digits: Digits, folder: Path) -> list[Path]:
    """Write the page of a model and photograph it.

    Args:
        model: that of lesson 1.
        digits: the bundled ones.
        folder: where both files go.

    Returns:
        The files: the page, and where there is a browser the moving picture.
    """
    page, film = folder / "explorer.html", folder / "latent_explorer.gif"
    page.write_text(explorer_page(LatentExplorer(model, digits)), encoding="utf-8")
    frames = animation(page)
    if frames:
        write_animation(frames, film)
    return [page, film] if frames else [page]
