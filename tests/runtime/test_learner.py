"""The reward learner and the labeller by their steps, on items that are two numbers."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.oracle import as_oracle
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, NonFiniteError
from prefrl.runtime.fitting import fit_once, weights_hash
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import LearnerConfig, Recent, RewardLearner
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import latest_weights, newest_version


@dataclass(frozen=True)
class Pair:
    id: str
    numbers: tuple[float, float]


class Linear(nn.Module):
    """Two members, each a weighted sum of an item's two numbers."""

    n_members = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.register_buffer("scale", torch.ones(1))

    def module(self):
        return self

    def reset(self, generator):
        with torch.no_grad():
            self.weight.uniform_(-0.1, 0.1, generator=generator)

    def collate(self, items):
        return torch.tensor([item.numbers for item in items], dtype=torch.float32)

    def score(self, batch):
        return self.weight @ batch.T

    def standardize_inputs(self, *groups):
        pass

    def calibrate(self, *groups, fitted=()):
        self.groups = groups
        with torch.no_grad():
            stds = [self.score(self.collate(items)).std() for items in groups]
            self.scale.copy_(torch.stack(stds).mean().reshape(1))


ITEMS = {f"i{n}": Pair(f"i{n}", (math.sin(n), math.cos(3 * n))) for n in range(60)}
CONFIG = LearnerConfig(refit_growth=0.5, fit=FitConfig(max_steps=60, min_steps=20))


def higher_first_number(left, right):
    return left.numbers[0] > right.numbers[0]


def sample(number=1):
    return Recent(number, 100 * number, list(ITEMS.values()))


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def store(run):
    with LabelStore(run.labels) as store:
        yield store


def learner(store, run=None, **options):
    return RewardLearner(Linear(), store, ITEMS, config=CONFIG, seed=3, run=run, **options)


def ask(store, start, stop):
    queries = [Query(f"q{n:03d}", f"i{n % 60}", f"i{(7 * n + 1) % 60}") for n in range(start, stop)]
    store.add_queries(queries)
    labeller = Labeller(store, ITEMS, as_oracle(higher_first_number))
    while labeller.step():
        pass
    return labeller


def test_the_labeller_answers_all_that_is_open_once(store):
    labeller = ask(store, 0, 70)
    assert labeller.n_answered == 70
    assert labeller.step() == []
    beats = []
    store.add_queries([Query("q999", "i1", "i2")])
    assert len(labeller.step(lambda: beats.append("alive"))) == len(beats) == 1
    assert store.counts().open == 0
    for event in store.events():
        query = next(q for q in store.queries() if q.id == event.query_id)
        left = higher_first_number(ITEMS[query.left], ITEMS[query.right])
        assert event.answer is (Answer.LEFT if left else Answer.RIGHT)


def test_a_fit_waits_for_answers_and_for_a_sample(store):
    role = learner(store)
    assert role.step(sample) is None
    ask(store, 0, 4)
    assert role.step(lambda: None) is None
    report = role.step(sample)
    assert report.n_comparisons == 4
    assert (role.n_fits, role.n_fitted, role.n_sample) == (1, 4, 1)


def test_a_fit_that_is_wanted_needs_no_growth_but_the_answers(store):
    role = learner(store)
    ask(store, 0, 10)
    assert role.step(sample)
    ask(store, 10, 12)
    assert role.step(sample) is None
    assert role.step(sample, wanted=13) is None
    assert role.step(sample, wanted=12).n_comparisons == 12
    assert role.step(sample, wanted=12) is None


def test_the_next_fit_waits_for_half_as_many_more(store):
    role = learner(store)
    ask(store, 0, 10)
    assert role.step(sample)
    ask(store, 10, 14)
    assert role.step(sample) is None
    ask(store, 14, 15)
    assert role.step(sample).n_comparisons == 15


def test_answers_to_unknown_queries_wait(store):
    role = learner(store)
    ask(store, 0, 10)
    assert role.step(sample, known={"q000", "q001"}).n_comparisons == 2
    assert role.n_answers == 10


def test_an_undone_answer_is_not_learned_from(store):
    role = learner(store)
    ask(store, 0, 10)
    role.step(sample)
    first = store.events()[0]
    store.undo(first.id, annotator_id="oracle", submission_key="undo")
    store.submit("q001", Answer.TIE, submission_key="again", annotator_id="oracle")
    role.step(sample)
    answers = {c.query.id: c.answer for c in role.comparisons()}
    assert "q000" not in answers
    assert answers["q001"] is Answer.TIE
    assert len(answers) == 9


