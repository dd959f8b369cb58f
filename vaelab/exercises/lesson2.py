"""The checks of the exercises of lesson 2."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..schedules import cyclical
from ..toy import GaussianToy
from .checking import (
    NOTHING,
    Answer,
    Mistakes,
    Slips,
    blank,
    choose,
    judge,
    normal,
    numbers,
)


def check_cycles(falls: Any, share: Any, mean: Any) -> Answer:
    """Exercise 2.1: what ``cyclical(cycles=4, ramp=0.8)`` does in a run of 3,000 steps.

    Args:
        falls: how often beta drops from 1 to 0.
        share: of the steps that have beta = 1.
        mean: of beta over the run.
    """
    schedule = cyclical(cycles=4, ramp=0.8)
    beta = torch.tensor([schedule(step / 3000) for step in range(3000)])
    right = [(beta.diff() < 0).sum(), (beta == 1).double().mean(), beta.mean()]
    slips: Slips = [
        ("falls", 4, "the run stops at the end of the fourth cycle. Hint: M - 1."),
        ("share", 20, "a share lies between 0 and 1. Hint: 20 percent are 0.2."),
        ("mean", 60, "a mean of numbers up to 1 is no percentage. Hint: divide by 100."),
        ("share", 0.8, "that is the ramp. Hint: what is left of each cycle?"),
        ("share", 0.05, "that is one cycle. Hint: there are four."),
        ("mean", 0.4, "the flat parts are missing. Hint: they add 0.2 times 1."),
        ("mean", 0.5, "that is a ramp without a flat part."),
    ]
    praise = "After each of the three falls rate is cheap again: the path turns to the right."
    return numbers({"falls": falls, "share": share, "mean": mean}, right, slips, praise)


def check_limits(small: Any, large: Any) -> Answer:
    """Exercise 2.2: the best q and its distortion as beta goes to 0 and to infinity.

    Args:
        small: (mean, std, D) for beta -> 0, with w = 1.5, b = 0.5, s = 0.8, x = 2.
        large: the same for beta -> infinity.
    """
    if blank(small) or blank(large):
        return NOTHING
    if not all(hasattr(part, "__len__") and len(part) == 3 for part in (small, large)):
        return Answer(False, f"Give (mean, std, D) for each limit; got {small!r} and {large!r}.")
    toy = GaussianToy(weight=1.5, bias=0.5, noise=0.8)
    sharp, at_zero = (-float(toy.log_likelihood(2.0, z)) for z in (1.0, 0.0))  # D at a point
    scattered = at_zero + 1.5**2 / (2 * 0.8**2)  # and for z from the prior
    slips: Slips = [
        ("small mean", 0.0, "this is the other limit. Hint: a small beta makes rate cheap."),
        ("small mean", float(toy.posterior(2.0)[0]), "this is beta = 1. Hint: no noise is left."),
        ("small mean", 2.0, "this is x. Hint: solve x = w z + b for z."),
        ("small std", 0.8 / 1.5, "this is s / w. Hint: the noise is sqrt(beta) s."),
        ("small D", 0.0, "a density is not 1 at its peak. Hint: -log N(x; x, s^2)."),
        ("large std", 0.0, "a point costs infinitely many nats. Hint: which q costs none?"),
        ("large D", at_zero, "this is D at z = 0. Hint: z scatters like the prior, E[z^2] = 1."),
    ]
    names = [f"{side} {what}" for side in ("small", "large") for what in ("mean", "std", "D")]
    right = [1.0, 0.0, sharp, 0.0, 1.0, scattered]
    praise = "From D = 0.70 at an infinite R to D = 4.21 at R = 0: the two ends of the curve."
    return numbers(dict(zip(names, (*small, *large))), right, slips, praise)


def check_cosine(attempt: Any) -> Answer:
    """Exercise 2.3: a schedule that climbs along half a cosine wave.

    Args:
        attempt: (warmup) -> a function from progress in [0, 1] to beta.
    """
    if blank(attempt):
        return NOTHING

    def curve(warmup: float, progress: list[float]) -> list[float] | None:
        schedule = attempt(warmup)
        if not (blank(schedule) or callable(schedule)):
            raise TypeError(f"a function of progress must be returned, not {schedule!r}")
        return None if blank(schedule) else [float(schedule(t)) for t in progress]

    def curves(warmups: list[float], progress: list[float]) -> list | None:
        found = [curve(warmup, progress) for warmup in warmups]
        return None if any(map(blank, found)) else found

    t = torch.linspace(0, 1, 21, dtype=torch.float64)  # (21,)
    warmups, pi = [0.4, 0.75], math.pi
    share = t / torch.tensor(warmups, dtype=torch.float64)[:, None]  # (2, 21), of the warm-up
    u = share.clamp(max=1)  # (2, 21)
    right, whole_run = (1 - torch.cos(pi * u)) / 2, (1 - torch.cos(pi * t)) / 2
    mistakes: Mistakes = [
        (1 - right, "It falls, like the cosine of learning rates. Hint: beta starts at 0."),
        ((1 - torch.cos(pi * share)) / 2, "It comes down again. Hint: min(1, t / warmup)."),
        (whole_run.expand(2, -1), "It climbs all along the run. Hint: t / warmup."),
        (right[:1].expand(2, -1), "Right for one warm-up only. Hint: use the argument `warmup`."),
        ((1 - torch.cos(2 * pi * u)) / 2, "A whole wave, back to 0. Hint: half of one, pi."),
        (1 - torch.cos(pi * u / 2), "A quarter wave has a kink at 1. Hint: half of one, pi."),
        (2 * right, "It climbs to 2. Hint: 1 - cos goes from 0 to 2."),
        (u, "This is the straight ramp of `linear`. Hint: 1 - cos."),
    ]
    given = {"warmup": warmups, "progress": t.tolist()}
    praise = "It leaves 0 and reaches 1 without a kink, and stays."
    return judge(curves, given, right, mistakes, praise)


def check_bound_from_printed(attempt: Any) -> Answer:
    """Exercise 2.4: the negative bound from the loss that an annealed run printed.

    Args:
        attempt: (printed, beta, rate), each (T,) -> (T,) nats; one that can only handle numbers is
            called once for each of the T.
    """

    def each(*given: Tensor) -> Any:
        try:
            return attempt(*given)
        except (TypeError, ValueError, RuntimeError):  # as float() raises for T numbers
            return [attempt(*three) for three in zip(*(part.tolist() for part in given))]

    printed, beta, rate = torch.tensor([[130.0, 120, 110], [0.1, 0.5, 1], [60, 50, 30]])
    mistakes: Mistakes = [
        (printed - (1 - beta) * rate, "The sign is flipped. Hint: the discount goes back on."),
        (printed + beta * rate, "beta R is in there already. Hint: what is missing is 1 - beta."),
        (printed + rate, "Now R is billed 1 + beta times. Hint: once is enough."),
        (printed - beta * rate, "This is D alone. Hint: the bound pays for R, too."),
        (printed / beta, "D was not weighted with beta. Hint: only R was."),
    ]
    given = {"printed": printed, "beta": beta, "rate": rate}
    praise = "D + R at the full price, whatever the run was charged."
    function = each if callable(attempt) and not blank(attempt) else attempt
    return judge(function, given, printed + (1 - beta) * rate, mistakes, praise)


def check_paired(attempt: Any) -> Answer:
    """Exercise 2.5: a paired difference and its standard error.

    Args:
        attempt: (a (N,), b (N,)) -> the mean of a - b, and its standard error.
    """
    b = 110 + 30 * normal(400, seed=1)  # (N,)
    a = b + 2 + 4 * normal(400, seed=2)  # (N,)
    mean, std, apart = (a - b).mean(), (a - b).std(), (a.var() + b.var()).sqrt()
    mistakes: Mistakes = [
        ((mean, apart / 20), "The error is that of unpaired images. Hint: std of a - b."),
        ((mean, std), "The error is the std of one image. Hint: divide by sqrt(N)."),
        ((mean, std / 400), "The error is divided by N. Hint: sqrt(N)."),
        ((-mean, std / 20), "The sign is flipped. Hint: a - b; plus means that a costs more."),
        ((mean, std**2 / 20), "A variance stands for a standard deviation. Hint: std."),
    ]
    praise = "Image by image, the difficulty that both models share is gone."
    return judge(attempt, {"a": a, "b": b}, (mean, std / 20), mistakes, praise, rtol=0.01)


def check_choosing(choice: Any) -> Answer:
    """Exercise 2.6: where to choose among ten schedules, and where to report ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "The best of ten is partly luck, and the luck is in the report. Hint: new images.",
        "b": "The report is honest, but the choice rewards memorizing. Hint: hold images out.",
        "c": "Chosen where nothing is reported, reported where nothing was chosen.",
        "d": "Seeds and error bars measure noise, not the choosing. Hint: where was it done?",
    }
    letter = choice.strip().strip("().") if isinstance(choice, str) else choice  # "c)" is "c"
    return choose(letter, options, "c")
