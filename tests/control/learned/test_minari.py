"""Datasets of Minari: their rewards answer, or people do."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from labelling import Browser, link_in, wait_for

from prefrl import Drawing, FitConfig, RunDirectory, fit_reward, load_reward
from prefrl.cli import main
from prefrl.control.films.games import open_renderer
from prefrl.control.items import Items
from prefrl.control.learned.to_label import pairs_to_label
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, NotEnoughDataError, RunDirectoryError

minari = pytest.importorskip("minari")
# About what published datasets should tell of themselves.
pytestmark = pytest.mark.filterwarnings("ignore:`")


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def record(name, env, n, *, has_seed=True, shift=0.0, options=None):
    """Random play, as Minari's DataCollector keeps it."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    env.action_space.seed(0)
    episodes = []
    for seed in range(n):
        (seen, _), is_over = env.reset(seed=seed, options=options), False
        rows, observations = [], [seen]
        while not is_over:
            action = env.action_space.sample()
            seen, reward, terminated, truncated, _ = env.step(action)
            rows.append((action, float(reward), terminated, truncated))
            observations.append(seen + np.float32(shift) if shift else seen)
            is_over = terminated or truncated
        actions, rewards, terminations, truncations = map(list, zip(*rows, strict=True))
        episodes.append(
            EpisodeBuffer(
                id=seed,
                seed=seed if has_seed else None,
                options=options,
                observations=observations,
                actions=actions,
                rewards=rewards,
                terminations=terminations,
                truncations=truncations,
            )
        )
    minari.create_dataset_from_buffers(name, episodes, env=env, data_format="hdf5")
    return f"minari:{name}"


def pendulum(**options):
    return record("pendulum/random-v0", gym.make("Pendulum-v1", max_episode_steps=100), **options)


def cartpole(**options):
    return record("cart/random-v0", gym.make("CartPole-v1"), **options)


def answer_truly(run):
    items = Items(run)
    with LabelStore(run.labels) as store:
        for query in store.queries():
            left, right = (
                items.true_rewards(items[item]).sum() for item in (query.left, query.right)
            )
            answer = Answer.LEFT if left > right else Answer.RIGHT if right > left else Answer.TIE
            key = f"somebody/{query.id}"
            store.submit(query.id, answer, submission_key=key, annotator_id="somebody")


def test_of_episodes_that_end_it_is_seen_that_they_are_over():
    """Each step is worth 1, so only endings tell segments apart: living longer is better."""
    reward = fit_reward(cartpole(n=60), drawing=Drawing(300, 10))
    assert reward.inputs == "transition"
    seen = np.zeros((20, 4))
    worth = reward.predict(
        seen, np.zeros(20, int), next_observations=seen, ended=np.zeros(20, bool)
    )
    assert worth.mean() > 0


def test_a_dataset_is_fitted_to_from_the_shell(tmp_path):
    data = pendulum(n=6)
    main(["fit", data, "--output", str(tmp_path / "reward"), "--pairs", "150",
          "--segment-length", "20", "--teacher.eps-mistake", "0.02"])  # fmt: skip
    reward = load_reward(tmp_path / "reward")
    assert reward.about["env_id"] == "Pendulum-v1"
    assert reward.about["holdout_accuracy"] > 0.7
    with pytest.raises(NotEnoughDataError, match="longest episode has 100"):
        fit_reward(data, drawing=Drawing(5, 200))
    with pytest.raises(ConfigError, match="there are pendulum/random-v0"):
        fit_reward("minari:nothing/here-v0")
    with pytest.raises(ConfigError, match="at least 1 pair"):
        Drawing(0)


def test_people_are_shown_what_happened_in_the_dataset(tmp_path):
    """Each segment has what its film is made from, and the film shows its very moments."""
    told = []
    run = pairs_to_label(
        tmp_path / "pairs",
        cartpole(n=10),
        drawing=Drawing(8, 12),
        told=lambda *done: told.append(done),
    )
    assert told[-1] == (16, 16)
    items, config = Items(run), run.read_json(run.config)
    assert any(segment.n_held for segment in items.values())
    with open_renderer(config["env_id"], size=64) as renderer:
        for segment in items.values():
            assert segment.states.shape == (12, 2)
            assert renderer.frames(segment.states, segment.journals).shape[0] == 12
            played, number = gym.make("CartPole-v1"), int(segment.states[0, 0])
            beginning = json.loads(segment.journals[number].beginning)
            seen, _ = played.reset(seed=beginning["seed"])
            for action in segment.journals[number].actions[: segment.episode_step]:
                seen, *_ = played.step(action)
            assert np.array_equal(seen, segment.observations[0])


def test_states_of_a_simulator_are_those_of_the_dataset(tmp_path):
    env = gym.make("Hopper-v5")
    run = pairs_to_label(tmp_path / "pairs", record("hop/random-v0", env, 20), drawing=Drawing(6))
    for segment in Items(run).values():
        # What is seen are the positions but for the first, and the velocities.
        shown = segment.states[: segment.n_real, 1:6]
        assert np.allclose(segment.observations[: segment.n_real, :5], shown, atol=1e-6)
        assert len(segment.states) == 50


def test_answers_to_a_dataset_become_a_reward(tmp_path, capsys):
    run = pairs_to_label(tmp_path / "pairs", pendulum(n=6), drawing=Drawing(80, 20))
    answer_truly(run)
    reward = fit_reward(run)
    assert reward.about["env_id"] == "Pendulum-v1"
    assert reward.about["labels"] == 80
    assert reward.about["holdout_accuracy"] > 0.6
    commands = ["resume"], ["replay"], ["evaluate"], ["watch"], ["extend", "--steps", "9"]
    for command in (*commands, ["reward", "--output", str(tmp_path / "r")]):
        with pytest.raises(SystemExit):
            main([command[0], str(run.root), *command[1:]])
        assert "prefrl fit" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.timeout(240)
