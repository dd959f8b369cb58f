"""What the explorers show agrees with what the package computes, and nothing is left behind."""

from __future__ import annotations

import copy
import gc
import io
import math
import weakref

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.embed import dependency_state
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import vaelab.widgets as module
from vaelab import (
    VAE,
    Digits,
    GaussianToy,
    RowGRUVAE,
    SoftFreeBits,
    cyclical,
    evaluate,
)
from vaelab.widgets import (
    BetaExplorer,
    BoundExplorer,
    LatentExplorer,
    ScheduleExplorer,
    SoftFreeBitsPlayground,
)

KINDS = [BoundExplorer, LatentExplorer, ScheduleExplorer, SoftFreeBitsPlayground, BetaExplorer]
PARTS = {  # the controls that must move the picture, from where the explorer starts
    BoundExplorer: ["x", "mean", "std"],
    LatentExplorer: ["view", "digit", "example", "most"],
    ScheduleExplorer: ["kind", "warmup", "start", "stop"],
    SoftFreeBitsPlayground: ["strength", "starved", "floor", "init", "lam", "tolerance", "step"],
    BetaExplorer: ["beta", "first", "draw"],
}


FASTER = {SoftFreeBitsPlayground: {"steps": 200}}  # a run is simulated anew for every picture


@pytest.fixture(scope="module")
def model(trained) -> VAE:
    return copy.deepcopy(trained[0])


@pytest.fixture(scope="module")
def models(model) -> dict[float, VAE]:
    torch.manual_seed(1)
    small = VAE(latent_dim=5, hidden_dim=16), VAE(latent_dim=20, hidden_dim=16)
    return {4.0: small[0], 1.0: model, 0.25: small[1]}


@pytest.fixture(scope="module")
def given(digits, model, models) -> dict[type, tuple]:
    """What an explorer of a kind is made from."""
    return {LatentExplorer: (model, digits), BetaExplorer: (models, digits)}


@pytest.fixture
def make(given):
    made = []

    def create(kind, **options):
        made.append(kind(*given.get(kind, ()), **(FASTER.get(kind, {}) | options)))
        return made[-1]

    yield create
    for explorer in made:
        explorer.close()


