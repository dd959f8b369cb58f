"""What surrounds a loop: seeds, threads, precision, modes, the progress bar, rescue and resumption.

Nothing here updates a parameter, draws a sample or orders a batch; that is `training`.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .checks import HALF, NotFinite, check_seed, device_of, dtype_of
from .losses import bernoulli_nll

ONE_AT_A_TIME = threading.RLock()  # threads of one process share one random state
PLAIN = (Tensor, bool, int, float, str, type(None))  # what a file may hold of an objective


class Diverged(FloatingPointError):
    """A run whose loss or test score became NaN or infinite.

    Attributes:
        history: of the run up to there, marked as interrupted.
    """

    def __init__(self, message: str, history: Any) -> None:
        super().__init__(message)
        self.history = history


# ------------------------------------------------------------------------------ around any pass


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw from a seeded random state inside, and leave the global one as it was."""
    check_seed(seed)
    device = device or torch.device("cpu")
    on_gpu = device.type == "cuda"
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(int(seed))  # of the CPU only: the rest is not restored
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int(seed))
        yield


@contextmanager
def threads_set(count: int | None) -> Iterator[None]:
    """Compute with so many threads inside; None leaves PyTorch's setting.

    One thread gives the same numbers on any number of cores, and beside other work it is several
    times faster than two, which wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def plain_arithmetic(device: torch.device) -> Iterator[None]:
    """No autocast and no inference mode inside, whatever surrounds the call."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        yield


@contextmanager
def fitting(threads: int | None = 1, device: torch.device | None = None) -> Iterator[None]:
    """Compute gradients inside, in plain arithmetic, whatever surrounds the call."""
    with (
        ONE_AT_A_TIME,
        threads_set(threads),
        plain_arithmetic(device or torch.device("cpu")),
        torch.enable_grad(),
    ):
        yield


@contextmanager
def measuring(model: nn.Module, seed: int = 0) -> Iterator[Any]:
    """Measure inside: in eval mode, in float32 or better, seeded, one thread, without gradients.

    Args:
        model: left in the mode in which it was, part by part.
        seed: of what is drawn inside.

    Yields:
        The model; a float32 copy of it if its parameters have half precision.
    """
    model = copy.deepcopy(model).float() if dtype_of(model) in HALF else model
    device = device_of(model)
    modes = {module: module.training for module in model.modules()}
    with seeded(seed, device), threads_set(1), plain_arithmetic(device), torch.no_grad():
        model.eval()
        try:
            yield model
        finally:
            for module, mode in modes.items():
                module.training = mode


# --------------------------------------------------------------------------------- around a run


def own_copy(objective: Any, model: nn.Module) -> Any:
    """A copy of an objective with a state of its own, in which the model stays this model."""
    parts = [*model.modules(), *model.parameters(), *model.buffers()]
    return copy.deepcopy(objective, {id(part): part for part in parts})


def begin(
    kind: type, model: nn.Module, objective: Any, default: Any, resume: Any, settings: dict
) -> Any:
    """The history of a run: a new one, or that to go on with.

    Args:
        kind: the class of histories.
        model: what will be trained.
        objective: what will be minimized; None for ``default``, or for that of ``resume``.
        default: see there.
        resume: a history, or None.
        settings: of this call.
    """
    if resume is not None:
        return continued(resume, model, objective, settings)
    say_if_repeated(model, settings["seed"])
    return kind(own_copy(default if objective is None else objective, model))


def trainable(model: nn.Module, objective: Any) -> list[nn.Parameter]:
    """The parameters of the model, and those of an objective that is a module, each once."""
    owners = [model, objective] if isinstance(objective, nn.Module) else [model]
    return list({id(p): p for owner in owners for p in owner.parameters()}.values())


def weights_of(objective: Any, latent_dim: int) -> Tensor:
    """(D,) what multiplied the KL of each dimension; NaN if the objective does not say."""
    weights = getattr(objective, "weights", None)
    if weights is None:
        return torch.full((latent_dim,), torch.nan)
    return torch.as_tensor(weights(latent_dim), dtype=torch.float32).detach().cpu()


