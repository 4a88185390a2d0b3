import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from control.test_train import DOT, short
from control.toys import Screen
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import prefrl
from prefrl import PreferenceConfig, Reward, load_reward, train
from prefrl.cli import main
from prefrl.control.environments.space_files import space_as_json, space_from_json
from prefrl.control.preferences import step_reward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.errors import ConfigError, RunDirectoryError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("run"))).run


class Spaces:
    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


def made(observation_space, action_space, **net):
    """A reward of random parameters."""
    config = PreferenceConfig(net=RewardNetConfig(**net))
    found = step_reward(Spaces(observation_space, action_space), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return Reward(found, observation_space, action_space)


def box(*shape):
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def test_a_reward_says_what_the_evaluation_of_its_run_says(run):
    """The rewards along the evaluation's episodes are those that the run has written down."""
    reward, policy = load_reward(run), prefrl.load_policy(run.root)
    config = json.loads(run.config.read_text())
    venv = make_vec_env(
        lambda: prefrl.adapt_spaces(gym.make(DOT)), n_envs=3, seed=config["seed"] + 1_000_003
    )
    seen, predicted = venv.reset(), []
    for _ in range(50):
        actions, _ = policy.predict(seen)
        predicted.append(reward.predict(seen, actions))
        seen, *_ = venv.step(actions)
    with np.load(run.evaluation) as stored:
        np.testing.assert_allclose(np.stack(predicted, 1), stored["predicted_rewards"], atol=1e-5)
    policy.close()


def test_one_step_a_batch_and_an_axis_more_are_the_same_numbers():
    reward, rng = made(box(2, 3), box(2)), np.random.default_rng(0)
    seen, done = rng.normal(size=(4, 5, 2, 3)), rng.normal(size=(4, 5, 2))  # float64
    whole = reward.predict(seen, done)
    assert (whole.shape, whole.dtype) == ((4, 5), np.float32)
    assert reward.predict(seen[1, 2], done[1, 2]) == pytest.approx(float(whole[1, 2]), abs=1e-6)
    members = reward.members(seen, done)
    assert members.shape == (3, 4, 5)
    np.testing.assert_allclose(members.mean(0), whole, atol=1e-6)
    assert members.std(0).min() > 0


def test_choices_and_dicts_are_read_as_the_environment_gives_them():
    space = spaces.Dict({"where": spaces.Discrete(3), "speed": box(2)})
    reward = made(space, spaces.Discrete(4))
    seen = {"where": np.array([0, 2]), "speed": np.zeros((2, 2))}
    both = reward.predict(seen, np.array([3, 3]))
    alone = reward.predict({"where": 2, "speed": np.zeros(2)}, 3)
    assert both[1] == pytest.approx(float(alone), abs=1e-6)
    assert both[0] != both[1]
    with pytest.raises(ConfigError, match="expected choices of"):
        reward.predict(seen, np.array([3, 4]))


def test_a_picture_is_judged_by_those_before_it():
    reward = made(
        spaces.Box(0, 255, (8, 8, 1), np.uint8), spaces.Discrete(3), mixed_precision=False
    )
    seen = np.random.default_rng(0).integers(256, size=(6, 8, 8, 1), dtype=np.uint8)
    done = np.arange(6) % 3
    whole = reward.predict(seen, done)
    np.testing.assert_allclose(reward.predict(seen[:4], done[:4]), whole[:4], atol=1e-5)
    assert abs(reward.predict(seen[3:], done[3:])[0] - whole[3]) > 1e-4
    side = reward.predict(np.stack([seen, seen[::-1]], 1), np.stack([done, done], 1))
    np.testing.assert_allclose(side[:, 0], whole, atol=1e-5)


def test_a_reward_of_transitions_needs_them():
    reward, rng = made(box(2), box(1), inputs="transition"), np.random.default_rng(0)
    seen, done, after = (rng.normal(size=(5, n)) for n in (2, 1, 2))
    with pytest.raises(ConfigError, match=r"expected next_observations, since .* transitions"):
        reward.predict(seen, done)
    with pytest.raises(ConfigError, match="expected ended, since"):
        reward.predict(seen, done, next_observations=after)
    with pytest.raises(ConfigError, match="expected next_observations"):
        reward.compare((seen, done), (seen, done))
    over = np.array([0, 0, 0, 0, 1], bool)
    told = {"next_observations": after, "ended": over}
    lives = reward.predict(seen, done, **told | {"ended": np.zeros(5, bool)})
    dies = reward.predict(seen, done, **told)
    np.testing.assert_array_equal(dies[:4], lives[:4])
    assert dies[4] != lives[4]
    both = {"observations": seen, "actions": done, **told}
    assert reward.compare(both, {**both, "ended": np.zeros(5, bool)}) != 0.5


def test_segments_are_compared_by_the_sum_of_their_steps_whatever_their_length():
    reward, rng = made(box(2), box(1)), np.random.default_rng(0)
    seen, done = rng.normal(size=(7, 2)), rng.normal(size=(7, 1))
    raw = reward.members(seen, done)  # not calibrated: as the net gives them
    margins = raw[:, :7].sum(1) - raw[:, :4].sum(1)
    expected = (1 / (1 + np.exp(-margins))).mean()
    longer, shorter = (seen, done), (seen[:4], done[:4])
    assert reward.compare(longer, shorter) == pytest.approx(expected, abs=1e-6)
    ended = {"observations": seen, "actions": done, "ended": np.arange(7) == 3}
    assert reward.compare(ended, shorter) == pytest.approx(0.5, abs=1e-6)
    both = reward.compare([longer, shorter], [shorter, longer])
    np.testing.assert_allclose(both, [expected, 1 - expected], atol=1e-6)


@pytest.mark.parametrize(
    ("seen", "done", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 1)), r"observations of shape \(2,\), or \(..., 2\)"),
        (np.zeros((5, 2)), np.zeros((5, 2)), r"actions of shape \(1,\)"),
        (np.zeros((5, 2)), np.zeros((4, 1)), "expected as many actions as observations"),
        (np.zeros(()), np.zeros(1), "expected observations of shape"),
    ],
)
def test_what_does_not_fit_is_refused(seen, done, message):
    with pytest.raises(ConfigError, match=message):
        made(box(2), box(1)).predict(seen, done)


