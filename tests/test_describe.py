"""What is said about a figure is what was drawn, and it reaches the page."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

import editions
import pages
from notebook_tools import LESSONS, ROOT, code, code_cells, lesson, read, text
from vaelab import GaussianToy, diagrams, plotting
from vaelab.describe import _metadata, describe
from vaelab.widgets import BoundExplorer

VAGUE = {"here", "click here", "this", "link", "more", "read more"}


@pytest.fixture(autouse=True)
def _closed() -> None:
    yield
    plt.close("all")


def test_lines_are_told_from_end_to_end_with_what_lies_between() -> None:
    ax = plotting.curves([1, 2, 5], {"$\\beta$ up": [3, 1, 2]}, xlabel="step", ylabel="nats")
    ax.axhline(0.5, label="floor")
    told = describe(ax.figure)
    assert "beta up: from 3 at 1 to 2 at 5, lowest 1 at 2." in told
    assert "floor: level at 0.5." in told
    assert "Across: step, " in told and "Up: nats, " in told and "$" not in told


def test_error_bars_are_told_by_their_line_and_not_by_their_ends() -> None:
    _, ax = plt.subplots()
    ax.errorbar([1, 50], [-110.0, -103.0], [1.0, 1.0], label="$L_k$ ± 1 standard error")
    ax.set_xscale("log")
    told = describe(ax.figure)
    assert "L_k ± 1 standard error: from −110 at 1 to −103 at 50." in told
    assert "logarithmic" in told and "−111 at" not in told


def test_bars_are_counted_and_panels_numbered() -> None:
    told = describe(plotting.kl_and_weights([2.0, 0.5, 1.0], [1.0, 4.0, 3.0]))
    assert "Panel 1 of 2: What the encoder puts into a dimension." in told
    assert "3 bars, the first 2, the last 0.5, the longest 2." in told
    assert "3 bars, the first 1, the last 4, the longest 4." in told


@pytest.mark.parametrize(
    "x, told",
    [
        (["vanilla", "annealed", "soft"], "from 109 at vanilla to 90 at soft, highest 111 at anne"),
        ([date(2024, 1, day) for day in (5, 6, 9)], "from 109 at 2024-01-05 to 90 at 2024-01-09"),
        (np.array(["2024-01-05T06", "2024-01-05T12", "2024-01-06"], "M8[m]"), "2024-01-05 06:00"),
    ],
)
def test_names_and_dates_on_an_axis_are_told_as_such(x, told: str) -> None:
    plt.plot(x, [109, 111, 90])
    assert told in describe(plt.gcf())


def test_a_figure_that_defies_description_is_shown_without_words(monkeypatch, recwarn) -> None:
    figure, ax = plt.subplots()
    shown = _metadata(figure)
    assert shown[1]["image/png"]["alt"].startswith("Across: no label, 0 to 1.")
    monkeypatch.setattr(ax, "get_title", lambda **_: warnings.warn("odd", stacklevel=1) or 1 / 0)
    assert _metadata(figure) == ({}, {}) and not recwarn.list
    assert _metadata(plt.figure()) == ({}, {})  # nothing to say


def test_gaps_and_empty_groups_are_no_numbers() -> None:
    plt.plot([1, 2, 3, 4], [np.nan, 5, np.nan, 3], label="loss")
    plt.scatter([], [])
    plt.errorbar([1, 2], [3, 4], yerr=1, fmt="none")
    assert "loss: from 5 at 2 to 3 at 4." in describe(plt.gcf())


def test_paths_points_and_fields_are_told() -> None:
    path = plotting.rate_distortion({"vanilla": ([10.0, 26.0], [120.0, 88.0])}).figure
    assert "vanilla: a point at 26, 88. A line: from 120 at 10 to 88 at 26." in describe(path)
    dots = plotting.latent_scatter(torch.zeros(4, 2), torch.tensor([0, 0, 7, 7])).figure
    assert "2 points 7 around 0, 0." in describe(dots)
    field = plotting.kl_heatmap([1, 2], torch.tensor([[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]])).figure
    assert "A field of 3 by 2 colors, 0 to 2." in describe(field)


def test_many_lines_without_a_name_are_told_together() -> None:
    lines = torch.linspace(0.1, 1, 20).repeat(2, 1)
    lines[1] /= 2
    _, ax = plt.subplots()
    ax.plot([0, 1], lines)
    ax.plot([], label="20 dimensions")
    told = describe(ax.figure)
    assert "20 lines: they begin between 0.1 and 1 and end between 0.05 and 0.5." in told
    assert "Key: 20 dimensions." in told


def test_images_are_told_by_their_rows_and_columns() -> None:
    rows = {"input": torch.zeros(2, 784), "decoded": torch.zeros(2, 784)}
    told = describe(plotting.image_rows(rows, ["mu", "sliders"], title="One digit").figure)
    assert told == "One digit. 2 rows of 2 images. Rows: input; decoded. Columns: mu; sliders."
    grid = plotting.image_grid(torch.zeros(6, 784), columns=3).figure
    assert describe(grid) == "6 images, 3 in a row."


@pytest.mark.parametrize(
    ("draw", "word"),
    [
        (diagrams.graphical_model, "plate"),
        (diagrams.vae_architecture, "784 logits"),
        (diagrams.reparameterization, "gradient"),
        (diagrams.controller, "floor and not a set point"),
        (diagrams.remedies, "collapse: the decoder does without z"),
        (diagrams.elbo_decomposition, "gap"),
    ],
)
def test_drawings_have_words_of_their_own(draw, word: str) -> None:
    told = describe(draw())
    assert word in told and 100 < len(told) < 700


def test_a_snapshot_tells_the_state_of_its_explorer() -> None:
    told = describe(BoundExplorer(GaussianToy()).snapshot(x=2.0))
    assert told.startswith("x = 2.00, ") and "posterior p(z|x): from" in told


# --- in a notebook and on its page --------------------------------------------------------------


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small lesson with a chart shown by pyplot and a drawing as the value of a cell."""
    path = tmp_path_factory.mktemp("told") / "01_small.ipynb"
    chart = 'plotting.curves([0, 1], {"rising": [0, 1]})\nplt.show()'
    nb = lesson(
        text("# A small lesson"),
        code("import matplotlib.pyplot as plt\nfrom vaelab import GaussianToy, plotting"),
        text("The style."),
        code("plotting.use_style()"),
        text("A chart."),
        code(chart),
        text("A drawing."),
        code("from vaelab.widgets import BoundExplorer\nBoundExplorer(GaussianToy()).snapshot()"),
    )
    nbformat.write(nb, path)
    pages.run(path)
    return path


