import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_places import DATABASES, new_place

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, portable
from prefrl.errors import StoreError, SubmissionConflictError

LEFT, RIGHT, TIE, SKIP = Answer
HEADER = '{"kind": "prefrl labels", "version": 2}\n'


class Clock:
    """Gives times that no float of fewer digits could stand for."""

    def __init__(self):
        self.now = 1.7e9

    def __call__(self):
        self.now += 1 / 3
        return self.now


def fill(store):
    store.add_queries([Query(f"q{i}", "lëft", "right\n") for i in range(2)], run_steps=7)
    store.add_queries([Query("q2", "a", "b"), Query("q3", "a", "b", "g")], priorities=[0.1, -2])
    first = store.submit(
        "q0", LEFT, submission_key="k0", annotator_id="ann", shown_at=1.7e9 + 1 / 3, client_ms=0.1
    )
    store.submit("q1", SKIP, submission_key="k1", annotator_id="ünï", order_shown="right first")
    store.submit(
        "q0", TIE, submission_key="k2", annotator_id="rev", supersedes=first.id, rubric_ver="2"
    )
    last = store.submit("q2", RIGHT, submission_key="k3", annotator_id="ann")
    undone = store.undo(last.id, annotator_id="ann", submission_key="k4")
    store.undo(undone.id, annotator_id="ann", submission_key="k5")
    store.undo(2, annotator_id="ünï", submission_key="k6")
    store.marks.add("q0", "ünï", "flag", "raised", submission_key="m0")
    store.marks.add("q2", "ann", "gold", "left", submission_key="m1")


def lines_of(store, folder):
    store.export_jsonl(folder / "again.jsonl")
    return (folder / "again.jsonl").read_text().splitlines()


@pytest.fixture
def exported(tmp_path):
    with LabelStore("sqlite://", clock=Clock()) as store:
        fill(store)
        store.export_jsonl(tmp_path / "labels.jsonl")
    return tmp_path / "labels.jsonl"


def test_all_of_it_comes_back(place, tmp_path):
    with LabelStore(place, clock=Clock()) as store:
        fill(store)
        store.export_jsonl(tmp_path / "labels.jsonl")
        was = store.queries(), store.events(), store.comparisons(), store.counts(), store.changes()
        urgent, marks = store.open_queries(9), (store.marks.flags(), store.marks.gold())
    text = (tmp_path / "labels.jsonl").read_text()
    assert [json.loads(line)["kind"] for line in text.splitlines()] == (
        ["prefrl labels"] + ["query"] * 4 + ["event"] * 7 + ["mark"] * 2
    )
    with LabelStore("sqlite://") as there:
        there.import_jsonl(tmp_path / "labels.jsonl")
        there.import_jsonl(tmp_path / "labels.jsonl")  # which changes nothing
        assert was == (
            there.queries(),
            there.events(),
            there.comparisons(),
            there.counts(),
            there.changes(),
        )
        assert there.open_queries(9) == urgent
        assert (there.marks.flags(), there.marks.gold()) == marks
        assert lines_of(there, tmp_path) == text.splitlines()
        assert there.check() == []


def test_a_store_goes_into_the_other_database(exported, place, tmp_path):
    with LabelStore(place) as store:
        store.import_jsonl(exported)
        assert lines_of(store, tmp_path) == exported.read_text().splitlines()
        assert store.check() == []


def test_what_is_there_already_stays_and_the_rest_comes_after_it(exported, place):
    with LabelStore(place) as store:
        store.add_queries([Query("own", "a", "b"), Query("q0", "lëft", "right\n")], run_steps=99)
        store.submit("own", LEFT, submission_key="own", annotator_id="ann")
        first = store.submit("q0", LEFT, submission_key="k0", annotator_id="ann")
        store.import_jsonl(exported)
        events = store.events()
        assert [event.submission_key for event in events] == ["own", *(f"k{i}" for i in range(7))]
        assert events[1] == first  # with its own times
        assert [event.supersedes for event in events] == [None, None, None, 2, None, 5, 6, 3]
        assert store.counts().queries == 5
        assert store.check() == []