def test_a_folder_gives_the_same_reward_again(run, tmp_path, capsys):
    main(["reward", str(run.root), "--output", str(tmp_path / "r")])
    assert f"the reward of {DOT}, from 20 comparisons" in " ".join(capsys.readouterr().out.split())
    names = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert names == ["README.md", "reward.json", "reward.safetensors"]
    first, again = load_reward(run.root), load_reward(tmp_path / "r")
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(9, *first.observation_space.shape))
    done = np.stack([first.action_space.sample() for _ in range(9)])
    np.testing.assert_array_equal(first.predict(seen, done), again.predict(seen, done))
    assert again.observation_space == first.observation_space
    assert again.about["labels"] == 20
    assert f"# Learned reward for {DOT}" in (tmp_path / "r" / "README.md").read_text()
    with pytest.raises(SystemExit) as exit_:
        main(["reward", str(run.root), "--output", str(tmp_path / "r")])
    assert exit_.value.code == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_damaged_folder_and_what_is_none_are_refused(run, tmp_path):
    folder = load_reward(run).save(tmp_path / "r")
    path = folder / "reward.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(RunDirectoryError, match="the tensors are not those"):
        load_reward(folder)
    with pytest.raises(RunDirectoryError, match="expected a run directory"):
        load_reward(tmp_path)
    (tmp_path / "config.json").write_text('{"method": "dpo"}')
    with pytest.raises(RunDirectoryError, match="a run of an agent in an environment, or the fol"):
        load_reward(tmp_path)


