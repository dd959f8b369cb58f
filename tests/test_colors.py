"""The palette stays apart for eyes that lack a kind of cone.

Simulation: Machado, Oliveira and Fernandes 2009, Table 1, severity 1, on linear RGB. Distance: CIE
1976 Delta E in L*a*b*, of which about 2.3 is a just noticeable difference.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib import color_sequences
from matplotlib.colors import to_hex, to_rgb

from vaelab import plotting

CONES = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # sRGB, IEC 61966-2-1
APART = 4 * 2.3


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = TO_XYZ @ rgb / TO_XYZ.sum(axis=1)
    f = [t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colors: list[str], cones: str) -> tuple[float, str, str]:
    """The two colors that are the hardest to tell apart, and their distance."""
    seen = {c: lab(np.clip(np.array(CONES[cones]) @ linear(c), 0, 1)) for c in colors}
    pairs = combinations(colors, 2)
    return min((float(np.linalg.norm(seen[a] - seen[b])), a, b) for a, b in pairs)


@pytest.mark.parametrize("cones", CONES)
def test_the_palette_stays_apart(cones: str) -> None:
    assert closest(plotting.CYCLE, cones)[0] > APART
    if cones in ("protanopia", "deuteranopia"):  # where matplotlib's own colors do not
        assert closest([to_hex(color) for color in color_sequences["tab10"]], cones)[0] < APART


def test_the_number_on_the_elbo_bar_can_be_read() -> None:
    luminance = TO_XYZ[1] @ linear(plotting.COLORS["elbo"])
    assert 1.05 / (luminance + 0.05) >= 4.5  # white on the bar, WCAG AA
