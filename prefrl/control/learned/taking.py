"""Answers with their segments, and a reward, from elsewhere, with which a training begins.

Everything is read and checked before anything starts. Then it is copied into the run's own
directory, so that the sources may be moved or removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from prefrl.control.items import Items, Truth
from prefrl.control.learned.folder import net_from_json, read_folder
from prefrl.control.learned.pairs import PairData, Reader, read_pairs
from prefrl.control.learned.reward import Reward, check_same_spaces_as, load_reward
from prefrl.control.preferences import HasSpaces, PreferenceConfig, step_reward
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.plugs import with_names
from prefrl.core.store import LabelStore, Submission
from prefrl.core.store.labels import DATASET, resolve
from prefrl.errors import ConfigError, NotEnoughDataError, PrefrlError
from prefrl.runtime.learner import LearnerConfig
from prefrl.runtime.people.strengths import judgement_of
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import Weights, latest_weights, newest_version, publish_weights

__all__ = ["Taken", "pairs_of_run", "take_along", "taken_reward", "with_taken"]

_log = logging.getLogger(__name__)
_LABELS = "labels.json"  # written last, when all answers are in the store
_BATCH = 500
_ANSWERS = {1.0: Answer.LEFT, 0.0: Answer.RIGHT, 0.5: Answer.TIE}


@dataclass(frozen=True)
class Taken:
    """What a training began with."""

    queries: tuple[Query, ...] = ()
    """The queries that were already answered."""
    reward: Weights | None = None
    """The reward, if it began with one."""


@dataclass(frozen=True)
class _Source:
    """Answers of one run or file."""

    answers: list[tuple[Query, Submission]]
    segments: Mapping[str, Segment]
    """The segments by id; those of a run are read lazily."""
    truth: Callable[[Segment], Truth]
    said: Mapping[str, str] = field(default_factory=dict)
    """Strengths that people named, by the submission key of the answer."""


def with_taken(
    config: PreferenceConfig, env: HasSpaces, run: RunDirectory | None = None
) -> PreferenceConfig:
    """Adapts settings, such as nets and segment length, to the answers and reward taken along.

    Args:
        config: Settings, whose ``reward`` and ``labels_from`` name what is taken along.
        env: The environment in which the agent will be trained.
        run: The run directory. If the training has begun, it keeps what it began with, and
            nothing else is read.

    Raises:
        ConfigError: If a reward or an answer is about other observations or actions, a reward that
            reads transitions would be fitted to segments without them, or the run began with
            something else.
        NotEnoughDataError: If there are no answers except skips.
        RunDirectoryError: If something is missing or damaged.
    """
    if run is not None and (run.taken / _LABELS).is_file():
        return _as_begun(config, run)
    if not config.takes_along:
        return config
    if config.reward is not None:
        config = _with_nets_of(config, load_reward(config.reward), env)
    lengths, knows_next = Counter[int](), True
    for source in _sources(config, env):
        for segment in source.segments.values():
            lengths[len(segment)] += 1
            knows_next &= segment.next_observations is not None
    if config.segment_length == "auto" and len(lengths) == 1:
        config = dataclasses.replace(config, segment_length=next(iter(lengths)))
    if not knows_next and config.net.inputs == "transition":
        decided = "the reward that is taken along" if config.reward else "--net.inputs"
        raise ConfigError(
            "expected next_observations with all segments that are taken along, since "
            f"{decided} reads transitions, but some have none; take the answers of a run, or a "
            "file with next_observations."
        )
    if not knows_next and config.net.inputs == "auto":
        net = dataclasses.replace(config.net, inputs="action")
        config = dataclasses.replace(config, net=net)
    if not config.labels and config.calibrate_on == "newest":  # the only fit is at the start
        config = dataclasses.replace(config, calibrate_on="both")
    return config


def _with_nets_of(config: PreferenceConfig, reward: Reward, env: HasSpaces) -> PreferenceConfig:
    try:
        check_same_spaces_as(reward, env)
    except ConfigError as error:
        raise ConfigError(f"{config.reward}: {error}") from error
    return dataclasses.replace(config, members=reward.net.n_members, net=reward.net.config)


def _as_begun(config: PreferenceConfig, run: RunDirectory) -> PreferenceConfig:
    """Returns the settings of a continued training, with what it began with."""
    told = run.read_json(run.taken / _LABELS)
    begun = tuple(told["labels_from"]), told["reward"]
    if config.takes_along and (config.labels_from, config.reward) != begun:
        raise ConfigError(
            f"expected what {run.root} began with, labels_from={begun[0]} and reward={begun[1]!r}, "
            f"got {config.labels_from} and {config.reward!r}; begin another run."
        )
    settings = dict(told["settings"])
    if config.segment_length != "auto":
        settings.pop("segment_length")
    return dataclasses.replace(
        config,
        labels_from=begun[0],
        reward=begun[1],
        net=net_from_json(settings.pop("net")),
        **settings,
    )


def take_along(
    config: PreferenceConfig,
    env: HasSpaces,
    store: LabelStore,
    items: Items,
    run: RunDirectory | None,
) -> Taken:
    """Copies the answers and the reward taken along into a training; later calls only read them.

    Args:
        config: Settings from ``with_taken``.
        env: The environment in which the agent is trained.
        store: Label store that receives the answers.
        items: Receives the segments.
        run: The run directory, if there is one.

    Raises:
        PrefrlError: As ``with_taken``, if that was not called.
    """
    if run is not None and (run.taken / _LABELS).is_file():
        ids = set(run.read_json(run.taken / _LABELS)["queries"])
        there = tuple(query for query in store.queries() if query.id in ids)
        return Taken(there, taken_reward(run))
    if not config.takes_along:
        return Taken()
    for place, other in _from_elsewhere(config, env):
        _log.warning("%s is from %s: what is good there may not be good here.", place, other)
    queries: dict[str, Query] = {}
    for source in _sources(config, env):
        for batch in _batches(source.answers):
            found = {i: source.segments[i] for q, _ in batch for i in (q.left, q.right)}
            items.keep([(segment, source.truth(segment)) for segment in found.values()])
            queries_of, given = [query for query, _ in batch], [given for _, given in batch]
            store.add_answered(queries_of, given, source.said)
        queries |= {query.id: query for query, _ in source.answers}
    reward = None if config.reward is None else _weights(config.reward)
    if run is not None:
        run.taken.mkdir(exist_ok=True)
        if reward is not None:
            publish_weights(run.taken, reward.version, reward.tensors, about=reward.about)
        names = "members", "segment_length", "calibrate_on"
        settings = {name: getattr(config, name) for name in names}
        told = {
            "labels_from": config.labels_from,
            "reward": config.reward,
            "settings": {**settings, "net": with_names(dataclasses.asdict(config.net))},
            "queries": list(queries),
        }
        run.write_json(run.taken / _LABELS, told)
    return Taken(tuple(queries.values()), reward)


def _from_elsewhere(config: PreferenceConfig, env: HasSpaces) -> Iterator[tuple[str, str]]:
    """Yields sources that are from another environment with the same spaces, and its id."""
    here: Any = env.unwrapped if isinstance(env, VecEnv) else None
    if isinstance(env, VecEnv) and not isinstance(here, DummyVecEnv):
        return  # it is in other processes, which cannot send every specification
    spec = getattr(env, "spec", None) if here is None else here.envs[0].spec
    if spec is None:
        return
    for place in dict.fromkeys([*config.labels_from, *([config.reward] if config.reward else [])]):
        run = RunDirectory(Path(place))
        if run.config.is_file():
            other = run.read_json(run.config).get("env_id")
        else:
            kept = read_folder(run.root)
            other = None if kept is None else kept.about.get("env_id")
        if other is not None and other.rpartition(":")[2] != spec.id.rpartition(":")[2]:
            yield place, other


def taken_reward(run: RunDirectory) -> Weights | None:
    """Reads the reward that a run began with, if there was one.

    Raises:
        RunDirectoryError: If it is damaged.
    """
    return None if newest_version(run.taken) is None else latest_weights(run.taken)


def _weights(place: str) -> Weights:
    reward = load_reward(place)
    tensors = {name: t.detach().cpu() for name, t in reward.net.state_dict().items()}
    known = {name: value for name, value in reward.about.items() if value is not None}
    return Weights(1, tensors, {"from": place, **known})


def _sources(config: PreferenceConfig, env: HasSpaces) -> Iterator[_Source]:
    """Yields the answers of each run and file, after checking that they fit."""
    n_before, n_ratings = step_reward(env, config).n_before, Counter[str]()
    for place in config.labels_from:
        reader = Reader(env.observation_space, env.action_space, n_before=n_before)
        path = Path(place)
        try:
            if path.is_dir():
                source = _source_of_run(RunDirectory.open(path), reader)
            else:
                source = _source_of_data(read_pairs(path, reader), n_ratings)
        except PrefrlError as error:
            told = str(error)
            raise type(error)(told if place in told else f"{place}: {told}") from error
        if all(given.answer is Answer.SKIP for _, given in source.answers):
            raise NotEnoughDataError(
                f"expected answers in {place}, got none but skips; label some pairs."
            )
        yield source


def _source_of_run(run: RunDirectory, reader: Reader) -> _Source:
    """Reads the current answers of a run."""
    if not run.has_labels:
        raise NotEnoughDataError(
            f"expected answers in {run.label_store}, but there is no such file."
        )
    with LabelStore(run.label_store) as store:
        queries = {query.id: query for query in store.queries()}
        current = sorted(resolve(store.events()).values(), key=lambda event: event.id)
        said = store.marks.strengths()
    answers = [
        (
            queries[event.query_id],
            Submission(
                event.query_id,
                event.answer,
                event.submission_key,
                event.annotator_id,
                shown_at=event.shown_at,
                client_ms=event.client_ms,
                order_shown=event.order_shown,
                rubric_ver=event.rubric_ver,
            ),
        )
        for event in current
        if event.answer is not None
    ]
    items = Items(run)
    ids = dict.fromkeys(item for query, _ in answers for item in (query.left, query.right))
    for item in ids:
        reader.check(items[item])
    strengths = {event.submission_key: said[event.id] for event in current if event.id in said}
    return _Source(answers, _Some(items, ids), items.truth, strengths)


def pairs_of_run(run: RunDirectory, reader: Reader) -> PairData:
    """Returns a run's current answers for a fit, after checking that its segments fit.

    The certainties of "slightly" and "clearly", and whether the majority counts, are as in the run.

    Raises:
        ConfigError: If a segment does not fit the reader's environment.
        NotEnoughDataError: If there are no answers.
        RunDirectoryError: If a segment is missing or damaged.
    """
    source, config = _source_of_run(run, reader), _learner_of(run)
    current = [
        judgement_of(
            Comparison(query, given.answer),
            given.annotator_id,
            source.said.get(given.submission_key),
            certainties=config.certainties,
            strengths={},
        )
        for query, given in source.answers
    ]
    return PairData(source.segments, config.counted(current))


def _learner_of(run: RunDirectory) -> LearnerConfig:
    """Returns a config with a run's settings for people's answers, and otherwise defaults."""
    told = run.read_json(run.config).get("preferences", {}) if run.config.is_file() else {}
    names = "slightly", "clearly", "majority"
    return LearnerConfig(**{name: told[name] for name in names if name in told})


def _source_of_data(data: PairData, n_ratings: Counter[str]) -> _Source:
    """Converts a file's answers to queries and submissions for a label store.

    Args:
        data: Content of the file.
        n_ratings: Number of answers to each query in earlier files, which is updated.
    """
    answers = []
    for judgement in data.comparisons:
        if judgement.preference not in _ANSWERS or judgement.margin:
            raise ConfigError(
                "expected preferences of 0, 0.5 or 1 without a margin for labels that are taken "
                f"along, got {judgement.preference} with {judgement.margin}; prefrl fit takes any, "
                "and --reward continues from what it has learned."
            )
        left, right = judgement.query.left, judgement.query.right
        group = judgement.query.group
        name = f"d{left}-{right}" if group is None else f"d{_hash(group)}-{left}-{right}"
        query = Query(name, left, right, None if group is None else f"g{_hash(group)}")
        n_ratings[query.id] += 1
        n = n_ratings[query.id]
        whose = DATASET if n == 1 else f"{DATASET}-{n}"
        given = Submission(query.id, _ANSWERS[judgement.preference], f"{whose}/{query.id}", whose)
        answers.append((query, given))
    return _Source(answers, data.segments, _not_known)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _not_known(segment: Segment) -> Truth:
    """Returns NaN as true rewards, as those of a file's segments are not known."""
    return Truth(np.full(len(segment), np.nan))


def _batches(
    answers: Iterable[tuple[Query, Submission]],
) -> Iterator[list[tuple[Query, Submission]]]:
    rest = iter(answers)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


class _Some(Mapping[str, Segment]):
    """Some of a run's segments, read lazily."""

    def __init__(self, items: Items, ids: Mapping[str, None]) -> None:
        self._items, self._ids = items, ids

    def __getitem__(self, item_id: str) -> Segment:
        return self._items[item_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
