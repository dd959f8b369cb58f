"""Do what Colab does, as far as that is possible elsewhere: `make colab`.

A new environment has the packages of this one, torch among them, but ipywidgets 7.7.1 and no
vaelab. Every lesson is stamped with the address of a git repository, a clone of this one, and runs
from an empty folder. What this cannot show: Colab's own page, and the versions it has today.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import nbformat

from publish import ROOT, stamp_lesson

PLACE = ROOT / "build" / "colab"
PYTHON = PLACE / "venv" / "bin" / "python"
# ipywidgets as Colab has it, and the versions of its parts that belong to it
WIDGETS = ["ipywidgets==7.7.1", "widgetsnbextension==3.6.10", "jupyterlab-widgets==1.1.11"]
OWN = ("vaelab", "__editable__", "ipywidgets", "widgetsnbextension", "jupyterlab_widgets", "pip")
RELEASE = "release-colab-rehearsal"


def make_environment() -> None:
    """An environment that borrows the packages of this one, apart from those in OWN.

    They are links in a folder that is searched last, so that pip sees but never changes them.
    """
    venv.create(PLACE / "venv", with_pip=True)
    pip("install", "--quiet", "--no-deps", *WIDGETS, "ipython_genutils==0.2.0")
    borrowed = PLACE / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OWN):
            (borrowed / entry.name).symlink_to(entry)
    site = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = Path(subprocess.check_output(site, text=True).strip())
    (folder / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")


def pip(*arguments: str) -> None:
    """Run pip in the new environment."""
    subprocess.run([PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def answer(code: str) -> str:
    """What a line of Python prints in the new environment."""
    return subprocess.check_output([PYTHON, "-c", code], text=True, cwd=PLACE).strip()


def run(lesson: Path, source: str) -> None:
    """Execute a lesson in the new environment, as in a new Colab session: without vaelab.

    Args:
        lesson: the notebook.
        source: what its first cell hands to pip.

    Raises:
        subprocess.CalledProcessError: if a cell raises.
        RuntimeError: if vaelab came from somewhere else, or the installation changed torch.
    """
    torch = "import torch; print(torch.__version__, torch.__file__)"
    before = answer(torch)
    if answer("import importlib.util as u; print(u.find_spec('vaelab'))") != "None":
        raise RuntimeError("vaelab is in the environment before the lesson installs it")
    content = PLACE / "content"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    path = Path(shutil.copy(lesson, content))
    stamp_lesson(path, None, source)
    start = time.monotonic()
    command = ["nbconvert", "--execute", "--inplace", "--ExecutePreprocessor.timeout=1800"]
    environment = os.environ | {"COLAB_RELEASE_TAG": RELEASE}
    environment.pop("PYTHONPATH", None)
    subprocess.run([PYTHON, "-m", *command, "--log-level=ERROR", path], check=True, env=environment)
    origin = answer("import vaelab; print(vaelab.__file__)")
    if not origin.startswith(str(PLACE / "venv")) or answer(torch) != before:
        raise RuntimeError(f"vaelab is {origin}; torch was {before} and is {answer(torch)}")
    said = next(
        output.text.strip()
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "ipywidgets" in output.get("text", "")
    )
    print(f"    {lesson.name}: {time.monotonic() - start:.0f} s; {said}")
    pip("uninstall", "--quiet", "--yes", "vaelab")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="+", type=Path)
    lessons = parser.parse_args().lessons
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    clone = PLACE / "repository"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    print("    committed state of this repository;", "environment with", WIDGETS[0], flush=True)
    make_environment()
    for lesson in lessons:
        run(clone / "notebooks" / lesson.name, f"git+{clone.as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
