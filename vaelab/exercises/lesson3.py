"""The checks of the exercises of lesson 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..model import RowGRUVAE
from ..objectives import SoftFreeBits
from ..runs import seeded
from .checking import (
    NOTHING,
    Answer,
    Mistakes,
    Slips,
    blank,
    choose,
    judge,
    normal,
    numbers,
    raised,
)


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
    return numbers({"steps": steps, "back": back}, [falls, gamma], slips, praise)


def check_grouped_free_bits(attempt: Any) -> Answer:
    """Exercise 3.2: free bits for groups of neighboring dimensions.

    Args:
        attempt: (kl (B, D), lam, size) -> scalar, nats; ``size`` dimensions make a group.
    """
    scale = [0.02, 0.1, 0.2, 0.05, 0.02, 0.1, 0.03, 0.3, 0.9, 0.02, 1.5, 2.0]
    kl = normal(6, 12).square() * torch.tensor(scale)  # (B, D)
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
    return judge(attempt, given, sums.clamp(min=lam).sum(), mistakes, praise)


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
    return judge(attempt, given, right, mistakes, "It moves as SoftFreeBits does.")


def check_step_ahead(attempt: Any) -> Answer:
    """Exercise 3.4: steps of the encoder alone, then one of both; what is counted is who steps.

    Args:
        attempt: (model, batches, encoder_optimizer, optimizer, inner) -> anything.
    """
    if blank(attempt):
        return NOTHING
    try:
        log = _recorded(attempt)
    except Exception as error:
        return raised(error, "model, batches, encoder_optimizer, optimizer, inner=5")
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
    return judge(attempt, {"lam": lam, "strength": strength}, right, mistakes, praise)


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
    return choose(choice, options, "d")
