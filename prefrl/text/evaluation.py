"""Compares what models write: win rates, and how well the reward model predicts them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prefrl.core.comparisons import Answer
from prefrl.core.ensemble import member_preferences
from prefrl.core.intervals import Z95
from prefrl.core.winning import (
    Calibration,
    Interval,
    bradley_terry,
    calibration,
    length_controlled,
    win_rate,
)
from prefrl.errors import ConfigError, NotEnoughDataError, RunDirectoryError
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.judge.asking import Judge, JudgeAwayError, SpentError, UnreadableError
from prefrl.runtime.judge.config import Task, judge_name
from prefrl.runtime.judge.server import Server
from prefrl.runtime.judge.serving import cache_of
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.versions import installed_versions
from prefrl.runtime.rundir.weights import latest_weights, newest_version, put_into
from prefrl.runtime.rundir.writing import write_atomically
from prefrl.text.config import AlignConfig, align_config_from_json
from prefrl.text.gold import load_gold
from prefrl.text.judging import chooser_for
from prefrl.text.nets.generate import sample_responses
from prefrl.text.nets.models import LanguageModel, load_model
from prefrl.text.responses import Prompt, Response
from prefrl.text.start import new_reward, prompts_of, starting_model

__all__ = ["Comparing", "compare_models"]

_CHUNK = 32
_OUTCOMES = {Answer.LEFT: 1.0, Answer.TIE: 0.5, Answer.RIGHT: 0.0}
_START = "start"
_METRICS = ("win_rate", "length_controlled_win_rate")

Told = tuple[float | None, str]
"""An outcome, or None if there is none, and its reason."""


@dataclass(frozen=True)
class Comparing:
    """Settings of a comparison of models."""

    against: tuple[str, ...] = ()
    """Other models and runs; by default the run's starting model."""
    judge: Task | None = None
    """The judge's task; None if the gold score decides."""
    gold: str | None = None
    """Name of the gold score, used without a judge."""
    seed: int = 0
    """Seed of the responses."""


def compare_models(
    run: RunDirectory, comparing: Comparing, *, told: Callable[[str], None] = lambda words: None
) -> dict[str, Any]:
    """Compares a run's model with others on the held-out prompts, and writes the results.

    Each model writes a response to each prompt that the run has kept for its evaluation. All
    models are compared with each other. The results are in ``RUN/comparison``.

    Args:
        run: A finished run.
        comparing: The other models, and the judge.
        told: Called with a description of each step.

    Returns:
        The content of ``results.json``.

    Raises:
        RunDirectoryError: If the run has no model yet.
        ConfigError: If a model cannot be loaded, or the judge cannot be asked.
        NotEnoughDataError: If no comparison with one of the models has an outcome.
    """
    began = time.monotonic()
    if not (run.model / "config.json").is_file():
        raise RunDirectoryError(
            f"expected a finished run, but {run.root} has no model yet; continue it "
            f"with prefrl resume {run.root}."
        )
    config = align_config_from_json(run.read_json(run.config))
    against = comparing.against or (_START,)
    names = [run.root.name, *_distinct([run.root.name], against)]
    written = []
    for name, place in zip(names, (str(run.root), *against), strict=True):
        told(f"sampling from {name}")
        written.append(_responses(config, place, comparing.seed))
    told("comparing")
    found = _compare_all(run, comparing, names, written)
    reward = _reward_of(config, run, written)
    results = _results(config, comparing, names, written, found, reward)
    results["total_evaluation_time_seconds"] = f"{time.monotonic() - began:.1f}"
    folder = run.root / "comparison"
    folder.mkdir(exist_ok=True)
    _write_samples(folder, names, written, found)
    run.write_json(folder / "results.json", results)
    return results


def _distinct(taken: Sequence[str], places: Sequence[str]) -> list[str]:
    """Short names for the places, all different."""
    names = list(taken)
    for place in places:
        name = Path(place).name or place
        n = 2
        while name in names:
            name, n = f"{Path(place).name}-{n}", n + 1
        names.append(name)
    return names[len(taken) :]


def _responses(config: AlignConfig, place: str, seed: int) -> list[Response]:
    """Samples a model's response to each evaluation prompt."""
    device = choose_devices(config.device)[0]
    language = _model(config, place)
    language.model.to(torch.device(device))
    prompts = prompts_of(config, language)[1]
    generator = torch.Generator().manual_seed(seed)
    found: list[Response] = []
    for start in range(0, len(prompts), _CHUNK):
        chunk = prompts[start : start + _CHUNK]
        found += sample_responses(language, chunk, config=config.sampling, generator=generator)
    return found


