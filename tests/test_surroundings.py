"""What surrounds a run changes nothing silently: modes, precision, threads, stops, own code.

Each test plants something that students do, and compares with the run that nobody disturbed.
"""

from __future__ import annotations

import copy
import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import vaelab
from vaelab import ELBO, VAE, BetaELBO, FreeBits, RowGRUVAE, SoftFreeBits, fit, linear, load, save
from vaelab.runs import Diverged, move, weights_of

OPTIONS = {"steps": 12, "batch_size": 16, "evaluations": 3, "progress": False}


def small(kind: type = VAE, seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return kind(latent_dim=3, hidden_dim=8)


def run(model: VAE, digits, objective=None, **options):
    return fit(model, digits, objective, **OPTIONS | options)


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def measured(model: VAE, digits) -> list[float]:
    """Every measurement of a model, as numbers."""
    likelihood = vaelab.iw_log_likelihood(model, digits.test, 3).mean().item()
    information = vaelab.mutual_information(model, digits.test).value
    sums = [part.sum().item() for part in vaelab.encode_all(model, digits.test)]
    elbo, accuracy = vaelab.evaluate(model, digits.test).elbo, vaelab.linear_probe(model, digits)
    return [elbo, likelihood, information, accuracy, *sums]


@pytest.fixture(scope="module")
def alone(few):
    """The model, the history and the measurements of a run that nothing disturbs."""
    model = small()
    return model, run(model, few), measured(model, few)


# --- modes of PyTorch and types of numbers ------------------------------------------------------


@contextmanager
def switched(switch, on, off):
    switch(on)
    try:
        yield
    finally:
        switch(off)


MODES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
}


@pytest.mark.parametrize("mode", MODES)
def test_an_ambient_mode_changes_no_bit(mode, few, alone):
    model = small()
    with MODES[mode]():
        history = run(model, few, steps=np.int64(12), seed=np.int64(0), device="cpu")
        numbers = measured(model, few)
    assert torch.equal(weights(model), weights(alone[0]))
    assert (history.elbo, numbers) == (alone[1].elbo, alone[2])


def test_a_default_type_of_float64_is_followed_to_the_end(few):
    with switched(torch.set_default_dtype, torch.float64, torch.float32):
        model = small()
        history = run(model, few)
        assert history.elbo[-1] == pytest.approx(measured(model, few)[0])
        assert {part.dtype for part in (*model.parameters(), model.sample(2))} == {torch.float64}


def test_float64_images_and_models_fit_each_other(few, alone):
    double = few._replace(train=few.train.double(), test=few.test.double())
    model = small()
    run(model, double)
    assert torch.equal(weights(model), weights(alone[0])) and measured(model, double) == alone[2]
    assert measured(model.double(), few)[3:] == pytest.approx(alone[2][3:], rel=1e-3)
    run(model, few, seed=1)
    assert model.sample(3).dtype == torch.float64


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_exactly_and_not_trained(few, kind):
    model = small().to(kind)
    assert measured(model, few) == measured(copy.deepcopy(model).float(), few)
    with pytest.raises(TypeError, match=f"model must be trained in float32, got {kind}"):
        run(model, few)


# --- layers with a mode, and other classes ------------------------------------------------------


def test_steps_are_taken_in_train_mode_and_measurements_in_eval_mode(few):
    model, modes = small(), []
    model.from_data = nn.Sequential(nn.BatchNorm1d(784), nn.Dropout(), model.from_data)
    model.from_data.register_forward_pre_hook(
        lambda part, _: modes.append(part.training) if torch.is_grad_enabled() else None
    )
    run(model, few, on_evaluation=lambda model, step: model.eval() and None)
    assert modes == [True] * 12
    model.train().to_mu.eval()  # one part alone
    modes, state = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    numbers = measured(model, few)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert numbers == measured(model.eval(), few)


class Gaussian(VAE):
    """Pixels that are normal around the decoder's output."""

    def log_likelihood(self, x, z):
        return Normal(self.decode(z), 0.5).log_prob(x).sum(-1)


def test_the_model_is_trained_on_the_likelihood_on_which_it_is_scored(few):
    model = small(Gaussian)
    twin = copy.deepcopy(model)
    history = run(model, few, steps=1, evaluations=1)
    torch.manual_seed(0)
    x = few.train[torch.randperm(len(few.train))[:16]]
    mu, logvar = twin.encode(x)
    nll = -twin.log_likelihood(x, twin.reparameterize(mu, logvar))
    loss = nll.mean() + vaelab.gaussian_kl(mu, logvar).sum(1).mean()
    assert history.train_loss == [pytest.approx(loss.item(), rel=1e-6)]


