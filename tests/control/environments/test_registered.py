"""The id in a script's run names the module that registers it, so that a new process makes it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from control.counter import Counter

from prefrl.control.environments.registered import environment_of_spec, id_with_module
from prefrl.control.environments.source import make_env

ROOT = Path(__file__).parents[3]
TASKS = """
import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv
print("no answer to anybody")
class Slow(PendulumEnv):
    pass
gym.register("{id}", entry_point={entry}, max_episode_steps=50)
"""
SCRIPT = """
import sys
import gymnasium as gym
import prefrl
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

config = prefrl.PreferenceConfig(
    labels=6, segment_length=10, query=prefrl.QueryConfig(warmup_segments=10),
    fit=prefrl.FitConfig(min_steps=5, max_steps=5),
)
venv = prefrl.HideReward(make_vec_env(sys.argv[1], n_envs=2))
model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
model.learn(256, callback=prefrl.PreferenceCallback(config, run="run"))
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module that registers an environment by its class, and a package one folder deeper."""
    (tmp_path / "pendula.py").write_text(TASKS.format(id="Slow-v0", entry="Slow"))
    package = tmp_path / "pendulum_tasks"
    package.mkdir()
    (package / "__init__.py").touch()
    entry = '"pendulum_tasks.deeper:Slow"'
    (package / "deeper.py").write_text(TASKS.format(id="deeper/Slow-v0", entry=entry))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("prefrl_envs")  # what a module registers once must outlast the test
    registry = dict(gym.registry)
    yield tmp_path
    gym.registry.clear()
    gym.registry.update(registry)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("Pendulum-v1", "Pendulum-v1"),
        ("prefrl_envs:prefrl/MovingDot-v0", "prefrl_envs:prefrl/MovingDot-v0"),
        ("pendula:Slow-v0", "pendula:Slow-v0"),
        ("pendulum_tasks.deeper:deeper/Slow-v0", "pendulum_tasks.deeper:deeper/Slow-v0"),
    ],
)
def test_the_module_is_named_where_gymnasium_alone_does_not_know_the_id(tasks, made, told):
    env = gym.make(made)
    env.close()
    assert id_with_module(env.spec) == told


def test_what_nobody_else_registers_has_no_such_id(tasks):
    """Its class is in a module that registers nothing."""
    gym.register("Here/Counter-v0", entry_point=Counter)
    assert id_with_module(gym.spec("Here/Counter-v0")) is None
    gym.register("Here/Pendulum-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv")
    assert id_with_module(gym.spec("Here/Pendulum-v0")) is None


def process(*arguments, folder):
    path = os.pathsep.join([str(ROOT), str(ROOT / "envs"), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("env_id", ["prefrl_envs:prefrl/MovingDot-v0", "pendula:Slow-v0"])
def test_a_script_s_run_is_evaluated_in_a_new_process(tasks, env_id):
    (tasks / "script.py").write_text(SCRIPT)
    trained = process("script.py", env_id, folder=tasks)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((tasks / "run" / "config.json").read_text())["env_id"] == env_id
    evaluated = process("-m", "prefrl", "evaluate", "run", "--episodes", "1", folder=tasks)
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"{env_id}, the trained policy: true return" in " ".join(evaluated.stdout.split())


def test_an_id_that_the_script_itself_registers_is_warned_of(tasks):
    made = SCRIPT.replace(
        "import prefrl\n",
        "import prefrl\nfrom gymnasium.envs.classic_control.pendulum import PendulumEnv\n"
        "class Mine(PendulumEnv): pass\n"
        "gym.register('Mine-v0', entry_point=Mine, max_episode_steps=50)\n",
    )
    (tasks / "script.py").write_text(made)
    trained = process("script.py", "Mine-v0", folder=tasks)
    assert trained.returncode == 0, trained.stderr
    assert "Mine-v0 is made by a class of the script itself" in trained.stderr


@pytest.mark.parametrize("limit", [None, 300, -1])
def test_a_time_limit_of_ones_own_is_kept(limit):
    made = gym.make("Pendulum-v1", **({} if limit is None else {"max_episode_steps": limit}))
    env_id, env, trouble = environment_of_spec(made.spec)
    assert (env_id, trouble) == ("Pendulum-v1", "")
    assert make_env(env_id, env).spec.max_episode_steps == made.spec.max_episode_steps
