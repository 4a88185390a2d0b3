"""``prefrl serve``: one address for the labelling pages of all runs below a folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from prefrl.commands.console import console, print_link
from prefrl.commands.hub import HUB, OPENED, STANDS_BY, find_runs, hub_of, link_to, path_of
from prefrl.commands.page import PageConfig, check_page, page_of, viewer_config
from prefrl.control.roles import role_command
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, PrefrlError, RoleError
from prefrl.runtime.remote.courier import courier_command
from prefrl.runtime.remote.places import is_elsewhere
from prefrl.runtime.roles.role import Heartbeat, StopSignal, is_taken, only_one, read_status
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory

if TYPE_CHECKING:
    from clip_viewer.hub import Found

__all__ = ["RunShelf", "Serve", "serve"]

_SECONDS_FOR_A_LOCK = 1.0  # a check whether it is free holds it for a moment
_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_END = 10.0  # for processes that draw films, at the end
_SECONDS_AFTER_THE_LAST = 300.0  # for which films are drawn after the last person has left


@dataclass(frozen=True)
class Serve:
    """Serves the labelling pages of all runs and label folders below a folder at one address."""

    folder: tyro.conf.Positional[Path]
    """The folder of the runs, which may be in subfolders. Runs that appear or go are noticed."""
    invite: str | None = None
    """Only print a sign-in link to all of them for a person of this name."""
    page: PageConfig = field(default_factory=PageConfig)
    """Where it is served. Instructions and shares come from each run's own page."""


def serve(command: Serve) -> None:
    """Serves until told to stop, or prints a link."""
    folder = command.folder.resolve()
    if not folder.is_dir():
        raise ConfigError(f"expected a folder with runs below it, but {command.folder} is none.")
    hub = hub_of(folder)
    if command.invite is not None:
        if not hub.page.is_file():
            raise ConfigError(f"expected a folder that is served; begin: prefrl serve {folder}")
        print_link(f"For {command.invite}", link_to(folder, command.invite))
        return
    page = check_page(command.page)
    hub.locks.mkdir(parents=True, exist_ok=True)
    try:
        with StopSignal() as stop, only_one(hub, HUB, patience=_SECONDS_FOR_A_LOCK):
            _serve(folder, page, stop)
    except RoleError:
        link = link_to(folder, command.page.name, role="owner")
        print_link("The folder is served already. To label, open", link)


def _serve(folder: Path, page: PageConfig, stop: StopSignal) -> None:
    from clip_viewer.hub import Hub
    from clip_viewer.serve import serve_app

    hub = hub_of(folder)
    host = f"127.0.0.1:{page.port}"
    if page.expose and page.hosts:
        host = page.hosts[0] if ":" in page.hosts[0] else f"{page.hosts[0]}:{page.port}"
    hub.write_json(hub.page, {"address": f"http://{host}/"})
    config = viewer_config(hub, page, {"title": folder.name})
    shelf = RunShelf(folder, page)
    app = Hub(config, shelf)
    link = link_to(folder, page.name, role="owner")
    is_told = False

    def tick() -> None:
        nonlocal is_told
        if not is_told:
            is_told = True  # the server listens before the first tick
            print_link("To label, open", link)
        shelf.tend(app.present())

    try:
        serve_app(app, config, on_tick=tick, should_stop=lambda: stop.requested)
    finally:
        app.close()
        shelf.close()
    console.print(f"No longer served; prefrl serve {folder} serves it again.", soft_wrap=True)


@dataclass
class _Taken:
    """A run whose page this process serves."""

    run: RunDirectory
    heartbeat: Heartbeat
    lock: contextlib.ExitStack
    beside: RoleCommand | None
    """What the page needs beside it: what draws its films, or brings news of a run elsewhere."""
    process: subprocess.Popen[bytes] | None = None
    """Its process, if it is running."""
    seen_at: float = 0.0
    looked_at: float = -_SECONDS_BETWEEN_LOOKS


