"""Every algorithm learns to move the dot to its target from 100 comparisons."""

import pytest

from prefrl import PreferenceConfig, TrainConfig, train
from prefrl.control.agent.config import AgentConfig
from prefrl.control.queries import QueryConfig

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONTINUOUS = "prefrl_envs:prefrl/MovingDotContinuous-v0"
ROLLOUTS = {"n_envs": 8, "n_steps": 100, "hidden": (32,), "learning_rate": 3e-3}
CRITIC = {"hidden": (32, 32), "learning_starts": 1000, "learning_rate": 3e-3, "batch_size": 64}
CRITIC |= {"n_envs": 4, "train_freq": 2, "gradient_steps": 2, "gamma": 0.9}
# TD3's actions saturate when it learns as fast as the others.
SLOWER = {"learning_rate": 1e-3, "learning_starts": 2000, "hidden": (64, 64), "tau": 0.02}
SLOWER |= {"gradient_steps": 4}
SETTINGS = {
    "ppo": (8_000, {**ROLLOUTS, "batch_size": 200, "gamma": 0.9}),
    "a2c": (10_000, {**ROLLOUTS, "n_steps": 25, "gamma": 0.9}),
    "trpo": (8_000, {**ROLLOUTS, "batch_size": 200, "gamma": 0.9}),
    "recurrent-ppo": (10_000, {**ROLLOUTS, "batch_size": 200, "gamma": 0.9, "lstm_hidden_size": 8}),
    "sac": (5_000, CRITIC),
    "td3": (8_000, {**CRITIC, **SLOWER, "action_noise": "normal", "action_noise_std": 0.5}),
    "tqc": (6_000, {**CRITIC, "n_quantiles": 5, "top_quantiles_to_drop_per_net": 1}),
    "crossq": (5_000, {**CRITIC, "critic_hidden": (64, 64)}),
    "dqn": (6_000, {**CRITIC, "target_update_interval": 100, "exploration_fraction": 0.5}),
    "qr-dqn": (
        8_000,
        {**CRITIC, "n_quantiles": 20, "target_update_interval": 100, "exploration_fraction": 0.5},
    ),
}
SOLVED = -30  # random play has about -90; the best is near -15


def learned(path, algo, seed=0):
    steps, agent = SETTINGS[algo]
    preferences = PreferenceConfig(
        labels=100, segment_length=10, refit_growth=0.4, query=QueryConfig(warmup_segments=50)
    )
    return train(
        TrainConfig(
            DOT if "q" in algo.replace("tqc", "").replace("crossq", "") else CONTINUOUS,
            algo=algo,
            steps=steps,
            sync=True,
            seed=seed,
            run=path,
            films=False,
            eval_episodes=20,
            preferences=preferences,
            agent=AgentConfig(settings="default", **agent),
        )
    )


# One of each kind; the others' own parts are held in the agent's tests.
EVERY_TIME = {"ppo", "a2c", "sac", "crossq", "dqn"}


@pytest.mark.parametrize(
    "algo",
    [one if one in EVERY_TIME else pytest.param(one, marks=pytest.mark.slow) for one in SETTINGS],
)
def test_it_learns_from_comparisons(tmp_path, algo):
    summary = learned(tmp_path / "run", algo).summary
    assert summary["labels"] == 100
    assert summary["eval_return_before_mean"] < -50
    assert summary["eval_return_mean"] > SOLVED
