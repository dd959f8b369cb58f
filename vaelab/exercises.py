"""Checks for the exercises of the lessons: each says what is right, or what is wrong and why.

A check calls the attempt on numbers of its own and works out the right value from an oracle
(`torch.distributions`, a closed form, a tested function of this package), and beside it the values
that typical mistakes give. It trains nothing and takes well under a second.
"""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from .data import Digits
from .diagnostics import prune
from .losses import gaussian_kl
from .model import Model, RowGRUVAE
from .objectives import SoftFreeBits
from .runs import seeded
from .schedules import cyclical
from .toy import GaussianToy
from .training import evaluate

Mistakes = list[tuple[Any, str]]  # the value that a mistake gives, and what to say about it
Slips = list[tuple[str, float, str]]  # the same for one of several numbers, after its name


@dataclass(frozen=True)
class Answer:
    """What a check says; shown as text.

    Attributes:
        right: None if there was nothing to check yet.
        text: why; where something is wrong, what it is, and a hint.
    """

    right: bool | None
    text: str

    def __repr__(self) -> str:
        verdict = {True: "Right.", False: "Not yet.", None: "Not attempted yet."}[self.right]
        paragraphs = f"{verdict} {self.text}".replace(" Hint:", "\nHint:").splitlines()
        return "\n".join(textwrap.fill(part, 88, break_on_hyphens=False) for part in paragraphs)


NOTHING = Answer(None, "Replace the ... in the cell above, run it, then run this cell again.")


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
    return _choose(prediction, options, truth)


def check_kl_to_prior(attempt: Any) -> Answer:
    """Exercise 1.2: the KL to a prior that is not the standard normal.

    Args:
        attempt: (mu (B, D), logvar (B, D), prior_mean, prior_std) -> (B, D) nats.
    """
    mu, logvar, m, s = _normal(4, 3, seed=1), _normal(4, 3, seed=2), 0.7, 2.5  # (B, D), (B, D)
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
    return _judge(attempt, given, right, mistakes, praise)


def check_iw_bound(attempt: Any) -> Answer:
    """Exercise 1.3: the importance-weighted bound of the toy.

    Args:
        attempt: (toy, x, q, z (k, N)) -> (N,) nats, one bound from each column of k samples.
    """
    toy, q, z = GaussianToy(), Normal(0.3, 0.9), 0.3 + 0.9 * _normal(20, 6)  # z (k, N)

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
    answer = _judge(attempt, given, right, mistakes, praise)
    if not answer.right:
        return answer
    return _judge(attempt, {**given, "x": 200.0}, far, [underflow], praise)


def check_mean_over_batches(attempt: Any) -> Answer:
    """Exercise 1.4: the mean over all images, from batches of different sizes.

    Args:
        attempt: list of (n_j, D) -> (D,), each image with the same weight.
    """
    batches = [_normal(n, 3, seed=n).abs() for n in (8, 8, 8, 2)]
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
    return _judge(attempt, {"batches": batches}, right, mistakes, praise)


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
    return _choose(choice, options, "b")


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
    return _choose(choice, options, "a")


def check_cycles(falls: Any, share: Any, mean: Any) -> Answer:
    """Exercise 2.1: what ``cyclical(cycles=4, ramp=0.8)`` does in a run of 3,000 steps.

    Args:
        falls: how often beta drops from 1 to 0.
        share: of the steps that have beta = 1.
        mean: of beta over the run.
    """
    schedule = cyclical(cycles=4, ramp=0.8)
    beta = torch.tensor([schedule(step / 3000) for step in range(3000)])
    right = [(beta.diff() < 0).sum(), (beta == 1).double().mean(), beta.mean()]
    slips: Slips = [
        ("falls", 4, "the run stops at the end of the fourth cycle. Hint: M - 1."),
        ("share", 0.8, "that is the ramp. Hint: what is left of each cycle?"),
        ("share", 0.05, "that is one cycle. Hint: there are four."),
        ("mean", 0.4, "the flat parts are missing. Hint: they add 0.2 times 1."),
        ("mean", 0.5, "that is a ramp without a flat part."),
    ]
    praise = "After each of the three falls rate is cheap again: the path turns to the right."
    return _numbers({"falls": falls, "share": share, "mean": mean}, right, slips, praise)


