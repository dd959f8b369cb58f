"""Wrong input is refused with an error that names the argument, what came and what was expected.

TABLE has a row for every public name: a call that works, and for each argument the kind of value
it wants: that of its name in KINDS, unless the row says another. Every kind knows values that are
not of it, hypothesis draws among them, and each of them in the place of one good argument must be
refused. A name or an argument without a place in the table fails a test, so a new function cannot
forget its checks.

Public are the names in `vaelab.__all__`, the functions of `plotting` and `lesson`, the explorers,
and whatever else of vaelab a lesson imports or looks up. The checks of `exercises` are left out:
they take anything that a student may answer, and `test_exercises.py` is about that.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaelab
from notebook_tools import LESSONS, code_cells, parse, read
from vaelab import (
    VAE,
    BetaELBO,
    Digits,
    GaussianToy,
    LinearVAE,
    RowGRUVAE,
    SoftFreeBits,
    diagnostics,
    diagrams,
    download,
    lesson,
    losses,
    model,
    plotting,
    results,
    training,
    widgets,
)

# --- kinds of values: what is not one of them -----------------------------------------------------

NAN, INF = float("nan"), float("inf")
WORDS = st.sampled_from(["three", "", "0.5"])
NO_NUMBER = st.one_of(WORDS, st.sampled_from([None, [], {}, (1,), 1j, True, object()]))
NOT_FINITE = st.sampled_from([NAN, INF, -INF])
NEGATIVE = st.floats(max_value=0, exclude_max=True, allow_infinity=False)
ABOVE_ONE = st.floats(min_value=1, exclude_min=True, allow_infinity=False)
FRACTION = st.floats(0.001, 0.999)


def number(*outside: st.SearchStrategy) -> st.SearchStrategy:
    """What is no number, not finite, or outside."""
    return st.one_of(NO_NUMBER, NOT_FINITE, *outside)


COUNT = st.one_of(NO_NUMBER, NOT_FINITE, st.integers(max_value=0), FRACTION, st.just(2.0))
SEED = st.one_of(NO_NUMBER, NOT_FINITE, st.integers(max_value=-1), FRACTION, st.just(2**70))
WHOLE = SEED.filter(lambda value: value != 2**70)  # from 0 on, however large
NUMBER = number()
AT_LEAST_0 = number(NEGATIVE)
POSITIVE = number(NEGATIVE, st.just(0))
UNIT = number(NEGATIVE, ABOVE_ONE)
SHARE = number(NEGATIVE, ABOVE_ONE, st.just(0))
BELOW_1 = number(NEGATIVE, ABOVE_ONE, st.just(1))
OPEN = number(NEGATIVE, ABOVE_ONE, st.sampled_from([0, 1]))
YES_NO = st.sampled_from(["yes", None, 1, 0.0])


def or_none(kind: st.SearchStrategy) -> st.SearchStrategy:
    """Of an argument that may be left out."""
    return kind.filter(lambda value: value is not None)


def spoiled(good: torch.Tensor, *values: float) -> st.SearchStrategy:
    """The same tensor with one bad value in any place."""
    places = st.integers(0, good.numel() - 1)
    return st.builds(
        lambda i, value: good.flatten().index_fill(0, torch.tensor([i]), value).view_as(good),
        places,
        st.sampled_from(values),
    )


NO_TENSOR = st.sampled_from([None, "images", 3, [[0.5]], np.zeros((2, 784), np.float32), object()])
IMAGES = torch.rand(4, 784, generator=torch.Generator().manual_seed(0)) * 0.998 + 0.001
NO_FLOATS = st.sampled_from([IMAGES.byte(), IMAGES.long(), IMAGES.bool(), IMAGES.to(torch.cfloat)])
BAD_SHAPE = st.sampled_from(
    [IMAGES[0], IMAGES[:0], IMAGES[:, :0], IMAGES[:, :783], IMAGES.view(4, 28, 28), IMAGES[0, 0]]
)
NO_PIXELS = st.one_of(
    NO_TENSOR, NO_FLOATS, spoiled(IMAGES, NAN, INF, -INF, -0.01, 1.01, 255.0), st.just(IMAGES * 255)
)
PIXELS = st.one_of(NO_PIXELS, BAD_SHAPE)  # for a model of 784 pixels
SHAPE_ONLY = st.one_of(NO_TENSOR, NO_FLOATS, BAD_SHAPE)  # values are checked where data enters
FOUR = Digits(IMAGES, torch.tensor([3, 1, 4, 1]), IMAGES, torch.tensor([3, 1, 4, 1]), "four")
DIGITS = st.one_of(
    st.sampled_from([None, IMAGES, "5k", (IMAGES, IMAGES), FOUR._replace(test=IMAGES[:1])]),
    st.builds(
        lambda x, part: FOUR._replace(**{part: x}), PIXELS, st.sampled_from(["train", "test"])
    ),
)


def without_test_images(other: Any) -> Digits:
    return FOUR._replace(test=other)


NO_TEST_IMAGES = st.one_of(
    st.sampled_from([None, IMAGES, "5k"]), PIXELS.map(lambda x: FOUR._replace(test=x))
)
EIGHT = FOUR._replace(test=IMAGES.repeat(2, 1), test_labels=FOUR.test_labels.repeat(2))
LABELS = st.sampled_from(
    [None, [3, 1, 4, 1], torch.ones(4), torch.tensor([1]), torch.tensor([0, 1, 2, -1])]
)
LABELLED = st.one_of(
    DIGITS,
    st.builds(
        lambda x, part: FOUR._replace(**{part: x}),
        LABELS,
        st.sampled_from(["train_labels", "test_labels"]),
    ),
)
MODEL = st.sampled_from([None, "vae", VAE, IMAGES, torch.nn.Linear(784, 3), FOUR])
FUNCTION = st.sampled_from([3, "now", [], IMAGES])
NO_PATH = st.sampled_from([3, None, [], IMAGES, 0.5])
NO_ROOT = FUNCTION.filter(lambda v: v != "now")
DEVICE = st.sampled_from(["gpu", "cuda:99", "the fast one", 2.5])


def array(*axes: int) -> st.SearchStrategy:
    """What is no array of numbers with so many entries along each axis."""
    good = np.full(axes, 0.5)
    bad = [good[..., None], good[:0], "abc", None, {"a": 1}, [["a"]], object()]
    holed = [np.where(np.arange(good.size).reshape(axes) == 0, v, good) for v in (NAN, INF, -INF)]
    return st.sampled_from([*bad, *holed])


def lines(*axes: int) -> st.SearchStrategy:
    """What is no {label: array}."""
    no_dict = st.sampled_from([None, {}, [1, 2], "abc", 3])
    return st.one_of(no_dict, array(*axes).map(lambda bad: {"a": np.full(axes, 0.5), "b": bad}))


def pairs(*axes: int) -> st.SearchStrategy:
    """What is no {label: (array, array)}."""
    good = np.full(axes, 0.5)
    return st.one_of(
        st.sampled_from([None, {}, "abc", {"b": 3}, {"b": (good,)}, {"b": "ab"}, {"b": None}]),
        array(*axes).map(lambda bad: {"b": (bad, good)}),
        array(*axes).map(lambda bad: {"b": (good, bad)}),
    )


AXES = st.sampled_from(["axes", 3, np.zeros(3)])

# --- the table --------------------------------------------------------------------------------


class Row(NamedTuple):
    """A public name: how it is called well, and what its arguments must not be.

    `kinds` maps an argument to its kind, or to (kind, the word that stands for it in the message).
    `free` are arguments of which anything is right: titles, labels, switches without effect on
    results, and `*rest` of an explorer.
    """

    call: Callable[..., Any]
    good: dict[str, Any]
    kinds: dict[str, Any]
    free: tuple[str, ...] = ()


torch.manual_seed(0)
SMALL = VAE(latent_dim=3, hidden_dim=4)
FLAT = VAE(latent_dim=2, hidden_dim=4)
ROWS = RowGRUVAE(latent_dim=3, hidden_dim=4)
STRAIGHT = LinearVAE(latent_dim=3)
FOLDER = tempfile.TemporaryDirectory()  # until Python ends
SAVED = f"{FOLDER.name}/model.pt"
vaelab.save(SAVED, SMALL)
for i in range(4):
    Image.new("L", (9, 9), 50 * i).save(f"{FOLDER.name}/{i}.png")
RAW = Path(FOLDER.name, "KMNIST", "raw")  # as torchvision would leave it
RAW.mkdir(parents=True)
for part in ("train", "t10k"):
    (RAW / f"{part}-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\3" + struct.pack(">3I", 2, 28, 28) + bytes(2 * 784)
    )
    (RAW / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\2\0\1")
Z = torch.zeros(4, 3)
CONTROLLER = SoftFreeBits()
CONTROLLER.update(Z)  # the first call decides how many dimensions there are
LATENT = st.sampled_from([None, [0.0], Z.long(), Z[:, :2], Z[0], Z[0, 0]])
TERMS = st.sampled_from([None, 1.0, [1.0], Z[:2], Z[None]])
T3, D2 = np.array([1.0, 2.0, 3.0]), np.full((3, 2), 0.5)
SIXTEEN = np.full((4, 16), 0.5)
HISTORY = training.History(None, [3.0], [1], [-3.0], [2.0], [1.0])
TOY = GaussianToy()
X, MEAN, STD = st.one_of(WORDS, st.just(None), NOT_FINITE), None, None
POINT = st.one_of(WORDS, st.sampled_from([None, [1.0], torch.tensor([NAN])]), NOT_FINITE)
SPREAD = st.one_of(POINT, NEGATIVE, st.just(0))
FIT = {"model": SMALL, "digits": FOUR, "steps": 2, "batch_size": 2, "evaluations": 1}
NO_OBJECTIVE = st.sampled_from([vaelab.ELBO, 0.5, "ELBO", {"beta": 1}])
NO_SCHEDULE = st.one_of(
    AT_LEAST_0.filter(lambda value: not isinstance(value, bool)),
    st.one_of(st.none(), WORDS, NOT_FINITE, NEGATIVE).map(lambda value: lambda progress: value),
)
KEEP = st.one_of(
    st.sampled_from([None, "all", [], [[0]], ["a"], [True], [0, 0], [1.0], [1j], [NAN]]),
    st.integers().filter(lambda i: not 0 <= i < 3).map(lambda i: [0, i]).filter(
        lambda keep: -(2**63) <= keep[1] < 2**63
    ),
)  # fmt: skip
OPTIMIZER = torch.optim.SGD(SMALL.parameters(), lr=0.0)
RUNS = [{"rate": 1.0}]
METHODS = {
    **dict.fromkeys(("encode", "forward"), "x"),
    **dict.fromkeys(("decode", "draw"), "z"),
    **dict.fromkeys(("log_likelihood", "decode_rows"), "x z"),
    "reparameterize": "mu logvar",
    "sample": "n",
}
UNMADE = torch.nn.Module.forward  # of a model without one
GOOD = {"x": IMAGES, "z": Z, "mu": Z, "logvar": Z, "n": 2}


def method(name: str, of: Any) -> Callable[..., Any]:
    """A method of a model, looked up when it is called."""
    return lambda **arguments: getattr(of, name)(**arguments)


def first_batch(**arguments: Any) -> Any:
    return next(training.Minibatches(**arguments))


def first_loss(logits: Any, x: Any, mu: Any, logvar: Any) -> Any:
    """A loss of four arguments, as a checkup wants it."""
    return (losses.bernoulli_nll(logits, x) + losses.gaussian_kl(mu, logvar).sum(dim=1)).mean()


def small_set(**arguments: Any) -> Digits:
    """`load_torchvision`, where a whole set has two images to train and two to test on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "COUNTS", (2, 2))
        return vaelab.load_torchvision(**arguments)


