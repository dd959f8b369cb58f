"""Nothing here reaches for the network by itself: neither an import nor what the lessons call."""

from __future__ import annotations

import subprocess
import sys

REFUSE = """
import socket, sys

def refuse(*_, **__):
    raise AssertionError("the network was asked for")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.create_connection = refuse
"""
USE = """
import torch, vaelab, vaelab.plotting, vaelab.diagrams, vaelab.lesson, vaelab.results
import vaelab.widgets
digits = vaelab.load_mnist()
model = vaelab.VAE(latent_dim=2, hidden_dim=4)
vaelab.fit(model, digits, steps=2, evaluations=1, progress=False)
print(vaelab.lesson.versions())
vaelab.results.load_results()
vaelab.widgets.LatentExplorer(model, digits).snapshot()
vaelab.save("model.pt", model)
vaelab.load("model.pt")
print("done")
"""
ASK = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')"


def test_the_package_works_without_a_network(tmp_path):
    for program, returned, said in ((USE, 0, "done\n"), (ASK, 1, "the network was asked for\n")):
        command = [sys.executable, "-c", REFUSE + program]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert run.returncode == returned and (run.stdout or run.stderr).endswith(said), run.stderr
