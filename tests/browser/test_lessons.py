"""Lessons as a student reads them: equations on the page, all of the slides, folded solutions."""

from __future__ import annotations

import nbformat
from playwright.sync_api import expect

import pages
from notebook_tools import code, lesson, text

SLIDES = """async () => { const slides = [];
    for (const slide of Reveal.getSlides()) {
      const { h, v } = Reveal.getIndices(slide);
      Reveal.slide(h, v);
      await new Promise(done => MathJax.Hub.Queue(done));
      slides.push([slide.scrollHeight - slide.clientHeight,
                   slide.scrollWidth - slide.clientWidth, getComputedStyle(slide).overflowY]);
    }
    return slides; }"""


def assert_equation(page):
    """The equation is typeset, with its number."""
    page.wait_for_function("window.MathJax && MathJax.isReady")
    page.evaluate("new Promise(done => MathJax.Hub.Queue(done))")
    shown = page.locator(".MathJax_Display").inner_text()
    assert "log" in shown and "ELBO" in shown and "(1.1)" in shown and "$" not in shown


def test_a_page_shows_its_equation(live):
    assert_equation(live)


def test_all_of_every_slide_is_reached(page, deck):
    page.goto(deck.as_uri())
    page.wait_for_function("window.MathJax && MathJax.isReady && Reveal.isReady()")
    slides = page.evaluate(SLIDES)
    page.evaluate("Reveal.slide(1, 0)")
    assert_equation(page)
    assert sum(more > 9 for more, _, _ in slides) == 1  # the long cell
    assert all(wide <= 0 and overflow == "auto" for _, wide, overflow in slides)


def test_a_solution_is_folded_until_it_is_asked_for(page, lab, errors):
    address, folder = lab
    nb = lesson(
        text("# An exercise"),
        code("from vaelab import exercises"),
        code("# @title Solution 1.1\nletter = 'c'\nexercises.check_choosing(letter)", "the answer"),
    )
    nb.cells[-1].metadata.tags = ["solution"]
    pages.fold(nb.cells[-1])
    nbformat.write(nb, folder / "exercise.ipynb")
    page.goto(f"{address}/lab/tree/exercise.ipynb?reset")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    solution = page.locator(".jp-CodeCell").last
    expect(solution).to_contain_text("Solution 1.1")
    source = solution.get_by_text("letter = 'c'")
    expect(source).not_to_be_visible()
    expect(solution.get_by_text("the answer")).not_to_be_visible()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("#jp-mainmenu-run").get_by_text("Run All Cells", exact=True).click()
    expect(solution.get_by_text("Right. Chosen where")).to_be_visible()
    expect(source).not_to_be_visible()
    solution.locator(".jp-InputPlaceholder").click()
    expect(source).to_be_visible()
    errors[:] = [e for e in errors if "(reading 'type')" not in e]  # JupyterLab 4.0.2 has one
