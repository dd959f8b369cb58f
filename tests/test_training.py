"""Oracles: loops written out, runs that must agree bit by bit; and what goes wrong on the way."""

from __future__ import annotations

import copy
import inspect
import math
import re
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from notebook_tools import LESSONS, code_cells, read
from vaelab import ELBO, VAE, BetaELBO, Diverged, SoftFreeBits, evaluate, fit, linear, training
from vaelab.training import Evaluation, Minibatches, evaluation_images

FIT = {"steps": 12, "batch_size": 32, "evaluations": 3, "progress": False}


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden_dim=16)


def weights_of(model: nn.Module) -> Tensor:
    """All parameters in one row, to compare two models bit by bit."""
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def run(few, objective=None, **arguments):
    """A short run on a few digits: the model and its history."""
    model = small()
    return model, fit(model, few, objective, **FIT | arguments)


# --- fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 50, "lr": 2e-3, "seed": 4, "binarize": True},
        {"batch_size": 203, "objective": BetaELBO(linear(0.5))},
        {"clip_norm": 20.0, "optimizer": lambda parameters: torch.optim.SGD(parameters, 1e-4)},
    ],
)
def test_fit_is_the_loop_written_out(few, options):
    model = small()
    expected = copy.deepcopy(model)
    history = fit(model, few, steps=20, progress=False, **options)
    given = {"batch_size": 128, "lr": 1e-3, "seed": 0, "clip_norm": math.inf} | options
    torch.manual_seed(given["seed"])
    adam = torch.optim.Adam(expected.parameters(), lr=given["lr"], fused=False)
    optimizer = given["optimizer"](expected.parameters()) if "optimizer" in options else adam
    order, losses, size = torch.empty(0, dtype=torch.long), [], given["batch_size"]
    for step in range(20):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(203)])
        x, order = few.train[order[:size]], order[size:]
        x = torch.bernoulli(x) if "binarize" in options else x
        mu, logvar = expected.encode(x)
        q = Normal(mu, (0.5 * logvar).exp())
        p = Bernoulli(logits=expected.decode(q.rsample()), validate_args=False)
        beta = min(1, step / 10) if "objective" in options else 1
        loss = (beta * kl_divergence(q, Normal(0.0, 1.0)).sum() - p.log_prob(x).sum()) / size
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([part.grad.flatten() for part in expected.parameters()]).norm()
        for part in expected.parameters():
            part.grad *= min(1.0, given["clip_norm"] / norm)
        optimizer.step()
        losses.append(loss.item())
    assert history.train_loss == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(weights_of(model), weights_of(expected), rtol=1e-3, atol=1e-4)
    assert history.steps == list(range(2, 21, 2))  # ten evaluations unless told otherwise
    images = evaluation_images(few, "binarize" in options)
    assert history.elbo[-1] == evaluate(model, images).elbo


def test_a_scheduled_beta_is_the_one_of_the_step(few):
    _, history = run(few, BetaELBO(linear(0.5)), steps=8, evaluations=8)
    assert [weight[0].item() for weight in history.weights] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


