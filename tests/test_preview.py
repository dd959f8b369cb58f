"""The animation shows what the explorer decodes, slider by slider."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import vaelab.preview as module
from notebook_tools import ROOT
from vaelab import VAE, evaluate
from vaelab.preview import FRAMES, MOVED, preview


def listen(vae: VAE, dead: int) -> None:
    """Plant a decoder in which each dimension but one brightens three rows of pixels of its own."""
    with torch.no_grad():
        for layer in (vae.from_latent, vae.to_logits):
            layer.weight.zero_()
            layer.bias.zero_()
        vae.from_latent.bias += 10  # z + 10 is positive wherever a slider goes
        vae.to_logits.bias -= 3
        for d in set(range(vae.latent_dim)) - {dead}:
            vae.from_latent.weight[d, d] = 1
            vae.to_logits.weight[84 * d : 84 * (d + 1), d] = 0.3  # logits of 0.3 z: never saturated


def test_the_animation_moves_what_the_decoder_listens_to(vae, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 5)
    monkeypatch.setattr(FigureCanvasAgg, "draw_idle", lambda canvas: None)  # saving draws anyway
    listen(vae, dead=int(evaluate(vae, digits.test).kl_per_dim.argmin()))
    target = tmp_path / "preview.gif"
    preview(vae, digits).save(target, writer=PillowWriter(fps=11), dpi="figure")
    with Image.open(target) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            decoded = np.array(film.convert("L"))[40:250, 590:795]
            frames.append(decoded.astype(int))
    assert len(frames) == MOVED * 5
    moved = [np.ptp(frames[i : i + 5], axis=0).max() for i in range(0, len(frames), 5)]
    assert min(moved[:-1]) > 20 and moved[-1] <= 2  # of 256; a frame has a palette of its own


def test_the_animation_of_the_readme_is_whole_and_small():
    target = ROOT / "figures" / "latent_explorer.gif"
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        assert film.n_frames == MOVED * FRAMES
