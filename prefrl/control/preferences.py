"""Settings for learning a reward from comparisons of segments, and objects made from them."""

from __future__ import annotations

import math
import os
from dataclasses import InitVar, dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol

import tyro
from gymnasium import spaces

from prefrl.control.environments.spaces import action_width, layout_of
from prefrl.control.exploration import ExplorationConfig
from prefrl.control.off_policy import OffPolicyConfig
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.cnn import CnnStepReward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.mlp import MlpStepReward
from prefrl.control.reward.own import OwnPictureReward, OwnStepReward
from prefrl.core.oracle import OracleConfig
from prefrl.core.schedule import SCHEDULES, LabelSchedule, Schedule, check_schedule
from prefrl.core.selection import Selection
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError
from prefrl.runtime.fitting import CalibrateOn
from prefrl.runtime.guard import GuardMode
from prefrl.runtime.learner import LearnerConfig
from prefrl.runtime.options import named_option

__all__ = ["HasSpaces", "PreferenceConfig", "StepReward", "step_reward"]

_TOO_LATE = 0.05
"""Share of the training, at its end, in which no more labels fall due."""

_FEWEST_UNANSWERED = 5  # since a page fetches some pairs ahead


@dataclass(frozen=True)
class PreferenceConfig:
    """How a reward is learned from comparisons of segments."""

    labels: int = 700
    """Comparisons to ask for over the whole training; 0 to learn only from labels_from or
    reward."""
    labels_from: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Answers to begin with: a run, or a file, written by prefrl export (.jsonl) or with arrays
    (.npz). Repeat the option for several. They do not count towards labels."""
    reward: str | None = None
    """A learned reward to begin with: a run, or a folder written by prefrl reward. Labels improve
    it; without labels it stays as it is."""
    segment_length: int | Literal["auto"] = "auto"
    """Steps per segment. auto: two to three seconds for people, at most 50 steps, and at most three
    quarters of a typical first episode."""
    members: int = 3
    """Members of the reward ensemble."""
    schedule: Annotated[Schedule, named_option(SCHEDULES)] = "hyperbolic"
    """How the rate of labels falls over the training; all labels are due after 95 % of it. Or your
    own, as module:name: a function from the finished share of these 95 % to the share of the labels
    that are due."""
    decay_steps: float | None = None
    """Steps after which the hyperbolic rate has halved; by default a fifth of the training."""
    initial_fraction: float = 0.25
    """Share of the labels asked for before the agent's first update."""
    refit_growth: float = 0.05
    """Refit when the comparisons have grown by this share since the last fit."""
    newest_labels: int = 10_000
    """Largest number of comparisons to fit to; the newest ones are used."""
    first_labels: int = 1
    """Comparisons before the first fit; until then the agent acts and does not learn."""
    pretraining_epochs: int | None = None
    """Passes over the comparisons in the first fit, without an early stop."""
    scale: Literal["return", "step"] = "return"
    """What is scaled to a standard deviation of 1 for an on-policy agent. return: the discounted
    return, as when the same agent trains on the true reward. step: the reward of a single step."""
    calibrate_on: CalibrateOn = "newest"
    """The segments over which each fit normalises the reward to mean 0 and a fixed standard
    deviation: the newest, the labelled, or both with equal weight."""
    max_stale_rollouts: int = 16
    """How many rollouts the agent may continue while a fit is due; then it waits for the
    learner."""
    max_unanswered: int | None = None
    """With people or a judge: the agent waits while more queries than this have no answer. By
    default a tenth of the labels, but at least 5. It never waits for the synthetic oracle."""
    slightly: float = 0.75
    """P(the chosen side is better) if a person said that it is only slightly better
    (--page.strength)."""
    clearly: float = 1.0
    """The same if they said that it is clearly better."""
    majority: bool = False
    """If several people answer a pair (--page.answers-per-pair), fit to what most of them said;
    otherwise each answer counts."""
    ask_ahead: bool = True
    """If people answer faster than labels fall due, ask early, just enough to keep them busy until
    the agent can ask again. Otherwise they wait for the agent."""
    query: Annotated[QueryConfig, tyro.conf.arg(name="")] = field(default_factory=QueryConfig)
    """Which pairs are asked."""
    net: RewardNetConfig = field(default_factory=RewardNetConfig)
    """What the reward nets look like."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How they are fitted."""
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)
    """What off-policy agents do besides relabelling."""
    guard: GuardMode = "warn"
    """What to do when the learned reward rises while its members increasingly disagree: warn, also
    ask about these segments (ask), or end the training (stop). docs/guard.md has the rule."""
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    """Exploration of an on-policy agent."""
    teacher: OracleConfig = field(default_factory=OracleConfig)
    """Errors of the synthetic oracle."""

    selection: InitVar[Annotated[Selection | None, tyro.conf.Suppress]] = None
    """Short for ``query=QueryConfig(selection=...)``; read it as ``query.selection``."""

    def __post_init__(self, selection: Selection | None) -> None:
        if selection is not None:
            object.__setattr__(self, "query", replace(self.query, selection=selection))
        # A script may give paths, or a single one, and JSON gives a list.
        places: Any = self.labels_from
        places = (places,) if isinstance(places, str | os.PathLike) else places
        object.__setattr__(self, "labels_from", tuple(map(os.fspath, places)))
        if self.reward is not None:
            object.__setattr__(self, "reward", os.fspath(self.reward))
        for name in ("members", "max_stale_rollouts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.labels < (0 if self.takes_along else 1):
            raise ConfigError(
                f"labels must be at least 1, or 0 with labels_from or reward, got {self.labels}."
            )
        if self.max_unanswered is not None and self.max_unanswered < 0:
            raise ConfigError(f"max_unanswered must not be negative, got {self.max_unanswered}.")
        length = self.segment_length
        if length != "auto" and (isinstance(length, str) or length < 2):
            raise ConfigError(
                f"expected a segment_length of at least 2 steps, or auto, got {length!r}."
            )
        if self.scale not in ("return", "step"):
            raise ConfigError(f"expected scale to be return or step, got {self.scale!r}.")
        check_schedule(self.schedule)
        _ = self.learner  # making it checks its settings

    @property
    def steps_per_segment(self) -> int:
        """The segment length, which must have been chosen."""
        assert self.segment_length != "auto"  # with_settings and the callback see to that
        return self.segment_length

    @property
    def takes_along(self) -> bool:
        """Whether the training begins with answers or a reward from other runs."""
        return bool(self.labels_from) or self.reward is not None

    @property
    def unanswered_by_people(self) -> int:
        """Number of open queries above which the agent waits, if people answer."""
        if self.max_unanswered is not None:
            return self.max_unanswered
        return max(_FEWEST_UNANSWERED, self.labels // 10)

    @property
    def learner(self) -> LearnerConfig:
        """The settings of the reward learner.

        Segments that are taken along may show behaviour that the agent learns much later, so inputs
        are standardised over them, too. Their answers are fitted at once, however few they are. A
        reward that is taken along keeps the constants of its inputs, and what it knows where
        answers say nothing.
        """
        fit, first_labels = self.fit, self.first_labels
        if self.reward is not None:
            fit = replace(fit, restart=False, anchor=True)
        if self.labels_from:
            first_labels = 1
        return LearnerConfig(
            refit_growth=self.refit_growth,
            newest=self.newest_labels,
            first_labels=first_labels,
            pretraining_epochs=self.pretraining_epochs,
            fit=fit,
            calibrate_on=self.calibrate_on,
            majority=self.majority,
            slightly=self.slightly,
            clearly=self.clearly,
            standardize_on="kept" if self.reward else "both" if self.labels_from else "newest",
        )

    def label_schedule(self, total_steps: int, *, steps_between: int = 0) -> LabelSchedule:
        """Builds the schedule by which labels fall due; there must be at least one label.

        All are due after 95 % of the training, or before the last rollout if that is longer than
        5 %. Later labels would come too late to fit the reward to them and to train the agent on
        it; in an asynchronous run the training might even be over before they are answered.

        Args:
            total_steps: Environment steps of the training.
            steps_between: Environment steps between two chances to ask, which is a rollout.
        """
        late = max(steps_between, math.ceil(_TOO_LATE * total_steps))
        return LabelSchedule(
            total_labels=self.labels,
            total_steps=max(1, total_steps - late),
            kind=self.schedule,
            initial_fraction=self.initial_fraction,
            decay_steps=self.decay_steps,
        )

    def check_budget(self, total_steps: int) -> None:
        """Refuses a training that is too short to give enough segments for the labels.

        Raises:
            ConfigError: If it is refused; says how many segments and pairs there would be.
        """
        if not self.labels:
            return
        if self.first_labels > self.labels and not self.labels_from:
            raise ConfigError(
                f"expected at least the {self.first_labels} labels that the first fit waits for, "
                f"got {self.labels}; raise labels, or lower first_labels."
            )
        n_segments = total_steps // self.steps_per_segment
        n_pairs = n_segments * (n_segments - 1) // 2
        if n_segments < self.query.warmup_segments or self.labels > n_pairs:
            raise ConfigError(
                f"expected segments enough for {self.labels} labels, but {total_steps} steps give "
                f"{n_segments} segments of {self.steps_per_segment}, {n_pairs} pairs, and the "
                f"first labels wait for {self.query.warmup_segments} segments; raise steps, or "
                "lower labels, segment_length or warmup_segments."
            )


class HasSpaces(Protocol):
    """An environment, vectorised or not."""

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Space of its observations."""
        ...

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Space of its actions."""
        ...


StepReward = MlpStepReward | CnnStepReward
"""The reward ensemble, for observations with or without pictures."""


def step_reward(env: HasSpaces, config: PreferenceConfig) -> StepReward:
    """Makes the reward ensemble for an environment, before any fit.

    Raises:
        ConfigError: If the user's own nets cannot be made, or do not give a number for each step.
    """
    layout, n_action = layout_of(env.observation_space), action_width(env.action_space)
    own = config.net.member is not None
    more: dict[str, Any] = {"n_members": config.members, "config": config.net}
    if layout.picture is not None:
        return (OwnPictureReward if own else CnnStepReward)(layout, n_action, **more)
    return (OwnStepReward if own else MlpStepReward)(layout.width, n_action, **more)
