"""The two terms of the bound: distortion and rate, per image, in nats.

Both keep the batch: sum over pixels or report each latent dimension, and average over images last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_pair


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Distortion: -log p(x|z) of a Bernoulli for every pixel, summed over the pixels.

    That is log(1 + e^l) - x l for each pixel. The first term, the softplus, is computed as
    (l + |l|) / 2 - log sigmoid(|l|): such a sigmoid is at least 1/2, so nothing overflows.

    Args:
        logits: (B, P) log-odds of each pixel being 1, before the sigmoid; or (..., B, P), several
            predictions for each image.
        x: (B, P) pixels in [0, 1]. With gray levels the result is a cross-entropy, a score and
            not the log-probability of an outcome.

    Returns:
        (B,) or (..., B) nats per image.

    Raises:
        TypeError: if they are not floating-point tensors.
        ValueError: if ``x`` is not (B, P) or ``logits`` do not end in that shape.

    Source:
        Kingma and Welling (2014), Appendix C.1.
    """
    check_pair("logits and x", "(B, P)", logits, x, stacked=True)
    size = logits.abs()  # (..., B, P)
    softplus = 0.5 * (logits + size).sum(dim=-1) - size.sigmoid().log().sum(dim=-1)  # (..., B)
    return softplus - torch.linalg.vecdot(x, logits)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Rate: KL(N(mu, sigma^2) || N(0, 1)) of every image and latent dimension.

    Args:
        mu: (B, D) means.
        logvar: (B, D) log sigma^2.

    Returns:
        (B, D) nats, never negative beyond rounding; its sum over D is the rate of an image.

    Raises:
        TypeError: if they are not floating-point tensors.
        ValueError: if the shapes differ or are not (B, D).

    Source:
        Kingma and Welling (2014), Appendix B.
    """
    check_pair("mu and logvar", "(B, D)", mu, logvar)
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)  # (B, D)
