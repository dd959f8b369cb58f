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

DIAGNOSES = ["collapse, floor the total", "wasted nats, lower the floor"]
DIAGNOSES += ["unused, leave it", "nothing to repair"]


def check_diagnoses(attempt: Any) -> Answer:
    """Exercise 3.1: what is wrong with four models, and the remedy.

    Args:
        attempt: {"A": one of the four diagnoses, ...}, or the four in this order; its first word
            is enough.
    """
    given = dict(zip("ABCD", attempt)) if isinstance(attempt, (list, tuple)) else attempt
    if blank(given) or (isinstance(given, dict) and any(map(blank, given.values()))):
        return NOTHING
    if not isinstance(given, dict) or sorted(given) != list("ABCD"):
        return Answer(False, f"Give a diagnosis for each of A, B, C and D; got {attempt!r}.")
    words = {name.split()[0].rstrip(","): name for name in DIAGNOSES}
    for model, (right, why) in VERDICTS.items():
        first = str(given[model]).strip().lower().split(" ")[0].rstrip(",")
        if first not in words:
            choices = ", ".join(map(repr, DIAGNOSES))
            return Answer(False, f"{model}: choose one of {choices}; got {given[model]!r}.")
        if first != right:
            return Answer(False, f"{model}: {why[first]}")
    return Answer(
        True, "Active units tell none of the four apart; R, the information and the alive ones do."
    )


SPOKEN = "a stranger's z is dear, so the decoder listens. Hint: a collapse has three signs."
FULL = "the information is at its ceiling, so nothing is known to be wasted. Hint: log 1000."
VERDICTS: dict[str, tuple[str, dict[str, str]]] = {  # the right first word, and why not another
    "A": (
        "unused",
        {
            "collapse": SPOKEN,
            "wasted": FULL,
            "nothing": "18 of its dimensions carry nothing. Hint: what are they called?",
        },
    ),
    "B": (
        "collapse",
        {
            "wasted": "with a rate of 0.7 there is little to waste. Hint: what does z say at all?",
            "unused": "not some dimensions are silent: together all say 0.5 nats. Hint: look at R.",
            "nothing": "a stranger's z does as well as its own. Hint: active units hide this.",
        },
    ),
    "C": (
        "wasted",
        {
            "collapse": "3.1 nats of information are not none. Hint: how many nats does it pay?",
            "unused": "all 32 are alive. Hint: compare R with the information, with room to 6.9.",
            "nothing": "it pays 16.0 nats for 3.1. Hint: the information is below its ceiling.",
        },
    ),
    "D": (
        "nothing",
        {
            "collapse": SPOKEN,
            "wasted": FULL,
            "unused": "all 32 are alive. Hint: compare with A.",
        },
    ),
}


def check_down_and_up(steps: Any, back: Any) -> Answer:
    """Exercise 3.5: a weight falls by 10 % at a time, then climbs by 10 % as often.

    Args:
        steps: how many falls bring gamma from 1 below 0.1.
        back: gamma after as many rises.
    """
    controller, gamma, falls = SoftFreeBits(0.5, step=0.1), 1.0, 0
    while gamma >= 0.1:
        gamma, falls = float(controller.update(torch.tensor([[0.1]]))), falls + 1
    for _ in range(falls):
        gamma = float(controller.update(torch.tensor([[2.0]])))
    for value in () if blank(steps) else (steps,):
        if isinstance(value, (int, float, Tensor)) and float(value) != round(float(value)):
            return Answer(False, f"steps: {float(value):g} is no count. Hint: a whole number.")
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
    """Exercise 3.2: free bits for groups of neighboring dimensions, in two sizes; the gradient too.

    Args:
        attempt: (kl (B, D), lam, size) -> scalar, nats; ``size`` dimensions make a group.
    """
    scale = [0.02, 0.1, 0.2, 0.05, 0.02, 0.1, 0.03, 0.3, 0.9, 0.02, 1.5, 2.0]
    kl, lam = normal(6, 12).square() * torch.tensor(scale), 0.5  # (B, D)
    praise = "Average over the batch, sum within a group, then the floor."
    for size in (3, 4):
        right, mistakes = _grouped(kl, lam, size)
        given = {"kl": kl, "lam": lam, "size": size}
        answer = judge(attempt, given, right, mistakes, praise)
        if not answer.right:
            return answer
    return _same_gradient(attempt, kl, lam, praise)


