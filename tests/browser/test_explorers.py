"""Every explorer in JupyterLab: moved by keyboard and mouse, it shows what Python computes.

Three of them in Notebook 7, too. JupyterLab's server has its pages, so one server does for both.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
import torch
from playwright.sync_api import Locator, Page, expect

from hands import drag, press
from vaelab import VAE, Digits
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    Explorer,
    LatentExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)

SETUP = """
import time
import torch
from vaelab import VAE, load_mnist
from vaelab.widgets import *

digits = load_mnist("5k")
model = VAE(latent_dim=8, hidden_dim=64)
model.load_state_dict(torch.load("model.pt"))
"""
CELLS = {
    "bound": "BoundExplorer()",
    "schedule": "ScheduleExplorer()",
    "playground": "SoftFreeBitsPlayground()",
    "latent": "LatentExplorer(model, digits)",
    "beta": "BetaExplorer({0.5: model, 1.0: model, 2.0: model}, digits)",
    "slow": """
class SlowExplorer(BoundExplorer):
    drawn = 0
    def render(self, **values):
        SlowExplorer.drawn += 1
        time.sleep(0.25)
        return super().render(**values)
SlowExplorer()
""",
    "broken": """
class BrokenExplorer(BoundExplorer):
    def render(self, x, mean, std):
        if mean != -1:
            raise ValueError("mean is not -1")
        return super().render(x=x, mean=mean, std=std)
BrokenExplorer()
""",
    "drawn": "SlowExplorer.drawn",
}
FRONT_ENDS = {"JupyterLab": "doc/tree", "Notebook 7": "notebooks"}  # the address of its pages
in_both = pytest.mark.parametrize("notebook", FRONT_ENDS, indirect=True)
IDLE = "Python 3 (ipykernel) | Idle"  # the last line of JupyterLab's page; Notebook has none
RAN = re.compile(r"\[\d+\]")
IMAGE_BYTES = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}"""


@pytest.fixture
def notebook(
    request: pytest.FixtureRequest,
    page: Page,
    errors: list[str],
    lab: tuple[str, Path],
    trained: tuple,
) -> Page:
    """A page with a notebook, its first cell run; `show` runs another. In JupyterLab by default."""
    address, folder = lab
    torch.save(trained[0].state_dict(), folder / "model.pt")
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (SETUP, *CELLS.values())]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, folder / "explorers.ipynb")
    place = FRONT_ENDS[getattr(request, "param", "JupyterLab")]
    answer = page.goto(f"{address}/{place}/explorers.ipynb")
    assert answer.ok, f"{answer.status} at {answer.url}"
    if place == FRONT_ENDS["JupyterLab"]:
        page.get_by_text(IDLE).wait_for()
        run(page, 0)
    else:
        run_first(page)
        errors.clear()  # Notebook 7.6.5 throws two while it loads, whatever the notebook holds
    return page


def run_first(page: Page) -> None:
    """Run the first cell as an impatient student does: press Ctrl-Enter until the page hears it."""
    # Notebook 7 forgets what is run before it has its kernel, although it shows "idle" then, too.
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    prompt = page.locator(".jp-Notebook-cell .jp-InputPrompt").first
    for _ in range(120):
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
        if prompt.inner_text() != "[ ]:":
            break
    expect(prompt).to_have_text(RAN)


def run(page: Page, number: int) -> Locator:
    """Run one cell as a student does, with Ctrl-Enter, and wait until it is done."""
    cell = page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{number}"]')
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    before = cell.locator(".jp-InputPrompt").first.inner_text()
    page.keyboard.press("Control+Enter")
    prompt = cell.locator(".jp-InputPrompt").first
    expect(prompt).not_to_have_text(before)
    expect(prompt).to_have_text(RAN)
    return cell


def show(page: Page, name: str) -> Locator:
    """Run the cell of an explorer and wait for its picture."""
    cell = run(page, 1 + list(CELLS).index(name))
    cell.locator(".widget-image").wait_for()
    return cell


def slider(cell: Locator, label: str) -> Locator:
    """The handle of the slider whose label begins with this."""
    name = cell.page.locator(".widget-label", has_text=re.compile("^" + re.escape(label)))
    return cell.locator(".widget-inline-hbox").filter(has=name).locator('[role="slider"]')


def step(handle: Locator, way: str, times: int) -> None:
    """Press an arrow key, in Notebook 7 with Shift."""
    # Alone it never reaches a slider there, of whatever package: it walks from heading to heading,
    # https://github.com/jupyter/notebook/issues/7716.
    shift = "Shift+" if f"/{FRONT_ENDS['Notebook 7']}/" in handle.page.url else ""
    press(handle, f"{shift}Arrow{way}", times)


def number(handle: Locator) -> Locator:
    """What is written beside a slider; one can type there."""
    box = handle.locator("xpath=ancestor::*[contains(@class, 'widget-inline-hbox')]")
    return box.locator(".widget-readout")


def picture(cell: Locator) -> bytes:
    return base64.b64decode(cell.locator("img.widget-image").evaluate(IMAGE_BYTES))


