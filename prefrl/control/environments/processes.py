"""Environments in separate processes, for simulators that are slow or crash."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from prefrl.control.environments.guard import FAULT_KEY
from prefrl.control.environments.worker import Made, split
from prefrl.errors import EnvironmentFaultError

__all__ = ["Processes", "stacked"]

_log = logging.getLogger(__name__)
_MOST_DEATHS, _WITHIN_STEPS = 5, 10_000
_SECONDS_TO_END = 5.0


class Processes(VecEnv):
    """N environments in P processes, as a vectorised environment of Stable-Baselines3.

    A process that dies loses its episodes. It is started again, and the step counts as a fault of
    each of its environments: as with ``Guard``, the episode is truncated at the last known
    observation.

    Args:
        make: Makes each environment, N of them.
        n_processes: P.
        seed: Seed of the first environment; the others follow.

    Raises:
        EnvironmentFaultError: If an environment raises an error that ``Guard`` lets through, or
            processes die more than five times within 10,000 steps.
    """

    def __init__(self, make: Sequence[Made], n_processes: int, *, seed: int) -> None:
        self._make = list(make)
        self._workers = [_Worker(run) for run in split(len(make), n_processes)]
        for worker in self._workers:
            worker.begin([self._make[i] for i in worker.envs])
        told, *_ = [worker.receive() for worker in self._workers]
        observation_space, action_space, self.metadata, self._spec = told
        super().__init__(len(make), observation_space, action_space)
        self.last_observations: list[Any] = [None] * len(make)
        """The newest observation of each environment."""
        self._actions: NDArray[Any] | None = None
        self._n_steps, self._n_deaths = 0, 0
        self._deaths: deque[int] = deque(maxlen=_MOST_DEATHS)
        self._first_seed = seed
        self._lost: set[int] = (
            set()
        )  # environments whose episode is lost, which no step has reported yet
        self._started = time.monotonic()
        self._returns, self._lengths = np.zeros(len(make)), np.zeros(len(make), np.int64)
        self.seed(seed)

    def reset(self) -> Any:
        """Resets all environments."""
        told = list(zip(self._seeds, self._options, strict=True))
        for worker in self._workers:
            worker.send("reset", [told[i] for i in worker.envs])
        for worker in self._workers:
            for i, (observation, info) in zip(worker.envs, worker.receive(), strict=True):
                self.last_observations[i], self.reset_infos[i] = observation, info
        self._reset_seeds()
        self._reset_options()
        self._lost.clear()
        self._returns[:], self._lengths[:] = 0.0, 0
        return self._stacked()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Sends the actions to the processes, which work side by side."""
        self._actions = actions
        for worker in self._workers:
            if not self._lost.intersection(worker.envs):
                # ``step_wait`` notices a dead process.
                with contextlib.suppress(OSError):
                    worker.send("step", [actions[i] for i in worker.envs])

    def step_wait(self) -> VecEnvStepReturn:
        """Waits for the results of the actions."""
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, np.bool_)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._n_steps += 1
        for worker in self._workers:
            for i, step in zip(worker.envs, self._steps_of(worker), strict=True):
                self.last_observations[i], rewards[i], dones[i], infos[i], begun = step
                if dones[i]:
                    self.reset_infos[i] = begun
        self._count(rewards, dones, infos)
        return self._stacked(), rewards, dones, infos

    def _steps_of(self, worker: _Worker) -> list[Any]:
        if not self._lost.intersection(worker.envs):
            try:
                return list(worker.receive())
            except (EOFError, OSError):
                self._start_again(worker)
        return [self._gone(i) for i in worker.envs]

    def _gone(self, i: int) -> tuple[Any, float, bool, dict[str, Any], dict[str, Any]]:
        """Returns the step of an environment whose process died and whose new episode has begun."""
        before, after = self._before[i], self.last_observations[i]
        self._lost.discard(i)
        told = {
            FAULT_KEY: "its process died",
            "TimeLimit.truncated": True,
            "terminal_observation": before,
        }
        return after, 0.0, True, told, {}

    def _start_again(self, worker: _Worker) -> None:
        """Restarts a process; its new episodes have seeds of their own."""
        self._n_deaths += 1
        too_often = (
            len(self._deaths) == _MOST_DEATHS and self._n_steps - self._deaths[0] < _WITHIN_STEPS
        )
        self._deaths.append(self._n_steps)
        code = worker.end()
        if too_often:
            raise EnvironmentFaultError(
                f"expected environments that work, but their processes died {_MOST_DEATHS + 1} "
                f"times within {_WITHIN_STEPS:,} steps, the last time with exit code {code}; fix "
                "the environment. What was learned so far is kept."
            )
        _log.warning("a process of environments died (exit code %s); starting it again.", code)
        worker.begin([self._make[i] for i in worker.envs])
        worker.receive()
        seeds = [
            int(np.random.SeedSequence([self._first_seed, i, self._n_deaths]).generate_state(1)[0])
            for i in worker.envs
        ]
        worker.send("reset", [(seed, None) for seed in seeds])
        self._before = dict(enumerate(self.last_observations))
        for i, (observation, _) in zip(worker.envs, worker.receive(), strict=True):
            self.last_observations[i] = observation
        self._lost.update(worker.envs)

    def _count(
        self, rewards: NDArray[Any], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> None:
        """Adds return and length to the info of each finished episode, like a ``Monitor``."""
        self._returns += rewards
        self._lengths += 1
        for i in np.flatnonzero(dones):
            seconds = round(time.monotonic() - self._started, 6)
            infos[i]["episode"] = {
                "r": round(float(self._returns[i]), 6), "l": int(self._lengths[i]), "t": seconds
            }  # fmt: skip
            self._returns[i], self._lengths[i] = 0.0, 0

    def _stacked(self) -> Any:
        return stacked(self.last_observations, self.observation_space)

    def call(self, name: str, per_env: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """Reads an attribute of each environment; if it is a method, calls it.

        A process that has died is started again first.

        Args:
            name: Name of the attribute.
            per_env: Arguments for each environment, N tuples; no arguments by default.
        """
        given = per_env or [()] * self.num_envs
        found: list[Any] = [None] * self.num_envs
        for worker in self._workers:
            try:
                results = worker.call(name, given)
            except (EOFError, OSError):
                self._start_again(worker)
                results = worker.call(name, given)
            for i, result in zip(worker.envs, results, strict=True):
                found[i] = result
        return found

    def see(self, observations: Sequence[Any]) -> None:
        """Sets the newest observations, after the environments were restored to another state."""
        self.last_observations = list(observations)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.end()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of some environments."""
        if attr_name in ("metadata", "spec"):
            value = self.metadata if attr_name == "metadata" else self._spec
            return [value for _ in self._get_indices(indices)]
        if attr_name == "render_mode":  # read by VecEnv's constructor
            return [None for _ in range(len(self._make))]
        found = self.call(attr_name)
        return [found[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Always raises: attributes cannot be set across processes."""
        raise NotImplementedError(f"{attr_name} of environments in processes cannot be set.")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Calls a method of all environments, and returns the results of some."""
        if kwargs:
            raise NotImplementedError("expected arguments without names, across processes.")
        found = self.call(method_name, [args] * self.num_envs)
        return [found[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """Returns True only for Monitor: episodes are counted here, so none is needed."""
        return [wrapper_class.__name__ == "Monitor" for _ in self._get_indices(indices)]


class _Worker:
    """One process and the connection to it."""

    def __init__(self, envs: range) -> None:
        self.envs = envs
        """Numbers of its environments."""
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def begin(self, make: Sequence[Made]) -> None:
        """Starts the process, which makes the environments."""
        ours, theirs = socket.socketpair()
        module = "prefrl.control.environments.worker"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())], pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        theirs.close()
        self._connection = Connection(ours.detach())
        self.send("make", list(make))

    def send(self, name: str, told: Any) -> None:
        """Sends a request."""
        assert self._connection is not None
        self._connection.send((name, told))

    def receive(self) -> Any:
        """Waits for the reply to the oldest open request.

        Raises:
            EnvironmentFaultError: If an environment raised.
            EOFError: If the process has ended; or OSError.
        """
        assert self._connection is not None
        kind, told = self._connection.recv()
        if kind == "raised":
            raise EnvironmentFaultError(
                told[1] if told[0] == "EnvironmentFaultError" else f"{told[0]}: {told[1]}"
            )
        return told

    def call(self, name: str, given: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Reads an attribute of its environments, or calls it with N environments' arguments."""
        for number, i in enumerate(self.envs):
            self.send("call", (number, name, given[i]))
        return [self.receive() for _ in self.envs]

    def end(self) -> int | None:
        """Closes the connection, waits for the process to end, and returns its exit code."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return None
        try:
            return self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def stacked(shown: Sequence[Any], space: spaces.Space[Any]) -> Any:
    """Stacks observations of N environments into a batch like that of ``DummyVecEnv``."""
    if isinstance(space, spaces.Dict):
        return {
            key: np.stack([one[key] for one in shown], dtype=part.dtype)
            for key, part in space.spaces.items()
        }
    return np.stack(shown, dtype=space.dtype)
