"""Every check turns the lesson's stub away, diagnoses typical answers, accepts the solution."""

# ruff: noqa: F401 (some names are only in the answers, which are text)

import ast
import inspect
import re
from functools import partial
from itertools import repeat
from math import cos, exp, log, pi, sin
from statistics import mean, stdev

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl

from notebook_tools import LESSONS, bound_by, code_cells, parse, read, tags
from vaelab import ELBO, BetaELBO, GaussianToy, bernoulli_nll, exercises, gaussian_kl
from vaelab.exercises import NOTHING, Answer, lesson1
from vaelab.training import train_step

CHECKS = {name for name in vars(exercises) if name.startswith("check_")}
bce = partial(F.binary_cross_entropy_with_logits, reduction="none")


def logs(toy, x, q, z):
    """log p(x|z), log p(z) and log q(z), (k, N) each."""
    return toy.log_likelihood(x, z), Normal(0, 1).log_prob(z), q.log_prob(z)


def log_mean(r, dim=0):
    return r.logsumexp(dim) - log(r.shape[dim])


def move(gamma, level, lam, *, band=0.1, up=1.1, down=0.9):
    moved = torch.where(level >= (1 + band) * lam, up * gamma, gamma)
    return torch.where(level <= (1 - band) * lam, down * gamma, moved)


def ahead(plan, fresh=True, beta=1.0):
    """Steps of the encoder alone (e) and of both (b), in this order."""

    def attempt(model, batches, alone, both, inner):
        batches = batches if fresh else repeat(next(batches))
        for who in plan:
            which = alone if who == "e" else both
            train_step(model, next(batches), BetaELBO(beta), which, 0.0, 5.0)

    return attempt


