"""``prefrl align``, new or resumed: language models on the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markup import escape

from prefrl.commands.console import console, errors
from prefrl.commands.page import PageConfig, page_for, serving
from prefrl.commands.progress import AlignProgress
from prefrl.commands.stopping import show_stopped
from prefrl.runtime.roles.parallel import launched_as
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import Metrics
from prefrl.runtime.rundir.troubles import troubles_of
from prefrl.text.config import AlignConfig, align_config_from_json
from prefrl.text.finish import AlignResult
from prefrl.text.train import align, resume_alignment

__all__ = ["Align", "is_text", "resume_align", "start_align"]

_FEWER_END = 0.2
"""By how much the share of responses that end must fall for a warning."""


@dataclass(frozen=True)
class Align:
    """Aligns a language model with comparisons of its responses."""

    config: Annotated[AlignConfig, tyro.conf.arg(name="")]
    """The training."""
    preset: Literal[
        "auto", "default", "cpu", "tiny", "lm-human-preferences", "instructgpt", "n-plus",
        "stackllama",
    ] = "auto"  # fmt: skip
    """Settings to start from; --help then shows them as defaults. auto takes cpu for smollm2, tiny
    for tiny, else default; lm-human-preferences is Ziegler et al. 2019, instructgpt Ouyang et al.
    2022, n-plus Huang et al. 2024, stackllama Beeching et al. 2023."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A YAML file with options under the names shown here, such as "labels: 100". The command line
    overrides the file, and the file overrides the preset."""
    save_config: Path | None = None
    """Write the given options to a file for --config, and do nothing else."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer."""


def is_text(run: RunDirectory) -> bool:
    """Whether a run is about a language model."""
    return "method" in run.read_json(run.config)


def start_align(command: Align) -> None:
    """Aligns a model, and shows the result."""
    config = command.config
    if launched_as()[0] > 0:  # only the first process of a launch prints
        align(config)
        return
    page = page_for(command.page, asks_people=config.asks_people)
    begin = functools.partial(align, config, on_data=_show_data)
    _work(begin, config, page)


def _show_data(told: str) -> None:
    console.print(escape(told), soft_wrap=True)


def resume_align(run: RunDirectory, told: PageConfig) -> None:
    """Continues an alignment that was stopped, and shows the result."""
    config = align_config_from_json(run.read_json(run.config))
    if launched_as()[0] > 0:
        resume_alignment(run)
        return
    page = page_for(told, asks_people=config.asks_people, run=run)
    _work(functools.partial(resume_alignment, run), config, page)


def _work(begin: Callable[..., AlignResult], config: AlignConfig, page: PageConfig | None) -> None:
    total = config.n_batches * config.batch
    labels = config.labels if config.data is None else None
    with AlignProgress(total, labels, console=console) as progress:

        def beside(run: RunDirectory) -> Sequence[RoleCommand]:
            roles = serving(page, run)  # prints its link, above the progress
            progress.start()
            return roles

        if config.sync:
            progress.start()

        def update(row: Metrics) -> None:
            progress.update(row)
            progress.warn(
                troubles_of(RunDirectory(config.run_path), total_steps=None, finished=False)
            )

        result = begin(
            on_rollout=update,
            on_agent=progress.hear,
            beside=beside,
            on_evaluation=lambda share: progress.say(f"evaluating: {share:.0%}"),
        )
    _show(config, result)


def _show(config: AlignConfig, result: AlignResult) -> None:
    root = result.run.root
    if not result.finished:
        show_stopped(result.run)
        return
    from prefrl.report.text_page import write_text_report

    page, summary = write_text_report(result.run), result.summary
    for trouble in troubles_of(result.run, total_steps=None, finished=True):
        errors.print(trouble.text, style="yellow", markup=False, soft_wrap=True)
    console.print(
        f"\n[bold]{config.model}[/] by {config.method}: {_change(summary)}a KL of "
        f"{summary['kl_after']:.1f} nats, from {summary['labels']} labels and "
        f"{summary['responses']:,} responses in {summary['wall_seconds']:.0f} s.\n",
        soft_wrap=True,
    )
    if summary["reward_version"] == 0 and not config.tunes_on_answers:
        why = "all may be skips, or the first fit came too late; ask for more labels, or sample"
        if summary["labels"] == 0:
            why = "nobody has answered, or the responses to each prompt are all alike; sample"
        errors.print(
            f"No reward was learned from {summary['labels']} labels, so nothing was improved: "
            f"{why} more responses.",
            style="yellow",
            soft_wrap=True,
        )
    if summary["ended_after"] < summary["ended_before"] - _FEWER_END:
        errors.print(
            f"Only {summary['ended_after']:.0%} of the responses end, compared with "
            f"{summary['ended_before']:.0%} before. The others are cut after "
            f"{config.sampling.max_new_tokens} tokens, so the reward never sees how they continue. "
            f"{_holds_back(config)} score them with --scoring.missing-score.",
            style="yellow",
            soft_wrap=True,
        )
    for label, path in (("report", page), ("model", result.run.model)):
        console.print(f"  {label:<8} {path}", soft_wrap=True)
    console.print(
        "\nNext: open the report in a browser; or continue from here, for example\n"
        f"  prefrl align {config.model} --init {root} --prompts {config.prompts}",
        soft_wrap=True,
    )


def _holds_back(config: AlignConfig) -> str:
    """Begins the advice: a larger KL penalty, if the method has one, or else more labels."""
    has_kl = config.method in ("ppo", "grpo", "rloo")
    return f"Raise --{config.method}.kl-coef, or" if has_kl else "Ask for more labels, or"


def _change(summary: Mapping[str, float | None]) -> str:
    """Returns the gold score before and after, or else the learned one, in words, or nothing."""
    for what, words in (("gold", "gold"), ("score", "learned score")):
        if summary[f"{what}_after"] is not None:
            before, after = (_figure(summary, what, when) for when in ("before", "after"))
            return f"{words} {before} before, [bold green]{after}[/] after, "
    return ""


def _figure(summary: Mapping[str, float | None], what: str, when: str) -> str:
    mean, error = summary[f"{what}_{when}"], summary[f"{what}_{when}_error"]
    return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"
