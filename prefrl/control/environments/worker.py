"""A process that steps environments for another process: ``python -m prefrl…worker FD``.

It loads neither torch nor Stable-Baselines3, so it starts in half a second and takes little memory.
It ends with the process that started it.
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
"""Function that makes an environment; it can be pickled."""


def main(fd: int) -> None:
    """Serves requests until the other side closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    connection = Connection(fd)
    try:
        envs: list[gym.Env[Any, Any]] = []
        while True:
            name, told = connection.recv()
            try:
                reply: tuple[str, Any] = ("done", answer(envs, name, told))
            except Exception as error:
                # Any error is raised in the agent's process.
                reply = ("raised", (type(error).__name__, str(error)))
            connection.send(reply)
    except (EOFError, ConnectionError):
        return


def answer(envs: list[gym.Env[Any, Any]], name: str, told: Any) -> Any:
    """Carries out one request.

    Args:
        envs: The environments; ``make`` fills this list.
        name: ``make``, ``reset``, ``step`` or ``call``.
        told: Its arguments.

    Returns:
        The reply.
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
    """Steps; resets after an episode's end, as Stable-Baselines3's environments do."""
    observation, reward, terminated, truncated, info = env.step(action)
    info["TimeLimit.truncated"] = truncated and not terminated
    begun: dict[str, Any] = {}
    if terminated or truncated:
        info["terminal_observation"] = observation
        observation, begun = env.reset()
    return observation, float(reward), bool(terminated or truncated), info, begun


def split(n: int, parts: int) -> Sequence[range]:
    """Splits 0 to n - 1 into at most ``parts`` non-empty ranges of about equal length."""
    parts = min(n, parts)
    bounds = [n * part // parts for part in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(bounds)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
