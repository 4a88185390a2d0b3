"""The agent as a role: when it looks at its policy."""

import numpy as np
import pytest
import torch

from prefrl import PreferenceCallback, PreferenceConfig, TrainConfig
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.agent_role import AgentRole
from prefrl.control.queries import QueryConfig
from prefrl.runtime.roles.role import Heartbeat, StopSignal
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint


@pytest.fixture
def role(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    preferences = PreferenceConfig(
        labels=10, segment_length=10, first_labels=10, query=QueryConfig(warmup_segments=400)
    )
    config = TrainConfig(
        "prefrl_envs:prefrl/MovingDot-v0",
        steps=5000,
        algo="a2c",
        run=run.root,
        preferences=preferences,
        agent=AgentConfig(n_envs=8, n_steps=5, hidden=(8,)),
    )
    callback = PreferenceCallback(preferences, run=run)
    with StopSignal() as stop:
        yield AgentRole(config, run, callback, stop=stop, heartbeat=Heartbeat(run, "agent"))


def test_short_updates_are_looked_at_together(role, monkeypatch):
    looked = []
    check = role._rollback.check
    monkeypatch.setattr(role._rollback, "check", lambda: looked.append(1) or check())
    for _ in range(50):  # 40 steps each
        assert role.step()
    assert len(looked) == 2


def finite(policy):
    return all(bool(torch.isfinite(t).all()) for t in policy.state_dict().values())


def test_no_checkpoint_has_a_policy_that_is_not_finite(role):
    """The net of the values alone: actions are drawn as before, and nothing refuses."""
    policy = role.agent.model.policy
    assert role.step()
    with torch.no_grad():
        policy.value_net.weight.fill_(np.nan)
    role.save()
    assert finite(policy)
    kept = load_checkpoint(role._run.checkpoints).state["agent"]["learner"]["modules"]["policy"]
    assert all(bool(torch.isfinite(t).all()) for t in kept.values())


def test_it_says_that_it_lives_in_each_gradient_step_of_an_update(role, monkeypatch):
    assert role.step()
    beats = []
    monkeypatch.setattr(role._heartbeat, "beat", lambda *state, **about: beats.append(state))
    role.agent.model.train()
    assert beats == [()]
