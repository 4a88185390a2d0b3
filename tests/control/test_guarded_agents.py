"""The guard in an agent's training: silent in an ordinary one, and what it does if it trips."""

import pytest
from guarding import rows_of, spy_on_questions

from prefrl import AgentConfig, PreferenceConfig, QueryConfig, TrainConfig, extend, train
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime import guard

DOT = "prefrl_envs:prefrl/MovingDot-v0"


def short(path, mode="warn", seed=0):
    preferences = PreferenceConfig(
        labels=60, segment_length=10, guard=mode, query=QueryConfig(warmup_segments=10)
    )
    agent = AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=4, hidden=(16,))
    about = {"steps": 16_000, "eval_episodes": 2, "films": False, "sync": True}
    return TrainConfig(DOT, run=path, seed=seed, preferences=preferences, agent=agent, **about)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_ordinary_training_does_not_trip_it(tmp_path, seed):
    rows = rows_of(train(short(tmp_path / "run", seed=seed)).run)
    assert len(rows) >= 5
    assert not any(int(row["tripped"]) for row in rows), rows


def test_it_ends_a_training_or_asks_for_more(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "LEAST_GAIN", -1e9)
    monkeypatch.setattr(guard, "LEAST_DISAGREEMENT", 0.0)
    result = train(short(tmp_path / "stopped", "stop"))
    assert result.finished
    assert result.summary["env_steps"] < 16_000
    assert result.run.policy.is_file()
    assert any(trouble.kind == "guard" for trouble in result.troubles)
    # Made longer, it goes on, and is watched as before.
    before = result.summary["env_steps"]
    with monkeypatch.context() as soon:
        soon.setattr(guard, "LOOKS_IN_A_ROW", 1)
        longer = extend(result.run, steps=400, labels=10)
    assert before < longer.summary["env_steps"] < 16_000
    assert longer.summary["labels"] > result.summary["labels"]
    asked = spy_on_questions(monkeypatch)
    more = train(short(tmp_path / "more", "ask"))
    assert more.summary["env_steps"] == 16_000
    with LabelStore(more.run.labels) as store:
        # What was asked in the last look of all may still be open.
        assert store.counts().open <= 8
        assert store.counts().answered >= sum(asked) - 8
    assert 0 < sum(asked) <= 8 * len(asked)
    with pytest.raises(ConfigError, match="expected guard to be one of"):
        train(short(tmp_path / "wrong", "loud"))
