"""Numbers that are not finite: taken back, counted, and in the end a dump that says where."""

import contextlib
import json

import numpy as np
import pytest
import torch
from control.toys import counters
from stable_baselines3 import PPO, SAC

from prefrl.control.agent.off_policy import ReplayLoop
from prefrl.control.agent.on_policy import RolloutLoop
from prefrl.control.agent.rollback import Rollback
from prefrl.errors import NonFiniteError
from prefrl.runtime.rundir import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def model():
    model = PPO("MlpPolicy", counters(2, length=20), n_steps=16, batch_size=16, n_epochs=1, seed=0)
    return model.learn(32)


def parameters(model):
    adam = model.policy.optimizer.state_dict()["state"]
    return torch.cat(
        [p.detach().flatten() for p in model.policy.parameters()]
        + [t.flatten() for state in adam.values() for t in state.values()]
    ).clone()


def poison(model):
    """A NaN in one reward, as a broken reward would leave it, and the update with it."""
    model.rollout_buffer.advantages.flat[3] = np.nan
    with contextlib.suppress(ValueError):  # the second minibatch meets a policy of NaN
        model.train()


def test_a_finite_update_is_kept(model, run):
    rollback = Rollback(model, run, RolloutLoop(model).describe)
    before = parameters(model)
    model.train()
    assert rollback.check()
    assert not torch.equal(parameters(model), before)


def test_a_nan_in_the_rollout_reaches_no_parameter(model, run):
    rollback = Rollback(model, run, RolloutLoop(model).describe)
    before = parameters(model)
    poison(model)
    assert not torch.isfinite(parameters(model)).all()
    assert not rollback.check()
    assert torch.equal(parameters(model), before)


def test_it_goes_back_as_often_as_it_must_if_updates_in_between_are_well(model, run):
    rollback = Rollback(model, run, RolloutLoop(model).describe)
    for _ in range(4):
        poison(model)
        assert not rollback.check()
        model.rollout_buffer.advantages[:] = 0.1
        model.train()
        assert rollback.check()
    assert not run.dump("agent").exists()


def test_the_third_in_a_row_stops_with_a_dump_that_says_where(model, run):
    rollback = Rollback(model, run, RolloutLoop(model).describe)
    for _ in range(2):
        poison(model)
        assert not rollback.check()
    poison(model)
    with pytest.raises(NonFiniteError, match=r"3 times in a row .*dump-agent\.json"):
        rollback.check()
    dump = json.loads(run.dump("agent").read_text())
    assert dump["env_steps"] == 32
    assert dump["not_finite_in_the_data"] == {"advantages": 1}
    assert dump["parameters"]


def test_the_temperature_of_sac_is_looked_after_too(run):
    """It is no parameter of the policy, and a NaN in it reaches all at the next update."""
    model = SAC("MlpPolicy", counters(2, length=20), batch_size=8, learning_starts=8, seed=0)
    model.learn(32)
    rollback = Rollback(model, run, ReplayLoop(model, lambda: True).describe)
    before = model.log_ent_coef.detach().clone()
    with torch.no_grad():
        model.log_ent_coef.fill_(np.nan)
        model.critic.qf0[0].weight.fill_(np.nan)
    assert not rollback.check()
    assert torch.equal(model.log_ent_coef, before)
    assert model.ent_coef_optimizer.param_groups[0]["params"][0] is model.log_ent_coef
    assert torch.isfinite(model.critic.qf0[0].weight).all()
