"""Partners in other processes: newest weights, samples, and how long the agent waits."""

import threading
import time

import pytest
from control.toys import rollout

from prefrl.control.items import Items
from prefrl.control.pool import SegmentPool
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.queries import SegmentSource
from prefrl.control.recent import SegmentSamples, load_recent, sample
from prefrl.control.reward.mlp import MlpStepReward
from prefrl.control.segments import SegmentSampler
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import RunDirectoryError
from prefrl.runtime.partners import WAITING_FOR_ANSWERS, Apart, Patience
from prefrl.runtime.questioner import Questioner
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.recent import newest_recent, tidy_recent
from prefrl.runtime.rundir.weights import publish_weights

CONFIG = PreferenceConfig(refit_growth=0.5)


def net(**options):
    return MlpStepReward(1, 1, n_members=2, config=CONFIG.net, **options)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def store(run):
    with LabelStore(run.labels) as store:
        yield store


@pytest.fixture
def pool():
    pool = SegmentPool(1000)
    for segment, rewards in SegmentSampler(20, 2).cut(rollout(1000, 2), env_steps=2000):
        pool.add(segment, rewards)
    return pool


@pytest.fixture
def apart(run, store, pool, rng):
    def make(waiting=lambda state: pytest.fail("it waited"), max_unanswered=None):
        questioner = Questioner(
            SegmentSource(pool, Items(run), CONFIG.query), store, config=CONFIG.query, rng=rng
        )
        options = {"patience": Patience(100, max_unanswered), "waiting": waiting}
        samples = SegmentSamples(pool, run)
        partners = Apart(run, net(), questioner, store, samples, config=CONFIG.learner, **options)
        return partners, questioner

    return make


def publish(run, version, *, fitted=0, run_steps=0):
    about = {"fitted": fitted, "run_steps": run_steps, "labels": fitted, "steps": 7}
    about |= {"holdout_loss": 0.5, "holdout_accuracy": 0.8}
    publish_weights(run.reward, version, net().state_dict(), about=about)


def answer(store, n, start=0):
    store.add_queries([Query(f"q{i}", "left", "right") for i in range(start, start + n)])
    for i in range(start, start + n):
        store.submit(f"q{i}", Answer.LEFT, submission_key=f"{i}", annotator_id="me")


def test_without_answers_it_goes_on_without_a_reward(apart):
    partners, _ = apart()
    for step in range(0, 10_000, 1000):
        assert partners.update(step, asked=False).version == 0


def test_newer_weights_are_taken_once(run, apart):
    partners, _ = apart()
    publish(run, 1, fitted=4, run_steps=50)
    used = partners.update(100, asked=False)
    assert (used.version, used.run_steps, used.labels, used.fit_steps) == (1, 50, 4, 7)
    assert partners.update(200, asked=False).fit_steps == 0
    publish(run, 3, fitted=9, run_steps=150)
    assert partners.update(300, asked=False).version == 3


def test_the_first_fit_is_waited_for(run, store, apart):
    def publish_meanwhile(state):
        assert state == "waiting for the reward learner"
        publish(run, 1, fitted=1)
        return False

    answer(store, 1)
    partners, _ = apart(waiting=publish_meanwhile)
    assert partners.update(100, asked=False).version == 1


def test_a_later_fit_is_waited_for_only_when_the_reward_is_stale(run, store, apart):
    waited = []

    def publish_meanwhile(state):
        waited.append(state)
        publish(run, 2, fitted=6)
        return False

    publish(run, 1, fitted=4)
    partners, _ = apart(waiting=publish_meanwhile)
    answer(store, 6)
    for step in (1000, 1050, 1100):  # due since 1000; 100 steps are allowed
        assert partners.update(step, asked=False).version == 1
    assert not waited
    assert partners.update(1101, asked=False).version == 2
    assert len(waited) == 1


def test_to_settle_is_to_wait_for_a_fit_to_all_answers_though_none_is_due(run, store, apart):
    waited = []

    def fit_what_is_wanted(state):
        waited.append(state)
        publish(run, 2, fitted=run.read_json(run.wanted)["answers"])
        return False

    publish(run, 1, fitted=4)
    answer(store, 5)
    partners, _ = apart(waiting=fit_what_is_wanted)
    n_samples = newest_recent(run)
    assert partners.settle(100)
    assert partners.settle(100)
    assert (len(waited), partners.used.version) == (1, 2)
    assert newest_recent(run) == n_samples + 2


def test_to_settle_counts_each_answer_of_a_query_that_several_gave(run, store, apart):
    def fit_what_is_wanted(state):
        publish(run, 2, fitted=run.read_json(run.wanted)["answers"])
        return False

    answer(store, 4)
    for i in range(4):
        store.submit(f"q{i}", Answer.LEFT, submission_key=f"again {i}", annotator_id="you")
    publish(run, 1, fitted=8)
    answer(store, 2, start=4)
    partners, _ = apart(waiting=fit_what_is_wanted)
    assert partners.settle(100)
    assert partners.used.version == 2
    assert run.read_json(run.wanted)["answers"] == 10


