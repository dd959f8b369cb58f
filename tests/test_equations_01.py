"""Every tagged equation of lesson 1, verified: exactly, or within stated standard errors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from vaelab import ELBO, VAE, GaussianToy, active_units, bernoulli_nll, gaussian_kl
from vaelab.model import LOGVAR_BOUND, soft_bound

TOY = GaussianToy(weight=1.5, bias=0.5, noise=0.8)
PRIOR = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
X = 2.0
SIGMAS = 4.5  # a correct mean misses by more than this in 7 of a million runs


def q_of(mean: float, std: float) -> Normal:
    return Normal(torch.tensor(mean, dtype=torch.float64), std)


def integrate(values: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return torch.trapezoid(values, grid)


def assert_mean(samples: torch.Tensor, expected: float) -> None:
    stderr = samples.std() / len(samples) ** 0.5
    assert stderr < 0.1 * max(1.0, abs(expected)), "the check would accept almost anything"
    assert abs(samples.mean() - expected) < SIGMAS * stderr


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


@pytest.fixture(scope="module")
def grid() -> torch.Tensor:
    return torch.linspace(-12, 12, 20001, dtype=torch.float64)


@pytest.mark.equation("1.1")
def test_joint_is_likelihood_times_standard_normal_prior():
    """(z, x) of the toy is bivariate normal with known moments; the product has that density."""
    w, b, s = TOY.weight, TOY.bias, TOY.noise
    covariance = torch.tensor([[1.0, w], [w, w**2 + s**2]], dtype=torch.float64)
    joint = MultivariateNormal(torch.tensor([0.0, b], dtype=torch.float64), covariance)
    z, x = torch.randn(2, 50, dtype=torch.float64)
    product = TOY.log_likelihood(x, z) + PRIOR.log_prob(z)
    torch.testing.assert_close(product, joint.log_prob(torch.stack([z, x], dim=1)))


@pytest.mark.equation("1.2")
def test_evidence_is_the_integral_over_the_prior(grid):
    density = (TOY.log_likelihood(X, grid) + PRIOR.log_prob(grid)).exp()
    assert integrate(density, grid).log().item() == pytest.approx(TOY.log_evidence(X).item())


@pytest.mark.equation("1.3")
def test_prior_samples_estimate_the_evidence():
    z = torch.randn(400_000, dtype=torch.float64)
    assert_mean(TOY.log_likelihood(X, z).exp(), TOY.log_evidence(X).exp().item())


@pytest.mark.equation("1.4")
def test_marginal_of_the_toy():
    marginal = Normal(TOY.bias, math.sqrt(TOY.weight**2 + TOY.noise**2))
    x = torch.linspace(-4, 5, 10, dtype=torch.float64)
    torch.testing.assert_close(TOY.log_evidence(x), marginal.log_prob(x))
    drawn = TOY.weight * torch.randn(200_000) + TOY.bias + TOY.noise * torch.randn(200_000)
    assert_mean(drawn, marginal.mean.item())
    assert_mean((drawn - TOY.bias) ** 2, marginal.variance.item())


@pytest.mark.equation("1.5")
def test_kl_is_the_expected_log_ratio(grid):
    q, p = q_of(0.4, 0.7), q_of(-0.3, 1.2)
    log_ratio = q.log_prob(grid) - p.log_prob(grid)
    by_definition = integrate(q.log_prob(grid).exp() * log_ratio, grid)
    torch.testing.assert_close(by_definition, kl_divergence(q, p))


@pytest.mark.equation("1.6")
def test_kl_is_never_negative():
    t = torch.logspace(-6, 3, 2000, dtype=torch.float64)
    assert (t.log() <= t - 1).all()
    q = torch.distributions.Dirichlet(torch.ones(6, dtype=torch.float64)).sample((1000,))
    p = torch.distributions.Dirichlet(torch.ones(6, dtype=torch.float64)).sample((1000,))
    assert ((q * (q / p).log()).sum(dim=1) > 0).all()
    assert ((q * (q / q).log()).sum(dim=1) == 0).all()


@pytest.mark.equation("1.7")
def test_each_line_of_the_kl_identity(grid):
    q, density = q_of(0.4, 0.7), q_of(0.4, 0.7).log_prob(grid).exp()
    posterior = Normal(*TOY.posterior(X))
    log_q, log_p, log_prior = q.log_prob(grid), TOY.log_likelihood(X, grid), PRIOR.log_prob(grid)
    evidence = TOY.log_evidence(X)
    lines = [
        integrate(density * (log_q - posterior.log_prob(grid)), grid),
        integrate(density * (log_q - log_p - log_prior + evidence), grid),
        integrate(density * (log_q - log_prior), grid)
        - integrate(density * log_p, grid)
        + evidence,
        kl_divergence(q, PRIOR) - integrate(density * log_p, grid) + evidence,
    ]
    for line in lines:
        torch.testing.assert_close(line, kl_divergence(q, posterior))


@pytest.mark.equation("1.8")
def test_elbo_plus_gap_is_the_evidence():
    mean = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    std = torch.logspace(-2, 1, 9, dtype=torch.float64)[None, :]
    total = TOY.elbo(X, mean, std) + TOY.gap(X, mean, std)
    torch.testing.assert_close(total, TOY.log_evidence(X).expand_as(total), rtol=0, atol=1e-6)


@pytest.mark.equation("1.9")
def test_elbo_is_a_lower_bound_and_tight_only_at_the_posterior():
    mean, std = TOY.posterior(X)
    assert TOY.elbo(X, mean, std).item() == pytest.approx(TOY.log_evidence(X).item(), abs=1e-12)
    for shift, stretch in ((0.1, 1.0), (-0.1, 1.0), (0.0, 1.1), (0.0, 0.9)):
        assert TOY.elbo(X, mean + shift, std * stretch) < TOY.log_evidence(X) - 1e-3


@pytest.mark.equation("1.10")
def test_jensen(grid):
    q = q_of(0.4, 0.7)
    log_ratio = TOY.log_likelihood(X, grid) + PRIOR.log_prob(grid) - q.log_prob(grid)
    density = q.log_prob(grid).exp()
    log_of_mean = integrate(density * log_ratio.exp(), grid).log()
    mean_of_log = integrate(density * log_ratio, grid)
    assert log_of_mean.item() == pytest.approx(TOY.log_evidence(X).item())
    assert mean_of_log.item() == pytest.approx(TOY.elbo(X, 0.4, 0.7).item())
    assert log_of_mean > mean_of_log


@pytest.mark.equation("1.11")
def test_negative_elbo_is_distortion_plus_rate(grid):
    q = q_of(0.4, 0.7)
    distortion = -integrate(q.log_prob(grid).exp() * TOY.log_likelihood(X, grid), grid)
    rate = kl_divergence(q, PRIOR)
    assert (distortion + rate).item() == pytest.approx(-TOY.elbo(X, 0.4, 0.7).item())


@pytest.mark.equation("1.12")
def test_posterior_of_the_toy(grid):
    w, b, s = TOY.weight, TOY.bias, TOY.noise
    log_joint = TOY.log_likelihood(X, grid) + PRIOR.log_prob(grid)
    collected = -0.5 * (1 + (w / s) ** 2) * grid**2 + w * (X - b) / s**2 * grid
    constant = log_joint - collected
    torch.testing.assert_close(constant, constant[:1].expand_as(constant))
    posterior = Normal(w * (X - b) / (w**2 + s**2), s / math.sqrt(w**2 + s**2))
    torch.testing.assert_close(posterior.log_prob(grid), log_joint - TOY.log_evidence(X))
    for found, expected in zip(TOY.posterior(X), (posterior.mean, posterior.stddev)):
        assert found.item() == pytest.approx(expected.item())


@pytest.mark.equation("1.13")
def test_the_rate_is_that_of_independent_normal_dimensions():
    """The encoder's q is a normal with a diagonal covariance, of variances."""
    torch.manual_seed(2)
    mu, logvar = VAE(3, 8, 16).encode(torch.rand(5, 16))
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    prior = MultivariateNormal(torch.zeros(3), torch.eye(3))
    torch.testing.assert_close(gaussian_kl(mu, logvar).sum(dim=1), kl_divergence(q, prior))


