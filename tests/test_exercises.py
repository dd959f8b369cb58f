"""Every check turns its stub away, says what is wrong with typical answers, accepts the solution.

The stubs and the solutions are the cells of the lessons.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nbformat import NotebookNode
from torch.distributions import Normal, kl_divergence

from notebook_tools import LESSONS, bound_by, code, lesson, parse, read, tags, text
from vaelab import ELBO, BetaELBO, Digits, GaussianToy, bernoulli_nll, exercises, gaussian_kl
from vaelab.exercises import NOTHING, Answer
from vaelab.training import Minibatches, train_step

CHECKS = {name for name in vars(exercises) if name.startswith("check_")}
HEADING = re.compile(r"^### Exercise (\d)\.(\d) \(([a-z ]+)\): .+", re.MULTILINE)
KINDS = {"diagnose", "predict", "derive", "implement", "find the bug", "measure", "explain"}


# --- typical wrong answers, and what must be said about them ------------------------------------


def iw(log_ratio: Callable, reduce: Callable) -> Callable:
    return lambda toy, x, q, z: reduce(log_ratio(toy, x, q, z))


def log_ratio(toy, x, q, z):
    return toy.log_likelihood(x, z) + Normal(0, 1).log_prob(z) - q.log_prob(z)


def prior_free(toy, x, q, z):
    return toy.log_likelihood(x, z) - q.log_prob(z)


def log_mean(r, dim=0):
    return r.logsumexp(dim) - math.log(r.shape[dim])


def kl_formula(mu, logvar, m, s, *, variance=None, log_s=True, half=0.5, sign=1):
    var, square = logvar.exp(), (s**2 if variance is None else variance)
    log_ratio = 0.5 * math.log(square) * log_s - 0.5 * logvar
    return sign * (log_ratio + (var + (mu - m) ** 2) / (2 * square) - half)


def image_loss(recon, x, mu, logvar, *, d="sum", r="sum", sign=1):
    """-ELBO of each image, with the sums over pixels and dimensions as they are named."""
    nll = F.binary_cross_entropy_with_logits(recon, x, reduction="none")
    return getattr(nll, d)(dim=1) + sign * getattr(gaussian_kl(mu, logvar), r)(dim=1)


def ramp(shape: Callable, hold: bool = True) -> Callable:
    return lambda warmup: lambda t: shape(min(1.0, t / warmup) if hold else t / warmup)


def controller(gamma, level, lam, low, high, *, band=0.1, up=1.1, down=0.9):
    moved = torch.where(level >= (1 + band) * lam, up * gamma, gamma)
    moved = torch.where(level <= (1 - band) * lam, down * gamma, moved)
    return moved.clamp(low, high)


def sums(kl, n):
    return kl.mean(0).view(-1, n).sum(1)


def ahead(*plan: str, fresh: bool = True, beta: float = 1.0) -> Callable:
    def attempt(model, batches, alone, both, inner):
        x = next(batches)
        for i, who in enumerate(plan):
            x = next(batches) if fresh and i else x
            which = {"alone": alone, "both": both}[who]
            train_step(model, x, BetaELBO(beta), which, 0.0, 5.0)

    return attempt


def neg_elbo(kl, a):
    return 0.5 * torch.exp(2 * (a - kl)) + kl


# A check, the words of its answer, and what it is given; several things are a tuple.
WRONG: dict[str, dict[str, Any]] = {
    "check_healed": {
        "sick model's loss": lambda *a: image_loss(*a, d="mean").mean(),
        "1/784 of what": lambda *a: image_loss(*a).mean() / 20,
        "on purpose": lambda recon, x, mu, lv: (
            image_loss(recon, x, mu, lv).mean() + 19 * gaussian_kl(mu, lv).sum(1).mean()
        ),
        "A sum over the batch": lambda *a: image_loss(*a).sum(),
        "D is a sum over": lambda recon, x, mu, lv: (
            F.binary_cross_entropy_with_logits(recon, x, reduction="sum")
            + gaussian_kl(mu, lv).sum(1).mean()
        ),
        "averaged over the latent": lambda *a: image_loss(*a, r="mean").mean(),
        "wrong sign": lambda *a: image_loss(*a, sign=-1).mean(),
        "KL is gone": lambda *a: image_loss(*a, sign=0).mean(),
        "another likelihood": lambda recon, x, mu, lv: (
            (recon.sigmoid() - x).square().sum(1) + gaussian_kl(mu, lv).sum(1)
        ).mean(),
        "it should be ()": image_loss,
        "returned nothing": lambda *a: print(end=""),
    },
    "check_strongest_cut": {
        "Hint: why did training keep": "less",
        "D rises by": "the same",
        "Choose one of 'less', 'the same', 'more'; got 28.3": 28.3,
    },
    "check_kl_to_prior": {
        "sign is flipped": lambda *a: kl_formula(*a, sign=-1),
        "used as a variance": lambda *a: kl_formula(*a, variance=a[3]),
        "log s is missing": lambda *a: kl_formula(*a, log_s=False),
        "-1/2 is missing": lambda *a: kl_formula(*a, half=0),
        "These are bits": lambda *a: kl_formula(*a) / math.log(2),
        "square of s is missing": lambda mu, lv, m, s: (
            math.log(s) - lv / 2 + (lv.exp() + (mu - m) ** 2) / (2 * s) - 0.5
        ),
        "m is missing": lambda mu, lv, m, s: (
            math.log(s) - lv / 2 + (lv.exp() + mu**2) / (2 * s**2) - 0.5
        ),
        "returned nothing": lambda *a: print(end=""),
        "dimensions were summed": lambda *a: kl_formula(*a).sum(1),
        "shape is (), it should be (4, 3)": lambda *a: kl_formula(*a).mean(),
        "A number is": lambda *a: kl_formula(*a) ** 2,
        "where are m and s": lambda mu, logvar, m, s: gaussian_kl(mu, logvar),
        "KL(prior": lambda mu, lv, m, s: kl_divergence(Normal(m, s), Normal(mu, (lv / 2).exp())),
        "used as sigma": lambda mu, lv, m, s: kl_divergence(Normal(mu, lv.exp()), Normal(m, s)),
    },
    "check_iw_bound": {
        "is the ELBO": iw(log_ratio, lambda r: r.mean(0)),
        "log of the sum": iw(log_ratio, lambda r: r.logsumexp(0)),
        "columns were averaged": iw(log_ratio, lambda r: log_mean(r, 1)),
        "prior is missing": iw(prior_free, log_mean),
        "sign is flipped": iw(log_ratio, lambda r: -log_mean(r)),
        "Hint: logsumexp": iw(log_ratio, lambda r: r.exp().mean(0).log()),
        "q is missing": lambda toy, x, q, z: log_mean(log_ratio(toy, x, q, z) + q.log_prob(z)),
    },
    "check_noiseless": {
        "infinite R": "a",
        "never sees z": "c",
        "not D at the mean z": "d",
    },
    "check_why_k_helps": {
        "as noisy as before": "c",
        "nothing is trained": "b",
        "divided by k": "d",
    },
    "check_cycles": {
        "falls: the run stops": (4, 0.2, 0.6),
        "share: that is the ramp": (3, 0.8, 0.6),
        "share: that is one cycle": (3, 0.05, 0.6),
        "share: a share lies between 0 and 1": (3, 20, 0.6),
        "mean: a mean of numbers up to 1": (3, 0.2, 60.0),
        "mean: the flat parts": (3, 0.2, 0.4),
        "mean: that is a ramp": (3, 0.2, 0.5),
        "share: it is not 0.3": (3, 0.3, 0.6),
    },
    "check_limits": {
        "small mean: this is the other limit": ((0.0, 1.0, 4.21), (1.0, 0.0, 0.7)),
        "small mean: this is beta = 1": ((0.7785, 0.0, 0.7), (0.0, 1.0, 4.21)),
        "small mean: this is x": ((2.0, 0.0, 0.7), (0.0, 1.0, 4.21)),
        "small std: this is s / w": ((1.0, 0.8 / 1.5, 0.7), (0.0, 1.0, 4.21)),
        "small D: a density is not 1": ((1.0, 0.0, 0.0), (0.0, 1.0, 4.21)),
        "large std: a point": ((1.0, 0.0, 0.696), (0.0, 0.0, 4.21)),
        "large D: this is D at z = 0": ((1.0, 0.0, 0.696), (0.0, 1.0, 2.4536)),
        "Give (mean, std, D) for each limit": ((1.0, 0.0), (0.0, 1.0, 4.21)),
        "got 1.0 and 0.0": (1.0, 0.0),
    },
    "check_cosine": {
        "It falls": ramp(lambda u: (1 + math.cos(math.pi * u)) / 2),
        "comes down again": ramp(lambda u: (1 - math.cos(math.pi * u)) / 2, False),
        "Right for one warm-up only": lambda w: (
            lambda t: (1 - math.cos(math.pi * min(1, t / 0.4))) / 2
        ),
        "along the run": lambda w: lambda t: (1 - math.cos(math.pi * t)) / 2,
        "whole wave": ramp(lambda u: (1 - math.cos(2 * math.pi * u)) / 2),
        "quarter wave": ramp(lambda u: 1 - math.cos(math.pi * u / 2)),
        "climbs to 2": ramp(lambda u: 1 - math.cos(math.pi * u)),
        "straight ramp": ramp(lambda u: u),
        "a function of progress must be returned, not 0.5": lambda w: 0.5,
    },
    "check_bound_from_printed": {
        "sign is flipped": lambda p, b, r: p - (1 - b) * r,
        "beta R is in there already": lambda p, b, r: p + b * r,
        "billed 1 + beta times": lambda p, b, r: p + r,
        "This is D alone": lambda p, b, r: p - b * r,
        "D was not weighted": lambda p, b, r: p / b,
    },
    "check_paired": {
        "unpaired": lambda a, b: ((a - b).mean(), ((a.var() + b.var()) / len(a)) ** 0.5),
        "std of one image": lambda a, b: ((a - b).mean(), (a - b).std()),
        "divided by N": lambda a, b: ((a - b).mean(), (a - b).std() / len(a)),
        "sign is flipped": lambda a, b: ((b - a).mean(), (b - a).std() / 20),
        "A variance": lambda a, b: ((a - b).mean(), (a - b).var() / 20),
        "shape is (), it should be (2,)": lambda a, b: (a - b).mean(),
    },
    "check_choosing": {
        "partly luck": " A",
        "memorizing": "b",
        "not the choosing": "d",
    },
    "check_diagnoses": {
        "A: a stranger's z is dear": ("collapse", "collapse", "wasted", "nothing"),
        "A: 18 of its dimensions": ("nothing", "collapse", "wasted", "nothing"),
        "B: a stranger's z does as well": ("unused", "nothing to repair", "wasted", "nothing"),
        "C: all 32 are alive": ("unused", "collapse", "unused", "nothing"),
        "D: the information is at its ceiling": ("unused", "collapse", "wasted", "wasted"),
        "A: choose one of": ("dead", "collapse", "wasted", "nothing"),
        "for each of A, B, C and D": ("unused", "collapse"),
    },
    "check_down_and_up": {
        "steps: a fall takes 10 % of what is left": (10, 0.8),
        "steps: gamma is still above": (21, 0.8),
        "steps: that is the way up": (25, 0.8),
        "back: 1.1 does not undo 0.9": (22, 1.0),
        "back: that is one pair": (22, 0.99),
        "steps: 21.9 is no count": (21.9, 0.8),
    },
    "check_grouped_free_bits": {
        "Per sample": lambda kl, lam, n: (
            kl.view(len(kl), -1, n).sum(2).clamp(min=lam).sum(1).mean()
        ),
        "its own": lambda kl, lam, n: kl.mean(0).clamp(min=lam).sum(),
        "A group was averaged": lambda kl, lam, n: (sums(kl, n) / n).clamp(min=lam).sum(),
        "The floor is size * lam": lambda kl, lam, n: sums(kl, n).clamp(min=lam * n).sum(),
        "One floor for all": lambda kl, lam, n: kl.sum(1).mean(),
        "The minimum is taken": lambda kl, lam, n: sums(kl, n).clamp(max=lam).sum(),
        "distant dimensions": lambda kl, lam, n: kl.mean(0).view(n, -1).sum(0).clamp(min=lam).sum(),
        "A number is": lambda kl, lam, n: sums(kl, 3).clamp(min=lam).sum(),  # whatever n is
        "no gradient flows": lambda kl, lam, n: sums(kl, n).clamp(min=lam).sum().item(),
        "its gradient is not": lambda kl, lam, n: (
            sums(kl, n).clamp(min=lam).sum().detach() + 0 * kl.sum()
        ),
    },
    "check_next_gamma": {
        "is no floor": lambda g, x, lam, low: controller(g, x, lam, 0, 1),
        "exceeds 1": lambda g, x, lam, low: controller(g, x, lam, low, 9),
        "Nothing keeps": lambda g, x, lam, low: controller(g, x, lam, 0, 9),
        "swapped": lambda g, x, lam, low: controller(g, x, lam, low, 1, up=0.9, down=1.1),
        "No band": lambda g, x, lam, w: controller(g, x, lam, w, 1, band=0.01),
        "A number is": lambda g, x, lam, w: controller(g, x, lam, w, 1, band=0.13),
        "gamma moves by 0.1": lambda g, x, lam, low: torch.where(
            x > 0.55, g + 0.1, torch.where(x < 0.45, g - 0.1, g)
        ).clamp(low, 1),
    },
    "check_step_ahead": {
        "decoder moves in every step": ahead(*["both"] * 6),
        "then one of both": ahead(*["alone"] * 5),
        "does not come last": ahead("both", *["alone"] * 5),
        "a next(batches) of its": ahead(*["alone"] * 5, "both", fresh=False),
        "StopIteration": ahead(*["alone"] * 60),
        "steps at beta = 0": ahead(*["alone"] * 5, "both", beta=0.0),
    },
    "check_reading": {
        "would leave unused": "a",
        "lam is a floor": "b",
        "knows no weights": "c",
    },
}
CASES = [(check, said, given) for check, cases in WRONG.items() for said, given in cases.items()]


def ask(check: str, given: Any, vae, digits: Digits) -> Answer:
    """Call a check; that of exercise 1.1 also wants a model and digits."""
    more = (vae, digits) if check == "check_strongest_cut" else ()
    several = isinstance(given, tuple) and check != "check_diagnoses"
    return getattr(exercises, check)(*(given if several else (given,)), *more)


@pytest.mark.parametrize(("check", "said", "given"), CASES, ids=[f"{c}-{s}" for c, s, _ in CASES])
def test_a_wrong_answer_is_diagnosed(check, said, given, vae, digits):
    answer = ask(check, given, vae, digits)
    assert answer.right is False
    assert said in answer.text


def test_every_check_has_two_wrong_answers_at_least():
    assert WRONG.keys() == CHECKS
    assert min(map(len, WRONG.values())) >= 2


FUNCTIONS = sorted({check for check, _, given in CASES if callable(given)})
STUBS = [(check, blank) for check in sorted(CHECKS) for blank in (..., None)]
STUBS += [(check, lambda *given: None) for check in FUNCTIONS]


@pytest.mark.parametrize(("check", "stub"), STUBS)
def test_a_stub_is_not_attempted_yet(check, stub, vae, digits):
    wanted = len(inspect.signature(getattr(exercises, check)).parameters)
    given = (stub,) * (1 if check == "check_strongest_cut" else wanted)
    assert ask(check, given, vae, digits) is NOTHING


@pytest.mark.parametrize("check", FUNCTIONS)
def test_what_an_attempt_raises_is_told(check, vae, digits):
    def attempt(*given):
        raise RuntimeError("the sizes do not match")

    answer = ask(check, attempt, vae, digits)
    assert answer.right is False
    assert "raised RuntimeError: the sizes do not match" in answer.text
    assert "was called with" in answer.text


@pytest.mark.parametrize("value", ["a word", {"a": 1}, object()])
def test_what_is_no_number_is_refused(value):
    assert "were expected, not" in exercises.check_kl_to_prior(lambda *given: value).text
    assert "without calling it" in exercises.check_kl_to_prior(value).text


def test_the_cut_is_measured_on_the_model_that_is_given(vae, digits):
    strongest = int(vae.encode(digits.test)[0].var(dim=0).argmax())
    with torch.no_grad():
        vae.to_mu.weight[strongest] *= 20  # a huge KL, in a dimension to which nobody listens
        vae.from_latent.weight[:, strongest] = 0
    assert exercises.check_strongest_cut("less", vae, digits).right
    assert not exercises.check_strongest_cut("more", vae, digits).right


def test_a_check_leaves_the_random_state_alone(vae, digits):
    state = torch.get_rng_state()
    for check, _, given in CASES:
        ask(check, given, vae, digits)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_attempt_cannot_change_the_answer():
    def spoil(gamma, level, lam, floor):
        gamma.zero_()
        level.zero_()
        return gamma

    assert exercises.check_next_gamma(spoil).right is False


def test_the_text_of_an_answer():
    answer = Answer(False, f"{'A word ' * 20}is wrong. Hint: look closer.")
    lines = repr(answer).splitlines()
    assert lines[0].startswith("Not yet. A word") and lines[-1] == "Hint: look closer."
    assert max(map(len, lines)) <= 88
    assert repr(NOTHING).startswith("Not attempted yet.")
    assert repr(Answer(True, "So it is.")) == "Right. So it is."


RIGHT: list[tuple[str, Callable]] = [
    (
        "check_healed",
        lambda recon, x, mu, lv: ELBO()(bernoulli_nll(recon, x), gaussian_kl(mu, lv), 0),
    ),
    ("check_healed", lambda *a: image_loss(*a).double().mean()),
    ("check_healed", lambda *a: image_loss(*a).mean().item()),
    ("check_healed", lambda *a: [image_loss(*a).mean().numpy()][0]),
    ("check_healed", lambda *a: sum(image_loss(*a)) / 6),
    ("check_kl_to_prior", lambda *a: kl_formula(*a).double()),
    ("check_kl_to_prior", lambda *a: kl_formula(*a).numpy()),
    ("check_kl_to_prior", lambda *a: kl_formula(*a).tolist()),
    (
        "check_kl_to_prior",
        lambda mu, *a: [*map(lambda row, lv: kl_formula(row, lv, *a[1:]), mu, a[0])],
    ),
    (
        "check_kl_to_prior",
        lambda mu, lv, m, s: kl_divergence(Normal(mu, (lv / 2).exp()), Normal(m, s)),
    ),
    ("check_iw_bound", lambda *a: log_mean(log_ratio(*a)).float()),
    ("check_iw_bound", lambda *a: log_mean(log_ratio(*a)).numpy()),
    ("check_iw_bound", lambda *a: log_mean(log_ratio(*a)).tolist()),
    ("check_iw_bound", lambda toy, x, q, z: [log_mean(log_ratio(toy, x, q, c)) for c in z.T]),
    ("check_iw_bound", lambda *a: log_ratio(*a).softmax(0).mul(0).sum(0) + log_mean(log_ratio(*a))),
]


@pytest.mark.parametrize(("check", "attempt"), RIGHT)
def test_a_right_answer_in_another_form_is_accepted(check, attempt):
    assert getattr(exercises, check)(attempt).right


@pytest.mark.parametrize("letter", ["b", "B", " b ", "(b)", "b)", "b."])
def test_a_letter_may_be_written_as_people_do(letter):
    assert exercises.check_noiseless(letter).right


# --- lesson 3: right answers in other words ------------------------------------------------------

GROUPS = {
    "double": lambda kl, lam, n: sums(kl.double(), n).clamp(min=lam).sum(),
    "maximum": lambda kl, lam, n: torch.maximum(sums(kl, n), torch.tensor(lam)).sum(),
    "loop": lambda kl, lam, n: sum(
        torch.clamp(kl[:, i : i + n].mean(0).sum(), min=lam) for i in range(0, kl.shape[1], n)
    ),
    "excess": lambda kl, lam, n: (sums(kl, n) - lam).relu().sum() + lam * (kl.shape[1] // n),
    "list": lambda kl, lam, n: torch.stack([part.clamp(min=lam) for part in sums(kl, n)]).sum(),
}
MOVES = {
    "numpy": lambda g, x, lam, low: controller(g, x, lam, low, 1).numpy(),
    "list": lambda g, x, lam, low: controller(g, x, lam, low, 1).tolist(),
    "double": lambda g, x, lam, low: controller(g.double(), x.double(), lam, low, 1),
    "loop": lambda g, x, lam, low: [
        min(1.0, max(low, a * (1 + 0.1 * (k > 1.1 * lam) - 0.1 * (k < 0.9 * lam))))
        for a, k in zip(g, x)
    ],
    "signs": lambda g, x, lam, low: (
        g * (1 + 0.1 * (x > 1.1 * lam).float() - 0.1 * (x < 0.9 * lam).float())
    ).clamp(low, 1),
}
ANSWERS = {
    "check_diagnoses": [
        ("unused", "collapse", "wasted", "nothing"),
        ["unused, leave it", "collapse, floor the total", "wasted nats", "nothing to repair"],
        {"D": "nothing", "C": "wasted nats", "B": "collapse", "A": "unused"},
        {"A": " Unused, leave it", "B": "COLLAPSE", "C": "Wasted", "D": "Nothing to repair."},
        {"A": "unused, prune it", "B": "collapse", "C": "wasted, lower it", "D": "nothing"},
    ],
    "check_down_and_up": [
        (22, 0.8),
        (22.0, 0.80163),
        (torch.tensor(22), torch.tensor(0.8016)),
        (22, 0.99**22),
        (22, math.exp(22 * math.log(0.99))),
    ],
    "check_reading": ["d", "D", " d ", "D ", "\td"],
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_can_be_made_in_other_ways(name):
    assert exercises.check_grouped_free_bits(GROUPS[name]).right


@pytest.mark.parametrize("name", MOVES)
def test_gamma_can_be_moved_in_other_ways(name):
    assert exercises.check_next_gamma(MOVES[name]).right


@pytest.mark.parametrize("check", ANSWERS)
def test_an_answer_can_be_given_in_other_ways(check):
    for given in ANSWERS[check]:
        more = given if check == "check_down_and_up" else (given,)
        assert getattr(exercises, check)(*more).right, given


# --- the cells of the lessons -------------------------------------------------------------------


def exercises_of(nb: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells of each exercise, heading first, by its number."""
    found: dict[str, list[NotebookNode]] = {}
    current: list[NotebookNode] = []
    for cell in nb.cells:
        if cell.cell_type == "markdown" and re.search(r"^##", cell.source, re.MULTILINE):
            current, heading = [], HEADING.search(cell.source)
            if heading:
                found[f"{heading[1]}.{heading[2]}"] = current
        current.append(cell)
    return found


