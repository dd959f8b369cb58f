"""What surrounds a run changes nothing silently: modes, precision, threads, stops, own code.

Each test plants something that students do, and compares with the run that nobody disturbed.
"""

from __future__ import annotations

import copy
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

import vaelab
from vaelab import ELBO, VAE, BetaELBO, RowGRUVAE, SoftFreeBits, fit, linear, load, save
from vaelab.runs import Diverged, move, weights_of

OPTIONS = {"steps": 12, "batch_size": 16, "evaluations": 3, "progress": False}


def small(kind: type = VAE) -> VAE:
    torch.manual_seed(0)
    return kind(latent_dim=3, hidden_dim=8)


def run(digits, objective=None, model=None, **options):
    """A short run: the model and its history."""
    model = model or small()
    return model, fit(model, digits, objective, **OPTIONS | options)


def bits(model: nn.Module) -> int:
    """One number for all weights, the same if every bit is."""
    return hash(parameters_to_vector(model.parameters()).detach().numpy().tobytes())


def measured(model: VAE, digits) -> list[float]:
    """Every measurement of a model, as numbers."""
    likelihood = vaelab.iw_log_likelihood(model, digits.test, 3).mean().item()
    information = vaelab.mutual_information(model, digits.test).value
    sums = [part.sum().item() for part in vaelab.encode_all(model, digits.test)]
    elbo, accuracy = vaelab.evaluate(model, digits.test).elbo, vaelab.linear_probe(model, digits)
    return [elbo, likelihood, information, accuracy, *sums]


@pytest.fixture(scope="module")
def alone(few):
    """The weights, the scores and the measurements of a run that nothing disturbs."""
    model, history = run(few)
    return bits(model), history.elbo, measured(model, few)


@contextmanager
def switched(switch, on, off):
    switch(on)
    try:
        yield
    finally:
        switch(off)


AUTOCAST = partial(torch.autocast, "cpu", torch.bfloat16)
DETERMINISTIC = partial(switched, torch.use_deterministic_algorithms, True, False)


@pytest.mark.parametrize("mode", [AUTOCAST, torch.no_grad, torch.inference_mode, DETERMINISTIC])
def test_an_ambient_mode_changes_no_bit(mode, few, alone):
    model = small()
    with mode():
        _, history = run(few, None, model, steps=np.int64(12), seed=np.int64(0), device="cpu")
        assert (bits(model), history.elbo, measured(model, few)) == alone


def test_float64_images_and_models_fit_each_other(few, alone):
    double = few._replace(train=few.train.double(), test=few.test.double())
    model, history = run(double)
    assert (bits(model), history.elbo, measured(model, double)) == alone
    assert measured(model.double(), few)[3:] == pytest.approx(alone[2][3:], rel=1e-3)
    for default in (torch.float32, torch.float64):
        with switched(torch.set_default_dtype, default, torch.float32):
            model, history = run(few, model=small().double())
            assert history.elbo[-1] == pytest.approx(measured(model, few)[0])
            assert {p.dtype for p in (*model.parameters(), model.sample(2))} == {torch.float64}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_exactly_and_not_trained(few, kind):
    model = small().to(kind)
    assert measured(model, few) == measured(copy.deepcopy(model).float(), few)
    with pytest.raises(TypeError, match=f"model must be trained in float32, got {kind}"):
        run(few, None, model)


def test_steps_are_taken_in_train_mode_and_measurements_in_eval_mode(few):
    model, modes = small(), []
    model.from_data = nn.Sequential(nn.BatchNorm1d(784), nn.Dropout(), model.from_data)
    model.from_data.register_forward_pre_hook(
        lambda part, _: modes.append(part.training) if torch.is_grad_enabled() else None
    )
    run(few, None, model, on_evaluation=lambda model, step: model.eval() and None)
    assert modes == [True] * 12
    model.train().to_mu.eval()  # one part alone
    modes, state = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    numbers = measured(model, few)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert numbers == measured(model.eval(), few)


class Gaussian(VAE):
    def log_likelihood(self, x, z):
        return -2 * (x - self.decode(z)).square().sum(-1)  # but for a constant