@pytest.mark.equation("1.14")
def test_what_is_minimized_is_the_bound_summed_over_images(few):
    """Over N images of one batch, N times the loss is minus the sum, theta and phi in it alike."""
    torch.manual_seed(0)
    model, x = VAE(4, 16), few.test.round()
    mu, logvar = model.encode(x)
    z = model.reparameterize(mu, logvar)
    q, prior = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1), Normal(0.0, 1.0)
    log_p = Independent(Bernoulli(logits=model.decode(z)), 1).log_prob(x)
    total = (log_p - kl_divergence(q, Independent(prior.expand(mu.shape), 1))).sum()
    loss = ELBO()(-model.log_likelihood(x, z), gaussian_kl(mu, logvar), 0.0)
    torch.testing.assert_close(-len(x) * loss, total)
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


def exact_gradient(mu: float) -> float:
    return TOY.weight * (X - TOY.weight * mu - TOY.bias) / TOY.noise**2


@pytest.mark.equation("1.16")
def test_reparameterized_gradient():
    mu = torch.full((100_000,), 0.4, dtype=torch.float64, requires_grad=True)
    TOY.log_likelihood(X, mu + 0.7 * torch.randn_like(mu)).sum().backward()
    assert_mean(mu.grad, exact_gradient(0.4))


