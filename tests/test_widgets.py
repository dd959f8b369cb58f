"""The explorers: the browser's formulas say what Python says, and Python what the package says."""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import math
import re
import weakref
from functools import cache

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from torch.distributions import Normal, kl_divergence

import vaelab.widgets.explorer as shared
from front_end import CELLS, made, names, node, same
from vaelab import VAE, Digits, GaussianToy, RowGRUVAE, evaluate
from vaelab.widgets import BoundExplorer, Explorer, LatentExplorer
from vaelab.widgets.playground import recovery
from vaelab.widgets.schedule import best, train_path

every_kind = pytest.mark.parametrize("kind", CELLS)
ODD = {  # of models in float64, and of images in numpy, 12 x 12 and without labels
    "odd latent": "LatentExplorer(double, noise)",
    "odd plane": "PlaneExplorer(double, noise)",
    "odd beta": "BetaExplorer({1.0: double}, noise)",
}


@cache
def shown(kind: str) -> Explorer:
    """One explorer of each kind, made once; a test that moves it puts it back."""
    return made(CELLS[kind])


def moves(explorer: Explorer, count: int) -> list[dict]:
    """What a hand may change at once: every choice in its turn, and about half of the sliders."""
    rng, drawn = np.random.default_rng(0), [{}]
    for number in range(1, count):
        changes = {}
        for place, (name, control) in enumerate(explorer.controls.items()):
            if "options" in control:
                options = control["options"]
                changes[name] = options[(number + place) % len(options)][0]
            elif name == "drawing" and number % 3 == 0:
                changes[name] = rng.integers(0, 256, explorer.side**2).tolist()
            elif name != "drawing" and rng.random() < 0.5:
                steps = round((control["max"] - control["min"]) / control["step"])
                value = control["min"] + control["step"] * int(rng.integers(steps + 1))
                changes[name] = round(value, 6) if isinstance(value, float) else value
        drawn.append(changes)
    return drawn


@pytest.mark.parametrize("kind", CELLS | ODD)
def test_the_browsers_numbers_and_pixels_are_pythons(kind):
    images = np.random.default_rng(0).random((40, 144))
    noise = Digits(images, None, images, None, "noise")
    double = VAE(latent_dim=2, hidden_dim=8, data_dim=144).double()
    explorer = made((CELLS | ODD)[kind], noise=noise, double=double)
    given = moves(explorer, 16)
    tried = [explorer.completed(changes) for changes in given]
    for values, answer in zip(tried, node(explorer, *(["numbers", v] for v in tried))):
        numbers = explorer.numbers(**values)
        assert answer.keys() == numbers.keys() and same(answer, numbers), (answer, numbers)
    if hasattr(explorer, "pixels"):
        for values, answer in zip(tried, node(explorer, *(["pixels", v] for v in tried))):
            assert np.abs(np.array(answer) - explorer.pixels(**values).ravel()).max() < 1e-2
    if isinstance(explorer, LatentExplorer):  # of which one control moves others
        answers = node(explorer, *(["follow", explorer.values, changes] for changes in given))
        for values, answer in zip(tried, answers):
            answer = explorer.values | answer
            assert answer.pop("drawing") == values.pop("drawing")
            assert answer == pytest.approx(values)


def test_the_draws_are_standard_normal():
    draws = np.array([shared.noise(seed, 50) for seed in range(1, 401)])
    assert abs(draws.mean()) < 4 / math.sqrt(draws.size)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / draws.size)
    assert np.abs(np.corrcoef(draws[:200])[np.triu_indices(200, 1)]).mean() < 0.13


def test_a_module_that_would_not_run_on_a_page_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="end of a script"):
        shared.fragment("'</script>'", {}, {}, "", "")
    assert "</b" not in shared.fragment("", {"label": "</b>"}, {}, "", "")
    monkeypatch.setattr(shared, "HERE", tmp_path)
    (tmp_path / "shared.js").touch()
    (tmp_path / "own.js").write_text("export default one;\n")
    with pytest.raises(ValueError, match="one import from"):
        shared.module_text("own")


@every_kind
def test_numbers_depend_on_nothing_but_values_wherever_they_are_moved(kind):
    explorer, sent = shown(kind), []
    before = dict(explorer.values)
    for changes in moves(explorer, 3):
        values = explorer.completed(changes)
        first = explorer.numbers(**values)
        explorer.set_state({"values": json.loads(json.dumps(values))})  # a front end's message
        assert explorer.values == values and explorer.numbers() == first
        explorer.reset()
        explorer.set(**values)
        assert explorer.values == values and explorer.numbers() == first
    explorer.observe(lambda change: sent.append(change.new), names="values")
    explorer.reset()
    explorer.unobserve_all("values")
    assert sent == [explorer.values] == [before] and explorer.trait_metadata("values", "sync")


