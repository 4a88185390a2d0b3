"""The end of a run: the model in a Hugging Face folder with a card, the evaluation, the summary."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prefrl.core.store import LabelStore
from prefrl.core.store.labels import DATASET
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.tally import tally_of
from prefrl.runtime.rundir.versions import installed_versions
from prefrl.runtime.rundir.weights import latest_weights, newest_version, put_into
from prefrl.runtime.rundir.writing import write_atomically
from prefrl.text.card import card
from prefrl.text.config import AlignConfig
from prefrl.text.gold import Gold
from prefrl.text.methods.best_of_n import best_of_n_curve
from prefrl.text.nets.adapters import plain, save_adapters
from prefrl.text.nets.generate import sample_responses
from prefrl.text.nets.logprobs import collate, sequence_logprobs
from prefrl.text.nets.models import LanguageModel, load_model
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.nets.scoring import scores_of
from prefrl.text.responses import Prompt, Response
from prefrl.text.rows import has_ended
from prefrl.text.start import gold_of, new_reward, prompts_of, starting_model

__all__ = ["AlignResult", "finish_run", "save_policy"]

_EVALUATION_SEED = 1_000_003
_CHUNK = 32
_SHOWN = 16


@dataclass(frozen=True)
class AlignResult:
    """The result of an alignment."""

    run: RunDirectory
    """The run directory."""
    summary: dict[str, Any]
    """The content of ``summary.json``; empty when it was stopped before its end."""

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return bool(self.summary)


@dataclass(frozen=True)
class _Judged:
    """Responses to the prompts of the evaluation, in the order of the prompts."""

    responses: list[Response]
    golds: NDArray[np.float64]
    scores: NDArray[np.float64]
    kls: NDArray[np.float64]
    ended: NDArray[np.bool_]


def save_policy(language: LanguageModel, run: RunDirectory) -> None:
    """Writes the model for ``from_pretrained``; the folder is complete or absent.

    Adapters are merged into the model, and also written to ``adapter``.
    """
    if hasattr(language.model, "peft_config"):
        save_adapters(language.model, run.root / "adapter")
    made = run.root / ".model.tmp"
    shutil.rmtree(made, ignore_errors=True)
    plain(language.model).save_pretrained(made)
    language.tokenizer.save_pretrained(made)
    made.replace(run.model)


def finish_run(
    config: AlignConfig, run: RunDirectory, *, on_share: Callable[[float], None], began: float
) -> AlignResult:
    """Evaluates the model before and after, and writes its card and the summary.

    Args:
        config: Config of the run.
        run: The run directory.
        on_share: Called with the share of the evaluation that is done.
        began: When the run began, by ``time.monotonic``.

    Raises:
        RunDirectoryError: If the model or the reward's weights are missing.
    """
    device = choose_devices(config.device)[0]
    reference, gold = starting_model(config, device), gold_of(config)
    reward = None
    if newest_version(run.reward) is not None:
        reward = new_reward(config, reference, shares=True).to(device)
        put_into(reward, latest_weights(run.reward))
    policy = load_model(str(run.model))
    policy.model.to(torch.device(device))
    prompts = prompts_of(config, reference)[1]
    judge = _Judge(config, reference, reward, gold)
    before = judge.look_at(reference, prompts, config.eval_responses)
    on_share(0.3)
    if config.method == "best-of-n":
        many = judge.look_at(reference, prompts, config.n)
        curve = best_of_n_curve(many.scores, many.golds, config.n)
        after = _best(many, config.n)
    else:
        after, curve = judge.look_at(policy, prompts, config.eval_responses), None
    on_share(0.9)
    summary = _summary(config, run, before, after) | ({"best_of_n": curve} if curve else {})
    summary["wall_seconds"] = round(time.monotonic() - began, 1)
    examples = _examples(before, after, config.eval_responses)
    rows = [{"prompt": p, "before": old, "after": new} for p, old, new in examples]
    write_atomically(run.examples, json.dumps(rows, indent=1).encode())
    write_atomically(run.model / "README.md", card(config, summary, examples).encode())
    run.write_json(run.summary, summary)
    on_share(1.0)
    return AlignResult(run=run, summary=summary)


class _Judge:
    """Samples and judges responses; the draws are the same for the same model and number."""

    def __init__(
        self,
        config: AlignConfig,
        reference: LanguageModel,
        reward: TextReward | None,
        gold: Gold | None,
    ) -> None:
        self._config = config
        self._reference = reference
        self._reward = reward
        self._gold = gold

    def look_at(self, language: LanguageModel, prompts: Sequence[Prompt], n: int) -> _Judged:
        """Samples and judges n responses to each prompt."""
        config = self._config
        generator = torch.Generator().manual_seed(config.seed + _EVALUATION_SEED)
        repeated = [prompt for prompt in prompts for _ in range(n)]
        responses: list[Response] = []
        kls: list[float] = []
        for start in range(0, len(repeated), _CHUNK):
            chunk = repeated[start : start + _CHUNK]
            drawn = sample_responses(language, chunk, config=config.sampling, generator=generator)
            responses += drawn
            kls += self._kls(language, drawn)
        scores = torch.full((len(responses),), math.nan)
        if self._reward is not None:
            scores = scores_of(self._reward, self._reference, responses, config.scoring)[1]
        gold = self._gold or (lambda text: math.nan)
        golds = np.array([gold(response.text) for response in responses])
        ended = np.array([has_ended(response, language.end_tokens) for response in responses])
        return _Judged(responses, golds, scores.double().numpy(), np.array(kls), ended)

    @torch.no_grad()
    def _kls(self, language: LanguageModel, responses: list[Response]) -> list[float]:
        """Unbiased estimates of the KL to the reference: the log-ratio of each response."""
        batch = collate(responses, next(language.model.parameters()).device)
        temperature = self._config.sampling.temperature
        ours = sequence_logprobs(language, batch, temperature=temperature)
        theirs = sequence_logprobs(self._reference, batch, temperature=temperature)
        ratios: list[float] = (ours - theirs).tolist()
        return ratios


def _best(many: _Judged, n: int) -> _Judged:
    """The response with the highest score among the n to each prompt."""
    chosen = many.scores.reshape(-1, n).argmax(1) + n * np.arange(len(many.scores) // n)
    # KL of the best of n to the reference: Stiennon et al. 2020 (arXiv 2009.01325), appendix G.3.
    kl = math.log(n) - (n - 1) / n
    return _Judged(
        [many.responses[i] for i in chosen],
        many.golds[chosen],
        many.scores[chosen],
        np.full(len(chosen), kl),
        many.ended[chosen],
    )


def _mean_and_error(values: NDArray[np.float64], n_prompts: int) -> tuple[float, float]:
    """Mean, and its standard error over prompts."""
    means = values.reshape(n_prompts, -1).mean(1)
    error = float(means.std(ddof=1) / math.sqrt(n_prompts)) if n_prompts > 1 else math.nan
    return float(means.mean()), error


def _summary(
    config: AlignConfig, run: RunDirectory, before: _Judged, after: _Judged
) -> dict[str, Any]:
    rows = read_rows(run.metrics)
    n_prompts = len(before.responses) // config.eval_responses
    row, tally = rows[-1], tally_of(run)
    summary: dict[str, Any] = {
        "model": config.model,
        "method": config.method,
        "seed": config.seed,
        "sync": config.sync,
        "gold": config.gold_name,
        "labels": tally.labels,
        "given": _n_given(run),
        "dropped": int(row["dropped"]),
        "responses": int(row["responses"]),
        "reward_version": tally.reward_version,
        "eval_prompts": n_prompts,
    }
    for name, judged in (("before", before), ("after", after)):
        for what, values in (("gold", judged.golds), ("score", judged.scores), ("kl", judged.kls)):
            mean, error = _mean_and_error(values, n_prompts)
            summary[f"{what}_{name}"] = mean if math.isfinite(mean) else None
            summary[f"{what}_{name}_error"] = error if math.isfinite(error) else None
        lengths = [len(response.tokens) for response in judged.responses]
        summary[f"length_{name}"] = float(np.mean(lengths))
        summary[f"ended_{name}"] = float(judged.ended.mean())
    fits = read_rows(run.fits)  # the policy's own table may be a fit behind
    accuracy = float(fits[-1]["holdout_accuracy"]) if fits else math.nan
    summary["reward_accuracy_holdout"] = accuracy if math.isfinite(accuracy) else None
    return summary | {"versions": installed_versions()}


def _n_given(run: RunDirectory) -> int:
    """Number of labels that came from existing data, so that nobody was asked for them."""
    with LabelStore(run.label_store) as store:
        return len({e.query_id for e in store.events() if e.annotator_id == DATASET})


def _examples(before: _Judged, after: _Judged, per_prompt: int) -> list[tuple[str, str, str]]:
    """The first prompts, each with a response before and one after."""
    n_after = len(after.responses) // (len(before.responses) // per_prompt)
    pairs = zip(before.responses[::per_prompt], after.responses[::n_after], strict=True)
    return [(old.prompt, old.text, new.text) for old, new in pairs][:_SHOWN]
