"""People answer what a script asks: at a page that lives as long as its call of learn()."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import gymnasium as gym
import pytest
from control.counter import Counter
from labelling import LINK, Browser, link_in, wait_for
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from prefrl import (
    FitConfig,
    HideReward,
    LabelStore,
    PreferenceCallback,
    PreferenceConfig,
    QueryConfig,
    RunDirectory,
    record_for_films,
)
from prefrl.cli import main
from prefrl.commands.page import is_served
from prefrl.control.agent import people
from prefrl.errors import ConfigError, RoleError
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir.weights import newest_version

pytestmark = pytest.mark.timeout(180)
LABELS = 6
CONFIG = PreferenceConfig(
    labels=LABELS,
    segment_length=10,
    query=QueryConfig(warmup_segments=10),
    fit=FitConfig(min_steps=10, max_steps=10),
)
SCRIPT = """
    import sys
    import prefrl
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    record = prefrl.record_for_films
    venv = prefrl.HideReward(make_vec_env({env_id!r}, n_envs=2, seed=0, wrapper_class=record))
    model = PPO("MlpPolicy", venv, n_steps=128, batch_size=64, n_epochs=1, device="cpu", seed=0)
    config = prefrl.PreferenceConfig(
        labels={labels},
        segment_length=10,
        query=prefrl.QueryConfig(warmup_segments=10),
        fit=prefrl.FitConfig(min_steps=10, max_steps=10),
    )
    callback = prefrl.PreferenceCallback(config, oracle="human", run={run!r}, total_steps=2048)
"""
ONCE = 'model.learn(2048, callback=callback)\nprint("learned")'
INTERRUPTED = """
    for part in range(2):
        try:
            model.learn(1024, callback=callback)
        except KeyboardInterrupt:
            print("interrupted", part, flush=True)
            sys.stdin.readline()
"""


@contextlib.contextmanager
def script(folder, *, ends=ONCE, env_id="CartPole-v1", labels=LABELS):
    """A script of the user's under way; gives its process, its run and what it prints."""
    run, out = RunDirectory(folder / "run"), folder / "out"
    begins = textwrap.dedent(SCRIPT).format(env_id=env_id, run=str(run.root), labels=labels)
    (folder / "script.py").write_text(begins + textwrap.dedent(ends))
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(folder / "script.py")],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Where the tests themselves run in the background, Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        with process.stdin:
            yield process, run, out
    finally:
        process.kill()
        process.wait()


def is_alive(pid):
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def processes(run):
    """Those that serve people."""
    roles = ("people", "viewer", "renderer")
    return [status.pid for role in roles if (status := read_status(run, role)) is not None]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "HalfCheetah-v5"])
def test_a_person_teaches_the_agent_of_a_script(tmp_path, env_id, capsys):
    with script(tmp_path, env_id=env_id) as (process, run, out):
        browser = Browser(link_in(out))
        browser.label_while(lambda: process.poll() is None)
        assert process.returncode == 0, out.read_text()
    assert "learned" in out.read_text()
    assert len(LINK.findall(out.read_text())) == 1
    with LabelStore(run.labels) as store:
        events, counts = store.events(), store.counts()
    assert {event.annotator_id for event in events} == {"owner"}
    assert counts.queries == LABELS
    # It was never more than five answers ahead.
    assert counts.open <= 5
    assert newest_version(run.reward) >= 1
    assert run.policy.is_file()
    assert not is_served(run)
    assert run.read_json(run.config)["oracle"] == "human"
    main(["status", str(run.root)])
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["agent", "renderer", "viewer"]
    assert "learner" not in shown


def test_the_page_goes_with_a_script_that_is_killed(tmp_path):
    with script(tmp_path) as (process, run, out):
        Browser(link_in(out))
        wait_for(lambda: len(processes(run)) == 3)
        served = processes(run)
        assert all(map(is_alive, served))
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_alive, served)))
    assert not is_served(run)


def test_the_page_goes_with_a_training_that_is_interrupted_and_comes_again(tmp_path):
    with script(tmp_path, ends=INTERRUPTED, labels=40) as (process, run, out):
        browser = Browser(link_in(out))
        wait_for(browser.tasks)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "interrupted 0" in out.read_text())
        wait_for(lambda: not is_served(run))
        assert process.poll() is None  # as in a notebook
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_for(lambda: len(LINK.findall(out.read_text())) == 2)
        wait_for(browser.is_there)  # at the same address: who was in is still in
        browser.label_while(lambda: browser.n_stored < 3)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "interrupted 1" in out.read_text())
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(40) == 0, out.read_text()
    with LabelStore(run.labels) as store:
        assert len(store.events()) >= 3
    assert not is_served(run)


def ppo(venv):
    options = {"n_steps": 128, "batch_size": 64, "n_epochs": 1, "seed": 0, "device": "cpu"}
    return PPO("MlpPolicy", HideReward(venv), **options)


