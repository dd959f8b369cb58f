"""What is saved comes back bit by bit; what is damaged or foreign is refused, and runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelab import VAE, LinearVAE, RowGRUVAE, SoftFreeBits, evaluate, fit, load, prune, save
from vaelab.training import History


@pytest.fixture(scope="module")
def run(few) -> tuple[VAE, History]:
    torch.manual_seed(0)
    model = VAE(latent_dim=3, hidden_dim=4)
    options = {"steps": 6, "batch_size": 8, "evaluations": 2, "progress": False}
    return model, fit(model, few, SoftFreeBits(), **options)


@pytest.fixture(scope="module")
def content(run, tmp_path_factory) -> bytes:
    """The bytes of a saved file, which hypothesis shall not print."""
    path = tmp_path_factory.mktemp("saved") / "run.pt"
    save(path, *run)
    return Quiet(path.read_bytes())


class Quiet(bytes):
    def __repr__(self) -> str:
        return f"{len(self)} bytes"


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_history(first: History, second: History) -> bool:
    tensors = ("kl_per_dim", "weights")
    return all(getattr(first, name) == getattr(second, name) for name in PLAIN) and all(
        torch.equal(torch.stack(getattr(first, name)), torch.stack(getattr(second, name)))
        for name in tensors
    )


PLAIN = ("train_loss", "steps", "elbo", "distortion", "rate", "active_units", "interrupted")


def test_saving_and_loading_keep_every_bit_and_leave_the_random_state_alone(run, few, tmp_path):
    before = torch.get_rng_state()
    save(tmp_path / "run.pt", *run)
    model, history = load(tmp_path / "run.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(model, run[0]) and same_history(history, run[1])
    assert evaluate(model, few.test).elbo == run[1].elbo[-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "run.pt"]
    with pytest.raises(ValueError, match="loaded from a file"):
        history.record(7, evaluate(model, few.test))
    assert same_history(history, run[1])
    save(tmp_path / "run.pt", run[0], History(None, [1.0], interrupted=True))
    assert load(tmp_path / "run.pt")[1].interrupted


@pytest.mark.parametrize(
    "model",
    [
        VAE(4, 5, data_dim=9),
        RowGRUVAE(2, 3),
        RowGRUVAE(2, 3, use_z=False),
        LinearVAE(3, 9, noise=0.2),
        prune(VAE(4, 5), [1, 3]),
        prune(RowGRUVAE(4, 5), [0]),
        VAE(2, 3, data_dim=4).double(),
    ],
)
def test_every_model_comes_back_without_a_history(model, tmp_path):
    save(str(tmp_path / "model.pt"), model)
    again, history = load(str(tmp_path / "model.pt"))
    assert (type(again), again.latent_dim, history) == (type(model), model.latent_dim, None)
    assert same_weights(again, model)
    assert {p.dtype for p in again.parameters()} == {p.dtype for p in model.parameters()}


# --- what is not a whole file of ours -----------------------------------------------------------


def refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must be a file that vaelab\.save wrote") as refusal:
        load(path)
    assert str(path) in str(refusal.value)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(content, tmp_path_factory, share):
    path = tmp_path_factory.getbasetemp() / "cut.pt"
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_file_is_refused_or_harmless(content, run, tmp_path_factory, share, flip):
    path, at = tmp_path_factory.getbasetemp() / "changed.pt", int(share * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    try:
        model, history = load(path)
    except ValueError as error:
        assert "path must be a file that vaelab.save wrote" in str(error)
    else:  # a byte of padding or of a name that nobody reads
        assert same_weights(model, run[0]) and same_history(history, run[1])


def torch_bytes(thing: object) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


WEIGHTS = VAE(2, 3, data_dim=4).state_dict()
SIZES = {"latent_dim": 2, "hidden_dim": 3, "data_dim": 4}
OURS = {"format": "vaelab 2", "kind": "VAE", "sizes": SIZES, "weights": WEIGHTS, "history": None}
FOREIGN = {
    "empty": b"",
    "a page of a proxy": b"<!DOCTYPE html><title>Log in</title>",
    "a zip": zipped(data=b"1"),
    "only weights": torch_bytes(WEIGHTS),
    "a tensor": torch_bytes(torch.ones(3)),
    "a list": torch_bytes([1, 2]),
    "a newer format": torch_bytes(OURS | {"format": "vaelab 3"}),
    "another class": torch_bytes(OURS | {"kind": "History"}),
    "sizes that do not fit": torch_bytes(OURS | {"sizes": SIZES | {"latent_dim": 5}}),
    "sizes that are none": torch_bytes(OURS | {"sizes": {"latent_dim": -1}}),
    "a missing weight": torch_bytes(OURS | {"weights": dict(list(WEIGHTS.items())[1:])}),
    "no weights": torch_bytes(OURS | {"weights": {}}),
    "a history of another kind": torch_bytes(OURS | {"history": {"epochs": [1]}}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(kind, tmp_path):
    (tmp_path / "file.pt").write_bytes(FOREIGN[kind])
    refused(tmp_path / "file.pt")


def test_the_made_up_file_would_be_read_if_it_were_right(tmp_path):
    (tmp_path / "file.pt").write_bytes(torch_bytes(OURS))
    assert load(tmp_path / "file.pt")[0].state_dict()["to_mu.bias"].equal(WEIGHTS["to_mu.bias"])


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load(tmp_path / "nowhere.pt")


class Planted:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize(
    "write", [torch_bytes, pickle.dumps, lambda p: torch_bytes(OURS | {"history": p})]
)
def test_a_file_cannot_run_code(write, tmp_path):
    (tmp_path / "file.pt").write_bytes(write(Planted(tmp_path / "ran")))
    refused(tmp_path / "file.pt")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Planted(tmp_path / "ran")))  # and it would have
    assert (tmp_path / "ran").exists()


# --- when it cannot be written ------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(tmpfs, run):
    save(tmpfs / "run.pt", *run)
    before = (tmpfs / "run.pt").read_bytes()
    with pytest.raises(OSError, match=r"run\.pt could not be written, what was there is unchanged"):
        save(tmpfs / "run.pt", VAE())  # 2.8 MB
    assert (tmpfs / "run.pt").read_bytes() == before
    assert [path.name for path in tmpfs.iterdir()] == ["run.pt"]


def test_what_is_no_file_is_not_replaced(run, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="path must be a file, new or to be replaced"):
            save(tmp_path / name, *run)
    with pytest.raises(OSError, match="could not be written"):
        save(tmp_path / "nowhere" / "run.pt", *run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", [(Path, "write_bytes"), (os, "replace")])
def test_a_stop_in_the_middle_leaves_what_was_there(run, tmp_path, monkeypatch, where, error):
    save(tmp_path / "run.pt", *run)
    before = (tmp_path / "run.pt").read_bytes()

    def stopped(path: Path, _: object) -> None:
        path.write_text("half")
        raise error

    monkeypatch.setattr(*where, stopped)
    with pytest.raises(error):
        save(tmp_path / "run.pt", VAE(2, 3))
    assert (tmp_path / "run.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
