"""Every algorithm by name: its settings, its nets, what it fits, and who refuses it."""

import ast
import inspect
import itertools
import re
import typing

import gymnasium as gym
import numpy as np
import pytest
from control.toys import screens
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

from prefrl.control.agent import config as config_module
from prefrl.control.agent.algorithms import (
    ALGORITHMS,
    Algo,
    algorithms_that_take,
    check_algorithm,
)
from prefrl.control.agent.building import build_algorithm
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.settings import resolve
from prefrl.control.environments.spaces import layout_of
from prefrl.errors import ConfigError, UnsupportedSpaceError

DOT = "prefrl_envs:prefrl/MovingDot-v0"
NAMES = list(ALGORITHMS)
ALIASES = {
    "on-policy": [name for name in NAMES if ALGORITHMS[name].on_policy],
    "off-policy": [name for name in NAMES if not ALGORITHMS[name].on_policy],
}
BOX = spaces.Box(-1, 1, (3,), np.float32)


def toy(algo, n_envs=1):
    env_id = "Pendulum-v1" if "Box" in ALGORITHMS[algo].actions else DOT
    return env_id, DummyVecEnv([lambda: gym.make(env_id)] * n_envs)


def build(algo, venv, config, **options):
    layout = layout_of(venv.observation_space)
    return build_algorithm(algo, config, venv, layout=layout, seed=0, device="cpu", options=options)


def own_values(algo, *, pictures=False):
    """A config of nothing but the library's own values, as if it had been resolved."""
    algorithm = ALGORITHMS[algo]
    values = {**algorithm.own, **(algorithm.own_on_pictures if pictures else {})}
    return AgentConfig(source="the library", mixed_precision=False, **values)


def defaults_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def test_algo_names_them_all():
    assert set(typing.get_args(Algo)) == set(ALGORITHMS)


@pytest.mark.parametrize("algo", NAMES)
def test_own_values_are_those_of_the_library(algo):
    algorithm = ALGORITHMS[algo]
    made = algorithm.load()
    policy = made.policy_aliases[f"Mlp{algorithm.policy}"]
    theirs = {**defaults_of(policy.__init__), **defaults_of(made.__init__)}
    different = {
        name: (value, theirs[name])
        for name, value in algorithm.own.items()
        if name in theirs and name != "action_noise" and value != theirs[name]
    }
    assert not different
    assert theirs.get("action_noise") is None
    not_theirs = set(algorithm.own) - set(theirs)
    assert not_theirs <= {
        "n_envs", "linear_decay", "normalize_observations", "frame_stack", "hidden",
        "critic_hidden", "activation", "clip_range_decay", "train_freq_unit", "action_noise_std",
    }  # fmt: skip


@pytest.mark.parametrize("algo", NAMES)
def test_with_own_values_the_nets_are_those_of_the_library(algo):
    algorithm = ALGORITHMS[algo]
    small = {} if algorithm.on_policy else {"buffer_size": 10}
    _, venv = toy(algo)
    theirs = algorithm.load()(f"Mlp{algorithm.policy}", venv, seed=0, device="cpu", **small)
    ours = build(algo, venv, own_values(algo), **small)
    assert str(ours.policy) == str(theirs.policy)
    for name, parameter in theirs.policy.state_dict().items():
        assert (ours.policy.state_dict()[name] == parameter).all(), name


@pytest.mark.parametrize("algo", [a for a in NAMES if "pictures" in ALGORITHMS[a].observations])
def test_so_they_are_on_pictures(algo):
    algorithm = ALGORITHMS[algo]
    small = {} if algorithm.on_policy else {"buffer_size": 10}
    venv = screens(shape=(36, 36, 1))
    if "Discrete" not in algorithm.actions:
        venv.action_space = spaces.Box(-1, 1, (2,), np.float32)
    venv = VecTransposeImage(venv)
    theirs = algorithm.load()(f"Cnn{algorithm.policy}", venv, seed=0, device="cpu", **small)
    ours = build(algo, venv, own_values(algo, pictures=True), **small)
    assert str(ours.policy) == str(theirs.policy)


@pytest.mark.parametrize("algo", NAMES)
def test_each_takes_some_steps_with_the_default_settings(algo):
    env_id, venv = toy(algo, n_envs=2)
    little = {"n_envs": 2, "hidden": (8,)}
    own = ALGORITHMS[algo].own
    sizes = {
        "n_steps": 8, "batch_size": 8, "n_epochs": 1, "buffer_size": 100, "learning_starts": 8,
        "lstm_hidden_size": 4,
    }  # fmt: skip
    little |= {name: value for name, value in sizes.items() if name in own}
    config = resolve(env_id, algo, AgentConfig(settings="default", **little)).config
    model = build(algo, venv, config)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(48)
    assert model._n_updates > 0
    after = model.policy.state_dict()
    assert any((after[name] != value).any() for name, value in before.items())


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("algo", ["ppo", "recurrent-ppo", "dqn", "qr-dqn"])
def test_small_pictures_get_small_convolutions(algo, as_dict):
    venv = VecTransposeImage(screens(as_dict=as_dict))
    small = {} if ALGORITHMS[algo].on_policy else {"buffer_size": 10}
    model = build(algo, venv, own_values(algo, pictures=True), **small)
    assert "SmallC" in str(model.policy)
    model.predict(venv.reset())


