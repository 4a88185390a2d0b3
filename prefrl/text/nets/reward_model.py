"""The reward ensemble for responses: scalar heads on a pretrained language model.

A response is scored at its last token (Huang et al. 2023, details G1 and R1). Members are several
heads on one trunk, which is cheap, or have a trunk each. Trunks share all parameters that are not
trained; with adapters, all but these.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prefrl.core.ensemble import Aggregate, aggregate, as_judge
from prefrl.core.normalize import MemberNormalizer
from prefrl.errors import ConfigError
from prefrl.text.nets.adapters import AdapterConfig, adapter_parts, add_adapters, reset_adapters
from prefrl.text.nets.classifiers import GivenReward
from prefrl.text.nets.layers import blocks_of, freeze_below, no_dropout, trunk_of
from prefrl.text.nets.logprobs import Batch, collate
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Response

__all__ = ["TextReward", "TextRewardConfig"]

_CHUNK = 32
_MOST_FEATURES = 100_000
_SMALLEST = 1e-6


@dataclass(frozen=True)
class TextRewardConfig:
    """Settings of the reward ensemble for responses."""

    members: int = 4
    """Members of the reward ensemble."""
    ensemble: Literal["heads", "models"] = "heads"
    """Several heads on one trunk, or a trunk for each."""
    train_layers: int | None = 0
    """How many of the trunk's last layers are trained too, or have adapters. 0 trains only the
    heads, on outputs of the trunk that are standardised in each dimension; None trains all
    layers."""
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    """Adapters that are trained instead of the trunk's layers."""
    aggregate: Aggregate = "mean"
    """How the members' scores become one: their mean, their min, or mean minus k times variance."""
    k: float = 0.1
    """Weight of the variance in mean-k-var."""

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ConfigError(f"members must be at least 1, got {self.members}.")
        if self.lora.used and self.train_layers == 0:
            raise ConfigError(
                "expected reward.train_layers with reward.lora, got 0, where no layer has "
                "adapters; None gives them to all layers."
            )
        if self.ensemble == "models" and self.train_layers == 0:
            raise ConfigError(
                "expected train_layers with ensemble models, got 0: the trunks would all be the "
                "same; choose ensemble heads, or train at least one layer."
            )


