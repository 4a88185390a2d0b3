"""A reward is fitted to pairs that are there already."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from control.test_train import DOT, short
from gymnasium import spaces

from prefrl import Drawing, fit_reward, load_reward, train
from prefrl.cli import main
from prefrl.errors import ConfigError, MissingExtraError, NotEnoughDataError


class Line:
    """Where being far to the right is better: what is seen is where one is."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)


SAME = {"observations": np.zeros((3, 2)), "actions": np.zeros((3, 1))}
OTHER = np.ones((3, 2)), np.zeros((3, 1))


def drawn(rng, n, *, lengths=(20,)):
    """Segments, float64, and their true returns."""
    segments = [
        {"observations": rng.normal(size=(t, 2)), "actions": rng.uniform(-1, 1, (t, 1))}
        for t in rng.choice(lengths, size=n)
    ]
    return segments, np.array([segment["observations"][:, 0].sum() for segment in segments])


def compared(rng, n, **options):
    """Pairs with the probability that a true Bradley-Terry teacher prefers the left one."""
    left, right = drawn(rng, n, **options), drawn(rng, n, **options)
    soft = 1 / (1 + np.exp(right[1] - left[1]))
    return list(zip(left[0], right[0], soft.tolist(), strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("run"))).run


def test_soft_preferences_of_segments_of_unequal_length_teach_the_reward():
    rng = np.random.default_rng(0)
    reward = fit_reward(compared(rng, 600, lengths=(10, 20, 30)), Line())
    seen = rng.normal(size=(1000, 2))
    predicted = reward.predict(seen, np.zeros((1000, 1)))
    assert np.corrcoef(predicted, seen[:, 0])[0, 1] > 0.97
    assert reward.about["labels"] == 600
    assert reward.about["holdout_accuracy"] > 0.85
    assert reward.about["calibration_error"] < 0.1


def test_a_margin_pulls_scores_further_apart():
    """Two kinds of segments, one always better: by how much is what the margin says."""
    good, bad = (
        {"observations": np.full((5, 2), side), "actions": np.zeros((5, 1))} for side in (1.0, -1.0)
    )

    def gap(margin):
        reward = fit_reward([(good, bad, 1.0, margin)] * 40, Line(), seed=1)
        batch = reward.net.collate([reward.segment(good), reward.segment(bad)])
        scores = reward.net.score(batch).detach().mean(0)
        return float(scores[0] - scores[1])

    assert gap(3.0) > gap(0.0) + 1


def test_the_answers_of_a_run_give_a_reward_as_accurate_as_its_own(run):
    reward, own = fit_reward(run.root), load_reward(run)
    assert reward.about["labels"] == own.about["labels"] == 20
    assert reward.observation_space == own.observation_space
    assert reward.about["env_id"] == DOT


def test_from_the_shell_it_is_a_folder_with_a_card_and_a_figure(run, tmp_path, capsys):
    folder = tmp_path / "reward"
    main(["fit", str(run.root), "--output", str(folder)])
    assert "from 20 comparisons" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {
        "reward.safetensors",
        "reward.json",
        "README.md",
        "calibration.png",
    }
    assert load_reward(folder).about["labels"] == 20
    with pytest.raises(SystemExit):
        main(["fit", str(run.root), "--output", str(folder)])
    assert "exists and is not empty" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("pairs", "env", "error", "said"),
    [
        ([], Line(), NotEnoughDataError, "at least one pair"),
        ([(1, 2)], Line(), ConfigError, "as \\(left, right, preference\\)"),
        ([(SAME, SAME, 1.0)], Line(), ConfigError, "one that is on both sides"),
        ([(3, 4, 1.0)], Line(), ConfigError, "a dict or a tuple of arrays"),
        (
            [(SAME, (SAME["observations"] + 1, SAME["actions"]), "left")],
            Line(),
            ConfigError,
            "left",
        ),
        (
            [({**SAME, "held": 9}, SAME, 1.0)],
            Line(),
            ConfigError,
            "held as a number of the 3",
        ),
        ([({}, {}, 1.0)], Line(), ConfigError, "with observations and actions"),
        ("missing.npz", Line(), ConfigError, "no file missing.npz"),
        ("missing.npz", None, ConfigError, "give env"),
    ],
)
def test_what_cannot_be_fitted_to_is_refused(pairs, env, error, said):
    with pytest.raises(error, match=said):
        fit_reward(pairs, env)


