"""Environments in processes of their own, against the same in one process."""

import os
import signal
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from control.counter import Careless, Counter
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.environments.guard import FAULT_KEY
from prefrl.control.environments.processes import Processes
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.worker import split
from prefrl.errors import EnvironmentFaultError


def counter(length):
    return Rewind(Counter(length=length))


@pytest.fixture
def made():
    opened = []

    def make(makes, n_processes):
        opened.append(Processes(makes, n_processes, seed=0))
        return opened[-1]

    yield make
    for venv in opened:
        venv.close()


def zeros(venv):
    return np.zeros((venv.num_envs, 1), np.float32)


def test_environments_are_shared_out_evenly():
    assert [list(part) for part in split(5, 2)] == [[0, 1], [2, 3, 4]]
    assert [list(part) for part in split(2, 4)] == [[0], [1]]


@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_steps_are_those_of_one_process(made, n_processes):
    makes = [partial(counter, 3 + i) for i in range(3)]
    apart, here = made(makes, n_processes), DummyVecEnv(makes)
    here.seed(0)
    assert (apart.reset() == here.reset()).all()
    for step in range(8):
        actions = np.full((3, 1), step / 10, np.float32)
        (seen, rewards, dones, infos), expected = apart.step(actions), here.step(actions)
        for mine, theirs in zip((seen, rewards, dones), expected, strict=False):
            assert mine.dtype == theirs.dtype
            assert (mine == theirs).all()
        for info, other in zip(infos, expected[3], strict=True):
            ended = other.get("terminal_observation")
            assert info["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            assert (info.get("terminal_observation") == ended) if ended is None else True
            if ended is not None:
                assert (info["terminal_observation"] == ended).all()
                assert info["episode"]["l"] == int(ended[0])
    assert [len(s["actions"]) for s in apart.env_method("snapshot")] == [2, 0, 3]


def test_a_random_environment_is_the_same_in_a_process(made):
    makes = [partial(gym.make, "CartPole-v1")] * 2
    apart, here = made(makes, 2), DummyVecEnv(makes)
    here.seed(0)
    assert (apart.reset() == here.reset()).all()
    for _ in range(60):
        assert (apart.step(np.ones(2, int))[0] == here.step(np.ones(2, int))[0]).all()


def test_they_load_no_torch_and_end_with_whoever_uses_them(made):
    venv = made([partial(gym.make, "CartPole-v1")] * 2, 2)
    venv.reset()
    pids = [worker._process.pid for worker in venv._workers]
    for pid in pids:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
    venv.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_is_killed_is_started_again_and_its_episodes_are_cut(made):
    venv = made([partial(counter, 100)] * 3, 2)  # the first one is alone in its process
    venv.reset()
    for _ in range(5):
        venv.step(zeros(venv))
    victim = venv._workers[0]._process.pid
    os.kill(victim, signal.SIGKILL)
    seen, rewards, dones, infos = venv.step(zeros(venv))
    assert dones.tolist() == [True, False, False]
    assert infos[0][FAULT_KEY] == "its process died"
    assert infos[0]["TimeLimit.truncated"]
    assert infos[0]["terminal_observation"].tolist() == [5, -5]
    assert seen[:, 0].tolist() == [0, 6, 6]
    assert rewards[0] == 0
    seen, _, dones, _ = venv.step(zeros(venv))
    assert seen[:, 0].tolist() == [1, 7, 7]
    assert not dones.any()


def test_where_it_is_found_dead_between_steps_the_next_one_says_so(made):
    venv = made([partial(counter, 100)] * 2, 2)
    venv.reset()
    venv.step(zeros(venv))
    os.kill(venv._workers[1]._process.pid, signal.SIGKILL)
    assert [len(s["actions"]) for s in venv.env_method("snapshot")] == [1, 0]
    _, _, dones, infos = venv.step(zeros(venv))
    assert dones.tolist() == [False, True]
    assert FAULT_KEY in infos[1]
    assert not venv.step(zeros(venv))[2].any()


def test_processes_that_keep_dying_end_the_training(made):
    venv = made([partial(counter, 100)] * 2, 1)
    venv.reset()
    for _ in range(5):
        os.kill(venv._workers[0]._process.pid, signal.SIGKILL)
        venv.step(zeros(venv))
    os.kill(venv._workers[0]._process.pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFaultError, match="died 6 times within"):
        venv.step(zeros(venv))


def test_what_an_environment_raises_arrives_as_a_sentence(made):
    venv = made([Careless], 1)
    venv.reset()
    for _ in range(2):
        venv.step(zeros(venv))
    with pytest.raises(EnvironmentFaultError, match="RuntimeError: the simulator has gone"):
        venv.step(zeros(venv))


def test_ctrl_c_is_not_for_them(made):
    venv = made([partial(counter, 100)], 1)
    venv.reset()
    os.kill(venv._workers[0]._process.pid, signal.SIGINT)
    assert not venv.step(zeros(venv))[2].any()
