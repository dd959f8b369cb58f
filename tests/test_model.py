"""Oracles: layers by hand, torch.distributions, loops, sums over every image that exists."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from vaelab import VAE, RowGRUVAE, VAEOutput, bernoulli_nll, gaussian_kl
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
    shapes = {name: tuple(part.shape) for name, part in VAE().named_parameters()}
    assert shapes == {
        "from_data.weight": (400, 784),
        "from_data.bias": (400,),
        "to_mu.weight": (50, 400),
        "to_mu.bias": (50,),
        "to_logvar.weight": (50, 400),
        "to_logvar.bias": (50,),
        "from_latent.weight": (400, 50),
        "from_latent.bias": (400,),
        "to_logits.weight": (784, 400),
        "to_logits.bias": (784,),
    }


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


# --- the sample ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_z_is_a_sample_of_q_in_either_mode(make, mode):
    model = getattr(make(), mode)()
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


# --- the bound on the log-variance --------------------------------------------------------------


def test_soft_bound_is_the_identity_near_zero_and_stays_inside():
    small = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_bound(small), small, rtol=1e-3, atol=0)
    raw = torch.linspace(-1e4, 1e4, 1001)
    assert (soft_bound(raw).abs() <= LOGVAR_BOUND).all()
    assert (soft_bound(raw).diff() >= 0).all()
    torch.testing.assert_close(soft_bound(raw), -soft_bound(-raw))


def test_soft_bound_lets_a_runaway_come_back():
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
def test_log_likelihood_is_that_of_the_forward_pass(make):
    model, x = make(), binary(6, 784)
    output = model(x)
    expected = Bernoulli(logits=output.logits).log_prob(x).sum(dim=1)  # (6,)
    torch.testing.assert_close(model.log_likelihood(x, output.z), expected)


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


def test_decode_takes_leading_dimensions():
    model, z = small_vae(), torch.randn(2, 5, 3)
    torch.testing.assert_close(model.decode(z)[1, 4], model.decode(z[1, 4:5])[0])


# --- the row-by-row decoder ---------------------------------------------------------------------


@pytest.mark.parametrize("row", range(28))
def test_a_row_changes_only_what_is_predicted_below_it(row, gru):
    x, z = binary(3, 784), torch.randn(3, 3)
    other = x.clone()
    other[:, 28 * row : 28 * (row + 1)] = 1 - other[:, 28 * row : 28 * (row + 1)]
    with torch.no_grad():
        change = (gru.decode_rows(x, z) - gru.decode_rows(other, z)).abs().view(3, 28, 28)
    assert change[:, : row + 1].max() == 0
    assert row == 27 or (change[:, row + 1].amax(dim=1) > 0).all()


def test_z_reaches_the_prediction_of_every_row(gru):
    x = binary(1, 784)
    z = torch.zeros(1, 3, requires_grad=True)
    rows = gru.decode_rows(x, z).view(28, 28).sum(dim=1)  # (28,)
    for row in rows[:5]:
        (gradient,) = torch.autograd.grad(row, z, retain_graph=True)
        assert (gradient != 0).all()


def test_images_do_not_leak_into_each_other(gru):
    x, z = binary(4, 784), torch.randn(4, 3)
    alone = torch.cat([gru.decode_rows(x[i : i + 1], z[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(gru.decode_rows(x, z), alone)


# --- samples ------------------------------------------------------------------------------------


def test_samples_of_the_vae_are_decoded_draws_from_the_prior():
    model = small_vae()
    torch.manual_seed(3)
    means = model.sample(5)
    torch.manual_seed(3)
    torch.testing.assert_close(means, model.decode(torch.randn(5, 3)).sigmoid().detach())
    assert not means.requires_grad


def test_samples_of_the_gru_are_drawn_row_by_row(gru):
    torch.manual_seed(3)
    means = gru.sample(5)
    torch.manual_seed(3)
    z, x, expected = torch.randn(5, 3), torch.zeros(5, 28, 28), torch.zeros(5, 28, 28)
    with torch.no_grad():
        for row in range(28):  # every row from a full pass over what is drawn so far
            logits = gru.decode_rows(x.flatten(1), z).view(5, 28, 28)
            expected[:, row] = logits[:, row].sigmoid()
            x[:, row] = torch.bernoulli(expected[:, None, row])[:, 0]
    torch.testing.assert_close(means, expected.flatten(1))
    assert not means.requires_grad


def test_samples_of_the_gru_have_the_frequencies_of_the_model():
    torch.manual_seed(0)
    model = TinyGRU(1, 6)
    for part in model.parameters():
        torch.nn.init.normal_(part)
    n, images = 5_000, every_image(4)  # (16, 4)
    z = torch.randn(n, 1, 1).expand(n, 16, 1)
    expected = model.log_likelihood(images, z).exp().mean(dim=0)  # (16,): p(x), by Monte Carlo
    drawn = torch.bernoulli(model.sample(n))[:, 2:].mean(dim=0)  # (2,): the lower row
    p = (expected[:, None] * images).sum(dim=0)[2:].detach()  # (2,)
    assert ((drawn - p).abs() < 5 * (2 * p * (1 - p) / n).sqrt()).all()


@both
def test_samples_have_a_shape_and_are_probabilities(make):
    means = make().sample(4)
    assert means.shape == (4, 784)
    assert ((means > 0) & (means < 1)).all()
    assert (means[0] != means[1]).any()


# --- refusals -----------------------------------------------------------------------------------


@both
def test_a_deep_copy_computes_the_same(make):
    model, x = make(), binary(3, 784)
    torch.testing.assert_close(copy.deepcopy(model).encode(x), model.encode(x))