@pytest.mark.parametrize("preference", [1.2, -0.1, float("nan")])
def test_a_preference_is_a_probability(preference):
    (one,) = compared(np.random.default_rng(0), 1)
    with pytest.raises(ConfigError, match=r"a preference in \[0, 1\]"):
        fit_reward([(*one[:2], preference)], Line())


def ending(seed):
    """An episode of CartPole at random, which ends by itself."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    env, rng = gym.make("CartPole-v1"), np.random.default_rng(seed)
    observations, actions, over = [env.reset(seed=seed)[0]], [], False
    while not over:
        actions.append(int(rng.integers(2)))
        seen, _, over, _, _ = env.step(actions[-1])
        observations.append(seen)
    n = len(actions)
    return EpisodeBuffer(
        id=seed,
        observations=observations,
        actions=actions,
        rewards=[1.0] * n,
        terminations=[False] * (n - 1) + [True],
        truncations=[False] * n,
    )


@pytest.mark.filterwarnings("ignore:`")
def test_of_episodes_that_end_it_is_seen_that_they_are_over(tmp_path, monkeypatch):
    """Each step is worth 1, so only endings tell segments apart: living longer is better."""
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [ending(seed) for seed in range(60)]
    minari.create_dataset_from_buffers(
        "cart/random-v0", episodes, env=gym.make("CartPole-v1"), data_format="hdf5"
    )
    reward = fit_reward("minari:cart/random-v0", drawing=Drawing(300, 10))
    assert reward.inputs == "transition"
    seen = np.zeros((20, 4))
    worth = reward.predict(
        seen, np.zeros(20, int), next_observations=seen, ended=np.zeros(20, bool)
    )
    assert worth.mean() > 0


def recorded(env, seed):
    """An episode of random play, as Minari keeps it."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    rng, (seen, _) = np.random.default_rng(seed), env.reset(seed=seed)
    observations, actions, rewards = [seen], [], []
    for _ in range(100):
        actions.append(rng.uniform(-2, 2, 1).astype(np.float32))
        seen, reward, *_ = env.step(actions[-1])
        observations.append(seen)
        rewards.append(float(reward))
    return EpisodeBuffer(
        id=seed,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=[False] * 100,
        truncations=[False] * 99 + [True],
    )


@pytest.mark.filterwarnings("ignore:`")  # about what published datasets should tell of themselves
def test_a_dataset_of_minari(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gym.make("Pendulum-v1", max_episode_steps=100)
    minari.create_dataset_from_buffers(
        "pendulum/random-v0",
        [recorded(env, seed) for seed in range(6)],
        env=env,
        data_format="hdf5",
    )
    main(["fit", "minari:pendulum/random-v0", "--output", str(tmp_path / "reward"),
          "--pairs", "150", "--segment-length", "20"])  # fmt: skip
    reward = load_reward(tmp_path / "reward")
    assert reward.about["env_id"] == "Pendulum-v1"
    assert reward.about["holdout_accuracy"] > 0.7
    with pytest.raises(NotEnoughDataError, match="longest episode has 100"):
        fit_reward("minari:pendulum/random-v0", drawing=Drawing(5, 200))
    with pytest.raises(ConfigError, match="there are pendulum/random-v0"):
        fit_reward("minari:nothing/here-v0")


def test_without_minari_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r"prefrl\[minari\]"):
        fit_reward("minari:some/thing-v0")
