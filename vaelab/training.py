"""The training loop, and the evaluation that every result in the lessons goes through."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .data import Digits, check_images, check_kind
from .data import binarize as draw_binary
from .diagnostics import active_units, check_digits, check_inputs, device_of, seeded
from .losses import bernoulli_nll, gaussian_kl
from .model import Model, check_sizes
from .objectives import ELBO, Objective
from .schedules import check_range

EVALUATION_SEED = 0  # of the one binarisation that every evaluation of every run shares


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
        objective: the trained copy of the objective, in its end state; None in a history that
            was loaded from a file.
        train_loss: the objective at every step, nats per image.
        steps: steps after which the test images were evaluated; the lists below match it.
        elbo, distortion, rate: nats per test image, at beta = 1.
        kl_per_dim: (D,) each, nats.
        active_units: counts.
        weights: (D,) each, what multiplied the KL of each dimension at that step.
        interrupted: True if the run was stopped before its last step.
    """

    objective: Objective | None
    train_loss: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    elbo: list[float] = field(default_factory=list)
    distortion: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    kl_per_dim: list[Tensor] = field(default_factory=list)
    active_units: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    interrupted: bool = False

    @property
    def train_steps(self) -> range:
        """The steps that ``train_loss`` belongs to, counted from 1."""
        return range(1, len(self.train_loss) + 1)

    def record(self, step: int, evaluation: Evaluation) -> None:
        """Append one evaluation, and the weights that are in force."""
        if self.objective is None:
            raise ValueError("this history was loaded from a file and ends there: make a new one")
        self.steps.append(step)
        self.elbo.append(evaluation.elbo)
        self.distortion.append(evaluation.distortion)
        self.rate.append(evaluation.rate)
        self.kl_per_dim.append(evaluation.kl_per_dim)
        self.active_units.append(evaluation.active_units)
        self.weights.append(self.objective.weights(len(evaluation.kl_per_dim)).cpu())

    def stop(self) -> None:
        """Mark the run as interrupted, and drop an evaluation that was not written down whole."""
        self.interrupted = True
        per_evaluation = (self.steps, self.elbo, self.distortion, self.rate)
        for values in (*per_evaluation, self.kl_per_dim, self.active_units):
            del values[len(self.weights) :]