def check_limits(small: Any, large: Any) -> Answer:
    """Exercise 2.2: the best q and its distortion as beta goes to 0 and to infinity.

    Args:
        small: (mean, std, D) for beta -> 0, with w = 1.5, b = 0.5, s = 0.8, x = 2.
        large: the same for beta -> infinity.
    """
    if _blank(small) or _blank(large):
        return NOTHING
    if not all(isinstance(part, (tuple, list)) and len(part) == 3 for part in (small, large)):
        return Answer(False, f"Give (mean, std, D) for each limit; got {small!r} and {large!r}.")
    toy = GaussianToy(weight=1.5, bias=0.5, noise=0.8)
    sharp, at_zero = (-float(toy.log_likelihood(2.0, z)) for z in (1.0, 0.0))  # D at a point
    scattered = at_zero + 1.5**2 / (2 * 0.8**2)  # and for z from the prior
    slips: Slips = [
        ("small mean", 0.0, "this is the other limit. Hint: a small beta makes rate cheap."),
        ("small mean", float(toy.posterior(2.0)[0]), "this is beta = 1. Hint: no noise is left."),
        ("small mean", 2.0, "this is x. Hint: solve x = w z + b for z."),
        ("small std", 0.8 / 1.5, "this is s / w. Hint: the noise is sqrt(beta) s."),
        ("small D", 0.0, "a density is not 1 at its peak. Hint: -log N(x; x, s^2)."),
        ("large std", 0.0, "a point costs infinitely many nats. Hint: which q costs none?"),
        ("large D", at_zero, "this is D at z = 0. Hint: z scatters like the prior, E[z^2] = 1."),
    ]
    names = [f"{side} {what}" for side in ("small", "large") for what in ("mean", "std", "D")]
    right = [1.0, 0.0, sharp, 0.0, 1.0, scattered]
    praise = "From D = 0.70 at an infinite R to D = 4.21 at R = 0: the two ends of the curve."
    return _numbers(dict(zip(names, (*small, *large))), right, slips, praise)


def check_cosine(attempt: Any) -> Answer:
    """Exercise 2.3: a schedule that climbs along half a cosine wave.

    Args:
        attempt: (warmup) -> a function from progress in [0, 1] to beta.
    """

    def curve(warmup: float, progress: list[float]) -> list[float] | None:
        schedule = attempt(warmup)
        if not (_blank(schedule) or callable(schedule)):
            raise TypeError(f"a function of progress must be returned, not {schedule!r}")
        return None if _blank(schedule) else [float(schedule(t)) for t in progress]

    t = torch.linspace(0, 1, 21, dtype=torch.float64)  # (21,)
    u, pi = (t / 0.4).clamp(max=1), math.pi  # (21,), the share of the warm-up
    right = (1 - torch.cos(pi * u)) / 2
    mistakes: Mistakes = [
        (1 - right, "It falls, like the cosine of learning rates. Hint: beta starts at 0."),
        ((1 - torch.cos(pi * t / 0.4)) / 2, "It comes down again. Hint: min(1, t / warmup)."),
        ((1 - torch.cos(pi * t)) / 2, "It climbs all along the run. Hint: t / warmup."),
        ((1 - torch.cos(2 * pi * u)) / 2, "A whole wave, back to 0. Hint: half of one, pi."),
        (1 - torch.cos(pi * u / 2), "A quarter wave has a kink at 1. Hint: half of one, pi."),
        (2 * right, "It climbs to 2. Hint: 1 - cos goes from 0 to 2."),
        (u, "This is the straight ramp of `linear`. Hint: 1 - cos."),
    ]
    given = {"warmup": 0.4, "progress": t.tolist()}
    praise = "It leaves 0 and reaches 1 without a kink, and stays."
    return NOTHING if _blank(attempt) else _judge(curve, given, right, mistakes, praise)