def test_files_of_the_first_version_are_read(place, tmp_path):
    first = [
        {"kind": "prefrl labels", "version": 1},
        {"kind": "query", "id": "q", "left_item": "a", "right_item": "b", "created_at": 1.0}
        | {"env_steps": 3, "priority": 0.5},
    ]
    (tmp_path / "first.jsonl").write_text("".join(json.dumps(line) + "\n" for line in first))
    with LabelStore(place) as store:
        store.import_jsonl(tmp_path / "first.jsonl")
        assert store.queries() == [Query("q", "a", "b")]


def test_batches_do_not_show(exported, place, monkeypatch, tmp_path):
    monkeypatch.setattr(portable, "_BATCH", 2)
    with LabelStore(place) as store:
        store.import_jsonl(exported)
        assert lines_of(store, tmp_path) == exported.read_text().splitlines()


def test_a_key_that_says_something_else_is_a_conflict(exported):
    with LabelStore("sqlite://") as store:
        store.add_queries([Query("q1", "lëft", "right\n")])
        store.submit("q1", LEFT, submission_key="k1", annotator_id="ünï")
        with pytest.raises(SubmissionConflictError, match="line 7: submission key 'k1' was used"):
            store.import_jsonl(exported)
        assert len(store.events()) == store.counts().queries == 1


EVENT = {
    "kind": "event",
    "submission_key": "new",
    "query_id": "q3",
    "annotator_id": "ann",
    "answer": "left",
    "supersedes": None,
    "shown_at": None,
    "answered_at": 1.0,
    "client_ms": None,
    "order_shown": None,
    "rubric_ver": None,
    "server_ver": "",
}
QUERY = {"kind": "query", "id": "new", "left_item": "a", "right_item": "b"}
QUERY |= {"created_at": 0, "env_steps": 0, "priority": 0.0, "group_id": None}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "expected JSON in UTF-8"),
        (b"\xff", "expected JSON in UTF-8"),
        (b"", "expected JSON in UTF-8"),
        (b"[" * 100_000, "expected JSON in UTF-8"),
        (b"[1]", "expected an object"),
        (b"{}", "expected a query, an event or a mark, got the kind None"),
        (HEADER.encode(), "expected a query, an event or a mark, got the kind 'prefrl labels'"),
        (b'{"kind": "query"}', "expected the fields"),
        (EVENT | {"more": 1}, "expected the fields"),
        (EVENT | {"answered_at": "now"}, "expected answered_at to be float"),
        (EVENT | {"answered_at": True}, "expected answered_at to be float"),
        (EVENT | {"answered_at": float("nan")}, "expected answered_at to be float"),
        (EVENT | {"client_ms": 10**400}, "expected client_ms to be float or null"),
        (EVENT | {"annotator_id": None}, "expected annotator_id to be str"),
        (EVENT | {"annotator_id": "\0"}, "annotator_id: expected text without NUL"),
        (EVENT | {"rubric_ver": "\ud800"}, "rubric_ver: expected text without NUL"),
        (EVENT | {"answer": "maybe"}, "expected an answer of undo, left"),
        (EVENT | {"query_id": "q9"}, "expected a query of this store, got 'q9'"),
        (EVENT | {"supersedes": "k9"}, "expected supersedes to be the key of an earlier event"),
        (EVENT | {"supersedes": "new"}, "expected supersedes to be the key of an earlier event"),
        (EVENT | {"supersedes": "k0"}, "expected supersedes to be an event on query 'q3'"),
        (EVENT | {"answer": "undo"}, "expected supersedes to be an event"),
        (
            EVENT | {"answer": "undo", "supersedes": "k2", "query_id": "q0"},
            "expected an undo to supersede an answer of 'ann', got event 3 of 'rev'",
        ),
        (
            EVENT | {"answer": "undo", "supersedes": "k4", "query_id": "q2"},
            "expected an undo to supersede an answer of 'ann', got event 5",
        ),
        (EVENT | {"submission_key": "k0"}, "submission key 'k0' was used"),
        (QUERY | {"id": "q3", "left_item": "other"}, "query 'q3' compares 'a' with 'b', got it"),
        (QUERY | {"env_steps": 2**64}, "expected env_steps to be int"),
        (QUERY | {"env_steps": 0.5}, "expected env_steps to be int"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(exported, path, line, complaint):
    line = line if isinstance(line, bytes) else json.dumps(line).encode()
    good = exported.read_bytes()
    exported.write_bytes(good + line + b"\n")
    with LabelStore(path) as store:
        with pytest.raises(StoreError) as caught:
            store.import_jsonl(exported)
        assert str(caught.value).startswith(f"line 15: {complaint}")
        assert store.counts().queries == len(store.events()) == 0
        exported.write_bytes(good)
        store.import_jsonl(exported)
        assert len(store.events()) == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "got an empty one"),
        (json.dumps(QUERY), "line 1: expected"),
        (HEADER.replace("2", "3"), "line 1: expected"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, text, complaint):
    (tmp_path / "labels.jsonl").write_text(text)
    with LabelStore("sqlite://") as store:
        with pytest.raises(StoreError, match=complaint):
            store.import_jsonl(tmp_path / "labels.jsonl")
        with pytest.raises(StoreError, match="expected a file to import"):
            store.import_jsonl(tmp_path / "missing.jsonl")
        with pytest.raises(StoreError, match="expected to write"):
            store.export_jsonl(tmp_path / "missing" / "labels.jsonl")


