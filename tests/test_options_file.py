"""``--config``, ``--save-config`` and ``--help``: options by name, in files and on the screen."""

from pathlib import Path

import pytest
import yaml

from prefrl.cli import main
from prefrl.commands.align import Align
from prefrl.commands.sft import Sft
from prefrl.commands.train import Train
from prefrl.control.presets import PRESETS
from prefrl.runtime.named_options import changed_options, filled, flat_options
from prefrl.text.config import AlignConfig
from prefrl.text.sft_config import SftConfig


def said(capsys, *arguments):
    """What a command says, and its exit code."""
    code = 0
    try:
        main(list(map(str, arguments)))
    except SystemExit as end:
        code = end.code or 0
    out = capsys.readouterr()
    return code, " ".join((out.out + out.err).split())


def saved(tmp_path, capsys, *arguments):
    """The options that --save-config writes."""
    path = tmp_path / "saved.yaml"
    code, told = said(capsys, *arguments, "--save-config", path)
    assert code == 0, told
    assert f"prefrl {arguments[0]} --config {path}" in told
    return yaml.safe_load(path.read_text())


def test_what_is_saved_comes_back(tmp_path, capsys):
    given = ["--labels", 77, "--agent.gamma", 0.9, "--agent.hidden", 32, 32, "--page.port", 9000]
    options = saved(tmp_path, capsys, "train", "CartPole-v1", *given, "--selection", "uniform")
    assert options == {
        "env_id": "CartPole-v1",
        "labels": 77,
        "selection": "uniform",
        "agent.gamma": 0.9,
        "agent.hidden": [32, 32],
        "page.port": 9000,
    }
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(options))
    assert saved(tmp_path, capsys, "train", "--config", again) == options


def test_the_command_line_decides_over_the_file_and_that_over_the_preset(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: atari\nenv_id: CartPole-v1\nsteps: 5000\nagent:\n  n-envs: 4\n")
    options = saved(tmp_path, capsys, "train", "--config", path, "--steps", 6000)
    assert options == {
        "env_id": "CartPole-v1",
        "steps": 6000,
        "agent.n_envs": 4,
        "preset": "atari",
    }
    other = saved(tmp_path, capsys, "train", "--config", path, "--preset", "control")
    assert other["preset"] == "control"


def test_texts_have_files_too(tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"model: tiny\nprompts: {prompts}\nppo: {{kl_coef: 0.1}}\ndata.limit: 3\n")
    options = saved(tmp_path, capsys, "align", "--config", path, "--batch", 32)
    assert options["ppo.kl_coef"], options["data.limit"] == (0.1, 3)
    assert (options["model"], options["batch"]) == ("tiny", 32)
    path.write_text(f"data: {prompts}\nlora.rank: 4\n")
    assert saved(tmp_path, capsys, "sft", "tiny", "--config", path)["lora.rank"] == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labls: 3", "expected options of prefrl train, got labls"),
        ("agent: {gama: 1}", "got agent.gama"),
        ("labels: many", "expected a value of labels that is int, got 'many'"),
        ("page.port: often", "page.port"),
        ("- labels", "expected options by name"),
        ("labels: [", "expected --config to be a YAML file"),
        ("save_config: x", "without save_config"),
        ("members: 0", "members must be at least 1"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path, capsys, text, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, told = said(capsys, "train", "CartPole-v1", "--config", path)
    assert code == 2
    assert expected in told


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    code, told = said(capsys, "train", "CartPole-v1", "--config", tmp_path / "none.yaml")
    assert code == 2
    assert "none.yaml" in told


@pytest.mark.parametrize(
    "start",
    [
        Train(config=PRESETS["control"]),
        Align(config=AlignConfig("tiny", prompts=Path("p.txt"))),
        Sft(config=SftConfig("tiny", data=Path("d.jsonl"))),
    ],
    ids=["train", "align", "sft"],
)
def test_every_option_can_be_said_by_its_own_value(start):
    class Nothing:
        """Differs from every value."""

        def __getattr__(self, name):
            return Nothing()

    options = changed_options(start, Nothing())
    assert len(options) > 25
    assert filled(start, flat_options(options), command="prefrl train") == start


def test_help_has_lines_of_100_characters_in_a_pipe(capsys):
    for command in ("train", "align"):
        main([command, "--help"])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_help_shows_what_matters_first(capsys):
    for command in ("train", "align"):
        code, told = said(capsys, command, "--help")
        assert code == 0
        assert "--labels" in told
        assert "--fit.noise" not in told
        assert f"prefrl {command} --help-all" in told
        code, topic = said(capsys, command, "--help", "fit")
        assert "--fit.noise" in topic
        assert "--labels" not in topic
    code, whole = said(capsys, "train", "--help-all")
    assert "--fit.noise" in whole
    assert "--labels" in whole
    assert "--off-policy.newest-share" in said(capsys, "train", "--help", "off-policy")[1]