def check_bound_from_printed(attempt: Any) -> Answer:
    """Exercise 2.4: the negative bound from the loss that an annealed run printed.

    Args:
        attempt: (printed, beta, rate), each (T,) -> (T,) nats.
    """
    printed, beta, rate = torch.tensor([[130.0, 120, 110], [0.1, 0.5, 1], [60, 50, 30]])
    mistakes: Mistakes = [
        (printed - (1 - beta) * rate, "The sign is flipped. Hint: the discount goes back on."),
        (printed + beta * rate, "beta R is in there already. Hint: what is missing is 1 - beta."),
        (printed + rate, "Now R is billed 1 + beta times. Hint: once is enough."),
        (printed - beta * rate, "This is D alone. Hint: the bound pays for R, too."),
        (printed / beta, "D was not weighted with beta. Hint: only R was."),
    ]
    given = {"printed": printed, "beta": beta, "rate": rate}
    praise = "D + R at the full price, whatever the run was charged."
    return _judge(attempt, given, printed + (1 - beta) * rate, mistakes, praise)


def check_paired(attempt: Any) -> Answer:
    """Exercise 2.5: a paired difference and its standard error.

    Args:
        attempt: (a (N,), b (N,)) -> the mean of a - b, and its standard error.
    """
    b = 110 + 30 * _normal(400, seed=1)  # (N,)
    a = b + 2 + 4 * _normal(400, seed=2)  # (N,)
    mean, std, apart = (a - b).mean(), (a - b).std(), (a.var() + b.var()).sqrt()
    mistakes: Mistakes = [
        ((mean, apart / 20), "The error is that of unpaired images. Hint: std of a - b."),
        ((mean, std), "The error is the std of one image. Hint: divide by sqrt(N)."),
        ((mean, std / 400), "The error is divided by N. Hint: sqrt(N)."),
        ((-mean, std / 20), "The sign is flipped. Hint: a - b; plus means that a costs more."),
        ((mean, std**2 / 20), "A variance stands for a standard deviation. Hint: std."),
    ]
    praise = "Image by image, the difficulty that both models share is gone."
    return _judge(attempt, {"a": a, "b": b}, (mean, std / 20), mistakes, praise, rtol=0.01)


