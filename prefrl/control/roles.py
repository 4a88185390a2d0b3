"""How the processes of an agent's run are started; loads nothing that takes time."""

from __future__ import annotations

import sys

from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory

__all__ = ["role_command"]


def role_command(role: str, run: RunDirectory, *, essential: bool = True) -> RoleCommand:
    """How a role of ``prefrl.control.process`` is started."""
    argv = [sys.executable, "-m", "prefrl.control.process", role, str(run.root)]
    saves = {"agent": run.checkpoints, "learner": run.reward}.get(role)
    return RoleCommand(role, argv, essential, saves=saves)
