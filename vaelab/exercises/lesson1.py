"""The model that lesson 1 builds, and the checks of its exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from ..checkup import checkup
from ..data import Digits
from ..diagnostics import prune
from ..losses import bernoulli_nll, gaussian_kl
from ..model import Model
from ..runs import seeded
from ..toy import GaussianToy
from ..training import Minibatches, evaluate, evaluation_images
from .checking import Answer, Mistakes, choose, judge, normal

# ------------------------------------------------------------ section 1.6, with its blanks filled


class OurVAE(nn.Module):
    """The model of section 1.6."""

    def __init__(self, latent_dim: int = 50, hidden_dim: int = 400) -> None:
        super().__init__()
        self.from_data = nn.Linear(784, hidden_dim)
        self.to_mu = nn.Linear(hidden_dim, latent_dim)
        self.to_logvar = nn.Linear(hidden_dim, latent_dim)
        self.from_latent = nn.Linear(latent_dim, hidden_dim)
        self.to_logits = nn.Linear(hidden_dim, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (B, 784) -> logits (B, 784), mu (B, D), logvar (B, D)."""
        h = F.relu(self.from_data(x))  # (B, H)
        mu, logvar = self.to_mu(h), 15 * torch.tanh(self.to_logvar(h) / 15)  # (B, D), (B, D)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)  # (B, D)
        return self.to_logits(F.relu(self.from_latent(z))), mu, logvar


def our_loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """-ELBO, nats per image."""
    distortion = F.binary_cross_entropy_with_logits(recon, x, reduction="sum")
    rate = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()
    return (distortion + rate) / len(x)


def our_training(model: nn.Module, loss: Callable, images: Tensor, steps: int) -> list[float]:
    """The loss at every step of a run."""
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    history = []
    for x in map(torch.bernoulli, islice(Minibatches(images, 128), steps)):  # (128, 784)
        recon, mu, logvar = model(x)
        value = loss(recon, x, mu, logvar)
        adam.zero_grad()
        value.backward()
        adam.step()
        history.append(value.item())
    return history


def build(attempt: Any, ours: Any, images: Tensor) -> Any:
    """The reader's part if it works, else ours and a line that says why.

    Args:
        attempt: the reader's model class, loss or training loop.
        ours: the same part with its blanks filled: `OurVAE`, `our_loss` or `our_training`.
        images: (N, 784) to try it on, N >= 128.

    Returns:
        ``attempt`` or ``ours``.
    """
    part, fault_of = {
        OurVAE: ("model", _model_fault),
        our_loss: ("loss", _loss_fault),
        our_training: ("loop", _loop_fault),
    }[ours]
    try:
        with seeded(0):
            fault = fault_of(attempt, images)
    except Exception as error:
        fault = f"It raised {type(error).__name__}: {error}"
    if "ellipsis" in fault:
        fault = "There is still a `...` in it."
    print(f"Your {part}: {f'{fault} The lesson continues with ours.' if fault else 'it works.'}")
    return ours if fault else attempt


def _model_fault(attempt: Any, images: Tensor) -> str:
    if len(attempt()(images[:2])) < 3:
        return "It should return recon, mu and logvar."
    return _faults(attempt(), our_loss, images)


def _loss_fault(attempt: Any, images: Tensor) -> str:
    x = images[:16].bernoulli()
    outputs = OurVAE()(x)
    given = (outputs[0], x, *outputs[1:])
    if (value := attempt(*given)) is None:
        return "It returned nothing."
    if torch.allclose(value, our_loss(*given), rtol=1e-4):
        return ""
    seen = f"It is {value.item():.1f} where -ELBO is {our_loss(*given).item():.1f} nats per image."
    return f"{seen} {_faults(OurVAE(), attempt, images)}".strip()


def _faults(model: nn.Module, loss: Callable, images: Tensor) -> str:
    findings = checkup(model, loss, images).findings
    return " ".join(finding.message for finding in findings if finding.level == "fault")


def _loop_fault(attempt: Any, images: Tensor) -> str:
    model = OurVAE(latent_dim=2, hidden_dim=8)
    before = model.to_logits.bias.detach().clone()
    ends = attempt(model, our_loss, images, 2)
    if torch.equal(model.to_logits.bias, before):
        return "There is still a `...` in it, or a step is missing: every weight stays as it was."
    if ends is None or len(ends) != 2:
        return "It should return the loss of every step."
    with seeded(1):
        theirs, torch_state = OurVAE(2, 8), torch.get_rng_state()
        attempt(theirs, our_loss, images, 3)
    with seeded(1):
        ours = OurVAE(2, 8)
        torch.set_rng_state(torch_state)
        our_training(ours, our_loss, images, 3)
    same = torch.allclose(theirs.to_logits.bias, ours.to_logits.bias, rtol=1e-3, atol=1e-6)
    return "" if same else "After three steps its weights are not those of Adam."


