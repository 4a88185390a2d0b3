"""Distances to the 5th nearest, against all of them by hand."""

import dataclasses

import numpy as np
import pytest
from control.toys import counters, rollout, screens
from stable_baselines3 import SAC

from prefrl.control.agent.novelty import BufferNovelty, RolloutNovelty, distance_to_nearest
from prefrl.control.agent.replay_buffer import relabelled
from prefrl.control.environments.spaces import layout_of
from prefrl.errors import UnsupportedSpaceError


def by_hand(states, seen, k):
    found = []
    for state in states:
        distances = sorted(float(np.linalg.norm(state - other)) for other in seen)
        found.append(distances[k] if distances[0] < 1e-9 else distances[k - 1])
    return found


@pytest.mark.parametrize("offset", [0.0, 300.0])  # squares of 1e5, of which little is left
def test_the_fifth_nearest_is_that_of_a_search_through_all(offset):
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(40, 3)) + offset
    states = np.concatenate([seen[:10], rng.normal(size=(10, 3)) + offset])
    got = distance_to_nearest(states, seen)
    np.testing.assert_allclose(got, by_hand(states, seen, 5), rtol=1e-6)


def test_with_fewer_it_is_the_farthest():
    seen = np.array([[0.0], [1.0], [5.0]])
    assert distance_to_nearest(np.array([[0.0], [2.0]]), seen).tolist() == [5.0, 3.0]


def test_numbers_of_all_environments_are_standardised_and_the_reward_too():
    model = SAC("MlpPolicy", counters(2, length=40), buffer_size=200, learning_starts=10**9, seed=0)
    model.learn(120)
    buffer = relabelled(model.replay_buffer, "SAC")
    rng = np.random.default_rng(0)
    buffer.observations[:60] = rng.normal(size=(60, 2, 2)) * [1.0, 1000.0]
    novelty = BufferNovelty(buffer, layout_of(model.observation_space))
    asked = buffer.observations[:60, 0]
    seen = np.stack([buffer.observations[row, row % 2] for row in range(60)])
    scale = np.concatenate([asked, seen]).std(0)
    wanted = np.array(by_hand(asked / scale, seen / scale, 5))
    got = novelty.rewards(asked, np.zeros((60, 1)))
    np.testing.assert_allclose(got / got[0], wanted / wanted[0], rtol=1e-4)
    assert got.std() == pytest.approx(1.0, abs=0.05)
    again = BufferNovelty(buffer, layout_of(model.observation_space))
    again.load_state_dict(novelty.state_dict())
    assert np.array_equal(again.rewards(asked, None), novelty.rewards(asked, None))


def test_pictures_are_refused():
    with pytest.raises(UnsupportedSpaceError, match="without pictures for explore_steps"):
        BufferNovelty(None, layout_of(screens(1).observation_space))


def one_by_one(places):
    """A rollout in which the steps lead to these places, one-hot out of ten."""
    codes = np.eye(10, dtype=np.float32)[places][:, None]
    return dataclasses.replace(rollout(len(places)), next_observations=codes)


def test_a_place_is_new_until_it_was_visited_often():
    novelty = RolloutNovelty()
    first = novelty(one_by_one([0] * 50 + [1]))
    assert first.shape == (51, 1)
    assert (first[:50] == 0).all()
    assert first[50] > 0
    assert (novelty(one_by_one([1] * 50)) == 0).all()
    rare = novelty(one_by_one([0] * 20 + [2]))
    assert (rare[:20] == 0).all()
    assert rare[20] > 0


def test_of_all_states_some_are_kept_drawn_evenly_and_a_checkpoint_has_them():
    novelty = RolloutNovelty()
    for start in range(0, 70_000, 700):
        numbers = np.arange(start, start + 700, dtype=np.float32)[:, None, None]
        novelty(dataclasses.replace(rollout(700), next_observations=numbers))
    state = novelty.state_dict()
    seen = state["seen"][:, 0]
    assert 1000 < len(seen) <= 2000
    assert set(np.diff(seen)) == {64.0}
    assert seen[0] < 64
    assert seen[-1] >= 70_000 - 64
    again = RolloutNovelty()
    again.load_state_dict(state)
    more = one_by_one([0])
    more = dataclasses.replace(more, next_observations=np.float32([[[7.0]]]))
    assert np.array_equal(again(more), novelty(more))