def shown(kind: type, *given: Any) -> Callable[..., Any]:
    """An explorer's picture for these values of its controls; the explorer is made once."""
    make = cache(lambda: kind(*given))
    return lambda **values: make().snapshot(**values)


# What most arguments of a name must not be; a row says where one of them differs.
KINDS: dict[str, st.SearchStrategy] = {
    name: kind
    for kind, names in (
        (
            COUNT,
            "batch_size block columns cycles data_dim hidden_dim latent_dim n rows samples side "
            "steps used",
        ),
        (SEED, "draw group seed"),
        (WHOLE, "dead gap starved"),
        (NUMBER, "bias strength weight z1 z2"),
        (AT_LEAST_0, "beta lam penalty start stop threshold"),
        (POSITIVE, "bound lr noise steepness"),
        (UNIT, "floor init midpoint progress"),
        (SHARE, "ramp warmup"),
        (BELOW_1, "tolerance"),
        (OPEN, "share step test"),
        (YES_NO, "binarize per_dimension use_z"),
        (MODEL, "model"),
        (SHAPE_ONLY, "logits x"),
        (PIXELS, "images"),
        (LATENT, "logvar mu z"),
        (TERMS, "kl nll"),
        (POINT, "mean"),
        (SPREAD, "std"),
        (AXES, "ax"),
        (NO_PATH, "path"),
        (NO_ROOT, "root"),
        (DEVICE, "device"),
        (FUNCTION, "generator on_evaluation optimizer"),
        (NO_TEST_IMAGES, "digits"),
    )
    for name in names.split()
}


