"""How episodes end, and what was observed then.

An ending that the environment itself declares is not a time limit. After it nothing more happens:
each missing step is worth 0, for oracles and for the learned reward alike. This is the absorbing
state of Kostrikov et al. 2018 (arXiv 1809.02925, section 4.2), whose reward is 0 by convention and
not learned: preferences only place the other rewards above or below that 0. So an ending has no
value for the agent, as with a true reward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.spaces import Layout

__all__ = ["ended_of", "numbers_after"]


def ended_of(dones: NDArray[Any], infos: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """Returns whether each environment itself ended its episode, shape (N,).

    Args:
        dones: Whether the episode is over for any reason, shape (N,).
        infos: Infos of the same step, in which Stable-Baselines3 marks time limits.
    """
    limits = [info.get("TimeLimit.truncated", False) for info in infos]
    return np.asarray(dones, np.bool_) & ~np.array(limits, np.bool_)


def numbers_after(
    layout: Layout, observations: Any, dones: NDArray[Any], infos: list[dict[str, Any]]
) -> NDArray[np.float32]:
    """Returns the numbers observed after a step; where an episode ended, its terminal ones.

    Args:
        layout: Layout of the observations.
        observations: Batch that a step of N environments returned: where one is done, the first
            observation of its next episode.
        dones: Which are done, shape (N,).
        infos: Infos of the same step, with the terminal observations.

    Returns:
        Shape (N, O).
    """
    after = layout.numbers(observations)
    if layout.width:
        for env in np.flatnonzero(dones):
            if (last := infos[env].get("terminal_observation")) is not None:
                after[env] = layout.numbers(_batch_of_one(last))[0]
    return after


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(part)[None] for key, part in observation.items()}
    return np.asarray(observation)[None]
