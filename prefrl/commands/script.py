"""Finishes a script's run as ``prefrl train`` finishes its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prefrl.control.agent.script_run import give_back
from prefrl.control.config import config_from_json
from prefrl.control.finish import Result, finish_run
from prefrl.errors import RunDirectoryError
from prefrl.report import write_report
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import last_row

__all__ = ["finish_script"]


def finish_script(
    run: str | Path, *, episodes: int = 10, max_steps: int = 10_000, films: bool = True
) -> Result:
    """Evaluates what a script has trained, makes films, and writes the summary and the report.

    ::

        model.learn(300_000, callback=prefrl.PreferenceCallback(labels=100, run="runs/mine"))
        print(prefrl.finish_script("runs/mine").eval_return_mean)

    Everything is read from the run, so this works in another process, and again after more
    training. It evaluates the policy as ``learn()`` left it, and one with the same nets that has
    learned nothing, in new environments, on the true reward, with the most likely actions.

    Args:
        run: Directory of the run.
        episodes: Episodes of each evaluation.
        max_steps: Steps after which an episode is cut, if it has not ended.
        films: Whether to make films of the agent before and after, and of the pairs that taught
            most. Another process draws them; if that fails, a note in the result says so.

    Returns:
        The summary, as in ``summary.json``, and notes about what did not work.

    Raises:
        ConfigError: If the environment cannot be made from its Gymnasium id, or a number is below
            1.
        RunDirectoryError: If it is not a script's run, has not trained yet, or its policy has nets
            that config.json cannot describe.
        RoleError: If training is still running.
    """
    directory = RunDirectory.open(run)
    if not directory.script.is_file():
        raise RunDirectoryError(
            f"expected a run of a script, but {run} was made by prefrl train, which evaluates by "
            f"itself in the end; if it was stopped, continue it with prefrl resume {run}."
        )
    config = dataclasses.replace(
        config_from_json(directory.read_json(directory.config)),
        eval_episodes=episodes,
        eval_max_steps=max_steps,
        films=films,
    )
    give_back(directory)
    with only_one(directory, "agent"):
        if last_row(directory.metrics) is None:
            raise RunDirectoryError(
                f"expected a run that has trained, but {run} has no row in "
                f"{directory.metrics.name}; call learn() first, for at least one rollout."
            )
        result = finish_run(config, directory)
    write_report(directory)
    return result
