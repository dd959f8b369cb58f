"""Oracles: sums by hand, and the rule of the original notebook, restated."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from vaelab import ELBO, BetaELBO, FreeBits, SoftFreeBits, linear

NLL = torch.tensor([10.0, 30.0])  # (B,)
KL = torch.tensor([[1.0, 0.0, 0.2], [3.0, 0.4, 0.4]])  # (B, D); batch averages 2.0, 0.2, 0.3


def fixed(*levels: float) -> torch.Tensor:
    """(4, D) KL values whose batch average is ``levels``, though no image has it."""
    return torch.tensor(levels) * torch.tensor([[0.5], [1.5], [0.2], [1.8]])


def feed(objective: SoftFreeBits, kl: torch.Tensor, times: int) -> list[float]:
    """The first gamma after each of several calls with the same KL."""
    return [objective.update(kl)[0].item() for _ in range(times)]


# --- ELBO, BetaELBO, FreeBits -------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective, expected, weights",
    [
        (ELBO(), 20 + 2.5, [1, 1, 1]),
        (BetaELBO(4.0), 20 + 4 * 2.5, [4, 4, 4]),
        (BetaELBO(0), 20, [0, 0, 0]),
        (FreeBits(0.25), 20 + 2.0 + 0.25 + 0.3, [1, 0, 1]),
        # averaged before the threshold, not after; no KL is at it, where the slope is a convention
        (FreeBits(0.32), 20 + 2.0 + 0.32 + 0.32, [1, 0, 0]),
        (FreeBits(), 20 + 2.0 + 0.5 + 0.5, [1, 0, 0]),  # half a nat is free unless told otherwise
    ],
)
def test_the_loss_the_weights_and_the_gradient_by_hand(objective, expected, weights):
    kl = KL.clone().requires_grad_()
    loss = objective(NLL, kl, 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(kl.grad, torch.tensor(weights).expand(2, 3) / 2)  # weight / B
    objective.weights(3).zero_()  # a copy
    assert objective.weights(3).tolist() == weights


def test_beta_elbo_follows_its_schedule_and_tells_the_weight():
    objective = BetaELBO(linear(0.5))
    assert objective.weights(2).tolist() == [0, 0]  # before the first call: beta at the start
    for progress, beta in [(0.0, 0.0), (0.25, 0.5), (0.9, 1.0), (0.1, 0.2)]:
        loss = objective(NLL, KL, progress)
        assert loss.item() == pytest.approx(20 + beta * 2.5)
        torch.testing.assert_close(objective.weights(3), torch.full((3,), beta))
    assert BetaELBO(lambda progress: 1).weights(2).is_floating_point()


def test_free_bits_against_a_loop_over_dimensions():
    torch.manual_seed(0)
    for lam in (0.0, 0.125, 0.5, 2.0):
        nll, kl = 100 * torch.rand(9), torch.rand(9, 5) * torch.tensor([0.1, 0.3, 1.0, 2.0, 6.0])
        expected = sum(nll.tolist()) / 9
        for column in kl.T.tolist():
            expected += max(lam, sum(column) / 9)
        objective = FreeBits(lam)
        assert objective.weights(5).tolist() == [1] * 5  # before the first call
        assert objective(nll, kl, 0.0).item() == pytest.approx(expected, rel=1e-6)


# --- SoftFreeBits -------------------------------------------------------------------------------


def original_rule(level: float, gamma: float) -> float:
    """What the notebook did to one gamma on one minibatch, line by line: lam 0.5, 10 %, 10 %."""
    factor_1 = 1.0 - 0.1 if level <= (1 - 0.1) * 0.5 else 1.0
    factor_2 = 1.0 + 0.1 if level >= (1 + 0.1) * 0.5 else 1.0
    return min(max(factor_1 * factor_2 * gamma, 0.0), 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_soft_free_bits_follow_the_original_rule_on_random_streams(seed):
    torch.manual_seed(seed)
    objective = SoftFreeBits(lam=0.5, tolerance=0.1, step=0.1, init=0.37, floor=0.0)
    typical = torch.tensor([0.05, 0.3, 0.45, 0.5, 0.55, 0.7, 3.0])  # (D,) dead, in the band, strong
    expected = [0.37] * 7
    for _ in range(300):
        kl = typical * torch.empty(16, 7).exponential_()  # (B, D)
        nll = 100 * torch.rand(16)
        loss = objective(nll, kl, 0.0)
        levels = kl.double().mean(dim=0).tolist()
        expected = [original_rule(level, gamma) for level, gamma in zip(levels, expected)]
        by_hand = nll.mean().item() + sum(g * level for g, level in zip(expected, levels))
        assert objective.gamma.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-12)
        assert loss.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("lam, tolerance", [(0.5, 0.1), (2.0, 0.25), (8.0, 0.05)])
def test_the_dead_band_is_where_it_should_be(lam, tolerance):
    low, high = (1 - tolerance) * lam, (1 + tolerance) * lam
    levels = [0.999 * low, 1.001 * low, lam, 0.999 * high, 1.001 * high]
    objective = SoftFreeBits(lam, tolerance, step=0.2, init=0.5)
    objective.update(fixed(*levels))
    torch.testing.assert_close(objective.gamma, torch.tensor([0.4, 0.5, 0.5, 0.5, 0.6]))


def test_the_edges_of_the_dead_band_move_gamma():
    objective = SoftFreeBits(lam=1.0, tolerance=0.5, init=0.5, step=0.1)
    objective.update(torch.tensor([[0.5, 1.5]]))
    torch.testing.assert_close(objective.gamma, torch.tensor([0.45, 0.55]))
    objective = SoftFreeBits(lam=1.0, tolerance=0, init=0.5, step=0.1)  # a band without width
    objective.update(fixed(0.999, 1.001))
    torch.testing.assert_close(objective.gamma, torch.tensor([0.45, 0.55]))
    for per_dimension in (True, False):  # lam = 0: nothing is too low, gamma stays
        objective = SoftFreeBits(lam=0, per_dimension=per_dimension, step=0.1)
        assert objective(NLL, KL, 0.0).item() == pytest.approx(ELBO()(NLL, KL, 0.0).item())


def test_gamma_is_capped_at_one():
    objective = SoftFreeBits(init=0.95, step=0.1)
    assert feed(objective, fixed(5.0), 10) == [1.0] * 10
    assert feed(objective, fixed(0.0), 1) == pytest.approx([0.9])  # no wind-up beyond the cap


def test_gamma_recovers_from_the_floor_however_long_it_starved_and_without_a_floor_never():
    back_up = math.ceil(math.log(1 / 1e-3) / math.log(1.1))  # 73 calls
    for starved in (100, 2000):
        objective = SoftFreeBits(floor=1e-3, step=0.1)
        assert feed(objective, fixed(0.0), starved)[-1] == pytest.approx(1e-3)
        climb = feed(objective, fixed(5.0), back_up)
        assert climb[-2] < 1.0 and climb[-1] == 1.0
    objective = SoftFreeBits(floor=0.0, step=0.1)
    feed(objective, fixed(0.0), 2000)
    assert feed(objective, fixed(5.0), 2000)[-1] < 1e-3


def test_a_single_gamma_looks_at_the_total_rate():
    objective = SoftFreeBits(lam=3.0, per_dimension=False, init=0.5, step=0.1)
    loss = objective(NLL, KL, 0.0)  # total 2.5 <= 2.7: down, though every KL_d is below 3 too
    assert objective.gamma.tolist() == pytest.approx([0.45])
    assert loss.item() == pytest.approx(20 + 0.45 * 2.5)
    assert objective.weights(3).tolist() == pytest.approx([0.45] * 3)
    objective = SoftFreeBits(lam=2.2, per_dimension=False, init=0.5, step=0.1)
    objective(NLL, KL, 0.0)  # total 2.5 >= 2.42: up, though no single KL_d is above 2.2
    assert objective.gamma.tolist() == pytest.approx([0.55])


def test_gamma_moves_before_it_weighs_and_no_gradient_reaches_it():
    nll, kl = NLL.clone().requires_grad_(), KL.clone().requires_grad_()
    objective = SoftFreeBits(init=0.5, step=0.1)
    loss = objective(nll, kl, 0.0)  # averages 2.0, 0.2, 0.3: up, down, down
    loss.backward()
    assert loss.item() == pytest.approx(20 + 0.55 * 2.0 + 0.45 * 0.2 + 0.45 * 0.3)
    assert not objective.gamma.requires_grad
    torch.testing.assert_close(nll.grad, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(kl.grad, torch.tensor([0.55, 0.45, 0.45]).expand(2, 3) / 2)


@pytest.mark.parametrize("per_dimension", [True, False])
def test_a_deep_copy_is_an_independent_controller(per_dimension):
    original = SoftFreeBits(per_dimension=per_dimension, step=0.1)
    original.update(fixed(0.0, 0.0))
    twin = copy.deepcopy(original)
    before = original.gamma.clone()
    assert torch.equal(twin.gamma, before)
    feed(twin, fixed(0.0, 0.0), 5)
    assert torch.equal(original.gamma, before)
    assert (twin.gamma < before).all()


def test_weights_are_a_copy_and_start_at_init():
    objective = SoftFreeBits(init=0.3, step=0.1)
    assert objective.weights(4).tolist() == pytest.approx([0.3] * 4)
    objective.update(fixed(0.5, 0.0))
    objective.weights(2).zero_()
    assert objective.weights(2).tolist() == pytest.approx([0.3, 0.27])


# --- what is refused ----------------------------------------------------------------------------


MOVED = SoftFreeBits(step=0.1)


@pytest.mark.parametrize(
    "call, expected",
    [
        (lambda: BetaELBO(lambda t: -1.0), "what schedule returns must be in [0, inf), got -1.0"),
        (lambda: BetaELBO("1"), "schedule must be a number or a function, got '1'"),
        (lambda: SoftFreeBits(step=2), "step must be in (0, 1), got 2"),
        (lambda: SoftFreeBits(init=0.01, floor=0.1), "init must be in [0.1, 1], got 0.01"),
        (
            lambda: FreeBits()(torch.zeros(2), torch.zeros(3, 3), 0.0),
            "kl must be (2, D), got (3, 3)",
        ),
        (
            lambda: SoftFreeBits().update([0.1]),
            "kl must be a float tensor (B, D) with B >= 1, got list",
        ),
        (
            lambda: [MOVED.update(KL), MOVED.update(KL[:, :2])],
            "kl must be (B, 3) as in the first call, got (2, 2)",
        ),
        (
            lambda: ELBO()(3.0, [0.1], 0.0),
            "nll must be a float tensor (B,), got float",
        ),
    ],
)
def test_a_refusal_says_what_came_and_what_was_expected(call, expected):
    with pytest.raises((TypeError, ValueError)) as refusal:
        call()
    assert str(refusal.value) == expected
