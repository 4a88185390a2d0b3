"""Which devices a training takes, and that all that comes after it takes the same."""

from unittest import mock

import pytest
import torch

from prefrl import TrainConfig
from prefrl.control import finish, replay
from prefrl.control.config import config_as_json, devices_of
from prefrl.runtime.rundir import RunDirectory

DOT = "prefrl_envs:prefrl/MovingDot-v0"
PIXELS = "prefrl_envs:prefrl/MovingDotPixels-v0"
PONG = "prefrl_envs:prefrl/Pong-v0"


@pytest.fixture
def gpus(monkeypatch):
    def have(n):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return have


@pytest.mark.parametrize(
    ("env_id", "n_gpus", "wanted", "devices"),
    [
        (DOT, 2, "auto", ("cpu", "cpu")),
        (DOT, 1, "cuda", ("cuda", "cuda")),
        (PIXELS, 0, "auto", ("cpu", "cpu")),
        (PIXELS, 1, "auto", ("cuda:0", "cuda:0")),
        (PONG, 2, "auto", ("cuda:0", "cuda:1")),
    ],
)
def test_a_gpu_is_taken_for_pictures_only(gpus, env_id, n_gpus, wanted, devices):
    gpus(n_gpus)
    assert devices_of(TrainConfig(env_id, device=wanted)) == devices


class ReachedError(Exception):
    """What was to be seen has been seen."""


@pytest.fixture
def run(tmp_path):
    made = RunDirectory.create(tmp_path / "run")
    config = TrainConfig(DOT, device="cuda:0,cuda:1", run=made.root)
    made.write_json(made.config, config_as_json(config))
    return made


@pytest.mark.parametrize(("n_gpus", "device"), [(2, "cuda:0"), (0, "cpu")])
def test_a_run_is_loaded_where_its_agent_was_or_on_the_cpu(gpus, run, n_gpus, device):
    gpus(n_gpus)
    with mock.patch.object(finish, "Agent", side_effect=ReachedError) as agent:
        with pytest.raises(ReachedError):
            finish.load_run(run)
    assert agent.call_args.kwargs["device"] == device


def test_the_final_evaluation_is_computed_where_the_agent_was(gpus, run):
    gpus(2)
    config = TrainConfig(DOT, device="cuda:0,cuda:1", run=run.root)
    with mock.patch.object(finish, "Agent", side_effect=ReachedError) as agent:
        with pytest.raises(ReachedError):
            finish.finish_run(config, run)
    assert agent.call_args.kwargs["device"] == "cuda:0"


def test_fits_are_repeated_where_the_learner_was(gpus, run):
    gpus(2)
    with (
        mock.patch.object(replay, "step_reward") as made,
        mock.patch.object(replay, "use_cpu"),
        mock.patch.object(replay, "replay_fits") as fits,
    ):
        replay.replay_run(run)
        make_net = fits.call_args.args[1]
        make_net()
    made.return_value.to.assert_called_once_with("cuda:1")
