"""A training that begins with answers, or with a reward, of an earlier one."""

import csv
import json
import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from control.test_train import DOT, short
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import prefrl
from prefrl import (
    LabelStore,
    PreferenceCallback,
    PreferenceConfig,
    QueryConfig,
    load_reward,
    train,
)
from prefrl.control.export import export_segments
from prefrl.control.items import Items
from prefrl.control.replay import replay_run
from prefrl.core.comparisons import Answer
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, NotEnoughDataError, PrefrlError


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("earlier"))).run


def begins_with(folder, **taken):
    """The same training as the earlier one, in a folder of its own, that begins with something."""
    config = short(folder)
    return replace(config, preferences=replace(config.preferences, **taken))


def answers_of(run):
    with LabelStore(run.labels) as store:
        return {(e.query_id, e.annotator_id): e.answer for e in store.events()}


def fits_of(run):
    return list(csv.DictReader(run.fits.read_text().splitlines()))


def test_from_answers_alone_a_reward_is_learned_and_nothing_is_asked(earlier, tmp_path):
    result = train(begins_with(tmp_path, labels=0, labels_from=(earlier.root,)))
    answers = answers_of(earlier)
    assert len(answers) > 5
    assert answers_of(result.run) == answers
    assert result.learned
    assert (result.summary["labels"], result.summary["reward_version"]) == (len(answers), 1)
    (fit,) = fits_of(result.run)
    assert int(fit["labels"]) == len(answers)
    for item in Items(earlier):
        assert np.array_equal(Items(earlier)[item].states, Items(result.run)[item].states)


def test_new_labels_are_asked_for_beside_those_that_were_taken(earlier, tmp_path):
    result = train(begins_with(tmp_path, labels=7, labels_from=(str(earlier.root),)))
    n = len(answers_of(earlier))
    assert result.summary["labels"] == n + 7
    first, *_, last = fits_of(result.run)
    assert (int(first["labels"]), int(last["labels"])) == (n, n + 7)


def test_what_it_began_with_may_be_removed_and_the_run_repeats_its_fits(earlier, tmp_path):
    copy = shutil.copytree(earlier.root, tmp_path / "copy")
    taken = {"labels_from": (str(copy),), "reward": str(copy)}
    # It waits for each fit that is due: a loaded machine would end before there is a second one.
    config = begins_with(tmp_path / "next", labels=12, max_stale_rollouts=1, **taken)
    result = train(replace(config, sync=False))
    shutil.rmtree(copy)
    fits = list(replay_run(result.run))
    assert len(fits) >= 2
    assert all(fit.same for fit in fits)
    assert json.loads(result.run.config.read_text())["preferences"]["labels_from"] == [str(copy)]


def test_it_is_resumed_and_extended_without_what_it_began_with(earlier, tmp_path, monkeypatch):
    copy = shutil.copytree(earlier.root, tmp_path / "copy")
    config = begins_with(tmp_path / "next", labels=0, labels_from=(str(copy),), reward=str(copy))
    monkeypatch.setattr("prefrl.control.train.finish_run", lambda *told: pytest.fail("too far"))
    monkeypatch.setattr("prefrl.control.agent_role.AgentRole.finish", lambda role: killed())

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    shutil.rmtree(copy)
    run = prefrl.RunDirectory(config.run)
    assert prefrl.resume(run).summary["labels"] == len(answers_of(earlier))
    longer = prefrl.extend(run, steps=1000, labels=3)
    assert longer.summary["labels"] == len(answers_of(earlier)) + 3
    told = json.loads(run.config.read_text())["preferences"]
    assert told["calibrate_on"] == "both"  # as when there were no labels: fits repeat


def test_a_script_goes_on_with_what_it_began_with(earlier, tmp_path):
    def learn(**told):
        venv = prefrl.HideReward(make_vec_env(lambda: prefrl.adapt_spaces(gym.make(DOT)), 2))
        model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
        callback = PreferenceCallback(
            PreferenceConfig(segment_length=10, query=QueryConfig(warmup_segments=10)),
            run=tmp_path / "script",
            total_steps=1024,
            **told,
        )
        model.learn(512, callback=callback)
        counts = callback.store.counts()
        callback.close()
        return callback, counts.answered

    n = len(answers_of(earlier))
    _, first = learn(labels=8, labels_from=earlier.root, reward=earlier.root)
    assert n < first <= n + 8
    again, second = learn(labels=8)  # as a script that was shortened
    assert second == n + 8
    assert again.config.reward == str(earlier.root)
    assert again.config.learner.standardize_on == "kept"
    with pytest.raises(ConfigError, match="began with"):
        learn(labels=8, labels_from=tmp_path)