@pytest.fixture(scope="module")
def shared(given):
    """One explorer of a kind for all tests that only move it: to lay out its figure takes longest.

    It comes as it was made. It counts as that of another cell, so no other explorer closes it.
    """
    made = {}

    def get(kind):
        if kind not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "_cell_and_run", lambda: ("shared", 1))
                made[kind] = kind(*given.get(kind, ()), **FASTER.get(kind, {}))
        explorer = made[kind]
        if explorer.values != explorer.start or explorer.problem.value:
            explorer.reset()
        return explorer

    yield get
    for explorer in made.values():
        explorer.close()


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures are made, but not laid out and drawn, for tests that do not look at them."""
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: None)


def pixels(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


def push(explorer, name: str) -> None:
    """Move one control to another of its values, as a slider in the browser would."""
    control = explorer.controls[explorer.names[0] if name == "most" else name]
    if hasattr(control, "options"):
        values = [item[1] if isinstance(item, tuple) else item for item in control.options]
        control.value = next(value for value in values if value != control.value)
    else:
        up = control.value + 6 * control.step
        control.value = up if up <= control.max else control.value - 6 * control.step


def open_widgets() -> int:
    module, kind = ipywidgets.widgets.widget, ipywidgets.Widget  # of 8.1, or else of 8.0, or of 7
    places = [(module, "_instances"), (kind, "_active_widgets"), (kind, "widgets")]
    return len(next(vars(home)[name] for home, name in places if name in vars(home)))


# --- what all of them promise ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_repr_is_fixed_and_is_not_cut(shared, kind):
    explorer = shared(kind)
    before = repr(explorer)
    push(explorer, PARTS[kind][0])
    text = "run this cell to move it; the figure below shows the same without a kernel"
    assert repr(explorer) == before == f"{kind.__name__}: {text}"
    assert len(before) <= 110  # ipywidgets cuts longer ones


@pytest.mark.parametrize("kind", KINDS)
def test_every_control_moves_the_picture_at_once(shared, kind):
    explorer = shared(kind)
    start = explorer.picture.value
    for name in PARTS[kind]:
        push(explorer, name)
        after, view = explorer.picture.value, explorer.render(**explorer.values)
        assert after != start, name
        assert (after, explorer.numbers) == (view.png, view.numbers), name  # nothing stale, pending
        explorer.reset()
        assert explorer.picture.value == start, name


@pytest.mark.parametrize("kind", KINDS)
def test_render_depends_on_nothing_but_its_arguments(shared, kind):
    explorer = shared(kind)
    start = explorer.values
    first = explorer.render(**start)
    for name in PARTS[kind]:
        push(explorer, name)
    assert explorer.render(**start) == first


@pytest.mark.parametrize("kind", KINDS)
def test_reset_restores_values_and_picture(shared, kind):
    explorer = shared(kind)
    values, png, text = explorer.values, explorer.picture.value, explorer.readout.value
    for name in PARTS[kind]:
        push(explorer, name)
    assert explorer.values != values
    explorer.reset()
    assert explorer.values == values
    assert (explorer.picture.value, explorer.readout.value) == (png, text)


@pytest.mark.parametrize("kind", KINDS)
def test_one_event_draws_once(shared, make, kind, undrawn, monkeypatch):
    explorer = shared(kind)
    make(kind)  # a second one, so that a leaked observer would draw too
    drawn, render = [], type(explorer).render
    monkeypatch.setattr(kind, "render", lambda self, **v: drawn.append(v) or render(self, **v))
    push(explorer, PARTS[kind][1])
    explorer.reset()
    assert len(drawn) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_raised_and_shown(shared, kind, monkeypatch):
    explorer = shared(kind)
    render = kind.render
    monkeypatch.setattr(kind, "render", lambda self, **v: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        push(explorer, PARTS[kind][0])
    assert "ZeroDivisionError: division by zero" in explorer.problem.value
    with pytest.raises(ZeroDivisionError):
        explorer.reset()
    monkeypatch.setattr(kind, "render", render)
    push(explorer, PARTS[kind][0])
    assert explorer.problem.value == ""


def test_an_error_behind_a_button_is_shown(shared, monkeypatch):
    # ipywidgets reports what a click raises and goes on, so the page must tell.
    explorer = shared(BoundExplorer)
    monkeypatch.setattr(BoundExplorer, "render", lambda self, **v: 1 / 0)
    buttons = [w for row in explorer.rows for w in row.children if hasattr(w, "click")]
    assert [button.description for button in buttons] == ["Reset", "Random x"]
    for button in buttons:
        explorer.problem.value = ""
        button.click()
        assert "ZeroDivisionError" in explorer.problem.value


@pytest.mark.parametrize("kind", KINDS)
def test_snapshot_is_a_figure_of_its_own(shared, kind, recwarn, request):
    explorer = shared(kind)
    recwarn.clear()
    figure = explorer.snapshot()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []  # pyplot would show it a second time
    png = figure._repr_png_()  # a notebook shows it without pyplot's help
    assert png.startswith(b"\x89PNG")
    assert (pixels(png)[..., :3].min(axis=2) < 250).mean() > 0.02  # not blank
    # What matplotlib 3.9 says of a new pyparsing's names is not ours.
    assert [w for w in recwarn if not issubclass(w.category, DeprecationWarning)] == []
    request.getfixturevalue("undrawn")  # of the next one only who it is
    push(explorer, PARTS[kind][0])
    assert explorer.snapshot() is not figure


@pytest.mark.parametrize("kind", KINDS)
def test_every_control_has_a_label_that_fits(shared, kind):
    for control in shared(kind).controls.values():
        assert 3 < len(control.description) <= 20


# Every front end of ipywidgets has these two modules; others it would have to fetch or install.
@pytest.mark.parametrize("kind", KINDS)
def test_explorers_consist_of_standard_widgets(shared, kind):
    explorer = shared(kind)
    models = dependency_state([explorer], drop_defaults=False)
    assert {explorer.model_id, *(c.model_id for c in explorer.controls.values())} <= models.keys()
    needed = {model["model_module"] for model in models.values()}
    needed |= {model["state"]["_view_module"] for model in models.values()}
    assert needed == {"@jupyter-widgets/base", "@jupyter-widgets/controls"}


# Fifty explorers, ten of each kind, are made in turn as cells make them that run again: with their
# figures and observers. Drawing takes longer than all of that: only the first figure and the last
# of a kind are drawn, and a picture is made of the last.
def test_fifty_re_creations_leave_one_of_each_kind(make, monkeypatch):
    rounds, draw, render = [], FigureCanvasAgg.draw, {kind: kind.render for kind in KINDS}
    monkeypatch.setattr(
        FigureCanvasAgg, "draw", lambda canvas: draw(canvas) if len(rounds) in (0, 9) else None
    )
    figures, boxes = {kind: [] for kind in KINDS}, []
    while len(rounds) < 10:
        for kind in KINDS:
            explorer = make(kind)
            heavy = explorer.model if kind is LatentExplorer else explorer.plot
            figures[kind].append(weakref.ref(heavy))
            boxes.append(explorer)  # as a notebook's Out does
            if not rounds:
                frame = explorer.render(**explorer.values)
                monkeypatch.setattr(kind, "render", lambda self, frame=frame, **values: frame)
            del explorer, heavy
        rounds.append(open_widgets())
    gc.collect()
    alive = {kind: sum(ref() is not None for ref in refs) for kind, refs in figures.items()}
    assert alive == dict.fromkeys(KINDS, 1)
    assert len(boxes) == 50 and rounds[-1] <= rounds[0]
    assert plt.get_fignums() == []
    for kind, last in zip(KINDS, boxes[-5:]):
        monkeypatch.setattr(kind, "render", render[kind])
        push(last, PARTS[kind][0])
        assert last.picture.value == last.render(**last.values).png


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_a_cell_that_runs_again_closes_only_its_own_explorers(shell, undrawn):
    shell.run_cell("from vaelab.widgets import BoundExplorer", store_history=True)
    shell.run_cell("two = [BoundExplorer() for _ in range(2)]", store_history=True)
    two = shell.user_ns["two"]
    shell.run_cell("other = BoundExplorer()", store_history=True)
    assert all(explorer.comm is not None for explorer in two)
    shell.run_cell("two = [BoundExplorer() for _ in range(2)]", store_history=True)
    assert all(explorer.comm is None for explorer in two)
    assert all(explorer.comm is not None for explorer in shell.user_ns["two"])
    assert shell.user_ns["other"].comm is not None


# --- the bound ---------------------------------------------------------------------------------


def test_bound_read_outs_agree_with_a_sum_over_z():
    toy = GaussianToy(weight=-0.7, bias=0.2, noise=1.1)
    numbers = BoundExplorer(toy).render(x=1.3, mean=-0.4, std=0.6).numbers
    z = torch.linspace(-12, 12, 40001, dtype=torch.float64)
    prior = torch.distributions.Normal(0.0, 1.0)
    likelihood = torch.distributions.Normal(toy.weight * z + toy.bias, toy.noise)
    log_joint = prior.log_prob(z) + likelihood.log_prob(torch.tensor(1.3))
    q = torch.distributions.Normal(-0.4, 0.6).log_prob(z)
    elbo = torch.trapezoid(q.exp() * (log_joint - q), z).item()
    evidence = torch.trapezoid(log_joint.exp(), z).log().item()
    assert numbers["elbo"] == pytest.approx(elbo, abs=1e-5)
    assert numbers["log_evidence"] == pytest.approx(evidence, abs=1e-5)
    assert numbers["gap"] == pytest.approx(evidence - elbo, abs=1e-5)


def test_the_bar_keeps_its_height_while_q_moves(shared):
    explorer = shared(BoundExplorer)
    plot, seen = explorer.plot, []
    for mean, std in [(-1.0, 1.0), (0.3, 0.5), (0.51, 0.47)]:
        numbers = explorer.render(x=1.5, mean=mean, std=std).numbers
        top = plot.gap.get_y() + plot.gap.get_height()
        assert plot.gap.get_height() == pytest.approx(numbers["gap"])
        assert plot.bound.get_y() + plot.bound.get_height() == pytest.approx(numbers["elbo"])
        seen.append(top - plot.bound.get_y())
    assert seen == pytest.approx([seen[0]] * 3)


def test_the_read_out_says_what_the_numbers_say(shared):
    explorer = shared(BoundExplorer)
    explorer.set(x=2.0, mean=0.5, std=0.6)
    for value in explorer.numbers.values():
        assert f"<b>{value:.3f}</b>" in explorer.readout.value


def test_a_q_below_the_axis_is_drawn_as_such(shared):
    explorer = shared(BoundExplorer)
    numbers = explorer.render(x=5.0, mean=-3.0, std=0.3).numbers
    assert numbers["elbo"] < explorer.plot.floor
    assert explorer.plot.bound.get_height() == 0
    assert "(below)" in explorer.plot.names[0].get_text()


def test_random_buttons_leave_the_global_random_state_alone(shared):
    explorers = shared(BoundExplorer), shared(LatentExplorer)
    state = torch.random.get_rng_state()
    for explorer in explorers:
        explorer.random()
    assert torch.equal(torch.random.get_rng_state(), state)


# --- the schedules -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape", "share", "mean"),
    [
        ("constant", {"beta": 0.5}, 1.0, 0.5),
        ("constant", {"beta": 0.0}, 1.0, 0.0),
        ("linear", {"warmup": 0.5, "start": 0.0, "stop": 1.0}, 0.5, 0.75),
        ("staircase", {"steps": 10}, 0.1, 0.55),
        ("sigmoid", {"midpoint": 0.5, "steepness": 100.0, "stop": 2.0}, 0.45, 1.0),
        ("cyclical", {"cycles": 4, "ramp": 0.5, "stop": 1.0}, 0.5, 0.75),
    ],
)
def test_schedule_read_outs(shared, kind, shape, share, mean):
    numbers = shared(ScheduleExplorer).render(kind=kind, **shape).numbers
    assert numbers["share_at_full"] == pytest.approx(share, abs=0.006)
    assert numbers["mean_beta"] == pytest.approx(mean, abs=0.002)


def test_schedule_draws_the_schedule_that_trains():
    explorer = ScheduleExplorer(steps=100)
    explorer.set(kind="cyclical", cycles=3, ramp=0.8, stop=1.5)
    schedule = cyclical(3, 0.8, 1.5)
    drawn = explorer.plot.beta.get_ydata()
    assert drawn == pytest.approx([schedule(i / 100) for i in range(100)])


def test_schedule_shows_the_sliders_of_its_kind_only(shared):
    explorer = shared(ScheduleExplorer)
    explorer.set(kind="cyclical")
    shown = {n for n, c in explorer.controls.items() if c.layout.display != "none"}
    assert shown == {"kind", "cycles", "ramp", "stop"}


def test_schedule_refuses_what_it_does_not_know(shared):
    with pytest.raises(ValueError, match="kind must be one of"):
        shared(ScheduleExplorer).render(kind="cosine")
    with pytest.raises(ValueError, match="at least 10, got 3"):
        ScheduleExplorer(steps=3)


# --- the latent space --------------------------------------------------------------------------


def test_dimensions_are_ranked_by_kl(make, model, digits):
    explorer = make(LatentExplorer, used=3, dead=2)
    kl = evaluate(model, digits.test).kl_per_dim
    order = kl.argsort(descending=True).tolist()
    assert explorer.dims == order[:3] + order[-2:]
    for d in explorer.dims:
        assert explorer.controls[f"z[{d}]"].description == f"z[{d}]: {kl[d]:.2f} nats"


def test_all_dimensions_get_a_slider_if_there_are_few(make):
    assert sorted(make(LatentExplorer, used=6, dead=4).dims) == list(range(8))


def test_the_pixels_are_those_of_input_reconstruction_and_sliders(make, model, digits):
    explorer = make(LatentExplorer)
    explorer.set(digit=7, example=3)
    d = explorer.dims[0]
    explorer.controls[f"z[{d}]"].value = 2.5
    index = (digits.test_labels == 7).nonzero()[3, 0]
    x = digits.test[index : index + 1]
    mu, _ = model.encode(x)
    z = mu.detach().clone()
    z[0, explorer.dims] = torch.tensor([explorer.values[name] for name in explorer.names])
    assert z[0, d] == 2.5
    with torch.no_grad():
        expected = torch.cat([x, model.decode(mu).sigmoid(), model.decode(z).sigmoid()])
    page = pixels(explorer.picture.value)
    for i, image in enumerate(expected):
        tile = page[30:254, 240 * i : 240 * i + 224]
        grey = (image.view(28, 28).numpy() * 255).round()
        assert np.abs(tile[::8, ::8] - grey).max() <= 1  # one grey level of rounding
        assert (tile == tile[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)).all()


def test_distortion_is_that_of_the_decoder(make, model, digits):
    explorer = make(LatentExplorer)
    explorer.set(digit=4, example=1)
    d = explorer.dims[1]
    explorer.controls[f"z[{d}]"].value = -2.0
    index = (digits.test_labels == 4).nonzero()[1, 0]
    x = digits.test[index : index + 1]
    mu, _ = model.encode(x)
    moved = mu.detach().clone()
    moved[0, explorer.dims] = torch.tensor([explorer.values[name] for name in explorer.names])
    assert moved[0, d] == -2.0
    log_likelihood = model.log_likelihood(x, torch.stack([mu, moved])).flatten().tolist()
    assert explorer.numbers["distortion_at_mu"] == pytest.approx(-log_likelihood[0], rel=1e-5)
    assert explorer.numbers["distortion"] == pytest.approx(-log_likelihood[1], rel=1e-5)


def test_the_grid_holds_one_dimension_to_a_row(make, model):
    explorer = make(LatentExplorer)
    explorer.set(view="grid", digit=2)
    z = explorer.latent(2, 0, explorer.values)
    images = explorer.traverse(z)
    z[explorer.dims[1]] = -2.0
    with torch.no_grad():
        expected = model.decode(z.unsqueeze(0)).sigmoid().numpy()[0]
    assert images.shape == (len(explorer.dims), 7, 784)
    assert images[1, 1] == pytest.approx(expected, abs=1e-5)
    page = pixels(explorer.picture.value)
    tile = page[90:146:2, 220:276:2]  # second row, second column
    assert np.abs(tile - (expected.reshape(28, 28) * 255)).max() <= 1


def test_the_way_starts_and_ends_at_the_two_digits(make, model, digits):
    explorer = make(LatentExplorer)
    explorer.set(view="between", digit=1, to_digit=5, to_example=2, mix=1.0)
    index = (digits.test_labels == 5).nonzero()[2, 0]
    mu, _ = model.encode(digits.test[index : index + 1])
    with torch.no_grad():
        expected = model.decode(mu).sigmoid().view(28, 28).numpy() * 255
    middle = pixels(explorer.picture.value)[30:254:8, 240:464:8]
    assert np.abs(middle - expected).max() <= 1
    assert explorer.numbers["distortion_to"] < explorer.numbers["distortion_from"]


def test_the_sliders_follow_the_digit_and_go_back_to_mu(make):
    explorer = make(LatentExplorer)
    explorer.controls["digit"].value = 9
    at_mu = explorer.picture.value
    index = explorer.index(9, 0)
    for name, d in zip(explorer.names, explorer.dims):
        assert explorer.controls[name].value == pytest.approx(
            float(explorer.mu[index, d]), abs=0.0251
        )
    push(explorer, "most")
    assert explorer.picture.value != at_mu
    explorer.back_to_mu()
    assert explorer.picture.value == at_mu


def test_the_sliders_hold_every_mu(make):
    explorer = make(LatentExplorer)
    for name, d in zip(explorer.names, explorer.dims):
        control = explorer.controls[name]
        assert control.min <= explorer.mu[:, d].min() and explorer.mu[:, d].max() <= control.max


def test_random_digit_shows_a_test_image(make, digits):
    explorer = make(LatentExplorer)
    seen = set()
    for _ in range(20):
        explorer.random()
        seen.add((explorer.values["digit"], explorer.values["example"]))
        count = int((digits.test_labels == explorer.values["digit"]).sum())
        assert 0 <= explorer.values["example"] < count
    assert len(seen) > 10


def test_later_training_does_not_reach_an_explorer(make, model):
    explorer = make(LatentExplorer)
    weight = model.to_logits.bias
    kept = weight.detach().clone()
    before = explorer.render(**explorer.values).png
    with torch.no_grad():
        weight += 5
    try:
        assert explorer.render(**explorer.values).png == before
    finally:
        with torch.no_grad():
            weight.copy_(kept)  # to the bit: other tests have the same model


def test_a_class_without_test_images_is_not_offered(model, digits):
    few = Digits(digits.train, digits.train_labels, digits.test[:3], torch.tensor([4, 4, 8]), "few")
    explorer = LatentExplorer(model, few)
    assert list(explorer.controls["digit"].options) == [4, 8]
    explorer.set(digit=4, example=1)
    explorer.controls["digit"].value = 8
    assert explorer.values["example"] == 0


def test_latent_explorer_refuses_what_it_cannot_show(model, digits):
    with pytest.raises(TypeError, match=r"decode\(z\), as VAE has, got RowGRUVAE"):
        LatentExplorer(RowGRUVAE(latent_dim=2, hidden_dim=4), digits)
    with pytest.raises(ValueError, match="from 0 to 255"):
        LatentExplorer(model, digits._replace(test=digits.test * 255))
    with pytest.raises(ValueError, match="with N labels"):
        LatentExplorer(model, digits._replace(test_labels=digits.test_labels[:5]))
    with pytest.raises(ValueError, match="used must be an integer of at least 1"):
        LatentExplorer(model, digits, used=0)
    explorer = LatentExplorer(model, digits)
    with pytest.raises(ValueError, match="no example 100 of digit 3: there are 100"):
        explorer.render(**explorer.values | {"digit": 3, "example": 100})
    with pytest.raises(ValueError, match="view must be one of"):
        explorer.render(**explorer.values | {"view": "three"})


# --- the controller ----------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "gamma"), [(1.0, 1.0), (1.0, 0.2), (-1.0, 0.5), (-1.0, 0.01)])
def test_resting_kl_minimises_what_it_says(strength, gamma):
    rate = np.linspace(0, 8, 800_001)
    cost = 0.5 * math.exp(2 * strength) * np.exp(-2 * rate) + gamma * rate
    assert module.resting_kl(strength, gamma) == pytest.approx(rate[cost.argmin()], abs=1e-4)


@pytest.fixture
def playground(make, undrawn):
    """The read-outs of a run of the usual length."""
    explorer = make(SoftFreeBitsPlayground, steps=400)
    return lambda **values: explorer.run(**explorer.values | values)[1]


def test_a_weak_dimension_is_lifted_to_the_band_and_a_strong_one_is_left_alone(playground):
    weak = playground(strength=-1.0, starved=0, lam=0.5, tolerance=0.1)
    assert 0.45 <= weak["final_kl"] <= 0.55
    assert weak["final_gamma"] < 0.1
    strong = playground(strength=1.5, starved=0, lam=0.5, tolerance=0.1)
    assert strong["final_kl"] == pytest.approx(1.5, abs=1e-3)
    assert strong["final_gamma"] == 1


def test_without_a_floor_gamma_winds_up(playground):
    wound = [playground(floor=0.0, starved=n)["recovery"] for n in (40, 80, 120, 160)]
    assert wound[0] < wound[1] < wound[2] < wound[3]
    held = [playground(floor=1e-3, starved=n)["recovery"] for n in (120, 160)]
    assert abs(held[1] - held[0]) <= 5  # the floor is reached: longer starving changes nothing
    assert held[1] < wound[3]


def test_the_playground_runs_the_controller_itself():
    controller = SoftFreeBits(lam=0.5, tolerance=0.1, step=0.1)
    trace = module.simulate(controller, strength=-1.0, starved=20, steps=60)
    assert controller.gamma.tolist() == trace.gamma[-1].tolist()
    assert trace.gamma[:20, 0] == pytest.approx(0.9 ** np.arange(1, 21), rel=1e-5)
    again = SoftFreeBits(lam=0.5, tolerance=0.1, step=0.1)
    for kl, gamma in zip(trace.kl, trace.gamma):
        assert again.update(torch.tensor(kl[None], dtype=torch.float32)).tolist() == gamma.tolist()


def test_recovery_counts_from_the_end_of_the_starved_phase():
    kl = np.ones((10, 2))
    assert module.recovery(kl, starved=0, near=0.1) == 0
    kl[:6, 0] = 0
    assert module.recovery(kl, starved=4, near=0.1) == 2
    kl[-1, 0] = 0
    assert module.recovery(kl, starved=4, near=0.1) == math.inf


def test_a_run_that_does_not_recover_says_so(shared, undrawn):
    explorer = shared(SoftFreeBitsPlayground)
    late = {"floor": 0.0, "starved": 150}
    view = explorer.render(**explorer.values | late)
    assert view.numbers["recovery"] == math.inf
    assert "not within the 200 steps" in view.text
    assert "not within the 200 steps" in explorer.snapshot(**late).get_suptitle()


def test_settings_that_the_controller_refuses_are_refused(playground):
    with pytest.raises(ValueError, match="step must be in"):
        playground(step=1.5)


# --- many betas --------------------------------------------------------------------------------


def test_beta_read_outs_are_those_of_evaluate(shared, models, digits):
    explorer = shared(BetaExplorer)
    assert explorer.values["beta"] == 1.0
    assert [value for _, value in explorer.controls["beta"].options] == [0.25, 1.0, 4.0]
    for beta, model in models.items():
        explorer.controls["beta"].value = beta
        score = evaluate(model, digits.test)
        assert explorer.numbers == {
            "beta": beta,
            "rate": score.rate,
            "distortion": score.distortion,
            "elbo": score.elbo,
        }
        assert explorer.plot.point.get_data() == ([score.rate], [score.distortion])


def test_beta_shows_inputs_reconstructions_and_samples(shared, model, digits):
    images = shared(BetaExplorer).pictures(beta=1.0, first=5, draw=7)
    z = torch.randn(24, 8, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        mu, _ = model.encode(digits.test[5:13])
        expected = model.decode(torch.cat([mu, z])).sigmoid().numpy()
    assert images[:8] == pytest.approx(digits.test[5:13].numpy())
    assert images[8:] == pytest.approx(expected, abs=1e-5)


def test_beta_explorer_trains_nothing(make, models, undrawn):
    before = [p.clone() for m in models.values() for p in m.parameters()]
    explorer = make(BetaExplorer)
    for name in PARTS[BetaExplorer]:
        push(explorer, name)
    after = [p for m in models.values() for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after))


def test_beta_explorer_refuses_what_it_cannot_show(shared, models, digits):
    with pytest.raises(ValueError, match="models_by_beta must hold at least one"):
        BetaExplorer({}, digits)
    with pytest.raises(ValueError, match=r"every beta in models_by_beta must be in .*, got -1"):
        BetaExplorer({-1.0: models[1.0]}, digits)
    with pytest.raises(TypeError, match=r"models_by_beta\[2\] must have encode"):
        BetaExplorer({2.0: RowGRUVAE(latent_dim=2, hidden_dim=4)}, digits)
    with pytest.raises(ValueError, match=r"digits\.test must hold at least 8, got 3"):
        few = digits._replace(test=digits.test[:3], test_labels=digits.test_labels[:3])
        BetaExplorer(models, few)
    with pytest.raises(ValueError, match="beta must be one of"):
        shared(BetaExplorer).render(beta=3.0, first=0, draw=0)
