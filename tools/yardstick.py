"""How long the checks take, in yardsticks, which mean the same on a fast machine and a slow one.

One yardstick is 10,000 training steps of the lessons' VAE with one thread. It is timed around the
command that it measures, 250 steps before and 250 after, so that a machine that has slowed down
has slowed down for both:

    python tools/yardstick.py "make quick" -- python -m pytest tests

What is known by a name in LIMITS is kept for `make bench`, which prints it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch

from vaelab import ELBO, VAE, load_mnist
from vaelab.runs import threads_set
from vaelab.training import Minibatches, train_step

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "yardsticks.json"
STEPS, TIMED = 10_000, 250
LIMITS = {"make quick": 1, "make test": 5, ".ci/run": 9}  # yardsticks


def yardstick(timed: int = TIMED) -> float:
    """Time some training steps of the lessons' VAE with one thread.

    Args:
        timed: how many steps, after ten that are not timed.

    Returns:
        Seconds that 10,000 of them take.
    """
    model, objective = VAE(), ELBO()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batches = Minibatches(load_mnist("5k").train, 128)
    with threads_set(1):
        for step in range(-10, timed):
            if step == 0:
                start = time.perf_counter()
            train_step(model, next(batches), objective, optimizer, 0.0)
        return (time.perf_counter() - start) * STEPS / timed


def report(name: str, seconds: float, one: float) -> str:
    """Say how long something took, beside what was aimed at.

    Args:
        name: what it is called.
        seconds: how long it took.
        one: seconds of a yardstick.

    Returns:
        A line of text.
    """
    limit = f", at most {LIMITS[name]} are aimed at" if name in LIMITS else ""
    return f"==> {name}: {seconds:.0f} s are {seconds / one:.1f} yardsticks of {one:.0f} s{limit}"


def keep(name: str, seconds: float, one: float) -> None:
    """Write down what a run without errors took, if its name is one of LIMITS."""
    if name in LIMITS:
        kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
        kept[name] = {"yardsticks": seconds / one, "of": one, "date": date.today().isoformat()}
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def finished(process: subprocess.Popen) -> int:
    """Wait for a command; Ctrl-C reaches it, too, and it ends in its own way."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def main() -> int:
    """Read the command line; run and time a command, or weigh seconds that were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, help="in place of a command: what it took")
    parser.add_argument("command", nargs="*", metavar="-- command")
    args = parser.parse_args()
    before, status, seconds = yardstick(), 0, args.seconds
    if seconds is None:
        start = time.perf_counter()
        status = finished(subprocess.Popen(args.command))
        seconds = time.perf_counter() - start
    one = (before + yardstick()) / 2
    print(report(args.name, seconds, one))
    if status == 0:
        keep(args.name, seconds, one)
    return status


if __name__ == "__main__":
    sys.exit(main())
