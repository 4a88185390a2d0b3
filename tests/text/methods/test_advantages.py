import pytest
import torch

from prefrl.text.methods.advantages import (
    adapted_kl_coef,
    generalized_advantages,
    ppo_losses,
    token_rewards,
    whiten,
)

ONES = torch.ones(1, 4)
NUMBERS = torch.tensor([[1.0, 2.0, 3.0, 4.0]])


def test_whitening_gives_the_numbers_made_by_hand():
    whitened = whiten(NUMBERS, ONES)
    expected = torch.tensor([[-1.34164, -0.44721, 0.44721, 1.34164]])
    assert torch.allclose(whitened, expected, atol=1e-5)


def test_whitening_without_a_shift_keeps_the_mean():
    expected = torch.tensor([[1.15836, 2.05279, 2.94721, 3.84164]])
    assert torch.allclose(whiten(NUMBERS, ONES, shift_mean=False), expected, atol=1e-5)


def test_what_is_masked_changes_nothing():
    longer = torch.cat([NUMBERS, torch.tensor([[99.0]])], 1)
    mask = torch.tensor([[1.0, 1, 1, 1, 0]])
    assert torch.allclose(whiten(longer, mask)[:, :4], whiten(NUMBERS, ONES))
    assert whiten(longer, mask)[0, 4] == 0


def test_advantages_are_those_made_by_hand():
    rewards, values = torch.tensor([[0.0, 0, 1]]), torch.full((1, 3), 0.5)
    advantages, returns = generalized_advantages(rewards, values, torch.ones(1, 3))
    assert torch.allclose(advantages, torch.tensor([[0.45125, 0.475, 0.5]]))
    assert torch.allclose(returns, torch.tensor([[0.95125, 0.975, 1.0]]))


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0)])
def test_advantages_are_those_of_a_loop(gamma, gae_lambda, rng):
    lengths = [5, 3, 1]
    rewards = torch.from_numpy(rng.normal(size=(3, 5)))
    values = torch.from_numpy(rng.normal(size=(3, 5)))
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).double()
    advantages, returns = generalized_advantages(
        rewards * mask, values, mask, gamma=gamma, gae_lambda=gae_lambda
    )
    for row, length in enumerate(lengths):
        last = 0.0
        for t in reversed(range(length)):
            following = float(values[row, t + 1]) if t + 1 < length else 0.0
            delta = float(rewards[row, t]) + gamma * following - float(values[row, t])
            last = delta + gamma * gae_lambda * last
            assert float(advantages[row, t]) == pytest.approx(last)
            assert float(returns[row, t]) == pytest.approx(last + float(values[row, t]))
        assert torch.all(advantages[row, length:] == 0)


def test_the_penalty_is_negative_where_the_policy_moved_away_and_the_score_comes_last():
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    logprobs = torch.tensor([[-1.0, -1, -7], [-1, -1, -1]])
    rewards = token_rewards(
        torch.tensor([5.0, -5.0]), logprobs, logprobs - 2 * mask, mask, kl_coef=0.1
    )
    expected = torch.tensor([[-0.2, 4.8, 0.0], [-0.2, -0.2, -5.2]])
    assert torch.allclose(rewards, expected)


def losses(*, values=0.0, logprobs=0.0, advantages=1.0, returns=1.0):
    one = torch.ones(1, 1)
    return ppo_losses(
        logprobs * one,
        values * one,
        0 * one,
        old_logprobs=0 * one,
        old_values=0 * one,
        advantages=advantages * one,
        returns=returns * one,
        mask=one,
        clip_range=0.2,
        clip_range_value=0.2,
    )


@pytest.mark.parametrize(
    ("values", "returns", "expected"),
    [
        (0.1, 1.0, 0.5 * 0.9**2),  # within the clip
        (0.5, 1.0, 0.5 * 0.8**2),  # beyond it, towards the return: only to 0.2
        (-0.5, 1.0, 0.5 * 1.5**2),  # beyond it, away from the return: all of it
    ],
)
def test_the_value_loss_is_clipped_on_the_side_that_helps(values, returns, expected):
    assert float(losses(values=values, returns=returns).value) == pytest.approx(expected)


def test_the_ratio_is_clipped_where_it_helps_and_fresh_responses_have_ratio_one():
    assert float(losses().policy) == -1.0
    assert float(losses(logprobs=1.0).policy) == pytest.approx(-1.2)
    assert float(losses(logprobs=1.0, advantages=-1.0).policy) == pytest.approx(2.71828, abs=1e-4)
    assert float(losses(logprobs=1.0).clip_fraction) == 1.0
    assert float(losses(logprobs=1.0).approx_kl) == 0.5


@pytest.mark.parametrize(("kl", "expected"), [(7.2, 0.151536), (60, 0.151536), (4.8, 0.148464)])
def test_the_kl_coefficient_adapts_by_the_numbers_made_by_hand(kl, expected):
    got = adapted_kl_coef(0.15, kl, target=6, horizon=10_000, n_responses=512)
    assert got == pytest.approx(expected)