@pytest.mark.parametrize("images, size", [(10, 3), (10, 7), (10, 10), (10, 1), (5, 2), (7, 4)])
def test_every_batch_is_full_and_every_image_has_its_turn(images, size):
    torch.manual_seed(0)
    source, rounds = Minibatches(torch.arange(float(images))[:, None], size), 6
    batches = [next(source).flatten().tolist() for _ in range(images * rounds // size)]
    assert {len(batch) for batch in batches} == {size}
    stream = [image for batch in batches for image in batch]
    turns = [stream[i : i + images] for i in range(0, len(stream) - images + 1, images)]
    assert all(sorted(turn) == list(range(images)) for turn in turns)  # the remainder is carried
    assert len({tuple(turn) for turn in turns}) > 1  # and each turn has its own order


def test_who_looks_more_often_or_draws_while_looking_does_not_change_the_model(few):
    looks = [
        {"evaluations": 1},
        {"evaluations": 12, "progress": True},
        {"on_evaluation": lambda model, step: model.sample(4)},
    ]
    first, *others = [weights_of(run(few, **look)[0]) for look in looks]
    assert all(torch.equal(first, other) for other in others)


def test_the_global_random_state_is_left_alone(few, vae):
    model = small()
    torch.manual_seed(31)
    before = torch.get_rng_state()
    fit(model, few, **FIT, binarize=True)
    evaluate(vae, few.test)
    evaluation_images(few, binarize=True)
    with pytest.raises(ZeroDivisionError):  # also by an error in the objective, which is raised
        fit(model, few, lambda *terms: 1 / 0, seed=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 7, 10])
def test_evaluations_are_evenly_spaced_and_include_the_last_step(few, steps):
    for count in range(1, steps + 1):
        _, history = run(few, steps=steps, batch_size=2, evaluations=count)
        gaps = [after - before for before, after in zip([0, *history.steps], history.steps)]
        assert len(history.elbo) == len(history.steps) == count and history.steps[-1] == steps
        assert all(abs(gap - steps / count) <= 1 for gap in gaps)


def test_the_history_of_a_run_is_complete_and_each_evaluation_seen(few):
    seen = []
    look = lambda *given: seen.append((*given, evaluate(given[0], few.test)))  # noqa: E731
    model, history = run(few, SoftFreeBits(), steps=11, evaluations=4, on_evaluation=look)
    assert len(history.train_loss) == 11 and list(history.train_steps) == list(range(1, 12))
    assert history.steps == [step for _, step, _ in seen] == [3, 6, 8, 11]
    assert not history.interrupted and not history.stopped
    for i, (looked, _, found) in enumerate(seen):
        assert looked is model
        for name, value in found._asdict().items():
            assert torch.equal(torch.as_tensor(getattr(history, name)[i]), torch.as_tensor(value))
    assert torch.equal(history.weights[-1], history.objective.gamma)
    assert len({tuple(weights.tolist()) for weights in history.weights}) == 4  # no shared tensor


def test_the_bar_shows_minus_elbo_on_standard_output_unless_it_is_not_wanted(few, capsys):
    history = fit(small(), few, steps=12, batch_size=32)
    out, err = capsys.readouterr()
    assert f"test -ELBO {-history.elbo[-1]:.1f} nats" in out and "12/12" in out and not err
    run(few)
    assert capsys.readouterr() == ("", "")
    steps = re.search(r"^STEPS = (\d+)", code_cells(read(LESSONS[0]))[2].source, re.MULTILINE)
    assert inspect.signature(fit).parameters["steps"].default == int(steps[1])  # the lessons' run


# --- evaluate -----------------------------------------------------------------------------------


def test_the_evaluation_draw_is_the_same_at_every_call_and_follows_the_gray_levels(digits):
    drawn = evaluation_images(digits, binarize=True)
    assert torch.equal(drawn, evaluation_images(digits, binarize=True))
    p = digits.test.double()
    error = (drawn.sum() - p.sum()) / (p * (1 - p)).sum().sqrt()  # in standard errors
    assert ((drawn == 0) | (drawn == 1)).all() and abs(error) < 5


@pytest.mark.parametrize("batch_size", [77, 32, 1000])
def test_evaluate_is_the_average_over_images(vae, few, batch_size):
    images = torch.cat([few.test[:1].expand(40, 784), few.test[:37]])  # no unit is active in a half
    got = evaluate(vae, images, seed=3, batch_size=batch_size)
    torch.manual_seed(3)
    eps = torch.cat([torch.randn(len(part), 8) for part in images.split(batch_size)])
    with torch.no_grad():
        mu, logvar = vae.encode(images)
        q = Normal(mu, (0.5 * logvar).exp())
        p = Bernoulli(logits=vae.decode(mu + q.stddev * eps), validate_args=False)
    distortion = -p.log_prob(images).sum(dim=1).double().mean().item()
    kl = kl_divergence(q, Normal(0.0, 1.0)).double().mean(dim=0)  # (D,)
    assert got.distortion == pytest.approx(distortion, rel=1e-5)
    assert got.kl_per_dim.tolist() == pytest.approx(kl.tolist(), rel=1e-4)
    assert got.rate == pytest.approx(kl.sum().item(), rel=1e-5)
    assert got.elbo == pytest.approx(-distortion - kl.sum().item(), rel=1e-5)
    assert got.active_units == (mu.var(dim=0) > 0.01).sum() > 0
    terms = f"-ELBO {-got.elbo:.1f} = D {got.distortion:.1f} + R {got.rate:.1f} nats"
    assert str(got) == f"{terms}, {got.active_units} of 8 active"


# --- what goes wrong: a loss that is no number ---------------------------------------------------


class Broken(ELBO):
    """The plain objective, which returns a bad value at one call."""

    def __init__(self, at: int, value: float) -> None:
        self.calls, self.at, self.value = 0, at, value

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        self.calls += 1
        return super().__call__(nll, kl, progress) * (self.value if self.calls == self.at else 1.0)


@pytest.mark.parametrize(
    ("at", "kept", "value"),
    [(1, 0, math.nan), (4, 0, math.inf), (5, 4, -math.inf), (9, 8, math.nan), (12, 8, math.nan)],
)
def test_a_loss_that_is_no_number_stops_the_run_at_its_step(few, at, kept, value):
    model = small()
    with pytest.raises(Diverged, match=f"training loss is {value} at step {at} of 12") as stop:
        fit(model, few, Broken(at, value), **FIT)
    history = stop.value.history
    assert history.interrupted
    assert len(history.train_loss) == at - 1
    assert history.steps == [step for step in (4, 8) if step < at]
    assert all(map(math.isfinite, history.train_loss + history.elbo))
    assert f"weights of step {kept} again" in str(stop.value)
    assert "Broken is an objective of your own: look there for a div" in str(stop.value)
    expected = run(few, steps=kept, evaluations=1)[0] if kept else small()
    assert torch.equal(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("clip_norm", [None, 5.0])
def test_a_step_size_that_is_too_large_is_named(few, clip_norm):
    with pytest.raises(Diverged, match=r"lr is too large: try less than 1e\+30") as stop:
        run(few, lr=1e30, clip_norm=clip_norm)
    assert ("or clip_norm=5.0" in str(stop.value)) == (clip_norm is None)
    assert "of your own" not in str(stop.value)


def test_weights_that_break_in_the_last_step_are_found_by_the_evaluation(few):
    model = small()
    with pytest.raises(Diverged, match=r"^-ELBO is (nan|inf) at step 1 of 1\."):
        fit(model, few, lr=1e30, **FIT | {"steps": 1, "evaluations": 1})
    assert torch.equal(weights_of(model), weights_of(small()))


def test_a_healthy_run_looks_at_each_loss_once(few, monkeypatch):
    taken, item = [], Tensor.item
    monkeypatch.setattr(Tensor, "item", lambda self: taken.append(0) or item(self))
    run(few, evaluations=1)
    assert len(taken) == 12  # a GPU is waited for once a step


# --- a stop at any moment -----------------------------------------------------------------------

FILES = {training.__file__, sys.modules["vaelab.objectives"].__file__}
# `fit` itself is left out: Ctrl-C before its loop begins is an error, and leaves the model alone.
OUTSIDE = {"fit", "<setcomp>", "<genexpr>", "evaluation_images", "stop", "__init__"}


def stopped_at_line(number, *given, **options):
    """A run stopped when its code is about to run the n-th line: the history, the lines passed."""
    passed: list[str] = []

    def trace(frame, event, _):
        if frame.f_code.co_filename not in FILES or frame.f_code.co_name in OUTSIDE:
            return None
        if event == "line":
            passed.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            if len(passed) == number:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return fit(*given, **options), passed
    finally:
        sys.settrace(before)


def test_a_stop_at_any_line_keeps_a_whole_history_and_the_weights_of_a_step(few):
    options = FIT | {"steps": 2, "evaluations": 2}
    model = small()
    whole, all_lines = stopped_at_line(10**9, model, few, **options)
    assert {line.split(":")[0] for line in all_lines} >= {"train_step", "record", "evaluate"}
    steps = [small(), run(few, steps=1, evaluations=1)[0], model]  # after 0, 1 and 2 steps
    state = torch.get_rng_state()
    for number in range(1, len(all_lines) + 1):
        model = small()
        torch.set_rng_state(state)
        history, lines = stopped_at_line(number, model, few, **options)
        where = lines[-1]
        assert history.interrupted and not whole.interrupted, where
        lists = ("steps", "weights", *Evaluation._fields)
        assert len({len(getattr(history, name)) for name in lists}) == 1, where
        done = len(history.train_loss)
        assert len(history.steps) <= done <= len(history.steps) + 1, where
        assert history.train_loss == whole.train_loss[:done], where
        expected = [weights_of(after) for after in steps[done : done + 2]]
        assert any(torch.equal(weights_of(model), weights) for weights in expected), where
        assert torch.equal(torch.get_rng_state(), state), where
