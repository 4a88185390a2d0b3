"""Hides the environment's own reward from the agent, and keeps it for oracles and evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from prefrl.control.environments.batched import GAME_OVER_KEY, SCORE_KEY
from prefrl.control.environments.endings import ended_of, numbers_after
from prefrl.control.environments.guard import FAULT_KEY
from prefrl.control.environments.journals import JOURNAL_KEY, Journal
from prefrl.control.environments.making import journals_under_way
from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import (
    Layout,
    action_width,
    check_spaces,
    encode_actions,
    layout_of,
)
from prefrl.control.environments.states import FINAL_STATE_KEY, STATE_KEY
from prefrl.errors import ConfigError

__all__ = ["HideReward", "check_same_spaces", "find_hide_reward"]


class HideReward(VecEnvWrapper):
    """Gives the agent a reward of zero, and records what happened for the reward learner.

    Put it around the bare vectorised environment, inside of ``VecNormalize``, so that segments
    hold observations as the environment gives them. Stable-Baselines3's ``Monitor``, which sits
    deeper, still logs the true return for people to read.

    Args:
        venv: The vectorised environment.

    Raises:
        UnsupportedSpaceError: If its spaces are not supported.
        ConfigError: If it is not Stable-Baselines3's, or contains a ``VecNormalize`` or another
            ``HideReward``.
    """

    def __init__(self, venv: VecEnv) -> None:
        _check_wrapped(venv)
        check_spaces(venv.observation_space, venv.action_space)
        super().__init__(venv)
        self.finished_returns: deque[float] = deque(maxlen=20)
        """True returns of the newest finished episodes, or final scores of the newest games."""
        self.finished_rewards: deque[float] = deque(maxlen=20)
        """Returns of these episodes in the oracle's reward, which in games is not the score."""
        self.finished_lengths: deque[int] = deque(maxlen=20)
        """Lengths of the same episodes, in steps."""
        self.n_finished = 0
        """Number of finished episodes."""
        self._returns, self._rewards = np.zeros(self.num_envs), np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self.n_faults = 0
        """Number of faults after which an environment was made again."""
        self.n_resets = 0
        """Number of resets of all environments from outside."""
        self.interrupted: set[int] = set()
        """Environments whose episode was cut when the run was resumed."""
        self._layout = layout_of(venv.observation_space)
        self._observations: Any = None
        self._actions: NDArray[Any] | None = None
        self._tape: _Tape | None = None
        self._before: NDArray[np.uint8] | None = None

    def record(self, n_steps: int, *, n_before: int = 0, grows: bool = False) -> None:
        """Starts recording.

        Args:
            n_steps: Most steps between two calls of ``take``.
            n_before: Number of earlier steps whose pictures ``take`` returns, too.
            grows: Whether the record grows beyond ``n_steps``; else more steps are an error.
        """
        shape = (n_steps, self.num_envs)
        n_action = action_width(self.action_space)
        self._tape = _Tape(shape, self._layout, n_action, n_before, grows=grows)
        if self._before is not None:
            self._tape.remember(self._before)

    @property
    def n_recorded(self) -> int:
        """Steps of each environment recorded since the last call of ``take``."""
        return 0 if self._tape is None else self._tape.n_written

    def take(self) -> Rollout:
        """Returns the record since the last call, and starts a new one."""
        if self._tape is None:
            raise ConfigError("expected a recording; call record(n_steps) before take().")
        rollout = self._tape.take()
        under_way = journals_under_way(self.unwrapped)
        return replace(rollout, journals={**rollout.journals, **under_way})

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters and last pictures; call it only between two rollouts."""
        return {
            "returns": self._returns.copy(),
            "rewards": self._rewards.copy(),
            "lengths": self._lengths.copy(),
            "finished_returns": list(self.finished_returns),
            "finished_rewards": list(self.finished_rewards),
            "finished_lengths": list(self.finished_lengths),
            "n_finished": self.n_finished,
            "n_faults": self.n_faults,
            "before": None if self._tape is None else self._tape.before(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state; the environments themselves are restored by the caller."""
        self._returns, self._rewards = state["returns"].copy(), state["rewards"].copy()
        self._lengths = state["lengths"].copy()
        for newest, name in (
            (self.finished_returns, "finished_returns"),
            (self.finished_rewards, "finished_rewards"),
            (self.finished_lengths, "finished_lengths"),
        ):
            newest.clear()
            newest.extend(state[name])
        self.interrupted.clear()
        self._before = state["before"]
        self.n_finished, self.n_faults = state["n_finished"], state["n_faults"]

    def interrupt(self, env: int) -> None:
        """Forgets the current episode of an environment, which was reset from outside."""
        self.interrupted.add(env)
        for sums in (self._returns, self._rewards, self._lengths):
            sums[env] = 0
        if self._before is not None:
            self._before[:, env] = 0

    def see(self, observations: Any) -> None:
        """Sets the current observations, if they did not pass through this wrapper."""
        self._observations = observations

    def reset(self) -> VecEnvObs:
        """Resets all environments; unfinished episodes are not counted."""
        self.n_resets += 1
        for sums in (self._returns, self._rewards, self._lengths):
            sums[:] = 0
        observations = self.venv.reset()
        if self._tape is not None:
            self._tape.cut()
        self._observations = observations
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Forwards the actions, and keeps them for the record."""
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all environments; the returned rewards are zero."""
        observations, rewards, dones, infos = self.venv.step_wait()
        if self._tape is not None:
            assert self._observations is not None
            assert self._actions is not None
            self._tape.write(
                self._observations,
                encode_actions(self._actions, self.action_space),
                rewards,
                dones,
                infos,
                observations,
            )
        self._observations = observations
        if SCORE_KEY in infos[0]:
            scores = np.array([info[SCORE_KEY] for info in infos])
            self._count(scores, rewards, np.array([GAME_OVER_KEY in info for info in infos]))
        else:
            self._count(rewards, rewards, dones)
        self.n_faults += sum(FAULT_KEY in info for info in infos)
        return observations, np.zeros_like(rewards), dones, infos

    def _count(self, scores: NDArray[Any], rewards: NDArray[Any], dones: NDArray[np.bool_]) -> None:
        self._returns += scores
        self._rewards += rewards
        self._lengths += 1
        for i in np.flatnonzero(dones):
            self.finished_returns.append(float(self._returns[i]))
            self.finished_rewards.append(float(self._rewards[i]))
            self.finished_lengths.append(int(self._lengths[i]))
            self.n_finished += 1
            for sums in (self._returns, self._rewards, self._lengths):
                sums[i] = 0


