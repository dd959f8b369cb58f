"""Your own pictures, end to end: drawings in a folder and arrays of another size reach everything.

Nothing is judged here but that it works, on squares of any side, with labels and without.
"""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import vaelab
from vaelab import Digits, plotting
from vaelab.exercises import our_loss
from vaelab.widgets import BetaExplorer, LatentExplorer, PlaneExplorer


def drawings(path: Path, kinds: tuple[str, ...]) -> Path:
    """Forty drawings on paper, not square, in a folder for each kind or all in one."""
    for number in range(40):
        place = path / kinds[number % len(kinds)]
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (150, 120) if number % 3 else (120, 150), "white")
        ImageDraw.Draw(picture).line([(30, 30 + number), (90, 90)], "navy", width=9)
        picture.save(place / f"{number}.png")
    return path


rng = np.random.default_rng(0)
SMALL, LARGE = rng.integers(0, 256, (60, 20, 20), dtype=np.uint8), rng.random((60, 64, 64, 1))
OWN = {  # one set of each kind that a reader may bring
    "in classes": lambda path: vaelab.load_folder(drawings(path, ("cross", "house")), side=32),
    "in one folder": lambda path: vaelab.load_folder(drawings(path, (".",)), side=20),
    "20 x 20": lambda path: vaelab.from_arrays(SMALL, np.arange(60) % 3),
    "64 x 64": lambda path: vaelab.from_arrays(LARGE, name="noise"),
}
QUICK = {"steps": 6, "batch_size": 16, "evaluations": 3, "binarize": True, "progress": False}


@pytest.fixture(params=OWN)
def own(request, tmp_path: Path) -> Digits:
    return OWN[request.param](tmp_path)


def trained(own: Digits, latent_dim: int, objective=None) -> tuple[vaelab.VAE, vaelab.History]:
    """A model of the usual width after a few steps."""
    torch.manual_seed(0)
    model = vaelab.VAE(latent_dim, data_dim=own.train.shape[1])
    return model, vaelab.fit(model, own, objective, **QUICK)


def test_training_every_diagnostic_and_the_checkup(own: Digits, tmp_path: Path) -> None:
    model, history = trained(own, 5, vaelab.FreeBits(0.1))
    score = vaelab.evaluate(model, own.test)
    assert math.isfinite(score.elbo) and score.kl_per_dim.shape == (5,)
    assert 0 <= vaelab.active_units(vaelab.encode_all(model, own.test)[0]) <= 5
    assert vaelab.decoder_weight_norms(model).shape == (5,)
    assert vaelab.iw_log_likelihood(model, own.test, 3).shape == (len(own.test),)
    information = vaelab.mutual_information(model, own.test)
    assert information.ceiling == pytest.approx(math.log(len(own.test)))
    assert vaelab.evaluate(vaelab.prune(model, [0, 1]), own.test).elbo < 0
    if own.train.shape[1] <= 1024:  # eigenvalues of a (4096, 4096) matrix take seconds
        assert vaelab.pca_rates(own.train, 0.3, 5).shape == (5,)
    if (own.train_labels == -1).all():
        with pytest.raises(ValueError, match="label"):
            vaelab.linear_probe(model, own)
    else:
        assert 0 <= vaelab.linear_probe(model, own) <= 1
    vaelab.save(tmp_path / "model.pt", model, history)
    again, _ = vaelab.load(tmp_path / "model.pt")
    assert vaelab.evaluate(again, own.test).elbo == score.elbo
    vaelab.fit(vaelab.LinearVAE(latent_dim=3, data_dim=own.train.shape[1]), own, **QUICK)
    result = vaelab.checkup(model, our_loss, own.test)
    assert result.ok, result


def test_every_plot_of_images(own: Digits) -> None:
    model, history = trained(own, 2)
    with torch.no_grad():
        shown = model(own.test[:4]).logits.sigmoid()
        rows = model.decode(torch.randn(2, 3, 2)).sigmoid()
    plotting.image_grid(own.test[:8], columns=4)
    plotting.image_rows({"input": own.test[:4], "decoded": shown})
    plotting.traversals(rows, ["z0", "z1"], [-1, 0, 1])
    plotting.latent_scatter(vaelab.encode_all(model, own.test)[0], own.test_labels)
    plotting.training_curves(history)
    plotting.kl_bars(vaelab.evaluate(model, own.test).kl_per_dim)
    plt.close("all")


def test_every_explorer_of_a_model(own: Digits) -> None:
    wide, flat = trained(own, 12)[0], trained(own, 2)[0]
    both = {1.0: wide, 0.1: trained(own, 12, vaelab.BetaELBO(0.1))[0]}
    explorers = LatentExplorer(wide, own), PlaneExplorer(flat, own), BetaExplorer(both, own)
    for explorer in explorers:
        assert explorer.data["side"] == math.isqrt(own.train.shape[1])
        assert all(math.isfinite(number) for number in explorer.numbers().values())
        assert explorer.pixels().shape[-1] == own.train.shape[1]
        assert explorer.snapshot().axes and explorer.page().count("vaelab-place") == 1
        explorer.close()
    few = own._replace(test=own.test[:5], test_labels=own.test_labels[:5])
    with pytest.raises(ValueError, match="at least 8 square images"):
        BetaExplorer({1.0: flat}, few)
