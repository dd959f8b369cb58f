"""Beta as a function of progress: how much the KL term weighs at each moment of a run.

A schedule is a plain function from progress in [0, 1] to beta. During training progress is
``step / steps`` with the step counted from 0, so that a run of any length sees the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .checks import check_progress, check_range, check_sizes

Schedule = Callable[[float], float]

ROUNDING = 1e-9  # 29 / 100 * 100 is 28.999999999999996 and belongs to step 29


def constant(beta: float = 1.0) -> Schedule:
    """The same beta all along: 1 is the ELBO, anything else a beta-VAE.

    Args:
        beta: weight of the KL term, >= 0.

    Returns:
        progress in [0, 1] -> beta.

    Raises:
        TypeError, ValueError: if ``beta`` is no number, negative or not finite.

    Source:
        Higgins et al. (2017), Equation 4.
    """
    check_range("beta", beta, 0, math.inf, "[)")

    def schedule(progress: float) -> float:
        check_progress(progress)
        return float(beta)

    return schedule


def linear(warmup: float = 0.5, start: float = 0.0, stop: float = 1.0) -> Schedule:
    """A straight ramp over the first part of the run, then flat.

    Args:
        warmup: share of the run that the ramp takes, in (0, 1].
        start: beta at progress 0, >= 0.
        stop: beta from the end of the ramp on, >= 0.

    Returns:
        progress in [0, 1] -> beta.

    Raises:
        TypeError, ValueError: if an argument is no number or outside its range.

    Source:
        Sønderby et al. (2016), Section 2.3 (deterministic warm-up).
    """
    check_range("warmup", warmup, 0, 1, "(]")
    check_range("start", start, 0, math.inf, "[)")
    check_range("stop", stop, 0, math.inf, "[)")

    def schedule(progress: float) -> float:
        climbed = min(1.0, check_progress(progress) / warmup)
        return (1 - climbed) * start + climbed * stop  # exactly stop at the end

    return schedule


def staircase(steps: int = 10) -> Schedule:
    """Equal steps up to 1: 0.1 on the first tenth of the run .. 1.0 on the last one.

    Args:
        steps: how many steps, >= 1.

    Returns:
        progress in [0, 1] -> beta.

    Raises:
        ValueError: if ``steps`` is not a positive integer.

    Source:
        The rule ``beta = epoch / epochs`` of many training scripts.
    """
    check_sizes(steps=steps)

    def schedule(progress: float) -> float:
        climbed = math.floor(check_progress(progress) * steps + ROUNDING)
        return min(climbed + 1, steps) / steps

    return schedule


def sigmoid(midpoint: float = 0.25, steepness: float = 20.0, stop: float = 1.0) -> Schedule:
    """A smooth switch from nearly 0 to nearly ``stop``.

    Args:
        midpoint: progress at which beta is half of ``stop``, in [0, 1].
        steepness: k in 1 / (1 + exp(-k (progress - midpoint))), > 0.
        stop: the upper plateau, >= 0.

    Returns:
        progress in [0, 1] -> beta.

    Raises:
        TypeError, ValueError: if an argument is no number or outside its range.

    Source:
        Bowman et al. (2016), Section 3.1 and Figure 2.
    """
    check_range("midpoint", midpoint, 0, 1)
    check_range("steepness", steepness, 0, math.inf, "()")
    check_range("stop", stop, 0, math.inf, "[)")
    # The logistic function written with tanh, which cannot overflow however steep it is.
    return lambda progress: (
        stop * 0.5 * (1 + math.tanh(0.5 * steepness * (check_progress(progress) - midpoint)))
    )


def cyclical(cycles: int = 4, ramp: float = 0.5, stop: float = 1.0) -> Schedule:
    """A ramp that starts over several times; each cycle climbs, then stays flat.

    Args:
        cycles: how many cycles, >= 1 (M in the paper).
        ramp: share of each cycle that climbs, in (0, 1] (R in the paper).
        stop: beta on the flat parts, >= 0.

    Returns:
        progress in [0, 1] -> beta; at exactly 1 it is ``stop``, not the start of another cycle.

    Raises:
        TypeError, ValueError: if an argument is no number or outside its range.

    Source:
        Fu et al. (2019), Equations 6 and 7.
    """
    check_sizes(cycles=cycles)
    check_range("ramp", ramp, 0, 1, "(]")
    check_range("stop", stop, 0, math.inf, "[)")

    def schedule(progress: float) -> float:
        if check_progress(progress) == 1:
            return float(stop)
        phase = (progress * cycles) % 1.0  # where in the current cycle, in [0, 1)
        return 0.0 if phase > 1 - ROUNDING else stop * min(1.0, phase / ramp)

    return schedule
