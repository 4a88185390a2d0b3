"""Interface of a served reward, whether it scores steps or texts.

A request is read, which checks it; what several requests ask is scored at once; and before that the
newest published weights are taken. Both sides implement ``Scorer``; the server knows no other word
of them.
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
"""What is scored."""


@dataclass(frozen=True)
class Asked:
    """The content of one request, checked and ready to be scored."""

    content: Any
    """For the scorer alone."""
    shape: tuple[int, ...]
    """Axes of the scores; () for a single one."""
    cost: int
    """What a batch is limited in: steps, or tokens."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The answer to one request."""

    score: NDArray[np.float32]
    """What the members say together, of the shape that was asked for."""
    members: NDArray[np.float32]
    """Each member's own, shape (M, ...)."""
    version: int
    """Of the weights that said so."""

    @property
    def disagreement(self) -> NDArray[np.float32]:
        """The standard deviation over members."""
        return np.asarray(self.members.std(0))


class Scorer(Protocol):
    """A learned reward that is served. Only ``score`` and ``refresh`` see the weights."""

    @property
    def kind(self) -> Kind:
        """What it scores."""
        ...

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        ...

    def about(self) -> dict[str, Any]:
        """Its inputs and its origin, for JSON."""
        ...

    def read(self, told: Mapping[str, Any]) -> Asked:
        """Checks a request; may be called while another thread scores.

        Args:
            told: An object of JSON.

        Raises:
            ConfigError: If it asks nothing that can be scored: what was expected, what was got.
        """
        ...

    def score(self, asked: Sequence[Asked]) -> list[Scores]:
        """Scores several requests in one pass."""
        ...

    def refresh(self) -> None:
        """Takes newer weights, if there are any."""
        ...


class Newest:
    """Follows the weights that a run publishes.

    Args:
        folder: Where versions lie.
        version: That is in use.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self._folder = folder
        self._seen = version
        self._used = version

    def put_into(self, module: nn.Module) -> int:
        """Puts newer weights into a net; those that cannot be used are tried once.

        Returns:
            The version that is in use now.
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
    """Refuses all weights of another net: torch would load those that fit."""
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    other = {name: tensor.shape for name, tensor in weights.tensors.items()}
    if own != other:
        raise RunDirectoryError(
            f"expected reward weights of the same net, but version {weights.version} has other "
            "layers; start the server again."
        )
