"""Undo, leases, and derived tables that make a poll cheap whatever the number of labels."""

import sqlalchemy as sa
from alembic import op

from prefrl.core.ledger import settle

revision = "0002"
down_revision = "0001"

_EVENT = """
CREATE TABLE label_event (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    query_id TEXT NOT NULL REFERENCES query (id),
    annotator_id TEXT NOT NULL,
    submission_key TEXT NOT NULL UNIQUE,
    answer TEXT NOT NULL,
    supersedes INTEGER REFERENCES label_event (id),
    shown_at FLOAT,
    answered_at FLOAT NOT NULL,
    client_ms FLOAT,
    order_shown TEXT,
    rubric_ver TEXT,
    server_ver TEXT NOT NULL,
    CONSTRAINT known_answer CHECK (answer IN ('left', 'right', 'tie', 'skip', 'undo')),
    CONSTRAINT undo_of_something CHECK (answer <> 'undo' OR supersedes IS NOT NULL)
)"""

_STATEMENTS = (
    "DROP VIEW current_label",
    "DROP TRIGGER label_event_no_update",
    "DROP TRIGGER label_event_no_delete",
    "DROP TRIGGER label_event_no_replace",
    # SQLite cannot change a constraint: the table is made anew. Ids stay, so cursors stay.
    "CREATE TABLE old_event AS SELECT * FROM label_event",
    "DROP TABLE label_event",
    _EVENT,
    "INSERT INTO label_event SELECT * FROM old_event ORDER BY id",
    "DROP TABLE old_event",
    "CREATE INDEX ix_label_event_current ON label_event (query_id, annotator_id, id)",
    "CREATE INDEX ix_label_event_supersedes ON label_event (supersedes)",
    "ALTER TABLE query ADD COLUMN state TEXT DEFAULT 'open' NOT NULL",
    "CREATE INDEX ix_query_urgency ON query (state, priority DESC, created_at, id)",
    """CREATE TABLE current_label (
        query_id TEXT NOT NULL REFERENCES query (id),
        annotator_id TEXT NOT NULL,
        event_id INTEGER NOT NULL UNIQUE REFERENCES label_event (id),
        answer TEXT NOT NULL,
        PRIMARY KEY (query_id, annotator_id)
    )""",
    "CREATE TABLE tally (state TEXT NOT NULL PRIMARY KEY, queries INTEGER NOT NULL)",
    """CREATE TABLE lease (
        query_id TEXT NOT NULL PRIMARY KEY REFERENCES query (id),
        annotator_id TEXT NOT NULL,
        expires_at FLOAT NOT NULL
    )""",
    "INSERT INTO tally SELECT 'open', count(*) FROM query",
    "INSERT INTO tally VALUES ('answered', 0), ('skipped', 0)",
)


def upgrade() -> None:
    """Adds the tables and fills them from the events; the events stay as they are."""
    from prefrl.core.schema import protect

    for statement in _STATEMENTS:
        op.execute(statement)
    connection = op.get_bind()
    answered = connection.execute(sa.text("SELECT DISTINCT query_id FROM label_event ORDER BY 1"))
    for query_id in answered.scalars().all():
        settle(connection, query_id)
    protect(connection)
