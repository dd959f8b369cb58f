"""Oracles: planted answers, models whose log p(x) is known, loops and tables written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from vaelab import VAE, Digits, LinearVAE, RowGRUVAE, evaluate, fit, gaussian_kl
from vaelab import diagnostics as d


class Told(nn.Module):
    """A model that encodes as it is told to."""

    def __init__(self, encode: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.encode = encode


def linear_gaussian(shift: float = 0.0, stretch: float = 1.0) -> tuple[LinearVAE, list[Tensor]]:
    """A model of three pixels whose evidence and posterior are known, and each z that it decodes.

    ``shift`` and ``stretch`` spoil q(z|x); at 0 and 1 it is the exact posterior.
    """
    model, decoded = LinearVAE(2, 3, noise=0.3).double(), []
    w = torch.tensor([[0.6, 0.2], [0.0, 0.5], [0.3, -0.4]]).double()  # orthogonal columns
    b = torch.tensor([0.5, 0.4, 0.6]).double()
    variance = 1 / (1 + w.square().sum(dim=0) / 0.3**2)  # (D,)
    encoder = variance[:, None] * w.T / 0.3**2  # (D, P)
    raw = 15 * torch.atanh((stretch**2 * variance).log() / 15)  # the model bounds it by 15
    parts = {"to_mu.weight": encoder, "to_mu.bias": shift - encoder @ b, "logvar": raw}
    model.load_state_dict({**parts, "from_latent.weight": w, "from_latent.bias": b})
    plain = model.log_likelihood
    model.log_likelihood = lambda x, z: decoded.append(z) or plain(x, z)
    return model, decoded


def log_evidence(model: LinearVAE, x: Tensor) -> Tensor:
    w, b = model.from_latent.weight.detach(), model.from_latent.bias.detach()
    return MultivariateNormal(b, w @ w.T + 0.3**2 * torch.eye(3).double()).log_prob(x)


def points(n: int) -> Tensor:
    """(n, 3) things for such a model to explain."""
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# --- active units, weights, posteriors ----------------------------------------------------------


def test_active_units_counts_variances_above_the_threshold():
    wave = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None]  # variance 4 / 3
    variances = torch.tensor([0.0, 0.0099, 0.0101, 1.0, 50.0])
    mu = wave * (variances * 3 / 4).sqrt() + torch.tensor([9.0, 0.0, -3.0, 0.0, 100.0])
    assert d.active_units(mu) == 3
    assert [d.active_units(mu, threshold=t) for t in (0.0, 0.5, 100.0)] == [4, 2, 0]


@pytest.mark.parametrize("kind", [VAE, RowGRUVAE, LinearVAE])
def test_decoder_weight_norms_are_those_of_the_columns(kind):
    model = kind(3, 4)
    columns = torch.tensor([[3.0, 0, 1], [4, 0, 1], [0, 0, 1], [0, 0, 1]])
    model.from_latent.weight.data.copy_(columns)
    norms = d.decoder_weight_norms(model)
    assert norms.tolist() == [5, 0, 2] and not norms.requires_grad


@pytest.mark.parametrize("count, batch_size", [(77, 1), (77, 30), (77, 1000), (1, 1000)])
def test_encode_all_is_encode(vae, few, count, batch_size):
    mu, logvar = d.encode_all(vae, few.test[:count], batch_size)
    assert not mu.requires_grad
    torch.testing.assert_close((mu, logvar), vae.encode(few.test[:count]), check_layout=False)


# --- the importance-weighted bound --------------------------------------------------------------


@pytest.mark.parametrize(
    "n, samples, rows",
    [(12, 1, 1), (12, 50, 10), (12, 7, 5000), (613, 4, 5000), (613, 40, 1000), (113, 3, 10)],
)
def test_the_bound_is_exact_if_q_is_the_posterior_and_its_memory_is_bounded(n, samples, rows):
    model, decoded = linear_gaussian()
    bound = d.iw_log_likelihood(model, points(n), samples, rows=rows)
    torch.testing.assert_close(bound, log_evidence(model, points(n)), rtol=0, atol=1e-6)
    sizes = [z.shape[0] * z.shape[1] for z in decoded]
    assert max(sizes) <= rows and sum(sizes) == n * samples


@pytest.mark.parametrize("samples, rows", [(1, 5000), (9, 5000), (9, 7), (10, 26)])
def test_the_bound_is_the_log_of_the_mean_weight(samples, rows):
    model, decoded = linear_gaussian(0.2, 1.5)
    x = points(6)
    bound = d.iw_log_likelihood(model, x, samples, rows=rows)
    z, (mu, logvar) = torch.cat(decoded), model.encode(x)  # (k, B, D)
    log_p = Normal(model.decode(z), 0.3).log_prob(x).sum(dim=-1)
    log_prior_over_q = Normal(0.0, 1.0).log_prob(z) - Normal(mu, (0.5 * logvar).exp()).log_prob(z)
    weights = (log_p + log_prior_over_q.sum(dim=-1)).exp()  # (k, B)
    assert weights.shape == (samples, 6)
    torch.testing.assert_close(bound, weights.mean(dim=0).log().detach())


@pytest.mark.parametrize("shift, stretch", [(0.0, 2.0), (0.2, 1.5), (-0.1, 1.2)])
def test_the_weights_are_unbiased_whatever_q_is(shift, stretch):
    model, _ = linear_gaussian(shift, stretch)
    x = points(40).repeat(200, 1)
    ratios = (d.iw_log_likelihood(model, x, 3) - log_evidence(model, x)).exp()  # 1 on average
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / len(ratios) ** 0.5


def test_a_batch_is_weighed_where_the_model_is():
    """The meta device stands for a GPU: it holds shapes only, and refuses tensors of the CPU."""
    meta = torch.device("meta")
    bound = d.iw_batch(VAE(3, 4).to(meta), torch.zeros(5, 784, device=meta), samples=7, rows=10)
    assert bound.device == meta and bound.shape == (5,)


@pytest.mark.parametrize(
    "measure, defaults", [(d.iw_log_likelihood, {"samples": 50}), (d.mutual_information, {})]
)
def test_what_is_sampled_has_its_own_seed(vae, few, measure, defaults):
    before = torch.get_rng_state()
    first, again, other = (
        torch.as_tensor(measure(vae, few.test, **given))
        for given in ({}, {"seed": 0} | defaults, {"seed": 1})
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


# --- mutual information -------------------------------------------------------------------------

FAR = 1000 + 1e-3 * torch.arange(40).double()[:, None]  # narrow posteriors far from zero


@pytest.mark.parametrize(
    "mu, std, block, error",
    [(2 * points(23), 2 * points(23) + 0.1, block, 1e-9) for block in (1, 7, 23, 1000)]
    + [(FAR, torch.full_like(FAR, 1e-3), 1000, 1e-3)],
)
def test_mutual_information_is_the_mean_over_a_table_of_densities(mu, std, block, error):
    n = len(mu)
    got = d.mutual_information(
        Told(lambda x: (mu, 2 * std.log())), torch.zeros(n, 1), seed=3, block=block
    )
    torch.manual_seed(3)
    z = mu + std * torch.randn_like(mu)
    densities = Normal(mu, std).log_prob(z[:, None]).sum(dim=-1).exp()  # (N, N): q(z_i|x_j)
    expected = (densities.diagonal() / densities.mean(dim=1)).log().mean()
    assert got.value == pytest.approx(expected.item(), abs=error)
    assert got.ceiling == pytest.approx(math.log(n))


# --- the linear probe ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("given", [{}, {"penalty": 0.1}])
def test_the_probe_is_the_penalized_regression_of_a_textbook(given):
    """Ten classes that overlap, the nine 100 times the zero, in dimensions of different scale."""
    torch.manual_seed(1)
    centers = torch.randn(10, 3)
    y = torch.multinomial(torch.arange(1.0, 11).square(), 2600, replacement=True)
    x = (0.5 + (centers[y] + 0.7 * torch.randn(2600, 3)) / 20).clamp(0, 1)
    scale = torch.tensor([0.0, 1e-3, 1.0, 1e3])  # and one dimension is dead
    model = Told(lambda x: (2 * (x * scale), torch.zeros_like(x)))
    images = torch.cat([x[:, :1], x], dim=1)
    found = d.linear_probe(model, Digits(images[:600], y[:600], images[600:], y[600:], ""), **given)
    x = (x - x[:600].mean(dim=0)) / x[:600].std(dim=0)
    weight = logistic_regression(x[:600], y[:600], given.get("penalty", 1e-3))
    predicted = (x[600:].double() @ weight[:-1] + weight[-1]).argmax(dim=1)
    assert found == pytest.approx((predicted == y[600:]).double().mean().item(), abs=0.003)


@pytest.mark.parametrize("seed", range(3))
def test_the_probe_fits_until_it_sees_what_is_small_beside_what_all_dimensions_share(seed):
    torch.manual_seed(seed)
    y = torch.randint(10, (1600,))
    signal = torch.eye(10)[y] * torch.rand(1600, 10)
    alone, buried = (
        d.linear_probe(
            Told(lambda x: (x, torch.zeros_like(x))),
            Digits(x[:600], y[:600], x[600:], y[600:], ""),
            penalty=0,
        )
        for x in (signal, (torch.rand(1600, 1) + 0.03 * signal) / 1.03)
    )
    assert alone > 0.97 and buried == pytest.approx(alone, abs=0.03)


# --- pruning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VAE, RowGRUVAE])
@pytest.mark.parametrize("keep", [[4, 1], [3]])
def test_pruning_keeps_the_posterior_and_decodes_with_zeros_in_place_of_the_rest(kind, keep, few):
    model, x, z = kind(5, 16), few.test[:9].round(), torch.zeros(9, 5)
    twin, smaller = copy.deepcopy(model), d.prune(model, keep)
    z[:, keep] = torch.randn(9, len(keep))
    torch.testing.assert_close(smaller.log_likelihood(x, z[:, keep]), model.log_likelihood(x, z))
    for got, whole in zip(smaller.encode(x), model.encode(x)):
        torch.testing.assert_close(got, whole[:, keep])
    assert smaller.sample(3).shape == (3, 784)
    sizes = {smaller.to_mu.out_features, smaller.to_logvar.out_features}
    assert sizes == {smaller.from_latent.in_features} == {smaller.latent_dim} == {len(keep)}
    fit(smaller, few, steps=2, batch_size=32, evaluations=1, progress=False)  # changes no other
    assert evaluate(smaller, x).kl_per_dim.shape == (len(keep),)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))
    assert model.latent_dim == 5


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
        assert d.pca_rates(images, noise, 2).tolist() == pytest.approx(expected, abs=1e-4)
        assert d.pca_rates(images, noise, 1).tolist() == pytest.approx(expected[:1], abs=1e-4)


def test_pca_rates_belong_to_a_minimum_of_the_loss():
    """The solution of Tipping and Bishop, put into the model: its KL, and that no move helps."""
    torch.manual_seed(0)
    noise = 0.15
    images = (0.5 + 0.2 * torch.randn(500, 5) @ torch.randn(5, 5) / 5).clamp(0, 1).double()
    values, vectors = torch.linalg.eigh(torch.cov(images.T, correction=0))
    variance, w = values.flip(0)[:3], vectors.flip(1)[:, :3]  # (3,), (5, 3)
    kept = (variance - noise**2).clamp(min=0)
    encoder = (kept.sqrt() / variance.clamp(min=noise**2))[:, None] * w.T  # (D, P)
    raw = 15 * ((noise**2 / variance).clamp(max=1).log() / 15).atanh()
    parts = {"to_mu.weight": encoder, "to_mu.bias": -encoder @ images.mean(dim=0), "logvar": raw}
    parts |= {"from_latent.weight": w * kept.sqrt(), "from_latent.bias": images.mean(dim=0)}
    model = LinearVAE(3, 5, noise).double()
    model.load_state_dict(parts)
    found = evaluate(model, images).kl_per_dim
    torch.testing.assert_close(found.float(), d.pca_rates(images, noise, 3), rtol=0, atol=1e-5)
    mu, logvar = model.encode(images)
    spread = (model.from_latent.weight.square().sum(dim=0) * logvar.exp()).sum(dim=1)  # (N,)
    error = (images - model.decode(mu)).square().sum(dim=1) + spread  # its mean over z, exactly
    loss = (error / (2 * noise**2)).mean() + gaussian_kl(mu, logvar).sum(dim=1).mean()
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.abs().max() < 1e-4


def test_a_model_without_the_layer_that_is_asked_for_is_refused_by_name():
    for call, layer in [
        (lambda: d.prune(LinearVAE(3, 5), [0]), "to_logvar, got LinearVAE"),
        (lambda: d.decoder_weight_norms(Told(abs)), "from_latent, got Told"),
    ]:
        with pytest.raises(TypeError, match=f"model must be a VAE or RowGRUVAE, with {layer}"):
            call()
