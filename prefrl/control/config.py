"""A training as a config, checked before anything starts, and saved with the run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import tyro

from prefrl.control.agent.algorithms import Algo, check_algorithm
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.replay_buffer import check_memory
from prefrl.control.agent.settings import Resolved, resolve
from prefrl.control.environments.limits import Limits
from prefrl.control.environments.making import (
    check_environment,
    check_first_step,
    check_limits,
    describe_spaces,
    shows_pictures,
)
from prefrl.control.environments.source import EnvConfig, can_be_played_again, make_env
from prefrl.control.environments.spaces import layout_of
from prefrl.control.exploration import ExplorationConfig
from prefrl.control.learned.taking import with_taken
from prefrl.control.learned.to_label import check_has_agent
from prefrl.control.off_policy import OffPolicyConfig
from prefrl.control.preferences import PreferenceConfig, step_reward
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.segment_length import first_look
from prefrl.control.tracking import Tracker
from prefrl.core.oracle import OracleConfig
from prefrl.core.plugs import with_names
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.judge.config import JudgeConfig
from prefrl.runtime.options import named_option
from prefrl.runtime.remote.options import check_media_options
from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "TrainConfig",
    "check_horizon",
    "check_spaces_of_run",
    "config_as_json",
    "config_from_json",
    "device_here",
    "devices_of",
    "with_settings",
]

_ORACLES = ("synthetic", "human", "mixed", "ai")


@dataclass(frozen=True)
class TrainConfig:
    """A training: which environment, how long, and how the reward is learned."""

    env_id: tyro.conf.Positional[str]
    """Gymnasium id, such as HalfCheetah-v5 or prefrl_envs:prefrl/Hopper-v0."""
    steps: int = 500_000
    """Environment steps."""
    algo: Algo = "ppo"
    """The algorithm by which the agent learns from the reward."""
    oracle: Annotated[str, named_option(_ORACLES)] = "synthetic"
    """Who answers. synthetic: an oracle that compares true returns, with the errors set under
    teacher. human: people at the labelling page. mixed: people, and the synthetic oracle while
    nobody is there. ai: a model that looks at frames (--judge.url, --judge.model). Or your own, as
    module:name: a function of two segments, or a class with compare."""
    goal: str | None = None
    """What the agent should do, in your words. People read it above the clips and in the
    instructions. By default, the goal that prefrl has for the tasks it knows, unless you give the
    page your own instructions; "" shows none."""
    sync: bool = False
    """Agent, reward learner and labeller take turns in one process: slower, but repeatable."""
    device: str = "auto"
    """Where the nets are computed: auto, cpu, cuda, cuda:1; or two devices, for the agent and the
    reward learner, such as cuda:0,cuda:1. auto takes a GPU for pictures, if there is one."""
    seed: int = 0
    """Seed of everything random."""
    run: Path | None = None
    """Directory of the run; by default runs/ENVIRONMENT-SEED."""
    store: str | None = None
    """Answers are kept in this PostgreSQL database, in a schema of the run's own, instead of the
    run's directory: postgresql://USER@HOST/DATABASE, with the password in ~/.pgpass or PGPASSWORD
    (extra postgres)."""
    media: str | None = None
    """With store: what people look at is also kept in this object storage, so that pages on other
    machines can show it: s3://BUCKET/FOLDER (extra s3), or another URL of fsspec. Credentials come
    from the environment."""
    horizon: int | None = None
    """Cut training episodes after this many steps, like a time limit: the agent uses the value of
    the last state for what would have followed. Evaluation episodes are not cut."""
    reset_after_fall: int | None = None
    """Cut a training episode in the same way after the agent has been down for this many steps in a
    row. For environments that define is_healthy, such as Hopper, Walker2d and Ant of Gymnasium."""
    endings: Literal["shown", "hidden"] = "shown"
    """What an ending means in training. shown: it is final, and each step after it is worth 0.
    hidden: it looks like a time limit, so the agent learns nothing from it."""
    eval_episodes: int = 10
    """Episodes of the final evaluation."""
    eval_max_steps: int = 10_000
    """Cut an evaluation episode after this many steps, if it has not ended."""
    evaluate_every: int | None = None
    """Evaluate on the true reward after every so many steps, and keep the policy of each
    evaluation, so that you can use the best one later. The agent learns nothing from this. By
    default never."""
    figure: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Your own figure for the report, as module:name: a function of the run's directory that
    returns a matplotlib figure. Repeat the option for several."""
    track: Tracker = "none"
    """Also send the curves to an experiment tracker while training: wandb or mlflow, each with its
    extra."""
    films: bool = True
    """Make films of the agent before and after, and of the most informative pairs."""
    threads: int = 1
    """Threads that torch may use in each process."""
    checkpoint_seconds: float = 30.0
    """Least number of seconds between two checkpoints."""
    preferences: Annotated[PreferenceConfig, tyro.conf.arg(name="")] = field(
        default_factory=PreferenceConfig
    )
    """How the reward is learned."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """The agent's hyperparameters."""
    env: EnvConfig = field(default_factory=EnvConfig)
    """How the environment is made, besides its id."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """The model that answers if the oracle is ai."""

    def __post_init__(self) -> None:
        for name in ("steps", "eval_episodes", "eval_max_steps", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("horizon", "reset_after_fall", "evaluate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        self.agent.check_for(self.algo)
        if self.endings not in ("shown", "hidden"):
            raise ConfigError(f"expected endings to be shown or hidden, got {self.endings!r}.")
        if self.oracle not in _ORACLES and ":" not in self.oracle:
            raise ConfigError(
                f"expected oracle to be one of {', '.join(_ORACLES)}, or module:name, got "
                f"{self.oracle!r}."
            )
        if self.track not in get_args(Tracker):
            raise ConfigError(
                f"expected track to be one of {', '.join(get_args(Tracker))}, got {self.track!r}."
            )
        self.judge.check_for(self.oracle)
        check_media_options(self.media, self.store, asks_people=self.asks_people)
        if self.sync and (self.asks_people or self.oracle == "ai"):
            raise ConfigError(
                f"expected oracle synthetic with sync, got {self.oracle}: in one process the agent "
                "would stand still while clips are looked at; leave --sync out."
            )
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(
                f"checkpoint_seconds must not be negative, got {self.checkpoint_seconds}."
            )
        if self.preferences.segment_length != "auto":
            self.preferences.check_budget(self.steps)

    @property
    def asks_people(self) -> bool:
        """Whether people answer."""
        return self.oracle in ("human", "mixed")

    @property
    def own_oracle(self) -> str | None:
        """Name of the user's own oracle; None if another labeller answers."""
        return self.oracle if ":" in self.oracle else None

    @property
    def limits(self) -> Limits:
        """Limits that cut training episodes early."""
        return Limits(
            horizon=self.horizon,
            after_fall=self.reset_after_fall,
            at_endings=self.endings == "hidden",
        )

    @property
    def max_unanswered(self) -> int | None:
        """Number of open queries above which the agent waits; None if it never waits."""
        told = self.preferences
        is_slow = self.asks_people or self.oracle == "ai"
        return told.unanswered_by_people if is_slow else told.max_unanswered

    @property
    def run_path(self) -> Path:
        """Path of the run directory."""
        name = self.env_id.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        return self.run or Path("runs") / f"{name}-{self.seed}"