def check_choosing(choice: Any) -> Answer:
    """Exercise 2.6: where to choose among ten schedules, and where to report ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "The best of ten is partly luck, and the luck is in the report. Hint: new images.",
        "b": "The report is honest, but the choice rewards memorizing. Hint: hold images out.",
        "c": "Chosen where nothing is reported, reported where nothing was chosen.",
        "d": "Seeds and error bars measure noise, not the choosing. Hint: where was it done?",
    }
    return _choose(choice, options, "c")


def check_down_and_up(steps: Any, back: Any) -> Answer:
    """Exercise 3.1: a weight falls by 10 % at a time, then climbs by 10 % as often.

    Args:
        steps: how many falls bring gamma from 1 below 0.1.
        back: gamma after as many rises.
    """
    controller, gamma, falls = SoftFreeBits(0.5, step=0.1), 1.0, 0
    while gamma >= 0.1:
        gamma, falls = float(controller.update(torch.tensor([[0.1]]))), falls + 1
    for _ in range(falls):
        gamma = float(controller.update(torch.tensor([[2.0]])))
    slips: Slips = [
        ("steps", 10, "a fall takes 10 % of what is left, not 0.1. Hint: 0.9 ** steps."),
        ("steps", falls - 1, "gamma is still above 0.1. Hint: round up."),
        ("steps", 25, "that is the way up, with 1.1. Hint: log(0.1) / log(0.9)."),
        ("back", 0.99, "that is one pair. Hint: there are as many pairs as falls."),
        ("back", 1.0, "1.1 does not undo 0.9. Hint: 0.9 * 1.1 = 0.99 for each pair."),
    ]
    praise = "0.99 for each pair: rules that multiply by 0.9 and 1.1 are not symmetric."
    return _numbers({"steps": steps, "back": back}, [falls, gamma], slips, praise)


def check_grouped_free_bits(attempt: Any) -> Answer:
    """Exercise 3.2: free bits for groups of neighboring dimensions.

    Args:
        attempt: (kl (B, D), lam, size) -> scalar, nats; ``size`` dimensions make a group.
    """
    scale = [0.02, 0.1, 0.2, 0.05, 0.02, 0.1, 0.03, 0.3, 0.9, 0.02, 1.5, 2.0]
    kl = _normal(6, 12).square() * torch.tensor(scale)  # (B, D)
    mean, lam, size = kl.mean(dim=0), 0.5, 3  # (D,)
    sums, each = mean.view(-1, size).sum(dim=1), kl.view(6, -1, size).sum(dim=2)  # (G,), (B, G)
    apart = mean.view(size, -1).sum(dim=0)  # (G,), with every fourth dimension in a group
    mistakes: Mistakes = [
        (each.clamp(min=lam).sum(dim=1).mean(), "Per sample. Hint: batch average first (3.5)."),
        (mean.clamp(min=lam).sum(), "Each dimension has its own floor. Hint: sum a group first."),
        ((sums / size).clamp(min=lam).sum(), "A group was averaged. Hint: its nats add up."),
        (sums.clamp(min=size * lam).sum(), "The floor is size * lam. Hint: lam is for a group."),
        (mean.sum().clamp(min=lam), "One floor for all. Hint: view(-1, size) makes groups."),
        (sums.clamp(max=lam).sum(), "The minimum is taken. Hint: clamp(min=lam)."),
        (apart.clamp(min=lam).sum(), "Groups of distant dimensions. Hint: view(-1, size)."),
    ]
    given = {"kl": kl, "lam": lam, "size": size}
    praise = "Average over the batch, sum within a group, then the floor."
    return _judge(attempt, given, sums.clamp(min=lam).sum(), mistakes, praise)


def check_next_gamma(attempt: Any) -> Answer:
    """Exercise 3.3: one move of the controller, with a floor under the weight.

    Args:
        attempt: (gamma (D,), level (D,), lam, floor) -> (D,), with tolerance and step of 10 %.
    """
    gamma = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 0.01, 0.0105])  # (D,)
    level = torch.tensor([0.1, 0.47, 0.53, 0.9, 0.5, 2.0, 0.0, 0.2])  # (D,)
    controller = SoftFreeBits(0.5, step=0.1, floor=0.01)
    controller.gamma = gamma

    def moved(up: Tensor, down: Tensor) -> Tensor:
        return gamma * (1 + 0.1 * up.float() - 0.1 * down.float())  # (D,)

    up, down = level > 0.55, level < 0.45
    added = gamma + 0.1 * up.float() - 0.1 * down.float()
    no_band = moved(level > 0.5, level < 0.5)
    mistakes: Mistakes = [
        (moved(up, down).clamp(0, 1), "There is no floor. Hint: clamp from both sides."),
        (moved(up, down).clamp(min=0.01), "gamma exceeds 1. Hint: clamp from both sides."),
        (moved(up, down), "Nothing keeps gamma in [floor, 1]. Hint: clamp after the move."),
        (moved(down, up).clamp(0.01, 1), "Up and down are swapped. Hint: the starved pay less."),
        (no_band.clamp(0.01, 1), "No dead band. Hint: within 10 % of lam nothing moves."),
        (added.clamp(0.01, 1), "gamma moves by 0.1. Hint: by 10 % of itself."),
    ]
    given = {"gamma": gamma, "level": level, "lam": 0.5, "floor": 0.01}
    right = controller.update(level[None])  # (D,)
    return _judge(attempt, given, right, mistakes, "It moves as SoftFreeBits does.")


def check_step_ahead(attempt: Any) -> Answer:
    """Exercise 3.4: steps of the encoder alone, then one of both; what is counted is who steps.

    Args:
        attempt: (model, batches, encoder_optimizer, optimizer, inner) -> anything.
    """
    if _blank(attempt):
        return NOTHING
    try:
        log = _recorded(attempt)
    except Exception as error:
        return _raised(error, "model, batches, encoder_optimizer, optimizer, inner=5")
    if not log:
        return NOTHING
    drawn, alone, both = map(log.count, ("batch", "encoder", "both"))
    seen = f"Seen: {drawn} batches, {alone} steps of the encoder, {both} of both."
    if both and not alone:
        return Answer(False, f"The decoder moves in every step. {seen} Hint: encoder_optimizer.")
    if (alone, both) != (5, 1):
        return Answer(False, f"{seen} Hint: five of the encoder (inner=5), then one of both.")
    if log[-1] != "both":
        return Answer(False, f"The step of both does not come last. {seen} Hint: encoder first.")
    if drawn != 6:
        return Answer(False, f"{seen} Hint: each step takes a next(batches) of its own.")
    return Answer(True, "Five steps of the encoder, one of both, each on a batch of its own.")


def _recorded(attempt: Callable) -> list[str]:
    """Call the attempt on a tiny model; what was drawn and which optimizer stepped, in order."""
    log: list[str] = []

    def batches() -> Iterator[Tensor]:
        for _ in range(50):
            log.append("batch")
            yield torch.rand(4, 784).round()  # (4, 784)

    with seeded(0, torch.device("cpu")):
        model = RowGRUVAE(latent_dim=2, hidden_dim=4)
        encoder = torch.nn.ModuleList([model.from_data, model.to_mu, model.to_logvar])
        alone, both = (torch.optim.Adam(part.parameters()) for part in (encoder, model))
        alone.register_step_post_hook(lambda *_: log.append("encoder"))
        both.register_step_post_hook(lambda *_: log.append("both"))
        attempt(model, batches(), alone, both, 5)
    return log


def check_cost_of_floor(attempt: Any) -> Answer:
    """Exercise 3.5: what a floor costs a Gaussian dimension, in nats of the bound.

    Args:
        attempt: (lam (N,), strength (N,)) -> (N,) nats, >= 0.
    """
    lam = torch.tensor([0.5, 1.0, 0.5, 0.5, 0.25])  # (N,)
    strength = torch.tensor([-1.0, -1.0, 0.2, 1.5, -0.3])  # (N,)
    wanted = strength.clamp(min=0)  # (N,), equation 3.13 at gamma = 1
    held = torch.maximum(lam, wanted)  # (N,)

    def neg_elbo(kl: Tensor) -> Tensor:
        return 0.5 * torch.exp(2 * (strength - kl)) + kl  # (N,), D + KL

    right, price = neg_elbo(held) - neg_elbo(wanted), 1 - torch.exp(2 * (strength - held))
    mistakes: Mistakes = [
        (neg_elbo(lam) - neg_elbo(wanted), "The strong one pays, too. Hint: lam is only a floor."),
        (neg_elbo(held) - neg_elbo(strength), "A dimension below 0 nats. Hint: max(0, strength)."),
        (held - wanted, "This is the extra rate. Hint: it also lowers the distortion."),
        (price, "This is the price of the next nat (3.14). Hint: D + KL with, minus without."),
        (price * (held - wanted), "The price changes on the way. Hint: D + KL, twice."),
        (neg_elbo(held), "This is D + KL with the floor. Hint: subtract it without."),
        (-right, "The sign is flipped. Hint: a floor cannot improve the bound."),
    ]
    praise = "Free for the strong dimension, dear for the one that the ELBO leaves unused."
    return _judge(attempt, {"lam": lam, "strength": strength}, right, mistakes, praise)


def check_reading(choice: Any) -> Answer:
    """Exercise 3.6: what does a weight of 0.02 at the end of a run say ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "A small weight marks what the ELBO would leave unused. Hint: 1 - gamma is a price.",
        "b": "lam is a floor: 1.6 nats satisfy it, and gamma = 1 is right. Hint: equation 3.12.",
        "c": "evaluate knows no weights: its -ELBO is D + R at the full price. Hint: Section 3.7.",
        "d": "Of the next nat, 0.02 come back as a lower distortion; the bound loses 0.98.",
    }
    return _choose(choice, options, "d")


