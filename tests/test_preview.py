"""The animation shows what the explorer decodes, slider by slider."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.animation import PillowWriter
from PIL import Image

import vaelab.preview as module
from notebook_tools import ROOT
from vaelab import evaluate
from vaelab.preview import FRAMES, MOVED, preview


def test_the_animation_moves_what_the_decoder_listens_to(vae, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 5)  # no two of a swing are alike
    kl = evaluate(vae, digits.test).kl_per_dim
    dead = int(kl.argmin())
    with torch.no_grad():
        vae.from_latent.weight.mul_(4)  # to the others so well that a short training cannot hide it
        vae.from_latent.weight[:, dead] = 0  # the decoder does not listen to it at all
    target = tmp_path / "preview.gif"
    preview(vae, digits).save(target, writer=PillowWriter(fps=11))
    with Image.open(target) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.array(film.convert("L"))[40:250, 590:795])  # the decoded image
    assert len(frames) == MOVED * 5
    moved = [len({f.tobytes() for f in frames[i : i + 5]}) for i in range(0, len(frames), 5)]
    assert min(moved[:-1]) > 2
    assert moved[-1] == 1


def test_the_animation_of_the_readme_is_whole_and_small():
    target = ROOT / "figures" / "latent_explorer.gif"
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        assert film.n_frames == MOVED * FRAMES
