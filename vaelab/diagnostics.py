"""What the latent dimensions carry, and how tight the bound is."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import checks
from .data import Digits
from .model import Model
from .runs import fitting, measuring

LOG_2PI = math.log(2 * math.pi)


class MutualInformation(NamedTuple):
    """An estimate of I(x; z) under q with the most that it can report.

    Attributes:
        value: nats.
        ceiling: log N nats; an estimate close to it says only "at least this much".
    """

    value: float
    ceiling: float


def active_units(mu: Tensor, threshold: float = 0.01) -> int:
    """Count the latent dimensions whose posterior mean moves with the image.

    Args:
        mu: (N, D) posterior means of N >= 2 images.
        threshold: least variance over the images of an active dimension.

    Returns:
        How many of the D dimensions have a variance above the threshold.

    Raises:
        TypeError: if ``mu`` is not a float tensor or ``threshold`` no number.
        ValueError: if ``mu`` is not (N, D) with N >= 2 or not finite, or ``threshold`` negative.

    Source:
        Burda et al. (2016), Section 5.2.
    """
    checks.check_range("threshold", threshold, 0, math.inf, "[)")
    checks.check_means(mu)
    return int((mu.var(dim=0) > threshold).sum())


def decoder_weight_norms(model: Model) -> Tensor:
    """How strongly the decoder listens to each latent dimension.

    Args:
        model: a VAE or RowGRUVAE.

    Returns:
        (D,) Euclidean norm of the weights that leave each dimension, in the decoder's first layer.

    Raises:
        TypeError: if ``model`` is no VAE or RowGRUVAE.
    """
    checks.check_model(model, "from_latent")
    return model.from_latent.weight.detach().norm(dim=0).cpu()  # (H, D) -> (D,)


def encode_all(model: Model, images: Tensor, batch_size: int = 1000) -> tuple[Tensor, Tensor]:
    """The posteriors of many images, on the CPU.

    Args:
        model: a VAE or RowGRUVAE.
        images: (N, 784) pixels in [0, 1].
        batch_size: images per pass.

    Returns:
        mu (N, D), logvar (N, D).

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1] as the model takes them, or
            ``batch_size`` is not a positive integer.
    """
    images = checks.check_inputs(model, images)
    checks.check_sizes(batch_size=batch_size)
    with measuring(model) as exact:
        batches = images.split(batch_size)
        parts = [exact.encode(batch.to(checks.device_of(model))) for batch in batches]
    mus, logvars = zip(*parts)
    return torch.cat(mus).cpu(), torch.cat(logvars).cpu()


def iw_log_likelihood(
    model: Model, images: Tensor, samples: int = 50, *, seed: int = 0, rows: int = 500
) -> Tensor:
    """The importance-weighted lower bound on log p(x) of each image.

    log (1/k) sum_i p(x, z_i) / q(z_i|x) with k samples: below log p(x) on average, and the closer
    the larger k is. Memory is bounded whatever k and N are.

    Args:
        model: a VAE or RowGRUVAE.
        images: (N, 784) pixels; binary ones if the result is to be a log-likelihood.
        samples: k, >= 1.
        seed: of the samples; the global random state is left alone.
        rows: images times samples that are decoded at once; what fits into a core's cache is
            faster than more.

    Returns:
        (N,) nats. Its bias (k too small) and its standard error over images are different errors.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1] as the model takes them, or
            ``samples`` or ``rows`` is not a positive integer.

    Source:
        Burda et al. (2016), Equation 8.
    """
    images = checks.check_inputs(model, images)
    checks.check_sizes(samples=samples, rows=rows)
    with measuring(model, seed) as exact:
        batches = images.to(checks.device_of(model)).split(max(1, min(250, rows)))
        bounds = [iw_batch(exact, x, samples, rows) for x in batches]
    return torch.cat(bounds).cpu()


def iw_batch(model: Model, x: Tensor, samples: int, rows: int) -> Tensor:
    """The bound of one batch: the log of the mean weight, a chunk of samples at a time.

    Args:
        model: a VAE or RowGRUVAE.
        x: (B, 784) pixels, where the model is.
        samples: k.
        rows: at most this many images times samples are decoded at once.

    Returns:
        (B,) nats.
    """
    mu, logvar = model.encode(x)  # (B, D)
    chunk = max(1, rows // len(x))
    total = x.new_full((len(x),), -math.inf)  # log of the sum of the weights
    for start in range(0, samples, chunk):
        k = min(chunk, samples - start)
        eps = torch.randn_like(mu.expand(k, *mu.shape))  # (k, B, D)
        z = mu + torch.exp(0.5 * logvar) * eps  # (k, B, D)
        log_prior_over_q = 0.5 * (eps.square() + logvar - z.square()).sum(dim=-1)  # (k, B)
        log_weights = model.log_likelihood(x, z) + log_prior_over_q  # (k, B)
        total = torch.logaddexp(total, log_weights.logsumexp(dim=0))  # (B,)
    return total - math.log(samples)


def mutual_information(
    model: Model, images: Tensor, *, seed: int = 0, block: int = 1000
) -> MutualInformation:
    """Estimate how many nats z tells about which of the N images it came from.

    E[log q(z|x)] - E[log (1/N) sum_j q(z|x_j)], one z for each x and the same z in both terms.

    Args:
        model: a VAE or RowGRUVAE.
        images: (N, 784) pixels in [0, 1].
        seed: of the samples; the global random state is left alone.
        block: rows of the N x N table of log q(z_i|x_j) that are held at once.

    Returns:
        The estimate and its ceiling log N, in nats.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1] as the model takes them, or
            ``block`` is not a positive integer.

    Source:
        He et al. (2019), Section 4.2; Hoffman and Johnson (2016) for the index interpretation.
    """
    checks.check_sizes(block=block)
    mu, logvar = (part.double() for part in encode_all(model, images))  # (N, D)
    own, aggregate = [], []
    with measuring(model, seed):
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)  # (N, D)
        for start in range(0, len(z), block):
            table = _log_q_table(z[start : start + block], mu, logvar)  # (b, N)
            own.append(table.diagonal(offset=start).clone())  # (b,); a view would keep the table
            aggregate.append(table.logsumexp(dim=1) - math.log(len(z)))  # (b,)
    value = (torch.cat(own) - torch.cat(aggregate)).mean()
    return MutualInformation(float(value), math.log(len(z)))


def _log_q_table(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """(b, D), (N, D), (N, D) -> (b, N): log q(z_i|x_j), through three matrix products."""
    precision = torch.exp(-logvar)  # (N, D)
    constant = (mu.square() * precision + logvar + LOG_2PI).sum(dim=1)  # (N,)
    quadratic = z.square() @ precision.T - 2 * z @ (mu * precision).T  # (b, N)
    return -0.5 * (quadratic + constant)


def linear_probe(model: Model, digits: Digits, *, penalty: float = 1e-3) -> float:
    """Accuracy of a linear classifier that sees only the posterior means.

    Multinomial logistic regression on standardized mu, fitted to the training digits by L-BFGS from
    zero: no randomness, the same answer every time.

    Args:
        model: a VAE or RowGRUVAE.
        digits: fits on ``train``, scores on ``test``.
        penalty: weight of the squared coefficients, which keeps them finite.

    Returns:
        Share of the test digits that are classified right, in [0, 1].

    Raises:
        TypeError, ValueError: if ``digits`` are not labeled images as the model takes them, or
            ``penalty`` is negative or not finite.

    Source:
        Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.
    """
    checks.check_range("penalty", penalty, 0, math.inf, "[)")
    checks.check_digits(model, digits, labeled=True)
    train, test = (encode_all(model, part)[0] for part in (digits.train, digits.test))  # (N, D)
    with fitting():
        mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
        weight, bias = logistic_regression((train - mean) / std, digits.train_labels, penalty)
        predicted = ((test - mean) / std @ weight + bias).argmax(dim=1)  # (M,)
    return float((predicted == digits.test_labels).float().mean())


def logistic_regression(x: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression by L-BFGS from zero.

    Args:
        x: (N, D).
        labels: (N,) classes 0 .. C - 1.
        penalty: weight of the squared coefficients.

    Returns:
        Coefficients (D, C) and intercepts (C,).
    """
    labels = labels.clone()
    weight = x.new_zeros(x.shape[1] + 1, int(labels.max()) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = x @ weight[:-1] + weight[-1]  # (N, C); the last row is the intercept
        loss = F.cross_entropy(logits, labels) + penalty * weight[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight[:-1].detach(), weight[-1].detach()


def pca_rates(images: Tensor, noise: float, latent_dim: int) -> Tensor:
    """The KL of each dimension of the best `LinearVAE`, on the images that it was trained on.

    Dimension d gets max(0, 1/2 log(lambda_d / noise^2)), where lambda_d is the d-th eigenvalue of
    the covariance of the images: a direction that varies less than the noise is not worth its rate.

    Args:
        images: (N, P) pixels in [0, 1].
        noise: standard deviation of the pixels given z, > 0.
        latent_dim: D, at most P.

    Returns:
        (D,) nats, the largest first.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1], ``noise`` is not positive or
            ``latent_dim`` is not a positive integer of at most P.

    Source:
        Lucas et al. (2019), Section 4; Tipping and Bishop (1999), Equation 7.
    """
    checks.check_pca(images, noise, latent_dim)
    covariance = torch.cov(images.double().T, correction=0)  # (P, P)
    eigenvalues = torch.linalg.eigvalsh(covariance).flip(0)[:latent_dim]  # (D,)
    return 0.5 * (eigenvalues.clamp(min=noise**2) / noise**2).log().float()


def prune(model: Model, keep: Tensor | list[int]) -> Model:
    """The same model without some of its latent dimensions.

    Args:
        model: a VAE or RowGRUVAE; it is not changed.
        keep: indices of the dimensions to keep, or a boolean mask (D,).

    Returns:
        A copy with ``len(keep)`` latent dimensions.

    Raises:
        TypeError: if ``model`` is no VAE or RowGRUVAE (a LinearVAE has no ``to_logvar``), or
            ``keep`` holds no numbers.
        ValueError: if nothing is kept, an index repeats, is a fraction or lies outside 0 .. D - 1,
            or a mask is not (D,).
    """
    checks.check_model(model, "to_logvar")
    index = checks.check_indices(keep, model.latent_dim)
    smaller: Any = copy.deepcopy(model)
    smaller.latent_dim = len(index)
    with torch.no_grad():
        for layer in (smaller.to_mu, smaller.to_logvar):
            layer.weight = nn.Parameter(layer.weight[index])  # (kept, H)
            layer.bias = nn.Parameter(layer.bias[index])
            layer.out_features = len(index)
        smaller.from_latent.weight = nn.Parameter(smaller.from_latent.weight[:, index])
        smaller.from_latent.in_features = len(index)
    return smaller
