"""The page and the moving picture of the README show the latent explorer of a model."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from PIL import Image

import explorer_page
from notebook_tools import ROOT
from vaelab.widgets import LatentExplorer

FRAMES = len(explorer_page.STROKE) + 4 * 14  # a digit is drawn, then four sliders swing


def test_the_page_is_the_explorers_with_a_title_and_words(vae, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_page, "animation", lambda page: [])  # tests/browser starts one
    (page,) = explorer_page.write(vae, digits, tmp_path)
    html = page.read_text("utf-8")
    assert html.count(explorer_page.TITLE) == 2 and "no network" in html
    state = json.loads(re.search(r'data-part="state">(.*?)</script>', html, re.DOTALL)[1])
    assert state["values"] == LatentExplorer(vae, digits).values


def test_frames_become_a_film_and_that_of_the_readme_is_whole_and_small(tmp_path):
    frames = [Image.new("RGB", (960, 480), "white") for _ in range(3)]
    for place, frame in enumerate(frames):
        frame.paste("black", (100 * place, 0, 100 * place + 50, 480))
    explorer_page.write_animation(frames, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3 and film.size == (720, 360)
    target = ROOT / "figures" / "latent_explorer.gif"
    assert target.stat().st_size < 1_500_000
    with Image.open(target) as film:
        assert 0.8 * FRAMES <= film.n_frames <= FRAMES  # equal frames in a row are stored as one


def test_without_a_browser_the_film_stays_and_without_its_heading_a_page_is_refused(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(explorer_page.shutil, "which", lambda name: None)
    assert explorer_page.animation(tmp_path / "page.html") == []
    assert "stays as it is" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold <h1>Latent Explorer</h1>"):
        explorer_page.explorer_page(SimpleNamespace(page=lambda: "<h1>Another</h1>"))
