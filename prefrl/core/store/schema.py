"""The tables of the label store. ``label_event`` is the truth; triggers ensure that it only grows.

``current_label`` and the ``state`` of a query are derived from the events in the same transaction,
so that a poll costs the same with a million labels as with ten. A change of the schema needs a new
revision in ``core.store.migrations``; a new store is made by ``create``, without the revisions.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prefrl.errors import StoreError

__all__ = [
    "CURRENT",
    "EVENT",
    "HEAD",
    "MARK",
    "MEDIUM",
    "NOTICE",
    "QUERY",
    "create",
    "revision",
    "stamp",
]

HEAD = "0004"
"""The newest revision in ``core.store.migrations``."""

# PostgreSQL sorts text by the locale of the database unless told otherwise; SQLite never does.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_INTEGER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")

_metadata = sa.MetaData()

QUERY = sa.Table(
    "query",
    _metadata,
    sa.Column("id", _TEXT, primary_key=True),
    sa.Column("left_item", _TEXT, nullable=False),
    sa.Column("right_item", _TEXT, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    # Steps of the run, also of a language model's; the column's name is that of the first stores.
    sa.Column("env_steps", _INTEGER, nullable=False),
    sa.Column("priority", sa.Float, nullable=False),
    # The following columns are not exported: they are derived from the events, or short-lived.
    sa.Column("state", _TEXT, nullable=False, server_default="open"),
    sa.Column("leased_by", _TEXT),
    sa.Column("leased_until", sa.Float),
    sa.Column("fence", _INTEGER, nullable=False, server_default="0"),
    # This one is exported. It came later, and SQLite adds columns at the end.
    sa.Column("group_id", _TEXT),
    sa.Index("ix_query_state", "state"),
)
sa.Index(
    "ix_query_group",
    QUERY.c.group_id,
    sqlite_where=sa.text("group_id IS NOT NULL"),
    postgresql_where=sa.text("group_id IS NOT NULL"),
)
sa.Index(
    "ix_query_open",
    QUERY.c.priority.desc(),
    QUERY.c.created_at,
    QUERY.c.id,
    sqlite_where=sa.text("state = 'open'"),
    postgresql_where=sa.text("state = 'open'"),
)

EVENT = sa.Table(
    "label_event",
    _metadata,
    # Assigned by us, without gaps and in the order of commits, so that it can serve as a cursor.
    sa.Column("id", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("query_id", sa.ForeignKey("query.id"), nullable=False),
    sa.Column("annotator_id", _TEXT, nullable=False),
    sa.Column("submission_key", _TEXT, nullable=False, unique=True),
    sa.Column("answer", _TEXT, nullable=False),
    sa.Column("supersedes", sa.ForeignKey("label_event.id")),
    sa.Column("shown_at", sa.Float),
    sa.Column("answered_at", sa.Float, nullable=False),
    sa.Column("client_ms", sa.Float),
    sa.Column("order_shown", _TEXT),
    sa.Column("rubric_ver", _TEXT),
    sa.Column("server_ver", _TEXT, nullable=False),
    sa.CheckConstraint("answer IN ('left', 'right', 'tie', 'skip', 'undo')", name="known_answer"),
    sa.CheckConstraint("answer <> 'undo' OR supersedes IS NOT NULL", name="undo_of_something"),
    sa.Index("ix_label_event_query", "query_id"),
    sa.Index("ix_label_event_annotator", "annotator_id", "id"),
)

CURRENT = sa.Table(
    "current_label",
    _metadata,
    sa.Column("query_id", _TEXT, primary_key=True),
    sa.Column("annotator_id", _TEXT, primary_key=True),
    sa.Column("answer", _TEXT),  # NULL if withdrawn
    sa.Column("event_id", _INTEGER, nullable=False),
    sa.Index("ix_current_label_event", "event_id"),
    sqlite_with_rowid=False,
)

# The medium of each item, which is made when the item must be shown, and made again if it is lost.
# So this is not exported.
MEDIUM = sa.Table(
    "medium",
    _metadata,
    sa.Column("item_id", _TEXT, primary_key=True),
    sa.Column("media_id", _TEXT, nullable=False),
    sa.Column("media_type", _TEXT, nullable=False),
    sa.Index("ix_medium_media", "media_id"),
)

# What annotators say about a query besides their answer; the newest mark of a kind counts.
MARK = sa.Table(
    "mark",
    _metadata,
    sa.Column("id", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("query_id", sa.ForeignKey("query.id"), nullable=False),
    sa.Column("annotator_id", _TEXT, nullable=False),
    sa.Column("submission_key", _TEXT, nullable=False, unique=True),
    sa.Column("kind", _TEXT, nullable=False),
    sa.Column("value", _TEXT, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Index("ix_mark_query", "query_id", "kind"),
)

# Notices between processes on different machines, the newest of each name. They are short-lived, so
# they are not exported.
NOTICE = sa.Table(
    "notice",
    _metadata,
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("content", _TEXT, nullable=False),
)

# Alembic's own table, so that Alembic can upgrade stores that were made without it.
_REVISION = sa.Table(
    "alembic_version",
    _metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

_APPEND_ONLY = {
    "sqlite": [
        "CREATE TRIGGER label_event_no_update BEFORE UPDATE ON label_event "
        "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
        "CREATE TRIGGER label_event_no_delete BEFORE DELETE ON label_event "
        "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
        # INSERT OR REPLACE deletes the old row without firing a DELETE trigger.
        "CREATE TRIGGER label_event_no_replace BEFORE INSERT ON label_event WHEN EXISTS "
        "(SELECT 1 FROM label_event WHERE id = NEW.id OR submission_key = NEW.submission_key) "
        "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION label_event_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'label_event is append-only'; END $$",
        "CREATE TRIGGER label_event_no_change BEFORE UPDATE OR DELETE ON label_event "
        "FOR EACH ROW EXECUTE FUNCTION label_event_append_only()",
        "CREATE TRIGGER label_event_no_truncate BEFORE TRUNCATE ON label_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION label_event_append_only()",
    ],
}


def revision(connection: Connection) -> str | None:
    """Returns the revision of the store in a database; None if the database is empty.

    Raises:
        StoreError: If it holds something else, or a store that a newer release made.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return None
    found = None
    if {"label_event", _REVISION.name} <= tables:
        found = str(connection.execute(sa.select(_REVISION.c.version_num)).scalar_one())
    elif "label_event" in tables and connection.dialect.name == "sqlite":
        # Before there were revisions, the number was in the file's header.
        found = f"{connection.exec_driver_sql('PRAGMA user_version').scalar_one():04}"
    if found is None or not found.isdecimal() or found == "0000":
        raise StoreError(
            f"expected a new database or a label store, got one with the tables {sorted(tables)}; "
            "choose another place."
        )
    if int(found) > int(HEAD):
        raise StoreError(
            f"expected a label store of version {int(HEAD)} or older, got version {int(found)}; "
            "update prefrl."
        )
    return found


def create(connection: Connection) -> None:
    """Makes the tables of the newest revision in an empty database.

    Args:
        connection: Connection in a transaction that writes.
    """
    _metadata.create_all(connection)
    for statement in _APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(_REVISION.insert().values(version_num=HEAD))
    stamp(connection)


def stamp(connection: Connection) -> None:
    """Tells releases from before there were revisions, too, that the store is too new for them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {int(HEAD)}")
