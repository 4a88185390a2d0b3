"""Undo and leases, and derived tables that keep a poll cheap for any number of labels.

SQLite only: PostgreSQL came with this revision.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "DROP VIEW current_label",
    # SQLite cannot change a constraint, so the table is made anew with the same ids. Dropping a
    # table also drops its indexes and triggers.
    """CREATE TABLE label_event_new (
        id INTEGER NOT NULL,
        query_id TEXT NOT NULL,
        annotator_id TEXT NOT NULL,
        submission_key TEXT NOT NULL,
        answer TEXT NOT NULL,
        supersedes INTEGER,
        shown_at FLOAT,
        answered_at FLOAT NOT NULL,
        client_ms FLOAT,
        order_shown TEXT,
        rubric_ver TEXT,
        server_ver TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT known_answer CHECK (answer IN ('left', 'right', 'tie', 'skip', 'undo')),
        CONSTRAINT undo_of_something CHECK (answer <> 'undo' OR supersedes IS NOT NULL),
        FOREIGN KEY(query_id) REFERENCES query (id),
        UNIQUE (submission_key),
        FOREIGN KEY(supersedes) REFERENCES label_event (id)
    )""",
    "INSERT INTO label_event_new SELECT * FROM label_event ORDER BY id",
    "DROP TABLE label_event",
    "ALTER TABLE label_event_new RENAME TO label_event",
    "CREATE TRIGGER label_event_no_update BEFORE UPDATE ON label_event "
    "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
    "CREATE TRIGGER label_event_no_delete BEFORE DELETE ON label_event "
    "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
    "CREATE TRIGGER label_event_no_replace BEFORE INSERT ON label_event WHEN EXISTS "
    "(SELECT 1 FROM label_event WHERE id = NEW.id OR submission_key = NEW.submission_key) "
    "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END",
    """CREATE TABLE current_label (
        query_id TEXT NOT NULL,
        annotator_id TEXT NOT NULL,
        answer TEXT,
        event_id INTEGER NOT NULL,
        PRIMARY KEY (query_id, annotator_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX ix_current_label_event ON current_label (event_id)",
    # A label is given by the newest event about it; an answer that someone else replaced is gone.
    """INSERT INTO current_label
        SELECT query_id, annotator_id, answer, max(id) FROM (
            SELECT query_id, annotator_id, answer, id FROM label_event
            UNION ALL
            SELECT old.query_id, old.annotator_id, NULL, new.id
            FROM label_event AS new JOIN label_event AS old ON old.id = new.supersedes
            WHERE old.annotator_id <> new.annotator_id
        ) GROUP BY query_id, annotator_id""",
    "ALTER TABLE query ADD COLUMN state TEXT DEFAULT 'open' NOT NULL",
    "ALTER TABLE query ADD COLUMN leased_by TEXT",
    "ALTER TABLE query ADD COLUMN leased_until FLOAT",
    "ALTER TABLE query ADD COLUMN fence INTEGER DEFAULT '0' NOT NULL",
    """UPDATE query SET state = 'skipped' WHERE id IN
        (SELECT query_id FROM current_label WHERE answer = 'skip')""",
    """UPDATE query SET state = 'answered' WHERE id IN
        (SELECT query_id FROM current_label WHERE answer IN ('left', 'right', 'tie'))""",
    "CREATE INDEX ix_query_state ON query (state)",
    """CREATE INDEX ix_query_open ON query (priority DESC, created_at, id)
        WHERE state = 'open'""",
)


def upgrade() -> None:
    """Keeps every event unchanged, and derives the new tables from the events."""
    for statement in _STATEMENTS:
        op.execute(statement)
