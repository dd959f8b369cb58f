"""Oracles: loops written out, runs that must agree bit by bit; and what goes wrong on the way."""

from __future__ import annotations

import copy
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from vaelab import (
    ELBO,
    VAE,
    BetaELBO,
    Digits,
    Diverged,
    RowGRUVAE,
    SoftFreeBits,
    evaluate,
    fit,
    linear,
    training,
)
from vaelab.training import Minibatches, evaluation_images, train_step

FIT = {"steps": 12, "batch_size": 32, "evaluations": 3, "progress": False}


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden_dim=16)


def weights_of(model: nn.Module) -> Tensor:
    """All parameters in one row, to compare two models bit by bit."""
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def run(few: Digits, objective=None, **arguments):
    """A short run on a few digits: the model and its history."""
    model = small()
    return model, fit(model, few, objective, **FIT | arguments)


class Spy:
    """The plain objective, which counts its calls and can stop at one of them."""

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = KeyboardInterrupt):
        self.calls, self.stop_at, self.error = 0, stop_at, error

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        if self.calls + 1 == self.stop_at:
            raise self.error
        self.calls += 1
        return (nll + kl.sum(dim=1)).mean()

    def weights(self, latent_dim: int) -> Tensor:
        return torch.ones(latent_dim)


def watch(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What the model will be shown from now on: (while training, while evaluated)."""
    seen: tuple[list[Tensor], list[Tensor]] = ([], [])
    model.from_data.register_forward_pre_hook(
        lambda _, inputs: seen[0 if torch.is_grad_enabled() else 1].append(inputs[0].clone())
    )
    return seen


# --- fit: the steps -----------------------------------------------------------------------------


def test_fit_is_the_loop_written_out(few):
    model = small()
    expected = copy.deepcopy(model)
    history = fit(model, few, steps=20, batch_size=50, lr=2e-3, seed=4, progress=False)
    torch.manual_seed(4)
    optimizer = torch.optim.Adam(expected.parameters(), lr=2e-3, fused=False)
    order, losses = torch.empty(0, dtype=torch.long), []
    for _ in range(20):
        if len(order) < 50:
            order = torch.cat([order, torch.randperm(203)])
        x, order = few.train[order[:50]], order[50:]
        mu, logvar = expected.encode(x)
        q = Normal(mu, (0.5 * logvar).exp())
        distortion = -Bernoulli(logits=expected.decode(q.rsample()), validate_args=False).log_prob(
            x
        )
        rate = kl_divergence(q, Normal(0.0, 1.0))
        loss = (distortion.sum() + rate.sum()) / 50
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert history.train_loss == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(weights_of(model), weights_of(expected), rtol=1e-3, atol=1e-4)


def test_the_loss_falls_below_what_no_latent_variable_can_reach(trained, digits):
    _, history = trained
    frequency = digits.train.mean(dim=0).clamp(1e-6, 1 - 1e-6)  # (784,)
    blind = -Bernoulli(frequency, validate_args=False).log_prob(digits.test).sum(dim=1).mean()
    assert history.elbo == sorted(history.elbo)
    assert -history.elbo[-1] < blind.item() - 20
    assert sum(history.train_loss[-20:]) < sum(history.train_loss[:20]) / 2


def test_fit_trains_a_row_by_row_decoder_too(few):
    torch.manual_seed(0)
    model = RowGRUVAE(latent_dim=3, hidden_dim=16)
    history = fit(model, few, steps=30, batch_size=32, lr=1e-2, binarize=True, progress=False)
    assert sum(history.train_loss[-5:]) < 0.7 * sum(history.train_loss[:5])


def test_a_scheduled_beta_is_the_one_of_the_step(few):
    _, history = run(few, BetaELBO(linear(0.5)), steps=8, evaluations=8)
    assert [weight[0].item() for weight in history.weights] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


@pytest.mark.parametrize("clip_norm", [0.5, 3.0, 1e9, None])
def test_clip_norm_bounds_the_gradient_and_keeps_its_direction(few, clip_norm):
    model, x = small(), few.train[:9]
    moves = []
    for limit in (None, clip_norm):
        copied = copy.deepcopy(model)
        torch.manual_seed(1)
        train_step(copied, x, Spy(), torch.optim.SGD(copied.parameters(), lr=1.0), 0.0, limit)
        moves.append(weights_of(copied).double() - weights_of(model).double())
    free, clipped = moves
    expected = min(free.norm().item(), clip_norm or math.inf)
    assert clipped.norm().item() == pytest.approx(expected, rel=1e-3)
    assert torch.cosine_similarity(free, clipped, dim=0) > 1 - 1e-6


def test_fit_hands_clip_norm_on(few):
    assert not torch.equal(
        weights_of(run(few)[0]), weights_of(run(few, clip_norm=1e-4)[0])
    )  # so small that Adam's epsilon shows


# --- fit: the batches ---------------------------------------------------------------------------


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


def test_fit_uses_the_training_images_equally_often_and_no_others(few):
    model = small()
    train, test = watch(model)
    fit(model, few, steps=2 * 203, batch_size=7, evaluations=2, progress=False)
    assert {len(x) for x in train} == {7}
    known = {tuple(image.tolist()): i for i, image in enumerate(few.train)}
    counts = Counter(known[tuple(image.tolist())] for x in train for image in x)
    assert len(known) == 203
    assert counts == dict.fromkeys(range(203), 14)
    assert all(torch.equal(x, few.test[: len(x)]) for x in test)


# --- fit: seeds and random state ----------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_whatever_ran_before(few):
    first, history = run(few, SoftFreeBits(), binarize=True)
    torch.manual_seed(99)
    torch.randn(17)
    run(few, seed=5)
    second, again = run(few, SoftFreeBits(), binarize=True)
    assert torch.equal(weights_of(first), weights_of(second))
    assert history.train_loss == again.train_loss
    assert history.elbo == again.elbo
    assert torch.equal(history.objective.gamma, again.objective.gamma)


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
    fit(model, few, steps=5, batch_size=32, evaluations=2, binarize=True, progress=False)
    evaluate(vae, few.test)
    evaluation_images(few, binarize=True)
    with pytest.raises(ZeroDivisionError):  # also by an error in the objective, which is raised
        fit(model, few, Spy(3, ZeroDivisionError), seed=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


# --- fit: stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_at", [1, 9, 12])
def test_a_stopped_run_keeps_the_model_and_the_history_so_far(few, stop_at):
    model, history = run(few, Spy(stop_at))
    assert history.interrupted
    assert len(history.train_loss) == stop_at - 1 == history.objective.calls
    assert history.steps == [step for step in (4, 8, 12) if step < stop_at]
    _, whole = run(few, Spy())
    assert not whole.interrupted
    assert history.train_loss == whole.train_loss[: stop_at - 1]
    assert history.elbo == whole.elbo[: len(history.steps)]
    if stop_at > 1:  # the weights are those of a run that was never meant to be longer
        short, _ = run(few, Spy(), steps=stop_at - 1, evaluations=1)
        assert torch.equal(weights_of(model), weights_of(short))
    else:
        assert torch.equal(weights_of(model), weights_of(small()))


# --- fit: the objective and the history ---------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7, 10])
def test_evaluations_are_evenly_spaced_and_include_the_last_step(steps):
    images, labels = torch.rand(6, 4), torch.arange(6)
    digits = Digits(images, labels, images, labels, "four pixels")
    for evaluations in range(1, steps + 1):
        history = fit(
            VAE(1, 2, data_dim=4),
            digits,
            steps=steps,
            batch_size=2,
            evaluations=evaluations,
            progress=False,
        )
        gaps = [after - before for before, after in zip([0, *history.steps], history.steps)]
        assert len(history.elbo) == len(history.steps) == evaluations
        assert history.steps[-1] == steps
        assert all(abs(gap - steps / evaluations) <= 1 for gap in gaps)


def test_the_history_of_a_run_is_complete(few):
    model, history = run(few, SoftFreeBits(), steps=11, evaluations=4)
    assert len(history.train_loss) == 11
    assert list(history.train_steps) == list(range(1, 12))
    assert history.steps == [3, 6, 8, 11]
    assert not history.interrupted
    last = evaluate(model, few.test)
    for name in ("elbo", "distortion", "rate", "active_units"):
        values = getattr(history, name)
        assert len(values) == 4
        assert values[-1] == getattr(last, name)
    assert [part.shape for part in history.kl_per_dim + history.weights] == 8 * [(3,)]
    assert torch.equal(history.kl_per_dim[-1], last.kl_per_dim)
    assert torch.equal(history.weights[-1], history.objective.gamma)
    assert len({tuple(weights.tolist()) for weights in history.weights}) > 1  # no shared tensor


def test_on_evaluation_sees_the_model_after_each_evaluation(few):
    calls = []

    def look(model: nn.Module, step: int) -> None:
        calls.append((model, step, evaluate(model, few.test).elbo))

    model, history = run(few, on_evaluation=look)
    assert all(seen is model for seen, _, _ in calls)
    assert [step for _, step, _ in calls] == history.steps == [4, 8, 12]
    assert [elbo for _, _, elbo in calls] == history.elbo


# --- fit: binarised digits ----------------------------------------------------------------------


def test_binarize_draws_anew_for_every_batch_and_evaluates_on_one_draw(few):
    model = small()
    train, test = watch(model)
    one = few._replace(train=few.train[:8])
    fit(model, one, steps=6, batch_size=8, evaluations=3, binarize=True, progress=False)
    for x in train + test:
        assert ((x == 0) | (x == 1)).all()
    ink = [x.sum().item() for x in train]  # every batch is all eight images, in some order
    assert len(set(ink)) > 1
    expected = evaluation_images(few, binarize=True)
    assert all(torch.equal(x, expected[: len(x)]) for x in test)


def test_the_evaluation_draw_is_the_same_at_every_call_and_follows_the_grey_levels(digits):
    drawn = evaluation_images(digits, binarize=True)
    torch.rand(3)
    assert torch.equal(drawn, evaluation_images(digits, binarize=True))
    p = digits.test.double()
    error = (drawn.sum() - p.sum()) / (p * (1 - p)).sum().sqrt()  # in standard errors
    assert abs(error) < 5
    assert torch.equal(evaluation_images(digits, binarize=False), digits.test)


# --- evaluate -----------------------------------------------------------------------------------


def by_hand(model: VAE, images: Tensor, seed: int, batch_size: int) -> tuple[float, list[float]]:
    """Distortion and KL of each dimension: image by image, averaged once, at the end."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    distortion, kl = [], []
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            mu, logvar = model.encode(images[start : start + batch_size])
            eps = torch.randn(mu.shape)
            for i, x in enumerate(images[start : start + batch_size]):
                q = Normal(mu[i], (0.5 * logvar[i]).exp())
                logits = model.decode((q.mean + q.stddev * eps[i])[None])[0]
                p = Bernoulli(logits=logits, validate_args=False)
                distortion.append(-p.log_prob(x).sum().item())
                kl.append(kl_divergence(q, Normal(0.0, 1.0)).tolist())
    torch.set_rng_state(state)
    n = len(images)
    return sum(distortion) / n, [sum(column) / n for column in zip(*kl)]


@pytest.mark.parametrize("batch_size", [77, 32, 1000])
def test_evaluate_is_the_average_over_images(vae, few, batch_size):
    images = torch.cat([few.test[:1].expand(40, 784), few.test[:37]])  # no unit is active in a half
    got = evaluate(vae, images, seed=3, batch_size=batch_size)
    distortion, kl = by_hand(vae, images, 3, batch_size)
    assert got.distortion == pytest.approx(distortion, rel=1e-5)
    assert got.kl_per_dim.tolist() == pytest.approx(kl, rel=1e-4)
    assert got.rate == pytest.approx(sum(kl), rel=1e-5)
    assert got.elbo == pytest.approx(-distortion - sum(kl), rel=1e-5)
    variances = vae.encode(images)[0].var(dim=0)
    assert got.active_units == sum(v > 0.01 for v in variances.tolist()) > 0


def test_an_evaluation_reads_as_a_sentence(vae, few):
    got = evaluate(vae, few.test)
    assert str(got) == (
        f"-ELBO {-got.elbo:.1f} = D {got.distortion:.1f} + R {got.rate:.1f} nats, "
        f"{got.active_units} of 8 active"
    )


# --- the bar ------------------------------------------------------------------------------------


def test_the_bar_shows_minus_elbo_on_standard_output_unless_it_is_not_wanted(few, capsys):
    _, history = run(few, progress=True)
    out, err = capsys.readouterr()
    assert f"test -ELBO {-history.elbo[-1]:.1f} nats" in out and "12/12" in out and not err
    run(few)
    assert capsys.readouterr() == ("", "")


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "test"])
def test_digits_that_are_no_pixels_are_refused_before_the_first_step(few, part):
    bad, model = few._replace(**{part: 255 * getattr(few, part)}), small()
    with pytest.raises(ValueError, match=r"within \[0, 1\].*divide them by 255"):
        fit(model, bad, steps=2, batch_size=32, evaluations=1, progress=False)
    assert torch.equal(weights_of(model), weights_of(small()))


