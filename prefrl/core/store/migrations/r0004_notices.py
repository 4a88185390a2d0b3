"""Notices about a run between processes on different machines."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Only adds a table."""
    on_postgres = op.get_context().dialect.name == "postgresql"
    text = 'TEXT COLLATE "C"' if on_postgres else "TEXT"
    op.execute(
        f"""CREATE TABLE notice (
            name {text} NOT NULL,
            content {text} NOT NULL,
            PRIMARY KEY (name)
        )"""
    )