def of(names: str = "", **special: Any) -> dict[str, Any]:
    """The kinds of these arguments, and of others that differ from what their name says."""
    return {name: KINDS[name] for name in names.split()} | special


TABLE: dict[str, Row] = {
    # data
    "load_mnist": Row(
        vaelab.load_mnist,
        {"size": "5k"},
        of("root", size=st.sampled_from(["6k", "FULL", "", 5, 5000, True])),
    ),
    "load_torchvision": Row(
        small_set,
        {"name": "KMNIST", "root": FOLDER.name},
        of("root", name=st.sampled_from(["mnist", "CIFAR10", "", "5k", None, True])),
    ),
    "from_arrays": Row(
        vaelab.from_arrays,
        {"images": IMAGES, "labels": [3, 1, 4, 1], "test": 0.5},
        of(
            "test seed",
            images=st.one_of(
                NO_PIXELS.filter(lambda x: getattr(x, "dtype", None) != torch.uint8),
                BAD_SHAPE.filter(lambda x: x.shape != (4, 28, 28)),
                st.sampled_from([IMAGES[:3], IMAGES.view(4, 14, 56), [*IMAGES[:3], IMAGES[3, :9]]]),
            ),
            labels=st.sampled_from(
                [[1], [3, 1, 4, -2], torch.rand(4), ["a", "b", "b", "a"], object(), IMAGES]
            ),
        ),
        free=("name",),
    ),
    "load_folder": Row(
        vaelab.load_folder,
        {"path": FOLDER.name, "test": 0.5},
        of(
            "side test seed",
            path=st.one_of(NO_PATH, st.sampled_from([SAVED, "nowhere", f"{FOLDER.name}/KMNIST"])),
        ),
        free=("name",),
    ),
    "binarize": Row(vaelab.binarize, {"images": IMAGES}, of("generator", images=NO_PIXELS)),
    # model
    "VAE": Row(VAE, {}, of("latent_dim hidden_dim data_dim")),
    "LinearVAE": Row(LinearVAE, {}, of("latent_dim data_dim noise")),
    "RowGRUVAE": Row(RowGRUVAE, {}, of("latent_dim hidden_dim use_z")),
    **{
        f"{type(model).__name__}.{name}": Row(
            method(name, model), {argument: GOOD[argument] for argument in names.split()}, of(names)
        )
        for name, names in METHODS.items()
        for model in (SMALL, STRAIGHT, ROWS)
        if getattr(type(model), name, UNMADE) is not UNMADE
    },
    "soft_bound": Row(model.soft_bound, {"raw": Z}, of("bound"), free=("raw",)),
    # losses
    "bernoulli_nll": Row(losses.bernoulli_nll, {"logits": IMAGES, "x": IMAGES}, of("logits x")),
    "gaussian_kl": Row(losses.gaussian_kl, {"mu": Z, "logvar": Z}, of("mu logvar")),
    # schedules
    "constant": Row(vaelab.constant, {}, of("beta")),
    "linear": Row(vaelab.linear, {}, of("warmup start stop")),
    "staircase": Row(vaelab.staircase, {}, of("steps")),
    "sigmoid": Row(vaelab.sigmoid, {}, of("midpoint steepness stop")),
    "cyclical": Row(vaelab.cyclical, {}, of("cycles ramp stop")),
    **{
        f"{kind}()": Row(getattr(vaelab, kind)(), {"progress": 0.5}, of("progress"))
        for kind in ("constant", "linear", "staircase", "sigmoid", "cyclical")
    },
    # objectives
    **{
        f"{type(objective).__name__}.__call__": Row(
            objective,
            {"nll": torch.ones(4), "kl": Z, "progress": 0.5},
            of("nll kl progress" if "Beta" in repr(objective) else "nll kl"),
            free=() if "Beta" in repr(objective) else ("progress",),
        )
        for objective in (
            vaelab.ELBO(),
            BetaELBO(vaelab.linear()),
            vaelab.FreeBits(),
            SoftFreeBits(),
        )
    },
    "BetaELBO": Row(BetaELBO, {"schedule": 1.0}, of(schedule=(NO_SCHEDULE, "beta|schedule"))),
    "FreeBits": Row(vaelab.FreeBits, {}, of("lam")),
    "SoftFreeBits": Row(
        SoftFreeBits,
        {},
        of(
            "lam tolerance step per_dimension floor",
            init=st.one_of(
                UNIT, st.sampled_from([torch.tensor([[0.5]]), torch.tensor([0.5, 2.0]), NAN * Z[0]])
            ),
        ),
    ),
    "SoftFreeBits.update": Row(
        CONTROLLER.update,
        {"kl": Z},
        of(kl=st.sampled_from([None, 1.0, [[0.1]], Z[None], Z[0], Z[:0], Z[:, :2]])),
    ),
    # checkup
    "checkup": Row(
        vaelab.checkup,
        {"model": SMALL, "loss": first_loss, "images": IMAGES},
        of(
            "model",
            loss=st.one_of(
                FUNCTION,
                st.sampled_from(
                    [None, torch.nn.MSELoss, lambda recon, x: x.sum(), lambda *four: four[0]]
                ),
            ),
            images=(
                st.one_of(
                    NO_TENSOR,
                    NO_FLOATS,
                    BAD_SHAPE,
                    spoiled(IMAGES, NAN, INF, -INF),
                    st.just(IMAGES[:3]),
                ),
                "images",
            ),
        ),
    ),
    # toy
    "GaussianToy": Row(GaussianToy, {}, of("weight bias noise")),
    "GaussianToy.log_likelihood": Row(TOY.log_likelihood, {"x": 0, "z": 0}, of(x=POINT, z=POINT)),
    "GaussianToy.log_evidence": Row(TOY.log_evidence, {"x": 0}, of(x=POINT)),
    "GaussianToy.posterior": Row(TOY.posterior, {"x": 0}, of(x=POINT)),
    **{
        f"GaussianToy.{name}": Row(
            getattr(TOY, name), {"x": 0, "mean": 0, "std": 1}, of("mean std", x=POINT)
        )
        for name in ("elbo", "gap")
    },
    # training
    "fit": Row(
        lambda **given: training.fit(**given, progress=False),
        FIT,
        of(
            "model steps lr seed binarize device on_evaluation optimizer",
            digits=DIGITS,
            objective=NO_OBJECTIVE,
            batch_size=st.one_of(COUNT, st.integers(min_value=5)),
            evaluations=st.one_of(COUNT, st.integers(min_value=3)),
            clip_norm=or_none(POSITIVE),
            resume=st.sampled_from([3, "run.pt", SMALL, {"steps": 3}, training.History(None)]),
            threads=or_none(COUNT),
        ),
        free=("progress",),
    ),
    "evaluate": Row(
        training.evaluate,
        {"model": SMALL, "images": IMAGES},
        of("model seed batch_size", images=st.one_of(PIXELS, st.just(IMAGES[:1]))),
    ),
    "evaluation_images": Row(
        training.evaluation_images,
        {"digits": FOUR, "binarize": True},
        of(
            digits=(
                st.one_of(st.sampled_from([None, IMAGES]), NO_PIXELS.map(without_test_images)),
                "digits|images",
            )
        ),
        free=("binarize",),
    ),
    "train_step": Row(
        training.train_step,
        {
            "model": SMALL,
            "x": IMAGES,
            "objective": vaelab.ELBO(),
            "optimizer": OPTIMIZER,
            "progress": 0.0,
        },
        of("x", objective=st.sampled_from([lambda *a: a[0], lambda *a: None, lambda *a: 1.0])),
        free=("model", "optimizer", "progress", "clip_norm"),  # `fit` has checked them
    ),
    "Minibatches": Row(
        first_batch,
        {"images": IMAGES, "batch_size": 2},
        of("batch_size", images=st.sampled_from([None, "x", IMAGES[0], IMAGES[:0]])),
    ),
    # diagnostics
    "active_units": Row(
        diagnostics.active_units,
        {"mu": Z},
        of(
            "threshold",
            mu=st.one_of(
                st.sampled_from([None, [[0.0]], Z.long(), Z[0], Z[:1], Z[None]]),
                spoiled(Z, NAN, INF),
            ),
        ),
    ),
    "decoder_weight_norms": Row(diagnostics.decoder_weight_norms, {"model": SMALL}, of("model")),
    "encode_all": Row(
        diagnostics.encode_all, {"model": SMALL, "images": IMAGES}, of("model images batch_size")
    ),
    "iw_log_likelihood": Row(
        diagnostics.iw_log_likelihood,
        {"model": SMALL, "images": IMAGES, "samples": 1},
        of("model images samples seed rows"),
    ),
    "mutual_information": Row(
        diagnostics.mutual_information,
        {"model": SMALL, "images": IMAGES},
        of("model images seed block"),
    ),
    "linear_probe": Row(
        diagnostics.linear_probe,
        {"model": SMALL, "digits": FOUR},
        of("model penalty", digits=LABELLED),
    ),
    "pca_rates": Row(
        diagnostics.pca_rates,
        {"images": IMAGES, "noise": 0.5, "latent_dim": 2},
        of("noise", images=NO_PIXELS, latent_dim=st.one_of(COUNT, st.integers(min_value=785))),
    ),
    "prune": Row(
        diagnostics.prune, {"model": SMALL, "keep": [0, 2]}, of("model", keep=(KEEP, "keep|mask"))
    ),
    # storage
    "save": Row(
        vaelab.save,
        {"path": SAVED, "model": SMALL},
        of("path model", history=st.sampled_from([3, [], "run", SMALL])),
    ),
    "load": Row(vaelab.load, {"path": SAVED}, of("path")),
    # plotting
    "use_style": Row(plotting.use_style, {}, {}),
    "palette": Row(plotting.palette, {"labels": ["a"]}, of(labels=st.just("vanilla"))),
    "mosaic": Row(
        plotting.mosaic,
        {"images": SIXTEEN, "columns": 2},
        of("columns gap", images=(array(4, 16), "images")),
    ),
    "image_grid": Row(
        plotting.image_grid,
        {"images": SIXTEEN},
        of("ax", images=array(4, 16), columns=or_none(COUNT)),
        free=("title",),
    ),
    "image_rows": Row(
        plotting.image_rows,
        {"rows": {"a": SIXTEEN}},
        of("ax", rows=(lines(4, 16), "row"), column_labels=(st.just(["a"]), "column labels")),
        free=("title",),
    ),
    "traversals": Row(
        plotting.traversals,
        {"images": SIXTEEN[None], "row_labels": ["z"], "column_values": [0, 1, 2, 3]},
        of(
            "ax",
            images=array(1, 4, 16),
            row_labels=(st.just(["a", "b"]), "row labels"),
            column_values=array(4),
        ),
        free=("title",),
    ),
    "latent_scatter": Row(
        plotting.latent_scatter,
        {"mu": D2, "labels": [0, 1, 1]},
        of("ax", mu=array(3, 2), labels=st.one_of(array(3), st.just([0, 0.5, 1]))),
        free=("title",),
    ),
    "prior_circle": Row(plotting.prior_circle, {}, of("ax share")),
    "posterior_ellipses": Row(
        plotting.posterior_ellipses,
        {"mu": D2, "logvar": D2, "labels": [0, 1, 1]},
        of(
            "ax share",
            mu=(array(3, 2), "mu|logvar|labels"),
            logvar=array(3, 2),
            labels=st.one_of(array(3), st.just([0, 0.5, 1])),
        ),
    ),
    "training_curves": Row(
        plotting.training_curves,
        {"history": HISTORY},
        of(
            history=st.sampled_from([None, {}, [1, 2], {"a": 3}, training.History(None)]),
            axes=st.just([1, 2]),
        ),
    ),
    "curves": Row(
        plotting.curves,
        {"x": T3, "lines": {"a": T3}},
        of("ax", x=(array(3), "x|line"), lines=(lines(3), "line")),
        free=("xlabel", "ylabel"),
    ),
    "schedule_curves": Row(
        plotting.schedule_curves, {"lines": {"a": (T3, T3)}}, of("ax", lines=pairs(3))
    ),
    "kl_bars": Row(
        plotting.kl_bars,
        {"kl_per_dim": T3},
        of(
            "ax",
            kl_per_dim=array(3),
            order=or_none(
                st.one_of(array(3), st.sampled_from([[0, 0, 1], [0, 1, 3], [0, 1, 1.5]]))
            ),
            threshold=or_none(AT_LEAST_0),
        ),
        free=("label", "color"),
    ),
    "kl_and_weights": Row(
        plotting.kl_and_weights,
        {"kl": T3, "weight_norms": T3},
        of(kl=(array(3), "kl|weight_norms"), weight_norms=array(3)),
    ),
    "kl_heatmap": Row(
        plotting.kl_heatmap,
        {"steps": T3, "kl": D2},
        of("ax", steps=(array(3), "steps|kl"), kl=array(3, 2)),
    ),
    "rate_distortion": Row(
        plotting.rate_distortion,
        {"paths": {"a": (T3, T3)}},
        of(
            "ax",
            paths=pairs(3),
            iso_elbo=st.sampled_from(["many", 3, [NAN], [[1.0]], [None]]),
            xlim=or_none(array(2)),
            ylim=or_none(array(2)),
        ),
    ),
    "dot_with_spread": Row(
        plotting.dot_with_spread,
        {"values": {"a": T3}},
        of("ax", values=(lines(3), "values|b"), reference=or_none(NUMBER)),
        free=("xlabel",),
    ),
    "paired_differences": Row(
        plotting.paired_differences,
        {"values": {"vanilla": T3, "a": T3}},
        of(
            "ax",
            values=(
                lines(3).map(
                    lambda bad: bad if not isinstance(bad, dict) else bad | {"vanilla": T3}
                ),
                "values|b|baseline",
            ),
            baseline=st.sampled_from(["b", "", 3, None]),
        ),
        free=("xlabel",),
    ),
    # lesson
    "show_source": Row(
        lambda objects: lesson.show_source(objects),
        {"objects": lesson.table},
        of(objects=(st.sampled_from([3, "fit", None, len, Z]), "object|class|function")),
        free=("docstrings",),
    ),
    "versions": Row(lesson.versions, {}, {}),
    "pick_device": Row(lesson.pick_device, {}, {}),
    "as_committed": Row(
        lambda settings: lesson.as_committed(STEPS=settings),
        {"settings": (3000, 3000)},
        of(settings=(st.sampled_from([3000, None, "ab", (1,), [1, 1], Z]), "STEPS")),
    ),
    "table": Row(
        lesson.table,
        {"header": ["a", "b"], "rows": [[1, 2.0]]},
        of(
            header=st.sampled_from([3, "ab", None]),
            rows=st.sampled_from([[[1]], [[1, 2], [1, 2, 3]], [3], ["ab"], [None]]),
        ),
    ),
    # diagrams, results
    "vae_architecture": Row(diagrams.vae_architecture, {}, of("latent_dim hidden_dim data_dim")),
    "mean_and_spread": Row(
        results.mean_and_spread,
        {"runs": RUNS, "name": "rate"},
        of(runs=st.sampled_from([[], [{}]]), name=st.sampled_from(["elbo", "", None])),
    ),
    # explorers
    "BoundExplorer": Row(widgets.BoundExplorer, {}, of(toy=or_none(MODEL))),
    "ScheduleExplorer": Row(
        widgets.ScheduleExplorer,
        {},
        of(
            "steps",
            signals=st.sampled_from([None, (), 4.0, "9", [NAN], [0.0], [-1.0], [17.0], ["4"]]),
        ),
    ),
    "SoftFreeBitsPlayground": Row(widgets.SoftFreeBitsPlayground, {}, of("steps")),
    "LatentExplorer": Row(
        widgets.LatentExplorer, {"model": SMALL, "digits": FOUR}, of("model digits used dead")
    ),
    "PlaneExplorer": Row(
        widgets.PlaneExplorer, {"model": FLAT, "digits": FOUR}, of("model digits")
    ),
    "BetaExplorer": Row(
        widgets.BetaExplorer,
        {"models_by_beta": {1.0: SMALL}, "digits": EIGHT},
        of(
            models_by_beta=st.one_of(
                st.sampled_from([None, {}, SMALL, [SMALL]]),
                AT_LEAST_0.filter(lambda beta: beta is not None and beta.__hash__).map(
                    lambda beta: {beta: SMALL}
                ),
                MODEL.map(lambda bad: {1.0: bad}),
            ),
            digits=st.sampled_from([None, IMAGES, FOUR, "5k"]),
        ),
    ),
    "BoundExplorer.snapshot": Row(
        shown(widgets.BoundExplorer),
        {"x": 1.0, "mean": 0.0, "std": 1.0},
        of("mean std", x=POINT, mu=(st.just(0.0), "mu")),
    ),
    "ScheduleExplorer.snapshot": Row(
        shown(widgets.ScheduleExplorer),
        {"kind": "linear"},
        of("warmup", kind=st.sampled_from(["cosine", "", None, 3]), slope=st.just(1)),
    ),
    "SoftFreeBitsPlayground.snapshot": Row(
        shown(widgets.SoftFreeBitsPlayground),
        {},
        of("strength starved lam tolerance step init floor", gamma=st.just(1)),
    ),
    "LatentExplorer.snapshot": Row(
        shown(widgets.LatentExplorer, SMALL, FOUR),
        {},
        of(
            view=(st.sampled_from(["all", "", None, 3]), "view"),
            digit=st.sampled_from([7, -1, 10, 99]),
            example=st.sampled_from([-1, 2, 99]),
        )
        # there are three dimensions
        | {"z[0]": (NUMBER, r"z\[0\]"), "z[3]": (st.just(0.0), r"z\[3\]")},
    ),
    "PlaneExplorer.snapshot": Row(
        shown(widgets.PlaneExplorer, FLAT, FOUR),
        {},
        of("z1 z2", digit=SEED, background=st.sampled_from(["all", "", None, 3]), lam=st.just(1)),
    ),
    "BetaExplorer.snapshot": Row(
        shown(widgets.BetaExplorer, {1.0: SMALL}, EIGHT),
        {},
        of("group draw", beta=st.sampled_from([2.0, None, "1", -1.0]), lam=st.just(1)),
    ),
}

