"""Fits an ensemble to comparisons, and reports on the fit.

Each member learns from a bag drawn with replacement, which leaves out 1/e of the comparisons. Those
are exactly the hold-out of Christiano et al. 2017 (section 2.2.3): they steer the L2 coefficient,
decide when to stop, and give an honest accuracy, so that no label is spent only on validation.

Each member minimises, over the N examples i of its bag, with losses l_i and bag weights w_i::

    sum_i w_i l_i + l2 |parameters|^2

which is the most probable net under a normal prior of variance 1 / (2 l2): one half is a standard
normal prior, and it counts for less as labels grow. Christiano et al. raise and lower l2 to keep
the hold-out loss between 1.1 and 1.5 times the training loss. On few labels only a net that learned
little comes that close, so an unbounded coefficient grows from fit to fit. Here it starts at its
upper bound, falls, and never rises above the bound again.

A bag is a weight per example and member: all members see the same minibatch in one forward pass,
and an example outside a member's bag has weight 0. An example is a comparison, or all comparisons
of a group of items that were ranked together.

A fit with the same generator starts from the same parameters and gives old comparisons the same
weights, so that from one fit to the next the reward changes because of new answers, not by chance.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl.core.comparisons import Item, Judgement
from prefrl.core.ensemble import RewardModel, score_items
from prefrl.core.examples import Examples, examples_of
from prefrl.errors import ConfigError, FitInterruptedError, NotEnoughDataError

__all__ = ["FitConfig", "FitReport", "fit"]


@dataclass(frozen=True)
class FitConfig:
    """How the reward ensemble is fitted."""

    max_steps: int = 1000
    """Most gradient steps of a fit; the hold-out usually stops it earlier."""
    min_steps: int = 200
    """Gradient steps before the first check of the hold-out; parameters from before it are never
    kept."""
    epochs: int | None = None
    """Passes over all comparisons, without an early stop, instead of max_steps and min_steps. None:
    the hold-out decides when to stop."""
    batch_size: int = 32
    """Comparisons per gradient step; for rankings, groups per gradient step."""
    group_loss: Literal["pairs", "best"] = "pairs"
    """Loss of items that are ranked together: the mean over all their pairs (Ouyang et al. 2022,
    section 3.5), or only which one is the best (Ziegler et al. 2019)."""
    drop_ties: bool = False
    """Leave out ties (Ouyang et al. 2022) instead of counting them as one half, unless there is
    nothing else."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    linear_decay: bool = False
    """Let the learning rate fall to zero over the steps of a fit."""
    noise: float = 0.1
    """Share of answers that are assumed to be pure chance."""
    bagging: bool = True
    """Draw each member's comparisons with replacement; without it there is no hold-out."""
    shared_bag: bool = False
    """Use one bag for all members, so that no member has seen the held-out comparisons, even
    through parameters that members share."""
    restart: bool = True
    """Start each fit from fresh parameters instead of the last ones."""
    anchor: bool = False
    """L2 pulls the parameters towards their values at the start of the fit instead of towards zero.
    So the reward keeps what it knew where the answers say nothing (L2-SP, Li et al. 2018, arXiv
    1802.01483). Needs restart to be off."""
    patience: int = 3
    """Stop the fit after this many checks without a better hold-out loss."""
    check_every: int = 10
    """Gradient steps between two checks on the hold-out; one epoch if that is more."""
    check_comparisons: int = 10_000
    """Most comparisons that a check looks at; the newest ones are used."""
    score_l2: float = 0.0
    """Weight of a penalty on squared scores, which keeps rewards small where the answers say
    nothing (Ibarz et al. 2018, appendix A.3, who penalise step rewards)."""
    l2: float = 0.5
    """L2 coefficient of the summed loss: its upper bound, and its value at the start of the first
    fit."""
    l2_change: float = 0.001
    """Relative change of the L2 coefficient per gradient step."""
    l2_low: float = 1.1
    """Hold-out loss over training loss below which the coefficient falls."""
    l2_high: float = 1.5
    """Hold-out loss over training loss above which the coefficient rises."""

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "min_steps",
            "batch_size",
            "patience",
            "check_every",
            "check_comparisons",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.anchor and self.restart:
            raise ConfigError("expected restart to be off with anchor; turn one of them off.")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {self.epochs}.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(
                f"learning_rate must be positive and finite, got {self.learning_rate}."
            )
        if not 0 <= self.noise < 1:
            raise ConfigError(f"noise is a share in [0, 1), got {self.noise}.")
        for name in ("score_l2", "l2"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}."
                )
        if not 0 <= self.l2_change < 1 or not 0 < self.l2_low <= self.l2_high:
            raise ConfigError(
                "expected 0 <= l2_change < 1 and 0 < l2_low <= l2_high, got "
                f"l2_change={self.l2_change}, l2_low={self.l2_low}, l2_high={self.l2_high}."
            )

    def steps_for(self, n_examples: int) -> tuple[int, int]:
        """Returns the number of gradient steps before the first check, and the most steps."""
        if self.epochs is None:
            return min(self.min_steps, self.max_steps), self.max_steps
        steps = self.epochs * math.ceil(n_examples / self.batch_size)
        return steps, steps


