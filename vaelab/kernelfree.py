"""The latent explorer as a page that needs no kernel: the decoder runs in the browser.

``python -m vaelab.kernelfree explorer.html`` trains the model of the first lesson on the bundled
digits and writes the page. The program that the page runs is ``explorer.html`` beside this file.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_images
from .data import Digits, load_mnist
from .diagnostics import encode_all
from .figures import first_lesson_model
from .losses import gaussian_kl
from .model import VAE
from .widgets import Z_STEP, dimension_label, most_and_least

TEMPLATE = Path(__file__).with_name("explorer.html")
WEIGHT_LIMIT = 1_000_000  # base64 letters


def kernel_free_page(
    model: nn.Module, digits: Digits, *, per_class: int = 5, used: int = 8, dead: int = 2
) -> str:
    """Write a trained decoder and some test digits into one HTML page.

    Args:
        model: a trained VAE.
        digits: the first test images of each class are offered; KLs are averages over all of them.
        per_class: how many of each class.
        used: how many dimensions get a slider because their KL is large.
        dead: how many get one because it is small, for comparison.

    Returns:
        A page that loads nothing else. Weights are float16: a pixel is off by less than 1e-2.

    Raises:
        TypeError: if ``model`` is not a VAE, whose decoder is all that the page can run.
        ValueError: if the weights take more than 1 MB, or a class has too few test images.
    """
    if not isinstance(model, VAE):
        raise TypeError(f"the page can run the decoder of a VAE, got {type(model).__name__}")
    check_images(digits.test, "digits.test")
    mu, logvar = encode_all(model, digits.test)  # (N, D), (N, D)
    kl = gaussian_kl(mu, logvar).mean(dim=0)  # (D,)
    dims = most_and_least(kl, used, dead)
    data = {
        **_shapes(model),
        **_weights(model),
        **_examples(digits, mu, per_class),
        "dims": dims,
        "labels": [dimension_label(d, kl) for d in dims],
        "step": Z_STEP,
    }
    return TEMPLATE.read_text("utf-8").replace("{{DATA}}", json.dumps(data))


def _examples(digits: Digits, mu: Tensor, per_class: int) -> dict[str, Any]:
    """The first test images of each class, their mu, and how far a slider must reach."""
    classes = digits.test_labels.unique().tolist()
    rows = torch.cat([_first(digits.test_labels, digit, per_class) for digit in classes])
    return {
        "classes": classes,
        "perClass": per_class,
        "images": _base64((digits.test[rows] * 255).round().byte()),
        "mu": _base64(mu[rows].half()),
        "reach": max(3, math.ceil(float(mu[rows].abs().max()))),
    }


def _shapes(model: VAE) -> dict[str, int]:
    hidden, pixels = model.from_latent.out_features, model.data_dim
    side = math.isqrt(pixels)
    if side * side != pixels:
        raise ValueError(f"images must be square, got {pixels} pixels")
    return {"pixels": pixels, "hidden": hidden, "latent": model.latent_dim, "side": side}


def _weights(model: VAE) -> dict[str, str]:
    layers = {"1": model.from_latent, "2": model.to_logits}
    tensors = {f"w{i}": layer.weight for i, layer in layers.items()}
    tensors |= {f"b{i}": layer.bias for i, layer in layers.items()}
    letters = {name: _base64(tensor.detach().half()) for name, tensor in tensors.items()}
    size = sum(map(len, letters.values()))
    if size > WEIGHT_LIMIT:
        raise ValueError(f"the weights take {size:,} letters, at most {WEIGHT_LIMIT:,}")
    return letters


def _first(labels: Tensor, digit: int, count: int) -> Tensor:
    rows = (labels == digit).nonzero().flatten()[:count]  # (count,)
    if len(rows) < count:
        raise ValueError(f"{count} test images of digit {digit} are needed, got {len(rows)}")
    return rows


def _base64(tensor: Tensor) -> str:
    return base64.b64encode(tensor.cpu().contiguous().numpy().tobytes()).decode("ascii")


def main(target: Path) -> None:
    """Train the model of the first lesson and write its page.

    Args:
        target: the file to write.
    """
    digits = load_mnist("5k")
    model = first_lesson_model(digits)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(kernel_free_page(model, digits), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("explorer.html"))
