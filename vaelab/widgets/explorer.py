"""What the explorers share: one module for every front end, values, snapshots and pages.

An explorer computes and draws in the browser. Python hands its data over once, keeps ``values``,
and knows the same read-outs by itself: ``numbers`` is what the browser's are tested against. The
module of an explorer is `module_text`: ``shared.js`` and the explorer's own file, joined.
"""

from __future__ import annotations

import base64
import copy
import html
import json
import math
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import matplotlib as mpl
import matplotlib.figure
import numpy as np
import torch
import traitlets
from IPython import get_ipython
from torch import Tensor, nn

from ..checks import check_images, check_kind, check_range
from ..data import Digits
from ..describe import describe
from ..plotting import COLORS, use_style
from ..runs import threads_set

HERE = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./shared\.js";\n', flags=re.MULTILINE)
LAYERS = ("from_data", "to_mu", "to_logvar", "from_latent", "to_logits")
WEIGHT_LIMIT = 32_000_000  # bytes of float16: 128 x 128 pixels at the usual width


def module_text(name: str) -> str:
    """One ES module from ``shared.js`` and the file of an explorer.

    A front end loads a widget's module from a blob, beside which nothing lies that it could import.

    Args:
        name: of the file, without its ending.

    Returns:
        The text of the module; it exports ``default`` (for anywidget) and ``formulas``.

    Raises:
        ValueError: if the file does not import from ``./shared.js`` exactly once.
    """
    shared, own = ((HERE / f"{part}.js").read_text("utf-8") for part in ("shared", name))
    own, imports = IMPORT.subn("", own)
    if imports != 1:
        raise ValueError(f'{name}.js must have one import from "./shared.js", got {imports}')
    return f"{shared}\n{own}"


# ------------------------------------------------------------------------------------ controls