def test_a_run_without_a_fit_has_no_reward(run, tmp_path):
    (tmp_path / "config.json").write_text(run.config.read_text())
    with pytest.raises(RunDirectoryError, match="the run ended before its first fit"):
        load_reward(tmp_path)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float32),
        spaces.Box(np.array([0, -np.inf]), np.array([np.inf, 5]), dtype=np.float64),
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
        spaces.Discrete(4, start=1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1, (2, 2), np.float32)}),
    ],
)
def test_spaces_come_back_from_json(space):
    assert space_from_json(json.loads(json.dumps(space_as_json(space)))) == space


def test_an_environment_gives_the_learned_reward(run):
    reward = load_reward(run)
    env = prefrl.LearnedReward(Monitor(prefrl.adapt_spaces(gym.make(DOT))), reward)
    seen, _ = env.reset(seed=1)
    total, done = 0.0, False
    while not done:
        action = env.action_space.sample()
        expected = reward.predict(seen, action)
        seen, given, terminated, truncated, info = env.step(action)
        assert given == pytest.approx(float(expected), abs=1e-5)
        total += info["true_reward"]
        done = terminated or truncated
    assert info["episode"]["r"] == pytest.approx(total, abs=1e-4)  # Monitor logs the true return


def test_vectorised_and_alone_it_is_the_same(run):
    reward = load_reward(run)
    venv = prefrl.LearnedReward(make_vec_env(DOT, n_envs=2, seed=3), reward)
    alone = prefrl.LearnedReward(gym.make(DOT), reward)
    venv.reset()
    alone.reset(seed=3)
    for _ in range(49):
        actions = np.stack([venv.action_space.sample() for _ in range(2)])
        _, given, _, infos = venv.step(actions)
        _, own, *_, info = alone.step(actions[0])
        assert own == pytest.approx(float(given[0]), abs=1e-5)
        assert infos[0]["true_reward"] == pytest.approx(info["true_reward"], abs=1e-5)


def test_a_wrapper_remembers_pictures_and_forgets_them_with_their_episode():
    reward = made(
        spaces.Box(0, 255, (8, 8, 1), np.uint8), spaces.Discrete(3), mixed_precision=False
    )
    venv = prefrl.LearnedReward(DummyVecEnv([lambda: Screen(length=3)]), reward)
    venv.reset()
    given = [float(venv.step(np.array([1]))[1][0]) for _ in range(6)]
    seen = np.stack([np.full((8, 8, 1), t, np.uint8) for t in (1, 2, 3)])
    expected = reward.predict(seen, np.array([1, 1, 1])).tolist()
    assert given == pytest.approx([*expected, *expected], rel=1e-5)


def test_a_wrapper_refuses_what_the_reward_has_never_seen(run):
    reward = load_reward(run)
    with pytest.raises(ConfigError, match="expected observations as the reward was learned on"):
        prefrl.LearnedReward(gym.make("Pendulum-v1"), reward)
    with pytest.raises(ConfigError, match="inside of VecNormalize, got a VecNormalize inside"):
        prefrl.LearnedReward(VecNormalize(make_vec_env(DOT)), reward)
    with pytest.raises(ConfigError, match=r"a gymnasium.Env or a VecEnv .* got str"):
        prefrl.LearnedReward("Pendulum-v1", reward)


class Own(torch.nn.Linear):
    """A net of the user's own."""

    def __init__(self, n_inputs):
        super().__init__(n_inputs, 1)


def test_nets_of_ones_own_are_loaded_from_runs_alone(tmp_path):
    """A folder may come from others, and must not say what is run."""
    own = made(box(2), box(1), inputs="action", member=Own)
    assert own.predict(np.ones((3, 2)), np.ones((3, 1))).shape == (3,)
    with pytest.raises(ConfigError, match=r"net\.member"):
        own.save(tmp_path / "own")
    folder = made(box(2), box(1), inputs="action").save(tmp_path / "plain")
    told = json.loads((folder / "reward.json").read_text())
    told["net"]["member"] = "os:abort"
    (folder / "reward.json").write_text(json.dumps(told))
    with pytest.raises(RunDirectoryError, match="names code to run"):
        load_reward(folder)
