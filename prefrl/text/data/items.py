"""Data as a model sees it: tokens, cut to the model's context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from prefrl.errors import ConfigError
from prefrl.text.data.forms import Seen
from prefrl.text.data.prompts import PromptText
from prefrl.text.data.records import Preferences
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Prompt, Response, same_ids

__all__ = ["Items", "as_items", "described", "fitted"]

_AT_ONCE = 1024  # rows whose texts are tokenised together, on all cores
_SHOWN = 160  # characters of an example
_TOO_LONG, _CUT, _EMPTY, _EQUAL = "too long", "cut", "empty", "equal"


@dataclass
class Items:
    """Judged responses of data, as tokens."""

    rankings: list[tuple[list[Response], tuple[float, ...]]] = field(default_factory=list)
    """Responses to one prompt, at least two of them different, and their ranks: the lowest is the
    best."""
    strengths: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By the position of a pair in ``rankings``: P(its first response is better) and the margin."""
    labelled: list[tuple[Response, bool]] = field(default_factory=list)
    """Single responses, and whether they are good."""
    counts: Counter[str] = field(default_factory=Counter)
    """Numbers of rows that were too long, equal or cut, or had an empty response."""


@dataclass(frozen=True)
class _Row:
    """Responses to one prompt."""

    prompt: PromptText
    texts: tuple[str, ...]
    where: str


def as_items(
    preferences: Preferences,
    language: LanguageModel,
    *,
    chat: bool = False,
    too_long: str = "refuse",
    beat: Callable[[], None] = lambda: None,
) -> Items:
    """Converts preferences to tokens; drops empty responses and rows that compare nothing.

    Args:
        preferences: Preferences that were read.
        language: Language model that will read them.
        chat: Whether prompts that are texts are a user's messages.
        too_long: What to do with rows that are longer than its context; see ``DataConfig``.
        beat: Called repeatedly meanwhile.

    Raises:
        ConfigError: If a row is too long and this is refused, or a prompt does not fit the model's
            template: with its place in the file.
    """
    items, rankings = Items(), preferences.comparable()
    n_rows = len(preferences.rankings)
    # Pairs of single responses are not counted: each of these responses is counted once, below.
    for part, counts in ((rankings[:n_rows], items.counts), (rankings[n_rows:], Counter[str]())):
        rows = [_Row(one.prompt, one.responses, one.where) for one in part]
        tokenised = _tokenised(rows, language, counts, chat=chat, too_long=too_long)
        for found, ranking in zip(tokenised, part, strict=True):
            beat()
            kept = [one for one in zip(found, ranking.ranks, strict=False) if one[0].text.strip()]
            if len({response.tokens for response, _ in kept}) > 1:
                if ranking.strength is not None:
                    items.strengths[len(items.rankings)] = ranking.strength
                items.rankings.append(([r for r, _ in kept], tuple(rank for _, rank in kept)))
            elif found and len(kept) == len(found):
                counts[_EQUAL] += 1
            if len(kept) < len(found):
                counts[_EMPTY] += 1
    rows = [_Row(one.prompt, (one.response,), one.where) for one in preferences.labelled]
    single = _tokenised(rows, language, items.counts, chat=chat, too_long=too_long)
    for found, one in zip(single, preferences.labelled, strict=True):
        beat()
        if found and found[0].text.strip():
            items.labelled.append((found[0], one.is_good))
        elif found:
            items.counts[_EMPTY] += 1
    return items