def slider(
    label: str, value: float, low: float, high: float, step: float, **more: Any
) -> dict[str, Any]:
    """Describe a slider: its label, where it starts, its ends and its step."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ends = {"min": low, "max": high, "step": step, "digits": digits}
    return {"label": label, "value": value, **ends, **more}


def choice(label: str, value: Any, options: Mapping[Any, str]) -> dict[str, Any]:
    """Describe buttons of which one is pressed: value -> its name."""
    return {"label": label, "value": value, "options": [list(pair) for pair in options.items()]}


def check_value(name: str, value: Any, control: Mapping[str, Any]) -> None:
    """Refuse what a control cannot say."""
    if "options" in control:
        known = [option for option, _ in control["options"]]
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
        return
    check_range(name, value, control["min"], control["max"])
    if control["step"] == int(control["step"]) and value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value}")


# ------------------------------------------------------------------------------- the base class


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows even if no pyplot has been used before."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: matplotlib.figure.Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class Explorer(anywidget.AnyWidget):
    """Base of the explorers: a widget whose module draws, and the same numbers in Python.

    Args:
        controls: what can be moved, by name, each made by `slider` or `choice`.
        data: what the module needs: numbers, lists and texts; arrays as bytes.
    """

    data = traitlets.Dict().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    _ipython_display_ = None  # ipywidgets 7 has one, which would leave the picture out

    def __init__(self, controls: dict[str, dict[str, Any]], **data: Any) -> None:
        self.controls = controls
        values = {name: control["value"] for name, control in controls.items()}
        super().__init__(
            data={"controls": controls, "colors": COLORS, **data}, values=self.follow(values)
        )
        _close_earlier(self)

    read_out: Callable[..., dict[str, float]]  # the read-outs for these values, all of them given
    draw: Callable[..., None]  # (figure, **values): what the browser shows for them
    size = (9.4, 4.6)  # of a snapshot, in inches

    def __repr__(self) -> str:
        return f"{type(self).__name__}: run this cell to move it; the picture shows its first state"

    def numbers(self, **values: Any) -> dict[str, float]:
        """What the read-outs say, computed in Python.

        Args:
            values: of controls, by name; those not given are taken as they stand.

        Returns:
            The numbers by name, in nats unless the read-out says otherwise.

        Raises:
            KeyError: if a name is not that of a control.
            TypeError, ValueError: if a control cannot say such a value.
        """
        with threads_set(1):  # for matrices this small a second thread costs more than it brings
            return self.read_out(**self.completed(values))

    def snapshot(self, **values: Any) -> Figure:
        """The same story as a figure; arguments and refusals as in :meth:`numbers`.

        Returns:
            A new figure, unknown to pyplot: as the last value of a cell it is shown once.
        """
        values = self.completed(values)
        with mpl.rc_context(), threads_set(1):
            use_style()
            figure = Figure(figsize=self.size, dpi=100, layout="constrained")
            self.draw(figure, **values)
            figure.draw_without_rendering()  # while the style holds
        return figure

    def set(self, **values: Any) -> None:
        """Move controls, in every front end that shows the explorer; as in :meth:`numbers`."""
        self.values = self.completed(values)

    def reset(self) -> None:
        """Put every control back to where it was when the explorer was made."""
        self.values = self.follow({name: c["value"] for name, c in self.controls.items()})

    def follow(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes, and what moves with them."""
        return dict(changes)

    def completed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """All values after some changes, checked."""
        self._check(changes)
        return {**self.values, **self.follow(changes)}

    def _check(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name not in self.controls:
                known = list(self.controls)
                raise KeyError(f"no control is called {name!r}; there are {known}")
            check_value(name, value, self.controls[name])

    @traitlets.validate("values")
    def _whole(self, proposal: Any) -> dict[str, Any]:
        """What comes from a front end, or from an assignment, is checked too."""
        values = proposal["value"]
        self._check(values)
        if missing := [name for name in self.controls if name not in values]:
            raise KeyError(
                f"values must hold all controls, got none of {missing}; `set` moves some"
            )
        return values

    def close(self) -> None:
        """Take the explorer off every page and let go of what is large, for good."""
        self.layout.close()
        super().close()
        self.data = {}
        for heavy in ("model", "models", "images", "decoded"):  # a notebook's Out holds the widget
            self.__dict__.pop(heavy, None)

    def page(self) -> str:
        """One self-contained HTML file in which the explorer runs without a kernel."""
        title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__)
        return PAGE.format(
            title=title, body=fragment(self._esm, self.data, self.values, *self._still())
        )

    def _still(self) -> tuple[str, str]:
        """The snapshot as base64 letters of a PNG file, and in words."""
        figure = self.snapshot()
        return base64.b64encode(png(figure)).decode("ascii"), describe(figure)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict, dict]:
        """The widget, and its picture for where no front end is: a file, GitHub, nbviewer."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        picture, words = self._still()
        return {**data, "image/png": picture}, {**metadata, "image/png": {"alt": words}}


# ipywidgets keeps every widget alive until it is closed, so a cell that is run fifty times would
# keep fifty explorers. What a cell made is therefore closed when the cell runs again.
_open: dict[tuple[str, object], tuple[object, list[Explorer]]] = {}


def _close_earlier(explorer: Explorer) -> None:
    """Close what an earlier run of this cell made; outside a notebook nothing runs again."""
    cell, run = _cell_and_run()
    if run is None:
        return
    kind = type(explorer).__name__  # anywidget makes a class of its own for each widget
    earlier_run, made = _open.get((kind, cell), (None, []))
    if run != earlier_run:
        for earlier in made:
            earlier.close()
        made = []
    _open[kind, cell] = run, [*made, explorer]


def _cell_and_run() -> tuple[object, object]:
    """The running cell (its id, else its text) and which run of it this is; None outside one."""
    shell = get_ipython()
    if shell is None:
        return None, None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId") or shell.user_ns["In"][-1]
    return cell, shell.execution_count


# ---------------------------------------------------------------------------------------- pages

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0 auto; max-width: 75rem; padding: .5rem 1rem; background: #fff; color: #16191d;
    font: 17px/1.4 system-ui, sans-serif; }}
  h1 {{ font-size: 1.45rem; margin: .2rem 0; }}
  p {{ margin: .2rem 0; }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #14171b; color: #eceff3; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def fragment(module: str, data: Mapping, values: Mapping, picture: str, words: str) -> str:
    """An explorer as a part of a page: its picture, which its module replaces.

    Args:
        module: the text of its module.
        data, values: its state; arrays in ``data`` are bytes.
        picture: base64 letters of a PNG file.
        words: what the picture shows.

    Returns:
        HTML that loads nothing else.
    """
    buffers = {name: bytes(v) for name, v in data.items() if isinstance(v, (bytes, memoryview))}
    letters = {name: base64.b64encode(part).decode("ascii") for name, part in buffers.items()}
    rest = {name: value for name, value in data.items() if name not in buffers}
    state = json.dumps({"data": rest, "values": dict(values), "buffers": letters})
    host = (HERE / "host.js").read_text("utf-8")
    return (
        '<div class="vaelab-place">\n'
        f'<img src="data:image/png;base64,{picture}" alt="{html.escape(words)}" '
        'style="max-width: 100%">\n'
        f'<script type="application/json" data-part="state">{_no_tags(state)}</script>\n'
        f'<script type="text/plain" data-part="module">{_no_end(module)}</script>\n'
        f"<script>\n{_no_end(host)}</script>\n</div>"
    )


def _no_tags(text: str) -> str:
    """JSON without the letter that could end a script."""
    return text.replace("<", "\\u003c")


def _no_end(program: str) -> str:
    """Refuse a program that would end its own script."""
    if "</script" in program.lower() or "<!--" in program:
        raise ValueError("a module must not contain the end of a script, nor of a comment")
    return program


# ---------------------------------------------------------------------------- models and digits


def packed(model: nn.Module, name: str = "model") -> tuple[Any, dict[str, bytes]]:
    """Round the weights of a VAE to float16, for the browser and for Python alike.

    Args:
        model: a trained VAE, of whatever precision, on whatever device.
        name: the argument's name, for the message.

    Returns:
        A float32 copy on the CPU with the rounded weights, which later training does not reach,
        and the weights by name, each (inputs, outputs) or (outputs) in float16.

    Raises:
        TypeError: if it is not a network as `VAE` has it, the only one that the browser can run.
        ValueError: if a weight is not finite in float16, or the weights take too much room.
    """
    layers = [getattr(model, layer, None) for layer in LAYERS]
    parts = all(isinstance(v, nn.Linear) for v in layers) and hasattr(model, "decode")
    if not isinstance(model, nn.Module) or not parts:
        kind = type(model).__name__
        raise TypeError(f"{name} must be a VAE, the network that a browser can run, got {kind}")
    rounded = copy.deepcopy(model).cpu().half().float().eval()
    if not all(bool(p.isfinite().all()) for p in rounded.parameters()):
        raise ValueError(f"{name} has weights that are not finite, or too large for float16")
    _check_network(rounded, name)
    buffers = {}
    for layer in LAYERS:
        part = getattr(rounded, layer)
        buffers[f"{layer}.weight"] = _half(part.weight.T)
        buffers[f"{layer}.bias"] = _half(part.bias)
    if (size := sum(map(len, buffers.values()))) > WEIGHT_LIMIT:
        raise ValueError(
            f"{name} has {size:,} bytes of float16 weights, at most {WEIGHT_LIMIT:,}; "
            "smaller images or a smaller hidden_dim make it fit"
        )
    return rounded, buffers


def _half(weights: Tensor) -> bytes:
    return weights.detach().half().contiguous().numpy().tobytes()


@torch.no_grad()
def _check_network(model: Any, name: str) -> None:
    """Refuse a model that has the layers of `VAE` but connects them otherwise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, model.from_data.in_features, generator=generator)  # (4, P)
    z = torch.randn(4, model.from_latent.in_features, generator=generator)  # (4, D)
    h = model.from_data(x).relu()
    mine = [model.to_mu(h), 15 * (model.to_logvar(h) / 15).tanh()]
    mine.append(model.to_logits(model.from_latent(z).relu()))
    theirs = [*model.encode(x)[:2], model.decode(z)]
    if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(mine, theirs)):
        kind = type(model).__name__
        raise TypeError(f"{name} must encode and decode as VAE does, but {kind} does not")


