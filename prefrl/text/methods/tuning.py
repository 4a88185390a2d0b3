"""Fine-tuning on answers: on pairs, rankings or single responses.

All log-probabilities are at temperature 1, whatever the sampling temperature: answers may be about
responses from other policies, or written by people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.runtime.roles.parallel import ALONE, Workers
from prefrl.text.methods.examples import GOOD, Example
from prefrl.text.methods.finetune import FinetuneConfig, Finetuning
from prefrl.text.methods.preference_losses import (
    PAIR_METHODS,
    TUNING_METHODS,
    PairLossConfig,
    TuningMethod,
    dpo_loss,
)
from prefrl.text.methods.response_losses import kto_baseline
from prefrl.text.nets.logprobs import Batch, collate
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = [
    "averaged",
    "check_batch_size",
    "on_examples",
    "on_pairs",
    "on_rankings",
    "on_single_responses",
]

_CHUNK = 32
_GOOD_SHARE = "good"


class _Told(TypedDict):
    """Arguments that fine-tuning takes for all kinds of examples."""

    method: str
    loss: PairLossConfig
    config: FinetuneConfig
    seed: int
    workers: Workers


def check_batch_size(method: str, batch_size: int) -> None:
    """Refuses batches that are too small for a method.

    Raises:
        ConfigError: If it learns from single responses, and a batch holds only one.
    """
    if batch_size < 2 and method in _those_with("single responses"):
        raise ConfigError(
            f"expected a batch_size of at least 2 for {method}, whose baseline is of responses "
            f"with the prompts of others in their batch, got {batch_size}."
        )


def on_examples(
    policy: Policy,
    examples: Sequence[Example],
    responses: Mapping[str, Response],
    *,
    method: str,
    loss: PairLossConfig,
    config: FinetuneConfig,
    seed: int,
    workers: Workers = ALONE,
) -> Finetuning:
    """Prepares fine-tuning on the kind of examples that the method takes.

    Args:
        policy: Trained in place.
        examples: Pairs, rankings or single responses, by the ids of the responses.
        responses: The responses by id.
        method: One of ``TUNING_METHODS``.
        loss: Parameters of its loss.
        config: Settings.
        seed: Seed of the order of examples.
        workers: Workers that share each batch.

    Raises:
        ConfigError: If there is no such method, it cannot work with the settings, or a text is too
            long for the model.
        NotEnoughDataError: If there are too few examples.
    """
    takes = _method(method, *TUNING_METHODS).takes
    judged = [([responses[i] for i in example.ids], example.ranks) for example in examples]
    told: _Told = {
        "method": method, "loss": loss, "config": config, "seed": seed, "workers": workers
    }  # fmt: skip
    if takes == "rankings":
        return on_rankings(policy, judged, **told)
    if takes == "single responses":
        labelled = [(said[0], ranks[0] == GOOD) for said, ranks in judged]
        return on_single_responses(policy, labelled, **told)
    strengths = [example.strength for example in examples]
    return on_pairs(policy, [(said[0], said[1]) for said, _ in judged], strengths, **told)


def on_pairs(
    policy: Policy,
    pairs: Sequence[tuple[Response, Response]],
    strengths: Sequence[tuple[float, float]] | None = None,
    *,
    method: str,
    loss: PairLossConfig,
    config: FinetuneConfig,
    seed: int,
    workers: Workers = ALONE,
) -> Finetuning:
    """Prepares fine-tuning on pairs of a chosen and a rejected response.

    Args:
        policy: Trained in place.
        pairs: Chosen and rejected responses.
        strengths: Of each pair P(chosen is better) and its margin, which only dpo uses.
        method: One of ``PAIR_METHODS``.
        loss: Parameters of its loss.
        config: Settings.
        seed: Seed of the order of pairs.
        workers: Workers that share each batch.

    Raises:
        ConfigError: If there is no such method, or a text is too long for the model.
        NotEnoughDataError: If there is no pair.
    """
    how, scale = _method(method, *PAIR_METHODS), _scale(method, loss)
    responses = [response for pair in pairs for response in pair]
    _check_lengths(policy, responses)
    reference = _of_all(policy, responses, workers)

    def loss_of(examples: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        both = [pairs[i][0] for i in examples] + [pairs[i][1] for i in examples]
        batch = collate(both, policy.device)
        summed = policy.logprobs(batch, temperature=1.0).sum(1)  # (2B,): chosen, then rejected
        ratios = summed - torch.stack([reference[r.id] for r in both])
        terms = ratios if how.needs_reference else summed / _lengths(batch)
        chosen, rejected = terms.chunk(2)
        if strengths is None or method != "dpo":
            value = how.function(chosen, rejected, loss).mean()
        else:
            share, offset = torch.tensor([strengths[i] for i in examples], device=policy.device).T
            beta = loss.beta_or(0.1)
            told = dpo_loss(chosen - rejected, beta=beta, preference=share, offset=offset)
            value = told.mean()
        return value, _of_pairs(scale * terms.detach(), summed.detach())

    return Finetuning(policy, len(pairs), loss_of, config=config, seed=seed, workers=workers)


def _scale(method: str, loss: PairLossConfig) -> float:
    """The factor from log-ratios, or mean log-probabilities, to rewards, as in TRL."""
    usual = {"orpo": loss.orpo_weight, "simpo": loss.beta_or(2.0)}
    return usual.get(method, loss.beta_or(0.1))


def _of_pairs(rewards: Tensor, summed: Tensor) -> dict[str, float]:
    """Values to log for chosen responses followed by rejected ones, with TRL's names."""
    chosen, rejected = rewards.chunk(2)
    # Both log-probabilities may fall: only their difference matters to the loss.
    of_chosen, of_rejected = summed.chunk(2)
    return {
        "rewards/chosen": float(chosen.mean()),
        "rewards/rejected": float(rejected.mean()),
        "rewards/margins": float((chosen - rejected).mean()),
        "rewards/accuracies": float((chosen > rejected).float().mean()),
        "logps/chosen": float(of_chosen.mean()),
        "logps/rejected": float(of_rejected.mean()),
    }


