"""What labellers have answered about segments, as rows of JSON.

::

    {"query": …, "chosen": SEGMENT, "rejected": SEGMENT}            preference
    {"query": …, "segments": [SEGMENT, … ], "ranks": [1, 2, 2]}     ranking, 1 is the best

SEGMENT is ``{"observations": [[… ]], "actions": [[… ]]}``, of shapes (T, O) and (T, A): what the
labellers' clips show, and never the environment's own reward. Where the run's reward reads
transitions, there is ``"next_observations"``, (T, O), too. Where the environment ended the episode,
``"held"`` says how many steps at the end were not taken: nothing happens in them.
"""

from __future__ import annotations

from prefrl.control.items import Items
from prefrl.core.verdicts import Ranking
from prefrl.errors import ConfigError
from prefrl.runtime.export import Export, Form, Row, export_answers
from prefrl.runtime.rundir import RunDirectory

__all__ = ["export_segments"]


def export_segments(run: RunDirectory, form: Form, *, annotator: str | None = None) -> Export:
    """The current answers about segments.

    Args:
        run: Of an agent in an environment.
        form: Which form.
        annotator: Whose answers alone; by default the verdict of most on each query.

    Raises:
        ConfigError: If an annotator is named who has given no answer; while rows are made, if the
            form makes no sense for segments, or they are pictures.
        NotEnoughDataError: If there are no answers, or none that the form has a place for.
        RunDirectoryError: While rows are made, if a segment is missing or damaged.
    """
    return export_answers(run, _SegmentRows(run), form, annotator=annotator)


class _SegmentRows:
    def __init__(self, run: RunDirectory) -> None:
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
        }