def test_a_reward_of_a_script_is_read_as_it_was_made_where_episodes_end(tmp_path):
    venv = prefrl.HideReward(make_vec_env("CartPole-v1", 2))
    model = PPO("MlpPolicy", venv, n_steps=128, batch_size=64, n_epochs=1, device="cpu")
    callback = PreferenceCallback(
        PreferenceConfig(segment_length=8, query=QueryConfig(warmup_segments=10)),
        labels=10,
        run=tmp_path / "script",
    )
    model.learn(1024, callback=callback)
    config = begins_with(tmp_path / "run", labels=0, reward=str(tmp_path / "script"))
    result = train(replace(config, env_id="CartPole-v1"))
    assert result.summary["reward_version"] == 1
    assert load_reward(result.run).inputs == "action"


def test_two_files_about_the_same_pairs_are_two_ratings(earlier, tmp_path):
    env = prefrl.adapt_spaces(gym.make(DOT))
    arrays = {
        "observations": np.random.default_rng(0).normal(size=(2, 10, *env.observation_space.shape)),
        "actions": np.zeros((2, 10, *env.action_space.shape)),
        "pairs": np.array([[0, 1]]),
    }
    paths = [str(tmp_path / name) for name in ("first.npz", "second.npz")]
    for path, preference in zip(paths, (1.0, 0.0), strict=True):
        np.savez(path, **arrays, preferences=np.array([preference]))
    result = train(begins_with(tmp_path / "run", labels=0, labels_from=tuple(paths)))
    assert {whose: answer.preference for (_, whose), answer in answers_of(result.run).items()} == {
        "dataset": 1.0,
        "dataset-2": 0.0,
    }


def test_few_answers_are_fitted_though_a_first_fit_needs_more(earlier, tmp_path):
    config = begins_with(tmp_path, labels=4, labels_from=(str(earlier.root),), first_labels=300)
    assert train(config).summary["labels"] == len(answers_of(earlier)) + 4


def test_an_export_is_as_good_as_its_run(earlier, tmp_path):
    path = tmp_path / "answers.jsonl"
    lines = list(export_segments(earlier, "preference").lines())
    assert all(json.loads(line)["chosen"]["env_steps"] > 0 for line in lines)  # which policy acted
    rows = [json.loads(line) for line in lines]
    rows[0]["chosen"]["film"] = "films/a.webm"  # as with --films
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train(begins_with(tmp_path / "run", labels=0, labels_from=(str(path),)))
    decided = [a for a in answers_of(earlier).values() if a.preference in (0.0, 1.0)]
    answers = answers_of(result.run)
    assert {whose for _, whose in answers} == {"dataset"}
    assert len(answers) == len(decided)


def test_arrays_of_segments_with_a_table_of_pairs(earlier, tmp_path):
    config = begins_with(tmp_path / "run")
    env = prefrl.adapt_spaces(gym.make(DOT))
    n, shape = 6, env.observation_space.shape
    arrays = {
        "observations": np.random.default_rng(0).normal(size=(n, 10, *shape)),  # float64
        "actions": np.zeros((n, 10, *env.action_space.shape)),
        "pairs": np.array([[0, 1], [2, 3], [4, 5], [0, 1]]),
        "preferences": np.array([1.0, 0.0, 0.5, 0.0]),
    }
    path = tmp_path / "pairs.npz"
    np.savez(path, **arrays)
    taken = replace(config.preferences, labels=0, labels_from=(str(path),))
    result = train(replace(config, preferences=taken))
    assert sorted(whose for _, whose in answers_of(result.run)) == [
        "dataset",
        "dataset",
        "dataset",
        "dataset-2",
    ]
    assert result.run.fits.is_file()

    np.savez(path, **{**arrays, "preferences": np.array([0.7, 0, 0.5, 0])})
    with pytest.raises(ConfigError, match=r"0, 0\.5 or 1 without a margin.*got 0\.7"):
        train(begins_with(tmp_path / "soft", labels=0, labels_from=(str(path),)))
    assert not (tmp_path / "soft").exists()
    np.savez(path, **{**arrays, "pairs": np.array([[0, 6]] * 4)})
    with pytest.raises(ConfigError, match="rows of 6 segments in pairs, got 0 and 6"):
        train(begins_with(tmp_path / "rows", labels=0, labels_from=(str(path),)))


@pytest.mark.parametrize("sync", [True, False])
def test_a_reward_without_labels_stays_as_it_is(earlier, tmp_path, sync):
    result = train(replace(begins_with(tmp_path, labels=0, reward=str(earlier.root)), sync=sync))
    assert (result.summary["labels"], result.summary["reward_version"]) == (0, 1)
    assert result.learned
    before, after = load_reward(earlier).net.state_dict(), load_reward(result.run).net.state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)
    rows = list(csv.DictReader(result.run.metrics.read_text().splitlines()))
    assert {row["reward_version"] for row in rows} == {"1"}


