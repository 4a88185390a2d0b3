"""The processes that people need beside a script: ``python -m prefrl.commands.beside people RUN``.

It serves the labelling page and has the films made; if the synthetic oracle fills in for people, it
also starts the labeller. It prints one line: a sign-in link. It ends with the process that started
it, however that ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from prefrl.commands.announcing import announce
from prefrl.commands.console import console
from prefrl.commands.page import (
    PageConfig,
    check_page,
    invite,
    is_served,
    open_page,
    page_of,
    viewer_command,
)
from prefrl.control.environments.source import EnvConfig
from prefrl.control.films.drawing import check_drawable
from prefrl.control.roles import role_command
from prefrl.runtime.roles.role import Heartbeat, StopSignal
from prefrl.runtime.roles.role_process import run_role
from prefrl.runtime.roles.supervisor import STOPPED, Supervisor
from prefrl.runtime.rundir import RunDirectory

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves people until the training is over; returns the exit code."""
    return run_role({"people": _serve}, arguments)


def _serve(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    parent, told = os.getppid(), run.read_json(run.config)
    check_drawable(told["env_id"], EnvConfig.from_json(told["env"]))
    link = _let_in(run)
    roles = [viewer_command(run, essential=True), role_command("renderer", run, essential=False)]
    if told["oracle"] == "mixed":
        roles.append(role_command("labeller", run))
    heartbeat.beat("serving")
    with Supervisor(run, roles) as supervisor:
        announce(run, link, lambda link: console.print(link, soft_wrap=True, markup=False))
        # Only Linux sends a signal when the parent is gone.
        supervisor.watch(poll=lambda: stop.requested or os.getppid() != parent)
    return STOPPED


def _let_in(run: RunDirectory) -> str:
    """Returns a sign-in link for the owner; a page that was served before keeps its settings."""
    if is_served(run):  # by prefrl label: ours stands by
        return invite(run, page_of(run).name, role="owner")
    return open_page(run, check_page(PageConfig(), run))


if __name__ == "__main__":
    sys.exit(main())
