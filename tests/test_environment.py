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
COMES_WITH = {"IPython": "ipywidgets", "PIL": "matplotlib", "traitlets": "ipywidgets"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Canonical name -> requirement, of the lines that hold for this Python."""
    parsed = [Requirement(line) for line in lines]
    held = [need for need in parsed if need.marker is None or need.marker.evaluate()]
    return {canonicalize_name(need.name): need for need in held}


RUNTIME = requirements(PROJECT["dependencies"])
ALL = RUNTIME | requirements([*chain(*PROJECT["optional-dependencies"].values())])


def test_conda_and_pip_agree() -> None:
    listed = re.findall(r"^ +- (\S+)$", read("environment.yml").split("dependencies:")[1], re.M)
    conda = {CONDA_NAMES.get(n, n): str(r.specifier) for n, r in requirements(listed).items()}
    assert conda.pop("pip") == "" and conda.pop("python") == PROJECT["requires-python"]
    assert conda == {n: str(r.specifier) for n, r in ALL.items() if n not in NOT_FROM_CONDA}


def test_every_direct_dependency_is_pinned_within_its_bounds_and_to_no_place() -> None:
    lines = read("constraints.txt").splitlines()
    pins = requirements([line for line in lines if line and not line.startswith("#")])
    for name, pin in pins.items():
        assert pin.url is None and re.fullmatch(r"==[0-9.]+", str(pin.specifier)), name
    for name, need in ALL.items():
        assert need.specifier.contains(str(pins[name].specifier)[2:]), name


def test_versions_agree() -> None:
    citation = re.findall(r"^version: (\S+)$", read("CITATION.cff"), re.M)
    changes = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.M)
    assert [vaelab.__version__, *citation, changes[0]] == 3 * [PROJECT["version"]]


def test_the_package_imports_only_what_it_requires() -> None:
    parsed = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "vaelab").rglob("*.py")]
    nodes = [node for tree in parsed for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    others = {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "vaelab"}
    assert {COMES_WITH.get(name, name) for name in others} <= RUNTIME.keys()


# --- the wheel, as Colab gets it: without the source tree ----------------------------------------


def files_of(package: Path) -> set[Path]:
    return {path.relative_to(package) for path in package.rglob("*") if path.is_file()}


IMPORT_ALL = """
import importlib, pkgutil, vaelab
print(vaelab.__file__)
for module in pkgutil.walk_packages(vaelab.__path__, "vaelab."):
    print(importlib.import_module(module.name).__file__)
"""


def test_an_installed_wheel_is_the_whole_package(tmp_path: Path) -> None:
    source, wheels, target = tmp_path / "source", tmp_path / "wheels", tmp_path / "target"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vaelab", source / "vaelab", ignore=no_caches)
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, source)
    package = files_of(source / "vaelab")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-index", "--no-deps"]  # it need not ask the network
    build = [*pip, "wheel", "--no-build-isolation", "--wheel-dir", wheels, source, *alone]
    subprocess.run(build, check=True)
    install = [*pip, "install", "--no-compile", "--target", target, *wheels.iterdir(), *alone]
    subprocess.run(install, check=True)
    assert files_of(target / "vaelab") == package
    own = os.environ | {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    run = [sys.executable, "-c", IMPORT_ALL]
    said = subprocess.check_output(run, cwd=tmp_path, env=own, text=True)
    imported = {Path(line).relative_to(target / "vaelab") for line in said.splitlines()}
    assert imported == {path for path in package if path.suffix == ".py"}


# --- make, as a dry run in a copy ---------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with only what the Makefile reads, before a first install."""
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    return tmp_path


def make(folder: Path, *arguments: str, status: int = 0) -> str:
    """What make says, run as from a shell, whatever make runs this test."""
    inherited = ("MAKE", "MFLAGS", "PYTHON", "CONSTRAINTS", "LESSONS", "ARGS")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    command = ["make", *arguments]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean)
    assert run.returncode == status, run.stderr
    return run.stdout


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def test_make_installs_the_pinned_versions_once_and_says_what_it_downloads(copy: Path) -> None:
    stamp, commands = copy / ".venv" / ".vaelab-installed", ("lab", "test", "lint", "html")
    stamp.touch()
    assert not any(re.search("pip install|download", make(copy, "-n", name)) for name in commands)
    os.utime(stamp, (0, 0))  # older than the lists
    for name in commands:
        dry = make(copy, "-n", name)
        assert re.search(r"this downloads about [\d.]+ GB", dry)
        assert re.search(r"pip install .*-c constraints\.txt .*-e '\.\[lab,test,tools\]'", dry)
        assert "-c constraints.txt" not in make(copy, "-n", name, "CONSTRAINTS=")


def test_make_hands_arguments_on_and_lab_asks_nothing(copy: Path) -> None:
    assert re.search(r"-m pytest -k losses", make(copy, "-n", "test", "ARGS=-k losses"))
    options = make(copy, "-n", "lab", "ARGS=--port 8899").partition("-m jupyterlab")[2]
    folder = copy / "tools" / "lab"
    calm = f"app_settings_dir={folder}", "--log-level=ERROR", "transport_encryption=auto"
    assert all(option in options for option in (*calm, "--port 8899"))
    settings = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
    assert json.loads(read("tools/lab/overrides.json")) == settings


def test_make_spreads_processes_of_one_thread(copy: Path) -> None:
    for command in ("test", "quick", "coverage"):
        spread = r"OMP_NUM_THREADS=\$\{OMP_NUM_THREADS:-1\} .*-m pytest -n auto .*--dist loadfile"
        assert re.search(spread, make(copy, "-n", command)), command


def test_make_says_which_python_it_needs_and_what_to_do_about_an_old_pip(copy: Path) -> None:
    script(copy / "old-python", "exit 1")
    for python in ("./old-python", "no-such-python"):
        said = make(copy, "lab", f"PYTHON={python}", status=2)
        assert f"Python 3.10 or newer, but '{python}' is missing or older" in said
    (copy / "old" / "pip").mkdir(parents=True)  # which this Python sees before its own
    sees = f'PYTHONPATH="{copy}/old" exec "{sys.executable}" "$@"'
    script(copy / ".venv" / "bin" / "python", sees)
    for version in ("20.3.4", "21.2.4"):
        (copy / "old" / "pip" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        said = make(copy, "lab", f"PYTHON={sys.executable}", status=2)
        assert "Say: .venv/bin/python -m pip install -U pip" in said and "Installing" not in said


def test_make_help_lists_every_command(copy: Path) -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.M)[0].split()
    assert sorted(re.findall(r"^  make (\w+) +\S", make(copy), re.M)) == sorted(phony)


def test_workflows_pin_their_actions_by_commit_and_may_write_nothing_but_pages() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        uses = re.findall(r"uses: (.+)", text)
        assert uses and all(re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", use) for use in uses), path
        assert re.findall(r"^permissions:\n((?:  .+\n)+)", text, re.M) == ["  contents: read\n"]
        pages = {"pages", "id-token"} if path.name == "pages.yml" else set()
        assert set(re.findall(r"([\w-]+): write", text)) <= pages
