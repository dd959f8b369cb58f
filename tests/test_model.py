"""Oracles: layers by hand, torch.distributions, loops, sums over every image that exists."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from vaelab import VAE, LinearVAE, RowGRUVAE, VAEOutput, evaluate
from vaelab.model import soft_bound


class TinyGRU(RowGRUVAE):
    """Images of 2 x 2 pixels: there are only 16 of them."""

    side = 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=[VAE, RowGRUVAE])
def model(request):
    return request.param(latent_dim=3, hidden_dim=16)


@pytest.fixture
def linear() -> LinearVAE:
    model = LinearVAE(latent_dim=3, data_dim=6, noise=0.4)
    torch.nn.init.normal_(model.logvar)
    return model


def binary(*shape: int) -> Tensor:
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).float()


def affine(layer: torch.nn.Linear, values: Tensor) -> Tensor:
    return values @ layer.weight.T + layer.bias


def test_the_defaults_are_the_original_architecture():
    shapes = [tuple(part.weight.shape) for part in VAE().children()]
    assert shapes == [(400, 784), (50, 400), (50, 400), (400, 50), (784, 400)]
    linear, gru = LinearVAE(), RowGRUVAE()
    assert (linear.latent_dim, linear.data_dim, linear.noise) == (50, 784, 0.5)
    assert (gru.latent_dim, gru.hidden_dim, gru.use_z) == (32, 256, True)
    assert gru.to_pixel.std().item() == pytest.approx(1 / 8, rel=0.2)
    assert not {"left", "from_left.bias"} & gru.state_dict().keys()  # a file holds no constants


def test_one_pass_is_the_layers_written_out(model):
    x = binary(6, 784)
    torch.manual_seed(5)
    output = model(x)
    h = affine(model.from_data, x).clamp(min=0)
    mu, logvar = affine(model.to_mu, h), 15 * (affine(model.to_logvar, h) / 15).tanh()
    torch.manual_seed(5)
    z = mu + (0.5 * logvar).exp() * torch.randn(6, 3)
    if isinstance(model, VAE):
        logits = affine(model.to_logits, affine(model.from_latent, z).clamp(min=0))
    else:
        logits = model.decode_rows(x, z)
    assert isinstance(output, VAEOutput)
    torch.testing.assert_close(tuple(output), (logits, mu, logvar, z))
    expected = Bernoulli(logits=logits).log_prob(x).sum(dim=1)  # (6,)
    torch.testing.assert_close(model.log_likelihood(x, z), expected)


def test_log_likelihood_of_many_samples_is_a_loop_over_them(model):
    x, z = binary(5, 784), torch.randn(2, 4, 5, 3)
    loop = torch.stack([model.log_likelihood(x, one) for one in z.flatten(0, 1)])
    torch.testing.assert_close(model.log_likelihood(x, z), loop.view(2, 4, 5))


@pytest.mark.parametrize("make", [lambda: VAE(2, 8, data_dim=4), lambda: TinyGRU(2, 8)])
def test_the_probabilities_of_all_images_sum_to_one(make):
    model, images = make(), torch.tensor([*itertools.product([0.0, 1.0], repeat=4)])  # (16, 4)
    for part in model.parameters():
        torch.nn.init.normal_(part)  # far from uniform
    z = torch.randn(7, 1, 2).expand(7, 16, 2)  # the same z for every image
    total = model.log_likelihood(images, z).exp().sum(dim=1)  # (7,)
    torch.testing.assert_close(total, torch.ones(7))


# --- the autoregressive decoder -----------------------------------------------------------------


def test_the_logits_of_a_row_are_the_formula():
    gru, x, z = RowGRUVAE(3, 16), binary(2, 784), torch.randn(2, 3)
    rows = x.view(2, 28, 28)
    above = torch.cat([torch.zeros(2, 1, 28), rows[:, :-1]], dim=1)
    h, _ = gru.gru(above, torch.tanh(gru.from_latent(z))[None])  # (2, 28, H)
    a = gru.from_state.weight.view(28, 8, -1)  # (pixel, unit, H)
    b, offset = gru.from_left.weight.view(28, 8, 28), gru.from_state.bias.view(28, 8)
    logits = gru.decode_rows(x, z).view(2, 28, 28)
    for j in range(28):  # sees the pixels k < j of its row
        hidden = (h @ a[j].T + offset[j] + rows[:, :, :j] @ b[j, :, :j].T).clamp(min=0)
        expected = h @ gru.to_logits.weight[j] + gru.to_logits.bias[j] + hidden @ gru.to_pixel[j]
        torch.testing.assert_close(logits[:, :, j], expected)


def test_the_twin_is_the_same_network_with_z_at_zero():
    with_z, twin = (RowGRUVAE(3, 16, use_z=flag) for flag in (True, False))
    twin.load_state_dict(with_z.state_dict())
    x, z = binary(4, 784), torch.randn(4, 3)
    torch.testing.assert_close(twin.decode_rows(x, z), with_z.decode_rows(x, torch.zeros(4, 3)))
    assert (twin.decode_rows(x, z) != with_z.decode_rows(x, z)).any()
    found = evaluate(twin, x)
    assert found.rate == 0 and found.active_units == 0


# --- samples ------------------------------------------------------------------------------------


def test_samples_are_decoded_draws_from_the_prior(linear):
    for model, mean in ((VAE(3, 16), torch.sigmoid), (linear, lambda logits: logits)):
        torch.manual_seed(3)
        means = model.double().sample(5)
        torch.manual_seed(3)
        expected = mean(model.decode(torch.randn(5, 3).double())).detach()
        torch.testing.assert_close(means, expected)


def test_samples_of_the_gru_are_drawn_pixel_by_pixel():
    model = TinyGRU(3, 8).double()
    torch.manual_seed(3)
    means = model.sample(5)
    torch.manual_seed(3)
    z, x, expected = torch.randn(5, 3).double(), *torch.zeros(2, 5, 4).double()
    for pixel in range(4):  # every pixel from a full pass over what is drawn so far
        expected[:, pixel] = model.decode_rows(x, z)[:, pixel].sigmoid().detach()
        x[:, pixel] = torch.bernoulli(expected[:, pixel].clone())
    torch.testing.assert_close(means, expected)
    assert not means.requires_grad


# --- the linear model ---------------------------------------------------------------------------


def test_the_linear_model_is_gaussian_on_both_sides(linear):
    x, z = torch.rand(5, 6), torch.randn(2, 5, 3)
    mu, logvar = linear.encode(x)
    torch.testing.assert_close(mu, affine(linear.to_mu, x))
    torch.testing.assert_close(logvar, (15 * (linear.logvar / 15).tanh()).expand(5, 3))
    expected = Normal(affine(linear.from_latent, z), 0.4).log_prob(x).sum(dim=-1)  # (2, 5)
    torch.testing.assert_close(linear.log_likelihood(x, z), expected)


# --- what is refused ----------------------------------------------------------------------------


def test_a_stack_where_a_batch_belongs_and_a_noise_of_nothing_are_refused(linear):
    vae, gru, x, z = VAE(3, 4), RowGRUVAE(3, 4), torch.zeros(2, 784), torch.zeros(7, 2, 3)
    for call, said in [
        (lambda: vae.encode(x[None]), "x must be (batch, 784), got"),
        (lambda: linear.encode(torch.zeros(7, 2, 6)), "x must be (batch, 6), got"),
        (lambda: gru.decode_rows(x, z), "z must be (batch, 3), got"),
        (lambda: gru.draw(z), "z must be (batch, 3), got"),
        (lambda: LinearVAE(noise=0), "noise must be in (0, inf), got"),
        (lambda: soft_bound(x, 0), "bound must be in (0, inf), got"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            call()