# --- anything at all

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
numbers = st.floats(-1e300, 1e300).map(lambda x: x + 0.0)  # SQLite keeps no sign of zero
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))


@pytest.mark.parametrize("database", DATABASES)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_changed_lines_are_taken_whole_or_refused_whole(exported, database, tmp_path, data):
    lines = exported.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["value", "bytes", "drop", "twice", "swap"])):
            case "value":
                try:
                    fields = json.loads(lines[number])
                except ValueError:  # changed before
                    continue
                if not isinstance(fields, dict):
                    continue
                fields[data.draw(st.sampled_from(list(fields)))] = data.draw(values)
                lines[number] = json.dumps(fields)
            case "bytes":
                at = data.draw(st.integers(0, len(lines[number])))
                lines[number] = lines[number][:at] + data.draw(texts) + lines[number][at + 1 :]
            case "drop":
                del lines[number]
            case "twice":
                lines.insert(number, lines[number])
            case "swap":
                lines[number], lines[0] = lines[0], lines[number]
    changed = Path(tmp_path / "changed.jsonl")
    changed.write_text("\n".join(lines))
    with new_place(database, tmp_path) as place, LabelStore(place) as store:
        try:
            store.import_jsonl(changed)
        except StoreError:
            assert store.queries() == store.events() == []
        assert store.check() == []
        again = lines_of(store, tmp_path)
    with LabelStore("sqlite://") as other:
        other.import_jsonl(tmp_path / "again.jsonl")
        assert lines_of(other, tmp_path) == again


@pytest.mark.parametrize("database", DATABASES)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(texts, min_size=6, max_size=6), number=numbers)
def test_any_words_come_back(database, tmp_path, words, number):
    query_id, left, key, annotator_id, order, rubric = words
    with new_place(database, tmp_path) as place, LabelStore(place) as store:
        store.add_queries([Query(query_id, left, "b")], priorities=[number])
        event = store.submit(
            query_id,
            TIE,
            submission_key=key,
            annotator_id=annotator_id,
            order_shown=order,
            rubric_ver=rubric,
            client_ms=number,
        )
        assert store.events() == [event]
        lines = lines_of(store, tmp_path)
    with LabelStore("sqlite://") as other:
        other.import_jsonl(tmp_path / "again.jsonl")
        assert other.events() == [event]
        assert lines_of(other, tmp_path) == lines
