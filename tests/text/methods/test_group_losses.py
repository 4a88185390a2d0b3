"""Advantages and losses of GRPO and RLOO, against numbers worked out by hand."""

import math

import pytest
import torch

from prefrl.text.methods.group_losses import (
    clipped_surrogate,
    grpo_advantages,
    kl_estimate,
    rloo_advantages,
    row_weights,
)

SCORES = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0])  # three responses to each of two prompts
MASK = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])


def test_rloo_takes_the_mean_of_the_others_away():
    # 1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2; and nothing where all are the same.
    expected = [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]
    assert rloo_advantages(SCORES, 3).tolist() == pytest.approx(expected)
    # Their sum of squares is 31.5, their mean 0: the variance of the sample is 31.5 / 5.
    std = math.sqrt(6.3) + 1e-4
    normalized = rloo_advantages(SCORES, 3, normalize=True).tolist()
    assert normalized == pytest.approx([a / std for a in expected])


def test_grpo_takes_the_mean_of_the_group_away_and_divides_by_its_deviation():
    # Means 3 and 5. Squares of the first group: 4 + 1 + 9 = 14, over G - 1 = 2.
    centred = [-2.0, -1.0, 3.0, 0.0, 0.0, 0.0]
    std = math.sqrt(7.0) + 1e-4
    assert grpo_advantages(SCORES, 3).tolist() == pytest.approx([a / std for a in centred])
    assert grpo_advantages(SCORES, 3, scale="none").tolist() == pytest.approx(centred)
    # Of the batch: mean 4, squares 9 + 4 + 4 + 1 + 1 + 1 = 20, over 5.
    of_batch = grpo_advantages(SCORES, 3, scale="batch").tolist()
    assert of_batch == pytest.approx([a / 2.0001 for a in centred])


def test_rloo_is_grpo_without_scaling_by_a_constant():
    # G / (G - 1), as Liu et al. 2025 say (arXiv 2503.20783, appendix A).
    unscaled = grpo_advantages(SCORES, 3, scale="none")
    torch.testing.assert_close(rloo_advantages(SCORES, 3), unscaled * 3 / 2)


def test_the_estimate_of_the_kl_is_never_negative():
    estimate = kl_estimate(torch.tensor([-1.0, -2.0, -1.5]), torch.tensor([-2.0, -1.0, -1.5]))
    # d = log p_ref - log p: -1, 1, 0; exp(d) - d - 1.
    expected = [math.exp(-1) + 1 - 1, math.exp(1) - 1 - 1, 0.0]
    assert estimate.tolist() == pytest.approx(expected, abs=1e-7)


def test_the_ratio_is_clipped_on_the_side_that_an_advantage_drives_it_to():
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.25]).log()
    advantages = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0])
    losses, held = clipped_surrogate(log_ratio, advantages, low=0.2, high=0.28)
    # 1.28 * 2; 1.5 * 2; 0.5 * 2; 0.8 * 2; and 1.25 is not clipped by the higher bound.
    assert losses.tolist() == pytest.approx([-2.56, 3.0, -1.0, 1.6, -2.5])
    assert held.tolist() == [1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("grpo", [1 / 12, 1 / 3, 1 / 9]),  # tokens of a short response weigh more
        ("bnpo", [1 / 8] * 3),
        ("dapo", [1 / 6] * 3),  # 2 tokens a response in the batch, 3 responses
        ("dr_grpo", [1 / 30] * 3),
    ],
)
def test_what_a_token_weighs(loss_type, expected):
    weights = row_weights(MASK, loss_type=loss_type, n_tokens_each=2.0, longest=10)
    assert weights.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo"])
def test_where_nothing_is_learned_weights_are_finite(loss_type):
    weights = row_weights(MASK * 0, loss_type=loss_type, n_tokens_each=0.0, longest=10)
    assert torch.isfinite(weights).all()
