"""Exports answers about the user's own films or texts, as rows of JSON.

::

    {"prompt": …, "chosen": …, "rejected": …, "query": …, "names": [… , … ]}     preference, texts
    {"chosen": NAME, "rejected": NAME, "query": …}                               preference, films
    {"prompt": …, "responses": [… ], "ranks": [1, 2], "names": [… , … ]}         ranking, texts
    {"films": [NAME, … ], "ranks": [1, 2], "query": …}                           ranking, films
    {"prompt": …, "completion": …, "label": true, "name": …}                     unpaired, texts
"""

from __future__ import annotations

from prefrl.core.store.verdicts import Ranking
from prefrl.errors import ConfigError
from prefrl.runtime.export import Export, Form, Row, export_answers
from prefrl.runtime.own.folder import own_kind
from prefrl.runtime.own.items import OwnTexts
from prefrl.runtime.own.texts import Text
from prefrl.runtime.rundir import RunDirectory

__all__ = ["export_own"]


def export_own(run: RunDirectory, form: Form, *, annotator: str | None = None) -> Export:
    """Exports the current answers about the user's own films or texts.

    Args:
        run: A folder that ``make_folder`` made.
        form: Form of the rows.
        annotator: Only the answers of this person; by default, for each query, the answer of most.

    Raises:
        ConfigError: If an annotator is named who has given no answer, or the form makes no sense
            for films.
        NotEnoughDataError: If there are no answers, or none that the form can express.
        RunDirectoryError: While rows are made, if a text is missing or damaged.
    """
    is_films = own_kind(run.read_json(run.config)) == "films"
    if is_films and form == "unpaired":
        raise ConfigError(
            "expected preference, ranking or scores for films, got unpaired: a film is good or bad "
            "only beside another one."
        )
    rows = _FilmRows() if is_films else _TextRows(run)
    return export_answers(run, rows, form, annotator=annotator)


class _FilmRows:
    """Rows with the names of films."""

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        return {"chosen": better, "rejected": worse, "query": query_id}

    def ranking(self, ranking: Ranking) -> Row:
        return {"films": list(ranking.items), "ranks": list(ranking.ranks), "query": ranking.name}

    def unpaired(self, item_id: str, label: bool) -> Row:
        raise NotImplementedError  # export_own has refused it


class _TextRows:
    def __init__(self, run: RunDirectory) -> None:
        self._texts = OwnTexts(run)

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        chosen, rejected = self._texts[better], self._texts[worse]
        told = {"chosen": chosen.text, "rejected": rejected.text}
        return _to(chosen) | told | {"query": query_id, "names": [better, worse]}

    def ranking(self, ranking: Ranking) -> Row:
        texts = [self._texts[item] for item in ranking.items]
        told = {"responses": [text.text for text in texts], "ranks": list(ranking.ranks)}
        return _to(texts[0]) | told | {"names": list(ranking.items)}

    def unpaired(self, item_id: str, label: bool) -> Row:
        text = self._texts[item_id]
        return _to(text) | {"completion": text.text, "label": label, "name": item_id}


def _to(text: Text) -> Row:
    """Returns a row's prompt, perhaps an empty one: TRL's forms always have one."""
    return {"prompt": text.prompt}
