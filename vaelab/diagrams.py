"""The drawn figures of the lessons, as code; `make figures` writes them as PNG.

Each function returns a figure. Positions are in inches from its lower left corner; colors mean
what they mean in `vaelab.plotting`.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from .checks import check_sizes
from .plotting import COLORS, GRAY

INK = "#222222"
PLUM = "#9A4A78"  # the encoder's color, dark enough for letters
DASHED = (0, (4, 2))
GRADIENT: dict[str, Any] = {
    "color": COLORS["gradient"],
    "linestyle": DASHED,
    "linewidth": 2.6,
}
Point = tuple[float, float]


# ------------------------------------------------------------------------------------------ the pen


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = plt.figure(figsize=(width, height), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return figure, ax


def _text(ax: Axes, at: Point, text: str, size: float = 14, color: str = INK, **style: Any) -> None:
    place: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "math_fontfamily": "dejavusans",
        "zorder": 5,
    }
    ax.text(*at, text, size=size, color=color, **{**place, **style})


def _node(ax: Axes, at: Point, text: str, color: str = INK, fill: Any = "white") -> Patch:
    """Draw a random variable: a circle with its name."""
    patch = Circle(at, 0.45, facecolor=fill, edgecolor=color, linewidth=2.2, zorder=3)
    _text(ax, at, text, size=20)
    return ax.add_patch(patch)


def _box(
    ax: Axes,
    at: Point,
    size: Point,
    text: str = "",
    color: str = INK,
    tint: float = 0.16,
    font: float = 14,
) -> Patch:
    """Draw something computed: a rounded box, tinted with its color."""
    corner = (at[0] - size[0] / 2, at[1] - size[1] / 2)
    style: dict[str, Any] = {
        "facecolor": _tint(color, tint),
        "edgecolor": color,
        "linewidth": 2,
        "zorder": 3,
    }
    patch = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.14", **style)
    _text(ax, at, text, size=font)
    return ax.add_patch(patch)


def _region(ax: Axes, low: Point, high: Point, color: str = INK, tint: float = 0.0) -> None:
    """Draw a plate, or a tinted area, behind everything else."""
    size = (high[0] - low[0], high[1] - low[1])
    style: dict[str, Any] = {
        "facecolor": _tint(color, tint),
        "edgecolor": color if tint == 0 else "none",
        "linewidth": 1.8,
    }
    box = "round,pad=0,rounding_size=0.2"
    ax.add_patch(FancyBboxPatch(low, *size, boxstyle=box, zorder=1, **style))


def _tint(color: str, amount: float) -> tuple[float, float, float]:
    """Mix a color with white, so that what lies below does not shine through."""
    red, green, blue, _ = to_rgba(color)
    return tuple(1 - amount * (1 - c) for c in (red, green, blue))  # type: ignore[return-value]


def _arrow(
    ax: Axes,
    start: Patch | Point,
    end: Patch | Point,
    color: str = INK,
    bend: float = 0.0,
    **style: Any,
) -> None:
    """Draw an arrow between the edges of two patches, or points; bend > 0 curves to the right."""
    a, b = (_center(p) if isinstance(p, Patch) else p for p in (start, end))
    clip = {k: p for k, p in (("patchA", start), ("patchB", end)) if isinstance(p, Patch)}
    shape: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 20,
        "linewidth": 2,
        "shrinkA": 2,
        "shrinkB": 2,
        "zorder": 2,
    }
    curve = f"arc3,rad={bend}"
    ax.add_patch(
        FancyArrowPatch(a, b, connectionstyle=curve, color=color, **{**shape, **clip, **style})
    )


def _center(patch: Patch) -> Point:
    box = patch.get_path().get_extents(patch.get_patch_transform())
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


# -------------------------------------------------------------------------------------- the figures


def graphical_model() -> Figure:
    """Draw the model and the approximate posterior in plate notation.

    Returns:
        the Figure: z -> x inside a plate of N images, theta -> x; phi -> z and x -> z dashed.

    Source: Kingma and Welling 2014, Fig. 1; here the prior has no parameters.
    """
    figure, ax = _canvas(10.4, 5)
    _region(ax, (3.7, 0.4), (6.5, 4.65))
    _text(ax, (6.15, 0.72), "$N$", size=18)
    z, x = _node(ax, (5.1, 3.75), "$z$"), _node(ax, (5.1, 1.45), "$x$", fill="#CFCFCF")
    theta = _box(ax, (7.5, 1.45), (0.75, 0.75), r"$\theta$", COLORS["decoder"], font=20)
    phi = _box(ax, (2.7, 3.75), (0.75, 0.75), r"$\phi$", COLORS["encoder"], font=20)
    _arrow(ax, z, x, bend=-0.3)
    _arrow(ax, theta, x)
    _arrow(ax, phi, z, COLORS["encoder"], linestyle=DASHED)
    _arrow(ax, x, z, COLORS["encoder"], bend=-0.3, linestyle=DASHED)
    _text(ax, (8.55, 4.05), "prior, no parameters")
    _text(ax, (8.55, 3.55), r"$p(z) = \mathcal{N}(0, I)$", size=18)
    _text(ax, (9.25, 1.7), "likelihood: decoder")
    _text(ax, (9.2, 1.2), r"$p_\theta(x \mid z)$", size=18)
    _text(ax, (1.8, 2.75), "approximate posterior:\nencoder", color=PLUM)
    _text(ax, (1.8, 2.05), r"$q_\phi(z \mid x)$", size=18, color=PLUM)
    _text(ax, (1.8, 0.72), "white: latent\ngray: observed", color="#444444")
    figure.set_label(
        "Graphical model. Inside a plate of N images, a solid arrow leads from the latent z to the "
        "observed image x; theta, outside, points to x: the likelihood, or decoder, p(x given z). "
        "Dashed arrows from x and from phi to z: the approximate posterior, or encoder, "
        "q(z given x). The prior p(z) = N(0, I) has no parameters."
    )
    return figure


def vae_architecture(latent_dim: int = 50, hidden_dim: int = 400, data_dim: int = 784) -> Figure:
    """Draw the network from image to logits, with the size of every layer and the two losses.

    Args:
        latent_dim: dimensions of z, written below mu, log sigma^2 and z.
        hidden_dim: units of each hidden layer.
        data_dim: pixels of an image.

    Returns:
        the Figure.

    Raises:
        ValueError: if a size is not a positive whole number.
    """
    check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim, data_dim=data_dim)
    figure, ax = _canvas(13.4, 6.5)
    _region(ax, (1.85, 1.5), (6.0, 6.2), COLORS["encoder"], 0.1)
    _region(ax, (8.65, 1.5), (13.15, 6.2), COLORS["decoder"], 0.12)
    _text(ax, (3.9, 5.87), r"encoder  $q_\phi(z \mid x)$", size=16)
    _text(ax, (10.9, 5.87), r"decoder  $p_\theta(x \mid z)$", size=16)
    x = _layer(ax, (0.9, 3.7), 3.2, "$x$", data_dim, GRAY)
    hidden = _layer(ax, (3.1, 3.7), 2.3, "", hidden_dim, COLORS["encoder"])
    mu = _layer(ax, (5.2, 4.75), 0.95, r"$\mu$", latent_dim, COLORS["encoder"], width=1.15)
    logvar = _layer(ax, (5.2, 2.75), 0.95, r"$\log\sigma^2$", latent_dim, COLORS["encoder"], 1.15)
    z = _box(ax, (7.3, 3.7), (0.95, 0.95), "$z$", COLORS["q"], tint=0.3, font=20)
    noise = _node(ax, (7.3, 2.1), r"$\varepsilon$", COLORS["noise"])
    back = _layer(ax, (9.9, 3.7), 2.3, "", hidden_dim, COLORS["decoder"])
    logits = _layer(ax, (12.3, 3.7), 3.2, "logits", data_dim, COLORS["decoder"], width=0.95)
    for start, end in ((x, hidden), (hidden, mu), (hidden, logvar), (back, logits), (z, back)):
        _arrow(ax, start, end)
    for start in (mu, logvar, noise):
        _arrow(ax, start, z)
    _layer_notes(ax)
    _losses(ax)
    figure.set_label(
        f"Network of the VAE, from left to right. Encoder: an image x of {data_dim} pixels, a "
        f"hidden layer of {hidden_dim} ReLU units, then mu and log sigma squared, {latent_dim} "
        "each. Noise epsilon from N(0, I) joins them in z = mu + sigma times epsilon. Decoder: a "
        f"hidden layer of {hidden_dim} ReLU units, then {data_dim} logits. Below the encoder the "
        "rate R, below the decoder the distortion D; minus ELBO = D + R."
    )
    return figure


def _layer(
    ax: Axes, at: Point, height: float, name: str, units: int, color: str, width: float = 0.7
) -> Patch:
    _text(ax, (at[0], at[1] - height / 2 - 0.25), f"{units}", size=14)
    return _box(ax, at, (width, height), name, color, tint=0.35, font=17)


def _layer_notes(ax: Axes) -> None:
    for at in ((2.35, 4.12), (9.13, 4.12)):
        _text(ax, at, "Linear,\nReLU")
    for at in ((3.95, 4.8), (3.95, 2.6), (11.0, 3.95)):
        _text(ax, at, "Linear")
    _text(ax, (7.3, 5.3), r"$z = \mu + \sigma \odot \varepsilon$", size=18)
    _text(ax, (7.3, 4.85), r"$\sigma = \exp(\frac{1}{2}\log\sigma^2)$", size=14)
    _text(ax, (7.3, 1.4), r"$\varepsilon \sim \mathcal{N}(0, I)$", size=14)


def _losses(ax: Axes) -> None:
    rate = r"rate  $R = \mathrm{KL}(q_\phi(z \mid x)\, \Vert\, \mathcal{N}(0, I))$"
    distortion = r"distortion  $D = -\mathrm{E}_q \log p_\theta(x \mid z)$"
    low = _box(ax, (3.9, 0.7), (5.2, 0.8), rate, COLORS["rate"], font=15)
    high = _box(ax, (10.9, 0.7), (4.3, 0.8), distortion, COLORS["distortion"], font=15)
    _arrow(ax, (3.9, 1.5), low, COLORS["rate"], linestyle=DASHED)
    _arrow(ax, (10.9, 1.5), high, COLORS["distortion"], linestyle=DASHED)
    _text(ax, (7.62, 0.7), r"$-$ELBO $= D + R$", size=16)


def reparameterization() -> Figure:
    """Draw why z is computed from outside noise: a gradient passes a computation, not a draw.

    Returns:
        the Figure: left z is drawn, right z = mu + sigma epsilon; gradients are dashed.

    Source: Kingma and Welling 2014, Section 2.4.
    """
    figure, ax = _canvas(13, 5.9)
    for left in (0.2, 6.7):
        _region(ax, (left, 0.85), (left + 6.1, 5.7), GRAY, 0.08)
    _text(ax, (3.25, 5.35), "A draw stops the gradient", size=17)
    _text(ax, (9.75, 5.35), "A computation lets it through", size=17)
    z = _node(ax, (3.2, 2.7), "$z$", COLORS["q"], _tint(COLORS["q"], 0.3))
    _text(ax, (3.2, 1.7), r"$z \sim \mathcal{N}(\mu, \sigma^2)$", size=17)
    _gradient_path(ax, 0.0, z)
    for stop in ((2.1, 2.88), (2.1, 1.83)):  # on its way to mu, on its way to sigma
        _arrow(ax, z, stop, bend=-0.15, **GRADIENT)
        _text(ax, stop, "×", size=36, color=COLORS["gradient"], weight="bold")
    z = _box(ax, (9.7, 2.7), (0.95, 0.95), "$z$", COLORS["q"], tint=0.3, font=20)
    _arrow(ax, _node(ax, (9.7, 4.45), r"$\varepsilon$", COLORS["noise"]), z)
    _text(ax, (11.4, 4.45), r"$\varepsilon \sim \mathcal{N}(0, 1)$", size=17)
    _text(ax, (10.55, 1.7), r"$z = \mu + \sigma\,\varepsilon$", size=17)
    for source in _gradient_path(ax, 6.5, z):
        _arrow(ax, z, source, bend=-0.22, **GRADIENT)
    _text(ax, (8.55, 4.1), r"$\frac{\partial z}{\partial\mu} = 1$", size=22)
    _text(ax, (8.75, 1.3), r"$\frac{\partial z}{\partial\sigma} = \varepsilon$", size=22)
    key = "circle: random      box: computed      solid: forward      dashed: gradient"
    _text(ax, (6.5, 0.4), key, size=14, color="#444444")
    figure.set_label(
        "Two networks from mu and sigma to z to the loss. On the left z is drawn from "
        "N(mu, sigma squared), and the gradient that comes back from the loss stops at z. On the "
        "right z = mu + sigma times epsilon is computed, with epsilon drawn outside from N(0, 1): "
        "the gradient goes on to mu, where dz/dmu is 1, and to sigma, where dz/dsigma is epsilon."
    )
    return figure


def _gradient_path(ax: Axes, left: float, z: Patch) -> tuple[Patch, Patch]:
    """Draw mu and sigma before z, the loss behind it, and the gradient that comes back to z."""
    mu = _box(ax, (left + 1.1, 3.7), (0.9, 0.9), r"$\mu$", COLORS["encoder"], font=20)
    sigma = _box(ax, (left + 1.1, 1.7), (0.9, 0.9), r"$\sigma$", COLORS["encoder"], font=20)
    loss = _box(ax, (left + 5.25, 2.7), (1.2, 0.9), "loss", COLORS["distortion"], font=16)
    for start, end in ((mu, z), (sigma, z), (z, loss)):
        _arrow(ax, start, end, bend=-0.12)
    _arrow(ax, loss, z, bend=-0.22, **GRADIENT)
    return mu, sigma


def controller() -> Figure:
    """Draw the loop of per-dimension soft free bits, with the band in which gamma rests.

    Returns:
        the Figure: KL_d, the controller that moves gamma_d, the weighted loss, the optimizer.

    Source: Chen et al. 2017, App. C (one weight for all dimensions); here each has its own.
    """
    figure, ax = _canvas(13, 6.9)
    size = (3.3, 1.5)
    kl = _box(ax, (2.0, 5.0), size, "$\\mathrm{KL}_d$\nbatch average", COLORS["rate"], font=17)
    step = _box(ax, (2.0, 1.7), size, "optimizer step\non $\\theta$ and $\\phi$", GRAY, font=17)
    weighted = r"loss  $D + \sum_d \gamma_d\, \mathrm{KL}_d$"
    loss = _box(ax, (8.75, 1.7), (5.0, 1.5), weighted, COLORS["elbo"], font=20)
    _region(ax, (4.5, 3.4), (12.8, 6.65), COLORS["gamma"], 0.1)
    _resting_band(ax)
    _arrow(ax, kl, (4.5, 5.0), COLORS["rate"])
    _arrow(ax, (8.75, 3.4), loss, COLORS["gamma"])
    _text(ax, (9.15, 2.92), r"$\gamma_d$", size=20, color=COLORS["gamma"])
    _arrow(ax, loss, step)
    _text(ax, (4.95, 2.0), "gradient")
    _arrow(ax, step, kl)
    _text(ax, (2.15, 3.35), "next batch", ha="left")
    note = r"$\gamma_d$ never exceeds 1, so $\lambda$ is a floor for KL$_d$ and not a set point"
    _text(ax, (5.1, 0.42), note, size=15)
    _text(ax, (11.3, 0.42), r"$\tau$: tolerance,  $r$: step", size=15, color="#444444")
    figure.set_label(
        "A loop. The batch average of the KL of dimension d goes to the controller of that "
        "dimension. Below (1 - tau) lambda it lowers gamma, times 1 - r, down to a floor; within "
        "the band around lambda gamma rests; above (1 + tau) lambda it raises gamma, times "
        "1 + r, up to 1. Gamma weighs the KL in the loss D + sum of gamma times KL, whose gradient "
        "makes the optimizer's step, and the next batch begins the loop again. Gamma never exceeds "
        "1, so lambda is a floor and not a set point."
    )
    return figure


def _resting_band(ax: Axes) -> None:
    """Draw the axis of KL_d, the band around lambda, and what gamma does in each of three zones."""
    low, high = 7.6, 9.9
    _text(ax, (8.75, 6.33), "controller of dimension $d$", size=16)
    ax.fill_between([low, high], 4.72, 5.28, color=COLORS["band"], linewidth=0, zorder=2)
    ax.plot([8.75, 8.75], [4.72, 5.28], color=INK, linewidth=1.5, zorder=2.5)
    _arrow(ax, (4.8, 5.0), (12.55, 5.0))
    _text(ax, (12.25, 5.35), r"$\mathrm{KL}_d$", size=16)
    for at, name in (
        (low, r"$(1-\tau)\lambda$"),
        (8.75, r"$\lambda$"),
        (high, r"$(1+\tau)\lambda$"),
    ):
        _text(ax, (at, 5.6), name, size=16)
    zones = (
        (6.05, "too little", r"$\gamma_d \leftarrow \max(\gamma_{\min}, (1-r)\,\gamma_d)$"),
        (8.75, "in between", r"$\gamma_d$ rests"),
        (11.3, "enough", r"$\gamma_d \leftarrow \min(1, (1+r)\,\gamma_d)$"),
    )
    for at, name, rule in zones:
        _text(ax, (at, 4.4), name, size=15)
        _text(ax, (at, 3.85), rule, size=15, color="#A84A00")  # vermillion, darker on its own tint


def remedies() -> Figure:
    """Draw what to ask of a VAE that looks odd, what the answer means, and what to do.

    Returns:
        the Figure: five questions from top to bottom; the first yes leads right to its remedy.
    """
    figure, ax = _canvas(14.4, 9.3)
    places, colors = ((2.65, 4.7), (7.45, 3.5), (11.9, 4.5)), ("q", "distortion", "rate")
    columns = [(at, width, COLORS[name]) for (at, width), name in zip(places, colors)]
    for (at, *_), name in zip(columns, ("ask", "diagnosis", "remedy")):
        _text(ax, (at, 9.0), name, size=16, color="#555555")
    boxes = [
        [
            _box(ax, (x, 8.1 - 1.6 * n), (w, 1.2), told, c, font=16)
            for (x, w, c), told in zip(columns, case)
        ]
        for n, case in enumerate(CASES)
    ]
    last = _box(ax, (2.65, 0.4), (4.7, 0.6), "none of these", GRAY, font=16)
    for question, diagnosis, remedy in boxes:
        _arrow(ax, question, diagnosis)
        _arrow(ax, diagnosis, remedy)
        _text(ax, (5.35, _center(question)[1] + 0.2), "yes", size=15)
    for upper, lower in pairwise([*(row[0] for row in boxes), last]):
        _arrow(ax, upper, lower)
        _text(ax, (2.95, _center(upper)[1] - 0.8), "no", size=15)
    figure.set_label(
        "Five questions from top to bottom, each with a diagnosis and a remedy. A floor or "
        "gamma < 1, with -ELBO and NLL worse than without: remove or lower it. A stranger's z"
        " costs (almost) nothing, collapse: the decoder does without z; drop z, warm up, or "
        "floor the total. R far above the information: lower the floor, or set one for the "
        "total. -ELBO worse than the baseline's, NLL not: drop the floor, train the encoder "
        "further. Some KL near 0, unused dimensions: fit a noise that was set by hand, else "
        "leave or prune them. Five times no: none of these."
    )
    return figure


CASES = (
    (
        "Does a floor, or $\\gamma < 1$,\nmake $-$ELBO and NLL worse?",
        "an expensive floor",
        "remove or lower it",
    ),
    (
        "Does a stranger's $z$\ncost (almost) nothing?",
        "collapse: the decoder\ndoes without $z$",
        "no code needed: drop $z$\nlikelihood: warm up\ncode: warm up, or floor the total",
    ),
    (
        "Is $R$ far above the information,\nand that below its ceiling?",
        "wasted nats: $q(z)$\nis far from $p(z)$",
        "lower the floor, or\nuse one for the total",
    ),
    (
        "Did $-$ELBO get worse,\nbut not the NLL?",
        "a wider gap:\nblame the encoder",
        "drop the floor, train the\nencoder on; then enrich $q$",
    ),
    (
        "Are some KL$_d$ near 0?",
        "unused dimensions:\na saving at this noise",
        "fit a hand-set $s$ (MSE) first;\nelse leave them",
    ),
)


# ---------------------------------------------------------------------------------------- the files

FIGURES = {
    "vae-graphical-model": graphical_model,
    "vae-architecture": vae_architecture,
    "reparameterization-trick": reparameterization,
    "soft-free-bits-controller": controller,
    "symptom-diagnosis-remedy": remedies,
}


def write_all(folder: Path) -> list[Path]:
    """Write every figure as a PNG, with the first line of its docstring as description.

    Args:
        folder: where to; made if it does not exist.

    Returns:
        the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        figure = draw()
        paths.append(folder / f"{name}.png")
        about = (draw.__doc__ or name).splitlines()[0].removeprefix("Draw ")
        figure.savefig(paths[-1], dpi=150, metadata={"Description": about, "Software": None})
        plt.close(figure)
    return paths