_PARTS = (
    "_observations", "_actions", "_rewards", "_dones", "_next_observations", "_ended", "_states",
    "_final_states", "_frames",
)  # fmt: skip


class _Tape:
    """Preallocated arrays for one rollout."""

    def __init__(
        self,
        shape: tuple[int, int],
        layout: Layout,
        n_action: int,
        n_before: int,
        *,
        grows: bool = False,
    ) -> None:
        n_steps, n_envs = shape
        self._grows = grows
        self._layout = layout
        self._n_before = n_before
        self._observations = np.empty((*shape, layout.width), np.float32)
        self._actions = np.empty((*shape, n_action), np.float32)
        self._rewards = np.empty(shape, np.float64)
        self._dones = np.empty(shape, np.bool_)
        self._next_observations = np.empty_like(self._observations)
        self._ended = np.empty(shape, np.bool_)
        self._states: NDArray[np.float64] | None = None
        self._final_states: NDArray[np.float64] | None = None
        self._frames: NDArray[np.uint8] | None = None
        if layout.picture is not None:
            self._frames = np.zeros((n_before + n_steps, n_envs, *layout.picture), np.uint8)
        self._journals: dict[int, Journal] = {}
        self._t = 0

    def write(
        self,
        observations: Any,
        actions: NDArray[np.float32],
        rewards: NDArray[Any],
        dones: NDArray[Any],
        infos: list[dict[str, Any]],
        after: Any,
    ) -> None:
        t = self._t
        if t == len(self._dones) and self._grows:
            self._grow()
        if t == len(self._dones):
            raise ConfigError(
                f"expected at most {t} steps between two rollout ends, got more; train through "
                "learn() with the PreferenceCallback that is attached to this environment."
            )
        self._observations[t], pictures = self._layout.split(observations)
        if self._frames is not None and pictures is not None:
            self._frames[self._n_before + t] = pictures
        self._actions[t] = actions
        self._rewards[t] = rewards
        self._dones[t] = dones
        self._next_observations[t] = numbers_after(self._layout, after, dones, infos)
        self._ended[t] = ended_of(dones, infos)
        if self._states is not None or any(STATE_KEY in info for info in infos):
            self._write_states(infos)
        self._t += 1

    def _write_states(self, infos: list[dict[str, Any]]) -> None:
        if self._states is None or self._final_states is None:
            width = next(len(info[STATE_KEY]) for info in infos if STATE_KEY in info)
            shape = (*self._dones.shape, width)
            self._states, self._final_states = np.full(shape, np.nan), np.zeros(shape)
        for i, info in enumerate(infos):
            # An environment whose process died reports no state.
            self._states[self._t, i] = info.get(STATE_KEY, np.nan)
            self._final_states[self._t, i] = info.get(FINAL_STATE_KEY, 0.0)
            if JOURNAL_KEY in info:
                number, journal = info[JOURNAL_KEY]
                self._journals[number] = journal

    @property
    def n_written(self) -> int:
        """Number of recorded steps."""
        return self._t

    def _grow(self) -> None:
        """Doubles the capacity."""
        n_more = len(self._dones)
        for name in _PARTS:
            if (part := getattr(self, name)) is not None:
                more = np.zeros((n_more, *part.shape[1:]), part.dtype)
                setattr(self, name, np.concatenate([part, more]))

    def cut(self) -> None:
        """Marks the newest step as the end of its episode: the environments were reset."""
        if self._t:
            self._dones[self._t - 1] = True
        elif self._frames is not None:
            self._frames[: self._n_before] = 0

    def before(self) -> NDArray[np.uint8] | None:
        """Returns the pictures before the next step, shape (K, N, C, H, W)."""
        return None if self._frames is None else self._frames[: self._n_before].copy()

    def remember(self, before: NDArray[np.uint8]) -> None:
        """Restores the pictures that ``before`` returned."""
        if self._frames is not None and before.shape == self._frames[: self._n_before].shape:
            self._frames[: self._n_before] = before

    def take(self) -> Rollout:
        t, self._t = self._t, 0
        journals, self._journals = self._journals, {}
        taken = Rollout(
            observations=self._observations[:t].copy(),
            actions=self._actions[:t].copy(),
            true_rewards=self._rewards[:t].copy(),
            dones=self._dones[:t].copy(),
            states=None if self._states is None else self._states[:t].copy(),
            frames=None if self._frames is None else self._frames[: self._n_before + t].copy(),
            journals=journals,
            next_observations=self._next_observations[:t].copy(),
            ended=self._ended[:t].copy(),
            final_states=None if self._final_states is None else self._final_states[:t].copy(),
        )
        self._look_back(taken)
        return taken

    def _look_back(self, taken: Rollout) -> None:
        """Keeps the last pictures of a rollout; black if their episode has ended."""
        if self._frames is None or taken.frames is None or not self._n_before:
            return
        self._frames[: self._n_before] = taken.frames[-self._n_before :]
        n_since = np.argmax(np.vstack([taken.dones[::-1], np.ones_like(taken.dones[:1])]), axis=0)
        for env, n in enumerate(n_since):
            if n < len(taken.dones):
                self._frames[: max(0, self._n_before - int(n)), env] = 0


