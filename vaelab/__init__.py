"""vaelab: the code behind three lessons on the variational autoencoder."""

from .checkup import Checkup, checkup
from .data import (
    Digits,
    binarize,
    from_arrays,
    load_folder,
    load_mnist,
    load_torchvision,
)
from .diagnostics import (
    MutualInformation,
    active_units,
    decoder_weight_norms,
    encode_all,
    iw_log_likelihood,
    linear_probe,
    mutual_information,
    pca_rates,
    prune,
)
from .losses import bernoulli_nll, gaussian_kl
from .model import VAE, LinearVAE, RowGRUVAE, VAEOutput
from .objectives import ELBO, BetaELBO, FreeBits, SoftFreeBits
from .schedules import constant, cyclical, linear, sigmoid, staircase
from .storage import load, save
from .toy import GaussianToy
from .training import Diverged, Evaluation, History, evaluate, fit

__version__ = "0.2.0"

__all__ = [
    "ELBO",
    "VAE",
    "BetaELBO",
    "Checkup",
    "Digits",
    "Diverged",
    "Evaluation",
    "FreeBits",
    "GaussianToy",
    "History",
    "LinearVAE",
    "MutualInformation",
    "RowGRUVAE",
    "SoftFreeBits",
    "VAEOutput",
    "active_units",
    "bernoulli_nll",
    "binarize",
    "checkup",
    "constant",
    "cyclical",
    "decoder_weight_norms",
    "encode_all",
    "evaluate",
    "fit",
    "from_arrays",
    "gaussian_kl",
    "iw_log_likelihood",
    "linear",
    "linear_probe",
    "load",
    "load_folder",
    "load_mnist",
    "load_torchvision",
    "mutual_information",
    "pca_rates",
    "prune",
    "save",
    "sigmoid",
    "staircase",
]
