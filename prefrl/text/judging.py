"""Judging responses: what a server receives, and a judge that runs on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch

from prefrl.core.comparisons import Item
from prefrl.errors import ConfigError
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.judge.asking import Chooser, Part, SpentError, UnreadableError
from prefrl.runtime.judge.cache import Cache, Said, digest
from prefrl.runtime.judge.config import JudgeConfig, Task, task_for
from prefrl.runtime.judge.server import Server
from prefrl.runtime.judge.serving import try_judge
from prefrl.text.nets.layers import trunk_of
from prefrl.text.nets.models import LanguageModel, absolute_model, load_model

__all__ = ["Judged", "LocalJudge", "check_judge", "chooser_for", "parts_of", "responses_task"]

_TRIAL = ("Say hello.", "Hello!", "Goodbye!")
_QUESTION = "Which response is better? Answer with A or B.\nAnswer:"


class Judged(Item, Protocol):
    """An item to judge: a response to a prompt, or a text without one."""

    @property
    def prompt(self) -> str:
        """The prompt; empty if there is none."""

    @property
    def text(self) -> str:
        """The text."""


def parts_of(first: Judged, second: Judged) -> list[Part]:
    """All that is sent about two responses: their prompt and both texts."""
    return _parts(first.prompt, first.text, second.text)


def _parts(prompt: str, first: str, second: str) -> list[Part]:
    told = [("Response A", first), ("Response B", second)]
    if prompt:
        told.insert(0, ("Prompt", prompt))
    return [{"type": "text", "text": f"[{name}]\n{text}\n[End of {name}]"} for name, text in told]


def responses_task(
    judge: JudgeConfig, goal: str | None, kind: Literal["responses", "texts"] = "responses"
) -> Task:
    """Makes the task of a judge of responses or texts, once it has answered a first question.

    Args:
        judge: Settings of the judge; the path of a model's folder is made absolute.
        goal: What is wanted, in the words of whoever started the run.
        kind: Whether they are responses to prompts, or the user's own texts.

    Raises:
        ConfigError: If it does not answer, or cannot be loaded, or nothing says what is better.
        MissingExtraError: If the library that asks a server is missing.
    """
    local = None if judge.local is None else absolute_model(judge.local)
    task = task_for(replace(judge, local=local), kind, goal)
    check_judge(task)
    return task


def check_judge(task: Task) -> None:
    """Asks the judge one question before work starts.

    Raises:
        ConfigError: If it does not answer, or cannot be loaded.
    """
    if task.config.local is not None:
        LocalJudge(load_model(task.config.local), task, Cache(None))
        return
    try_judge(task, _parts(*_TRIAL))


def chooser_for(
    task: Task, cache: Cache, *, device: str = "auto", beat: Callable[[], None] = lambda: None
) -> Chooser:
    """Creates the judge of a task.

    Args:
        task: The judge's task.
        cache: Its earlier answers, and their cost.
        device: Device of a model that runs on this machine.
        beat: Called before each pass of such a model.
    """
    if task.config.local is None:
        return Server(task, parts_of, cache)
    language = load_model(task.config.local)
    language.model.to(torch.device(choose_devices(device)[0]))
    trunk_of(language.model).register_forward_pre_hook(lambda *told: beat())
    return LocalJudge(language, task, cache)


class LocalJudge:
    """A causal language model on this machine as judge: it says A if that is likelier than B.

    Args:
        language: The model. If its tokenizer has a chat template, questions are put in it.
        task: The rubric and the budget.
        cache: Counts the questions and keeps the answers.

    Raises:
        ConfigError: If its tokenizer has one token for both letters.
    """

    def __init__(self, language: LanguageModel, task: Task, cache: Cache) -> None:
        self._language, self._task, self._cache = language, task, cache
        tokenizer = language.tokenizer
        self._is_chat = bool(getattr(tokenizer, "chat_template", None))
        lead = "" if self._is_chat else " "
        ids = [tokenizer.encode(lead + letter, add_special_tokens=False) for letter in "AB"]
        # The first token in which the two differ tells them apart.
        places = [i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b]
        if not places:
            raise ConfigError(
                f"expected a model that tells A from B, but {task.config.local} has the same "
                "tokens for both; take another one."
            )
        self._free = asyncio.Lock()
        self._before, self._letters = ids[0][: places[0]], [told[places[0]] for told in ids]

    async def choose(self, first: Judged, second: Judged) -> Said:
        """As ``Chooser.choose``; it blocks the event loop during a pass."""
        tokens = self._tokens(first, second)
        key = digest({"local": self._task.config.local, "tokens": tokens})
        if (known := self._cache.get(key)) is not None:
            return known
        # One pass at a time; between two passes the event loop can run other tasks.
        async with self._free:
            await asyncio.sleep(0)
            return self._asked(key, tokens)

    def _asked(self, key: str, tokens: Sequence[int]) -> Said:
        config, cache = self._task.config, self._cache
        if config.max_calls is not None and cache.n_calls >= config.max_calls:
            raise SpentError(f"all {config.max_calls:,} calls are used up")
        if config.max_tokens is not None and cache.n_tokens >= config.max_tokens:
            raise SpentError(f"{cache.n_tokens:,} of {config.max_tokens:,} tokens are used up")
        longest = self._language.context
        if len(tokens) > longest:
            raise UnreadableError(
                f"the question has {len(tokens):,} tokens, and {config.local} reads {longest:,}."
            )
        a, b = self._logprobs(tokens)
        better = "tie" if a == b else "first" if a > b else "second"
        said = Said(better, f"log P(A) {a:.3f}, log P(B) {b:.3f}")
        cache.answered(key, said, tokens=len(tokens))
        return said

    def _tokens(self, first: Judged, second: Judged) -> list[int]:
        tokenizer = self._language.tokenizer
        shown = "\n\n".join(part["text"] for part in parts_of(first, second))
        question = f"{self._task.rubric}\n\n{shown}\n\n{_QUESTION}"
        if not self._is_chat:
            return [*tokenizer.encode(question), *self._before]
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return [*tokenizer.encode(text, add_special_tokens=False), *self._before]

    @torch.no_grad()
    def _logprobs(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Log-probabilities of the two letters after the question."""
        model: Any = self._language.model
        batch = torch.tensor([list(tokens)], device=next(model.parameters()).device)
        logits = model(input_ids=batch).logits[0, -1].float()
        a, b = torch.log_softmax(logits, dim=-1)[self._letters].tolist()
        return a, b