# A check, and below it the answers that stand in place of its ?. What must be said of an answer
# follows the bar; without a bar it is right.
ANSWERS = """
check_healed(lambda recon, x, mu, lv: (lambda d, r: ?)(bce(recon, x), gaussian_kl(mu, lv)))
    d.mean() + r.sum(1).mean()                | sick model's loss
    (d.sum() + r.sum()) / d.numel()           | 1/784 of what
    d.sum(1).mean() + 20 * r.sum(1).mean()    | on purpose
    d.sum() + r.sum()                         | A sum over the batch
    d.sum() + r.sum(1).mean()                 | D is a sum over
    d.sum(1).mean() + r.mean()                | averaged over the latent
    d.sum(1).mean() - r.sum(1).mean()         | wrong sign
    d.sum(1).mean()                           | KL is gone
    ((recon.sigmoid() - x).square().sum(1) + r.sum(1)).mean() | another likelihood
    ELBO()(bernoulli_nll(recon, x), gaussian_kl(mu, lv), 0); sum(d.sum(1) + r.sum(1)) / 6
    (d.sum(1) + r.sum(1)).double().mean(); (d.sum() / 6 + r.sum() / 6).item()
    (d.sum(1) + r.sum(1)).mean().numpy()
check_strongest_cut(?, vae, digits)
    "less"     | Hint: why did training keep
    "the same" | D rises by
    28.3       | Choose one of 'less', 'the same', 'more'; got 28.3
check_kl_to_prior(lambda mu, lv, m, s: (lambda q, p: ?)(Normal(mu, (lv / 2).exp()), Normal(m, s)))
    -kl(q, p)                                 | sign is flipped
    kl(q, Normal(m, s**0.5))                  | used as a variance
    kl(Normal(mu, lv.exp()), p)               | used as sigma
    kl(p, q)                                  | KL(prior
    kl(q, p) / log(2)                         | These are bits
    kl(q, p).sum(1)                           | dimensions were summed
    kl(q, p).mean()                           | it should be (4, 3)
    kl(q, p) ** 2                             | A number is
    gaussian_kl(mu, lv)                       | where are m and s
    -lv / 2 + (lv.exp() + (mu - m) ** 2) / (2 * s**2) - 0.5         | log s is missing
    log(s) - lv / 2 + (lv.exp() + (mu - m) ** 2) / (2 * s**2)       | -1/2 is missing
    log(s) - lv / 2 + (lv.exp() + (mu - m) ** 2) / (2 * s) - 0.5    | square of s is missing
    log(s) - lv / 2 + (lv.exp() + mu**2) / (2 * s**2) - 0.5         | m is missing
    "a word"                                  | were expected, not
    1 / 0       | with mu (4, 3), logvar (4, 3), prior_mean, prior_std and raised ZeroDivisionError
    log(s) - lv / 2 + (lv.exp() + (mu - m) ** 2) / (2 * s**2) - 0.5; kl(q, p).double()
    kl(q, p).numpy(); kl(q, p).tolist(); [kl(Normal(a, (b / 2).exp()), p) for a, b in zip(mu, lv)]
check_kl_to_prior(?)
    "a word" | without calling it
    None     | Replace the ...
check_iw_bound(lambda toy, x, q, z: (lambda lik, prior, q: ?)(*logs(toy, x, q, z)))
    (lik + prior - q).mean(0)                 | is the ELBO
    (lik + prior - q).logsumexp(0)            | log of the sum
    log_mean(lik + prior - q, 1)              | columns were averaged
    log_mean(lik - q)                         | prior is missing
    log_mean(lik + prior)                     | q is missing
    -log_mean(lik + prior - q)                | sign is flipped
    (lik + prior - q).exp().mean(0).log()     | Hint: logsumexp
    log_mean(lik + prior - q).float(); log_mean(lik + prior - q).tolist()
    (log_mean(lik + prior - q), z.zero_())[0]; [log_mean(one) for one in (lik + prior - q).T]
    (r := lik + prior - q).amax(0) + (r - r.amax(0)).exp().mean(0).log()
check_noiseless(?)
    "a" | infinite R
    "c" | never sees z
    "d" | not D at the mean z
    "b"; " B "; "(b)"; "b)"; "b."
check_why_k_helps(?)
    "b" | nothing is trained
    "c" | as noisy as before
    "d" | divided by k
check_cycles(?)
    4, 0.2, 0.6    | falls: the run stops
    3, 0.8, 0.6    | share: that is the ramp
    3, 0.05, 0.6   | share: that is one cycle
    3, 20, 0.6     | share: a share lies between 0 and 1
    3, 0.2, 60.0   | mean: a mean of numbers up to 1
    3, 0.2, 0.4    | mean: the flat parts
    3, 0.2, 0.5    | mean: that is a ramp
    3, 0.3, 0.6    | share: it is not 0.3
    3, ..., 0.6    | Replace the ...
    3.0, 1 / 5, 3 / 5; 3, 0.2, 0.599; 3, round(600 / 3000, 3), 0.6002
    np.int64(3), np.float32(0.2), np.float64(0.6)
    torch.tensor(3), torch.tensor(0.2), torch.tensor(0.6)
check_limits(?)
    (0.0, 1.0, 4.21), (1.0, 0.0, 0.7)          | small mean: this is the other limit
    (0.7785, 0.0, 0.7), (0.0, 1.0, 4.21)       | small mean: this is beta = 1
    (2.0, 0.0, 0.7), (0.0, 1.0, 4.21)          | small mean: this is x
    (1.0, 0.8 / 1.5, 0.7), (0.0, 1.0, 4.21)    | small std: this is s / w
    (1.0, 0.0, 0.0), (0.0, 1.0, 4.21)          | small D: a density is not 1
    (1.0, 0.0, 0.696), (0.0, 0.0, 4.21)        | large std: a point
    (1.0, 0.0, 0.696), (0.0, 1.0, 2.4536)      | large D: this is D at z = 0
    (1.0, 0.0), (0.0, 1.0, 4.21)               | Give (mean, std, D) for each limit
    1.0, 0.0                                   | got 1.0 and 0.0
    (1.0, 0.0, 0.696), (0.0, ..., 4.21)        | Replace the ...
    (1, 0, 0.6958), (0, 1, 4.211); [1.0, 0.0, 0.6958], [0.0, 1.0, 4.211]
    np.array([1.0, 0.0, 0.6958]), np.array([0.0, 1.0, 4.211])
    torch.tensor([1.0, 0.0, 0.6958]), torch.tensor([0.0, 1.0, 4.21])
    (1.0, 0.0, torch.tensor(0.6958)), (0.0, np.float32(1.0), 4.211)
check_cosine(lambda w: lambda t: (lambda u: ?)(min(1, t / w)))
    (1 + cos(pi * u)) / 2                  | It falls
    (1 - cos(pi * t / w)) / 2              | comes down again
    (1 - cos(pi * min(1, t / 0.4))) / 2    | Right for one warm-up only
    (1 - cos(pi * t)) / 2                  | along the run
    (1 - cos(2 * pi * u)) / 2              | whole wave
    1 - cos(pi * u / 2)                    | quarter wave
    1 - cos(pi * u)                        | climbs to 2
    u                                      | straight ramp
    0.5 - 0.5 * cos(pi * u); np.float32(0.5) - np.float32(0.5) * np.cos(pi * u)
    sin(pi / 2 * u) ** 2; 1.0 if t > w else (1 - cos(pi * t / w)) / 2
    torch.tensor((1 - cos(pi * u)) / 2)
check_cosine(lambda w: ?)
    0.5                | a function of progress must be returned, not 0.5
    print(end="")      | returned nothing
    lambda t: None     | returned nothing
check_bound_from_printed(lambda p, b, r: ?)
    p - (1 - b) * r    | sign is flipped
    p + b * r          | beta R is in there already
    p + r              | billed 1 + beta times
    p - b * r          | This is D alone
    p / b              | D was not weighted
    print(end="")      | returned nothing
    p - b * r + r; (p + (1 - b) * r).numpy(); p.double() + (1 - b.double()) * r
    float(p) + (1 - float(b)) * float(r); [x + (1 - y) * z for x, y, z in zip(p, b, r)]
check_paired(lambda a, b: ?)
    ((a - b).mean(), ((a.var() + b.var()) / len(a)) ** 0.5)    | unpaired
    ((a - b).mean(), (a - b).std())                            | std of one image
    ((a - b).mean(), (a - b).std() / len(a))                   | divided by N
    ((b - a).mean(), (b - a).std() / 20)                       | sign is flipped
    ((a - b).mean(), (a - b).var() / 20)                       | A variance
    ((a - b).mean(), ...)                                      | Replace the ...
    ((a - b).mean(), (a - b).std() / 20); torch.stack([(a - b).mean(), (a - b).std() / 20])
    [(a - b).mean().item(), ((a - b).var() / 400).sqrt().item()]
    ((a - b).numpy().mean(), (a - b).numpy().std(ddof=1) / np.sqrt(400))
    (lambda d: [mean(d), stdev(d) / len(d) ** 0.5])([float(x - y) for x, y in zip(a, b)])
check_choosing(?)
    " A"  | partly luck
    "b"   | memorizing
    "d"   | not the choosing
    "c"; "C"; "c)"; "(c)"; " c "
check_diagnoses(?)
    ("collapse", "collapse", "wasted", "nothing")    | A: a stranger's z is dear
    ("nothing", "collapse", "wasted", "nothing")     | A: 18 of its dimensions
    ("unused", "nothing to repair", "wasted", "nothing") | B: a stranger's z does as well
    ("unused", "collapse", "unused", "nothing")      | C: all 32 are alive
    ("unused", "collapse", "wasted", "wasted")       | D: the information is at its ceiling
    ("dead", "collapse", "wasted", "nothing")        | A: choose one of
    ("unused", "collapse")                           | for each of A, B, C and D
    ("unused", "collapse", "wasted", ...)            | Replace the ...
    ("unused", "collapse", "wasted", "nothing")
    ["unused, leave it", "collapse, floor the total", "wasted nats", "nothing to repair"]
    {"D": "nothing", "C": "wasted nats", "B": "collapse", "A": "unused"}
    {"A": " Unused, leave it", "B": "COLLAPSE", "C": "Wasted", "D": "Nothing to repair."}
    {"A": "unused, prune it", "B": "collapse", "C": "wasted, lower it", "D": "nothing"}
check_grouped_free_bits(lambda kl, lam, n: (lambda s: ?)(kl.mean(0).view(-1, n).sum(1)))
    kl.view(len(kl), -1, n).sum(2).clamp(min=lam).sum(1).mean()    | Per sample
    kl.mean(0).clamp(min=lam).sum()                      | its own
    (s / n).clamp(min=lam).sum()                         | A group was averaged
    s.clamp(min=lam * n).sum()                           | The floor is size * lam
    s.sum()                                              | One floor for all
    s.clamp(max=lam).sum()                               | The minimum is taken
    kl.mean(0).view(n, -1).sum(0).clamp(min=lam).sum()   | distant dimensions
    kl.mean(0).view(-1, 3).sum(1).clamp(min=lam).sum()   | A number is
    s.clamp(min=lam).sum().item()                        | no gradient flows
    s.clamp(min=lam).sum().detach() + 0 * kl.sum()       | its gradient is not
    s.clamp(min=lam).sum().numpy()        | with kl with requires_grad, lam, size=3 and raised Runt
    s.double().clamp(min=lam).sum(); torch.maximum(s, torch.tensor(lam)).sum()
    sum(torch.clamp(kl[:, i : i + n].mean(0).sum(), min=lam) for i in range(0, kl.shape[1], n))
    (s - lam).relu().sum() + lam * len(s); torch.stack([one.clamp(min=lam) for one in s]).sum()
check_next_gamma(lambda g, x, lam, low: ?)
    move(g, x, lam).clamp(0, 1)                          | is no floor
    move(g, x, lam).clamp(min=low)                       | exceeds 1
    move(g, x, lam)                                      | Nothing keeps
    move(g, x, lam, up=0.9, down=1.1).clamp(low, 1)      | swapped
    move(g, x, lam, band=0.01).clamp(low, 1)             | No band
    move(g, x, lam, band=0.13).clamp(low, 1)             | A number is
    (g + 0.1 * (x > 0.55) - 0.1 * (x < 0.45)).clamp(low, 1)    | gamma moves by 0.1
    move(g, x, lam).clamp(low, 1).numpy(); move(g, x, lam).clamp(low, 1).tolist()
    move(g.double(), x.double(), lam).clamp(low, 1)
    [min(1, max(low, a * (1.1 if k > 0.55 else 0.9 if k < 0.45 else 1))) for a, k in zip(g, x)]
    (g * (1 + 0.1 * (x > 1.1 * lam) - 0.1 * (x < 0.9 * lam))).clamp(low, 1)
check_step_ahead(?)
    ahead("bbbbbb")                 | decoder moves in every step
    ahead("eeeee")                  | then one of both
    ahead("beeeee")                 | does not come last
    ahead("eeeeeb", fresh=False)    | a next(batches) of its
    ahead("e" * 60)                 | StopIteration
    ahead("eeeeeb", beta=0.0)       | steps at beta = 0
    ahead("")                       | Replace the ...
    ahead("eeeeeb")
check_down_and_up(?)
    10, 0.8      | steps: a fall takes 10 % of what is left
    21, 0.8      | steps: gamma is still above
    25, 0.8      | steps: that is the way up
    22, 1.0      | back: 1.1 does not undo 0.9
    22, 0.99     | back: that is one pair
    21.9, 0.8    | steps: 21.9 is no count
    22, 0.8; 22.0, 0.80163; 22, exp(22 * log(0.99)); torch.tensor(22), torch.tensor(0.8016)
check_reading(?)
    "a"    | would leave unused
    "b"    | lam is a floor
    "c"    | knows no weights
    "d"; "D "; "\td"
"""
CASES = []
for block in re.split(r"\n(?! )", ANSWERS.strip()):
    check, *rest = block.split("\n")
    for answers, _, said in (line.partition(" | ") for line in rest):
        CASES += [(check.replace("?", one.strip(" ")), said.strip()) for one in answers.split("; ")]


