"""The explorers: what the browser's formulas say is what Python says, and nothing is left behind.

The oracle of a read-out is the package itself, or a closed form. node runs the formulas; the tests
in tests/browser look at what is shown.
"""

from __future__ import annotations

import base64
import copy
import gc
import io
import itertools
import json
import math
import re
import weakref

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from PIL import Image

import vaelab.widgets.explorer as shared
from front_end import close, node
from vaelab import VAE, Digits, GaussianToy, RowGRUVAE, evaluate, schedules
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    Explorer,
    LatentExplorer,
    PlaneExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)
from vaelab.widgets.playground import recovery
from vaelab.widgets.schedule import PARAMETERS, best, train_path

KINDS = [
    BoundExplorer, PlaneExplorer, LatentExplorer, ScheduleExplorer, SoftFreeBitsPlayground,
    BetaExplorer,
]  # fmt: skip
every_kind = pytest.mark.parametrize("kind", KINDS)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def plane_model() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=2, hidden_dim=32)


@pytest.fixture(scope="module")
def models(trained) -> dict[float, VAE]:
    """Three models that differ; how they were trained does not matter here."""
    torch.manual_seed(1)
    other = VAE(latent_dim=8, hidden_dim=64)
    return {4.0: other, 0.5: trained[0], 1.0: copy.deepcopy(trained[0])}


@pytest.fixture(scope="module")
def make(trained, plane_model, models, digits):
    """Make an explorer of a kind, with a small model where it needs one."""
    given = {
        PlaneExplorer: (plane_model, digits),
        LatentExplorer: (trained[0], digits),
        BetaExplorer: (models, digits),
    }
    return lambda kind, **more: kind(*given.get(kind, ()), **more)


@pytest.fixture(scope="module")
def shown(make):
    """One explorer of each kind, made once; a test that moves it puts it back."""
    made = {kind: make(kind) for kind in KINDS}
    yield made
    for explorer in made.values():
        explorer.close()