def test_a_reader_that_came_late_has_the_same_comparisons_in_the_same_order(store):
    early, late = learner(store), learner(store)
    for start in range(0, 30, 3):
        ask(store, start, start + 3)
        early.step(sample)
        if start % 2:
            event = store.events()[start]
            store.undo(event.id, annotator_id="oracle", submission_key=f"undo {start}")
    early.step(sample)
    late.step(sample)
    assert early.comparisons() == late.comparisons()


def test_a_learner_that_was_killed_goes_on_where_it_was(store, run):
    whole, first = learner(store), learner(store, run)
    ask(store, 0, 10)
    for role in (whole, first):
        role.step(sample)
    ask(store, 10, 20)
    second = learner(store, run)
    second.resume()
    assert second.n_fits == 1
    for role in (whole, second):
        role.step(lambda: sample(2))
    assert weights_hash(second.model.state_dict()) == weights_hash(whole.model.state_dict())
    assert newest_version(run.reward) == 2
    assert len(run.fits.read_text().splitlines()) == 3


def test_a_row_that_was_not_written_before_the_kill_is_written_after(store, run):
    ask(store, 0, 10)
    learner(store, run).step(sample)
    whole = run.fits.read_text()
    run.fits.unlink()
    learner(store, run).resume()
    assert run.fits.read_text() == whole


def test_what_is_published_says_what_it_was_fitted_to(store, run):
    ask(store, 0, 10)
    role = learner(store, run)
    role.step(lambda: sample(5))
    about = latest_weights(run.reward).about
    assert about["last_event"] == store.events()[-1].id
    assert (about["recent"], about["run_steps"], about["labels"]) == (5, 500, 10)
    assert about["weights"] == weights_hash(role.model.state_dict())
    with np.load(run.holdout) as holdout:
        assert len(holdout["probability"]) == 10


def test_fits_that_are_not_finite_are_taken_back_and_then_stop_the_run(store, run, monkeypatch):
    ask(store, 0, 10)
    role = learner(store, run)
    role.step(sample)
    good = weights_hash(role.model.state_dict())
    ask(store, 10, 20)
    monkeypatch.setattr(
        Linear, "calibrate", lambda self, *groups, fitted: self.scale.data.fill_(float("nan"))
    )
    for _ in range(2):
        assert role.step(sample) is None
        assert weights_hash(role.model.state_dict()) == good
    with pytest.raises(NonFiniteError, match="3 times scale is not finite"):
        role.step(sample)
    assert newest_version(run.reward) == 1
    assert '"trouble": "scale is not finite"' in run.dump("learner").read_text()


@pytest.mark.parametrize("calibrate_on", ["newest", "labelled", "both"])
def test_the_reward_is_normalised_over_what_the_settings_say(store, calibrate_on):
    config = dataclasses.replace(CONFIG, calibrate_on=calibrate_on)
    role = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    ask(store, 0, 10)
    role.step(sample)
    labelled = {item for c in role.comparisons() for item in (c.query.left, c.query.right)}
    expected = {"newest": [set(ITEMS)], "labelled": [labelled], "both": [set(ITEMS), labelled]}
    got = [{item.id for item in items} for items in role.model.groups]
    assert got == expected[calibrate_on]
    assert 0 < len(labelled) < len(ITEMS)


def test_what_the_reward_cannot_be_normalised_over_is_refused():
    with pytest.raises(ConfigError, match="newest, labelled, both, got 'all'"):
        LearnerConfig(calibrate_on="all")


def test_of_many_labelled_items_some_from_everywhere_are_normalised_over():
    items = {f"i{n}": Pair(f"i{n}", (math.sin(n), math.cos(n))) for n in range(1000)}
    queries = [Query(f"q{n:03d}", f"i{2 * n}", f"i{2 * n + 1}") for n in range(500)]
    answers = [Answer.LEFT, Answer.RIGHT]
    comparisons = [Comparison(q, answers[n % 2]) for n, q in enumerate(queries)]
    skipped = Comparison(Query("skipped", "none", "such"), Answer.SKIP)
    model = Linear()
    fit_once(
        model,
        [*comparisons, skipped],
        items,
        [],
        config=FitConfig(max_steps=2, min_steps=1),
        seed=[0],
        l2=None,
        calibrate_on="labelled",
    )
    (group,) = model.groups
    assert [item.id for item in group] == [f"i{n}" for n in range(999, 0, -5)]


def test_only_the_newest_comparisons_are_fitted(store):
    config = LearnerConfig(refit_growth=0.1, newest=6, fit=CONFIG.fit)
    role = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    ask(store, 0, 10)
    assert role.step(sample).n_comparisons == 6
    ask(store, 10, 12)
    assert role.step(sample).n_comparisons == 6  # it grows no more, and is fitted all the same
    assert role.n_fits == 2


