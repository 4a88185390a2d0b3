"""How long a segment is, where nobody says: what people see in two seconds, if episodes last so.

Christiano et al. 2017 show clips of 1.5 s. A segment that is longer than an episode shows nothing
but its ending being held; one that is much shorter shows no behaviour.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from prefrl.control.environments.limits import Limits
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.source import EnvConfig

__all__ = ["MOST", "chosen_length", "length_for"]

MOST = 50
"""Steps of the longest segment that is chosen."""

_SECONDS, _MOST_FRAMES_PER_SECOND = 2.5, 20  # at 30 frames a second, as films are, it is 1.7 s
_SHORTEST = 2
_EPISODES, _STEPS, _PATIENCE = 20, 2_000, 10.0  # what is played to see how long episodes are


def chosen_length(fps: float, lengths: Sequence[int]) -> int:
    """Steps per segment.

    Args:
        fps: Steps of the environment per second of its own clock.
        lengths: Of the first episodes, in steps; none if they are long.

    Returns:
        From 2 to 50, and no more than a quarter of the episodes are shorter.
    """
    wanted = round(_SECONDS * min(fps, _MOST_FRAMES_PER_SECOND))
    if len(lengths):
        wanted = min(wanted, int(np.percentile(lengths, 25, method="lower")))
    return min(MOST, max(_SHORTEST, wanted))


def length_for(
    env_id: str, limits: Limits | None, *, seed: int, env: EnvConfig | None = None
) -> int:
    """Steps per segment for an environment, of which some episodes are played at random.

    At most 20 of them, 2,000 steps or ten seconds.

    Args:
        env_id: A Gymnasium id, of what ``check_environment`` lets pass.
        limits: Where its training episodes are cut early.
        seed: Of these episodes.
        env: Its arguments and wrappers.
    """
    venv = make_environments(env_id, n_envs=1, seed=seed, limits=limits, env=env)
    lengths, now, began = list[int](), 0, time.monotonic()
    try:
        metadata = venv.get_attr("metadata")[0]
        venv.action_space.seed(seed)
        venv.reset()
        for _ in range(_STEPS):
            _, _, dones, _ = venv.step(np.array([venv.action_space.sample()]))
            now += 1
            if dones[0]:
                lengths.append(now)
                now = 0
            if len(lengths) == _EPISODES or time.monotonic() - began > _PATIENCE:
                break
    finally:
        venv.close()
    if now >= MOST or not lengths:
        lengths.append(max(now, MOST))  # it went on
    return chosen_length(float(metadata.get("render_fps", 30)), lengths)