def states(explorer: Explorer, count: int, seed: int = 0) -> list[dict]:
    """Values of all controls, drawn anew for each state; the first is where the explorer is."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(count):
        changes = {}
        for name, control in explorer.controls.items() if number else ():
            if name == "drawing":
                if number % 3 == 0:
                    changes[name] = rng.integers(0, 256, explorer.side**2).tolist()
            elif "options" in control:
                options = [value for value, _ in control["options"]]
                changes[name] = options[rng.integers(len(options))]
            else:
                steps = round((control["max"] - control["min"]) / control["step"])
                value = control["min"] + control["step"] * int(rng.integers(steps + 1))
                changes[name] = round(value, 6) if isinstance(value, float) else value
        drawn.append(explorer.completed(changes))
    return drawn


# --- one module ----------------------------------------------------------------------------------


@every_kind
def test_the_browsers_numbers_are_pythons(shown, kind):
    explorer = shown[kind]
    tried = states(explorer, 16)
    answers = node(explorer, *(["numbers", "known", values] for values in tried))
    for values, answer in zip(tried, answers):
        assert_close(answer, explorer.numbers(**values))


def assert_close(answer: dict, numbers: dict) -> None:
    assert answer.keys() == numbers.keys()
    assert all(close(answer[name], number) for name, number in numbers.items()), (answer, numbers)


@pytest.mark.parametrize("kind", [PlaneExplorer, LatentExplorer, BetaExplorer])
def test_the_browsers_pixels_are_pythons(shown, kind):
    explorer = shown[kind]
    tried = states(explorer, 12, seed=1)
    for values, answer in zip(tried, node(explorer, *(["pixels", "known", v] for v in tried))):
        assert np.abs(np.array(answer) - explorer.pixels(**values).ravel()).max() < 1e-2


def test_what_moves_along_is_the_same_in_the_browser(shown):
    explorer = shown[LatentExplorer]
    changes = [
        {"digit": 4}, {"example": 7}, {"sample": 12}, {"digit": 2, "sample": 3}, {"mix": 0.25},
        {"drawing": [0, 128] * 392}, {explorer.data["names"][0]: 1.5}, {"sample": 0},
    ]  # fmt: skip
    answers = node(explorer, *(["follow", "known", explorer.values, given] for given in changes))
    for given, answer in zip(changes, answers):
        expected = explorer.follow(given)
        assert answer.keys() == expected.keys()
        assert answer.pop("drawing", None) == expected.pop("drawing", None)
        assert answer == pytest.approx(expected)


def test_the_draws_of_the_browser_are_standard_normal(shown):
    draws = np.array([shared.noise(seed, 50) for seed in range(1, 401)])
    assert abs(draws.mean()) < 4 / math.sqrt(draws.size)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / draws.size)
    assert np.abs(np.corrcoef(draws[:200])[np.triu_indices(200, 1)]).mean() < 0.13
    assert (shared.noise(0, 50) == 0).all()


def test_a_module_without_its_import_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "HERE", tmp_path)
    (tmp_path / "shared.js").write_text("export const one = 1;\n")
    (tmp_path / "own.js").write_text("export default one;\n")
    with pytest.raises(ValueError, match="one import from"):
        shared.module_text("own")
    (tmp_path / "own.js").write_text('import { one } from "./shared.js";\n\nexport default one;\n')
    assert shared.module_text("own") == "export const one = 1;\n\n\nexport default one;\n"


# --- values --------------------------------------------------------------------------------------


@every_kind
def test_numbers_depend_on_nothing_but_values_wherever_they_are_moved(shown, kind):
    explorer = shown[kind]
    before = dict(explorer.values)
    for values in states(explorer, 3):
        first = explorer.numbers(**values)
        explorer.set_state({"values": json.loads(json.dumps(values))})  # a front end's message
        assert explorer.values == values
        assert explorer.numbers() == first == explorer.numbers(**values)
        explorer.reset()
        explorer.set(**values)
        assert explorer.values == values and explorer.numbers() == first
    sent = []
    explorer.observe(lambda change: sent.append(change.new), names="values")
    explorer.reset()
    explorer.unobserve_all("values")
    assert sent == [explorer.values] == [before] and explorer.trait_metadata("values", "sync")


@every_kind
def test_what_a_control_cannot_say_is_refused(shown, kind):
    explorer = shown[kind]
    before = dict(explorer.values)
    with pytest.raises(KeyError, match="no control is called 'slope'"):
        explorer.set(slope=1)
    for name in explorer.controls.keys() - {"drawing"}:
        for bad in (None, math.nan, "much", 1e9):
            with pytest.raises((TypeError, ValueError), match=re.escape(name)):
                explorer.set(**{name: bad})
            with pytest.raises((TypeError, ValueError), match=re.escape(name)):
                explorer.snapshot(**{name: bad})
    with pytest.raises(KeyError, match="must hold all controls"):
        explorer.values = {}
    assert explorer.values == before


def test_a_drawing_is_checked(shown):
    explorer = shown[LatentExplorer]
    for bad in ([0] * 5, "0" * 784, [300] * 784, [0.5] * 784, torch.zeros(784)):
        with pytest.raises((TypeError, ValueError), match="drawing"):
            explorer.set(drawing=bad)


# --- what a notebook and a page show -------------------------------------------------------------


@every_kind
def test_a_snapshot_is_a_figure_of_its_own(shown, kind, recwarn):
    explorer = shown[kind]
    before = plt.get_fignums()
    figure = explorer.snapshot(**states(explorer, 2, seed=2)[1])
    assert isinstance(figure, Figure) and figure.axes
    Image.open(io.BytesIO(figure._repr_png_())).verify()
    assert plt.get_fignums() == before
    assert [str(w.message) for w in recwarn if w.category is UserWarning] == []


@every_kind
def test_the_output_holds_widget_text_picture_and_words(shown, kind):
    data, metadata = shown[kind]._repr_mimebundle_()
    assert data.keys() == {"text/plain", WIDGET_VIEW, "image/png"}
    assert data["text/plain"] == repr(shown[kind])
    assert repr(shown[kind]).startswith(f"{kind.__name__}: ") and len(repr(shown[kind])) < 90
    assert len(metadata["image/png"]["alt"]) > 20
    Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).verify()


@every_kind
def test_the_page_is_one_file_that_asks_for_nothing(shown, kind):
    page, asks = shown[kind].page(), r"\bimport\b|\bfetch\(|https?:|XMLHttp|url\("
    assert re.findall(r"(?:src|href)\s*=\s*(?![\"']data:)|https?:|url\(", page) == []
    assert re.findall(asks, kind._esm.split("\n", 2)[2]) == []
    state = json.loads(re.search(r'data-part="state">(.*?)</script>', page, re.DOTALL)[1])
    assert state["values"] == shown[kind].values
    assert page.count("</script>") == 3 and "alt=" in page


def test_a_program_that_ends_its_script_is_refused():
    with pytest.raises(ValueError, match="end of a script"):
        shared.fragment("'</script>'", {}, {}, "", "")
    assert "</b" not in shared.fragment("", {"label": "</b>"}, {}, "", "")


def test_the_weights_on_the_page_are_float16(make, digits):
    explorer = LatentExplorer(VAE(), digits)
    assert sum(len(v) for v in explorer.data.values() if isinstance(v, bytes)) < 1_700_000
    assert len(explorer.page()) < 2_400_000
    explorer.close()


# --- nothing is left behind ----------------------------------------------------------------------


def _widgets() -> dict:
    """Every widget that is open; ipywidgets 8 calls the table otherwise than 7."""
    table = getattr(ipywidgets.widgets.widget, "_instances", None)
    return ipywidgets.Widget.widgets if table is None else table


@pytest.fixture
def shell(monkeypatch):
    """An IPython that runs cells, of which the explorers know."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shared, "get_ipython", lambda: shell)
    yield shell
    InteractiveShell.clear_instance()


