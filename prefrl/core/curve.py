"""The learning curve in a run's table of metrics, as pages show it."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from pathlib import Path

__all__ = ["CURVE_COLUMNS", "LearningCurve"]

CURVE_COLUMNS = ("env_steps", "true_return_mean")
"""The columns that it is read from."""

_MOST_POINTS = 200


class LearningCurve:
    """Environment steps and mean true returns, read again when the table has changed.

    Args:
        metrics: The table, to which another process may be writing; None if there is none.
    """

    def __init__(self, metrics: Path | None) -> None:
        self._metrics = metrics
        self._seen: tuple[int, int] | None = None
        self._points: list[tuple[int, float]] = []

    @property
    def newest(self) -> tuple[int, float] | None:
        """The newest point; None if there is none."""
        self._read()
        return self._points[-1] if self._points else None

    def points(self) -> list[tuple[int, float]]:
        """Returns the points, thinned out evenly to a few hundred."""
        self._read()
        last = len(self._points) - 1
        if last < _MOST_POINTS:
            return self._points
        return [self._points[i * last // (_MOST_POINTS - 1)] for i in range(_MOST_POINTS)]

    def _read(self) -> None:
        """Reads the table again if it has changed, without an incomplete last line."""
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
        points, (steps, returns) = [], CURVE_COLUMNS
        for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                point = int(row[steps]), float(row[returns])
                if math.isfinite(point[1]):
                    points.append(point)
        self._seen, self._points = now, points
