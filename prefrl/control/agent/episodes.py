"""Statistics of the finished episodes, for the callback."""

from __future__ import annotations

import numpy as np

from prefrl.control.environments.hide_reward import HideReward
from prefrl.errors import NotEnoughDataError

__all__ = ["check_lengths", "typical_return"]

_ENOUGH = 20


def typical_return(venv: HideReward, segment_length: int) -> float:
    """Returns B-Pref's margin: mean true return of ten episodes, scaled to a segment's length.

    It uses the oracle's reward; the scores of games, which people read, are other numbers.

    Args:
        venv: The environments.
        segment_length: Steps of a segment.

    Returns:
        The margin; 0 before the first episode has finished.
    """
    returns, lengths = list(venv.finished_rewards)[-10:], venv.finished_lengths
    if not returns:
        return 0.0
    return float(np.mean(returns)) * segment_length / max(lengths)


def check_lengths(venv: HideReward, segment_length: int, n_segments: int) -> None:
    """Refuses episodes that are too short to cut a segment from.

    Args:
        venv: The environments.
        segment_length: Steps of a segment.
        n_segments: Number of segments cut so far.

    Raises:
        NotEnoughDataError: If 20 episodes have finished without a segment.
    """
    longest = max(venv.finished_lengths, default=0)
    if venv.n_finished >= _ENOUGH and n_segments == 0:
        raise NotEnoughDataError(
            f"segment_length is {segment_length}, but the longest of {venv.n_finished} episodes "
            f"had {longest} steps; lower segment_length or raise max_episode_steps."
        )
