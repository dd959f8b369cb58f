"""All six explorers in every host: on one page, in JupyterLab, in Notebook 7, on lesson pages.

What the page shows must be what Python computes with the same float16 weights. Nothing here is
timed; `make bench` prints how long a frame takes.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

import editions
import pages
from front_end import close
from hands import drag
from notebook_tools import ROOT
from vaelab import VAE, Digits
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    Explorer,
    LatentExplorer,
    PlaneExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)
from vaelab.widgets.explorer import fragment

SETUP = """
import time
from pathlib import Path
import torch
from vaelab import VAE, load_mnist
from vaelab.widgets import *

digits = load_mnist("5k")
model, flat = VAE(latent_dim=8, hidden_dim=64), VAE(latent_dim=2, hidden_dim=64)
model.load_state_dict(torch.load("model.pt"))
flat.load_state_dict(torch.load("flat.pt"))
"""
CELLS = {
    "BoundExplorer": "bound = BoundExplorer()\nbound",
    "PlaneExplorer": "PlaneExplorer(flat, digits)",
    "LatentExplorer": "LatentExplorer(model, digits)",
    "ScheduleExplorer": "ScheduleExplorer()",
    "SoftFreeBitsPlayground": "SoftFreeBitsPlayground()",
    "BetaExplorer": "BetaExplorer({0.5: model, 1.0: model, 2.0: model}, digits)",
}
SLEEP = 'while not Path("wake up").exists():\n    time.sleep(0.1)'
LOOK = "bound.values['mean']"
COUNT = "import ipywidgets\nlen(ipywidgets.widgets.widget._instances)"
FIRST = {  # a slider of each, and how it is named to a reader's ear
    "BoundExplorer": "mean",
    "PlaneExplorer": "z1",
    "LatentExplorer": "mix",
    "ScheduleExplorer": "warmup",
    "SoftFreeBitsPlayground": "strength",
    "BetaExplorer": "draw",
}
FRONT_ENDS = {"JupyterLab": "lab/tree", "Notebook 7": "notebooks"}
in_both = pytest.mark.parametrize("notebook", FRONT_ENDS, indirect=True)
RAN = re.compile(r"\[\d+\]")
LAPTOP = {"width": 1366, "height": 768}
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


@pytest.fixture(scope="module")
def flat() -> VAE:
    torch.manual_seed(0)
    model = VAE(latent_dim=2, hidden_dim=64)
    with torch.no_grad():
        model.to_mu.weight.mul_(8)  # spreads the digits over the plane
        model.to_logits.weight.mul_(8)
    return model


@pytest.fixture(scope="module")
def twins(trained: tuple, flat: VAE, digits: Digits) -> dict[str, Explorer]:
    """The explorers of the cells above, in this process: the oracle."""
    model = copy.deepcopy(trained[0])
    made = [
        BoundExplorer(),
        PlaneExplorer(flat, digits),
        LatentExplorer(model, digits),
        ScheduleExplorer(),
        SoftFreeBitsPlayground(),
        BetaExplorer(dict.fromkeys((0.5, 1.0, 2.0), model), digits),
    ]
    return {type(explorer).__name__: explorer for explorer in made}


@pytest.fixture(scope="module")
def sheet(twins: dict[str, Explorer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page with all six."""
    parts = [
        f"<h2>{name}</h2>{fragment(e._esm, e.data, e.values, *e._still())}"
        for name, e in twins.items()
    ]
    path = tmp_path_factory.mktemp("sheet") / "six.html"
    head = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Six</title><h1>Six</h1>'
    path.write_text(head + "\n".join(parts), encoding="utf-8")
    return path


@pytest.fixture
def six(page: Page, sheet: Path) -> Iterator[Page]:
    """That page in a browser; it may ask for nothing but itself."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size(LAPTOP)
    page.goto(sheet.as_uri())
    expect(page.locator(".vaelab-explorer")).to_have_count(6)
    yield page
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


def explorer(page: Page, name: str) -> Locator:
    return page.locator(".vaelab-explorer").nth(list(CELLS).index(name))


def slider(root: Locator, name: str) -> Locator:
    return root.locator(f"input[type=range][name='{name}']")


def assert_shows(root: Locator, twin: Explorer, **values: object) -> None:
    """Read-outs, and a decoded picture if there is one, are Python's."""
    numbers = twin.numbers(**values)
    for _ in range(100):
        shown = root.evaluate(READ)
        if all(close(shown[name], numbers[name]) for name in shown):
            break
        root.page.wait_for_timeout(50)
    assert shown and all(close(shown[name], numbers[name]) for name in shown), (shown, numbers)
    decoded = root.get_by_role("img", name=re.compile("at the ring|decoded from the sliders"))
    if decoded.count():
        pixels = np.array(decoded.evaluate(PIXELS)) / 255
        assert np.abs(pixels - twin.pixels(**values)).max() < 1e-2