def _normal(*shape: int, seed: int = 0) -> Tensor:
    """Fixed normal numbers; the global random state is left alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _blank(value: Any) -> bool:
    """Whether a stub was left as it was."""
    return value is None or value is ... or (isinstance(value, tuple) and any(map(_blank, value)))


def _choose(choice: Any, options: dict[str, str], best: str) -> Answer:
    if _blank(choice):
        return NOTHING
    choice = choice.strip().lower() if isinstance(choice, str) else choice
    if not isinstance(choice, str) or choice not in options:
        return Answer(False, f"Choose one of {', '.join(map(repr, options))}; got {choice!r}.")
    return Answer(choice == best, options[choice])


def _judge(
    attempt: Any,
    given: dict[str, Any],
    right: Any,
    mistakes: Mistakes,
    praise: str,
    rtol: float = 1e-4,
) -> Answer:
    """Call an attempt with a copy of what is given, and compare what it returns."""
    if _blank(attempt):
        return NOTHING
    if not callable(attempt):
        return Answer(False, f"Pass the function itself, without calling it; got {attempt!r}.")
    try:
        value = attempt(*copy.deepcopy(list(given.values())))
    except Exception as error:
        return _raised(error, ", ".join(name + _shape(item) for name, item in given.items()))
    return _compare(value, right, mistakes, praise, rtol)


def _raised(error: Exception, given: str) -> Answer:
    text = f"Your function was called with {given} and raised {type(error).__name__}: {error}"
    return Answer(False, f"{text} Hint: call it yourself on such arguments to see the line.")


def _shape(item: Any) -> str:
    return f" {tuple(item.shape)}" if isinstance(item, Tensor) else ""


def _numbers(given: dict[str, Any], right: list, slips: Slips, praise: str) -> Answer:
    """Compare named numbers, to one percent, without telling the right one."""
    for (name, value), truth in zip(given.items(), right):
        said = [(wrong, f"{name}: {text}") for who, wrong, text in slips if who == name]
        other = f"{name}: it is not {value!r}. Hint: unfold the hint below."
        answer = _compare(value, truth, said, rtol=0.01, other=other)
        if not answer.right:
            return answer
    return Answer(True, praise)


def _compare(
    value: Any,
    right: Any,
    mistakes: Mistakes,
    praise: str = "",
    rtol: float = 1e-4,
    other: str = "",
) -> Answer:
    """Compare a value with the right one, then with those that known mistakes give."""
    if _blank(value):
        return NOTHING
    right = _tensor(right)
    try:
        value = _tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return Answer(False, f"Numbers of shape {tuple(right.shape)} were expected, not {value!r}.")
    for known, text in [(right, praise), *mistakes]:
        if _same(value, _tensor(known), rtol):
            return Answer(known is right, text)
    if value.shape != right.shape:
        return Answer(
            False, f"The shape is {tuple(value.shape)}, it should be {tuple(right.shape)}."
        )
    worst = int((value - right).abs().argmax())
    mine, truth = float(value.flatten()[worst]), float(right.flatten()[worst])
    return Answer(False, other or f"A number is {mine:.4g}, it should be {truth:.4g}.")


def _tensor(value: Any) -> Tensor:
    """A float64 tensor from a tensor, a number, or a sequence of either."""
    if isinstance(value, (tuple, list)):
        return torch.stack([_tensor(item) for item in value])
    return torch.as_tensor(value, dtype=torch.float64).detach()


def _same(value: Tensor, other: Tensor, rtol: float) -> bool:
    return value.shape == other.shape and torch.allclose(value, other, rtol=rtol, atol=1e-5)
