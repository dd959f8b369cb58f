"""Three variational autoencoders: a plain one, a linear one, one whose decoder can do without z."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_columns, check_flags, check_range, check_sizes, check_x_and_z
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


class LinearVAE(nn.Module):
    """A VAE in which everything is linear, so that its optimum is known: see `pca_rates`.

    x | z ~ N(W z + b, noise^2 I), and q(z|x) has a mean that is linear in x and one diagonal
    covariance for all x.

    Args:
        latent_dim: D, the number of latent dimensions.
        data_dim: P, pixels per image.
        noise: standard deviation of the pixels given z, > 0. It sets the price of the rate.

    Raises:
        TypeError, ValueError: if a size is not a positive integer or ``noise`` no positive number.

    Source:
        Lucas et al. (2019), Section 4; Tipping and Bishop (1999).
    """

    def __init__(self, latent_dim: int = 50, data_dim: int = 784, noise: float = 0.5) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, data_dim=data_dim)
        check_range("noise", noise, 0, math.inf, "()")
        self.latent_dim, self.data_dim, self.noise = latent_dim, data_dim, noise
        self.to_mu = nn.Linear(data_dim, latent_dim)
        self.logvar = nn.Parameter(torch.zeros(latent_dim))  # the same for every image
        self.from_latent = nn.Linear(latent_dim, data_dim)

    reparameterize: Any = VAE.reparameterize

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """q(z|x) of each image; arguments and result as in :meth:`VAE.encode`."""
        check_columns("x", x, self.data_dim, stacked=False)
        mu = self.to_mu(x)  # (B, D)
        return mu, soft_bound(self.logvar).expand_as(mu)  # (B, D), (B, D)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z), (..., B, P), of z (..., B, D)."""
        check_columns("z", z, self.latent_dim)
        return self.from_latent(z)  # (..., B, P)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of each image, a density; arguments as in :meth:`VAE.log_likelihood`."""
        check_x_and_z(x, z, self.data_dim, self.latent_dim)
        error = (x - self.decode(z)).square().sum(dim=-1)  # (..., B)
        constant = self.data_dim * math.log(2 * math.pi * self.noise**2)
        return -0.5 * (error / self.noise**2 + constant)  # (..., B)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """The means of the pixels, (n, P), of n draws from the prior."""
        check_sizes(n=n)
        return self.decode(torch.randn(n, self.latent_dim).to(self.logvar))  # (n, P)


class RowGRUVAE(nn.Module):
    """A VAE whose decoder sees every pixel before the one that it predicts, in reading order.

    The state h_t of a GRU knows z and the rows above row t; z enters only as its initial state. The
    pixels on the left, in the same row, come in through a small network with a strictly triangular
    layer: the log-odds of pixel j are to_logits(h_t) + v_j . relu(A h_t + sum_{k<j} B_jk x_tk).
    Such a decoder models digits well without z: here the posterior really collapses.

    Args:
        latent_dim: D, the number of latent dimensions.
        hidden_dim: width of the encoder's hidden layer and of the GRU.
        use_z: False makes the twin without latents: the same network with z = 0 and R = 0.

    Raises:
        TypeError, ValueError: if a size is not a positive integer, or ``use_z`` no bool.

    Source:
        Bowman et al. (2016), Section 3 (the recurrent decoder that ignores z), with rows of pixels
        in the place of words; Chen et al. (2017) for autoregressive decoders of digits.
    """

    side = 28
    units = 8  # hidden units to each pixel
    left: Tensor  # (28 * units, 28): 1 where a pixel may look

    def __init__(self, latent_dim: int = 32, hidden_dim: int = 256, use_z: bool = True) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim)
        check_flags(use_z=use_z)
        self.latent_dim, self.hidden_dim, self.data_dim = latent_dim, hidden_dim, self.side**2
        self.use_z = use_z
        self.from_data = nn.Linear(self.data_dim, hidden_dim)
        self.to_mu = nn.Linear(hidden_dim, latent_dim)
        self.to_logvar = nn.Linear(hidden_dim, latent_dim)
        self.from_latent = nn.Linear(latent_dim, hidden_dim)
        self.gru = nn.GRU(self.side, hidden_dim, batch_first=True)
        self.to_logits = nn.Linear(hidden_dim, self.side)
        self.from_state = nn.Linear(hidden_dim, self.side * self.units)  # A, of all pixels
        self.from_left = nn.Linear(self.side, self.side * self.units, bias=False)  # B
        self.to_pixel = nn.Parameter(torch.randn(self.side, self.units) / self.units)  # v
        left = torch.ones(self.side, self.side).tril(-1)  # [j, k] is 1 where k < j
        self.register_buffer("left", left.repeat_interleave(self.units, dim=0), persistent=False)

    reparameterize: Any = VAE.reparameterize

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """q(z|x) of each image, as in :meth:`VAE.encode`; the prior if z is not used."""
        mu, logvar = VAE.encode(self, x)  # type: ignore[arg-type]  # the same encoder
        return mu * self.use_z, logvar * self.use_z  # (B, D), (B, D)

    def decode_rows(self, x: Tensor, z: Tensor) -> Tensor:
        """The log-odds of every pixel, given the true pixels before it.

        Args:
            x: (B, 784) binary pixels; a pixel of the result sees only those above and on the left.
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
        return self._row_logits(states, rows).flatten(1)  # (B, 784)

    def forward(self, x: Tensor) -> VAEOutput:
        """Encode, sample, predict each pixel from those before it.

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
    def draw(self, z: Tensor) -> Tensor:
        """Draw an image for each z, pixel by pixel.

        Args:
            z: (B, D).

        Returns:
            (B, 784) means of the pixels, each given the binary pixels that were drawn before it.

        Raises:
            TypeError, ValueError: if ``z`` is not a float tensor (B, D).
        """
        check_columns("z", z, self.latent_dim, stacked=False)
        state, row = self._initial_state(z), z.new_zeros(len(z), 1, self.side)
        means = []
        for _ in range(self.side):
            output, state = self.gru(row, state)  # (B, 1, H), (1, B, H)
            row = torch.zeros_like(row)
            for column in range(self.side):
                means.append(self._row_logits(output, row)[:, 0, column].sigmoid())  # (B,)
                row[:, 0, column] = torch.bernoulli(means[-1])
        return torch.stack(means, dim=1)  # (B, 784)

    def sample(self, n: int) -> Tensor:
        """The same for n draws of z from the prior, (n, 784)."""
        check_sizes(n=n)
        return self.draw(torch.randn(n, self.latent_dim).to(self.to_logits.weight))

    def _initial_state(self, z: Tensor) -> Tensor:
        return torch.tanh(self.from_latent(z * self.use_z)).unsqueeze(0)  # (1, B, H)

    def _row_logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """(B, T, H) states, (B, T, 28) pixels of the same rows -> (B, T, 28)."""
        seen = F.linear(rows, self.from_left.weight * self.left)  # (B, T, 28 * units)
        hidden = F.relu(self.from_state(states) + seen).unflatten(-1, self.to_pixel.shape)
        return self.to_logits(states) + (hidden * self.to_pixel).sum(dim=-1)


Model = VAE | LinearVAE | RowGRUVAE


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
