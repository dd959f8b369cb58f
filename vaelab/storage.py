"""A model and its history in one file, written whole or not at all, read without running code."""

from __future__ import annotations

import os
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from .diagnostics import check_model
from .model import VAE, Model, RowGRUVAE
from .training import History

FORMAT = "vaelab 1"
KINDS: dict[str, Any] = {"VAE": VAE, "RowGRUVAE": RowGRUVAE}
RECORDED = [field.name for field in fields(History) if field.name != "objective"]


def save(path: str | os.PathLike, model: Model, history: History | None = None) -> None:
    """Write a model, and what `fit` recorded, to a file.

    The file is written beside ``path`` and moved there when it is complete, so a full disk or a
    stop in the middle leaves what was there before.

    Args:
        path: the file, such as ``"vanilla.pt"``; its folder must exist.
        model: a VAE or RowGRUVAE, pruned or not.
        history: what :func:`~vaelab.training.fit` returned. Its objective is not kept, only the
            weights that it gave at each evaluation.

    Raises:
        TypeError: if it is another model, whose class a reader of the file would not know, or
            ``history`` is none, or ``path`` no path.
        OSError: if the file cannot be written.
    """
    path = _checked(path)
    if path.exists() and not path.is_file():  # a folder, or a device, which would be replaced
        raise OSError(f"path must be a file, new or to be replaced, got {path}, which is none")
    content = {"format": FORMAT, **_described(model), **_recorded(history)}
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
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
        The model, on the CPU, and its history, None if none was saved. The history's objective is
        None.

    Raises:
        TypeError: if ``path`` is no path.
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or not a file that :func:`save` wrote.
    """
    data = BytesIO(_checked(path).read_bytes())
    try:
        if (bad := ZipFile(data).testzip()) is not None:
            raise ValueError(f"the checksum of {bad} is wrong")
        data.seek(0)
        content = torch.load(data, map_location="cpu", weights_only=True)
        return _model(content), _history(content)
    except Exception as error:  # bytes that came from anywhere can fail in any way
        raise ValueError(
            f"path must be a file that vaelab.save wrote, whole; got {path}, which is damaged or "
            f"something else ({type(error).__name__}). Copy it again, or save anew"
        ) from error


def _checked(path: str | os.PathLike) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the path of a file, got {path!r}")
    return Path(path)


def _described(model: Model) -> dict[str, Any]:
    check_model(model)
    kind = type(model).__name__
    if KINDS.get(kind) is not type(model):
        raise TypeError(
            f"model must be a VAE or RowGRUVAE, got {kind}: "
            "save the weights of a class of your own with torch.save(model.state_dict(), path)"
        )
    sizes = {"latent_dim": model.latent_dim, "hidden_dim": model.from_data.out_features}
    sizes |= {"data_dim": model.data_dim} if kind == "VAE" else {}
    return {"kind": kind, "sizes": sizes, "weights": model.state_dict()}


def _recorded(history: History | None) -> dict[str, Any]:
    if not isinstance(history, (History, type(None))):
        raise TypeError(f"history must be what fit returned, or None, got {history!r}")
    return {"history": history and {name: getattr(history, name) for name in RECORDED}}


def _model(content: dict[str, Any]) -> Model:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"it does not say {FORMAT!r}")
    model = KINDS[content["kind"]](**content["sizes"])
    model.to(next(iter(content["weights"].values())).dtype)
    model.load_state_dict(content["weights"])
    return model


def _history(content: dict[str, Any]) -> History | None:
    recorded = content["history"]
    return None if recorded is None else History(None, **recorded)