def averaged(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the values that gradient steps have logged.

    For single responses, the values of good and of bad ones are means over these only.
    """
    row = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    good = row.pop(_GOOD_SHARE, None)
    if good is None:
        return row
    for name, share in (("chosen", good), ("rejected", 1 - good)):
        for what in ("rewards", "logps"):
            value = row[f"{what}/{name}"]
            row[f"{what}/{name}"] = value / share if share > 0 else math.nan
    return row | {"rewards/margins": row["rewards/chosen"] - row["rewards/rejected"]}


def _of_all(policy: Policy, responses: Sequence[Response], workers: Workers) -> dict[str, Tensor]:
    """The reference's summed log-probabilities by response id, computed once: they never change."""
    different = list({r.id: r for r in responses}.values())
    different.sort(key=lambda r: len(r.prompt_tokens) + len(r.tokens))
    mine = different[workers.share(len(different))]
    found = [torch.zeros(0, device=policy.device)]
    for start in range(0, len(mine), _CHUNK):
        batch: Batch = collate(mine[start : start + _CHUNK], policy.device)
        found.append(policy.reference_logprobs(batch, temperature=1.0).sum(1))
    return dict(zip((r.id for r in different), workers.join(torch.cat(found)), strict=True))


def on_rankings(
    policy: Policy,
    rankings: Sequence[tuple[Sequence[Response], Sequence[float]]],
    *,
    method: str,
    loss: PairLossConfig,
    config: FinetuneConfig,
    seed: int,
    workers: Workers = ALONE,
) -> Finetuning:
    """Prepares fine-tuning on rankings of two or more responses.

    Args:
        policy: Trained in place.
        rankings: Responses to one prompt, and their ranks: the lowest is the best.
        method: rrhf or pro.
        loss: Parameters of its loss.
        config: Settings.
        seed: Seed of the order of rankings.
        workers: Workers that share each batch.

    Raises:
        ConfigError: If there is no such method, or a text is too long for the model.
        NotEnoughDataError: If there is no ranking.
    """
    how = _method(method, *_those_with("rankings"))
    _check_lengths(policy, [response for said, _ in rankings for response in said])

    def loss_of(examples: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        chosen = [rankings[i] for i in examples]
        sizes = [len(ranks) for _, ranks in chosen]
        batch = collate([r for said, _ in chosen for r in said], policy.device)
        summed = policy.logprobs(batch, temperature=1.0).sum(1)
        logprobs = pad_sequence(list(torch.split(summed, sizes)), batch_first=True)  # (B, K)
        lengths = pad_sequence(list(torch.split(_lengths(batch), sizes)), True, 1.0)
        rows = [torch.tensor(ranks, dtype=torch.float, device=policy.device) for _, ranks in chosen]
        ranks = pad_sequence(rows, True, torch.nan)
        value = how.function(logprobs, lengths, ranks, loss).mean()
        return value, _of_rankings(logprobs.detach(), lengths, ranks)

    return Finetuning(policy, len(rankings), loss_of, config=config, seed=seed, workers=workers)


def _of_rankings(logprobs: Tensor, lengths: Tensor, ranks: Tensor) -> dict[str, float]:
    """Values to log: of all pairs, by mean log-probabilities, and of the best and the worst."""
    p = logprobs / lengths
    better = ranks[:, :, None] < ranks[:, None, :]
    margins = (p[:, :, None] - p[:, None, :])[better]
    n_pairs = max(1, len(margins))
    best = ranks.nan_to_num(nan=torch.inf).argmin(1, keepdim=True)
    worst = ranks.nan_to_num(nan=-torch.inf).argmax(1, keepdim=True)
    return {
        "rewards/chosen": float(p.gather(1, best).mean()),
        "rewards/rejected": float(p.gather(1, worst).mean()),
        "rewards/margins": float(margins.sum()) / n_pairs,
        "rewards/accuracies": float((margins > 0).sum()) / n_pairs,
        "logps/chosen": float(logprobs.gather(1, best).mean()),
        "logps/rejected": float(logprobs.gather(1, worst).mean()),
    }


def on_single_responses(
    policy: Policy,
    labelled: Sequence[tuple[Response, bool]],
    *,
    method: str,
    loss: PairLossConfig,
    config: FinetuneConfig,
    seed: int,
    workers: Workers = ALONE,
) -> Finetuning:
    """Prepares fine-tuning on responses that are good or bad.

    The baseline is estimated anew in each gradient step, from its whole batch, however this is cut
    into parts: each response is put to the prompt of the next one.

    Args:
        policy: Trained in place.
        labelled: Responses, and whether they are good.
        method: kto.
        loss: Parameters of its loss.
        config: Settings; at least two responses in a batch.
        seed: Seed of the order of responses.
        workers: Workers that share each batch.

    Raises:
        ConfigError: If there is no such method, batches hold one response, or a text is too long
            for the model.
        NotEnoughDataError: If there are fewer than two responses.
    """
    how, scale = _method(method, *_those_with("single responses")), _scale(method, loss)
    check_batch_size(method, config.batch_size)
    _check_enough(len(labelled), method)
    responses = [response for response, _ in labelled]
    _check_lengths(policy, responses)
    reference = _of_all(policy, responses, workers)
    baseline = torch.zeros(())

    def before(examples: Sequence[int]) -> None:
        nonlocal baseline
        # The last batch of a pass may have one response.
        last = examples[0] if len(examples) > 1 else _with_another_prompt(responses, examples[0])
        pairs = zip(examples, [*examples[1:], last], strict=True)
        mixed = [_answering(responses[i], responses[j], policy.language.context) for i, j in pairs]
        mine = mixed[workers.share(len(mixed))]
        baseline = kto_baseline(workers.join(_log_ratios(policy, mine, config.microbatch)))

    def loss_of(examples: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        chosen = [responses[i] for i in examples]
        summed = policy.logprobs(collate(chosen, policy.device), temperature=1.0).sum(1)
        ratios = summed - torch.stack([reference[r.id] for r in chosen])
        is_good = torch.tensor([labelled[i][1] for i in examples], device=policy.device)
        value = how.function(ratios, is_good, baseline, loss).mean()
        return value, _of_single(ratios.detach(), summed.detach(), is_good, baseline, scale)

    return Finetuning(
        policy, len(labelled), loss_of, config=config, seed=seed, before=before, workers=workers
    )


def _of_single(
    ratios: Tensor, summed: Tensor, is_good: Tensor, baseline: Tensor, scale: float
) -> dict[str, float]:
    """Values to log; ``averaged`` turns them into means over good and over bad responses."""
    above = (ratios - baseline) * torch.where(is_good, 1.0, -1.0)
    row = {"kl": float(baseline), "rewards/accuracies": float((above > 0).float().mean())}
    # Sums over good or bad ones, over the number of all: a part of a batch may lack one kind.
    for name, kind in (("chosen", is_good), ("rejected", ~is_good)):
        row[f"rewards/{name}"] = scale * float((ratios * kind).mean())
        row[f"logps/{name}"] = float((summed * kind).mean())
    return row | {_GOOD_SHARE: float(is_good.float().mean())}


def _check_enough(n: int, method: str) -> None:
    if n < 2:
        raise NotEnoughDataError(
            f"expected at least two responses that are good or bad for {method}, got {n}; one that "
            "won as often as it lost is left out."
        )


def _with_another_prompt(responses: Sequence[Response], place: int) -> int:
    """Position of the next response with another prompt; its own, if all have the same prompt."""
    following = [*range(place + 1, len(responses)), *range(place)]
    own = responses[place].prompt_tokens
    return next((i for i in following if responses[i].prompt_tokens != own), place)


def _answering(response: Response, other: Response, context: int) -> Response:
    """Puts a response to the prompt of another one, cut to fit into the context."""
    room = context - len(other.prompt_tokens)
    return Response(other.prompt, response.text, other.prompt_tokens, response.tokens[:room])


@torch.no_grad()
def _log_ratios(policy: Policy, responses: Sequence[Response], size: int) -> Tensor:
    """Summed log-ratios of policy to reference, ``size`` responses at a time, shape (B,)."""
    found = [torch.zeros(0, device=policy.device)]
    for start in range(0, len(responses), size):
        batch = collate(responses[start : start + size], policy.device)
        ours = policy.logprobs(batch, temperature=1.0)
        found.append((ours - policy.reference_logprobs(batch, temperature=1.0)).sum(1))
    return torch.cat(found)


def _lengths(batch: Batch) -> Tensor:
    """Numbers of tokens of the responses, at least 1, shape (B,)."""
    return batch.mask.sum(1).clamp(min=1)


def _method(name: str, *names: str) -> TuningMethod:
    if name not in names:
        raise ConfigError(f"expected method to be one of {', '.join(names)}, got {name!r}.")
    return TUNING_METHODS[name]


def _those_with(takes: str) -> list[str]:
    return [name for name, method in TUNING_METHODS.items() if method.takes == takes]


def _check_lengths(policy: Policy, responses: Sequence[Response]) -> None:
    longest = max((len(r.prompt_tokens) + len(r.tokens) for r in responses), default=0)
    if longest > policy.language.context:
        raise ConfigError(
            f"expected prompt and response of at most {policy.language.context} tokens, the "
            f"context of {policy.language.source}, got {longest}; shorten them."
        )
