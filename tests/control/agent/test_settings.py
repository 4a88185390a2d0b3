"""Where the agent's settings come from, what is understood of a YAML file, and what is told."""

import json
import sys

import pytest

from prefrl import TrainConfig
from prefrl.cli import main
from prefrl.commands import train as command
from prefrl.control.agent.algorithms import ALGORITHMS
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.settings import resolve
from prefrl.control.config import config_as_json, config_from_json, with_settings
from prefrl.errors import ConfigError, MissingExtraError

HOPPER = "prefrl_envs:prefrl/Hopper-v0"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
PPO = """
default: {n_timesteps: !!float 1e6, policy: MlpPolicy}
atari:
  env_wrapper: [stable_baselines3.common.atari_wrappers.AtariWrapper]
  frame_stack: 4
  policy: CnnPolicy
  n_envs: 8
  learning_rate: lin_2.5e-4
  clip_range: lin_0.1
Pendulum-v1: &base
  normalize: true
  n_envs: 4
  n_timesteps: !!float 1e5
  policy: 'MlpPolicy'
  n_steps: 1024
  gamma: 0.9
  learning_rate: !!float 1e-3
  use_sde: True
  policy_kwargs: "dict(log_std_init=-2.7,
                       ortho_init=False,
                       activation_fn=nn.GELU,
                       net_arch=dict(pi=[64], vf=[32, 32]),
                       )"
Acrobot-v0: {n_steps: 5}
Acrobot-v1: {n_steps: 6}
Acrobot-v7: {n_steps: 7}
Hopper-v2: {n_steps: 22}
Hopper-v4:
  <<: *base
  normalize: "{'norm_obs': False, 'norm_reward': True}"
  clip_range: lin_0.4
"""
SAC = """
Pendulum-v1:
  learning_rate: lin_7.3e-4
  buffer_size: 1_000
  ent_coef: 'auto_0.1'
  train_freq: [1, "episode"]
  gradient_steps: -1
  use_sde_at_warmup: True
  optimize_memory_usage: False
  replay_buffer_class: HerReplayBuffer
  callback: [rl_zoo3.callbacks.ParallelTrainCallback]
  policy_kwargs: "dict(net_arch=[400, 300], use_expln=True, n_critics=1,
                       optimizer_kwargs=dict(eps=1e-5))"
"""
TD3 = "Pendulum-v1: {noise_type: 'normal', noise_std: 0.1, train_freq: 1, learning_rate: 1e-3}"
CROSSQ = 'Pendulum-v1: {policy_kwargs: "dict(net_arch=dict(pi=[256, 256], qf=[512]))"}'
PPO_LSTM = """
Pendulum-v1: {policy_kwargs: "dict(lstm_hidden_size=64, enable_critic_lstm=False)", n_steps: 32}
"""
ZOO = {"ppo": PPO, "sac": SAC, "td3": TD3, "crossq": CROSSQ, "ppo_lstm": PPO_LSTM}


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    package = tmp_path / "site" / "rl_zoo3"
    (package / "hyperparams").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it is never imported')")
    for name, text in ZOO.items():
        (package / "hyperparams" / f"{name}.yml").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))


