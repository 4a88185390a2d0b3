"""A first look at an environment: how long a segment is, who steps it, and whether episodes end.

A segment is what people see in two seconds, if episodes last so long.

Christiano et al. 2017 show clips of 1.5 s. A segment that is longer than an episode shows nothing
but its ending being held; one that is much shorter shows no behaviour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prefrl.control.environments.endings import ended_of
from prefrl.control.environments.limits import Limits
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.source import EnvConfig

__all__ = ["MOST", "FirstLook", "chosen_length", "first_look"]

MOST = 50
"""Steps of the longest segment that is chosen."""

_SECONDS, _MOST_FRAMES_PER_SECOND = 2.5, 20  # at 30 frames a second, as films are, it is 1.7 s
_SHORTEST = 2
_SLOW = 0.002  # seconds of a step from which on processes pay
_EPISODES, _STEPS, _PATIENCE = 20, 2_000, 10.0  # what is played to see how long episodes are


def chosen_length(fps: float, lengths: Sequence[int]) -> int:
    """Steps per segment.

    Args:
        fps: Steps of the environment per second of its own clock.
        lengths: Lengths of the first episodes, in steps; none if they are long.

    Returns:
        From 2 to 50, and no more than a quarter of the episodes are shorter.
    """
    wanted = round(_SECONDS * min(fps, _MOST_FRAMES_PER_SECOND))
    if len(lengths):
        wanted = min(wanted, int(np.percentile(lengths, 25, method="lower")))
    return min(MOST, max(_SHORTEST, wanted))


@dataclass(frozen=True)
class FirstLook:
    """Findings about an environment from some episodes played at random."""

    fps: float
    """Steps of the environment per second of its own clock."""
    lengths: list[int]
    """Lengths of the episodes, in steps; one that did not end counts as at least one segment."""
    step_seconds: float
    """What a step takes."""
    busy: float
    """How much of that the processor worked, from 0 to 1."""
    ends: bool
    """Whether the environment ended one of the episodes, and no time limit cut it."""

    @property
    def segment_length(self) -> int:
        """Steps per segment."""
        return chosen_length(self.fps, self.lengths)

    def n_processes(self, n_envs: int) -> int:
        """Chooses how many processes step the environments; 0: only the agent's own."""
        if self.step_seconds < _SLOW:
            return 0
        return n_envs if self.busy < 0.5 else min(n_envs, os.cpu_count() or 1)


def first_look(
    env_id: str, limits: Limits | None, *, seed: int, env: EnvConfig | None = None
) -> FirstLook:
    """Plays at most 20 episodes of an environment at random, 2,000 steps or ten seconds.

    Args:
        env_id: A Gymnasium id, of what ``check_environment`` lets pass.
        limits: Where its training episodes are cut early.
        seed: Seed of these episodes.
        env: Its arguments and wrappers.
    """
    here = replace(env or EnvConfig(), processes=0)
    venv = make_environments(env_id, n_envs=1, seed=seed, limits=limits, env=here)
    lengths, now, n_steps, ends = list[int](), 0, 0, False
    try:
        metadata = venv.get_attr("metadata")[0] or {}
        venv.action_space.seed(seed)
        venv.reset()
        began, began_busy = time.monotonic(), time.process_time()
        while len(lengths) < _EPISODES and n_steps < _STEPS:
            _, _, dones, infos = venv.step(np.array([venv.action_space.sample()]))
            now, n_steps = now + 1, n_steps + 1
            if dones[0]:
                lengths.append(now)
                now = 0
                ends = ends or bool(ended_of(dones, infos)[0])
            if time.monotonic() - began > _PATIENCE:
                break
        taken, busy = time.monotonic() - began, time.process_time() - began_busy
    finally:
        venv.close()
    if now >= MOST or not lengths:
        lengths.append(max(now, MOST))  # it went on
    fps = float(metadata.get("render_fps") or 30)
    return FirstLook(fps, lengths, taken / n_steps, min(1.0, busy / taken), ends)