def _model(config: AlignConfig, place: str) -> LanguageModel:
    if place == _START:
        return starting_model(config)
    other = RunDirectory(place)
    if other.model.is_dir():
        return load_model(str(other.model))
    if other.config.is_file() and other.versions.is_file():
        raise ConfigError(
            f"expected a finished run in --against, but {place} has no model yet; "
            f"continue it with prefrl resume {place}."
        )
    return load_model(place)


Found = Mapping[tuple[int, int], list[Told]]
"""By the positions of two models: the first one's outcome for each prompt."""


def _compare_all(
    run: RunDirectory,
    comparing: Comparing,
    names: Sequence[str],
    written: Sequence[Sequence[Response]],
) -> Found:
    pairs = list(itertools.combinations(range(len(names)), 2))
    if comparing.judge is not None:
        return asyncio.run(_ask_judge(run, comparing.judge, pairs, written))
    assert comparing.gold is not None
    gold = load_gold(comparing.gold)
    golds = [[gold(response.text) for response in told] for told in written]
    return {
        (i, j): [(_outcome(a, b), "") for a, b in zip(golds[i], golds[j], strict=True)]
        for i, j in pairs
    }


def _outcome(ours: float, theirs: float) -> float:
    return 0.5 if ours == theirs else float(ours > theirs)


async def _ask_judge(
    run: RunDirectory,
    task: Task,
    pairs: Sequence[tuple[int, int]],
    written: Sequence[Sequence[Response]],
) -> Found:
    run.judge.mkdir(exist_ok=True)
    chooser = chooser_for(task, cache_of(run, "evaluation"))
    judge = Judge(chooser, both=task.config.orders == "both")

    async def ask(ours: Response, theirs: Response) -> Told:
        if ours.text == theirs.text:
            return 0.5, "the same text"
        try:
            verdict = await judge.compare(ours, theirs)
        except (UnreadableError, SpentError) as error:
            return None, str(error)
        return _OUTCOMES.get(verdict.answer), verdict.reason

    try:
        return {(i, j): await asyncio.gather(*map(ask, written[i], written[j])) for i, j in pairs}
    except JudgeAwayError as error:
        raise ConfigError(
            f"expected the judge to answer, but {error} What it has said is kept: the same command "
            "continues from there."
        ) from error
    finally:
        if isinstance(chooser, Server):
            await chooser.close()


Probability = Callable[[Sequence[int], int], NDArray[np.float64]]
"""From positions of prompts and of a model to P(the first model's response is better)."""


def _reward_of(
    config: AlignConfig, run: RunDirectory, written: Sequence[Sequence[Response]]
) -> Probability | None:
    """Preferences of the run's reward ensemble; None if the run has no reward."""
    if newest_version(run.reward) is None:
        return None
    language = starting_model(config)
    reward = new_reward(config, language, shares=True, is_fitted=True)
    put_into(reward, latest_weights(run.reward))
    prompts, longest = prompts_of(config, language)[1], config.sampling.max_new_tokens
    read = [
        [_as_read_by(language, *pair, longest) for pair in zip(prompts, told, strict=True)]
        for told in written
    ]

    def probability(prompts: Sequence[int], place: int) -> NDArray[np.float64]:
        lefts, rights = ([read[model][i] for i in prompts] for model in (0, place))
        preferences = member_preferences(reward, lefts, rights)
        return np.asarray(preferences.mean(0).double().numpy())

    return probability


def _as_read_by(
    language: LanguageModel, prompt: Prompt, response: Response, longest: int
) -> Response:
    """Converts a response to the ids of a language model.

    Args:
        language: Language model that reads it.
        prompt: The prompt in the reader's ids.
        response: The response in its writer's ids; if these are the same, it stays as it is.
        longest: Most ids that the writer was allowed; a response of this length was cut off.
    """
    same = response.prompt_tokens == prompt.tokens
    if same and language.reads(response.tokens, response.text):
        return response
    told = language.response(prompt, response.text, closes=len(response.tokens) < longest)
    if not told.tokens:  # an empty text: its end token is all that there is to read
        told = language.response(prompt, response.text)
    return replace(told, tokens=told.tokens[: language.context - len(prompt.tokens)])


