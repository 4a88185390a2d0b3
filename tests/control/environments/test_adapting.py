"""Each kind of space becomes one that Stable-Baselines3 and the reward nets read, or is refused."""

import logging

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor

from prefrl.control.environments.adapting import adapt_spaces
from prefrl.control.environments.guard import Guard
from prefrl.control.environments.spaces import check_spaces, encode, layout_of
from prefrl.errors import UnsupportedSpaceError

BOX = spaces.Box(-1, 1, (2,), np.float32)
PICTURE = spaces.Box(0, 255, (12, 12, 3), np.uint8)


class Any(gym.Env):
    """Any spaces; shows a sample each time, and takes nothing that is not in its action space."""

    def __init__(self, observation_space=BOX, action_space=BOX, reward=1.0):
        self.observation_space, self.action_space = observation_space, action_space
        self.reward, self.taken, self.shown = reward, [], None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self._see(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.taken.append(action)
        return self._see(), self.reward, False, False, {}

    def _see(self):
        self.shown = self.observation_space.sample()
        return self.shown


class Words(spaces.Space):
    """A library's own space of text, as MiniGrid's missions."""

    def sample(self, mask=None, probability=None):
        return "go to the red ball"

    def contains(self, x):
        return isinstance(x, str)


CHOICES = spaces.MultiDiscrete([2, 3], start=[1, 0])


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Discrete(5), (5,)),
        (spaces.Discrete(5, start=-2), (5,)),
        (spaces.MultiDiscrete([2, 3]), (5,)),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), (14,)),
        (spaces.MultiBinary(4), (4,)),
        (spaces.MultiBinary([2, 3]), (6,)),
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), (400,)),
        (spaces.Box(0, 1, (3,), np.bool_), (3,)),
        (spaces.Box(-1, 1, (), np.float32), (1,)),
        (spaces.Box(0, 1, (16, 16, 3), np.float32), (768,)),
        (spaces.Box(0, 9, (8, 8), np.uint8), (64,)),
        (spaces.Box(0, 255, (2, 4, 4, 3), np.uint8), (96,)),
        (spaces.Box(0, 255, (20, 20, 20), np.uint8), (8000,)),
        (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2)]), (45,)),
        (spaces.Dict(a=spaces.Dict(b=BOX, c=spaces.Tuple([CHOICES, BOX])), d=BOX), (11,)),
        (spaces.Dict(a=BOX, mission=Words()), (2,)),
        (spaces.Dict(a=BOX, b=spaces.Text(4)), (2,)),
    ],
)
def test_observations_without_a_picture_become_a_vector(space, shape):
    inner = Any(space)
    env = adapt_spaces(inner)
    check_spaces(env.observation_space, env.action_space)
    assert isinstance(env.observation_space, spaces.Box)
    assert (env.observation_space.shape, env.observation_space.dtype) == (shape, np.float32)
    seen, _ = env.reset(seed=0)
    assert env.observation_space.contains(seen)
    if isinstance(space, spaces.Box):
        np.testing.assert_array_equal(seen, inner.shown.reshape(-1).astype(np.float32))
    elif not isinstance(space, spaces.Dict):
        np.testing.assert_array_equal(seen, spaces.flatten(space, inner.shown))


@pytest.mark.parametrize(
    ("space", "picture", "n_numbers"),
    [
        (spaces.Dict(image=PICTURE, direction=spaces.Discrete(4), m=Words()), (3, 12, 12), 4),
        (spaces.Dict(left=PICTURE, right=PICTURE), (6, 12, 12), 0),
        (spaces.Dict(left=PICTURE, right=PICTURE, speed=BOX), (6, 12, 12), 2),
        (spaces.Tuple([PICTURE, BOX]), (3, 12, 12), 2),
        (spaces.Dict(far=PICTURE, near=spaces.Box(0, 255, (4, 4), np.uint8)), (3, 12, 12), 16),
        (spaces.Dict({f"p{i}": PICTURE for i in range(5)}), (12, 12, 12), 432),
        (spaces.Dict(a=spaces.Dict({"b.c": PICTURE})), (3, 12, 12), 0),
    ],
)
def test_observations_with_pictures_keep_one(space, picture, n_numbers):
    inner = Any(space)
    env = adapt_spaces(inner)
    layout = layout_of(env.observation_space)
    assert (layout.picture, layout.width) == (picture, n_numbers)
    seen, _ = env.reset(seed=0)
    assert env.observation_space.contains(seen)
    if "left" in getattr(space, "spaces", ()):
        shown = [inner.shown[side].transpose(2, 0, 1) for side in ("left", "right")]
        both = seen if n_numbers == 0 else seen["picture"]
        np.testing.assert_array_equal(both, np.concatenate(shown))


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Box(-1, 1, (2, 3), np.float64),
        spaces.Box(0, 255, (128,), np.uint8),
        PICTURE,
        spaces.Box(0, 255, (84, 84), np.uint8),
        spaces.Dict(a=BOX, b=PICTURE),
    ],
)
@pytest.mark.parametrize(
    "actions",
    [
        BOX,
        spaces.Box(-0.4, 0.4, (17,), np.float32),
        spaces.Box(-3, 3, (1,), np.float32),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
    ],
)
def test_what_can_be_read_is_not_touched(space, actions):
    env = Any(space, actions)
    assert adapt_spaces(env) is env
    check_spaces(env.observation_space, env.action_space)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(20_000), r"at most 10,000 numbers, got 20,000 \(Discrete"),
        (spaces.Box(0, 1, (84, 84, 3), np.float32), r"got 21,168 \(float32 of shape .*uint8"),
        (spaces.Box(0, 255, (40, 40, 40), np.uint8), "got 64,000"),
        (spaces.Dict(a=spaces.Box(0, 1, (99, 99, 3), np.float32)), r"the observation\['a'\]"),
        (
            spaces.Dict(
                a=spaces.Box(0, 255, (96, 96, 3), np.uint8),
                b=spaces.Box(0, 255, (84, 84, 3), np.uint8),
            ),
            r"\['b'\] to come to at most 10,000 numbers beside the larger picture.*\['a'\]",
        ),
        (spaces.Sequence(BOX), "expected observations of numbers, choices, pictures and text"),
        (spaces.Graph(BOX, None), "expected observations of numbers"),
        (spaces.Text(4), "with numbers or a picture in them"),
        (spaces.Dict(), "with numbers or a picture in them"),
    ],
)
def test_observations_that_cannot_be_read_are_refused(space, words):
    with pytest.raises(UnsupportedSpaceError, match=words):
        adapt_spaces(Any(space))