def square_images(digits: Digits, model: Any = None, least: int = 1) -> tuple[Tensor, Tensor, int]:
    """The test images of a data set as the browser gets them.

    Args:
        digits: its test images and labels, tensors or arrays; labels may be missing.
        model: what the images must fit.
        least: how many there must be.

    Returns:
        Images (N, P) float32, multiples of 1/255; labels (N,), all -1 if there are none; the side.

    Raises:
        TypeError, ValueError: if it is no `Digits`, or its images are not square pixels in [0, 1].
    """
    check_kind(digits)
    if not isinstance(digits.test, (Tensor, np.ndarray)):
        kind = type(digits.test).__name__
        raise TypeError(f"digits.test must be a tensor or an array (N, pixels), got {kind}")
    test = torch.as_tensor(digits.test).detach().cpu()
    check_images(test, "digits.test")
    side = math.isqrt(test.shape[1])
    pixels = test.shape[1] if model is None else model.from_data.in_features
    square = test.ndim == 2 and side * side == test.shape[1] == pixels
    if not square or len(test) < least:
        raise ValueError(
            f"digits.test must be at least {least} square images that the model takes, "
            f"(N, {pixels}), got {tuple(digits.test.shape)}"
        )
    labels = torch.full((len(test),), -1)
    if digits.test_labels is not None and len(digits.test_labels):
        labels = torch.as_tensor(digits.test_labels).cpu().long()
    if labels.shape != (len(test),):
        raise ValueError(f"digits.test_labels must be ({len(test)},), got {tuple(labels.shape)}")
    return (test * 255).round().float() / 255, labels, side


def as_bytes(images: Tensor) -> bytes:
    """Pixels in [0, 1] as one byte each."""
    return (images * 255).round().byte().contiguous().numpy().tobytes()


def rate_of(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q || N(0, I)) in nats, (B,), from (B, D) and (B, D)."""
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)


def noise(seed: int, count: int) -> np.ndarray:
    """The draws of the browser: (count,) standard normal numbers for a seed, 0 for seed 0."""
    if seed == 0:
        return np.zeros(count)
    state = seed % 2**32

    def uniform() -> float:  # mulberry32
        nonlocal state
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ state >> 15) * (state | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        return ((t ^ t >> 14) % 2**32) / 2**32

    return np.array(
        [
            math.sqrt(-2 * math.log(1 - uniform())) * math.cos(2 * math.pi * uniform())
            for _ in range(count)
        ]
    )
