"""What surrounds a run changes nothing silently: modes, precision, threads, stops, own code.

Each test plants something that students do, and compares with the run that nobody disturbed.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from vaelab import (
    ELBO,
    VAE,
    BetaELBO,
    FreeBits,
    RowGRUVAE,
    SoftFreeBits,
    encode_all,
    evaluate,
    fit,
    gaussian_kl,
    iw_log_likelihood,
    linear,
    linear_probe,
    load,
    mutual_information,
    save,
)
from vaelab.runs import move
from vaelab.training import Diverged, History

OPTIONS = {"steps": 12, "batch_size": 16, "evaluations": 3, "progress": False}


def small(kind: type = VAE, seed: int = 0, **sizes) -> VAE:
    torch.manual_seed(seed)
    return kind(**{"latent_dim": 3, "hidden_dim": 8} | sizes)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def measured(model: VAE, digits) -> list[float]:
    """Every measurement of a model, as numbers."""
    mu, logvar = encode_all(model, digits.test)
    return [
        evaluate(model, digits.test).elbo,
        float(iw_log_likelihood(model, digits.test, 3).mean()),
        mutual_information(model, digits.test).value,
        linear_probe(model, digits),
        float(mu.sum()),
        float(logvar.sum()),
    ]


@pytest.fixture(scope="module")
def undisturbed(few) -> tuple[VAE, History, list[float]]:
    model = small()
    history = fit(model, few, **OPTIONS)
    return model, history, measured(model, few)


# --- modes of PyTorch that a cell may have switched on ------------------------------------------


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


MODES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "deterministic": deterministic,
}


@pytest.mark.parametrize("mode", MODES)
def test_an_ambient_mode_changes_no_bit(mode, few, undisturbed):
    model = small()
    with MODES[mode]():
        history = fit(model, few, **OPTIONS)
        numbers = measured(model, few)
    assert torch.equal(weights(model), weights(undisturbed[0]))
    assert history.elbo == undisturbed[1].elbo
    assert numbers == undisturbed[2]


def test_a_default_type_of_float64_is_followed_to_the_end(few, undisturbed):
    torch.set_default_dtype(torch.float64)
    try:
        model = small()
        history = fit(model, few, **OPTIONS)
        numbers = measured(model, few)
        assert model.sample(2).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert history.elbo[-1] == pytest.approx(numbers[0])


def test_a_model_of_inference_tensors_is_refused_by_name(few):
    with torch.inference_mode():
        model = small()
    with pytest.raises(ValueError, match=r"model must be made outside torch\.inference_mode"):
        fit(model, few, **OPTIONS)


# --- types of numbers ---------------------------------------------------------------------------


def test_float64_images_and_models_fit_each_other(few):
    double = few._replace(train=few.train.double(), test=few.test.double())
    single, twin = small(), small()
    fit(single, few, **OPTIONS)
    fit(twin, double, **OPTIONS)
    assert torch.equal(weights(single), weights(twin))
    assert measured(single, double) == measured(single, few)
    expected = measured(single, few)[3:]
    assert measured(single.double(), few)[3:] == pytest.approx(expected, rel=1e-3)
    fit(single, few, **OPTIONS | {"seed": 1})  # a double model on float32 digits
    assert single.sample(3).dtype == torch.float64


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_exactly_and_not_trained(few, kind):
    model = small().to(kind)
    exact = copy.deepcopy(model).float()
    assert measured(model, few) == measured(exact, few)
    with pytest.raises(TypeError, match=f"model must be trained in float32, got {kind}"):
        fit(model, few, **OPTIONS)


# --- layers with a mode, and other classes ------------------------------------------------------


class Normalized(VAE):
    """Batch normalization in the encoder."""

    def __init__(self, **sizes) -> None:
        super().__init__(**sizes)
        self.norm = nn.BatchNorm1d(784)

    def encode(self, x):
        return super().encode(self.norm(x))


class Dropped(VAE):
    """Dropout in the encoder."""

    def encode(self, x):
        return super().encode(nn.functional.dropout(x, 0.5, self.training))


@pytest.mark.parametrize("kind", [Normalized, Dropped])
def test_what_measures_is_in_eval_mode_and_restores_it(kind, few):
    model = small(kind)
    fit(model, few, **OPTIONS)
    before = copy.deepcopy(model.state_dict())
    model.to_mu.eval()  # one part alone
    modes = [module.training for module in model.modules()]
    numbers = measured(model, few)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert numbers == measured(model, few) == measured(model.eval(), few)
    order = few.test_labels.argsort()
    sorted_kl = encode_all(model, few.test[order])
    assert torch.allclose(sorted_kl[0], encode_all(model, few.test)[0][order], atol=1e-6)


def test_every_step_is_taken_in_train_mode(few):
    model, modes = small(Dropped), []
    model.to_mu.register_forward_hook(
        lambda *_: modes.append(model.training) if torch.is_grad_enabled() else None
    )
    fit(model, few, **OPTIONS, on_evaluation=lambda model, step: model.eval() and None)
    assert modes == [True] * 12


class Gaussian(VAE):
    """Pixels that are normal around the decoder's output."""

    def log_likelihood(self, x, z):
        return Normal(self.decode(z), 0.5).log_prob(x).sum(-1)


