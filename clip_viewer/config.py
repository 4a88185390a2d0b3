"""What is served, where, and to whom."""

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
        ConfigError: If it would be open to other machines without ``expose``, or a share is not in
            [0, 1].
    """

    store: str
    """Path or URL of the label store."""
    media: Path
    """Folder of films and texts, named by their content."""
    people: Path
    """File in which sign-in links and sessions are kept, as hashes."""
    fetch: Callable[[str], bool] | None = None
    """Brings a file into that folder from elsewhere and returns whether it exists there; raises
    MediaUnavailableError if that is not known."""
    metrics: Path | None = None
    """The run's table of metrics, for the learning curve."""
    status: Path | None = None
    """The run's folder of what each role is doing."""
    finished: tuple[Path, ...] = ()
    """Files of which one is there when the training has come to its end."""
    trains: bool = True
    """Whether something learns from the answers, and asks for more."""
    ranks: bool = False
    """Whether the items are ranked for whoever runs the study: they are things of theirs."""
    instructions: Path | None = None
    """Markdown for those who label; a general text if None."""
    title: str = "prefrl"
    """What the page says it is about."""
    goal: str | None = None
    """What is better, in words: what the agent should do."""
    budget: int | None = None
    """How many comparisons are asked for in all, if that is known."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8770
    """Port to listen on."""
    expose: bool = False
    """Whether other machines may reach it."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, with or without port, by which people may call it besides this machine's own."""
    overlap_share: float = 0.1
    """Share of pairs shown that someone else has answered already, for the agreement."""
    repeat_share: float = 0.03
    """Share of pairs shown that one has answered oneself, mirrored, for the self-consistency."""
    gold_share: float = 0.05
    """Share of pairs shown whose right answer is known, while there are any."""
    answers_per_pair: int = 1
    """How many people answer each pair, as far as there are so many."""
    strength: bool = False
    """Whether to ask how much better one side is."""
    people_per_pair: int = 2
    """How many people answer a pair that is shown for the agreement."""
    qualify: int = 0
    """How many gold pairs somebody new answers before their answers count."""
    qualify_share: float = 0.8
    """What share of those must be right."""
    lease_seconds: float = 120.0
    """For how long a pair is kept for one person."""

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
