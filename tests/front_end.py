"""What the tests of the explorers share: all six, their formulas run by node, and a browser."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import pytest

from vaelab.widgets import Explorer

LAPTOP = {"width": 1366, "height": 768}
# Run by the tests and by the kernel of a notebook, so that both have the same models.
SETUP = """
import time, torch, ipywidgets
from pathlib import Path
from vaelab import VAE, load_mnist
from vaelab.widgets import *
digits = load_mnist("5k")
torch.manual_seed(0)
model, other, flat = VAE(8, 64), VAE(8, 64), VAE(2, 64)
for net in (model, other, flat):  # as if trained: digits lie apart, pixels are black or white
    net.to_mu.weight.data.mul_(8)
    net.to_logits.weight.data.mul_(8)
"""
CELLS = {
    "BoundExplorer": "(bound := BoundExplorer())",
    "PlaneExplorer": "PlaneExplorer(flat, digits)",
    "LatentExplorer": "LatentExplorer(model, digits)",
    "ScheduleExplorer": "ScheduleExplorer()",
    "SoftFreeBitsPlayground": "SoftFreeBitsPlayground()",
    "BetaExplorer": "BetaExplorer({4.0: other, 0.5: model, 1.0: model}, digits)",
}
# The module is loaded from its text, as a front end does it; no document exists here.
PROGRAM = """
import { readFileSync } from "node:fs";
const revive = (_, value) => {
  if (!value?.bytes) return value;
  const bytes = Buffer.from(value.bytes, "base64");
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};
const { module, data, calls } = JSON.parse(readFileSync(0, "utf8"), revive);
const address = `data:text/javascript;base64,${Buffer.from(module).toString("base64")}`;
const { formulas } = await import(address);
const known = formulas.prepare(data);
const results = calls.map(([name, ...given]) => {
  return formulas[name](...(name === "centered" ? [] : [known]), ...given);
});
const plain = (_, value) => {
  if (value === Infinity) return "inf";
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
};
process.stdout.write(JSON.stringify(results, plain));
"""


@cache
def names() -> dict[str, Any]:
    """What SETUP defines: digits, models and classes."""
    defined: dict[str, Any] = {}
    exec(SETUP, defined)
    return defined


def made(cell: str, **more: Any) -> Explorer:
    """The explorer that a cell shows, if need be of other models."""
    return eval(cell, names() | more)


def node(explorer: Explorer, *calls: list) -> list[Any]:
    """What an explorer's formulas answer to calls: [name of the formula, arguments ..] each."""
    if shutil.which("node") is None:
        missing("node is not on PATH; it runs the formulas of the explorers")
    task = {"module": explorer._esm, "data": explorer.data, "calls": calls}
    text = json.dumps(task, default=lambda part: {"bytes": base64.b64encode(part).decode()})
    command = ["node", "--input-type=module", "--eval", PROGRAM]
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def missing(reason: str) -> None:
    """Skip a test, but never in CI."""
    pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def same(shown: dict, numbers: dict[str, float]) -> bool:
    """Do read-outs of the browser equal Python's to 1e-3, relative or absolute?"""
    near = partial(math.isclose, rel_tol=1e-3, abs_tol=1e-3)  # infinity is close to itself
    return bool(shown) and all(near(float(said), numbers[name]) for name, said in shown.items())


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    from explorer_page import BROWSERS

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing(f"no browser: none of {', '.join(BROWSERS)} is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