def test_the_model_is_trained_on_the_likelihood_on_which_it_is_scored(few):
    model = small(Gaussian)
    twin = copy.deepcopy(model)
    history = fit(model, few, **OPTIONS | {"steps": 1, "evaluations": 1})
    torch.manual_seed(0)
    x = few.train[torch.randperm(len(few.train))[:16]]
    mu, logvar = twin.encode(x)
    z = twin.reparameterize(mu, logvar)
    loss = -twin.log_likelihood(x, z).mean() + gaussian_kl(mu, logvar).sum(1).mean()
    assert history.train_loss[0] == pytest.approx(loss.item(), rel=1e-6)


class Squashed(VAE):
    def decode(self, z):
        return super().decode(z).sigmoid()


class Probabilities(Squashed):
    """A sigmoid in the right place: the likelihood takes probabilities."""

    def log_likelihood(self, x, z):
        return (x * self.decode(z).log() + (1 - x) * (1 - self.decode(z)).log()).sum(-1)


def test_probabilities_given_as_logits_are_said_once(few):
    with pytest.warns(UserWarning, match="leave the sigmoid out of decode") as said:
        fit(small(Squashed), few, **OPTIONS)
    assert len(said) == 1 and said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (VAE, Probabilities, Gaussian, RowGRUVAE):
            fit(small(kind), few, **OPTIONS)


# --- objectives of one's own --------------------------------------------------------------------


