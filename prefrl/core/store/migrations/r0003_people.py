"""Groups of pairs to rank, the media of items, and marks such as flags and gold pairs."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Only adds columns and tables; PostgreSQL sorts text by bytes, as everywhere in the store."""
    on_postgres = op.get_context().dialect.name == "postgresql"
    text = 'TEXT COLLATE "C"' if on_postgres else "TEXT"
    integer, number = ("BIGINT", "DOUBLE PRECISION") if on_postgres else ("INTEGER", "FLOAT")
    for statement in (
        f"ALTER TABLE query ADD COLUMN group_id {text}",
        "CREATE INDEX ix_query_group ON query (group_id) WHERE group_id IS NOT NULL",
        "CREATE INDEX ix_label_event_query ON label_event (query_id)",
        "CREATE INDEX ix_label_event_annotator ON label_event (annotator_id, id)",
        f"""CREATE TABLE medium (
            item_id {text} NOT NULL,
            media_id {text} NOT NULL,
            media_type {text} NOT NULL,
            PRIMARY KEY (item_id)
        )""",
        "CREATE INDEX ix_medium_media ON medium (media_id)",
        f"""CREATE TABLE mark (
            id {integer} NOT NULL,
            query_id {text} NOT NULL,
            annotator_id {text} NOT NULL,
            submission_key {text} NOT NULL,
            kind {text} NOT NULL,
            value {text} NOT NULL,
            made_at {number} NOT NULL,
            PRIMARY KEY (id),
            FOREIGN KEY(query_id) REFERENCES query (id),
            UNIQUE (submission_key)
        )""",
        "CREATE INDEX ix_mark_query ON mark (query_id, kind)",
    ):
        op.execute(statement)