# ------------------------------------------------------------------------------- the exercises


def check_healed(attempt: Any) -> Answer:
    """Exercise 1.1: the loss of the sick model, repaired.

    Args:
        attempt: (recon (B, P) logits, x (B, P), mu (B, D), logvar (B, D)) -> -ELBO, nats per image.
    """
    recon, x = normal(6, 20, seed=1), normal(6, 20, seed=2).sign().relu()  # (B, P), (B, P)
    mu, logvar = normal(6, 3, seed=3), normal(6, 3, seed=4)  # (B, D), (B, D)
    d, r = bernoulli_nll(recon, x).mean(), gaussian_kl(mu, logvar).sum(dim=1).mean()
    squares = (recon.sigmoid() - x).square().sum(dim=1).mean()
    mistakes: Mistakes = [
        (d / 20 + r, "This is the sick model's loss. Hint: what do 784 pixels cost it, per image?"),
        (d / 20 + r / 20, "Both terms are 1/784 of what they should be. Hint: nats per image."),
        (d + 20 * r, "The KL now weighs 784 times too much on purpose. Hint: multiply D instead."),
        (6 * (d + r), "A sum over the batch. Hint: divide both terms by len(x)."),
        (6 * d + r, "D is a sum over the batch, the KL a mean. Hint: divide D by len(x)."),
        (d + r / 3, "The KL is averaged over the latent dimensions. Hint: sum them."),
        (d - r, "The KL has the wrong sign. Hint: -ELBO = D + R."),
        (d, "The KL is gone. Hint: -ELBO = D + R."),
        (squares + r, "Squared errors are another likelihood. Hint: keep the cross-entropy."),
    ]
    given = {"recon": recon, "x": x, "mu": mu, "logvar": logvar}
    praise = "Both terms in nats per image: summed over pixels and dimensions, averaged last."
    return judge(attempt, given, d + r, mistakes, praise)


def check_strongest_cut(prediction: Any, model: Model, digits: Digits) -> Answer:
    """Exercise 1.2: without the strongest dimension, does D rise by less than its KL, or by more?

    Args:
        prediction: "less", "the same" or "more".
        model: a trained VAE; it is cut, and D and R are measured on binarized test digits.
        digits: where the test images come from.
    """
    images = evaluation_images(digits, binarize=True)  # (M, P)
    whole = evaluate(model, images)
    saved, strongest = (part.item() for part in whole.kl_per_dim.max(dim=0))
    kept = [d for d in range(model.latent_dim) if d != strongest]
    lost = evaluate(prune(model, kept), images).distortion - whole.distortion
    truth = "less" if lost < 0.9 * saved else "more" if lost > 1.1 * saved else "the same"
    found = f"Measured: R falls by {saved:.1f} nats, D rises by {lost:.1f}."
    wrong = f"{found} Hint: why did training keep this dimension?"
    options = dict.fromkeys(("less", "the same", "more"), wrong)
    options[truth] = f"{found} Training minimizes D + R: a dimension stays if it earns its KL."
    return choose(prediction, options, truth)


def check_kl_to_prior(attempt: Any) -> Answer:
    """Exercise 1.3: the KL to a prior that is not the standard normal.

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
        (right / math.log(2), "These are bits. Hint: natural logarithms give nats."),
        (
            math.log(s) - 0.5 * logvar + (logvar.exp() + (mu - m) ** 2) / (2 * s) - 0.5,
            "The square of s is missing. Hint: (z - m)^2 / (2 s^2).",
        ),
        (
            math.log(s) - 0.5 * logvar + (logvar.exp() + mu**2) / (2 * s**2) - 0.5,
            "m is missing. Hint: E[(z - m)^2] for z ~ N(mu, sigma^2).",
        ),
        (right.sum(dim=1), "The dimensions were summed. Hint: keep each one: (B, D)."),
    ]
    given = {"mu": mu, "logvar": logvar, "prior_mean": m, "prior_std": s}
    praise = "It agrees with torch.distributions on 4 images and 3 dimensions."
    return judge(attempt, given, right, mistakes, praise)


def check_iw_bound(attempt: Any) -> Answer:
    """Exercise 1.4: the importance-weighted bound of the toy.

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
        "a": "The mean of k is a mean of means of k - 1; Jensen, then expectations, give L_(k-1).",
        "b": "It grows for any fixed q; nothing is trained. Hint: Jensen, equation 1.10.",
        "c": "Each ratio comes from the same q and is as noisy as before. Hint: their mean is not.",
        "d": "A sum is divided by k, and the bound stops at log p(x). Hint: it is a mean.",
    }
    return choose(choice, options, "a")
