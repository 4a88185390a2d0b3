"""The frame of every role's process: stop signal, lock, and exit codes for the supervisor."""

from __future__ import annotations

import argparse
import logging
import math
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from prefrl.core.disk import in_words
from prefrl.core.store.waiting import patient
from prefrl.errors import (
    EnvironmentFaultError,
    NonFiniteError,
    PrefrlError,
    RoleError,
    StoreError,
)
from prefrl.runtime.roles.role import (
    Heartbeat,
    StopSignal,
    die_with_parent,
    only_one,
    waiting_in,
)
from prefrl.runtime.roles.supervisor import BAD_INPUT, GAVE_UP, STOPPED
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import HAS_STOPPED

__all__ = ["RoleWork", "run_role"]

RoleWork = Callable[[RunDirectory, Heartbeat, StopSignal], int]
"""Does a role's work until it is done or told to stop; returns the exit code."""

_log = logging.getLogger(__name__)
_PATIENCE = 30.0  # seconds in which a predecessor may still be saving
_WILL_NOT_MEND = (NonFiniteError, EnvironmentFaultError, RoleError)


def run_role(
    roles: Mapping[str, RoleWork],
    arguments: Sequence[str] | None = None,
    *,
    stand_by: Collection[str] = (),
    waits: bool = True,
) -> int:
    """Runs the role that a command line names: ``ROLE RUN [--parent PID]``.

    Args:
        roles: The work of each role.
        arguments: The command line; None for that of this process.
        stand_by: Roles that wait without limit while another process has them, because it was
            started by other means and may end first.
        waits: Whether label stores wait for a database server that is away. What people wait for
            should not.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description="One role of a run, in a process of its own.")
    parser.add_argument("role", choices=sorted(roles))
    parser.add_argument("run", type=Path)
    parser.add_argument("--parent", type=int, help="process id of the supervisor")
    told = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    patience = math.inf if told.role in stand_by else _PATIENCE
    with StopSignal() as stop:
        if told.parent:
            die_with_parent(told.parent)
        try:
            run = RunDirectory.open(told.run, may_be_page=True)
            with only_one(run, told.role, patience=patience, stop=stop):
                heartbeat = Heartbeat(run, told.role)
                with patient(waiting_in(heartbeat, stop)) if waits else nullcontext():
                    code = roles[told.role](run, heartbeat, stop)
                if code == STOPPED:
                    heartbeat.beat(HAS_STOPPED)
                return code
        except StoreError as error:
            # A full disk or a lock may be temporary, so the supervisor tries a few more times.
            _log.error("%s", error)
            return 1
        except OSError as error:
            if error.filename is None:
                raise
            traceback.print_exc()
            _log.error("%s", in_words(error))  # logged last, as the supervisor quotes the last line
            return 1
        except PrefrlError as error:
            _log.error("%s", error)
            return GAVE_UP if isinstance(error, _WILL_NOT_MEND) else BAD_INPUT
