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
from notebook_tools import LESSONS, ROOT, code, code_cells, lesson, markdown_cells, read, text
from vaelab import GaussianToy, diagrams, plotting
from vaelab.describe import _metadata, describe
from vaelab.widgets import BoundExplorer

VAGUE = {"here", "click here", "this", "link", "more", "read more"}


@pytest.fixture(autouse=True)
def _closed() -> None:
    yield
    plt.close("all")


PAIR, GAMMA = torch.zeros(2, 784), torch.linspace(0.1, 1, 20)


def error_bars() -> plt.Axes:
    _, ax = plt.subplots()
    ax.errorbar([1, 50], [-110.0, -103.0], [1.0, 1.0], label="$L_k$ ± 1 standard error")
    ax.set_xscale("log")
    return ax


def many_lines() -> plt.Axes:
    _, ax = plt.subplots()
    ax.plot([0, 1], torch.stack([GAMMA, GAMMA / 2]))
    ax.plot([], label="20 dimensions")
    return ax


TOLD = {
    "lines, from end to end with what lies between": (
        lambda: plotting.curves(
            [1, 2, 5], {"$\\beta$ up": [3, 1, 2]}, xlabel="step", ylabel="nats"
        ),
        ["beta up: from 3 at 1 to 2 at 5, lowest 1 at 2.", "Across: step, ", "Up: nats, "],
    ),
    "error bars, by their line and not by their ends": (
        error_bars,
        ["L_k ± 1 standard error: from −110 at 1 to −103 at 50.", "logarithmic"],
    ),
    "bars, counted, in numbered panels": (
        lambda: plotting.kl_and_weights([2.0, 0.5, 1.0], [1.0, 4.0, 3.0]),
        [
            "Panel 1 of 2: What the encoder puts into a dimension.",
            "3 bars, the first 2, the last 0.5, the longest 2.",
            "3 bars, the first 1, the last 4, the longest 4.",
        ],
    ),
    "a path": (
        lambda: plotting.rate_distortion({"vanilla": ([10.0, 26.0], [120.0, 88.0])}),
        ["vanilla: a point at 26, 88. A line: from 120 at 10 to 88 at 26."],
    ),
    "points": (
        lambda: plotting.latent_scatter(torch.zeros(4, 2), torch.tensor([0, 0, 7, 7])),
        ["2 points 7 around 0, 0."],
    ),
    "a field": (
        lambda: plotting.kl_heatmap([1, 2], torch.tensor([[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]])),
        ["A field of 3 by 2 colors, 0 to 2."],
    ),
    "many lines without a name, together": (
        many_lines,
        [
            "20 lines: they begin between 0.1 and 1 and end between 0.05 and 0.5.",
            "Key: 20 dimensions.",
        ],
    ),
    "rows of images": (
        lambda: plotting.image_rows({"input": PAIR, "decoded": PAIR}, ["mu", "z"], title="One"),
        ["One. 2 rows of 2 images. Rows: input; decoded. Columns: mu; z."],
    ),
    "images": (lambda: plotting.image_grid(PAIR, columns=1), ["2 images, 1 in a row."]),
    "an explorer": (
        lambda: BoundExplorer(GaussianToy()).snapshot(x=2.0),
        ["x = 2.00, ", "posterior p(z|x): from"],
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_was_drawn_is_told(kind: str) -> None:
    draw, expected = TOLD[kind]
    drawn = draw()
    told = describe(getattr(drawn, "figure", None) or drawn)
    for words in expected:
        assert words in told
    assert "$" not in told and "−111 at" not in told


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
    plt.axhline(0.5, label="floor")
    plt.scatter([], [])
    plt.errorbar([1, 2], [3, 4], yerr=1, fmt="none")
    told = describe(plt.gcf())
    assert "loss: from 5 at 2 to 3 at 4." in told and "floor: level at 0.5." in told


@pytest.mark.parametrize(
    ("draw", "word"),
    [
        (diagrams.graphical_model, "plate"),
        (diagrams.vae_architecture, "784 logits"),
        (diagrams.reparameterization, "gradient"),
        (diagrams.controller, "floor and not a set point"),
        (diagrams.remedies, "collapse: the decoder does without z"),
    ],
)
def test_drawings_have_words_of_their_own(draw, word: str) -> None:
    told = describe(draw())
    assert word in told and 100 < len(told) < 700


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


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_picture_of_a_lesson_has_words(path: Path) -> None:
    outputs = [(cell.source, output) for cell in code_cells(read(path)) for output in cell.outputs]
    shown = [(s, o.metadata) for s, o in outputs if "image/png" in o.get("data", {})]
    untold = [s for s, told in shown if len(told.get("image/png", {}).get("alt", "")) < 15]
    assert shown and untold == []


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
    assert faults(as_page("\n\n".join(cell.source for cell in markdown_cells(read(path))))) == []


def test_other_texts_and_pages_have_no_fault(page: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md", "notebooks/README.md"):
        assert faults(as_page((ROOT / name).read_text("utf-8"))) == [], name
    for path in (page, pages.index([page], page.parent), ROOT / "figures" / "explorer.html"):
        assert faults(path.read_text("utf-8")) == [], path
    for planted in (
        "<h1>A</h1><h3>B</h3>",
        "<h2>A</h2>",
        "<h1>A</h1><img src=a alt='No description has been provided for this image'>",
        "<h1>A</h1><a href=b>here</a>",
    ):
        assert faults(f"<html lang='en'>{planted}</html>"), planted
