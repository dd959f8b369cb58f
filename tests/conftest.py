"""What several test files share. Whoever wants to change one of these must copy it first."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # the process that only hands out the tests starts without PyTorch, sooner
    from vaelab import VAE, Digits, History

# The same examples in every run, and no red test because a machine is slow.
settings.register_profile("vaelab", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("vaelab")

# conda's environment has no Playwright; CI, which must try the pages, has it from the test extra.
collect_ignore = [] if find_spec("playwright") else ["browser"]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The bundled digits: 4,000 to train on, 1,000 to test on."""
    from vaelab import load_mnist

    return load_mnist("5k")


@pytest.fixture(scope="session")
def few(digits: Digits) -> Digits:
    """203 training and 77 test images: no round number, so that no batch size divides them."""
    from vaelab import Digits

    return Digits(
        digits.train[:203],
        digits.train_labels[:203],
        digits.test[:77],
        digits.test_labels[:77],
        "a few digits",
    )


@pytest.fixture(scope="session")
def trained(digits: Digits) -> tuple[VAE, History]:
    """A small VAE after 300 steps on the bundled digits: seconds, and better than chance."""
    import torch

    from vaelab import VAE, fit

    torch.manual_seed(0)
    model = VAE(latent_dim=8, hidden_dim=64)
    return model, fit(model, digits, steps=300, evaluations=3, progress=False)


@pytest.fixture
def vae(trained: tuple[VAE, History]) -> VAE:
    """A copy of the small trained VAE, for a test to do with as it likes."""
    return copy.deepcopy(trained[0])


@pytest.fixture(autouse=True, scope="session")
def _one_core_is_enough() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MB, which a test can fill or make read-only."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "vaelab-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk: mounting one needs Linux and its administrator")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
