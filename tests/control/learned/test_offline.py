"""A reward is fitted to pairs that are there already."""

import sys

import numpy as np
import pytest
from control.test_train import DOT, short
from gymnasium import spaces

from prefrl import fit_reward, load_reward, train
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


def test_without_minari_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r"prefrl\[minari\]"):
        fit_reward("minari:some/thing-v0")