# Public names that take nothing from a user, or nothing that could be wrong.
NOTHING_TO_REFUSE = {
    "Checkup": "a record made by checkup",
    "Digits": "a record; whoever uses it checks it: fit, evaluate, diagnostics, explorers",
    "Diverged": "raised by fit",
    "ELBO": "has no arguments",
    "Evaluation": "a record made by evaluate",
    "History": "a record made by fit",
    "MutualInformation": "a record made by mutual_information",
    "VAEOutput": "a record made by forward",
    "COLORS": "a table",
    "controller": "has no arguments",
    "graphical_model": "has no arguments",
    "reparameterization": "has no arguments",
    "remedies": "has no arguments",
    "iw_batch": "shown in lesson 1 and called by iw_log_likelihood, which checks",
    "load_results": "has no arguments",
    "scores_of": "reads one entry of a run of load_results, whose absence Python names",
    "ledger": "shown in lesson 3; takes runs of the results file",
    "runs_of": "finds nothing for an unknown name, which mean_and_spread refuses",
}


# --- every name has its row ---------------------------------------------------------------------


def defined_in(module: ModuleType) -> set[str]:
    """The public functions of a module."""
    return {
        name
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and name[0] != "_"
    }


@cache
def used_by_lessons() -> frozenset[str]:
    """What the lessons import from a module of vaelab, or look up in one."""
    found: set[str] = set()
    for path in LESSONS:
        modules: dict[str, ModuleType] = {}
        for node in (n for cell in code_cells(read(path)) for n in ast.walk(parse(cell))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vaelab"):
                source = importlib.import_module(node.module)
                for alias in node.names:
                    item = getattr(source, alias.name, None) or alias.name
                    if "exercises" in (alias.name, node.module.split(".")[-1]):
                        continue
                    modules |= {alias.name: item} if isinstance(item, ModuleType) else {}
                    found |= set() if isinstance(item, ModuleType) else {alias.name}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                found |= {node.attr} if module and hasattr(module, node.attr) else set()
    return frozenset(found)


def public_names() -> set[str]:
    explorers = {kind.__name__ for kind in widgets.Explorer.__subclasses__()}
    return (
        {*vaelab.__all__, *defined_in(plotting), *defined_in(lesson), *explorers}
        | used_by_lessons()
    )  # fmt: skip


def missing(names: set[str]) -> set[str]:
    return names - {name.split(".")[0] for name in TABLE} - NOTHING_TO_REFUSE.keys()


def test_every_public_name_has_a_row():
    assert missing(public_names()) == set()


def test_a_new_name_would_be_missed():
    assert missing({*public_names(), "brand_new"}) == {"brand_new"}


def test_the_table_holds_no_name_that_is_gone():
    tops = {name.split(".")[0].removesuffix("()") for name in TABLE}
    assert tops | NOTHING_TO_REFUSE.keys() <= public_names() | {"soft_bound", "train_step"}


@pytest.mark.parametrize("name", [name for name in TABLE if "." not in name and "()" not in name])
def test_every_argument_has_a_place(name):
    home = next(m for m in HOMES if hasattr(m, name))
    parameters = set(inspect.signature(getattr(home, name)).parameters)
    assert parameters == {*TABLE[name].kinds, *TABLE[name].free}


HOMES = (vaelab, plotting, lesson, model, training, diagnostics, diagrams, results, widgets)


# --- every row keeps its word -------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.parametrize("name", TABLE)
def test_the_good_call_works(name):
    row = TABLE[name]
    row.call(**row.good)


EXPECTED = "must|expected|needs|no .* there (are|is)|more than|pass exactly"
CASES = [(name, argument) for name, row in TABLE.items() for argument in row.kinds]


@pytest.mark.parametrize(("name", "argument"), CASES, ids=[f"{n}-{a}" for n, a in CASES])
def test_bad_values_are_refused_by_name(name, argument):
    row = TABLE[name]
    kind, word = row.kinds[argument], re.escape(argument)
    if isinstance(kind, tuple):
        kind, word = kind

    @given(kind)
    def refused(bad: Any) -> None:
        with pytest.raises((TypeError, ValueError, KeyError)) as refusal:
            row.call(**row.good | {argument: bad})
        message = str(refusal.value)
        assert re.search(rf"(?<![\w]){word}", message), f"does not name {argument}: {message}"
        assert re.search(EXPECTED, message), message

    refused()
    assert plt.get_fignums() == []  # refused before anything was drawn
