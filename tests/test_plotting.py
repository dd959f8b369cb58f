"""Every picture shows the numbers it was given: read back from the artists, not from pixels."""

import re
from itertools import combinations
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from numpy.testing import assert_allclose
from torch.distributions import Chi2

from vaelab import plotting

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def style_for_one_test():
    """Draw without a screen, in the collection's style; leave neither style nor figure behind."""
    with mpl.rc_context():
        plt.switch_backend("Agg")
        plotting.use_style()
        yield
    plt.close("all")


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def words(artists):
    return [text.get_text() for text in artists]


@pytest.mark.parametrize("style", plt.style.available)
def test_black_lines_lie_on_white_paper_after_any_style(style):
    mpl.rcdefaults()
    plt.style.use(style)
    plotting.use_style()
    figure, ax = plt.subplots()
    ax.set(title="title", xlabel="x", ylabel="y")
    legend = ax.legend(ax.plot([0, 1]), ["line"])
    ink = [ax.title, ax.xaxis.label, ax.text(0, 0, "a"), *ax.get_xticklabels(), *legend.texts]
    assert {to_hex(text.get_color()) for text in ink} == {"#000000"}
    assert min(text.get_size() for text in ink) >= 12  # readable when projected
    assert {to_hex(paper.get_facecolor()) for paper in (figure, ax)} == {"#ffffff"}
    assert mpl.rcParams["savefig.facecolor"] in ("white", "auto")


def test_palette_keeps_a_reserved_color_for_its_name_and_never_repeats_one():
    names = ["soft free bits, λ = 0.5", "linear warm-up", "$q(z|x)$", "−ELBO", "quick"]
    *colors, other = plotting.palette(names)  # "quick" holds a q, but as no word
    assert colors == [plotting.COLORS[name] for name in ("soft free bits", "linear", "q", "elbo")]
    assert other not in colors
    assert len(set(plotting.palette([f"soft free bits, λ = {i}" for i in range(10)]))) == 10
    both = ["free bits", "soft free bits"]
    assert plotting.palette(both) == [plotting.COLORS[name] for name in both]


