"""Training, evaluation and the bound, beside the matrix products that they cannot do without.

Both sides of a ratio are timed in turn, round by round, so that whatever else the machine does
falls on both. The floor is the products of a run, done again and nothing else: no bias, no
nonlinearity, no loss, no optimizer, no gathering of images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import timeit
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from vaelab import VAE, evaluate, fit, iw_log_likelihood

CORES, EPOCH = os.cpu_count(), 60_000 // 128  # steps


def ratio(benchmark, ours, reference, rounds):
    """Median over the rounds of the time of ours over that of the reference."""
    references = []
    setup = lambda: references.append(timeit.timeit(reference, number=1))  # noqa: E731
    benchmark.pedantic(ours, setup=setup, rounds=rounds, warmup_rounds=1)
    pairs = zip(benchmark.stats.stats.data, references[1:])  # the first belongs to the warm-up
    return median(mine / other for mine, other in pairs)


class Products(TorchDispatchMode):
    """Keep the factors of every matrix product; those of one shape and layout share them."""

    def __init__(self):
        super().__init__()
        self.kept, self.pairs = {}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.pairs.append([self.kept.setdefault((f.shape, f.stride()), f) for f in args[-2:]])
        return func(*args, **(kwargs or {}))

    @torch.no_grad()
    def again(self):
        for left, right in self.pairs:
            left @ right


def epoch(model, many):
    """Train for an epoch, with the number of threads that is set."""
    fit(model, many, steps=EPOCH, evaluations=1, threads=None)


BESIDE = {  # what is timed, how often, and at most how many times its products
    "training": (epoch, 5, 1.6),
    "evaluation": (lambda model, many: evaluate(model, many.train[:10_000]), 15, 1.3),
    "bound, k = 100": (lambda model, many: iw_log_likelihood(model, many.test, 100), 9, 1.3),
}


# what measures computes with one thread, whatever is set
@pytest.mark.parametrize("what, threads", [*((what, 1) for what in BESIDE), ("training", CORES)])
def test_beside_its_matrix_products(what, threads, benchmark, row, many):
    ours, rounds, at_most = BESIDE[what]
    with Products() as floor:
        ours(VAE(), many)
    torch.set_num_threads(threads)
    value = ratio(benchmark, lambda: ours(VAE(), many), floor.again, rounds)
    row(f"{what} / its products, {threads} thread(s)", value, "times", at_most=at_most)
    row(f"  {what}, {threads} thread(s)", median(benchmark.stats.stats.data), "s")


def epoch_of_the_original(model, loader):
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


def test_training_beside_the_loop_of_the_original(benchmark, row, many):
    pictures = MNIST.__new__(MNIST)  # bytes become an image, then a tensor; no file is needed
    pictures.data, pictures.targets = (many.train * 255).byte().view(-1, 28, 28), many.train_labels
    pictures.transform, pictures.target_transform = ToTensor(), None
    loader = DataLoader(pictures, batch_size=128, shuffle=True, num_workers=1)
    with Products() as floor:
        epoch(VAE(), many)
    torch.set_num_threads(CORES)  # as PyTorch does by itself
    original = lambda: epoch_of_the_original(VAE(), loader)  # noqa: E731
    value = ratio(benchmark, original, lambda: epoch(VAE(), many), rounds=2)
    seconds = median(benchmark.stats.stats.data)
    products = min(timeit.repeat(floor.again, number=1, repeat=3))
    row("loop of the original / training, an epoch", value, "times", at_least=6)
    row("  / its products alone, which no loop can beat", seconds / products, "times")
    row("loop of the original, an epoch", seconds, "s")


@pytest.mark.parametrize("count", [1, None])  # None: as many as PyTorch takes by itself
def test_a_training_step_beside_a_busy_process(count, benchmark, row, many):
    torch.set_num_threads(CORES)  # what a notebook starts with; `fit` takes one by itself

    def steps():
        fit(VAE(), many, steps=100, evaluations=1, progress=False, threads=count)

    def beside():
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            try:
                steps()
            finally:
                other.kill()

    value = ratio(benchmark, beside, steps, rounds=5)
    busy = 1000 * median(benchmark.stats.stats.data) / 100
    target = {"at_most": 1.3} if count == 1 else {}
    row(f"a step beside a busy process / idle, {count or CORES} threads", value, "times", **target)
    row("  idle", busy / value, "ms per step")
    row("  beside a busy process", busy, "ms per step")
