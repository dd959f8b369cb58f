"""The drawn figures say what they should; the README's pictures show the first lesson's model."""

import json
import re
from functools import cache
from itertools import combinations
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch
from PIL import Image

import explorer_page
import figures
from notebook_tools import ROOT
from vaelab import VAE, diagrams
from vaelab.plotting import mosaic
from vaelab.training import evaluation_images
from vaelab.widgets import LatentExplorer


@cache
def drawn(name):
    """A figure as it was drawn once, for all tests that only look at it."""
    plt.switch_backend("Agg")
    figure = diagrams.FIGURES[name]()
    figure.canvas.draw()
    plt.close(figure)
    return figure


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def arrows(name):
    """The arrows of a figure, as (tail, head, dashed), the ends in inches."""
    found = [p for p in drawn(name).axes[0].patches if isinstance(p, FancyArrowPatch)]
    ends = [map(tuple, np.round(np.array(p._posA_posB, float), 2).tolist()) for p in found]
    return [(*pair, p.get_linestyle() not in ("-", "solid")) for pair, p in zip(ends, found)]


@pytest.mark.parametrize("name", diagrams.FIGURES)
def test_letters_are_large_enough_stay_on_the_paper_and_apart(name):
    paper, boxes = drawn(name).bbox, {}
    for text in drawn(name).axes[0].texts:
        box = text.get_window_extent()
        assert text.get_size() >= 12, text
        assert (box.min >= paper.min).all() and (box.max <= paper.max).all(), text
        boxes |= {text: box} if text.get_text() not in ("", "×") else {}
    assert [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])] == []


def test_graphical_model_points_from_z_to_x_and_its_prior_has_no_parameters():
    z, x, theta, phi = (5.1, 3.75), (5.1, 1.45), (7.5, 1.45), (2.7, 3.75)
    edges = {(z, x, False), (theta, x, False), (phi, z, True), (x, z, True)}
    assert set(arrows("vae-graphical-model")) == edges


def test_architecture_writes_the_sizes_passed_from_left_to_right():
    figure = diagrams.vae_architecture(latent_dim=3, hidden_dim=17, data_dim=64)
    texts = sorted((*text.get_position(), text.get_text()) for text in figure.axes[0].texts)
    assert [int(word) for *_, word in texts if word.isdigit()] == [64, 17, 3, 3, 17, 64]


def test_reparameterization_lets_one_more_gradient_through_on_the_right():
    name, right = "reparameterization-trick", {(7.6, 3.7), (7.6, 1.7)}
    assert words(drawn(name)).count("×") == 2
    heads = {head for _, head, dashed in arrows(name) if dashed}
    assert heads & (right | {(1.1, 3.7), (1.1, 1.7)}) == right  # the places of mu and sigma


def test_controller_is_a_closed_loop():
    boxes = {(2.0, 5.0): "kl", (2.0, 1.7): "step", (8.75, 1.7): "loss"}
    found = arrows("soft-free-bits-controller")
    edges = {(boxes.get(a, "controller"), boxes.get(b, "controller")) for a, b, _ in found}
    wanted = {("kl", "controller"), ("controller", "loss"), ("loss", "step"), ("step", "kl")}
    assert edges - {("controller", "controller")} == wanted  # the axis of KL_d is an arrow too


def test_every_yes_leads_right_to_a_remedy_and_every_no_down_to_the_next_question():
    edges = [(a, b) for a, b, _ in arrows("symptom-diagnosis-remedy")]
    down = sorted(((a, b) for a, b in edges if a[0] == b[0]), reverse=True)
    across = [(a, b) for a, b in edges if a[1] == b[1]]
    rows = sorted({a[1] for a, _ in across}, reverse=True)
    assert len(rows) == len(diagrams.CASES) == len(down) and len(across) == 2 * len(rows)
    assert [a[1] for a, _ in down] == rows
    assert [b[1] for _, b in down][:-1] == rows[1:] and down[-1][1][1] < rows[-1]
    assert all(a[0] < b[0] for a, b in across)


def test_every_figure_is_written_as_a_picture_with_a_description(tmp_path):
    plt.close("all")
    paths = diagrams.write_all(tmp_path / "new" / "folder")
    assert [path.stem for path in paths] == list(diagrams.FIGURES)
    assert plt.get_fignums() == []
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) >= 700
            assert len(image.info["Description"]) > 20


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
    one = "reparameterization-trick"  # the test above writes them all
    monkeypatch.setattr(diagrams, "FIGURES", {one: diagrams.FIGURES[one]})
    made = {path.name: path for path in figures.draw(tmp_path / "new")}
    assert {f"{one}.png", "reconstructions_and_samples.png"} < made.keys()
    assert sorted(made.values()) == sorted((tmp_path / "new").iterdir())
    assert plt.get_fignums() == []
    with Image.open(made["latent_explorer.gif"]) as film:
        assert film.n_frames == 3 and film.size == (720, 360)
    html = made["explorer.html"].read_text("utf-8")
    assert html.count(explorer_page.TITLE) == 2
    state = json.loads(re.search(r'data-part="state">(.*?)</script>', html, re.DOTALL)[1])
    digits = digits._replace(test=evaluation_images(digits, binarize=True))  # as in the lessons
    assert state["values"] == LatentExplorer(vae, digits).values


def test_the_film_of_the_readme_is_whole_and_small():
    frames = len(explorer_page.STROKE) + 4 * 14  # a digit is drawn, then four sliders swing
    with Image.open(ROOT / "figures" / "latent_explorer.gif") as film:
        assert 0.8 * frames <= film.n_frames <= frames  # equal frames in a row are stored as one
        assert film.fp.seek(0, 2) < 1_500_000


def test_no_browser_leaves_the_film_and_no_heading_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(explorer_page.shutil, "which", lambda name: None)
    assert explorer_page.animation(tmp_path / "page.html") == []
    assert "stays as it is" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold <h1>Latent Explorer</h1>"):
        explorer_page.explorer_page(SimpleNamespace(page=lambda: "<h1>Another</h1>"))
