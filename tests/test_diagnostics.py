"""Oracles: planted answers, models whose log p(x) or information is known, loops written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal
from torch.nn.functional import avg_pool2d, one_hot

from vaelab import (
    VAE,
    Digits,
    LinearVAE,
    RowGRUVAE,
    active_units,
    decoder_weight_norms,
    encode_all,
    evaluate,
    fit,
    gaussian_kl,
    iw_log_likelihood,
    linear_probe,
    mutual_information,
    pca_rates,
    prune,
)
from vaelab.checks import check_seed
from vaelab.diagnostics import iw_batch
from vaelab.runs import seeded


class Planted(nn.Module):
    """An encoder that says what it is told to; image i is a row of the planted means."""

    def __init__(self, mu: Tensor, logvar: Tensor) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.mu, self.logvar = mu, logvar

    def images(self) -> Tensor:
        """(N, 1): the number of the row, as a grey level."""
        return torch.arange(len(self.mu), dtype=torch.float64)[:, None] / len(self.mu)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        row = (x[:, 0] * len(self.mu)).round().long()
        return self.mu[row], self.logvar[row]


class LinearGaussian(nn.Module):
    """x = W z + b + noise with orthogonal columns of W: evidence and posterior are known.

    ``shift`` and ``stretch`` spoil q(z|x); at 0 and 1 it is the exact posterior.
    """

    W = torch.tensor([[0.6, 0.2], [0.0, 0.5], [0.3, -0.4]], dtype=torch.float64)  # (P, D)
    b = torch.tensor([0.5, 0.4, 0.6], dtype=torch.float64)
    noise = 0.3

    def __init__(self, shift: float = 0.0, stretch: float = 1.0) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.shift, self.stretch = shift, stretch
        self.decoded: list[Tensor] = []  # every z that was asked about

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        variance = 1 / (1 + self.W.square().sum(dim=0) / self.noise**2)  # (D,)
        mean = (x - self.b) @ self.W / self.noise**2 * variance  # (B, D)
        return mean + self.shift, (self.stretch**2 * variance).log().expand_as(mean)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        self.decoded.append(z)
        return Normal(z @ self.W.T + self.b, self.noise).log_prob(x).sum(dim=-1)

    def log_evidence(self, x: Tensor) -> Tensor:
        covariance = self.W @ self.W.T + self.noise**2 * torch.eye(3, dtype=torch.float64)
        return MultivariateNormal(self.b, covariance).log_prob(x)


def points(n: int) -> Tensor:
    """(n, 3) things for a LinearGaussian to explain."""
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def planted(n: int, dims: int, seed: int = 0) -> Planted:
    generator = torch.Generator().manual_seed(seed)
    mu = 2 * torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return Planted(mu, torch.randn(n, dims, generator=generator, dtype=torch.float64))


def ten_pixels(labels: Tensor) -> Tensor:
    """(N, 10): the pixel of the label is white."""
    return one_hot(labels, 10).float()


# --- active units, weights, posteriors ----------------------------------------------------------


def test_active_units_counts_variances_above_the_threshold():
    wave = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None]  # variance 4 / 3
    variances = torch.tensor([0.0, 0.0099, 0.0101, 1.0, 50.0])
    mu = wave * (variances * 3 / 4).sqrt() + torch.tensor([9.0, 0.0, -3.0, 0.0, 100.0])
    assert active_units(mu) == 3
    assert active_units(mu, threshold=0.5) == 2
    assert active_units(mu, threshold=100.0) == 0
    assert active_units(mu, threshold=0.0) == 4


@pytest.mark.parametrize(
    "make", [lambda: VAE(3, 4), lambda: RowGRUVAE(3, 4), lambda: LinearVAE(3, 4)]
)
def test_decoder_weight_norms_are_those_of_the_columns(make):
    model = make()
    with torch.no_grad():
        model.from_latent.weight.copy_(torch.tensor([[3.0, 0, 1], [4, 0, 1], [0, 0, 1], [0, 0, 1]]))
    norms = decoder_weight_norms(model)
    assert norms.tolist() == [5, 0, 2]
    assert not norms.requires_grad


@pytest.mark.parametrize("count, batch_size", [(77, 1), (77, 30), (77, 1000), (1, 1000)])
def test_encode_all_is_encode(vae, few, count, batch_size):
    mu, logvar = encode_all(vae, few.test[:count], batch_size)
    assert not mu.requires_grad
    torch.testing.assert_close((mu, logvar), vae.encode(few.test[:count]), check_layout=False)


def test_seeds_are_what_a_generator_takes():
    for seed in (0, 2**63 - 1):
        check_seed(seed)
    for seed in (-1, 2**63, 2**64 - 1):
        with pytest.raises(ValueError, match=f"seed must be .* below .*got {seed}"):
            check_seed(seed)


def test_seeded_draws_are_those_of_the_seed_and_the_state_comes_back():
    cpu = torch.device("cpu")
    before = torch.get_rng_state()
    with seeded(7, cpu):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError), seeded(7, cpu):
        1 / 0  # noqa: B018
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(7)))


# --- the importance-weighted bound --------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 2, 7, 50])
@pytest.mark.parametrize("rows", [1, 10, 5000])
def test_the_bound_is_exact_and_without_variance_if_q_is_the_posterior(samples, rows):
    model, x = LinearGaussian(), points(12)
    for seed in (0, 1):
        bound = iw_log_likelihood(model, x, samples, seed=seed, rows=rows)
        torch.testing.assert_close(bound, model.log_evidence(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift, stretch", [(0.0, 2.0), (0.2, 1.5), (-0.1, 1.2)])
def test_the_weights_are_unbiased_whatever_q_is(shift, stretch):
    model, x = LinearGaussian(shift, stretch), points(40)
    ratios = torch.stack(
        [(iw_log_likelihood(model, x, 3, seed=s) - model.log_evidence(x)).exp() for s in range(200)]
    ).mean(dim=1)  # (200,): p(x) estimated over p(x), which is 1 on average
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / len(ratios) ** 0.5


@pytest.mark.parametrize("samples, rows", [(1, 5000), (9, 5000), (9, 7), (10, 26)])
def test_the_bound_is_the_log_of_the_mean_weight(vae, few, samples, rows, monkeypatch):
    seen = []
    original = vae.log_likelihood
    monkeypatch.setattr(vae, "log_likelihood", lambda x, z: seen.append(z) or original(x, z))
    x = few.test[:6]
    bound = iw_log_likelihood(vae, x, samples, rows=rows)
    z = torch.cat(seen).double()  # (k, B, D)
    assert z.shape == (samples, 6, 8)
    mu, logvar = (part.detach().double() for part in vae.encode(x))
    with torch.no_grad():
        p = Bernoulli(logits=vae.double().decode(z), validate_args=False).log_prob(x.double())
    weights = p.sum(dim=-1) + Normal(0.0, 1.0).log_prob(z).sum(dim=-1)
    weights = weights - Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(dim=-1)  # (k, B)
    expected = [math.log(sum(math.exp(w - max(c)) for w in c) / samples) + max(c)
                for c in weights.T.tolist()]  # fmt: skip
    assert bound.tolist() == pytest.approx(expected, abs=2e-3)


def test_its_memory_is_bounded_and_no_image_is_left_out():
    for n, samples, rows in [(613, 4, 5000), (613, 40, 1000), (113, 3, 10), (113, 5, 1)]:
        model, x = LinearGaussian(), points(n)
        bound = iw_log_likelihood(model, x, samples, rows=rows)
        sizes = [z.shape[0] * z.shape[1] for z in model.decoded]
        assert max(sizes) <= rows
        assert sum(sizes) == n * samples
        torch.testing.assert_close(bound, model.log_evidence(x), rtol=0, atol=1e-6)


def test_a_batch_is_weighed_where_the_model_is():
    """The meta device stands for a GPU: it holds shapes only, and refuses tensors of the CPU."""
    meta = torch.device("meta")
    bound = iw_batch(VAE(3, 4).to(meta), torch.zeros(5, 784, device=meta), samples=7, rows=10)
    assert bound.device == meta
    assert bound.shape == (5,)


@pytest.mark.parametrize(
    "measure", [lambda *a, **s: iw_log_likelihood(*a, 3, **s), mutual_information]
)
def test_what_is_sampled_has_its_own_seed(vae, few, measure):
    before = torch.get_rng_state()
    first = measure(vae, few.test)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again, other = measure(vae, few.test), measure(vae, few.test, seed=1)
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert not torch.equal(torch.as_tensor(first), torch.as_tensor(other))


def test_the_bound_has_50_samples_of_seed_0_unless_told_otherwise(vae, few):
    images = few.test[:5]
    by_default = iw_log_likelihood(vae, images)
    assert torch.equal(by_default, iw_log_likelihood(vae, images, 50, seed=0))
    assert not torch.equal(by_default, iw_log_likelihood(vae, images, 50, seed=1))


# --- mutual information -------------------------------------------------------------------------


@pytest.mark.parametrize("std", [0.3, 0.7])
def test_a_gaussian_channel_carries_what_shannon_says(std):
    n = 1000
    generator = torch.Generator().manual_seed(0)
    mu = (1 - std**2) ** 0.5 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    model = Planted(mu, torch.full((n, 1), 2 * math.log(std), dtype=torch.float64))
    values = torch.tensor(
        [mutual_information(model, model.images(), seed=s).value for s in range(9)]
    )
    exact = 0.5 * math.log(1 / std**2)  # z is N(0, 1) and z | x is N(mu, std^2)
    # Over images -log q(z) has variance 1/2, so the planted sample of mu decides to 1 / sqrt(2 n).
    error = (values.var() / 9 + 1 / (2 * n)).sqrt().item()
    assert abs(values.mean().item() - exact) < 5 * error


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_a_double_loop_over_images(seed):
    model = planted(23, 3, seed)
    got = mutual_information(model, model.images(), seed=seed)
    with seeded(seed, torch.device("cpu")):
        z = model.mu + (0.5 * model.logvar).exp() * torch.randn_like(model.mu)
    total = 0.0
    for i in range(23):
        densities = [
            Normal(model.mu[j], (0.5 * model.logvar[j]).exp()).log_prob(z[i]).sum().exp().item()
            for j in range(23)
        ]
        total += math.log(densities[i]) - math.log(sum(densities) / 23)
    assert got.value == pytest.approx(total / 23, abs=1e-9)
    assert got.ceiling == pytest.approx(math.log(23))


def test_blocks_do_not_matter():
    model = planted(101, 5)
    values = [mutual_information(model, model.images(), block=b).value for b in (1, 7, 100, 1000)]
    assert values == pytest.approx([values[0]] * 4, abs=1e-10)


def test_the_table_stays_accurate_for_narrow_posteriors_far_from_zero():
    n = 40
    mu = 1000 + 1e-3 * torch.arange(n, dtype=torch.float64)[:, None]
    model = Planted(mu, torch.full((n, 1), 2 * math.log(1e-3), dtype=torch.float64))
    near = Planted(mu - 1000, model.logvar)  # the same, moved to zero
    expected = mutual_information(near, near.images()).value
    assert mutual_information(model, model.images()).value == pytest.approx(expected, abs=1e-3)


# --- the linear probe ---------------------------------------------------------------------------


class TenPixels(Planted):
    """mu is the image itself times ``scale``, so what the probe can know is what is drawn."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(torch.zeros(1, 10), torch.zeros(1, 10))
        self.scale = scale

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * x, torch.zeros_like(x)


