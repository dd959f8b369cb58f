"""The pictures of the README: ``python -m vaelab.figures`` trains one model and draws them.

The drawn diagrams come from :mod:`vaelab.diagrams`; tools/explorer_page.py makes the moving one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from . import diagrams, plotting
from .data import Digits, load_mnist
from .model import VAE
from .training import fit

COLUMNS = 12


def reconstructions_and_samples(model: VAE, digits: Digits, seed: int = 0) -> Figure:
    """Test digits, what the model makes of them, and digits that never were.

    Args:
        model: a trained VAE.
        digits: the first test images are shown.
        seed: of the posterior and prior samples.

    Returns:
        The Figure, three rows of images.
    """
    shown = digits.test[:COLUMNS]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        rows = {
            "test digits": shown,
            "reconstructed": model(shown).logits.sigmoid(),
            "new, from the prior": model.sample(COLUMNS),
        }
    figure, ax = plt.subplots(figsize=(16, 4))
    plotting.image_rows(rows, ax=ax)
    return figure


def first_lesson_model(digits: Digits) -> VAE:
    """Train the model of lesson 1: the same seed, the same 3,000 steps.

    Args:
        digits: the bundled ones, if it is to be the same model.

    Returns:
        The trained model.
    """
    torch.manual_seed(0)
    model = VAE()
    fit(model, digits)
    return model


def main(folder: Path) -> None:
    """Draw everything that the README shows.

    Args:
        folder: where the PNG files go.
    """
    plotting.use_style()
    paths = diagrams.write_all(folder)
    digits = load_mnist("5k")
    model = first_lesson_model(digits)
    paths.append(folder / "reconstructions_and_samples.png")
    reconstructions_and_samples(model, digits).savefig(paths[-1])
    plt.close("all")
    print("\n".join(str(path) for path in paths))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("figures"))
