"""A browser, JupyterLab and the page of a lesson, for tests that do what a student does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

import editions
import pages
from front_end import CELLS, LAPTOP, SETUP, chromium
from notebook_tools import code, lesson, text

SLOW = 120_000  # milliseconds; a busy two-core machine is the slowest that must pass
EQUATION = r"$$ \log p(x) = \mathrm{ELBO} + \mathrm{KL} \tag{1.1} $$"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=SLOW)
    with chromium() as browser:
        yield browser


@pytest.fixture
def errors() -> list[str]:
    """The errors on the page's console; those that are here at the end fail the test."""
    return []


@pytest.fixture
def page(browser: Browser, errors: list[str]) -> Iterator[Page]:
    """A new page on a laptop; an error on its console fails the test."""
    page = browser.new_page(viewport=LAPTOP)
    page.set_default_timeout(SLOW)

    def note(message: ConsoleMessage) -> None:
        said = f"{message.text} ({message.location.get('url')})"
        # MathJax asks for a font at about:blank too, which a page in a file may not load.
        if message.type == "error" and "about:blank" not in said:
            errors.append(said)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lesson with an equation, all six explorers and a long cell."""
    long = "\n".join(f"number_{i} = {i}" for i in range(60))
    path = tmp_path_factory.mktemp("six") / "01_six.ipynb"
    cells = [code(cell) for cell in (SETUP.strip(), *CELLS.values(), long)]
    nbformat.write(lesson(text("# Six"), text(f"## First\n\n{EQUATION}"), *cells), path)
    return path


@pytest.fixture(scope="session")
def lesson_page(six: Path) -> Path:
    """The page of that lesson."""
    (six.parent / "html").mkdir()
    pages.copy_mathjax(six.parent / "html")
    return pages.page(six, six.parent / "html")


@pytest.fixture(scope="session")
def deck(six: Path, lesson_page: Path) -> Path:
    """Its slides, with reveal.js where that was fetched; without, all lie below one another."""
    pages.run(six)  # as committed: pictures
    folder = lesson_page.parent / "slides"
    folder.mkdir()
    if editions.REVEAL.exists():
        editions.copy_reveal(folder)
    return editions.slides(six, folder)


@pytest.fixture
def live(page: Page, lesson_page: Path) -> Iterator[Page]:
    """That page in a browser; it may ask for nothing that does not lie beside it."""
    asked = []
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(lesson_page.as_uri())
    expect(page.locator(".vaelab-explorer")).to_have_count(6)
    yield page
    assert set(asked) <= {"file", "blob", "data", "about"}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab with settings of its own: its address and the folder that it shows."""
    home = tmp_path_factory.mktemp("lab")
    folder, log = home / "notebooks", home / "lab.log"
    folder.mkdir()
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    # No question about news, which would need the network and lie above the notebook.
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    own = {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython")}
    for kind in ("_CONFIG", "_DATA", "_RUNTIME", "LAB_WORKSPACES"):
        own[f"JUPYTER{kind}_DIR"] = str(home / kind)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = [f"--port={port}", "--no-browser", "--IdentityProvider.token=", "--allow-root"]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"]
    with log.open("w") as output:
        server = subprocess.Popen(
            command, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + SLOW / 1000
        while not re.search(r"http://127\.0\.0\.1:\d+/lab", log.read_text()):
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.terminate()
        server.wait(30)