def test_old_answers_are_forgotten_and_still_counted(store):
    config = LearnerConfig(refit_growth=0.1, newest=5, fit=CONFIG.fit)
    role = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    ask(store, 0, 40)
    assert role.step(sample).n_comparisons == 5
    assert role.n_fitted == 40
    assert role.n_answers <= 10
    assert [c.query.id for c in role.comparisons()][-5:] == [f"q{n:03d}" for n in range(35, 40)]


def test_a_poll_without_news_looks_at_nothing(store, monkeypatch):
    role = learner(store)
    ask(store, 0, 10)
    role.step(sample)
    role.step(sample)
    monkeypatch.setattr(role, "comparisons", lambda known: pytest.fail("it looked"))
    assert role.step(sample) is None


def test_the_first_fit_waits_for_first_labels_and_may_be_longer(store):
    config = dataclasses.replace(CONFIG, first_labels=6, pretraining_epochs=50)
    made = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    ask(store, 0, 5)
    assert made.step(sample) is None
    ask(store, 5, 6)
    assert made.step(sample).steps == 50  # passes of one batch
    ask(store, 6, 9)
    assert made.step(sample).steps <= 60
    assert made.n_fits == 2


def test_a_first_fit_starts_from_fresh_parameters_and_others_may_not():
    warm = dataclasses.replace(CONFIG, fit=FitConfig(restart=False))
    assert warm.fit_for(10, is_first=True).restart
    assert not warm.fit_for(10, is_first=False).restart
    for wrong in ({"first_labels": 0}, {"pretraining_epochs": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            dataclasses.replace(CONFIG, **wrong)


def test_a_fit_that_was_told_to_end_leaves_everything_as_it_was(store, run):
    going = iter([True] * 5 + [False] + [True] * 1000)
    made = RewardLearner(
        Linear(), store, ITEMS, config=CONFIG, seed=0, run=run, go_on=lambda: next(going)
    )
    ask(store, 0, 5)
    before = weights_hash(made.model.state_dict())
    assert made.step(sample) is None
    assert weights_hash(made.model.state_dict()) == before
    assert newest_version(run.reward) is None
    assert made.step(sample) is not None  # what was due is still due
    assert made.n_fits == 1


def test_how_much_better_a_side_is_is_how_sure_the_answer_is(store):
    config = dataclasses.replace(CONFIG, slightly=0.7, clearly=0.95)
    learner = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    said = {
        "a": (Answer.LEFT, "slightly", 0.7),
        "b": (Answer.RIGHT, "slightly", 0.3),
        "c": (Answer.LEFT, "clearly", 0.95),
        "d": (Answer.RIGHT, None, 0.0),
        "e": (Answer.TIE, None, 0.5),
        "f": (Answer.SKIP, None, None),
    }
    store.add_queries([Query(name, "i1", f"i{n + 2}") for n, name in enumerate(said)])
    for name, (answer, strength, _) in said.items():
        if strength:
            store.marks.add_strength(name, "ann", strength, answer_key=name)
        store.submit(name, answer, submission_key=name, annotator_id="ann")
    assert learner.step(lambda: None) is None  # there is no sample: it has read, and that is all
    found = {c.query.id: c.preference for c in learner.comparisons()}
    assert found == {name: pytest.approx(expected) for name, (*_, expected) in said.items()}
    # A new answer counts with its own strength, or none.
    store.submit("a", Answer.LEFT, submission_key="again", annotator_id="ann")
    learner.step(lambda: None)
    assert {c.query.id: c.preference for c in learner.comparisons()}["a"] == 1.0
    with pytest.raises(ConfigError, match="slightly must be in"):
        LearnerConfig(slightly=0.3)


def test_it_is_fitted_to_what_most_people_said(store):
    fit = FitConfig(max_steps=800, min_steps=600)
    config = dataclasses.replace(CONFIG, majority=True, fit=fit)
    learner = RewardLearner(Linear(), store, ITEMS, config=config, seed=0)
    store.add_queries([Query(f"q{n}", f"i{n}", f"i{n + 20}") for n in range(20)])
    for n in range(20):
        for name in ("ann", "bob", "cid"):
            is_left = higher_first_number(ITEMS[f"i{n}"], ITEMS[f"i{n + 20}"]) != (name == "cid")
            answer = Answer.LEFT if is_left else Answer.RIGHT
            key = f"{name}-{n}"
            store.submit(f"q{n}", answer, submission_key=key, annotator_id=name)
    report = learner.step(lambda: sample())
    assert report is not None
    assert learner.n_fitted == 60  # each answer is counted: the agent waits for as many
    assert report.n_comparisons == 20
    scores = learner.model.score(learner.model.collate(list(ITEMS.values()))).mean(0)
    right = [
        (scores[n] > scores[n + 20]).item()
        == higher_first_number(ITEMS[f"i{n}"], ITEMS[f"i{n + 20}"])
        for n in range(20)
    ]
    assert sum(right) >= 18
