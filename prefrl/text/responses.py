"""Prompts, and the responses that are compared."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import replace_file, sync_folder

__all__ = ["Maker", "Prompt", "Response", "Responses", "digest_of", "response_from", "same_ids"]

_WRITERS = 4  # a disk takes about as long for four files at once as for one
_MANY = 1000  # this many at once go into one file: separate ones would take minutes
_ID_LENGTH = 25

Messages = tuple[tuple[str, str], ...]
"""A conversation: role and content of each message."""


@dataclass(frozen=True)
class Prompt:
    """A prompt for a language model."""

    text: str
    """The text that people see."""
    tokens: tuple[int, ...]
    """The tokens that the model sees; a chat template may have added to the text."""
    messages: Messages = ()
    """Its messages if it is a conversation; empty for a text to continue."""


@dataclass(frozen=True)
class Maker:
    """The policy that wrote a response, at one point of its training."""

    model: str
    """The model that the training began with."""
    step: int
    """Responses that the run had sampled before this one's batch: the policy's version."""
    reward_version: int
    """Version of the learned reward that was in use then; 0 before the first."""


@dataclass(frozen=True)
class Response:
    """A response to a prompt, by a language model or somebody else: an item of a query."""

    prompt: str
    """The prompt as people see it."""
    text: str
    """The response, without special tokens."""
    prompt_tokens: tuple[int, ...]
    """The prompt as the model sees it."""
    tokens: tuple[int, ...]
    """The response, with the end token if it has one."""
    messages: Messages = ()
    """The prompt's messages if it is a conversation; empty for a text to continue."""
    made_by: Maker | None = field(default=None, compare=False)
    """The policy that wrote it; None if that is unknown, as for responses from a file."""

    @functools.cached_property
    def id(self) -> str:
        """Hash of the tokens of prompt and response."""
        content = json.dumps([self.prompt_tokens, self.tokens]).encode()
        return "r" + hashlib.blake2b(content, digest_size=12).hexdigest()


_FIELDS = tuple(field.name for field in fields(Response))


class _Same(dict[int, int]):
    """Maps equal numbers to the first of them."""

    def __missing__(self, number: int) -> int:
        self[number] = number
        return number


_SAME = _Same()


def same_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """Makes equal ids one object, so that many responses take a fifth of the memory."""
    return tuple(map(_SAME.__getitem__, ids))


def digest_of(responses: Sequence[Response]) -> str:
    """Hash of responses in their order."""
    found = hashlib.blake2b(digest_size=16)
    for response in responses:
        found.update(response.id.encode())
    return found.hexdigest()


def response_from(content: Mapping[str, Any]) -> Response:
    """Restores a response from the JSON of its ``dataclasses.asdict``.

    Raises:
        TypeError: If fields are missing, or there are others.
        KeyError: If it has no tokens.
        ValueError: If a message is not a pair of role and content.
    """
    tokens = {name: same_ids(content[name]) for name in ("prompt_tokens", "tokens")}
    # Responses that were stored before this field existed have none.
    messages = tuple((role, said) for role, said in content.get("messages", ()))
    maker = content.get("made_by")
    known = {"messages": messages, "made_by": None if maker is None else Maker(**maker)}
    return Response(**{**content, **tokens, **known})


class Responses(Mapping[str, Response]):
    """The responses that were put to a labeller, by id.

    Args:
        run: Run directory that also keeps them as files, complete before the query is stored; None
            keeps them only in memory.

    Raises:
        RunDirectoryError: On reading, if a file is missing or damaged.
    """

    def __init__(self, run: RunDirectory | None = None) -> None:
        self._folder = None if run is None else run.items
        self._known: dict[str, Response] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        self._looked_into: set[Path] = set()

    def keep(
        self, responses: Sequence[Response], *, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Keeps responses for good: when this returns, they are on disk.

        Args:
            responses: Responses to keep; many at once are much faster than one after the other.
            beat: Called for each one that is written.
        """
        new = {r.id: r for r in responses if r.id not in self._known}
        if self._folder is not None and new:
            # An existing file is complete, but its name may not be on disk yet.
            self._look()
            missing = [r for r in new.values() if not self._is_there(r.id)]
            if len(missing) >= _MANY:
                self._write_together(missing, beat)
            else:
                with ThreadPoolExecutor(_WRITERS) as writers:
                    for _ in writers.map(self._write, missing):
                        beat()
            sync_folder(self._folder)
        self._known |= new

    def __getitem__(self, item_id: str) -> Response:
        if item_id not in self._known:
            if self._folder is None:
                raise KeyError(item_id)
            self._known[item_id] = self._read(item_id)
        return self._known[item_id]

    def __contains__(self, item_id: object) -> bool:
        if item_id in self._known:
            return True
        if self._folder is None:
            return False
        if not self._is_there(item_id):
            self._look()
        return self._is_there(item_id)

    def __iter__(self) -> Iterator[str]:
        if self._folder is None:
            return iter(self._known)
        alone = (path.stem for path in self._folder.glob("r*.json"))
        self._look()
        return iter(sorted({*alone, *self._places}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _is_there(self, item_id: object) -> bool:
        return item_id in self._places or self._path(item_id).is_file()

    def _look(self) -> None:
        """Indexes the responses that were written together since it last looked."""
        assert self._folder is not None
        for path in sorted({*self._folder.glob("many-*.jsonl")} - self._looked_into):
            with path.open("rb") as file:
                place = 0
                for line in file:
                    self._places[line[:_ID_LENGTH].decode()] = path, place
                    place += len(line)
            self._looked_into.add(path)

    def _write_together(self, responses: Sequence[Response], beat: Callable[[], None]) -> None:
        """Writes one file, complete or absent: a line per response, with id, blank and JSON."""
        assert self._folder is not None
        path = self._folder / f"many-{digest_of(responses)}.jsonl"
        lines = []
        for response in responses:
            beat()
            content = {name: getattr(response, name) for name in _FIELDS}
            content["made_by"] = response.made_by and asdict(response.made_by)
            lines.append(f"{response.id} {json.dumps(content)}\n".encode())
        replace_file(path, b"".join(lines), point="items")

    def _path(self, item_id: object) -> Path:
        assert self._folder is not None
        return self._folder / f"{item_id}.json"

    def _write(self, response: Response) -> None:
        content = json.dumps(asdict(response)).encode()
        replace_file(self._path(response.id), content, point="items")

    def _read(self, item_id: str) -> Response:
        if not self._is_there(item_id):
            self._look()
        path, place = self._places.get(item_id, (self._path(item_id), None))
        try:
            if place is None:
                return response_from(json.loads(path.read_bytes()))
            with path.open("rb") as file:
                file.seek(place + _ID_LENGTH)
                return response_from(json.loads(file.readline()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(
                f"expected a response in {path}, but {error}; restore the file from a backup."
            ) from error
