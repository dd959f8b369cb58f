"""The checks of the exercises of lesson 1."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ..data import Digits
from ..diagnostics import prune
from ..losses import gaussian_kl
from ..model import Model
from ..toy import GaussianToy
from ..training import evaluate
from .checking import Answer, Mistakes, choose, judge, normal


def check_strongest_cut(prediction: Any, model: Model, digits: Digits) -> Answer:
    """Exercise 1.1: without the strongest dimension, does D rise by less than its KL, or by more?

    Args:
        prediction: "less", "the same" or "more".
        model: a trained VAE; it is cut, and D and R are measured on ``digits.test``.
        digits: where the test images come from.
    """
    whole = evaluate(model, digits.test)
    saved, strongest = (part.item() for part in whole.kl_per_dim.max(dim=0))
    kept = [d for d in range(model.latent_dim) if d != strongest]
    lost = evaluate(prune(model, kept), digits.test).distortion - whole.distortion
    truth = "less" if lost < 0.9 * saved else "more" if lost > 1.1 * saved else "the same"
    found = f"Measured: R falls by {saved:.1f} nats, D rises by {lost:.1f}."
    wrong = f"{found} Hint: why did training keep this dimension?"
    options = dict.fromkeys(("less", "the same", "more"), wrong)
    options[truth] = f"{found} Training minimizes D + R: a dimension stays if it earns its KL."
    return choose(prediction, options, truth)


def check_kl_to_prior(attempt: Any) -> Answer:
    """Exercise 1.2: the KL to a prior that is not the standard normal.

    Args:
        attempt: (mu (B, D), logvar (B, D), prior_mean, prior_std) -> (B, D) nats.
    """
    mu, logvar, m, s = normal(4, 3, seed=1), normal(4, 3, seed=2), 0.7, 2.5  # (B, D), (B, D)
    q, p = Normal(mu, torch.exp(0.5 * logvar)), Normal(m, s)
    right = kl_divergence(q, p)  # (B, D)
    too_wide = kl_divergence(Normal(mu, logvar.exp()), p)
    mistakes: Mistakes = [
        (-right, "The sign is flipped: a KL is never negative. Hint: E[log q - log p]."),
        (kl_divergence(p, q), "This is KL(prior || q). Hint: the expectation is under q."),
        (gaussian_kl(mu, logvar), "This is the KL to N(0, 1). Hint: where are m and s?"),
        (kl_divergence(q, Normal(m, s**0.5)), "prior_std was used as a variance. Hint: square it."),
        (too_wide, "exp(logvar) was used as sigma. Hint: it is sigma squared."),
        (right - math.log(s), "log s is missing. Hint: log p(z), with its constants."),
        (right + 0.5, "-1/2 is missing. Hint: E[(z - mu)^2] / sigma^2 = 1."),
        (right.sum(dim=1), "The dimensions were summed. Hint: keep each one: (B, D)."),
    ]
    given = {"mu": mu, "logvar": logvar, "prior_mean": m, "prior_std": s}
    praise = "It agrees with torch.distributions on 4 images and 3 dimensions."
    return judge(attempt, given, right, mistakes, praise)


def check_iw_bound(attempt: Any) -> Answer:
    """Exercise 1.3: the importance-weighted bound of the toy.

    Args:
        attempt: (toy, x, q, z (k, N)) -> (N,) nats, one bound from each column of k samples.
    """
    toy, q, z = GaussianToy(), Normal(0.3, 0.9), 0.3 + 0.9 * normal(20, 6)  # z (k, N)

    def ratios(x: float, prior: float = 1.0, posterior: float = 1.0) -> Tensor:
        log_p = toy.log_likelihood(x, z) + prior * Normal(0, 1).log_prob(z)
        return log_p - posterior * q.log_prob(z)  # (k, N)

    def log_mean(ratio: Tensor, dim: int = 0) -> Tensor:
        return ratio.logsumexp(dim) - math.log(ratio.shape[dim])

    right, far = log_mean(ratios(2.0)), log_mean(ratios(200.0))  # (N,); far is about -30,000
    mistakes: Mistakes = [
        (ratios(2.0).mean(dim=0), "The mean of the logs is the ELBO. Hint: log of the mean."),
        (ratios(2.0).logsumexp(dim=0), "The log of the sum. Hint: 1/k inside is -log k outside."),
        (log_mean(ratios(2.0), dim=1), "The columns were averaged. Hint: the k samples are dim=0."),
        (log_mean(ratios(2.0, posterior=0)), "q is missing. Hint: p(x, z) / q(z)."),
        (log_mean(ratios(2.0, prior=0)), "The prior is missing. Hint: p(x, z) = p(x|z) p(z)."),
        (-right, "The sign is flipped. Hint: a bound on log p(x), not a cost."),
    ]
    underflow = (
        torch.full_like(far, -math.inf),
        "Right at x = 2, log 0 at x = 200. Hint: logsumexp.",
    )
    given = {"toy": toy, "x": 2.0, "q": q, "z": z}
    praise = "The log of the mean of the ratios, also where exp underflows."
    answer = judge(attempt, given, right, mistakes, praise)
    if not answer.right:
        return answer
    return judge(attempt, {**given, "x": 200.0}, far, [underflow], praise)


def check_mean_over_batches(attempt: Any) -> Answer:
    """Exercise 1.4: the mean over all images, from batches of different sizes.

    Args:
        attempt: list of (n_j, D) -> (D,), each image with the same weight.
    """
    batches = [normal(n, 3, seed=n).abs() for n in (8, 8, 8, 2)]
    means = torch.stack([kl.mean(dim=0) for kl in batches])  # (4, D)
    images = torch.cat(batches)  # (N, D)
    right, halves = images.mean(dim=0), torch.tensor([1, 2, 4, 8]) / 16 @ means  # (D,), (D,)
    mistakes: Mistakes = [
        (halves, "The running half: the last batch weighs 1/2. Hint: equation 1.23, right side."),
        (means.mean(dim=0), "A mean of means: 2 images of a short batch count as 8. Hint: n_j."),
        (images.sum(dim=0), "A sum over the images. Hint: divide by their number."),
        (right / 4, "Divided by the images and by the batches. Hint: the images are enough."),
        (images.mean(), "One number for all dimensions. Hint: dim=0."),
    ]
    praise = "Every image counts the same, whatever batch it came in."
    return judge(attempt, {"batches": batches}, right, mistakes, praise)


def check_noiseless(choice: Any) -> Answer:
    """Exercise 1.5: what is wrong with D + R at z = mu ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "A q that is one point has an infinite R. Hint: which q does line 5 price?",
        "b": "D belongs to a code without noise, R to one with noise: their sum bounds nothing.",
        "c": "The closed form of R knows sigma and never sees z. Hint: who does see z?",
        "d": "The mean of D over z is not D at the mean z. Hint: which of them is lower, and why?",
    }
    return choose(choice, options, "b")


def check_why_k_helps(choice: Any) -> Answer:
    """Exercise 1.6: why does the bound grow with k ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "The mean of k ratios still averages p(x) but varies less: the log loses less.",
        "b": "It grows for any fixed q; nothing is trained. Hint: Jensen, equation 1.10.",
        "c": "Each ratio comes from the same q and is as noisy as before. Hint: their mean is not.",
        "d": "The largest grows without end, the bound stops at log p(x). Hint: it is a mean.",
    }
    return choose(choice, options, "a")
