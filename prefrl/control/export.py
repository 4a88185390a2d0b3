"""Exports the answers about segments as rows of JSON.

::

    {"query": …, "chosen": SEGMENT, "rejected": SEGMENT}            preference
    {"query": …, "segments": [SEGMENT, … ], "ranks": [1, 2, 2]}     ranking, 1 is the best

SEGMENT is ``{"observations": [[… ]], "actions": [[… ]]}``, of shapes (T, O) and (T, A). It never
contains the environment's own reward. If the run's reward reads transitions, there is also
``"next_observations"``, (T, O). If the environment ended the episode, ``"held"`` is the number of
steps at the end that were not taken, in which nothing happens. With films, ``"film"`` is the path
of the film that people were shown, relative to the folder of the rows' file.

``"env_steps"`` is the number of environment steps of the run when the segment was cut. It tells
which policy acted: in the same row of ``metrics.csv``, ``reward_version`` is that of the learned
reward at that time. A segment that is not from a run's agent has none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from prefrl.control.items import Items
from prefrl.core.disk import naming
from prefrl.core.store import LabelStore
from prefrl.core.store.media import SUFFIXES
from prefrl.core.store.verdicts import Ranking
from prefrl.errors import ConfigError
from prefrl.runtime.export import Export, Form, Row, export_answers
from prefrl.runtime.rundir import RunDirectory

__all__ = ["export_segments"]


def export_segments(
    run: RunDirectory, form: Form, *, annotator: str | None = None, films: Path | None = None
) -> Export:
    """Exports the current answers about segments.

    Args:
        run: Run of an agent.
        form: Form of the rows.
        annotator: Only the answers of this person; by default, for each query, the answer of most.
        films: Folder for copies of the films that people were shown, which are made with the rows;
            None leaves them out. A segment that nobody was shown has no film.

    Raises:
        ConfigError: If an annotator is named who has given no answer; while rows are made, if the
            form makes no sense for segments, or their observations are pictures.
        NotEnoughDataError: If there are no answers, or none that the form can express.
        RunDirectoryError: While rows are made, if a segment is missing or damaged.
    """
    return export_answers(run, _SegmentRows(run, films), form, annotator=annotator)


class _SegmentRows:
    def __init__(self, run: RunDirectory, films: Path | None) -> None:
        self._run, self._films = run, films
        self._folder = run.items
        self._items = Items(run, states=False)
        net = run.read_json(run.config).get("preferences", {}).get("net", {})
        self._reads_next = net.get("inputs", "transition") == "transition"

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        pair = {"chosen": self._segment(better), "rejected": self._segment(worse)}
        return {"query": query_id, **pair}

    def ranking(self, ranking: Ranking) -> Row:
        segments = [self._segment(item) for item in ranking.items]
        return {"query": ranking.name, "segments": segments, "ranks": list(ranking.ranks)}

    def unpaired(self, item_id: str, label: bool) -> Row:
        raise ConfigError(
            "expected preference or ranking for a run of an agent, got unpaired: a segment is good "
            "or bad only beside another one."
        )

    def _segment(self, item_id: str) -> Row:
        segment = self._items[item_id]
        if segment.frames is not None:
            raise ConfigError(
                "expected segments of numbers, but those of this run are pictures, which lines of "
                f"JSON are no place for; their files are in {self._folder}, one .npz each."
            )
        held = {"held": segment.n_held} if segment.n_held else {}
        after: Row = {}
        if self._reads_next and segment.next_observations is not None:
            after = {"next_observations": segment.next_observations.tolist()}
        return {
            "observations": segment.observations.tolist(),
            "actions": segment.actions.tolist(),
            **after,
            **held,
            **({"env_steps": segment.env_steps} if segment.env_steps else {}),
            **self._film(item_id),
        }

    def _film(self, item_id: str) -> Row:
        if self._films is None:
            return {}
        with LabelStore(self._run.label_store) as store:
            medium = store.media.of([item_id]).get(item_id)
        if medium is None or SUFFIXES.get(medium.media_type) != ".webm":
            return {}
        source = self._run.media / f"{medium.media_id}.webm"
        target = self._films / source.name
        if source.is_file() and not target.is_file():
            with naming(self._films):
                self._films.mkdir(parents=True, exist_ok=True)
                part = target.with_suffix(".part")
                shutil.copyfile(source, part)
                os.replace(part, target)
        return {"film": f"{self._films.name}/{target.name}"} if target.is_file() else {}
