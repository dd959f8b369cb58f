"""Run every test and lesson on the oldest and the newest versions that pyproject.toml admits.

For each Python and each end, uv makes an environment in ``build/matrix``; a Python that is neither
here nor to be had is reported as not tried. The tests run one environment after the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "nbval", "jupyterlab")
ENDS = {"oldest": "lowest-direct", "newest": "highest"}


def install(python: str, end: str, folder: Path) -> Path | None:
    """Make an environment.

    Args:
        python: a version, such as ``"3.10"``.
        end: ``"oldest"`` or ``"newest"``.
        folder: where it goes.

    Returns:
        Its interpreter; None if this Python cannot be had.

    Raises:
        subprocess.CalledProcessError: if the packages cannot be installed together.
    """
    made = subprocess.run([*UV, "venv", "--quiet", "--seed", "--clear", "--python", python, folder])
    if made.returncode:
        return None
    interpreter = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [*UV, "pip", "install", "--quiet", "--python", str(interpreter)]
    requirements = ["-r", "pyproject.toml", "--all-extras"]
    # Wheels only: the oldest version for a Python is the oldest that was built for it.
    bounds = ["--only-binary", ":all:", "--resolution", ENDS[end]]
    subprocess.run([*pip, *requirements, *bounds], cwd=ROOT, check=True)
    subprocess.run([*pip, "--no-deps", "-e", "."], cwd=ROOT, check=True)
    return interpreter


def versions(interpreter: Path) -> str:
    """What an environment holds of the packages that matter most."""
    listed = subprocess.run(
        [*UV, "pip", "freeze", "--python", str(interpreter)], capture_output=True, text=True
    ).stdout
    found = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    return ", ".join(f"{name} {found.get(name, 'missing')}" for name in PACKAGES)


def main() -> None:
    """Read the command line, try each pair, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", default=["3.10", "3.13"])
    parser.add_argument("--ends", nargs="+", choices=ENDS, default=list(ENDS))
    options, pytest_options = parser.parse_known_args()
    report, failed = [], False
    for python in options.pythons:
        for end in options.ends:
            print(f"==> Python {python}, {end} versions", flush=True)
            interpreter = install(python, end, ROOT / "build" / "matrix" / f"{python}-{end}")
            if interpreter is None:
                report.append(f"Python {python}, {end}: not tried, no such Python here")
                continue
            code = subprocess.run([interpreter, "-m", "pytest", *pytest_options], cwd=ROOT)
            failed |= code.returncode != 0
            outcome = "FAILED" if code.returncode else "passed"
            report.append(f"Python {python}, {end}: {outcome} with {versions(interpreter)}")
    print("\n".join(report))
    sys.exit(failed)


if __name__ == "__main__":
    main()
