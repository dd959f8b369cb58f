"""The lists of what is installed agree with each other, with the imports and with the Makefile."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vaelab
from notebook_tools import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
NOT_FROM_CONDA = {"notebook", "playwright"}
COMES_WITH = {  # imports that another requirement brings along, for certain
    "IPython": "ipywidgets",
    "PIL": "matplotlib",
    "bs4": "nbconvert",
    "jinja2": "nbconvert",
    "nbclient": "nbconvert",
    "jupyter_client": "nbconvert",
    "nbformat": "nbconvert",
    "packaging": "pytest",
    "tomli": "pytest",  # on Python 3.10, in the place of
    "tomllib": "pytest",  # this, which is a part of Python since
    "traitlets": "ipywidgets",
    "zmq": "nbconvert",
}
OWN = {
    "vaelab",
    *(path.stem for folder in ("tests", "tools") for path in (ROOT / folder).rglob("*.py")),
}


def requirements(*lines: str) -> dict[str, Requirement]:
    """Canonical name -> requirement."""
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


RUNTIME = requirements(*PROJECT["dependencies"])
EXTRAS = requirements(*chain(*PROJECT["optional-dependencies"].values()))


def pins() -> dict[str, Requirement]:
    """The lines of constraints.txt that hold for this Python."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    named = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return requirements(*(str(r) for r in named if r.marker is None or r.marker.evaluate()))


def conda() -> dict[str, Requirement]:
    """The packages of environment.yml under PyPI's names, apart from Python and pip."""
    text = (ROOT / "environment.yml").read_text("utf-8").split("dependencies:")[1]
    found = requirements(*re.findall(r"^ +- (\S+)$", text, flags=re.MULTILINE))
    renamed = {CONDA_NAMES.get(name, name): requirement for name, requirement in found.items()}
    return {name: need for name, need in renamed.items() if name not in {"python", "pip"}}


def test_conda_and_pip_agree() -> None:
    pip = {n: str(r.specifier) for n, r in {**RUNTIME, **EXTRAS}.items() if n not in NOT_FROM_CONDA}
    assert {name: str(requirement.specifier) for name, requirement in conda().items()} == pip


def test_python_versions_agree() -> None:
    environment = (ROOT / "environment.yml").read_text("utf-8")
    assert f"- python{PROJECT['requires-python']}\n" in environment


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    for name, need in {**RUNTIME, **EXTRAS}.items():
        (pin,) = pins()[name].specifier
        assert pin.operator == "==" and need.specifier.contains(pin.version), name


def test_the_pins_name_no_place_on_one_machine() -> None:
    for name, pin in pins().items():
        assert pin.url is None and re.fullmatch(r"==[0-9.]+", str(pin.specifier)), name


def test_versions_agree() -> None:
    citation = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert [vaelab.__version__, *citation, changes[0]] == 3 * [PROJECT["version"]]


def imported_by(folder: str) -> set[str]:
    """The requirement that each import of somebody else's package in a folder comes from."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    names -= {*sys.stdlib_module_names, *OWN}
    return {canonicalize_name(COMES_WITH.get(name, name)) for name in names}


def test_the_package_imports_only_what_it_requires() -> None:
    assert imported_by("vaelab") <= RUNTIME.keys()


def test_tests_and_tools_import_only_what_the_extras_bring() -> None:
    allowed = {*RUNTIME, *EXTRAS}
    assert imported_by("tests") <= allowed
    assert imported_by("tools") <= allowed


# --- the wheel, as Colab gets it: without the source tree ----------------------------------------

IMPORT_ALL = """
import importlib, pkgutil, vaelab
names = [m.name for m in pkgutil.walk_packages(vaelab.__path__, "vaelab.")]
print(vaelab.__file__, *map(importlib.import_module, names), sep="\\n")
"""


def files_of(package: Path) -> set[str]:
    """The files of a package, as a repository would hold them."""
    found = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.suffix != ".pyc"}


def pip(*arguments: str | Path) -> None:
    """Run pip, which need not ask the network."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", *arguments, *quiet], check=True)


def test_an_installed_wheel_is_the_whole_package(tmp_path: Path) -> None:
    source, wheels, target = tmp_path / "source", tmp_path / "wheels", tmp_path / "target"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vaelab", source / "vaelab", ignore=no_caches)
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, source)
    front = source / "vaelab" / "planted" / "front"  # a package in a package, with a front end
    front.mkdir(parents=True)
    for file in (front.parent / "__init__.py", front / "__init__.py", front / "module.js"):
        file.touch()
    pip("wheel", "--no-build-isolation", "--wheel-dir", wheels, source)
    (wheel,) = wheels.iterdir()
    pip("install", "--target", target, wheel)
    assert files_of(target / "vaelab") == files_of(source / "vaelab")
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    modules = [path for path in files_of(target / "vaelab") if path.endswith(".py")]
    assert run.stdout.count(str(target)) == len(modules)


