"""The forms of preference data sets, and how each is converted to one of ours.

::

    {"chosen": "…Human: …Assistant: …", "rejected": …}            Anthropic's HH-RLHF
    {"info", "summaries": [{"text"}, {"text"}], "choice"}         OpenAI's summaries
    {"history", "human_ref_A", "human_ref_B", "labels"}           Stanford's SHP
    {"prompt", "answers": [{"answer", "rank"}, …]}                Nectar
    {"prompt", "response_0", "response_1", "better_response_id"}  PKU-SafeRLHF
    {"question", "response_j", "response_k"}                      StackExchange pairs of StackLLaMA

Other forms are mapped by ``DataConfig``, which names their columns for ours.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prefrl.errors import ConfigError
from prefrl.text.data.sources import SourceConfig

__all__ = ["DataConfig", "Seen", "in_our_form", "places_of"]

_COLUMNS = ("prompt", "chosen", "rejected", "completion", "label", "system", "preference")
_OURS = frozenset((*_COLUMNS[:-1], "messages", "text", "response", "responses", "ranks", "scores"))
_SAID = ("chosen", "rejected", "completion", "response", "messages")
_ONLY_OURS = frozenset(("chosen", "completion", "response", "responses", "messages"))
_LABELS = {"true": True, "false": False}
_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """How data is read: which part of it, which columns, and what to do with long examples."""

    prompt: str | None = None
    """Name of the column of prompts, if not prompt."""
    chosen: str | None = None
    """Name of the column of better responses, if not chosen."""
    rejected: str | None = None
    """Name of the column of worse responses, if not rejected."""
    completion: str | None = None
    """Name of the column of single responses, if not completion."""
    label: str | None = None
    """Name of the column that says whether single responses are good, if not label."""
    system: str | None = None
    """Name of the column of system messages, if not system."""
    preference: str | None = None
    """Column with P(chosen is better) of pairs, in [0, 1]: a soft preference, for the reward and
    for dpo. Below one half the other response is better; one half is a tie."""
    margin: str | None = None
    """Column that says by how much chosen is better, or a difference of two columns, such as
    score_chosen-score_rejected: the margin that the scores should keep (Touvron et al. 2023)."""
    too_long: Literal["refuse", "drop", "cut-prompt", "cut-response"] = "refuse"
    """What to do with examples that are longer than the model's context. cut-prompt keeps the end
    of the prompt, cut-response the beginning of the response."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.too_long not in ("refuse", "drop", "cut-prompt", "cut-response"):
            raise ConfigError(
                "expected too_long to be refuse, drop, cut-prompt or cut-response, got "
                f"{self.too_long!r}."
            )

    @property
    def is_soft(self) -> bool:
        """Whether strengths of preferences are read."""
        return self.preference is not None or self.margin is not None

    @property
    def mapping(self) -> dict[str, str]:
        """The data's own names of columns, by ours."""
        told = {name: getattr(self, name) for name in _COLUMNS}
        return {ours: theirs for ours, theirs in told.items() if theirs is not None}


@dataclass
class Seen:
    """What was found while reading data."""

    forms: Counter[str] = field(default_factory=Counter)
    """Number of rows of each form."""
    unread: set[str] = field(default_factory=set)
    """Columns that nothing was read from."""


@dataclass(frozen=True)
class _Form:
    """A form of another project's data."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], bool], dict[str, Any]]
    holds: Callable[[Mapping[str, Any]], bool] = lambda row: True
    """Whether the contents of the columns have this form; other data may use the same names."""

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has this form, and no column of ours, which would take precedence."""
        ours = row.keys() & _ONLY_OURS or ("prompt" in row and "prompt" not in self.columns)
        return not ours and all(column in row for column in self.columns) and self.holds(row)


