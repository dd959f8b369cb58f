"""Every tagged equation of lesson 1, verified: exactly, or within stated standard errors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from vaelab import ELBO, VAE, GaussianToy, active_units, bernoulli_nll, gaussian_kl
from vaelab.model import LOGVAR_BOUND, soft_bound

TOY, X = GaussianToy(weight=1.5, bias=0.5, noise=0.8), 2.0
PRIOR, Q = (Normal(*torch.tensor(both, dtype=torch.float64)) for both in ((0.0, 1.0), (0.4, 0.7)))
Z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)  # for integrals by sums
LOG_Q, LOG_PRIOR, LOG_LIK = Q.log_prob(Z), PRIOR.log_prob(Z), TOY.log_likelihood(X, Z)
SIGMAS = 4.5  # a correct mean misses by more than this in 7 of a million runs


def integral(values: Tensor) -> Tensor:
    """Over z, of a function given at every Z."""
    return torch.trapezoid(values, Z)


def average(values: Tensor, q: Normal = Q) -> Tensor:
    """Under q(z), of a function given at every Z."""
    return integral(q.log_prob(Z).exp() * values)


def assert_mean(samples: Tensor, expected: float) -> None:
    stderr = samples.std() / len(samples) ** 0.5
    assert stderr < 0.1 * max(1.0, abs(expected)), "the check would accept almost anything"
    assert abs(samples.mean() - expected) < SIGMAS * stderr


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


@pytest.mark.equation("1.1", "1.2", "1.4", "1.12")
def test_joint_evidence_and_posterior_of_the_toy():
    w, b, s = TOY.weight, TOY.bias, TOY.noise
    x, z = torch.randn(2, 50, dtype=torch.float64)
    covariance = torch.tensor([[1.0, w], [w, w**2 + s**2]], dtype=torch.float64)
    joint = MultivariateNormal(torch.tensor([0.0, b], dtype=torch.float64), covariance)
    product = TOY.log_likelihood(x, z) + PRIOR.log_prob(z)
    assert_close(product, joint.log_prob(torch.stack([z, x], dim=1)))
    evidence = integral((TOY.log_likelihood(x[:, None], Z) + LOG_PRIOR).exp()).log()
    assert_close(TOY.log_evidence(x), evidence)
    assert_close(Normal(b, math.hypot(w, s)).log_prob(x), evidence)
    collected = -0.5 * (1 + w**2 / s**2) * Z**2 + w * (X - b) / s**2 * Z
    constant = LOG_LIK + LOG_PRIOR - collected
    assert_close(constant, constant[:1].expand_as(constant))
    mean, std = w * (X - b) / (w**2 + s**2), s / math.hypot(w, s)
    assert_close(Normal(mean, std).log_prob(Z), LOG_LIK + LOG_PRIOR - TOY.log_evidence(X))
    assert [part.item() for part in TOY.posterior(X)] == pytest.approx([mean, std])


@pytest.mark.equation("1.3")
def test_prior_samples_estimate_the_evidence():
    z = torch.randn(400_000, dtype=torch.float64)
    assert_mean(TOY.log_likelihood(X, z).exp(), TOY.log_evidence(X).exp().item())


@pytest.mark.equation("1.6")
def test_kl_is_never_negative():
    t = torch.logspace(-6, 3, 2000, dtype=torch.float64)
    assert (t.log() <= t - 1).all()
    q, p = torch.rand(2, 1000, 6, dtype=torch.float64).clamp(min=1e-9)
    q, p = (part / part.sum(dim=1, keepdim=True) for part in (q, p))
    assert ((q * (p / q).log()).sum(dim=1) < 0).all()
    assert_close((q * (p / q - 1)).sum(dim=1), torch.zeros(1000).double(), rtol=0, atol=1e-12)


@pytest.mark.equation("1.5", "1.7", "1.10", "1.11", "2.2")
def test_each_line_of_the_kl_identity_and_what_follows():
    evidence, elbo = TOY.log_evidence(X), TOY.elbo(X, 0.4, 0.7)
    posterior = Normal(*TOY.posterior(X))
    for line in (
        average(LOG_Q - posterior.log_prob(Z)),
        average(LOG_Q - LOG_LIK - LOG_PRIOR + evidence),
        average(LOG_Q - LOG_PRIOR) - average(LOG_LIK) + evidence,
        kl_divergence(Q, PRIOR) - average(LOG_LIK) + evidence,
        TOY.gap(X, 0.4, 0.7),
    ):
        assert_close(line, kl_divergence(Q, posterior))
    distortion, rate = -average(LOG_LIK), kl_divergence(Q, PRIOR)
    assert_close(distortion + rate, -elbo)
    log_ratio = LOG_LIK + LOG_PRIOR - LOG_Q
    assert_close(average(log_ratio.exp()).log(), evidence)
    assert_close(average(log_ratio), elbo)
    assert elbo < evidence


@pytest.mark.equation("1.8", "1.9")
def test_elbo_and_gap_make_the_evidence_and_only_the_posterior_leaves_no_gap():
    mean, std = TOY.posterior(X)
    shift = torch.tensor([-3.0, -0.1, 0.0, 0.1, 3.0], dtype=torch.float64)[:, None]
    stretch = torch.tensor([0.1, 0.9, 1.0, 1.1, 10.0], dtype=torch.float64)
    elbo, gap = (f(X, mean + shift, std * stretch) for f in (TOY.elbo, TOY.gap))
    assert_close(elbo + gap, TOY.log_evidence(X).expand(5, 5), rtol=0, atol=1e-6)
    tight = (shift == 0) & (stretch == 1)
    assert gap[tight].abs() < 1e-12 and (gap[~tight] > 1e-3).all()


@pytest.mark.equation("1.13", "1.17")
def test_the_rate_is_that_of_independent_normal_dimensions():
    """The encoder's q is a normal with a diagonal covariance, of variances."""
    mu, logvar = VAE(3, 8, 16).double().encode(torch.rand(5, 16).double())
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    assert_close(gaussian_kl(mu, logvar).sum(dim=1), kl_divergence(q, prior))
    mu, logvar = torch.randn(2, 5, 3, dtype=torch.float64)
    each = Normal(mu, (0.5 * logvar).exp())
    assert_close(gaussian_kl(mu, logvar), kl_divergence(each, PRIOR))
    z = Z[:, None, None]
    second_moment = torch.trapezoid(each.log_prob(z).exp() * z**2, z, dim=0)
    assert_close(-0.5 * logvar - 0.5 + 0.5 * second_moment, gaussian_kl(mu, logvar))


