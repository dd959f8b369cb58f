"""How an exercise is checked: compare an attempt with the right value and with known mistakes.

A check calls the attempt on numbers of its own and works out the right value from an oracle
(`torch.distributions`, a closed form, a tested function of this package), and beside it the values
that typical mistakes give. It trains nothing and takes well under a second.
"""

from __future__ import annotations

import copy
import textwrap
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Fixed normal numbers; the global random state is left alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blank(value: Any) -> bool:
    """Whether a stub was left as it was: a value, some of several, or a function without a body."""
    code = getattr(value, "__code__", None)
    empty = code is not None and code.co_code == (lambda: None).__code__.co_code
    several = isinstance(value, tuple) and any(map(blank, value))
    return value is None or value is ... or empty or several


def choose(choice: Any, options: dict[str, str], best: str) -> Answer:
    """Whether the best of some options was chosen, and what to say about the one that was."""
    if blank(choice):
        return NOTHING
    choice = choice.strip(" \t\n().").lower() if isinstance(choice, str) else choice
    if not isinstance(choice, str) or choice not in options:
        return Answer(False, f"Choose one of {', '.join(map(repr, options))}; got {choice!r}.")
    return Answer(choice == best, options[choice])


def judge(
    attempt: Any,
    given: dict[str, Any],
    right: Any,
    mistakes: Mistakes,
    praise: str,
    rtol: float = 1e-4,
) -> Answer:
    """Call an attempt with a copy of what is given, and compare what it returns."""
    if blank(attempt):
        return NOTHING
    if not callable(attempt):
        return Answer(False, f"Pass the function itself, without calling it; got {attempt!r}.")
    try:
        value = attempt(*copy.deepcopy(list(given.values())))
    except Exception as error:
        return raised(error, ", ".join(name + shape(item) for name, item in given.items()))
    if value is None:
        return Answer(False, "Your function returned nothing. Hint: does it end in `return`?")
    return compare(value, right, mistakes, praise, rtol)


def raised(error: Exception, given: str) -> Answer:
    """What to say about an attempt that raised an error."""
    text = f"Your function was called with {given} and raised {type(error).__name__}: {error}"
    return Answer(False, f"{text} Hint: call it yourself on such arguments to see the line.")


def shape(item: Any) -> str:
    """The shape of a tensor, as words of an error; nothing for anything else."""
    return f" {tuple(item.shape)}" if isinstance(item, Tensor) else ""


def numbers(given: dict[str, Any], right: list, slips: Slips, praise: str) -> Answer:
    """Compare named numbers, to one percent, without telling the right one."""
    for (name, value), truth in zip(given.items(), right):
        said = [(wrong, f"{name}: {text}") for who, wrong, text in slips if who == name]
        other = f"{name}: it is not {value!r}. Hint: unfold the hint below."
        answer = compare(value, truth, said, rtol=0.01, other=other)
        if not answer.right:
            return answer
    return Answer(True, praise)


def compare(
    value: Any,
    right: Any,
    mistakes: Mistakes,
    praise: str = "",
    rtol: float = 1e-4,
    other: str = "",
) -> Answer:
    """Compare a value with the right one, then with those that known mistakes give."""
    if blank(value):
        return NOTHING
    right = tensor(right)
    try:
        value = tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return Answer(False, f"Numbers of shape {tuple(right.shape)} were expected, not {value!r}.")
    for known, text in [(right, praise), *mistakes]:
        if same(value, tensor(known), rtol):
            return Answer(known is right, text)
    if value.shape != right.shape:
        return Answer(
            False, f"The shape is {tuple(value.shape)}, it should be {tuple(right.shape)}."
        )
    worst = int((value - right).abs().argmax())
    mine, truth = float(value.flatten()[worst]), float(right.flatten()[worst])
    return Answer(False, other or f"A number is {mine:.4g}, it should be {truth:.4g}.")


def tensor(value: Any) -> Tensor:
    """A float64 tensor from a tensor, a number, or a sequence of either."""
    if isinstance(value, (tuple, list)):
        return torch.stack([tensor(item) for item in value])
    return torch.as_tensor(value, dtype=torch.float64).detach()


def same(value: Tensor, other: Tensor, rtol: float) -> bool:
    """Whether two tensors agree in shape and, up to rounding, in every number."""
    return value.shape == other.shape and torch.allclose(value, other, rtol=rtol, atol=1e-5)