def in_our_form(row: Any, where: str, config: DataConfig, seen: Seen, *, chat: bool = False) -> Any:
    """Converts a row to one of our forms, with its system message before the prompt.

    Args:
        row: The row as read; anything but an object is returned as it is.
        where: Its place in the data, for errors.
        config: Names of the columns.
        seen: Records what was found.
        chat: Whether transcripts become conversations, and prompts of other forms a user's
            message, without the words around it that a plain language model needs.

    Raises:
        ConfigError: If a column that the mapping names is missing, or a part of the form is.
    """
    if not isinstance(row, dict):
        return row
    mapping = config.mapping
    missing = [mapping[ours] for ours in mapping if ours != "system" and mapping[ours] not in row]
    if missing:
        raise ConfigError(
            f"expected the column {missing[0]} in {where}, got {', '.join(row)}; name one of these."
        )
    if mapping:
        others = {k: v for k, v in row.items() if k not in mapping.values()}
        row = others | {ours: row[theirs] for ours, theirs in mapping.items() if theirs in row}
    is_mapped = bool(mapping.keys() - {"system", "preference"})
    form = None if is_mapped else next((form for form in _FORMS if form.fits(row)), None)
    if form is None and _is_transcript(row):
        form = _TRANSCRIPT
    read = _OURS if form is None else {*form.columns, "system"}
    seen.forms[_name_of(row) if form is None else form.name] += 1
    soft = {"preference", config.margin, *(config.margin or "").split("-")}
    seen.unread.update(k for k in row if k not in read and not (config.is_soft and k in soft))
    strength = {"strength": _strength(row, where, config)} if config.is_soft else {}
    try:
        told = _ours(row) if form is None else form.read(row, chat) | {"system": row.get("system")}
        told = told | strength
        return _with_system(told) if told.get("system") else told
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        name = "messages of text" if form is None else form.name
        raise ConfigError(
            f"expected {name} in {where}, got {json.dumps(row, default=str)[:120]}; fix this row, "
            "or leave it out."
        ) from error


def _strength(row: Mapping[str, Any], where: str, config: DataConfig) -> tuple[float, float]:
    """P(chosen is better), and the least margin of the better one.

    Raises:
        ConfigError: If a column is missing, or does not hold such a number.
    """
    try:
        return _told_strength(row, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            "expected a number in [0, 1] as data.preference, and a finite one as data.margin, in "
            f"{where}, got {json.dumps(row, default=str)[:120]}; name the columns that hold them."
        ) from error


def _told_strength(row: Mapping[str, Any], config: DataConfig) -> tuple[float, float]:
    margin = 0.0
    if config.margin is not None and config.margin in row:
        margin = float(row[config.margin])
    elif config.margin is not None:
        better, _, worse = config.margin.partition("-")
        margin = float(row[better]) - float(row[worse])
    preference = float(margin >= 0) if config.preference is None else float(row["preference"])
    if not (0 <= preference <= 1 and math.isfinite(margin)):
        raise ValueError
    return preference, abs(margin)


