"""Queries and append-only events in SQLite, as in stores from before there were revisions."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Does nothing: revisions upgrade a store but never make a new one."""
