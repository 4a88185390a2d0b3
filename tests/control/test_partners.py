"""Partners in other processes: newest weights, samples, and how long the agent waits."""

import pytest
from control.toys import rollout

from prefrl.control.items import Items
from prefrl.control.partners import Apart
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.queries import Questioner
from prefrl.control.recent import load_recent, newest_recent, sample, tidy_recent
from prefrl.control.reward_nets import MlpStepReward
from prefrl.control.segments import SegmentPool, SegmentSampler
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.weights import publish_weights

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
    def make(**options):
        questioner = Questioner(pool, Items(run), store, config=CONFIG.query, rng=rng)
        options = {"max_staleness": 100, "waiting": lambda: pytest.fail("it waited"), **options}
        partners = Apart(run, net(), questioner, store, pool, config=CONFIG.learner, **options)
        return partners, questioner

    return make


def publish(run, version, *, fitted=0, env_steps=0):
    about = {"fitted": fitted, "env_steps": env_steps, "labels": fitted, "steps": 7}
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
    publish(run, 1, fitted=4, env_steps=50)
    used = partners.update(100, asked=False)
    assert (used.version, used.env_steps, used.labels, used.fit_steps) == (1, 50, 4, 7)
    assert partners.update(200, asked=False).fit_steps == 0
    publish(run, 3, fitted=9, env_steps=150)
    assert partners.update(300, asked=False).version == 3


def test_the_first_fit_is_waited_for(run, store, apart):
    def publish_meanwhile():
        publish(run, 1, fitted=1)
        return False

    answer(store, 1)
    partners, _ = apart(waiting=publish_meanwhile)
    assert partners.update(100, asked=False).version == 1


def test_a_later_fit_is_waited_for_only_when_the_reward_is_stale(run, store, apart):
    waited = []

    def publish_meanwhile():
        waited.append(True)
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


def test_told_to_stop_it_waits_no_longer(store, apart):
    answer(store, 1)
    partners, _ = apart(waiting=lambda: True)
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
    assert load_recent(run, 5).env_steps == 4
    tidy_recent(run, {2})
    assert sorted(path.stem for path in run.recent.iterdir()) == ["000002", "000004", "000005"]
    again, _ = apart()
    again.update(9, asked=True)
    assert newest_recent(run) == 6
    with pytest.raises(RunDirectoryError, match="only runs whose"):
        load_recent(run, 1)