class Diverged(FloatingPointError):
    """A run whose loss or test score became NaN or infinite.

    Attributes:
        history: of the run up to there, marked as interrupted.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def fit(
    model: Model,
    digits: Digits,
    objective: Objective | None = None,
    *,
    steps: int = 3000,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    binarize: bool = False,
    evaluations: int = 10,
    progress: bool = True,
    device: str | torch.device | None = None,
    clip_norm: float | None = None,
    on_evaluation: Callable[[Model, int], None] | None = None,
) -> History:
    """Train a model in place.

    The same seed on the same machine gives bitwise the same weights, whatever ran before, and the
    global random state is left as it was found. Stopping the run (Ctrl-C, the stop button) keeps
    the model and the history so far.

    Args:
        model: a VAE or RowGRUVAE; trained in place, and back on its own device at the end.
        digits: trains on ``train``, evaluates on ``test``.
        objective: what to minimise, default :class:`~vaelab.objectives.ELBO`; a deep copy is used.
        steps: the budget, in minibatches.
        batch_size: images per step; every batch is full.
        lr: Adam's step size.
        seed: of the order of the images and of every sample.
        binarize: draw the training pixels anew for every batch, and evaluate on one fixed draw.
        evaluations: how often the test images are evaluated, evenly spaced, the last step included.
        progress: show a progress bar with -ELBO in nats.
        device: where to train, default where the model is.
        clip_norm: largest norm of the gradient; None leaves it alone.
        on_evaluation: called with the model and the step after each evaluation.

    Returns:
        The history of the run.

    Raises:
        TypeError: if an argument is of the wrong kind, such as a plain function as objective.
        ValueError: if a number is out of its range, the digits are not pixels in [0, 1] as the
            model takes them, or the batch is larger than the training set.
        Diverged: if the loss becomes NaN or infinite. The model then has the weights of the last
            evaluation, and the error's ``history`` what was recorded.

    Source:
        Kingma and Welling (2014), Algorithm 1; Kingma and Ba (2015) for Adam.
    """
    check_digits(model, digits)
    check_budget(len(digits.train), steps, batch_size, evaluations)
    check_rates(lr, clip_norm)
    check_choices(objective, binarize, on_evaluation)
    home, device = device_of(model), usable(device or device_of(model))
    train, test = (part.to(device) for part in (digits.train, evaluation_images(digits, binarize)))
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    history = History(objective := copy.deepcopy(objective or ELBO()))
    good = copy.deepcopy(model.state_dict())  # the weights of the last evaluation
    due = {round(steps * (i + 1) / evaluations) for i in range(evaluations)}
    with seeded(seed, device), progress_bar(steps, progress) as bar:
        try:
            for step, x in enumerate(islice(minibatches(train, batch_size), steps), start=1):
                x = draw_binary(x) if binarize else x  # (B, 784)
                done = (step - 1) / steps
                loss = train_step(model, x, objective, optimizer, done, clip_norm)
                check_finite("the training loss", loss)
                history.train_loss.append(loss)
                bar.update()
                if step in due:
                    history.record(step, evaluate(model, test))
                    good = copy.deepcopy(model.state_dict())
                    bar.set_postfix_str(f"test -ELBO {-history.elbo[-1]:.1f} nats")
                    if on_evaluation is not None:
                        with seeded(seed, device):  # what it draws does not change the run
                            on_evaluation(model, step)
        except KeyboardInterrupt:
            history.stop()
            bar.write(f"Stopped at step {len(history.train_loss)} of {steps}; the model is kept.")
        except FloatingPointError as error:
            advice = likely_cause(history, lr, clip_norm)
            model.load_state_dict(good)
            history.stop()
            raise Diverged(f"{error} at step {step} of {steps}. {advice}", history) from error
        finally:
            model.to(home)
    return history


def train_step(
    model: Model,
    x: Tensor,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    progress: float,
    clip_norm: float | None = None,
) -> float:
    """One step of gradient descent on one batch.

    Args:
        model: a VAE or RowGRUVAE.
        x: (B, 784) pixels in [0, 1].
        objective: called with distortion (B,), KL (B, D) and progress.
        optimizer: holds the model's parameters.
        progress: share of the run that is done, in [0, 1).
        clip_norm: largest norm of the gradient; None leaves it alone.

    Returns:
        The loss before the step, nats per image.

    Raises:
        TypeError: if the objective does not return a scalar tensor.
    """
    output = model(x)
    nll = bernoulli_nll(output.logits, x)  # (B,)
    kl = gaussian_kl(output.mu, output.logvar)  # (B, D)
    loss = objective(nll, kl, progress)
    check_scalar(loss)
    optimizer.zero_grad()
    loss.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return loss.item()


def minibatches(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Endless full batches in random order.

    Permutations follow one another; what is left of one begins the next batch, so no batch is
    short and no image is favoured.

    Args:
        images: (N, P).
        batch_size: B, images per batch.

    Yields:
        (B, P).

    Raises:
        ValueError: if ``images`` are not (N, P), or ``batch_size`` is not a positive integer; at
            the first batch.
    """
    check_sizes(batch_size=batch_size)
    if not isinstance(images, Tensor) or images.ndim != 2 or len(images) == 0:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a tensor (N, P) with N >= 1, got {got}")
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(images))])
        index = order[:batch_size].to(images.device)  # (B,)
        yield images.index_select(0, index)  # (B, P); takes half as long as images[index]
        order = order[batch_size:]


