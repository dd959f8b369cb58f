"""What is said about a figure is what was drawn, and it reaches the page."""

from __future__ import annotations

import re
import warnings
from datetime import date

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

import editions
import pages
from notebook_tools import LESSONS, ROOT, code, lesson, markdown_cells, read, text
from vaelab import diagrams, plotting, toy, widgets
from vaelab.describe import _metadata, describe

DRAWING = {**vars(plotting), **vars(diagrams), **vars(widgets), **vars(toy)}
PAIR, GAMMA, NAN = torch.zeros(2, 784), torch.linspace(0.1, 1, 20), float("nan")
DAYS = [date(2024, 1, day) for day in (5, 6, 9)]
HOURS = np.array(["2024-01-05T06", "2024-01-05T12", "2024-01-06"], "M8[m]")
FIELD = torch.tensor([[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]])

# What is drawn, and below it what is said, among more.
TOLD = r"""
curves([1, 2, 5], {"$\\beta$ up": [3, 1, 2]}, xlabel="step", ylabel="nats")
    beta up: from 3 at 1 to 2 at 5, lowest 1 at 2. | Across: step, | Up: nats,
plt.errorbar([1, 50], [-110, -103], 1, label="$L_k$ ± 1 standard error"), plt.xscale("log")
    L_k ± 1 standard error: from −110 at 1 to −103 at 50. | logarithmic
kl_and_weights([2.0, 0.5, 1.0], [1.0, 4.0, 3.0])
    Panel 1 of 2: What the encoder puts into a dimension. | 3 bars, the first 1, the last 4
    | 3 bars, the first 2, the last 0.5, the longest 2. | the longest 4.
rate_distortion({"vanilla": ([10.0, 26.0], [120.0, 88.0])})
    vanilla: a point at 26, 88. A line: from 120 at 10 to 88 at 26.
latent_scatter(torch.zeros(4, 2), torch.tensor([0, 0, 7, 7]))
    2 points 7 around 0, 0.
kl_heatmap([1, 2], FIELD)
    A field of 3 by 2 colors, 0 to 2.
plt.plot([0, 1], torch.stack([GAMMA, GAMMA / 2])), plt.plot([], label="20 dimensions")
    20 lines: they begin between 0.1 and 1 and end between 0.05 and 0.5. | Key: 20 dimensions.
image_rows({"input": PAIR, "decoded": PAIR}, ["mu", "z"], title="One")
    One. 2 rows of 2 images. Rows: input; decoded. Columns: mu; z.
image_grid(PAIR, columns=1)
    2 images, 1 in a row.
BoundExplorer(GaussianToy()).snapshot(x=2.0)
    x = 2.00, | posterior p(z|x): from | A bar D 9.48: 9.485.
plt.plot(["vanilla", "annealed", "soft"], [109, 111, 90])
    from 109 at vanilla to 90 at soft, highest 111 at annealed
plt.plot(DAYS, [109, 111, 90])
    from 109 at 2024-01-05 to 90 at 2024-01-09
plt.plot(HOURS, [109, 111, 90])
    from 109 at 2024-01-05 06:00
plt.plot([1, 2, 3, 4], [NAN, 5, NAN, 3], label="loss"), plt.scatter([], [])
    loss: from 5 at 2 to 3 at 4.
plt.axhline(0.5, label="floor"), plt.errorbar([1, 2], [3, 4], yerr=1, fmt="none")
    floor: level at 0.5.
graphical_model()
    plate
vae_architecture()
    784 logits
reparameterization()
    gradient
controller()
    floor and not a set point
remedies()
    collapse: the decoder does without z
"""


@pytest.mark.parametrize("case", re.split(r"\n(?! )", TOLD.strip()))
def test_what_was_drawn_is_told(case: str) -> None:
    plt.close("all")
    drawing, *expected = re.split(r"\n? +\| |\n +", case)
    drawn = eval(drawing, {**DRAWING, **globals()})
    told = describe(drawn if isinstance(drawn, plt.Figure) else plt.gcf())
    assert [words for words in expected if words not in told] == []
    assert "$" not in told and "−111 at" not in told and len(told) < 700


