"""Queries and append-only events in SQLite; stores from before there were revisions."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: a store is never made by its revisions, only brought forward."""