def test_what_is_too_much_is_refused_and_what_is_just_enough_is_not(few):
    with pytest.raises(ValueError, match="evaluations must be at most steps, got 6 > 5"):
        run(few, steps=5, evaluations=6)
    with pytest.raises(ValueError, match="batch_size 204 is more than the 203"):
        run(few, batch_size=204)
    run(few, batch_size=203, steps=1, evaluations=1)


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
    expected = small()
    if kept:
        fit(expected, few, **FIT | {"steps": kept, "evaluations": 1})
        assert evaluate(model, few.test).elbo == history.elbo[-1]
    assert torch.equal(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("clip_norm", [None, 5.0])
def test_a_step_size_that_is_too_large_is_named(few, clip_norm):
    with pytest.raises(Diverged, match=r"lr is too large: try less than 1e\+30") as stop:
        fit(small(), few, lr=1e30, clip_norm=clip_norm, **FIT)
    assert ("or clip_norm=5.0" in str(stop.value)) == (clip_norm is None)
    assert "of your own" not in str(stop.value)


def test_weights_that_break_in_the_last_step_are_found_by_the_evaluation(few):
    model = small()
    with pytest.raises(Diverged, match=r"-ELBO is (nan|inf) at step 1 of 1\."):
        fit(model, few, lr=1e30, **FIT | {"steps": 1, "evaluations": 1})
    assert torch.equal(weights_of(model), weights_of(small()))


def test_a_healthy_run_looks_at_each_loss_once(few, monkeypatch):
    taken = []
    item = Tensor.item
    monkeypatch.setattr(Tensor, "item", lambda self: taken.append(0) or item(self))
    fit(small(), few, **FIT | {"evaluations": 1})
    assert len(taken) == 12  # a GPU is waited for once a step


def test_a_model_that_is_no_number_is_not_evaluated(few):
    model = small()
    with torch.no_grad():
        model.to_mu.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="-ELBO is nan"):
        evaluate(model, few.test)


