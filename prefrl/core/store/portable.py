"""The label store as lines of JSON, for other programs, other databases, and archives.

The first line describes the file. All queries follow, then all events in their order, then the
marks. An event refers to the event that it supersedes by submission key, since ids differ between
stores.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prefrl.core.comparisons import Answer
from prefrl.core.disk import whole_file
from prefrl.core.store.database import Database
from prefrl.core.store.labels import LabelEvent, check_text
from prefrl.core.store.ledger import Draft, add_events, add_queries, by_column
from prefrl.core.store.marks import add_mark
from prefrl.core.store.schema import EVENT, MARK, QUERY
from prefrl.errors import StoreError

__all__ = ["export_jsonl", "import_jsonl"]

_HEADER = {"kind": "prefrl labels", "version": 2}
_FIRST_HEADER = _HEADER | {"version": 1}  # without groups and marks
_BATCH = 2000
_NULL = type(None)

_QUERY_FIELDS: Mapping[str, tuple[type, ...]] = {
    "id": (str,),
    "left_item": (str,),
    "right_item": (str,),
    "created_at": (float,),
    "env_steps": (int,),
    "priority": (float,),
    "group_id": (str, _NULL),
}
_EVENT_FIELDS: Mapping[str, tuple[type, ...]] = {
    "submission_key": (str,),
    "query_id": (str,),
    "annotator_id": (str,),
    "answer": (str,),
    "supersedes": (str, _NULL),
    "shown_at": (float, _NULL),
    "answered_at": (float,),
    "client_ms": (float, _NULL),
    "order_shown": (str, _NULL),
    "rubric_ver": (str, _NULL),
    "server_ver": (str,),
}
_MARK_FIELDS: Mapping[str, tuple[type, ...]] = {
    "submission_key": (str,),
    "query_id": (str,),
    "annotator_id": (str,),
    # Not "kind", which is the kind of the line.
    "mark": (str,),
    "value": (str,),
    "made_at": (float,),
}
_ANSWERS = {"undo": None} | {answer.value: answer for answer in Answer}


def export_jsonl(database: Database, path: Path) -> None:
    """Writes a snapshot of all queries, events and marks while others continue writing.

    Args:
        database: Database of the store.
        path: The new file, which appears only when it is complete. An existing one is replaced.

    Raises:
        StoreError: If the file cannot be written.
    """
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_line(_HEADER))
        for fields in _exported(database):
            file.write(_line(fields))


def import_jsonl(database: Database, path: Path) -> None:
    """Adds the contents of a file to a store, all or nothing; existing entries stay unchanged.

    The events keep their order, and follow those that the store has.

    Args:
        database: Database of the store.
        path: A file from ``export_jsonl``.

    Raises:
        SubmissionConflictError: If a submission key was used for something else in the store.
        StoreError: If a line is not as ``export_jsonl`` writes it, or does not fit the store; names
            the line.
    """
    try:
        with path.open("rb") as file, database.transaction(write=True) as connection:
            _Import(connection).run(file)
    except OSError as error:
        raise StoreError(f"expected a file to import at {path}, but {error.strerror}.") from error


def _exported(database: Database) -> Iterator[dict[str, Any]]:
    # No transaction stays open for long: as events are only ever added, those up to some id are
    # a snapshot, and their queries already exist.
    ((last,),) = database.rows(sa.select(sa.func.coalesce(sa.func.max(EVENT.c.id), 0)))
    columns = [QUERY.c[name] for name in _QUERY_FIELDS]
    for row in database.rows(sa.select(*columns).order_by(QUERY.c.created_at, QUERY.c.id)):
        yield {"kind": "query", **row._mapping}
    old = EVENT.alias("old")
    fields = [EVENT.c[name] for name in _EVENT_FIELDS if name != "supersedes"]
    events = (
        sa.select(EVENT.c.id, *fields, old.c.submission_key.label("supersedes"))
        .outerjoin(old, old.c.id == EVENT.c.supersedes)
        .order_by(EVENT.c.id)
        .limit(_BATCH)
    )
    since = 0
    while rows := database.rows(events.where(EVENT.c.id > since, EVENT.c.id <= last)):
        for row in rows:
            yield {"kind": "event", **{name: row._mapping[name] for name in _EVENT_FIELDS}}
        since = rows[-1].id
    marks = [MARK.c.kind.label("mark") if n == "mark" else MARK.c[n] for n in _MARK_FIELDS]
    for row in database.rows(sa.select(*marks).order_by(MARK.c.id)):
        yield {"kind": "mark", **row._mapping}


def _line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"


class _Import:
    """Reads lines in batches, as one statement for each line would take minutes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = list[tuple[dict[str, Any], str]]()
        self._events = list[tuple[str, dict[str, Any]]]()
        self._keys = set[str]()

    def run(self, file: BinaryIO) -> None:
        is_first_version = False
        for number, line in enumerate(file, start=1):
            where = f"line {number}: "
            fields = _parsed(line, where)
            kind = fields.pop("kind", None)
            if number == 1:
                _check_header({"kind": kind, **fields})
                is_first_version = fields["version"] == 1
            elif kind == "query":
                if is_first_version:
                    fields["group_id"] = None
                self._queries.append((_checked(fields, _QUERY_FIELDS, where), where))
            elif kind == "event":
                self._event(where, _checked(fields, _EVENT_FIELDS, where))
            elif kind == "mark":
                self._mark(where, _checked(fields, _MARK_FIELDS, where))
            else:
                raise StoreError(
                    f"{where}expected a query, an event or a mark, got the kind {kind!r}."
                )
            if len(self._queries) >= _BATCH or len(self._events) >= _BATCH:
                self._flush()
        if not file.tell():
            raise StoreError("expected a file that export_jsonl wrote, got an empty one.")
        self._flush()

    def _event(self, where: str, row: dict[str, Any]) -> None:
        if row["answer"] not in _ANSWERS:
            raise StoreError(
                f"{where}expected an answer of {', '.join(_ANSWERS)}, got {row['answer']!r}."
            )
        if row["supersedes"] in self._keys:
            self._flush()  # so that the superseded event has an id
        self._events.append((where, row))
        self._keys.add(row["submission_key"])

    def _mark(self, where: str, row: dict[str, Any]) -> None:
        self._flush()
        try:
            add_mark(self._connection, {"kind": row.pop("mark"), **row}, where)
        except ValueError as error:
            raise StoreError(str(error)) from error

    def _flush(self) -> None:
        add_queries(self._connection, self._queries)
        self._queries.clear()
        keys = [row["supersedes"] for _, row in self._events if row["supersedes"] is not None]
        ids = {
            r.submission_key: r.id
            for r in by_column(self._connection, EVENT.c.submission_key, keys)
        }
        drafts = list[Draft]()
        for where, row in self._events:
            if row["supersedes"] is not None and row["supersedes"] not in ids:
                raise StoreError(
                    f"{where}expected supersedes to be the key of an earlier event, got "
                    f"{row['supersedes']!r}."
                )
            known = {"answer": _ANSWERS[row["answer"]], "supersedes": ids.get(row["supersedes"])}
            drafts.append(Draft(LabelEvent(id=0, **(row | known)), where))
        if drafts:
            add_events(self._connection, drafts)
        self._events.clear()
        self._keys.clear()


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}expected JSON in UTF-8, but {error}.") from error
    if not isinstance(fields, dict):
        raise StoreError(f"{where}expected an object, got {line[:40]!r}.")
    return fields


