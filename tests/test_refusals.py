"""Wrong input is refused with an error that names the argument, what came and what was expected.

The arguments are read from the signatures of all that is public: the names in `vaelab.__all__`,
what the modules that are not `INNER` define, the explorers, and the methods of `OBJECTS`. TABLE has
a good value for each of them, and wrong ones, so a new function or argument cannot forget its
checks. What the guards say, word for word, is in `test_checks.py`; the checks of `exercises` take
anything that a student may answer.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tempfile
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vaelab
from vaelab import VAE, Digits, SoftFreeBits, lesson, losses, training, widgets

# --- good things ----------------------------------------------------------------------------------

torch.manual_seed(0)
SMALL, FLAT = VAE(latent_dim=3, hidden_dim=4), VAE(latent_dim=2, hidden_dim=4)
TUNED = SoftFreeBits()
Z = torch.zeros(4, 3)
TUNED.update(Z)  # the first call decides how many dimensions there are
MODELS = (SMALL, vaelab.LinearVAE(3), vaelab.RowGRUVAE(3, 4), vaelab.GaussianToy())
OBJECTS = (*MODELS, vaelab.ELBO(), vaelab.BetaELBO(1.0), vaelab.FreeBits(), TUNED)
IMAGES = torch.rand(4, 784) * 0.998 + 0.001
FOUR = Digits(IMAGES, torch.tensor([3, 1, 4, 1]), IMAGES, torch.tensor([3, 1, 4, 1]), "four")
EIGHT = FOUR._replace(test=IMAGES.repeat(2, 1), test_labels=FOUR.test_labels.repeat(2))
HISTORY = training.History(None, [3.0], [1], [-3.0], [2.0], [1.0])
T3, D2, SIXTEEN = np.array([1.0, 2.0, 3.0]), np.full((3, 2), 0.5), np.full((4, 16), 0.5)

KEPT = tempfile.TemporaryDirectory()  # until Python ends
FOLDER, SAVED = KEPT.name, f"{KEPT.name}/model.pt"
vaelab.save(SAVED, SMALL)
for i in range(4):
    Image.new("L", (9, 9), 50 * i).save(f"{FOLDER}/{i}.png")


def first_loss(logits: Any, x: Any, mu: Any, logvar: Any) -> Any:
    """A loss of four arguments, as a checkup wants it."""
    return (losses.bernoulli_nll(logits, x) + losses.gaussian_kl(mu, logvar).sum(dim=1)).mean()


# --- wrong things, by kind ------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
NUMBER = [None, "", "0.5", [], {}, (1,), 1j, True, object(), NAN, INF, -INF]
COUNT = [*NUMBER, -1, 0, 0.5, 2.0]
WHOLE = [*NUMBER, -1, 0.5]  # from 0 on, however large
SEED = [*WHOLE, 2**70]
AT_LEAST_0 = [*NUMBER, -0.001]
POSITIVE = [*AT_LEAST_0, 0]
UNIT = [*AT_LEAST_0, 1.001]
SHARE, BELOW_1, OPEN = [*UNIT, 0], [*UNIT, 1], [*UNIT, 0, 1]
YES_NO = ["yes", None, 1, 0.0]
POINT = [None, "", "0.5", [1.0], NAN, INF, torch.tensor([NAN])]
SPREAD = [*POINT, -0.001, 0]
SCHEDULE = [*AT_LEAST_0, *(lambda progress, b=b: b for b in (None, "0.5", NAN, INF, -0.001))]
NO_TENSOR = [None, "images", [[0.5]], np.zeros((2, 784), np.float32), IMAGES.byte(), IMAGES * 1j]
NO_ROWS = [IMAGES[0, 0], IMAGES[0], IMAGES[:0]]
BAD_SHAPE = [*NO_ROWS, IMAGES[:, :0], IMAGES[:, :783], IMAGES.view(4, 28, 28)]
HOLED = [IMAGES.index_fill(1, torch.tensor([7]), value) for value in (NAN, INF, -INF)]
NO_PIXELS = [*NO_TENSOR, *NO_ROWS, *HOLED, IMAGES - 0.01, IMAGES + 0.01, IMAGES * 255]
PIXELS = [*NO_PIXELS, *BAD_SHAPE]  # for a model of 784 pixels
FLAT_LISTS = [IMAGES[:3], IMAGES.view(4, 14, 56), [*IMAGES[:3], IMAGES[3, :9]]]
LATENT = [None, [0.0], Z.long(), Z[:, :2], Z[0], Z[0, 0]]
TERMS = [None, 1.0, [1.0], Z[:2], Z[None]]
MEANS = [None, [[0.0]], Z.long(), Z[0], Z[:1], Z[None], Z * NAN, Z + INF]
INIT = [*UNIT, torch.tensor([[0.5]]), torch.tensor([0.5, 2.0]), torch.tensor([NAN])]
KEEP = [None, "all", [], [[0]], ["a"], [True], [0, 0], [1.0], [1j], [NAN], [0, 3], [0, -1]]
MODEL = [None, "vae", VAE, IMAGES, nn.Linear(784, 3), FOUR]
LOSS = [None, 3, nn.MSELoss, lambda recon, x: x.sum(), lambda *four: four[0]]
FUNCTION = [3, "now", [], IMAGES]
PATH = [3, None, [], IMAGES, 0.5]
LABELS = [None, [3, 1, 4, 1], torch.ones(4), torch.tensor([1]), torch.tensor([0, 1, 2, -1])]
CLASSES = [[1], [3, 1, 4, -2], torch.rand(4), ["a", "b", "b", "a"], object(), IMAGES]
TEST = [None, IMAGES, "5k", *(FOUR._replace(test=x) for x in PIXELS)]
TRAIN = [FOUR._replace(train=x) for x in PIXELS]
LABELED = [FOUR._replace(**{f"{part}_labels": x}) for part in ("train", "test") for x in LABELS]
DIGITS = [*TEST, *TRAIN, (IMAGES, IMAGES), FOUR._replace(test=IMAGES[:1])]
UNPAIRED = [{"vanilla": T3, "b": T3[:2]}]
UNEQUAL = [{"a": SIXTEEN, "b": SIXTEEN[:2]}, {"a": SIXTEEN, "b": SIXTEEN[:, :4]}]
BETAS = [{beta: SMALL} for beta in ("0.5", True, 1j, NAN, INF, -0.001)]
BY_BETA = [None, {}, SMALL, [SMALL], *BETAS, *({1.0: model} for model in MODEL)]


def given(kind: list) -> list:
    """Wrong values of an argument that may be None."""
    return [bad for bad in kind if bad is not None]


def array(*axes: int) -> list:
    """What is no array of numbers with so many entries along each axis."""
    good = np.full(axes, 0.5)
    holed = [np.where(np.arange(good.size).reshape(axes) == 0, v, good) for v in (NAN, INF, -INF)]
    return [good[..., None], good[:0], "abc", None, {"a": 1}, [["a"]], object(), *holed]


def lines(*axes: int) -> list:
    """What is no {label: array}."""
    dicts = [{"vanilla": np.full(axes, 0.5), "b": bad} for bad in array(*axes)]
    return [None, {}, [1, 2], "abc", 3, *dicts]


def pairs(*axes: int) -> list:
    """What is no {label: (array, array)}."""
    good = np.full(axes, 0.5)
    holed = [{"b": pair} for bad in array(*axes) for pair in ((bad, good), (good, bad))]
    return [None, {}, "abc", {"b": 3}, {"b": (good,)}, {"b": "ab"}, {"b": None}, *holed]


# --- the table ------------------------------------------------------------------------------------

# An argument, or call.argument where that differs :: what the good call passes (at an end of what
# is allowed; nothing: its default) :: wrong values :: how the refusal names it, if otherwise.
# Where a cell of call.argument is empty, that of the argument holds.
TABLE = """
latent_dim hidden_dim data_dim batch_size :: 1     :: COUNT
block columns cycles n rows samples side steps used :: 1 :: COUNT
seed                        :: 0                   :: SEED
dead gap                    :: 0                   :: WHOLE
bias weight strength        :: -1.0                :: NUMBER
beta lam penalty start stop threshold :: 0         :: AT_LEAST_0
bound lr noise steepness    :: 0.001               :: POSITIVE
floor midpoint progress     :: 0                   :: UNIT
ramp warmup pace            :: 1                   :: SHARE
tolerance                   :: 0                   :: BELOW_1
share step test             :: 0.5                 :: OPEN
binarize per_dimension use_z :: True               :: YES_NO
device                      ::            :: ["gpu", "cuda:99", "the fast one", 2.5]
generator on_evaluation     ::                     :: FUNCTION
root                        ::                     :: given(PATH)
path                        :: SAVED               :: PATH
model                       :: SMALL               :: MODEL
digits                      :: FOUR                :: TEST
images                      :: IMAGES              :: PIXELS
logits                      :: IMAGES              :: NO_TENSOR + BAD_SHAPE
x                           :: IMAGES              :: NO_TENSOR + BAD_SHAPE + [IMAGES[None]]
z mu                        :: Z                   :: LATENT
logvar                      :: Z                   :: LATENT + [Z[:2]]
kl                          :: Z                   :: TERMS
nll                         :: torch.ones(4)       :: TERMS
ax                          ::                     :: ["axes", 3, np.zeros(3)]
title label color xlabel ylabel ::                 :: ANYTHING