# How eyes that lack a kind of cone see linear RGB: Machado, Oliveira and Fernandes 2009, Table 1,
# severity 1. Distances are CIE 1976 Delta E in L*a*b*, of which 2.3 is just noticeable.
CONES = """
all 1 0 0 0 1 0 0 0 1
protanopia 0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998
deuteranopia 0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881
tritanopia 1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602 0.004733 0.691367 0.303900
"""
SRGB = "0.4124 0.3576 0.1805 0.2126 0.7152 0.0722 0.0193 0.1192 0.9505"  # IEC 61966-2-1
TO_XYZ = np.array(SRGB.split(), dtype=float).reshape(3, 3)


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = TO_XYZ @ rgb / TO_XYZ.sum(axis=1)
    f = [t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("row", CONES.strip().splitlines())
def test_the_palette_stays_apart_for_eyes_that_lack_a_kind_of_cone(row):
    eye = np.array(row.split()[1:], dtype=float).reshape(3, 3)
    seen = [lab(np.clip(eye @ linear(color), 0, 1)) for color in plotting.CYCLE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 4 * 2.3
    luminance = TO_XYZ[1] @ linear(plotting.COLORS["elbo"])
    assert 1.05 / (luminance + 0.05) >= 4.5  # the white number on its bar can be read, WCAG AA


def test_mosaic_puts_every_pixel_where_it_belongs_and_a_grid_goes_from_black_to_white():
    images = np.arange(5 * 4).reshape(5, 4) / 20  # five images of 2 x 2, all pixels different
    picture = plotting.mosaic(torch.tensor(images), columns=3, gap=1)
    assert picture.shape == (5, 8)
    for i in range(5):
        top, left = 3 * (i // 3), 3 * (i % 3)
        assert_allclose(picture[top : top + 2, left : left + 2], images[i].reshape(2, 2))
    assert np.isnan(picture).sum() == picture.size - images.size  # nothing else is drawn
    images = RNG(0).random((10, 784))
    for columns in (5, None):  # None: as square as possible
        (shown,) = plotting.image_grid(images, columns).images
        assert_allclose(np.asarray(shown.get_array()), plotting.mosaic(images, columns or 4))
        assert shown.get_clim() == (0, 1)


def test_labels_of_rows_and_columns_stand_at_their_middle():
    first, second = RNG(0).random((2, 4, 784))
    ax = plotting.image_rows({"input": first, "reconstruction": second}, column_labels=range(4))
    assert_allclose(ax.images[0].get_array()[30:58, 90:118], second[3].reshape(28, 28))
    assert words(ax.get_yticklabels()) == ["input", "reconstruction"]
    assert words(ax.get_xticklabels()) == ["0", "1", "2", "3"]
    assert_allclose(ax.get_yticks(), [13.5, 43.5])
    assert_allclose(ax.get_xticks(), [13.5, 43.5, 73.5, 103.5])
    ax = plotting.traversals([first[:3], second[:3]], ["z[4]", "z[1]"], [-2.5, 0, 2.5])
    assert_allclose(ax.images[0].get_array()[30:58, 60:88], second[2].reshape(28, 28))
    assert words(ax.get_yticklabels()) == ["z[4]", "z[1]"]
    assert words(ax.get_xticklabels()) == ["−2.5", "0", "+2.5"]


@pytest.mark.parametrize("side", [1, 8, 100])
def test_images_of_any_size_take_the_same_room(side):
    images = RNG(0).random((6, side * side))
    rows = plotting.image_rows({"a": images[:3], "b": images[3:]})
    for ax in (plotting.image_grid(images, 3), rows):
        assert_allclose(ax.images[0].get_array()[-side:, -side:], images[5].reshape(side, side))
        width, height = ax.figure.get_size_inches()
        assert 1.8 < width < 2.9 and 1.1 < height < 2.3  # 3 x 2 images of 0.7 inches, and margins


def test_latent_scatter_tells_classes_apart_without_color():
    labels = np.arange(200) % 10
    mu = np.stack([labels, -labels], axis=1) + RNG(0).normal(size=(200, 2))
    ax = plotting.latent_scatter(torch.tensor(mu), torch.tensor(labels))
    assert len({c.get_paths()[0].vertices.tobytes() for c in ax.collections}) == 10
    assert len({to_hex(c.get_facecolor()[0]) for c in ax.collections}) == 10
    assert words(ax.texts) == [str(k) for k in range(10)]
    for k, (cloud, text) in enumerate(zip(ax.collections, ax.texts)):
        assert_allclose(cloud.get_offsets(), mu[labels == k])
        assert_allclose(text.get_position(), mu[labels == k].mean(axis=0))
    ax = plotting.latent_scatter(mu[:9], [-1] * 6 + [12] * 3)
    assert words(ax.texts) == ["12"]  # what has no label has no name
    assert_allclose(ax.collections[0].get_offsets(), mu[:6])


def history(shift=0.0):
    steps, ran = np.arange(0, 400, 100), np.arange(1, 301)
    d, r = 200 / (1 + steps / 100) + shift, 5 + steps / 100
    run = {"steps": steps, "elbo": -(d + r), "distortion": d, "rate": r}
    return SimpleNamespace(**run, train_steps=ran, train_loss=300 / ran)


def test_training_curves_limits_forget_step_0_and_nothing_else():
    run = history()
    run.train_loss = np.where(run.train_steps < 100, 1e6, 2.0)  # far below -ELBO
    first, second, _ = plotting.training_curves(run).axes
    low, high = first.get_ylim()  # the training loss counts from the first evaluation on
    assert low <= 2.0 and high < 1e6
    low, high = second.get_ylim()
    assert low < min(run.distortion) and max(run.distortion[1:]) < high < run.distortion[0]
    stopped = SimpleNamespace(**{k: v[:1] if len(v) < 9 else [] for k, v in vars(run).items()})
    low, high = plotting.training_curves(stopped).axes[1].get_ylim()  # before it trained
    assert low < stopped.distortion[0] < high


def test_training_curves_draws_minus_elbo_in_the_colors_of_the_runs_or_over_the_training_loss():
    runs = {"vanilla": history(), "soft free bits": history(shift=9)}
    figure, axes = plt.subplots(3)
    assert plotting.training_curves(runs, axes) is figure and plt.get_fignums() == [figure.number]
    for ax, (name, sign) in zip(axes, {"elbo": -1, "distortion": 1, "rate": 1}.items()):
        for shown, (label, run) in zip(ax.lines, runs.items(), strict=True):
            assert (shown.get_label(), shown.get_color()) == (label, plotting.COLORS[label])
            assert_allclose(shown.get_data(), (run.steps, sign * getattr(run, name)))
    over, behind, *_ = plotting.training_curves(run).axes[0].lines
    assert_allclose(behind.get_xydata(), np.stack([run.train_steps, run.train_loss], axis=1))
    assert behind.get_zorder() < over.get_zorder()


def test_curves_draws_lines_and_bands_and_gives_each_schedule_its_line_style():
    x, y = np.linspace(0, 1, 5), np.arange(5.0)
    ax = plotting.curves(x, {"with": (y, y - 1, y + 2), "without": -y}, xlabel="x", ylabel="nats")
    assert_allclose(lines(ax)["without"].get_xydata(), np.stack([x, -y], axis=1))
    (band,) = ax.collections
    assert band.get_datalim(ax.transData).intervaly.tolist() == [-1, 6]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "nats")
    data = {"linear": (x, x), "staircase": (x, np.ceil(10 * x) / 10), "constant": (x, 0 * x + 1)}
    ax = plotting.schedule_curves(data)
    for label, beta in data.items():
        assert_allclose(lines(ax)[label].get_data(), beta)
    assert len({one.get_linestyle() for one in ax.lines}) == 3


KL = np.array([0.02, 2.0, 0.0, 0.7, 1.1])


def test_kl_bars_are_sorted_or_in_a_given_order_fade_below_the_threshold_and_align_weights():
    ax = plotting.kl_bars(torch.tensor(KL))
    assert heights(ax) == sorted(KL, reverse=True)
    assert words(ax.get_xticklabels()) == ["1", "4", "3", "0", "2"]
    assert "sorted" in ax.get_xlabel()
    ax = plotting.kl_bars(KL, order=range(5))
    assert heights(ax) == list(KL) and "sorted" not in ax.get_xlabel()
    ax = plotting.kl_bars(KL, threshold=0.7, label="vanilla")  # 0.7 itself is not above
    assert ax.get_title(loc="left") == "vanilla: 2 of 5 above 0.7"
    assert [bar.get_alpha() == 1 for bar in ax.patches] == [True, True, False, False, False]
    assert ax.lines[0].get_ydata()[0] == 0.7
    top, bottom = plotting.kl_and_weights(KL, [0.5, 3.0, 0.4, 1.0, 2.0]).axes
    assert heights(top) == [2.0, 1.1, 0.7, 0.02, 0.0]
    assert heights(bottom) == [3.0, 2.0, 1.0, 0.5, 0.4]
    assert top.get_xlim() == bottom.get_xlim()


def test_kl_heatmap_puts_the_largest_final_kl_on_top():
    kl = torch.tensor([[0.9, 0.0, 0.1], [0.2, 0.0, 0.5], [0.1, 0.3, 2.0]])
    for given in (kl, list(kl.requires_grad_())):  # a history holds a list of tensors
        ax = plotting.kl_heatmap([0, 10, 100], given)
        (mesh,) = ax.collections
        assert_allclose(mesh.get_array(), kl.detach()[:, [2, 1, 0]].T, rtol=1e-6)
    bottom, top = ax.get_ylim()
    assert bottom > top  # rank 1, the first row, is drawn on top
    assert ax.figure.axes[1].get_ylabel() == "KL in nats"


def test_rate_distortion_marks_start_and_end_and_labels_lines_of_equal_elbo():
    rate, distortion = np.array([0.0, 10, 20, 26]), np.array([160.0, 110, 90, 79])
    paths = {"vanilla": (rate, distortion), "soft free bits": (32.6, 80.4)}
    ax = plotting.rate_distortion(paths, iso_elbo=(110, 130), xlim=(0, 50), ylim=(60, 170))
    assert_allclose(lines(ax)["vanilla"].get_xydata(), [[26, 79]])
    assert_allclose(lines(ax)["soft free bits"].get_xydata(), [[32.6, 80.4]])
    named = [text for text in ax.texts if text.get_text()]
    assert words(named) == ["−ELBO = 110", "−ELBO = 130"]
    for text, level in zip(named, (110, 130)):
        assert sum(text.get_position()) == pytest.approx(level)  # the label lies on its line
    arrows = [text for text in ax.texts if not text.get_text()]  # forward in time
    assert len(arrows) == 2 and all(arrow.xy[0] > arrow.xyann[0] for arrow in arrows)
    ax = plotting.rate_distortion({"a": ([5, 30], [120, 80])})  # it finds its own levels
    levels = [float(text.split("=")[1]) for text in words(ax.texts) if text]
    low, high = ax.get_xlim()[0] + ax.get_ylim()[0], ax.get_xlim()[1] + ax.get_ylim()[1]
    assert len(levels) >= 2 and all(low < level < high for level in levels)


def test_every_seed_and_the_mean_are_drawn_and_subtracted_seed_by_seed():
    values = {"vanilla": [1.0, 2.0, 6.0], "linear": [4.0, 5.0]}
    ax = plotting.dot_with_spread(values, xlabel="nats")
    for row, (dots, points) in enumerate(zip(ax.collections, values.values())):
        assert_allclose(dots.get_offsets(), [[p, row] for p in points])
        assert_allclose(ax.lines[row].get_xdata(), np.mean(points))
    assert words(ax.get_yticklabels()) == ["vanilla", "linear"]
    values = {"linear": [9.0, 18.0, 33.0], "vanilla": [10.0, 20.0, 30.0]}
    ax = plotting.paired_differences(values, xlabel="−ELBO in nats")
    assert_allclose(ax.collections[0].get_offsets()[:, 0], [-1, -2, 3])
    assert list(ax.lines[0].get_xdata()) == [0, 0]
    assert ax.get_xlabel() == "−ELBO in nats, minus vanilla"


def test_circle_and_ellipse_hold_their_share_of_prior_and_posterior():
    (circle,) = plotting.prior_circle(share=0.9).lines
    assert_allclose(Chi2(2).cdf(torch.tensor(np.square(circle.get_data()).sum(axis=0))), 0.9)
    assert circle.get_label() == "circle: 90% of the prior"
    mu, logvar = np.array([[1.0, -2.0], [0.0, 3.0]]), np.log([[0.25, 4.0], [1.0, 1.0]])
    ax = plotting.posterior_ellipses(mu, logvar, [7, 3], share=0.9)
    for ellipse, center, sigma in zip(ax.patches, mu, np.exp(0.5 * logvar), strict=True):
        reach = np.array([ellipse.width, ellipse.height]) / 2 / sigma
        assert_allclose(Chi2(2).cdf(torch.tensor(reach**2)), 0.9)
        assert_allclose((*ellipse.get_center(), ellipse.angle), (*center, 0))
    assert [to_hex(e.get_facecolor()).upper() for e in ax.patches] == plotting.CYCLE[1::-1]
    assert words(ax.texts) == ["3", "7"]


T3, D2 = [0, 1, 2], np.ones((3, 2))
SMALL = """
image_grid(D2[:, :1]); image_rows({"a": D2[:, :1]}); traversals(np.ones((2, 3, 4)), ["a", "b"], T3)
latent_scatter(D2, T3); curves(T3, {"a": T3}); schedule_curves({"a": (T3, T3)}); kl_bars(T3)
kl_heatmap(T3, D2); rate_distortion({"a": (T3, T3)}); dot_with_spread({"a": T3})
paired_differences({"vanilla": T3, "a": T3}); prior_circle(share=0.5)
posterior_ellipses(D2[:, :1] * [[0, 1]], D2 - 1, T3)
"""


@pytest.mark.parametrize("call", re.split("; |\n", SMALL.strip()))
def test_draws_into_the_axes_passed_and_leaves_what_was_there_or_opens_one_figure(call, recwarn):
    figure, ax = plt.subplots()
    (before,) = ax.plot([0, 1], [0.5, 0.6], ":", color="#123456", label="before")
    assert eval(f"plotting.{call[:-1]}, ax=ax)") is ax
    assert plt.get_fignums() == [figure.number] and before in ax.lines
    assert (before.get_linestyle(), before.get_color()) == (":", "#123456")
    figure.canvas.draw()
    own = eval(f"plotting.{call}")
    assert plt.get_fignums() == [figure.number, own.figure.number] and own.has_data()
    assert UserWarning not in [w.category for w in recwarn]  # of a layout that cannot be done


REFUSED = """
image_grid(np.zeros((2, 783)))              783 pixels
image_grid(np.full((2, 4), -3.0))           expected [0, 1]: pass pixel means, so sigmoid(logits)
traversals(np.zeros((2, 1, 4)), "aa", [0])  all of them to differ
latent_scatter(np.zeros((11, 2)), range(11))  11 classes
curves([0], {"a": ([0], [0])})              (mean, lower, upper)
kl_heatmap([0], [[1]])                      at least 2
"""


@pytest.mark.parametrize("row", REFUSED.strip().splitlines())
def test_what_would_mislead_is_refused(row):
    call, said = row.split("  ", 1)
    with pytest.raises(ValueError, match=re.escape(said.strip())):
        eval(f"plotting.{call}")
