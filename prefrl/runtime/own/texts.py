"""The user's own texts, from lines of JSON, a table, or plain lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError

__all__ = ["Text", "read_texts"]

_LONGEST = 50_000  # characters: nobody compares longer ones on a screen
_LARGEST = 256 * 2**20  # bytes
_KEYS = ("text", "response", "completion")
_SHAPE = 'a text, or an object with "text" and, if there are any, "prompt" and "name"'


@dataclass(frozen=True)
class Text:
    """A text to compare."""

    name: str
    """Its name; by default the number of its line."""
    prompt: str
    """The prompt that it responds to; may be empty."""
    text: str
    """The text."""

    @property
    def id(self) -> str:
        """The name, which is unique among what is compared."""
        return self.name


def read_texts(path: Path) -> list[Text]:
    """Reads the texts of a file.

    Args:
        path: ``.jsonl`` has a text or an object in each line; ``.csv`` and ``.tsv`` are tables with
            a heading; any other file has one text per line. Objects and tables have "text" (or
            "response", "completion") and, if there are any, "prompt" and "name".

    Returns:
        At least two texts.

    Raises:
        ConfigError: If the file cannot be read like this.
    """
    reader = _READERS.get(path.suffix.lower(), _lines)
    texts = dict[str, Text]()
    for line, told in reader(path, _content(path)):
        text = _text(path, line, told)
        if text.name in texts:
            raise ConfigError(
                f"expected a name for each text, but {text.name!r:.80} comes twice in {path}, the "
                f"second time in line {line}."
            )
        texts[text.name] = text
    if len(texts) < 2:
        raise ConfigError(
            f"expected at least two texts to compare in {path}, found {len(texts) or 'none'}."
        )
    return list(texts.values())


def _content(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError(f"expected a file of texts, but {path} is a folder.")
        size = path.stat().st_size
        if size > _LARGEST:
            raise ConfigError(
                f"expected at most {_LARGEST // 2**20} MiB of texts, but {path} has "
                f"{size // 2**20}; choose some of them."
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"expected texts at {path}, but {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected texts in UTF-8 at {path}, but {error}.") from error


def _text(path: Path, line: int, told: Any) -> Text:
    if isinstance(told, str):
        told = {"text": told}
    key = next((key for key in _KEYS if key in told), None) if isinstance(told, Mapping) else None
    if key is None:
        raise ConfigError(f"expected {_SHAPE} in line {line} of {path}, got {told!r:.80}.")
    name, prompt = told.get("name"), told.get("prompt") or ""
    name = str(line) if name in (None, "") else name
    text = told[key]
    if not all(isinstance(part, str) for part in (name, prompt, text)):
        raise ConfigError(f"expected {_SHAPE} in line {line} of {path}, got {told!r:.80}.")
    for what, part in (("text", text), ("prompt", prompt), ("name", name)):
        longest = 200 if what == "name" else _LONGEST
        if len(part) > longest:
            raise ConfigError(
                f"expected a {what} of at most {longest:,} characters, but that in line {line} of "
                f"{path} has {len(part):,}."
            )
        if "\0" in part or not _is_unicode(part):
            raise ConfigError(f"expected text in line {line} of {path}, but it is damaged.")
    return Text(name, prompt, text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(content.splitlines(), 1):
        if text.strip():
            yield line, text.strip()


def _objects(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    # Not splitlines: a text in JSON may hold other characters that end a line.
    for line, text in enumerate(content.split("\n"), 1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"expected {_SHAPE} as JSON in line {line} of {path}, but {error}."
            ) from error


def _table(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    kept = csv.field_size_limit(_LONGEST + 1)
    try:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = csv.DictReader(content.splitlines(keepends=True), delimiter=delimiter)
        for row in rows:
            yield rows.line_num, {str(key).strip().lower(): value for key, value in row.items()}
    except csv.Error as error:
        raise ConfigError(
            f"expected a table with a heading at {path}, each field of at most {_LONGEST:,} "
            f"characters, but {error}."
        ) from error
    finally:
        csv.field_size_limit(kept)


_READERS: Mapping[str, Callable[[Path, str], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _objects,
    ".csv": _table,
    ".tsv": _table,
}
