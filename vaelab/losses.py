"""The two terms of the bound: distortion and rate, per image, in nats.

Both keep the batch: sum over pixels or report each latent dimension, and average over images last.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Distortion: -log p(x|z) of a Bernoulli for every pixel, summed over the pixels.

    Args:
        logits: (B, P) log-odds of each pixel being 1, before the sigmoid.
        x: (B, P) pixels in [0, 1]. With grey levels the result is a cross-entropy, a score and
            not the log-probability of an outcome.

    Returns:
        (B,) nats per image.

    Raises:
        ValueError: if the shapes differ or are not (B, P).

    Source:
        Kingma and Welling (2014), Appendix C.1.
    """
    if logits.shape != x.shape or x.ndim != 2:
        raise ValueError(
            f"logits and x must both be (B, P), got {tuple(logits.shape)} and {tuple(x.shape)}"
        )
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)  # (B,)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Rate: KL(N(mu, sigma^2) || N(0, 1)) of every image and latent dimension.

    Args:
        mu: (B, D) means.
        logvar: (B, D) log sigma^2.

    Returns:
        (B, D) nats, never negative beyond rounding; its sum over D is the rate of an image.

    Raises:
        ValueError: if the shapes differ or are not (B, D).

    Source:
        Kingma and Welling (2014), Appendix B.
    """
    if mu.shape != logvar.shape or mu.ndim != 2:
        raise ValueError(
            f"mu and logvar must both be (B, D), got {tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)  # (B, D)