def test_what_no_control_can_say_is_refused_and_changes_nothing():
    explorer = shown("LatentExplorer")
    before = dict(explorer.values)
    for bad in ([0] * 5, "0" * 784, [300] * 784, [0.5] * 784, torch.zeros(784)):
        with pytest.raises((TypeError, ValueError), match="drawing"):
            explorer.set(drawing=bad)
    with pytest.raises(KeyError, match="no control is called 'slope'"):
        explorer.set(slope=1)
    with pytest.raises(KeyError, match="must hold all controls"):
        explorer.values = {}
    assert explorer.values == before


@every_kind
def test_an_output_is_widget_text_and_picture_and_the_page_asks_for_nothing(kind, recwarn):
    explorer, figures = shown(kind), plt.get_fignums()
    for values in moves(explorer, 3)[1:]:
        Image.open(io.BytesIO(explorer.snapshot(**values)._repr_png_())).verify()
    data, metadata = explorer._repr_mimebundle_()
    assert data.keys() == {"text/plain", "application/vnd.jupyter.widget-view+json", "image/png"}
    assert data["text/plain"].startswith(f"{kind}: ") and len(data["text/plain"]) < 90
    assert len(metadata["image/png"]["alt"]) > 20
    Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).verify()
    assert plt.get_fignums() == figures
    page = explorer.page()
    assert re.findall(r"(?:src|href)\s*=\s*(?![\"']data:)|https?:|url\(", page) == []
    own = explorer._esm.split("\n", 2)[2]
    assert re.findall(r"\bimport\b|\bfetch\(|https?:|XMLHttp|url\(", own) == []
    assert page.count("</script>") == 3 and "alt=" in page
    assert [str(w.message) for w in recwarn if w.category is UserWarning] == []


def test_a_cell_that_runs_again_closes_only_its_own_explorers(monkeypatch):
    InteractiveShell.clear_instance()
    shell, models, counts = InteractiveShell.instance(), [], set()
    monkeypatch.setattr(shared, "get_ipython", lambda: shell)
    run = lambda cell: shell.run_cell(cell, store_history=True).raise_error()  # noqa: E731
    base, module = ipywidgets.Widget, ipywidgets.widgets.widget  # each version has its own table
    places = (module, "_instances"), (base, "_active_widgets"), (base, "widgets")
    table = next(getattr(place, name) for place, name in places if hasattr(place, name))
    shell.user_ns |= names()
    for _ in range(15):
        run(f"a = [{CELLS['LatentExplorer']}, {CELLS['BoundExplorer']}]")
        models.append(weakref.ref(shell.user_ns["a"][0].model))
        counts.add(len(table))
    gc.collect()
    assert len(counts) == 1 and [m() is None for m in models] == [True] * 14 + [False]
    run(f"b = [{CELLS['BoundExplorer']}, {CELLS['BoundExplorer']}]")
    run("old = a")
    run(f"a = [{CELLS['LatentExplorer']}, {CELLS['BoundExplorer']}]")
    a, b, old = (shell.user_ns[name] for name in ("a", "b", "old"))
    assert [e.comm is None for e in a + b + old] == [False] * 4 + [True] * 2
    assert [e.data for e in old] == [{}, {}]
    InteractiveShell.clear_instance()


def test_an_explorer_and_its_model_do_not_touch_each_other():
    model = copy.deepcopy(names()["model"])
    explorer = LatentExplorer(model, names()["digits"])
    assert all(map(torch.equal, model.parameters(), names()["model"].parameters()))
    before = explorer.numbers()
    with torch.no_grad():
        model.to_mu.bias.add_(1.0)
    assert explorer.numbers() == before


def test_the_bound_and_its_gradient_step_are_those_of_a_sum_over_z():
    toy, x = GaussianToy(weight=-0.7, bias=0.3, noise=0.5), 1.1
    start = torch.tensor([0.4, math.log(0.6)], dtype=torch.float64, requires_grad=True)
    mean, log_std = start
    q, prior = Normal(mean, log_std.exp()), Normal(0.0, 1.0)
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    z = mean + log_std.exp() * grid
    average = lambda f: torch.trapezoid(prior.log_prob(grid).exp() * f, grid)  # noqa: E731
    distortion = -average(toy.log_likelihood(x, z))
    rate = average(q.log_prob(z) - prior.log_prob(z))
    joint = toy.log_likelihood(x, grid) + prior.log_prob(grid)
    evidence = torch.trapezoid(joint.exp(), grid).log()
    elbo = -distortion - rate
    elbo.backward()
    expected = [evidence, elbo, distortion, rate, evidence - elbo]
    expected += [(start + 0.1 * start.grad)[0], (start + 0.1 * start.grad)[1].exp()]
    numbers = BoundExplorer(toy).numbers(x=x, mean=0.4, std=0.6)
    said = ["log_evidence", "elbo", "distortion", "rate", "gap", "next_mean", "next_std"]
    assert [numbers[name] for name in said] == pytest.approx([part.item() for part in expected])


