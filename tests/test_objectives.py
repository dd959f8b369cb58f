"""Oracles: sums by hand, and the rule of the original notebook, restated."""

from __future__ import annotations

import pytest
import torch

from vaelab import ELBO, BetaELBO, FreeBits, SoftFreeBits, linear

NLL = torch.tensor([10.0, 30.0])  # (B,)
KL = torch.tensor([[1.0, 0.0, 0.2], [3.0, 0.4, 0.4]])  # (B, D); batch averages 2.0, 0.2, 0.3
HALF = {"init": 0.5, "step": 0.1}
ONE_GAMMA = HALF | {"per_dimension": False}
EACH = HALF | {"init": torch.tensor([0.5, 0.25, 1.0])}

CASES = [  # an objective, its weights before the first call, its loss at 0.25, its weights then
    (ELBO, [1, 1, 1], 20 + 2.5, [1, 1, 1]),
    (lambda: BetaELBO(4), [4, 4, 4], 20 + 4 * 2.5, [4, 4, 4]),
    (lambda: BetaELBO(0), [0, 0, 0], 20, [0, 0, 0]),
    (lambda: BetaELBO(linear(0.5)), [0, 0, 0], 20 + 0.5 * 2.5, [0.5, 0.5, 0.5]),
    (lambda: BetaELBO(lambda progress: 1), [1, 1, 1], 20 + 2.5, [1, 1, 1]),
    (lambda: FreeBits(0), [1, 1, 1], 20 + 2.5, [1, 1, 1]),
    (lambda: FreeBits(0.25), [1, 1, 1], 20 + 2.0 + 0.25 + 0.3, [1, 0, 1]),
    # averaged before the threshold, not after; no KL is at it, where the slope is a convention
    (lambda: FreeBits(0.32), [1, 1, 1], 20 + 2.0 + 0.32 + 0.32, [1, 0, 0]),
    (FreeBits, [1, 1, 1], 20 + 2.0 + 0.5 + 0.5, [1, 0, 0]),
    # gamma moves before it weighs
    (lambda: SoftFreeBits(**HALF), [0.5] * 3, 20 + 0.55 * 2.0 + 0.45 * 0.5, [0.55, 0.45, 0.45]),
    (lambda: SoftFreeBits(0, step=0.1), [1, 1, 1], 20 + 2.5, [1, 1, 1]),
    (lambda: SoftFreeBits(**EACH), [0.5, 0.25, 1], 20 + 1.1 + 0.045 + 0.27, [0.55, 0.225, 0.9]),
    (lambda: SoftFreeBits(0, **ONE_GAMMA), [0.5] * 3, 20 + 0.55 * 2.5, [0.55] * 3),
    # the total of 2.5 is too low for one gamma, or too high, though the KL of each dimension is not
    (lambda: SoftFreeBits(3.0, **ONE_GAMMA), [0.5] * 3, 20 + 0.45 * 2.5, [0.45] * 3),
    (lambda: SoftFreeBits(2.2, **ONE_GAMMA), [0.5] * 3, 20 + 0.55 * 2.5, [0.55] * 3),
]


@pytest.mark.parametrize("make, before, expected, weights", CASES)
def test_the_loss_the_weights_and_the_gradient_by_hand(make, before, expected, weights):
    objective = make()
    assert objective.weights(3).tolist() == before
    nll, kl = NLL.clone().requires_grad_(), KL.clone().requires_grad_()
    loss = objective(nll, kl, 0.25)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert nll.grad.tolist() == [0.5, 0.5]
    torch.testing.assert_close(kl.grad, torch.tensor(weights).expand(2, 3) / 2)  # weight / B
    objective.weights(3).zero_()  # a copy
    torch.testing.assert_close(objective.weights(3), torch.tensor(weights, dtype=torch.float32))


def original_rule(level, gamma, lam=0.5, tolerance=0.1, step=0.02, floor=1e-3):
    """What the notebook did to one gamma on one minibatch, line by line."""
    factor_1 = 1.0 - step if level <= (1 - tolerance) * lam else 1.0
    factor_2 = 1.0 + step if level >= (1 + tolerance) * lam else 1.0
    return min(max(factor_1 * factor_2 * gamma, floor), 1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lam": 0.5, "tolerance": 0.1, "step": 0.1, "init": 0.37, "floor": 0.0},
        {"lam": 2.0, "tolerance": 0.25, "step": 0.2, "init": 0.5, "floor": 0.01},
        {"lam": 5.0, "tolerance": 0.05, "init": 0.2, "per_dimension": False},
    ],
)
def test_soft_free_bits_follow_the_original_rule_on_random_streams(settings):
    torch.manual_seed(0)
    objective = SoftFreeBits(**settings)
    rule = dict(settings)
    single, start = not rule.pop("per_dimension", True), rule.pop("init", 1.0)
    typical = torch.tensor([0.05, 0.3, 0.45, 0.5, 0.55, 0.7, 3.0]).double()  # (D,) dead .. strong
    expected = [start] * (1 if single else 7)
    for _ in range(400):
        kl = typical * torch.empty(16, 7).exponential_()  # (B, D)
        nll = 100 * torch.rand(16)
        loss = objective(nll, kl, 0.0)
        levels = kl.mean(dim=0)
        levels = [levels.sum().item()] if single else levels.tolist()
        expected = [original_rule(level, g, **rule) for level, g in zip(levels, expected)]
        by_hand = nll.mean().item() + sum(g * level for g, level in zip(expected, levels))
        assert objective.gamma.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    assert objective.gamma.dtype == torch.float64  # as the KL


@pytest.mark.parametrize(
    "lam, tolerance, levels, gamma",
    [
        (1.0, 0.5, [0.5, 0.501, 1.499, 1.5], [0.45, 0.5, 0.5, 0.55]),  # the edges move it
        (1.0, 0.0, [0.999, 1.0, 1.001], [0.45, 0.5, 0.55]),  # a band without width
        (0.0, 0.1, [0.0, 0.001], [0.5, 0.55]),  # nothing is too low
        (8.0, 0.05, [7.592, 7.608, 8.392, 8.408], [0.45, 0.5, 0.5, 0.55]),
    ],
)
def test_the_dead_band_is_where_it_should_be(lam, tolerance, levels, gamma):
    objective = SoftFreeBits(lam, tolerance, init=0.5, step=0.1)
    torch.testing.assert_close(objective.update(torch.tensor([levels])), torch.tensor(gamma))


def test_what_a_schedule_returns_is_checked():
    with pytest.raises(ValueError) as refusal:
        BetaELBO(lambda progress: -1.0)
    assert str(refusal.value) == "what schedule returns must be in [0, inf), got -1.0"
