"""Checks are timed in training steps; what they return and what they kept is not lost."""

from __future__ import annotations

import json
import sys

import pytest

import yardstick


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A file of its own, and a yardstick of 10 s."""
    monkeypatch.setattr(yardstick, "KEPT", tmp_path / "build" / "kept.json")
    monkeypatch.setattr(yardstick, "yardstick", lambda: 10.0)
    return yardstick.KEPT


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["yardstick.py", *arguments])
    return yardstick.main()


def test_a_yardstick_is_scaled_from_the_steps_that_were_timed(monkeypatch):
    seen, clock = [], [0.0]

    def step(*_):
        seen.append(1)
        clock[0] += 0.001 if len(seen) > 10 else 0.1  # the first ten are not timed

    monkeypatch.setattr(yardstick, "train_step", step)
    monkeypatch.setattr(yardstick.time, "perf_counter", lambda: clock[0])
    assert yardstick.yardstick(timed=40) == pytest.approx(10)  # 10,000 steps of 1 ms
    assert len(seen) == 50


def test_a_command_is_timed_and_what_it_returns_is_handed_on(kept, monkeypatch, capsys):
    times = iter([5.0, 17.2])
    monkeypatch.setattr(yardstick.time, "perf_counter", lambda: next(times))
    assert run(monkeypatch, "make test", "--", sys.executable, "-c", "exit(3)") == 3
    said = "make test: 12 s are 1.2 yardsticks of 10 s, at most 5 are aimed at"
    assert said in capsys.readouterr().out
    assert not kept.exists()  # it failed


def test_only_what_is_aimed_at_is_kept(kept, monkeypatch, capsys):
    for name, seconds in (("make quick", "9"), ("part of make quick", "5"), (".ci/run", "95")):
        assert run(monkeypatch, name, "--seconds", seconds) == 0
    found = json.loads(kept.read_text("utf-8"))
    yardsticks = {name: row["yardsticks"] for name, row in found.items()}
    assert yardsticks == {"make quick": 0.9, ".ci/run": 9.5}
    assert "part of make quick: 5 s are 0.5 yardsticks of 10 s\n" in capsys.readouterr().out
