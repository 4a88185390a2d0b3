"""A script's run is a run: the commands work on it, and another script goes on with it."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from control.counter import Counter
from control.toys import Counting
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prefrl import (
    FitConfig,
    HideReward,
    PreferenceCallback,
    PreferenceConfig,
    QueryConfig,
    RunDirectory,
    resume,
    resume_script,
)
from prefrl.cli import main
from prefrl.control.config import config_from_json
from prefrl.control.finish import load_run
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.weights import latest_weights

CONFIG = PreferenceConfig(
    labels=24,
    segment_length=10,
    query=QueryConfig(warmup_segments=20),
    refit_growth=0.3,
    fit=FitConfig(min_steps=20, max_steps=20),
)
NETS = {"net_arch": [16, 8], "activation_fn": torch.nn.ReLU, "log_std_init": -1.0}


def environments(**options):
    venv = HideReward(make_vec_env("Pendulum-v1", n_envs=2, seed=0, **options))
    return VecNormalize(venv, norm_reward=False)


def ppo(venv=None):
    options = {"n_steps": 128, "batch_size": 64, "n_epochs": 2, "seed": 0, "policy_kwargs": NETS}
    return PPO("MlpPolicy", venv or environments(), device="cpu", **options)


def trained(run, *, steps=1024, labels=24, **options):
    callback = PreferenceCallback(CONFIG, labels=labels, run=run, **options)
    model = ppo()
    model.learn(steps, callback=callback)
    return callback, model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("script") / "run"
    trained(root)
    return RunDirectory.open(root)


def test_the_config_says_what_was_done(run):
    config = config_from_json(run.read_json(run.config))
    assert (config.env_id, config.algo, config.steps, config.sync) == (
        "Pendulum-v1", "ppo", 1024, True,
    )  # fmt: skip
    assert config.preferences == CONFIG
    agent = config.agent
    assert (agent.n_envs, agent.n_steps, agent.batch_size, agent.n_epochs) == (2, 128, 64, 2)
    assert (agent.hidden, agent.critic_hidden, agent.activation) == ((16, 8), (16, 8), "relu")
    assert (agent.log_std_init, agent.normalize_observations) == (-1.0, True)
    assert run.versions.is_file()
    assert run.read_json(run.spaces)["actions"] == "Box(-2.0, 2.0, (1,), float32)"


@pytest.mark.parametrize(
    "arguments", [["status"], ["report"], ["evaluate", "--episodes", "1"], ["export"], ["replay"]]
)
def test_the_commands_work_on_it(run, arguments, capsys):
    command, *options = arguments
    if command == "export":
        options = ["--output", str(run.root / "answers.jsonl")]
    main([command, str(run.root), *options])
    shown = capsys.readouterr().out
    if command == "replay":
        n = len(read_rows(run.fits))
        assert f"{n} of {n} fits repeated exactly" in shown
    if command == "status":
        assert "24 answered" in shown
    if command == "evaluate":
        assert "Pendulum-v1, the trained policy: true return" in shown


def test_what_is_loaded_acts_as_the_script_does(tmp_path):
    _, model = trained(tmp_path / "run", steps=256, labels=6)
    _, agent, _ = load_run(RunDirectory.open(tmp_path / "run"))
    seen = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    normalized = model.get_vec_normalize_env().normalize_obs(seen)
    there, _ = model.predict(normalized, deterministic=True)
    assert np.allclose(agent.act(seen), there, atol=1e-6)
    agent.close()


def test_the_shell_does_not_resume_it(run):
    with pytest.raises(RunDirectoryError, match="made by a script; run the script again"):
        resume(run)


def test_a_new_callback_goes_on_from_the_run(tmp_path):
    first, second = Counting(), Counting()
    callback, _ = trained(tmp_path / "run", oracle=first, total_steps=2048)
    assert 0 < first.n < 24
    version = callback.partners.used.version
    before, fits = latest_weights(callback.run.reward), read_rows(callback.run.fits)
    callback, _ = trained(tmp_path / "run", oracle=second, total_steps=2048)
    assert first.n + second.n == 24 == callback.rows[-1]["labels"]
    assert callback.run_steps == 2048
    after = latest_weights(callback.run.reward)
    assert before.version == version < after.version
    assert read_rows(callback.run.fits)[: len(fits)] == fits
    numbers = [int(row["fit"]) for row in read_rows(callback.run.fits)]
    assert numbers == list(range(1, after.version + 1))
    steps = [int(row["env_steps"]) for row in read_rows(callback.run.metrics)]
    assert steps == list(range(256, 2049, 256))
    for name, tensor in callback.net.state_dict().items():
        assert torch.equal(tensor, after.tensors[name]), name
    main(["replay", str(tmp_path / "run")])


def test_a_new_callback_scores_with_the_reward_that_is_there(tmp_path):
    callback, _ = trained(tmp_path / "run")
    newest = latest_weights(callback.run.reward)
    callback, _ = trained(tmp_path / "run", steps=256)  # all labels were asked: no fit is due
    assert callback.rows[0]["reward_version"] == newest.version
    for name, tensor in callback.net.state_dict().items():
        assert torch.equal(tensor, newest.tensors[name]), name


def test_a_script_is_run_again(tmp_path):
    root = tmp_path / "run"
    model = ppo()
    assert not resume_script(model, root)  # the first start
    model.learn(512, callback=PreferenceCallback(CONFIG, run=root, total_steps=1024))
    again = ppo()
    assert resume_script(again, root)
    assert again.num_timesteps == 512
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, again.policy.state_dict()[name]), name
    there, here = model.get_vec_normalize_env(), again.get_vec_normalize_env()
    assert np.array_equal(there.obs_rms.mean, here.obs_rms.mean)
    callback = PreferenceCallback(CONFIG, run=root, total_steps=1024)
    again.learn(512, callback=callback, reset_num_timesteps=False)
    assert (again.num_timesteps, callback.run_steps) == (1024, 1024)


def test_an_off_policy_script_leaves_a_run_and_goes_on(tmp_path):
    def sac():
        venv = HideReward(make_vec_env("Pendulum-v1", seed=0))
        net = {"net_arch": [8]}
        return SAC("MlpPolicy", venv, batch_size=8, seed=0, policy_kwargs=net, device="cpu")

    root, model = tmp_path / "run", sac()
    model.learn(1000, callback=PreferenceCallback(CONFIG, run=root, total_steps=2000))
    again = sac()
    assert resume_script(again, root)
    callback = PreferenceCallback(CONFIG, run=root, total_steps=2000)
    again.learn(1000, callback=callback, reset_num_timesteps=False)
    assert callback.rows[-1]["labels"] == 24
    main(["evaluate", str(root), "--episodes", "1"])


def test_a_model_with_other_nets_is_not_resumed(run):
    other = PPO("MlpPolicy", environments(), device="cpu")
    with pytest.raises(RunDirectoryError, match="expected a model like the one that"):
        resume_script(other, run.root)


def test_a_model_without_its_normalizer_is_not_resumed(run):
    plain = HideReward(make_vec_env("Pendulum-v1", n_envs=2))
    with pytest.raises(RunDirectoryError, match="VecNormalize, and the other does not"):
        resume_script(ppo(plain), run.root)


def test_what_is_not_a_script_s_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="exists and is not empty"):
        PreferenceCallback(CONFIG, run=tmp_path)


def test_two_processes_do_not_train_with_one_run(tmp_path):
    callback = PreferenceCallback(CONFIG, run=tmp_path / "run")
    with only_one(callback.run, "agent"), pytest.raises(RoleError, match="another process works"):
        ppo().learn(512, callback=callback)


def test_an_environment_that_is_not_registered_is_named(tmp_path, caplog, capsys):
    venv = HideReward(DummyVecEnv([lambda: Counter(length=20, terminates=False)] * 2))
    callback = PreferenceCallback(CONFIG, run=tmp_path / "run")
    PPO("MlpPolicy", venv, n_steps=128, device="cpu").learn(512, callback=callback)
    assert "Counter is not registered with Gymnasium" in caplog.text
    assert json.loads(callback.run.config.read_text())["env_id"] == "Counter"
    for command in ("status", "report"):
        main([command, str(callback.run.root)])
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(callback.run.root)])
    assert "expected an environment that Gymnasium can make, got 'Counter'" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_arguments_of_the_environment_are_remembered(tmp_path):
    venv = environments(env_kwargs={"g": 9.81})
    callback = PreferenceCallback(CONFIG, run=tmp_path / "run")
    ppo(venv).learn(512, callback=callback)
    config = config_from_json(callback.run.read_json(callback.run.config))
    assert config.env.kwargs == {"g": 9.81}
    assert gym.make(config.env_id, **config.env.kwargs).unwrapped.g == 9.81


def test_after_a_training_that_was_broken_off_another_one_may_go_on_at_once(tmp_path):
    """A notebook keeps the last exception, and with it the callback."""

    def learn(**told):
        venv = HideReward(make_vec_env("Pendulum-v1", 2))
        model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
        config = PreferenceConfig(segment_length=10)
        callback = PreferenceCallback(config, labels=4, run=tmp_path / "run", **told)
        model.learn(512, callback=callback)

    def broken(left, right):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        learn(oracle=broken)
    learn()
    assert kept.value is not None
