"""Checks are timed in training steps; what they return and what they kept is not lost."""

from __future__ import annotations

import json
import sys
import time

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
    seen = []

    def step(*_):
        seen.append(1)
        time.sleep(0.001 if len(seen) > 10 else 0.1)  # the first ten are not timed

    monkeypatch.setattr(yardstick, "train_step", step)
    assert 10 < yardstick.yardstick(timed=40) < 20  # 10,000 steps of 1 ms, and the sleep's own time
    assert len(seen) == 50


def test_a_command_is_timed_and_what_it_returns_is_handed_on(kept, monkeypatch, capsys):
    code = "import sys, time; time.sleep(1); sys.exit(3)"
    assert run(monkeypatch, "make test", "--", sys.executable, "-c", code) == 3
    assert (
        "make test: 1 s are 0.1 yardsticks of 10 s, at most 5 are aimed at"
        in capsys.readouterr().out
    )
    assert not kept.exists()  # it failed


def test_only_what_is_aimed_at_is_kept(kept, monkeypatch, capsys):
    assert run(monkeypatch, "make quick", "--seconds", "9") == 0
    assert run(monkeypatch, "part of make quick", "--seconds", "5") == 0
    assert run(monkeypatch, ".ci/run", "--seconds", "95") == 0
    found = json.loads(kept.read_text("utf-8"))
    assert {name: row["yardsticks"] for name, row in found.items()} == {
        "make quick": 0.9,
        ".ci/run": 9.5,
    }
    assert "part of make quick: 5 s are 0.5 yardsticks of 10 s\n" in capsys.readouterr().out