def check_horizon(config: TrainConfig) -> None:
    """Refuses settings that cannot work, before anything is created.

    Raises:
        ConfigError: If the environment cannot be made, the algorithm does not fit it, its episodes
            are shorter than a segment or cannot be cut as the config says, or its pictures are too
            small for the reward net.
    """
    spec = check_environment(config.env_id, config.env)
    check_limits(config.env_id, config.limits, config.env)
    check_first_step(config.env_id, config.env)
    horizon = spec.max_episode_steps
    length = config.preferences.segment_length
    if length == "auto":
        length = 2
    if horizon is not None and length > horizon:
        raise ConfigError(
            f"segment_length is {length}, but an episode of {config.env_id} ends after {horizon} "
            f"steps; choose a segment_length of at most {horizon}."
        )
    if config.horizon is not None and length > config.horizon:
        raise ConfigError(
            f"segment_length is {length}, but horizon cuts episodes after {config.horizon} steps; "
            "choose a horizon of at least a segment."
        )
    env = make_env(config.env_id, config.env)
    try:
        check_algorithm(config.algo, config.env_id, env.observation_space, env.action_space)
        step_reward(env, config.preferences)
    finally:
        env.close()


def check_spaces_of_run(config: TrainConfig, run: RunDirectory) -> None:
    """Refuses an environment whose spaces have changed since the run began.

    Raises:
        ConfigError: If its observations or actions differ from those that the nets were made for.
    """
    if not run.spaces.is_file():
        return
    began, now = run.read_json(run.spaces), describe_spaces(config.env_id, config.env)
    for name in now:
        if began[name] != now[name]:
            raise ConfigError(
                f"expected {config.env_id} as {run.root} began with it, its {name} being "
                f"{began[name]}, got {now[name]}; go back to the release, wrappers and arguments "
                "that it was made with, or start a new run."
            )


