"""A learned reward on its own: scores steps, compares segments, and saves itself as a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import encode_actions, layout_of
from prefrl.control.learned.folder import RewardFile, read_folder, read_run, write_folder
from prefrl.control.learned.raw_segments import ORDER, leading_shape, segment_of
from prefrl.control.preferences import HasSpaces, PreferenceConfig, StepReward, step_reward
from prefrl.control.segments import Segment
from prefrl.core.ensemble import as_judge, member_preferences
from prefrl.core.trainer import FitReport
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Reward", "SegmentLike", "check_same_spaces_as", "judged", "load_reward", "steps_of"]

SegmentLike = Segment | Mapping[str, Any] | tuple[Any, ...]
"""A Segment; or a dict of its arrays, ``observations`` (T, ...), ``actions`` (T, ...) and, if the
reward reads them, ``next_observations`` (T, ...) and ``ended`` (T,); or a tuple of these in that
order."""


class Reward:
    """A reward that was learned from comparisons, with everything needed to use it.

    It reads observations and actions as the environment gives and takes them, without
    normalisation. The first axis of pictures is time: the reward of a step also depends on the
    pictures before it, which are black before the first.

    Args:
        net: The fitted ensemble.
        observation_space: Observation space of one environment.
        action_space: Action space of one environment.
        about: Its origin, for its card and ``reward.json``.
    """

    def __init__(
        self,
        net: StepReward,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.net = net
        """The ensemble as a torch module."""
        self.observation_space = observation_space
        """Observation space of one environment."""
        self.action_space = action_space
        """Action space of one environment."""
        self.about: dict[str, Any] = dict(about or {})
        """Its origin, number of labels, and accuracy."""
        self.report: FitReport | None = None
        """The report of the fit, if this process made it."""
        self._layout = layout_of(observation_space)

    @property
    def inputs(self) -> str:
        """What a step's reward depends on: state, action, or transition."""
        return self.net.config.inputs

    def predict(
        self,
        observations: Any,
        actions: Any,
        *,
        next_observations: Any = None,
        ended: Any = None,
    ) -> NDArray[np.float32]:
        """Returns rewards of steps, the mean over members unless the net's settings differ.

        Args:
            observations: Observations before each step, shape (..., *space), or a dict of such
                arrays, for one or more steps; the batch axes of pictures are (T,) or (T, N).
            actions: Actions of the steps, shape (..., *space).
            next_observations: Observations after each step, including an episode's last one; only
                a reward of transitions reads them.
            ended: Whether the environment itself, not a time limit, ended the episode with the
                step, shape (...); only a reward of transitions reads it.

        Returns:
            Rewards, shape (...), normalised as for the agent.

        Raises:
            ConfigError: If the shapes do not fit the spaces, or what the reward reads is missing.
        """
        rollout, lead = steps_of(self, observations, actions, next_observations, ended)
        reward, _ = self.net.predict(rollout)
        return reward.reshape(lead)

    def members(
        self,
        observations: Any,
        actions: Any,
        *,
        next_observations: Any = None,
        ended: Any = None,
    ) -> NDArray[np.float32]:
        """Returns rewards of steps by each member, normalised as for ``predict``.

        Args:
            observations: As for ``predict``.
            actions: As for ``predict``.
            next_observations: As for ``predict``.
            ended: As for ``predict``.

        Returns:
            Rewards, shape (M, ...). Where members differ, the reward was fitted to little data.

        Raises:
            ConfigError: As ``predict``.
        """
        rollout, lead = steps_of(self, observations, actions, next_observations, ended)
        _, members = judged(self, rollout)
        return members.reshape(len(members), *lead)

    def compare(
        self,
        left: SegmentLike | Sequence[SegmentLike],
        right: SegmentLike | Sequence[SegmentLike],
    ) -> NDArray[np.float64]:
        """Returns P(left is better) by the Bradley-Terry model, as the mean over members.

        Args:
            left: A segment, or a list of B segments; they may differ in length.
            right: The segment, or the B segments, to compare with.

        Returns:
            A number in [0, 1], or B of them.

        Raises:
            ConfigError: If a segment does not fit the spaces, or what the reward reads is missing.
        """
        several = isinstance(left, list)
        if several is not isinstance(right, list) or (several and len(left) != len(right)):
            raise ConfigError("expected as many segments on the left as on the right, in lists.")
        lefts = [self.segment(one) for one in (left if isinstance(left, list) else [left])]
        rights = [self.segment(one) for one in (right if isinstance(right, list) else [right])]
        if not lefts:
            return np.empty(0)
        preferences = member_preferences(self.net, lefts, rights).double().mean(0).numpy()
        return np.asarray(preferences if several else preferences[0])

    def segment(self, told: SegmentLike | Sequence[SegmentLike]) -> Segment:
        """Converts a segment to what the net reads.

        Raises:
            ConfigError: If it does not fit, or what the reward reads is missing.
        """
        if isinstance(told, tuple):
            told = dict(zip(ORDER, told, strict=False))
        if isinstance(told, Mapping):
            spaces_of = self.observation_space, self.action_space
            told = segment_of(told, self._layout, spaces_of, n_before=self.net.n_before)
        if not isinstance(told, Segment):
            raise ConfigError(f"expected a Segment, a dict of arrays or a tuple, got {told!r:.60}.")
        if self.inputs == "transition":
            _check_transition(told.next_observations)
        return told

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes a folder that ``load_reward`` reads: tensors, their description, and a card.

        Args:
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            ConfigError: If the folder is not empty.
        """
        kept = RewardFile(
            self.observation_space,
            self.action_space,
            self.net.n_members,
            self.net.config,
            dict(self.net.state_dict()),
            self.about,
        )
        return write_folder(Path(folder), kept)


def load_reward(
    source: RunDirectory | str | os.PathLike[str], *, device: str | torch.device = "cpu"
) -> Reward:
    """Loads a learned reward.

    Args:
        source: An agent's run, finished or not, for its newest reward; or a folder from
            ``Reward.save`` or ``prefrl reward``.
        device: Device of the net.

    Raises:
        RunDirectoryError: If there is no reward, or it is damaged or does not fit.
        ConfigError: If a run's environment, which has the reward's spaces, cannot be made.
    """
    if isinstance(source, RunDirectory):
        source = source.root
    path = Path(source)
    kept = read_folder(path)
    if kept is None:
        kept = read_run(RunDirectory.open(path))
    settings = PreferenceConfig(members=kept.members, net=kept.net)
    try:
        net = step_reward(kept, settings)
        net.load_state_dict(kept.tensors)
    except RuntimeError as error:
        raise RunDirectoryError(
            f"expected weights in {path} that fit their description, but "
            f"{' '.join(str(error).split())}; take the folder from where it was saved."
        ) from error
    return Reward(net.to(device), kept.observation_space, kept.action_space, kept.about)


def steps_of(
    reward: Reward, observations: Any, actions: Any, next_observations: Any, ended: Any
) -> tuple[Rollout, tuple[int, ...]]:
    """Converts the arguments of ``predict`` to what the net reads, and returns the batch axes, too.

    Raises:
        ConfigError: If the shapes do not fit the spaces, or what the reward reads is missing.
    """
    space, layout = reward.observation_space, layout_of(reward.observation_space)
    lead = leading_shape(observations, space, "observations")
    _check_axes(lead, leading_shape(actions, reward.action_space, "actions"), "actions")
    pictures = layout.picture is not None
    if pictures and len(lead) > 2:
        raise ConfigError(
            f"expected pictures of T steps, (T, ...), or of N episodes side by side, "
            f"(T, N, ...), got {len(lead)} axes; the reward of a step depends on those before."
        )
    # Pictures form a sequence in time; steps without pictures are independent of each other.
    axes = (*lead, 1, 1)[:2] if pictures else (1, int(np.prod(lead)))
    after = over = None
    if reward.inputs == "transition":
        _check_transition(next_observations, ended)
        _check_axes(lead, leading_shape(next_observations, space, "next ones"), "next")
        _check_axes(lead, np.shape(ended), "ended")
    try:
        numbers, frames = layout.split(_flat(observations, space))
        done = encode_actions(_flat(actions, reward.action_space), reward.action_space)
        if reward.inputs == "transition":
            after = layout.numbers(_flat(next_observations, space)).reshape(*axes, -1)
            over = np.asarray(ended, np.bool_).reshape(axes)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if frames is not None:
        frames = frames.reshape(*axes, *frames.shape[1:])
        past = np.zeros((reward.net.n_before, *frames.shape[1:]), np.uint8)
        frames = np.concatenate([past, frames])
    nothing = np.zeros(axes)
    rollout = Rollout(
        observations=numbers.reshape(*axes, -1),
        actions=done.reshape(*axes, -1),
        true_rewards=nothing,
        dones=nothing.astype(np.bool_),
        states=None,
        frames=frames,
        next_observations=after,
        ended=over,
    )
    return rollout, lead


def judged(reward: Reward, rollout: Rollout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns rewards of steps from ``steps_of``, (T, N), and those by each member, (M, T, N)."""
    together, raw = reward.net.predict(rollout)
    with as_judge(reward.net):
        device = reward.net.input_shift.device
        normal = reward.net.normalizer(torch.from_numpy(raw).to(device))
    return together, np.asarray(normal.cpu().numpy())


