"""Supervised fine-tuning on demonstrations, from a config to a run directory: in one process."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prefrl.errors import RunDirectoryError
from prefrl.runtime.devices import choose_devices, use_cpu
from prefrl.runtime.roles.role import Heartbeat, RoleStatus, StopSignal, only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint, taking_up
from prefrl.runtime.rundir.saving import HAS_STOPPED, saving
from prefrl.runtime.rundir.tables import CsvTable, Metrics, read_rows, seconds_in
from prefrl.runtime.rundir.versions import about_this_release, installed_versions
from prefrl.runtime.rundir.writing import write_atomically
from prefrl.text.card import Example, sft_card
from prefrl.text.data.demonstrations import Demonstrations, as_examples, read_demonstrations
from prefrl.text.data.forms import Seen
from prefrl.text.data.items import described
from prefrl.text.finish import save_policy
from prefrl.text.methods.finetune import demonstration_loss, on_demonstrations
from prefrl.text.nets.adapters import dropping_out
from prefrl.text.nets.generate import sample_responses
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Prompt, Response, digest_of
from prefrl.text.sft_config import SFT, SftConfig, sft_config_as_json, sft_config_from_json
from prefrl.text.start import load_start

__all__ = ["Amounts", "SftResult", "resume_sft", "sft"]

_log = logging.getLogger(__name__)
_ROLE = "agent"
_LARGEST_SHARE_HELD_OUT = 10  # one in ten
_SHOWN = 16
_BEGINNING = 8  # tokens of a plain text that serve as a prompt
_EVALUATION_SEED = 1_000_003


@dataclass(frozen=True)
class Amounts:
    """Amounts of data and of work."""

    n_examples: int
    """Demonstrations to learn from."""
    n_held_out: int
    """Demonstrations that are held out to measure the loss."""
    n_cut: int
    """How many of both were cut."""
    n_steps: int
    """Gradient steps."""
    recognised: str = ""
    """Description of what was recognised in the data."""


@dataclass(frozen=True)
class SftResult:
    """The result of a fine-tuning."""

    run: RunDirectory
    """The run directory."""
    summary: dict[str, Any]
    """The content of ``summary.json``; empty when it was stopped before its end."""

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return bool(self.summary)


@dataclass(frozen=True)
class _Caller:
    """The caller's callbacks, and when it began."""

    on_begin: Callable[[Amounts], None]
    on_step: Callable[[Metrics], None]
    on_agent: Callable[[RoleStatus], None]
    on_sampling: Callable[[], None]
    began: float


def sft(
    config: SftConfig,
    *,
    on_begin: Callable[[Amounts], None] = lambda amounts: None,
    on_step: Callable[[Metrics], None] = lambda row: None,
    on_agent: Callable[[RoleStatus], None] = lambda status: None,
    on_sampling: Callable[[], None] = lambda: None,
) -> SftResult:
    """Fine-tunes a language model on demonstrations, and writes the run directory.

    SIGTERM and Ctrl-C save and stop; ``resume_sft`` continues.

    Args:
        config: Config of the run.
        on_begin: Called before the first step.
        on_step: Called with each new row of metrics.
        on_agent: Called with each new status of the training.
        on_sampling: Called when all steps are taken, before samples are drawn.

    Returns:
        The run directory and its summary.

    Raises:
        PrefrlError: Before anything is written, if the config or the data cannot work.
    """
    use_cpu(config.threads)
    caller = _Caller(on_begin, on_step, on_agent, on_sampling, time.monotonic())
    training = _Training(config)
    run = RunDirectory.create(config.run_path)
    run.write_json(run.versions, about_this_release())
    run.write_json(run.config, sft_config_as_json(config))
    with only_one(run, _ROLE), StopSignal() as stop:
        return _work(training, run, stop, caller)


def resume_sft(
    run: RunDirectory,
    *,
    on_begin: Callable[[Amounts], None] = lambda amounts: None,
    on_step: Callable[[Metrics], None] = lambda row: None,
    on_agent: Callable[[RoleStatus], None] = lambda status: None,
    on_sampling: Callable[[], None] = lambda: None,
) -> SftResult:
    """Continues a run that was stopped or killed; the arguments are those of ``sft``.

    Raises:
        RunDirectoryError: If the run is finished, or its data has changed.
        RoleError: If another process works on it.
    """
    run.check_unfinished()
    config = sft_config_from_json(run.read_json(run.config))
    run.make_folders()
    began = time.monotonic() - seconds_in(run.metrics)
    caller = _Caller(on_begin, on_step, on_agent, on_sampling, began)
    use_cpu(config.threads)
    with only_one(run, _ROLE), StopSignal() as stop:
        return _work(_Training(config), run, stop, caller)


