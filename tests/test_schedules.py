"""Oracles: the formulas of the papers in exact fractions, and integer arithmetic on epochs."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from vaelab import constant, cyclical, linear, sigmoid, staircase

LENGTHS = [*range(1, 41), 97, 469, 1000, 4690]  # of runs, in steps
CASES = [  # a schedule, beta at its first and last step, and whether it only rises
    (constant(), 1.0, 1.0, True),
    (constant(0), 0.0, 0.0, True),
    (constant(4.0), 4.0, 4.0, True),
    (linear(), 0.0, 1.0, True),
    (linear(0.1, 0.25, 4.0), 0.25, 4.0, True),
    (linear(1.0, 2.0, 0.5), 2.0, 0.5, False),
    (staircase(), 0.1, 1.0, True),
    (staircase(1), 1.0, 1.0, True),
    (staircase(7), 1 / 7, 1.0, True),
    (sigmoid(), 1 / (1 + math.exp(5)), 1 / (1 + math.exp(-15)), True),
    (sigmoid(0.5, 10.0, 2.0), 2 / (1 + math.exp(5)), 2 / (1 + math.exp(-5)), True),
    (cyclical(), 0.0, 1.0, False),
    (cyclical(5, 1.0, 0.3), 0.0, 0.3, False),
    (cyclical(7, 0.25), 0.0, 1.0, False),
]


@pytest.mark.parametrize("schedule, first, last, rises", CASES)
def test_every_step_of_every_run_has_a_beta_within_the_range(schedule, first, last, rises):
    assert schedule(0.0) == schedule(0) == pytest.approx(first, abs=1e-15)
    assert schedule(1.0) == schedule(1) == pytest.approx(last, abs=1e-15)
    for steps in LENGTHS:
        betas = [schedule(step / steps) for step in range(steps + 1)]
        assert {type(beta) for beta in betas} == {float}
        assert min(betas) >= 0 and max(betas) <= max(first, last) + 1e-12
        assert betas == sorted(betas) or not rises


@pytest.mark.parametrize("steps", [10, 97, 3000])
@pytest.mark.parametrize(
    "warmup, start, stop", [(0.5, 0, 1), (0.3, 0.2, 4), (1, 1, 0), (0.7, 1, 1)]
)
def test_linear_is_a_straight_line_and_then_flat(steps, warmup, start, stop):
    schedule = linear(warmup, start, stop)
    for step in range(steps + 1):
        climbed = min(Fraction(1), Fraction(step, steps) / Fraction(str(warmup)))
        assert schedule(step / steps) == pytest.approx(float(start + (stop - start) * climbed))


def test_sigmoid_is_the_logistic_function():
    for midpoint, steepness, stop in [(0.25, 20.0, 1.0), (0.5, 3.0, 2.5), (1.0, 50.0, 0.1)]:
        schedule = sigmoid(midpoint, steepness, stop)
        for step in range(101):
            t = step / 100
            expected = stop / (1 + math.exp(-steepness * (t - midpoint)))
            assert schedule(t) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    steep = sigmoid(0.5, 1e6, 3.0)  # a switch, which must not overflow
    assert [steep(t) for t in (0.0, 0.4, 0.5, 0.6, 1.0)] == [0, 0, 1.5, 3, 3]


@pytest.mark.parametrize("steps", [8, 10, 22, 97, 1000, 4690])
@pytest.mark.parametrize("cycles", [1, 3, 4, 7, 22, 49])  # 15 / 22 * 22 is just below 15
@pytest.mark.parametrize("ramp", ["0.5", "0.25", "1"])
def test_cyclical_is_the_formula_of_the_paper(steps, cycles, ramp):
    schedule, stop, share = cyclical(cycles, float(ramp), 0.8), Fraction("0.8"), Fraction(ramp)
    for step in range(steps):  # Fu et al. (2019), Equations 6 and 7, in exact fractions
        tau = Fraction(step * cycles % steps, steps)
        expected = stop * min(1, tau / share)
        assert abs(schedule(step / steps) - float(expected)) <= 1e-7


def test_what_is_left_out_is_what_the_papers_use():
    for short, full in [
        (constant(), constant(1)),
        (staircase(), staircase(10)),
        (sigmoid(), sigmoid(0.25, 20, 1)),
        (cyclical(), cyclical(4, 0.5, 1)),
        (linear(), linear(0.5, 0, 1)),
    ]:
        assert [short(step / 97) for step in range(98)] == [full(step / 97) for step in range(98)]


def test_the_ends_that_belong_to_a_range_are_taken_and_named():
    for schedule in (sigmoid(stop=0), cyclical(stop=0), linear(stop=0), constant(0)):
        assert [schedule(t) for t in (0.1, 0.6, 1.0)] == [0, 0, 0]
    assert sigmoid(0.5, 0.01)(1.0) == pytest.approx(1 / (1 + math.exp(-0.005)))  # > 0 will do
    for make, name, interval in [
        (lambda: sigmoid(steepness=-1), "steepness", "(0, inf)"),
        (lambda: sigmoid(stop=-1), "stop", "[0, inf)"),
        (lambda: cyclical(stop=-1), "stop", "[0, inf)"),
    ]:
        with pytest.raises(ValueError) as refusal:
            make()
        assert str(refusal.value) == f"{name} must be in {interval}, got -1"