@pytest.mark.equation("1.17")
def test_closed_form_kl(grid):
    mu, logvar = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    q = Normal(mu, torch.exp(0.5 * logvar))
    torch.testing.assert_close(gaussian_kl(mu, logvar), kl_divergence(q, PRIOR))
    second_moment = mu[0, 0] ** 2 + logvar[0, 0].exp()
    line_2 = -0.5 * logvar[0, 0] - 0.5 + 0.5 * second_moment
    torch.testing.assert_close(line_2, gaussian_kl(mu, logvar)[0, 0])
    one = q_of(mu[0, 0].item(), math.exp(0.5 * logvar[0, 0].item()))
    torch.testing.assert_close(
        integrate(one.log_prob(grid).exp() * grid**2, grid), second_moment, rtol=1e-6, atol=1e-6
    )


@pytest.mark.equation("1.18")
def test_bernoulli_likelihood():
    logits, x = torch.randn(6, 784, dtype=torch.float64), torch.rand(6, 784).round().double()
    pi = torch.sigmoid(logits)
    by_hand = (x * pi.log() + (1 - x) * (1 - pi).log()).sum(dim=1)
    by_torch = Independent(Bernoulli(logits=logits), 1).log_prob(x)
    torch.testing.assert_close(by_hand, by_torch)
    torch.testing.assert_close(-bernoulli_nll(logits, x), by_torch)


@pytest.mark.equation("1.19")
def test_likelihood_on_logits_is_the_same_and_safe():
    logits, x = 5 * torch.randn(6, 784, dtype=torch.float64), torch.rand(6, 784).double()
    on_logits = (x * logits - torch.log1p(logits.exp())).sum(dim=1)
    torch.testing.assert_close(-bernoulli_nll(logits, x), on_logits)
    far = torch.tensor([[1e4, -1e4]])
    assert bernoulli_nll(far, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2e4)


@pytest.mark.equation("1.20")
def test_grey_cross_entropy_is_the_mean_over_binary_draws(digits):
    x, logits = digits.test[:1], torch.randn(1, 784)
    draws = torch.bernoulli(x.expand(20_000, 784))
    nll = bernoulli_nll(logits.expand(20_000, 784), draws)
    assert_mean(nll, bernoulli_nll(logits, x).item())