def cartpoles(**options):
    return make_vec_env("CartPole-v1", n_envs=2, seed=0, **options)


def test_with_mixed_true_returns_fill_in_while_nobody_is_there(tmp_path, capfd):
    venv = cartpoles(wrapper_class=record_for_films, vec_env_cls=SubprocVecEnv)
    callback = PreferenceCallback(CONFIG, oracle="mixed", run=tmp_path / "run")
    try:
        ppo(venv).learn(1024, callback=callback)
    finally:
        venv.close()
    assert LINK.search(capfd.readouterr().out)
    assert {event.annotator_id for event in callback.store.events()} == {"oracle"}
    assert callback.partners.used.version >= 1
    run = callback.run
    assert run.read_json(run.config)["oracle"] == "mixed"
    assert not is_served(run)
    # Films can be made of what was asked, from other processes' environments, too.
    segment = next(iter(callback.items.values()))
    assert {int(number) for number in segment.states[:, 0]} == set(segment.journals)


def test_a_page_that_is_killed_is_served_again(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(people, "_SECONDS_OF_A_LIFE", 0.0)
    killed = []

    def kill_it(row):
        if not killed:
            killed.append(read_status(RunDirectory(tmp_path / "run"), "people").pid)
            os.kill(killed[0], signal.SIGKILL)
            wait_for(lambda: is_dead_child(killed[0]))

    options = {"oracle": "mixed", "run": tmp_path / "run", "on_rollout": kill_it}
    callback = PreferenceCallback(CONFIG, **options)
    ppo(cartpoles(wrapper_class=record_for_films)).learn(1024, callback=callback)
    assert len(LINK.findall(capfd.readouterr().out)) == 2
    assert read_status(callback.run, "people").pid != killed[0]
    assert callback.rows[-1]["env_steps"] == 1024
    wait_for(lambda: not any(map(is_alive, processes(callback.run))))


def is_dead_child(pid):
    """Whether it has ended, whoever has to wait for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_people_need_a_run():
    with pytest.raises(ConfigError, match=r'write PreferenceCallback\(oracle=\'human\', run="runs'):
        PreferenceCallback(oracle="human")


def test_an_unknown_oracle_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected oracle to be human, mixed, a function"):
        PreferenceCallback(oracle="humans", run=tmp_path / "run")


def test_what_is_not_recorded_is_refused_with_the_words_that_are_missing(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"wrapper_class=prefrl\.record_for_films"):
        ppo(cartpoles()).learn(512, callback=PreferenceCallback(oracle="human", run=run))
    # Mended, the script takes the same directory.
    mended = PreferenceCallback(CONFIG, run=run)
    ppo(cartpoles()).learn(512, callback=mended)
    assert mended.rows


@pytest.fixture
def registered():
    """Registers environments, and forgets them."""
    ids = []

    def register(env_id, entry_point):
        ids.append(env_id)
        gym.register(env_id, entry_point=entry_point)
        return DummyVecEnv([lambda: record_for_films(gym.make(env_id))] * 2)

    yield register
    for env_id in ids:
        del gym.registry[env_id]


def of_the_script():
    return Counter(length=20)


of_the_script.__module__ = "__main__"


def test_an_environment_that_another_process_cannot_make_is_refused(tmp_path, registered):
    unknown = DummyVecEnv([lambda: record_for_films(Counter(length=20))] * 2)
    for venv, message in [
        (unknown, "people are shown films, but Counter is not registered with Gymnasium"),
        (registered("Mine-v0", of_the_script), "Mine-v0 is made by a class of the script itself"),
    ]:
        callback = PreferenceCallback(CONFIG, oracle="human", run=tmp_path / "run")
        with pytest.raises(ConfigError, match=message):
            ppo(venv).learn(512, callback=callback)


def test_an_environment_that_cannot_be_drawn_is_refused(tmp_path, monkeypatch, capfd):
    (tmp_path / "blind_tasks.py").write_text(
        "import gymnasium\n"
        "from control.counter import Counter\n"
        "class Blind(Counter): pass\n"
        "gymnasium.register('Blind-v0', entry_point='blind_tasks:Blind')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    venv = DummyVecEnv([lambda: record_for_films(gym.make("blind_tasks:Blind-v0"))] * 2)
    callback = PreferenceCallback(CONFIG, oracle="human", run=tmp_path / "run")
    with pytest.raises(ConfigError, match="Blind-v0 cannot be filmed here"):
        ppo(venv).learn(512, callback=callback)
    assert not callback.rows
    assert not capfd.readouterr().out
    assert not is_served(callback.run)


def test_a_page_that_dies_at_once_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    venv = cartpoles(wrapper_class=record_for_films)
    callback = PreferenceCallback(CONFIG, oracle="human", run=tmp_path / "run")
    with pytest.raises(RoleError, match="the labelling page cannot be served"):
        ppo(venv).learn(512, callback=callback)
