"""Oracle: the model's definition, integrated numerically over a fine grid of z."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from vaelab import GaussianToy, SoftFreeBits
from vaelab.toy import resting_kl, simulate

MODELS = [
    GaussianToy(),
    GaussianToy(weight=-2.0, bias=0.0, noise=0.3),
    GaussianToy(weight=0.0, bias=-1.0, noise=2.0),
]
Z = torch.linspace(-14, 14, 100_001, dtype=torch.float64)
PRIOR = Normal(torch.zeros((), dtype=torch.float64), 1.0)

CASES = list(itertools.product(MODELS, [-1.7, 0.0, 2.2]))
every_case = pytest.mark.parametrize("toy, x", CASES)


def log_joint(toy: GaussianToy, x: float) -> torch.Tensor:
    """log p(x, z) on the grid, from the definition of the model."""
    value = torch.tensor(x, dtype=torch.float64)
    return Normal(toy.weight * Z + toy.bias, toy.noise).log_prob(value) + PRIOR.log_prob(Z)


def integral(values: torch.Tensor) -> torch.Tensor:
    return torch.trapezoid(values, Z)


def close(got: torch.Tensor, expected: torch.Tensor, atol: float = 1e-8) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@every_case
def test_likelihood_evidence_and_posterior_are_those_of_the_joint(toy, x):
    joint = log_joint(toy, x)
    close(toy.log_likelihood(x, Z), joint - PRIOR.log_prob(Z))
    evidence = integral(joint.exp())
    close(toy.log_evidence(x), evidence.log())
    density = joint.exp() / evidence
    mean = integral(Z * density)
    close(toy.posterior(x)[0], mean)
    close(toy.posterior(x)[1], integral((Z - mean) ** 2 * density).sqrt())


@every_case
@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.8, 0.4), (-1.5, 1.3)])
def test_elbo_and_gap_are_the_integrals_that_define_them(toy, x, mean, std):
    log_q = Normal(*torch.tensor([mean, std], dtype=torch.float64)).log_prob(Z)
    close(toy.elbo(x, mean, std), integral(log_q.exp() * (log_joint(toy, x) - log_q)), 1e-7)
    log_posterior = log_joint(toy, x) - integral(log_joint(toy, x).exp()).log()
    close(toy.gap(x, mean, std), integral(log_q.exp() * (log_q - log_posterior)), 1e-7)


@every_case
def test_the_bound_is_tight_and_flat_at_the_posterior(toy, x):
    mean, std = (part.requires_grad_() for part in toy.posterior(x))
    close(toy.gap(x, mean, std).detach(), torch.zeros((), dtype=torch.float64), 1e-12)
    toy.elbo(x, mean, std).backward()
    assert abs(mean.grad) < 1e-9 and abs(std.grad) < 1e-9


def test_arguments_broadcast():
    toy = MODELS[0]
    x, mean = torch.zeros(5, 1), torch.zeros(3)
    assert toy.elbo(x, mean, 1.0).shape == (5, 3)
    assert toy.gap(x, mean, torch.ones(3)).shape == (5, 3)
    assert toy.log_likelihood(x, mean).shape == (5, 3)
    assert toy.log_evidence(x).shape == toy.posterior(x)[0].shape == toy.posterior(x)[1].shape


def test_a_model_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS[0].noise = 2.0


# --- one dimension under a controller ------------------------------------------------------------


@pytest.mark.parametrize(("strength", "gamma"), [(1.0, 1.0), (1.0, 0.2), (-1.0, 0.5), (-1.0, 0.01)])
def test_resting_kl_minimizes_what_it_says(strength: float, gamma: float) -> None:
    rate = torch.linspace(0, 8, 800_001, dtype=torch.float64)
    cost = 0.5 * math.exp(2 * strength) * torch.exp(-2 * rate) + gamma * rate
    assert resting_kl(strength, gamma) == pytest.approx(float(rate[cost.argmin()]), abs=1e-4)


def test_a_simulated_run_asks_the_controller_itself() -> None:
    controller, again = (SoftFreeBits(lam=0.5, tolerance=0.1, step=0.1) for _ in range(2))
    kl, gamma = simulate(controller.update, strength=-1.0, starved=20, steps=60)
    assert controller.gamma is not None and controller.gamma.tolist() == gamma[-1].tolist()
    assert gamma[:20, 0] == pytest.approx([0.9**n for n in range(1, 21)])
    for pair, answer in zip(kl, gamma):
        assert again.update(torch.tensor(pair[None])).tolist() == answer.tolist()


def test_a_dimension_goes_to_rest_at_a_constant_weight() -> None:
    kl, _ = simulate(lambda kl: torch.tensor([0.1, 0.1]), strength=0.2, starved=30, steps=400)
    rest = resting_kl(0.2, 0.1)
    assert kl[-1] == pytest.approx([rest, rest])
    assert (kl[:31, 0] == 0).all() and kl[31, 0] > 0 and kl[0, 1] == pytest.approx(0.2)
    left = [rest - 0.2, 0.95 * (rest - 0.2), 0.95**2 * (rest - 0.2)]  # a share of the way each step
    assert rest - kl[:3, 1] == pytest.approx(left)


def test_a_run_that_could_not_take_place_is_refused() -> None:
    still = SoftFreeBits().update
    for bad in ({"strength": math.nan}, {"starved": -1}, {"steps": 0}, {"pace": 0.0}):
        given = {"strength": 1.0, "starved": 0, "steps": 5} | bad
        with pytest.raises(ValueError, match=next(iter(bad))):
            simulate(still, **given)
