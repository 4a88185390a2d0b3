"""A judge's answers so far, on disk: nothing is asked twice, and a budget outlives its process.

``answers.jsonl`` has a line for each answer, with the digest of the question and the number of
tokens, and a line for each failure. It holds no texts except the judge's reasons, and no API key.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cache", "Said", "digest"]


@dataclass(frozen=True)
class Said:
    """The judge's answer to two items in one order."""

    better: str
    """"first", "second" or "tie"."""
    reason: str = ""
    """The reason, in the judge's own words."""


def digest(question: Mapping[str, Any]) -> str:
    """Returns a hash of a complete question."""
    content = json.dumps(question, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(content).hexdigest()


class Cache:
    """Answers by question, and the cost of all calls so far.

    Args:
        path: The file; None keeps everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.n_calls = 0
        """Calls to be paid for, including those whose answer could not be read."""
        self.n_tokens = 0
        """Tokens in their questions and answers, as counted by the server."""
        self.failures: Counter[str] = Counter()
        """Calls that failed, by kind."""
        self._path = path
        self._said: dict[str, Said] = {}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read(path)

    def _read(self, path: Path) -> None:
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a killed process may have left half a line
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, row: Mapping[str, Any]) -> None:
        self.n_calls += row.get("calls", 0)
        self.n_tokens += row.get("tokens", 0)
        if failed := row.get("failed"):
            self.failures[failed] += row.get("times", 1)
        if "better" in row:
            self._said[row["key"]] = Said(row["better"], row["reason"])

    def get(self, key: str) -> Said | None:
        """Returns the answer to a question; None if it was never answered."""
        return self._said.get(key)

    def answered(self, key: str, said: Said, *, tokens: int) -> None:
        """Stores an answer, which is on disk when this returns."""
        row = {"key": key, "better": said.better, "reason": said.reason}
        self._add([row | {"calls": 1, "tokens": tokens}])

    def failed(self, kind: str, *, calls: int = 0, tokens: int = 0, times: int = 1) -> None:
        """Counts calls without a usable answer.

        Args:
            kind: The kind of failure, in a word or two.
            calls: Number of them to be paid for.
            tokens: Number of tokens that they took.
            times: Number of failures.
        """
        self._add([{"failed": kind, "calls": calls, "tokens": tokens, "times": times}])

    def _add(self, rows: Sequence[dict[str, Any]]) -> None:
        if self._path is not None:
            lines = "".join(json.dumps(row | {"at": round(time.time(), 3)}) + "\n" for row in rows)
            with self._path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
        for row in rows:
            self._take(row)
