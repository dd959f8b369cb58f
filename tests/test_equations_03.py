"""The numbered equations of lesson 3, each against an independent calculation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vaelab import FreeBits, SoftFreeBits, gaussian_kl, mutual_information
from vaelab.diagnostics import pca_rates
from vaelab.results import ledger
from vaelab.toy import resting_kl

LAM = 0.5


def normal_draws(n: int) -> Tensor:
    """(n, 1) quantiles of N(0, 1), evenly spaced in probability: an average without noise."""
    return Normal(0.0, 1.0).icdf((torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n)


def scattered_kl(seed: int = 0) -> Tensor:
    """(64, 5) nats: dead, weak and strong dimensions that differ from image to image."""
    scale = torch.tensor([0.01, 0.3, 0.5, 1.0, 3.0])
    return torch.rand(64, 5, generator=torch.Generator().manual_seed(seed)) * scale


def average_first(kl: Tensor, lam: float) -> Tensor:
    return torch.stack([max(torch.tensor(lam), column.mean()) for column in kl.T]).sum()


def per_sample(kl: Tensor, lam: float) -> Tensor:
    return torch.maximum(kl, torch.tensor(lam)).sum() / len(kl)


def whole_sample(kl: Tensor, lam: float) -> Tensor:
    rows = [max(torch.tensor(lam * kl.shape[1]), row.sum()) for row in kl]
    return torch.stack(rows).sum() / len(kl)


# --- 3.1 Why dimensions die ---------------------------------------------------------------------


def channel(variance: float, noise: float, kl: float, draws: Tensor) -> tuple[float, float]:
    """Distortion above the constant, and rate, of a linear VAE of one pixel that spends kl nats.

    The prior is met: q(z|x) = N(a x, e^(-2 kl)) with a^2 variance = 1 - e^(-2 kl), and the decoder
    is the regression of x on z.
    """
    left = math.exp(-2 * kl)
    a = math.sqrt((1 - left) / variance)
    x = math.sqrt(variance) * draws  # (n, 1)
    rate = gaussian_kl(a * x, torch.full_like(x, math.log(left))).mean()
    w = a * variance  # E[x z] / E[z^2]
    error = (x - w * a * x).square().mean() + w**2 * left  # over q(z|x), z = a x + noise
    return float(error) / (2 * noise**2), float(rate)


@pytest.mark.equation("3.1")
@pytest.mark.parametrize("kl", [0.1, 0.7, 2.0])
@pytest.mark.parametrize(("variance", "noise"), [(5.2, 0.5), (0.2, 0.6)])
def test_what_a_direction_pays_when_it_spends_nats(variance, noise, kl) -> None:
    distortion, rate = channel(variance, noise, kl, normal_draws(100_000))
    assert rate == pytest.approx(kl, abs=1e-3)
    assert distortion == pytest.approx(variance / (2 * noise**2) * math.exp(-2 * kl), rel=1e-3)


@pytest.mark.equation("3.1")
def test_no_gaussian_code_of_one_direction_does_better() -> None:
    variance, noise, draws = 2.0, 0.5, normal_draws(20_000)
    for a in (0.3, 0.6, 1.5):  # codes that do not meet the prior
        for left in (0.1, 0.4, 0.9):
            x = math.sqrt(variance) * draws
            rate = float(gaussian_kl(a * x, torch.full_like(x, math.log(left))).mean())
            w = a * variance / (a**2 * variance + left)
            error = variance * (1 - w * a) ** 2 + w**2 * left
            bound = variance / (2 * noise**2) * math.exp(-2 * rate)
            assert error / (2 * noise**2) >= bound - 1e-3


@pytest.mark.equation("3.2")
@pytest.mark.parametrize("gamma", [0.05, 0.5, 1.0])
@pytest.mark.parametrize(("variance", "noise"), [(5.2, 0.5), (0.2, 0.6), (1.3, 1.0)])
def test_what_a_direction_spends_at_a_price(variance, noise, gamma) -> None:
    grid = torch.linspace(0, 5, 500_001, dtype=torch.float64)
    cost = variance / (2 * noise**2) * torch.exp(-2 * grid) + gamma * grid
    expected = max(0.0, 0.5 * math.log(variance / (gamma * noise**2)))
    assert grid[cost.argmin()].item() == pytest.approx(expected, abs=2e-5)
    assert resting_kl(0.5 * math.log(variance / noise**2), gamma) == pytest.approx(expected)


@pytest.mark.equation("3.2")
def test_the_best_linear_vae_is_one_in_which_no_gradient_is_left() -> None:
    images = torch.rand(500, 6, generator=torch.Generator().manual_seed(0))
    images = (images @ torch.diag(torch.tensor([1.0, 0.8, 0.5, 0.3, 0.2, 0.1]))).clamp(0, 1)
    noise, x = 0.12, images - images.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    values, vectors = values.flip(0)[:4], vectors.flip(1)[:, :4]
    kl = pca_rates(images, noise, 4)
    left = torch.exp(-2 * kl)  # the variance of q in each dimension
    encoder = (((1 - left) / values).sqrt() * vectors).requires_grad_()  # (P, D)
    decoder = ((values - noise**2).clamp(min=0).sqrt() * vectors).requires_grad_()
    logvar = left.log().requires_grad_()
    mu = x @ encoder  # (N, D)
    error = (x - mu @ decoder.T).square().sum(1).mean()
    error = error + (logvar.exp() * decoder.square().sum(0)).sum()  # over q, exactly
    loss = error / (2 * noise**2) + gaussian_kl(mu, logvar.expand_as(mu)).sum(1).mean()
    loss.backward()
    for part in (encoder, decoder, logvar):
        assert part.grad.abs().max() < 2e-3
    assert (kl > 0).any() and (kl == 0).any()


@pytest.mark.equation("3.3")
def test_the_most_likely_noise_is_the_mean_of_what_is_left_out() -> None:
    values = torch.tensor([3.0, 1.0, 0.4, 0.3, 0.05], dtype=torch.float64)
    kept, best = 2, float(values[2:].mean())

    def log_likelihood(noise2: float) -> float:
        model = values.clone()  # eigenvalues of W W^T + s^2 I at the best W
        model[kept:] = noise2
        model[:kept] = model[:kept].clamp(min=noise2)
        return float(-0.5 * (model.log() + values / model).sum())

    grid = torch.linspace(0.01, 2, 2000, dtype=torch.float64).tolist()
    found = max(grid, key=log_likelihood)
    assert found == pytest.approx(best, abs=1e-3) and values[kept - 1] > best


# --- 3.2 Free bits ------------------------------------------------------------------------------


@pytest.mark.equation("3.4")
def test_free_bits_average_first() -> None:
    kl, nll = scattered_kl(), torch.rand(64)
    loss = FreeBits(LAM)(nll, kl, 0.0)
    assert torch.isclose(loss, nll.mean() + average_first(kl, LAM))
    assert not torch.isclose(loss, nll.mean() + per_sample(kl, LAM), atol=1e-2)
    assert not torch.isclose(loss, nll.mean() + whole_sample(kl, LAM), atol=1e-2)


@pytest.mark.equation("3.5")
@pytest.mark.parametrize("variant", [average_first, per_sample, whole_sample])
def test_where_the_gradient_vanishes(variant) -> None:
    kl = scattered_kl().requires_grad_()
    variant(kl, LAM).backward()
    paid = {
        average_first: kl.mean(dim=0, keepdim=True) > LAM,
        per_sample: kl > LAM,
        whole_sample: kl.sum(dim=1, keepdim=True) > LAM * 5,
    }[variant]
    assert torch.allclose(kl.grad, paid.expand(64, 5) / 64)
    assert 0 < paid.float().mean() < 1


# --- 3.3 Soft free bits -------------------------------------------------------------------------


@pytest.mark.equation("3.6")
@pytest.mark.parametrize(
    ("total", "expected"), [(1.0, 0.45), (22.4, 0.45), (25.0, 0.5), (27.6, 0.55), (40.0, 0.55)]
)
def test_one_weight_follows_the_rate(total: float, expected: float) -> None:
    objective = SoftFreeBits(25.0, tolerance=0.1, step=0.1, per_dimension=False, init=0.5)
    kl, nll = torch.full((8, 50), total / 50, dtype=torch.float64), torch.full((8,), 80.0)
    loss = objective(nll, kl, 0.0)
    assert objective.gamma.item() == pytest.approx(expected)
    assert loss.item() == pytest.approx(80 + expected * total)


@pytest.mark.equation("3.6")
def test_one_weight_never_exceeds_one() -> None:
    objective = SoftFreeBits(25.0, step=0.1, per_dimension=False, init=0.95)
    objective.update(torch.full((8, 50), 1.0))
    assert objective.gamma.item() == 1.0


@pytest.mark.equation("3.7")
def test_each_dimension_has_its_weight() -> None:
    objective = SoftFreeBits(LAM, tolerance=0.1, step=0.1, init=0.5)
    kl, nll = torch.tensor([[0.2, 0.5, 3.0], [0.4, 0.5, 1.0]]), torch.tensor([70.0, 90.0])
    loss = objective(nll, kl, 0.0)
    assert torch.allclose(objective.gamma, torch.tensor([0.45, 0.5, 0.55]))
    assert loss.item() == pytest.approx(80 + 0.45 * 0.3 + 0.5 * 0.5 + 0.55 * 2.0)


def distortion(kl: Tensor, strength: Tensor) -> Tensor:
    """Half of what is left of Gaussian signals of variance exp(2 strength)."""
    return 0.5 * torch.exp(2 * (strength - kl))


def best_split(strength: Tensor) -> Tensor:
    """Minimize D + sum KL subject to KL >= LAM on a fine grid, one dimension at a time."""
    grid = torch.linspace(0, 5, 500_001, dtype=torch.float64)[:, None]  # (G, 1)
    cost = distortion(grid, strength) + grid  # (G, D)
    return grid[cost.masked_fill(grid < LAM, math.inf).argmin(dim=0), 0]  # (D,)


STRENGTH = torch.tensor([-1.0, 0.2, 1.5], dtype=torch.float64)


def steered(strength: Tensor, tolerance: float, steps: int = 4000) -> tuple[Tensor, Tensor]:
    """KL and gamma to which the module's controller brings dimensions that answer at once."""
    objective = SoftFreeBits(LAM, tolerance=tolerance, step=0.2 * tolerance)
    gamma = torch.ones_like(strength)
    for _ in range(steps):
        kl = (strength - 0.5 * gamma.log()).clamp(min=0)
        gamma = objective.update(kl[None])
    return kl, gamma


