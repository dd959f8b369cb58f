"""`make publish`, tried on a copy of this repository; and the address that stands here, if any."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.inputtransformer2 import TransformerManager

import publish
from notebook_tools import LESSONS, ROOT, code_cells, read

PLACES = ["README.md", "CITATION.cff", "pyproject.toml", *(f"notebooks/{p.name}" for p in LESSONS)]
ADDRESS = re.compile(
    r"(?:https://github\.com|https://colab\.research\.google\.com/github|https://mybinder\.org/v2/gh)"
    r"/([\w.-]+/[\w.-]+?)(?=[/\"'\\)\s]|\.git|$)"
)
BADGE = re.compile(r"colab\.research\.google\.com|mybinder\.org")


@pytest.fixture(scope="module")
def unstamped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stamped files, in the state before any stamp."""
    folder = tmp_path_factory.mktemp("unstamped")
    (folder / "notebooks").mkdir()
    for place in PLACES:
        shutil.copy(ROOT / place, folder / place)
    publish.publish(folder, None)
    return folder


@pytest.fixture
def copy(unstamped: Path, tmp_path: Path) -> Path:
    """The files without a stamp, to stamp."""
    return shutil.copytree(unstamped, tmp_path / "copy")


def contents(root: Path) -> dict[str, bytes]:
    return {place: (root / place).read_bytes() for place in PLACES}


def addresses(root: Path) -> dict[str, set[str]]:
    """Every repository that each place names as its own."""
    return {place: set(ADDRESS.findall((root / place).read_text("utf-8"))) for place in PLACES}


def sources(root: Path) -> list[str]:
    """Where each lesson installs the package from."""
    texts = [
        cell.source for path in LESSONS for cell in code_cells(read(root / "notebooks" / path.name))
    ]
    return [match.group() for part in texts for match in publish.SOURCE.finditer(part)]


def agree(root: Path) -> bool:
    """All places name one repository, or none does and there is no badge."""
    named = addresses(root)
    if any(named.values()):
        one = set.union(*named.values())
        return len(one) == 1 and all(found == one for found in named.values())
    parts = [(root / place).read_text("utf-8") for place in PLACES]
    return not any(BADGE.search(part) for part in parts)


def test_all_places_here_agree() -> None:
    assert agree(ROOT)


def test_every_lesson_begins_with_the_same_cell() -> None:
    for path in LESSONS:
        first = code_cells(read(path))[0].source
        assert publish.SOURCE.sub('SOURCE = ".."', first) == publish.INSTALL_CELL
    assert len(publish.INSTALL_CELL.splitlines()) <= 12


def run_install_cell(folder: Path, monkeypatch, source: str = "..") -> list[str]:
    """What the first cell of a notebook in this folder asks pip for where vaelab is missing."""
    asked: list[str] = []
    shell = SimpleNamespace(run_line_magic=lambda magic, line: asked.append(f"{magic} {line}"))
    cell = publish.SOURCE.sub(f'SOURCE = "{source}"', publish.INSTALL_CELL)
    code = TransformerManager().transform_cell(cell)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(folder)
    exec(code, {"get_ipython": lambda: shell})
    return asked