# --- make, as a dry run in a copy ---------------------------------------------------------------

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with only what the Makefile reads, as after a first install."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    stamp = tmp_path / ".venv" / ".vaelab-installed"
    stamp.parent.mkdir()
    stamp.touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, whatever make runs this test."""
    inherited = ("MAKE", "MFLAGS", "PYTHON", "CONSTRAINTS", "LESSONS", "ARGS")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean)


def make_older(path: Path) -> None:
    """Set a file's time back by an hour."""
    time = path.stat().st_mtime - 3600
    os.utime(path, (time, time))


@needs_make
@pytest.mark.parametrize("command", ["lab", "test", "lint", "html", "notebooks"])
def test_make_installs_the_pinned_versions_once(copy: Path, command: str) -> None:
    assert "pip install" not in make(copy, "-n", command).stdout
    make_older(copy / ".venv" / ".vaelab-installed")
    dry = make(copy, "-n", command).stdout
    assert re.search(r"pip install .*-c constraints\.txt .*-e '\.\[lab,test,tools\]'", dry)
    assert "-c constraints.txt" not in make(copy, "-n", command, "CONSTRAINTS=").stdout


@needs_make
def test_make_hands_arguments_on(copy: Path) -> None:
    assert re.search(
        r"-m jupyterlab .*--port 8899", make(copy, "-n", "lab", "ARGS=--port 8899").stdout
    )
    assert re.search(r"-m pytest -k losses", make(copy, "-n", "test", "ARGS=-k losses").stdout)


@needs_make
def test_make_lab_says_what_it_downloads_and_asks_nothing(copy: Path) -> None:
    options = make(copy, "-n", "lab").stdout
    assert "--log-level=ERROR" in options and "transport_encryption=auto" in options
    (folder,) = re.findall(r"app_settings_dir=(\S+)", options)
    assert folder == str(copy / "tools" / "lab")
    settings = json.loads((ROOT / "tools" / "lab" / "overrides.json").read_text("utf-8"))
    assert settings == {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
    assert "downloads" not in options
    make_older(copy / ".venv" / ".vaelab-installed")
    assert re.search(r"this downloads about [\d.]+ GB", make(copy, "-n", "lab").stdout)


@needs_make
def test_make_spreads_processes_of_one_thread(copy: Path) -> None:
    for command in ("test", "quick", "coverage"):
        spread = r"OMP_NUM_THREADS=\$\{OMP_NUM_THREADS:-1\} .*-m pytest -n auto .*--dist loadfile"
        assert re.search(spread, make(copy, "-n", command).stdout), command


@needs_make
def test_make_says_which_python_it_needs(copy: Path) -> None:
    make_older(copy / ".venv" / ".vaelab-installed")
    old = copy / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in ("./old-python", "no-such-python"):
        run = make(copy, "lab", f"PYTHON={python}")
        assert run.returncode != 0
        assert f"Python 3.10 or newer, but '{python}' is missing or older" in run.stdout


@needs_make
def test_make_says_what_to_do_about_an_old_pip(copy: Path) -> None:
    make_older(copy / ".venv" / ".vaelab-installed")
    (copy / "old" / "pip").mkdir(parents=True)
    (copy / ".venv" / "bin").mkdir()
    python = copy / ".venv" / "bin" / "python"  # sees the pip in the folder `old` before its own
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{copy}/old" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for version in ("20.3.4", "21.2.4"):
        (copy / "old" / "pip" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        run = make(copy, "lab", f"PYTHON={sys.executable}")
        assert run.returncode != 0 and "Installing" not in run.stdout
        assert "Say: .venv/bin/python -m pip install -U pip" in run.stdout


@needs_make
def test_make_help_lists_every_command(copy: Path) -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[0].split()
    listed = re.findall(r"^  make (\w+) +\S", make(copy).stdout, re.M)
    assert sorted(listed) == sorted(phony)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_their_actions_and_ask_for_little(path: Path) -> None:
    text = path.read_text("utf-8")
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    for action in uses:  # a tag can be moved to other code; a commit cannot
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    permissions = re.findall(r"^permissions:\n((?:  .+\n)+)", text, re.M)
    assert permissions == ["  contents: read\n"]
    writes = set(re.findall(r"([\w-]+): write", text))
    assert writes <= ({"pages", "id-token"} if path.name == "pages.yml" else set())