@pytest.mark.parametrize(("call", "said"), CASES)
def test_an_answer_is_accepted_or_told_what_is_wrong(call, said, vae, digits):
    state = torch.get_rng_state()
    answer = eval(call, vars(exercises) | globals() | {"vae": vae, "digits": digits})
    assert said in answer.text
    assert answer.right is {"": True, "Replace the ...": None}.get(said, False)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_cut_is_measured_on_the_model_that_is_given(vae, digits):
    strongest = int(vae.encode(digits.test)[0].var(dim=0).argmax())
    with torch.no_grad():
        vae.to_mu.weight[strongest] *= 20  # a huge KL, in a dimension to which nobody listens
        vae.from_latent.weight[:, strongest] = 0
    assert exercises.check_strongest_cut("less", vae, digits).right
    assert not exercises.check_strongest_cut("more", vae, digits).right


def test_the_text_of_an_answer():
    lines = repr(Answer(False, f"{'A word ' * 20}is wrong. Hint: look closer.")).splitlines()
    assert lines[0].startswith("Not yet. A word") and lines[-1] == "Hint: look closer."
    assert max(map(len, lines)) <= 88
    assert repr(Answer(True, "So it is.")) == "Right. So it is."
    assert repr(NOTHING).startswith("Not attempted yet.")