def test_told_to_stop_it_waits_no_longer(store, apart):
    answer(store, 1)
    partners, _ = apart(waiting=lambda state: True)
    assert partners.update(100, asked=False).version == 0
    assert not partners.settle(100)


def ask(store, n, start=0):
    store.add_queries([Query(f"q{i}", "left", "right") for i in range(start, start + n)])


class Person(threading.Thread):
    """Answers from a store of its own, one query at a time, as fast as it can."""

    def __init__(self, run, n):
        super().__init__()
        self.run_directory, self.n = run, n
        self.start()

    def run(self):
        with LabelStore(self.run_directory.labels) as store:
            for number in range(self.n):
                (lease,) = store.lease("anna", n=1)
                key = f"{lease.query.id}/{number}"
                store.submit(lease.query.id, Answer.LEFT, submission_key=key, annotator_id="anna")


def test_with_people_the_agent_waits_while_too_much_is_unanswered(run, store, apart):
    heard = []

    def waiting(state):
        heard.append((state, store.counts().open))
        return False

    publish(run, 1, fitted=100)
    ask(store, 6)
    partners, _ = apart(waiting, max_unanswered=3)
    person = Person(run, 4)
    started = time.monotonic()
    partners.update(100, asked=False)
    person.join()
    assert store.counts().open <= 3
    assert {state for state, _ in heard} <= {WAITING_FOR_ANSWERS}
    # It looks at the store four times a second, not more.
    assert len(heard) <= 1 + (time.monotonic() - started) / 0.25
    heard.clear()
    partners.update(200, asked=False)
    assert not heard


def test_while_it_waits_for_people_it_takes_newer_rewards(run, store, apart):
    def publish_meanwhile(state):
        publish(run, 2, fitted=100)
        return partners.used.version == 2

    publish(run, 1, fitted=100)
    ask(store, 6)
    partners, _ = apart(publish_meanwhile, max_unanswered=3)
    assert partners.update(100, asked=False).version == 2
    assert store.counts().open == 6


def test_before_the_first_fit_it_waits_for_any_answer(run, store, apart):
    heard = []

    def answer_and_fit(state):
        heard.append(state)
        if state == WAITING_FOR_ANSWERS:
            answer(store, 1)
        else:
            publish(run, 1, fitted=1)
        return False

    ask(store, 1)  # far fewer than what it may leave unanswered
    partners, _ = apart(answer_and_fit, max_unanswered=50)
    assert partners.update(100, asked=False).version == 1
    assert heard == [WAITING_FOR_ANSWERS, "waiting for the reward learner"]


def test_an_answer_of_cannot_tell_does_not_hold_it_up(run, store, apart):
    ask(store, 1)
    store.submit("q0", Answer.SKIP, submission_key="0", annotator_id="anna")
    partners, _ = apart(max_unanswered=5)
    assert partners.update(100, asked=False).version == 0


def test_told_to_stop_it_waits_for_people_no_longer(store, apart):
    ask(store, 6)
    partners, _ = apart(lambda state: True, max_unanswered=5)
    assert partners.update(100, asked=False).version == 0


def test_weights_that_are_not_finite_are_refused(run, apart, caplog):
    publish(run, 1, fitted=4)
    partners, _ = apart()
    partners.update(0, asked=False)
    broken = net()
    broken.weights[0].data.fill_(float("nan"))
    publish_weights(run.reward, 2, broken.state_dict(), about={})
    assert partners.update(100, asked=False).version == 1
    assert "version 2 is not finite: version 1 stays" in caplog.text


def test_weights_that_are_damaged_leave_the_older_ones_in_use(run, apart):
    publish(run, 1, fitted=4)
    partners, _ = apart()
    partners.update(0, asked=False)
    publish(run, 2, fitted=8)
    path = run.reward / "v000002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    for step in (100, 200):
        assert partners.update(step, asked=False).version == 1


def test_what_the_store_has_asked_is_not_asked_again(store, apart):
    answer(store, 3)
    _, questioner = apart()
    assert list(questioner.asked) == ["q0", "q1", "q2"]


def test_a_sample_sees_all_of_the_pool_and_few_steps_of_each(pool):
    segments = sample(pool.recent(1000))
    assert len(segments) == 100
    assert all(len(segment) == 10 and segment.states is None for segment in segments)
    assert len(sample(pool.recent(1000) * 10)) <= 400


def test_samples_are_numbered_on_and_tidied(run, apart):
    partners, _ = apart()
    for step in range(5):
        partners.update(step, asked=True)
    assert newest_recent(run) == 5
    assert load_recent(run, 5).run_steps == 4
    tidy_recent(run, {2})
    assert sorted(path.stem for path in run.recent.iterdir()) == ["000002", "000004", "000005"]
    again, _ = apart()
    again.update(9, asked=True)
    assert newest_recent(run) == 6
    with pytest.raises(RunDirectoryError, match="only runs whose"):
        load_recent(run, 1)
