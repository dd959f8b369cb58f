"""Oracles: layers by hand, torch.distributions, loops, sums over every image that exists."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from vaelab import VAE, LinearVAE, RowGRUVAE, VAEOutput, bernoulli_nll, evaluate, gaussian_kl
from vaelab.model import LOGVAR_BOUND, soft_bound


class TinyGRU(RowGRUVAE):
    """Images of 2 x 2 pixels: there are only 16 of them."""

    side = 2


def small_vae() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden_dim=16)


def small_gru() -> RowGRUVAE:
    torch.manual_seed(0)
    return RowGRUVAE(latent_dim=3, hidden_dim=16)


both = pytest.mark.parametrize("make", [small_vae, small_gru])


def binary(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_the_defaults_are_the_original_architecture():
    shapes = {name: tuple(part.weight.shape) for name, part in VAE().named_children()}
    assert shapes == {
        "from_data": (400, 784),
        "to_mu": (50, 400),
        "to_logvar": (50, 400),
        "from_latent": (400, 50),
        "to_logits": (784, 400),
    }
    assert all(part.bias is not None for part in VAE().children())


def test_encode_and_decode_are_one_hidden_layer_each():
    model, x, z = small_vae().double(), binary(5, 784).double(), torch.randn(5, 3).double()

    def layer(values: Tensor, name: str) -> Tensor:
        return values @ getattr(model, name).weight.T + getattr(model, name).bias

    h = layer(x, "from_data").clamp(min=0)
    mu, logvar = model.encode(x)
    torch.testing.assert_close(mu, layer(h, "to_mu"))
    torch.testing.assert_close(logvar, 15 * (layer(h, "to_logvar") / 15).tanh())
    decoded = layer(layer(z, "from_latent").clamp(min=0), "to_logits")
    torch.testing.assert_close(model.decode(z), decoded)


@both
def test_forward_gives_the_parts_that_belong_together(make):
    model, x = make(), binary(6, 784)
    torch.manual_seed(5)
    output = model(x)
    assert isinstance(output, VAEOutput)
    torch.testing.assert_close(output[1:3], model.encode(x))
    torch.manual_seed(5)
    torch.testing.assert_close(output.z, model.reparameterize(output.mu, output.logvar))
    logits = model.decode(output.z) if isinstance(model, VAE) else model.decode_rows(x, output.z)
    torch.testing.assert_close(output.logits, logits)
    assert [tuple(part.shape) for part in output] == [(6, 784), (6, 3), (6, 3), (6, 3)]
    expected = Bernoulli(logits=output.logits).log_prob(x).sum(dim=1)  # (6,)
    torch.testing.assert_close(model.log_likelihood(x, output.z), expected)


# --- the sample ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_z_is_a_sample_of_q_in_either_mode(mode):
    model = getattr(small_vae(), mode)()
    torch.manual_seed(0)
    n, mu, std = 100_000, torch.tensor([0.5, -2.0, 0.0]), torch.tensor([0.1, 1.0, 3.0])
    z = model.reparameterize(mu.expand(n, 3), (2 * std.log()).expand(n, 3))  # (n, 3)
    standardised = (z - mu) / std
    assert (standardised.mean(dim=0).abs() < 5 * n**-0.5).all()
    assert ((standardised.var(dim=0) - 1).abs() < 5 * (2 / n) ** 0.5).all()
    correlation = (standardised.T @ standardised / n).triu(1)
    assert (correlation.abs() < 5 * n**-0.5).all()


def test_gradients_flow_through_the_sample():
    mu, logvar = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    z = small_vae().reparameterize(mu, logvar)
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(4, 3))
    torch.testing.assert_close(logvar.grad, 0.5 * (z - mu).detach())  # d(sigma eps) / d log sigma^2
    assert RowGRUVAE.reparameterize is LinearVAE.reparameterize is VAE.reparameterize


# --- the bound on the log-variance --------------------------------------------------------------


def test_soft_bound_is_the_identity_near_zero_and_stays_inside_and_lets_a_runaway_come_back():
    small = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_bound(small), small, rtol=1e-3, atol=0)
    raw = torch.linspace(-1e4, 1e4, 1001)
    assert (soft_bound(raw).abs() <= LOGVAR_BOUND).all()
    assert (soft_bound(raw).diff() >= 0).all()
    raw = torch.tensor([-100.0, -30.0, 30.0, 100.0], requires_grad=True)
    soft_bound(raw).sum().backward()
    assert (raw.grad > 0).all()


@both
def test_a_runaway_encoder_gives_finite_losses_and_gradients(make):
    model, x = make(), binary(4, 784)
    with torch.no_grad():
        model.to_logvar.bias += 1e6
    output = model(x)
    loss = bernoulli_nll(output.logits, x).mean() + gaussian_kl(*output[1:3]).sum(dim=1).mean()
    loss.backward()
    assert loss.isfinite()
    assert all(part.grad.isfinite().all() for part in model.parameters())


# --- the likelihood -----------------------------------------------------------------------------


@both
def test_log_likelihood_of_many_samples_is_a_loop_over_them(make):
    model, x, z = make(), binary(5, 784), torch.randn(2, 4, 5, 3)
    together = model.log_likelihood(x, z)
    assert together.shape == (2, 4, 5)
    for i, j in itertools.product(range(2), range(4)):
        torch.testing.assert_close(together[i, j], model.log_likelihood(x, z[i, j]))


def every_image(pixels: int) -> Tensor:
    """(2 ** pixels, pixels): all binary images."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=pixels)))