def places_of(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Ranks of the responses of a ranking, from its ranks or scores: the lowest is the best.

    Raises:
        KeyError: If it has neither.
        TypeError: If they are not a list of numbers.
        ValueError: If one is not a number.
    """
    if "ranks" in row:
        return tuple(map(float, row["ranks"]))
    return tuple(-float(score) for score in row["scores"])


def _ours(row: dict[str, Any]) -> dict[str, Any]:
    """Converts the label of a row from text, as tables of texts hold it."""
    label = row.get("label")
    return row | {"label": _LABELS.get(label.lower(), label)} if isinstance(label, str) else row


def _name_of(row: Mapping[str, Any]) -> str:
    for name, columns in (
        ("single responses", ("label",)), ("pairs", ("chosen",)), ("rankings", ("responses",)),
        ("conversations", ("messages",)), ("prompts with a completion", ("completion",)),
        ("plain texts", ("text",)),
    ):  # fmt: skip
        if all(column in row for column in columns):
            return name
    return "prompts" if "prompt" in row else "no known form"


def _is_transcript(row: Mapping[str, Any]) -> bool:
    both = row.get("chosen"), row.get("rejected")
    return "prompt" not in row and all(isinstance(t, str) and _ANSWER in t for t in both)


def _transcript(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """The common beginning of both transcripts, and the assistant's reply to it in each."""
    chosen, rejected = row["chosen"], row["rejected"]
    end = chosen.rfind(_ANSWER) + len(_ANSWER)
    while not rejected.startswith(chosen[:end]):
        place = chosen.rfind(_ANSWER, 0, end - 1)
        if place < 0:
            raise ValueError
        end = place + len(_ANSWER)
    # Later turns are not part of the reply.
    sides = [_TURN.split(told[end:], maxsplit=1)[0] for told in (chosen, rejected)]
    return _pair(_conversation(chosen[:end]) if chat else chosen[:end], *sides, chat=chat)


def _conversation(transcript: str) -> list[dict[str, str]]:
    """The turns of a transcript that ends where an assistant should answer."""
    _, *parts = _TURN.split(transcript)
    turns = zip(parts[::2], parts[1::2], strict=True)
    said = [{"role": _ROLES[who], "content": text.strip()} for who, text in turns]
    return said[:-1]


def _pair(prompt: Any, chosen: str, rejected: str, *, chat: bool = False) -> dict[str, Any]:
    sides = [side.strip() if chat else side for side in (chosen, rejected)]
    return {"prompt": prompt, "chosen": sides[0], "rejected": sides[1]}


def _better_of(told: Any) -> int:
    """Converts 0 or 1, also from text, as tables of texts hold it."""
    place = int(told) if isinstance(told, str) else told
    if place not in (0, 1):
        raise ValueError
    return int(place)


def _summaries(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    info, choice = row["info"], _better_of(row["choice"])
    texts = [summary["text"] for summary in row["summaries"]]
    if len(texts) != 2:
        raise ValueError
    if info.get("post"):
        head = f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {info['title']}\n\nPOST: {info['post']}"
    else:
        head = f"Article:\n\n{info['article']}"
    prompt = f"{head}\n\nTL;DR:"
    return _pair(prompt, texts[choice], texts[1 - choice], chat=chat)


def _shp(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    sides = row["human_ref_A"], row["human_ref_B"]
    better = 1 - _better_of(row["labels"])  # 1 says that A is preferred
    return _pair(row["history"], sides[better], sides[1 - better])


def _are_ranked(row: Mapping[str, Any]) -> bool:
    answers = row["answers"]
    return isinstance(answers, list) and all(
        isinstance(answer, dict) and {"answer", "rank"} <= answer.keys() for answer in answers
    )


def _nectar(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    prompt, answers = row["prompt"], row["answers"]
    if chat and _ANSWER in prompt:
        prompt = _conversation(prompt)
    texts = [answer["answer"] for answer in answers]
    return {"prompt": prompt, "responses": texts, "ranks": [answer["rank"] for answer in answers]}


def _pku(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    better = _better_of(row["better_response_id"])
    sides = row["response_0"], row["response_1"]
    return _pair(row["prompt"], sides[better], sides[1 - better])


def _stack(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    asked = row["question"]
    if not isinstance(asked, str):
        raise TypeError
    prompt = asked if chat else f"Question: {asked}\n\nAnswer: "
    return _pair(prompt, row["response_j"], row["response_k"])


_TRANSCRIPT = _Form("Anthropic's HH-RLHF", ("chosen", "rejected"), _transcript)
_FORMS = (
    _Form("OpenAI's summaries", ("info", "summaries", "choice"), _summaries),
    _Form("Stanford's SHP", ("history", "human_ref_A", "human_ref_B", "labels"), _shp),
    _Form("Nectar", ("prompt", "answers"), _nectar, _are_ranked),
    _Form(
        "PKU-SafeRLHF, by the better response",
        ("prompt", "response_0", "response_1", "better_response_id"),
        _pku,
    ),
    _Form("StackExchange pairs", ("question", "response_j", "response_k"), _stack),
)


def _with_system(row: dict[str, Any]) -> dict[str, Any]:
    """Puts the system message before the prompt, and before conversations that begin with it."""
    first, prompt = {"role": "system", "content": row["system"]}, row.get("prompt")
    several = row.get("responses", [])
    said = {k: row[k] for k in _SAID if k in row}
    sides = [side for side in (*said.values(), *several) if isinstance(side, list)]
    if isinstance(prompt, str) and not any(m.get("role") == "user" for s in sides for m in s):
        return row | {"prompt": [first, {"role": "user", "content": prompt}]}
    begin = prompt if isinstance(prompt, list) else []

    def led(side: Any) -> Any:
        begins = isinstance(side, list) and side[: len(begin)] == begin
        return _led(first, side) if begins else side

    told = row | {name: led(side) for name, side in said.items()}
    if several:
        told["responses"] = [led(side) for side in several]
    return told | {"prompt": led(prompt)} if begin else told


def _led(first: dict[str, str], messages: list[dict[str, str]]) -> list[dict[str, str]]:
    has_one = bool(messages) and messages[0].get("role") == "system"
    return messages if has_one else [first, *messages]