@pytest.fixture
def no_zoo(monkeypatch):
    monkeypatch.setitem(sys.modules, "rl_zoo3", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def settle(env_id, algo, *, settings="auto", **given):
    return resolve(env_id, algo, AgentConfig(settings=settings, **given), pictures=False)


def test_auto_takes_ours_then_the_zoo_then_defaults(zoo):
    for env_id, source, n_steps in (
        (HOPPER, "prefrl's settings for prefrl/Hopper-v0", 512),
        ("Pendulum-v1", "RL Zoo's settings for Pendulum-v1", 1024),
        (DOT, "prefrl's defaults", 512),
    ):
        made = settle(env_id, "ppo").config
        assert (made.source, made.n_steps) == (source, n_steps)


def test_without_the_zoo_auto_takes_defaults_and_zoo_names_the_extra(no_zoo):
    assert settle("Pendulum-v1", "ppo").config.source == "prefrl's defaults"
    with pytest.raises(MissingExtraError, match=r"pip install 'prefrl\[zoo\]'"):
        settle("Pendulum-v1", "ppo", settings="zoo")


def test_default_passes_the_zoo_by(zoo):
    assert settle("Pendulum-v1", "ppo", settings="default").config.n_steps == 512


@pytest.mark.parametrize(
    ("env_id", "n_steps", "words"),
    [
        ("Acrobot-v1", 6, "Acrobot-v1"),
        ("Acrobot-v5", 6, r"Acrobot-v1 \(it has none for Acrobot-v5\)"),
        ("Acrobot-v9", 7, r"Acrobot-v7 \(it has none for Acrobot-v9\)"),
        (HOPPER, 1024, r"Hopper-v4 \(it has none for prefrl/Hopper-v0\)"),
    ],
)
def test_the_newest_of_the_older_versions_stands_in_and_that_is_told(zoo, env_id, n_steps, words):
    made = settle(env_id, "ppo", settings="zoo")
    assert made.config.n_steps == n_steps
    assert made.line.startswith("ppo with RL Zoo's settings for " + words.replace("\\", ""))


def test_an_environment_that_the_zoo_lacks_is_refused_with_those_that_it_has(zoo):
    with pytest.raises(ConfigError, match=f"no settings of ppo for {DOT}, only for Acrobot-v0, "):
        settle(DOT, "ppo", settings="zoo")


def test_games_are_atari(zoo):
    config = AgentConfig(settings="zoo")
    made = resolve("prefrl_envs:prefrl/Pong-v0", "ppo", config, pictures=True)
    assert (made.config.learning_rate, made.config.linear_decay) == (2.5e-4, True)
    assert (made.config.clip_range, made.config.clip_range_decay) == (0.1, True)
    assert made.config.hidden == ()
    assert made.notes == (
        "not used of RL Zoo's settings for atari (it has none for prefrl/Pong-v0 alone): "
        "env_wrapper.",
    )


def test_what_the_zoo_writes_is_understood(zoo):
    ppo = settle("Pendulum-v1", "ppo").config
    assert (ppo.normalize_observations, ppo.use_sde, ppo.ortho_init) == (True, True, False)
    assert (ppo.hidden, ppo.critic_hidden, ppo.activation) == ((64,), (32, 32), "gelu")
    assert (ppo.log_std_init, ppo.learning_rate) == (-2.7, 1e-3)
    assert (ppo.linear_decay, ppo.clip_range_decay) == (False, False)
    assert ppo.n_epochs == 10  # Stable-Baselines3's own
    hopper = settle("Hopper-v4", "ppo").config
    assert hopper.normalize_observations is False
    assert (hopper.linear_decay, hopper.clip_range_decay, hopper.clip_range) == (False, True, 0.4)

    sac = settle("Pendulum-v1", "sac")
    made = sac.config
    assert (made.learning_rate, made.linear_decay, made.buffer_size) == (7.3e-4, True, 1000)
    assert (made.ent_coef, made.train_freq, made.train_freq_unit) == ("auto_0.1", 1, "episode")
    assert (made.gradient_steps, made.hidden, made.critic_hidden) == (-1, (400, 300), (400, 300))
    assert (made.use_expln, made.n_critics, made.use_sde_at_warmup) == (True, 1, True)
    assert sac.notes == (
        "not used of RL Zoo's settings for Pendulum-v1: replay_buffer_class, callback, "
        "policy_kwargs.optimizer_kwargs.",
    )
    td3 = settle("Pendulum-v1", "td3").config
    assert (td3.action_noise, td3.action_noise_std, td3.learning_rate) == ("normal", 0.1, 1e-3)
    crossq = settle("Pendulum-v1", "crossq").config
    assert (crossq.hidden, crossq.critic_hidden) == ((256, 256), (512,))
    lstm = settle("Pendulum-v1", "recurrent-ppo").config
    assert (lstm.lstm_hidden_size, lstm.enable_critic_lstm, lstm.n_steps) == (64, False, 32)


def test_what_is_given_wins_and_takes_its_followers_along(zoo):
    made = settle("Pendulum-v1", "ppo", gamma=0.5, hidden=(8,), linear_decay=True).config
    assert (made.gamma, made.n_steps) == (0.5, 1024)
    assert (made.hidden, made.critic_hidden) == ((8,), (8,))
    assert (made.linear_decay, made.clip_range_decay) == (True, True)
    made = settle("Pendulum-v1", "crossq", hidden=(8,), critic_hidden=(9,)).config
    assert (made.hidden, made.critic_hidden) == ((8,), (9,))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_resolved_config_says_everything_stays_as_it_is_and_goes_through_json(algo, no_zoo):
    made = settle("Pendulum-v1", algo)
    nothing = {name for name in ALGORITHMS[algo].own if getattr(made.config, name) is None}
    assert nothing <= {"clip_range_vf", "target_kl", "max_grad_norm"}  # None means without
    assert resolve("Pendulum-v1", algo, made.config).config is made.config
    config = TrainConfig(DOT, algo=algo, agent=made.config)
    again = config_from_json(json.loads(json.dumps(config_as_json(config))))
    assert again.agent == made.config
    assert again.algo == algo


@pytest.mark.parametrize(
    ("task", "algo", "expected"),
    [
        ("Hopper", "ppo", {"gamma": 0.999, "gae_lambda": 0.99, "log_std_init": -1.0}),
        (
            "Walker2d",
            "ppo",
            {"n_steps": 256, "batch_size": 64, "linear_decay": True, "gamma": 0.99},
        ),
        ("Swimmer", "ppo", {"gamma": 0.9999, "gae_lambda": 0.98}),
        ("Ant", "ppo", {"gamma": 0.99, "gae_lambda": 0.95, "log_std_init": -2.0}),
        ("HalfCheetah", "ppo", {"gamma": 0.98, "gae_lambda": 0.92, "hidden": (256, 256)}),
        ("Swimmer", "sac", {"gamma": 0.999, "learning_starts": 10_000, "n_envs": 1}),
        ("Swimmer", "crossq", {"gamma": 0.999, "critic_hidden": (1024, 1024)}),
        ("Hopper", "tqc", {"top_quantiles_to_drop_per_net": 5, "buffer_size": 1_000_000}),
        ("Swimmer", "td3", {"gamma": 0.9999, "action_noise": "normal"}),
    ],
)
def test_tasks_that_ship_have_settings(task, algo, expected):
    made = settle(f"prefrl_envs:prefrl/{task}-v0", algo).config
    assert {name: getattr(made, name) for name in expected} == expected
    assert made.source == f"prefrl's settings for prefrl/{task}-v0"


def test_defaults_are_what_they_were_before_there_were_settings():
    ppo, a2c = settle(DOT, "ppo").config, settle(DOT, "a2c").config
    for made, n_steps, rate in ((ppo, 512, 3e-4), (a2c, 16, 7e-4)):
        assert (made.n_envs, made.n_steps, made.learning_rate) == (8, n_steps, rate)
        assert (made.gamma, made.gae_lambda, made.log_std_init) == (0.98, 0.92, -1.0)
        assert (made.hidden, made.activation, made.ent_coef) == ((256, 256), "relu", 0.0)
        assert (made.normalize_observations, made.frame_stack, made.linear_decay) == (
            True,
            4,
            False,
        )
    assert (ppo.batch_size, ppo.n_epochs, ppo.clip_range) == (256, 10, 0.2)
    on_pictures = AgentConfig(settings="default")
    assert resolve(DOT, "ppo", on_pictures, pictures=True).config.hidden == ()
    assert resolve(DOT, "dqn", on_pictures, pictures=True).config.buffer_size == 100_000


FLAT = """
Pendulum-v1: {gamma: 0.5}
default: {gamma: 0.6}
"""
BY_ALGORITHM = """
sac: {Pendulum-v1: {gamma: 0.7}}
ppo_lstm: {default: {gamma: 0.8}}
"""


@pytest.mark.parametrize(
    ("text", "env_id", "algo", "gamma", "key"),
    [
        (FLAT, "Pendulum-v1", "ppo", 0.5, "Pendulum-v1"),
        (FLAT, "CartPole-v1", "sac", 0.6, "default"),
        (BY_ALGORITHM, "Pendulum-v1", "sac", 0.7, "Pendulum-v1"),
        (BY_ALGORITHM, "Pendulum-v1", "recurrent-ppo", 0.8, "default"),
    ],
)
def test_a_file_of_ones_own_has_either_form(tmp_path, text, env_id, algo, gamma, key):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    made = settle(env_id, algo, settings=str(path)).config
    assert made.gamma == gamma
    assert made.source == f"the settings of {path} for {key}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "expected settings in YAML in .*mine.yml, but while parsing"),
        ("- 1", "got list"),
        ("a2c: {default: {}}", "expected settings of ppo in .*mine.yml, got those of a2c"),
        ("CartPole-v1: {}", "expected settings of ppo for Pendulum-v1, or a default"),
        ("default: 3", "expected arguments of ppo for .* got int"),
        ("default: {gama: 0.9}", "got 'gama'; it takes batch_size, clip_range, "),
        ("default: {buffer_size: 10}", "expected arguments of ppo .*, got 'buffer_size'"),
        ("default: {gamma: high}", "expected gamma for .* to be float, got 'high'"),
        ("default: {n_steps: 1.5}", "expected n_steps for .* to be int, got 1.5"),
        ("default: {use_sde: 1}", "expected use_sde for .* to be bool, got 1"),
        ("default: {gamma: 7}", "do not work for Pendulum-v1: gamma must be above 0"),
        ("default: {learning_rate: cosine_1}", "expected learning_rate for .* got 'cosine_1'"),
        ("default: {policy_kwargs: 'open(1)'}", "expected policy_kwargs for .* a dict of literals"),
        ("default: {policy_kwargs: {net_arch: [a]}}", "expected hidden for .* got \\['a'\\]"),
        ("default: {policy_kwargs: {net_arch: {a: [1]}}}", "expected net_arch .*pi and for vf"),
        ("default: {policy_kwargs: 'dict(activation_fn=nn.Mish)'}", "expected activation_fn for"),
    ],
)
def test_what_a_file_gets_wrong_is_told(tmp_path, text, words):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        settle("Pendulum-v1", "ppo", settings=str(path))