@pytest.mark.equation("3.8", "3.10")
def test_the_controller_finds_the_constrained_optimum() -> None:
    kl, gamma = steered(STRENGTH, tolerance=0.01)
    assert torch.allclose(kl, best_split(STRENGTH), atol=0.01 * LAM + 1e-4)
    assert torch.allclose((1 - gamma) * (kl - LAM), torch.zeros(3).double(), atol=0.01 * LAM)
    assert (gamma <= 1).all() and gamma[2] == 1 and (gamma[:2] < 1).all()


@pytest.mark.equation("3.9")
def test_the_lagrangian_is_the_weighted_loss_up_to_a_constant() -> None:
    nu, nll, one = torch.tensor([0.9, 0.3, 0.0]), torch.rand(4), torch.rand(4, 3)
    objective = SoftFreeBits(LAM, tolerance=0.99, init=0.5)  # a dead band so wide that gamma rests
    objective.gamma = 1 - nu

    def lagrangian(kl: Tensor) -> Tensor:
        per_dim = kl.mean(dim=0)
        return nll.mean() + per_dim.sum() + (nu * (LAM - per_dim)).sum()

    other = one * 0.9 + 0.01
    differences = [lagrangian(kl) - objective(nll, kl, 0.0) for kl in (one, other)]
    assert torch.equal(objective.gamma, 1 - nu)
    assert torch.isclose(*differences) and torch.isclose(differences[0], LAM * nu.sum())