def with_settings(config: TrainConfig) -> tuple[TrainConfig, Resolved]:
    """Fills in the agent's settings, and the options that depend on a first look.

    Args:
        config: Config of a training.

    Returns:
        The complete config, and the agent's settings with a description.

    Raises:
        ConfigError: If the environment cannot be made, the algorithm does not fit it, there are no
            such settings, or the replay buffer does not fit into memory.
    """
    check_environment(config.env_id, config.env)
    env = make_env(config.env_id, config.env)
    try:
        check_algorithm(config.algo, config.env_id, env.observation_space, env.action_space)
        seen, done = env.observation_space, env.action_space
        preferences = with_taken(config.preferences, env)
    finally:
        env.close()
    pictures = layout_of(seen).picture is not None
    resolved = resolve(config.env_id, config.algo, config.agent, pictures=pictures)
    size, frame_stack = resolved.config.buffer_size, resolved.config.frame_stack
    if size is not None and frame_stack is not None:
        check_memory(size, frame_stack, seen, done)
    config = dataclasses.replace(config, agent=resolved.config, preferences=preferences)
    config = _with_first_look(config)
    return config, resolved


def _with_first_look(config: TrainConfig) -> TrainConfig:
    """Chooses the options that depend on some episodes played at random."""
    preferences, env = config.preferences, config.env
    net = preferences.net
    if "auto" not in (preferences.segment_length, env.processes, net.inputs):
        return config
    look = first_look(config.env_id, config.limits, seed=config.seed, env=env)
    if preferences.segment_length == "auto":
        preferences = dataclasses.replace(preferences, segment_length=look.segment_length)
    if net.inputs == "auto":
        # With pictures a transition adds little except whether the episode ended, which random
        # play may never show, as with the goal of a maze.
        whole = look.ends or shows_pictures(config.env_id, config.env)
        net = dataclasses.replace(net, inputs="transition" if whole else "action")
        preferences = dataclasses.replace(preferences, net=net)
    if env.processes == "auto":
        assert config.agent.n_envs is not None  # all settings are filled in
        games = can_be_played_again(config.env_id)
        n_processes = 0 if games else look.n_processes(config.agent.n_envs)
        env = dataclasses.replace(env, processes=n_processes)
    return dataclasses.replace(config, preferences=preferences, env=env)


def devices_of(config: TrainConfig) -> tuple[str, str]:
    """Chooses the devices of the agent and of the reward learner.

    With ``auto`` a GPU is used only for pictures: nets of a few hundred units are faster on a CPU,
    as Stable-Baselines3 warns, too.

    Raises:
        ConfigError: If there is no such device.
    """
    if (
        config.device == "auto"
        and torch.cuda.is_available()
        and not shows_pictures(config.env_id, config.env)
    ):
        return "cpu", "cpu"
    return choose_devices(config.device)


def device_here(config: TrainConfig) -> str:
    """Returns a trained agent's device: its own, or the CPU if this machine does not have it."""
    try:
        return devices_of(config)[0]
    except ConfigError:
        return "cpu"


def config_as_json(config: TrainConfig) -> dict[str, Any]:
    """Converts a config to JSON types.

    Raises:
        ConfigError: If it contains a function or class that other processes cannot import.
    """
    content: dict[str, Any] = with_names(dataclasses.asdict(config))
    content["run"] = str(config.run_path)
    return content


def config_from_json(content: dict[str, Any]) -> TrainConfig:
    """Restores a config from ``config_as_json``.

    Raises:
        RunDirectoryError: If it is not the config of a training by this release.
    """
    check_has_agent(content)
    try:
        content["figure"] = tuple(content.get("figure", ()))
        agent = AgentConfig(**_tuples(content.pop("agent")))
        env = EnvConfig.from_json(content.pop("env", {"kwargs": {}, "wrapper": []}))
        judge = JudgeConfig(**content.pop("judge", {}))
        told = content.pop("preferences")
        preferences = PreferenceConfig(
            query=QueryConfig(**told.pop("query")),
            net=RewardNetConfig(**_tuples(told.pop("net"))),
            fit=FitConfig(**told.pop("fit")),
            teacher=OracleConfig(**told.pop("teacher")),
            off_policy=OffPolicyConfig(**told.pop("off_policy")),
            exploration=ExplorationConfig(**told.pop("exploration")),
            **told,
        )
        run = Path(content.pop("run"))
        return TrainConfig(
            run=run, agent=agent, env=env, preferences=preferences, judge=judge, **content
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunDirectoryError(
            f"expected a config.json of this release of prefrl, but {error}; read the run with "
            "the release in its versions.json."
        ) from error


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in content.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(part) for part in value) if isinstance(value, list) else value
