"""Checks for the exercises: each says what is right, or what is wrong and why."""

from .checking import NOTHING, Answer
from .lesson1 import (
    OurVAE,
    build,
    check_healed,
    check_iw_bound,
    check_kl_to_prior,
    check_noiseless,
    check_strongest_cut,
    check_why_k_helps,
    our_loss,
    our_training,
)
from .lesson2 import (
    check_bound_from_printed,
    check_choosing,
    check_cosine,
    check_cycles,
    check_limits,
    check_paired,
)
from .lesson3 import (
    check_diagnoses,
    check_down_and_up,
    check_grouped_free_bits,
    check_next_gamma,
    check_reading,
    check_step_ahead,
)

__all__ = [
    "NOTHING",
    "Answer",
    "OurVAE",
    "build",
    "check_bound_from_printed",
    "check_choosing",
    "check_cosine",
    "check_cycles",
    "check_diagnoses",
    "check_down_and_up",
    "check_grouped_free_bits",
    "check_healed",
    "check_iw_bound",
    "check_kl_to_prior",
    "check_limits",
    "check_next_gamma",
    "check_noiseless",
    "check_paired",
    "check_reading",
    "check_step_ahead",
    "check_strongest_cut",
    "check_why_k_helps",
    "our_loss",
    "our_training",
]