def test_python_computes_with_one_thread_and_leaves_the_setting(monkeypatch):
    seen, before = [], torch.get_num_threads()
    look = lambda *_, **__: {"threads": seen.append(torch.get_num_threads())}  # noqa: E731
    monkeypatch.setattr(BoundExplorer, "read_out", look)
    torch.set_num_threads(2)
    try:
        BoundExplorer().numbers()
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@every_kind
def test_re_creations_leave_one(make, kind, shell):
    shell.user_ns.update(make=make, kind=kind)
    counts, heavy, times = [], [], 3 if kind is BetaExplorer else 15
    for _ in range(times):
        shell.run_cell("made = make(kind)", store_history=True).raise_error()
        counts.append(len(_widgets()))
        heavy.append(weakref.ref(getattr(shell.user_ns["made"], "model", shell)))
    assert set(counts) == {counts[0]}
    gc.collect()
    if kind in (PlaneExplorer, LatentExplorer):
        assert [model() is None for model in heavy] == [True] * (times - 1) + [False]
    shell.user_ns["made"].close()


def test_a_cell_that_runs_again_closes_only_its_own_explorers(shell):
    made = "from vaelab.widgets import BoundExplorer\n{} = [BoundExplorer(), BoundExplorer()]"
    for source in (made.format("a"), made.format("b"), "old = a", made.format("a")):
        shell.run_cell(source, store_history=True).raise_error()
    names = shell.user_ns
    assert [e.comm is None for e in names["old"]] == [True, True]
    assert [e.comm is None for e in names["a"] + names["b"]] == [False] * 4
    assert [e.data for e in names["old"]] == [{}, {}]


def test_later_training_does_not_reach_an_explorer(make, trained, digits):
    model = copy.deepcopy(trained[0])
    explorer = LatentExplorer(model, digits)
    before = explorer.numbers()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert explorer.numbers() == before


# --- the bound -----------------------------------------------------------------------------------


def test_the_ends_of_the_bars_agree_with_a_sum_over_z():
    toy = GaussianToy(weight=-0.7, bias=0.3, noise=0.5)
    explorer = BoundExplorer(toy)
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = torch.distributions.Normal(0.4, 0.6)
    log_likelihood = toy.log_likelihood(1.1, z)
    prior = torch.distributions.Normal(0.0, 1.0)
    n = explorer.numbers(x=1.1, mean=0.4, std=0.6)
    weight = q.log_prob(z).exp()
    assert n["distortion"] == pytest.approx(-float(torch.trapezoid(weight * log_likelihood, z)))
    kl = weight * (q.log_prob(z) - prior.log_prob(z))
    assert n["rate"] == pytest.approx(float(torch.trapezoid(kl, z)))
    evidence = torch.trapezoid((log_likelihood + prior.log_prob(z)).exp(), z).log()
    assert n["log_evidence"] == pytest.approx(float(evidence))
    assert n["distortion"] + n["rate"] == pytest.approx(-n["log_evidence"] + n["gap"])


