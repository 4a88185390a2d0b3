"""``prefrl serve-reward``: the learned reward of a run over HTTP, for trainers elsewhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from prefrl.commands.align import is_text
from prefrl.commands.console import console
from prefrl.commands.page import check_libraries
from prefrl.control.learned.served import serve_steps
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.roles.role import StopSignal
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.scorer import Scorer
from prefrl.text.served import serve_texts

if TYPE_CHECKING:
    from prefrl.reward_server.app import ServerConfig

__all__ = ["ServeReward", "serve_reward"]

_PORTS = range(8790, 8890)


@dataclass(frozen=True)
class ServeReward:
    """Serves the learned reward of a run over HTTP: its newest weights, also while it trains.

    Steps of an agent, or texts, are sent as JSON; the score, the scores of the members and their
    disagreement are answered. docs/reward_server.md has the forms, OpenRLHF's among them.
    """

    run: tyro.conf.Positional[Path]
    """Directory of the run, finished or not; or a folder that prefrl reward has written."""
    port: int | None = None
    """Port to listen on; by default 8790, or the next free one."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs expose."""
    expose: bool = False
    """Let other machines reach the server. An SSH tunnel is safer."""
    hosts: tuple[str, ...] = ()
    """With expose: names by which other machines call this one."""
    token_file: Path | None = None
    """File of the token that every request must carry, made if it is not there; by default
    reward_token in the run."""
    device: str | None = None
    """Where to score; by default the CPU for an agent's reward, and for a language model's where
    the policy of the run was."""
    batch: int | None = None
    """Steps, or tokens of texts, that are scored in one pass at most, and in one request; by
    default 16,384 and 32,768."""
    wait_ms: float = 2.0
    """For how long a batch waits for other requests at most. Whoever asks alone does not wait."""
    body_mb: float = 16.0
    """Megabytes of a request at most."""


def serve_reward(command: ServeReward) -> None:
    """Serves a reward until told to stop.

    Raises:
        ConfigError: If it cannot be served like this.
        MissingExtraError: If the extra ``viewer`` is not installed.
        RunDirectoryError: If there is no reward.
    """
    check_libraries("server", ("fastapi", "uvicorn"))
    from prefrl.reward_server.app import create_app
    from prefrl.web.listening import free_port, listen_and_serve

    ports = [command.port] if command.port is not None else [*_PORTS]
    config = _config(command, ports[0])  # refuses bad options before anything is loaded
    run = RunDirectory(command.run)
    with StopSignal() as stop:
        scorer = _scorer(run, command.device)
        port = free_port(command.host, ports, option="--port")
        config = _config(command, port, token=_token(command, run))
        is_told = False

        def tick() -> None:
            nonlocal is_told
            if not is_told:
                is_told = True  # the server listens before the first tick
                _tell(command, scorer, port, run)

        listen_and_serve(
            create_app(scorer, config),
            command.host,
            port,
            sent="what is asked, and the token, travel",
            option="--port",
            on_tick=tick,
            should_stop=lambda: stop.requested,
        )
    console.print("No longer served.")


def _scorer(run: RunDirectory, device: str | None) -> Scorer:
    if run.config.is_file() and is_text(run):
        return serve_texts(run, device=device)
    return serve_steps(run, device=choose_devices(device or "cpu")[0])


def _config(command: ServeReward, port: int, *, token: str = "") -> ServerConfig:
    from prefrl.reward_server.app import ServerConfig
    from prefrl.web.requests import check_address, hosts_at

    check_address(
        command.host,
        port,
        expose=command.expose,
        names=command.hosts,
        options="--",
        example="trainer-0.example.org",
    )
    return ServerConfig(
        token=token,
        hosts=hosts_at(port, command.hosts),
        batch=command.batch,
        wait=command.wait_ms / 1000,
        largest_body=int(command.body_mb * 2**20),
    )


def _token(command: ServeReward, run: RunDirectory) -> str:
    """Returns the token in the file; a new one for a saved reward, whose folder may be shared."""
    from prefrl.reward_server.guard import token_in

    path = _token_file(command, run)
    if path is not None:
        return token_in(path)
    token = secrets.token_urlsafe(32)
    console.print(
        f"The token, which is in no file (--token-file keeps one): {token}",
        markup=False,
        soft_wrap=True,
    )
    return token


def _token_file(command: ServeReward, run: RunDirectory) -> Path | None:
    if command.token_file is not None:
        return command.token_file
    return run.reward_token if run.config.is_file() else None


def _tell(command: ServeReward, scorer: Scorer, port: int, run: RunDirectory) -> None:
    host = f"127.0.0.1:{port}"
    if command.expose:
        host = command.hosts[0] if ":" in command.hosts[0] else f"{command.hosts[0]}:{port}"
    path = _token_file(command, run)
    token = "TOKEN" if path is None else f"$(cat {path})"
    lines = [
        f"The reward of {run.root}, version {scorer.version}, is served at http://{host}/score",
        f'  curl http://{host}/about -H "Authorization: Bearer {token}"',
    ]
    if scorer.kind == "texts":
        lines.append(f'  OpenRLHF: --reward.remote_url "http://prefrl:{token}@{host}/get_reward"')
    console.print("\n".join(lines), markup=False, soft_wrap=True)