@pytest.mark.equation("1.14")
def test_what_is_minimized_is_the_bound_summed_over_images(few):
    """Over N images of one batch, N times the loss is minus the sum, theta and phi in it alike."""
    model, x = VAE(4, 16), few.test.round()
    mu, logvar = model.encode(x)
    z = model.reparameterize(mu, logvar)
    q, prior = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1), Normal(0.0, 1.0)
    log_p = Independent(Bernoulli(logits=model.decode(z)), 1).log_prob(x)
    total = (log_p - kl_divergence(q, Independent(prior.expand(mu.shape), 1))).sum()
    loss = ELBO()(-model.log_likelihood(x, z), gaussian_kl(mu, logvar), 0.0)
    assert_close(-len(x) * loss, total)
    loss.backward()
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())


@pytest.mark.equation("1.15")
def test_reparameterized_samples_have_the_stated_mean_and_variance():
    mu, logvar = torch.tensor([[0.5, -2.0]]), torch.tensor([[0.8, -1.4]])
    z = VAE(2, 4, 4).reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2))
    for d in range(2):
        assert_mean(z[:, d], mu[0, d].item())
        assert_mean((z[:, d] - mu[0, d]) ** 2, logvar[0, d].exp().item())  # the variance, squared
        inside = ((z[:, d] - mu[0, d]).abs() < torch.exp(0.5 * logvar[0, d])).double()
        assert_mean(inside, math.erf(2**-0.5))  # and normal: 68 % within one sigma


