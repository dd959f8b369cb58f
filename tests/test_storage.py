"""What is saved comes back bit by bit; what is damaged or foreign is refused, and runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelab import VAE, LinearVAE, RowGRUVAE, SoftFreeBits, evaluate, fit, load, prune, save
from vaelab.training import History


@pytest.fixture(scope="module")
def saved(few, tmp_path_factory):
    """A file, and the model and its history that it holds."""
    torch.manual_seed(0)
    path, model = tmp_path_factory.mktemp("saved") / "run.pt", VAE(latent_dim=3, hidden_dim=4)
    options = {"steps": 6, "batch_size": 8, "evaluations": 2, "progress": False}
    history = fit(model, few, SoftFreeBits(), **options)
    save(path, model, history)
    return path, model, history


def kept(model, history: History | None = None) -> str:
    """Every bit of a model and its history, but for the objective, of which a file has no code."""
    parts = [model.state_dict(), history and vars(history) | {"objective": None}]
    return json.dumps(parts, default=lambda tensor: (str(tensor.dtype), tensor.tolist()))


def test_saving_and_loading_keep_every_bit_and_leave_the_random_state_alone(saved, few, tmp_path):
    path, (_, *run) = tmp_path / "run.pt", saved
    before = torch.get_rng_state()
    save(path, *run)
    model, history = load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert kept(model, history) == kept(*run) and list(tmp_path.iterdir()) == [path]
    assert evaluate(model, few.test).elbo == history.elbo[-1]
    with pytest.raises(ValueError, match="loaded from a file"):
        history.record(7, evaluate(model, few.test))
    assert kept(model, history) == kept(*run)  # nothing was recorded


def test_every_model_comes_back_without_a_history(tmp_path):
    path = str(tmp_path / "model.pt")
    pruned = prune(VAE(4, 5), [1, 3]), prune(RowGRUVAE(4, 5), [0])
    rows = RowGRUVAE(2, 3), RowGRUVAE(2, 3, use_z=False)
    for model in (VAE(4, 5, 9), VAE(2, 3, 4).double(), LinearVAE(3, 9, noise=0.2), *rows, *pruned):
        save(path, model)
        again, history = load(path)
        assert (type(again), again.latent_dim, history) == (type(model), model.latent_dim, None)
        assert kept(again) == kept(model)


def refused(path: Path, content: object, said: str = "") -> None:
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"path must be a file that vaelab\.save wrote") as refusal:
        load(path)
    assert str(path) in str(refusal.value) and said in str(refusal.value)


@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_file_is_refused_or_harmless(saved, share, flip):
    content, path = bytearray(saved[0].read_bytes()), saved[0].with_name("damaged.pt")
    at = int(share * len(content))
    refused(path, bytes(content[:at]), "damaged")
    content[at] ^= flip
    path.write_bytes(content)
    try:
        again = load(path)
    except ValueError as error:
        assert "path must be a file that vaelab.save wrote" in str(error)
    else:  # a byte of padding or of a name that nobody reads
        assert kept(*again) == kept(*saved[1:])


WEIGHTS = VAE(2, 3, data_dim=4).state_dict()
SIZES = {"latent_dim": 2, "hidden_dim": 3, "data_dim": 4}
OURS = {"format": "vaelab 2", "kind": "VAE", "sizes": SIZES, "weights": WEIGHTS, "history": None}
FOREIGN = [  # what the file holds, and what the message says
    (b"", "damaged"),
    (b"<!DOCTYPE html><title>Log in</title>", "damaged"),
    (b"PK\x05\x06" + bytes(18), "damaged"),  # a zip, of nothing
    (WEIGHTS, "something else: it does not say 'vaelab 2'"),
    (torch.ones(3), "something else: it does not say 'vaelab 2'"),
    ({"format": "vaelab 99"}, "another version of vaelab: it says 'vaelab 99'"),
    (OURS | {"kind": "History"}, "another version of vaelab"),
    (OURS | {"sizes": SIZES | {"latent_dim": 5}}, "not those of this version's VAE"),
    (OURS | {"sizes": {"latent_dim": -1}}, "latent_dim must be"),
    (OURS | {"weights": dict(list(WEIGHTS.items())[1:])}, "not those of this version's VAE"),
    (OURS | {"weights": {}}, "not those of this version's VAE"),
    (OURS | {"history": {"epochs": [1]}}, "not those of this version's VAE"),
]


def test_a_foreign_file_is_refused(tmp_path):
    for content, said in FOREIGN:
        refused(tmp_path / "file.pt", content, said)
    torch.save(OURS, tmp_path / "file.pt")  # nothing else was wrong with it
    assert load(tmp_path / "file.pt")[0].state_dict()["to_mu.bias"].equal(WEIGHTS["to_mu.bias"])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load(tmp_path / "nowhere.pt")


class Planted(str):
    """A path at which a folder is made when its pickle is read."""

    def __reduce__(self):
        return os.mkdir, (str(self),)


def test_a_file_cannot_run_code(tmp_path):
    planted = Planted(tmp_path / "ran")
    for content in (planted, OURS | {"history": planted}, pickle.dumps(planted)):
        refused(tmp_path / "file.pt", content)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(planted))  # and it would have
    assert (tmp_path / "ran").exists()


def test_a_full_disk_leaves_what_was_there(tmpfs, saved):
    shutil.copy(saved[0], tmpfs)
    with pytest.raises(OSError, match=r"run\.pt could not be written, what was there is unchanged"):
        save(tmpfs / "run.pt", VAE())  # 2.8 MB
    assert [path.read_bytes() for path in tmpfs.iterdir()] == [saved[0].read_bytes()]


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="path must be a file, new or to be replaced"):
            save(tmp_path / name, VAE())
    with pytest.raises(OSError, match="could not be written"):
        save(tmp_path / "nowhere" / "run.pt", VAE())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("where", [(Path, "write_bytes"), (os, "replace")])
def test_a_stop_in_the_middle_leaves_what_was_there(saved, tmp_path, monkeypatch, where):
    def stopped(path: Path, _: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    shutil.copy(saved[0], tmp_path)
    monkeypatch.setattr(*where, stopped)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "run.pt", VAE(2, 3))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [saved[0].read_bytes()]