def test_the_path_is_gradient_descent_on_a_linear_vae():
    """Oracle: autograd on the expectations, written with x and z as they are, not per dimension."""
    signals, betas, step_size = (5.0, 1.5), [0.2, 0.7, 1.3], 0.05
    s = torch.tensor(signals, dtype=torch.float64)  # E[x^2]
    w, a, log_v = (t.requires_grad_() for t in (0.1 + 0 * s, 0.1 + 0 * s, 0 * s))
    distortions, rates = train_path(signals, np.array(betas), step_size)
    for step, beta in enumerate([*betas, 1.0]):
        encoder = a / s.sqrt()  # mu = encoder x
        distortion = 0.5 * ((1 - w * encoder) ** 2 * s + w**2 * log_v.exp())  # E[(x - w z)^2] / 2
        centered = kl_divergence(Normal(0 * s, log_v.mul(0.5).exp()), Normal(0 * s, 1 + 0 * s))
        kl = centered + 0.5 * encoder**2 * s
        assert distortions[step] == pytest.approx(distortion.detach().numpy())
        assert rates[step] == pytest.approx(kl.detach().numpy())
        grads = torch.autograd.grad((distortion + beta * kl).sum(), (w, a, log_v))
        with torch.no_grad():
            for value, grad in zip((w, a, log_v), grads):
                value -= step_size * grad


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_a_long_run_reaches_reverse_water_filling(beta):
    signals = (6.0, 1.9, 0.2)
    distortion, rate = train_path(signals, np.full(6000, beta))
    assert (distortion[-1].sum(), rate[-1].sum()) == pytest.approx(best(signals, beta), abs=1e-3)
    w = np.linspace(0, 4, 400_001)  # the best rate of a dimension, by search over what it leaves
    for s, found in zip(signals, rate[-1]):
        cost = 0.5 * s * np.exp(-2 * w) + beta * w
        assert found == pytest.approx(w[cost.argmin()], abs=2e-3)


def test_recovery_counts_from_the_end_of_the_starved_phase():
    kl = np.ones((10, 2))
    assert recovery(kl, starved=0, near=0.1) == 0
    kl[:6, 0] = 0
    assert recovery(kl, starved=4, near=0.1) == 2
    kl[-1, 0] = 0
    assert recovery(kl, starved=4, near=0.1) == math.inf
    figure = shown("SoftFreeBitsPlayground").snapshot(floor=0.0, starved=600, lam=0.1, step=0.01)
    assert "not within the 800 steps" in figure.get_suptitle()


def test_read_outs_are_those_of_the_model():
    """float16 weights and pixels in bytes: hence the tolerances."""
    digits, model, other, flat = (names()[name] for name in ("digits", "model", "other", "flat"))
    x = digits.test[(digits.test_labels == 3).nonzero()[5]]
    with torch.no_grad():
        mu, logvar = model.encode(x)
        at_mu = -model.log_likelihood(x, mu)
        plane_mu, plane_logvar = flat.encode(digits.test[[7]])
        decoded = other.decode(other.encode(digits.test[8:16])[0]).sigmoid()
    n = shown("LatentExplorer").numbers(digit=3, example=5)
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum()
    assert n["distortion_at_mu"] == pytest.approx(float(at_mu), abs=0.1)
    assert n["rate"] == pytest.approx(float(kl), rel=2e-3)
    n = shown("PlaneExplorer").numbers(digit=7, z1=0.6, z2=0.8)
    assert [n["mu1"], n["mu2"]] == pytest.approx(plane_mu[0].tolist(), abs=2e-3)
    std = (0.5 * plane_logvar[0]).exp().tolist()
    assert [n["std1"], n["std2"]] == pytest.approx(std, rel=2e-3)
    assert n["radius"] == pytest.approx(1)
    explorer = shown("BetaExplorer")
    n, score = explorer.numbers(beta=4.0), evaluate(other, digits.test)
    assert n["rate"] == pytest.approx(score.rate, rel=2e-3)
    assert n["distortion"] == pytest.approx(score.distortion, rel=5e-3)  # another draw of z
    assert n["elbo"] == pytest.approx(-n["rate"] - n["distortion"])
    pixels, same_z = (explorer.pixels(beta=beta, group=1, draw=2) for beta in (4.0, 0.5))
    assert np.abs(pixels[:8] - digits.test[8:16].numpy()).max() < 0.003
    assert np.abs(pixels[8:16] - decoded.numpy()).max() < 1e-2
    assert np.abs(pixels[16:] - same_z[16:]).max() > 0.1  # another decoder


