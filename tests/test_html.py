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
from notebook_tools import LESSONS, ROOT, code, code_cells, lesson, read, text

# What makes a browser fetch something: attributes, and addresses in styles and scripts.
FETCHING = "script[src], img[src], iframe[src], link[href], source[src], object[data]"
IN_TEXT = re.compile(r"(?:@import|url\(|import\(|fetch\(|\.src\s*=)\s*['\"]?(?:https?:)?//")
EQUATION = r"$$ \log p(x) = \mathrm{ELBO} + \mathrm{KL} \tag{1.1} $$"

LONG = "\n".join(f"number_{i} = {i}" for i in range(60))
SHOWN = """import ipywidgets, matplotlib.pyplot as plt
print(6 * 7)
plt.plot([0, 1])
plt.show()
ipywidgets.IntSlider()"""
PROGRESS = r"""for step in range(3):
    print(f"\rstep {step}", end="", flush=True)
print()"""


def small_lesson(folder: Path) -> Path:
    """A made-up lesson that was never run, although it has an output."""
    nb = lesson(
        text("# A *small* lesson\n\n[![a badge](https://example.org/a.svg)](https://example.org)"),
        text(f"## First\n\nOne.\n\n{EQUATION}\n\n> **Predict.** Which?"),
        code(SHOWN, "42\n"),
        text("Then a long one."),
        code(LONG),
        code("assert 6 * 7 == 42  # guarded", tags=("guard",)),
        text("### Exercise\n\nSee [lesson 2](02_next.ipynb) or [a paper](https://example.org/b)."),
        code("answer = None", tags=("exercise",)),
        text("<details><summary>Hint</summary>\n\nTwo of them.\n\n</details>\n\nSolution: add."),
        code("# @title Solution 1.1\nprint('the answer', 6 + 6)", tags=("solution",)),
        text("A loop:"),
        code(PROGRESS, tags=("a-tag",)),
    )
    nb.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    nb.cells[2].metadata.update(collapsed=True, jupyter={"source_hidden": True})
    nbformat.write(nb, folder / "01_small.ipynb")
    return folder / "01_small.ipynb"


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
    links = [e.get("src") or e.get("href") or e.get("data") for e in soup.select(FETCHING)]
    code = [element.get_text() for element in soup.select("script, style")]
    outside = [link for link in links if re.match(r"(?:https?:)?//", link)]
    return outside + [match.group() for part in code for match in IN_TEXT.finditer(part)]


def test_the_page_asks_the_network_for_nothing(page: Path) -> None:
    assert requests(page.read_text("utf-8")) == []
    planted = "<script src='https://a/b.js'></script><style>@import '//a'</style><img src=c.png>"
    assert len(requests(planted)) == 2


def test_the_page_shows_what_the_lesson_shows_and_folds_solutions_and_hints(page: Path) -> None:
    html = page.read_text("utf-8")
    shown = ["<title>A small lesson</title>", "IntSlider(value=0)", "data:image/png;base64,"]
    shown += ['href="02_next.html"', 'href="https://example.org/b"', "a badge", r"\tag{1.1}"]
    hidden = ["widget-view", "Error displaying widget", "a.svg", "guarded"]
    assert [part for part in shown if part not in html] == []
    assert [part for part in hidden if part in html] == []
    soup = BeautifulSoup(html, "html.parser")
    hint, solution = soup.select("details")
    assert not hint.has_attr("open") and not solution.has_attr("open")
    assert "Two of them" in hint.get_text()
    assert solution.summary.get_text() == "Solution 1.1"
    assert "# @title Solution 1.1" in solution.get_text()
    assert "the answer 12" in solution.get_text()  # the output is folded with its code
    assert len(soup.select("details .jp-CodeCell")) == 1 and len(soup.select(".jp-CodeCell")) == 5


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


def test_executing_in_place_leaves_a_clean_lesson(path: Path, tmp_path: Path) -> None:
    pages.run(Path(shutil.copy(path, tmp_path)))
    before, nb = read(path).cells, read(tmp_path / path.name)
    assert nb.metadata.keys() == {"kernelspec", "language_info"}
    assert [(cell.id, cell.source) for cell in nb.cells] == [(c.id, c.source) for c in before]
    folded = {tag: {"tags": [tag], **pages.FOLDED} for tag in ("guard", "solution")}
    exercise, last = {"tags": ["exercise"]}, {"tags": ["a-tag"]}
    kept = [{}, {}, folded["guard"], exercise, folded["solution"], last]
    assert [cell.metadata for cell in code_cells(nb)] == kept
    assert [cell.execution_count for cell in code_cells(nb)] == [1, 2, 3, 4, 5, 6]
    assert nb.cells[-1].outputs[0].text == "step 2\n"
    assert nb.cells[2].outputs[-1].data == {"text/plain": "IntSlider(value=0)"}


def test_a_cell_that_prints_another_text_is_red(tmp_path, monkeypatch, capsys) -> None:
    """Plain `pytest`, as this project configures it."""
    nb = lesson(code("print('step 2')", "step 2\n"), code("print('step 2')", "step 1\n"))
    nbformat.write(nb, tmp_path / "01_small.ipynb")
    monkeypatch.chdir(tmp_path)
    assert pytest.main(["-c", str(ROOT / "pyproject.toml"), "01_small.ipynb"]) == 1
    said = capsys.readouterr().out
    assert "1 failed, 1 passed" in said and r"'step 1\n' == 'step 2\n'" in said, said
