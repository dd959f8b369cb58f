"""The drawn figures say what they should, in letters that can be read, inside the paper."""

from functools import cache
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from vaelab import diagrams


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
        assert paper.x0 <= box.x0 and box.x1 <= paper.x1, text
        assert paper.y0 <= box.y0 and box.y1 <= paper.y1, text
        boxes |= {text: box} if text.get_text() not in ("", "×") else {}
    assert [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])] == []


def test_graphical_model_points_from_z_to_x_and_its_prior_has_no_parameters():
    z, x, theta, phi = (5.1, 3.75), (5.1, 1.45), (7.5, 1.45), (2.7, 3.75)
    edges = {(z, x, False), (theta, x, False), (phi, z, True), (x, z, True)}
    assert set(arrows("vae-graphical-model")) == edges
    assert "$N$" in words(drawn("vae-graphical-model"))


def test_architecture_writes_the_sizes_passed():
    figure = diagrams.vae_architecture(latent_dim=3, hidden_dim=17, data_dim=64)
    assert sorted(int(word) for word in words(figure) if word.isdigit()) == [3, 3, 17, 17, 64, 64]


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