cells, ALL = [], {}  # the cells of each exercise, heading first, by its number
for path in LESSONS:
    for cell in read(path).cells:
        if cell.cell_type == "markdown" and re.search("(?m)^##", cell.source):
            heading = re.search(r"(?m)^### Exercise (\d\.\d) \([a-z ]+\): .", cell.source)
            cells = ALL.setdefault(heading[1], []) if heading else []
        cells.append(cell)


def checks_in(*cells):
    return {check for cell in cells for check in re.findall(r"exercises\.(check_\w+)", cell.source)}


def test_six_exercises_a_lesson_use_every_check_once_and_each_knows_two_wrong_answers():
    assert list(ALL) == [f"{lesson}.{place}" for lesson in (1, 2, 3) for place in range(1, 7)]
    assert sorted(check for cells in ALL.values() for check in checks_in(*cells)) == sorted(CHECKS)
    wrong = [call.partition("(")[0] for call, said in CASES if said not in ("", "Replace the ...")]
    assert {check for check in wrong if wrong.count(check) >= 2} == CHECKS


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_solution_hides_an_attempt(path):
    bound = {"exercise": set(), "solution": set(), "other": set()}
    for cell in code_cells(read(path)):
        bound[next((tag for tag in tags(cell) if tag in bound), "other")] |= bound_by(cell)
    assert bound["solution"] & (bound["exercise"] | bound["other"]) == set()
    assert bound["exercise"] & bound["other"] == set()


