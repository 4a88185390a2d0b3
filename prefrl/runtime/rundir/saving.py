"""How much of a run is saved: the agent reports it after each checkpoint, for the supervisor."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from prefrl.runtime.roles.role import Heartbeat, RoleStatus, read_status
from prefrl.runtime.rundir import RunDirectory

__all__ = ["HAS_STOPPED", "Stopped", "how_it_stopped", "saving", "unsaved_of"]

HAS_STOPPED = "stopped"
"""What a role says of itself last, when it was told to stop and does."""

_log = logging.getLogger(__name__)
_ASKS_FOR_ROOM = "make room, or look at who may write there"


@contextlib.contextmanager
def saving(heartbeat: Heartbeat, place: str) -> Iterator[None]:
    """Context for writing a checkpoint: reports in the status whether it was written.

    A full disk is no reason to stop: the older checkpoints stay, and an OSError ends here.

    Args:
        heartbeat: Heartbeat of the role that saves.
        place: How far the run is, in words, as "step 1,600".
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
    """A sentence, if the newest checkpoint could not be written; else nothing."""
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
    """What is saved."""
    is_saved: bool
    """Whether all is saved that there was to save."""


def how_it_stopped(run: RunDirectory) -> Stopped:
    """What the agent had saved when it ended."""
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