class TextReward(nn.Module):
    """Scores of responses, one per member.

    Args:
        language: A pretrained language model; it stays as it is, a copy is trained.
        config: Settings.
        zero_at: Responses whose mean aggregated score is shifted to 0, instead of that of the
            newest sample: demonstrations (Ouyang et al. 2022, arXiv 2203.02155, section 3.5).
        shares: Whether a trunk without trained layers may use the parameters of the language model
            instead of a copy; only if nothing else trains these.
        given: Members trained elsewhere: each fit starts from them, with scores on their scale,
            instead of from the language model with fresh heads.
    """

    input_shift: Tensor
    input_scale: Tensor

    def __init__(
        self,
        language: LanguageModel,
        config: TextRewardConfig,
        *,
        zero_at: Sequence[Response] = (),
        shares: bool = False,
        given: Sequence[GivenReward] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.zero_at = zero_at
        """Responses whose average score is 0."""
        self.n_members = config.members
        """M, the number of members."""
        trunks = _made_trunks(language, config, shares=shares, given=given)
        self._trunks = trunks  # a list: see ``trained`` and ``to`` for what is saved and moved
        # All trunks start equal, or each as it was given.
        self._pretrained = [_copies(t, config) for t in (trunks if given else trunks[:1])]
        self._given = given
        config_of_trunk: Any = trunks[0].config
        width = int(config_of_trunk.hidden_size)
        self._width = width
        self.weight = nn.Parameter(torch.zeros(config.members, width))
        self.bias = nn.Parameter(torch.zeros(config.members))
        self.register_buffer("input_shift", torch.zeros(width))
        self.register_buffer("input_scale", torch.ones(width))
        self.before = MemberNormalizer(config.members)
        self.after = MemberNormalizer(config.members)
        self.trained = nn.ModuleList(_trained_parts(trunk, config) for trunk in trunks)
        self._features: dict[str, Tensor] = {}
        self._recent: Sequence[Response] = ()
        self.reset(torch.Generator().manual_seed(0))
        self.train()  # so that adapters use dropout even in a fit before any scoring

    def to(self, *args: Any, **kwargs: Any) -> TextReward:
        """Moves it, with the untrained parts of its trunks."""
        for trunk in self._trunks:
            trunk.to(*args, **kwargs)
        super().to(*args, **kwargs)
        return self

    def module(self) -> nn.Module:
        """Itself: its state is the trained parameters and the normalisation."""
        return self

    def reset(self, generator: torch.Generator) -> None:
        """Restores the trunks, and draws fresh heads: weights of std 1 / sqrt(d + 1), bias 0 (R2).

        Adapters are drawn anew for each trunk, and change nothing yet. Given members keep their
        heads and their scale.

        Scores are normalised to mean 0 and variance 1 before training, too (R3), over the newest
        sample, so that its first steps are neither tiny nor huge.
        """
        with torch.no_grad():
            for place, trunk in enumerate(self._trunks):
                if self.config.lora.used:
                    reset_adapters(trunk, generator)
                    continue
                kept = iter(self._pretrained[place % len(self._pretrained)])
                for p in trunk.parameters():
                    if p.requires_grad:
                        p.copy_(next(kept))
            drawn = torch.randn(self.weight.shape, generator=generator)
            self.weight.copy_(drawn / math.sqrt(self._width + 1))
            self.bias.zero_()
            for place, member in enumerate(self._given):
                self.weight[place], self.bias[place] = member.weight, member.bias
        if self._recent and not self._given:
            with as_judge(self):
                self.before.calibrate(self._raw(self._recent))

    def standardize_inputs(self, *groups: Sequence[Response]) -> None:
        """Sets the sample that fresh heads are normalised on, and scales features of fixed trunks.

        A few dimensions of a language model's output are hundreds of times larger than the others:
        without scaling, heads would learn from those alone.
        """
        self._recent = items = [item for group in groups for item in group]
        if self.config.train_layers == 0 and not self._given:
            features = self._kept_features(items)
            std = features.std(0, correction=0)
            self.input_shift.copy_(features.mean(0))
            self.input_scale.copy_(torch.where(std > _SMALLEST, std, torch.ones_like(std)))

    def calibrate(self, *groups: Sequence[Response], fitted: Sequence[Response] = ()) -> None:
        """Scales the scores of a sample to mean 0 and variance 1, for each member (R3).

        With demonstrations, the mean is taken over them, and the aggregate of the members, which
        may be less than their mean, is also shifted to 0 on average.

        Args:
            *groups: The sample, as one or more groups, which have equal weights.
            fitted: Not used here: there are no endings.
        """
        after, config = self.after, self.config
        with as_judge(self):
            after.calibrate(*(self.before(self._raw(items)) for items in groups))
            if self.zero_at:
                scores = self.before(self._raw(self.zero_at))
                after.shift.copy_(scores.mean(1))
                left = aggregate(after(scores), how=config.aggregate, k=config.k).mean()
                after.shift += left * after.scale / after.target_std

    def collate(self, items: Sequence[Response]) -> Batch | Tensor:
        """Batches tokens; for fixed trunks their features, cached by response: (B, [M,] D)."""
        if self.config.train_layers == 0:
            return self._kept_features(items)
        return collate(items, self.weight.device)

    def score(self, batch: Batch | Tensor) -> Tensor:
        """Scores before the last normalisation, with gradient, shape (M, B)."""
        if isinstance(batch, Tensor):
            inputs = (batch - self.input_shift) / self.input_scale
            if inputs.dim() == 2:
                raw = self.weight @ inputs.T + self.bias[:, None]
            else:  # a trunk for each member
                raw = (inputs * self.weight).sum(2).T + self.bias[:, None]
        else:
            states = [_last_states(trunk, batch) for trunk in self._trunks]
            raw = torch.stack(
                [
                    states[member % len(states)] @ self.weight[member] + self.bias[member]
                    for member in range(self.n_members)
                ]
            )
        normalized: Tensor = self.before(raw)
        return normalized

    def rewards(self, items: Sequence[Response]) -> tuple[Tensor, Tensor]:
        """Normalised scores and their aggregate.

        Returns:
            Scores of the members, shape (M, B), and their aggregate, shape (B,), both on the CPU.
        """
        with as_judge(self):
            scores = self.after(self.before(self._raw(items))).cpu()
        return scores, aggregate(scores, how=self.config.aggregate, k=self.config.k)

    @torch.no_grad()
    def as_one_head(self) -> tuple[nn.Module, Tensor, Tensor]:
        """The first trunk, and a head that gives the mean of its members' normalised scores.

        Returns:
            The trunk, which is this model's own, and the head's weight, (D,), and bias, ().
        """
        of_first = [m for m in self.members() if m.trunk is self._trunks[0]]
        weights, biases = zip(*((m.weight, m.bias) for m in of_first), strict=True)
        return self._trunks[0], torch.stack(weights).mean(0), torch.stack(biases).mean()

    @torch.no_grad()
    def members(self) -> list[GivenReward]:
        """The members: each its trunk, which is not copied, and a head with all normalisation."""
        before, after = self.before, self.after
        scale = before.scale * after.scale / (before.target_std * after.target_std)  # (M,)
        weight = self.weight / self.input_scale  # (M, D)
        bias = self.bias - weight @ self.input_shift - before.shift
        bias = bias / scale - after.shift / after.scale * after.target_std
        weight = weight / scale[:, None]
        trunks = [self._trunks[m % len(self._trunks)] for m in range(self.n_members)]
        return [GivenReward(*each) for each in zip(trunks, weight, bias, strict=True)]

    def _raw(self, items: Sequence[Response]) -> Tensor:
        """Scores before any normalisation, without gradient, shape (M, B)."""
        parts = []
        for start in range(0, len(items), _CHUNK):
            scores: Tensor = self.score(self.collate(items[start : start + _CHUNK]))
            shift, scale = self.before.shift[:, None], self.before.scale[:, None]
            parts.append(scores * scale / self.before.target_std + shift)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def _kept_features(self, items: Sequence[Response]) -> Tensor:
        if len(self._features) * len(self._trunks) > _MOST_FEATURES:
            self._features.clear()
        new = list({r.id: r for r in items if r.id not in self._features}.values())
        new.sort(key=lambda r: len(r.prompt_tokens) + len(r.tokens))  # less padding
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            batch = collate(chunk, self.weight.device)
            each = [_last_states(trunk, batch) for trunk in self._trunks]
            states = each[0] if len(each) == 1 else torch.stack(each, 1)
            self._features |= zip((r.id for r in chunk), states, strict=True)
        return torch.stack([self._features[r.id] for r in items])


def _last_states(trunk: nn.Module, batch: Batch) -> Tensor:
    """The trunk's output at the last token of each response, shape (B, D)."""
    states: Tensor = trunk(**batch.inputs).last_hidden_state
    return states[torch.arange(len(states), device=states.device), batch.last].float()


def _made_trunks(
    language: LanguageModel,
    config: TextRewardConfig,
    *,
    shares: bool,
    given: Sequence[GivenReward],
) -> list[nn.Module]:
    """Makes a trunk for all members, or for each; only trained parameters require gradients."""
    different = list({id(member.trunk): member.trunk for member in given}.values())
    if len(different) > 1:  # one for each member, even if two are equal
        different = [member.trunk for member in given]
        different = [copy.deepcopy(t) if t in different[:n] else t for n, t in enumerate(different)]
        return [_prepared(trunk, config) for trunk in different]
    is_fixed = config.lora.used or config.train_layers == 0
    kept = language.model.parameters() if shares and is_fixed and not given else ()
    whole = different[0] if given else trunk_of(language.model)
    trunk = _prepared(copy.deepcopy(whole, {id(p): p for p in kept}), config)
    n_trunks = config.members if config.ensemble == "models" else 1
    shared = {id(p): p for p in trunk.parameters() if not p.requires_grad}
    return [trunk, *(copy.deepcopy(trunk, dict(shared)) for _ in range(n_trunks - 1))]


def _prepared(trunk: nn.Module, config: TextRewardConfig) -> nn.Module:
    """Turns dropout off, adds adapters if any, and freezes what is not trained."""
    trunk = trunk.float().eval()
    no_dropout(trunk)
    if config.lora.used:
        generator = torch.Generator().manual_seed(0)
        add_adapters(trunk, config.lora, generator=generator, n_layers=config.train_layers)
        return trunk
    freeze_below(trunk, config.train_layers)
    if config.train_layers == 0:
        trunk.requires_grad_(False)
    return trunk


def _copies(trunk: nn.Module, config: TextRewardConfig) -> list[Tensor]:
    """Copies of the trained parameters of a trunk; none with adapters, which are drawn anew."""
    trained = (p for p in trunk.parameters() if p.requires_grad)
    return [] if config.lora.used else [p.detach().clone() for p in trained]


def _trained_parts(trunk: nn.Module, config: TextRewardConfig) -> nn.Module:
    """The trained parts of a trunk as a module, to be saved without the rest."""
    n_layers = config.train_layers
    if config.lora.used:
        return adapter_parts(trunk)
    if n_layers is None:
        return trunk
    if n_layers == 0:
        return nn.ModuleList()
    norms = [m for m in trunk.children() if any(p.requires_grad for p in m.parameters())]
    blocks = blocks_of(trunk)
    return nn.ModuleList(
        [*blocks[len(blocks) - n_layers :], *(m for m in norms if not isinstance(m, nn.ModuleList))]
    )
