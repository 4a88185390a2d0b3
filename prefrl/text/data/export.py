"""Exports answers about responses, in the forms that other libraries read.

::

    {"prompt": …, "chosen": …, "rejected": …}                 preference
    {"prompt": …, "responses": [… ], "ranks": [1, 2, 2]}      ranking, 1 is the best
    {"prompt": …, "completion": …, "label": true}             unpaired

A prompt is the text that people saw; or, for a conversation, its list of messages, and then
``chosen``, ``rejected`` and ``completion`` are lists of one assistant message. These are TRL's
standard and conversational forms. ``text.data.records`` reads all of them back.

Rows with responses that the run sampled also have ``"made_by"``: for each response, in the row's
order, ``{"model": …, "step": …, "reward_version": …}`` of the policy that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prefrl.core.store.verdicts import Ranking
from prefrl.runtime.export import Export, Form, Row, export_answers
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.responses import Response, Responses

__all__ = ["export_responses"]


def export_responses(run: RunDirectory, form: Form, *, annotator: str | None = None) -> Export:
    """Exports the current answers about responses.

    Args:
        run: Run of a language model.
        form: Form of the rows.
        annotator: The only annotator whose answers count; by default each query's majority verdict.

    Raises:
        ConfigError: If an annotator is named who has given no answer.
        NotEnoughDataError: If there are no answers, or none that the form can express.
        RunDirectoryError: While rows are made, if a response is missing or damaged.
    """
    return export_answers(run, _TextRows(Responses(run)), form, annotator=annotator)


class _TextRows:
    def __init__(self, responses: Mapping[str, Response]) -> None:
        self._responses = responses

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        chosen, rejected = self._responses[better], self._responses[worse]
        told = {"chosen": _completion(chosen), "rejected": _completion(rejected)}
        return {"prompt": _prompt(chosen), **told, **_made_by(chosen, rejected)}

    def ranking(self, ranking: Ranking) -> Row:
        responses = [self._responses[item] for item in ranking.items]
        texts = [response.text for response in responses]
        told = {"responses": texts, "ranks": list(ranking.ranks)}
        return {"prompt": _prompt(responses[0]), **told, **_made_by(*responses)}

    def unpaired(self, item_id: str, label: bool) -> Row:
        response = self._responses[item_id]
        told = {"prompt": _prompt(response), "completion": _completion(response)}
        return {**told, "label": label, **_made_by(response)}


def _made_by(*responses: Response) -> Row:
    """The policies that wrote responses, as a column; none if no policy is known."""
    makers = [response.made_by and asdict(response.made_by) for response in responses]
    return {"made_by": makers} if any(makers) else {}


def _prompt(response: Response) -> Any:
    return [_message(*told) for told in response.messages] or response.prompt


def _completion(response: Response) -> Any:
    return [_message("assistant", response.text)] if response.messages else response.text


def _message(role: str, said: str) -> dict[str, str]:
    return {"role": role, "content": said}
