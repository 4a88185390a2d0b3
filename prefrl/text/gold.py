"""The gold score: a number for each response that the synthetic oracle compares by."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.core.comparisons import Item
from prefrl.core.oracle import OracleConfig, SyntheticOracle
from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.responses import Responses

__all__ = ["Gold", "load_gold", "text_oracle"]

Gold = Callable[[str], float]
"""A function from the text of a response to its gold score."""

_A_TEXT = "It is a fine day."  # a function is tried on it before work starts


def load_gold(name: str) -> Gold:
    """Finds a gold score.

    Args:
        name: ``vader``, the sentiment in [-1, 1] by the VADER lexicon (Hutto and Gilbert 2014); or
            ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``, a function from text to a number.

    Raises:
        ConfigError: If there is no such function, or it does not return a number for a text.
        MissingExtraError: If vader is not installed.
    """
    if name == "vader":
        return _vader()
    place, _, function = name.rpartition(":")
    if not place:
        raise ConfigError(
            f"expected gold to be vader, FILE.py:FUNCTION or MODULE:FUNCTION, got {name!r}."
        )
    try:
        found = getattr(_module(place), function)
    except Exception as error:  # whatever a module of the user's raises when it is imported
        raise ConfigError(
            f"expected a function {function!r} in {place}, but {_said(error)}; it takes the text "
            "of a response and returns a number."
        ) from error
    if not callable(found):
        raise ConfigError(
            f"expected {function!r} in {place} to be a function, got {found!r}; it takes the text "
            "of a response and returns a number."
        )
    gold = functools.partial(_checked, found, name)
    gold(_A_TEXT)
    return gold


def _vader() -> Gold:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise MissingExtraError(
            "expected vaderSentiment, which the gold score vader needs, but it is not installed; "
            "pip install 'prefrl[text]'"
        ) from error
    analyzer = SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise ImportError(f"there is no file {path}")
    # A name that no import uses; dataclasses look up their module by it during its execution.
    name = f"gold {path.absolute()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked(function: Callable[[str], Any], name: str, text: str) -> float:
    try:
        value = float(function(text))
    except Exception as error:  # whatever a function of the user's raises
        raise ConfigError(
            f"expected a number from {name} for {text!r}, but {_said(error)}"
        ) from error
    if not math.isfinite(value):
        raise ConfigError(f"expected a finite number from {name}, got {value} for {text!r}.")
    return value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def text_oracle(
    responses: Responses, gold: Gold, config: OracleConfig, *, seed: int
) -> SyntheticOracle:
    """The synthetic oracle for responses: a response is one step, and gold its reward.

    ``eps_skip`` and ``eps_equal`` are shares of a gold score of 1.
    """

    def step_rewards(item: Item) -> NDArray[np.floating]:
        return np.array([gold(responses[item.id].text)])

    return SyntheticOracle(
        step_rewards, config=config, seed=seed, mean_segment_return=lambda item: 1.0
    )