def test_the_gradient_step_is_autograds(shown):
    explorer = shown[BoundExplorer]
    toy, x = explorer.toy, 2.0
    mean = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    left = x - toy.weight * mean - toy.bias
    std = log_std.exp()
    elbo = -0.5 * (left**2 + (toy.weight * std) ** 2) / toy.noise**2
    (elbo - 0.5 * (mean**2 + std**2 - 1) + log_std).backward()
    n = explorer.read_out(x=x, mean=-0.5, std=math.exp(0.2))
    assert n["next_mean"] == pytest.approx(-0.5 + 0.1 * float(mean.grad))
    assert n["next_std"] == pytest.approx(math.exp(0.2 + 0.1 * float(log_std.grad)))


# --- schedules and their consequence -------------------------------------------------------------


@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_schedule_is_the_one_that_trains(shown, kind):
    explorer = shown[ScheduleExplorer]
    for values in states(explorer, 5, seed=3):
        values = {**values, "kind": kind}
        given = {
            k: int(values[k]) if k in ("steps", "cycles") else values[k] for k in PARAMETERS[kind]
        }
        schedule = getattr(schedules, kind)(**given)
        betas = explorer.betas(**values)
        assert betas.tolist() == [schedule(i / len(betas)) for i in range(len(betas))]
        assert node(explorer, ["betas", "known", values])[0] == pytest.approx(betas.tolist())


def test_the_path_is_gradient_descent_on_a_linear_vae():
    """Oracle: autograd on the expectations, written with x and z as they are, not per dimension."""
    signals, betas, rate = (5.0, 1.5), [0.2, 0.7, 1.3], 0.05
    s = torch.tensor(signals, dtype=torch.float64)
    w, a, log_v = (
        t.requires_grad_() for t in (torch.full_like(s, 0.1), torch.full_like(s, 0.1), s * 0)
    )
    distortions, rates = train_path(signals, np.array(betas), rate)
    for step, beta in enumerate([*betas, 1.0]):
        encoder = a / s.sqrt()  # mu = encoder x
        x2 = s  # E[x^2]
        mean_square = (1 - w * encoder) ** 2 * x2  # E[(x - w mu)^2]
        distortion = 0.5 * (mean_square + w**2 * log_v.exp())
        variational = torch.distributions.Normal(torch.zeros_like(s), log_v.mul(0.5).exp())
        prior = torch.distributions.Normal(torch.zeros_like(s), torch.ones_like(s))
        kl = torch.distributions.kl_divergence(variational, prior) + 0.5 * encoder**2 * x2
        assert distortions[step] == pytest.approx(distortion.detach().numpy())
        assert rates[step] == pytest.approx(kl.detach().numpy())
        grads = torch.autograd.grad((distortion + beta * kl).sum(), (w, a, log_v))
        with torch.no_grad():
            for value, grad in zip((w, a, log_v), grads):
                value -= rate * grad


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_a_long_run_reaches_reverse_water_filling(beta):
    signals = (6.0, 1.9, 0.2)
    distortion, rate = train_path(signals, np.full(6000, beta))
    assert (distortion[-1].sum(), rate[-1].sum()) == pytest.approx(best(signals, beta), abs=1e-3)
    w = np.linspace(0, 4, 400_001)  # the best rate of a dimension, by search over what it leaves
    for s, found in zip(signals, rate[-1]):
        cost = 0.5 * s * np.exp(-2 * w) + beta * w
        assert found == pytest.approx(w[cost.argmin()], abs=2e-3)


def test_gradient_descent_is_stable_for_every_schedule_and_signal():
    for beta, signal in itertools.product((0.0, 0.05, 1.0, 2.0), (16.0, 1.0, 0.01)):
        distortion, rate = train_path((signal,), np.full(1000, beta))
        total = (distortion + beta * rate)[:, 0]
        assert np.isfinite(total).all() and (np.diff(total) < 1e-9).all()


# --- the latent space ----------------------------------------------------------------------------


