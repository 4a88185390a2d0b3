"""Interface of a served reward, whether it scores steps or texts.

The server reads, and so checks, each request, loads the newest published weights, and then scores
several requests at once. Control and text each implement ``Scorer``, and the server uses nothing
else of theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir.weights import Weights, latest_weights, newest_version, put_into

__all__ = ["Asked", "Kind", "Newest", "Scorer", "Scores", "shortened"]

_log = logging.getLogger(__name__)

Kind = Literal["steps", "texts"]
"""The kind of input that is scored."""


@dataclass(frozen=True)
class Asked:
    """The content of one request, checked and ready to be scored."""

    content: Any
    """The input to score, in a form that only the scorer knows."""
    shape: tuple[int, ...]
    """Shape of the scores; () for a single one."""
    cost: int
    """Number of steps or tokens, by which the size of a batch is limited."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The answer to one request."""

    score: NDArray[np.float32]
    """The ensemble's scores, of the shape that was asked for."""
    members: NDArray[np.float32]
    """Each member's scores, shape (M, ...)."""
    version: int
    """Version of the weights."""

    @property
    def disagreement(self) -> NDArray[np.float32]:
        """Standard deviation over members."""
        return np.asarray(self.members.std(0))


class Scorer(Protocol):
    """A learned reward that is served. Only ``score`` and ``refresh`` see the weights."""

    @property
    def kind(self) -> Kind:
        """The kind of input that it scores."""
        ...

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        ...

    def about(self) -> dict[str, Any]:
        """Describes its inputs and its origin, for JSON."""
        ...

    def read(self, told: Mapping[str, Any]) -> Asked:
        """Checks a request; may be called while another thread scores.

        Args:
            told: The JSON object in the request's body.

        Raises:
            ConfigError: If it cannot be scored; says what was expected and what was got.
        """
        ...

    def score(self, asked: Sequence[Asked]) -> list[Scores]:
        """Scores several requests in one pass."""
        ...

    def refresh(self) -> None:
        """Loads newer weights, if there are any."""
        ...


class Newest:
    """Follows the weights that a run publishes.

    Args:
        folder: Folder of the published versions.
        version: Version in use.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self._folder = folder
        self._seen = version
        self._used = version

    def put_into(self, module: nn.Module) -> int:
        """Loads newer weights into a net; weights that cannot be used are tried once.

        Returns:
            The version now in use.
        """
        number = newest_version(self._folder)
        if number is None or number == self._seen:
            return self._used
        self._seen = number
        try:
            weights = latest_weights(self._folder)
            if weights.version != self._used:
                _check_fits(module, weights)
                put_into(module, weights)
                self._used = weights.version
        except (RunDirectoryError, OSError) as error:
            _log.error("VERSION %d IS NOT USED, %d STAYS: %s", number, self._used, error)
        return self._used


def shortened(told: object, longest: int = 120) -> str:
    """Shortens a request, which may be long, for an error message."""
    text = str(told)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _check_fits(module: nn.Module, weights: Weights) -> None:
    """Refuses weights of another net as a whole: torch would load the layers that fit."""
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    other = {name: tensor.shape for name, tensor in weights.tensors.items()}
    if own != other:
        raise RunDirectoryError(
            f"expected reward weights of the same net, but version {weights.version} has other "
            "layers; start the server again."
        )