@pytest.mark.equation("1.21")
def test_the_grey_loss_bounds_the_binary_likelihood(grid):
    """Two pixels and one latent, where everything can be summed or integrated."""
    x = torch.tensor([0.3, 0.8], dtype=torch.float64)
    logits = torch.stack([2 * grid - 0.5, 1 - 3 * grid], dim=1)  # (G, 2), of a made-up decoder
    prior = PRIOR.log_prob(grid).exp()
    expected = torch.zeros((), dtype=torch.float64)
    for flips in itertools.product((0.0, 1.0), repeat=2):
        flipped = torch.tensor(flips, dtype=torch.float64)
        log_p = Independent(Bernoulli(logits=logits), 1).log_prob(flipped)
        probability = Bernoulli(probs=x).log_prob(flipped).sum().exp()
        expected = expected - probability * integrate(prior * log_p.exp(), grid).log()
    for mean, std in ((0.0, 1.0), (-0.3, 0.6), (-0.5, 0.2)):
        q = q_of(mean, std)
        grey = bernoulli_nll(logits, x.expand(len(grid), 2))
        bound = integrate(q.log_prob(grid).exp() * grey, grid) + kl_divergence(q, PRIOR)
        assert bound > expected + 0.01


@pytest.mark.equation("1.22")
def test_squared_error_is_a_normal_likelihood_with_a_hidden_beta():
    x, mean = torch.rand(784, dtype=torch.float64), torch.rand(784, dtype=torch.float64)
    kl, b = 17.0, 0.3
    sigma = math.sqrt(b / 2)
    square = (x - mean).square().sum()
    nll = -Normal(mean, sigma).log_prob(x).sum()
    constant = 784 / 2 * math.log(2 * math.pi * sigma**2)
    torch.testing.assert_close(nll, square / (2 * sigma**2) + constant)
    torch.testing.assert_close(2 * sigma**2 * (nll + kl - constant), square + b * kl)


@pytest.mark.equation("1.23")
def test_active_units_counts_the_variance_of_the_mean():
    scale = torch.tensor([1.0, 0.2, 0.11, 0.09, 0.0])  # variances 1, 0.04, 0.0121, 0.0081, 0
    mu = torch.randn(1000, 5)
    mu = (mu - mu.mean(dim=0)) / mu.std(dim=0) * scale + 3.0
    assert active_units(mu) == int((scale**2 > 0.01).sum()) == 3


@pytest.mark.equation("1.24")
def test_score_function_gradient():
    q = q_of(0.4, 0.7)
    z = q.sample((400_000,))
    score = (z - 0.4) / 0.7**2
    assert_mean(TOY.log_likelihood(X, z) * score, exact_gradient(0.4))


@pytest.mark.equation("1.25")
def test_a_constant_leaves_the_gradient_alone_and_the_best_has_the_least_variance():
    q = q_of(0.4, 0.7)
    z = q.sample((400_000,))
    f, score = TOY.log_likelihood(X, z), (z - 0.4) / 0.7**2
    best = ((f * score**2).mean() / (score**2).mean()).item()
    for c in (-5.0, best, 3.0):
        assert_mean((f - c) * score, exact_gradient(0.4))
        assert c == best or ((f - c) * score).var() > ((f - best) * score).var()


@pytest.mark.equation("1.26")
def test_importance_weighted_bounds_grow_towards_the_evidence():
    q = q_of(0.8, 1.2)
    z = q.sample((40_000, 64))
    log_ratio = TOY.log_likelihood(X, z) + PRIOR.log_prob(z) - q.log_prob(z)  # (repeats, 64)
    ks = (1, 2, 4, 16, 64)
    bounds = [log_ratio[:, :k].logsumexp(dim=1) - math.log(k) for k in ks]
    assert_mean(bounds[0], TOY.elbo(X, 0.8, 1.2).item())
    for looser, tighter in itertools.pairwise(bounds):
        rise = tighter - looser  # paired: the same samples
        assert rise.mean() > SIGMAS * rise.std() / len(rise) ** 0.5
    evidence = TOY.log_evidence(X)
    assert bounds[-1].mean() < evidence and evidence - bounds[-1].mean() < 0.02