def _tokenised(
    rows: Sequence[_Row],
    language: LanguageModel,
    counts: Counter[str],
    *,
    chat: bool,
    too_long: str,
) -> Iterator[list[Response]]:
    """Yields the responses of each row; none if it is dropped because it is too long."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        texts = [text for row in part for text in row.texts]
        ids = iter(language.tokenizer(texts, add_special_tokens=False)["input_ids"])
        for row, prompt in zip(part, _prompts(language, part, chat=chat), strict=True):
            said = [language.response_of(prompt, text, same_ids(next(ids))) for text in row.texts]
            found, how = fitted(said, language, too_long=too_long, where=row.where)
            counts.update(how)
            yield found


def _prompts(language: LanguageModel, rows: Sequence[_Row], *, chat: bool) -> list[Prompt]:
    try:
        prompts = language.prompts([row.prompt for row in rows], chat=chat)
    except ConfigError:  # finds out which one, below
        prompts = [_prompt(language, row, chat=chat) for row in rows]
    return [replace(prompt, tokens=same_ids(prompt.tokens)) for prompt in prompts]


def _prompt(language: LanguageModel, row: _Row, *, chat: bool) -> Prompt:
    try:
        return language.prompt(row.prompt, chat=chat)
    except ConfigError as error:
        raise ConfigError(f"{row.where}: {error}") from error


def fitted(
    said: list[Response],
    language: LanguageModel,
    *,
    too_long: str,
    where: str,
    room: int | None = None,
) -> tuple[list[Response], tuple[str, ...]]:
    """Makes responses to one prompt fit into a model's context.

    Args:
        said: Responses, at least one.
        language: The model.
        too_long: refuse, drop, cut-prompt or cut-response.
        where: Their place in the data, for errors.
        room: Most tokens of prompt and response together; by default all of the context.

    Returns:
        The responses, none if they are dropped; and what was done: nothing, "cut" or "too long".

    Raises:
        ConfigError: If they do not fit and this is refused.
    """
    room = language.context if room is None else room
    n_prompt, longest = len(said[0].prompt_tokens), max(len(r.tokens) for r in said)
    if n_prompt + longest <= room:
        return said, ()
    if too_long == "refuse":
        raise ConfigError(
            f"{where} has {n_prompt + longest} tokens of prompt and response, but the context of "
            f"{language.source} holds {language.context}; shorten it, or take --data.too-long "
            "drop, cut-prompt or cut-response."
        )
    if too_long == "cut-prompt" and longest < room:
        left = said[0].prompt_tokens[longest - room :]
        shown = language.decode(left)
        cut = [replace(r, prompt=shown, prompt_tokens=left, messages=()) for r in said]
        return cut, (_CUT,)
    if too_long == "cut-response" and n_prompt < room:
        return [_shortened(r, language, room - n_prompt) for r in said], (_CUT,)
    return [], (_TOO_LONG,)


def _shortened(response: Response, language: LanguageModel, n_tokens: int) -> Response:
    if len(response.tokens) <= n_tokens:
        return response
    tokens = response.tokens[:n_tokens]
    return replace(response, tokens=tokens, text=language.decode(tokens))


def described(
    source: str, seen: Seen, counts: Counter[str], examples: Sequence[tuple[str, str]]
) -> str:
    """Describes what was recognised in data, with the first example as it will be learned.

    Args:
        source: Its name.
        seen: What was found while reading it.
        counts: Numbers of rows that were dropped or cut, by reason.
        examples: Name and text of each part of the example.
    """
    forms = ", ".join(f"{n:,} {'row' if n == 1 else 'rows'} of {f}" for f, n in seen.forms.items())
    told = [f"{source}: {forms}"]
    dropped = [f"{counts[why]:,} {why}" for why in (_TOO_LONG, _EMPTY, _EQUAL) if counts[why]]
    if dropped:
        told.append(f"dropped: {', '.join(dropped)}")
    if counts[_CUT]:
        told.append(f"cut: {counts[_CUT]:,}")
    if seen.unread:
        told.append(f"not read: {', '.join(sorted(seen.unread))}")
    lines = [f"  {what:<8} {_shortly(text)}" for what, text in examples]
    return "\n".join(["; ".join(told), *lines])


def _shortly(text: str) -> str:
    told = repr(text)[1:-1]
    return told if len(told) <= _SHOWN else f"{told[: _SHOWN // 2]} … {told[-_SHOWN // 2 :]}"
