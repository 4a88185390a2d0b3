"""Who may sign in: links that work once, and the sessions that they open.

Stored in an SQLite file beside the label store that only its owner can read, so copies of the
labels contain no secrets. Links and sessions are stored as hashes only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefrl.core.store.labels import AI, DATASET, MACHINES, is_person
from prefrl.errors import ConfigError

__all__ = ["LONGEST_NAME", "TAKEN", "People", "Person", "Role", "write_token"]

Role = Literal["annotator", "owner"]

LONGEST_NAME = 64
"""Most characters in a person's name."""
TAKEN = (*sorted(MACHINES), f"{AI}…", DATASET, f"{DATASET}-…")
"""Names that nobody may have."""
_LINK_SECONDS = 7 * 86400.0
_SESSION_SECONDS = 30 * 86400.0
_TABLES = """
CREATE TABLE IF NOT EXISTS person (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS link (
    hash TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES person (name), expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS study (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES person (name), expires_at REAL NOT NULL);
"""


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in."""

    name: str
    """The annotator's id in the label store."""
    role: Role
    """An owner also sees the statistics, and invites others."""
    revoked: bool = False
    """Whether they were shut out."""


class People:
    """The people of one study.

    Args:
        path: The file, created if absent, readable by its owner only.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        with self._open() as connection:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO study SELECT ? WHERE NOT EXISTS (SELECT 1 FROM study)",
                (secrets.token_hex(8),),
            )
            (self.study,) = connection.execute("SELECT name FROM study").fetchone()

    def invite(self, name: str, *, role: Role | None = None) -> str:
        """Invites somebody, or gives them another link.

        Args:
            name: The person's name, which is their annotator id in the label store.
            role: Their role from now on; None keeps it, and makes new people annotators.

        Returns:
            The token of a link that works once, within a week.

        Raises:
            ConfigError: If the name is not allowed.
        """
        name, token = _checked(name), secrets.token_urlsafe(32)
        with self._open() as connection:
            connection.execute(
                "INSERT INTO person (name, role) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET role = coalesce(?, role), revoked = 0",
                (name, role or "annotator", role),
            )
            until = self._clock() + _LINK_SECONDS
            connection.execute("INSERT INTO link VALUES (?, ?, ?)", (_hash(token), name, until))
        return token

    def enter(self, token: str) -> tuple[str, Person] | None:
        """Redeems a link.

        Args:
            token: The link's token.

        Returns:
            The session's secret, for a cookie, and the person; None if the link is invalid.
        """
        session, now = secrets.token_urlsafe(32), self._clock()
        with self._open() as connection:
            used = connection.execute(
                "DELETE FROM link WHERE hash = ? RETURNING name, expires_at", (_hash(token),)
            ).fetchone()
            if used is None or used[1] < now:
                return None
            connection.execute("DELETE FROM session WHERE expires_at < ?", (now,))
            until = now + _SESSION_SECONDS
            connection.execute(
                "INSERT INTO session VALUES (?, ?, ?)", (_hash(session), used[0], until)
            )
        person = self.of_session(session)
        return None if person is None else (session, person)

    def of_session(self, session: str) -> Person | None:
        """The person of a session; None if it does not exist, has expired or was ended."""
        with self._open(write=False) as connection:
            found = connection.execute(
                "SELECT name, role FROM session JOIN person USING (name) "
                "WHERE hash = ? AND expires_at >= ? AND NOT revoked",
                (_hash(session), self._clock()),
            ).fetchone()
        return None if found is None else Person(*found)

    def has_sessions(self) -> bool:
        """Whether anybody is signed in."""
        with self._open(write=False) as connection:
            return connection.execute("SELECT 1 FROM session").fetchone() is not None

    def leave(self, session: str) -> None:
        """Ends a session."""
        with self._open() as connection:
            connection.execute("DELETE FROM session WHERE hash = ?", (_hash(session),))

    def revoke(self, name: str) -> bool:
        """Shuts a person out, with all links and sessions; returns whether the person existed."""
        with self._open() as connection:
            connection.execute("DELETE FROM link WHERE name = ?", (name,))
            connection.execute("DELETE FROM session WHERE name = ?", (name,))
            found = connection.execute("UPDATE person SET revoked = 1 WHERE name = ?", (name,))
            return found.rowcount > 0

    def all(self) -> list[Person]:
        """Everybody, by name."""
        with self._open(write=False) as connection:
            rows = connection.execute("SELECT name, role, revoked FROM person ORDER BY name")
            return [Person(name, role, bool(revoked)) for name, role, revoked in rows]

    @contextmanager
    def _open(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            # Readers do not wait for writers.
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            with connection:
                yield connection


def write_token(session: str) -> str:
    """The token that a page must send with every write; derived from the session alone."""
    return hmac.new(session.encode(), b"prefrl write token", "sha256").hexdigest()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _checked(name: str) -> str:
    name = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or not is_person(name):
        raise ConfigError(
            f"expected a name of 1 to {LONGEST_NAME} printable characters other than "
            f"{', '.join(TAKEN)}, got {name!r:.80}."
        )
    return name
