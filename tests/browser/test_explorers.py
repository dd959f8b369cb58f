"""All six explorers in every host: on lesson pages and slides, in JupyterLab, in Notebook 7.

What the page shows must be what Python computes with the same float16 weights. Nothing here is
timed; `make bench` prints how long a frame takes.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from front_end import CELLS, LAPTOP, SETUP, made, same
from notebook_tools import ROOT, code, lesson
from vaelab.widgets import BoundExplorer, Explorer

# A slider of each, which the arrow keys move.
MOVED = dict(zip(CELLS, ["mean", "z1", "example", "warmup", "strength", "draw"]))
EMPTY = 1 + len(CELLS)  # a cell for whatever a test wants to run
# ipywidgets 8.0 keeps what is open elsewhere
ALIVE = """len(getattr(ipywidgets.widgets.widget, "_instances", None)
    or ipywidgets.Widget._active_widgets)"""
RAN = re.compile(r"\[\d+\]")
READ = """root => Object.fromEntries([...root.querySelectorAll("[data-name]")]
    .filter(value => !value.parentElement.hidden)
    .map(value => [value.dataset.name, value.dataset.value]))"""
PIXELS = """canvas => [...canvas.getContext("2d").getImageData(0, 0, 28, 28).data]
    .filter((_, i) => i % 4 === 0)"""
TURN = """explorer => Reveal.slide(...Object.values(
    Reveal.getIndices(explorer.closest("section"))))"""


@pytest.fixture(scope="module")
def twins() -> dict[str, Explorer]:
    """The same explorers in this process: the oracle."""
    return {name: made(cell) for name, cell in CELLS.items()}


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """The own page of an explorer."""
    (tmp_path / "one.html").write_text(BoundExplorer().page(), "utf-8")
    return tmp_path / "one.html"


def explorer(page: Page, name: str) -> Locator:
    return page.locator(".vaelab-explorer").nth(list(CELLS).index(name))


def slider(root: Locator, name: str) -> Locator:
    return root.locator(f"input[type=range][name='{name}']")


def assert_shows(root: Locator, twin: Explorer, **values: object) -> None:
    """Read-outs, and a decoded picture if there is one, are Python's."""
    numbers = twin.numbers(**values)
    for _ in range(100):
        if same(shown := root.evaluate(READ), numbers):
            break
        root.page.wait_for_timeout(50)
    assert same(shown, numbers), (shown, numbers)
    decoded = root.get_by_role("img", name=re.compile("at the ring|decoded from the sliders"))
    if decoded.count():
        pixels = np.array(decoded.evaluate(PIXELS)) / 255
        assert np.abs(pixels - twin.pixels(**values)).max() < 1e-2


def open_notebook(page: Page, lab: tuple[str, Path], place: str = "lab/tree") -> Page:
    """Open a notebook with all six and an empty cell, and run its first cell."""
    address, folder = lab
    nb = lesson(*(code(source) for source in (SETUP.strip(), *CELLS.values(), "")))
    for cell in nb.cells:
        cell.execution_count = None
    nbformat.write(nb, folder / "explorers.ipynb")
    page.goto(f"{address}/{place}/explorers.ipynb?reset")
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    prompt = page.locator(".jp-Notebook-cell .jp-InputPrompt").first
    # Notebook 7 forgets what is run before it has its kernel, although it shows "idle" then, too:
    # press until the page hears it, as an impatient student does.
    for _ in range(120):
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
        if prompt.inner_text() != "[ ]:":
            break
    expect(prompt).to_have_text(RAN)
    return page


def run(page: Page, number: int, source: str = "") -> Locator:
    """Run a cell with Ctrl-Enter, as a student does, after typing its source if there is any."""
    cell = page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{number}"]')
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    if source:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")
    return cell


def run_explorer(page: Page, name: str) -> Locator:
    """Run the cell of an explorer and wait for it."""
    root = run(page, 1 + list(CELLS).index(name)).locator(".vaelab-explorer")
    root.locator("[data-value]").first.wait_for()
    return root


