"""A process that steps some environments for another one: ``python -m prefrl…worker FD``.

It loads neither torch nor Stable-Baselines3, so it is there in half a second and takes little
memory. It ends with whoever started it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym

__all__ = ["Made", "answer", "main", "split"]

Made = Callable[[], gym.Env[Any, Any]]
"""Makes an environment; it can be pickled."""


def main(fd: int) -> None:
    """Does what it is told until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
    connection = Connection(fd)
    try:
        envs: list[gym.Env[Any, Any]] = []
        while True:
            name, told = connection.recv()
            try:
                reply: tuple[str, Any] = ("done", answer(envs, name, told))
            except Exception as error:
                # Whatever it is, it belongs where the agent is.
                reply = ("raised", (type(error).__name__, str(error)))
            connection.send(reply)
    except (EOFError, ConnectionError):
        return


def answer(envs: list[gym.Env[Any, Any]], name: str, told: Any) -> Any:
    """One order.

    Args:
        envs: The environments; ``make`` fills it.
        name: ``make``, ``reset``, ``step`` or ``call``.
        told: What comes along.

    Returns:
        What is to be told.
    """
    if name == "make":
        envs.extend(make() for make in told)
        first = envs[0]
        return first.observation_space, first.action_space, first.metadata, first.spec
    if name == "reset":
        return [
            env.reset(seed=seed, options=options or None)
            for env, (seed, options) in zip(envs, told, strict=True)
        ]
    if name == "step":
        return [_step(env, action) for env, action in zip(envs, told, strict=True)]
    number, method, arguments = told
    attribute = envs[number].get_wrapper_attr(method)
    return attribute(*arguments) if callable(attribute) else attribute


def _step(env: gym.Env[Any, Any], action: Any) -> tuple[Any, float, bool, dict[str, Any], Any]:
    """A step, and the beginning of a new episode where one is over, as Stable-Baselines3 has it."""
    observation, reward, terminated, truncated, info = env.step(action)
    info["TimeLimit.truncated"] = truncated and not terminated
    begun: dict[str, Any] = {}
    if terminated or truncated:
        info["terminal_observation"] = observation
        observation, begun = env.reset()
    return observation, float(reward), bool(terminated or truncated), info, begun


def split(n: int, parts: int) -> Sequence[range]:
    """The numbers from 0 to n - 1 in so many runs of about the same length, none of them empty."""
    parts = min(n, parts)
    bounds = [n * part // parts for part in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(bounds)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