@pytest.mark.equation("1.16", "1.24", "1.25")
def test_both_gradients_have_the_exact_mean_and_the_best_constant_the_least_variance():
    exact = TOY.weight * (X - TOY.weight * 0.4 - TOY.bias) / TOY.noise**2
    mu = torch.full((100_000,), 0.4, dtype=torch.float64, requires_grad=True)
    TOY.log_likelihood(X, mu + 0.7 * torch.randn_like(mu)).sum().backward()
    assert_mean(mu.grad, exact)
    z = Q.sample((400_000,))
    f, score = TOY.log_likelihood(X, z), (z - 0.4) / 0.7**2
    best = ((f * score**2).mean() / (score**2).mean()).item()
    for c in (0.0, -5.0, best, 3.0):  # at 0: equation 1.24
        assert_mean((f - c) * score, exact)
        assert c == best or ((f - c) * score).var() > ((f - best) * score).var()


@pytest.mark.equation("1.18", "1.19")
def test_the_likelihood_on_probabilities_and_on_logits():
    logits, x = 2 * torch.randn(6, 784, dtype=torch.float64), torch.rand(6, 784).double()
    x[:3] = x[:3].round()  # half of the images are binary, the others gray
    by_torch = Independent(Bernoulli(logits=logits, validate_args=False), 1).log_prob(x)
    pi = torch.sigmoid(logits)
    assert_close((x * pi.log() + (1 - x) * (1 - pi).log()).sum(dim=1), by_torch)
    assert_close((x * logits - torch.log1p(logits.exp())).sum(dim=1), by_torch)
    assert_close(-bernoulli_nll(logits, x), by_torch)
    far = torch.tensor([[1e4, -1e4]])  # where a probability would be 0 or 1
    assert bernoulli_nll(far, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2e4)


@pytest.mark.equation("1.20", "1.21")
def test_the_gray_loss_is_a_mean_over_binary_draws_and_bounds_their_likelihood():
    """Two pixels and one latent, where everything can be summed or integrated."""
    x = torch.tensor([0.3, 0.8], dtype=torch.float64)
    logits = torch.stack([2 * Z - 0.5, 1 - 3 * Z], dim=1)  # (len(Z), 2), of a made-up decoder
    gray, mean, expected = bernoulli_nll(logits, x.expand(len(Z), 2)), 0.0, 0.0
    for flips in itertools.product((0.0, 1.0), repeat=2):
        flipped = torch.tensor(flips, dtype=torch.float64)
        probability = Bernoulli(probs=x).log_prob(flipped).sum().exp()
        log_p = Independent(Bernoulli(logits=logits), 1).log_prob(flipped)
        mean = mean - probability * log_p
        expected = expected - probability * integral((LOG_PRIOR + log_p).exp()).log()
    assert_close(gray, mean)
    for q in (PRIOR, Normal(-0.3, 0.6), Normal(-0.5, 0.2)):
        rate = average(q.log_prob(Z) - LOG_PRIOR, q)
        assert average(gray, q) + rate > expected + 0.01


@pytest.mark.equation("1.22", "2.8")
def test_squared_error_is_a_normal_likelihood_with_a_hidden_beta():
    for b in (0.04, 1.0, 2.0):
        x, mean = torch.rand(2, 784, dtype=torch.float64)
        kl, sigma, square = 17.0, math.sqrt(b / 2), (x - mean).square().sum()
        nll = -Normal(mean, sigma).log_prob(x).sum()
        constant = 784 / 2 * math.log(2 * math.pi * sigma**2)
        assert_close(nll, square / (2 * sigma**2) + constant)
        assert_close(2 * sigma**2 * (nll - constant + kl), square + b * kl)


@pytest.mark.equation("1.23")
def test_active_units_counts_the_variance_of_the_mean():
    scale = torch.tensor([1.0, 0.2, 0.11, 0.09, 0.0])  # variances 1, 0.04, 0.0121, 0.0081, 0
    mu = torch.randn(1000, 5)
    assert active_units((mu - mu.mean(dim=0)) / mu.std(dim=0) * scale + 3.0) == 3