load_mnist.size             :: "5k"                :: ["6k", "FULL", "", 5, 5000, True]
load_torchvision.name       :: "KMNIST"            :: ["mnist", "CIFAR10", "", "5k", None, True]
from_arrays.images          ::                     :: NO_ROWS + HOLED + [None, "x"] + FLAT_LISTS
from_arrays.labels          ::                     :: CLASSES
from_arrays.name load_folder.name ::               :: ANYTHING
load_folder.path            :: FOLDER              :: [*PATH, SAVED, "nowhere"]
binarize.images pca_rates.images ::                :: NO_PIXELS
soft_bound.raw              :: Z                   :: ANYTHING
RowGRUVAE.draw.z RowGRUVAE.decode_rows.z ::        :: [*LATENT, Z[None]]
BetaELBO.schedule           :: 1.0                 :: SCHEDULE :: beta|schedule
ELBO.progress FreeBits.progress SoftFreeBits.progress :: :: ANYTHING
SoftFreeBits.init           ::                     :: INIT
SoftFreeBits.update.kl      :: :: [None, 1.0, [[0.1]], Z[None], Z[0], Z[:0], Z[:, :2]]
GaussianToy.x GaussianToy.z GaussianToy.mean :: 0  :: POINT
GaussianToy.std             :: 1                   :: SPREAD
simulate.update             :: SoftFreeBits().update  :: ANYTHING
simulate.starved            :: 1                   :: [None, "", NAN, -0.001]
checkup.loss                :: first_loss          :: LOSS
checkup.images              ::            :: NO_TENSOR + BAD_SHAPE + HOLED + [IMAGES[:3]]

