import math

import numpy as np
import pytest

from prefrl.control.agent.stretch import Stretch
from prefrl.control.queries import disagreement_of_rollout
from prefrl.control.reward.correlation import correlation


def parts(rng, n_steps, n_envs=2):
    rewards = rng.normal(size=(n_steps, n_envs)).astype(np.float32)
    raw = rng.normal(size=(3, n_steps, n_envs)).astype(np.float32)
    return rng.normal(size=(n_steps, n_envs)), rewards, raw


def test_a_long_rollout_is_a_row_of_its_own(rng):
    stretch, (true, rewards, raw) = Stretch(10, 2), parts(rng, 20)
    stretch.add(true, rewards, raw, fit_steps=7)
    assert stretch.is_whole
    assert stretch.take() == {
        "predicted_reward_mean": float(rewards.mean()),
        "predicted_reward_std": float(rewards.std()),
        "reward_correlation": correlation(rewards, true),
        "disagreement": disagreement_of_rollout(raw, 10),
        "fit_steps": 7,
    }
    assert not stretch.n_steps


@pytest.mark.parametrize(("n_envs", "n_rollouts"), [(2, 100), (16, 13), (400, 5)])
def test_short_rollouts_make_a_row_together(rng, n_envs, n_rollouts):
    """A thousand steps, and a segment's length: 1000 / 16 / 5 is 12.5."""
    whole, stretch = parts(rng, 5 * n_rollouts, n_envs), Stretch(25, n_envs)
    for number in range(n_rollouts):
        assert not stretch.is_whole
        steps = slice(5 * number, 5 * number + 5)
        part = (whole[0][steps], whole[1][steps], whole[2][:, steps])
        stretch.add(*part, fit_steps=int(number in (1, 2)))
        state = stretch.state_dict()
        stretch = Stretch(25, n_envs)  # killed, and taken up again
        stretch.load_state_dict(state)
    assert stretch.is_whole
    measured, together = stretch.take(), Stretch(25, n_envs)
    together.add(*whole, fit_steps=2)
    assert measured == pytest.approx(together.take())
    assert math.isfinite(measured["disagreement"])
