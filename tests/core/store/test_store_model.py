"""A machine that does anything in any order, against a model of a few dicts."""

import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_places import DATABASES, new_place

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import Counts, LabelStore, Submission
from prefrl.core.store.labels import resolve
from prefrl.core.store.leases import LONGEST
from prefrl.errors import StoreError, SubmissionConflictError

QUERIES = [Query(f"q{i}", f"left{i}", f"right{i}") for i in range(5)]
ids = st.sampled_from([query.id for query in QUERIES])
annotators = st.sampled_from(["ann", "bob"])
clients = st.integers(0, 1)
choices = st.sampled_from(list(Answer))
keys = st.sampled_from([f"key{i}" for i in range(4)])  # few, so that they clash


class LabelStoreMachine(RuleBasedStateMachine):
    """Two clients of one store. Answers are by value, and None stands for an undo."""

    database = "sqlite"

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.place = self.stack.enter_context(new_place(self.database, folder))
        self.copies = folder
        self.now = 1e6
        self.clients = [self.open(), self.open()]
        self.numbers = itertools.count()
        self.queries = {}  # id: (priority, created_at)
        self.events = []  # LabelEvents as they were acknowledged
        self.bodies = {}  # submission key: (query_id, annotator_id, answer, supersedes)
        self.labels = {}  # (query_id, annotator_id): (event_id, answer or None)
        self.leases = {}  # query_id: (annotator_id, expires_at)
        self.held = []  # Lease objects that clients got
        self.readers = [({}, 0), ({}, 0)]  # labels and cursor

    def open(self):
        return LabelStore(self.place, clock=lambda: self.now)

    def teardown(self):
        for client in self.clients:
            client.close()
        self.stack.close()

    # What the store should be

    def answers(self, query_id):
        about = [a for (q, _), (_, a) in self.labels.items() if q == query_id]
        return [answer for answer in about if answer is not None]

    def open_ids(self):
        urgency = sorted(self.queries.items(), key=lambda item: (-item[1][0], item[1][1], item[0]))
        return [query_id for query_id, _ in urgency if not self.answers(query_id)]

    def stored(self, event):
        """Takes in an event that the store acknowledged."""
        body = (event.query_id, event.annotator_id, event.answer, event.supersedes)
        if event.submission_key in self.bodies:
            assert self.bodies[event.submission_key] == body
            assert event in self.events
            return
        assert event.id == len(self.events) + 1
        self.events.append(event)
        self.bodies[event.submission_key] = body
        if event.supersedes is not None:
            old = self.events[event.supersedes - 1]
            self.labels[old.query_id, old.annotator_id] = (event.id, None)
        self.labels[event.query_id, event.annotator_id] = (event.id, event.answer)

    # What clients do

    @initialize(which=st.lists(ids, unique=True, min_size=2))
    def begin(self, which):
        self.add(0, which, 0.0)

    @rule(client=clients, which=st.lists(ids, max_size=3), priority=st.sampled_from([0.0, 1.0]))
    def add(self, client, which, priority):
        new = {query_id: (priority, self.now) for query_id in which if query_id not in self.queries}
        added = self.clients[client].add_queries(
            [QUERIES[int(query_id[1:])] for query_id in which], priorities=[priority] * len(which)
        )
        assert added == len(new)
        self.queries |= new

    @rule(client=clients, query_id=ids, who=annotators, answer=choices, key=keys | st.none())
    def submit(self, client, query_id, who, answer, key, supersedes=None):
        key = f"new{next(self.numbers)}" if key is None else key
        body = (query_id, who, answer, supersedes)
        submission = Submission(query_id, answer, key, who, supersedes)
        try:
            (event,) = self.clients[client].submit_many([submission])
        except SubmissionConflictError:
            assert self.bodies[key] != body
        except StoreError:
            assert key not in self.bodies
            assert query_id not in self.queries
        else:
            assert (event.query_id, event.annotator_id, event.answer, event.supersedes) == body
            self.stored(event)

    @precondition(lambda self: self.events)
    @rule(client=clients, who=annotators, answer=choices, data=st.data())
    def replace(self, client, who, answer, data):
        old = data.draw(st.sampled_from(self.events))
        self.submit(client, old.query_id, who, answer, None, supersedes=old.id)

    @precondition(lambda self: self.events)
    @rule(client=clients, data=st.data())
    def retry(self, client, data):
        event = data.draw(st.sampled_from(self.events))
        store, name = self.clients[client], {"annotator_id": event.annotator_id}
        name["submission_key"] = event.submission_key
        undone = event.supersedes and self.events[event.supersedes - 1]
        if event.answer is None or (undone and undone.answer is None and data.draw(st.booleans())):
            try:
                assert store.undo(event.supersedes, **name) == event
            except SubmissionConflictError:  # it was a new answer after an undo, and no undo of it
                assert event.answer != self.events[undone.supersedes - 1].answer
            except StoreError:
                assert undone.annotator_id != event.annotator_id
        else:
            again = store.submit(event.query_id, event.answer, supersedes=event.supersedes, **name)
            assert again == event

    @precondition(lambda self: self.events)
    @rule(client=clients, data=st.data(), who=annotators, key=keys | st.none())
    def undo(self, client, data, who, key):
        old = data.draw(st.sampled_from(self.events[-4:]))
        key = f"new{next(self.numbers)}" if key is None else key
        answer = self.events[old.supersedes - 1].answer if old.answer is None else None
        body = (old.query_id, who, answer, old.id)
        try:
            event = self.clients[client].undo(old.id, annotator_id=who, submission_key=key)
        except SubmissionConflictError:
            assert self.bodies[key] != body
        except StoreError:
            newest, _ = self.labels[old.query_id, old.annotator_id]
            assert old.annotator_id != who or (newest != old.id and key not in self.bodies)
        else:
            assert (event.query_id, event.annotator_id, event.answer, event.supersedes) == body
            self.stored(event)

    @rule(client=clients, who=annotators, n=st.integers(0, 3), seconds=st.sampled_from([60, 600]))
    def lease(self, client, who, n, seconds):
        free = [
            query_id
            for query_id in self.open_ids()
            if query_id not in self.leases
            or self.leases[query_id][0] == who
            or not self.now < self.leases[query_id][1] <= self.now + LONGEST
        ]
        leases = self.clients[client].lease(who, n=n, seconds=seconds)
        assert [lease.query.id for lease in leases] == free[:n]
        for lease in leases:
            assert lease.expires_at == self.now + seconds
            known = [old.fence for old in self.held if old.query == lease.query]
            mine = self.leases.get(lease.query.id, (None, 0))[0] == who
            assert lease.fence == max(known, default=0) + (not mine)
            self.leases[lease.query.id] = (who, lease.expires_at)
            self.held.append(lease)

    @precondition(lambda self: self.held)
    @rule(client=clients, data=st.data())
    def renew(self, client, data):
        lease = data.draw(st.sampled_from(self.held))
        newest = max(old.fence for old in self.held if old.query == lease.query)
        holder, _ = self.leases.get(lease.query.id, (None, 0))
        is_held = holder == lease.annotator_id and lease.fence == newest
        renewed = self.clients[client].renew(lease, 300)
        assert (renewed is not None) == (is_held and lease.query.id in self.open_ids())
        if renewed:
            self.leases[lease.query.id] = (lease.annotator_id, self.now + 300)

    @rule(client=clients, who=annotators, which=st.lists(ids, max_size=3, unique=True))
    def release(self, client, who, which):
        mine = [q for q in which if self.leases.get(q, (None, 0))[0] == who]
        assert self.clients[client].release(who, which) == len(mine)
        for query_id in mine:
            del self.leases[query_id]

    @rule(seconds=st.sampled_from([1.0, 61.0, 601.0, 1e5, -30.0, -1e5]))
    def jump(self, seconds):
        self.now += seconds

    @rule(client=clients)
    def reopen(self, client):
        self.clients[client].close()
        self.clients[client] = self.open()

    @rule()
    def carry(self):
        self.clients[0].export_jsonl(self.copies / "labels.jsonl")
        self.clients[1].import_jsonl(self.copies / "labels.jsonl")  # which changes nothing
        with LabelStore("sqlite://") as copy:
            copy.import_jsonl(self.copies / "labels.jsonl")
            assert copy.events() == self.events
            assert copy.comparisons() == self.clients[0].comparisons()

    @rule(which=clients, limit=st.none() | st.integers(1, 3))
    def read(self, which, limit):
        labels, cursor = self.readers[which]
        for change in self.clients[which].changes(cursor, limit):
            labels[change.query.id, change.annotator_id] = change.answer
            cursor = change.event_id
        self.readers[which] = (labels, cursor)

    # What must be so all the time

    @invariant()
    def all_is_as_it_should_be(self):
        store = self.clients[len(self.events) % 2]
        assert store.events() == self.events
        current = [(n, q, a) for (q, _), (n, a) in self.labels.items() if a is not None]
        found = [(n, c.query.id, c.answer) for n, c in store.comparisons()]
        assert found == sorted(current, key=lambda label: label[0])
        said = {key: (event.id, event.answer) for key, event in resolve(self.events).items()}
        assert said == {key: label for key, label in self.labels.items() if label[1] is not None}
        given = [self.answers(query_id) for query_id in self.queries]
        skipped = sum(bool(a) and set(a) == {Answer.SKIP} for a in given)
        n_open = sum(not a for a in given)
        n = len(self.queries)
        assert store.counts() == Counts(n, n - skipped - n_open, skipped, n_open)
        assert [query.id for query in store.open_queries(9)] == self.open_ids()

    @invariant()
    def who_reads_on_has_the_current_labels(self):
        for which, (labels, cursor) in enumerate(self.readers):
            labels = dict(labels)
            for change in self.clients[which].changes(cursor):
                labels[change.query.id, change.annotator_id] = change.answer
            assert labels == {key: answer for key, (_, answer) in self.labels.items()}

    @invariant()
    def what_is_derived_fits(self):
        assert self.clients[0].check() == []


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize(
    "n_examples", [8, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
def test_a_store_is_what_a_few_dicts_say(database, n_examples):
    machine = type(f"LabelStoreMachine_{database}", (LabelStoreMachine,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=n_examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
