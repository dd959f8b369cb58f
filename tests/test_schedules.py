"""Oracles: the formulas of the papers in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction as F

import pytest

from vaelab import constant, cyclical, linear, sigmoid, staircase

STEPS = [1, 8, 10, 22, 97, 1000, 4690]  # of runs


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def fu(t: F, cycles: int, ramp: F, stop: F) -> F:
    """Fu et al. (2019), Equations 6 and 7; no new cycle begins at the end."""
    return stop * min(1, t * cycles % 1 / ramp) if t < 1 else stop


CASES = [  # what is left out is what the papers use; beta at progress t
    (constant, [], lambda t: 1),
    (constant, [0], lambda t: 0),
    (constant, [4], lambda t: 4),
    (linear, [], lambda t: min(1, 2 * t)),
    (linear, [0.3, 0.2, 4], lambda t: F("0.2") + F("3.8") * min(1, t / F("0.3"))),
    (linear, [1, 1, 0], lambda t: 1 - t),
    (staircase, [], lambda t: F(min(math.floor(10 * t) + 1, 10), 10)),
    (staircase, [1], lambda t: 1),
    (staircase, [7], lambda t: F(min(math.floor(7 * t) + 1, 7), 7)),
    (sigmoid, [], lambda t: logistic(20 * (t - 0.25))),
    (sigmoid, [0.5, 3, 2.5], lambda t: 2.5 * logistic(3 * (t - 0.5))),
    (sigmoid, [1, 0.01, 0], lambda t: 0),
    (sigmoid, [0, 0.01, 0.1], lambda t: 0.1 * logistic(0.01 * t)),
    (sigmoid, [0.5, 1e6, 3], lambda t: 3 * logistic(1e6 * (t - 0.5))),  # must not overflow
    (cyclical, [], lambda t: fu(t, 4, F(1, 2), 1)),
    (cyclical, [1, 1, 0.3], lambda t: fu(t, 1, 1, F("0.3"))),
    (cyclical, [3, 0.25], lambda t: fu(t, 3, F(1, 4), 1)),
    (cyclical, [22, 0.5, 0.8], lambda t: fu(t, 22, F(1, 2), F("0.8"))),  # 15 / 22 * 22 is below 15
    (cyclical, [49, 0.5, 0], lambda t: 0),
]


@pytest.mark.parametrize("kind, given, formula", CASES)
def test_a_schedule_is_its_formula_at_every_step_of_every_run(kind, given, formula):
    schedule = kind(*given)
    for t in (F(step, steps) for steps in STEPS for step in range(steps + 1)):
        beta = schedule(float(t))
        assert type(beta) is float
        assert abs(beta - float(formula(t))) <= 1e-9


@pytest.mark.parametrize(
    "kind, name, bad, interval",
    [
        (linear, "warmup", 1.5, "(0, 1]"),
        (linear, "stop", -1, "[0, inf)"),
        (sigmoid, "midpoint", 1.5, "[0, 1]"),
        (sigmoid, "steepness", 0, "(0, inf)"),
        (sigmoid, "stop", -1, "[0, inf)"),
        (cyclical, "ramp", 1.5, "(0, 1]"),
        (cyclical, "stop", -1, "[0, inf)"),
    ],
)
def test_a_refusal_names_the_interval(kind, name, bad, interval):
    with pytest.raises(ValueError) as refusal:
        kind(**{name: bad})
    assert str(refusal.value) == f"{name} must be in {interval}, got {bad}"
