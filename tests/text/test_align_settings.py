"""The settings of an alignment: how they are read, kept and refused."""

import json
import typing
from dataclasses import replace

import pytest

from prefrl.cli import main
from prefrl.commands.status import describe_run
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.candidates import TextQueryConfig
from prefrl.text.config import AlignConfig, Method, align_config_from_json, config_as_json
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.preference_losses import TUNING_METHODS
from prefrl.text.methods.raft import RaftConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextRewardConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.sft_config import SftConfig, sft_config_as_json
from prefrl.text.start import texts_in
from prefrl.text.train import align


def test_options_are_read_with_the_preset_of_the_model(config, capsys):
    told = f"align tiny --prompts {config.prompts} --reward.ensemble models --gold nothing:there"
    with pytest.raises(SystemExit):
        main(told.split())
    shown = capsys.readouterr()
    assert "preset tiny" in shown.out
    assert (
        "function 'there' in nothing" in shown.err
    )  # no word of train_layers, which is 0 by default


def test_the_status_of_a_run_with_people_knows_that_texts_are_not_filmed(config):
    run = RunDirectory.create(config.run)
    run.write_json(run.config, config_as_json(replace(config, sync=False, oracle="human")))
    roles = list(describe_run(run).columns[0].cells)
    assert roles[:3] == ["agent", "learner", "viewer"]


def test_the_methods_are_those_that_there_are():
    assert set(typing.get_args(Method)) == {
        "ppo",
        "grpo",
        "rloo",
        "raft",
        "best-of-n",
        *TUNING_METHODS,
    }


def test_the_config_comes_back_from_json(config):
    told = json.loads(json.dumps(config_as_json(config)))
    assert align_config_from_json(told) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_prompt": 1}, "per_prompt to be at least 2"),
        ({"method": "magic"}, "method to be one of ppo, best-of-n"),
        ({"batch": 7}, "to divide the batch"),
        ({"oracle": "human"}, "expected oracle synthetic with sync"),
        ({"labels": 0}, "labels must be at least 1"),
        (
            {"method": "kto", "finetune": FinetuneConfig(batch_size=1)},
            "batch_size of at least 2 for kto",
        ),
        ({"method": "raft", "raft": RaftConfig(kept=2)}, "kept to be fewer than per_prompt = 2"),
        ({"train_layers": 0}, "train_layers to be at least 1 for ppo"),
        ({"train_layers": 0, "method": "dpo"}, "train_layers to be at least 1 for dpo"),
    ],
)
def test_settings_that_cannot_work_are_refused(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(config, **changes)


def test_parts_of_the_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="max_open to be at least 6, the pairs of a ranking of 4"):
        TextQueryConfig(ranked=4, max_open=5)
    for temperature in (0.0, 1e-40, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"a temperature of at least 0\.0001"):
            SamplingConfig(temperature=temperature)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_layers": 99}, "expected 0 to 2 layers to train, got 99"),
        ({"train_layers": -1}, "expected 0 to 2 layers to train, got -1"),
        (
            {"reward": TextRewardConfig(train_layers=99)},
            "expected 0 to 2 layers to train, got 99",
        ),
        ({"data": "data.jsonl"}, "line 2 of .*data.jsonl has 305 tokens"),
        ({"gold": "gold.py:other"}, "a number from .*gold.py:other"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    config, tmp_path, monkeypatch, changes, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.py").write_text("def other(text): return None")
    rows = [{"prompt": "one ", "chosen": n * "a", "rejected": "b"} for n in (1, 300)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changes = {k: tmp_path / v if k == "data" else v for k, v in changes.items()}
    with pytest.raises(ConfigError, match=message):
        align(replace(config, **{"gold": "builtins:len", **changes}))
    assert not config.run.exists()


def test_plain_texts_are_mixed_in_with_a_chat_template_too(config, tmp_path):
    language = load_model("tiny")
    language.tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    told = [{"text": "it goes on"}, {"prompt": "hi", "completion": "yes"}]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, told)))
    texts = texts_in(tmp_path / "texts.jsonl", replace(config, chat=True), language)
    assert [language.decode(t.prompt_tokens) for t in texts] == ["i", "<hi>"]
    assert [language.decode(t.tokens) for t in texts] == ["t goes on", "yes"]


def test_a_run_knows_its_files_from_any_folder(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    relative = replace(config, model="model", gold="gold.py:score")
    content = config_as_json(relative)
    assert content["model"] == str(tmp_path / "model")
    assert content["gold"] == f"{tmp_path / 'gold.py'}:score"
    kept = config_as_json(replace(config, model="hub/model", gold="module:score"))
    assert (kept["model"], kept["gold"]) == ("hub/model", "module:score")
    assert sft_config_as_json(SftConfig("model", data=config.prompts))["model"] == content["model"]


def test_a_prompt_longer_than_the_context_is_refused_before_anything_starts(config, tmp_path):
    config.prompts.write_text("short\n" + 300 * "x" + "\n")
    with pytest.raises(ConfigError, match="prompt 2 has 300 tokens, but the context of tiny holds"):
        align(config)
    assert not (tmp_path / "run").exists()


def test_the_default_preset_is_what_the_classes_have():
    assert ALIGN_PRESETS["default"] == AlignConfig("tiny", ALIGN_PRESETS["default"].prompts)
