"""Pages and slides in a browser that has no network: the equations are set, all can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

import editions
import pages
import test_editions
import test_html

SLIDES = """async () => { const slides = [];
    for (const slide of Reveal.getSlides()) {
      const place = Reveal.getIndices(slide);
      Reveal.slide(place.h, place.v);
      await new Promise(done => MathJax.Hub.Queue(done));
      slides.push([slide.scrollHeight, slide.clientHeight,
                   getComputedStyle(slide).overflowY, slide.scrollWidth - slide.clientWidth]);
    }
    return slides; }"""


@pytest.fixture
def offline(page: Page, errors: list[str]) -> Iterator[Page]:
    """The page, without a network."""
    page.context.set_offline(True)
    yield page
    # MathJax asks for a font at about:blank too, which a page in a file may not load.
    errors[:] = [error for error in errors if "about:blank" not in error]


def test_a_page_shows_its_equation(offline: Page, tmp_path: Path) -> None:
    asked = []
    offline.on("request", lambda request: asked.append(request.url))
    folder = tmp_path / "html"
    pages.copy_mathjax(folder)
    page = pages.page(test_html.small_lesson(tmp_path), folder)
    offline.goto(page.as_uri())
    offline.wait_for_function("window.MathJax && MathJax.isReady")
    offline.evaluate("new Promise(done => MathJax.Hub.Queue(done))")  # when all is typeset
    offline.wait_for_selector(".MathJax_Display .math")
    shown = offline.inner_text(".MathJax_Display")
    assert "log" in shown and "ELBO" in shown and "(1.1)" in shown and "$" not in shown
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "about"}


@pytest.mark.skipif(
    not editions.REVEAL.exists() and "CI" not in os.environ,
    reason="no reveal.js yet, which make slides fetches (in CI: an error)",
)
def test_all_of_every_slide_is_reached(offline: Page, tmp_path: Path) -> None:
    deck = test_editions.slides_of(test_editions.small_lesson(tmp_path))
    offline.goto(deck.as_uri())
    offline.wait_for_function("window.MathJax && MathJax.isReady && Reveal.isReady()")
    slides = offline.evaluate(SLIDES)
    equation = offline.inner_text(".MathJax_Display")
    assert "ELBO" in equation and "$" not in equation
    assert len(slides) == 6
    assert sum(height > room for height, room, _, _ in slides) == 1  # the long cell
    assert all(overflow == "auto" and wide <= 0 for _, _, overflow, wide in slides)