fit.digits                  ::                     :: DIGITS
fit.objective               ::            :: [vaelab.ELBO, 0.5, "ELBO", {"beta": 1}]
fit.batch_size              :: 2                   :: COUNT + [5]
fit.steps                   :: 2                   ::
SoftFreeBitsPlayground.steps :: 10                 :: COUNT + [9]
fit.evaluations             :: 1                   :: COUNT + [3]
fit.clip_norm               ::                     :: given(POSITIVE)
fit.threads                 ::                     :: given(COUNT)
fit.optimizer               ::                     :: FUNCTION
fit.resume                  :: :: [3, "run.pt", SMALL, {"steps": 3}, training.History(None)]
fit.progress                :: False               :: ANYTHING
evaluate.images             :: IMAGES[:2]          :: PIXELS + [IMAGES[:1]]
evaluation_images.digits    ::            :: [None, IMAGES, FOUR._replace(test=IMAGES * 255)]
train_step.objective        :: vaelab.ELBO() :: [lambda *a: a[0], lambda *a: None, lambda *a: 1.0]
train_step.optimizer        :: torch.optim.SGD(SMALL.parameters())               :: ANYTHING
train_step.model train_step.progress train_step.clip_norm evaluation_images.binarize :: :: ANYTHING
Minibatches.images          ::                     :: [None, "x", *NO_ROWS]

active_units.mu             ::                     :: MEANS
linear_probe.digits         ::                     :: DIGITS + LABELED
pca_rates.latent_dim        ::                     :: COUNT + [785]
prune.keep                  :: [0, 2]              :: KEEP :: keep|mask
save.history                ::                     :: [3, [], "run", SMALL]

