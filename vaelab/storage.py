"""A model and its history in one file, written whole or not at all, read without running code."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields
from io import BytesIO
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from .checks import check_model, check_path
from .model import VAE, LinearVAE, Model, RowGRUVAE
from .runs import NotKept, measuring, seeded
from .training import History

FORMAT = "vaelab 2"
KINDS: dict[str, Any] = {"VAE": VAE, "LinearVAE": LinearVAE, "RowGRUVAE": RowGRUVAE}
RECORDED = [field.name for field in fields(History) if field.name != "objective"]


def save(path: str | os.PathLike, model: Model, history: History | None = None) -> None:
    """Write a model, and what `fit` recorded, to a file.

    Before anything is written, the content is read back and must give the same model. The file is
    written beside ``path`` and moved there when it is complete, so a full disk or a stop in the
    middle leaves what was there before.

    Args:
        path: the file, such as ``"vanilla.pt"``; its folder must exist.
        model: a model of this package, pruned or not.
        history: what :func:`~vaelab.training.fit` returned. Its objective and optimizer are kept as
            numbers, without their code: to go on with ``resume``, pass them again.

    Raises:
        TypeError: if the model could not be rebuilt from its class and sizes (a class, a layer or
            a method of your own), or ``history`` is none, or ``path`` no path.
        OSError: if the file cannot be written.
    """
    path = check_path("path", path)
    if path.exists() and not path.is_file():  # a folder, or a device, which would be replaced
        raise OSError(f"path must be a file, new or to be replaced, got {path}, which is none")
    data = BytesIO()
    torch.save({"format": FORMAT, **_described(model), **_recorded(history)}, data)
    _check_rebuilt(model, data)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data.getvalue())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(
            f"{path} could not be written, what was there is unchanged: {error}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> tuple[Model, History | None]:
    """Read what :func:`save` wrote; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        The model, on the CPU, and its history, None if none was saved. Its objective only says
        what it was.

    Raises:
        TypeError: if ``path`` is no path.
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, comes from another version, or is something else.
    """
    path = check_path("path", path)
    refusal = f"path must be a file that vaelab.save wrote, whole; got {path}"
    return _read(BytesIO(path.read_bytes()), refusal)


def _read(data: BytesIO, refusal: str) -> tuple[Model, History | None]:
    try:
        if (bad := ZipFile(data).testzip()) is not None:
            raise BadZipFile(f"the checksum of {bad} is wrong")
        data.seek(0)
        content = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that came from anywhere can fail in any way
        raise ValueError(
            f"{refusal}, which is damaged or something else ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no more is known'}). Copy it again, "
            "or save anew"
        ) from error
    said = content.get("format") if isinstance(content, dict) else None
    if not isinstance(said, str) or not said.startswith("vaelab "):
        raise ValueError(f"{refusal}, which holds something else: it does not say {FORMAT!r}")
    if said != FORMAT or content["kind"] not in KINDS:
        what = f"{said!r}, {content.get('kind')}"
        raise ValueError(f"{refusal}, from another version of vaelab: it says {what}")
    try:
        return _model(content), _history(content)
    except Exception as error:
        raise ValueError(
            f"{refusal}, whose weights are not those of this version's {content['kind']}: {error}"
        ) from error


def _described(model: Model) -> dict[str, Any]:
    check_model(model)
    kind = type(model)
    if KINDS.get(kind.__name__) is not kind:
        raise TypeError(
            f"model must be one of {', '.join(KINDS)}, got {kind.__name__}: keep the weights of a "
            "class of your own, or of a compiled model, with torch.save(model.state_dict(), path)"
        )
    sizes = {name: getattr(model, name) for name in inspect.signature(kind).parameters}
    return {"kind": kind.__name__, "sizes": sizes, "weights": model.state_dict()}


def _check_rebuilt(model: Model, data: BytesIO) -> None:
    """Refuse a model that a reader of the file would not get back: it must compute the same."""
    own = "model must be as its class makes it, but a layer or a method was changed: {}. Keep its "
    own += "weights with torch.save(model.state_dict(), path)"
    try:
        rebuilt, _ = _read(data, "what was written")
    except ValueError as error:
        raise TypeError(own.format(error)) from error
    x = torch.rand(2, model.data_dim, generator=torch.Generator().manual_seed(0))
    if _answers(model, x) != _answers(rebuilt.to(next(model.parameters()).device), x):
        raise TypeError(own.format("the rebuilt one answers otherwise"))


def _answers(model: Model, x: torch.Tensor) -> list[bytes]:
    """What a model says of two images, and one that it draws."""
    with measuring(model) as exact:
        x = x.round().to(next(exact.parameters()))
        z = exact.reparameterize(*exact.encode(x))
        answers = (*exact.encode(x), z, exact.log_likelihood(x, z), exact.sample(1))
        return [answer.cpu().numpy().tobytes() for answer in answers]


def _recorded(history: History | None) -> dict[str, Any]:
    if not isinstance(history, (History, type(None))):
        raise TypeError(f"history must be what fit returned, or None, got {history!r}")
    if history is None:
        return {"history": None}
    kind = getattr(history.objective, "kind", type(history.objective).__name__)
    return {"history": {name: getattr(history, name) for name in RECORDED}, "objective": kind}


def _model(content: dict[str, Any]) -> Model:
    with seeded(0):  # a new model draws weights, which must not move the global random state
        model = KINDS[content["kind"]](**content["sizes"])
    model.to(next(iter(content["weights"].values())).dtype)
    model.load_state_dict(content["weights"])
    return model


def _history(content: dict[str, Any]) -> History | None:
    recorded = content["history"]
    return None if recorded is None else History(NotKept(content["objective"]), **recorded)