def labelled(train_labels: Tensor, test_labels: Tensor, noise: float = 0.0) -> Digits:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for labels in (train_labels, test_labels):
        drawn = ten_pixels(labels)
        drawn = drawn + noise * torch.rand(drawn.shape, generator=generator)
        parts.append(drawn / (1 + noise))
    return Digits(parts[0], train_labels, parts[1], test_labels, "labels")


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_the_probe_reads_what_is_linearly_there(scale):
    digits = labelled(torch.arange(200) % 10, torch.arange(70) % 10, noise=0.5)
    assert linear_probe(TenPixels(scale), digits) == 1.0


def test_the_probe_scores_the_test_digits_and_not_the_training_ones():
    wrong = (torch.arange(60) + torch.arange(60).ge(45)) % 10  # the last quarter is labelled wrong
    digits = labelled(torch.arange(200) % 10, torch.arange(60) % 10)._replace(test_labels=wrong)
    assert linear_probe(TenPixels(), digits) == pytest.approx(0.75)


def test_the_probe_finds_nothing_where_nothing_is():
    digits = labelled(torch.arange(400) % 10, torch.arange(300) % 10)
    blind = digits._replace(train=torch.zeros(400, 10), test=torch.zeros(300, 10))
    assert linear_probe(TenPixels(), blind) == pytest.approx(0.1)  # always the same answer