class Penalized:
    """-ELBO plus the squared weights of the model that it holds."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, nll, kl, progress):
        squares = sum(p.square().sum() for p in self.model.parameters())
        return nll.mean() + kl.sum(1).mean() + 1e3 * squares


class LearnedBeta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_beta = nn.Parameter(torch.zeros(()))

    def forward(self, nll, kl, progress):
        return nll.mean() + self.log_beta.exp() * kl.sum(1).mean() - self.log_beta


def test_a_model_inside_an_objective_is_the_model_that_is_trained(few):
    model = small()
    before = weights(model).square().sum()
    history = fit(model, few, Penalized(model), **OPTIONS)
    assert history.objective.model is model
    assert weights(model).square().sum() < 0.9 * before


def test_parameters_of_an_objective_are_trained_and_not_shared(few):
    objective = LearnedBeta()
    first, second = (fit(small(), few, objective, **OPTIONS).objective for _ in range(2))
    assert first.log_beta.item() == second.log_beta.item() != 0
    assert objective.log_beta.item() == 0


def test_a_plain_function_is_an_objective_of_unknown_weights(few, undisturbed):
    model = small()
    history = fit(model, few, lambda nll, kl, t: (nll + kl.sum(-1)).mean(), **OPTIONS)
    assert torch.equal(weights(model), weights(undisturbed[0]))
    assert torch.stack(history.weights).isnan().all()
    objective = ELBO()
    objective.weights = lambda latent_dim: [0.5] * latent_dim  # a list will do
    history = fit(small(), few, objective, **OPTIONS)
    assert torch.equal(torch.stack(history.weights), torch.full((3, 3), 0.5))


# --- callbacks ----------------------------------------------------------------------------------


def stop_iteration(model, step):
    raise StopIteration


@pytest.mark.parametrize("callback", [lambda model, step: True, stop_iteration])
def test_a_callback_may_end_the_run(few, callback):
    history = fit(small(), few, **OPTIONS, on_evaluation=callback)
    assert history.stopped and not history.interrupted
    assert history.steps == [4] and len(history.train_loss) == 4


def test_an_error_of_a_callback_is_not_blamed_on_the_step_size(few):
    def strict(model, step):
        with np.errstate(all="raise"):
            np.array([1.0]) / 0

    with pytest.raises(FloatingPointError, match="divide by zero") as raised:
        fit(small(), few, **OPTIONS, on_evaluation=strict)
    assert not isinstance(raised.value, Diverged)


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "binarize", "through_a_file"),
    [
        (ELBO, False, False),
        (ELBO, True, True),
        (lambda: SoftFreeBits(0.3), True, False),
        (lambda: SoftFreeBits(0.3), False, True),
        (lambda: FreeBits(0.2), False, True),
        (lambda: BetaELBO(0.5), True, False),
        (lambda: BetaELBO(0.5), False, True),
    ],
)
def test_a_larger_budget_goes_on_as_if_it_had_never_stopped(
    few, tmp_path, objective, binarize, through_a_file
):
    options = OPTIONS | {"binarize": binarize, "seed": 5}
    whole, part = small(), small()
    expected = fit(whole, few, objective(), **options)
    history = fit(part, few, objective(), **options | {"steps": 5, "evaluations": 1})
    again = objective() if through_a_file else None
    if through_a_file:
        save(tmp_path / "run.pt", part, history)
        part, history = load(tmp_path / "run.pt")
    resumed = fit(part, few, again, resume=history, **options | {"seed": 0})
    assert torch.equal(weights(part), weights(whole))
    assert resumed.train_loss == expected.train_loss
    assert resumed.elbo[-1] == expected.elbo[-1]
    assert torch.equal(resumed.weights[-1], expected.weights[-1])
    assert len(history.train_loss) == 5  # the first history stays what it was


def test_ctrl_c_acts_between_steps_and_the_run_goes_on_bit_by_bit(few, capsys):
    class Interrupting(BetaELBO):
        def __call__(self, nll, kl, progress):
            if 6 / 12 <= progress < 7 / 12:  # in the middle of the seventh step
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(nll, kl, progress)

    whole, part = small(), small()
    expected = fit(whole, few, BetaELBO(linear()), **OPTIONS)
    before = signal.getsignal(signal.SIGINT)
    stopped = fit(part, few, Interrupting(linear()), **OPTIONS)
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.interrupted and len(stopped.train_loss) == 7 and stopped.steps == [4]
    assert "Stopped at step 7 of 12; the model is kept." in capsys.readouterr().out
    resumed = fit(part, few, resume=stopped, **OPTIONS)
    assert torch.equal(weights(part), weights(whole))
    assert (resumed.steps, resumed.elbo) == (expected.steps, expected.elbo)
    assert not resumed.interrupted


def test_another_optimizer_is_used_and_resumed(few):
    def momentum(parameters):
        return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)

    whole, part, adam = small(), small(), small()
    fit(whole, few, **OPTIONS, optimizer=momentum)
    history = fit(part, few, **OPTIONS | {"steps": 5, "evaluations": 1}, optimizer=momentum)
    fit(part, few, **OPTIONS, optimizer=momentum, resume=history)
    fit(adam, few, **OPTIONS)
    assert torch.equal(weights(part), weights(whole))
    assert not torch.allclose(weights(adam), weights(whole))


def test_what_cannot_go_on_is_refused_by_name(few, tmp_path):
    model = small()
    history = fit(model, few, SoftFreeBits(0.3), **OPTIONS)
    more = OPTIONS | {"steps": 20}
    save(tmp_path / "run.pt", model, history)
    loaded, from_file = load(tmp_path / "run.pt")
    refused = {
        "resume must belong to this model": (small(seed=1), None, history, more),
        "batch_size must be 16 as in resume": (model, None, history, more | {"batch_size": 8}),
        "objective must be the SoftFreeBits": (model, ELBO(), history, more),
        "objective must have lam=0.3": (model, SoftFreeBits(0.4), history, more),
        "objective must be passed again": (loaded, None, from_file, more),
        "objective must be an object such as": (loaded, from_file.objective, None, more),
    }
    for message, (which, objective, resume, options) in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            fit(which, few, objective, resume=resume, **options)
    annealed = small()
    history = fit(annealed, few, BetaELBO(linear()), **OPTIONS)
    with pytest.raises(ValueError, match="steps must be 12 as in resume, got 20: BetaELBO depends"):
        fit(annealed, few, resume=history, **more)


def test_a_second_fit_with_the_same_seed_says_that_it_repeats_the_batches(few):
    model = small()
    fit(model, few, **OPTIONS)
    with pytest.warns(UserWarning, match="repeats the same batches"):
        fit(model, few, **OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, few, **OPTIONS | {"seed": 1})


# --- threads and devices ------------------------------------------------------------------------


def test_two_threads_of_one_process_do_not_disturb_each_other(few, undisturbed):
    models = [small() for _ in range(3)]
    workers = [threading.Thread(target=fit, args=(m, few), kwargs=OPTIONS) for m in models]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(torch.equal(weights(m), weights(undisturbed[0])) for m in models)


def test_one_thread_inside_and_the_setting_as_found_outside(few):
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        look = lambda nll, kl, t: seen.append(torch.get_num_threads()) or nll.mean()  # noqa: E731
        fit(small(), few, look, **OPTIONS)
        fit(small(), few, look, **OPTIONS, threads=None)
        assert seen == [1] * 12 + [2] * 12
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_an_objective_holds_moves_with_the_model():
    penalty = nn.Parameter(torch.ones(2))
    objective = SoftFreeBits(init=torch.ones(3))
    objective.penalty = penalty  # moved, it would be another tensor than the one that is stepped
    move(torch.device("meta"), objective, None)
    assert objective.init.is_meta and objective.penalty is penalty


@pytest.mark.skipif(torch.cuda.is_available(), reason="device 0 exists")
def test_device_0_is_not_taken_for_no_device(few, undisturbed):
    with pytest.raises(ValueError, match="device must be one that this machine has"):
        fit(small(), few, **OPTIONS, device=0)
    for device in ("cpu", torch.device("cpu")):
        model = small()
        fit(model, few, **OPTIONS, device=device)
        assert torch.equal(weights(model), weights(undisturbed[0]))


# --- saving -------------------------------------------------------------------------------------


def with_part(name: str, part: object) -> VAE:
    model = small()
    setattr(model, name, part)
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: with_part("to_logits", nn.Sequential(nn.ReLU(), nn.Linear(8, 784))),
        lambda: with_part("from_latent", nn.Linear(3, 8, bias=False)),
        lambda: with_part("from_data", nn.utils.spectral_norm(nn.Linear(784, 8))),
        lambda: with_part("to_mu", nn.Linear(8, 2)),
        lambda: with_part("to_mu", nn.Sequential(nn.Linear(8, 3), nn.Tanh())),
        lambda: with_part("decode", lambda z: torch.zeros(len(z), 784)),
        lambda: small(Gaussian),
        lambda: torch.compile(small()),
    ],
)
def test_a_model_that_would_not_come_back_is_not_saved(model, tmp_path):
    with pytest.raises(TypeError, match="model must be"):
        save(tmp_path / "model.pt", model())
    assert list(tmp_path.iterdir()) == []


def test_another_version_is_told_from_damage(tmp_path):
    content = {"format": "vaelab 99", "kind": "VAE"}
    torch.save(content, tmp_path / "newer.pt")
    with pytest.raises(ValueError, match="another version of vaelab: it says 'vaelab 99'"):
        load(tmp_path / "newer.pt")
    whole = (tmp_path / "newer.pt").read_bytes()
    (tmp_path / "newer.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "newer.pt")


def test_numbers_of_numpy_are_numbers(few):
    options = OPTIONS | {"steps": np.int64(12), "seed": np.int64(0), "lr": np.float32(1e-3)}
    history = fit(small(), few, BetaELBO(np.float32(0.5)), **options)
    assert math.isfinite(history.elbo[-1])