class _Training:
    """A model, its demonstrations, and the gradient steps on them."""

    def __init__(self, config: SftConfig) -> None:
        self.config = config
        self.device = choose_devices(config.device)[0]
        seen, options = Seen(), config.data_options
        told = read_demonstrations(config.data, options, chat=config.chat, seen=seen)
        language = load_start(config.model, config.init, self.device)
        found = as_examples(
            told,
            language,
            max_tokens=config.max_tokens,
            chat=config.chat,
            too_long=options.too_long,
        )
        self.n_cut, self.recognised = found.n_cut, _recognised(config, seen, found, language)
        self._digest = digest_of(found.examples)
        self.examples, self.held_out = _divided(found.examples, config)
        # Samples are drawn at the end, by the saved model: no copy for sampling is needed here.
        self.policy = Policy(
            language,
            train_layers=config.train_layers,
            fast_sampling=False,
            lora=config.lora,
            seed=config.seed,
        )
        self.steps = on_demonstrations(
            self.policy, self.examples, config=config.finetune, seed=config.seed
        )

    @property
    def amounts(self) -> Amounts:
        """Amounts of data and of work."""
        n_each = len(self.examples), len(self.held_out), self.n_cut
        return Amounts(*n_each, self.steps.total_steps, self.recognised)

    @property
    def evaluates_now(self) -> bool:
        """Whether the held-out loss is measured after the current step."""
        n, total, times = self.steps.n_steps, self.steps.total_steps, self.config.evaluations
        return n == 0 or n * times // total > (n - 1) * times // total

    def step(self) -> dict[str, float]:
        """Takes a gradient step, with dropout in the adapters."""
        if not self.config.lora.used:
            return self.steps.step()
        seed = self.config.seed * 1_000_003 + self.steps.n_steps
        with dropping_out(self.policy.model, seed=seed):
            return self.steps.step()

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """The held-out loss, in nats per token; NaN if nothing is held out."""
        if not self.held_out:
            return math.nan
        size, total = self.config.finetune.microbatch, 0.0
        for start in range(0, len(self.held_out), size):
            part = self.held_out[start : start + size]
            total += len(part) * float(demonstration_loss(self.policy, part))
        return total / len(self.held_out)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"steps": self.steps.state_dict(), "data": self._digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state.

        Raises:
            RunDirectoryError: If the demonstrations have changed since.
        """
        if state["data"] != self._digest:
            raise RunDirectoryError(
                f"expected the demonstrations that the run began with, but {self.config.data} has "
                "changed since; bring them back, or start a new run."
            )
        self.steps.load_state_dict(state["steps"])


def _recognised(
    config: SftConfig, seen: Seen, found: Demonstrations, language: LanguageModel
) -> str:
    """Describes what was recognised in the data, with the first example as it will be learned."""
    counts = Counter({"too long": found.n_dropped, "cut": found.n_cut})
    first: list[tuple[str, str]] = []
    for example in found.examples[:1]:
        tokens = ("prompt", example.prompt_tokens), ("learned", example.tokens)
        first = [(what, str(language.tokenizer.decode(list(ids)))) for what, ids in tokens]
    return described(str(config.data), seen, counts, first)


def _divided(examples: list[Response], config: SftConfig) -> tuple[list[Response], list[Response]]:
    """Splits demonstrations into training and held-out ones, drawn by the seed."""
    n_held_out = min(config.eval_examples, len(examples) // _LARGEST_SHARE_HELD_OUT)
    generator = torch.Generator().manual_seed(config.seed)
    drawn = set(torch.randperm(len(examples), generator=generator)[:n_held_out].tolist())
    kept = [example for place, example in enumerate(examples) if place not in drawn]
    held_out = [examples[place] for place in sorted(drawn)]
    return kept, sorted(held_out, key=lambda e: len(e.prompt_tokens) + len(e.tokens))


def _work(training: _Training, run: RunDirectory, stop: StopSignal, caller: _Caller) -> SftResult:
    heartbeat = Heartbeat(run, _ROLE, tell=caller.on_agent)
    heartbeat.beat("starting", step=0, total_steps=training.steps.total_steps)
    trained = (run.model / "config.json").is_file()  # killed while samples were drawn
    if not trained:
        _Loop(training, run, stop, heartbeat, caller).run()
        if not training.steps.done:
            return SftResult(run=run, summary={})
        save_policy(training.policy.language, run)
    heartbeat.beat("sampling")
    caller.on_sampling()
    return _finish(training, run, caller.began)


class _Loop:
    """Takes gradient steps until they are done or it is told to stop; logs and saves meanwhile."""

    def __init__(
        self,
        training: _Training,
        run: RunDirectory,
        stop: StopSignal,
        heartbeat: Heartbeat,
        caller: _Caller,
    ) -> None:
        self._training, self._run, self._stop = training, run, stop
        self._heartbeat, self._caller = heartbeat, caller
        self._n_rows, self._earlier_seconds = 0, 0.0
        self._take_up()
        self._started = self._saved_at = time.monotonic()
        self._metrics = CsvTable(run.metrics, keep=self._n_rows)
        caller.on_begin(training.amounts)

    def run(self) -> None:
        """Trains until all steps are taken, or it is told to stop."""
        steps = self._training.steps
        if self._n_rows == 0:
            self._log(math.nan)
        while not (steps.done or self._stop.requested):
            self._log(self._training.step()["loss"])
            if self._is_save_due():
                self._save()
        if not steps.done:
            self._save()
            self._heartbeat.beat(HAS_STOPPED)

    def _log(self, loss: float) -> None:
        training, steps = self._training, self._training.steps
        row: Metrics = {
            "step": steps.n_steps,
            "examples": self._n_examples_seen(),
            "loss": loss,
            "eval_loss": training.held_out_loss() if training.evaluates_now else math.nan,
            "learning_rate": steps.learning_rate if steps.n_steps else 0.0,
            "wall_seconds": self._seconds(),
        }
        self._n_rows += 1
        self._metrics.append(row)
        self._heartbeat.beat("learning", step=steps.n_steps)
        self._caller.on_step(row)

    def _n_examples_seen(self) -> int:
        steps, n_examples = self._training.steps, len(self._training.examples)
        epochs, place = divmod(steps.n_steps, steps.per_epoch)
        return epochs * n_examples + place * self._training.config.finetune.batch_size

    def _is_save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._training.config.checkpoint_seconds

    def _save(self) -> None:
        """Writes a checkpoint. A full disk does not end the run: the older checkpoints stay."""
        self._heartbeat.beat("saving")
        about = {"n_rows": self._n_rows, "seconds": self._seconds()}
        with saving(self._heartbeat, f"step {self._training.steps.n_steps:,}"):
            save_checkpoint(self._run.checkpoints, self._training.state_dict() | about)
        self._saved_at = time.monotonic()

    def _take_up(self) -> None:
        checkpoint = load_checkpoint(self._run.checkpoints)
        if checkpoint is None:
            return
        with taking_up(checkpoint):
            state = checkpoint.state
            self._training.load_state_dict(state)
            self._n_rows, self._earlier_seconds = state["n_rows"], state["seconds"]
        self._heartbeat.beat(saved=f"step {self._training.steps.n_steps:,}")
        _log.info("continuing from checkpoint %d", checkpoint.number)

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


def _finish(training: _Training, run: RunDirectory, began: float) -> SftResult:
    """Samples from the models before and after, and writes the card and the summary."""
    config, device = training.config, training.device
    examples: list[Example] = []
    before = load_start(config.model, config.init, device)
    prompts = _prompts_to_show(training, before)
    if prompts:
        after = load_start(str(run.model), None, device)
        pairs = zip(_drawn(before, prompts, config), _drawn(after, prompts, config), strict=True)
        examples = [(old.prompt, old.text, new.text) for old, new in pairs]
    summary = _summary(training, run) | {"wall_seconds": round(time.monotonic() - began, 1)}
    rows = [{"prompt": p, "before": old, "after": new} for p, old, new in examples]
    write_atomically(run.examples, json.dumps(rows, indent=1).encode())
    write_atomically(run.model / "README.md", sft_card(config, summary, examples).encode())
    run.write_json(run.summary, summary)
    return SftResult(run=run, summary=summary)


def _prompts_to_show(training: _Training, language: LanguageModel) -> list[Prompt]:
    """Different prompts with room for a response, held-out ones first."""
    room = language.context - training.config.sampling.max_new_tokens
    prompts: dict[tuple[int, ...], Prompt] = {}
    for example in training.held_out or training.examples:
        tokens, text = example.prompt_tokens, example.prompt
        if not text:  # plain text: one token would be too short a prompt
            tokens += example.tokens[: min(_BEGINNING, len(example.tokens)) - 1]
            text = language.decode(tokens)
        if len(tokens) <= room:
            prompts.setdefault(tokens, Prompt(text, tokens))
    return list(prompts.values())[:_SHOWN]


def _drawn(language: LanguageModel, prompts: Sequence[Prompt], config: SftConfig) -> list[Response]:
    generator = torch.Generator().manual_seed(config.seed + _EVALUATION_SEED)
    return sample_responses(language, prompts, config=config.sampling, generator=generator)


def _summary(training: _Training, run: RunDirectory) -> dict[str, Any]:
    config, amounts = training.config, training.amounts
    rows = read_rows(run.metrics)
    before, after = (float(rows[place]["eval_loss"]) for place in (0, -1))
    epoch = [float(row["loss"]) for row in rows[-training.steps.per_epoch :]]
    return {
        "model": config.model,
        "method": SFT,
        "seed": config.seed,
        "examples": amounts.n_examples,
        "eval_examples": amounts.n_held_out,
        "cut": amounts.n_cut,
        "tokens": sum(len(example.tokens) for example in training.examples),
        "epochs": config.finetune.epochs,
        "steps": amounts.n_steps,
        "loss": sum(epoch) / len(epoch),
        "eval_loss_before": before if math.isfinite(before) else None,
        "eval_loss_after": after if math.isfinite(after) else None,
        "versions": installed_versions(),
    }
