"""The labelling page of a run: where it is served, by which process, and who may sign in.

The page itself is ``clip_viewer``, which needs the extra ``viewer`` and is imported only when used.
Its process is a role of the run: ``python -m prefrl.commands.page viewer RUN``. If it dies,
training goes on, and the supervisor starts it again at the same address.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from prefrl.commands.announcing import announce, link_at
from prefrl.commands.console import console, print_link
from prefrl.commands.hub import OPENED, STANDS_BY, hub_above, link_to
from prefrl.commands.page_config import PageConfig, note_page, page_of
from prefrl.control.goals import goal_of
from prefrl.errors import MissingExtraError
from prefrl.runtime.own.folder import is_own
from prefrl.runtime.remote.courier import FINISHED, courier_command, results_of
from prefrl.runtime.remote.media import fetching
from prefrl.runtime.remote.places import is_elsewhere, media_url, tell_pages
from prefrl.runtime.roles.role import Heartbeat, StopSignal, is_taken
from prefrl.runtime.roles.role_process import run_role
from prefrl.runtime.roles.supervisor import STOPPED, RoleCommand, Supervisor
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checks import ELSEWHERE

if TYPE_CHECKING:
    from clip_viewer.config import ViewerConfig

__all__ = [
    "PageConfig",
    "check_libraries",
    "check_page",
    "invite",
    "is_served",
    "main",
    "open_page",
    "page_facts",
    "page_for",
    "page_of",
    "serve_page",
    "serving",
    "viewer_command",
    "viewer_config",
]

ROLE = "viewer"
"""The role of the page's process."""

_PORTS = range(8770, 8870)
_SECONDS_TO_SAY_GOODBYE = 3.0  # a visible tab asks for the progress every two
_MOST_SECONDS_TO_SAY_GOODBYE = 15.0  # a hidden tab every ten; the supervisor waits 25
_SECONDS_BETWEEN_LOOKS = 1.0
_NEEDED = ("fastapi", "uvicorn", "nh3", "markdown_it")


def check_libraries(what: str, needed: Sequence[str]) -> None:
    """Refuses to continue without some libraries.

    Args:
        what: What needs them, for the error.
        needed: Their names; they come with the extra ``viewer``.

    Raises:
        MissingExtraError: If one is not installed.
    """
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingExtraError(
            f"expected the {what}'s libraries to be installed, but {', '.join(absent)} is not; "
            "pip install 'prefrl[viewer]'."
        )


def check_page(asked: PageConfig, run: RunDirectory | None = None) -> PageConfig:
    """Refuses a page that cannot be served, before anything starts.

    Args:
        asked: The given options.
        run: The run that the page belongs to. If it had a page before, that page's port is tried
            first, and its options are kept if none are given.

    Returns:
        The options, with a port that is free now, and the instructions' full path.

    Raises:
        ConfigError: If it cannot be served like this.
        MissingExtraError: If the extra ``viewer`` is not installed.
    """
    check_libraries("labelling page", _NEEDED)
    from clip_viewer.instructions import read_instructions
    from prefrl.web.listening import free_port

    page, ports = asked, [*_PORTS]
    if run is not None and run.page.is_file():
        before = page_of(run)
        ports = [before.port or ports[0], *ports]
        if asked == PageConfig():
            page = before
    if asked.port is not None:
        ports = [asked.port]
    if page.instructions is not None:
        page = dataclasses.replace(page, instructions=page.instructions.resolve())
    viewer_config(RunDirectory("."), dataclasses.replace(page, port=ports[0]), {})
    read_instructions(page.instructions)
    return dataclasses.replace(page, port=free_port(page.host, ports, option="--page.port"))


def open_page(run: RunDirectory, page: PageConfig) -> str:
    """Stores where a run's page is served from now on, and invites its owner.

    Args:
        run: The run.
        page: Options of the page, as ``check_page`` returned them.

    Returns:
        A sign-in link for the owner, which works once.
    """
    note_page(run, page)
    return invite(run, page.name, role="owner")


def is_served(run: RunDirectory) -> bool:
    """Whether a process serves a run's page at this moment."""
    return run.locks.is_dir() and is_taken(run, ROLE)


