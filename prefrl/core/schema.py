"""The tables of the label store, and how an older store becomes one of this release.

``label_event`` is the truth and only grows: triggers forbid anything else. ``current_label``,
``tally`` and the state of a query are derived from it in the same transaction, so that a poll costs
the same with a million labels as with ten.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prefrl.errors import StoreError

__all__ = ["CURRENT", "EVENT", "HEAD", "LEASE", "QUERY", "TALLY", "create", "protect", "revision"]

HEAD = "0002"
"""The newest revision: the last file in ``migrations/versions``."""

_metadata = sa.MetaData()

QUERY = sa.Table(
    "query",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("left_item", sa.Text, nullable=False),
    sa.Column("right_item", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("env_steps", sa.Integer, nullable=False),
    sa.Column("priority", sa.Float, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
)
sa.Index("ix_query_urgency", QUERY.c.state, QUERY.c.priority.desc(), QUERY.c.created_at, QUERY.c.id)

EVENT = sa.Table(
    "label_event",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("query_id", sa.ForeignKey("query.id"), nullable=False),
    sa.Column("annotator_id", sa.Text, nullable=False),
    sa.Column("submission_key", sa.Text, nullable=False, unique=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("supersedes", sa.ForeignKey("label_event.id"), index=True),
    sa.Column("shown_at", sa.Float),
    sa.Column("answered_at", sa.Float, nullable=False),
    sa.Column("client_ms", sa.Float),
    sa.Column("order_shown", sa.Text),
    sa.Column("rubric_ver", sa.Text),
    sa.Column("server_ver", sa.Text, nullable=False),
    sa.CheckConstraint("answer IN ('left', 'right', 'tie', 'skip', 'undo')", name="known_answer"),
    sa.CheckConstraint("answer <> 'undo' OR supersedes IS NOT NULL", name="undo_of_something"),
    sa.Index("ix_label_event_current", "query_id", "annotator_id", "id"),
    sqlite_autoincrement=True,  # an id is never used again, so that it can be a cursor
)

CURRENT = sa.Table(
    "current_label",
    _metadata,
    sa.Column("query_id", sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, primary_key=True),
    sa.Column("event_id", sa.ForeignKey("label_event.id"), nullable=False, unique=True),
    sa.Column("answer", sa.Text, nullable=False),
)

TALLY = sa.Table(
    "tally",
    _metadata,
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("queries", sa.Integer, nullable=False),
)

LEASE = sa.Table(
    "lease",
    _metadata,
    sa.Column("query_id", sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

_VERSION = sa.table("alembic_version", sa.column("version_num", sa.Text))


def revision(connection: Connection) -> str | None:
    """The revision of the store; None for an empty database.

    Raises:
        StoreError: If the database holds something else, or is newer than this release.
    """
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" in tables:
        found = str(connection.execute(sa.select(_VERSION.c.version_num)).scalar_one())
        if found > HEAD:
            raise StoreError(
                f"expected a label store of revision {HEAD} or older, got {found}; update prefrl."
            )
        return found
    if "label_event" in tables and connection.dialect.name == "sqlite":
        return "0001"  # before there were revisions
    raise StoreError(
        f"expected a new database or a label store, got one with the tables {sorted(tables)}; "
        "choose another place."
    )


def create(connection: Connection) -> None:
    """Makes the tables of the newest revision in an empty database."""
    _metadata.create_all(connection)
    protect(connection)
    connection.execute(
        TALLY.insert(), [{"state": s, "queries": 0} for s in ("open", "answered", "skipped")]
    )
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.execute(_VERSION.insert().values(version_num=HEAD))


def protect(connection: Connection) -> None:
    """Forbids to change or remove events, in the database itself."""
    statements = _SQLITE_TRIGGERS if connection.dialect.name == "sqlite" else _POSTGRES_TRIGGERS
    for statement in statements:
        connection.exec_driver_sql(statement)


_SQLITE_TRIGGERS = [
    f"CREATE TRIGGER label_event_no_{name} BEFORE {event} "
    "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END"
    for name, event in {
        "update": "UPDATE ON label_event",
        "delete": "DELETE ON label_event",
        # INSERT OR REPLACE deletes the old row without firing a DELETE trigger.
        "replace": "INSERT ON label_event WHEN EXISTS (SELECT 1 FROM label_event "
        "WHERE id = NEW.id OR submission_key = NEW.submission_key)",
    }.items()
]

_POSTGRES_TRIGGERS = [
    "CREATE FUNCTION label_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'label_event is append-only'; END $$",
    "CREATE TRIGGER label_event_no_change BEFORE UPDATE OR DELETE ON label_event "
    "FOR EACH ROW EXECUTE FUNCTION label_event_is_append_only()",
    "CREATE TRIGGER label_event_no_truncate BEFORE TRUNCATE ON label_event "
    "FOR EACH STATEMENT EXECUTE FUNCTION label_event_is_append_only()",
]
