"""The stepwise loop is Stable-Baselines3's own, and a resumed agent goes on bit for bit."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from control.agent_runs import CASES, DOT, SMALL, Seen, agent, digest, go_on, total_steps

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint


def run(made, total, n_iterations=None):
    """Steps to the end, or n times; gives the digests of the rollouts."""
    seen = Seen()
    made.start(total, [seen])
    while made.n_iterations != n_iterations and made.iterate():
        pass
    return seen.digests


@pytest.mark.parametrize("case", ["Pendulum-v1 a2c", "MovingDot-v0 ppo", "true reward"])
def test_stepping_is_what_learn_does(case):
    events = [], []

    class Events(Seen):
        def __init__(self, told):
            super().__init__()
            self.told = told

        def _on_training_start(self):
            self.told.append(("start", self.num_timesteps, self.locals["total_timesteps"]))

        def _on_rollout_start(self):
            self.told.append(("rollout", self.num_timesteps, self.model._n_updates))

        def _on_training_end(self):
            self.told.append(("end", self.num_timesteps, self.digests))

    whole = agent(case)
    whole.model.learn(total_steps(case), callback=Events(events[0]))
    stepped = agent(case)
    stepped.start(total_steps(case), [Events(events[1])])
    while stepped.iterate():
        pass
    stepped.finish()
    whole.n_iterations = stepped.n_iterations  # learn() counts for itself
    assert digest(whole) == digest(stepped)
    assert events[0] == events[1]
    assert len(events[0]) > 3


def test_a_policy_that_is_missing_is_named_as_it_would_be(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"policy\.zip'; only"):
        agent("MovingDot-v0 ppo").restore(RunDirectory(tmp_path))


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Each case run through, and run to its middle with the rest done by another process."""
    folder = tmp_path_factory.mktemp("checkpoints")
    through = {}
    for case in CASES:
        whole = agent(case)
        through[case] = (run(whole, total_steps(case)), digest(whole))
        half = agent(case)
        run(half, total_steps(case), n_iterations=whole.n_iterations // 2)
        save_checkpoint(folder / case, half.state_dict())
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, "-m", "control.agent_runs", str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return folder, through, json.loads(child.stdout)


@pytest.mark.parametrize("case", CASES)
def test_a_new_process_goes_on_bit_for_bit(halves, case):
    _, through, resumed = halves
    seen, expected = through[case]
    assert resumed[case]["notes"] == []
    assert resumed[case]["seen"] == seen[len(seen) // 2 :]
    assert resumed[case]["digest"] == expected


def test_whatever_the_global_generators_did_meanwhile(halves):
    folder, through, _ = halves
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    resumed = go_on(folder / "MovingDot-v0 ppo", "MovingDot-v0 ppo")
    assert resumed["digest"] == through["MovingDot-v0 ppo"][1]


def test_episodes_end_and_are_cut_in_these_tests(halves):
    folder, *_ = halves
    for case in CASES:
        state = load_checkpoint(folder / case).state
        assert all(len(env["actions"]) > 0 for env in state["environments"])
    counts = load_checkpoint(folder / "MovingDot-v0 ppo").state["hide_reward"]
    assert counts["n_finished"] > 3
    assert len(counts["finished_returns"]) > 3
    assert (counts["lengths"] > 0).all()


def test_a_state_is_a_copy_that_training_does_not_touch():
    case = "MovingDot-v0 a2c"
    made = agent(case)
    run(made, total_steps(case), n_iterations=4)
    state = made.state_dict()
    before = made.model.policy.state_dict()["action_net.weight"].clone()
    made.iterate()
    assert torch.equal(state["learner"]["modules"]["policy"]["action_net.weight"], before)
    assert not torch.equal(made.model.policy.state_dict()["action_net.weight"], before)
    ends = []
    for _ in range(2):  # and one that loading does not touch
        again = agent(case)
        again.load_state_dict(state)
        run(again, total_steps(case))
        ends.append(digest(again))
    assert ends[0] == ends[1]


def test_no_reset_and_no_step_happens_when_a_resumed_agent_starts(halves):
    folder, *_ = halves
    made = agent("Pendulum-v1 ppo")
    state = load_checkpoint(folder / "Pendulum-v1 ppo").state
    made.load_state_dict(state)
    called = []
    made.environments.reset = lambda: called.append("reset")
    made.start(total_steps("Pendulum-v1 ppo"), [])
    assert not called
    assert made.model._last_obs.tobytes() == state["last_obs"].tobytes()
    # The seeds of the first reset are used up: a later one must not begin all over.
    assert made.normalizer.unwrapped._seeds == [None] * SMALL["n_envs"]


def test_an_environment_that_cannot_be_brought_back_begins_anew_and_says_so(halves, caplog):
    folder, *_ = halves
    case = "MovingDot-v0 ppo"
    state = load_checkpoint(folder / case).state
    state["environments"][1]["last"] = state["environments"][1]["last"] + 1
    made = agent(case)
    notes = made.load_state_dict(state)
    assert len(notes) == 1
    assert notes[0].startswith("environment 1 begins a new episode: the same actions led elsewhere")
    assert "ENVIRONMENT 1 BEGINS A NEW EPISODE" in caplog.text
    hide_reward, starts = made.environments, made.model._last_episode_starts
    assert hide_reward.interrupted == {1}
    assert (hide_reward._lengths[1], hide_reward._returns[1], starts[1]) == (0, 0, True)
    assert (hide_reward._lengths[[0, 2]] > 0).all()
    begun = made.normalizer.normalize_obs(hide_reward._observations)
    assert np.array_equal(made.model._last_obs[1], begun[1])
    assert np.array_equal(made.model._last_obs[[0, 2]], state["last_obs"][[0, 2]])
    # And training goes on: the environment's next episode has its full 50 steps.
    n_finished = hide_reward.n_finished
    run(made, made.model.num_timesteps + 2 * 96)
    assert hide_reward.n_finished >= n_finished + 3
    assert set(hide_reward.finished_lengths) == {50}


def test_the_state_of_another_agent_is_refused(halves):
    folder, *_ = halves
    state = load_checkpoint(folder / "MovingDot-v0 ppo").state
    for config, hide, words in (
        ({"hidden": (8,), "n_steps": 8}, True, r"with policy: .*\(8, 2\)"),
        ({"n_envs": 2, "n_steps": 12}, True, r"with environments: 2; got environments: 3"),
        ({"n_steps": 8}, False, r"with hidden rewards: False"),
    ):
        other = Agent(DOT, "ppo", AgentConfig(**{**SMALL, **config}), seed=3, hide_reward=hide)
        with pytest.raises(RunDirectoryError, match=words):
            other.load_state_dict(state)