# --- on a page ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_the_page_shows_what_python_computes(six: Page, twins: dict, name: str) -> None:
    root, twin = explorer(six, name), twins[name]
    assert_shows(root, twin)
    rng, changes = np.random.default_rng(0), {}
    for control, spec in twin.controls.items():
        handle = slider(root, control)
        if handle.count() and handle.is_visible():
            value = spec["min"] + spec["step"] * int(
                rng.integers((spec["max"] - spec["min"]) / spec["step"])
            )
            changes[control] = round(value, 6)
            handle.evaluate(MOVE, value)
    if name == "LatentExplorer":
        changes["sample"] = 0
    assert_shows(root, twin, **changes)
    root.get_by_role("button", name="Reset").click()
    assert_shows(root, twin)


@pytest.mark.parametrize("name", CELLS)
def test_all_fits_a_laptop_and_has_a_name_and_a_role(six: Page, name: str) -> None:
    root = explorer(six, name)
    box, picture = root.bounding_box(), assert_beside_each_other(root)
    assert box["height"] <= 640 and box["x"] >= 0 and box["x"] + box["width"] <= LAPTOP["width"]
    assert picture["width"] > 480
    named = "e => e.ariaLabel || e.textContent || e.labels?.[0]?.textContent"
    for kind in ("slider", "radio", "button", "img"):
        for element in root.get_by_role(kind).all():
            assert element.evaluate(named), kind
    expect(root.get_by_role("status")).to_have_attribute("aria-live", "polite")
    handle = root.get_by_role("slider").first
    handle.focus()
    before = handle.get_attribute("aria-valuetext")
    six.keyboard.press("ArrowRight" if name != "SoftFreeBitsPlayground" else "ArrowLeft")
    assert handle.get_attribute("aria-valuetext") != before
    assert handle.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"  # the focus is seen


def assert_beside_each_other(root: Locator) -> dict[str, float]:
    """The controls are left of the picture, whose place it returns."""
    parts = (root.locator(f".{part}").first for part in ("controls", "picture"))
    controls, picture = (part.bounding_box() for part in parts)
    assert controls["x"] + controls["width"] <= picture["x"]
    return picture


def test_keyboard_and_mouse_move_a_slider(six: Page, twins: dict) -> None:
    root = explorer(six, "BoundExplorer")
    handle = slider(root, "mean")
    handle.focus()
    for _ in range(12):
        six.keyboard.press("ArrowRight")
    assert_shows(root, twins["BoundExplorer"], mean=-0.4)
    drag(handle, 60, 20)
    mean = float(handle.input_value())
    assert mean != -0.4
    assert_shows(root, twins["BoundExplorer"], mean=mean)
    root.get_by_role("button", name="Gradient step").press("Enter")
    n = twins["BoundExplorer"].numbers(mean=mean)
    assert_shows(root, twins["BoundExplorer"], mean=n["next_mean"], std=n["next_std"])


def draw(six: Page, root: Locator) -> None:
    """A one, drawn with the mouse."""
    pad = root.get_by_role("img", name="draw a digit here")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, y, size = box["x"], box["y"], box["width"]
    six.mouse.move(x + 0.6 * size, y + 0.15 * size)
    six.mouse.down()
    six.mouse.move(x + 0.4 * size, y + 0.85 * size, steps=12)
    six.mouse.up()


def test_a_drawn_digit_is_encoded(six: Page, twins: dict) -> None:
    root, twin = explorer(six, "LatentExplorer"), twins["LatentExplorer"]
    draw(six, root)
    x = root.get_by_role("img", name="input x").evaluate(PIXELS)
    rows, columns = np.nonzero(np.reshape(x, (28, 28)))
    assert rows.max() - rows.min() == 19 and columns.max() - columns.min() < 15
    assert_shows(root, twin, drawing=x)
    root.get_by_role("radio", name="7", exact=True).first.check()
    assert_shows(root, twin, digit=7)


