"""How much of a run is saved, which the agent reports after each checkpoint."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from prefrl.runtime.roles.role import Heartbeat, RoleStatus, read_status
from prefrl.runtime.rundir import RunDirectory

__all__ = ["HAS_STOPPED", "Stopped", "how_it_stopped", "saving", "unsaved_of"]

HAS_STOPPED = "stopped"
"""The last state of a role that stops because it was told to."""

_log = logging.getLogger(__name__)
_ASKS_FOR_ROOM = "make room, or look at who may write there"


@contextlib.contextmanager
def saving(heartbeat: Heartbeat, place: str) -> Iterator[None]:
    """Context for writing a checkpoint: reports in the status whether it was written.

    A full disk is no reason to stop: the older checkpoints stay, and an OSError is suppressed.

    Args:
        heartbeat: Heartbeat of the role that saves.
        place: How far the run has come, such as "step 1,600".
    """
    heartbeat.beat("saving")
    try:
        yield
    except OSError as error:
        _log.warning("no checkpoint: %s; training continues with the older ones.", error)
        heartbeat.beat("not saved", unsaved=error.strerror or str(error))
    else:
        heartbeat.beat("saved", saved=place, unsaved="")


def unsaved_of(status: RoleStatus | None) -> str:
    """Returns a sentence if the newest checkpoint could not be written, else an empty string."""
    why = "" if status is None else status.about.get("unsaved", "")
    if not why:
        return ""
    assert status is not None
    return (
        f"No checkpoint can be written ({why}): a stop would lose all after {_place(status)}; "
        f"{_ASKS_FOR_ROOM}."
    )


@dataclass(frozen=True)
class Stopped:
    """How a run came to a stop."""

    text: str
    """Sentences that say what is saved."""
    is_saved: bool
    """Whether everything that there was to save was saved."""


def how_it_stopped(run: RunDirectory) -> Stopped:
    """Returns what the agent had saved when it ended."""
    status = read_status(run, "agent")
    if status is None or ("saved" not in status.about and not run.metrics.is_file()):
        return Stopped("Stopped before there was anything to save.", is_saved=True)
    if why := status.about.get("unsaved", ""):
        what = f"the newest checkpoint could not be written ({why}; {_ASKS_FOR_ROOM})"
    elif status.state != HAS_STOPPED:
        what = f"the agent died or was killed while it said {status.state!r}"
    elif "saved" in status.about:
        return Stopped(f"Saved and stopped, at {_place(status)}.", is_saved=True)
    else:
        what = "there was no time for the first checkpoint"
    return Stopped(f"Stopped and NOT saved: {what}. It continues from {_place(status)}.", False)


def _place(status: RoleStatus) -> str:
    return str(status.about.get("saved", "the beginning"))
