"""Repeats the reward learning of a language model's run from its log."""

from __future__ import annotations

from collections.abc import Iterator

from prefrl.runtime.devices import choose_devices, use_cpu
from prefrl.runtime.replay import ReplayedFit, replay_fits
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.candidates import load_recent
from prefrl.text.config import align_config_from_json
from prefrl.text.responses import Responses
from prefrl.text.start import first_reward, new_reward, starting_model

__all__ = ["replay_alignment"]


def replay_alignment(run: RunDirectory) -> Iterator[ReplayedFit]:
    """Repeats all fits of a run, on the device that its settings name.

    Args:
        run: An asynchronous run, finished or not. Its starting model must still exist.

    Returns:
        Each fit as soon as it is done.

    Raises:
        ConfigError: If the model cannot be loaded, or there is no such device.
        RunDirectoryError: If the run has no fits, or what a fit used is missing or damaged.
    """
    config = align_config_from_json(run.read_json(run.config))
    use_cpu(config.threads)
    device, language = choose_devices(config.device)[1], starting_model(config)
    first = first_reward(config, new_reward(config, language, shares=True))
    return replay_fits(
        run,
        lambda: new_reward(config, language, shares=True).to(device),
        Responses(run),
        config=config.learner,
        seed=config.seed,
        load_recent=load_recent,
        first=first,
    )