@pytest.mark.equation("3.11")
@pytest.mark.parametrize("strength", [-1.0, 0.2])
def test_a_weight_is_the_price_of_a_nat(strength: float) -> None:
    a, step = torch.tensor(strength, dtype=torch.float64), 1e-4
    floors = torch.tensor([LAM - step, LAM + step], dtype=torch.float64)
    bound = distortion(floors, a) + floors  # the constraint is active: KL is the floor
    gamma = math.exp(2 * (strength - LAM))  # equation 3.2 at KL = LAM
    assert (bound.diff() / (2 * step)).item() == pytest.approx(1 - gamma, abs=1e-6)


# --- 3.4 and 3.5 The ledger, and the price curve ------------------------------------------------


@pytest.mark.equation("3.12")
def test_a_minimizer_of_its_weighted_loss_costs_less_than_its_bill() -> None:
    gamma = torch.tensor([0.3, 0.6, 1.0], dtype=torch.float64)
    held = (STRENGTH - 0.5 * gamma.log()).clamp(min=0)  # minimizes D + gamma KL
    free = STRENGTH.clamp(min=0)
    change = held - free
    cost = float((distortion(held, STRENGTH) - distortion(free, STRENGTH) + change).sum())
    moved, bill = (float(((1 - gamma) * part).sum()) for part in (change, held))
    assert 0 < cost <= moved <= bill
    wasteful = held + torch.tensor([1.0, 0.0, 0.0])  # no minimizer: here the cost is larger
    more = wasteful - free
    cost = float((distortion(wasteful, STRENGTH) - distortion(free, STRENGTH) + more).sum())
    assert cost > float(((1 - gamma) * more).sum())


