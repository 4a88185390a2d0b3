"""A guard against over-optimisation: does the reward rise while its members disagree?

A policy that is trained on a learned reward finds the reward's errors. Then the learned reward
keeps rising while the true one falls (Gao et al. 2022, arXiv 2210.10760). The members of an
ensemble agree where answers taught them something, and disagree elsewhere: their variance grows
about threefold in such runs (Coste et al. 2023, arXiv 2310.02743). Reward and disagreement are
measured relative to a yardstick, some of the first items of the run, which is scored with the same
weights, so that a refit alone does not change them.

With s_m(x) the score of member m, and mu_m and sigma_m its mean and deviation over the yardstick,
z_m(x) = (s_m(x) - mu_m) / sigma_m. Over the newest items,

- *gain* is the mean of z_m(x) over members and items;
- *disagreement* is the mean over items of the standard deviation over members of z_m(x), divided
  by the same figure of the yardstick.

The guard trips when gain is at least 1 and disagreement at least 3 in three checks in a row. It
cannot see errors that all members share (Eisenstein et al. 2023, arXiv 2312.09244).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch

from prefrl.core.comparisons import Item
from prefrl.core.ensemble import RewardModel, score_items
from prefrl.errors import ConfigError
from prefrl.runtime.partners import UsedReward
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable, Metrics

__all__ = ["GUARDED", "Guard", "GuardMode", "Sighting", "sighting", "watching_on"]

GuardMode = Literal["off", "warn", "ask", "stop"]
GUARDED = 32
"""Most items in the yardstick, and most newest items that are measured against it."""

LEAST_GAIN, LEAST_DISAGREEMENT, LOOKS_IN_A_ROW = 1.0, 3.0, 3
_EVERY = 4  # calls, one per rollout or batch
_ASKED_AT_ONCE = 8


Pairs = Callable[[Sequence[Any], Sequence[Any]], Sequence[tuple[Any, Any]]]
"""Makes pairs to ask about from the newest items and the yardstick."""


def beside_each_other(newest: Sequence[Any], yardstick: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
    """Pairs each of the newest items with one of the yardstick, to compare their rewards."""
    return list(zip(newest, yardstick, strict=False))


@dataclass(frozen=True)
class Sighting:
    """The figures of one check of the guard."""

    gain: float
    """How much better than the yardstick the newest items score, in deviations of the yardstick."""
    disagreement: float
    """The members' disagreement about the newest items, relative to the yardstick."""

    @property
    def suspicious(self) -> bool:
        """Whether both figures exceed their limits."""
        return self.gain >= LEAST_GAIN and self.disagreement >= LEAST_DISAGREEMENT


def sighting(yardstick: torch.Tensor, newest: torch.Tensor) -> Sighting | None:
    """Measures the newest items against the yardstick.

    Args:
        yardstick: Scores of its items, shape (M, Y).
        newest: Scores of the newest items by the same members, shape (M, B).

    Returns:
        The figures; None if they are undefined: with a single member, no items to compare, or
        a member that scores the whole yardstick alike.
    """
    if len(yardstick) < 2 or yardstick.shape[1] < 2 or newest.shape[1] == 0:
        return None
    mean, deviation = yardstick.mean(1, keepdim=True), yardstick.std(1, keepdim=True)
    if bool((deviation < 1e-8).any()):
        return None
    z, z_newest = (yardstick - mean) / deviation, (newest - mean) / deviation
    usual = float(z.std(0).mean())
    if usual < 1e-8:
        return None
    return Sighting(float(z_newest.mean()), float(z_newest.std(0).mean()) / usual)


