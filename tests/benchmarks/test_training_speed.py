"""Training, evaluation and the bound, beside the matrix products that they cannot do without.

Both sides of a ratio are timed in turn, round by round, so that whatever else the machine does
falls on both. The floor holds the products of the same shapes and nothing else: no bias, no
nonlinearity, no loss, no optimiser, no gathering of images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaelab import VAE, evaluate, fit, iw_log_likelihood

BATCH, EPOCH = 128, 60_000 // 128
SAMPLES = 100


def ratio(benchmark, ours: Callable, reference: Callable, rounds: int) -> float:
    """Median over the rounds of the time of ours over that of the reference."""
    references = []

    def time_reference() -> None:
        start = time.perf_counter()
        reference()
        references.append(time.perf_counter() - start)

    benchmark.pedantic(ours, setup=time_reference, rounds=rounds, warmup_rounds=1)
    pairs = zip(benchmark.stats.stats.data, references[1:])  # the first belongs to the warm-up
    return median(mine / other for mine, other in pairs)


# --- the floor ----------------------------------------------------------------------------------


def weights(model: VAE) -> list[Tensor]:
    """The five matrices, (out, in) each."""
    layers = (model.from_data, model.to_mu, model.to_logvar, model.from_latent, model.to_logits)
    return [layer.weight.detach() for layer in layers]


def forward_products(model: VAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, P) -> the four activations, through the products alone."""
    data, mu, logvar, latent, logits = weights(model)
    h = x @ data.T  # (B, H)
    z, _ = h @ mu.T, h @ logvar.T  # (B, D), (B, D)
    g = z @ latent.T  # (B, H)
    return h, z, g, g @ logits.T


def step_products(model: VAE, x: Tensor) -> None:
    """Forward; backward to every weight and to every input but x."""
    _, mu, logvar, latent, logits = weights(model)
    h, z, g, out = forward_products(model, x)
    out.T @ g, out @ logits  # (P, H), (B, H)
    g.T @ z, g @ latent  # (H, D), (B, D)
    z.T @ h, z @ mu, z.T @ h, z @ logvar  # (D, H), (B, H), twice
    h.T @ x  # (H, P)


def epoch_of_products(model: VAE, x: Tensor) -> None:
    """As many steps as sixty thousand images have."""
    for _ in range(EPOCH):
        step_products(model, x)


def bound_products(model: VAE, images: Tensor, samples: int, rows: int) -> None:
    """Encode each image once, decode each of its samples, in pieces of as many rows."""
    _, _, _, latent, logits = weights(model)
    for x in images.split(250):
        _, z, _, _ = forward_products(model, x)
        for _ in range(samples // (rows // len(x))):
            z.repeat(rows // len(x), 1) @ latent.T @ logits.T


# --- the loop of the original -------------------------------------------------------------------


class Pictures(Dataset):
    """Bytes that become an image and then a tensor, one by one, as torchvision's MNIST does."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.data = (images * 255).byte().view(-1, 28, 28)
        self.labels, self.transform = labels, ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.data[i].numpy())
        return self.transform(image), int(self.labels[i])


def epoch_of_the_original(model: VAE, loader: DataLoader) -> None:
    """Sigmoid, then binary cross-entropy, summed; plain Adam; the loss fetched at every step."""
    optimizer, total = torch.optim.Adam(model.parameters(), lr=1e-3), 0.0
    for data, _ in loader:
        optimizer.zero_grad()
        x = data.view(-1, 784)
        h = F.relu(model.from_data(x))
        mu, logvar = model.to_mu(h), model.to_logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        mean = torch.sigmoid(model.to_logits(F.relu(model.from_latent(z))))
        rate = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = F.binary_cross_entropy(mean, x, reduction="sum") + rate
        loss.backward()
        total += loss.item()
        optimizer.step()


# --- measured -----------------------------------------------------------------------------------


def test_training_against_its_matrix_products(benchmark, row, many, threads):
    model, x = VAE(), many.train[:BATCH]

    def ours() -> None:
        fit(model, many, steps=EPOCH, evaluations=1, threads=None)

    value = ratio(benchmark, ours, lambda: epoch_of_products(model, x), rounds=5)
    row(f"training / its products, {threads} thread(s)", value, "times", at_most=1.6)
    milliseconds = 1000 * median(benchmark.stats.stats.data) / EPOCH
    row(f"training, {threads} thread(s)", milliseconds, "ms per step")


def test_training_against_the_loop_of_the_original(benchmark, row, many):
    torch.set_num_threads(torch.multiprocessing.cpu_count())  # as PyTorch does by itself
    loader = DataLoader(
        Pictures(many.train, many.train_labels), batch_size=BATCH, shuffle=True, num_workers=1
    )

    def original() -> None:
        epoch_of_the_original(VAE(), loader)

    def ours() -> None:
        fit(VAE(), many, steps=EPOCH, evaluations=1, threads=None)

    value = ratio(benchmark, original, ours, rounds=2)
    seconds = median(benchmark.stats.stats.data)
    model, x = VAE(), many.train[:BATCH]
    floor = min(timeit.repeat(lambda: epoch_of_products(model, x), number=1, repeat=3))
    torch.set_num_threads(1)
    row("loop of the original / training, an epoch", value, "times", at_least=6)
    row("  / its products alone, which no loop can beat", seconds / floor, "times")
    row("loop of the original, an epoch", seconds, "s")


def test_evaluation_against_its_matrix_products(benchmark, row, many):
    model, images = VAE(), many.train[:10_000]
    size = signature(evaluate).parameters["batch_size"].default

    def products() -> None:
        for x in images.split(size):
            forward_products(model, x)

    value = ratio(benchmark, lambda: evaluate(model, images), products, rounds=15)
    row("evaluation / its products, 1 thread", value, "times", at_most=1.3)


def test_the_bound_against_its_matrix_products(benchmark, row, many):
    model, images = VAE(), many.test
    rows = signature(iw_log_likelihood).parameters["rows"].default
    value = ratio(
        benchmark,
        lambda: iw_log_likelihood(model, images, SAMPLES),
        lambda: bound_products(model, images, SAMPLES, rows),
        rounds=9,
    )
    row(f"bound, k = {SAMPLES} / its products, 1 thread", value, "times", at_most=1.3)


@contextmanager
def busy_process() -> Iterator[None]:
    """Something else that wants a core the whole time."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("count", [1, None], ids=["one thread", "PyTorch's number of threads"])
def test_a_training_step_beside_a_busy_process(count, benchmark, row, many):
    torch.set_num_threads(os.cpu_count())  # what a notebook starts with; `fit` takes one by itself

    def steps() -> None:
        fit(VAE(), many, steps=100, evaluations=1, progress=False, threads=count)

    def beside() -> None:
        with busy_process():
            steps()

    value = ratio(benchmark, beside, steps, rounds=5)
    torch.set_num_threads(1)
    target = {"at_most": 1.3} if count == 1 else {}
    name = f"{count} thread" if count else f"{os.cpu_count()} threads"
    row(f"a step beside a busy process / idle, {name}", value, "times", **target)
    busy = 1000 * median(benchmark.stats.stats.data) / 100
    row("  idle", busy / value, "ms per step")
    row("  beside a busy process", busy, "ms per step")
