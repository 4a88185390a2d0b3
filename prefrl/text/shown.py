"""Writes some responses of each batch to the run directory, for people to read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor

from prefrl.runtime.rundir import RunDirectory
from prefrl.text.responses import Response

__all__ = ["ShownResponses"]

_SHOWN = 2  # responses of a batch


class ShownResponses:
    """Writes some responses of each batch to a file of JSON lines.

    Args:
        run: The run directory.
        n_batches: Number of finished batches. Lines that a process wrote after its newest
            checkpoint, before it was killed, are removed.
    """

    def __init__(self, run: RunDirectory, n_batches: int) -> None:
        self._path = run.samples
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = "".join(lines[: n_batches * _SHOWN])
            self._path.write_text(kept, encoding="utf-8")

    def add(
        self, responses: Sequence[Response], scores: Tensor, *, batch: int, n_sampled: int
    ) -> None:
        """Writes some responses of a batch.

        Args:
            responses: B responses.
            scores: Their scores, shape (B,).
            batch: Its number, from 1.
            n_sampled: Responses sampled so far.
        """
        with self._path.open("a", encoding="utf-8") as file:
            for response, score in list(zip(responses, scores.tolist(), strict=True))[:_SHOWN]:
                about = {"batch": batch, "responses": n_sampled, "score": score}
                told = {"prompt": response.prompt, "response": response.text}
                file.write(json.dumps(about | told) + "\n")
