"""The page without a kernel holds decoder, ranking and digits; tests/browser runs it."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
import torch

from vaelab import VAE, RowGRUVAE, evaluate
from vaelab.kernelfree import kernel_free_page


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def halves(letters: str, *shape: int) -> torch.Tensor:
    numbers = np.frombuffer(base64.b64decode(letters), dtype="<f2").astype(np.float32)
    return torch.from_numpy(numbers).view(*shape)


def test_the_page_asks_for_nothing(vae, digits):
    page = kernel_free_page(vae, digits)
    assert re.findall(r"(?:src|href)\s*=|https?:|url\(|import\s|fetch\(", page) == []
    assert "{{" not in page


def test_the_page_of_the_lessons_model_is_below_a_megabyte(digits):
    assert len(kernel_free_page(VAE(), digits).encode()) < 1_000_000


def test_the_weights_are_those_of_the_decoder(vae, digits):
    data = data_of(kernel_free_page(vae, digits))
    z = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    h = torch.relu(z @ halves(data["w1"], 64, 8).T + halves(data["b1"], 64))
    means = torch.sigmoid(h @ halves(data["w2"], 784, 64).T + halves(data["b2"], 784))
    assert (means - vae.decode(z).sigmoid()).abs().max() < 1e-2


def test_ranking_labels_and_digits(vae, digits):
    data = data_of(kernel_free_page(vae, digits, per_class=3, used=4, dead=1))
    kl = evaluate(vae, digits.test).kl_per_dim
    order = kl.argsort(descending=True).tolist()
    assert data["dims"] == order[:4] + order[-1:]
    assert data["labels"][0] == f"z[{order[0]}]: {kl[order[0]]:.2f} nats"
    images = np.frombuffer(base64.b64decode(data["images"]), np.uint8).reshape(30, 784)
    rows = (digits.test_labels == 7).nonzero().flatten()[:3]
    assert np.abs(images[21:24] / 255 - digits.test[rows].numpy()).max() < 1e-3
    mu, _ = vae.encode(digits.test[rows])
    assert (halves(data["mu"], 30, 8)[21:24] - mu).abs().max() < 1e-2


def test_what_the_page_cannot_hold_is_refused(vae, digits):
    with pytest.raises(TypeError, match="decoder of a VAE, got RowGRUVAE"):
        kernel_free_page(RowGRUVAE(latent_dim=2, hidden_dim=4), digits)
    with pytest.raises(ValueError, match="101 test images of digit 0 are needed, got 100"):
        kernel_free_page(vae, digits, per_class=101)
    with pytest.raises(ValueError, match=r"the weights take .* letters, at most 1,000,000"):
        kernel_free_page(VAE(hidden_dim=600), digits)
    with pytest.raises(ValueError, match="from 0 to 255"):
        kernel_free_page(vae, digits._replace(test=digits.test * 255))
