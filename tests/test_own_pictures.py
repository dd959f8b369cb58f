"""Your own pictures, end to end: drawings in a folder and arrays of another size reach everything.

Nothing is judged here but that it works, on squares of any side, with labels and without.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vaelab import (
    VAE,
    BetaELBO,
    Digits,
    FreeBits,
    LinearVAE,
    active_units,
    bernoulli_nll,
    checkup,
    decoder_weight_norms,
    encode_all,
    evaluate,
    fit,
    from_arrays,
    gaussian_kl,
    iw_log_likelihood,
    linear_probe,
    load,
    load_folder,
    mutual_information,
    pca_rates,
    plotting,
    prune,
    save,
)
from vaelab.widgets import BetaExplorer, LatentExplorer, PlaneExplorer

CLASSES = {"crosses": (0, 1), "houses": (1, 0)}


def drawing(kind: str, size: tuple[int, int], shift: int) -> Image.Image:
    """Ink on paper, dark on white and not square, as a phone would give it."""
    picture = Image.new("RGB", size, "white")
    pen, (w, h) = ImageDraw.Draw(picture), size
    if kind == "crosses":
        pen.line([(w // 4 + shift, h // 4), (3 * w // 4, 3 * h // 4)], "black", width=9)
        pen.line([(3 * w // 4, h // 4 + shift), (w // 4, 3 * h // 4)], "navy", width=9)
    else:
        pen.rectangle([w // 3, h // 2 - shift, 2 * w // 3, 3 * h // 4], outline="black", width=9)
    return picture


def folder_of_drawings(path: Path, classes: bool) -> Path:
    """Forty pictures of two kinds, in a folder for each kind or all in one."""
    for number in range(40):
        kind = list(CLASSES)[number % 2]
        place = path / kind if classes else path
        place.mkdir(parents=True, exist_ok=True)
        size = (150, 120) if number % 3 else (120, 150)
        drawing(kind, size, number % 7).save(place / f"{number}.png")
    return path


def digits_of(kind: str, tmp_path: Path) -> Digits:
    """One set of each kind that a reader may bring."""
    generator = np.random.default_rng(0)
    if kind == "drawings in classes":
        return load_folder(folder_of_drawings(tmp_path, classes=True), side=32)
    if kind == "drawings in one folder":
        return load_folder(folder_of_drawings(tmp_path, classes=False), side=20)
    if kind == "arrays of 20 x 20":
        images = generator.integers(0, 256, (60, 20, 20), dtype=np.uint8)
        return from_arrays(images, np.arange(60) % 3)
    return from_arrays(generator.random((60, 64, 64, 1)), name="noise")


KINDS = [
    "drawings in classes", "drawings in one folder", "arrays of 20 x 20", "arrays of 64 x 64",
]  # fmt: skip


@pytest.fixture(params=KINDS)
def own(request, tmp_path: Path) -> Digits:
    return digits_of(request.param, tmp_path)


def trained(digits: Digits, latent_dim: int, objective=None) -> tuple[VAE, object]:
    """A model of the usual width after a few steps."""
    torch.manual_seed(0)
    model = VAE(latent_dim=latent_dim, data_dim=digits.train.shape[1])
    settings = {"steps": 6, "batch_size": 16, "evaluations": 3, "progress": False}
    return model, fit(model, digits, objective, binarize=True, **settings)


def test_training_and_every_diagnostic(own: Digits, tmp_path: Path) -> None:
    model, history = trained(own, 5, FreeBits(0.1))
    score = evaluate(model, own.test)
    assert math.isfinite(score.elbo) and score.kl_per_dim.shape == (5,)
    mu, _ = encode_all(model, own.test)
    assert 0 <= active_units(mu) <= 5 and decoder_weight_norms(model).shape == (5,)
    assert iw_log_likelihood(model, own.test, 3).shape == (len(own.test),)
    assert mutual_information(model, own.test).ceiling == pytest.approx(math.log(len(own.test)))
    assert evaluate(prune(model, [0, 1]), own.test).elbo < 0
    if own.train.shape[1] <= 1024:  # eigenvalues of a (4096, 4096) matrix take seconds
        assert pca_rates(own.train, 0.3, 5).shape == (5,)
    labels = set(own.train_labels.tolist())
    if labels == {-1}:
        with pytest.raises(ValueError, match="label"):
            linear_probe(model, own)
    else:
        assert 0 <= linear_probe(model, own) <= 1
    save(tmp_path / "model.pt", model, history)
    again, _ = load(tmp_path / "model.pt")
    assert evaluate(again, own.test).elbo == score.elbo
    side = LinearVAE(latent_dim=3, data_dim=own.train.shape[1])
    fit(side, own, steps=3, batch_size=16, evaluations=1, progress=False)


def test_every_plot_of_images(own: Digits) -> None:
    model, history = trained(own, 2)
    mu, _ = encode_all(model, own.test)
    with torch.no_grad():
        shown = model(own.test[:4]).logits.sigmoid()
        rows = model.decode(torch.randn(2, 3, 2)).sigmoid()
    plotting.image_grid(own.test[:8], columns=4)
    plotting.image_rows({"input": own.test[:4], "decoded": shown})
    plotting.traversals(rows, ["z0", "z1"], [-1, 0, 1])
    plotting.latent_scatter(mu, own.test_labels)
    plotting.training_curves(history)
    plotting.kl_bars(evaluate(model, own.test).kl_per_dim)
    plt.close("all")


def test_checkup(own: Digits) -> None:
    model, _ = trained(own, 4)

    def loss(recon, x, mu, logvar):
        return (bernoulli_nll(recon, x) + gaussian_kl(mu, logvar).sum(dim=1)).mean()

    result = checkup(model, lambda recon, x, mu, logvar, *_: loss(recon, x, mu, logvar), own.test)
    assert result.ok, result


def test_every_explorer_of_a_model(own: Digits) -> None:
    wide, flat = trained(own, 12)[0], trained(own, 2)[0]
    cheap = trained(own, 12, BetaELBO(0.1))[0]
    explorers = [
        LatentExplorer(wide, own),
        PlaneExplorer(flat, own),
        BetaExplorer({1.0: wide, 0.1: cheap}, own),
    ]
    side = math.isqrt(own.train.shape[1])
    for explorer in explorers:
        assert explorer.data["side"] == side
        assert all(math.isfinite(number) for number in explorer.numbers().values())
        assert explorer.pixels().shape[-1] == side * side
        figure, page = explorer.snapshot(), explorer.page()
        assert figure.axes and page.count("vaelab-place") == 1
        explorer.close()


def test_too_few_pictures_for_an_explorer_are_named(tmp_path: Path) -> None:
    few = digits_of("drawings in classes", tmp_path)
    few = few._replace(test=few.test[:5], test_labels=few.test_labels[:5])
    with pytest.raises(ValueError, match="at least 8 square images"):
        BetaExplorer({1.0: trained(few, 2)[0]}, few)
