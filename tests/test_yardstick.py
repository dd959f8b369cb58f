"""Checks are timed in training steps; what they return and what they kept is not lost."""

from __future__ import annotations

import json
import sys

import pytest

import yardstick


def test_a_yardstick_is_scaled_from_the_steps_that_were_timed(monkeypatch):
    costs = iter([0.1] * 10 + [0.001] * 40)  # the first ten are not timed
    clock = [0.0]
    monkeypatch.setattr(yardstick, "train_step", lambda *_: clock.append(clock[-1] + next(costs)))
    monkeypatch.setattr(yardstick.time, "perf_counter", lambda: clock[-1])
    assert yardstick.yardstick(timed=40) == pytest.approx(10)  # 10,000 steps of 1 ms
    assert len(clock) == 51


def test_what_is_aimed_at_is_kept_unless_it_failed(monkeypatch, tmp_path, capsys):
    times = iter([5.0, 17.2])
    monkeypatch.setattr(yardstick.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(yardstick, "KEPT", tmp_path / "build" / "kept.json")
    monkeypatch.setattr(yardstick, "yardstick", lambda: 10.0)
    for status, *arguments in (
        (3, "make test", "--", sys.executable, "-c", "exit(3)"),
        (0, "make quick", "--seconds", "9"),
        (0, "part of make quick", "--seconds", "5"),
        (0, ".ci/run", "--seconds", "95"),
    ):
        monkeypatch.setattr(sys, "argv", ["yardstick.py", *arguments])
        assert yardstick.main() == status
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "==> make test: 12 s are 1.2 yardsticks of 10 s, at most 5 are aimed at"
    assert said[2] == "==> part of make quick: 5 s are 0.5 yardsticks of 10 s"
    kept = {name: row["yardsticks"] for name, row in json.loads(yardstick.KEPT.read_text()).items()}
    assert kept == {"make quick": 0.9, ".ci/run": 9.5}
