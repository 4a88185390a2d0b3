"""One fit of a reward, with normalisation before and after; shared by all processes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from prefrl.core.comparisons import Item, Judgement
from prefrl.core.ensemble import RewardModel
from prefrl.core.trainer import FitConfig, FitReport, fit

__all__ = [
    "CalibrateOn",
    "LearnedReward",
    "StandardizeOn",
    "fit_once",
    "weights_hash",
    "what_is_not_finite",
]

_MOST_LABELLED = 200

CalibrateOn = Literal["newest", "labelled", "both"]
"""What the reward is normalised over: a sample of the agent's recent behaviour, the items of the
fitted comparisons (Ibarz et al. 2018 used their annotation buffer), or both with equal weight."""


StandardizeOn = Literal["newest", "both", "kept"]
"""What a reward's inputs are standardised over: a sample of the agent's recent behaviour, that and
the items of the fitted comparisons, or whatever they were standardised over before."""


class LearnedReward(RewardModel, Protocol):
    """A reward model whose inputs and outputs are normalised by the agent's recent behaviour."""

    def standardize_inputs(self, *groups: Sequence[Any]) -> None:
        """Sets the mean and deviation of the inputs from groups of items."""
        ...

    def calibrate(self, *groups: Sequence[Any], fitted: Sequence[Any] = ()) -> None:
        """Sets the reward's normalisation from groups of items, given items of the fit."""
        ...


def fit_once(
    model: LearnedReward,
    comparisons: Sequence[Judgement],
    items: Mapping[str, Item],
    recent: Sequence[Item],
    *,
    config: FitConfig,
    seed: Sequence[int],
    l2: float | None,
    go_on: Callable[[], bool] = lambda: True,
    calibrate_on: CalibrateOn = "newest",
    standardize_on: StandardizeOn = "newest",
) -> FitReport:
    """Runs one fit, with normalisation before and after; equal arguments give equal weights."""
    if standardize_on == "newest":
        model.standardize_inputs(recent)
    elif standardize_on == "both":
        model.standardize_inputs(recent, _labelled(comparisons, items))
    rng = np.random.default_rng(seed)
    report = fit(model, comparisons, items, config=config, rng=rng, l2=l2, go_on=go_on)
    fitted = _labelled(comparisons, items)
    groups = [] if calibrate_on == "labelled" else [recent]
    if calibrate_on != "newest":
        groups.append(fitted)
    model.calibrate(*groups, fitted=fitted)
    return report


def _labelled(comparisons: Sequence[Judgement], items: Mapping[str, Item]) -> list[Item]:
    """Returns at most 200 items of comparisons with a preference, evenly spaced in their order."""
    queries = [c.query for c in comparisons if c.preference is not None]
    ids = list(dict.fromkeys(item for q in queries for item in (q.left, q.right)))
    every = max(1, -(-len(ids) // _MOST_LABELLED))
    return [items[item] for item in ids[::-1][::every]]


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """Returns the first half of the SHA-256 of all tensors, by name: equal for equal weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def what_is_not_finite(model: LearnedReward, report: FitReport) -> str:
    """Names what is not finite after a fit; empty if everything is finite.

    Args:
        model: The fitted model.
        report: Report of the fit.
    """
    if not math.isfinite(report.train_loss):
        return f"the training loss is {report.train_loss}"
    for name, tensor in model.module().state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            return f"{name} is not finite"
    return ""
