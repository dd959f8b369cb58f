"""Draw the pictures of the README and write the explorer's page: `make figures`.

The drawn diagrams come from `vaelab.diagrams`, the explorer's page and its moving picture from
`explorer_page`. One model is trained for all of them, that of lesson 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from explorer_page import write
from vaelab import VAE, Digits, diagrams, fit, load_mnist, plotting
from vaelab.training import evaluation_images

ROOT = Path(__file__).resolve().parent.parent
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
    fit(model, digits, binarize=True)
    return model


def draw(folder: Path) -> list[Path]:
    """Draw everything that the README shows, and write the explorer as a page.

    Args:
        folder: where the files go.

    Returns:
        The files.
    """
    plotting.use_style()
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "reconstructions_and_samples.png"
    diagram_paths = diagrams.write_all(folder)
    digits = load_mnist("5k")
    model = first_lesson_model(digits)
    digits = digits._replace(test=evaluation_images(digits, binarize=True))  # as in the lessons
    reconstructions_and_samples(model, digits).savefig(picture)
    plt.close("all")
    return [*diagram_paths, picture, *write(model, digits, folder)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "figures")
    for path in draw(parser.parse_args().folder):
        print(f"    {path}")


if __name__ == "__main__":
    main()
