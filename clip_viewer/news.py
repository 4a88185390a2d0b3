"""What a run's files say of how it is going. They belong to other processes: here they are read."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Any

from clip_viewer.messages import AgentNews

__all__ = ["RunNews"]

_MOST_POINTS = 200
_SECONDS_OF_LIFE = 15.0


class RunNews:
    """The learning curve and the agent's state.

    Args:
        metrics: The run's table of metrics.
        status: The folder of what each role is doing.
        summary: The file that is there when the run is finished.
    """

    def __init__(self, metrics: Path | None, status: Path | None, summary: Path | None) -> None:
        self._metrics = metrics
        self._status = status
        self._summary = summary
        self._seen: tuple[int, int] | None = None
        self._rows: list[tuple[int, float]] = []

    def finished(self) -> bool:
        """Whether the training has come to its end."""
        return self._summary is not None and self._summary.is_file()

    def curve(self) -> list[tuple[int, float]]:
        """Environment steps and mean true return, thinned out evenly to a few hundred points."""
        self._read()
        if len(self._rows) <= _MOST_POINTS:
            return self._rows
        last = len(self._rows) - 1
        return [self._rows[i * last // (_MOST_POINTS - 1)] for i in range(_MOST_POINTS)]

    def agent(self) -> AgentNews:
        """What the agent said of itself last."""
        told: dict[str, Any] = {}
        if self._status is not None:
            with contextlib.suppress(OSError, ValueError):
                told = json.loads((self._status / "agent.json").read_text(encoding="utf-8"))
        told = told if isinstance(told, dict) else {}
        state, beat_at = told.get("state"), told.get("beat_at")
        self._read()
        newest = self._rows[-1] if self._rows else None
        about = told.get("about")
        troubles = about.get("troubles") if isinstance(about, dict) else None
        return AgentNews(
            state=state if isinstance(state, str) else "not running",
            waits=isinstance(state, str) and state.startswith("waiting for answers"),
            alive=isinstance(beat_at, float) and time.time() - beat_at < _SECONDS_OF_LIFE,
            env_steps=newest[0] if newest else None,
            true_return=newest[1] if newest else None,
            troubles=[str(text) for text in troubles] if isinstance(troubles, list) else [],
        )

    def _read(self) -> None:
        """Reads the table again if it has changed; a last line that is half written is left out."""
        if self._metrics is None:
            return
        try:
            about = self._metrics.stat()
            now = (about.st_mtime_ns, about.st_size)
            if now == self._seen:
                return
            text = self._metrics.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return
        rows = []
        for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                point = int(row["env_steps"]), float(row["true_return_mean"])
                if math.isfinite(point[1]):
                    rows.append(point)
        self._seen, self._rows = now, rows
