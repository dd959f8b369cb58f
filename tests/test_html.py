"""`make html` and `make notebooks`, tried on a small made-up lesson."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

import pages
from notebook_tools import LESSONS, ROOT, code, lesson, read, text
from test_notebooks import RULES, in_parts

# What makes a browser fetch something: attributes, and addresses in styles and scripts.
FETCHING = ["script[src]", "img[src]", "iframe[src]", "link[href]", "source[src]", "object[data]"]
IN_TEXT = re.compile(r"(?:@import|url\(|import\(|fetch\(|\.src\s*=)\s*['\"]?(?:https?:)?//")
EQUATION = r"$$ \log p(x) = \mathrm{ELBO} + \mathrm{KL} \tag{1.1} $$"

WIDGET = """import ipywidgets

class MadeUp(ipywidgets.VBox):
    def __repr__(self):
        return "MadeUp: move it"

MadeUp([ipywidgets.IntSlider()])"""
PLOT = """import matplotlib.pyplot as plt
plt.plot([0, 1])
plt.show()"""
PROGRESS = r"""import sys
for step in range(3):
    print(f"\rstep {step}", end="", flush=True)
print()"""


def small_lesson(folder: Path) -> Path:
    """A made-up lesson that was never run."""
    path = folder / "01_small.ipynb"
    nb = lesson(
        text(f"# A *small* lesson\n\n![a badge](https://example.org/badge.svg)\n\n{EQUATION}"),
        code(WIDGET),
        text("Next: [annealing](02_annealing.ipynb), and [the paper](https://example.org/paper)."),
        code(PLOT),
        text("<details><summary>Hint</summary>\n\nThink of $\\pi$.\n\n</details>\n\nSolution:"),
        code("# @title Solution 1.1\nprint('the answer', 6 * 7)", tags=("solution",)),
        text("Then a loop."),
        code("assert 6 * 7 == 42  # guarded", tags=("guard",)),
        code(PROGRESS, tags=("a-tag",)),
    )
    nb.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    nb.cells[1].metadata.update(collapsed=True, jupyter={"source_hidden": True})
    nbformat.write(nb, path)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small lesson. Page and notebook come from one run: to start a kernel takes longest."""
    path = small_lesson(tmp_path_factory.mktemp("lessons"))
    nb = pages.executed(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "executed", lambda of, live=False: copy.deepcopy(nb))
        yield path


@pytest.fixture(scope="module")
def page(path: Path) -> Path:
    """Its page, with MathJax beside it."""
    folder = path.parent / "html"
    pages.copy_mathjax(folder)
    return pages.page(path, folder)


def requests(html: str) -> list[str]:
    """Every address outside the page's folder that a browser would load from."""
    soup = BeautifulSoup(html, "html.parser")
    named = [{**element.attrs} for element in soup.select(",".join(FETCHING))]
    links = [tag.get("src") or tag.get("href") or tag.get("data") for tag in named]
    code = [element.get_text() for element in soup.select("script, style")]
    outside = [link for link in links if re.match(r"(?:https?:)?//", link)]
    return outside + [match.group() for part in code for match in IN_TEXT.finditer(part)]


def test_the_page_asks_the_network_for_nothing(page: Path) -> None:
    assert requests(page.read_text("utf-8")) == []
    planted = "<script src='https://a/b.js'></script><style>@import '//a'</style><img src=c.png>"
    assert len(requests(planted)) == 2


def test_the_page_shows_what_the_lesson_shows_and_folds_solutions_and_hints(page: Path) -> None:
    html = page.read_text("utf-8")
    shown = ["<title>A small lesson</title>", "MadeUp: move it", "data:image/png;base64,"]
    shown += ['href="02_annealing.html"', 'href="https://example.org/paper"', "a badge", "1.1}"]
    hidden = ["widget-view", "Error displaying widget", "badge.svg", "guarded"]
    assert [part for part in shown if part not in html] == []
    assert [part for part in hidden if part in html] == []
    soup = BeautifulSoup(html, "html.parser")
    hint, solution = soup.select("details")
    assert not hint.has_attr("open") and not solution.has_attr("open")
    assert "Think of" in hint.get_text()
    assert solution.summary.get_text() == "Solution 1.1"
    assert "# @title Solution 1.1" in solution.get_text()
    assert "the answer 42" in solution.get_text()  # the output is folded with its code
    assert len(soup.select("details .jp-CodeCell")) == 1 and len(soup.select(".jp-CodeCell")) == 4


def test_the_index_links_to_what_was_made_and_says_what_the_readme_says(page, tmp_path) -> None:
    html = pages.index([page], page.parent).read_text("utf-8")
    assert '<a href="01_small.html">A small lesson</a>' in html
    made = ["explorer.html", f"slides/{LESSONS[0].stem}.html", f"student/{LESSONS[0].name}"]
    assert not re.search("explorer.html|slides/|student/", html)
    named = Path(shutil.copy(page, tmp_path / f"{LESSONS[0].stem}.html"))
    for file in made:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    html = pages.index([named], tmp_path).read_text("utf-8")
    assert [file for file in made if f'href="{file}"' not in html] == requests(html) == []
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if named.stem in line)
    assert row.split("|")[2].strip() in html


@pytest.fixture(scope="module")
def executed(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the lesson, executed in place."""
    copy = Path(shutil.copy(path, tmp_path_factory.mktemp("executed")))
    pages.run(copy)
    return copy


def test_executing_in_place_leaves_a_clean_lesson(path: Path, executed: Path) -> None:
    before, after = read(path).cells, read(executed).cells
    rules = [rule for rule in RULES if rule is not in_parts]  # it has no parts
    assert [list(rule(read(executed))) for rule in rules] == [[] for _ in rules]
    assert [(cell.id, cell.source) for cell in after] == [(cell.id, cell.source) for cell in before]
    folded = [{"tags": [tag], **pages.FOLDED} for tag in ("solution", "guard")]
    kept = [cell.metadata for cell in after if cell.cell_type == "code"]
    assert kept == [{}, {}, *folded, {"tags": ["a-tag"]}]
    assert after[-1].outputs[0].text == "step 2\n"
    assert after[1].outputs[0].data == {"text/plain": "MadeUp: move it"}


def test_nbval_accepts_what_was_executed_in_place_and_nothing_else(
    executed: Path, monkeypatch, capsys
) -> None:
    """Plain `pytest`, as this project configures it, on a cell and its copy with another text."""
    nb = read(executed)
    nb.cells = [nb.cells[-1], copy.deepcopy(nb.cells[-1])]
    nb.cells[1].id, nb.cells[1].outputs[0].text = "other", "step 1\n"
    nbformat.write(nb, executed.with_name("02_other.ipynb"))
    monkeypatch.chdir(executed.parent)
    assert pytest.main(["-c", str(ROOT / "pyproject.toml"), "02_other.ipynb"]) == 1
    said = capsys.readouterr().out
    assert "1 failed, 1 passed" in said and r"'step 1\n' == 'step 2\n'" in said, said
