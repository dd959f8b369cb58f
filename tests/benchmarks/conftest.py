"""What the benchmarks share: they run only on request, and end in one table and one file.

Nothing here passes or fails by time. A row says what was measured beside what was aimed at.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import yardstick
from notebook_tools import ROOT
from vaelab import Digits, load_mnist

KEPT = ROOT / "figures" / "benchmark.json"
ROWS = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture(autouse=True)
def _only_when_asked(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("benchmark_only"):
        pytest.skip("timings, only with --benchmark-only (make bench)")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Add a line to the table: row(what, value, unit, at_most=..., or at_least=...)."""

    def add(what: str, value: float, unit: str, **target: float) -> None:
        rows = request.config.stash.setdefault(ROWS, [])
        rows.append({"what": what, "value": float(f"{value:.3g}"), "unit": unit, **target})

    return add


@pytest.fixture(params=[1, os.cpu_count()], ids=lambda n: f"threads={n}")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """One thread, as each run of the results has, then as many as PyTorch takes by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def many() -> Digits:
    """As many images as the full MNIST has: the bundled ones, each fifteen times."""
    small = load_mnist("5k")
    parts = (part.repeat(15, *[1] * (part.ndim - 1)) for part in small[:2])
    return Digits(*parts, small.test, small.test_labels, "60,000 digits")


def verdict(row: dict[str, Any]) -> tuple[str, str]:
    """The target and whether it is met, in words."""
    if "at_most" in row:
        return f"<= {row['at_most']:g}", "met" if row["value"] <= row["at_most"] else "not met"
    if "at_least" in row:
        return f">= {row['at_least']:g}", "met" if row["value"] >= row["at_least"] else "not met"
    return "", ""


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table and keep it."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    kept = json.loads(yardstick.KEPT.read_text("utf-8")) if yardstick.KEPT.exists() else {}
    for name, limit in yardstick.LIMITS.items():
        if name in kept:  # timed by the command itself, when it last ran here
            what = f"`{name}` on {kept[name]['date']}"
            value = float(f"{kept[name]['yardsticks']:.3g}")
            rows.append({"what": what, "value": value, "unit": "yardsticks", "at_most": limit})
    terminalreporter.section("benchmarks")
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        target, met = verdict(row)
        line = f"{row['what']:<{width}} {row['value']:>8g} {row['unit']:<14} {target:>8}  {met}"
        terminalreporter.write_line(line.rstrip())
    KEPT.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", "utf-8")
    terminalreporter.write_line(f"kept in {KEPT.relative_to(ROOT)}; {machine()}")
