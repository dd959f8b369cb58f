"""The training loop, and the evaluation that every result in the lessons goes through."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import checks, runs
from .data import Digits
from .data import binarize as draw_binary
from .diagnostics import active_units
from .losses import gaussian_kl
from .model import Model
from .objectives import ELBO, Objective
from .runs import Diverged as Diverged

EVALUATION_SEED = 0  # of the one binarization that every evaluation of every run shares


class Evaluation(NamedTuple):
    """How good a model is on some images, at beta = 1 whatever it was trained with.

    Attributes:
        elbo: nats per image, -(distortion + rate).
        distortion: nats per image, with a sampled z.
        rate: nats per image, the sum of ``kl_per_dim``.
        kl_per_dim: (D,) nats per image.
        active_units: dimensions whose posterior mean varies over the images.
    """

    elbo: float
    distortion: float
    rate: float
    kl_per_dim: Tensor
    active_units: int

    def __str__(self) -> str:
        return (
            f"-ELBO {-self.elbo:.1f} = D {self.distortion:.1f} + R {self.rate:.1f} nats, "
            f"{self.active_units} of {len(self.kl_per_dim)} active"
        )


@dataclass
class History:
    """What a run left behind.

    Attributes:
        objective: the trained copy of the objective, in its end state. A file keeps its numbers
            and not its code: in a history that was loaded, this only says what it was.
        train_loss: the objective at every step, nats per image.
        steps: steps after which the test images were evaluated; the lists below match it.
        elbo, distortion, rate: nats per test image, at beta = 1.
        kl_per_dim: (D,) each, nats.
        active_units: counts.
        weights: (D,) each, the weights on the KL of each dimension at that step; NaN if the
            objective does not tell them.
        interrupted: True if the run was stopped by Ctrl-C, or diverged, before its last step.
        stopped: True if ``on_evaluation`` ended it.
        state: what the next step depends on beside the weights of the model, for ``resume``; None
            if the run broke off within a step.
    """

    objective: Any
    train_loss: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    elbo: list[float] = field(default_factory=list)
    distortion: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    kl_per_dim: list[Tensor] = field(default_factory=list)
    active_units: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    interrupted: bool = False
    stopped: bool = False
    state: dict | None = None

    @property
    def train_steps(self) -> range:
        """The steps that ``train_loss`` belongs to, counted from 1."""
        return range(1, len(self.train_loss) + 1)

    def record(self, step: int, evaluation: Evaluation) -> None:
        """Append one evaluation, and the weights that are in force."""
        weights = runs.weights_of(self.objective, len(evaluation.kl_per_dim))
        values = {"steps": step, **evaluation._asdict(), "weights": weights}
        for name, value in values.items():
            getattr(self, name).append(value)

    def stop(self) -> None:
        """Mark the run as interrupted, and drop an evaluation that was not written down whole."""
        self.interrupted = True
        for name in ("steps", *Evaluation._fields):
            del getattr(self, name)[len(self.weights) :]


def fit(
    model: Model,
    digits: Digits,
    objective: Objective | Callable | None = None,
    *,
    steps: int = 3000,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    binarize: bool = False,
    evaluations: int = 10,
    progress: bool = True,
    device: str | int | torch.device | None = None,
    clip_norm: float | None = None,
    on_evaluation: Callable[[Model, int], bool | None] | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    resume: History | None = None,
    threads: int | None = 1,
) -> History:
    """Train a model in place.

    The same seed on the same kind of CPU gives bitwise the same weights, whatever ran before and
    however many cores there are; the global random state and the number of threads are left as
    they were found. Stopping the run (Ctrl-C, the stop button) keeps the model and the history so
    far. The KL is that to N(0, I): a model with another prior needs a loop of its own.

    Args:
        model: a VAE or anything with latent_dim, encode, reparameterize and log_likelihood;
            trained in place, and back on its own device at the end.
        digits: trains on ``train``, evaluates on ``test``.
        objective: what to minimize, default :class:`~vaelab.objectives.ELBO`; a copy is used, in
            which a model that it holds stays this model. The parameters of an ``nn.Module`` are
            trained with the model's.
        steps: the budget, in minibatches; with ``resume`` that of both runs together.
        batch_size: images per step; every batch is full.
        lr: Adam's step size.
        seed: of the order of the images and of every sample.
        binarize: draw the training pixels anew for every batch, and evaluate on one fixed draw.
        evaluations: how often the test images are evaluated, evenly spaced, the last step included.
        progress: show a progress bar with -ELBO in nats.
        device: where to train, default where the model is.
        clip_norm: largest norm of the gradient; None leaves it alone.
        on_evaluation: called with the model and the step after each evaluation; ends the run if it
            returns True.
        optimizer: a function from parameters to an optimizer, in place of Adam.
        resume: the history of a run that ended early, or was meant to be shorter: goes on as if it
            had never stopped. With one from a file, pass the objective and the optimizer again.
        threads: how many to compute with; None leaves PyTorch's setting.

    Returns:
        The history of the run.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if a number is out of its range, the digits are not pixels in [0, 1] as the
            model takes them, the batch is larger than the training set, or ``resume`` does not fit.
        Diverged: if the loss becomes NaN or infinite. The model then has the weights of the last
            evaluation, and the error's ``history`` what was recorded.

    Source:
        Kingma and Welling (2014), Algorithm 1; Kingma and Ba (2015) for Adam.
    """
    train, _ = checks.check_digits(model, digits)  # (N, P)
    settings = checks.check_run(seed, steps, batch_size, evaluations, lr, clip_norm, binarize)
    functions = {"on_evaluation": on_evaluation, "optimizer": optimizer}
    checks.check_choices(model, len(train), batch_size, objective, threads, **functions)
    device = checks.device_of(model) if device is None else checks.usable(device)
    history = runs.begin(History, model, objective, ELBO(), resume, settings)
    parameters = runs.trainable(model, history.objective)
    adam = (optimizer or functools.partial(torch.optim.Adam, lr=lr, fused=True))(parameters)
    batches = Minibatches(train.to(device), batch_size)
    test = evaluation_images(digits, binarize).to(batches.images)  # (M, P)
    due = {round(steps * (i + 1) / evaluations) for i in range(evaluations)}
    around = runs.running(model, adam, batches, history, settings, device, threads, progress)
    with around as run:
        for step in run.steps():
            x = next(batches)  # (B, P)
            x = draw_binary(x) if binarize else x
            loss = train_step(model, x, history.objective, adam, (step - 1) / steps, clip_norm)
            history.train_loss.append(checks.check_finite("the training loss", loss))
            if step in due:
                run.evaluated(step, evaluate(model, test), test, on_evaluation)
            if history.stopped:
                break
    return history


def train_step(
    model: Model,
    x: Tensor,
    objective: Objective | Callable,
    optimizer: torch.optim.Optimizer,
    progress: float,
    clip_norm: float | None = None,
) -> float:
    """One step of gradient descent on one batch.

    What is minimized is what :func:`evaluate` measures: the model's own ``log_likelihood`` at one
    sampled z, and the KL to N(0, I).

    Args:
        model: as in :func:`fit`.
        x: (B, P) pixels in [0, 1].
        objective: called with distortion (B,), KL (B, D) and progress.
        optimizer: holds the model's parameters.
        progress: share of the run that is done, in [0, 1).
        clip_norm: largest norm of the gradient; None leaves it alone.

    Returns:
        The loss before the step, nats per image.

    Raises:
        TypeError: if the objective does not return a scalar tensor.
    """
    mu, logvar = model.encode(x)  # (B, D), (B, D)
    nll = -model.log_likelihood(x, model.reparameterize(mu, logvar))  # (B,)
    loss = objective(nll, gaussian_kl(mu, logvar), progress)
    checks.check_scalar(loss)
    optimizer.zero_grad()
    loss.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return loss.item()


class Minibatches:
    """Endless full batches in random order.

    Permutations follow one another; what is left of one begins the next batch, so no batch is
    short and no image is favored.

    Args:
        images: (N, P).
        batch_size: B, images per batch.

    Attributes:
        order: what is left of the present permutation.

    Raises:
        ValueError: if ``images`` are not (N, P), or ``batch_size`` is not a positive integer.
    """

    def __init__(self, images: Tensor, batch_size: int) -> None:
        checks.check_sizes(batch_size=batch_size)
        checks.check_rows(images)
        self.images, self.batch_size = images, batch_size
        self.order = torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Minibatches:
        return self

    def __next__(self) -> Tensor:
        """The next batch, (B, P)."""
        while len(self.order) < self.batch_size:
            self.order = torch.cat([self.order, torch.randperm(len(self.images))])
        index, self.order = self.order.split([self.batch_size, len(self.order) - self.batch_size])
        return self.images.index_select(0, index.to(self.images.device))  # half of images[index]


def evaluate(model: Model, images: Tensor, *, seed: int = 0, batch_size: int = 250) -> Evaluation:
    """Distortion and rate of a model at beta = 1, with one sampled z for each image.

    Measured with one thread, in eval mode and in float32 or better, whatever surrounds the call.

    Args:
        model: as in :func:`fit`; neither changed nor switched to another mode.
        images: (N, P) pixels in [0, 1], N >= 2.
        seed: of the samples; the global random state is left alone.
        batch_size: images per pass; a few hundred are faster than more, which leave the cache.

    Returns:
        Averages over the N images, in nats.

    Raises:
        TypeError, ValueError: if ``images`` are not pixels in [0, 1] as the model takes them, or
            ``batch_size`` is not a positive integer.
        FloatingPointError: if a term is NaN or infinite, as after a run that diverged.

    Source:
        Kingma and Welling (2014), Equation 10.
    """
    images = checks.check_inputs(model, images, least=2)
    checks.check_sizes(batch_size=batch_size)
    parts = []
    with runs.measuring(model, seed) as exact:
        for batch in images.split(batch_size):
            x = batch.to(checks.device_of(model))  # (B, P)
            mu, logvar = exact.encode(x)  # (B, D), (B, D)
            nll = -exact.log_likelihood(x, exact.reparameterize(mu, logvar))  # (B,)
            parts.append((nll, gaussian_kl(mu, logvar), mu))
    nll, kl, mu = (torch.cat(part) for part in zip(*parts))  # (N,), (N, D), (N, D)
    distortion = float(nll.mean())
    kl_per_dim = kl.mean(dim=0).cpu()  # (D,)
    rate = float(kl_per_dim.sum())
    checks.check_finite("-ELBO", distortion + rate)
    return Evaluation(-(distortion + rate), distortion, rate, kl_per_dim, active_units(mu))


def evaluation_images(digits: Digits, binarize: bool) -> Tensor:
    """The test images as :func:`fit` scores them: as they are, or one fixed binary draw.

    Args:
        digits: where the test images come from.
        binarize: whether to draw.

    Returns:
        (M, P) gray levels, or 0.0 and 1.0; the same draw at every call.

    Raises:
        TypeError, ValueError: if the test images are not pixels in [0, 1].
    """
    checks.check_kind(digits)
    checks.check_images(digits.test, "digits.test")
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    return draw_binary(digits.test, generator) if binarize else digits.test
