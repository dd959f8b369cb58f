"""What a lesson's cells are helped with: sources, tables and the line of versions."""

from __future__ import annotations

import ast
import inspect
import platform

import pytest
import torch

from vaelab import VAE, fit, gaussian_kl
from vaelab.lesson import pick_device, show_source, table, versions


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


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch):
    start = f"Python {platform.python_version()}, vaelab 0."
    for device, end in (("cuda", "on the GPU"), ("cpu", "on one thread of the CPU")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda device=device: device == "cuda")
        assert pick_device() == device
        assert versions().startswith(start) and versions().endswith(f"; training {end}")
        assert f"torch {torch.__version__.split('+')[0]}" in versions()
