"""What the reward nets look like: all settings."""

from __future__ import annotations

from dataclasses import dataclass

from prefrl.core.ensemble import Aggregate
from prefrl.errors import ConfigError

__all__ = ["RewardNetConfig"]


@dataclass(frozen=True)
class RewardNetConfig:
    """The reward nets of the ensemble."""

    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer; few units generalise better from few labels."""
    input_noise: float = 0.0
    """Standard deviation of noise added to the standardised inputs while fitting."""
    reward_std: float = 1.0
    """Standard deviation of the predicted reward over recent data."""
    aggregate: Aggregate = "mean"
    """How the members' normalised rewards become one."""

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden layers need at least one unit each, got {self.hidden}.")
        if self.input_noise < 0 or self.reward_std <= 0:
            raise ConfigError(
                "expected input_noise >= 0 and reward_std > 0, got "
                f"{self.input_noise} and {self.reward_std}."
            )
