"""What training minimizes, in nats per image.

An objective is called with the distortion and the rate that `losses` computed and with the
progress of the run; it returns one scalar. ``weights(latent_dim)`` tells what multiplied the KL of
each dimension at the last call, for the record and for plots.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Protocol

import torch
from torch import Tensor

from .checks import check_controller, check_kl, check_range, check_schedule, check_terms
from .schedules import Schedule, constant


class Objective(Protocol):
    """What :func:`vaelab.training.fit` can minimize; :class:`ELBO` is the simplest."""

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """(B,) distortion, (B, D) KL, progress in [0, 1] -> a scalar, nats per image."""

    def weights(self, latent_dim: int) -> Tensor:
        """(latent_dim,) what multiplied the KL of each dimension at the last call."""


class ELBO:
    """-ELBO = D + R, the negative evidence lower bound.

    Source:
        Kingma and Welling (2014), Equation 3.
    """

    ignores_progress = True  # so a run can be resumed with a larger budget

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """Average over the batch of distortion plus rate.

        Args:
            nll: (B,) distortion, nats per image.
            kl: (B, D) KL of each dimension, nats.
            progress: share of the run that is done, in [0, 1]; not used here.

        Returns:
            Scalar, nats per image.

        Raises:
            TypeError, ValueError: if they are not tensors (B,) and (B, D).
        """
        check_terms(nll, kl)
        return (nll + kl.sum(dim=-1)).mean()

    def weights(self, latent_dim: int) -> Tensor:
        """(latent_dim,) ones."""
        return torch.ones(latent_dim)


class BetaELBO:
    """D + beta R with a constant or a scheduled beta.

    Args:
        schedule: beta itself, >= 0, or a function from progress in [0, 1] to beta.

    Raises:
        TypeError: if it is neither a number nor a function that returns one.
        ValueError: if beta is negative or not finite; a schedule is tried at progress 0.

    Source:
        Higgins et al. (2017), Equation 4; Bowman et al. (2016), Section 3.1.
    """

    def __init__(self, schedule: Schedule | float) -> None:
        self.ignores_progress = isinstance(schedule, Real)
        check_schedule(schedule)
        self.schedule = schedule if callable(schedule) else constant(schedule)
        self.beta = self._beta(0.0)

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """Average over the batch of D + beta R; arguments as in :meth:`ELBO.__call__`."""
        check_terms(nll, kl)
        self.beta = self._beta(progress)
        return (nll + self.beta * kl.sum(dim=-1)).mean()

    def weights(self, latent_dim: int) -> Tensor:
        """(latent_dim,) times beta at the last call."""
        return torch.full((latent_dim,), self.beta)

    def _beta(self, progress: float) -> float:
        beta = self.schedule(progress)
        check_range("what schedule returns", beta, 0, math.inf, "[)")
        return float(beta)


class FreeBits:
    """D + sum over dimensions of max(lam, KL of that dimension averaged over the batch).

    The average over the batch comes first, the maximum after: below lam the KL of a dimension costs
    nothing and its KL term has no gradient.

    Args:
        lam: nats of each dimension that are free, >= 0.

    Raises:
        TypeError, ValueError: if ``lam`` is no number, negative or not finite.

    Source:
        Kingma et al. (2016), Appendix C.8, Equation 15, with one dimension to a group.
    """

    ignores_progress = True

    def __init__(self, lam: float = 0.5) -> None:
        check_range("lam", lam, 0, math.inf, "[)")
        self.lam = lam
        self._weights: Tensor | None = None

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """Distortion plus thresholded rate; arguments as in :meth:`ELBO.__call__`."""
        check_terms(nll, kl)
        per_dim = kl.mean(dim=0)  # (D,): average first ...
        self._weights = (per_dim.detach() > self.lam).float()
        return nll.mean() + per_dim.clamp(min=self.lam).sum()  # ... then the maximum

    def weights(self, latent_dim: int) -> Tensor:
        """(latent_dim,) 1 where the last batch paid for its KL, 0 where it was free."""
        return torch.ones(latent_dim) if self._weights is None else self._weights.clone()


class SoftFreeBits:
    """D + sum over dimensions of gamma_d KL_d, with gamma moved by a controller at every call.

    A dimension whose batch average is at or below (1 - tolerance) lam gets a smaller gamma, one at
    or above (1 + tolerance) lam a larger one; in between nothing moves. Since gamma never exceeds
    1, lam is a floor for the KL and not a set point: a dimension that wants more than lam keeps
    gamma = 1, the plain ELBO.

    Args:
        lam: target, nats per dimension, or for ``per_dimension=False`` nats in total; >= 0.
        tolerance: half-width of the dead band as a share of lam, in [0, 1).
        step: relative change of gamma per call, in (0, 1). A tenth makes gamma chatter around the
            floor, a fiftieth holds it.
        per_dimension: one gamma for each dimension, or a single one for the whole rate.
        init: gamma before the first call, in [floor, 1]; a number, or a tensor (D,).
        floor: smallest gamma, in [0, 1]. At 0 a starved gamma winds down without end, and float32
            eventually sticks.

    Raises:
        TypeError, ValueError: if an argument is no number or outside its range.

    Source:
        Chen et al. (2017), Appendix C, for a single gamma; Dehban et al. (2017) for one to each
        dimension.
    """

    ignores_progress = True

    def __init__(
        self,
        lam: float = 0.5,
        tolerance: float = 0.1,
        step: float = 0.02,
        per_dimension: bool = True,
        init: float | Tensor = 1.0,
        floor: float = 1e-3,
    ) -> None:
        check_controller(lam, tolerance, step, per_dimension, init, floor)
        self.lam, self.tolerance, self.step = lam, tolerance, step
        self.per_dimension, self.init, self.floor = per_dimension, init, floor
        self.gamma: Tensor | None = None  # (D,) or (1,), from the first call on

    def update(self, kl: Tensor) -> Tensor:
        """Move gamma by what the batch shows; no gradient flows.

        Args:
            kl: (B, D) KL of each dimension, nats.

        Returns:
            gamma, (D,) or (1,), after the move.

        Raises:
            TypeError, ValueError: if ``kl`` is not a tensor (B, D) with the D of the first call.
        """
        start = torch.as_tensor(self.init) if self.gamma is None else self.gamma  # (), (1,) or (D,)
        check_kl(kl, start, per_dimension=self.per_dimension)
        level = kl.detach().mean(dim=0)  # (D,)
        level = level if self.per_dimension else level.sum(dim=0, keepdim=True)  # (D,) or (1,)
        gamma = start.to(level).expand_as(level)
        down = level <= (1 - self.tolerance) * self.lam
        up = level >= (1 + self.tolerance) * self.lam
        gamma = torch.where(down & ~up, gamma * (1 - self.step), gamma)
        gamma = torch.where(up & ~down, gamma * (1 + self.step), gamma)
        self.gamma = gamma.clamp(self.floor, 1.0)
        return self.gamma

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        """Update gamma, then weigh the KL with it; arguments as in :meth:`ELBO.__call__`."""
        check_terms(nll, kl)
        gamma = self.update(kl)
        return nll.mean() + (gamma * kl.mean(dim=0)).sum()

    def weights(self, latent_dim: int) -> Tensor:
        """(latent_dim,) gamma of each dimension; ``init`` before the first call."""
        gamma = torch.as_tensor(self.init) if self.gamma is None else self.gamma
        return gamma.float().expand(latent_dim).clone()
