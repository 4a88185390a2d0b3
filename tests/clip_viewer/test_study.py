"""What the dashboard asks for again and again costs little while nothing is new."""

from types import SimpleNamespace

import pytest

from clip_viewer import study
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore


@pytest.fixture
def store():
    with LabelStore("sqlite://") as store:
        store.add_queries([Query(f"q{i}", "a", "b") for i in range(3)])
        yield store


def test_statistics_are_counted_anew_only_when_something_is_new(store, monkeypatch):
    counts = []

    def count(events, *marks, **about):
        counts.append(len(events))
        return statistics(events, *marks, **about)

    statistics = study.statistics
    monkeypatch.setattr(study, "statistics", count)
    monkeypatch.setattr(study, "_SECONDS_BETWEEN_COUNTS", 0.0)
    counted = study._Counted(SimpleNamespace(store=store))
    about = {"annotator_id": "anna"}
    assert [counted.get()["labels"] for _ in range(3)] == [0] * 3
    event = store.submit("q0", Answer.LEFT, submission_key="a", **about)
    assert [counted.get()["labels"] for _ in range(3)] == [1] * 3
    store.marks.add("q0", "anna", "flag", "raised", submission_key="flag")
    assert [len(counted.get()["flags"]) for _ in range(2)] == [1, 1]
    store.marks.add("q0", "owner", "gold", "right", submission_key="gold")
    assert [counted.get()["people"][0]["gold_error"]["n"] for _ in range(2)] == [1, 1]
    store.undo(event.id, submission_key="u", **about)
    assert [counted.get()["labels"] for _ in range(2)] == [0, 0]
    assert counts == [0, 1, 1, 1, 2]
