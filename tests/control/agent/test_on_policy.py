import numpy as np
import pytest
import torch
from control.toys import counters
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.control.agent.on_policy import forget_rollout, write_rewards
from prefrl.control.environments.hide_reward import HideReward


class Relabel(BaseCallback):
    """Writes the rewards that the environment would have given, and keeps the buffer's content."""

    def __init__(self, relabel):
        super().__init__()
        self.relabel = relabel

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        if self.relabel:
            hidden = self.model.get_env()
            write_rewards(
                buffer,
                hidden.take().true_rewards.astype(np.float32),
                last_values=self.locals["values"],
                dones=self.locals["dones"],
            )
        self.advantages = buffer.advantages.copy()
        self.returns = buffer.returns.copy()
        self.rewards = buffer.rewards.copy()


def collect(*, relabel, terminates):
    venv = counters(2, length=5, terminates=terminates)
    if relabel:
        venv = HideReward(venv)
        venv.record(16)
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    callback = Relabel(relabel)
    model.learn(32, callback=callback)
    return callback, model.policy.state_dict()


@pytest.mark.parametrize("terminates", [True, False])
def test_relabelling_with_the_true_reward_is_training_on_it(terminates):
    # SB3 adds the bootstrap value of truncated episodes itself: with it lost, these would differ.
    plain, plain_policy = collect(relabel=False, terminates=terminates)
    relabelled, relabelled_policy = collect(relabel=True, terminates=terminates)
    np.testing.assert_allclose(relabelled.rewards, plain.rewards, rtol=1e-5)
    np.testing.assert_allclose(relabelled.returns, plain.returns, rtol=1e-5)
    np.testing.assert_allclose(relabelled.advantages, plain.advantages, rtol=1e-4, atol=1e-4)
    for name, tensor in plain_policy.items():
        assert torch.allclose(relabelled_policy[name], tensor, atol=1e-5), name


def test_truncated_steps_hold_the_bootstrap_value_and_terminated_ones_do_not():
    truncated, _ = collect(relabel=True, terminates=False)
    terminated, _ = collect(relabel=True, terminates=True)
    extra = (truncated.rewards - terminated.rewards)[:, 0]
    assert np.flatnonzero(np.abs(extra) > 1e-6).tolist() == [4, 9, 14]


def test_a_forgotten_rollout_teaches_nothing():
    class Forget(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            forget_rollout(self.model.rollout_buffer)

    venv = HideReward(counters(2, length=5))
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    before = {name: t.clone() for name, t in model.policy.state_dict().items()}
    model.learn(32, callback=Forget())
    for name, tensor in model.policy.state_dict().items():
        # Rounding errors of the value loss are left, which Adam magnifies.
        assert torch.allclose(tensor, before[name], atol=1e-4), name
