"""Every equation of lesson 2, against an oracle that does not use it (2.2, 2.8: in lesson 1)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from results import Run, collect, packed
from tables import edge
from test_equations_01 import LOG_LIK, LOG_PRIOR, TOY, Q, X, Z, average, integral
from vaelab import BetaELBO, GaussianToy, bernoulli_nll, evaluate, gaussian_kl
from vaelab.model import VAE, RowGRUVAE
from vaelab.schedules import cyclical, linear, sigmoid, staircase


@pytest.mark.equation("2.1")
def test_each_pixel_is_predicted_from_those_before_it() -> None:
    """A sum of 784 terms, each computed from an image in which all later pixels are erased."""
    torch.manual_seed(0)
    model = RowGRUVAE(latent_dim=3, hidden_dim=8)
    x, z = (torch.rand(1, 784) < 0.3).float(), torch.randn(1, 3)
    erased = x.expand(784, -1).tril(-1)  # row i keeps x_1 .. x_(i-1)
    with torch.no_grad():
        logits = model.decode_rows(erased, z.expand(784, -1)).diagonal()  # (784,)
        terms = Bernoulli(logits=logits).log_prob(x[0])
        assert_close(terms.sum(), model.log_likelihood(x, z)[0])


@pytest.mark.equation("2.3", "2.7", "2.9", "2.14")
def test_what_common_losses_charge_for_a_nat(vae, few) -> None:
    x, score = few.test, evaluate(vae, few.test)
    torch.manual_seed(0)
    with torch.no_grad():
        output = vae(x)  # the same draw of z as evaluate made: one batch, seed 0
    nll, kl = bernoulli_nll(output.logits, x), gaussian_kl(output.mu, output.logvar)
    for beta in (0.0, 0.3, 1.0, 4.0):
        loss = float(BetaELBO(beta)(nll, kl, 0.5))
        by_hand = sum(d + beta * sum(r) for d, r in zip(nll.tolist(), kl.tolist())) / len(x)
        assert loss == pytest.approx(by_hand, rel=1e-5)
        assert loss == pytest.approx(-score.elbo - (1 - beta) * score.rate, abs=1e-3)
    mean = binary_cross_entropy_with_logits(output.logits, x)  # its default: over the pixels, too
    assert_close(mean + kl.sum(dim=1).mean(), BetaELBO(784.0)(nll, kl, 0.5) / 784)
    assert_close(nll.mean() + kl.sum(), BetaELBO(float(len(x)))(nll, kl, 0.5))


def tempered(beta: float) -> tuple[Normal, Tensor]:
    """q_beta, by numerical moments of p(z) p(x|z)^(1/beta), and log Z_beta."""
    weight = (LOG_PRIOR + LOG_LIK / beta).exp()
    mean = integral(weight * Z) / integral(weight)
    variance = integral(weight * (Z - mean) ** 2) / integral(weight)
    return Normal(mean, variance.sqrt()), integral(weight).log()


def rate_and_distortion(q: Normal) -> tuple[Tensor, Tensor]:
    """R and D by integration: no closed form of vaelab takes part."""
    return average(q.log_prob(Z) - LOG_PRIOR, q), -average(LOG_LIK, q)


@pytest.mark.equation("2.4", "2.5", "2.6", "2.15")
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_the_weighted_loss_looks_for_the_tempered_posterior(beta: float) -> None:
    (best, log_z), (rate, distortion) = tempered(beta), rate_and_distortion(Q)
    assert_close(distortion + beta * rate, beta * kl_divergence(Q, best) - beta * log_z)
    scaled = GaussianToy(TOY.weight, TOY.bias, TOY.noise * beta**0.5).posterior(X)
    assert_close((best.mean, best.stddev), scaled)
    below, above = (tempered(beta * factor)[0] for factor in (0.999, 1.001))
    (r0, d0), (r1, d1) = rate_and_distortion(below), rate_and_distortion(above)
    assert r0 > r1 and float((d1 - d0) / (r1 - r0)) == pytest.approx(-beta, rel=1e-4)
    fall = TOY.elbo(X, above.mean, above.stddev) - TOY.elbo(X, below.mean, below.stddev)
    assert float(fall / (r0 - r1)) == pytest.approx(1 - beta, abs=1e-3)


@pytest.mark.equation("2.10", "2.11", "2.12", "2.13")
def test_the_schedules_are_their_formulas_in_exact_fractions() -> None:
    """One of each; test_schedules.py tries others."""
    made = staircase(3), linear(0.2), sigmoid(0.25, 20.0), cyclical(4, 0.25)
    for t in (Fraction(step, 1200) for step in range(1201)):
        exact = [Fraction(min(math.floor(3 * t) + 1, 3), 3), min(1, 5 * t)]
        exact += [1 / (1 + math.exp(-20 * (t - 0.25))), min(1, 4 * (4 * t % 1)) if t < 1 else 1]
        assert [f(float(t)) for f in made] == pytest.approx([*map(float, exact)], abs=1e-9)


@pytest.mark.equation("2.16")
@pytest.mark.parametrize(("r", "h"), [(16.0, 4.0), (5.0, 0.7)])
def test_the_edge_is_the_cubic_through_two_points_with_two_slopes(r: float, h: float) -> None:
    """Its four coefficients from a linear system; beyond both points the tangents."""
    conditions = [[0, 0, 0, 1], [0, 0, 1, 0], [r**3, r**2, r, 1], [3 * r**2, 2 * r, 1, 0]]
    cubic = np.linalg.solve(conditions, [0, 0, h, 0.5])  # values and slopes at 0 and at r
    for m in np.linspace(0, r, 50):
        expected = [max(0, h + 0.5 * (m - r)), np.polyval(cubic, m)]
        assert edge(m, r, h) == pytest.approx(expected, abs=1e-9)
    assert edge(r + 2, r, h) == (h + 1, h + 1) and edge(-1.0, r, h)[1] == 0


@pytest.mark.equation("2.17")
def test_a_rotation_of_the_latent_space_leaves_the_evidence_alone() -> None:
    """Two latent dimensions and one pixel, integrated on a grid; a stretch does change it."""
    torch.manual_seed(0)
    model = VAE(latent_dim=2, hidden_dim=8, data_dim=1).double().requires_grad_(False)
    model.from_latent.weight.mul_(3)
    model.to_logits.weight.mul_(5)
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    prior = torch.exp(-0.5 * z.square().sum(dim=1)) / (2 * math.pi) * (axis[1] - axis[0]) ** 2
    c, s = math.cos(0.7), math.sin(0.7)
    plain, rotated, stretched = (
        float(prior @ model.decode(z @ torch.tensor(matrix, dtype=torch.float64).T).sigmoid()[:, 0])
        for matrix in ([[1, 0], [0, 1]], [[c, -s], [s, c]], [[3, 0], [0, 0.3]])
    )
    assert rotated == pytest.approx(plain, abs=1e-5) and abs(stretched - plain) > 1e-3


@pytest.mark.equation("2.18")
def test_a_capacity_pulls_the_rate_from_both_sides() -> None:
    """One Gaussian dimension, D = s exp(-2R) / 2: the rate that is best is C, for a large gamma."""
    rates = torch.linspace(0, 6, 60_001, dtype=torch.float64)
    free = 0.5 * math.log(50 / 0.5)  # where the next nat gains less than gamma = 0.5
    for s, gamma, c, best in (50, 100, 1, 1), (50, 100, 3, 3), (0.5, 100, 2, 2), (50, 0.5, 1, free):
        loss = 0.5 * s * torch.exp(-2 * rates) + gamma * (rates - c).abs()
        assert float(rates[loss.argmin()]) == pytest.approx(best, abs=1e-3)


@pytest.mark.equation("2.19")
def test_pairing_removes_what_both_models_share() -> None:
    """The stated error is the spread of the difference over many repetitions of the experiment."""
    torch.manual_seed(0)
    difficulty = 25 * torch.randn(2000, 400)  # repetitions x images
    a, b = (difficulty + shift + 3 * torch.randn(2000, 400) for shift in (0.0, 1.0))
    stated = ((a - b).var(dim=1).mean() / 400).sqrt()
    cov = torch.stack([torch.cov(torch.stack(pair)) for pair in zip(a, b)]).mean(dim=0)
    assert_close(((cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / 400).sqrt(), stated, rtol=1e-4, atol=0)
    assert_close((a - b).mean(dim=1).std(), stated, rtol=0.06, atol=0)
    assert ((cov[0, 0] + cov[1, 1]) / 400).sqrt() > 5 * stated


@pytest.mark.equation("2.19")
def test_the_stored_results_state_the_paired_error() -> None:
    vanilla, other = [1.0, 4.0, 2.0, 9.0], [1.5, 4.5, 3.0, 11.0]  # 0.5, 0.5, 1 and 2 worse
    runs = [
        Run("full", "gray", "mlp", 4690, name, 0)._asdict()
        | {"machine": "", "torch": "", "per_image": packed(-torch.tensor(scores))}
        for name, scores in (("vanilla", vanilla), ("staircase", other))
    ]
    kept = collect(runs, {})["runs"]
    paired = kept["full/gray/mlp/4690/staircase/0"]["paired"]
    assert paired == pytest.approx([1.0, math.sqrt((0.25 + 0.25 + 0 + 1) / 3 / 4)], abs=1e-4)
    assert kept["full/gray/mlp/4690/vanilla/0"]["paired"] == [0, 0]
