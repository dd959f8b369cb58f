"""Oracles: PyTorch's own loss and torch.distributions, with their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vaelab import bernoulli_nll, gaussian_kl


def assert_same(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    """Two losses, and their gradients."""
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(loss.sum(), inputs) for loss in (ours, theirs))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [(1, 1), (50, 20), (3, 2, 6, 9)])  # several for each image, too
def test_bernoulli_nll_of_gray_pixels_is_pytorchs_own(shape):
    torch.manual_seed(0)
    logits, x = 10 * torch.randn(shape), torch.rand(shape[-2:])
    logits[..., 0] = 0  # where |l|, which the loss computes with, has no slope
    logits.requires_grad_()
    theirs = F.binary_cross_entropy_with_logits(logits, x.expand(shape), reduction="none")
    assert_same(bernoulli_nll(logits, x), theirs.sum(dim=-1), logits)


def test_gaussian_kl_of_each_dimension_is_the_divergence_from_the_standard_normal():
    torch.manual_seed(0)
    mu, logvar = (s * torch.randn(150, 6).double().requires_grad_() for s in (3, 2))
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))  # (150, 6)
    assert_same(gaussian_kl(mu, logvar), expected, mu, logvar)
    assert gaussian_kl(torch.zeros(1, 1), torch.zeros(1, 1)).item() == 0


@pytest.mark.parametrize(
    "loss, expected",
    [
        (bernoulli_nll, "logits and x must both be (B, P), got (3, 4) and (3, 5)"),
        (gaussian_kl, "mu and logvar must both be (B, D), got (3, 4) and (3, 5)"),
    ],
)
def test_a_refusal_names_both_arguments(loss, expected):
    with pytest.raises(ValueError) as refusal:
        loss(torch.zeros(3, 4), torch.zeros(3, 5))
    assert str(refusal.value) == expected