def _results(
    config: AlignConfig,
    comparing: Comparing,
    names: Sequence[str],
    written: Sequence[Sequence[Response]],
    found: Found,
    reward: Probability | None,
) -> dict[str, Any]:
    """Results in the layout of lm-evaluation-harness, so that both fit into one table."""
    results, samples = dict[str, Any](), dict[str, Any]()
    for place in range(1, len(names)):
        told = found[0, place]
        kept = [i for i, (outcome, _) in enumerate(told) if outcome is not None]
        if not kept:
            raise NotEnoughDataError(
                f"expected comparisons with {names[place]}, got none: {told[0][1]}; give the judge "
                "more calls or tokens."
            )
        outcomes = np.array([told[i][0] for i in kept], np.float64)
        longer = [len(written[0][i].text) - len(written[place][i].text) for i in kept]
        task = f"win_rate_vs_{names[place]}"
        results[task] = {
            "alias": task,
            **_figures("win_rate", win_rate(outcomes)),
            **_figures(
                "length_controlled_win_rate", length_controlled(outcomes, np.array(longer, float))
            ),
            "longer_by_chars,none": float(np.mean(longer)),
        }
        if reward is not None:
            results[task] |= _of_reward(calibration(reward(kept, place), outcomes))
        samples[task] = {"original": len(told), "effective": len(kept)}
    results |= _elo(names, found)
    tasks = list(samples)
    judge = comparing.judge
    return {
        "results": results,
        "configs": {task: {"task": task, "output_type": "generate_until"} for task in tasks},
        "versions": dict.fromkeys(tasks, 1),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: dict.fromkeys(_METRICS, True) for task in tasks},
        "n-samples": samples,
        "config": {
            "model": "hf",
            "model_args": f"pretrained={names[0]}",
            "gen_kwargs": asdict(config.sampling),
            "random_seed": comparing.seed,
            "judge": judge_name(judge.config) if judge else f"gold {comparing.gold}",
            "orders": judge.config.orders if judge else None,
            "rubric_ver": judge.rubric_ver if judge else None,
        },
        "date": time.time(),
        "prefrl_versions": installed_versions(),
    }


def _elo(names: Sequence[str], found: Found) -> dict[str, Any]:
    """Elo of three or more models, over the prompts with an outcome for each pair of models."""
    n_prompts = len(next(iter(found.values())))
    whole = [i for i in range(n_prompts) if all(t[i][0] is not None for t in found.values())]
    if len(names) < 3 or not whole:
        return {}
    table = {
        (names[i], names[j]): np.array([told[k][0] for k in whole], np.float64)
        for (i, j), told in found.items()
    }
    strengths = bradley_terry(names, table)
    return {
        f"elo_{name}": {"alias": f"elo_{name}", **_figures("elo", elo)}
        for name, elo in strengths.items()
    }


def _figures(name: str, interval: Interval) -> dict[str, float]:
    """A metric and its interval, named as in lm-evaluation-harness: ``METRIC,FILTER``."""
    error = (interval.high - interval.low) / (2 * Z95)
    return {
        f"{name},none": interval.value,
        f"{name}_stderr,none": error,
        f"{name}_low,none": interval.low,
        f"{name}_high,none": interval.high,
    }


def _of_reward(found: Calibration | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        **_figures("reward_acc", found.accuracy),
        "reward_ece,none": found.ece,
        "reward_calibration": [list(one) for one in found.bins],
    }


def _write_samples(
    folder: Path, names: Sequence[str], written: Sequence[Sequence[Response]], found: Found
) -> None:
    """Writes each comparison with the run's model as lm-evaluation-harness logs samples."""
    for place in range(1, len(names)):
        lines = []
        for i, (outcome, reason) in enumerate(found[0, place]):
            ours, theirs = written[0][i], written[place][i]
            lines.append(
                {
                    "doc_id": i,
                    "doc": {"prompt": ours.prompt},
                    "resps": [[ours.text], [theirs.text]],
                    "win_rate": outcome,
                    "reason": reason,
                }
            )
        content = "".join(json.dumps(line) + "\n" for line in lines)
        path = folder / f"samples_win_rate_vs_{names[place]}.jsonl"
        write_atomically(path, content.encode())