@torch.no_grad()
def evaluate(model: Model, images: Tensor, *, seed: int = 0, batch_size: int = 250) -> Evaluation:
    """Distortion and rate of a model at beta = 1, with one sampled z for each image.

    Args:
        model: a VAE or RowGRUVAE; neither changed nor switched to another mode.
        images: (N, 784) pixels in [0, 1], N >= 2.
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
    check_inputs(model, images, least=2)
    check_sizes(batch_size=batch_size)
    device, parts = device_of(model), []
    with seeded(seed, device):
        for batch in images.split(batch_size):
            x = batch.to(device)  # (B, 784)
            mu, logvar = model.encode(x)  # (B, D), (B, D)
            nll = -model.log_likelihood(x, model.reparameterize(mu, logvar))  # (B,)
            parts.append((nll, gaussian_kl(mu, logvar), mu))
    nll, kl, mu = (torch.cat(part) for part in zip(*parts))  # (N,), (N, D), (N, D)
    distortion = float(nll.mean())
    kl_per_dim = kl.mean(dim=0).cpu()  # (D,)
    rate = float(kl_per_dim.sum())
    check_finite("-ELBO", distortion + rate)
    active = active_units(mu)
    return Evaluation(-(distortion + rate), distortion, rate, kl_per_dim, active)


def evaluation_images(digits: Digits, binarize: bool) -> Tensor:
    """The test images as :func:`fit` scores them: as they are, or one fixed binary draw.

    Args:
        digits: where the test images come from.
        binarize: whether to draw.

    Returns:
        (M, 784) grey levels, or 0.0 and 1.0; the same draw at every call.

    Raises:
        TypeError, ValueError: if the test images are not pixels in [0, 1].
    """
    check_kind(digits)
    if not binarize:
        check_images(digits.test, "digits.test")
        return digits.test
    return draw_binary(digits.test, torch.Generator().manual_seed(EVALUATION_SEED))


def progress_bar(steps: int, shown: bool) -> tqdm:
    """A bar on standard output: the same in a terminal, in Jupyter and in a saved notebook."""
    return tqdm(total=steps, disable=not shown, file=sys.stdout, unit="step", mininterval=0.5)


def check_rates(lr: float, clip_norm: float | None) -> None:
    """Refuse a step size or a norm that is not positive and finite."""
    check_range("lr", lr, 0, math.inf, "()")
    check_range("clip_norm", 1.0 if clip_norm is None else clip_norm, 0, math.inf, "()")


def check_choices(objective: object, binarize: object, on_evaluation: object) -> None:
    """Refuse before the first step what would only fail at the first evaluation."""
    whole = callable(objective) and callable(getattr(objective, "weights", None))
    if isinstance(objective, type) or not (objective is None or whole):
        raise TypeError(
            "objective must be an object such as ELBO(), called with (nll, kl, progress) and with "
            f"a method weights(latent_dim), got {objective!r}; ELBO in vaelab.objectives shows how"
        )
    if not isinstance(binarize, bool):
        raise TypeError(f"binarize must be True or False, got {binarize!r}")
    if not (on_evaluation is None or callable(on_evaluation)):
        raise TypeError(f"on_evaluation must be a function or None, got {on_evaluation!r}")


def usable(device: str | torch.device) -> torch.device:
    """A device that this machine has; tried with a tensor of one number."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"device must be one that this machine has, such as 'cpu', got {device!r} ({error})"
        ) from error


def check_scalar(loss: Tensor) -> None:
    """Refuse what an objective returned if it is not one number."""
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"objective must return a scalar tensor (average the batch), got {got}")


def check_finite(name: str, value: float) -> None:
    """Stop at a value that is NaN or infinite."""
    if not math.isfinite(value):
        raise FloatingPointError(f"{name} is {value}")


def likely_cause(history: History, lr: float, clip_norm: float | None) -> str:
    """What to look at after a run diverged; its digits were checked before it began."""
    name, own = type(history.objective).__name__, type(history.objective).__module__
    advice = f"Most often lr is too large: try less than {lr:g}"
    advice += "." if clip_norm is not None else ", or clip_norm=5.0."
    if own != ELBO.__module__:
        advice += f" {name} is an objective of your own: look there for a division or a logarithm."
    kept = history.steps[-1] if history.steps else 0
    return f"{advice} The model has the weights of step {kept} again."


def check_budget(images: int, steps: int, batch_size: int, evaluations: int) -> None:
    """Refuse a run that could not take place as asked."""
    check_sizes(steps=steps, batch_size=batch_size, evaluations=evaluations)
    if evaluations > steps:
        raise ValueError(f"evaluations must be at most steps, got {evaluations} > {steps}")
    if batch_size > images:
        raise ValueError(f"batch_size {batch_size} is more than the {images} training images")