def test_sliders_are_ranked_by_kl_and_follow_the_digit():
    digits, model = names()["digits"], names()["model"]
    order = evaluate(model, digits.test).kl_per_dim.argsort(descending=True).tolist()
    explorer = LatentExplorer(model, digits, used=4, dead=1)
    assert explorer.dims == [*order[:4], order[-1]]
    assert re.fullmatch(rf"z\[{order[0]}\]: [\d.]+ nats", explorer.names[0])
    assert LatentExplorer(model, digits, used=50, dead=50).dims == order
    explorer.set(digit=6, example=3)
    mu, _ = explorer.encode(explorer.image(6, 3))
    places = [explorer.values[f"z[{d}]"] for d in explorer.dims]
    assert places == pytest.approx(mu[0, explorer.dims].tolist(), abs=0.026)
    explorer.set(sample=7)
    assert explorer.values[f"z[{order[0]}]"] != places[0]
    explorer.set(digit=6)
    assert explorer.values["sample"] == 0 and explorer.values[f"z[{order[0]}]"] == places[0]


def cover(count: int, size: float, start: float, points: int) -> np.ndarray:
    """(points, count) how much of each point of a canvas lies in each pixel of an image."""
    low = start + size * np.arange(count)
    point = np.arange(points)[:, None]
    return np.clip(np.minimum(low + size, point + 1) - np.maximum(low, point), 0, 1)


def test_forty_digits_come_back_from_the_canvas():
    """Enlarged by any factor, anywhere on the canvas, each is centered again as in MNIST."""
    rng, images, canvases = np.random.default_rng(0), names()["digits"].test[:40].numpy(), []
    for x in images.reshape(-1, 28, 28):
        rows, columns = np.nonzero(x)
        x = x[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        size = rng.uniform(4, 13.5)
        # (280, h) and (280, w)
        down, across = (cover(n, size, rng.uniform(0, 280 - size * n), 280) for n in x.shape)
        canvases.append((down @ x @ across.T).round(4))
    dot = np.zeros((280, 280))
    dot[40:60, 200:220] = 1
    calls = [["centered", ink.ravel().tolist(), 280, 28] for ink in [*canvases, dot, 0 * dot]]
    *back, middle, empty = np.array(node(shown("LatentExplorer"), *calls))
    error = np.abs(back - images).mean(axis=1)
    assert error.mean() < 0.01
    # A center of mass on the border between two pixels may be rounded to either: one digit off by
    # one pixel has an error of about 0.045.
    assert (error < 0.03).sum() >= 39 and error.max() < 0.06
    assert middle.reshape(28, 28)[5:24, 5:24].min() == pytest.approx(1)
    assert middle.sum() == pytest.approx(400) and not empty.any()


class Other(VAE):
    """The layers of a VAE, connected otherwise."""

    def decode(self, z):
        return self.to_logits(torch.tanh(self.from_latent(z)))


REFUSED = r"""
got RowGRUVAE                        :: LatentExplorer(RowGRUVAE(2, 4), digits)
encode and decode as VAE does        :: LatentExplorer(Other(2, 4), digits)
square images that the model takes   :: LatentExplorer(double, digits)
at least 8 square images             :: BetaExplorer({1.0: model}, few)
digits.test_labels must be \(1000,\) :: LatentExplorer(model, digits._replace(test_labels=[3, 1]))
two latent dimensions, got 8         :: PlaneExplorer(model, digits)
bytes of float16 weights, at most    :: LatentExplorer(VAE(hidden_dim=11_000), digits)
share one latent_dim                 :: BetaExplorer({1.0: model, 2.0: flat}, digits)
too large for float16                :: LatentExplorer(broken, digits)
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_what_a_browser_cannot_show_is_refused_by_name(case):
    message, cell = case.split("::")
    digits, broken, double = names()["digits"], VAE(2, 4), VAE(2, 8, 144)
    torch.nn.init.constant_(broken.to_mu.bias, 1e6)
    few = digits._replace(test=digits.test[:7])
    with pytest.raises((TypeError, ValueError), match=message.strip()):
        made(cell.strip(), Other=Other, RowGRUVAE=RowGRUVAE, broken=broken, double=double, few=few)
