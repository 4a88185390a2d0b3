import pytest

from prefrl.control.named_options import config_of_options
from prefrl.errors import ConfigError


def test_options_are_named_as_on_the_command_line():
    config = config_of_options(
        {
            "env_id": "CartPole-v1",
            "labels": 100,
            "selection": "uniform",
            "agent": {"gamma": 0.9, "hidden": [64, 64]},
            "net.reward_std": "1e-2",  # YAML reads it as text
            "fit.l2": 1,
            "teacher": {"beta": 5.0},
            "env.kwargs": {"sutton_barto_reward": True},
            "run": "runs/mine",
        }
    )
    told = config.preferences
    assert (told.labels, told.query.selection, told.net.reward_std) == (100, "uniform", 0.01)
    assert (told.fit.l2, told.teacher.beta) == (1, 5.0)
    assert (config.agent.gamma, config.agent.hidden) == (0.9, (64, 64))
    assert config.env.kwargs == {"sutton_barto_reward": True}
    assert str(config.run) == "runs/mine"


def test_settings_to_start_from():
    labels = config_of_options({"env_id": "CartPole-v1"}).preferences.labels
    games = config_of_options({"env_id": "CartPole-v1", "preset": "atari"}).preferences.labels
    assert (labels, games) == (700, 3000)
    games = {"env_id": "CartPole-v1", "preset": "atari"}
    assert config_of_options(games).agent.n_epochs == 4
    assert config_of_options({**games, "algo": "dqn"}).agent.n_epochs is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "many"}, "expected a value of labels that is int, got 'many'"),
        ({"labels": True}, "expected a value of labels that is int, got True"),
        ({"films": "yes"}, "expected a value of films that is bool, got 'yes'"),
        ({"labls": 3}, "expected options of prefrl train, got labls"),
        ({"agent.gama": 1}, "expected options of prefrl train, got agent.gama"),
        ({"preferences": {"labels": 3}}, "got preferences.labels"),
        ({"agent.hidden": "wide"}, "agent.hidden"),
        ({"net.convolutions": [[8, 4]]}, "net.convolutions"),
        ({"env.kwargs": 3}, "env.kwargs"),
        ({"algo": "sarsa"}, "algo"),
        ({"selection": "best"}, "selection"),
        ({"preset": "mine"}, "preset"),
        ({"env_id": 3}, "env_id"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=said):
        config_of_options({"env_id": "CartPole-v1", **options})