mosaic.images               :: SIXTEEN             :: array(4, 16)
image_grid.images           :: SIXTEEN             :: array(4, 16)
image_grid.columns          ::                     :: given(COUNT)
image_rows.rows             :: {"a": SIXTEEN}      :: UNEQUAL + lines(4, 16) :: rows?
image_rows.column_labels    ::                     :: [["a"]] :: column labels
traversals.images           :: SIXTEEN[None]       :: array(1, 4, 16)
traversals.row_labels       :: ["z"]               :: [["a", "b"]] :: row labels
traversals.column_values    :: [0, 1, 2, 3]        :: array(4) + [[0, 1]]
palette.labels              :: ["a"]               :: ["vanilla"]
latent_scatter.mu           :: D2                  :: array(3, 2) + [D2[:, :1]]
posterior_ellipses.mu       :: D2         :: array(3, 2) + [D2[:, :1]] :: mu|logvar|labels
posterior_ellipses.logvar   :: D2                  :: array(3, 2) + [D2[:2], D2[:, :1]]
latent_scatter.labels posterior_ellipses.labels :: [0, 1, 1] :: array(3) + [[0, 1], [0, 0.5, 1]]
training_curves.history     :: HISTORY  :: [None, {}, [1, 2], {"a": 3}, training.History(None)]
training_curves.axes        ::                     :: [[1, 2]]
curves.x                    :: T3                  :: array(3) :: x|line
curves.lines                :: {"a": T3}           :: lines(3) + [{"a": T3[:2]}] :: lines?
schedule_curves.lines       :: {"a": (T3, T3)}     :: pairs(3) + [{"b": (T3, T3[:2])}]
kl_bars.kl_per_dim          :: T3                  :: array(3)
kl_bars.order               ::            :: given(array(3)) + [[0, 1], [0, 0, 1], [0, 1, 1.5]]
kl_bars.threshold           ::                     :: given(AT_LEAST_0)
kl_and_weights.kl           :: T3                  :: array(3) :: kl|weight_norms
kl_and_weights.weight_norms :: T3                  :: array(3) + [T3[:2]]
kl_heatmap.steps            :: T3                  :: array(3) :: steps|kl
kl_heatmap.kl               :: D2                  :: array(3, 2) + [D2[:2]]
rate_distortion.paths       :: {"a": (T3, T3)}     :: pairs(3) + [{"b": (T3, T3[:2])}]
rate_distortion.iso_elbo    ::                     :: ["many", 3, [NAN], [[1.0]], [None]]
rate_distortion.xlim rate_distortion.ylim ::       :: given(array(2)) + [T3]
dot_with_spread.values      :: {"a": T3}           :: lines(3) :: values|b
dot_with_spread.reference   ::                     :: given(NUMBER)
paired_differences.values   :: {"vanilla": T3, "a": T3} :: UNPAIRED + lines(3) :: values|b|baseline
paired_differences.baseline ::                     :: ["b", "", None, 3]