@pytest.mark.equation("1.26")
def test_importance_weighted_bounds_grow_toward_the_evidence():
    q = Normal(0.8, 1.2)
    z = q.sample((40_000, 64)).double()
    log_ratio = TOY.log_likelihood(X, z) + PRIOR.log_prob(z) - q.log_prob(z)  # (repeats, 64)
    bounds = [log_ratio[:, :k].logsumexp(dim=1) - math.log(k) for k in (1, 2, 4, 16, 64)]
    assert_mean(bounds[0], TOY.elbo(X, 0.8, 1.2).item())
    for looser, tighter in itertools.pairwise(bounds):
        rise = tighter - looser  # paired: the same samples
        assert rise.mean() > SIGMAS * rise.std() / len(rise) ** 0.5
    assert 0 < TOY.log_evidence(X) - bounds[-1].mean() < 0.02


@pytest.mark.equation("1.27")
def test_a_diagonal_q_leaves_the_approximation_gap_and_an_encoder_more():
    """The posterior's dimensions are correlated; the best diagonal q is known (mean field)."""
    precision = torch.tensor([[2.0, 1.2], [1.2, 3.0]], dtype=torch.float64)
    mean, own = torch.tensor([0.3, -0.8], dtype=torch.float64), 1 / precision.diagonal()
    posterior = MultivariateNormal(mean, precision_matrix=precision)

    def gap(shift: float, scale: float) -> Tensor:
        q = MultivariateNormal(mean + shift, torch.diag(scale * own))
        return kl_divergence(q, posterior)

    approximation = -0.5 * (own.log().sum() + torch.logdet(precision))
    assert_close(gap(0, 1), approximation)
    for encoder in ((0.2, 1.5), (0, 0.9), (0, 1.1), (0.1, 1), (-0.1, 1)):
        amortization = gap(*encoder) - gap(0, 1)
        assert amortization > 0


@pytest.mark.equation("1.28")
def test_entropy_is_the_floor_of_the_gray_cross_entropy(digits):
    x = digits.test[:20].double()
    floor = Bernoulli(probs=x).entropy().sum(dim=1)
    at_x = bernoulli_nll(torch.logit(x, eps=1e-12), x)
    assert_close(at_x, floor, rtol=1e-6, atol=1e-6)
    for shift in (-0.3, 0.3):
        assert (bernoulli_nll(torch.logit(x, eps=1e-6) + shift, x) > floor).all()


@pytest.mark.equation("1.29")
def test_running_halves_against_the_mean():
    sizes = [128] * 5 + [16]
    images = torch.rand(sum(sizes), dtype=torch.float64)
    batches = torch.stack([part.mean() for part in images.split(sizes)])
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        total = (total + batch) / 2
    assert_close(total, (2.0 ** -torch.arange(6.0, 0, -1) * batches).sum())
    assert_close((torch.tensor(sizes) * batches).sum() / sum(sizes), images.mean())
    assert abs(total - images.mean()) > 1e-4


@pytest.mark.equation("1.30")
def test_soft_bound():
    a = torch.linspace(-60, 60, 1001, dtype=torch.float64, requires_grad=True)
    bounded = soft_bound(a)
    assert_close(bounded, 15 * torch.tanh(a / 15))
    bounded.sum().backward()
    assert (bounded.abs() < LOGVAR_BOUND).all() and (a.grad > 0).all()


@pytest.mark.equation("1.31")
def test_the_bound_with_a_mixture_in_the_place_of_the_prior():
    """It is the ELBO of the model whose prior is the mixture: below that evidence, by the gap."""
    parts = torch.stack([Normal(-1.0, 0.5).log_prob(Z), Normal(1.2, 0.8).log_prob(Z)])
    log_r = (torch.tensor([[0.3], [0.7]]).log() + parts).logsumexp(dim=0)
    assert integral(log_r.exp()).item() == pytest.approx(1)
    evidence = integral((log_r + LOG_LIK).exp()).log()
    bound = average(LOG_LIK) - average(LOG_Q - log_r)  # -(D + E[log q - log r])
    gap = average(LOG_Q - (log_r + LOG_LIK - evidence))
    assert gap > 0.01
    assert_close(bound + gap, evidence)
