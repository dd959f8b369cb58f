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
from vaelab.widgets import LatentExplorer


def test_the_model_is_that_of_the_first_lesson(digits, monkeypatch):
    calls = []
    monkeypatch.setattr(figures, "fit", lambda model, *given, **more: calls.append((given, more)))
    model = figures.first_lesson_model(digits)
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), VAE().parameters()))
    assert calls == [((digits,), {"binarize": True})]  # 3,000 steps and seed 0 are the defaults


def test_three_rows_are_inputs_reconstructions_and_samples(vae, digits):
    state = torch.get_rng_state()
    figure = figures.reconstructions_and_samples(vae, digits, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    with torch.no_grad():
        rows = [digits.test[:12], vae(digits.test[:12]).logits.sigmoid(), vae.sample(12)]
    shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, mosaic(torch.cat(rows), 12), atol=1e-6)
    plt.close(figure)


def test_all_that_the_readme_shows_is_written(vae, digits, monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "first_lesson_model", lambda digits: vae)
    monkeypatch.setattr(explorer_page, "animation", lambda page: [Image.new("RGB", (90, 60))])
    one = "reparameterization-trick"  # test_diagrams.py writes all of them
    monkeypatch.setattr(diagrams, "FIGURES", {one: diagrams.FIGURES[one]})
    written = figures.draw(tmp_path / "new")
    made = {"latent_explorer.gif", "reconstructions_and_samples.png", "explorer.html"}
    assert {path.name for path in written} == made | {f"{one}.png"}
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    assert plt.get_fignums() == []


# --- the explorer ---------------------------------------------------------------------------------

FRAMES = len(explorer_page.STROKE) + 4 * 14  # a digit is drawn, then four sliders swing


def test_the_page_is_the_explorers_with_a_title_and_words(vae, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_page, "animation", lambda page: [])  # tests/browser starts one
    (page,) = explorer_page.write(vae, digits, tmp_path)
    html = page.read_text("utf-8")
    assert html.count(explorer_page.TITLE) == 2 and "no network" in html
    state = json.loads(re.search(r'data-part="state">(.*?)</script>', html, re.DOTALL)[1])
    assert state["values"] == LatentExplorer(vae, digits).values


def test_frames_become_a_film_and_that_of_the_readme_is_whole_and_small(tmp_path):
    frames = [Image.new("RGB", (960, 480), "white") for _ in range(3)]
    for place, frame in enumerate(frames):
        frame.paste("black", (100 * place, 0, 100 * place + 50, 480))
    explorer_page.write_animation(frames, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3 and film.size == (720, 360)
    target = ROOT / "figures" / "latent_explorer.gif"
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        assert 0.8 * FRAMES <= film.n_frames <= FRAMES  # equal frames in a row are stored as one


def test_without_a_browser_the_film_stays_and_without_its_heading_a_page_is_refused(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(explorer_page.shutil, "which", lambda name: None)
    assert explorer_page.animation(tmp_path / "page.html") == []
    assert "stays as it is" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold <h1>Latent Explorer</h1>"):
        explorer_page.explorer_page(SimpleNamespace(page=lambda: "<h1>Another</h1>"))
