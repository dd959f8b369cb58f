"""The pictures of the README and the page without a kernel show the model of the first lesson."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import explorer_page
import figures
from notebook_tools import ROOT
from vaelab import VAE, diagrams
from vaelab.plotting import mosaic
from vaelab.training import evaluation_images
from vaelab.widgets import LatentExplorer


def test_the_model_is_that_of_the_first_lesson(digits, monkeypatch):
    calls = []
    monkeypatch.setattr(figures, "fit", lambda model, *given, **more: calls.append((given, more)))
    model = figures.first_lesson_model(digits)
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), VAE().parameters()))
    assert calls == [((digits,), {"binarize": True})]  # the rest are the defaults


def test_three_rows_are_inputs_reconstructions_and_samples(vae, digits):
    state = torch.get_rng_state()
    figure = figures.reconstructions_and_samples(vae, digits, seed=3)
    plt.close(figure)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    with torch.no_grad():
        rows = [digits.test[:12], vae(digits.test[:12]).logits.sigmoid(), vae.sample(12)]
    shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, mosaic(torch.cat(rows), 12), atol=1e-6)


def test_all_that_the_readme_shows_is_written(vae, digits, monkeypatch, tmp_path):
    frames = [Image.new("RGB", (960, 480), "white") for _ in range(3)]
    for place, frame in enumerate(frames):
        frame.paste("black", (100 * place, 0, 100 * place + 50, 480))
    monkeypatch.setattr(figures, "first_lesson_model", lambda digits: vae)
    monkeypatch.setattr(explorer_page, "animation", lambda page: frames)  # of tests/browser
    monkeypatch.setattr(diagrams, "FIGURES", {})  # test_diagrams.py writes them
    picture, page, film = written = figures.draw(tmp_path / "new")
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    assert picture.name == "reconstructions_and_samples.png" and plt.get_fignums() == []
    with Image.open(film) as shown:
        assert film.name == "latent_explorer.gif"
        assert shown.n_frames == 3 and shown.size == (720, 360)
    html = page.read_text("utf-8")
    assert page.name == "explorer.html" and html.count(explorer_page.TITLE) == 2
    state = json.loads(re.search(r'data-part="state">(.*?)</script>', html, re.DOTALL)[1])
    digits = digits._replace(test=evaluation_images(digits, binarize=True))  # as in the lessons
    assert state["values"] == LatentExplorer(vae, digits).values


def test_the_film_of_the_readme_is_whole_and_small():
    target = ROOT / "figures" / "latent_explorer.gif"
    frames = len(explorer_page.STROKE) + 4 * 14  # a digit is drawn, then four sliders swing
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        assert 0.8 * frames <= film.n_frames <= frames  # equal frames in a row are stored as one


def test_no_browser_leaves_the_film_and_no_heading_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(explorer_page.shutil, "which", lambda name: None)
    assert explorer_page.animation(tmp_path / "page.html") == []
    assert "stays as it is" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold <h1>Latent Explorer</h1>"):
        explorer_page.explorer_page(SimpleNamespace(page=lambda: "<h1>Another</h1>"))
