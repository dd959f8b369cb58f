"""Every equation of lesson 2, against an oracle that does not use it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from results import collect, packed
from tables import edge
from vaelab import (
    ELBO,
    VAE,
    BetaELBO,
    Digits,
    GaussianToy,
    RowGRUVAE,
    bernoulli_nll,
    cyclical,
    evaluate,
    gaussian_kl,
    linear,
    sigmoid,
    staircase,
)

X = 2.0
TOY = GaussianToy(weight=1.5, bias=0.5, noise=0.8)
GRID = torch.linspace(-12, 12, 40_001, dtype=torch.float64)  # of z, for integrals by sums
PROGRESS = [step / 1000 for step in range(1001)]


def integral(values: Tensor) -> Tensor:
    """The integral over z of a function given on GRID."""
    return torch.trapezoid(values, GRID)


def rate_and_distortion(q: Normal, toy: GaussianToy = TOY, x: float = X) -> tuple[Tensor, Tensor]:
    """R and D of one q, both by integration over z: no closed form of vaelab takes part."""
    density = q.log_prob(GRID).exp()
    log_prior = -0.5 * GRID**2 - 0.5 * math.log(2 * math.pi)
    rate = integral(density * (q.log_prob(GRID) - log_prior))
    return rate, -integral(density * toy.log_likelihood(x, GRID))


def normal(mean: float, std: float) -> Normal:
    return Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))


def tempered(beta: float) -> Normal:
    """q_beta by numerical moments of p(z) p(x|z)^(1/beta)."""
    weight = torch.exp(-0.5 * GRID**2 + TOY.log_likelihood(X, GRID) / beta)
    weight = weight / integral(weight)
    mean = integral(weight * GRID)
    return Normal(mean, integral(weight * (GRID - mean) ** 2).sqrt())


@pytest.mark.equation("2.1")
def test_each_pixel_is_predicted_from_those_before_it() -> None:
    """A sum of 784 terms, each computed from an image in which all later pixels are erased."""
    torch.manual_seed(0)
    model = RowGRUVAE(latent_dim=3, hidden_dim=8)
    x, z = (torch.rand(1, 784) < 0.3).float(), torch.randn(1, 3)
    pixels = torch.arange(784)
    erased = torch.where(pixels < pixels[:, None], x, 0.0)  # (784, 784): row i keeps x_1 .. x_(i-1)
    with torch.no_grad():
        logits = model.decode_rows(erased, z.expand(784, -1)).diagonal()  # (784,)
        terms = Bernoulli(logits=logits).log_prob(x[0])
        torch.testing.assert_close(terms.sum(), model.log_likelihood(x, z)[0])


@pytest.mark.equation("2.2")
def test_minus_elbo_is_distortion_plus_rate() -> None:
    q = normal(0.4, 0.7)
    rate, distortion = rate_and_distortion(q)
    torch.testing.assert_close(rate + distortion, -TOY.elbo(X, 0.4, 0.7))
    rate_by_torch = kl_divergence(q, normal(0.0, 1.0))
    torch.testing.assert_close(rate, rate_by_torch)


@pytest.mark.equation("2.3")
@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
def test_the_weighted_loss_charges_beta_for_each_nat(beta: float) -> None:
    nll, log_ratio = torch.rand(6) * 100, torch.rand(6, 4)
    loss = sum(float(d) + beta * sum(map(float, r)) for d, r in zip(nll, log_ratio)) / 6
    assert float(BetaELBO(beta)(nll, log_ratio, 0.5)) == pytest.approx(loss, rel=1e-5)


@pytest.mark.equation("2.4")
@pytest.mark.parametrize("beta", [0.2, 1.0, 5.0])
def test_the_weighted_loss_is_a_divergence_from_the_tempered_posterior(beta: float) -> None:
    log_unnormalised = (
        -0.5 * GRID**2 - 0.5 * math.log(2 * math.pi) + TOY.log_likelihood(X, GRID) / beta
    )
    log_z = integral(log_unnormalised.exp()).log()
    q = normal(0.3, 0.6)
    density = q.log_prob(GRID).exp()
    divergence = integral(density * (q.log_prob(GRID) - (log_unnormalised - log_z)))
    rate, distortion = rate_and_distortion(q)
    torch.testing.assert_close(distortion + beta * rate, beta * divergence - beta * log_z)
    torch.testing.assert_close(divergence, kl_divergence(q, tempered(beta)))


@pytest.mark.equation("2.5")
@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_tempering_the_toy_scales_its_noise(beta: float) -> None:
    mean, std = GaussianToy(1.5, 0.5, 0.8 * beta**0.5).posterior(X)
    torch.testing.assert_close(tempered(beta).mean, mean)
    torch.testing.assert_close(tempered(beta).stddev, std)


@pytest.mark.equation("2.6")
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_the_slope_is_minus_beta(beta: float) -> None:
    (r0, d0), (r1, d1) = (rate_and_distortion(tempered(beta * f)) for f in (0.999, 1.001))
    assert float((d1 - d0) / (r1 - r0)) == pytest.approx(-beta, rel=1e-4)


@pytest.mark.equation("2.7")
def test_a_mean_over_pixels_is_beta_784() -> None:
    torch.manual_seed(0)
    model, x = VAE(latent_dim=5, hidden_dim=16), torch.rand(6, 784)
    output = model(x)
    kl = gaussian_kl(output.mu, output.logvar)
    mean = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, x)  # its default
    hidden = BetaELBO(784.0)(bernoulli_nll(output.logits, x), kl, 0.0) / 784
    torch.testing.assert_close(mean + kl.sum(dim=1).mean(), hidden)
    grads = [
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        for loss in (mean + kl.sum(dim=1).mean(), hidden)
    ]
    for by_mean, by_beta in zip(*grads):
        torch.testing.assert_close(by_mean, by_beta, rtol=1e-4, atol=1e-7)


@pytest.mark.equation("2.8")
@pytest.mark.parametrize("b", [0.04, 1.0, 2.0])
def test_squared_error_is_a_gaussian_decoder(b: float) -> None:
    """The difference to 2 sigma^2 (-log N + R) is a constant, whatever the prediction is."""
    torch.manual_seed(0)
    x, rate, sigma = torch.rand(784).double(), 7.0, math.sqrt(b / 2)
    differences = []
    for _ in range(5):
        mean = torch.rand(784).double()
        left = (x - mean).square().sum() + b * rate
        nll = -Normal(mean, sigma).log_prob(x).sum()
        differences.append(float(left - 2 * sigma**2 * (nll + rate)))
    assert max(differences) - min(differences) < 1e-9 * max(1, abs(differences[0]))


@pytest.mark.equation("2.9")
def test_a_sum_over_the_batch_beside_a_mean_is_a_price_of_its_size() -> None:
    torch.manual_seed(0)
    model, x = VAE(latent_dim=5, hidden_dim=16), torch.rand(6, 784)
    output = model(x)
    nll, kl = bernoulli_nll(output.logits, x), gaussian_kl(output.mu, output.logvar)
    torch.testing.assert_close(nll.mean() + kl.sum(), BetaELBO(6.0)(nll, kl, 0.0))


@pytest.mark.equation("2.10")
@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_the_staircase_is_epoch_over_epochs(epochs: int) -> None:
    for step in range(60 * epochs):
        epoch = step // 60 + 1  # integers: no rounding
        assert staircase(epochs)(step / (60 * epochs)) == epoch / epochs
    assert staircase(epochs)(1.0) == 1


@pytest.mark.equation("2.11")
@pytest.mark.parametrize("warmup", [0.2, 0.5, 1.0])
def test_the_linear_warm_up_interpolates(warmup: float) -> None:
    knots = torch.tensor([0.0, warmup, 1.0 + 1e-9], dtype=torch.float64)
    heights = [0.0, 1.0, 1.0]
    for t in PROGRESS:
        i = min(int((knots <= t).sum()) - 1, 1)
        share = float((t - knots[i]) / (knots[i + 1] - knots[i]))
        expected = heights[i] + share * (heights[i + 1] - heights[i])
        assert linear(warmup)(t) == pytest.approx(expected, abs=1e-9)


@pytest.mark.equation("2.12")
@pytest.mark.parametrize(("midpoint", "steepness"), [(0.25, 20.0), (0.5, 10.0)])
def test_the_sigmoid_is_torchs(midpoint: float, steepness: float) -> None:
    t = torch.tensor(PROGRESS, dtype=torch.float64)
    expected = torch.sigmoid(steepness * (t - midpoint))
    actual = torch.tensor([sigmoid(midpoint, steepness)(s) for s in PROGRESS])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.equation("2.13")
@pytest.mark.parametrize(("cycles", "ramp"), [(4, 0.5), (2, 0.25), (1, 1.0)])
def test_each_cycle_is_a_linear_warm_up(cycles: int, ramp: float) -> None:
    steps = 200  # of one cycle
    one = [min(1.0, step / (ramp * steps)) for step in range(steps)]
    run = [cyclical(cycles, ramp)(step / (cycles * steps)) for step in range(cycles * steps)]
    assert run == pytest.approx(one * cycles, abs=1e-9)


@pytest.mark.equation("2.14")
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_the_weighted_loss_lacks_a_part_of_the_rate(vae: VAE, few: Digits, beta: float) -> None:
    score = evaluate(vae, few.test)
    torch.manual_seed(0)
    x = few.test
    with torch.no_grad():
        output = vae(x)  # the same draw of z as evaluate made: one batch, seed 0
        nll, kl = bernoulli_nll(output.logits, x), gaussian_kl(output.mu, output.logvar)
        printed = float(BetaELBO(beta)(nll, kl, 0.0))
        assert float(ELBO()(nll, kl, 0.0)) == pytest.approx(-score.elbo, abs=1e-3)
    assert printed == pytest.approx(-score.elbo - (1 - beta) * score.rate, abs=1e-3)


@pytest.mark.equation("2.15")
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 3.0])
def test_more_rate_costs_one_minus_beta(beta: float) -> None:
    below, above = (tempered(beta * factor) for factor in (0.999, 1.001))
    change = TOY.elbo(X, below.mean, below.stddev) - TOY.elbo(X, above.mean, above.stddev)
    more = rate_and_distortion(below)[0] - rate_and_distortion(above)[0]
    assert more > 0
    assert float(-change / more) == pytest.approx(1 - beta, abs=1e-3)


@pytest.mark.equation("2.16")
@pytest.mark.parametrize(("r", "h"), [(16.0, 4.0), (5.0, 0.7)])
def test_the_edge_is_the_cubic_through_two_points_with_two_slopes(r: float, h: float) -> None:
    """Its four coefficients from a linear system; then the formula at many places."""
    conditions = torch.tensor(
        [[1, 0, 0, 0], [0, 1, 0, 0], [1, r, r**2, r**3], [0, 1, 2 * r, 3 * r**2]]
    ).double()
    given = torch.tensor([0, 0, h, 0.5]).double()  # values and slopes at 0 and at r
    coefficients = torch.linalg.solve(conditions, given)
    m = torch.linspace(0, r, 50, dtype=torch.float64)
    powers = torch.stack([m**k for k in range(4)], dim=1)  # (50, 4)
    u = m / r
    formula = h * (3 * u**2 - 2 * u**3) + 0.5 * r * (u**3 - u**2)
    torch.testing.assert_close(powers @ coefficients, formula)
    stated = torch.tensor([edge(float(more), r, h)[1] for more in m[1:]]).double()
    torch.testing.assert_close(stated, formula[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.equation("2.17")
def test_a_rotation_of_the_latent_space_leaves_the_evidence_alone() -> None:
    """Two latent dimensions and one pixel, integrated on a grid; a stretch does change it."""
    torch.manual_seed(0)
    model = VAE(latent_dim=2, hidden_dim=8, data_dim=1).double()
    with torch.no_grad():
        model.from_latent.weight.mul_(3)
        model.to_logits.weight.mul_(5)
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.tensor(list(itertools.product(axis.tolist(), repeat=2)), dtype=torch.float64)
    prior = torch.exp(-0.5 * z.square().sum(dim=1)) / (2 * math.pi)
    area = (axis[1] - axis[0]) ** 2

    def evidence(matrix: Tensor) -> Tensor:
        with torch.no_grad():
            return (prior * model.decode(z @ matrix.T).sigmoid()[:, 0]).sum() * area

    c, s = math.cos(0.7), math.sin(0.7)
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    plain = evidence(torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(evidence(rotation), plain, rtol=0, atol=1e-5)
    assert abs(evidence(torch.diag(torch.tensor([3.0, 0.3], dtype=torch.float64))) - plain) > 1e-3


@pytest.mark.equation("2.18")
def test_a_capacity_pulls_the_rate_from_both_sides() -> None:
    """One Gaussian dimension, D = s exp(-2R) / 2: the rate that is best is C, for a large gamma."""
    rates = torch.linspace(0, 6, 60_001, dtype=torch.float64)
    for signal, capacity in ((50.0, 1.0), (50.0, 3.0), (0.5, 2.0)):
        distortion = 0.5 * signal * torch.exp(-2 * rates)
        loss = distortion + 100 * (rates - capacity).abs()
        assert float(rates[loss.argmin()]) == pytest.approx(capacity, abs=1e-3)
    weak = 0.5 * 50 * torch.exp(-2 * rates) + 0.5 * (rates - 1.0).abs()  # gamma below the gain
    assert float(rates[weak.argmin()]) == pytest.approx(0.5 * math.log(50 / 0.5), abs=1e-3)


@pytest.mark.equation("2.19")
def test_pairing_removes_what_both_models_share() -> None:
    """The stated error is the spread of the difference over many repetitions of the experiment."""
    torch.manual_seed(0)
    difficulty = 25 * torch.randn(2000, 400)  # repetitions x images
    a, b = (difficulty + shift + 3 * torch.randn(2000, 400) for shift in (0.0, 1.0))
    spread = (a - b).mean(dim=1).std()
    cov = torch.stack([torch.cov(torch.stack(pair)) for pair in zip(a, b)]).mean(dim=0)
    stated = ((cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / 400).sqrt()
    paired = ((a - b).var(dim=1).mean() / 400).sqrt()
    torch.testing.assert_close(stated, paired, rtol=1e-4, atol=0)
    torch.testing.assert_close(stated, spread, rtol=0.06, atol=0)
    assert ((cov[0, 0] + cov[1, 1]) / 400).sqrt() > 5 * stated


@pytest.mark.equation("2.19")
def test_the_stored_results_state_the_paired_error() -> None:
    scores = torch.tensor([1.0, 4.0, 2.0, 9.0])
    steps = torch.tensor([0.5, 0.5, 1.0, 2.0])
    common = {"data": "full", "targets": "grey", "decoder": "mlp", "steps": 4690, "seed": 0}
    common |= {"machine": "", "torch": ""}
    runs = [
        {**common, "objective": "vanilla", "per_image": packed(-scores)},
        {**common, "objective": "staircase", "per_image": packed(-scores - steps)},
    ]
    mean, stderr = collect(runs, {})["runs"]["full/grey/mlp/4690/staircase/0"]["paired"]
    assert mean == pytest.approx(1.0, abs=1e-4)
    assert stderr == pytest.approx(math.sqrt((0.25 + 0.25 + 0 + 1) / 3 / 4), abs=1e-4)