def test_read_outs_are_those_of_the_model(shown, trained, digits):
    explorer, (model, _) = shown[LatentExplorer], trained
    row = (digits.test_labels == 3).nonzero().flatten()[5]
    x = digits.test[int(row)][None]
    with torch.no_grad():
        mu, logvar = model.encode(x)
        at_mu = -model.log_likelihood(x, mu)
    n = explorer.numbers(digit=3, example=5)
    assert n["distortion_at_mu"] == pytest.approx(float(at_mu), abs=0.1)  # float16 weights
    q = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    assert n["rate"] == pytest.approx(float(kl), rel=2e-3)


def test_dimensions_are_ranked_by_kl(make, digits, trained):
    explorer = make(LatentExplorer, used=4, dead=1)
    order = evaluate(trained[0], digits.test).kl_per_dim.argsort(descending=True).tolist()
    assert explorer.dims == [*order[:4], order[-1]]
    assert explorer.names[0].startswith(f"z[{order[0]}]: ") and explorer.names[0].endswith(" nats")
    assert make(LatentExplorer, used=50, dead=50).dims == order
    for bad in ({"used": 0}, {"dead": -1}, {"used": 1.5}):
        with pytest.raises(ValueError, match="must be a positive integer"):
            make(LatentExplorer, **bad)


def test_sliders_follow_the_digit_and_hold_every_mean(make):
    explorer = make(LatentExplorer)
    explorer.set(digit=6, example=3)
    mu, _ = explorer.encode(explorer.image(6, 3))
    for d in explorer.dims:
        assert abs(explorer.values[f"z[{d}]"] - float(mu[0, d])) <= 0.026
    name = f"z[{explorer.dims[0]}]"
    explorer.set(**{name: 2.0})
    assert explorer.values[name] == 2.0
    explorer.set(sample=7)
    assert explorer.values[name] != 2.0
    explorer.set(digit=6)
    assert explorer.values["sample"] == 0


def cover(count: int, size: float, start: float, points: int) -> np.ndarray:
    """(points, count) how much of each point of a canvas lies in each pixel of an image."""
    low = start + size * np.arange(count)
    point = np.arange(points)[:, None]
    return np.clip(np.minimum(low + size, point + 1) - np.maximum(low, point), 0, 1)