def test_schedules_noise_and_train_freq_reach_the_algorithm():
    _, venv = toy("ppo")
    falling = AgentConfig(settings="default", linear_decay=True)
    model = build("ppo", venv, resolve("Pendulum-v1", "ppo", falling).config)
    assert model.clip_range(0.5) == pytest.approx(0.1)
    assert model.lr_schedule(0.5) == pytest.approx(1.5e-4)
    rate_alone = AgentConfig(settings="default", linear_decay=True, clip_range_decay=False)
    model = build("ppo", venv, resolve("Pendulum-v1", "ppo", rate_alone).config)
    assert (model.clip_range(0.5), model.lr_schedule(0.5)) == (0.2, pytest.approx(1.5e-4))

    for kind, made in (
        ("normal", NormalActionNoise),
        ("ornstein-uhlenbeck", OrnsteinUhlenbeckActionNoise),
        ("none", type(None)),
    ):
        noisy = AgentConfig(
            settings="default", action_noise=kind, action_noise_std=0.3, buffer_size=10,
            train_freq=2, train_freq_unit="episode",
        )  # fmt: skip
        model = build("td3", venv, resolve("Pendulum-v1", "td3", noisy).config)
        assert isinstance(model.action_noise, made)
        assert (model.train_freq.frequency, model.train_freq.unit.value) == (2, "episode")
        if kind != "none":
            assert model.action_noise._sigma == pytest.approx([0.3])


def test_policy_and_critic_may_have_layers_of_their_own():
    _, venv = toy("sac")
    told = AgentConfig(settings="default", hidden=(8,), critic_hidden=(4, 4), buffer_size=10)
    model = build("sac", venv, resolve("Pendulum-v1", "sac", told).config)
    assert model.policy.net_arch == {"pi": [8], "qf": [4, 4]}


@pytest.mark.parametrize(
    ("algo", "observations", "actions", "words"),
    [
        (
            "sac", BOX, spaces.Discrete(2),
            r"sac needs Box actions, but X-v1 has Discrete\(2\); algorithms that fit: "
            "ppo, a2c, trpo, recurrent-ppo, dqn, qr-dqn.",
        ),
        ("dqn", BOX, BOX, "needs Discrete actions.* fit: ppo.* recurrent-ppo, sac, td3, tqc, cr"),
        (
            "crossq", spaces.Box(0, 255, (40, 40, 3), np.uint8), BOX,
            "crossq needs observations that are vectors, but X-v1 has pictures; .* fit: .*tqc.$",
        ),
        ("crossq", spaces.Dict({"a": BOX}), BOX, "X-v1 has dicts"),
        (
            "dqn", BOX, spaces.MultiDiscrete([2, 3]),
            r"dqn needs Discrete actions, but .* fit: ppo, a2c, trpo, recurrent-ppo\.$",
        ),
        (
            "sac", BOX, spaces.MultiBinary(3),
            r"sac needs Box actions, but .* fit: ppo, a2c, trpo, recurrent-ppo\.$",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_does(algo, observations, actions, words):
    with pytest.raises(UnsupportedSpaceError, match=words):
        check_algorithm(algo, "X-v1", observations, actions)


def test_what_is_no_algorithm_is_refused():
    with pytest.raises(ConfigError, match=r"expected algo to be one of ppo, a2c, .* got 'psychic'"):
        check_algorithm("psychic", "X-v1", BOX, BOX)
    with pytest.raises(ConfigError, match="got 'psychic'"):
        AgentConfig().check_for("psychic")


@pytest.mark.parametrize(
    ("algo", "given", "words"),
    [
        ("sac", {"clip_range": 0.1}, "sac does not take clip_range, got 0.1; leave --agent.clip-"
         "range out, or choose an algorithm that takes it: ppo, recurrent-ppo."),
        ("a2c", {"batch_size": 64}, "a2c does not take batch_size"),
        ("ppo", {"buffer_size": 10}, "takes it: sac, td3, tqc, crossq, dqn"),
        ("dqn", {"normalize_advantage": False}, "dqn does not take normalize_advantage"),
        ("ppo", {"ent_coef": "auto"}, "expected ent_coef to be a number for ppo"),
    ],
)  # fmt: skip
def test_a_field_that_an_algorithm_does_not_take_is_refused(algo, given, words):
    with pytest.raises(ConfigError, match=words):
        AgentConfig(**given).check_for(algo)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n_envs": 0}, "n_envs must be at least 1, got 0"),
        ({"gamma": 1.5}, "gamma must be above 0 and at most 1"),
        ({"tau": 0.0}, "tau must be"),
        ({"gae_lambda": -0.1}, "gae_lambda must be between 0 and 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"gradient_steps": 0}, "gradient_steps must be at least 1, or -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"ent_coef": "some"}, "ent_coef must be a number, auto, or auto_"),
        ({"ent_coef": "auto_x"}, "ent_coef must be a number, auto, or auto_"),
        ({"train_freq_unit": "episode", "n_envs": 2}, "expected one environment"),
        ({"n_envs": 3, "n_steps": 43, "batch_size": 32}, "129 transitions.* a batch of one"),
    ],
)
def test_values_that_cannot_work_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        AgentConfig(**given)


def documented_fields():
    tree = ast.parse(inspect.getsource(config_module))
    (body,) = [n.body for n in tree.body if isinstance(n, ast.ClassDef)]
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            yield field.target.id, " ".join(text.value.value.split())


def test_each_field_says_for_which_algorithms_it_is():
    told = dict(documented_fields())
    assert len(told) == len(AgentConfig.__dataclass_fields__)
    for name, text in told.items():
        takers = [algo for algo in algorithms_that_take(name) if algo in NAMES]
        if not takers or set(takers) == set(NAMES):
            continue  # of no algorithm in particular
        (said,) = re.findall(r"\(([^()]*)\)\.$", text)
        words = re.split(r"[,;] ", said.removeprefix("all but "))
        named = [algo for word in words for algo in ALIASES.get(word, [word])]
        if said.startswith("all but "):
            named = [algo for algo in NAMES if algo not in named]
        assert sorted(named) == sorted(takers), name