def test_a_figure_that_defies_description_is_shown_without_words(monkeypatch, recwarn) -> None:
    figure, ax = plt.subplots()
    shown = _metadata(figure)
    assert shown[1]["image/png"]["alt"].startswith("Across: no label, 0 to 1.")
    monkeypatch.setattr(ax, "get_title", lambda **_: warnings.warn("odd", stacklevel=1) or 1 / 0)
    assert _metadata(figure) == ({}, {}) and not recwarn.list
    assert _metadata(plt.figure()) == ({}, {})  # nothing to say


VAGUE = {"", "here", "click here", "this", "link", "more", "read more"}


def faults(html: str) -> list[str]:
    """Headings that skip a level, images without words, links that do not say where they go."""
    soup = BeautifulSoup(html, "html.parser")
    levels = [int(h.name[1]) for h in soup.find_all(re.compile(r"h\d"))]
    found = [f"h{b} after h{a}" for a, b in zip([0, *levels], levels) if b > a + 1]
    found += [] if levels.count(1) == 1 else [f"{levels.count(1)} main headings"]
    told = [image.get("alt", "") for image in soup.find_all("img")]
    found += [f"an image: {alt!r}" for alt in told if len(alt) < 4 or alt.startswith("No descr")]
    for link in soup.select("a[href]:not(.anchor-link)"):
        says = " ".join([link.get_text(), *(i.get("alt", "") for i in link.find_all("img"))])
        found += [f"a link: {link}"] if says.strip(" ¶.").lower() in VAGUE else []
    return found if soup.html.get("lang") else [*found, "no language"]


def test_texts_have_no_fault_and_planted_ones_are_found() -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    texts += [(ROOT / "notebooks" / "README.md").read_text("utf-8")]
    texts += ["\n\n".join(c.source for c in markdown_cells(read(path))) for path in LESSONS]
    made = pages.HTMLExporter(template_name="page", extra_template_basedirs=[str(ROOT / "tools")])
    htmls = [made.from_notebook_node(lesson(text(source)))[0] for source in texts]
    htmls += [(ROOT / "figures" / "explorer.html").read_text("utf-8")]
    assert [faults(html) for html in htmls] == [[]] * 7
    for planted in (
        "<html lang='en'><h1>A</h1><h3>B</h3>",
        "<html lang='en'><h1>A</h1><h1>B</h1>",
        "<html lang='en'><h1>A</h1><img src=a alt='No description has been provided'>",
        "<html lang='en'><h1>A</h1><a href=b>here</a>",
        "<html><h1>A</h1>",
    ):
        assert len(faults(f"{planted}</html>")) == 1, planted


def test_shown_figures_carry_their_words_to_page_and_slides(monkeypatch, tmp_path) -> None:
    path = tmp_path / "01_small.ipynb"
    nb = lesson(
        text("# A small lesson, with a chart shown by pyplot and a drawing as the value of a cell"),
        code("import matplotlib.pyplot as plt\nfrom vaelab import GaussianToy, plotting, widgets"),
        code("plotting.use_style()"),
        code('plotting.curves([0, 1], {"rising": [0, 1]})\nplt.show()'),
        code("widgets.BoundExplorer(GaussianToy()).snapshot()"),
    )
    nbformat.write(nb, path)
    pages.run(path)
    monkeypatch.setattr(pages, "executed", lambda of, live=False: read(of))  # once is enough
    (tmp_path / "slides").mkdir()
    page = pages.page(path, tmp_path)
    for shown in (page, editions.slides(path, tmp_path / "slides")):
        images = BeautifulSoup(shown.read_text("utf-8"), "html.parser").find_all("img")
        chart, drawing = [image["alt"] for image in images]
        assert "rising: from 0 at 0 to 1 at 1." in chart and "posterior p(z|x): from" in drawing
    for html in (page, pages.index([page], tmp_path)):
        assert faults(html.read_text("utf-8")) == []
