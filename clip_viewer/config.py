"""Settings of a labelling page: what it shows, where it listens, and who may open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefrl.errors import ConfigError
from prefrl.web.requests import check_address, hosts_at, is_loopback

__all__ = ["ViewerConfig"]


@dataclass(frozen=True)
class ViewerConfig:
    """A labelling page.

    Raises:
        ConfigError: If it would be open to other machines without ``expose``, or a share or number
            is out of range.
    """

    store: str
    """Path or URL of the label store."""
    media: Path
    """Folder of films and texts, whose files are named by their content."""
    people: Path
    """Database of sign-in links and sessions, which are stored as hashes."""
    fetch: Callable[[str], bool] | None = None
    """Fetches a file from elsewhere into the folder of media, and returns whether it exists there.
    Raises MediaUnavailableError if it cannot find out. None if all files are in the folder."""
    metrics: Path | None = None
    """The run's table of metrics, for the learning curve."""
    status: Path | None = None
    """The run's folder with the status of each role."""
    finished: tuple[Path, ...] = ()
    """Files of which at least one exists once the training is finished."""
    trains: bool = True
    """Whether a training learns from the answers and asks for more."""
    ranks: bool = False
    """Whether to show a ranking of all items to the person who runs the study, for items of their
    own."""
    instructions: Path | None = None
    """Instructions for labellers, in Markdown; None for general ones."""
    title: str = "prefrl"
    """Title of the study."""
    goal: str | None = None
    """The goal that labellers are shown: what the agent should do, or what is better."""
    budget: int | None = None
    """Total number of comparisons that are asked for; None if unknown."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8770
    """Port to listen on."""
    expose: bool = False
    """Whether other machines may connect to it."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, with or without a port, under which it may be opened, in addition to this
    machine's own."""
    overlap_share: float = 0.1
    """Share of shown pairs that others have already answered, to measure agreement."""
    repeat_share: float = 0.03
    """Share of shown pairs that the same person has already answered, mirrored, to measure
    self-consistency."""
    gold_share: float = 0.05
    """Share of shown pairs whose right answer is known, while there are any."""
    answers_per_pair: int = 1
    """Number of people who should answer each pair, if there are enough people."""
    strength: bool = False
    """Whether to ask how much better one side is."""
    people_per_pair: int = 2
    """Number of people who should answer a pair that measures agreement."""
    qualify: int = 0
    """Number of gold pairs that a new person answers before their answers count."""
    qualify_share: float = 0.8
    """Share of these that must be right."""
    lease_seconds: float = 120.0
    """Seconds for which a pair is reserved for one person."""

    def __post_init__(self) -> None:
        for name in ("overlap_share", "repeat_share", "gold_share"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"expected {name} to be in [0, 0.5], got {getattr(self, name)}.")
        if self.answers_per_pair < 1:
            raise ConfigError(f"answers_per_pair must be at least 1, got {self.answers_per_pair}.")
        if self.qualify < 0:
            raise ConfigError(f"qualify must be at least 0, got {self.qualify}.")
        if not 0 < self.qualify_share <= 1:
            raise ConfigError(f"expected qualify_share to be in (0, 1], got {self.qualify_share}.")
        if self.people_per_pair < 2:
            raise ConfigError(f"people_per_pair must be at least 2, got {self.people_per_pair}.")
        check_address(
            self.host,
            self.port,
            expose=self.expose,
            names=self.allowed_hosts,
            options="--page.",
            example="labels.example.org",
        )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> frozenset[str]:
        """All allowed values of a request's Host header: names with ports, in lower case."""
        return hosts_at(self.port, self.allowed_hosts)

    @property
    def address(self) -> str:
        """Address of the page on this machine."""
        return f"http://127.0.0.1:{self.port}/"