def value_of(cell, namespace):
    """Run a cell; the value of its last line."""
    *body, last = parse(cell).body
    exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
    return eval(ast.unparse(last), namespace)


@pytest.mark.parametrize("number", ALL)
def test_the_stub_runs_and_the_solution_is_right(number, vae, digits):
    stub, check, solution = (cell for cell in ALL[number] if cell.cell_type == "code")
    assert "exercise" in tags(stub) and "solution" in tags(solution)
    assert solution.source.startswith(f"# @title Solution {number}\n")
    assert checks_in(check) == checks_in(solution)
    assert any("<details><summary>Hint</summary>" in cell.source for cell in ALL[number])
    namespace = {"vae": vae, "digits": digits, "SEED": 0, "toy": GaussianToy(1.5, 0.5, 0.8)}
    for cell in code_cells(read(LESSONS[int(number[0]) - 1])):
        for node in parse(cell).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(ast.unparse(node), namespace)
    exec(stub.source, namespace)
    assert value_of(check, namespace) is NOTHING
    assert value_of(solution, namespace).right is True


# A part of lesson 1's model, some of its code, what a reader has written instead, what is said.
BUILT = """
OurVAE        torch.exp(0.5 * logvar) * torch.randn_like(mu) | ...            | still a `...`
OurVAE        mu + torch.exp(0.5 * logvar) * torch.randn_like(mu) | mu        | no noise
OurVAE        torch.exp(0.5 * logvar) * torch. | logvar.exp() * torch.        | sigma
OurVAE        mu + torch.exp(0.5 * logvar) * torch.randn_like(mu) | mu @ mu   | raised RuntimeError
OurVAE        (z))), mu, logvar | (z)))                         | return recon, mu and logvar
our_loss      (distortion + rate) / len(x) | ...                | still a `...`
our_loss      return | recon =                                  | returned nothing
our_loss      (distortion | (distortion / 784                   | mean over 784 pixels
our_loss      (distortion + rate) / len(x) | distortion + rate  | where -ELBO is
our_training  adam.step() | ...                                 | still a `...`
our_training  adam.zero_grad() | ...                            | not those of Adam
our_training  return history | return history[:1]               | the loss of every step
OurVAE        torch.exp(0.5 * logvar) | logvar.exp().sqrt()     |
OurVAE        torch.randn_like(mu) | torch.randn(mu.shape)      |
our_loss      (distortion + rate) / len(x) | distortion / len(x) + rate / len(x) |
our_training  adam.zero_grad() | model.zero_grad()              |
"""


@pytest.mark.parametrize("line", BUILT.strip().splitlines())
def test_a_part_of_the_model_is_tried(line, digits, capsys):
    part, line = line.split(maxsplit=1)
    code, instead, said = (text.strip() for text in line.split("|"))
    ours, namespace = getattr(exercises, part), dict(vars(lesson1))
    assert code in inspect.getsource(ours)
    exec(inspect.getsource(ours).replace(code, instead), namespace)
    attempt, state = namespace[part], torch.get_rng_state()
    assert exercises.build(attempt, ours, digits.train) is (ours if said else attempt)
    told = capsys.readouterr().out
    assert said in told and ("continues with ours" in told) is bool(said)
    assert torch.equal(torch.get_rng_state(), state)