class Probabilities(VAE):
    """A sigmoid in the right place: the likelihood takes probabilities."""

    def decode(self, z):
        return super().decode(z).sigmoid()

    def log_likelihood(self, x, z):
        return (x * self.decode(z).log() + (1 - x) * (1 - self.decode(z)).log()).sum(-1)


class Squashed(Probabilities):
    log_likelihood = VAE.log_likelihood


def test_probabilities_given_as_logits_are_said_once(few):
    with pytest.warns(UserWarning, match="leave the sigmoid out of decode") as said:
        fit(small(Squashed), few, **OPTIONS)
    assert len(said) == 1 and said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (VAE, Probabilities, Gaussian, RowGRUVAE):
            run(small(kind), few)


# --- objectives, optimizers and callbacks of one's own ------------------------------------------


class Own(nn.Module):
    """A learned beta, and a penalty on the squared weights of the model, which it holds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.log_beta = model, nn.Parameter(torch.zeros(()))

    def forward(self, nll, kl, progress):
        squares = nn.utils.parameters_to_vector(self.model.parameters()).square().sum()
        return nll.mean() + self.log_beta.exp() * kl.sum(1).mean() - self.log_beta + 1e3 * squares


def test_an_objective_may_hold_the_model_and_parameters_that_are_trained(few):
    model = small()
    objective, before = Own(model), weights(model).square().sum()
    history = run(model, few, objective)
    assert history.objective.model is model and weights(model).square().sum() < 0.9 * before
    assert history.objective.log_beta.item() != 0 == objective.log_beta.item()  # a copy is trained


def test_a_plain_function_is_an_objective_of_unknown_weights(few, alone):
    def plain(nll, kl, progress):
        return (nll + kl.sum(-1)).mean()

    model = small()
    history = run(model, few, plain)
    assert torch.equal(weights(model), weights(alone[0]))
    assert torch.stack(history.weights).isnan().all()
    plain.weights = lambda latent_dim: [0.5] * latent_dim  # a list will do
    assert weights_of(plain, 3).tolist() == [0.5] * 3


def test_another_optimizer_takes_the_steps(few):
    model = small()
    run(model, few, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    assert torch.equal(weights(model), weights(small()))


def test_a_callback_may_end_the_run(few):
    for callback in (lambda model, step: True, lambda model, step: next(iter(()))):
        history = run(small(), few, on_evaluation=callback)  # returns True, raises StopIteration
        assert history.stopped and not history.interrupted
        assert history.steps == [4] and len(history.train_loss) == 4


def test_an_error_of_a_callback_is_not_blamed_on_the_step_size(few):
    strict = np.errstate(all="raise")(lambda model, step: np.ones(1) / 0)
    with pytest.raises(FloatingPointError, match="divide by zero") as raised:
        run(small(), few, on_evaluation=strict)
    assert not isinstance(raised.value, Diverged)


# --- going on -----------------------------------------------------------------------------------

LONGER = [  # the objective, other arguments of both runs, whether the first ends in a file
    (ELBO, {}, False),
    (ELBO, {"binarize": True}, True),
    (lambda: SoftFreeBits(0.3), {"binarize": True}, False),
    (lambda: SoftFreeBits(0.3), {}, True),
    (lambda: FreeBits(0.2), {}, True),
    (lambda: BetaELBO(0.5), {"optimizer": partial(torch.optim.SGD, lr=1e-4, momentum=0.9)}, True),
]


@pytest.mark.parametrize("objective, others, file", LONGER)
def test_a_larger_budget_goes_on_as_if_it_had_never_stopped(few, tmp_path, objective, others, file):
    whole, part, again = small(), small(), None
    expected = run(whole, few, objective(), seed=5, **others)
    history = run(part, few, objective(), seed=5, steps=5, evaluations=1, **others)
    if file:
        save(tmp_path / "run.pt", part, history)
        (part, history), again = load(tmp_path / "run.pt"), objective()
    resumed = run(part, few, again, resume=history, **others)
    assert torch.equal(weights(part), weights(whole))
    assert resumed.train_loss == expected.train_loss and resumed.elbo[-1] == expected.elbo[-1]
    assert torch.equal(resumed.weights[-1], expected.weights[-1])
    assert len(history.train_loss) == 5  # the first history stays what it was


def test_ctrl_c_acts_between_steps_and_the_run_goes_on_bit_by_bit(few, capsys):
    class Interrupting(BetaELBO):
        def __call__(self, nll, kl, progress):
            if 6 / 12 <= progress < 7 / 12:  # in the middle of the seventh step
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(nll, kl, progress)

    whole, part = small(), small()
    expected = run(whole, few, BetaELBO(linear()))
    before = signal.getsignal(signal.SIGINT)
    stopped = run(part, few, Interrupting(linear()))
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.interrupted and len(stopped.train_loss) == 7 and stopped.steps == [4]
    assert "Stopped at step 7 of 12; the model is kept." in capsys.readouterr().out
    resumed = run(part, few, resume=stopped)
    assert torch.equal(weights(part), weights(whole)) and not resumed.interrupted
    assert (resumed.steps, resumed.elbo) == (expected.steps, expected.elbo)


def test_what_cannot_be_trained_or_go_on_is_refused_by_name(few, tmp_path):
    model, annealed = small(), small()
    soft = {"resume": run(model, few, SoftFreeBits(0.3))}
    beta = {"resume": run(annealed, few, BetaELBO(linear()))}
    save(tmp_path / "run.pt", model, soft["resume"])
    loaded, from_file = load(tmp_path / "run.pt")
    with torch.inference_mode():
        inside = small()
    refused = {
        r"model must be made outside torch\.inference_mode": (inside, {}),
        "device must be one that": (small(), {"device": torch.cuda.device_count()}),  # 0 without
        "resume must belong to this model": (small(seed=1), soft),
        "batch_size must be 16 as in resume": (model, soft | {"batch_size": 8}),
        "objective must be the SoftFreeBits": (model, soft | {"objective": ELBO()}),
        "objective must have lam=0.3": (model, soft | {"objective": SoftFreeBits(0.4)}),
        "objective must be passed again": (loaded, {"resume": from_file}),
        "objective must be an object such as": (loaded, {"objective": from_file.objective}),
        "steps must be 12 as in resume, got 20: BetaELBO depends": (annealed, beta),
    }
    for message, (which, given) in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            run(which, few, steps=20, **given)


def test_a_second_fit_with_the_same_seed_says_that_it_repeats_the_batches(few):
    model = small()
    run(model, few)
    with pytest.warns(UserWarning, match="repeats the same batches"):
        run(model, few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(model, few, seed=1)


# --- threads and devices ------------------------------------------------------------------------


def test_three_threads_of_one_process_do_not_disturb_each_other(few, alone):
    models = [small() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda model: run(model, few), models))
    assert all(torch.equal(weights(model), weights(alone[0])) for model in models)


def test_one_thread_inside_and_the_setting_as_found_outside(few):
    seen = []
    look = {"on_evaluation": lambda model, step: seen.append(torch.get_num_threads())}
    with switched(torch.set_num_threads, 2, 1):
        run(small(), few, **look)
        run(small(), few, threads=None, **look)
        assert [*seen, torch.get_num_threads()] == [1, 1, 1, 2, 2, 2, 2]


def test_what_an_objective_holds_moves_with_the_model():
    objective, penalty = SoftFreeBits(init=torch.ones(3)), nn.Parameter(torch.ones(2))
    objective.penalty = penalty  # moved, it would be another tensor than the one that is stepped
    move(torch.device("meta"), objective, None)
    assert objective.init.is_meta and objective.penalty is penalty


# --- saving -------------------------------------------------------------------------------------

CHANGED = [
    ("to_logits", nn.Sequential(nn.ReLU(), nn.Linear(8, 784))),
    ("from_latent", nn.Linear(3, 8, bias=False)),
    ("from_data", nn.utils.spectral_norm(nn.Linear(784, 8))),
    ("to_mu", nn.Linear(8, 2)),
    ("to_mu", nn.Sequential(nn.Linear(8, 3), nn.Tanh())),
    ("decode", lambda z: torch.zeros(len(z), 784)),
]


def test_a_model_that_would_not_come_back_is_not_saved(tmp_path):
    models = [small(Gaussian), torch.compile(small())]
    for name, part in CHANGED:
        models.append(small())
        setattr(models[-1], name, part)
    for model in models:
        with pytest.raises(TypeError, match="model must be"):
            save(tmp_path / "model.pt", model)
    assert list(tmp_path.iterdir()) == []
