"""What a lesson's cells are helped with: sources, tables and the line of versions."""

from __future__ import annotations

import ast
import inspect
import platform

import pytest
import torch

from vaelab import VAE, fit, gaussian_kl
from vaelab.lesson import as_committed, pick_device, show_source, table, versions


def code_of(*items, **options) -> str:
    fence, *lines, end = show_source(*items, **options).data.splitlines()
    assert (fence, end) == ("```python", "```")
    return "\n".join(lines)


@pytest.mark.parametrize("item", [VAE, fit, gaussian_kl])
def test_what_is_shown_is_the_live_source_without_its_docstrings(item):
    shown, tree = code_of(item), ast.parse(inspect.getsource(item))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:]
    assert ast.unparse(ast.parse(shown)) == ast.unparse(tree)
    assert '"""' not in shown and ":\n\n" not in shown


def test_comments_stay_docstrings_can_and_methods_begin_at_the_margin():
    assert "# (B, D)" in code_of(gaussian_kl)
    assert code_of(gaussian_kl, docstrings=True) == inspect.getsource(gaussian_kl).strip()
    names = [node.name for node in ast.parse(code_of(VAE.decode, VAE.encode)).body]
    assert names == ["decode", "encode"]  # in the order asked for


def test_a_table_rounds_floats_and_aligns_the_numbers():
    shown = table(["name", "nats"], [("a", 1.25), ("b", 2), ("c", "3.142")]).data
    assert shown == "| name | nats |\n| :-- | --: |\n| a | 1.2 |\n| b | 2 |\n| c | 3.142 |"


@pytest.mark.parametrize(
    "available, device, words",
    [(True, "cuda", "training on the GPU"), (False, "cpu", "training on one thread of the CPU")],
)
def test_the_device_is_a_gpu_where_there_is_one(monkeypatch, available, device, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device() == device
    assert versions().startswith(f"Python {platform.python_version()}, vaelab 0.")
    assert f"torch {torch.__version__.split('+')[0]}" in versions() and versions().endswith(words)


def test_a_changed_setting_is_said_in_one_line(capsys):
    assert as_committed(STEPS=(3000, 3000), digits=("few", "few"))
    assert capsys.readouterr().out == ""
    assert not as_committed(STEPS=(100, 3000), SEED=(0, 0), LATENT_DIM=(20, 50))
    said = capsys.readouterr().out
    assert said.startswith("STEPS is 100, not 3000; LATENT_DIM is 20, not 50: ")
    assert said.count("\n") == 1
