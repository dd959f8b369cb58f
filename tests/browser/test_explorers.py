"""All six explorers in every host: on lesson pages and slides, in JupyterLab, in Notebook 7.

What the page shows must be what Python computes with the same float16 weights. Nothing here is
timed; `make bench` prints how long a frame takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import editions
from front_end import CELLS, LAPTOP, SETUP, made, same
from notebook_tools import ROOT, code, lesson
from vaelab.widgets import BoundExplorer, Explorer

MOVED = {  # a slider of each, which the arrow keys move
    "BoundExplorer": "mean",
    "PlaneExplorer": "z1",
    "LatentExplorer": "example",
    "ScheduleExplorer": "warmup",
    "SoftFreeBitsPlayground": "strength",
    "BetaExplorer": "draw",
}
FRONT_ENDS = {"JupyterLab": "lab/tree", "Notebook 7": "notebooks"}
EMPTY = 1 + len(CELLS)  # a cell for whatever a test wants to run
ALIVE = "len(ipywidgets.widgets.widget._instances)"
RAN = re.compile(r"\[\d+\]")
READ = """root => Object.fromEntries([...root.querySelectorAll("[data-name]")]
    .filter(value => !value.parentElement.hidden)
    .map(value => [value.dataset.name, value.dataset.value]))"""
PIXELS = """canvas => {
    const picture = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [...picture.data].filter((_, i) => i % 4 === 0);
}"""
MOVE = """(input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""
TURN = """element => {
    const place = Reveal.getIndices(element.closest("section"));
    Reveal.slide(place.h, place.v);
}"""

REMAKE = """async times => {
    const read = part => document.querySelector(`[data-part=${part}]`).textContent;
    const program = new Blob([read("module")], { type: "text/javascript" });
    const module = await import(URL.createObjectURL(program));
    const state = JSON.parse(read("state"));
    const model = { get: name => state[name], on() {}, off() {} };
    for (let i = 0; i < times; i++) {
        const el = document.createElement("div");
        document.body.append(el);
        const close = module.default.render({ model, el });
        await new Promise(requestAnimationFrame);
        close();
        el.remove();
    }
}"""


@pytest.fixture(scope="module")
def twins() -> dict[str, Explorer]:
    """The same explorers in this process: the oracle."""
    return {name: made(cell) for name, cell in CELLS.items()}


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


# --- wherever a reader meets them ----------------------------------------------------------------


@pytest.fixture
def notebook(page: Page, lab: tuple[str, Path], errors: list[str]) -> Callable[[str], Page]:
    """Open a notebook with all six in a front end and run its first cell."""

    def opened(front_end: str) -> Page:
        address, folder = lab
        nb = lesson(*(code(source) for source in (SETUP.strip(), *CELLS.values(), "")))
        for cell in nb.cells:
            cell.execution_count = None
        nbformat.write(nb, folder / "explorers.ipynb")
        page.goto(f"{address}/{FRONT_ENDS[front_end]}/explorers.ipynb?reset")
        # Notebook 7 forgets what is run before it has its kernel, although it shows "idle" then,
        # too: press until the page hears it, as an impatient student does.
        page.locator(".jp-Notebook-cell .cm-content").first.click()
        prompt = page.locator(".jp-Notebook-cell .jp-InputPrompt").first
        for _ in range(120):
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(1000)
            if prompt.inner_text() != "[ ]:":
                break
        expect(prompt).to_have_text(RAN)
        if front_end == "Notebook 7":
            errors.clear()  # 7.6.5 throws two while it loads, whatever the notebook holds
        return page

    return opened


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


@pytest.fixture(params=["lesson page", "slides", *FRONT_ENDS])
def host(request: pytest.FixtureRequest, page: Page) -> tuple[str, Callable[[str], Locator]]:
    """A host, and what shows an explorer there."""
    of = request.getfixturevalue
    if request.param in FRONT_ENDS:
        return request.param, partial(run_explorer, of("notebook")(request.param))
    if request.param == "slides":
        page.goto(of("deck").as_uri())
        if not editions.REVEAL.exists():
            of("errors").clear()
    return request.param, partial(explorer, page if request.param == "slides" else of("live"))


def test_every_explorer_lives_wherever_a_reader_meets_it(host: tuple, twins: dict) -> None:
    where, show = host
    for name, twin in twins.items():
        root, moved = show(name), MOVED[name]
        if where == "slides" and editions.REVEAL.exists():
            root.evaluate(TURN)
        assert_shows(root, twin)
        handle = slider(root, moved)
        handle.focus()
        root.page.keyboard.press("ArrowRight")
        root.page.keyboard.press("ArrowUp")
        value = float(handle.input_value())
        assert value == pytest.approx(twin.values[moved] + 2 * twin.controls[moved]["step"])
        assert_shows(root, twin, **{moved: value})
        if where in ("lesson page", "JupyterLab"):  # the picture is right of the controls
            parts = (root.locator(f".{part}").first for part in ("controls", "picture"))
            box, controls, picture = (part.bounding_box() for part in (root, *parts))
            assert controls["x"] + controls["width"] <= picture["x"]
            assert box["x"] >= 0 and box["x"] + box["width"] <= LAPTOP["width"]
            assert box["height"] <= 640 and picture["width"] > 480, name


def test_an_explorer_moves_while_the_kernel_sleeps(
    notebook: Callable, twins: dict, lab: tuple[str, Path]
) -> None:
    page, twin = notebook("JupyterLab"), twins["BoundExplorer"]
    root = run_explorer(page, "BoundExplorer")
    asleep = run(page, EMPTY, "while not Path('wake up').exists(): time.sleep(0.1)")
    prompt = asleep.locator(".jp-InputPrompt").first
    expect(prompt).to_have_text("[*]:")
    slider(root, "mean").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert_shows(root, twin, mean=0.0)
    expect(prompt).to_have_text("[*]:")  # it sleeps still
    (lab[1] / "wake up").touch()
    expect(prompt).to_have_text(RAN)
    told = run(page, EMPTY, "bound.values['mean']").locator(".jp-OutputArea-output")
    expect(told).to_have_text(re.compile(r"^-?0(\.0)?$"))  # afterwards the kernel knows
    run(page, EMPTY, "bound.set(mean=0.5, std=0.6)")  # and moves the page
    assert_shows(root, twin, mean=0.5, std=0.6)


def test_a_cell_that_is_run_fifty_times_leaves_one(notebook: Callable) -> None:
    page = notebook("JupyterLab")
    root = run_explorer(page, "BoundExplorer")
    expect(run(page, EMPTY, f"alive = {ALIVE}").locator(".jp-InputPrompt").first).to_have_text(RAN)
    nodes = "document.querySelectorAll('*').length"
    before = page.evaluate(nodes)
    run(page, 1)
    for _ in range(49):
        page.keyboard.press("Control+Enter")
    output = run(page, EMPTY, f"{ALIVE} - alive").locator(".jp-OutputArea-output")
    expect(output).to_have_text("0")
    expect(root).to_have_count(1)
    assert page.evaluate(nodes) < before + 200


def test_what_was_closed_leaves_nothing_on_a_page(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "one.html"
    path.write_text(BoundExplorer().page(), encoding="utf-8")
    page.goto(path.as_uri())
    session, counts = page.context.new_cdp_session(page), []
    session.send("Performance.enable")
    for times in (2, 50):
        page.evaluate(REMAKE, times)
        session.send("HeapProfiler.collectGarbage")
        found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        counts.append((found["Nodes"], found["JSEventListeners"]))
    assert all(after <= before + 5 for before, after in zip(*counts)), counts


# --- by every hand and eye ------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_every_slider_moves_and_everything_has_a_name(live: Page, twins: dict, name: str) -> None:
    root, twin = explorer(live, name), twins[name]
    rng, changes = np.random.default_rng(0), {}
    for control, spec in twin.controls.items():
        handle = slider(root, control)
        if handle.count() and handle.is_visible():
            steps = int(rng.integers((spec["max"] - spec["min"]) / spec["step"]))
            changes[control] = round(spec["min"] + spec["step"] * steps, 6)
            handle.evaluate(MOVE, changes[control])
    assert_shows(root, twin, **changes)
    root.get_by_role("button", name="Reset").press("Enter")
    assert_shows(root, twin)
    named = "e => e.ariaLabel || e.textContent || e.labels?.[0]?.textContent"
    for kind in ("slider", "radio", "button", "img"):
        for element in root.get_by_role(kind).all():
            assert element.evaluate(named), kind
    expect(root.get_by_role("status")).to_have_attribute("aria-live", "polite")
    handle = slider(root, MOVED[name])
    said = handle.get_attribute("aria-valuetext")
    handle.focus()
    live.keyboard.press("ArrowRight")
    assert handle.get_attribute("aria-valuetext") != said
    assert handle.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"  # the focus is seen


def test_the_mouse_drags_a_slider_and_a_button_steps(live: Page, twins: dict) -> None:
    root, twin = explorer(live, "BoundExplorer"), twins["BoundExplorer"]
    handle = slider(root, "mean")
    handle.drag_to(handle, target_position={"x": 200, "y": 5})
    mean = float(handle.input_value())
    assert mean != twin.values["mean"]
    assert_shows(root, twin, mean=mean)
    root.get_by_role("button", name="Gradient step").press("Enter")
    n = twin.numbers(mean=mean)
    assert_shows(root, twin, mean=n["next_mean"], std=n["next_std"])


def draw(root: Locator, finger: bool = False) -> None:
    """A one on the canvas, with the mouse or a finger."""
    pad = root.get_by_role("img", name="draw a digit here")
    pad.scroll_into_view_if_needed()
    box, page = pad.bounding_box(), root.page
    places = [
        (box["x"] + (0.6 - 0.2 * t) * box["width"], box["y"] + (0.15 + 0.7 * t) * box["height"])
        for t in np.linspace(0, 1, 13)
    ]
    if not finger:
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places:
            page.mouse.move(*place)
        page.mouse.up()
        return
    session = page.context.new_cdp_session(page)
    for kind, (x, y) in zip(["touchStart"] + 12 * ["touchMove"], places):
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", touch)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("finger", [False, True], ids=["mouse", "finger"])
def test_a_drawn_digit_is_encoded(
    browser: Browser, lesson_page: Path, twins: dict, finger: bool
) -> None:
    page = browser.new_page(viewport={"width": 820, "height": 1100}, has_touch=finger)
    page.goto(lesson_page.as_uri())
    root, twin = explorer(page, "LatentExplorer"), twins["LatentExplorer"]
    draw(root, finger)
    x = root.get_by_role("img", name="input x").evaluate(PIXELS)
    rows, columns = np.nonzero(np.reshape(x, (28, 28)))
    assert rows.max() - rows.min() == 19 and columns.max() - columns.min() < 15
    assert_shows(root, twin, drawing=x)
    handle = slider(root, twin.data["names"][0])
    place = {"x": 0.9 * handle.bounding_box()["width"], "y": 10}
    (handle.tap if finger else handle.click)(position=place)
    z = float(handle.input_value())
    assert z > twin.reach / 3
    assert_shows(root, twin, **twin.completed({"drawing": x}) | {twin.data["names"][0]: z})
    root.get_by_role("radio", name="7", exact=True).first.check()
    assert_shows(root, twin, digit=7)
    root.get_by_role("radio", name="between two").check()
    assert_shows(root, twin, digit=7, view="between")
    page.close()


def test_the_plane_answers_to_hover_and_click(live: Page, twins: dict) -> None:
    root, twin = explorer(live, "PlaneExplorer"), twins["PlaneExplorer"]
    plane = root.locator(".picture canvas").first
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    live.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    at = {name: float(slider(root, name).input_value()) for name in ("z1", "z2")}
    assert at["z2"] > 0.5
    assert_shows(root, twin, **at)
    size = twin.mu.abs().amax(dim=1)
    digit = int(((size > 0.3) & (size < 0.8 * twin.reach)).nonzero()[0])
    left, bottom = 62, 48  # the margins of the axes
    across, up = ((m + twin.reach) / (2 * twin.reach) for m in twin.mu[digit].tolist())
    x = box["x"] + left + across * (box["width"] - left - 20)
    y = box["y"] + box["height"] - bottom - up * (box["height"] - bottom - 10)
    live.mouse.click(x, y)
    chosen = int(slider(root, "digit").input_value())
    assert (twin.mu[chosen] - twin.mu[digit]).norm() < 0.2


def test_dark_and_light_are_readable(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "one.html"
    path.write_text(BoundExplorer().page(), encoding="utf-8")
    root = page.locator(".vaelab-explorer")
    colors = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    for scheme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        ink, paper = (sum(map(int, re.findall(r"\d+", c)[:3])) / 3 for c in root.evaluate(colors))
        assert (ink > paper) is dark and abs(ink - paper) > 150
    page.emulate_media(color_scheme="light")  # while it is open
    expect(root).not_to_have_class(re.compile("dark"))


def test_what_fails_says_so(page: Page, tmp_path: Path, errors: list[str]) -> None:
    path, whole = tmp_path / "one.html", BoundExplorer().page()
    path.write_text(whole.replace("export default explorer(", "throw new Error('no'); ("), "utf-8")
    page.goto(path.as_uri())
    expect(page.get_by_text("The explorer did not start here")).to_be_visible()
    expect(page.locator("img")).to_be_visible()
    path.write_text(whole, "utf-8")
    page.goto(path.as_uri())
    root = page.locator(".vaelab-explorer")
    root.wait_for()
    page.evaluate("void (CanvasRenderingContext2D.prototype.fillText = null)")
    slider(root, "mean").press("ArrowRight")
    expect(root.get_by_role("alert")).to_contain_text("not up to date")
    assert errors
    errors.clear()


def test_the_page_of_the_readme_runs(page: Page) -> None:
    page.goto((ROOT / "figures" / "explorer.html").as_uri())
    root = page.locator(".vaelab-explorer")
    expect(root).to_have_count(1)
    before = root.evaluate(READ)
    draw(root)
    expect(root.get_by_text("input x: yours, centered")).to_be_visible()
    assert root.evaluate(READ) != before
    box = root.bounding_box()
    assert box["y"] + box["height"] <= LAPTOP["height"]
