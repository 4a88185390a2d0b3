"""The first round of a new person: gold pairs only, until enough answers were right."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

from clip_viewer.config import ViewerConfig
from clip_viewer.messages import AnswerIn, RankingIn, RoundOut, TaskOut
from clip_viewer.people import Person
from clip_viewer.tasks import MIRRORED, drawn
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.core.store.trials import Trial

__all__ = ["FirstRound"]


class FirstRound:
    """Keeps track of who has passed, and chooses the pairs of those who have not.

    Args:
        config: How many gold pairs, and what share of them must be right.
    """

    def __init__(self, config: ViewerConfig) -> None:
        self._n = config.qualify
        self._share = config.qualify_share

    @property
    def is_asked_for(self) -> bool:
        """Whether the study has a first round."""
        return self._n > 0

    def holds(self, store: LabelStore, person: Person) -> bool:
        """Whether a person's answers do not count yet."""
        if not self._n or person.role == "owner":
            return False
        return store.trials.verdicts(person.name).get(person.name) in (None, "failed")

    def told(self, store: LabelStore, person: Person) -> RoundOut | None:
        """Returns how far a person is in the round; None if they do not need one."""
        if not self._n or person.role == "owner":
            return None
        trial = store.trials.of(person.name)
        state = trial.verdict or ("asked" if self._is_ready(store, person, trial) else "waits")
        return RoundOut(state=state, answered=trial.n_answered, right=trial.n_right, wanted=self._n)

    def tasks(
        self,
        store: LabelStore,
        person: Person,
        *,
        n: int,
        have: Sequence[str],
        rng: random.Random,
    ) -> list[TaskOut]:
        """Returns the next pairs of the round; none until there are enough gold pairs, or after it.

        Args:
            store: Label store.
            person: The person.
            n: Most pairs to return.
            have: Pairs that their page already has.
            rng: Draws which comes first, and which side is on the left.
        """
        trial = self._settled(store, person, str(uuid.uuid4()))
        if trial.verdict is not None or not self._is_ready(store, person, trial):
            return []
        there = store.trials.pairs(person.name, n=self._n)
        new = [query for query in there if query.id not in have]
        rng.shuffle(new)
        n_left = self._n - trial.n_answered - (len(there) - len(new))
        return drawn(store, [([query], None) for query in new[: max(0, min(n, n_left))]], rng)

    def keep(self, store: LabelStore, person: Person, event: AnswerIn | RankingIn) -> bool:
        """Stores an answer if the person's answers do not count yet; returns whether it did.

        Storing the same answer again changes nothing, even if it completed the round.
        """
        key = event.submission_key
        if not store.trials.keeps(key) and not self.holds(store, person):
            return False
        pairs = store.find([event.task])
        if not pairs:
            return False  # it is refused later, like any other
        if isinstance(event, RankingIn):
            said, ranks = "ranked", f"{event.order} {event.ranks}"
        else:
            seen, ranks = Answer(event.answer), ""
            said = (seen.mirrored if event.order == MIRRORED else seen).value
        store.trials.add(pairs[0].id, person.name, said, submission_key=key, ranks=ranks)
        self._settled(store, person, key)
        return True

    def admit(self, store: LabelStore, name: str) -> bool:
        """Lets a person continue, whatever they answered; False if there is nothing to compare."""
        queries = store.queries()
        if queries:
            store.trials.decide(queries[0].id, name, "admitted", key=str(uuid.uuid4()))
        return bool(queries)

    def _is_ready(self, store: LabelStore, person: Person, trial: Trial) -> bool:
        """Whether there are enough gold pairs."""
        missing = self._n - trial.n_answered
        return missing <= 0 or len(store.trials.pairs(person.name, n=missing)) == missing

    def _settled(self, store: LabelStore, person: Person, key: str) -> Trial:
        """Returns how far a person is, after storing the result once everything is answered."""
        trial = store.trials.of(person.name)
        if trial.verdict is not None or trial.n_answered < self._n:
            return trial
        passed = trial.n_right >= self._share * trial.n_answered - 1e-9
        about = store.find(sorted(store.marks.gold()))[0].id
        store.trials.decide(about, person.name, "passed" if passed else "failed", key=key)
        return store.trials.of(person.name)