@pytest.mark.equation("1.27")
def test_approximation_and_amortization_gaps_add_up():
    """Posterior with correlated dimensions, a diagonal q: both gaps are known in closed form."""
    precision = torch.tensor([[2.0, 1.2], [1.2, 3.0]], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.8], dtype=torch.float64)
    posterior = MultivariateNormal(mean, precision_matrix=precision)

    def gap(q_mean: torch.Tensor, q_var: torch.Tensor) -> torch.Tensor:
        return kl_divergence(MultivariateNormal(q_mean, torch.diag(q_var)), posterior)

    best = gap(mean, 1 / precision.diagonal())  # the best diagonal Gaussian (mean field)
    encoder = gap(mean + 0.2, 1.5 / precision.diagonal())
    evidence = -3.7
    elbo_best, elbo_encoder = evidence - best, evidence - encoder
    approximation, amortization = evidence - elbo_best, elbo_best - elbo_encoder
    torch.testing.assert_close(approximation + amortization, evidence - elbo_encoder)
    expected = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    torch.testing.assert_close(approximation, expected)
    assert amortization > 0
    for scale in (0.9, 1.1):
        assert gap(mean, scale / precision.diagonal()) > best


@pytest.mark.equation("1.28")
def test_entropy_is_the_floor_of_the_grey_cross_entropy(digits):
    x = digits.test[:20].double()
    floor = Bernoulli(probs=x).entropy().sum(dim=1)
    at_x = bernoulli_nll(torch.logit(x.clamp(1e-12, 1 - 1e-12)), x)
    torch.testing.assert_close(at_x, floor, rtol=1e-6, atol=1e-6)
    for shift in (-0.3, 0.3):
        assert (bernoulli_nll(torch.logit(x.clamp(1e-6, 1 - 1e-6)) + shift, x) > floor).all()


@pytest.mark.equation("1.29")
def test_running_halves_against_the_mean():
    sizes = [128] * 5 + [16]
    images = torch.rand(sum(sizes), dtype=torch.float64)
    batches = [part.mean() for part in images.split(sizes)]
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        total = (total + batch) / 2
    count = len(sizes)
    halves = sum(2.0 ** -(count - j + 1) * b for j, b in enumerate(batches, start=1))
    torch.testing.assert_close(total, halves)
    weighted = sum(n * b for n, b in zip(sizes, batches)) / sum(sizes)
    torch.testing.assert_close(weighted, images.mean())
    assert abs(total - images.mean()) > 1e-4


@pytest.mark.equation("1.30")
def test_soft_bound():
    a = torch.linspace(-60, 60, 1001, dtype=torch.float64, requires_grad=True)
    bounded = soft_bound(a)
    torch.testing.assert_close(bounded, 15 * torch.tanh(a / 15))
    bounded.sum().backward()
    assert (bounded.abs() < LOGVAR_BOUND).all() and (a.grad > 0).all()
    near = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_bound(near), near, rtol=1e-3, atol=0)


@pytest.mark.equation("1.31")
def test_the_bound_with_a_mixture_in_the_place_of_the_prior(grid):
    """It is the ELBO of the model whose prior is the mixture: below that evidence, by the gap."""
    weights, parts = torch.tensor([0.3, 0.7]), [q_of(-1.0, 0.5), q_of(1.2, 0.8)]
    logs = torch.stack([w.log() + part.log_prob(grid) for w, part in zip(weights, parts)])
    log_r, log_p = logs.logsumexp(dim=0), TOY.log_likelihood(X, grid)
    assert integrate(log_r.exp(), grid).item() == pytest.approx(1)
    evidence = integrate((log_r + log_p).exp(), grid).log()
    q = q_of(0.4, 0.7)
    density, log_q = q.log_prob(grid).exp(), q.log_prob(grid)
    bound = integrate(density * (log_p - log_q + log_r), grid)  # -(D + E[log q - log r])
    gap = integrate(density * (log_q - (log_r + log_p - evidence)), grid)
    assert gap > 0.01
    torch.testing.assert_close(bound + gap, evidence)
