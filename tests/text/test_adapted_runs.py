"""Whole runs with adapters on a tiny model: from prompts or demonstrations to a plain model."""

import csv
import json
import os
import signal
import sys
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from prefrl.cli import main
from prefrl.errors import ConfigError, MissingExtraError
from prefrl.runtime.rundir.checkpoint import load_checkpoint
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS, SFT_PRESETS
from prefrl.text.sft import resume_sft, sft
from prefrl.text.sft_config import sft_config_as_json, sft_config_from_json
from prefrl.text.train import align, resume_alignment

GOLD = """def score(text):
    return sum(c.isascii() and c.isalpha() for c in text) / 8
"""
WORDS = ("one", "or", "two", "of", "the", "big", "six", "a")
LORA = AdapterConfig(rank=8, modules="all-linear")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a model that writes letters or digits: random ones have little to adapt."""
    folder = tmp_path_factory.mktemp("base")
    said = ("abcd", "1234")
    rows = [{"prompt": f"{w} {n}", "completion": said[n % 2]} for n in range(10) for w in WORDS]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny = SFT_PRESETS["tiny"]
    how = replace(tiny.finetune, epochs=12)
    sft(replace(tiny, data=folder / "data.jsonl", run=folder / "run", finetune=how))
    return folder / "run" / "model"


@pytest.fixture
def config(tmp_path, base):
    """Settings with which that model learns to write letters, by adapters in all places."""
    (tmp_path / "gold.py").write_text(GOLD)
    prompts = [f"{word} {number}" for number in range(4) for word in WORDS]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    tiny = ALIGN_PRESETS["tiny"]
    return replace(
        tiny,
        prompts=tmp_path / "prompts.txt",
        gold=f"{tmp_path / 'gold.py'}:score",
        run=tmp_path / "run",
        init=base,
        responses=768,
        labels=100,
        sync=True,
        lora=LORA,
        reward=replace(tiny.reward, lora=replace(LORA, dropout=0.05)),
        fit=replace(tiny.fit, learning_rate=5e-3),
        ppo=replace(tiny.ppo, learning_rate=5e-3),
        finetune=replace(tiny.finetune, learning_rate=1e-2, epochs=12),
        loss=PairLossConfig(beta=0.3),
    )


@pytest.fixture
def demonstrations(tmp_path, base):
    """Settings with which that model learns to answer abab, by adapters that drop out."""
    rows = [{"prompt": f"{word} {n} ", "completion": "abab"} for n in range(10) for word in WORDS]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny = SFT_PRESETS["tiny"]
    return replace(
        tiny,
        data=tmp_path / "data.jsonl",
        init=base,
        run=tmp_path / "run",
        lora=replace(LORA, dropout=0.1),
        finetune=replace(tiny.finetune, learning_rate=2e-2),
    )


def rows_of(run):
    with run.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def same_models(*runs):
    weights = [load_file(run.model / "model.safetensors") for run in runs]
    return all((weights[0][name] == weights[1][name]).all() for name in weights[0])


@pytest.mark.parametrize("method", ["ppo", "dpo"])
def test_a_tiny_model_learns_by_its_adapters_what_the_answers_prefer(config, method):
    result = align(replace(config, method=method))
    summary = result.summary
    error = summary["gold_before_error"] ** 2 + summary["gold_after_error"] ** 2
    assert summary["gold_after"] - summary["gold_before"] > 2 * error**0.5
    assert sorted(load_file(result.run.model / "model.safetensors")) == sorted(
        dict(load_model("tiny").model.named_parameters())
    )
    assert not list(result.run.model.glob("adapter*"))
    published = load_file(max(result.run.reward.glob("v*.safetensors")))
    assert {name.split(".")[-2] for name in published if "trained" in name} == {"A", "B"}


@pytest.mark.parametrize("method", ["ppo", "dpo"])
def test_a_run_that_is_stopped_goes_on_bit_for_bit(config, tmp_path, method):
    config = replace(
        config,
        method=method,
        responses=320,
        labels=40,
        eval_prompts=4,
        checkpoint_seconds=0,
        finetune=replace(config.finetune, epochs=25),
    )
    whole = align(replace(config, run=tmp_path / "whole"))
    seen = 0

    def stop_in_the_middle(row):
        nonlocal seen
        seen += 1
        if seen == (3 if method == "ppo" else 6):
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = align(replace(config, run=tmp_path / "stopped"), on_rollout=stop_in_the_middle)
    assert not stopped.finished
    state = load_checkpoint(stopped.run.checkpoints).state["ppo" if method == "ppo" else "tuning"]
    assert all("lora" in name or "value" in name for name in state["trained"])
    resumed = resume_alignment(stopped.run)
    for result in (whole, resumed):
        del result.summary["wall_seconds"]
    assert resumed.summary == whole.summary
    assert same_models(whole.run, resumed.run)
    assert [r["kl"] for r in rows_of(whole.run)] == [r["kl"] for r in rows_of(resumed.run)]


def test_side_by_side_with_a_model_for_each_member(config, capsys):
    main(
        [
            *("align", "tiny", "--prompts", str(config.prompts), "--gold", config.gold),
            *("--run", str(config.run), "--responses", "128", "--labels", "20"),
            *("--eval-prompts", "4", "--lora.rank", "4", "--reward.lora.rank", "2"),
            *("--reward.lora.dropout", "0.1", "--reward.ensemble", "models"),
            *("--reward.members", "2"),
        ]
    )
    assert "labels and 128 responses" in " ".join(capsys.readouterr().out.split())
    summary = json.loads((config.run / "summary.json").read_text())
    assert summary["labels"] == 20


def test_demonstrations_are_learned_by_adapters(demonstrations):
    result = sft(replace(demonstrations, finetune=replace(demonstrations.finetune, epochs=10)))
    assert result.summary["eval_loss_before"] > 2
    assert result.summary["eval_loss_after"] < 1
    assert sorted(load_file(result.run.model / "model.safetensors")) == sorted(
        dict(load_model("tiny").model.named_parameters())
    )


def test_a_fine_tuning_that_is_stopped_goes_on_bit_for_bit(demonstrations, tmp_path):
    whole = sft(replace(demonstrations, run=tmp_path / "whole"))

    def stop_in_the_middle(row):
        if row["step"] == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = sft(demonstrations, on_step=stop_in_the_middle)
    assert not stopped.finished
    resumed = resume_sft(stopped.run)
    assert same_models(whole.run, resumed.run)


def test_a_config_comes_back_from_its_json(config, demonstrations):
    told = json.loads(json.dumps(config_as_json(config)))
    assert align_config_from_json(told) == config
    told = json.loads(json.dumps(sft_config_as_json(demonstrations)))
    assert sft_config_from_json(told) == demonstrations


def test_a_config_from_before_there_were_adapters_has_none(config):
    told = config_as_json(config)
    del told["lora"], told["reward"]["lora"]
    assert not align_config_from_json(told).lora.used


def test_a_policy_that_drops_out_is_refused(config):
    with pytest.raises(ConfigError, match=r"expected lora.dropout 0, got 0.1"):
        replace(config, lora=replace(LORA, dropout=0.1))


@pytest.mark.parametrize("place", ["lora", "reward"])
def test_adapters_that_cannot_be_had_are_refused_before_the_run_begins(config, place, monkeypatch):
    wrong = AdapterConfig(rank=4, modules="c_attn")
    changes = {"lora": wrong} if place == "lora" else {"reward": replace(config.reward, lora=wrong)}
    with pytest.raises(ConfigError, match="expected linear layers c_attn"):
        align(replace(config, **changes))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="peft"):
        align(config)
    assert not config.run.exists()


def test_the_preset_of_stackllama():
    align_preset, sft_preset = ALIGN_PRESETS["stackllama"], SFT_PRESETS["stackllama"]
    assert align_preset.lora == AdapterConfig(rank=16, alpha=32)
    assert align_preset.reward.lora == AdapterConfig(rank=8, alpha=32, dropout=0.1)
    assert (align_preset.fit.batch_size, align_preset.fit.epochs) == (32, 1)
    assert (align_preset.reward.members, align_preset.reward.train_layers) == (1, None)
    assert sft_preset.lora == AdapterConfig(rank=16, alpha=32, dropout=0.05)
