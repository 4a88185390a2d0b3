"""What users bring along: the examples of docs/extending.md, and what does not fit."""

import csv
import dataclasses
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from control.toys import picture_rollout, screens

import prefrl
from prefrl.cli import main
from prefrl.control.config import config_as_json, config_from_json
from prefrl.control.preferences import step_reward
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.own import OwnPictureReward, OwnStepReward
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.report import write_report
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import latest_weights

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
SHORT = ["--labels", "20", "--steps", "3000", "--segment-length", "10", "--warmup-segments", "10",
         "--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100",
         "--agent.n-epochs", "1", "--eval-episodes", "2", "--no-films"]  # fmt: skip
PLUGS = ["--oracle", "mine:prefers_gentle", "--selection", "mine:most_varied",
         "--schedule", "mine:half_at_once", "--net.member", "mine:Wide",
         "--figure", "mine:action_sizes"]  # fmt: skip
WRONG = """
import torch
number = 3
def of_one(left): return True
def falls(over): return 1 - over
def half(over): return over / 2
def raises(*told): raise OSError("no such thing")
def twice(candidates, n, rng): return [0] * n
class Needs:
    def __init__(self, more): pass
def pairs(n_inputs): return torch.nn.Linear(n_inputs, 2)
def still(n_inputs): return torch.nn.Flatten(0)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The page's examples as a module, and some that do not fit."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    examples = [block for block in blocks if "import mine" not in block]
    (tmp_path / "mine.py").write_text("\n".join(examples))
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mine", "wrong"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("mine")
    for name in ("mine", "wrong"):
        sys.modules.pop(name, None)


def check_run(run):
    """A run with all of the page's parts."""
    with LabelStore(run.labels) as store:
        assert store.counts().answered == 20
        for _, comparison in store.comparisons():
            pair = comparison.query.left, comparison.query.right
            rewards = [np.load(run.truth / f"{i}.npz")["rewards"].sum() for i in pair]
            if abs(rewards[0] - rewards[1]) > 5:
                assert comparison.answer.value == ("left" if rewards[0] > rewards[1] else "right")
    with run.metrics.open() as file:
        first = next(row for row in csv.DictReader(file) if int(row["labels"]) + int(row["open"]))
    assert int(first["labels"]) + int(first["open"]) in range(10, 15)  # half of them at once
    assert latest_weights(run.reward).tensors["nets.0.0.weight"].shape[0] == 128
    page = (run.report / "index.html").read_text()
    assert "How large are the actions?" in page
    assert (run.report / "own_action_sizes.png").stat().st_size > 1000


def test_the_examples_of_the_page_work_in_all_processes(mine, tmp_path, capsys):
    main(["train", DOT, *SHORT, *PLUGS, "--run", "run"])
    run = RunDirectory.open("run")
    check_run(run)
    capsys.readouterr()
    for command in (["evaluate", "run", "--episodes", "1"], ["replay", "run"], ["status", "run"]):
        main(command)
    assert "fits repeated exactly" in capsys.readouterr().out


def test_and_with_sync_after_a_stop_too(mine, tmp_path):
    """In processes of their own, started as a shell would, which find mine.py in their folder."""
    options = [*SHORT, *PLUGS, "--sync", "--run", "run", "--checkpoint-seconds", "0"]
    code = (
        "import os, sys; from prefrl import PreferenceCallback; from prefrl.cli import main\n"
        "log = PreferenceCallback._log\n"
        "def stop(self, row, used):\n"
        "    log(self, row, used)\n"
        "    if row['env_steps'] >= 1600: os._exit(9)\n"
        "PreferenceCallback._log = stop\n"
        "main(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", code, "train", DOT, *options], check=False)
    assert killed.returncode == 9
    subprocess.run([sys.executable, "-m", "prefrl", "resume", "run"], check=True)
    check_run(RunDirectory.open("run"))