def tagged(cells: list[NotebookNode], tag: str) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code" and tag in tags(cell)]


def checks_in(cell: NotebookNode) -> set[str]:
    return {n.attr for n in ast.walk(parse(cell)) if isinstance(n, ast.Attribute)} & CHECKS


def bound(cells: list[NotebookNode]) -> set[str]:
    """The names that cells bind at the top level."""
    return set().union(*(bound_by(cell) for cell in cells))


def faults(nb: NotebookNode) -> Iterator[str]:
    """What is missing from the exercises of a lesson, or in the wrong place."""
    found = exercises_of(nb)
    if not 4 <= len(found) <= 6:
        yield f"{len(found)} exercises, 4 to 6 are wanted"
    for place, (number, cells) in enumerate(found.items(), start=1):
        stubs, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
        rest = [c for c in cells if c.cell_type == "code" and c not in stubs + solutions]
        checks = [cell for cell in rest if checks_in(cell)]
        heading = HEADING.search(cells[0].source)
        if not number.endswith(f".{place}") or heading[3] not in KINDS:
            yield f"{heading[0]}: out of order, or of an unknown kind"
        if [len(stubs), len(checks), len(solutions)] != [1, 1, 1]:
            yield f"{number}: {len(stubs)} stubs, {len(checks)} checks, {len(solutions)} solutions"
        elif not cells.index(stubs[0]) < cells.index(checks[0]) < cells.index(solutions[0]):
            yield f"{number}: stub, check, solution is the order"
        elif checks_in(checks[0]) != checks_in(solutions[0]):
            yield f"{number}: the solution is not checked as the attempt is"
        if not any("<details><summary>Hint</summary>" in cell.source for cell in cells):
            yield f"{number}: no hint"
        if not all(cell.source.startswith(f"# @title Solution {number}\n") for cell in solutions):
            yield f"{number}: a solution without its title"