def watching_on(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state of a guard for an extended training, even if the guard had ended it.

    Whoever extends the training has seen that the guard tripped. It continues to watch, and ends
    the training again if it trips again.
    """
    if not state:
        return {}
    n_calls, n_rows, _, asked_version = state["counts"]
    return {**state, "counts": [n_calls, n_rows, 0, asked_version], "stops": False}


class _Keeps(Protocol):
    def keep(self, items: Sequence[Any]) -> None: ...

    def kept(self, item_id: str) -> Any: ...


class Guard:
    """Watches a training for over-optimisation.

    Args:
        mode: What it does: nothing ("off"), or when it trips only warn, also ask about the items
            that made it trip, or also end the training.
        source: Keeps the items of the yardstick.
        model: The reward ensemble that the agent uses.
        run: The run directory that receives its table; None for no table.
        ask: Stores queries about pairs, given the pairs and the steps of the run, and returns how
            many.

    Raises:
        ConfigError: If there is no such mode.
    """

    def __init__(
        self,
        mode: GuardMode,
        source: _Keeps,
        model: RewardModel,
        run: RunDirectory | None,
        *,
        ask: Callable[[Sequence[tuple[Any, Any]], int], int],
    ) -> None:
        if mode not in get_args(GuardMode):
            raise ConfigError(
                f"expected guard to be one of {', '.join(get_args(GuardMode))}, got {mode!r}."
            )
        self.stops = False
        """Whether the training must end."""
        self._mode, self._source, self._model, self._run, self._ask = mode, source, model, run, ask
        self._yardstick: list[str] = []
        self._scores: tuple[int, torch.Tensor] | None = None
        self._n_calls, self._n_rows, self._n_in_a_row = 0, 0, 0
        self._asked_version, self._has_asked = 0, False
        self._table: CsvTable | None = None

    def look(
        self,
        newest: Sequence[Item],
        used: UsedReward,
        *,
        run_steps: int,
        pairs: Pairs = beside_each_other,
        beside: Mapping[str, float] | None = None,
    ) -> Sighting | None:
        """Checks the newest items at every fourth call.

        Args:
            newest: The agent's newest items.
            used: The reward in use; before the first fit there is nothing to check.
            run_steps: Steps of the run so far.
            pairs: Makes the pairs to ask about.
            beside: Further columns for its table.

        Returns:
            The figures; None if nothing was checked.
        """
        if self._mode == "off" or self.stops or used.tells_nothing:
            return None
        self._n_calls += 1
        if not self._yardstick:
            self._choose(newest)
            return None
        if self._n_calls % _EVERY:
            return None
        newest = newest[-GUARDED:]
        seen = sighting(self._yardstick_scores(used), score_items(self._model, newest))
        if seen is None:
            return None
        self._n_in_a_row = self._n_in_a_row + 1 if seen.suspicious else 0
        trips = self._n_in_a_row >= LOOKS_IN_A_ROW
        told = {"run_steps": run_steps, "gain": seen.gain, "disagreement": seen.disagreement}
        self._note({**told, **(beside or {}), "tripped": int(trips)})
        if trips and self._mode == "stop":
            self.stops = True
        elif trips and self._mode == "ask" and used.version > self._asked_version:
            # Once per reward version: the answers must first have a chance to improve it.
            found = pairs(newest, [self._source.kept(name) for name in self._yardstick])
            if self._ask(found[:_ASKED_AT_ONCE], run_steps):
                self._asked_version, self._has_asked = used.version, True
        return seen

    def has_asked(self) -> bool:
        """Returns whether it has stored queries since the last call of this method."""
        asked, self._has_asked = self._has_asked, False
        return asked

    def _choose(self, newest: Sequence[Item]) -> None:
        """Keeps items from before the reward had much influence, as the yardstick."""
        every = max(1, len(newest) // GUARDED)
        chosen = {item.id: item for item in list(newest)[::every][:GUARDED]}
        self._source.keep(list(chosen.values()))
        self._yardstick = list(chosen)

    def _yardstick_scores(self, used: UsedReward) -> torch.Tensor:
        if self._scores is None or self._scores[0] != used.version:
            items = [self._source.kept(name) for name in self._yardstick]
            self._scores = used.version, score_items(self._model, items)
        return self._scores[1]

    def _note(self, row: Metrics) -> None:
        if self._run is None:
            return
        if self._table is None:
            self._table = CsvTable(self._run.guard, keep=self._n_rows)
        self._table.append(row)
        self._n_rows += 1

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "yardstick": self._yardstick,
            "counts": [self._n_calls, self._n_rows, self._n_in_a_row, self._asked_version],
            "stops": self.stops,
            "has_asked": self._has_asked,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state; an empty one, from a checkpoint without a guard, changes nothing."""
        if not state:
            return
        self._yardstick, self.stops = list(state["yardstick"]), state["stops"]
        self._n_calls, self._n_rows, self._n_in_a_row, self._asked_version = state["counts"]
        self._has_asked = state.get("has_asked", False)  # missing in older checkpoints
        self._table, self._scores = None, None
