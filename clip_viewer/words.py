"""The server's messages to people, in their language.

``static/words/LANGUAGE.json`` has one entry for each message of pages and server. A value is a
sentence, or its plural forms; names in {braces} are filled in.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from prefrl.web.requests import Refusal

__all__ = ["LANGUAGES", "in_words", "language_of", "refused", "say"]

_FOLDER = Path(__file__).with_name("static") / "words"
_DEFAULT = "en"

LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))
"""Tags of the available languages."""


def language_of(accepted: str | None) -> str:
    """Returns the available language that a reader prefers.

    Args:
        accepted: The request's Accept-Language, such as ``de-CH, de;q=0.9, en;q=0.5``.
    """
    wanted = list[tuple[float, int, str]]()
    for place, part in enumerate((accepted or "").split(",")[:20]):
        tag, _, weight = part.partition(";q=")
        try:
            wanted.append((-float(weight or 1), place, tag.strip().split("-")[0].lower()))
        except ValueError:
            continue  # it does not name a language
    there = (tag for weight, _, tag in sorted(wanted) if weight < 0 and tag in LANGUAGES)
    return next(there, _DEFAULT)


def say(language: str, key: str, **values: object) -> str:
    """Returns one sentence of the server.

    Args:
        language: One of ``LANGUAGES``.
        key: Key of the sentence.
        values: Values of the names in braces.
    """
    return str(_words(language)[key]).format(**values)


def refused(
    status: int, key: str, headers: dict[str, str] | None = None, **values: object
) -> Refusal:
    """Makes a refusal that says why in the reader's language.

    Args:
        status: The HTTP status.
        key: Key of the sentence.
        headers: Headers of the response.
        values: Values of the names in braces.
    """
    return Refusal(status, say(_DEFAULT, key, **values), headers, key=key, **values)


def in_words(refusal: Refusal, accepted: str | None) -> str:
    """Returns why a request was refused, in the language that Accept-Language prefers."""
    if refusal.key is None:
        return str(refusal)
    return say(language_of(accepted), refusal.key, **refusal.values)


@functools.cache
def _words(language: str) -> dict[str, str]:
    words: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text("utf-8"))
    return words