@pytest.mark.parametrize("host", ["lesson page", "slides", "JupyterLab", "Notebook 7"])
def test_every_explorer_lives_wherever_a_reader_meets_it(host, page, request, errors, twins):
    of, show = request.getfixturevalue, partial(explorer, page)
    if host == "lesson page":
        of("live")
    elif host == "slides":
        page.goto(of("deck").as_uri())
    else:
        place = {"JupyterLab": "lab/tree", "Notebook 7": "notebooks"}[host]
        show = partial(run_explorer, open_notebook(page, of("lab"), place))
    if host == "Notebook 7":
        errors.clear()  # 7.6.5 throws two while it loads, whatever the notebook holds
    for name, twin in twins.items():
        root, moved = show(name), MOVED[name]
        if host == "slides":
            root.evaluate(TURN)
        assert_shows(root, twin)
        handle = slider(root, moved)
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowUp")
        value = float(handle.input_value())
        assert value == pytest.approx(twin.values[moved] + 2 * twin.controls[moved]["step"])
        assert_shows(root, twin, **{moved: value})
        if host in ("lesson page", "JupyterLab"):  # the picture is right of the controls
            parts = (root.locator(f".{part}").first for part in ("controls", "picture"))
            box, controls, picture = (part.bounding_box() for part in (root, *parts))
            assert controls["x"] + controls["width"] <= picture["x"]
            assert box["x"] >= 0 and box["x"] + box["width"] <= LAPTOP["width"]
            assert box["height"] <= 640 and picture["width"] > 480, name


def test_an_explorer_moves_while_the_kernel_sleeps(page, lab, twins):
    root = run_explorer(open_notebook(page, lab), "BoundExplorer")
    asleep = run(page, EMPTY, "while not Path('wake up').exists(): time.sleep(0.1)")
    prompt = asleep.locator(".jp-InputPrompt").first
    expect(prompt).to_have_text("[*]:")
    slider(root, "mean").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert_shows(root, twins["BoundExplorer"], mean=0.0)
    expect(prompt).to_have_text("[*]:")  # it sleeps still
    (lab[1] / "wake up").touch()
    expect(prompt).to_have_text(RAN)
    told = run(page, EMPTY, "bound.values['mean']").locator(".jp-OutputArea-output")
    expect(told).to_have_text(re.compile(r"^-?0(\.0)?$"))  # afterward the kernel knows
    run(page, EMPTY, "bound.set(mean=0.5, std=0.6)")  # and moves the page
    assert_shows(root, twins["BoundExplorer"], mean=0.5, std=0.6)


def test_a_cell_that_is_run_fifty_times_leaves_one(page, lab):
    root = run_explorer(open_notebook(page, lab), "BoundExplorer")
    expect(run(page, EMPTY, f"alive = {ALIVE}").locator(".jp-InputPrompt").first).to_have_text(RAN)
    before = page.locator("*").count()
    cell = run(page, 1)
    for _ in range(49):
        page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt").first).to_have_text(RAN)  # all are done
    output = run(page, EMPTY, f"{ALIVE} - alive").locator(".jp-OutputArea-output")
    expect(output).to_have_text("0")
    expect(root).to_have_count(1)
    assert page.locator("*").count() < before + 200


def test_a_closed_explorer_leaves_nothing_on_a_page(page, one):
    page.goto(one.as_uri())
    # older versions of Playwright keep what a locator has found
    page.wait_for_function("!!document.querySelector('.vaelab-explorer')")
    place = "document.querySelector('.vaelab-place')"
    page.evaluate(f"{place}.close(); {place}.remove()")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    most = 5 + page.evaluate("document.evaluate('count(//node())', document, null, 1).numberValue")
    for _ in range(50):  # one collection may find what the next one frees
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        (held,) = (m["value"] for m in metrics if m["name"] == "Nodes")
        if held <= most:
            break
        page.wait_for_timeout(100)
    assert held <= most


@pytest.mark.parametrize("name", CELLS)
def test_every_slider_moves_and_everything_has_a_name(live, twins, name):
    root, twin = explorer(live, name), twins[name]
    rng, changes = np.random.default_rng(0), {}
    for control, spec in twin.controls.items():
        handle = slider(root, control)
        if handle.count() and handle.is_visible():
            steps = int(rng.integers((spec["max"] - spec["min"]) / spec["step"]))
            changes[control] = round(spec["min"] + spec["step"] * steps, 6)
            handle.fill(f"{changes[control]:.7g}")
    assert_shows(root, twin, **changes)
    if name == "BoundExplorer":
        n = twin.numbers(**changes)
        root.get_by_role("button", name="Gradient step").press("Enter")
        assert_shows(root, twin, x=changes["x"], mean=n["next_mean"], std=n["next_std"])
    root.get_by_role("button", name="Reset").press("Enter")
    assert_shows(root, twin)
    named = "e => e.ariaLabel || e.textContent || e.labels?.[0]?.textContent"
    for kind in ("slider", "radio", "button", "img"):
        for element in root.get_by_role(kind).all():
            assert element.evaluate(named), kind
    expect(root.get_by_role("status")).to_have_attribute("aria-live", "polite")
    handle = slider(root, MOVED[name])
    said = handle.get_attribute("aria-valuetext")
    handle.press("ArrowRight")
    assert handle.get_attribute("aria-valuetext") != said
    assert handle.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"  # the focus is seen