def test_the_plane_answers_to_hover_and_click(six: Page, twins: dict) -> None:
    root, twin = explorer(six, "PlaneExplorer"), twins["PlaneExplorer"]
    plane = root.locator(".picture canvas").first
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    six.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    at = {name: float(slider(root, name).input_value()) for name in ("z1", "z2")}
    assert at["z2"] > 0.5
    assert_shows(root, twin, **at)
    digit = next(
        i for i, m in enumerate(twin.mu.tolist()) if 0.3 < max(map(abs, m)) < 0.8 * twin.reach
    )
    left, bottom = 62, 48  # the margins of the axes
    across, up = ((m + twin.reach) / (2 * twin.reach) for m in twin.mu[digit].tolist())
    x = box["x"] + left + across * (box["width"] - left - 20)
    y = box["y"] + box["height"] - bottom - up * (box["height"] - bottom - 10)
    six.mouse.click(x, y)
    chosen = int(slider(root, "digit").input_value())
    assert (twin.mu[chosen] - twin.mu[digit]).norm() < 0.2


def test_a_failing_host_leaves_the_picture_and_a_sentence(
    page: Page, twins: dict, tmp_path: Path
) -> None:
    path = tmp_path / "broken.html"
    good, fault = "export default explorer(", "throw new Error('no'); ("
    path.write_text(twins["BoundExplorer"].page().replace(good, fault), encoding="utf-8")
    page.goto(path.as_uri())
    expect(page.get_by_text("The explorer did not start here")).to_be_visible()
    expect(page.locator("img")).to_be_visible()


def test_a_picture_that_cannot_be_drawn_says_so(six: Page, errors: list[str]) -> None:
    root = explorer(six, "PlaneExplorer")
    slider(root, "digit").evaluate(
        "input => { input.max = 9999; input.value = 999; input.dispatchEvent(new Event('input')); }"
    )
    expect(root.get_by_role("alert")).to_contain_text("not up to date")
    assert errors
    errors.clear()


def test_fifty_re_creations_leave_nothing_on_a_page(six: Page) -> None:
    remake = """times => {
        const place = document.querySelectorAll(".vaelab-place")[2];
        const program = place.querySelector("script:last-of-type").textContent;
        const image = document.createElement("img");
        return (async () => {
            for (let i = 0; i < times; i++) {
                place.close();
                place.querySelectorAll(":scope > div").forEach(old => old.remove());
                place.prepend(image.cloneNode());
                const script = document.createElement("script");
                script.textContent = program;
                const made = new Promise(done => new MutationObserver((_, watch) => {
                    if (!place.querySelector(".vaelab-explorer")) return;
                    watch.disconnect();
                    done();
                }).observe(place, { childList: true, subtree: true }));
                place.append(script);
                await made;
                await new Promise(requestAnimationFrame);
                script.remove();
            }
        })();
    }"""
    session = six.context.new_cdp_session(six)
    session.send("Performance.enable")

    def counts() -> dict[str, float]:
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Performance.getMetrics")["metrics"]
        return {m["name"]: m["value"] for m in found if m["name"] in ("Nodes", "JSEventListeners")}

    six.evaluate(remake, 2)
    before = counts()
    six.evaluate(remake, 50)
    after = counts()
    assert six.locator(".vaelab-explorer").count() == 6
    assert all(after[name] <= before[name] + 5 for name in before), (before, after)


@pytest.fixture
def finger(browser: Browser, sheet: Path) -> Iterator[Page]:
    """The page on a tablet."""
    context = browser.new_context(has_touch=True, viewport={"width": 820, "height": 1100})
    page = context.new_page()
    page.goto(sheet.as_uri())
    yield page
    context.close()


def test_a_finger_draws_and_moves(finger: Page, twins: dict) -> None:
    root = explorer(finger, "LatentExplorer")
    pad = root.get_by_role("img", name="draw a digit here")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    session = finger.context.new_cdp_session(finger)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    places = [
        (box["x"] + 0.5 * box["width"], box["y"] + share * box["height"])
        for share in np.linspace(0.2, 0.8, 9)
    ]
    touch("touchStart", places[0])
    for place in places[1:]:
        touch("touchMove", place)
    touch("touchEnd")
    x = root.get_by_role("img", name="input x").evaluate(PIXELS)
    assert np.count_nonzero(x) > 20
    assert_shows(root, twins["LatentExplorer"], drawing=x)
    handle = slider(root, twins["LatentExplorer"].data["names"][0])
    box = handle.bounding_box()
    before = handle.input_value()
    handle.tap(position={"x": 0.9 * box["width"], "y": box["height"] / 2})
    assert float(handle.input_value()) > float(before)


