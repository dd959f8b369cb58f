"""The numbered equations of lesson 3, each against an independent calculation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor
from torch.distributions import Normal, kl_divergence

from vaelab import VAE, FreeBits, SoftFreeBits, gaussian_kl, mutual_information
from vaelab.results import ledger
from vaelab.toy import resting_kl

LAM = 0.5
STRENGTH = tensor([-1.0, 0.2, 1.5], dtype=torch.float64)  # of three Gaussian signals, in nats
FREE = STRENGTH.clamp(min=0)  # the KL that they get at the full price


def normal_draws(n: int) -> Tensor:
    """(n, 1) quantiles of N(0, 1), evenly spaced in probability: an average without noise."""
    return Normal(0.0, 1.0).icdf((torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n)


def distortion(kl: Tensor) -> Tensor:
    """Half of what is left of signals of variance exp(2 STRENGTH)."""
    return 0.5 * torch.exp(2 * (STRENGTH - kl))


def cost(kl: Tensor) -> float:
    """How much more the bound costs than with FREE."""
    return float((distortion(kl) + kl - distortion(FREE) - FREE).sum())


@pytest.mark.equation("3.1")
@pytest.mark.parametrize(("variance", "noise"), [(5.2, 0.5), (0.2, 0.6), (2.0, 0.5)])
@pytest.mark.parametrize("left", [0.05, 0.4, 0.9])
def test_no_code_of_a_direction_does_better_than_one_that_meets_the_prior(variance, noise, left):
    """q(z|x) = N(a x, left) of a normal pixel x; the decoder is the regression of x on z."""
    x, unit = math.sqrt(variance) * normal_draws(100_000), variance / (2 * noise**2)
    meets = math.sqrt((1 - left) / variance)
    for a in (meets, 0.3, 0.6, 1.5):
        rate = float(gaussian_kl(a * x, torch.full_like(x, math.log(left))).mean())
        w = a * variance / (a**2 * variance + left)  # E[x z] / E[z^2]
        error = float((x - w * a * x).square().mean()) + w**2 * left  # over q, z = a x + noise
        found, bound = error / (2 * noise**2), unit * math.exp(-2 * rate)
        assert found >= bound - 1e-3
        if a == meets:
            assert (rate, found) == pytest.approx((-0.5 * math.log(left), bound), abs=1e-3)


@pytest.mark.equation("3.2")
@pytest.mark.parametrize("gamma", [0.05, 0.5, 1.0])
@pytest.mark.parametrize(("variance", "noise"), [(5.2, 0.5), (0.2, 0.6), (1.3, 1.0)])
def test_what_a_direction_spends_at_a_price(variance, noise, gamma) -> None:
    grid = torch.linspace(0, 5, 500_001, dtype=torch.float64)
    least = variance / (2 * noise**2) * torch.exp(-2 * grid) + gamma * grid
    expected = max(0.0, 0.5 * math.log(variance / (gamma * noise**2)))
    assert grid[least.argmin()].item() == pytest.approx(expected, abs=2e-5)
    assert resting_kl(0.5 * math.log(variance / noise**2), gamma) == pytest.approx(expected)


@pytest.mark.equation("3.3")
def test_the_most_likely_noise_is_the_mean_of_what_is_left_out() -> None:
    values, kept = tensor([3.0, 1.0, 0.4, 0.3, 0.05], dtype=torch.float64), 2
    noise2 = torch.linspace(0.01, 2, 2000, dtype=torch.float64)[:, None]
    model = noise2.repeat(1, 5)  # eigenvalues of W W^T + s^2 I at the best W
    model[:, :kept] = torch.maximum(values[:kept], noise2)
    best = (-0.5 * (model.log() + values / model)).sum(dim=1).argmax()  # of the log-likelihoods
    assert noise2[best].item() == pytest.approx(values[kept:].mean().item(), abs=1e-3)


@pytest.mark.equation("3.4", "3.5")
def test_free_bits_average_first_and_where_the_gradient_of_each_variant_vanishes() -> None:
    torch.manual_seed(0)
    nll, kl = torch.rand(64), torch.rand(64, 5) * tensor([0.01, 0.3, 0.5, 1.0, 3.0])
    kl.requires_grad_()
    average_first, per_sample, whole_sample = variants = [  # F, and where its gradient is 1 / B
        (sum(column.mean().clamp(min=LAM) for column in kl.T), kl.mean(dim=0) > LAM),
        (sum(k.clamp(min=LAM) for k in kl.flatten()) / 64, kl > LAM),
        (sum(row.sum().clamp(min=5 * LAM) for row in kl) / 64, kl.sum(dim=1)[:, None] > 5 * LAM),
    ]
    for total, paid in variants:
        (gradient,) = torch.autograd.grad(total, kl)
        assert torch.allclose(gradient, paid.expand(64, 5) / 64)
        assert 0 < paid.float().mean() < 1
    loss = FreeBits(LAM)(nll, kl, 0.0) - nll.mean()
    assert loss.item() == pytest.approx(average_first[0].item(), rel=1e-5)
    assert all(abs(loss - other) > 1e-2 for other, _ in (per_sample, whole_sample))


@pytest.mark.equation("3.6", "3.7")
def test_a_weight_follows_the_rate_up_to_one() -> None:
    nll, moves = torch.full((8,), 80.0), {1.0: 0.45, 22.4: 0.45, 25.0: 0.5, 27.6: 0.55, 40.0: 0.55}
    for per_dimension in (False, True):
        for rate, gamma in moves.items():
            objective = SoftFreeBits(25.0, 0.1, 0.1, per_dimension, init=0.5)
            kl = torch.full((8, 2), rate if per_dimension else rate / 2)
            loss = objective(nll, kl * torch.linspace(0, 2, 8)[:, None], 0.0)
            assert objective.gamma.tolist() == pytest.approx([gamma] * (1 + per_dimension))
            assert loss.item() == pytest.approx(80 + gamma * rate * (1 + per_dimension))
        objective = SoftFreeBits(25.0, 0.1, 0.1, per_dimension, init=0.95)
        assert (objective.update(kl) == 1).all()


@pytest.mark.equation("3.8", "3.10")
def test_the_controller_finds_the_constrained_optimum() -> None:
    """Minimize D + sum KL subject to KL >= LAM on a fine grid, one dimension at a time."""
    grid = torch.linspace(0, 5, 500_001, dtype=torch.float64)[:, None]  # (G, 1)
    loss = distortion(grid) + grid  # (G, D)
    best = grid[loss.masked_fill(grid < LAM, math.inf).argmin(dim=0), 0]  # (D,)
    objective, gamma = SoftFreeBits(LAM, tolerance=0.01, step=0.002), torch.ones(3).double()
    for _ in range(4000):
        kl = (STRENGTH - 0.5 * gamma.log()).clamp(min=0)  # dimensions that answer at once
        gamma = objective.update(kl[None])
    assert torch.allclose(kl, best, atol=0.01 * LAM + 1e-4)
    assert torch.allclose((1 - gamma) * (kl - LAM), torch.zeros(3).double(), atol=0.01 * LAM)
    assert (gamma <= 1).all() and gamma[2] == 1 and (gamma[:2] < 1).all()


@pytest.mark.equation("3.9")
def test_the_lagrangian_is_the_weighted_loss_up_to_a_constant() -> None:
    nu, nll = tensor([0.9, 0.3, 0.0]), torch.rand(4)
    objective = SoftFreeBits(LAM, tolerance=0.99)  # a dead band so wide that gamma rests
    for kl in 0.01 + 0.9 * torch.rand(2, 4, 3):
        objective.gamma = 1 - nu
        lagrangian = nll.mean() + kl.mean(0).sum() + (nu * (LAM - kl.mean(0))).sum()
        assert torch.isclose(lagrangian - objective(nll, kl, 0.0), LAM * nu.sum())


@pytest.mark.equation("3.11", "3.13")
@pytest.mark.parametrize("floor", [0.3, LAM, 1.0])
def test_a_weight_is_the_price_of_a_nat_and_their_integral_the_cost_of_a_floor(floor) -> None:
    grid = torch.linspace(0, floor, 100_001, dtype=torch.float64)[:, None]  # (T, 1)
    held = torch.maximum(grid, FREE)  # (T, D)
    price = (1 - torch.exp(2 * (STRENGTH - held)).clamp(max=1)).sum(dim=1)  # of equation 3.2
    slope = (cost(held[-1]) - cost(held[-101])) / (grid[-1] - grid[-101])
    assert slope.item() == pytest.approx(price[-51].item(), abs=1e-6)
    integral = torch.trapezoid(price, grid[:, 0]).item()
    assert integral == pytest.approx(cost(held[-1]), abs=1e-4) and integral > 0


@pytest.mark.equation("3.12")
def test_a_minimizer_of_its_weighted_loss_costs_less_than_its_bill() -> None:
    gamma = tensor([0.3, 0.6, 1.0], dtype=torch.float64)
    held = (STRENGTH - 0.5 * gamma.log()).clamp(min=0)  # minimizes D + gamma KL
    moved, bill = (float(((1 - gamma) * part).sum()) for part in (held - FREE, held))
    assert 0 < cost(held) <= moved <= bill
    wasteful = held + tensor([1.0, 0.0, 0.0])  # no minimizer: here the cost is larger
    assert cost(wasteful) > float(((1 - gamma) * (wasteful - FREE)).sum())


@pytest.mark.equation("3.12")
def test_the_ledger_finds_a_planted_cost_move_and_bill() -> None:
    """KL of the same rank are compared: 2.5 with 3, 0.5 and 0.4 with 0."""
    vanilla = {"train_kl_per_dim": [0.0, 3.0, 0.0], "train_distortion": 80, "train_neg_elbo": 83}
    run = {"train_kl_per_dim": [0.4, 0.5, 2.5], "train_distortion": 81, "train_neg_elbo": 84.4}
    expected = {"forced": 0.9, "returned": -0.5, "distortion": 1, "cost": 1.4}
    expected["moved"] = 0.1 * -0.5 + 0.75 * 0.5 + 0.5 * 0.4
    expected["bill"] = 0.1 * 2.5 + 0.75 * 0.5 + 0.5 * 0.4
    expected["own loss"] = 1 + (0.9 * 2.5 + 0.25 * 0.5 + 0.5 * 0.4) - 0.25 * 3
    assert ledger(run | {"weights": [0.5, 0.25, 0.9]}, vanilla) == pytest.approx(expected)


@pytest.mark.equation("3.14")
def test_the_rate_is_information_plus_the_distance_of_the_aggregate_from_the_prior() -> None:
    # x ~ N(0, 1) and q(z|x) = N(a x, s^2): everything Gaussian, everything known.
    a, s = 1.3, 0.4
    information = 0.5 * math.log(1 + a**2 / s**2)
    aggregate = kl_divergence(Normal(0.0, math.hypot(a, s)), Normal(0.0, 1.0)).item()
    mu = a * normal_draws(200_000)
    rate = gaussian_kl(mu, torch.full_like(mu, 2 * math.log(s))).mean()
    assert rate.item() == pytest.approx(information + aggregate, abs=1e-3)


@pytest.mark.equation("3.15")
@pytest.mark.parametrize(("std", "dims"), [(0.8, 2), (0.3, 2), (0.05, 10)])
def test_the_information_estimate_finds_what_is_planted_up_to_its_ceiling(std, dims) -> None:
    """A code of uniform pixels that carries -log std nats in each dimension."""
    model, logvar = VAE(dims, 1, dims), torch.full((dims,), 2 * math.log(std))
    scale = math.sqrt(1 - std**2)
    model.encode = lambda x: (scale * torch.special.ndtri(x), logvar.expand_as(x))
    pixels = torch.rand(1000, dims, generator=torch.Generator().manual_seed(1))
    value, ceiling = mutual_information(model, pixels.clamp(1e-6, 1 - 1e-6))
    assert ceiling == pytest.approx(math.log(1000)) and value <= ceiling + 1e-9
    assert value == pytest.approx(min(-dims * math.log(std), ceiling), abs=0.1)