def invite(
    run: RunDirectory, name: str, *, role: Literal["annotator", "owner"] | None = None
) -> str:
    """Invites somebody to a run's page, or gives them another link.

    Args:
        run: The run.
        name: The person's name, which is also their annotator id in the label store.
        role: An owner also sees the statistics, and invites others; None keeps their role, and
            makes new people annotators.

    Returns:
        A link that works once, within a week.

    Raises:
        ConfigError: If the name is not allowed.
        RunDirectoryError: If the run has no page.
    """
    from clip_viewer.people import People

    page = page_of(run)
    return link_at(page, People(run.people).invite(name, role=role))


def viewer_command(run: RunDirectory, *, essential: bool = False) -> RoleCommand:
    """Returns the command that starts the page's process."""
    argv = [sys.executable, "-m", "prefrl.commands.page", ROLE, str(run.root)]
    return RoleCommand(ROLE, argv, essential)


def page_for(
    told: PageConfig, *, asks_people: bool, run: RunDirectory | None = None
) -> PageConfig | None:
    """Returns the options of the page to serve beside a training; None if it needs no page.

    Args:
        told: The given options.
        asks_people: Whether people answer.
        run: The run that is continued, if it is not a new one.

    Raises:
        ConfigError: If it cannot be served like this.
        MissingExtraError: If the extra ``viewer`` is not installed.
    """
    if not asks_people or told.elsewhere:
        return None
    return page_of(run) if run is not None and is_served(run) else check_page(told, run)


def serving(page: PageConfig | None, run: RunDirectory) -> Sequence[RoleCommand]:
    """Returns the roles that serve a run's pages, here and elsewhere; prints where to label."""
    return [*_serving_elsewhere(page, run), *_serving_here(page, run)]


