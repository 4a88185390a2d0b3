"""The card of a model: how it was made, in the folder that it lies in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from prefrl.text.config import AlignConfig, config_as_json

__all__ = ["card"]


def card(
    config: AlignConfig, summary: dict[str, Any], examples: Sequence[tuple[str, str, str]]
) -> str:
    """The text of ``README.md`` beside a model.

    Args:
        config: What was done.
        summary: What it came to.
        examples: Prompts with a response before and one after.
    """
    who = {
        "synthetic": f"a synthetic oracle that goes by `{config.gold_name}`",
        "human": "people",
        "mixed": f"people, and a synthetic oracle that goes by `{config.gold_name}`",
    }[config.oracle]
    how = (
        "It is the model that it began as: the best of several responses is taken by the reward "
        "ensemble in `reward/`."
        if config.method == "best-of-n"
        else f"It was fine-tuned by {config.method}."
    )
    lines = [
        "---",
        "library_name: transformers",
        "tags: [prefrl, rlhf]",
        "---",
        "",
        f"# {config.model}, aligned by comparisons",
        "",
        f"{how} {summary['labels']} comparisons of its responses were answered by {who}, over "
        f"{summary['responses']} sampled responses, seed {config.seed}. Made with "
        f"prefrl {summary['versions']['prefrl']}.",
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
    lines += ["## Examples", ""]
    for prompt, before, after in examples[:5]:
        for what, text in (("prompt", prompt), ("before", before), ("after", after)):
            lines.append(f"- {what}: {json.dumps(text, ensure_ascii=False)}")
        lines.append("")
    settings = {
        k: v for k, v in config_as_json(config).items() if k not in ("run", "prompts", "init")
    }
    lines += ["## Settings", "", "```json", json.dumps(settings, indent=1), "```", ""]
    return "\n".join(lines)


def _figure(summary: dict[str, Any], what: str, when: str) -> str:
    value, error = summary[f"{what}_{when}"], summary[f"{what}_{when}_error"]
    if value is None:
        return "not known"
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