class Run:
    """A run of `fit` while it lasts: what to record, when to stop, what to bring back.

    Args:
        model: what is trained, already on ``device``.
        optimizer: what trains it.
        batches: an iterator whose ``order`` says what is left of the permutation.
        history: where the run is recorded; may hold an earlier part of it.
        settings: what must be the same when the run is resumed.
        bar: shows progress.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Any,
        history: Any,
        settings: dict[str, Any],
        bar: tqdm,
    ) -> None:
        self.model, self.optimizer, self.batches, self.history = model, optimizer, batches, history
        self.settings, self.bar = settings, bar
        self.good = copy.deepcopy(model.state_dict())  # the weights of the last evaluation
        self.step = len(history.train_loss)
        self.asked_to_stop = self.between_steps = False

    def steps(self) -> Iterator[int]:
        """The numbers of the steps that are still to be done; a stop acts between them."""
        for step in range(self.step + 1, self.settings["steps"] + 1):
            self.step = step
            self.between_steps = self.asked_to_stop
            if self.between_steps:
                raise KeyboardInterrupt
            self.model.train()
            yield step
            self.bar.update()

    def evaluated(
        self, step: int, evaluation: Any, images: Tensor, callback: Callable | None
    ) -> None:
        """Record an evaluation of images; then the callback sees the model: True ends the run."""
        self.history.record(step, evaluation)
        self.good = copy.deepcopy(self.model.state_dict())
        if len(self.history.steps) == 1:
            say_if_probabilities(self.model, images[:8])
        self.bar.set_postfix_str(f"test -ELBO {-evaluation.elbo:.1f} nats")
        if callback is not None:
            seed, device = self.settings["seed"], device_of(self.model)
            try:
                with seeded(seed, device):  # what it draws does not change the run
                    self.history.stopped = callback(self.model, step) is True
            except StopIteration:
                self.history.stopped = True
            except NotFinite as error:  # of a measurement of its own, not of this run
                raise FloatingPointError(str(error)) from error

    def ask_to_stop(self, signum: int, frame: Any) -> None:
        """What Ctrl-C does: the first waits for the end of the step, the second does not."""
        if self.asked_to_stop:
            raise KeyboardInterrupt
        self.asked_to_stop = True

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, beside the weights of the model; on the CPU."""
        device = device_of(self.model)
        on_gpu = device.type == "cuda"
        return {
            "settings": dict(self.settings),
            "optimizer": on_cpu(self.optimizer.state_dict()),
            "order": self.batches.order.clone(),
            "random": torch.get_rng_state(),
            "random on the GPU": torch.cuda.get_rng_state(device) if on_gpu else None,
            "objective": on_cpu(state_of(self.history.objective)),
            "weights": fingerprint(self.model),
        }


@contextmanager
def running(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    history: Any,
    settings: dict[str, Any],
    device: torch.device,
    threads: int | None,
    progress: bool,
) -> Iterator[Run]:
    """Train inside; whatever happens there, model and history are whole afterward.

    Args:
        model, optimizer, batches, history, settings: as in :class:`Run`.
        device: where to train; afterward everything is back where it was.
        threads: how many to compute with; None leaves PyTorch's setting.
        progress: show a bar.
    """
    home, steps = device_of(model), settings["steps"]
    before, history.state = history.state, None
    if before is not None:
        settings = {**settings, "seed": before["settings"]["seed"]}
    with ExitStack() as stack:
        stack.enter_context(seeded(settings["seed"], device))
        stack.enter_context(fitting(threads, device))
        bar = stack.enter_context(progress_bar(steps, progress, len(history.train_loss)))
        move(device, model, history.objective)
        stack.callback(move, home, model, history.objective)
        restore(before, optimizer, batches, device)
        run = Run(model, optimizer, batches, history, settings, bar)
        stack.enter_context(interrupted_by(run.ask_to_stop))
        try:
            yield run
            history.state = run.state()
        except KeyboardInterrupt:
            history.stop()
            if run.between_steps:  # elsewhere a step may be half done
                history.state = run.state()
            done = len(history.train_loss)
            bar.write(f"Stopped at step {done} of {steps}; the model is kept.")
        except NotFinite as error:
            advice = likely_cause(history, settings["lr"], settings["clip_norm"])
            model.load_state_dict(run.good)
            history.stop()
            where = f"at step {run.step} of {steps}"
            raise Diverged(f"{error} {where}. {advice}", history) from error


