"""Trackers of experiments, by their own sync of the TensorBoard logs; off by default."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Tracker", "check_tracker", "start_tracking"]

Tracker = Literal["none", "wandb"]
"""Where the curves of a training are shown beside TensorBoard."""


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
    """Has a tracker follow what is written for TensorBoard from here on, in this process.

    Args:
        tracker: Which one.
        run: Which run; a run that is resumed goes on as the same one there.
        config: Its settings, as JSON can hold them.

    Returns:
        What ends it. Else it ends with the process.

    Raises:
        ConfigError: If it cannot begin, as where nobody has logged in.
        MissingExtraError: If it is not installed.
    """
    if tracker == "none":
        return lambda: None
    check_tracker(tracker)
    import wandb

    try:
        followed = wandb.init(
            project="prefrl",
            name=run.root.name,
            id=_id_of(run),
            resume="allow",
            dir=run.root,
            config=dict(config),
            sync_tensorboard=True,
        )
    except Exception as error:  # whatever a service and its network raise
        raise ConfigError(
            f"expected wandb to begin a run, but {type(error).__name__}: {error}; log in with "
            "wandb login, or set WANDB_MODE=offline, or leave --track out."
        ) from error
    return lambda: followed.finish()


def _id_of(run: RunDirectory) -> str:
    """A name that is the same after a resume, and of no other run."""
    path = run.root / "wandb.json"
    if not path.is_file():
        run.write_json(path, {"id": secrets.token_hex(6)})
    return str(run.read_json(path)["id"])