ALL = {number: cells for path in LESSONS for number, cells in exercises_of(read(path)).items()}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_exercises_of_a_lesson_are_complete(path):
    assert list(faults(read(path))) == []


def test_every_check_belongs_to_one_exercise():
    used = [
        name
        for cells in ALL.values()
        for cell in tagged(cells, "solution")
        for name in checks_in(cell)
    ]
    assert sorted(used) == sorted(CHECKS)


def test_a_missing_part_is_found():
    good = [
        text("### Exercise 1.1 (predict): a number"),
        code("guess = ...", tags=("exercise",)),
        code("exercises.check_choosing(guess)"),
        text("<details><summary>Hint</summary>\n\nthink\n\n</details>"),
        code("# @title Solution 1.1\nexercises.check_choosing('c')", tags=("solution",)),
    ]
    assert list(faults(lesson(*good))) == ["1 exercises, 4 to 6 are wanted"]
    for missing in range(1, 5):
        assert len(list(faults(lesson(*good[:missing], *good[missing + 1 :])))) >= 2


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_solution_hides_an_attempt(path):
    cells = read(path).cells
    stubs, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    others = [c for c in cells if c.cell_type == "code" and c not in stubs + solutions]
    assert bound(solutions) & (bound(stubs) | bound(others)) == set()
    assert bound(stubs) & bound(others) == set()