def _check_header(fields: Mapping[str, Any]) -> None:
    if fields not in (_HEADER, _FIRST_HEADER):
        raise StoreError(
            f"line 1: expected {json.dumps(_HEADER)}, got {fields!r:.80}; import what "
            "export_jsonl wrote, with a release that is as new."
        )


def _checked(
    fields: dict[str, Any], expected: Mapping[str, tuple[type, ...]], where: str
) -> dict[str, Any]:
    if fields.keys() != expected.keys():
        raise StoreError(f"{where}expected the fields {list(expected)}, got {list(fields)}.")
    return {name: _value(name, fields[name], types, where) for name, types in expected.items()}


def _value(name: str, value: Any, types: tuple[type, ...], where: str) -> Any:
    if float in types and type(value) is int and abs(value) <= 2**53:
        value = float(value)
    fits = type(value) in types
    if isinstance(value, float):
        fits = fits and math.isfinite(value)
    if isinstance(value, int):
        fits = fits and abs(value) <= sys.maxsize
    if not fits:
        wanted = " or ".join("null" if t is _NULL else t.__name__ for t in types)
        raise StoreError(f"{where}expected {name} to be {wanted}, got {value!r:.40}.")
    try:
        check_text(value if isinstance(value, str) else None)
    except ValueError as error:
        raise StoreError(f"{where}{name}: {error}") from error
    return value
