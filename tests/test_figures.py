"""The pictures of the README and the page without a kernel show the model of the first lesson."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

import explorer_page
import figures
from vaelab import VAE, diagrams
from vaelab.plotting import mosaic


def test_the_model_is_that_of_the_first_lesson(digits, monkeypatch):
    calls = []
    monkeypatch.setattr(figures, "fit", lambda model, *given, **more: calls.append((given, more)))
    model = figures.first_lesson_model(digits)
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), VAE().parameters()))
    assert calls == [((digits,), {})]  # 3,000 steps and seed 0 are the defaults


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
    one = "elbo-plus-gap-is-log-evidence"  # test_diagrams.py writes all of them
    monkeypatch.setattr(diagrams, "FIGURES", {one: diagrams.FIGURES[one]})
    written = figures.draw(tmp_path / "new")
    made = {"latent_explorer.gif", "reconstructions_and_samples.png", "explorer.html"}
    assert {path.name for path in written} == made | {f"{one}.png"}
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    assert plt.get_fignums() == []
