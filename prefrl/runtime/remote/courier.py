"""The courier: carries news between a run and its labelling pages on other machines.

On the run's machine it tells what the agent is doing, its learning curve, and whether it has
finished, and notes who is at the pages. On a page's machine it does the reverse. Each side finds
the news in the files where it would find it if all were on one machine, so neither the page nor the
agent knows of the distance. The news travels as notices in the label store. A notice counts as new
when it changes, by the clock of whoever reads it.

It is a role of its own: ``python -m prefrl.runtime.remote.courier courier RUN``.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefrl.core.curve import CURVE_COLUMNS, LearningCurve
from prefrl.core.store import LabelStore
from prefrl.core.store.waiting import WAITING_FOR_STORE
from prefrl.errors import StoreUnavailableError
from prefrl.runtime.people.presence import PAGES_ELSEWHERE
from prefrl.runtime.remote.places import is_elsewhere
from prefrl.runtime.roles.role import Heartbeat, RoleStatus, StopSignal, read_status
from prefrl.runtime.roles.role_process import run_role
from prefrl.runtime.roles.supervisor import STOPPED, RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import replace_file

__all__ = ["FINISHED", "ROLE", "PageSide", "RunSide", "courier_command", "main", "results_of"]

ROLE = "courier"
"""The role of its process."""
FINISHED = "finished"
"""File in a page's folder that exists once the run elsewhere has finished."""

_AGENT = "agent"
_PAGES = "page/"
_SECONDS_BETWEEN_ROUNDS = 0.5
_SECONDS_OF_SILENCE = 10.0  # after which a page, or what it said, is not believed any more
_SECONDS_BETWEEN_SIGNS = 4.0  # where nothing has changed but that one is alive

_log = logging.getLogger(__name__)