def _serving_elsewhere(page: PageConfig | None, run: RunDirectory) -> Sequence[RoleCommand]:
    """Returns what keeps in touch with pages on other machines, if there may be any."""
    if media_url(run) is None:
        return ()
    tell_pages(run, page_facts(run, run.read_json(run.config)))
    console.print(
        "To label on another machine, run there\n"
        f"  prefrl label FOLDER --store '{run.label_store}'",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return [courier_command(run)]


def _serving_here(page: PageConfig | None, run: RunDirectory) -> Sequence[RoleCommand]:
    """Returns what serves a run's page on this machine, if there is to be one."""
    if page is None:
        return ()
    link = open_page(run, page)
    if (folder := hub_above(run)) is not None:  # the process stands by, in case that one ends
        print_link("To label, open", link_to(folder, page.name, role="owner", run=run))
        return [viewer_command(run)]
    announce(run, link, lambda link: print_link("To label, open", link))
    return [viewer_command(run)]


def serve_page(
    run: RunDirectory, link: str, beside: Sequence[RoleCommand], *, on_start: Callable[[str], None]
) -> None:
    """Serves a run's page until told to stop by SIGTERM or Ctrl-C.

    Args:
        run: The run.
        link: The link that ``open_page`` returned.
        beside: Other processes to run meanwhile, such as the one that makes films.
        on_start: Called with the link when the page can be opened.

    Raises:
        RoleError: If the page cannot be served.
    """
    run.make_folders()
    with StopSignal() as stop, Supervisor(run, [viewer_command(run, essential=True), *beside]) as s:
        announce(run, link, on_start)
        s.watch(poll=lambda: stop.requested)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page as a role of a run; returns the exit code."""
    # Of two that are started, by a training and by `prefrl label`, one stands by for the other.
    return run_role({ROLE: _serve}, arguments, stand_by={ROLE}, waits=False)


def _serve(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    from clip_viewer.serve import serve

    n_here = 0

    def tick(n_people: int, pixels: int) -> None:
        nonlocal n_here
        n_here = n_people
        heartbeat.beat("serving", people=n_people, pixels=pixels)

    def should_stop(n_untold: int) -> bool:
        # People at the page when the training is over are told so, in each tab.
        is_over = any(path.is_file() for path in config.finished)
        least = _SECONDS_TO_SAY_GOODBYE if n_here else 0.0
        seconds = _MOST_SECONDS_TO_SAY_GOODBYE if n_untold else least
        return stop.requested and (not is_over or stop.seconds > seconds)

    heartbeat.beat("starting", people=0)
    if not _stand_by(run, heartbeat, stop):
        return STOPPED
    heartbeat.beat("starting", people=0)
    page, listening = _listening(run)
    with listening:
        config = viewer_config(run, page, run.read_json(run.config))
        serve(config, listening=listening, on_tick=tick, should_stop=should_stop)
    heartbeat.beat("stopped", people=0)
    return STOPPED


def _stand_by(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> bool:
    """Waits while ``prefrl serve`` serves the run's page; False if told to stop meanwhile."""
    while is_taken(run, OPENED) or hub_above(run) is not None:
        # While that server has it open, it reports who is there, in the same file.
        if not is_taken(run, OPENED):
            heartbeat.beat(STANDS_BY, people=0)
        if stop.requested:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def _listening(run: RunDirectory) -> tuple[PageConfig, socket.socket]:
    """Listens for the page, on another port if its own is taken and nobody relies on it."""
    from clip_viewer.people import People
    from prefrl.web.listening import listen

    page = page_of(run)
    assert page.port is not None  # check_page has chosen one
    # Browsers store unsent answers by address, and proxies forward to this port.
    stays = page.port not in _PORTS or page.expose or People(run.people).has_sessions()
    ports = [page.port] if stays else [page.port, *_PORTS]
    listening = listen(page.host, ports, option="--page.port")
    if (port := listening.getsockname()[1]) != page.port:
        page = dataclasses.replace(page, port=port)
        note_page(run, page)
    return page, listening


def viewer_config(run: RunDirectory, page: PageConfig, told: Mapping[str, Any]) -> ViewerConfig:
    """Returns the settings for serving a run's page.

    Args:
        run: The run.
        page: Where it is served, and what it shows besides new pairs.
        told: Content of the run's config.json.
    """
    from clip_viewer.config import ViewerConfig

    assert page.port is not None  # check_page has chosen one
    facts = page_facts(run, told, has_default_goal=page.instructions is None)
    return ViewerConfig(
        store=run.label_store,
        media=run.media,
        fetch=fetching(run),
        people=run.people,
        metrics=run.metrics,
        status=run.status,
        finished=(*results_of(run), run.status / FINISHED),
        trains=facts["trains"],
        ranks=is_own(told),
        instructions=page.instructions,
        title=facts["title"],
        goal=facts["goal"],
        budget=facts["budget"],
        host=page.host,
        port=page.port,
        expose=page.expose,
        allowed_hosts=page.hosts,
        overlap_share=page.overlap_share,
        repeat_share=page.repeat_share,
        gold_share=page.gold_share,
        answers_per_pair=page.answers_per_pair,
        strength=page.strength,
        people_per_pair=page.people_per_pair,
        qualify=page.qualify,
        qualify_share=page.qualify_share,
    )


def page_facts(
    run: RunDirectory, told: Mapping[str, Any], *, has_default_goal: bool = True
) -> dict[str, Any]:
    """Returns what a page shows of a run: its title, its goal, its budget, and whether it trains.

    Args:
        run: Which run; of a run elsewhere, the folder of its page.
        told: The content of its config.json.
        has_default_goal: As ``goal_of`` takes it.
    """
    if is_elsewhere(told):
        facts: dict[str, Any] = told[ELSEWHERE]
        return {**facts, "goal": told.get("goal", facts["goal"]) or None}
    return {
        "title": _title(run, told),
        "goal": goal_of(told, has_default=has_default_goal),
        "budget": _budget(told),
        "trains": bool({"algo", "method"} & told.keys()),  # else it only has pairs to label
    }


def _budget(told: Mapping[str, Any]) -> int | None:
    """Returns the budget of labels; None if labels from elsewhere are counted, too."""
    asked = told.get("preferences", told)
    takes_others = asked.get("labels_from") or told.get("data")
    return None if takes_others else asked.get("labels")


def _title(run: RunDirectory, told: Mapping[str, Any]) -> str:
    if is_own(told):
        return str(told["title"])
    title = told.get("title") or told.get("env_id") or run.root.name
    return str(title).rsplit("/", 1)[-1].rsplit(":", 1)[-1]


if __name__ == "__main__":
    sys.exit(main())
