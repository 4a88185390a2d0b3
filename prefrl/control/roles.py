"""Commands that start the processes of an agent's run; this module imports nothing slow."""

from __future__ import annotations

import sys

from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory

__all__ = ["role_command"]


def role_command(role: str, run: RunDirectory, *, essential: bool = True) -> RoleCommand:
    """Returns the command that starts a role of ``prefrl.control.process``."""
    argv = [sys.executable, "-m", "prefrl.control.process", role, str(run.root)]
    saves = {"agent": run.checkpoints, "learner": run.reward}.get(role)
    return RoleCommand(role, argv, essential, saves=saves)