def move(device: torch.device, *parts: Any) -> None:
    """Move those that are modules, and the tensors of others, such as a gamma."""
    for part in parts:
        if isinstance(part, nn.Module):
            part.to(device)
            continue
        own = getattr(part, "__dict__", {})
        own |= {
            n: v.to(device) for n, v in own.items() if type(v) is Tensor and not v.requires_grad
        }


def on_cpu(value: Any) -> Any:
    """A copy, its tensors on the CPU: a history that is kept holds none of a GPU's memory."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {name: on_cpu(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(on_cpu, value))
    return copy.deepcopy(value)


@contextmanager
def interrupted_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle Ctrl-C so inside; only the main thread gets signals, elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def progress_bar(steps: int, shown: bool, done: int = 0) -> tqdm:
    """A bar on standard output: the same in a terminal, in Jupyter and in a saved notebook."""
    return tqdm(
        total=steps, initial=done, disable=not shown, file=sys.stdout, unit="step", mininterval=0.5
    )


def likely_cause(history: Any, lr: float, clip_norm: float | None) -> str:
    """What to look at after a run diverged; its digits were checked before it began."""
    name, own = type(history.objective).__name__, type(history.objective).__module__
    advice = f"Most often lr is too large: try less than {lr:g}"
    advice += "." if clip_norm is not None else ", or clip_norm=5.0."
    if own != "vaelab.objectives":
        advice += f" {name} is an objective of your own: look there for a division or a logarithm."
    kept = history.steps[-1] if history.steps else 0
    return f"{advice} The model has the weights of step {kept} again."


def say_if_repeated(model: nn.Module, seed: int) -> None:
    """Say that a second `fit` with the seed of the first shows the model the same batches again."""
    seeds = model.__dict__.setdefault("_seeds_of_fit", set())
    if seed in seeds:
        warnings.warn(
            f"this model was fitted with seed={seed} before: fit starts anew and repeats the same "
            "batches. resume=history goes on where the first run ended; another seed draws others",
            stacklevel=4,
        )
    seeds.add(seed)


def say_if_probabilities(model: Any, x: Tensor) -> None:
    """Say that a decoder seems to end in a sigmoid, which belongs into the loss.

    Args:
        model: asked only if its log-likelihood is that of Bernoulli pixels with these logits.
        x: (B, P) pixels in [0, 1].
    """
    if not hasattr(model, "decode"):
        return
    with measuring(model) as exact:
        z = exact.reparameterize(*exact.encode(x))  # (B, D)
        logits, likelihood = exact.decode(z), exact.log_likelihood(x, z)  # (B, P), (B,)
        low, high = logits.aminmax()
        inside = bool(0 <= low < high <= 1) and x.shape[1] >= 16 and logits.shape == x.shape
        if inside and torch.allclose(-bernoulli_nll(logits, x), likelihood):
            warnings.warn(
                "all outputs of decode lie in [0, 1], as after a sigmoid, but log_likelihood takes "
                "them for log-odds: leave the sigmoid out of decode, or no pixel can be predicted "
                "better than 0.31 nats",
                stacklevel=4,
            )


# ------------------------------------------------------------------------------------ resumption


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, tensors too."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other


def fingerprint(model: nn.Module) -> str:
    """What tells the weights of a model from any others."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def state_of(objective: Any) -> dict[str, Any]:
    """The numbers in an objective, for a file: never its code.

    Returns:
        Its class, its attributes that are plain, the names of those that are neither plain nor
        functions (which no file can hold), and its parameters if it is a module.
    """
    own = {} if isinstance(objective, nn.Module) else getattr(objective, "__dict__", {})
    values = {name: copy.deepcopy(v) for name, v in own.items() if isinstance(v, PLAIN)}
    return {
        "kind": type(objective).__name__,
        "values": values,
        "unknown": [n for n, v in own.items() if n not in values and not callable(v)],
        "parameters": objective.state_dict() if isinstance(objective, nn.Module) else None,
    }