def _check_axes(lead: tuple[int, ...], own: tuple[int, ...], name: str) -> None:
    if lead != own:
        raise ConfigError(
            f"expected as many {name} as observations, whose batch has the shape {lead}, got {own}."
        )


def check_same_spaces_as(reward: Reward, env: HasSpaces) -> None:
    """Refuses an environment whose spaces differ from those that a reward has learned on.

    Raises:
        ConfigError: If they differ.
    """
    pairs = {
        "observations": (layout_of(reward.observation_space), layout_of(env.observation_space)),
        "actions": (reward.action_space, env.action_space),
    }
    for name, (learned, here) in pairs.items():
        if learned != here:
            own = reward.observation_space if name == "observations" else reward.action_space
            given = env.observation_space if name == "observations" else env.action_space
            raise ConfigError(
                f"expected {name} as the reward was learned on, {own}, got {given}; use the same "
                "environment with the same wrappers, prefrl.adapt_spaces among them, or learn "
                "another reward."
            )


def _check_transition(next_observations: Any, ended: Any = ()) -> None:
    for name, part in (("next_observations", next_observations), ("ended", ended)):
        if part is None:
            raise ConfigError(
                f"expected {name}, since this reward reads transitions (net.inputs), got none; "
                "give what was seen after each step, and whether the episode ended there."
            )


def _flat(values: Any, space: spaces.Space[Any]) -> Any:
    """Joins all batch axes into one."""
    if isinstance(space, spaces.Dict):
        return {key: _flat(values[key], part) for key, part in space.spaces.items()}
    return np.asarray(values).reshape(-1, *(space.shape or ()))
