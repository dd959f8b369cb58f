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
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small lesson."""
    return small_lesson(tmp_path_factory.mktemp("lessons"))


@pytest.fixture(scope="module")
def run_once(path: Path) -> Iterator[None]:
    """Page and notebook come from one run of the lesson: to start a kernel takes longest."""
    nb = pages.executed(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "executed", lambda of, live=False: copy.deepcopy(nb))
        yield


@pytest.fixture(scope="module")
def page(path: Path, run_once: None) -> Path:
    """Its page, with MathJax beside it."""
    folder = path.parent / "html"
    pages.copy_mathjax(folder)
    return pages.page(path, folder)


def requests(html: str) -> list[str]:
    """Every address outside the page's folder that a browser would load from."""
    soup = BeautifulSoup(html, "html.parser")
    links = [
        element.get("src") or element.get("href") or element.get("data")
        for element in soup.select(",".join(FETCHING))
    ]
    code = [element.get_text() for element in soup.select("script, style")]
    outside = [link for link in links if re.match(r"(?:https?:)?//", link)]
    return outside + [match.group() for part in code for match in IN_TEXT.finditer(part)]


def test_the_page_asks_the_network_for_nothing(page: Path) -> None:
    assert requests(page.read_text("utf-8")) == []
    planted = "<script src='https://a/b.js'></script><style>@import '//a'</style><img src=c.png>"
    assert len(requests(planted)) == 2


def test_the_page_shows_what_the_lesson_shows(page: Path) -> None:
    html = page.read_text("utf-8")
    assert "<title>A small lesson</title>" in html
    assert "MadeUp: move it" in html
    assert "widget-view" not in html and "Error displaying widget" not in html
    assert "data:image/png;base64," in html
    assert 'href="02_annealing.html"' in html and 'href="https://example.org/paper"' in html
    assert "a badge" in html and "badge.svg" not in html


def test_what_only_guards_a_claim_is_folded_and_left_out_of_the_page(
    page: Path, executed: Path
) -> None:
    assert "guarded" not in page.read_text("utf-8")
    (guard,) = (cell for cell in read(executed).cells if "guarded" in cell.source)
    assert guard.metadata.cellView == "form" and guard.execution_count


def test_the_page_folds_solutions_and_hints(page: Path) -> None:
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    hint, solution = soup.select("details")
    assert not hint.has_attr("open") and not solution.has_attr("open")
    assert "Think of" in hint.get_text()
    assert solution.summary.get_text() == "Solution 1.1"
    assert "# @title Solution 1.1" in solution.get_text()
    assert "the answer 42" in solution.get_text()  # the output is folded with its code
    folded = [cell.get_text() for cell in soup.select("details .jp-CodeCell")]
    assert len(folded) == 1 and len(soup.select(".jp-CodeCell")) == 4


def test_the_index_links_to_the_page_and_says_what_the_readme_says(page: Path, tmp_path) -> None:
    html = pages.index([page], page.parent).read_text("utf-8")
    assert '<a href="01_small.html">A small lesson</a>' in html
    assert "slides/" not in html and "explorer.html" not in html  # neither was made
    assert requests(html) == []
    named = Path(shutil.copy(page, tmp_path / f"{LESSONS[0].stem}.html"))
    (tmp_path / "explorer.html").touch()
    html = pages.index([named], tmp_path).read_text("utf-8")
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if named.stem in line)
    assert row.split("|")[2].strip() in html
    assert 'href="explorer.html"' in html


@pytest.fixture(scope="module")
def executed(path: Path, run_once: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the lesson, executed in place."""
    copy = Path(shutil.copy(path, tmp_path_factory.mktemp("executed")))
    pages.run(copy)
    return copy


def test_executing_in_place_leaves_a_clean_lesson(path: Path, executed: Path) -> None:
    before, after = read(path), read(executed)
    rules = [rule for rule in RULES if rule is not in_parts]  # it has no parts
    assert [list(rule(after)) for rule in rules] == [[] for _ in rules]
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    assert after.cells[-1].metadata == {"tags": ["a-tag"]}
    assert after.cells[-3].metadata == {"tags": ["solution"], **pages.FOLDED}
    assert after.cells[1].metadata == {}
    assert after.cells[-1].outputs[0].text == "step 2\n"
    assert after.cells[1].outputs[0].data == {"text/plain": "MadeUp: move it"}


def test_nbval_accepts_what_was_executed_in_place_and_nothing_else(
    executed: Path, monkeypatch, capsys
) -> None:
    """Plain `pytest`, as this project configures it, on a cell and its copy with another text."""
    nb = read(executed)
    nb.cells = [nb.cells[-1], copy.deepcopy(nb.cells[-1])]
    nb.cells[1].id, nb.cells[1].outputs[0].text = "other", "step 1\n"
    path = executed.with_name("02_other.ipynb")
    nbformat.write(nb, path)
    monkeypatch.chdir(executed.parent)
    status = pytest.main(["-c", str(ROOT / "pyproject.toml"), str(path)])
    said = capsys.readouterr().out
    assert re.search(r"1 failed, 1 passed", said), said
    assert re.search(r"'step 1\\n' == 'step 2\\n'", said), said
    assert status == 1
