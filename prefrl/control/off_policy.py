"""Settings for what off-policy agents do besides relabelling."""

from __future__ import annotations

from dataclasses import dataclass

from prefrl.errors import ConfigError

__all__ = ["OffPolicyConfig"]


@dataclass(frozen=True)
class OffPolicyConfig:
    """Parts of PEBBLE (Lee et al. 2021) and QPA (Hu et al. 2024), for off-policy agents."""

    explore_steps: int = 0
    """For this many environment steps at the start, reward the agent for states that are far from
    those it has seen, by the distance to the 5th nearest (PEBBLE, section 4.1)."""
    updates_after_fit: int = 0
    """Extra gradient steps right after each new reward."""
    reset_critic: bool = False
    """Reset the critic at each new reward."""
    newest_share: float = 0.0
    """Share of each batch that is drawn from the newest steps only (QPA: half)."""
    newest_steps: int = 10_000
    """How many environment steps count as newest."""

    def __post_init__(self) -> None:
        for name in ("explore_steps", "updates_after_fit"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}.")
        if not 0 <= self.newest_share <= 1:
            raise ConfigError(f"newest_share is a share in [0, 1], got {self.newest_share}.")
        if self.newest_steps < 1:
            raise ConfigError(f"newest_steps must be at least 1, got {self.newest_steps}.")