def test_forty_digits_come_back_from_the_canvas(shown, digits):
    """Enlarged by any factor, anywhere on the canvas, each is centered again as in MNIST."""
    rng = np.random.default_rng(0)
    calls = []
    for x in digits.test[:40].reshape(-1, 28, 28).numpy():
        rows, columns = np.nonzero(x)
        x = x[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        size = rng.uniform(4, 13.5)
        down, across = (
            cover(n, size, rng.uniform(0, 280 - size * n), 280) for n in x.shape
        )  # (280, h), (280, w)
        ink = (down @ x @ across.T).round(4)
        calls.append(["centered", ink.ravel().tolist(), 280, 28])
    back = np.array(node(shown[LatentExplorer], *calls))
    error = np.abs(back - digits.test[:40].numpy()).mean(axis=1)
    assert error.mean() < 0.01
    # A center of mass on the border between two pixels may be rounded to either: one digit off by
    # one pixel has an error of about 0.045.
    assert (error < 0.03).sum() >= 39 and error.max() < 0.06


def test_an_empty_canvas_and_a_dot_are_images_too(shown):
    dot = np.zeros((280, 280))
    dot[40:60, 200:220] = 1
    empty, middle = node(
        shown[LatentExplorer],
        ["centered", [0] * 280 * 280, 280, 28],
        ["centered", dot.ravel().tolist(), 280, 28],
    )
    assert not any(empty)
    assert np.reshape(middle, (28, 28))[5:24, 5:24].min() == pytest.approx(1)
    assert sum(middle) == pytest.approx(400)


def test_any_square_size_numpy_missing_labels_and_doubles_work():
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((40, 144))
    digits = Digits(images, None, images, None, "noise")
    model = VAE(latent_dim=2, hidden_dim=8, data_dim=144).double()
    latent, plane = LatentExplorer(model, digits), PlaneExplorer(model, digits)
    for explorer in (latent, plane, BetaExplorer({1.0: model}, digits)):
        for values in states(explorer, 3):
            answer = node(explorer, ["numbers", "known", values])[0]
            assert_close(answer, explorer.numbers(**values))
        assert explorer.snapshot().axes


class Other(VAE):
    """The layers of a VAE, connected otherwise."""

    def decode(self, z):
        return self.to_logits(torch.tanh(self.from_latent(z)))


def test_what_a_browser_cannot_show_is_refused_by_name(trained, plane_model, digits, models):
    model, broken = trained[0], copy.deepcopy(trained[0])
    with torch.no_grad():
        broken.to_mu.bias[0] = 1e6
    rows, other = RowGRUVAE(latent_dim=2, hidden_dim=4), Other(latent_dim=2, hidden_dim=4)
    narrow, few = digits._replace(test=digits.test[:, :700]), digits._replace(test=digits.test[:7])
    unlabelled = digits._replace(test_labels=digits.test_labels[:5])
    refused = {
        r"model must be a VAE, .* got RowGRUVAE": (LatentExplorer, rows, digits),
        "must encode and decode as VAE does, but Other": (LatentExplorer, other, digits),
        "square images that the model takes": (LatentExplorer, model, narrow),
        "at least 8 square images": (BetaExplorer, models, few),
        r"digits.test_labels must be \(1000,\)": (LatentExplorer, model, unlabelled),
        "two latent dimensions, got 8": (PlaneExplorer, model, digits),
        "bytes of float16 weights, at most": (LatentExplorer, VAE(hidden_dim=11_000), digits),
        "share one latent_dim": (BetaExplorer, {1.0: model, 2.0: plane_model}, digits),
        "too large for float16": (LatentExplorer, broken, digits),
    }
    for message, (kind, *given) in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            kind(*given)


# --- the plane and the betas ---------------------------------------------------------------------


def test_the_plane_shows_the_q_of_the_model(shown, plane_model, digits):
    explorer = shown[PlaneExplorer]
    with torch.no_grad():
        mu, logvar = plane_model.encode(digits.test[[7]])
    n = explorer.numbers(digit=7)
    assert (n["mu1"], n["mu2"]) == pytest.approx(tuple(mu[0].tolist()), abs=2e-3)
    assert (n["std1"], n["std2"]) == pytest.approx(
        tuple((0.5 * logvar[0]).exp().tolist()), rel=2e-3
    )
    assert n["radius"] == pytest.approx(math.hypot(explorer.values["z1"], explorer.values["z2"]))


def test_beta_read_outs_are_those_of_evaluate(shown, models, digits):
    for beta, model in models.items():
        n, score = shown[BetaExplorer].numbers(beta=beta), evaluate(model, digits.test)
        assert n["rate"] == pytest.approx(score.rate, rel=2e-3)
        assert n["distortion"] == pytest.approx(score.distortion, rel=5e-3)  # another draw of z
        assert n["elbo"] == pytest.approx(-n["rate"] - n["distortion"])


def test_beta_shows_inputs_reconstructions_and_samples(shown, models, digits):
    pixels = shown[BetaExplorer].pixels(beta=4.0, group=1, draw=2)
    x = digits.test[8:16]
    with torch.no_grad():
        decoded = models[4.0].decode(models[4.0].encode(x)[0]).sigmoid()
    assert np.abs(pixels[:8] - x.numpy()).max() < 0.003
    assert np.abs(pixels[8:16] - decoded.numpy()).max() < 1e-2
    same = shown[BetaExplorer].pixels(beta=0.5, group=0, draw=2)
    assert np.abs(pixels[16:] - same[16:]).max() > 0.1  # the same z, another decoder


# --- the controller ------------------------------------------------------------------------------


def test_a_run_that_does_not_recover_says_so():
    explorer = SoftFreeBitsPlayground(steps=200)
    late = {"floor": 0.0, "starved": 100, "step": 0.1}
    assert explorer.numbers(**late)["recovery"] == math.inf
    assert node(explorer, ["numbers", "known", explorer.completed(late)])[0]["recovery"] == "inf"
    assert "not within the 200 steps" in explorer.snapshot(**late).get_suptitle()


def test_recovery_counts_from_the_end_of_the_starved_phase():
    kl = np.ones((10, 2))
    assert recovery(kl, starved=0, near=0.1) == 0
    kl[:6, 0] = 0
    assert recovery(kl, starved=4, near=0.1) == 2
    kl[-1, 0] = 0
    assert recovery(kl, starved=4, near=0.1) == math.inf
