"""What the tests of the explorers share: their formulas run by node, and a page with all six."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from vaelab.widgets import Explorer

# The module is loaded from its text, as a front end does it; no document exists here.
PROGRAM = """
import { readFileSync } from "node:fs";
const { module, data, buffers, calls } = JSON.parse(readFileSync(0, "utf8"));
for (const [name, letters] of Object.entries(buffers)) {
  const bytes = Buffer.from(letters, "base64");
  data[name] = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
const address = `data:text/javascript;base64,${Buffer.from(module).toString("base64")}`;
const { formulas, default: explorer } = await import(address);
if (typeof explorer.render !== "function") throw new Error("no render");
const known = formulas.prepare(data);
const results = calls.map(([name, ...given]) => {
  return formulas[name](...given.map((part) => (part === "known" ? known : part)));
});
const plain = (_, value) => {
  if (value === Infinity) return "inf";
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
};
process.stdout.write(JSON.stringify(results, plain));
"""


def node(explorer: Explorer, *calls: list) -> list[Any]:
    """What an explorer's formulas answer.

    Args:
        explorer: whose module and data.
        calls: each [name of the formula, arguments ..]; "known" stands for the prepared data.

    Returns:
        An answer to each.
    """
    if shutil.which("node") is None:
        reason = "node is not on PATH; it runs the formulas of the explorers"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    binary = {name: v for name, v in explorer.data.items() if isinstance(v, bytes)}
    task = {
        "module": explorer._esm,
        "data": {name: v for name, v in explorer.data.items() if name not in binary},
        "buffers": {name: base64.b64encode(v).decode() for name, v in binary.items()},
        "calls": calls,
    }
    command = ["node", "--input-type=module", "--eval", PROGRAM]
    run = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def close(answer: Any, number: float) -> bool:
    """Does a read-out of the browser equal Python's to 1e-3, relative or absolute?"""
    if number == float("inf"):
        return answer in ("inf", "Infinity", float("inf"))
    return abs(float(answer) - number) <= 1e-3 * max(1.0, abs(number))