def test_the_model_is_trained_on_the_likelihood_on_which_it_is_scored(few):
    twin = small(Gaussian)
    _, history = run(few, None, copy.deepcopy(twin), steps=1, evaluations=1)
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


@pytest.mark.filterwarnings("error")
def test_probabilities_given_as_logits_are_said_once(few):
    squashed = small(Probabilities)
    squashed.log_likelihood = partial(VAE.log_likelihood, squashed)
    with pytest.warns(UserWarning, match="leave the sigmoid out of decode") as said:
        run(few, None, squashed)
    assert len(said) == 1 and said[0].filename == __file__
    for kind in (VAE, Probabilities, Gaussian, RowGRUVAE):
        run(few, None, small(kind))


class Own(nn.Module):
    """A learned beta, and a penalty on the squared weights of the model, which it holds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.log_beta = model, nn.Parameter(torch.zeros(()))

    def squares(self):
        return parameters_to_vector(self.model.parameters()).square().sum()

    def forward(self, nll, kl, progress):
        elbo = nll.mean() + self.log_beta.exp() * kl.sum(1).mean()
        return elbo - self.log_beta + 1e3 * self.squares()


def test_an_objective_may_hold_the_model_and_parameters_that_are_trained(few):
    objective = Own(small())
    before = objective.squares().item()
    model, history = run(few, objective, objective.model)
    assert history.objective.model is model and objective.squares() < 0.9 * before
    assert history.objective.log_beta.item() != 0 == objective.log_beta.item()  # a copy is trained


def test_a_plain_function_is_an_objective_of_unknown_weights(few, alone):
    def plain(nll, kl, progress):
        return (nll + kl.sum(-1)).mean()

    model, history = run(few, plain)
    assert bits(model) == alone[0] and torch.stack(history.weights).isnan().all()
    plain.weights = lambda latent_dim: [0.5] * latent_dim  # a list will do
    assert weights_of(plain, 3).tolist() == [0.5] * 3


def test_another_optimizer_takes_the_steps(few):
    model, _ = run(few, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    assert bits(model) == bits(small())


def test_a_callback_may_end_the_run(few):
    for callback in (lambda model, step: True, lambda model, step: next(iter(()))):
        _, history = run(few, on_evaluation=callback)  # returns True, raises StopIteration
        assert history.stopped and not history.interrupted
        assert history.steps == [len(history.train_loss)] == [4]


def test_an_error_of_a_callback_is_not_blamed_on_the_step_size(few):
    strict = np.errstate(all="raise")(lambda model, step: np.ones(1) / 0)
    with pytest.raises(FloatingPointError, match="divide by zero") as raised:
        run(few, on_evaluation=strict)
    assert not isinstance(raised.value, Diverged)


LONGER = [  # the objective, other arguments of both runs, whether the first ends in a file
    (ELBO, {}, False),
    (ELBO, {"binarize": True}, True),
    (lambda: SoftFreeBits(0.3), {"binarize": True}, False),
    (lambda: SoftFreeBits(0.3), {}, True),
    (lambda: BetaELBO(0.5), {"optimizer": partial(torch.optim.SGD, lr=1e-4, momentum=0.9)}, True),
]


@pytest.mark.parametrize("objective, others, file", LONGER)
def test_a_larger_budget_goes_on_as_if_it_had_never_stopped(few, tmp_path, objective, others, file):
    whole, expected = run(few, objective(), seed=5, **others)
    part, history = run(few, objective(), seed=5, steps=5, evaluations=1, **others)
    if file:
        save(tmp_path / "run.pt", part, history)
        part, history = load(tmp_path / "run.pt")
    _, resumed = run(few, objective() if file else None, part, resume=history, **others)
    assert bits(part) == bits(whole) and torch.equal(resumed.weights[-1], expected.weights[-1])
    assert resumed.train_loss == expected.train_loss and resumed.elbo[-1] == expected.elbo[-1]
    assert len(history.train_loss) == 5  # the first history stays what it was


def test_ctrl_c_acts_between_steps_and_the_run_goes_on_bit_by_bit(few, capsys):
    class Interrupting(BetaELBO):
        def __call__(self, nll, kl, progress):
            if 6 / 12 <= progress < 7 / 12:  # in the middle of the seventh step
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(nll, kl, progress)

    whole, expected = run(few, BetaELBO(linear()))
    before = signal.getsignal(signal.SIGINT)
    part, stopped = run(few, Interrupting(linear()))
    assert signal.getsignal(signal.SIGINT) is before
    assert stopped.interrupted and len(stopped.train_loss) == 7 and stopped.steps == [4]
    assert "Stopped at step 7 of 12; the model is kept." in capsys.readouterr().out
    _, resumed = run(few, None, part, resume=stopped)
    assert bits(part) == bits(whole) and not resumed.interrupted
    assert (resumed.steps, resumed.elbo) == (expected.steps, expected.elbo)


def test_what_cannot_be_trained_or_go_on_is_refused_by_name(few, tmp_path):
    model, soft = run(few, SoftFreeBits(0.3))
    annealed, beta = run(few, BetaELBO(linear()))
    save(tmp_path / "run.pt", model, soft)
    loaded, from_file = load(tmp_path / "run.pt")
    with torch.inference_mode():
        inside = small()
    refused = {
        r"model must be made outside torch\.inference_mode": (inside, {}),
        "device must be one that": (model, {"device": torch.cuda.device_count()}),  # 0 without one
        "resume must belong to this model": (annealed, {"resume": soft}),
        "batch_size must be 16 as in resume": (model, {"resume": soft, "batch_size": 8}),
        "objective must be the SoftFreeBits": (model, {"resume": soft, "objective": ELBO()}),
        "must have lam=0.3": (model, {"resume": soft, "objective": SoftFreeBits(0.4)}),
        "objective must be passed again": (loaded, {"resume": from_file}),
        "objective must be an object such as": (loaded, {"objective": from_file.objective}),
        "steps must be 12 as in resume, got 20: BetaELBO depends": (annealed, {"resume": beta}),
    }
    for message, (which, given) in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            run(few, model=which, steps=20, **given)


@pytest.mark.filterwarnings("error")
def test_a_second_fit_with_the_same_seed_says_that_it_repeats_the_batches(few):
    model, _ = run(few)
    with pytest.warns(UserWarning, match="repeats the same batches"):
        run(few, None, model)
    run(few, None, model, seed=1)


def test_three_threads_of_one_process_do_not_disturb_each_other(few, alone):
    models = [small() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda model: run(few, None, model), models))
    assert [bits(model) for model in models] == 3 * [alone[0]]


def test_one_thread_inside_and_the_setting_as_found_outside(few):
    seen = []
    with switched(torch.set_num_threads, 2, 1):
        for threads in ({}, {"threads": None}):
            run(few, on_evaluation=lambda *_: seen.append(torch.get_num_threads()), **threads)
        assert [*seen, torch.get_num_threads()] == [1, 1, 1, 2, 2, 2, 2]


def test_what_an_objective_holds_moves_with_the_model():
    objective, penalty = SoftFreeBits(init=torch.ones(3)), nn.Parameter(torch.ones(2))
    objective.penalty = penalty  # moved, it would be another tensor than the one that is stepped
    move(torch.device("meta"), objective, None)
    assert objective.init.is_meta and objective.penalty is penalty


def test_a_model_that_would_not_come_back_is_not_saved(tmp_path):
    models = [small(Gaussian), torch.compile(small())]
    for name, part in {
        "to_logits": nn.Sequential(nn.ReLU(), nn.Linear(8, 784)),
        "from_latent": nn.Linear(3, 8, bias=False),
        "from_data": nn.utils.spectral_norm(nn.Linear(784, 8)),
        "to_mu": nn.Linear(8, 2),
        "decode": lambda z: torch.zeros(len(z), 784),
    }.items():
        models.append(small())
        setattr(models[-1], name, part)
    for model in models:
        with pytest.raises(TypeError, match="model must be"):
            save(tmp_path / "model.pt", model)
    assert list(tmp_path.iterdir()) == []
