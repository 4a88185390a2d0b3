"""Episodes of the training that are cut early, as by a time limit."""

import numpy as np
import pytest
import torch
from control.toys import Counter

from prefrl import HideReward
from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.environments.limits import LimitEpisodes, Limits
from prefrl.control.environments.making import check_limits, make_environments, restore, snapshots
from prefrl.errors import ConfigError

DOT = "prefrl_envs:prefrl/MovingDot-v0"


class Faller(Counter):
    """Is healthy as its list says."""

    def __init__(self, healthy, length=100):
        super().__init__(length)
        self.healthy = healthy

    @property
    def is_healthy(self):
        return self.healthy[self.t - 1]


def ends(env, n_steps):
    """Steps after which an episode was truncated, or terminated, as a negative number."""
    found = []
    env.reset(seed=0)
    for step in range(1, n_steps + 1):
        _, _, terminated, truncated, _ = env.step(np.zeros(1, np.float32))
        assert not (terminated and truncated)
        if terminated or truncated:
            found.append(-step if terminated else step)
            env.reset()
    return found


def test_a_horizon_cuts_each_episode():
    assert ends(LimitEpisodes(Counter(length=100), Limits(horizon=4)), 13) == [4, 8, 12]


def test_an_episode_that_ends_by_itself_is_no_time_limit():
    assert ends(LimitEpisodes(Counter(length=4), Limits(horizon=4)), 13) == [-4, -8, -12]


def test_a_hidden_ending_is_a_time_limit():
    assert ends(LimitEpisodes(Counter(length=4), Limits(at_endings=True)), 13) == [4, 8, 12]
    assert ends(LimitEpisodes(Counter(length=4), Limits(horizon=3, at_endings=True)), 7) == [3, 6]


def test_a_fall_cuts_the_episode_if_it_stays_down():
    # Down at step 2, up again, down from step 5 on.
    env = Faller([True, False, True, True, *[False] * 20])
    assert ends(LimitEpisodes(env, Limits(after_fall=3)), 15) == [7, 14]
    assert ends(LimitEpisodes(env, Limits(after_fall=3, horizon=6)), 15) == [6, 12]
    assert ends(LimitEpisodes(env, Limits(after_fall=1)), 5) == [2, 4]


def test_falls_are_where_the_environment_says_so():
    with pytest.raises(ConfigError, match="expected an environment with is_healthy"):
        check_limits("HalfCheetah-v5", Limits(after_fall=10))
    for env_id in ("Hopper-v5", "prefrl_envs:prefrl/Walker2d-v0"):
        check_limits(env_id, Limits(after_fall=10))
    check_limits("HalfCheetah-v5", Limits(horizon=10))


def test_games_that_are_stepped_together_are_refused():
    with pytest.raises(ConfigError, match="no horizon and no reset_after_fall"):
        check_limits("prefrl_envs:prefrl/Breakout-v0", Limits(horizon=10))
    check_limits("prefrl_envs:prefrl/Breakout-v0", Limits())


def act(venv, actions):
    return [venv.step(action) for action in actions]


def test_a_hopper_that_fell_begins_anew_and_its_learner_is_told_of_a_time_limit():
    made = make_environments(
        "prefrl_envs:prefrl/Hopper-v0", n_envs=1, seed=0, limits=Limits(after_fall=20)
    )
    venv = HideReward(made)
    venv.reset()
    steps = act(venv, np.full((200, 1, 3), 1.0, np.float32))
    cuts = [t for t, (_, _, dones, _) in enumerate(steps) if dones[0]]
    # A fall takes some steps, 20 more pass on the ground, and then it happens again.
    assert len(cuts) > 2
    assert min(np.diff(cuts)) > 20
    assert max(np.diff(cuts)) < 100
    for t in cuts:
        info = steps[t][3][0]
        assert info["TimeLimit.truncated"]
        assert info["episode"]["l"] == t - max([c for c in cuts if c < t], default=-1)
        height, angle = info["terminal_observation"][:2]
        assert height < 0.7 or abs(angle) > 0.2  # what Gymnasium's Hopper calls not healthy
        assert steps[t][0][0, :2] == pytest.approx([1.25, 0], abs=0.01)  # it stands again
    venv.close()


@pytest.mark.parametrize("n_before", [33, 47])
def test_an_environment_comes_back_in_the_middle_of_a_fall(n_before):
    def made():
        return make_environments(
            "prefrl_envs:prefrl/Hopper-v0",
            n_envs=2,
            seed=0,
            limits=Limits(after_fall=20, horizon=61),
        )

    actions = np.random.default_rng(0).uniform(-1, 1, (300, 2, 3)).astype(np.float32)
    venv, again = made(), made()
    venv.reset()
    act(venv, actions[:n_before])
    assert restore(again, snapshots(venv), seeds=[0, 0]) == ["", ""]
    again._reset_seeds()
    n_cut = 0
    for action in actions[n_before:]:
        (seen, _, dones, _), (seen_again, _, dones_again, _) = venv.step(action), again.step(action)
        assert seen.tobytes() == seen_again.tobytes()
        assert dones.tolist() == dones_again.tolist()
        n_cut += int(dones.sum())
    assert n_cut >= 8
    for one in (venv, again):
        one.close()


def test_values_go_on_beyond_the_cut():
    """Stable-Baselines3 puts gamma times the value of the last state into the cut step's reward."""
    config = AgentConfig(n_envs=1, n_steps=20, batch_size=20, n_epochs=1, hidden=(8,), gamma=0.5)
    agent = Agent(DOT, "ppo", config, seed=0, limits=Limits(horizon=8))
    with torch.no_grad():
        agent.model.policy.value_net.bias.fill_(10.0)
    agent.start(20, [])
    agent.iterate()
    rewards = agent.model.rollout_buffer.rewards[:, 0]
    (cuts,) = np.nonzero(rewards)
    assert cuts.tolist() == [7, 15]
    assert rewards[cuts] == pytest.approx(5.0, abs=2.0)
    agent.close()
