"""Oracles: the formulas of the papers in exact fractions, and integer arithmetic on epochs."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from vaelab import constant, cyclical, linear, sigmoid, staircase

LENGTHS = [*range(1, 41), 97, 469, 1000, 4690]  # of runs, in steps
EVERY = {
    "constant": (constant(0.7), 0.7),
    "linear": (linear(), 1.0),
    "linear to 2": (linear(0.3, 0.0, 2.0), 2.0),
    "linear down": (linear(0.7, 3.0, 0.5), 3.0),
    "linear to the end": (linear(1.0), 1.0),
    "staircase": (staircase(), 1.0),
    "staircase of 1": (staircase(1), 1.0),
    "staircase of 7": (staircase(7), 1.0),
    "sigmoid": (sigmoid(), 1.0),
    "sigmoid to 4": (sigmoid(0.5, 8.0, 4.0), 4.0),
    "cyclical": (cyclical(), 1.0),
    "cyclical to 0.3": (cyclical(3, 1.0, 0.3), 0.3),
    "cyclical of 7": (cyclical(7, 0.25), 1.0),
}
RISING = [name for name in EVERY if "down" not in name and "cyclical" not in name]


@pytest.mark.parametrize("name", EVERY)
def test_every_step_of_every_run_has_a_beta_within_the_range(name):
    schedule, most = EVERY[name]
    for steps in LENGTHS:
        for step in [*range(steps), steps]:
            beta = schedule(step / steps)
            assert isinstance(beta, float)
            assert 0 <= beta <= most


@pytest.mark.parametrize("name", RISING)
def test_beta_never_falls_where_it_should_only_rise(name):
    schedule, _ = EVERY[name]
    for steps in LENGTHS:
        betas = [schedule(step / steps) for step in range(steps + 1)]
        assert betas == sorted(betas)


@pytest.mark.parametrize(
    "schedule, first, last",
    [
        (constant(), 1.0, 1.0),
        (constant(0), 0.0, 0.0),
        (constant(4.0), 4.0, 4.0),
        (linear(), 0.0, 1.0),
        (linear(0.1, 0.25, 4.0), 0.25, 4.0),
        (linear(1.0, 2.0, 0.5), 2.0, 0.5),
        (staircase(), 0.1, 1.0),
        (staircase(3), 1 / 3, 1.0),
        (staircase(1), 1.0, 1.0),
        (sigmoid(), 1 / (1 + math.exp(5)), 1 / (1 + math.exp(-15))),
        (sigmoid(0.5, 10.0, 2.0), 2 / (1 + math.exp(5)), 2 / (1 + math.exp(-5))),
        (cyclical(), 0.0, 1.0),
        (cyclical(5, 1.0, 0.3), 0.0, 0.3),
    ],
)
def test_both_ends(schedule, first, last):
    assert schedule(0.0) == schedule(0) == pytest.approx(first, abs=1e-15)
    assert schedule(1.0) == schedule(1) == pytest.approx(last, abs=1e-15)


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
        assert schedule(midpoint) == pytest.approx(stop / 2)
        for step in range(101):
            t = step / 100
            expected = stop / (1 + math.exp(-steepness * (t - midpoint)))
            assert schedule(t) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_very_steep_sigmoid_is_a_switch_and_does_not_overflow():
    schedule = sigmoid(0.5, 1e6, 3.0)
    assert [schedule(t) for t in (0.0, 0.4, 0.5, 0.6, 1.0)] == [0, 0, 1.5, 3, 3]


@pytest.mark.parametrize("steps", [8, 10, 22, 97, 1000, 4690])
@pytest.mark.parametrize("cycles", [1, 3, 4, 7, 22, 49])  # 15 / 22 * 22 is just below 15
@pytest.mark.parametrize("ramp", ["0.5", "0.25", "1"])
def test_cyclical_is_the_formula_of_the_paper(steps, cycles, ramp):
    schedule, stop, share = cyclical(cycles, float(ramp), 0.8), Fraction("0.8"), Fraction(ramp)
    for step in range(steps):  # Fu et al. (2019), Equations 6 and 7, in exact fractions
        tau = Fraction(step * cycles % steps, steps)
        expected = stop * min(1, tau / share)
        assert abs(schedule(step / steps) - float(expected)) <= 1e-7


def test_cyclical_falls_once_per_cycle_and_not_at_the_end():
    for cycles in (1, 2, 4, 9):
        betas = [cyclical(cycles)(step / 720) for step in range(721)]
        falls = [step for step in range(1, 721) if betas[step] < betas[step - 1]]
        assert falls == [720 * i // cycles for i in range(1, cycles)]
        assert betas.count(1.0) == 360 + 1  # half of every cycle, and the end


def test_what_is_left_out_is_what_the_papers_use():
    for short, full in [
        (constant(), constant(1)),
        (staircase(), staircase(10)),
        (sigmoid(), sigmoid(0.25, 20, 1)),
        (cyclical(), cyclical(4, 0.5, 1)),
        (linear(), linear(0.5, 0, 1)),
    ]:
        assert [short(step / 97) for step in range(98)] == [full(step / 97) for step in range(98)]


def test_the_ends_that_belong_to_a_range_are_taken():
    for schedule in (sigmoid(stop=0), cyclical(stop=0), linear(stop=0), constant(0)):
        assert [schedule(t) for t in (0.1, 0.6, 1.0)] == [0, 0, 0]
    assert sigmoid(0.5, 0.01)(1.0) == pytest.approx(1 / (1 + math.exp(-0.005)))  # > 0 will do


def test_a_refusal_draws_the_ends_of_the_interval_as_they_are():
    for make, name, interval in [
        (lambda: sigmoid(steepness=-1), "steepness", "(0, inf)"),
        (lambda: sigmoid(stop=-1), "stop", "[0, inf)"),
        (lambda: cyclical(stop=-1), "stop", "[0, inf)"),
    ]:
        with pytest.raises(ValueError) as refusal:
            make()
        assert str(refusal.value) == f"{name} must be in {interval}, got -1"
