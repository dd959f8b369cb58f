"""Do what Colab does, as far as that is possible elsewhere: `make colab`.

``tools/colab-versions.txt`` names the versions that Colab publishes. An environment gets those,
with the nearest Python that is here, and no vaelab. Every lesson is stamped with the address of a
git repository, a clone of this one, and runs from an empty folder; then the tests of exercises and
explorers run there. What this cannot show: Colab's own page, and the versions it has today.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat

from publish import ROOT, stamp_lesson

PLACE = ROOT / "build" / "colab"
PYTHON = PLACE / "venv" / "bin" / "python"
VERSIONS = ROOT / "tools" / "colab-versions.txt"
TESTS = ["tests/test_exercises.py", "tests/test_widgets.py"]
RELEASE = "release-colab-rehearsal"


def nearest_python(wanted: str) -> str:
    """The interpreter of this version, else of the nearest one below it, else this one.

    Args:
        wanted: such as ``"3.13"``.
    """
    for minor in range(int(wanted.split(".")[1]), 9, -1):
        found = shutil.which(f"python3.{minor}")
        # a launcher without its Python answers with an error
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    return sys.executable


def make_environment() -> None:
    """An environment with Colab's versions; one that an earlier call made from this list stays."""
    wanted, stamp = VERSIONS.read_text("utf-8"), PLACE / "versions.txt"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    python = nearest_python(re.findall(r"^# Python (\S+)", wanted)[0])
    subprocess.run([python, "-m", "venv", "--clear", PLACE / "venv"], check=True)
    print("    installing Colab's versions; PyTorch for Linux is a download of 3 GB", flush=True)
    needed = ["--requirement", VERSIONS, "pytest", "hypothesis"]
    pip("install", "--quiet", "--only-binary=:all:", *needed)
    stamp.write_text(wanted, encoding="utf-8")


def pip(*arguments: str | Path) -> None:
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
        RuntimeError: if vaelab came from somewhere else, or the installation changed a version.
    """
    if answer("import importlib.util as u; print(u.find_spec('vaelab'))") != "None":
        pip("uninstall", "--quiet", "--yes", "vaelab")
    content = PLACE / "content"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    path = Path(shutil.copy(lesson, content))
    stamp_lesson(path, None, source)
    start = time.monotonic()
    command = ["nbconvert", "--execute", "--inplace", "--ExecutePreprocessor.timeout=1800"]
    # the second one keeps an old debugger from talking about Python's frozen modules
    own = {"COLAB_RELEASE_TAG": RELEASE, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    subprocess.run(
        [PYTHON, "-m", *command, "--to=notebook", "--log-level=ERROR", path],
        check=True,
        env=os.environ | own,
    )
    origin, changed = answer("import vaelab; print(vaelab.__file__)"), changes()
    if changed or not origin.startswith(str(PLACE / "venv")):
        raise RuntimeError(f"vaelab is {origin}; its installation changed {changed}")
    said = next(
        output.text.strip()
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "ipywidgets" in output.get("text", "")
    )
    print(f"    {lesson.name}: {time.monotonic() - start:.0f} s; {said}", flush=True)


def changes() -> list[str]:
    """The packages that are not there in the version that the list names."""
    wanted = re.findall(r"^(\S+==\S+)$", VERSIONS.read_text("utf-8"), re.M)
    found = subprocess.check_output([PYTHON, "-m", "pip", "freeze"], text=True).lower().split()
    return [pin for pin in wanted if pin not in found]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="+", type=Path)
    lessons = parser.parse_args().lessons
    os.environ.pop("PYTHONPATH", None)  # this checkout is not what is tried
    PLACE.mkdir(parents=True, exist_ok=True)
    make_environment()
    clone = PLACE / "repository"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    print(f"    committed state of this repository; {VERSIONS.name}:", flush=True)
    for lesson in lessons:
        run(clone / "notebooks" / lesson.name, f"git+{clone.as_uri()}")
    plain = ["-q", "--disable-warnings", "-o", "addopts=", "-p", "no:cacheprovider"]
    subprocess.run([PYTHON, "-m", "pytest", *plain, *TESTS], cwd=clone, check=True)


if __name__ == "__main__":
    sys.exit(main())