def assert_shows(cell: Locator, twin: Explorer) -> None:
    """The page shows the read-outs and the very picture of an explorer in this process."""
    text = re.sub(r"<[^>]+>", "\n", twin.readout.value).replace("&minus;", "\N{MINUS SIGN}")
    words = [word for line in text.split("\n") if (word := line.strip())]
    readout = cell.locator(".widget-html-content").first
    for word in words:
        expect(readout).to_contain_text(word)
    for _ in range(400):
        if picture(cell) == twin.picture.value:
            return
        cell.page.wait_for_timeout(50)
    pytest.fail("the picture on the page is not the one that Python renders")


def value(handle: Locator) -> float:
    """What is written beside a slider (aria-valuenow has only one decimal)."""
    return float(number(handle).inner_text().replace("\N{MINUS SIGN}", "-"))


@in_both
def test_bound_by_keyboard_and_mouse(notebook: Page) -> None:
    cell, twin = show(notebook, "bound"), BoundExplorer()
    assert_shows(cell, twin)
    step(slider(cell, "mean of q"), "Right", 12)
    twin.set(mean=-0.4)
    assert_shows(cell, twin)
    number(slider(cell, "observed x")).fill("2.5")
    number(slider(cell, "observed x")).press("Enter")
    twin.set(x=2.5)
    assert_shows(cell, twin)
    drag(slider(cell, "std of q"), -40, 25)
    std = value(slider(cell, "std of q"))
    assert std < 0.9
    twin.set(std=std)
    assert_shows(cell, twin)
    cell.get_by_role("button", name="Reset").press("Enter")
    twin.reset()
    assert_shows(cell, twin)


@in_both
def test_schedule_by_keyboard(notebook: Page) -> None:
    cell, twin = show(notebook, "schedule"), ScheduleExplorer()
    assert_shows(cell, twin)
    cell.get_by_role("button", name="cyclical").press("Enter")
    twin.set(kind="cyclical")
    assert_shows(cell, twin)
    expect(slider(cell, "warm-up")).to_be_hidden()
    step(slider(cell, "cycles"), "Right", 2)
    twin.set(cycles=6)
    assert_shows(cell, twin)


def test_playground_by_keyboard_and_mouse(notebook: Page) -> None:
    cell, twin = show(notebook, "playground"), SoftFreeBitsPlayground()
    assert_shows(cell, twin)
    press(slider(cell, "floor of gamma"), "Home", 1)
    twin.set(floor=0.0)
    assert_shows(cell, twin)
    drag(slider(cell, "starved for"), 60, 25)
    starved = int(value(slider(cell, "starved for")))
    assert starved > 90
    twin.set(starved=starved)
    assert_shows(cell, twin)


@in_both
def test_latent_by_keyboard_and_mouse(notebook: Page, trained: tuple, digits: Digits) -> None:
    cell, twin = show(notebook, "latent"), LatentExplorer(trained[0], digits)
    assert_shows(cell, twin)
    step(slider(cell, "digit"), "Right", 3)
    twin.set(digit=3)
    assert_shows(cell, twin)
    top = twin.names[0]
    handle = slider(cell, f"{top}: ")
    start = twin.controls[top].value
    step(handle, "Left", 10)
    assert value(handle) == pytest.approx(start - 0.5)
    twin.set(**{top: round(start - 0.5, 2)})
    assert_shows(cell, twin)
    drag(handle, 50, 25)
    twin.set(**{top: value(handle)})
    assert_shows(cell, twin)
    for label, view in (("grid of dimensions", "grid"), ("between two digits", "between")):
        cell.get_by_role("button", name=label).press("Enter")
        twin.set(view=view)
        assert_shows(cell, twin)
    step(slider(cell, "share of the way"), "Right", 4)
    twin.set(mix=0.7)
    assert_shows(cell, twin)


def test_beta_by_keyboard(notebook: Page, trained: tuple, digits: Digits) -> None:
    models: dict[float, VAE] = dict.fromkeys((0.5, 1.0, 2.0), trained[0])
    cell, twin = show(notebook, "beta"), BetaExplorer(models, digits)
    assert_shows(cell, twin)
    step(slider(cell, "beta"), "Right", 1)
    step(slider(cell, "draw of z"), "Right", 2)
    twin.set(beta=2.0, draw=2)
    assert_shows(cell, twin)


def test_a_long_drag_leaves_no_queue(notebook: Page) -> None:
    # Each picture takes a quarter of a second here: sixty queued ones would take fifteen.
    cell = show(notebook, "slow")
    handle = slider(cell, "mean of q")
    drag(handle, 60, 60)
    twin = BoundExplorer()
    twin.set(mean=value(handle))
    assert twin.values["mean"] > -0.5
    assert_shows(cell, twin)
    drawn = run(notebook, 1 + list(CELLS).index("drawn")).locator(".jp-OutputArea-output")
    assert 2 <= int(drawn.inner_text()) <= 12


def test_an_error_is_visible(notebook: Page) -> None:
    cell = show(notebook, "broken")
    step(slider(cell, "mean of q"), "Right", 1)
    expect(cell.get_by_role("alert")).to_contain_text("ValueError: mean is not -1")
    step(slider(cell, "mean of q"), "Left", 1)
    expect(cell.get_by_role("alert")).to_have_count(0)


def test_a_cell_that_runs_again_works_again(notebook: Page) -> None:
    for _ in range(3):
        cell = show(notebook, "bound")
        expect(cell.locator(".widget-image")).to_have_count(1)
    twin = BoundExplorer()
    step(slider(cell, "observed x"), "Right", 5)
    twin.set(x=2.0)
    assert_shows(cell, twin)