@pytest.mark.parametrize("make", [lambda: VAE(2, 8, data_dim=4), lambda: TinyGRU(2, 8)])
def test_the_probabilities_of_all_images_sum_to_one(make):
    torch.manual_seed(0)
    model, images = make(), every_image(4)  # (16, 4)
    for part in model.parameters():
        torch.nn.init.normal_(part)  # far from uniform
    z = torch.randn(7, 1, 2).expand(7, 16, 2)  # the same z for every image
    total = model.log_likelihood(images, z).exp().sum(dim=1)  # (7,)
    torch.testing.assert_close(total, torch.ones(7))


# --- the autoregressive decoder -----------------------------------------------------------------


def pixels_that_change(model: RowGRUVAE, pixel: int) -> Tensor:
    """Which predictions change with one pixel, (side^2,) booleans."""
    torch.manual_seed(0)
    x, z = binary(3, model.data_dim), torch.randn(3, model.latent_dim)
    other = x.clone()
    other[:, pixel] = 1 - other[:, pixel]
    with torch.no_grad():
        return (model.decode_rows(x, z) != model.decode_rows(other, z)).any(dim=0)


@pytest.mark.parametrize("pixel", [0, 1, 27, 28, 29, 400, 755, 756, 783])
def test_a_pixel_changes_only_what_is_predicted_after_it(pixel, gru):
    changed = pixels_that_change(gru, pixel)
    assert not changed[: pixel + 1].any()
    row_ends = 28 * (pixel // 28 + 1)
    assert changed[pixel + 1 : row_ends].all()  # every pixel on the right sees it
    assert all(row.any() for row in changed[row_ends:].view(-1, 28))


def test_the_logits_of_a_row_are_the_formula(gru):
    x, z = binary(2, 784), torch.randn(2, 3)
    rows = x.view(2, 28, 28)
    above = torch.cat([torch.zeros(2, 1, 28), rows[:, :-1]], dim=1)
    states, _ = gru.gru(above, torch.tanh(gru.from_latent(z))[None])  # (2, 28, H)
    a = gru.from_state.weight.view(28, 8, -1)  # (pixel, unit, H)
    b, offset = gru.from_left.weight.view(28, 8, 28), gru.from_state.bias.view(28, 8)
    logits = gru.decode_rows(x, z).view(2, 28, 28)
    for t, j in itertools.product((0, 5, 27), (0, 1, 14, 27)):
        h = states[:, t]  # (2, H)
        left = sum((b[j, :, k] * rows[:, t, k, None] for k in range(j)), torch.zeros(2, 8))
        hidden = (h @ a[j].T + offset[j] + left).clamp(min=0)  # (2, 8)
        plain = h @ gru.to_logits.weight[j] + gru.to_logits.bias[j]
        torch.testing.assert_close(logits[:, t, j], plain + hidden @ gru.to_pixel[j])


def test_the_twin_is_the_same_network_with_z_at_zero():
    with_z, twin = (RowGRUVAE(3, 16, use_z=flag) for flag in (True, False))
    twin.load_state_dict(with_z.state_dict())
    x, z = binary(4, 784), torch.randn(4, 3)
    torch.testing.assert_close(twin.decode_rows(x, z), with_z.decode_rows(x, torch.zeros(4, 3)))
    assert (twin.decode_rows(x, z) != with_z.decode_rows(x, z)).any()
    found = evaluate(twin, x)
    assert found.rate == 0 and found.active_units == 0


# --- samples ------------------------------------------------------------------------------------


def test_samples_of_the_vae_are_decoded_draws_from_the_prior():
    model = small_vae()
    torch.manual_seed(3)
    means = model.sample(5)
    torch.manual_seed(3)
    torch.testing.assert_close(means, model.decode(torch.randn(5, 3)).sigmoid().detach())
    assert not means.requires_grad


def test_samples_of_the_gru_are_drawn_pixel_by_pixel():
    torch.manual_seed(0)
    model = TinyGRU(3, 8)
    torch.manual_seed(3)
    means = model.sample(5)
    torch.manual_seed(3)
    z, x, expected = torch.randn(5, 3), torch.zeros(5, 4), torch.zeros(5, 4)
    with torch.no_grad():
        for pixel in range(4):  # every pixel from a full pass over what is drawn so far
            expected[:, pixel] = model.decode_rows(x, z)[:, pixel].sigmoid()
            x[:, pixel] = torch.bernoulli(expected[:, pixel].clone())
    torch.testing.assert_close(means, expected)
    assert not means.requires_grad


# --- the linear model ---------------------------------------------------------------------------


def small_linear() -> LinearVAE:
    torch.manual_seed(0)
    return LinearVAE(latent_dim=3, data_dim=6, noise=0.4)


def test_the_linear_model_is_gaussian_on_both_sides():
    model, x, z = small_linear(), torch.rand(5, 6), torch.randn(2, 5, 3)
    with torch.no_grad():
        model.logvar.copy_(torch.tensor([0.5, -1.0, 0.0]))
    mu, logvar = model.encode(x)
    torch.testing.assert_close(mu, x @ model.to_mu.weight.T + model.to_mu.bias)
    torch.testing.assert_close(logvar, (15 * (model.logvar / 15).tanh()).expand(5, 3))
    mean = z @ model.from_latent.weight.T + model.from_latent.bias  # (2, 5, 6)
    expected = Normal(mean, 0.4).log_prob(x).sum(dim=-1)  # (2, 5)
    torch.testing.assert_close(model.log_likelihood(x, z), expected)


def test_the_linear_model_and_its_samples_have_one_distribution():
    model = small_linear()
    draws = model.sample(20_000)
    assert draws.shape == (20_000, 6)
    covariance = model.from_latent.weight @ model.from_latent.weight.T  # (6, 6), without the noise
    assert (torch.cov(draws.T) - covariance).abs().max() < 0.05 * covariance.diagonal().max()
