"""A schedule of beta, and the path that it causes in a model small enough to train at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import schedules
from ..checks import check_range, check_sizes
from ..plotting import COLORS
from .explorer import Explorer, Figure, choice, module_text, slider

SIGNALS = (9.0, 4.0, 1.4, 0.5)  # variance of each dimension of x, in units of the noise
LEARNING_RATE = 0.05
FULL = 0.99  # a sigmoid only comes close to its plateau
USED = 0.05  # nats: a dimension below is dead
PARAMETERS = {
    "constant": ("beta",),
    "linear": ("warmup", "start", "stop"),
    "staircase": ("steps",),
    "sigmoid": ("midpoint", "steepness", "stop"),
    "cyclical": ("cycles", "ramp", "stop"),
}


def train_path(signals: Sequence[float], betas: np.ndarray, rate: float = LEARNING_RATE) -> Any:
    """Train a linear-Gaussian VAE by exact gradients of D + beta R.

    Dimension d of the data is N(0, s_d), that of the model N(w_d z_d, 1) with z_d ~ N(0, 1), and
    q(z_d | x) = N(a_d x_d / sqrt(s_d), v_d). On average over the data, in nats, up to a constant,

        D_d = (s_d - 2 sqrt(s_d) w_d a_d + w_d^2 (a_d^2 + v_d)) / 2,
        R_d = (a_d^2 + v_d - 1 - log v_d) / 2.

    Args:
        signals: s, (K,).
        betas: (T,) weight of R at each step.
        rate: step of gradient descent on w, a and log v, which start at 0.1, 0.1 and 0.

    Returns:
        D and R of every dimension before each step and after the last, each (T + 1, K).

    Source:
        Lucas et al. (2019) for the linear VAE; Cover and Thomas (2006), Section 10.3.3, for its
        optimum.
    """
    s = np.asarray(signals, dtype=float)  # (K,)
    root = np.sqrt(s)
    w, a, log_v = np.full_like(s, 0.1), np.full_like(s, 0.1), np.zeros_like(s)
    distortions, rates = [], []
    for beta in [*betas, 0.0]:
        v = np.exp(log_v)
        distortions.append(0.5 * (s - 2 * root * w * a + w**2 * (a**2 + v)))
        rates.append(0.5 * (a**2 + v - 1 - log_v))
        dw = -root * a + w * (a**2 + v)
        da = -root * w + w**2 * a + beta * a
        dlog_v = 0.5 * (w**2 * v + beta * (v - 1))
        w, a, log_v = w - rate * dw, a - rate * da, log_v - rate * dlog_v
    return np.array(distortions), np.array(rates)


def best(signals: Sequence[float], beta: float) -> tuple[float, float]:
    """D and R in nats where D + beta R is least (reverse water-filling)."""
    s = np.asarray(signals, dtype=float)
    rate = 0.5 * np.log(np.maximum(1, s / beta))
    return float(0.5 * np.minimum(s, beta).sum()), float(rate.sum())


class ScheduleExplorer(Explorer):
    """Shape beta over a run, and watch the path in the rate-distortion plane that it causes.

    Args:
        steps: length of the run.
        signals: variance of each dimension of the data, in units of the noise; above 1 a dimension
            pays at beta = 1.

    Raises:
        TypeError, ValueError: if ``steps`` is no positive integer, or a signal is not a number
            within (0, 16].
    """

    _esm = module_text("schedule")
    size = (9.4, 5.4)

    def __init__(self, steps: int = 300, signals: Sequence[float] = SIGNALS) -> None:
        check_sizes(steps=steps)
        if not isinstance(signals, (tuple, list)) or not signals:
            raise TypeError(f"signals must be a list of numbers, got {signals!r}")
        for signal in signals:  # above 16 the steps of the training are too long
            check_range("every one of signals", signal, 0, 16, "(]")
        self.run_steps, self.signals = steps, sorted(map(float, signals), reverse=True)
        controls = {
            "kind": choice("schedule", "linear", {kind: kind for kind in PARAMETERS}),
            "beta": slider("β", 1.0, 0.0, 2.0, 0.05),
            "warmup": slider("warm-up, share of the run", 0.5, 0.05, 1.0, 0.05),
            "start": slider("first β", 0.0, 0.0, 2.0, 0.05),
            "steps": slider("stairs", 10, 1, 20, 1),
            "midpoint": slider("midpoint, share of the run", 0.25, 0.0, 1.0, 0.05),
            "steepness": slider("steepness k", 20, 1, 100, 1),
            "cycles": slider("cycles M", 4, 1, 10, 1),
            "ramp": slider("ramp R, share of a cycle", 0.5, 0.05, 1.0, 0.05),
            "stop": slider("last β", 1.0, 0.05, 2.0, 0.05),
        }
        more = {"signals": self.signals, "rate": LEARNING_RATE, "full": FULL, "used": USED}
        super().__init__(controls, run_steps=steps, parameters=PARAMETERS, **more)

    def betas(self, kind: str, **shape: float) -> np.ndarray:
        """(steps,) beta at every step, for what the sliders of this schedule say."""
        chosen = {name: shape[name] for name in PARAMETERS[kind]}
        chosen |= {name: int(chosen[name]) for name in ("steps", "cycles") if name in chosen}
        schedule = getattr(schedules, kind)(**chosen)
        return np.array([schedule(i / self.run_steps) for i in range(self.run_steps)])

    def read_out(self, **values: Any) -> dict[str, float]:
        """The shape of the schedule, and where its path leads, in nats."""
        betas = self.betas(**values)
        distortion, rate = train_path(self.signals, betas)
        return {
            "mean_beta": float(betas.mean()),
            "share_at_full": float((betas >= FULL * betas.max()).mean()),
            "distortion": float(distortion[-1].sum()),
            "rate": float(rate[-1].sum()),
            "peak_rate": float(rate.sum(axis=1).max()),
            "deficit": float((distortion + rate)[-1].sum()) - sum(best(self.signals, 1.0)),
            "used": float((rate[-1] > USED).sum()),
        }

    def draw(self, figure: Figure, **values: Any) -> None:
        """The schedule above the rates that follow it; beside them the plane."""
        parts: Any = figure.subfigures(1, 2, width_ratios=[1, 1.1])
        left, right = parts
        above, below = left.subplots(2, 1, sharex=True)
        plane = right.subplots()
        betas, color = self.betas(**values), COLORS[values["kind"]]
        distortion, rate = train_path(self.signals, betas)
        above.plot(betas, color=color, lw=3)
        above.set(ylim=(0, 2.05), ylabel=r"weight $\beta$")
        for k, signal in enumerate(self.signals):
            below.plot(rate[:, k], color=color, alpha=1 - 0.2 * k, label=f"signal {signal:g}")
        below.set(xlabel="training step", ylabel="KL in nats")
        below.legend(loc="best")
        front = np.array([best(self.signals, beta) for beta in np.geomspace(0.05, 20, 200)])
        plane.plot(front[:, 1], front[:, 0], color="#888888", label=r"best for each $\beta$")
        plane.plot(rate.sum(axis=1), distortion.sum(axis=1), color=color, lw=3, label="training")
        plane.plot(rate[-1].sum(), distortion[-1].sum(), "o", ms=11, color=color)
        at_one = best(self.signals, 1.0)
        plane.plot(at_one[1], at_one[0], "*", ms=18, color="#000000", label=r"best at $\beta$ = 1")
        plane.set(
            xlim=(0, None), ylim=(0, None), xlabel="rate R in nats", ylabel="distortion D in nats"
        )
        plane.legend(loc="upper right")
        n = self.read_out(**values)
        figure.suptitle(f"{values['kind']}: ends {n['deficit']:.3f} nats above the best at β = 1")