def run(cell: NotebookNode, namespace: dict) -> object:
    """Run a cell; the value of its last line."""
    *body, last = parse(cell).body
    exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
    exec(compile(ast.Module([last], []), "cell", "exec"), namespace)
    return None


def imported_by(number: str) -> dict:
    """What the lesson of an exercise has imported by then."""
    namespace: dict = {}
    for cell in read(LESSONS[int(number[0]) - 1]).cells:
        if cell.cell_type == "code":
            kept = [n for n in parse(cell).body if isinstance(n, (ast.Import, ast.ImportFrom))]
            exec(compile(ast.Module(kept, []), "cell", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("number", sorted(ALL))
def test_the_stub_runs_and_the_solution_is_right(number, vae, digits):
    cells = ALL[number]
    namespace = imported_by(number) | {"vae": vae, "digits": digits, "SEED": 0}
    namespace["toy"] = GaussianToy(weight=1.5, bias=0.5, noise=0.8)
    (stub,), (solution,) = tagged(cells, "exercise"), tagged(cells, "solution")
    (check,) = [c for c in cells if c.cell_type == "code" and c not in (stub, solution)]
    run(stub, namespace)
    assert run(check, namespace) is NOTHING
    start = time.process_time()
    assert run(solution, namespace).right is True
    assert time.process_time() - start < 5


# --- the parts of the model that lesson 1 builds -------------------------------------------------


class Built(exercises.OurVAE):
    """The model of lesson 1 with another sampling line."""

    def sample(self, mu, logvar):
        return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)

    def forward(self, x):
        h = self.from_data(x).relu()
        mu, logvar = self.to_mu(h), self.to_logvar(h)
        return self.to_logits(self.from_latent(self.sample(mu, logvar)).relu()), mu, logvar


def sampling(line: Callable) -> type:
    return type("Attempt", (Built,), {"sample": lambda self, mu, logvar: line(mu, logvar)})


def loop(*lines: str) -> Callable:
    """The loop with some of the lines of a step."""

    def attempt(model, loss, images, steps):
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        history = []
        for batch in islice(Minibatches(images, 128), steps):
            x = torch.bernoulli(batch)
            recon, mu, logvar = model(x)
            value = loss(recon, x, mu, logvar)
            for one in lines:
                exec(one, {"adam": adam, "value": value})
            history.append(value.item())
        return history

    return attempt


BUILT: list[tuple[Any, Any, str]] = [
    (exercises.OurVAE, sampling(lambda mu, lv: ...), "still a `...`"),
    (exercises.OurVAE, sampling(lambda mu, lv: mu), "no noise"),
    (exercises.OurVAE, sampling(lambda mu, lv: mu + lv.exp() * torch.randn_like(mu)), "sigma"),
    (exercises.OurVAE, sampling(lambda mu, lv: mu @ lv), "raised RuntimeError"),
    (exercises.our_loss, lambda *a: ..., "still a `...`"),
    (exercises.our_loss, lambda *a: None, "returned nothing"),
    (exercises.our_loss, lambda *a: image_loss(*a, d="mean").mean(), "mean over 784 pixels"),
    (exercises.our_loss, lambda *a: image_loss(*a).sum(), "where -ELBO is"),
    (exercises.our_training, loop("adam.zero_grad()"), "still a `...`"),
    (exercises.our_training, loop("value.backward()", "adam.step()"), "not those of Adam"),
    (exercises.our_training, lambda *a: loop("value.backward()", "adam.step()")(*a)[:1], "every"),
    (exercises.OurVAE, Built, ""),
    (exercises.OurVAE, sampling(lambda mu, lv: Normal(mu, (lv / 2).exp()).rsample()), ""),
    (exercises.OurVAE, sampling(lambda mu, lv: mu + lv.exp().sqrt() * torch.randn(mu.shape)), ""),
    (exercises.our_loss, lambda *a: image_loss(*a).mean(), ""),
    (exercises.our_training, loop("adam.zero_grad()", "value.backward()", "adam.step()"), ""),
]


@pytest.mark.parametrize(("ours", "attempt", "fault"), BUILT)
def test_a_part_of_the_model_is_tried(ours, attempt, fault, digits, capsys):
    state = torch.get_rng_state()
    assert exercises.build(attempt, ours, digits.train) is (ours if fault else attempt)
    said = capsys.readouterr().out
    assert fault in said and ("continues with ours" in said) is bool(fault)
    assert torch.equal(torch.get_rng_state(), state)


# --- right answers of lesson 2 in other clothes ---------------------------------------------------


def cosine_by_numpy(warmup):
    return lambda t: np.float32(0.5) - np.float32(0.5) * np.cos(np.pi * np.minimum(1.0, t / warmup))


def bound_by_loop(printed, beta, rate):
    return [p + (1 - b) * r for p, b, r in zip(printed, beta, rate)]


def paired_by_numpy(a, b):
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b)
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