def test_text_that_is_left_out_is_named_once(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            adapt_spaces(Any(spaces.Dict(a=BOX, of_the_test=Words())))
    assert caplog.text.count("the observation['of_the_test'] is text") == 1


def large(low, high, shape=(2,), dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "seen_as", "given", "taken"),
    [
        (spaces.Discrete(3, start=1), spaces.Discrete(3), 0, 1),
        (spaces.Discrete(3, start=9), spaces.Discrete(3), np.int64(2), 11),
        (CHOICES, spaces.MultiDiscrete([2, 3]), [1, 2], [2, 2]),
        (
            spaces.MultiDiscrete([[2, 2], [3, 3]]),
            spaces.MultiDiscrete([2, 2, 3, 3]),
            [0, 1, 2, 0],
            [[0, 1], [2, 0]],
        ),
        (spaces.MultiBinary(2), spaces.MultiBinary(2), [1, 0], [1, 0]),
        (spaces.MultiBinary([2, 2]), spaces.MultiBinary(4), [1, 0, 0, 1], [[1, 0], [0, 1]]),
        (large(0, 1000), large(-1, 1), [-1, 1], [0, 1000]),
        (large(0, 1), large(-1, 1), [0, 2], [0.5, 1]),
        (large(-0.1, 0.1), large(-1, 1), [-3, 0.5], [-0.1, 0.05]),
        (large(0, 10, (2,), np.int64), large(-1, 1), [-0.02, 1], [5, 10]),
        (large(0, 1, (2,), np.bool_), large(-1, 1), [-0.2, 0.2], [False, True]),
        (large(-50, 50, ()), large(-1, 1, (1,)), [0.5], 25),
        (large(0, 4, (2, 1)), large(-1, 1, (2, 1)), [[0], [1]], [[2], [4]]),
    ],
)
def test_actions_come_out_in_the_environments_own_space(space, seen_as, given, taken):
    inner = Any(BOX, space)
    env = adapt_spaces(inner)
    assert env.action_space == seen_as
    env.reset(seed=0)
    env.step(np.array(given, dtype=seen_as.dtype))
    np.testing.assert_allclose(inner.taken[-1], taken, rtol=1e-6)
    env.action_space.seed(0)
    for _ in range(20):
        env.step(env.action_space.sample())  # it looks whether they are in its space
    assert encode(np.array(given)[None], seen_as).shape == (1, spaces.flatdim(seen_as))


def test_nested_actions_are_put_in_a_row():
    switches = spaces.Dict(
        a=spaces.Tuple([spaces.Discrete(2, start=3), CHOICES]), b=spaces.MultiBinary(2)
    )
    inner = Any(BOX, switches)
    env = adapt_spaces(inner)
    assert env.action_space == spaces.MultiDiscrete([2, 2, 3, 2, 2])
    env.reset(seed=0)
    env.step(np.array([1, 0, 2, 1, 0]))
    first, second = inner.taken[-1]["a"]
    assert (int(first), second.tolist(), inner.taken[-1]["b"].tolist()) == (4, [1, 2], [1, 0])
    joints = spaces.Tuple([large(0, 10, (1,)), BOX])
    inner = Any(BOX, joints)
    env = adapt_spaces(inner)
    assert env.action_space == large(-1, 1, (3,))
    env.reset(seed=0)
    env.step(np.array([0, 0.5, -1], np.float32))
    assert [part.tolist() for part in inner.taken[-1]] == [[5], [0.5, -1]]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (large(-np.inf, np.inf), "a lower and an upper bound"),
        (large(0, np.inf), "a lower and an upper bound"),
        (large(-3e38, 3e38), "a lower and an upper bound"),
        (spaces.Tuple([BOX, large(-np.inf, 0)]), "a lower and an upper bound"),
        (spaces.Tuple([BOX, spaces.Discrete(2)]), "all numbers or all choices"),
        (spaces.Text(3), "all numbers or all choices"),
        (spaces.Dict(), "all numbers or all choices"),
    ],
)
def test_actions_that_cannot_be_taken_are_refused(space, words):
    with pytest.raises(UnsupportedSpaceError, match=words):
        adapt_spaces(Any(BOX, space))


@pytest.mark.parametrize("reward", [np.array([0.5]), np.array(0.5), np.float32(0.5), [[0.5]], True])
def test_a_reward_that_is_an_array_of_one_number_is_that_number(reward):
    env = Monitor(Guard(lambda: Any(reward=reward)))
    env.reset(seed=0)
    value = env.step(np.zeros(2, np.float32))[1]
    assert value == pytest.approx(0.5) or value is True
    assert isinstance(value, float | int)
    assert env.unwrapped.taken