def test_from_python_they_are_objects_and_the_run_keeps_their_names(mine, tmp_path):
    preferences = prefrl.PreferenceConfig(
        labels=20,
        segment_length=10,
        query=QueryConfig(selection=mine.most_varied, warmup_segments=10),
        schedule=mine.half_at_once,
        net=RewardNetConfig(member=mine.Wide),
    )
    config = prefrl.TrainConfig(DOT, steps=3000, preferences=preferences)
    content = config_as_json(config)
    assert content["preferences"]["query"]["selection"] == "mine:most_varied"
    assert content["preferences"]["schedule"] == "mine:half_at_once"
    assert content["preferences"]["net"]["member"] == "mine:Wide"
    again = config_from_json(content)
    assert again.preferences.label_schedule(1000).due(500) == 15
    here = prefrl.PreferenceConfig(schedule=lambda over: over)
    assert here.label_schedule(1000).due(475) == 350
    with pytest.raises(ConfigError, match="define it at the top of a module"):
        prefrl.train(prefrl.TrainConfig(DOT, run=tmp_path / "run", preferences=here))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--selection", "nowhere:rule", "No module named 'nowhere'"),
        ("--selection", "wrong:gone", "has no attribute 'gone'"),
        ("--selection", "broken:rule", "ZeroDivisionError"),
        ("--selection", "gone.py:rule", "there is no file"),
        ("--selection", "wrong:number", "to be a function, got 3"),
        ("--selection", "wrong:of_one", "too many positional arguments"),
        ("--selection", "wrong:", "as module:name or FILE.py:name"),
        ("--schedule", "nowhere:one", "No module named 'nowhere'"),
        ("--schedule", "sometimes", "or module:name, got 'sometimes'"),
        ("--schedule", "wrong:falls", "never to fall, got 1.00, 0.95"),
        ("--schedule", "wrong:half", "to rise to 1"),
        ("--schedule", "wrong:raises", "raised OSError: no such thing"),
        ("--oracle", "nowhere:one", "No module named 'nowhere'"),
        ("--oracle", "somebody", "or module:name, got 'somebody'"),
        ("--oracle", "wrong:of_one", "too many positional arguments"),
        ("--oracle", "wrong:Needs", "made without arguments"),
        ("--oracle", "wrong:number", "a function of two items, got 3"),
        ("--net.member", "nowhere:Net", "No module named 'nowhere'"),
        ("--net.member", "wrong:pairs", "gives torch.Size([3, 2]) for S = 3"),
        ("--net.member", "wrong:still", "(S,) or (S, 1)"),
        ("--net.member", "wrong:raises", "raised OSError: no such thing"),
        ("--figure", "nowhere:draw", "No module named 'nowhere'"),
        ("--figure", "wrong:number", "to be a function, got 3"),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_work_starts(
    mine, tmp_path, capsys, option, value, message
):
    with pytest.raises(SystemExit) as ended:
        main(["train", DOT, *SHORT, "--run", "run", option, value])
    assert ended.value.code == 2
    said = capsys.readouterr()
    shown = " ".join((said.out + said.err).replace("│", " ").split())
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "run").exists()