def paired_by_loop(a, b):
    differences = [float(x) - float(y) for x, y in zip(a, b)]
    mean = sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    return [mean, (variance / len(differences)) ** 0.5]


OTHERWISE = [
    ("check_cycles", (3.0, 1 / 5, 3 / 5)),
    ("check_cycles", (np.int64(3), np.float32(0.2), np.float64(0.6))),
    ("check_cycles", (torch.tensor(3), torch.tensor(0.2), torch.tensor(0.6))),
    ("check_cycles", (3, 0.2, 0.599)),
    ("check_cycles", (3, round(600 / 3000, 3), 0.6002)),
    ("check_limits", ((1, 0, 0.6958), (0, 1, 4.211))),
    ("check_limits", ([1.0, 0.0, 0.6958], [0.0, 1.0, 4.211])),
    ("check_limits", (np.array([1.0, 0.0, 0.6958]), np.array([0.0, 1.0, 4.211]))),
    ("check_limits", (torch.tensor([1.0, 0.0, 0.6958]), torch.tensor([0.0, 1.0, 4.21]))),
    ("check_limits", ((1.0, 0.0, torch.tensor(0.6958)), (0.0, np.float32(1.0), 4.211))),
    ("check_cosine", cosine_by_numpy),
    ("check_cosine", lambda w: lambda t: math.sin(math.pi / 2 * min(1, t / w)) ** 2),
    ("check_cosine", lambda w: lambda t: 1.0 if t > w else (1 - math.cos(math.pi * t / w)) / 2),
    ("check_cosine", lambda w: lambda t: torch.tensor((1 - math.cos(math.pi * min(1, t / w))) / 2)),
    ("check_cosine", ramp(lambda u: 0.5 - 0.5 * math.cos(math.pi * u))),
    ("check_bound_from_printed", lambda p, b, r: p - b * r + r),
    ("check_bound_from_printed", lambda p, b, r: (p + (1 - b) * r).numpy()),
    ("check_bound_from_printed", lambda p, b, r: p.double() + (1 - b.double()) * r),
    ("check_bound_from_printed", lambda p, b, r: float(p) + (1 - float(b)) * float(r)),
    ("check_bound_from_printed", bound_by_loop),
    ("check_paired", lambda a, b: ((a - b).mean(), (a - b).std() / math.sqrt(len(a)))),
    ("check_paired", lambda a, b: torch.stack([(a - b).mean(), (a - b).std() / 20])),
    ("check_paired", lambda a, b: [(a - b).mean().item(), ((a - b).var() / 400).sqrt().item()]),
    ("check_paired", paired_by_numpy),
    ("check_paired", paired_by_loop),
    *(("check_choosing", letter) for letter in ("C", "c)", "(c)", " c ", "c.")),
]


@pytest.mark.parametrize(("check", "given"), OTHERWISE)
def test_a_right_answer_may_look_otherwise(check, given, vae, digits):
    assert ask(check, given, vae, digits).right is True


@pytest.mark.parametrize("check", ["check_cosine", "check_bound_from_printed", "check_paired"])
def test_a_function_that_returns_nothing_is_told_so(check, vae, digits):
    def forgetful(*given):
        len(given)  # computes, and does not say what

    answer = ask(check, forgetful, vae, digits)
    assert answer.right is False and "returned nothing" in answer.text
