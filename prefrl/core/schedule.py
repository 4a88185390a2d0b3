"""Schedules of labels: how many should have been asked for by a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError

__all__ = ["SCHEDULES", "LabelSchedule", "Schedule", "ScheduleFunction", "check_schedule"]

ScheduleFunction = Callable[[float], float]
"""A function from the finished share of the training to the share of the labels that are due by
then, both in [0, 1]. It never falls, and ends at 1."""

Schedule = str | ScheduleFunction
"""A name of ``SCHEDULES``, ``module:name`` or ``FILE.py:name``, or such a function."""


def _constant(step: float, decay_steps: float) -> float:
    return step


def _hyperbolic(step: float, decay_steps: float) -> float:
    return decay_steps * math.log1p(step / decay_steps)


def _inverse_quadratic(step: float, decay_steps: float) -> float:
    return decay_steps * math.atan(step / decay_steps)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": _constant,
    "hyperbolic": _hyperbolic,
    "inverse_quadratic": _inverse_quadratic,
}
"""By name, the integral of the label rate from 0 to a step, for a rate of 1 at step 0."""


def check_schedule(schedule: Schedule) -> None:
    """Refuses values that are not a schedule.

    Raises:
        ConfigError: If no schedule has that name, or the function's values are not those of a
            schedule.
    """
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return
    shares = [_share(schedule, step / 20) for step in range(21)]
    if shares != sorted(shares) or not math.isclose(shares[-1], 1.0):
        raise ConfigError(
            f"expected schedule {schedule!r} to rise to 1 and never to fall, got "
            f"{', '.join(f'{share:.2f}' for share in shares)} for 0 to 1 in steps of 0.05."
        )


def _share(schedule: Schedule, over: float) -> float:
    """Share of the labels that are due according to the user's own schedule."""
    if isinstance(schedule, str) and ":" not in schedule:
        raise ConfigError(
            f"expected schedule to be one of {', '.join(SCHEDULES)}, or module:name, got "
            f"{schedule!r}."
        )
    found = load_plug(schedule, option="schedule") if isinstance(schedule, str) else schedule
    if not callable(found) or isinstance(found, type):
        raise ConfigError(f"expected schedule {schedule!r} to be a function, got {found!r}.")
    check_takes(found, "share of the training", option=f"schedule {schedule!r}")
    try:
        share = float(found(over))
    except Exception as error:  # whatever a user's function raises
        raise ConfigError(
            f"expected a number from schedule {schedule!r} for {over}, but it raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if not 0 <= share <= 1:
        raise ConfigError(
            f"expected a share in [0, 1] from schedule {schedule!r} for {over}, got {share}."
        )
    return share


@dataclass(frozen=True)
class LabelSchedule:
    """Spreads a budget of N labels over a training of T_end steps.

    The first N_0 = ``initial_fraction`` N labels are due at the start. After that the rate at step
    T falls with k = ``decay_steps``, and its integral R(T) gives the labels that are due by T,
    ``N_0 + (N - N_0) R(T) / R(T_end)``:

    - ``constant``: rate 1, R = T;
    - ``hyperbolic``: rate k / (T + k), R = k ln(1 + T / k). Christiano et al. 2017 (arXiv
      1706.03741), appendix A.1, where k is 2e6;
    - ``inverse_quadratic``: rate 1 / (1 + (T / k)^2), R = k arctan(T / k).

    Raises:
        ConfigError: If the kind is unknown or a number is out of range.
    """

    total_labels: int
    """Labels due at the end."""
    total_steps: int
    """Steps after which all labels are due: all steps of the training, or fewer."""
    kind: Schedule = "hyperbolic"
    """How the rate falls; or a function that returns the share of all labels itself."""
    initial_fraction: float = 0.25
    """Share of the labels that is due at step 0 (Christiano et al. 2017, appendix A.1)."""
    decay_steps: float | None = None
    """k; a fifth of the training if None, the paper's proportion for 1e7 steps."""

    def __post_init__(self) -> None:
        check_schedule(self.kind)
        if self.total_labels < 1 or self.total_steps < 1:
            raise ConfigError(
                "expected at least one label and one step, got "
                f"{self.total_labels} and {self.total_steps}."
            )
        if not 0 <= self.initial_fraction <= 1:
            raise ConfigError(
                f"initial_fraction is a share in [0, 1], got {self.initial_fraction}."
            )
        if self.decay_steps is not None and not 0 < self.decay_steps < math.inf:
            raise ConfigError(f"decay_steps must be positive, got {self.decay_steps}.")

    def due(self, step: int) -> int:
        """Returns how many labels should have been asked for by an environment step; never falls.

        Args:
            step: Environment steps since the training began; below 0 counts as 0.

        Returns:
            At least one, unless the user's own schedule says otherwise; ``total_labels`` at
            ``total_steps`` and after.
        """
        if step >= self.total_steps:
            return self.total_labels
        if not (isinstance(self.kind, str) and self.kind in SCHEDULES):
            share = _share(self.kind, max(0, step) / self.total_steps)
            return math.floor(self.total_labels * share + 1e-9)
        initial = max(1, round(self.total_labels * self.initial_fraction))
        decay_steps = self.decay_steps or self.total_steps / 5
        integral = SCHEDULES[self.kind]
        share = integral(max(0, step), decay_steps) / integral(self.total_steps, decay_steps)
        # The small number keeps a label that is due exactly now from being rounded away.
        return initial + math.floor((self.total_labels - initial) * share + 1e-9)
