"""The drawn figures say what they should, in letters that can be read, inside the paper."""

import math
from functools import cache
from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from vaelab import diagrams

NAMES = list(diagrams.FIGURES)


@pytest.fixture(autouse=True, scope="module")
def no_screen():
    plt.close("all")
    plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@cache
def drawn(name):
    """A figure as it was drawn once, for all tests that only look at it."""
    figure = diagrams.FIGURES[name]()
    figure.canvas.draw()
    return figure


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("name", NAMES)
def test_letters_are_large_enough_stay_on_the_paper_and_apart(name):
    figure = drawn(name)
    paper, boxes = figure.bbox, {}
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert text.get_size() >= 12, text
        assert paper.x0 <= box.x0 and box.x1 <= paper.x1, text
        assert paper.y0 <= box.y0 and box.y1 <= paper.y1, text
        boxes |= {text: box} if text.get_text() not in ("", "×") else {}
    clashes = [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    assert clashes == []


def arrows(figure):
    """The arrows, as (tail, head, dashed), the ends in inches."""
    found = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    return [(*p._posA_posB, p.get_linestyle() not in ("-", "solid")) for p in found]


def test_graphical_model_points_from_z_to_x_and_its_prior_has_no_parameters():
    figure = drawn("vae-graphical-model")
    z, x, theta, phi = (5.1, 3.75), (5.1, 1.45), (7.5, 1.45), (2.7, 3.75)
    edges = {
        (tuple(round(float(c), 2) for c in a), tuple(round(float(c), 2) for c in b), dashed)
        for a, b, dashed in arrows(figure)
    }
    assert edges == {(z, x, False), (theta, x, False), (phi, z, True), (x, z, True)}
    assert "$N$" in words(figure)


def test_architecture_writes_the_sizes_passed():
    figure = diagrams.vae_architecture(latent_dim=3, hidden_dim=17, data_dim=64)
    assert plt.get_fignums()[-1:] == [figure.number]
    numbers = sorted(int(word) for word in words(figure) if word.isdigit())
    assert numbers == [3, 3, 17, 17, 64, 64]


def test_reparameterization_lets_one_more_gradient_through_on_the_right():
    figure = drawn("reparameterization-trick")
    assert words(figure).count("×") == 2
    sources = {(1.1, 3.7), (1.1, 1.7), (7.6, 3.7), (7.6, 1.7)}  # mu and sigma, left and right
    heads = {
        tuple(round(float(c), 2) for c in head) for _, head, dashed in arrows(figure) if dashed
    }
    assert heads & sources == {(7.6, 3.7), (7.6, 1.7)}


def test_controller_is_a_closed_loop():
    boxes = {"kl": (2.0, 5.0), "step": (2.0, 1.7), "loss": (8.75, 1.7)}

    def place(point):
        near = [name for name, at in boxes.items() if math.dist(at, point) < 0.05]
        return near[0] if near else "controller"

    edges = [
        (place(tail), place(head)) for tail, head, _ in arrows(drawn("soft-free-bits-controller"))
    ]
    wanted = {("kl", "controller"), ("controller", "loss"), ("loss", "step"), ("step", "kl")}
    assert set(edges) - {("controller", "controller")} == wanted  # the axis of KL_d is an arrow too


def test_every_yes_leads_right_to_a_remedy_and_every_no_down_to_the_next_question():
    edges = [
        [tuple(round(float(c), 2) for c in end) for end in (tail, head)]
        for tail, head, _ in arrows(drawn("symptom-diagnosis-remedy"))
    ]
    down = sorted(((a, b) for a, b in edges if a[0] == b[0]), reverse=True)
    across = [(a, b) for a, b in edges if a[1] == b[1]]
    rows = sorted({a[1] for a, _ in across}, reverse=True)
    assert len(rows) == len(diagrams.CASES) == len(down) and len(across) == 2 * len(rows)
    assert [a[1] for a, _ in down] == rows
    assert [b[1] for _, b in down][:-1] == rows[1:] and down[-1][1][1] < rows[-1]
    assert all(a[0] < b[0] for a, b in across)


def test_every_figure_is_written_as_a_picture_with_a_description(tmp_path):
    paths = diagrams.write_all(tmp_path / "new" / "folder")
    assert [path.stem for path in paths] == NAMES
    assert plt.get_fignums() == []
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) >= 700
            assert len(image.info["Description"]) > 20
