"""What goes wrong while a model is trained: it diverges, it is stopped, the process is killed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from vaelab import ELBO, VAE, Diverged, evaluate, fit, training

FIT = {"steps": 12, "batch_size": 32, "evaluations": 3, "progress": False}


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden_dim=16)


def weights_of(model: torch.nn.Module) -> Tensor:
    return torch.cat([part.detach().flatten() for part in model.parameters()])


class Broken(ELBO):
    """The plain objective, which returns a bad value at one call."""

    def __init__(self, at: int, value: float) -> None:
        self.calls, self.at, self.value = 0, at, value

    def __call__(self, nll: Tensor, kl: Tensor, progress: float) -> Tensor:
        self.calls += 1
        return super().__call__(nll, kl, progress) * (self.value if self.calls == self.at else 1.0)


# --- a loss that is no number -------------------------------------------------------------------


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