show_source.objects         :: lesson.table   :: [3, "fit", None, len, Z] :: object|class|function
as_committed.settings       :: (1, 1) :: [3000, None, "ab", (1,), [1, 1], Z] :: STEPS
table.header                :: ["a", "b"]          :: [3, "ab", None]
table.rows                  :: [[1, 2.0]] :: [[[1]], [[1, 2], [1, 2, 3]], [3], ["ab"], [None]]
mean_and_spread.runs        :: [{"rate": 1.0}]     :: [[], [{}]]
mean_and_spread.name        :: "rate"              :: ["elbo", "", None]
BoundExplorer.toy           ::                     :: given(MODEL)
ScheduleExplorer.signals    :: :: [None, (), 4.0, "9", [NAN], [0.0], [-1.0], [17.0], ["4"]]
PlaneExplorer.model         :: FLAT                ::
BetaExplorer.models_by_beta :: {1.0: SMALL}        :: BY_BETA
BetaExplorer.digits         :: EIGHT               :: [None, IMAGES, FOUR, "5k"]
"""

INNER = ["checks", "checkup", "describe", "download", "exercises", "runs", "widgets"]
UNCHECKED = {  # names of functions, classes and methods that take nothing from a user
    "records": "Checkup Digits Diverged Evaluation History MutualInformation VAEOutput",
    "a protocol": "Objective",
    "parts of what checks": "iw_batch logistic_regression resting_kl weights",
    "for the repository": "write_all",
    "take runs of the results file, where Python names what is missing": "ledger runs_of scores_of",
}


def public() -> dict[str, Callable]:
    """All functions, classes and methods that a user calls, by name."""
    found = {name: getattr(vaelab, name) for name in vaelab.__all__}
    found |= {kind.__name__: kind for kind in widgets.Explorer.__subclasses__()}
    for _, module, _ in pkgutil.iter_modules(vaelab.__path__):
        if module not in INNER:
            here = vars(importlib.import_module(f"vaelab.{module}"))
            own = (f for f in here.values() if getattr(f, "__module__", "") == here["__name__"])
            found |= {item.__name__: item for item in own if callable(item)}
    for thing in OBJECTS:
        for name, method in inspect.getmembers(thing, inspect.ismethod):
            if method.__func__.__module__.startswith("vaelab"):
                found[f"{type(thing).__name__}.{name}"] = method
    for name in ("constant", "linear", "staircase", "sigmoid", "cyclical"):
        found[f"{name}()"] = made(found[name])
    found["show_source"] = lambda objects: lesson.show_source(objects)
    found["as_committed"] = lambda settings: lesson.as_committed(STEPS=settings)
    return {name: item for name, item in found.items() if is_checked(name.split(".")[-1])}


def made(schedule: Callable) -> Callable:
    return lambda progress: schedule()(progress)


def is_checked(name: str) -> bool:
    private = name.startswith("_") and name != "__call__"
    variant = "__mutmut_" in name  # mutmut sets them beside each function that it changes
    return not (private or variant or name in " ".join(UNCHECKED.values()).split())


# --- every argument has its row, and every row keeps its word -------------------------------------

PUBLIC = public()
ARGUMENTS = {call: inspect.signature(item).parameters for call, item in PUBLIC.items()}
CASES = [(call, name) for call, names in ARGUMENTS.items() for name in names]
ROWS: dict[str, list[str]] = {}
for row in filter(None, TABLE.split("\n")):
    names, *cells = (cell.strip() for cell in row.split("::"))
    ROWS |= {name: [*cells, ""] for name in names.split()}
GOOD, WRONG, WORD = range(3)  # the cells of a row


def keys(call: str, argument: str) -> list[str]:
    """The rows that may speak of an argument, the most special first."""
    return [f"{call}.{argument}", f"{call.split('.')[0]}.{argument}", argument]


def said(call: str, argument: str, cell: int) -> str:
    return next(filter(None, (ROWS[key][cell] for key in keys(call, argument) if key in ROWS)), "")


def good(call: str) -> dict[str, Any]:
    """The arguments of a call that works."""
    cells = {name: said(call, name, GOOD) for name in ARGUMENTS[call]}
    return {name: eval(cell) for name, cell in cells.items() if cell}


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    plt.close("all")
    yield
    plt.close("all")


def test_every_argument_of_every_public_name_has_a_row():
    assert [case for case in CASES if not said(*case, WRONG)] == []
    assert ROWS.keys() <= {key for case in CASES for key in keys(*case)}  # and none is left over


CALLS = [call for call, names in ARGUMENTS.items() if names and call != "load_torchvision"]


@pytest.mark.parametrize("call", CALLS)  # test_download.py makes the files of the one left out
def test_the_good_call_works(call):
    PUBLIC[call](**good(call))


REFUSED = [case for case in CASES if said(*case, WRONG) != "ANYTHING"]
EXPECTED = "must|expected|needs|no .* there (are|is)|more than|pass exactly"


@pytest.mark.parametrize(("call", "argument"), REFUSED, ids=map(".".join, REFUSED))
def test_bad_values_are_refused_by_name(call, argument):
    right, word = good(call), said(call, argument, WORD) or re.escape(argument)
    for wrong in eval(said(call, argument, WRONG)):
        with pytest.raises((TypeError, ValueError, KeyError)) as refusal:
            PUBLIC[call](**right | {argument: wrong})
        message = str(refusal.value)
        assert re.search(rf"(?<!\w)({word})(?!\w)", message), f"does not name {argument}: {message}"
        assert re.search(EXPECTED, message), message
    assert plt.get_fignums() == []  # refused before anything was drawn


@pytest.mark.parametrize("kind", widgets.Explorer.__subclasses__())
def test_an_explorer_refuses_what_its_controls_cannot_say(kind):
    explorer = kind(**good(kind.__name__))
    for name in explorer.controls.keys() - {"drawing"}:
        part = 0.5 if explorer.controls[name].get("step", 1) == 1 else "0.5"
        for wrong in (None, "much", NAN, 1e9, -1e9, part):
            with pytest.raises((TypeError, ValueError), match=rf"^{re.escape(name)} must be"):
                explorer.snapshot(**{name: wrong})