class RunSide:
    """The courier on the machine of a run.

    Args:
        run: Which run.
        store: Its label store.
        clock: Gives the seconds since 1970.
    """

    def __init__(
        self, run: RunDirectory, store: LabelStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._run = run
        self._store = store
        self._curve = LearningCurve(run.metrics)
        self._told = _Told(store, _AGENT, clock)
        self._pages = _Heard(clock)
        self._heartbeat = Heartbeat(run, PAGES_ELSEWHERE)

    def step(self) -> None:
        """Tells what is new here, and notes what is new elsewhere."""
        status = read_status(self._run, "agent")
        content: dict[str, Any] = {
            "status": None if status is None else {"state": status.state, "about": status.about},
            "beat": 0.0 if status is None else status.beat_at,
            "curve": [[*point] for point in self._curve.points()],
            "finished": any(path.is_file() for path in results_of(self._run)),
        }
        self._told.tell(content)
        pages = self._pages.alive(self._store.notices.all(_PAGES))
        self._heartbeat.beat(
            "labelling" if pages else "nobody",
            people=sum(int(page.get("people", 0)) for page in pages),
            pixels=max((int(page.get("pixels", 0)) for page in pages), default=0),
        )


class PageSide:
    """The courier on the machine of a page.

    Args:
        run: The page's folder.
        store: The label store of the run.
        clock: Gives the seconds since 1970.
    """

    def __init__(
        self, run: RunDirectory, store: LabelStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._run = run
        self._store = store
        self._clock = clock
        self._heard: dict[str, Any] = {}
        self._curve: object = None
        self._started_at = clock()
        self._name = f"{_PAGES}{run.read_json(run.store)['page']}"
        self._told = _Told(store, self._name, clock)

    def step(self) -> None:
        """Tells who is here, and notes what the run tells."""
        page = read_status(self._run, "viewer")
        is_here = page is not None and self._clock() - page.beat_at < _SECONDS_OF_SILENCE
        about = page.about if page is not None and is_here else {}
        told = {name: int(about.get(name, 0) or 0) for name in ("people", "pixels")}
        # It says each time that it is alive: without that, the people here count as gone.
        self._told.tell({**told, "beat": page.beat_at if page is not None and is_here else 0.0})
        heard = self._store.notices.get(_AGENT)
        if heard is not None and heard != self._heard:
            self._note(heard)
            self._heard = heard

    def close(self) -> None:
        """Takes its notice away: nobody is at the page any more."""
        self._store.notices.remove(self._name)

    def _note(self, heard: Mapping[str, Any]) -> None:
        if heard["status"] is not None and heard.get("beat") != self._heard.get("beat"):
            told = heard["status"]
            # What was there before this process may be old, and has only a short credit.
            at = self._clock() - (0.0 if self._heard else _SECONDS_OF_SILENCE)
            status = RoleStatus(_AGENT, 0, told["state"], at, self._started_at, told["about"])
            _write(self._run.status / f"{_AGENT}.json", json.dumps(asdict(status)))
        if heard["curve"] != self._curve:
            table = io.StringIO()
            csv.writer(table).writerows([CURVE_COLUMNS, *heard["curve"]])
            _write(self._run.metrics, table.getvalue())
            self._curve = heard["curve"]
        if heard["finished"]:
            (self._run.status / FINISHED).touch()
        else:
            (self._run.status / FINISHED).unlink(missing_ok=True)


def _write(path: Path, content: str) -> None:
    """Replaces a file with news of the moment, which need not survive a power cut."""
    replace_file(path, content.encode(), point="status", forced=False)


class _Told:
    """Leaves a notice where something has changed; where only time has passed, less often.

    Args:
        store: Where.
        name: Name of the notice.
        clock: Gives the seconds since 1970.
    """

    def __init__(self, store: LabelStore, name: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._told: dict[str, Any] = {}
        self._at = float("-inf")

    def tell(self, content: dict[str, Any]) -> None:
        """Leaves the notice, unless it was said just now.

        Args:
            content: Its content; ``beat`` says that one is alive, and changes with time.
        """
        is_new = {**content, "beat": 0} != {**self._told, "beat": 0}
        is_due = self._clock() - self._at >= _SECONDS_BETWEEN_SIGNS and content != self._told
        if is_new or is_due:
            self._store.notices.put(self._name, content)
            self._told, self._at = content, self._clock()


class _Heard:
    """Tells which notices are kept up to date, by the clock of this machine.

    Args:
        clock: Gives the seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[dict[str, Any], float]] | None = None

    def alive(self, notices: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the notices that have changed or appeared lately."""
        now = self._clock()
        before = self._seen
        self._seen = {}
        for name, content in notices.items():
            # What is there at the first look may be from long ago.
            at = float("-inf") if before is None else now
            if before is not None and name in before and before[name][0] == content:
                at = before[name][1]
            self._seen[name] = content, at
        return [told for told, at in self._seen.values() if now - at < _SECONDS_OF_SILENCE]


def courier_command(run: RunDirectory) -> RoleCommand:
    """Returns the command that starts the courier of a run, or of a page's folder."""
    argv = [sys.executable, "-m", "prefrl.runtime.remote.courier", ROLE, str(run.root)]
    return RoleCommand(ROLE, argv, essential=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries news until told to stop; returns the exit code."""
    return run_role({ROLE: _carry}, arguments)


def _carry(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    heartbeat.beat("starting")
    is_page = is_elsewhere(run.read_json(run.config))
    with LabelStore(run.label_store) as store:
        side: RunSide | PageSide = PageSide(run, store) if is_page else RunSide(run, store)
        while not stop.requested:
            heartbeat.beat("carrying" if _tried(side.step) else WAITING_FOR_STORE)
            time.sleep(_SECONDS_BETWEEN_ROUNDS)
        _tried(side.step)  # how it ended
        if isinstance(side, PageSide):
            _tried(side.close)
    return STOPPED


def _tried(step: Callable[[], None]) -> bool:
    """Does a step; returns whether the label store was there for it."""
    try:
        step()
    except StoreUnavailableError as error:
        _log.warning("%s It is tried again.", error)
        return False
    return True


def results_of(run: RunDirectory) -> tuple[Path, ...]:
    """Returns the files of which one exists once the training has finished."""
    return run.summary, run.policy, run.model / "config.json"


if __name__ == "__main__":
    sys.exit(main())
