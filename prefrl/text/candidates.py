"""The newest responses, by prompt: candidates for queries, and samples for the reward learner."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from prefrl.core.selection import SELECTIONS, Selection, selection_rule
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.learner import Recent
from prefrl.runtime.options import named_option
from prefrl.runtime.questioner import Candidate, n_pairs
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import replace_file
from prefrl.text.responses import Response, Responses, response_from

__all__ = [
    "ResponsePool",
    "ResponseSamples",
    "ResponseSource",
    "TextQueryConfig",
    "load_recent",
    "of_one_prompt",
]

_SAMPLE = 256  # responses, as many as Huang et al. 2023 use to normalise (detail R3)
_FEATURES = 64


@dataclass(frozen=True)
class TextQueryConfig:
    """Which responses are put to the labeller."""

    selection: Annotated[Selection, named_option(SELECTIONS)] = "disagreement"
    """How pairs are chosen from the candidates."""
    ranked: int = 2
    """Responses per query: 2 are compared as a pair; K > 2 are ranked, which gives K (K - 1) / 2
    labels."""
    oversampling: int = 4
    """Candidates drawn for each query."""
    pool_size: int = 2000
    """Newest responses from which candidates are drawn."""
    max_open: int = 250
    """Most queries that may wait for an answer; further queries are dropped and counted."""

    def __post_init__(self) -> None:
        selection_rule(self.selection)
        for name in ("oversampling", "max_open"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 2 <= self.ranked <= self.pool_size:
            raise ConfigError(
                f"expected 2 <= ranked <= pool_size, got {self.ranked} and {self.pool_size}."
            )
        if self.max_open < n_pairs(self.ranked):
            raise ConfigError(
                f"expected max_open to be at least {n_pairs(self.ranked)}, the pairs of a ranking "
                f"of {self.ranked}, got {self.max_open}: nothing would ever be asked."
            )


class ResponsePool:
    """The newest responses. Candidates for a query all answer one prompt.

    Args:
        size: Most responses that it holds; the oldest are dropped.
    """

    def __init__(self, size: int) -> None:
        self._all: deque[Response] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, responses: Sequence[Response]) -> None:
        """Adds new responses."""
        self._all.extend(responses)

    def recent(self, n: int) -> list[Response]:
        """The n newest responses, oldest first."""
        return list(self._all)[-n:]

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[tuple[Response, ...]]:
        """Draws up to n candidates: responses to one prompt, no two of which were asked together.

        Responses that read the same, though their tokens differ, are never in one candidate.
        """
        by_prompt: dict[tuple[int, ...], list[Response]] = {}
        for response in self._all:
            by_prompt.setdefault(response.prompt_tokens, []).append(response)
        groups = [group for group in by_prompt.values() if len(group) >= size]
        if not groups:
            return []
        found = list[tuple[Response, ...]]()
        drawn_together = set[frozenset[str]]()
        for number in rng.integers(len(groups), size=4 * n).tolist():
            group = groups[number]
            candidate = tuple(group[i] for i in rng.choice(len(group), size=size, replace=False))
            pairs = {frozenset((a.id, b.id)) for a, b in itertools.combinations(candidate, 2)}
            differ = len({response.text for response in candidate}) == size
            if differ and not any(pair in asked or pair in drawn_together for pair in pairs):
                found.append(candidate)
                drawn_together |= pairs
                if len(found) == n:
                    break
        return found

    def state_dict(self) -> list[dict[str, Any]]:
        """The state for a checkpoint."""
        return [asdict(response) for response in self._all]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Restores a state."""
        self._all.clear()
        self._all.extend(response_from(row) for row in state)


class ResponseSource:
    """Responses that might be asked about, for ``runtime.questioner``.

    Args:
        pool: Source of candidates.
        responses: Keeper of the responses that are asked about.
        show: Stores what people are shown of a response that is asked about.
    """

    def __init__(
        self,
        pool: ResponsePool,
        responses: Responses,
        show: Callable[[Response], None] = lambda response: None,
    ) -> None:
        self._pool = pool
        self._responses = responses
        self._show = show

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[Candidate]:
        """Draws up to n candidates: responses to one prompt, no two of them asked together."""
        return list(self._pool.random_candidates(n, size, asked, rng))

    def keep(self, items: Sequence[Response]) -> None:
        """Keeps responses, and what people are shown of them."""
        self._responses.keep(items)
        for response in items:
            self._show(response)

    def kept(self, item_id: str) -> Response:
        """Returns a response that was kept."""
        return self._responses[item_id]

    def features(self, candidates: Sequence[Candidate]) -> NDArray[np.floating]:
        """Counts of the tokens of each response, by their ids modulo 64, shape (C, K * 64)."""
        return np.stack([np.concatenate(list(map(_counts, one))) for one in candidates])

    def strata(self, candidates: Sequence[Candidate]) -> NDArray[np.integer]:
        """Strata of the candidates, shape (C,): all are in the same one."""
        return np.zeros(len(candidates), np.intp)


def _counts(response: Response) -> NDArray[np.floating]:
    places = np.array(response.tokens, np.int64) % _FEATURES
    return np.bincount(places, minlength=_FEATURES).astype(np.float64)


def of_one_prompt(
    newest: Sequence[Response], yardstick: Sequence[Response]
) -> list[tuple[Response, Response]]:
    """Pairs successive new responses to the same prompt that read differently."""
    by_prompt: dict[tuple[int, ...], list[Response]] = {}
    for response in newest:
        by_prompt.setdefault(response.prompt_tokens, []).append(response)
    return [
        (a, b)
        for group in by_prompt.values()
        for a, b in itertools.pairwise(group)
        if a.text != b.text
    ]


class ResponseSamples:
    """Samples of the newest responses, with which scores are normalised.

    Args:
        pool: Pool of the newest responses.
        run: Run directory for samples to a learner in another process; None if there is none.
    """

    seconds_between = 5.0
    """Seconds between two samples in the run directory."""

    def __init__(self, pool: ResponsePool, run: RunDirectory | None) -> None:
        self._pool = pool
        self._run = run

    def take(self) -> list[Response]:
        """Returns the newest responses."""
        return self._pool.recent(_SAMPLE)

    def save(self, number: int, items: Sequence[Response], *, run_steps: int) -> None:
        """Writes a sample to the run directory, not forced to disk: the next one follows soon."""
        assert self._run is not None
        rows = [asdict(item) for item in items]
        content = json.dumps({"run_steps": run_steps, "responses": rows}).encode()
        replace_file(self._run.recent / f"{number:06d}.json", content, point="recent", forced=False)


def load_recent(run: RunDirectory, number: int) -> Recent:
    """Reads a sample.

    Raises:
        RunDirectoryError: If it is missing or damaged.
    """
    path = run.recent / f"{number:06d}.json"
    try:
        content = json.loads(path.read_bytes())
        rows = [response_from(row) for row in content["responses"]]
        return Recent(number, int(content["run_steps"]), rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"expected a sample of responses in {path}, but {error}; only asynchronous runs "
            "whose recent/ folder is whole can be repeated."
        ) from error
