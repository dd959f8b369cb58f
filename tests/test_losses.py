"""Oracles: torch.distributions, PyTorch's own loss, closed forms of the gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from vaelab import bernoulli_nll, gaussian_kl


@pytest.mark.parametrize("pixels", [1, 784])
def test_bernoulli_nll_is_minus_the_log_probability(pixels):
    torch.manual_seed(0)
    logits, x = 5 * torch.randn(20, pixels), torch.randint(2, (20, pixels)).float()
    expected = -Bernoulli(logits=logits.double()).log_prob(x.double()).sum(dim=1)  # (20,)
    torch.testing.assert_close(bernoulli_nll(logits, x).double(), expected, rtol=1e-5, atol=1e-4)


def test_bernoulli_nll_survives_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert bernoulli_nll(logits, x).tolist() == [0.0, 1e4]


def test_bernoulli_nll_of_grey_pixels_is_pytorchs_own_with_its_gradient():
    torch.manual_seed(0)
    logits = torch.cat([10 * torch.randn(50, 20), torch.zeros(1, 20)]).requires_grad_()  # and l = 0
    x = torch.rand(51, 20)
    ours = bernoulli_nll(logits, x)
    theirs = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs))
    torch.testing.assert_close(*gradients)


def test_bernoulli_nll_of_several_predictions_for_each_image():
    torch.manual_seed(0)
    logits, x = torch.randn(3, 2, 6, 9), torch.rand(6, 9)
    alone = [[bernoulli_nll(part, x) for part in parts] for parts in logits]
    expected = torch.stack([torch.stack(row) for row in alone])  # (3, 2, 6)
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)


def test_gaussian_kl_of_each_dimension_is_the_divergence_from_the_standard_normal():
    torch.manual_seed(0)
    mu, logvar = 3 * torch.randn(150, 6), 2 * torch.randn(150, 6)
    q = Normal(mu.double(), (0.5 * logvar.double()).exp())
    expected = kl_divergence(q, Normal(torch.zeros(()).double(), 1.0))  # (150, 6)
    torch.testing.assert_close(gaussian_kl(mu, logvar).double(), expected, rtol=1e-5, atol=1e-6)


def test_gaussian_kl_is_zero_only_at_the_prior():
    zero = torch.zeros(1, 1)
    assert gaussian_kl(zero, zero).item() == 0
    near = torch.logspace(-6, 0, 50)[:, None]
    for mu, logvar in [(near, 0 * near), (0 * near, near), (0 * near, -near), (near, -near)]:
        assert (gaussian_kl(mu, logvar) > -1e-7).all()  # float32 rounding, no more
        assert (gaussian_kl(mu.double(), logvar.double()) > 0).all()


def test_gradients_in_closed_form():
    torch.manual_seed(0)
    mu, logvar, logits = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    x = torch.rand(3, 4)
    (bernoulli_nll(logits, x).sum() + gaussian_kl(mu, logvar).sum()).backward()
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() - x)
    torch.testing.assert_close(mu.grad, mu.detach())
    torch.testing.assert_close(logvar.grad, 0.5 * (logvar.detach().exp() - 1))


@pytest.mark.parametrize(
    "loss, expected",
    [
        (bernoulli_nll, "logits and x must both be {} (B, P), got {}"),
        (gaussian_kl, "mu and logvar must both be {} (B, D), got {}"),
    ],
)
def test_a_refusal_says_what_came_and_what_was_expected(loss, expected):
    with pytest.raises(ValueError) as refusal:
        loss(torch.zeros(3, 4), torch.zeros(3, 5))
    assert str(refusal.value) == expected.replace("be {}", "be").format("(3, 4) and (3, 5)")
    for bad, kind in [(torch.zeros(3, 4).long(), "torch.int64"), ([0.0], "list")]:
        with pytest.raises(TypeError) as refusal:
            loss(torch.zeros(3, 4), bad)
        assert str(refusal.value) == expected.format("float tensors", kind)