@pytest.mark.parametrize(
    "returned", [lambda nll: nll, lambda nll: nll[None].mean(1), lambda nll: 3.0]
)
def test_an_objective_that_returns_no_scalar_is_refused_at_the_first_step(few, returned):
    class Wrong(ELBO):
        def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
            return returned(nll)

    with pytest.raises(TypeError, match=r"must return a scalar tensor \(average the batch\), got"):
        fit(small(), few, Wrong(), **FIT)


# --- a stop at any moment -----------------------------------------------------------------------

FILES = {training.__file__, sys.modules["vaelab.objectives"].__file__}


@contextmanager
def stop_at_line(number: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt when the training code is about to run its n-th line."""
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
        yield passed
    finally:
        sys.settrace(before)


# `fit` itself is left out: Ctrl-C before its loop begins is an error, and leaves the model alone.
OUTSIDE = {
    *("fit", "<setcomp>", "<genexpr>", "check_budget", "check_rates", "check_choices", "usable"),
    *("evaluation_images", "progress_bar", "likely_cause", "stop", "__init__"),
}
PER_EVALUATION = ("steps", "elbo", "distortion", "rate", "kl_per_dim", "active_units", "weights")


def test_a_stop_at_any_line_keeps_a_whole_history_and_a_model_of_numbers(few):
    options = FIT | {"steps": 2, "evaluations": 2}
    with stop_at_line(10**9) as all_lines:
        fit(small(), few, **options)
    assert {line.split(":")[0] for line in all_lines} >= {"train_step", "record", "evaluate"}
    state = torch.get_rng_state()
    for number in range(1, len(all_lines) + 1):
        model = small()
        torch.set_rng_state(state)
        with stop_at_line(number) as lines:
            history = fit(model, few, **options)
        where = lines[-1]
        assert history.interrupted, where
        lengths = {len(getattr(history, name)) for name in PER_EVALUATION}
        assert len(lengths) == 1, where
        assert len(history.steps) <= len(history.train_loss) <= len(history.steps) + 1, where
        assert torch.isfinite(weights_of(model)).all(), where
        assert torch.equal(torch.get_rng_state(), state), where