@dataclass(frozen=True)
class FitReport:
    """The result of a fit. Losses are per comparison, in nats, at the parameters that were kept."""

    steps: int
    """Gradient steps taken to the parameters that were kept."""
    n_comparisons: int
    """Comparisons with a preference."""
    train_loss: float
    """Mean over members of the loss on their bags."""
    holdout_loss: float
    """Mean loss of members on comparisons outside their bags; NaN without any."""
    holdout_accuracy: float
    """Share of decided comparisons that are predicted correctly by the members that did not see
    them; or NaN."""
    l2: float
    """The L2 coefficient at the end, for the next fit to start from."""
    holdout_probability: NDArray[np.float64]
    """P(left is better) by the members that did not see the comparison, shape (N,); or NaN."""
    preference: NDArray[np.float64]
    """P(left is better) as answered, shape (N,)."""


@dataclass(frozen=True)
class _Judged:
    """The training examples, and each member's bag of them."""

    examples: Examples  # G of them
    preference: Tensor  # (N,): of all their comparisons
    bags: Tensor  # (M, G): how often a member's bag holds an example

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class _Check:
    """Losses at one point of a fit."""

    train_loss: float
    holdout_loss: float
    probability: Tensor  # (M, N)


def fit(
    model: RewardModel,
    comparisons: Sequence[Judgement],
    items: Mapping[str, Item],
    *,
    config: FitConfig,
    rng: np.random.Generator,
    l2: float | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> FitReport:
    """Fits all members of an ensemble to comparisons, and keeps the best parameters.

    Args:
        model: The ensemble; changed in place.
        comparisons: What labellers answered; skips are left out.
        items: The compared items by id.
        config: Settings.
        rng: Source of fresh parameters, bags and the order of comparisons.
        l2: L2 coefficient to start from, usually that of the last report; the config's if None, and
            at most the config's.
        go_on: Asked after each gradient step; False ends the fit.

    Returns:
        The report, with hold-out predictions.

    Raises:
        FitInterruptedError: If it was ended; the parameters are then of no use.
        NotEnoughDataError: If no comparison has a preference.
    """
    seed = int(rng.integers(2**63 - 1))
    # Noise and dropout draw from torch's global generators, which must not be shared with others.
    with _own_randomness(model.module(), seed):
        judged = _judged(comparisons, items, model.n_members, config, rng)
        return _fit(model, judged, config, torch.Generator().manual_seed(seed), l2, go_on)


@contextlib.contextmanager
def _own_randomness(module: torch.nn.Module, seed: int) -> Iterator[None]:
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _fit(
    model: RewardModel,
    judged: _Judged,
    config: FitConfig,
    generator: torch.Generator,
    l2: float | None,
    go_on: Callable[[], bool],
) -> FitReport:
    if config.restart:
        model.reset(generator)
    module = model.module()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    start = [p.detach().clone() for p in parameters] if config.anchor else None
    l2 = config.l2 if l2 is None else min(l2, config.l2)

    check_every = max(config.check_every, math.ceil(len(judged) / config.batch_size))
    batches = _minibatches(len(judged), config.batch_size, generator)
    # Any fit beats none: fresh parameters may look best on a small hold-out, whose loss often rises
    # before it falls, but an agent without a reward forgets what it has learned. The ratio of the
    # losses says nothing so early either: before anything is learned, it is one.
    first_check, last_step = config.steps_for(len(judged))
    best: _Check | None = None
    best_steps, best_state, checks_without_gain = 0, _snapshot(module), 0
    for step, batch in zip(range(1, last_step + 1), batches, strict=False):
        if config.linear_decay:
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - (step - 1) / last_step)
        loss = _batch_loss(model, judged, batch, config)
        if l2 > 0:  # the sum over all parameters of a language model is slow
            # Divided by N, since the loss is a mean over examples.
            loss = loss + l2 / len(judged) * _squared_norm(parameters, start)
        _descend(loss, optimizer)
        if not go_on():
            raise FitInterruptedError(f"the fit was ended after {step} steps.")
        if step < first_check or (step % check_every and step < last_step):
            continue
        check = _check(model, judged, config)
        l2 = _adapt_l2(l2, check, check_every, config)
        if best is None or _score(check) < _score(best):
            best, best_steps, best_state = check, step, _snapshot(module)
            checks_without_gain = 0
        else:
            checks_without_gain += 1
            if checks_without_gain == config.patience:
                break
    assert best is not None  # the last step always checks
    module.load_state_dict(best_state)
    return _report(best, best_steps, judged, l2)


