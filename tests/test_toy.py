"""Oracle: the model's definition, integrated numerically over a fine grid of z."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from vaelab import GaussianToy, SoftFreeBits
from vaelab.toy import resting_kl, simulate

MODELS = [{}, {"weight": -2.0, "bias": 0.0, "noise": 0.3}, {"weight": 0.0, "noise": 2.0}]
Z = torch.linspace(-14, 14, 100_001, dtype=torch.float64)
PRIOR = Normal(torch.zeros((), dtype=torch.float64), 1.0)


def integral(values: torch.Tensor) -> torch.Tensor:
    return torch.trapezoid(values, Z)


def close(got: torch.Tensor, expected: torch.Tensor, atol: float = 1e-8) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("given", MODELS)
def test_everything_known_of_the_toy_is_the_integral_that_defines_it(given):
    toy = GaussianToy(**given)
    x = torch.tensor([[-1.7], [0.0], [2.2]], dtype=torch.float64)  # beside each of three q
    mean, std = torch.tensor([[0.0, 0.8, -1.5], [1.0, 0.4, 1.3]], dtype=torch.float64)
    log_likelihood = Normal(toy.weight * Z + toy.bias, toy.noise).log_prob(x)  # (3, Z)
    close(toy.log_likelihood(x, Z), log_likelihood)
    joint = log_likelihood + PRIOR.log_prob(Z)
    evidence = integral(joint.exp())  # (3,)
    close(toy.log_evidence(x)[:, 0], evidence.log())
    density = joint.exp() / evidence[:, None]
    mu, sigma = (part[:, 0] for part in toy.posterior(x))
    close(mu, integral(Z * density))
    close(sigma, integral((Z - mu[:, None]) ** 2 * density).sqrt())
    close(toy.gap(x, *toy.posterior(x)), torch.zeros_like(x), 1e-12)
    log_q = Normal(mean[:, None], std[:, None]).log_prob(Z)  # (3, Z)
    ratio = joint[:, None] - log_q  # (x, q, Z)
    elbo = integral(log_q.exp() * ratio)
    close(toy.elbo(x, mean, std), elbo, 1e-7)
    close(toy.gap(x, mean, std), evidence.log()[:, None] - elbo, 1e-7)


# --- one dimension under a controller ------------------------------------------------------------


def test_a_simulated_run_asks_the_controller_itself() -> None:
    controller, again = (SoftFreeBits(lam=0.5, tolerance=0.1, step=0.1) for _ in range(2))
    kl, gamma = simulate(controller.update, strength=-1.0, starved=20, steps=60)
    assert controller.gamma.tolist() == gamma[-1].tolist()
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


def test_what_could_not_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^noise must be in \(0, inf\), got 0$"):
        GaussianToy(noise=0)
    for bad in ({"strength": math.nan}, {"starved": -1}, {"steps": 0}, {"pace": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            simulate(SoftFreeBits().update, **{"strength": 1.0, "starved": 0, "steps": 5} | bad)
