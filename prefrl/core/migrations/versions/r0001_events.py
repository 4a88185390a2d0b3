"""Queries and append-only events, on SQLite alone, known by ``PRAGMA user_version = 1``."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: stores of this revision were made before there were revisions."""