def test_a_dataset_is_labelled_on_the_page(tmp_path):
    from test_label import prefrl

    root, out = tmp_path / "pairs", tmp_path / "out"
    drawing = ["--pairs", "3", "--segment-length", "10"]
    with prefrl(out, "label", root, "--segments", cartpole(n=10), *drawing):
        browser = Browser(link_in(out))
        assert browser.me["title"] == "CartPole-v1"
        wait_for(browser.tasks)
        browser.label_while(lambda: browser.n_stored < 3)
    run = RunDirectory.open(root)
    with LabelStore(run.labels) as store:
        assert store.counts().answered == 3
    assert "prefrl fit" in out.read_text()


def test_what_cannot_be_played_again_is_refused_and_leaves_nothing(tmp_path):
    drawing, root = Drawing(4, 10), tmp_path / "pairs"
    with pytest.raises(ConfigError, match="expected the seed of episode"):
        pairs_to_label(root, cartpole(n=4, has_seed=False), drawing=drawing)
    minari.delete_dataset("cart/random-v0")
    with pytest.raises(ConfigError, match="something else after 1 of them"):
        pairs_to_label(root, cartpole(n=4, shift=0.1), drawing=drawing)
    with pytest.raises(ConfigError, match="as minari:NAME"):
        pairs_to_label(root, "pairs.npz", drawing=drawing)
    assert not root.exists()


def test_a_folder_of_other_pairs_is_not_mixed_up(tmp_path, capsys):
    data, root = cartpole(n=4), tmp_path / "pairs"
    run = pairs_to_label(root, data, drawing=Drawing(2, 10))
    before = run.labels.stat().st_mtime_ns
    assert pairs_to_label(root, data, drawing=Drawing(2, 10)).root == root  # it is there
    assert run.labels.stat().st_mtime_ns == before
    for other in (["--pairs", "3"], ["--segment-length", "10", "--pairs", "2", "--seed", "1"]):
        with pytest.raises(SystemExit):
            main(["label", str(root), "--segments", data, *other])
        assert "has pairs drawn as" in capsys.readouterr().err.replace("\n", " ")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(RunDirectoryError, match="has something else"):
        pairs_to_label(tmp_path / "full", data, drawing=Drawing(2, 10))


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    data, keep = cartpole(n=4), Items.keep

    def full(self, kept):
        if len(self) == 3:
            raise OSError("no space left")
        keep(self, kept)

    monkeypatch.setattr(Items, "keep", full)
    with pytest.raises(OSError, match="no space"):
        pairs_to_label(tmp_path / "pairs", data, drawing=Drawing(4, 10))
    assert {path.name for path in tmp_path.iterdir()} == {"datasets"}


def test_no_pair_is_asked_twice(tmp_path):
    run = pairs_to_label(tmp_path / "pairs", cartpole(n=2), drawing=Drawing(200, 10))
    with LabelStore(run.labels) as store:
        pairs = [frozenset((query.left, query.right)) for query in store.queries()]
    assert len(pairs) == len(set(pairs)) < 200
    assert all(len(pair) == 2 for pair in pairs)


def test_an_environment_is_made_as_it_was_recorded(tmp_path):
    """Options of a reset, a time limit of its own, a wrapper, and a module that registers it."""
    env = gym.wrappers.TimeAwareObservation(gym.make("Pendulum-v1", max_episode_steps=250))
    data = record("pendulum/own-v0", env, 3, options={"x_init": 0.3, "y_init": 0.2})
    run = pairs_to_label(tmp_path / "own", data, drawing=Drawing(3, 10))
    config = run.read_json(run.config)
    assert config["env"]["kwargs"] == {"max_episode_steps": 250}
    assert "TimeAwareObservation" in config["env"]["wrapper"][0]
    env = gym.make("prefrl_envs:prefrl/MovingDot-v0")
    run = pairs_to_label(tmp_path / "dot", record("dot/random-v0", env, 3), drawing=Drawing(3, 10))
    assert run.read_json(run.config)["env_id"] == "prefrl_envs:prefrl/MovingDot-v0"


def test_observations_that_are_turned_into_others_are_compared_and_fitted(tmp_path):
    env = gym.make("FrozenLake-v1", is_slippery=False)
    run = pairs_to_label(tmp_path / "l", record("lake/random-v0", env, 90), drawing=Drawing(60, 4))
    segments = list(Items(run).values())
    assert all(segment.observations.shape == (4, 16) for segment in segments)
    answer_truly(run)
    assert fit_reward(run).about["labels"] > 0


class Bright(gym.ObservationWrapper):
    """Pictures in the place of numbers, as bright as the pole leans."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (48, 48, 3), np.uint8)

    def observation(self, observation):
        return np.full((48, 48, 3), np.clip(128 + 400 * observation[2], 0, 255), np.uint8)


def test_pictures_are_labelled_and_fitted(tmp_path):
    """Minari keeps them as JPEG, so they differ a little; a net of four sees earlier ones."""
    data = record("bright/random-v0", Bright(gym.make("CartPole-v1")), 30)
    run = pairs_to_label(tmp_path / "pairs", data, drawing=Drawing(12, 6))
    for segment in Items(run).values():
        shown = segment.frames.unpack()
        assert shown.shape == (3 + 6, 3, 48, 48)
        assert (shown[:3].max((1, 2, 3)) > 0).sum() == min(3, segment.episode_step)
    answer_truly(run)
    reward = fit_reward(run, members=1, fit=FitConfig(max_steps=2, min_steps=1))
    assert reward.about["labels"] > 0