def test_dark_and_light_are_readable(page: Page, twins: dict, tmp_path: Path) -> None:
    path = tmp_path / "one.html"
    path.write_text(twins["BoundExplorer"].page(), encoding="utf-8")
    for scheme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        root = page.locator(".vaelab-explorer")
        root.wait_for()
        ink, paper = root.evaluate(
            "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        light = [sum(map(int, re.findall(r"\d+", color)[:3])) / 3 for color in (ink, paper)]
        assert (light[0] > light[1]) is dark and abs(light[0] - light[1]) > 150
    page.emulate_media(color_scheme="light")  # while it is open
    expect(root).not_to_have_class(re.compile("dark"))


# --- in a notebook -------------------------------------------------------------------------------


@pytest.fixture
def notebook(
    request: pytest.FixtureRequest,
    page: Page,
    errors: list[str],
    lab: tuple[str, Path],
    trained: tuple,
    flat: VAE,
) -> Page:
    """A notebook with all six, its first cell run; `show` runs another. JupyterLab by default."""
    address, folder = lab
    torch.save(trained[0].state_dict(), folder / "model.pt")
    torch.save(flat.state_dict(), folder / "flat.pt")
    sources = (SETUP, *CELLS.values(), SLEEP, LOOK, COUNT)
    cells = [nbformat.v4.new_code_cell(s.strip(), id=f"cell-{i}") for i, s in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, folder / "explorers.ipynb")
    page.set_viewport_size(LAPTOP)
    place = FRONT_ENDS[getattr(request, "param", "JupyterLab")]
    answer = page.goto(f"{address}/{place}/explorers.ipynb?reset")
    assert answer.ok, f"{answer.status} at {answer.url}"
    run_first(page)
    if place == FRONT_ENDS["Notebook 7"]:
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


def start(page: Page, number: int) -> Locator:
    """Start a cell as a student does, with Ctrl-Enter."""
    cell = page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{number}"]')
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return cell


def show(page: Page, name: str) -> Locator:
    """Run the cell of an explorer and wait for it."""
    cell = start(page, 1 + list(CELLS).index(name))
    root = cell.locator(".vaelab-explorer")
    root.locator("[data-value]").first.wait_for()
    return root


@in_both
def test_all_six_in_a_notebook(notebook: Page, twins: dict) -> None:
    area = notebook.locator(".jp-WindowedPanel-outer").first.bounding_box()
    lab = "/lab/" in notebook.url
    if lab:
        expect(notebook.locator("#filebrowser")).to_be_visible()
    for name, twin in twins.items():
        root, first = show(notebook, name), FIRST[name]
        assert_shows(root, twin)
        if lab:
            assert_beside_each_other(root)
            box = root.bounding_box()
            assert box["height"] <= area["height"] and box["width"] <= area["width"], name
        if name == "LatentExplorer":
            root.get_by_role("radio", name="between two").check()
            root.get_by_role("radio", name="3", exact=True).first.check()
        handle = slider(root, first)
        handle.focus()
        notebook.keyboard.press("ArrowRight")
        notebook.keyboard.press("ArrowUp")
        values = {first: float(handle.input_value())}
        assert values[first] == pytest.approx(twin.values[first] + 2 * twin.controls[first]["step"])
        if name == "LatentExplorer":
            values |= {"view": "between", "digit": 3}
        assert_shows(root, twin, **values)


def test_an_explorer_moves_while_the_kernel_sleeps(
    notebook: Page, twins: dict, lab: tuple[str, Path]
) -> None:
    root, twin = show(notebook, "BoundExplorer"), twins["BoundExplorer"]
    assert_shows(root, twin)
    sleeping = start(notebook, 1 + len(CELLS))
    expect(sleeping.locator(".jp-InputPrompt").first).to_have_text("[*]:")
    handle = slider(root, "mean")
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(20):
        notebook.keyboard.press("ArrowRight")
    assert_shows(root, twin, mean=0.0)
    expect(sleeping.locator(".jp-InputPrompt").first).to_have_text("[*]:")  # it sleeps still
    (lab[1] / "wake up").touch()
    expect(sleeping.locator(".jp-InputPrompt").first).to_have_text(RAN)
    look = start(notebook, 2 + len(CELLS))  # afterwards the kernel knows
    expect(look.locator(".jp-OutputArea-output")).to_have_text(re.compile(r"^-?0(\.0)?$"))
    look.locator(".cm-content").click()  # and the kernel moves the page
    notebook.keyboard.press("Control+A")
    notebook.keyboard.type("bound.set(mean=0.5, std=0.6)")
    notebook.keyboard.press("Control+Enter")
    assert_shows(root, twin, mean=0.5, std=0.6)


def test_a_cell_that_is_run_fifty_times_leaves_one(notebook: Page) -> None:
    root = show(notebook, "BoundExplorer")
    nodes = "document.querySelectorAll('*').length"
    before, alive = notebook.evaluate(nodes), count_alive(notebook)
    start(notebook, 1)
    for _ in range(49):
        notebook.keyboard.press("Control+Enter")
    assert count_alive(notebook) == alive
    expect(root).to_have_count(1)
    assert notebook.evaluate(nodes) < before + 200


def count_alive(notebook: Page) -> int:
    """How many widgets the kernel holds; it answers when it has done what was asked before."""
    cell = start(notebook, 3 + len(CELLS))
    expect(cell.locator(".jp-InputPrompt").first).to_have_text(RAN)
    return int(cell.locator(".jp-OutputArea-output").inner_text())


# --- where nothing runs ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, trained: tuple, flat: VAE) -> Path:
    """A lesson with all six, as a page."""
    folder = tmp_path_factory.mktemp("small")
    torch.save(trained[0].state_dict(), folder / "model.pt")
    torch.save(flat.state_dict(), folder / "flat.pt")
    cells = [nbformat.v4.new_markdown_cell("# Six"), nbformat.v4.new_code_cell(SETUP.strip())]
    cells += [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    path = folder / "01_six.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    (folder / "html" / "slides").mkdir(parents=True)
    pages.copy_mathjax(folder / "html")
    return pages.page(path, folder / "html")


def test_lesson_pages_run_all_six(small: Path, page: Page, twins: dict) -> None:
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size(LAPTOP)
    page.goto(small.as_uri())
    expect(page.locator(".vaelab-explorer")).to_have_count(6)
    for name, twin in twins.items():
        root = explorer(page, name)
        assert_shows(root, twin)
        if name != "LatentExplorer":
            handle = slider(root, FIRST[name])
            handle.focus()
            page.keyboard.press("ArrowRight")
            assert_shows(root, twin, **{FIRST[name]: float(handle.input_value())})
        assert root.bounding_box()["height"] <= 640, name
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert small.stat().st_size < 6_000_000


def test_slides_run_all_six(small: Path, page: Page, twins: dict, errors: list[str]) -> None:
    notebook = small.parent.parent / "01_six.ipynb"
    pages.run(notebook)  # as committed: pictures
    slides = editions.slides(notebook, small.parent / "slides")
    if editions.REVEAL.exists():
        editions.copy_reveal(slides.parent)
    page.goto(slides.as_uri())
    expect(page.locator(".vaelab-explorer")).to_have_count(6)
    if not editions.REVEAL.exists():  # without reveal.js all slides lie below each other
        errors.clear()
    else:
        page.evaluate(
            "Reveal.slide(Reveal.getIndices(document.querySelector('.vaelab-explorer')).h, 0)"
        )
    root = explorer(page, "BoundExplorer")
    handle = slider(root, "mean")
    handle.focus()
    page.keyboard.press("ArrowRight")
    assert_shows(root, twins["BoundExplorer"], mean=-0.95)


def test_the_page_of_the_readme_runs(page: Page) -> None:
    page.set_viewport_size(LAPTOP)
    page.goto((ROOT / "figures" / "explorer.html").as_uri())
    root = page.locator(".vaelab-explorer")
    expect(root).to_have_count(1)
    before = json.dumps(root.evaluate(READ))
    draw(page, root)
    expect(root.get_by_text("input x: yours, centered")).to_be_visible()
    assert json.dumps(root.evaluate(READ)) != before
    box = root.bounding_box()
    assert box["y"] + box["height"] <= LAPTOP["height"]
