"""`make publish`, tried on a copy of this repository; and the address that stands here, if any."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.inputtransformer2 import TransformerManager

import publish
from notebook_tools import LESSONS, ROOT, code_cells, read

PLACES = ["README.md", "CITATION.cff", "pyproject.toml", *(f"notebooks/{p.name}" for p in LESSONS)]
HOSTS = r"github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh"
ADDRESS = re.compile(rf"https://(?:{HOSTS})/([\w.-]+/[\w.-]+?)(?=[/\"'\\)\s]|\.git|$)")
CELL = TransformerManager().transform_cell(publish.INSTALL_CELL)


def contents(root: Path) -> dict[str, str]:
    return {place: (root / place).read_text("utf-8") for place in PLACES}


def addresses(root: Path) -> list[set[str]]:
    """Every repository that each place names as its own."""
    return [set(ADDRESS.findall(text)) for text in contents(root).values()]


def test_all_places_here_name_one_repository_or_none() -> None:
    first, *others = addresses(ROOT)
    assert len(first) <= 1 and all(other == first for other in others)
    assert first or not re.search("colab-badge|mybinder", str(contents(ROOT)))


# --- the first cell of every lesson --------------------------------------------------------------


def test_every_lesson_begins_with_the_same_cell() -> None:
    for path in LESSONS:
        first = code_cells(read(path))[0].source
        assert publish.SOURCE.sub('SOURCE = ".."', first) == publish.INSTALL_CELL


def test_the_first_cell_installs_from_an_address_and_nothing_else(tmp_path, monkeypatch) -> None:
    asked: list[str] = []
    shell = SimpleNamespace(run_line_magic=lambda *magic: asked.append(" ".join(magic)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    def run(folder: Path, code: str = CELL) -> None:
        monkeypatch.chdir(folder)
        exec(code, {"get_ipython": lambda: shell})

    other = tmp_path / "other"  # another project
    (other / "notebooks").mkdir(parents=True)
    (other / "vaelab").mkdir()  # such as a copy of the repository, which is called so
    (other / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n', "utf-8")
    for alone in (tmp_path, other / "notebooks", other):
        with pytest.raises(ModuleNotFoundError, match="a copy of the repository, or write"):
            run(alone)
    assert asked == []
    run(tmp_path, publish.SOURCE.sub('SOURCE = "git+https://example.org/a"', CELL))
    assert asked == ["pip install --quiet --no-deps {SOURCE}"]


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
    package = tmpfs / "renamed" / "vaelab"  # the whole package needs a larger disk
    lessons = tmpfs / "renamed" / "lessons"
    for folder in (package, lessons):
        folder.mkdir(parents=True)
    for name in ("__init__.py", "lesson.py"):  # what the cell looks for
        (package / name).touch()
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    command = [sys.executable, "-B", "-c", FIND.format(root=str(ROOT), cell=CELL)]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run(command, cwd=lessons, env=clean, capture_output=True, text=True)
    assert run.stdout.strip() == str(package / "__init__.py"), run.stderr


# --- stamps --------------------------------------------------------------------------------------


def test_a_stamp_reaches_every_place_and_nothing_else_and_can_be_replaced_and_undone(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for place, text in contents(ROOT).items():
        (tmp_path / place).write_text(text, "utf-8")
    publish.publish(tmp_path, None)
    before = contents(tmp_path)
    assert not any(addresses(tmp_path)) and "colab-badge" not in str(before)
    publish.publish(tmp_path, "someone/some.thing")
    assert addresses(tmp_path) == [{"someone/some.thing"}] * len(PLACES)
    source = 'SOURCE = "git+https://github.com/someone/some.thing"'
    for path in LESSONS:
        first, *others = read(tmp_path / "notebooks" / path.name).cells
        assert f"someone/some.thing/blob/main/notebooks/{path.name}" in first.source
        pairs = zip(read(path).cells[1:], others, strict=True)
        ((old, new),) = (pair for pair in pairs if pair[0] != pair[1])
        assert new == {**old, "source": publish.SOURCE.sub(source, old.source)}
    stamped = contents(tmp_path)
    for repo in ("a/b", "someone/some.thing", "someone/some.thing"):
        publish.publish(tmp_path, repo)
    assert contents(tmp_path) == stamped
    publish.publish(tmp_path, None)
    assert contents(tmp_path) == before


def test_the_git_remote_is_read_and_another_name_refused(monkeypatch, capsys) -> None:
    for remote in ("https://github.com/owner/some.name/", "git@github.com:owner/some.name.git"):
        assert publish.repository(remote) == "owner/some.name"
    with pytest.raises(ValueError, match="REPO=owner/name"):
        publish.repository("https://example.org/owner/name.git")
    monkeypatch.setattr(sys, "argv", ["publish.py", "https://github.com/a/b"])
    with pytest.raises(SystemExit, match="2"):
        publish.main()
    assert "expected owner/name" in capsys.readouterr().err
