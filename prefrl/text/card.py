"""The model card: how a model was made, in the model's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefrl.text.config import AlignConfig, config_as_json
from prefrl.text.sft_config import SftConfig, sft_config_as_json

__all__ = ["Example", "card", "sft_card"]

Example = tuple[str, str, str]
"""A prompt, a response before and one after."""

_PATHS = ("prompts", "data", "init", "demonstrations", "pretraining")


def card(config: AlignConfig, summary: dict[str, Any], examples: Sequence[Example]) -> str:
    """The text of ``README.md`` beside a model.

    Args:
        config: Config of the run.
        summary: Summary of the run.
        examples: Prompts with a response before and one after.
    """
    settings = _settings(config_as_json(config))
    how = (
        "It is the model that it began as: the best of several responses is taken by the reward "
        "ensemble in `reward/`."
        if config.method == "best-of-n"
        else f"It was fine-tuned by {config.method}."
    )
    lines = [
        *_head(f"{settings['model']}, aligned by comparisons", "rlhf"),
        f"{how}{_origin(config.init)}{_answers(config, summary, settings['gold'] or 'vader')} "
        f"{summary['responses']} responses were sampled, seed {config.seed}. "
        f"Made with prefrl {summary['versions']['prefrl']}.",
        "",
        "| | before | after |",
        "| --- | --- | --- |",
    ]
    for what, name in (
        ("gold score", "gold"), ("learned score", "score"), ("KL, nats", "kl")
    ):  # fmt: skip
        lines.append(f"| {what} | {_figure(summary, name, 'before')} | "
                     f"{_figure(summary, name, 'after')} |")  # fmt: skip
    lines += ["", f"Means over {summary['eval_prompts']} prompts ± their standard error.", ""]
    lines += [*_examples(examples), *_shown(settings)]
    return "\n".join(lines)


def sft_card(config: SftConfig, summary: dict[str, Any], examples: Sequence[Example]) -> str:
    """The text of ``README.md`` beside a model that was fine-tuned on demonstrations.

    Args:
        config: Config of the run.
        summary: Summary of the run.
        examples: Prompts with a response before and one after.
    """
    settings, cut = _settings(sft_config_as_json(config)), ""
    if summary["cut"]:
        cut = f" {summary['cut']}, those held out included, were cut to {config.max_tokens} tokens."
    lines = [
        *_head(f"{settings['model']}, fine-tuned on demonstrations", "sft"),
        f"It was fine-tuned on {summary['examples']} demonstrations in {summary['steps']} gradient "
        f"steps, seed {config.seed}.{_origin(config.init)}{cut} Prompts were not "
        f"learned. Made with prefrl {summary['versions']['prefrl']}.",
        "",
    ]
    before, after = summary["eval_loss_before"], summary["eval_loss_after"]
    if after is not None:
        lines += [
            f"Held-out loss, the mean over {summary['eval_examples']} demonstrations of the nats "
            f"per token: {before:.3f} before, {after:.3f} after.",
            "",
        ]
    lines += [*_examples(examples), *_shown(settings)]
    return "\n".join(lines)


def _head(title: str, tag: str) -> list[str]:
    about = ["---", "library_name: transformers", f"tags: [prefrl, {tag}]", "---"]
    return [*about, "", f"# {title}", ""]


def _origin(init: Path | None) -> str:
    """Names the earlier stage that it started from, if there is one."""
    return f" It began as what an earlier stage left in `{init.name}`." if init else ""


def _answers(config: AlignConfig, summary: dict[str, Any], gold: str) -> str:
    """Describes the comparisons: those that were asked for, and those that existed."""
    who = {
        "synthetic": f"a synthetic oracle that goes by `{gold}`",
        "human": "people",
        "mixed": f"people, and a synthetic oracle that goes by `{gold}`",
        "ai": f"the model `{config.judge.model or Path(config.judge.local or '').name}` as judge",
    }[config.oracle]
    n_given, said = summary["given"], ""
    if config.labels > 0:
        n_asked = summary["labels"] - n_given
        said += f" {n_asked} comparisons of its responses were answered by {who}."
    if config.data is not None:
        said += f" {n_given} comparisons were given in `{config.data.name}`."
    return said


def _examples(examples: Sequence[Example]) -> list[str]:
    if not examples:
        return []
    lines = ["## Examples", ""]
    for prompt, before, after in examples[:5]:
        for what, text in (("prompt", prompt), ("before", before), ("after", after)):
            lines.append(f"- {what}: {json.dumps(text, ensure_ascii=False)}")
        lines.append("")
    return lines


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings without run, judge and store; paths of local files become names."""
    names = ("model", "gold", *_PATHS)
    told = {name: _last_part(content[name]) for name in names if content.get(name)}
    # The judge is named above; the addresses of the judge and of the answers stay private.
    left_out = ("run", "judge", "store")
    return {name: value for name, value in (content | told).items() if name not in left_out}


def _last_part(name: str) -> str:
    """The last part of an absolute path; names of models and modules unchanged."""
    return Path(name).name if Path(name).is_absolute() else name


def _shown(settings: dict[str, Any]) -> list[str]:
    return ["## Settings", "", "```json", json.dumps(settings, indent=1), "```", ""]


def _figure(summary: dict[str, Any], what: str, when: str) -> str:
    value, error = summary[f"{what}_{when}"], summary[f"{what}_{when}_error"]
    if value is None:
        return "not known"
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