def _check_wrapped(venv: Any) -> None:
    if not isinstance(venv, VecEnv):
        raise ConfigError(
            f"expected a vectorised environment of Stable-Baselines3, got {type(venv).__name__}; "
            "make it with make_vec_env, or write HideReward(DummyVecEnv([lambda: env]))."
        )
    inner: Any = venv
    while isinstance(inner, VecEnvWrapper):
        if isinstance(inner, VecNormalize):
            raise ConfigError(
                "expected HideReward inside of VecNormalize, got a VecNormalize inside; write "
                "VecNormalize(HideReward(venv), norm_reward=False)."
            )
        if isinstance(inner, HideReward):
            raise ConfigError(
                "expected an environment whose reward is not hidden yet, got a HideReward inside; "
                "wrap it once."
            )
        inner = inner.venv


def check_same_spaces(before: VecEnv, now: VecEnv) -> None:
    """Refuses environments whose spaces differ from those that the reward was learned in.

    Raises:
        ConfigError: If the observation or action space differs.
    """
    for name in ("observation_space", "action_space"):
        there, here = getattr(before, name), getattr(now, name)
        if there != here:
            raise ConfigError(
                f"expected an environment with the {name} {there}, as the one that this callback "
                f"was used with before, got {here}; make a new PreferenceCallback for it."
            )


def find_hide_reward(venv: Any) -> HideReward:
    """Finds the HideReward within a stack of wrappers.

    Raises:
        ConfigError: If there is none.
    """
    inner = venv
    while inner is not None:
        if isinstance(inner, HideReward):
            return inner
        inner = getattr(inner, "venv", None)
    raise ConfigError(
        "expected an environment whose reward is hidden, got one without HideReward; wrap it "
        "first: venv = prefrl.HideReward(venv)."
    )