def restore_objective(objective: Any, state: dict[str, Any]) -> None:
    """Put the state that :func:`state_of` took into an objective of the same class and settings.

    Raises:
        ValueError: if class or settings are others, or its state could not be kept.
    """
    if type(objective).__name__ != state["kind"]:
        raise ValueError(
            f"objective must be the {state['kind']} of the history, got {type(objective).__name__}"
        )
    if state["unknown"]:
        raise ValueError(
            f"objective must keep its state in numbers and tensors to be resumed from a file, "
            f"got {state['unknown']}"
        )
    own = vars(objective) if hasattr(objective, "__dict__") else {}
    for name in inspect.signature(type(objective).__init__).parameters.keys() & state["values"]:
        if name in own and not same(own[name], state["values"][name]):
            raise ValueError(
                f"objective must have {name}={state['values'][name]} as in resume, got {own[name]}"
            )
    if state["parameters"] is not None:
        objective.load_state_dict(state["parameters"])
    elif state["values"]:
        own.update(copy.deepcopy(state["values"]))


def restore(
    state: dict[str, Any] | None,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    device: torch.device,
) -> None:
    """Go on with optimizer, order and random numbers where the state ends; None is a new run."""
    if state is None:
        return
    optimizer.load_state_dict(state["optimizer"])
    batches.order = state["order"].clone()
    torch.set_rng_state(state["random"])
    if device.type == "cuda" and state["random on the GPU"] is not None:
        torch.cuda.set_rng_state(state["random on the GPU"], device)


class NotKept:
    """In the place of the objective, in a history from a file: it says what it was, and no more.

    Args:
        kind: the name of its class.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def weights(self, latent_dim: int) -> Tensor:
        """Refused: there is nothing to ask."""
        raise ValueError(f"this history was loaded from a file and ends there: it has {self!r}")

    def __repr__(self) -> str:
        return f"<the {self.kind} of a run from a file, which holds no code: make it anew>"


def continued(history: Any, model: nn.Module, objective: Any, given: dict[str, Any]) -> Any:
    """The history to go on with: a copy of what was passed as ``resume``, with its objective.

    Args:
        history: what was passed.
        model: must have the weights with which the history ends.
        objective: what will be minimized; None for that of the history.
        given: settings of this call; all but the seed must be those of the history.

    Raises:
        TypeError: if ``history`` is none, or lacks the objective.
        ValueError: if it cannot be resumed, or not with this model or these arguments.
    """
    if not hasattr(history, "train_loss"):
        raise TypeError(f"resume must be what fit returned, or None, got {history!r}")
    if (state := history.state) is None:
        raise ValueError("resume must be a run that ended between two steps; this one broke off")
    if objective is None and isinstance(history.objective, NotKept):
        raise TypeError(f"objective must be passed again with this resume: {history.objective!r}")
    if fingerprint(model) != state["weights"]:
        raise ValueError("resume must belong to this model, got one of other weights")
    chosen = own_copy(history.objective if objective is None else objective, model)
    if objective is not None:
        restore_objective(chosen, state["objective"])
    check_settings(state["settings"], given, chosen)
    lists = {f.name: copy.copy(getattr(history, f.name)) for f in fields(history)}
    return type(history)(**lists | {"objective": chosen, "interrupted": False, "stopped": False})


def check_settings(before: dict[str, Any], given: dict[str, Any], objective: Any) -> None:
    """Refuse arguments with which a resumed run would not be as if it had never stopped."""
    for name in given.keys() - {"seed", "steps"}:
        if given[name] != before[name]:
            raise ValueError(f"{name} must be {before[name]!r} as in resume, got {given[name]!r}")
    if given["steps"] != before["steps"] and not getattr(objective, "ignores_progress", False):
        raise ValueError(
            f"steps must be {before['steps']} as in resume, got {given['steps']}: "
            f"{type(objective).__name__} depends on the share of the run that is done. Give an "
            "objective that does not an attribute ignores_progress = True"
        )
