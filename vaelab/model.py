"""Two variational autoencoders: a plain one, and one whose decoder could do without z."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_columns, check_range, check_sizes, check_x_and_z
from .losses import bernoulli_nll

LOGVAR_BOUND = 15.0  # sigma between 5.5e-4 and 1.8e3: far beyond what a trained encoder uses


class VAEOutput(NamedTuple):
    """What one pass through a VAE gives.

    Attributes:
        logits: (B, P) log-odds of each pixel, before the sigmoid.
        mu: (B, D) means of q(z|x).
        logvar: (B, D) log sigma^2 of q(z|x).
        z: (B, D) one sample of q(z|x).
    """

    logits: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor


class VAE(nn.Module):
    """A multilayer perceptron on each side of a diagonal Gaussian.

    Args:
        latent_dim: D, the number of latent dimensions.
        hidden_dim: width of the one hidden layer on each side.
        data_dim: P, pixels per image.

    Raises:
        ValueError: if a size is not a positive integer.

    Source:
        Kingma and Welling (2014), Appendix C.
    """

    def __init__(self, latent_dim: int = 50, hidden_dim: int = 400, data_dim: int = 784) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim, data_dim=data_dim)
        self.latent_dim, self.hidden_dim, self.data_dim = latent_dim, hidden_dim, data_dim
        self.from_data = nn.Linear(data_dim, hidden_dim)
        self.to_mu = nn.Linear(hidden_dim, latent_dim)
        self.to_logvar = nn.Linear(hidden_dim, latent_dim)
        self.from_latent = nn.Linear(latent_dim, hidden_dim)
        self.to_logits = nn.Linear(hidden_dim, data_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """q(z|x) of each image.

        Args:
            x: (B, P) pixels in [0, 1].

        Returns:
            mu (B, D) and logvar (B, D), the log of sigma^2.

        Raises:
            TypeError, ValueError: if ``x`` is not a float tensor (B, P).
        """
        check_columns("x", x, self.data_dim, stacked=False)
        h = F.relu(self.from_data(x))  # (B, H)
        return self.to_mu(h), soft_bound(self.to_logvar(h))  # (B, D), (B, D)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """A sample of q(z|x) through which gradients flow, in train and eval mode alike.

        Args:
            mu, logvar: (B, D).

        Returns:
            z (B, D) = mu + sigma * epsilon, epsilon ~ N(0, I).

        Raises:
            TypeError, ValueError: if they are not float tensors (B, D) of one shape.

        Source:
            Kingma and Welling (2014), Section 2.4.
        """
        check_columns("mu", mu, self.latent_dim)
        check_columns("logvar", logvar, self.latent_dim, like=mu)
        std = torch.exp(0.5 * logvar)  # (B, D)
        return mu + std * torch.randn_like(std)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        """p(x|z) as log-odds of every pixel.

        Args:
            z: (..., B, D).

        Returns:
            logits (..., B, P), before the sigmoid.

        Raises:
            TypeError, ValueError: if ``z`` is not a float tensor (..., B, D).
        """
        check_columns("z", z, self.latent_dim)
        return self.to_logits(F.relu(self.from_latent(z)))  # (..., P)

    def forward(self, x: Tensor) -> VAEOutput:
        """Encode, sample, decode.

        Args:
            x: (B, P) pixels in [0, 1].

        Returns:
            logits (B, P), mu (B, D), logvar (B, D), z (B, D).
        """
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return VAEOutput(self.decode(z), mu, logvar, z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of each image.

        Args:
            x: (B, P) pixels in [0, 1].
            z: (..., B, D); leading dimensions hold several samples for each image.

        Returns:
            (..., B) nats.

        Raises:
            TypeError, ValueError: if they are not float tensors (B, P) and (..., B, D).
        """
        check_x_and_z(x, z, self.data_dim, self.latent_dim)
        return -bernoulli_nll(self.decode(z), x)  # (..., B)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Decode n draws from the prior.

        Args:
            n: how many, >= 1.

        Returns:
            (n, P) means of the pixels, in [0, 1]. They are means, not binary draws.
        """
        check_sizes(n=n)
        z = torch.randn(n, self.latent_dim).to(self.to_logits.weight)  # (n, D)
        return self.decode(z).sigmoid()  # (n, P)


class RowGRUVAE(nn.Module):
    """A VAE whose decoder reads the rows above before it predicts the next one.

    p(x|z) is a product over the 28 rows, p(row_t | rows before t, z); z enters only through the
    initial state of a GRU. Such a decoder models digits well without z, which makes this the
    smallest model here in which the posterior really collapses.

    Args:
        latent_dim: D, the number of latent dimensions.
        hidden_dim: width of the encoder's hidden layer and of the GRU.

    Raises:
        ValueError: if a size is not a positive integer.

    Source:
        Bowman et al. (2016), Section 3 (the recurrent decoder that ignores z), with rows of pixels
        in the place of words.
    """

    side = 28

    def __init__(self, latent_dim: int = 32, hidden_dim: int = 256) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim)
        self.latent_dim, self.hidden_dim, self.data_dim = latent_dim, hidden_dim, self.side**2
        self.from_data = nn.Linear(self.data_dim, hidden_dim)
        self.to_mu = nn.Linear(hidden_dim, latent_dim)
        self.to_logvar = nn.Linear(hidden_dim, latent_dim)
        self.from_latent = nn.Linear(latent_dim, hidden_dim)
        self.gru = nn.GRU(self.side, hidden_dim, batch_first=True)
        self.to_logits = nn.Linear(hidden_dim, self.side)

    encode: Any = VAE.encode  # the same encoder, line for line
    reparameterize: Any = VAE.reparameterize

    def decode_rows(self, x: Tensor, z: Tensor) -> Tensor:
        """The log-odds of every row, given the true rows above it.

        Args:
            x: (B, 784) binary pixels; row t of the result sees only the rows before t.
            z: (B, D).

        Returns:
            logits (B, 784).

        Raises:
            TypeError, ValueError: if they are not float tensors (B, 784) and (B, D).
        """
        check_x_and_z(x, z, self.data_dim, self.latent_dim, stacked=False)
        rows = x.view(-1, self.side, self.side)  # (B, 28, 28)
        above = F.pad(rows, (0, 0, 1, 0))[:, :-1]  # (B, 28, 28): a blank row, then rows 0 .. 26
        states, _ = self.gru(above, self._initial_state(z))  # (B, 28, H)
        return self.to_logits(states).flatten(1)  # (B, 784)

    def forward(self, x: Tensor) -> VAEOutput:
        """Encode, sample, predict each row from those above it.

        Args:
            x: (B, 784) binary pixels.

        Returns:
            logits (B, 784), mu (B, D), logvar (B, D), z (B, D).
        """
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return VAEOutput(self.decode_rows(x, z), mu, logvar, z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of each image, as in :meth:`VAE.log_likelihood`.

        Args:
            x: (B, 784) binary pixels.
            z: (..., B, D).

        Returns:
            (..., B) nats.

        Raises:
            TypeError, ValueError: if they are not float tensors (B, 784) and (..., B, D).
        """
        check_x_and_z(x, z, self.data_dim, self.latent_dim)
        each = x.expand(*z.shape[:-1], self.data_dim)  # (..., B, 784)
        logits = self.decode_rows(each.reshape(-1, self.data_dim), z.flatten(0, -2))
        return -bernoulli_nll(logits.view_as(each), x)  # (..., B)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw n images row by row.

        Args:
            n: how many, >= 1.

        Returns:
            (n, 784) means of the pixels, each row given the binary rows that were drawn above it.
        """
        check_sizes(n=n)
        z = torch.randn(n, self.latent_dim).to(self.to_logits.weight)  # (n, D)
        state, row = self._initial_state(z), z.new_zeros(n, 1, self.side)
        means = []
        for _ in range(self.side):
            output, state = self.gru(row, state)  # (n, 1, H), (1, n, H)
            means.append(self.to_logits(output).sigmoid())  # (n, 1, 28)
            row = torch.bernoulli(means[-1])
        return torch.cat(means, dim=1).flatten(1)  # (n, 784)

    def _initial_state(self, z: Tensor) -> Tensor:
        return torch.tanh(self.from_latent(z)).unsqueeze(0)  # (1, B, H)


Model = VAE | RowGRUVAE


def soft_bound(raw: Tensor, bound: float = LOGVAR_BOUND) -> Tensor:
    """Keep a log-variance within [-bound, bound], so that its exponential cannot overflow.

    Near zero it is the identity; unlike a clamp it still has a gradient outside (in float32 up to
    about nine times the bound), so a value that ran away can come back.

    Args:
        raw: any shape, any finite value.
        bound: > 0, in nats.

    Returns:
        bound * tanh(raw / bound), same shape.

    Raises:
        TypeError, ValueError: if ``bound`` is not a positive, finite number.
    """
    check_range("bound", bound, 0, math.inf, "()")
    return bound * torch.tanh(raw / bound)