def test_the_first_cell_installs_from_an_address_and_nothing_else(
    tmp_path: Path, monkeypatch
) -> None:
    install = "pip install --quiet --no-deps {SOURCE}"
    assert run_install_cell(tmp_path, monkeypatch, "git+https://example.org/a") == [install]
    other = tmp_path / "other"  # another project
    (other / "notebooks").mkdir(parents=True)
    (other / "vaelab").mkdir()  # such as a copy of the repository, which is called so
    (other / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n', "utf-8")
    for alone in (tmp_path, other / "notebooks", other):
        with pytest.raises(ModuleNotFoundError, match="a copy of the repository, or write"):
            run_install_cell(alone, monkeypatch)


FIND = """
import sys
sys.path = [p for p in sys.path if p and not p.startswith({root!r})]
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f)]
sys.path_hooks = [h for h in sys.path_hooks if "editable" not in str(h)]
exec({cell!r})
import vaelab
print(vaelab.__file__)
"""


def test_the_first_cell_finds_the_package_in_a_renamed_and_read_only_copy(tmpfs: Path) -> None:
    """As a script: the kernel of a student who has what vaelab needs, but not vaelab."""
    folder = tmpfs / "renamed"
    (folder / "lessons").mkdir(parents=True)
    package = folder / "vaelab"  # what the cell looks for; the whole package needs a larger disk
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "lesson.py").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    code = TransformerManager().transform_cell(publish.INSTALL_CELL)
    script = FIND.format(root=str(ROOT), cell=code)
    command = [sys.executable, "-B", "-c", script]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run(
        command, cwd=folder / "lessons", env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == str(package / "__init__.py"), run.stderr


def test_before_a_stamp_no_place_names_an_address(copy: Path) -> None:
    assert not any(addresses(copy).values()) and agree(copy)
    assert sources(copy) == ['SOURCE = ".."'] * len(LESSONS)


def test_a_stamp_reaches_every_place(copy: Path) -> None:
    publish.publish(copy, "someone/some.thing")
    assert addresses(copy) == {place: {"someone/some.thing"} for place in PLACES}
    assert sources(copy) == ['SOURCE = "git+https://github.com/someone/some.thing"'] * len(LESSONS)
    assert agree(copy)
    for path in LESSONS:
        opened = f"someone/some.thing/blob/main/notebooks/{path.name}"
        assert opened in read(copy / "notebooks" / path.name).cells[0].source


def test_a_second_stamp_replaces_the_first_and_can_be_undone(copy: Path) -> None:
    before = contents(copy)
    publish.publish(copy, "a/b")
    stamped = contents(copy)
    publish.publish(copy, "a/b")
    assert contents(copy) == stamped
    publish.publish(copy, "someone/else")
    publish.publish(copy, "a/b")
    assert contents(copy) == stamped
    publish.publish(copy, None)
    assert contents(copy) == before


def test_a_stamp_changes_two_cells_of_a_lesson_and_no_output(copy: Path) -> None:
    path = copy / "notebooks" / LESSONS[0].name
    before = read(path)
    publish.publish(copy, "a/b")
    after = read(path)
    changed = [i for i, (a, b) in enumerate(zip(before.cells, after.cells)) if a != b]
    assert len(before.cells) == len(after.cells) and len(changed) == 2 and changed[0] == 0
    for old, new in zip(before.cells[1:], after.cells[1:]):
        assert {**old, "source": ""} == {**new, "source": ""}


def test_a_place_that_was_forgotten_and_a_dead_badge_are_found(copy: Path) -> None:
    readme = copy / "README.md"
    readme.write_text(readme.read_text("utf-8") + f"![Colab]({publish.COLAB_SIGN})", "utf-8")
    assert not agree(copy)
    publish.publish(copy, "a/b")
    readme.write_text(readme.read_text("utf-8").replace("a/b", "c/d"), encoding="utf-8")
    assert not agree(copy)


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/owner/some.name",
        "https://github.com/owner/some.name/",
        "git@github.com:owner/some.name.git",
    ],
)
def test_the_git_remote_is_read(remote: str) -> None:
    assert publish.repository(remote) == "owner/some.name"


def test_another_remote_is_refused() -> None:
    with pytest.raises(ValueError, match="REPO=owner/name"):
        publish.repository("https://example.org/owner/name.git")


def test_a_wrong_name_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["publish.py", "https://github.com/a/b"])
    with pytest.raises(SystemExit) as stop:
        publish.main()
    assert stop.value.code == 2 and "expected owner/name" in capsys.readouterr().err


def test_a_badge_goes_below_the_title_of_any_text() -> None:
    assert publish.with_badges("# T\n\nText.", "[![b](c)](d)") == "# T\n\n[![b](c)](d)\n\nText."
    assert publish.with_badges("# T\n\n[![b](c)](d)\n\nText.", "") == "# T\n\nText."
