"""The guard in the training of a language model: silent, and what it does if it trips."""

from dataclasses import replace

import pytest
from guarding import rows_of, spy_on_questions

from prefrl.core.store import LabelStore
from prefrl.runtime import guard
from prefrl.text.train import align


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_ordinary_training_does_not_trip_it(config, seed):
    config = replace(config, seed=seed, responses=1280, labels=160, eval_responses=1)
    rows = rows_of(align(config).run)
    assert len(rows) >= 3
    assert {"run_steps", "gain", "disagreement", "kl", "length", "tripped"} == rows[0].keys()
    assert not any(int(row["tripped"]) for row in rows), rows


@pytest.mark.timeout(240)
def test_it_ends_a_training_or_asks_for_more(config, monkeypatch, tmp_path):
    monkeypatch.setattr(guard, "LEAST_GAIN", -1e9)
    monkeypatch.setattr(guard, "LEAST_DISAGREEMENT", 0.0)
    monkeypatch.setattr(guard, "LOOKS_IN_A_ROW", 2)
    config = replace(config, labels=60, eval_responses=1, responses=1280)
    result = align(replace(config, guard="stop"))
    assert result.finished
    assert result.summary["responses"] < 1280
    assert (result.run.model / "config.json").is_file()
    asked, heard = spy_on_questions(monkeypatch), []
    has_asked = guard.Guard.has_asked
    monkeypatch.setattr(
        guard.Guard, "has_asked", lambda self: heard.append(has_asked(self)) or heard[-1]
    )
    more = align(replace(config, guard="ask", run=tmp_path / "more"))
    assert more.summary["responses"] == 1280
    with LabelStore(more.run.labels) as store:
        # What was asked in the last look of all may still be open.
        assert store.counts().open <= 8
        assert store.counts().answered >= sum(asked) - 8
    assert 0 < sum(asked) <= 8 * len(asked)
    # What it asked is heard of in the very next batch, also where that batch asks of its own.
    assert len(heard) == more.summary["responses"] // config.batch