def _judged(
    comparisons: Sequence[Judgement],
    items: Mapping[str, Item],
    n_members: int,
    config: FitConfig,
    rng: np.random.Generator,
) -> _Judged:
    decided = [c for c in comparisons if c.preference is not None]
    if not decided:
        raise NotEnoughDataError(
            f"expected at least one comparison with a preference, got {len(comparisons)} "
            "comparisons that are all skips; gather more answers before fitting."
        )
    if config.drop_ties:
        decided = [c for c in decided if c.preference != 0.5] or decided
    examples = examples_of(decided, items)
    # Poisson(1) weights are a bag drawn example by example, as they arrive (Oza and Russell 2001).
    # Drawn row by row, they are the same for old examples when new ones come in.
    n_bags = 1 if config.shared_bag else n_members
    bags = rng.poisson(1.0, size=(len(examples), n_bags)).T if config.bagging else np.ones(1)
    if not bags.any():  # with few examples, all may be left out
        bags = np.ones(1)
    return _Judged(
        examples=examples,
        preference=torch.tensor([c.preference for c in decided], dtype=torch.float32),
        bags=torch.as_tensor(np.broadcast_to(bags, (n_members, len(examples))).astype(np.float32)),
    )


def _minibatches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields positions of examples without end, each once per epoch."""
    while True:
        yield from torch.split(torch.randperm(n, generator=generator), batch_size)


def _batch_loss(model: RewardModel, judged: _Judged, batch: Tensor, config: FitConfig) -> Tensor:
    """Sum over members of the bag-weighted mean loss; members share nothing, or only a trunk."""
    examples = judged.examples.some(batch)
    scores = model.score(model.collate(examples.all_items()))  # (M, U)
    losses = _losses(examples, scores, config)  # (M, B)
    if config.score_l2:
        losses = losses + config.score_l2 * examples.squares(scores)
    return (losses * judged.bags[:, batch].to(scores.device)).mean(1).sum()


def _losses(examples: Examples, scores: Tensor, config: FitConfig) -> Tensor:
    return examples.losses(scores, best=config.group_loss == "best", noise=config.noise)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _squared_norm(parameters: Sequence[Tensor], start: Sequence[Tensor] | None) -> Tensor:
    if start is not None:
        return torch.stack(
            [(p - began).square().sum() for p, began in zip(parameters, start, strict=True)]
        ).sum()
    return torch.stack([p.square().sum() for p in parameters]).sum()


def _check(model: RewardModel, judged: _Judged, config: FitConfig) -> _Check:
    n = min(config.check_comparisons, len(judged))
    newest = judged.examples.some(torch.arange(len(judged) - n, len(judged)))
    scores = score_items(model, newest.all_items())  # (M, U)
    losses, bags = _losses(newest, scores, config), judged.bags[:, -n:]
    outside = bags == 0
    probability = torch.full((len(bags), len(judged.preference)), math.nan)
    there = newest.weight > 0
    probability[:, newest.numbers[there]] = newest.probabilities(scores)[:, there]
    return _Check(
        train_loss=float((losses * bags).sum() / bags.sum()),
        holdout_loss=float(losses[outside].mean()) if bool(outside.any()) else math.nan,
        probability=probability,
    )


def _score(check: _Check) -> float:
    """The loss that decides when to stop: on the hold-out, or on the bag if nothing is held out."""
    return check.train_loss if math.isnan(check.holdout_loss) else check.holdout_loss


def _adapt_l2(l2: float, check: _Check, n_steps: int, config: FitConfig) -> float:
    ratio = check.holdout_loss / max(check.train_loss, 1e-8)
    if ratio > config.l2_high:
        return min(l2 * (1 + config.l2_change) ** n_steps, config.l2)
    if ratio < config.l2_low:
        return l2 / (1 + config.l2_change) ** n_steps
    return l2


def _snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def _report(check: _Check, steps: int, judged: _Judged, l2: float) -> FitReport:
    examples = judged.examples
    there = examples.weight > 0  # (G, C)
    outside = torch.zeros(len(judged.bags), len(judged.preference), dtype=torch.double)
    outside[:, examples.numbers[there]] = (
        (judged.bags == 0).double()[:, :, None].expand(-1, *there.shape)[:, there]
    )  # (M, N)
    n_judges = outside.sum(0)
    by_others = (check.probability * outside).sum(0) / n_judges  # (N,); 0 / 0 is NaN
    probability, preference = by_others.numpy(), judged.preference.double().numpy()
    decided = np.isfinite(probability) & (preference != 0.5)
    right = (probability[decided] > 0.5) == (preference[decided] > 0.5)
    return FitReport(
        steps=steps,
        n_comparisons=len(judged.preference),
        train_loss=check.train_loss,
        holdout_loss=check.holdout_loss,
        holdout_accuracy=float(right.mean()) if right.size else math.nan,
        l2=l2,
        holdout_probability=probability,
        preference=preference,
    )
