"""What the benchmarks share: they run only on request, and end in one table and one file.

Nothing here passes or fails by time. A row says what was measured beside what was aimed at.
"""

from __future__ import annotations

import json
import os
import platform

import pytest
import torch

import yardstick
from notebook_tools import ROOT
from vaelab import Digits, load_mnist

KEPT = ROOT / "figures" / "benchmark.json"
ROWS = pytest.StashKey()


@pytest.fixture(autouse=True)
def _only_when_asked(request):
    """Each benchmark begins with one thread, as each run of the results has."""
    if not request.config.getoption("benchmark_only"):
        pytest.skip("timings, only with --benchmark-only (make bench)")
    torch.set_num_threads(1)


@pytest.fixture
def row(request):
    """Add a line to the table: row(what, value, unit, at_most=..., or at_least=...)."""

    def add(what, value, unit, **target):
        rows = request.config.stash.setdefault(ROWS, [])
        rows.append({"what": what, "value": float(f"{value:.3g}"), "unit": unit, **target})

    return add


@pytest.fixture(scope="session")
def many():
    """As many images as the full MNIST has: the bundled ones, each fifteen times."""
    small = load_mnist("5k")
    parts = (part.repeat(15, *[1] * (part.ndim - 1)) for part in small[:2])
    return Digits(*parts, small.test, small.test_labels, "60,000 digits")


def pytest_terminal_summary(terminalreporter, config):
    """Print the table and keep it, with what the numbers depend on."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    kept = json.loads(yardstick.KEPT.read_text("utf-8")) if yardstick.KEPT.exists() else {}
    for name in [name for name in yardstick.LIMITS if name in kept]:  # timed by make itself
        what, value = f"`{name}` on {kept[name]['date']}", float(f"{kept[name]['yardsticks']:.3g}")
        target = {"unit": "yardsticks", "at_most": yardstick.LIMITS[name]}
        rows.append({"what": what, "value": value, **target})
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    terminalreporter.section("benchmarks")
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        what, value, unit, *_ = row.values()
        aims = (("<=", row.get("at_most")), (">=", row.get("at_least")))
        target = "".join(f"{sign} {aim:g}" for sign, aim in aims if aim is not None)
        terminalreporter.write_line(f"{what:<{width}} {value:>8g} {unit:<14} {target}".rstrip())
    KEPT.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", "utf-8")
    terminalreporter.write_line(f"kept in {KEPT.relative_to(ROOT)}; {machine}")
