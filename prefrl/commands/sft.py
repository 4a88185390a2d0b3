"""``prefrl sft``: language models that learn from demonstrations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markup import escape

from prefrl.commands.console import console
from prefrl.commands.progress import SftProgress
from prefrl.commands.stopping import show_stopped
from prefrl.runtime.roles.parallel import check_alone
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.sft import Amounts, SftResult, resume_sft, sft
from prefrl.text.sft_config import SFT, SftConfig, sft_config_from_json

__all__ = ["Sft", "is_sft", "resume_sft_run", "start_sft"]


@dataclass(frozen=True)
class Sft:
    """Fine-tunes a language model on demonstrations."""

    config: Annotated[SftConfig, tyro.conf.arg(name="")]
    """The training."""
    preset: Literal["auto", "default", "cpu", "tiny", "instructgpt", "stackllama"] = "auto"
    """Settings to start from; --help then shows them as defaults. auto takes cpu for smollm2, tiny
    for tiny, else default; instructgpt is Ouyang et al. 2022, stackllama Beeching et al. 2023."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A YAML file with options under the names shown here, such as "labels: 100". The command line
    overrides the file, and the file overrides the preset."""
    save_config: Path | None = None
    """Write the given options to a file for --config, and do nothing else."""


def is_sft(run: RunDirectory) -> bool:
    """Whether a run is a fine-tuning on demonstrations."""
    return run.read_json(run.config).get("method") == SFT


def start_sft(command: Sft) -> None:
    """Fine-tunes a model, and shows the result."""
    _work(functools.partial(sft, command.config), command.config)


def resume_sft_run(run: RunDirectory) -> None:
    """Continues a fine-tuning that was stopped, and shows the result."""
    config = sft_config_from_json(run.read_json(run.config))
    _work(functools.partial(resume_sft, run), config)


def _work(begin: Callable[..., SftResult], config: SftConfig) -> None:
    check_alone("prefrl sft")
    with SftProgress(console=console) as progress:

        def on_begin(amounts: Amounts) -> None:
            console.print(escape(amounts.recognised), soft_wrap=True)
            console.print(_describe(amounts, config), soft_wrap=True)
            progress.begin(amounts.n_steps)

        result = begin(
            on_begin=on_begin,
            on_step=progress.update,
            on_agent=lambda status: progress.hear(status, None),
            on_sampling=lambda: progress.say("sampling before and after"),
        )
    _show(config, result)


def _describe(amounts: Amounts, config: SftConfig) -> str:
    told = f"{amounts.n_examples:,} demonstrations to learn from, {amounts.n_held_out:,} held out"
    if amounts.n_cut:
        told += f"; {amounts.n_cut:,} were cut to {config.max_tokens:,} tokens"
    return told


def _show(config: SftConfig, result: SftResult) -> None:
    root = result.run.root
    if not result.finished:
        show_stopped(result.run)
        return
    from prefrl.report.text_page import write_text_report

    page, summary = write_text_report(result.run), result.summary
    loss = f"loss {summary['loss']:.3f} in the last epoch"
    if summary["eval_loss_after"] is not None:
        loss = (
            f"held-out loss {summary['eval_loss_before']:.3f} before, "
            f"[bold green]{summary['eval_loss_after']:.3f}[/] after"
        )
    console.print(
        f"\n[bold]{config.model}[/] by {SFT}: {loss}, from {summary['examples']:,} demonstrations "
        f"in {summary['steps']:,} steps and {summary['wall_seconds']:.0f} s.\n",
        soft_wrap=True,
    )
    for label, path in (("report", page), ("model", result.run.model)):
        console.print(f"  {label:<8} {path}", soft_wrap=True)
    console.print(
        "\nNext: open the report in a browser; or let it learn what people prefer, as in\n"
        f"  prefrl align {config.model} --init {root} --prompts FILE",
        soft_wrap=True,
    )
