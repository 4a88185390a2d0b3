"""A first look at an environment: length of segments, number of processes, and endings.

A segment is what people see in about two seconds, if episodes last that long.

Christiano et al. 2017 show clips of 1.5 s. A segment that is longer than an episode shows nothing
but its held ending; one that is much shorter shows no behaviour.
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
"""Most steps of a chosen segment length."""

_SECONDS, _MOST_FRAMES_PER_SECOND = 2.5, 20  # 50 steps, shown in 1.7 s by films of 30 a second
_SHORTEST = 2
_SLOW = 0.002  # least seconds per step for which processes pay off
_EPISODES, _STEPS, _PATIENCE = 20, 2_000, 10.0  # limits of the first look, the last in seconds


def chosen_length(fps: float, lengths: Sequence[int]) -> int:
    """Chooses the number of steps per segment.

    Args:
        fps: Steps of the environment per second of its own clock.
        lengths: Lengths of the first episodes, in steps; none if they are long.

    Returns:
        A number from 2 to 50; at most a quarter of the episodes are shorter.
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
    """Seconds per step."""
    busy: float
    """Share of that time in which the processor worked, from 0 to 1."""
    ends: bool
    """Whether the environment itself, not a time limit, ended one of the episodes."""

    @property
    def segment_length(self) -> int:
        """Steps per segment."""
        return chosen_length(self.fps, self.lengths)

    def n_processes(self, n_envs: int) -> int:
        """Chooses the number of processes that step the environments; 0 for the agent's own."""
        if self.step_seconds < _SLOW:
            return 0
        return n_envs if self.busy < 0.5 else min(n_envs, os.cpu_count() or 1)


def first_look(
    env_id: str, limits: Limits | None, *, seed: int, env: EnvConfig | None = None
) -> FirstLook:
    """Plays an environment at random, for at most 20 episodes, 2,000 steps or ten seconds.

    Args:
        env_id: A Gymnasium id that ``check_environment`` has accepted.
        limits: Limits that cut its training episodes early.
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
        lengths.append(max(now, MOST))  # the last episode was still going on
    fps = float(metadata.get("render_fps") or 30)
    return FirstLook(fps, lengths, taken / n_steps, min(1.0, busy / taken), ends)
