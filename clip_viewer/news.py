"""Reads a run's progress from its files, which other processes write."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_viewer.messages import AgentNews, FirstOut, Phase
from prefrl.core.curve import LearningCurve

__all__ = ["RunNews"]

_SECONDS_OF_LIFE = 15.0
_SECONDS_TO_START = 120.0  # making environments and nets takes long, without a heartbeat
_WRITING = "finishing"
_AT_THE_END = (_WRITING, "stopped")
_SECONDS_TO_MAKE = 3.0  # environments and nets
_SECONDS_TO_ACT = 4.0  # until there is enough to compare, while the speed is unknown
_SECONDS_TO_DRAW = 2.0


class RunNews:
    """The learning curve and the agent's state.

    Args:
        metrics: The run's table of metrics.
        status: The folder with the status of each role.
        finished: Files, one of which exists once the training has finished.
        trains: Whether there is an agent, now or later.
    """

    def __init__(
        self,
        metrics: Path | None,
        status: Path | None,
        *,
        finished: Sequence[Path] = (),
        trains: bool = True,
    ) -> None:
        self._curve = LearningCurve(metrics)
        self._status = status
        self._finished = finished
        self._trains = trains
        self._acting_since: tuple[float, int] | None = None

    def curve(self) -> list[tuple[int, float]]:
        """Returns environment steps and mean true return, thinned out to a few hundred points."""
        return self._curve.points()

    def agent(self, *, for_owner: bool, asked: int | None = None) -> AgentNews:
        """The agent's latest status.

        Args:
            for_owner: Whether to include its return, which would lead annotators.
            asked: Number of pairs, answered or not, if somebody is waiting for the first one.
        """
        told = self._told()
        state, beat_at = told.get("state"), told.get("beat_at")
        newest = self._curve.newest
        about = told.get("about")
        troubles = about.get("troubles") if isinstance(about, dict) else None
        longest = _SECONDS_TO_START if state == "starting" else _SECONDS_OF_LIFE
        alive = isinstance(beat_at, float) and time.time() - beat_at < longest
        phase = self._phase(state, alive)
        return AgentNews(
            phase=phase,
            state=state if isinstance(state, str) else "not running",
            waits=isinstance(state, str) and state.startswith("waiting for answers"),
            env_steps=newest[0] if newest else None,
            true_return=newest[1] if newest and for_owner else None,
            troubles=[str(text) for text in troubles]
            if for_owner and isinstance(troubles, list)
            else [],
            first=self._first(phase, told, asked),
        )

    def _told(self) -> dict[str, Any]:
        told: Any = {}
        if self._status is not None:
            with contextlib.suppress(OSError, ValueError):
                told = json.loads((self._status / "agent.json").read_text(encoding="utf-8"))
        return told if isinstance(told, dict) else {}

    def _first(self, phase: Phase, told: dict[str, Any], asked: int | None) -> FirstOut | None:
        """Describes what happens before the first pair; None if nobody is waiting for it."""
        if asked is None or phase not in ("starting", "training"):
            return None
        if asked:
            return FirstOut(doing="drawing", seconds=_SECONDS_TO_DRAW)
        if phase == "starting":
            return FirstOut(
                doing="making" if told.get("state") else "beginning",
                seconds=_SECONDS_TO_MAKE + _SECONDS_TO_ACT + _SECONDS_TO_DRAW,
            )
        about = told.get("about")
        about = about if isinstance(about, dict) else {}
        done, needed = about.get("env_steps"), about.get("first_steps")
        if not isinstance(done, int) or not isinstance(needed, int):
            return FirstOut(doing="acting", seconds=None)
        if self._acting_since is None or done < self._acting_since[1]:
            self._acting_since = time.monotonic(), done
        since, before = self._acting_since
        seconds = _SECONDS_TO_ACT
        if done > before:
            seconds = max(0, needed - done) * (time.monotonic() - since) / (done - before)
        return FirstOut(doing="acting", seconds=seconds + _SECONDS_TO_DRAW)

    def _phase(self, state: object, alive: bool) -> Phase:
        """The phase of the training. A script may continue training after it has saved a policy."""
        if not self._trains:
            return "none"
        if alive and state not in _AT_THE_END:
            return "starting" if state == "starting" else "training"
        if any(path.is_file() for path in self._finished):
            return "finished"
        if state is None:
            return "starting"
        return "training" if alive and state == _WRITING else "stopped"
