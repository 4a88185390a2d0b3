"""Experiment trackers, which sync the TensorBoard logs themselves; off by default."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Tracker", "check_tracker", "start_tracking"]

_PROJECT = "prefrl"
_HINTS = {
    "wandb": "log in with wandb login, or set WANDB_MODE=offline",
    "mlflow": "set MLFLOW_TRACKING_URI to a server or a database that is there",
}

Tracker = Literal["none", "wandb", "mlflow"]
"""Where to show the curves of a training in addition to TensorBoard."""


def check_tracker(tracker: Tracker) -> None:
    """Refuses a tracker that is not installed.

    Raises:
        MissingExtraError: If it is not.
    """
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        raise MissingExtraError(
            f"expected {tracker} to be installed for --track {tracker}, but it is not; "
            f"pip install 'prefrl[{tracker}]'"
        )


def start_tracking(
    tracker: Tracker, run: RunDirectory, config: Mapping[str, Any]
) -> Callable[[], None]:
    """Starts a tracker that follows this process's TensorBoard logs from now on.

    Args:
        tracker: The tracker.
        run: The run directory; a resumed run continues as the same run of the tracker.
        config: Settings of the run, as JSON can hold them.

    Returns:
        A function that ends the tracking, which otherwise ends with the process.

    Raises:
        ConfigError: If it cannot start, for example because nobody has logged in.
        MissingExtraError: If the tracker is not installed.
    """
    if tracker == "none":
        return lambda: None
    check_tracker(tracker)
    begin = {"wandb": _begin_wandb, "mlflow": _begin_mlflow}[tracker]
    try:
        return begin(run, config)
    except Exception as error:  # a service and its network may raise anything
        raise ConfigError(
            f"expected {tracker} to begin a run, but {type(error).__name__}: {error}; "
            f"{_HINTS[tracker]}, or leave --track out."
        ) from error


def _begin_wandb(run: RunDirectory, config: Mapping[str, Any]) -> Callable[[], None]:
    import wandb

    path = run.root / "wandb.json"
    if not path.is_file():
        run.write_json(path, {"id": secrets.token_hex(6)})
    followed = wandb.init(
        project=_PROJECT,
        name=run.root.name,
        id=run.read_json(path)["id"],
        resume="allow",
        dir=run.root,
        config=dict(config),
        sync_tensorboard=True,
    )
    return lambda: followed.finish()


def _begin_mlflow(run: RunDirectory, config: Mapping[str, Any]) -> Callable[[], None]:
    import mlflow
    import mlflow.pytorch

    mlflow.set_experiment(_PROJECT)
    path = run.root / "mlflow.json"
    if path.is_file():
        mlflow.start_run(run_id=run.read_json(path)["id"])
    else:
        followed = mlflow.start_run(run_name=run.root.name)
        mlflow.log_params(_flat(config))
        run.write_json(path, {"id": followed.info.run_id})
    mlflow.pytorch.autolog(log_every_n_step=1, log_models=False, silent=True)

    def end() -> None:
        mlflow.pytorch.autolog(disable=True, silent=True)  # otherwise later logs would begin runs
        mlflow.end_run()

    return end


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flattens nested settings into names with dots."""
    told: dict[str, Any] = {}
    for name, value in config.items():
        told |= (
            _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
        )
    return told