def test_labels_improve_on_a_reward_and_keep_the_constants_of_its_inputs(earlier, tmp_path):
    folder = load_reward(earlier).save(tmp_path / "reward")
    config = begins_with(tmp_path / "run", labels=6, reward=str(folder), members=7)
    result = train(config)
    before, after = load_reward(folder), load_reward(result.run)
    assert after.net.n_members == before.net.n_members == 3  # those of the reward
    assert bool((before.net.input_scale == after.net.input_scale).all())
    assert not bool((before.net.weights[0] == after.net.weights[0]).all())
    assert [int(fit["fit"]) for fit in fits_of(result.run)][:2] == [1, 2]


def test_a_script_begins_with_them_as_well_and_goes_on_in_parts(earlier, tmp_path):
    n = len(answers_of(earlier))
    for run in (None, tmp_path / "script"):
        venv = prefrl.HideReward(make_vec_env(lambda: prefrl.adapt_spaces(gym.make(DOT)), 2))
        model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
        callback = PreferenceCallback(
            PreferenceConfig(segment_length=10),
            labels=0,
            labels_from=earlier.root,
            reward=earlier.root,
            run=run,
        )
        model.learn(256, callback=callback)
        model.learn(256, callback=callback, reset_num_timesteps=False)
        assert callback.store.counts().answered == n
        assert callback.partners.used.version == 2  # the reward, and it fitted to the answers
        callback.close()
    again = PreferenceCallback(PreferenceConfig(segment_length=10), labels=3, run=run)
    model.learn(256, callback=again, reset_num_timesteps=False)
    assert again.partners.used.version >= 2


@pytest.mark.parametrize(
    ("taken", "error", "said"),
    [
        ({"labels_from": ("missing",)}, ConfigError, "no file missing"),
        ({"reward": "missing"}, PrefrlError, "missing has none"),
        ({"labels_from": ("empty.jsonl",)}, NotEnoughDataError, "at least one pair"),
        ({"labels_from": ("no.jsonl",)}, ConfigError, "a dict or a tuple of arrays, got 3"),
        ({}, ConfigError, "at least 1, or 0 with labels_from or reward"),
    ],
)
def test_what_cannot_be_taken_along_is_refused_before_anything_is_made(
    tmp_path, monkeypatch, taken, error, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "no.jsonl").write_text('{"left": 3}\n')
    with pytest.raises(error, match=said):
        train(begins_with(tmp_path / "run", labels=0, **taken))
    assert not (tmp_path / "run").exists()


def test_answers_about_another_environment_are_refused(earlier, tmp_path):
    config = begins_with(tmp_path / "run", labels=0, labels_from=(str(earlier.root),))
    with pytest.raises(ConfigError, match="numbers in their observations, as the environment has"):
        train(replace(config, env_id="Pendulum-v1"))
    config = begins_with(tmp_path / "run", labels=0, reward=str(earlier.root))
    with pytest.raises(ConfigError, match="as the reward was learned on"):
        train(replace(config, env_id="Pendulum-v1"))


def test_of_answers_from_another_environment_it_is_said(earlier, tmp_path, caplog):
    train(begins_with(tmp_path / "same", labels=0, labels_from=(str(earlier.root),)))
    assert "may not be good here" not in caplog.text
    copy = shutil.copytree(earlier.root, tmp_path / "copy")
    told = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**told, "env_id": "far:away/Other-v3"}))
    train(begins_with(tmp_path / "next", labels=0, labels_from=(str(copy),)))
    assert "is from far:away/Other-v3: what is good there may not be good here" in caplog.text


def test_how_sure_people_were_is_taken_along_and_fitted(earlier, tmp_path):
    copy = prefrl.RunDirectory(shutil.copytree(earlier.root, tmp_path / "copy"))
    with LabelStore(copy.labels) as store:
        queries = store.queries()
        for name in ("ann", "bob"):
            for query in queries[:2]:
                key = f"{name}-{query.id}"
                store.marks.add_strength(query.id, name, "slightly", answer_key=key)
                store.submit(query.id, Answer.LEFT, submission_key=key, annotator_id=name)
        n = len(store.events())

    def fitted():
        report = prefrl.fit_reward(copy.root, fit=FitConfig(max_steps=2)).report
        return sorted(report.preference)

    assert len(fitted()) == n
    assert fitted().count(0.75) == 4
    told = json.loads(copy.config.read_text())
    told["preferences"] |= {"slightly": 0.6, "majority": True}
    copy.config.write_text(json.dumps(told))
    assert len(fitted()) == n - 4
    # Two votes of three count; the oracle, which is sure, may have said the same.
    assert sum(round(p, 3) in (0.6, 0.733) for p in fitted()) == 2

    result = train(begins_with(tmp_path / "next", labels=0, labels_from=(str(copy.root),)))
    with LabelStore(result.run.labels) as store:
        strengths, events = store.marks.strengths(), {event.id: event for event in store.events()}
    assert {(events[i].query_id, events[i].annotator_id) for i in strengths} == {
        (query.id, name) for query in queries[:2] for name in ("ann", "bob")
    }