def _grouped(kl: Tensor, lam: float, size: int) -> tuple[Tensor, Mistakes]:
    """The right value, and what typical mistakes give."""
    mean = kl.mean(dim=0)  # (D,)
    sums, each = mean.view(-1, size).sum(dim=1), kl.view(6, -1, size).sum(dim=2)  # (G,), (B, G)
    apart = mean.view(size, -1).sum(dim=0)  # (G,), of distant dimensions
    mistakes: Mistakes = [
        (each.clamp(min=lam).sum(dim=1).mean(), "Per sample. Hint: batch average first (3.4)."),
        (mean.clamp(min=lam).sum(), "Each dimension has its own floor. Hint: sum a group first."),
        ((sums / size).clamp(min=lam).sum(), "A group was averaged. Hint: its nats add up."),
        (sums.clamp(min=size * lam).sum(), "The floor is size * lam. Hint: lam is for a group."),
        (mean.sum().clamp(min=lam), "One floor for all. Hint: view(-1, size) makes groups."),
        (sums.clamp(max=lam).sum(), "The minimum is taken. Hint: clamp(min=lam)."),
        (apart.clamp(min=lam).sum(), "Groups of distant dimensions. Hint: view(-1, size)."),
    ]
    return sums.clamp(min=lam).sum(), mistakes


def _same_gradient(attempt: Callable, kl: Tensor, lam: float, praise: str) -> Answer:
    """Whether training would feel the right thing, too."""
    mine, truth = (kl.clone().requires_grad_() for _ in range(2))  # (B, D)
    (wanted,) = torch.autograd.grad(_grouped(truth, lam, 3)[0], truth)  # (B, D)
    try:
        value = attempt(mine, lam, 3)
    except Exception as error:
        return raised(error, "kl with requires_grad, lam, size=3")
    if not (isinstance(value, Tensor) and value.requires_grad):
        text = "The value is right, but no gradient flows back. Hint: stay in torch, no .item()."
        return Answer(False, text)
    (gradient,) = torch.autograd.grad(value, mine, allow_unused=True)  # (B, D)
    if gradient is None or not torch.allclose(gradient.to(kl), wanted, atol=1e-6):
        text = "The value is right, its gradient is not. Hint: a free group has a gradient of 0."
        return Answer(False, text)
    return Answer(True, praise)


def check_next_gamma(attempt: Any) -> Answer:
    """Exercise 3.3: one move of the controller, with a floor under the weight.

    Args:
        attempt: (gamma (D,), level (D,), lam, floor) -> (D,), with tolerance and step of 10 %.
    """
    gamma = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 0.01, 0.0105])  # (D,)
    level = torch.tensor([0.1, 0.44, 0.46, 0.54, 0.56, 0.9, 0.5, 2.0, 0.0, 0.2])  # (D,)
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
        (no_band.clamp(0.01, 1), "No band. Hint: within 10 % of lam gamma rests."),
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
    if "free" in log:
        text = "The KL has no gradient: these are steps at beta = 0. Hint: ELBO(), as it is."
        return Answer(False, text)
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
        with torch.no_grad():  # the decoder is deaf to z: only the KL moves the encoder
            model.from_latent.weight.zero_()
            model.to_mu.bias.fill_(1.0)

        def stepped(name: str) -> None:
            free = model.to_mu.bias.grad is None or not model.to_mu.bias.grad.any()
            log.append("free" if free else name)

        alone.register_step_pre_hook(lambda *_: stepped("encoder"))
        both.register_step_pre_hook(lambda *_: stepped("both"))
        attempt(model, batches(), alone, both, 5)
    return log


def check_reading(choice: Any) -> Answer:
    """Exercise 3.6: what does a weight of 0.02 at the end of a run say ("a" to "d")?

    Args:
        choice: the letter.
    """
    options = {
        "a": "A small weight marks what the ELBO would leave unused. Hint: 1 - gamma is a price.",
        "b": "lam is a floor: 1.6 nats satisfy it, and gamma = 1 is right. Hint: equation 3.10.",
        "c": "evaluate knows no weights: its -ELBO is D + R at the full price. Hint: lesson 2.",
        "d": "Of a small delta 2 % come back as a lower distortion; the bound loses 0.98 delta.",
    }
    return choose(choice, options, "d")
