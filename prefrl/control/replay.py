"""Repeats the reward learning of an agent's run from its log."""

from __future__ import annotations

from collections.abc import Iterator

from prefrl.control.config import config_from_json, devices_of
from prefrl.control.environments.source import make_env
from prefrl.control.items import Items
from prefrl.control.learned.taking import taken_reward
from prefrl.control.preferences import StepReward, step_reward
from prefrl.control.recent import load_recent
from prefrl.runtime.devices import use_cpu
from prefrl.runtime.replay import ReplayedFit, replay_fits
from prefrl.runtime.rundir import RunDirectory

__all__ = ["replay_run"]


def replay_run(run: RunDirectory) -> Iterator[ReplayedFit]:
    """Repeats all fits of a run, on the device in its settings.

    Args:
        run: An asynchronous run, finished or not. Results are the same only on the same kind of
            device.

    Returns:
        Each fit as soon as it is done.

    Raises:
        ConfigError: If there is no such device.
        RunDirectoryError: If the run has no fits, or what a fit used is missing or damaged.
    """
    config = config_from_json(run.read_json(run.config))
    use_cpu(config.threads)
    device = devices_of(config)[1]

    def net() -> StepReward:
        env = make_env(config.env_id, config.env)
        made = step_reward(env, config.preferences).to(device)
        env.close()
        return made

    return replay_fits(
        run,
        net,
        Items(run, states=False),
        config=config.preferences.learner,
        seed=config.seed,
        load_recent=load_recent,
        first=taken_reward(run),
    )