class RunShelf:
    """The runs below a folder, for the server of all of them.

    Args:
        folder: The folder.
        page: Where the server listens.
    """

    def __init__(self, folder: Path, page: PageConfig) -> None:
        self._folder = folder
        self._page = page
        self._taken: dict[str, _Taken] = {}
        self._ending: list[subprocess.Popen[bytes]] = []  # processes of runs given back
        self._lock = threading.Lock()  # of these two, which requests and ticks share
        self._runs: dict[str, RunDirectory] = {}

    def look(self) -> list[Found]:
        """Finds the runs that exist now, without those that cannot be read."""
        found: list[Found] = []
        self._runs = {path_of(self._folder, run.root): run for run in find_runs(self._folder)}
        for path, run in self._runs.items():
            with contextlib.suppress(PrefrlError):
                found.append(self._found(path, run))
        return found

    def _found(self, path: str, run: RunDirectory) -> Found:
        from clip_viewer.hub import Found

        own = page_of(run) if run.page.is_file() else PageConfig()
        config = viewer_config(run, self._page.for_run(own), run.read_json(run.config))
        elsewhere = None
        if path not in self._taken and _is_served_alone(run):
            elsewhere = f"http://127.0.0.1:{own.port}/"
        return Found(path, run.root.relative_to(self._folder).as_posix(), config, elsewhere)

    def take(self, found: Found) -> bool:
        """Claims a run, so that no other process serves its page; returns whether that worked."""
        if found.path in self._taken:
            return True
        run = self._runs[found.path]
        lock = contextlib.ExitStack()
        try:
            run.make_folders()
            lock.enter_context(only_one(run, OPENED, patience=_SECONDS_FOR_A_LOCK))
            beside = _beside(run)
        except (PrefrlError, OSError):
            lock.close()
            return False
        if _is_served_alone(run):
            lock.close()
            return False
        with self._lock:
            self._taken[found.path] = _Taken(run, Heartbeat(run, "viewer"), lock, beside)
        return True

    def give_back(self, path: str) -> None:
        """Stops serving a run."""
        with self._lock:
            if (taken := self._taken.pop(path, None)) is None:
                return
            if taken.process is not None:
                taken.process.terminate()
                self._ending.append(taken.process)
            taken.lock.close()

    def tend(self, present: Mapping[str, tuple[int, int]]) -> None:
        """Records in each run who is at its page, and keeps its process beside it; never blocks.

        Args:
            present: For each open page, the number of people, and the longer side of the largest
                film on their screens in pixels, 0 if unknown.
        """
        with self._lock:
            self._ending = [process for process in self._ending if process.poll() is None]
            for path, taken in self._taken.items():
                if not taken.run.status.is_dir():
                    continue  # it was deleted
                n_people, pixels = present.get(path, (0, 0))
                taken.heartbeat.beat("serving", people=n_people, pixels=pixels)
                now = time.monotonic()
                taken.seen_at = now if n_people else taken.seen_at
                if taken.beside is not None and now - taken.looked_at >= _SECONDS_BETWEEN_LOOKS:
                    taken.looked_at = now
                    with contextlib.suppress(PrefrlError, OSError):  # it is being deleted
                        is_wanted = now - taken.seen_at < _SECONDS_AFTER_THE_LAST
                        _keep(taken, taken.beside, is_wanted=is_wanted)

    def close(self) -> None:
        """Stops serving all runs, and waits for the processes beside them."""
        for path in list(self._taken):
            self.give_back(path)
        until = time.monotonic() + _SECONDS_TO_END
        for process in self._ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))


def _is_served_alone(run: RunDirectory) -> bool:
    """Whether the run's own process serves its page, or is about to."""
    if not run.locks.is_dir() or not is_taken(run, "viewer"):
        return False
    status = read_status(run, "viewer")
    return status is None or status.state != STANDS_BY


def _beside(run: RunDirectory) -> RoleCommand | None:
    """Returns the role that the page of a run needs; None if it needs none."""
    told = run.read_json(run.config)
    if is_elsewhere(told):
        return courier_command(run)
    return role_command("renderer", run) if "env_id" in told else None


def _keep(taken: _Taken, role: RoleCommand, *, is_wanted: bool) -> None:
    """Starts the process beside a page, unless another has that role; or tells it to end."""
    if taken.process is not None and taken.process.poll() is not None:
        taken.process = None
    if not is_wanted:
        if taken.process is not None:  # a later call sees that it has ended
            taken.process.terminate()
    elif taken.process is None and not is_taken(taken.run, role.name):
        if role.name == "renderer":
            with LabelStore(taken.run.label_store) as store:
                if not store.media.missing(1):
                    return
        argv = [*role.argv, "--parent", str(os.getpid())]
        with (taken.run.logs / f"{role.name}.log").open("ab") as log:
            taken.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