@pytest.mark.equation("3.12")
def test_the_ledger_has_the_three_terms_of_the_inequality() -> None:
    vanilla = {"train_kl_per_dim": [2.0, 0.0], "train_distortion": 80.0, "train_neg_elbo": 82.0}
    run = {"train_kl_per_dim": [0.5, 1.5], "train_distortion": 80.7, "train_neg_elbo": 82.7}
    book = ledger(run | {"weights": [0.4, 1.0]}, vanilla)
    assert book["cost"] == pytest.approx(0.7)  # D rose by 0.7, the KL by 0.5 - 0.5
    assert book["moved"] == pytest.approx(0.6 * 0.5 + 0.0 * -0.5)
    assert book["bill"] == pytest.approx(0.6 * 0.5)
    assert (book["forced"], book["returned"]) == pytest.approx((0.5, -0.5))


@pytest.mark.equation("3.13")
@pytest.mark.parametrize("floor", [0.3, 1.0])
def test_the_cost_of_a_floor_is_the_integral_of_the_prices(floor: float) -> None:
    grid = torch.linspace(0, floor, 100_001, dtype=torch.float64)[:, None]  # (T, 1)
    gamma = torch.exp(2 * (STRENGTH - torch.maximum(grid, STRENGTH.clamp(min=0)))).clamp(max=1)
    integral = torch.trapezoid((1 - gamma).sum(dim=1), grid[:, 0]).item()
    held, free = torch.maximum(grid[-1], STRENGTH.clamp(min=0)), STRENGTH.clamp(min=0)
    cost = (distortion(held, STRENGTH) + held - distortion(free, STRENGTH) - free).sum().item()
    assert integral == pytest.approx(cost, abs=1e-4) and cost > 0


# --- 3.6 Nats are not information ---------------------------------------------------------------


@pytest.mark.equation("3.14")
def test_the_rate_is_information_plus_the_distance_of_the_aggregate_from_the_prior() -> None:
    # x ~ N(0, 1) and q(z|x) = N(a x, s^2): everything Gaussian, everything known.
    a, s = 1.3, 0.4
    information = 0.5 * math.log(1 + a**2 / s**2)
    aggregate = kl_divergence(Normal(0.0, math.hypot(a, s)), Normal(0.0, 1.0))
    mu = a * normal_draws(200_000)
    rate = gaussian_kl(mu, torch.full_like(mu, 2 * math.log(s))).mean()
    assert rate.item() == pytest.approx(information + aggregate.item(), abs=1e-3)


class Planted(torch.nn.Module):
    """An encoder of uniform pixels whose code carries -log std nats in each dimension."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = torch.nn.Parameter(torch.tensor(std))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = (1 - self.std**2).sqrt() * torch.special.ndtri(x)
        return mu, 2 * self.std.log().expand_as(mu)


@pytest.mark.equation("3.15")
@pytest.mark.parametrize(("std", "dims"), [(0.8, 2), (0.3, 2), (0.05, 10)])
def test_the_information_estimate_finds_what_is_planted_up_to_its_ceiling(
    std: float, dims: int
) -> None:
    pixels = torch.rand(1000, dims, generator=torch.Generator().manual_seed(1))
    pixels = pixels.clamp(1e-6, 1 - 1e-6)
    value, ceiling = mutual_information(Planted(std), pixels)
    planted = -dims * math.log(std)
    assert ceiling == pytest.approx(math.log(1000)) and value <= ceiling + 1e-9
    assert value == pytest.approx(min(planted, ceiling), abs=0.1)
