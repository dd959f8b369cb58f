"""One simulated latent dimension under the controller of soft free bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import check_range, check_sizes
from ..objectives import SoftFreeBits
from ..plotting import COLORS
from ..toy import simulate
from .explorer import Explorer, Figure, choice, module_text, slider

PACE = 0.05  # share of the way that the KL goes in a step
FLOORS = {0.0: "none", 1e-6: "10⁻⁶", 1e-4: "10⁻⁴", 1e-3: "10⁻³", 1e-2: "10⁻²", 1e-1: "10⁻¹"}


class SoftFreeBitsPlayground(Explorer):
    """Turn the knobs of the soft free bits controller on one simulated latent dimension.

    The controller is `SoftFreeBits` itself; how the dimension answers is `vaelab.toy.simulate`, a
    model and not a trained network.

    Args:
        steps: length of the simulated run.

    Raises:
        ValueError: if ``steps`` is not an integer of at least 10.
    """

    _esm = module_text("playground")

    def __init__(self, steps: int = 800) -> None:
        check_sizes(steps=steps)
        check_range("steps", steps, 10)
        self.steps = steps
        controls = {
            "strength": slider("KL at γ = 1 (below 0: unused)", -1.0, -2.0, 2.0, 0.1, unit="nats"),
            "starved": slider("starved for, steps", steps // 5, 0, 3 * steps // 4, 10),
            "floor": choice("floor of γ", 1e-3, FLOORS),
            "init": slider("γ at the start", 1.0, 0.1, 1.0, 0.05),
            "lam": slider("λ, the floor of the KL, nats", 0.5, 0.1, 2.0, 0.05),
            "tolerance": slider("tolerance, share of λ", 0.1, 0.0, 0.5, 0.01),
            "step": slider("step, share of γ", 0.02, 0.01, 0.3, 0.01),
        }
        super().__init__(controls, steps=steps, pace=PACE)

    def run(
        self, strength: float, starved: float, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Simulate a run with these values of all controls: KL and gamma, each (T, 2)."""
        controller = SoftFreeBits(**settings)
        return simulate(controller.update, strength, int(starved), self.steps, PACE)

    def read_out(self, **values: Any) -> dict[str, float]:
        """Steps to recover, the KL in nats, and gamma."""
        pairs, gammas = self.run(**values)
        kl, gamma = pairs[:, 0], gammas[:, 0]
        near = 2 * max(values["tolerance"], 0.1) * values["lam"]
        return {
            "recovery": recovery(pairs, int(values["starved"]), near),
            "peak_kl": float(kl.max()),
            "final_kl": float(kl[-1]),
            "lowest_gamma": float(gamma.min()),
            "final_gamma": float(gamma[-1]),
        }

    def draw(self, figure: Figure, **values: Any) -> None:
        """KL with the band in which gamma rests, above gamma, over the steps of the run."""
        top, bottom = figure.subplots(2, 1, sharex=True)
        (pairs, gammas), steps = self.run(**values), np.arange(self.steps)
        half = values["tolerance"] * values["lam"]
        top.axhspan(
            values["lam"] - half,
            values["lam"] + half,
            color=COLORS["band"],
            alpha=0.6,
            label=r"$\gamma$ rests",
        )
        for ax, lines, color in ((top, pairs, "rate"), (bottom, gammas, "gamma")):
            if values["starved"]:
                ax.axvspan(0, values["starved"], color="#DDDDDD", label="starved")
                ax.plot(steps, lines[:, 1], "--", color="#777777", lw=1.6, label="never starved")
            ax.plot(steps, lines[:, 0], color=COLORS[color], lw=2.6, label="this dimension")
        top.set(xlim=(0, self.steps), ylim=(0, None), ylabel="KL in nats")
        bottom.set(yscale="log", xlabel="step", ylabel=r"weight $\gamma$")
        top.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        steps_needed = self.read_out(**values)["recovery"]
        said = f"{steps_needed:.0f} steps after the starved phase"
        if math.isinf(steps_needed):
            said = f"not within the {self.steps} steps shown"
        told = f"floor {values['floor']:g}"
        if values["starved"]:
            told += f", starved for {values['starved']:.0f} steps: recovery {said}"
        figure.suptitle(told)


def recovery(kl: np.ndarray, starved: int, near: float) -> float:
    """Steps that a starved dimension needs to come back for good.

    Args:
        kl: (T, 2), the starved dimension and an identical one that was not.
        starved: steps of the starved phase.
        near: largest difference between the two that counts as recovered, nats.

    Returns:
        Steps after the starved phase; infinite if the run ends before.
    """
    apart = np.flatnonzero(np.abs(kl[:, 0] - kl[:, 1]) > near)
    if len(apart) == 0:
        return 0.0
    return math.inf if apart[-1] == len(kl) - 1 else float(max(0, apart[-1] + 1 - starved))
