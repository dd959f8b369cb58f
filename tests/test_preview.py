"""The animation shows what the explorer decodes, slider by slider."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.animation import PillowWriter
from PIL import Image

from vaelab import evaluate
from vaelab.preview import FRAMES, MOVED, preview


def test_the_animation_is_small_and_moves(vae, digits, tmp_path):
    kl = evaluate(vae, digits.test).kl_per_dim
    dead = int(kl.argmin())
    with torch.no_grad():
        vae.from_latent.weight[:, dead] = 0  # the decoder does not listen to it at all
    target = tmp_path / "preview.gif"
    preview(vae, digits).save(target, writer=PillowWriter(fps=11))
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.array(film.convert("L"))[40:250, 590:795])  # the decoded image
    assert len(frames) == MOVED * FRAMES
    moved = [
        len({f.tobytes() for f in frames[i : i + FRAMES]}) for i in range(0, len(frames), FRAMES)
    ]
    assert min(moved[:-1]) > FRAMES // 2
    assert moved[-1] == 1
