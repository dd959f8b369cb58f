"""A browser, JupyterLab and the page of a lesson, for tests that do what a student does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from playwright.sync_api import expect

import editions
import pages
from front_end import CELLS, LAPTOP, SETUP, chromium, missing
from notebook_tools import code, lesson, text

SLOW = 120_000  # milliseconds; a busy two-core machine is the slowest that must pass
EQUATION = r"$$ \log p(x) = \mathrm{ELBO} + \mathrm{KL} \tag{1.1} $$"


@pytest.fixture(scope="session")
def browser():
    expect.set_options(timeout=SLOW)
    with chromium() as browser:
        yield browser


@pytest.fixture
def errors():
    """The errors on the page's console; those that are here at the end fail the test."""
    return []


@pytest.fixture
def page(browser, errors):
    """A new page on a laptop; an error on its console fails the test."""
    page = browser.new_page(viewport=LAPTOP)
    page.set_default_timeout(SLOW)

    def note(message):
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
def six(tmp_path_factory):
    """A lesson with an equation, all six explorers and a long cell."""
    path = tmp_path_factory.mktemp("six") / "01_six.ipynb"
    cells = [code(cell) for cell in (SETUP.strip(), *CELLS.values(), 60 * "number = 1\n")]
    nbformat.write(lesson(text("# Six"), text(f"## First\n\n{EQUATION}"), *cells), path)
    return path


@pytest.fixture(scope="session")
def lesson_page(six):
    """The page of that lesson."""
    (six.parent / "html").mkdir()
    pages.copy_mathjax(six.parent / "html")
    return pages.page(six, six.parent / "html")


@pytest.fixture(scope="session")
def deck(six, lesson_page):
    """Its slides."""
    if not editions.REVEAL.exists():
        missing("no reveal.js yet, which make slides fetches")
    pages.run(six)  # as committed: pictures
    folder = lesson_page.parent / "slides"
    editions.copy_reveal(folder)
    return editions.slides(six, folder)


@pytest.fixture
def live(page, lesson_page):
    """That page in a browser; it may ask for nothing that does not lie beside it."""
    asked = []
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(lesson_page.as_uri())
    expect(page.locator(".vaelab-explorer")).to_have_count(6)
    yield page
    assert set(asked) <= {"file", "blob", "data", "about"}


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab with settings of its own: its address and the folder that it shows."""
    home = tmp_path_factory.mktemp("lab")
    (folder := home / "notebooks").mkdir()
    # No question about news, which would need the network and lie above the notebook.
    settings = home / "LAB_SETTINGS" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    kinds = ("_CONFIG", "_DATA", "_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")
    own = {f"JUPYTER{kind}_DIR": str(home / kind) for kind in kinds}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = [f"--port={port}", "--no-browser", "--IdentityProvider.token=", "--allow-root"]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"]
    env = os.environ | own | {"IPYTHONDIR": str(home / "ipython")}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + SLOW / 1000
        while f":{port}/lab" not in (said := (home / "log").read_text()):
            assert server.poll() is None and time.monotonic() < end, said[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.terminate()
        server.wait(30)