def test_positions_that_are_none_end_the_run_with_a_sentence(mine, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", DOT, *SHORT, "--sync", "--run", "run", "--selection", "wrong:twice"])
    assert ended.value.code == 2
    assert "different positions below" in " ".join(capsys.readouterr().err.split())


def test_a_figure_that_fails_leaves_a_report(mine, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, {"env_id": "x"})
    page = write_report(run, figures=["wrong:raises"]).read_text()
    assert "The figure raises raised OSError: no such thing" in page
    with pytest.raises(ConfigError, match="No module named 'nowhere'"):
        write_report(run, figures=["nowhere:draw"])


class Net(torch.nn.Module):
    """Begins at random."""

    def __init__(self, n_inputs):
        super().__init__()
        self.layer = torch.nn.Linear(n_inputs, 1)

    def forward(self, inputs):
        return self.layer(inputs).squeeze(-1)


def test_members_are_made_anew_from_the_generator():
    net = OwnStepReward(3, 2, n_members=2, config=RewardNetConfig(member=Net))
    before = torch.random.get_rng_state()
    net.reset(torch.Generator().manual_seed(1))
    first = [one.layer.weight.clone() for one in net.nets]
    assert not first[0].equal(first[1])
    net.reset(torch.Generator().manual_seed(2))
    assert not net.nets[0].layer.weight.equal(first[0])
    net.reset(torch.Generator().manual_seed(1))
    assert net.nets[0].layer.weight.equal(first[0])
    assert torch.random.get_rng_state().equal(before)
    assert net.step_rewards(torch.ones(4, 7, 5)).shape == (2, 4, 7)


class Seeing(torch.nn.Module):
    def __init__(self, n_inputs, shape):
        super().__init__()
        self.shape = n_inputs, shape
        self.layer = torch.nn.Linear(n_inputs + math.prod(shape), 1)

    def forward(self, inputs, pictures):
        return self.layer(torch.cat([inputs, pictures.flatten(1)], 1))


def test_a_net_of_ones_own_sees_the_pictures_that_the_layers_here_see():
    """Stacked along the channels, the newest last, black before the episode, in [0, 1]."""
    config = prefrl.PreferenceConfig(
        net=RewardNetConfig(member=Seeing, frame_stack=3, inputs="action"), members=2
    )
    net = step_reward(screens(), config)
    assert isinstance(net, OwnPictureReward)
    height, width = net.nets[0].shape[1][1:]
    n_inputs = net.nets[0].shape[0]
    assert net.nets[0].shape[1][0] == 3
    with torch.no_grad():
        for member in net.nets:
            member.layer.weight.zero_()
            member.layer.bias.zero_()
            for lag in range(3):  # ones, tens and hundreds of the mean brightness in steps
                pixels = slice(
                    n_inputs + lag * height * width, n_inputs + (lag + 1) * height * width
                )
                member.layer.weight[:, pixels] = 255 * 10.0 ** (2 - lag) / (height * width)
    seen = picture_rollout(5, n_before=2, ends=[(2, 0)])
    seen = dataclasses.replace(
        seen,
        observations=np.zeros((5, 1, 0), np.float32),
        actions=np.zeros((5, 1, n_inputs), np.float32),
        frames=np.tile(seen.frames[..., :1, :1], (1, 1, 1, height, width)),
    )
    _, raw = net.predict(seen)
    # Pictures are as bright as their step plus 1, and the third step ends the episode.
    assert raw[0, :, 0].tolist() == pytest.approx([1, 12, 123, 4, 45], abs=1e-2)


def test_what_does_not_fit_pictures_is_refused():
    for member, said in (
        (Net, "number of inputs, shape of the pictures"),
        (flat, r"torch.Size\(\[3, 2"),
    ):
        config = prefrl.PreferenceConfig(net=RewardNetConfig(member=member))
        with pytest.raises(ConfigError, match=said):
            step_reward(screens(), config)


def flat(n_inputs, shape):
    class Flat(torch.nn.Linear):
        def forward(self, inputs, pictures):
            return super().forward(pictures.flatten(1))

    return Flat(math.prod(shape), 2)


def test_a_net_for_pictures_learns_in_all_processes(mine, tmp_path):
    small = [*SHORT, "--net.member", "mine:Seeing", "--net.frame-stack", "1",
             "--first-labels", "5", "--pretraining-epochs", "3"]  # fmt: skip
    main(["train", f"{DOT.removesuffix('-v0')}Pixels-v0", *small, "--run", "run"])
    weights = latest_weights(RunDirectory.open("run").reward)
    assert any(name.startswith("nets.0.") for name in weights.tensors)
    assert weights.about["labels"] > 0
    reward = prefrl.load_reward("run")
    assert reward.net.nets[0].__class__.__name__ == "Seeing"