def draw(root: Locator, finger: bool = False) -> None:
    """A one on the canvas, with the mouse or a finger."""
    pad, page = root.get_by_role("img", name="draw a digit here"), root.page
    pad.scroll_into_view_if_needed()
    x, y, size = (pad.bounding_box()[name] for name in ("x", "y", "width"))
    places = [(x + (0.6 - 0.2 * t) * size, y + (0.15 + 0.7 * t) * size) for t in np.linspace(0, 1)]
    if finger:
        session = page.context.new_cdp_session(page)
        for i, (x, y) in enumerate(places):
            touch = {"type": "touchMove" if i else "touchStart", "touchPoints": [{"x": x, "y": y}]}
            session.send("Input.dispatchTouchEvent", touch)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[-1], steps=12)
        page.mouse.up()


@pytest.mark.parametrize("finger", [False, True], ids=["mouse", "finger"])
def test_a_drawn_digit_is_encoded(browser, lesson_page, twins, finger):
    page = browser.new_page(viewport={"width": 820, "height": 1100}, has_touch=finger)
    page.goto(lesson_page.as_uri())
    root, twin = explorer(page, "LatentExplorer"), twins["LatentExplorer"]
    draw(root, finger)
    x = root.get_by_role("img", name="input x").evaluate(PIXELS)
    rows, columns = np.nonzero(np.reshape(x, (28, 28)))
    assert rows.max() - rows.min() == 19 and columns.max() - columns.min() < 15
    assert_shows(root, twin, drawing=x)
    handle = slider(root, z := twin.data["names"][0])
    place = {"x": 0.9 * handle.bounding_box()["width"], "y": 10}
    (handle.tap if finger else handle.click)(position=place)
    value = float(handle.input_value())
    assert value > twin.reach / 3
    assert_shows(root, twin, **twin.completed({"drawing": x}) | {z: value})
    root.get_by_role("radio", name="7", exact=True).first.check()
    assert_shows(root, twin, digit=7)
    root.get_by_role("radio", name="between two").check()
    assert_shows(root, twin, digit=7, view="between")
    page.close()


def test_the_plane_answers_to_hover_and_click(live, twins):
    root, twin = explorer(live, "PlaneExplorer"), twins["PlaneExplorer"]
    plane = root.locator(".picture canvas").first
    plane.scroll_into_view_if_needed()
    x, y, width, height = plane.bounding_box().values()
    live.mouse.move(x + 0.5 * width, y + 0.3 * height)
    at = {name: float(slider(root, name).input_value()) for name in ("z1", "z2")}
    assert at["z2"] > 0.5
    assert_shows(root, twin, **at)
    size = twin.mu.abs().amax(dim=1)
    digit = int(((size > 0.3) & (size < 0.8 * twin.reach)).nonzero()[0])
    left, bottom = 62, 48  # the margins of the axes
    across, up = ((m + twin.reach) / (2 * twin.reach) for m in twin.mu[digit].tolist())
    live.mouse.click(
        x + left + across * (width - left - 20), y + height - bottom - up * (height - bottom - 10)
    )
    chosen = int(slider(root, "digit").input_value())
    assert (twin.mu[chosen] - twin.mu[digit]).norm() < 0.2


def test_dark_and_light_are_readable(page, one):
    root = page.locator(".vaelab-explorer")
    colors = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(one.as_uri())
        ink, paper = (sum(map(int, re.findall(r"\d+", c)[:3])) / 3 for c in root.evaluate(colors))
        assert (ink > paper) is (scheme == "dark") and abs(ink - paper) > 150
    page.emulate_media(color_scheme="light")  # while it is open
    expect(root).not_to_have_class(re.compile("dark"))


def test_what_fails_says_so(page, one, errors):
    page.goto(one.as_uri())
    root = page.locator(".vaelab-explorer")
    root.wait_for()
    page.evaluate("void (CanvasRenderingContext2D.prototype.fillText = null)")
    slider(root, "mean").press("ArrowRight")
    expect(root.get_by_role("alert")).to_contain_text("not up to date")
    assert errors
    one.write_text(one.read_text("utf-8").replace("export default explorer(", "no("), "utf-8")
    page.goto(one.as_uri())
    errors.clear()  # of the page before, whose last one may have come late
    expect(page.get_by_text("The explorer did not start here")).to_be_visible()
    expect(page.locator("img")).to_be_visible()


def test_the_page_of_the_readme_runs(page):
    page.goto((ROOT / "figures" / "explorer.html").as_uri())
    root = page.locator(".vaelab-explorer")
    expect(root).to_have_count(1)
    before = root.evaluate(READ)
    draw(root)
    expect(root.get_by_text("input x: yours, centered")).to_be_visible()
    assert root.evaluate(READ) != before
    box = root.bounding_box()
    assert box["y"] + box["height"] <= LAPTOP["height"]