def logistic_regression(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """(D + 1, 10) minimum in float64, by plain descent; the bias is last and goes unpunished."""
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()  # (N, D + 1)
    weight = torch.zeros(x.shape[1], 10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    for _ in range(3000):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight, y)
        (loss + penalty * weight[:-1].square().sum()).backward()
        if weight.grad.abs().max() < 1e-7:
            break
        optimizer.step()
    assert weight.grad.abs().max() < 1e-5  # the problem is convex: this is the minimum
    return weight.detach()


def overlapping(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, 3) grey levels and (n,) labels: ten classes that overlap, the nine 100 times the zero."""
    centres = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.multinomial(torch.arange(1.0, 11).square(), n, True, generator=generator)
    x = centres[labels] + 0.7 * torch.randn(n, 3, generator=generator)
    return (0.5 + x / 20).clamp(0, 1), labels


@pytest.mark.parametrize("given", [{}, {"penalty": 0.1}])
def test_the_probe_is_the_penalised_regression_of_a_textbook(given):
    generator = torch.Generator().manual_seed(0)
    (train, train_labels), (test, test_labels) = (overlapping(n, generator) for n in (600, 2000))
    digits = Digits(train, train_labels, test, test_labels, "overlapping")
    mean, std = train.mean(dim=0), train.std(dim=0)
    weight = logistic_regression((train - mean) / std, train_labels, given.get("penalty", 1e-3))
    logits = ((test - mean) / std).double() @ weight[:-1] + weight[-1]
    expected = (logits.argmax(dim=1) == test_labels).double().mean().item()
    assert linear_probe(TenPixels(), digits, **given) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("seed", range(3))
def test_the_probe_fits_until_it_sees_what_is_small_beside_what_all_dimensions_share(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (1600,), generator=generator)
    signal = ten_pixels(labels) * torch.rand(1600, 10, generator=generator)
    shared = torch.rand(1600, 1, generator=generator)
    alone, buried = (
        linear_probe(
            TenPixels(), Digits(x[:600], labels[:600], x[600:], labels[600:], "x"), penalty=0
        )
        for x in (signal, (shared + 0.03 * signal) / 1.03)
    )
    assert alone > 0.97
    assert buried == pytest.approx(alone, abs=0.03)


# --- pruning ------------------------------------------------------------------------------------


both = pytest.mark.parametrize("make", [lambda: VAE(5, 16), lambda: RowGRUVAE(5, 16)])


@both
@pytest.mark.parametrize("keep", [[4, 1], [3]])
def test_pruning_keeps_the_posterior_and_decodes_with_zeros_in_place_of_the_rest(make, few, keep):
    model, x = make(), few.test[:9].round()
    twin, smaller, z = copy.deepcopy(model), prune(model, keep), torch.zeros(9, 5)
    z[:, keep] = torch.randn(9, len(keep))
    torch.testing.assert_close(smaller.log_likelihood(x, z[:, keep]), model.log_likelihood(x, z))
    for got, whole in zip(smaller.encode(x), model.encode(x)):
        torch.testing.assert_close(got, whole[:, keep])
    for part in smaller.parameters():
        part.detach().zero_()
    assert same(model, twin) and model.latent_dim == 5


def same(model: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


@both
def test_a_mask_means_its_indices(make):
    model, mask = make(), torch.tensor([True, False, False, True, True])
    for keep in (mask, mask.tolist(), torch.tensor([0, 3, 4])):
        assert same(prune(model, keep), prune(model, [0, 3, 4]))


@both
def test_a_pruned_model_can_do_everything(make, few):
    smaller = prune(make(), [0, 2])
    assert smaller.sample(3).shape == (3, 784)
    assert decoder_weight_norms(smaller).shape == (2,)
    fit(smaller, few, steps=2, batch_size=32, evaluations=1, binarize=True, progress=False)
    assert evaluate(smaller, few.test.round()).kl_per_dim.shape == (2,)
    assert smaller.to_mu.out_features == smaller.to_logvar.out_features == 2
    assert smaller.from_latent.in_features == 2


# --- the linear model ---------------------------------------------------------------------------


def test_pca_rates_are_those_of_the_best_direction_found_by_search():
    """Brute force in two dimensions: the variance along each of many directions."""
    torch.manual_seed(0)
    images = torch.rand(40, 2) @ torch.tensor([[0.6, 0.3], [0.1, 0.2]])  # (40, 2), within [0, 1]
    angles = torch.linspace(0, math.pi, 10_001)
    along = images @ torch.stack([angles.cos(), angles.sin()])  # (40, angles)
    variances = along.var(dim=0, correction=0)
    for noise in (0.02, 0.1, 0.5):
        expected = [max(0.0, 0.5 * math.log(v / noise**2)) for v in variances.aminmax()[::-1]]
        assert pca_rates(images, noise, 2).tolist() == pytest.approx(expected, abs=1e-4)
        assert pca_rates(images, noise, 1).tolist() == pytest.approx(expected[:1], abs=1e-4)


def test_pca_rates_belong_to_a_minimum_of_the_loss():
    """The solution of Tipping and Bishop, put into the model: its KL, and that no move helps."""
    torch.manual_seed(0)
    noise = 0.15
    images = (0.5 + 0.2 * torch.randn(500, 5) @ torch.randn(5, 5) / 5).clamp(0, 1).double()
    values, vectors = torch.linalg.eigh(torch.cov(images.T, correction=0))
    variance, w = values.flip(0)[:3], vectors.flip(1)[:, :3]  # (3,), (5, 3)
    kept = (variance - noise**2).clamp(min=0)
    model = LinearVAE(3, 5, noise).double()
    with torch.no_grad():
        model.from_latent.weight.copy_(w * kept.sqrt())
        model.from_latent.bias.copy_(images.mean(dim=0))
        model.to_mu.weight.copy_((kept.sqrt() / variance.clamp(min=noise**2))[:, None] * w.T)
        model.to_mu.bias.copy_(-model.to_mu.weight @ images.mean(dim=0))
        wanted = (noise**2 / variance).clamp(max=1).log() / 15
        model.logvar.copy_(15 * wanted.atanh())
    found = evaluate(model, images).kl_per_dim
    torch.testing.assert_close(found.float(), pca_rates(images, noise, 3), rtol=0, atol=1e-5)
    mu, logvar = model.encode(images)
    spread = (model.from_latent.weight.square().sum(dim=0) * logvar.exp()).sum(dim=1)  # (N,)
    error = (images - model.decode(mu)).square().sum(dim=1) + spread  # its mean over z, exactly
    loss = (error / (2 * noise**2)).mean() + gaussian_kl(mu, logvar).sum(dim=1).mean()
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.abs().max() < 1e-4


def test_training_finds_the_rates_that_pca_predicts(digits):
    """On digits of 7 x 7 pixels, where thousands of steps take seconds."""
    train, test = (avg_pool2d(x.view(-1, 1, 28, 28), 4).flatten(1) for x in (digits[0], digits[2]))
    torch.manual_seed(0)
    model = LinearVAE(20, data_dim=49, noise=0.2)
    options = {"steps": 3000, "lr": 5e-3, "batch_size": 256, "evaluations": 1, "progress": False}
    fit(model, digits._replace(train=train, test=test), **options)
    found = evaluate(model, train).kl_per_dim.sort(descending=True).values  # (20,)
    predicted = pca_rates(train, 0.2, 20)
    assert (found - predicted).abs().max() < 0.15
    assert float(found.sum()) == pytest.approx(float(predicted.sum()), rel=0.01)
    assert abs(int((found > 0.01).sum()) - int((predicted > 0.01).sum())) <= 2


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, expected",
    [
        (
            lambda: encode_all(VAE, torch.zeros(2, 784)),
            "model must be a VAE or RowGRUVAE, with encode, got the class VAE: call it",
        ),
        (
            lambda: encode_all(None, torch.zeros(2, 784)),
            "model must be a VAE or RowGRUVAE, with encode, got NoneType",
        ),
        (
            lambda: encode_all(VAE(2, 4), torch.zeros(2, 783)),
            "images must be (N, 784) with N >= 1 for this model, got (2, 783)",
        ),
        (
            lambda: prune(VAE(5, 8), [True] * 4),
            "keep must be distinct indices within 0 .. 4 or a boolean mask (5,), got "
            "[True, True, True, True]",
        ),
        (
            lambda: prune(LinearVAE(3, 5), [0]),
            "model must be a VAE or RowGRUVAE, with to_logvar, got LinearVAE",
        ),
        (
            lambda: decoder_weight_norms(planted(4, 2)),
            "model must be a VAE or RowGRUVAE, with from_latent, got Planted",
        ),
        (
            lambda: active_units(torch.full((2, 3), math.nan)),
            "mu must be finite, got NaN or infinity: did the training diverge?",
        ),
    ],
)
def test_a_refusal_says_what_came_and_what_was_expected(call, expected):
    with pytest.raises((TypeError, ValueError)) as refusal:
        call()
    assert str(refusal.value) == expected