def test_nothing_that_a_file_says_is_executed(tmp_path):
    path, mark = tmp_path / "mine.yml", tmp_path / "mark"
    call = f"dict(net_arch=[__import__('pathlib').Path('{mark}').touch()])"
    path.write_text(json.dumps({"default": {"policy_kwargs": call}}))
    with pytest.raises(ConfigError, match="policy_kwargs"):
        settle("Pendulum-v1", "ppo", settings=str(path))
    path.write_text("default: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="expected settings in YAML"):
        settle("Pendulum-v1", "ppo", settings=str(path))
    assert not mark.exists()


def test_a_name_that_is_no_settings_is_refused():
    with pytest.raises(ConfigError, match=r"auto, zoo, default or the path .* got 'nowhere'"):
        settle("Pendulum-v1", "ppo", settings="nowhere")


def test_a_training_is_settled_once_and_no_longer_needs_the_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("default: {gamma: 0.5}")
    config, told = with_settings(TrainConfig(DOT, agent=AgentConfig(settings=str(path))))
    assert told.line.startswith(f"ppo with the settings of {path} for default: n_envs 1, gamma 0.5")
    path.unlink()
    again, _ = with_settings(config_from_json(config_as_json(config)))
    assert again.agent == config.agent
    assert again.agent.gamma == 0.5


def test_an_algorithm_that_does_not_fit_is_refused_before_its_settings_are_read():
    with pytest.raises(ConfigError, match=r"sac needs Box actions, but .*MovingDot-v0 has Discr"):
        with_settings(TrainConfig(DOT, algo="sac", agent=AgentConfig(settings="nowhere")))


def test_the_shell_says_what_it_took(tmp_path, monkeypatch, capsys, zoo):
    seen = []

    def training(config, **hooks):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_training", training)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "Pendulum-v1", "--algo", "sac", "--agent.gamma", "0.9"])
    said = capsys.readouterr()
    assert "agent: sac with RL Zoo's settings for Pendulum-v1: gamma 0.9, " in said.out
    assert "not used of RL Zoo's settings for Pendulum-v1: replay_buffer_class" in said.err
    assert seen[0].agent.buffer_size == 1000
    assert seen[0].agent.source == "RL Zoo's settings for Pendulum-v1"