@pytest.fixture(scope="module")
def page(executed: Path) -> Path:
    """Its page, of the one run that it had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "executed", lambda of, live=False: read(of))
        return pages.page(executed, executed.parent)


def alternatives(html: str) -> list[str]:
    return [image["alt"] for image in BeautifulSoup(html, "html.parser").find_all("img")]


def test_shown_figures_carry_their_words_to_page_and_slides(
    executed: Path, page: Path, tmp_path: Path
) -> None:
    deck = editions.slides(executed, tmp_path)
    for shown in (page, deck):
        chart, drawing = alternatives(shown.read_text("utf-8"))
        assert "rising: from 0 at 0 to 1 at 1." in chart
        assert "posterior p(z|x): from" in drawing


def untold(nb: nbformat.NotebookNode) -> list[str]:
    """The sources of cells with a picture that nothing is said about."""
    return [
        cell.source
        for cell in code_cells(nb)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
        and len(output.metadata.get("image/png", {}).get("alt", "")) < 15
    ]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_picture_of_a_lesson_has_words(path: Path) -> None:
    assert untold(read(path)) == []


# --- headings, links and images, in the lessons and in the pages ----------------------------------


def faults(html: str) -> list[str]:
    """Headings that skip a level, images without words, links that do not say where they go."""
    soup = BeautifulSoup(html, "html.parser")
    levels = [int(h.name[1]) for h in soup.find_all(["h1", "h2", "h3", "h4", "h5", "h6"])]
    found = [f"h{b} after h{a}" for a, b in zip([0, *levels], levels) if b > a + 1]
    found += [] if levels.count(1) == 1 else [f"{levels.count(1)} main headings"]
    for image in soup.find_all("img"):
        words = image.get("alt", "")
        if len(words) < 4 or words.startswith("No description"):
            found.append(f"an image with the words {words!r}")
    for link in soup.find_all("a", href=True):
        says = " ".join([link.get_text(), *(i.get("alt", "") for i in link.find_all("img"))])
        if says.strip(" ¶.").lower() in VAGUE | {""} and "anchor-link" not in link.get("class", []):
            found.append(f"a link to {link['href']} that says {says!r}")
    if not (soup.html or {}).get("lang"):
        found.append("no language")
    return found


def as_page(markdown: str) -> str:
    """Markdown as nbconvert makes it a page."""
    nb = lesson(text(markdown))
    html, _ = pages.HTMLExporter(
        template_name="page", extra_template_basedirs=[str(ROOT / "tools")]
    ).from_notebook_node(nb)
    return html


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons_have_no_fault(path: Path) -> None:
    nb = read(path)
    nb.cells = [cell for cell in nb.cells if cell.cell_type == "markdown"]
    assert faults(as_page("\n\n".join(cell.source for cell in nb.cells))) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "notebooks/README.md"])
def test_other_texts_have_no_fault(name: str) -> None:
    assert faults(as_page((ROOT / name).read_text("utf-8"))) == []


def test_pages_have_no_fault(page: Path) -> None:
    assert faults(page.read_text("utf-8")) == []
    assert faults(pages.index([page], page.parent).read_text("utf-8")) == []
    assert faults((ROOT / "figures" / "explorer.html").read_text("utf-8")) == []


@pytest.mark.parametrize(
    "html",
    [
        "<h1>A</h1><h3>B</h3>",
        "<h2>A</h2>",
        "<h1>A</h1><img src=a alt='No description has been provided for this image'>",
        "<h1>A</h1><a href=b>here</a>",
    ],
)
def test_a_planted_fault_is_found(html: str) -> None:
    assert faults(f"<html lang='en'>{html}</html>")
