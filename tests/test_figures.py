"""The pictures of the README and the page without a kernel show the model of the first lesson."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaelab import VAE, diagrams, figures
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


@pytest.fixture
def quick(vae, monkeypatch) -> None:
    """The small trained model in place of three thousand steps; one diagram."""
    monkeypatch.setattr(figures, "first_lesson_model", lambda digits: vae)
    one = "elbo-plus-gap-is-log-evidence"  # test_diagrams.py writes all of them
    monkeypatch.setattr(diagrams, "FIGURES", {one: diagrams.FIGURES[one]})


def test_all_that_the_readme_shows_is_written(quick, tmp_path, capsys):
    figures.main(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    made = {"reconstructions_and_samples.png"}
    assert written == made | {f"{name}.png" for name in diagrams.FIGURES}
    assert sorted(capsys.readouterr().out.split()) == sorted(map(str, tmp_path.iterdir()))
    assert plt.get_fignums() == []
