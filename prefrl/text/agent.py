"""The policy's half of the loop: sample, ask, score, improve, log; with checkpoints between."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefrl.core.store import LabelStore
from prefrl.errors import NotEnoughDataError
from prefrl.runtime.guard import GUARDED, Guard
from prefrl.runtime.partners import WAITING_FOR_ANSWERS, Partners, UsedReward
from prefrl.runtime.people.strengths import judgements_of, strengths_of
from prefrl.runtime.questioner import Questioner
from prefrl.runtime.roles.parallel import ALONE, Workers, own_device
from prefrl.runtime.roles.role import Heartbeat, StopSignal, waiting_in
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint, taking_up
from prefrl.runtime.rundir.saving import saving
from prefrl.runtime.rundir.tables import CsvTable, Metrics
from prefrl.runtime.rundir.troubles import tell_troubles
from prefrl.text import rows
from prefrl.text.candidates import ResponsePool, ResponseSamples, ResponseSource, of_one_prompt
from prefrl.text.config import AlignConfig
from prefrl.text.data.intake import brought
from prefrl.text.gold import Gold
from prefrl.text.methods.examples import Example, examples_of
from prefrl.text.methods.preference_losses import TUNING_METHODS
from prefrl.text.methods.tuning import averaged
from prefrl.text.nets.layers import trunk_of
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.scoring import scores_of
from prefrl.text.policy_work import PolicyWork
from prefrl.text.responses import Maker, Prompt, Response, Responses
from prefrl.text.shown import ShownResponses
from prefrl.text.start import (
    gold_of,
    new_reward,
    prompts_of,
    show_to_people,
    starting_model,
)

__all__ = ["TextAgent"]

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 0.25
_STEPS_OF_A_ROW = 10


class TextAgent:
    """Samples responses, asks about them, and improves the policy; continues from a checkpoint.

    Args:
        config: Config of the run.
        run: The run directory.
        store: Queries and answers.
        partners: Makes the labeller and the reward learner as the policy sees them.
        stop: Ends the work after the current batch.
        heartbeat: Heartbeat of the role.
        on_rollout: Called with each new row of metrics.
        workers: Workers that share the work with the policy; this process is the first.
    """

    def __init__(
        self,
        config: AlignConfig,
        run: RunDirectory,
        store: LabelStore,
        *,
        partners: Callable[[TextAgent], Partners],
        stop: StopSignal,
        heartbeat: Heartbeat,
        on_rollout: Callable[[Metrics], None] = lambda row: None,
        workers: Workers = ALONE,
    ) -> None:
        heartbeat.beat("starting")
        self.config, self.run, self.store = config, run, store
        device = own_device(config.device)
        language = starting_model(config, device)
        # All slow work, in sampling, scoring and improving, is passes through it and its copies.
        trunk_of(language.model).register_forward_pre_hook(lambda *told: heartbeat.beat())
        self.language = language
        self.reward = new_reward(config, language, shares=config.lora.used).to(device)
        """The policy's copy of the reward ensemble."""
        heartbeat.beat()
        self.prompts = prompts_of(config, language)[0]
        self.responses = Responses(run)
        heartbeat.beat()
        self._work = PolicyWork(config, language, self.reward, self.responses, workers)
        self.pool = ResponsePool(config.query.pool_size)
        self.samples = ResponseSamples(self.pool, run)
        # Queries to a judge are shown, too: people may look in with prefrl label.
        is_shown = config.asks_people or config.oracle == "ai"
        waits = waiting_in(heartbeat, stop)
        show = show_to_people(run, store, waiting=waits) if is_shown else lambda response: None
        source = ResponseSource(self.pool, self.responses, show)
        self._rng = np.random.default_rng(config.seed)
        self.questioner = Questioner(source, store, config=config.query, rng=self._rng)
        asks = self.questioner.ask_about
        self.guard = Guard(config.guard, source, self.reward, run, ask=asks)
        given, self._labelled = brought(run, store)
        self.questioner.recall(given)
        self._n_given = len(given)
        self._gold = _heard(gold_of(config), heartbeat.beat)
        self._stop, self._heartbeat, self._on_rollout = stop, heartbeat, on_rollout
        self._examples: list[Example] = []
        self._unlogged: list[dict[str, float]] = []  # of gradient steps since the last row
        self._n_batches, self._n_rows, self._earlier_seconds = 0, 0, 0.0
        self._n_settled: int | None = None  # queries at the last fit to all answers
        self.partners = partners(self)
        self._take_up()
        self._started = self._saved_at = time.monotonic()
        self._metrics = CsvTable(run.metrics, keep=self._n_rows)
        self._shown = ShownResponses(run, self._n_batches)

    @property
    def n_sampled(self) -> int:
        """Responses sampled so far."""
        return self._n_batches * self.config.batch

    @property
    def done(self) -> bool:
        """Whether all responses have been sampled, and the policy has been improved."""
        if self._n_batches < self.config.n_batches and not self.guard.stops:
            return False
        if not self.config.tunes_on_answers:
            return self.config.method != "best-of-n" or self._n_settled is not None
        return self._work.tuning is not None and self._work.tuning.done

    def step(self) -> bool:
        """Runs one batch or one gradient step on answers; saves a checkpoint when one is due.

        Returns:
            Whether there is more to do: False if it is done, or was told to stop.
        """
        if self.done:
            return False
        if self._n_batches < self.config.n_batches:
            self._batch()
        elif self.config.tunes_on_answers:
            self._tune()
        else:
            self._finish()
        if self._stop.requested or self._seconds_unsaved() >= self.config.checkpoint_seconds:
            self.save()
        return not (self._stop.requested or self.done)

    def _batch(self) -> None:
        config = self.config
        self._beat("sampling")
        # sample
        prompts = [p for p in self._next_prompts() for _ in range(config.per_prompt)]
        maker = Maker(str(config.model), self.n_sampled, self.partners.used.version)
        sampled = self._work.sample(prompts, self._n_batches)
        responses = [replace(response, made_by=maker) for response in sampled]
        self.pool.add(responses)
        self._n_batches += 1

        # ask, and take what the partners have made of the answers
        due = self._n_given + config.labels_due(self.n_sampled - config.batch)
        asked = self.questioner.ask_due(due, self.reward, run_steps=self.n_sampled)
        asked |= self.guard.has_asked()  # no `or`: this must be called at each batch
        used = self.partners.update(self.n_sampled, asked=asked)

        # score and improve
        improves = config.improves_batches and not self._warms_up
        if improves and self._settles_now:
            improves = self._settle()
            used = self.partners.used
        _, scores = scores_of(self.reward, self.language, responses, config.scoring)
        row: dict[str, float] = {}
        if improves and used.version > 0:
            self._beat("improving")
            row = self._work.improve(responses, scores)
        elif config.improves_batches:
            self._work.skip()
        if improves:
            self.guard.look(
                self.pool.recent(GUARDED),
                used,
                run_steps=self.n_sampled,
                pairs=of_one_prompt,
                beside={
                    "kl": row.get("kl", math.nan),
                    "length": float(np.mean([len(r.tokens) for r in responses])),
                },
            )
        self._log(self._row(responses, scores, used, row))
        self._shown.add(responses, scores, batch=self._n_batches, n_sampled=self.n_sampled)

    @property
    def _warms_up(self) -> bool:
        """Whether the first labels have yet to be asked for: pairs need responses."""
        too_few = len(self.questioner.asked) < self._n_given + self.config.labels_due(0)
        return too_few and 2 * self._n_batches < self.config.n_batches

    @property
    def _settles_now(self) -> bool:
        """Whether the reward must be fitted to all answers before it is used.

        This is so after the first labels, if all are due at once; and again after those that were
        asked for later, for lack of pairs.
        """
        if not self.config.asks_all_first:
            return False
        n_asked, n_all = len(self.questioner.asked), self._n_given + self.config.labels
        return self._n_settled is None or self._n_settled < n_all <= n_asked

    def _next_prompts(self) -> list[Prompt]:
        """The prompts of this batch: each pass over all prompts has a new order."""
        n, total = self.config.batch // self.config.per_prompt, len(self.prompts)
        places = range(self._n_batches * n, (self._n_batches + 1) * n)
        orders = {
            epoch: np.random.default_rng([self.config.seed, epoch]).permutation(total)
            for epoch in {place // total for place in places}
        }
        return [self.prompts[orders[place // total][place % total]] for place in places]

    def _tune(self) -> None:
        """Takes a gradient step on the answers, once all queries are answered."""
        if self._work.tuning is None:
            self._wait_for_answers()
            if self._stop.requested:
                return
            self._examples = self._answered()
            self._work.begin_tuning(self._examples)
        self._beat("improving")
        self._unlogged.append(self._work.tune())
        tuning = self._work.tuning
        assert tuning is not None
        if tuning.n_steps % _STEPS_OF_A_ROW == 0 or tuning.done:
            about = averaged(self._unlogged) | {"update": tuning.n_steps}
            self._unlogged = []
            used = replace(self.partners.used, fit_steps=0)
            self._log(self._row((), torch.empty(0), used, about))

    def _finish(self) -> None:
        """Fits the reward to all answers, for best of n, which improves no policy."""
        if self._settle():  # with the labels that came in
            used = replace(self.partners.used, fit_steps=0)
            self._log(self._row((), torch.empty(0), used, {}))

    def _settle(self) -> bool:
        """Waits for all answers and for a fit to them; returns False if it was stopped."""
        self._wait_for_answers()
        if self.store.counts().open or not self.partners.settle(self.n_sampled):
            return False
        self._n_settled = len(self.questioner.asked)
        return True

    def _wait_for_answers(self) -> None:
        while self.store.counts().open > 0 and not self._stop.requested:
            self._beat(WAITING_FOR_ANSWERS)
            self.partners.update(self.n_sampled, asked=True)
            if self.store.counts().open > 0:
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _answered(self) -> list[Example]:
        """The answers as examples of the kind that the method takes."""
        learner, takes = self.config.learner, TUNING_METHODS[self.config.method].takes
        strengths = strengths_of(self.run)
        said = judgements_of(self.store, strengths, certainties=learner.certainties)
        examples = examples_of(takes, learner.counted(said), self._labelled)
        if not examples:
            raise NotEnoughDataError(
                f"expected answers that prefer one response, got none among "
                f"{self.store.counts().queries} queries; sample more responses, or label more."
            )
        return examples

    def _row(
        self,
        responses: Sequence[Response],
        scores: Tensor,
        used: UsedReward,
        improved: Mapping[str, float],
    ) -> Metrics:
        counts, config = self.store.counts(), self.config
        about: Metrics = {
            "rollout": self._n_rows + 1,
            "responses": self.n_sampled,
            # Not all in the store: after a kill it holds queries that are yet to be asked again.
            "labels": len(self.questioner.asked) - counts.open,
            "open": counts.open,
            "dropped": self.questioner.n_dropped,
        }
        reward = self.reward if used.version else None
        about |= rows.of_responses(
            responses,
            scores,
            gold=self._gold,
            reward=reward,
            per_prompt=config.per_prompt,
            ends=self.language.end_tokens,
        )
        about |= rows.of_reward(used, self.n_sampled)
        about |= {"wall_seconds": self._seconds()}
        return about | rows.improvement(improved)

    def _log(self, row: Metrics) -> None:
        self._n_rows += 1
        self._metrics.append(row)
        self._on_rollout(row)

    def result(self) -> LanguageModel:
        """The trained model, once the training is done."""
        self._work.ppo.take_average()
        return self.language

    def save(self) -> None:
        """Writes a checkpoint. A full disk does not end the run: the older checkpoints stay."""
        self._beat("saving")
        state = {
            "n_batches": self._n_batches,
            "n_rows": self._n_rows,
            "n_settled": self._n_settled,
            "rng": self._rng.bit_generator.state,
            "pool": self.pool.state_dict(),
            "questioner": self.questioner.state_dict(),
            "partners": self.partners.state_dict(),
            "examples": [[one.ids, one.ranks, one.strength] for one in self._examples],
            "unlogged": self._unlogged,
            "guard": self.guard.state_dict(),
            "seconds": self._seconds(),
        } | self._work.state_dict()
        with saving(self._heartbeat, self._place):
            save_checkpoint(self.run.checkpoints, state)
        tell_troubles(self._heartbeat, self.run, total_steps=None)
        self._saved_at = time.monotonic()

    def _take_up(self) -> None:
        checkpoint = load_checkpoint(self.run.checkpoints)
        if checkpoint is None:
            return
        with taking_up(checkpoint):
            self._load(checkpoint.state)
        self._heartbeat.beat(saved=self._place)
        _log.info("continuing from checkpoint %d", checkpoint.number)

    def _load(self, state: Mapping[str, Any]) -> None:
        self._n_batches, self._n_rows = state["n_batches"], state["n_rows"]
        self._n_settled = state["n_settled"]
        self._rng.bit_generator.state = state["rng"]
        self.pool.load_state_dict(state["pool"])
        self.questioner.load_state_dict(state["questioner"])
        self.partners.load_state_dict(state["partners"])
        self._earlier_seconds = state["seconds"]
        self.guard.load_state_dict(state.get("guard", {}))
        # Older checkpoints have no strengths.
        self._examples = [Example(*map(tuple, told)) for told in state["examples"]]
        self._unlogged = list(state.get("unlogged", ()))  # older checkpoints have none
        self._work.load_state_dict(state, self._examples)

    @property
    def _place(self) -> str:
        return f"response {self.n_sampled:,}"

    def _beat(self, state: str) -> None:
        self._heartbeat.beat(
            state,
            responses=self.n_sampled,
            total_responses=self.config.n_batches * self.config.batch,
            reward_version=self.partners.used.version,
        )

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _seconds_unsaved(self) -> float:
        return time.monotonic() - self._saved_at


def _heard(gold: Gold | None, beat: Callable[[], None]) -> Gold | None:
    """Wraps a gold score, which may be slow, so that each call is a sign of life."""
    if gold is None:
        return None

    def heard(text: str) -> float:
        beat()
        return gold(text)

    return heard
