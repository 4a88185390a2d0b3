"""Demonstrations on a tiny model: from a file to a model that writes as they do."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from prefrl.cli import main
from prefrl.errors import ConfigError, NotEnoughDataError, RoleError, RunDirectoryError
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import unsaved_of
from prefrl.text.config import AlignConfig
from prefrl.text.methods.finetune import FinetuneConfig, demonstration_loss
from prefrl.text.nets.generate import SamplingConfig, sample_responses
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.presets import SFT_PRESETS, align_preset_for
from prefrl.text.responses import Response
from prefrl.text.sft import resume_sft, sft
from prefrl.text.sft_config import SftConfig, sft_config_as_json, sft_config_from_json
from prefrl.text.start import load_start, starting_model

WORDS = ("one", "or", "two", "of", "the", "big", "six", "a")
ROWS = [{"prompt": f"{word} {n} ", "completion": "abab"} for n in range(10) for word in WORDS]


@pytest.fixture
def config(tmp_path):
    """Settings with which a tiny model learns to answer abab."""
    write(tmp_path / "data.jsonl", ROWS)
    return replace(SFT_PRESETS["tiny"], data=tmp_path / "data.jsonl", run=tmp_path / "run")


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))


def rows_of(run):
    with run.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def same_models(*runs):
    weights = [load_file(run.model / "model.safetensors") for run in runs]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def refused(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["sft", *map(str, arguments)])
    return ended.value.code == 2


def test_a_tiny_model_learns_to_write_what_was_demonstrated(config):
    result = sft(replace(config, finetune=replace(config.finetune, epochs=20)))
    summary = result.summary
    assert (summary["examples"], summary["eval_examples"], summary["cut"]) == (72, 8, 0)
    assert summary["tokens"] == 72 * 5
    assert summary["eval_loss_before"] > 5
    assert summary["eval_loss_after"] < 0.2
    language = load_model(str(result.run.model))
    responses = sample_responses(
        language,
        20 * [language.prompt("six 77 ")],
        config=config.sampling,
        generator=torch.Generator().manual_seed(0),
    )
    assert sum(r.text == "abab" for r in responses) > 14
    rows = json.loads(result.run.examples.read_text())
    assert len(rows) == 8
    assert sum(row["after"] == "abab" for row in rows) > 4
    assert not any(row["before"] == "abab" for row in rows)


@torch.no_grad()
def test_the_loss_is_of_the_responses_tokens_alone():
    policy = Policy(load_model("tiny"))
    language = policy.language
    tokens = [
        (language.prompt(prompt).tokens, language.response_tokens(text))
        for prompt, text in (("a long prompt ", "no"), ("p", "a long response"))
    ]
    loss = demonstration_loss(policy, [Response("", "", *pair) for pair in tokens])
    expected = []
    for prompt, response in tokens:
        ids = torch.tensor([[*prompt, *response]])
        logprobs = language.model(ids).logits[0, :, :257].log_softmax(-1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        said = [logprobs[p, t] for p, t in zip(places, response, strict=True)]
        expected.append(-sum(map(float, said)) / len(said))
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_the_table_tells_of_each_step(config):
    result = sft(replace(config, evaluations=3))
    rows = rows_of(result.run)
    assert [int(row["step"]) for row in rows] == list(range(26))
    assert [int(row["examples"]) for row in rows][:7] == [0, 16, 32, 48, 64, 72, 88]
    evaluated = [int(row["step"]) for row in rows if row["eval_loss"] != "nan"]
    assert evaluated == [0, 9, 17, 25]
    rates = [float(row["learning_rate"]) for row in rows[1:]]
    assert rates[0] == config.finetune.learning_rate
    assert rates == sorted(rates, reverse=True)


def test_without_enough_to_hold_out_all_is_learned(config, tmp_path):
    write(config.data, ROWS[:9])
    summary = sft(config).summary
    assert (summary["examples"], summary["eval_examples"]) == (9, 0)
    assert summary["eval_loss_after"] is None
    assert summary["loss"] < 5.6
    assert len(json.loads((tmp_path / "run" / "examples.json").read_text())) == 9


def test_plain_text_is_learned_and_gone_on_with(config):
    write(config.data, [{"text": f"{n} bottles of beer"} for n in range(40)])
    result = sft(config)
    assert result.summary["eval_loss_after"] < result.summary["eval_loss_before"] - 1
    prompts = [row["prompt"] for row in json.loads(result.run.examples.read_text())]
    assert len(prompts) == 4
    assert all(len(prompt) == 8 and " bott" in prompt for prompt in prompts)


def test_the_result_opens_with_transformers_and_has_a_card(config):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = sft(replace(config, max_tokens=8))
    model = AutoModelForCausalLM.from_pretrained(result.run.model)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(result.run.model))
    card = (result.run.model / "README.md").read_text()
    assert "fine-tuned on demonstrations" in card
    n_cut = sum(len(row["prompt"]) + 5 > 8 for row in ROWS)
    assert result.summary["cut"] == n_cut
    assert f"72 demonstrations in 25 gradient steps, seed 0. {n_cut}, those held out" in card
    assert str(config.data) not in card


def test_a_run_that_is_stopped_goes_on_bit_for_bit(config, tmp_path):
    whole = sft(replace(config, run=tmp_path / "whole"))

    def stop_in_the_middle(row):
        if row["step"] == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = sft(config, on_step=stop_in_the_middle)
    assert not stopped.finished
    assert not stopped.run.model.exists()
    resumed = resume_sft(stopped.run)
    assert same_models(whole.run, resumed.run)
    for result in (whole, resumed):
        del result.summary["wall_seconds"]
    assert resumed.summary == whole.summary
    told = [[(r["step"], r["loss"]) for r in rows_of(r.run)] for r in (whole, resumed)]
    assert told[0] == told[1]
    with pytest.raises(RunDirectoryError, match="not finished"):
        resume_sft(resumed.run)


def test_a_run_that_is_killed_goes_on_bit_for_bit(config, tmp_path):
    whole = sft(replace(config, run=tmp_path / "whole"))
    told = f"sft tiny --data {config.data} --run {config.run} --checkpoint-seconds 0"
    killed = subprocess.run(
        [sys.executable, "-m", "prefrl", *told.split()],
        env={**os.environ, "PREFRL_FAIL_POINT": "checkpoint:before-rename@14"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    run = RunDirectory(config.run)
    assert len(rows_of(run)) == 15
    resumed = resume_sft(run)
    assert same_models(whole.run, resumed.run)
    assert [r["loss"] for r in rows_of(whole.run)] == [r["loss"] for r in rows_of(run)]


def test_killed_while_samples_are_drawn_a_run_does_not_train_again(config):
    def break_off():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft(config, on_sampling=break_off)
    run, steps = RunDirectory(config.run), []
    assert not run.summary.is_file()
    assert resume_sft(run, on_step=steps.append).finished
    assert not steps


def test_a_run_goes_on_with_the_data_it_began_with_and_in_one_process(config):
    def stop(row):
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run = sft(config, on_step=stop).run
    with only_one(run, "agent"), pytest.raises(RoleError, match="another process works on it"):
        resume_sft(run)
    write(config.data, [*ROWS[:-1], ROWS[-1] | {"completion": "baba"}])
    with pytest.raises(RunDirectoryError, match=r"data.jsonl has changed since"):
        resume_sft(run)


def test_an_alignment_takes_it_up_as_policy_and_reference(config, tmp_path, capsys):
    result = sft(config)
    told = AlignConfig("tiny", config.data, init=result.run.root)
    start, tuned = starting_model(told), load_model(str(result.run.model))
    assert start.source == "tiny"
    reference = Policy(start).reference
    batch = collate([Response("", "", (5, 6), (7, 8, 9))])
    said = [m.model(**batch.inputs).logits for m in (reference, tuned, load_model("tiny"))]
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])
    (tmp_path / "gold.py").write_text("def score(text): return text.count('a') / 4")
    (tmp_path / "prompts.txt").write_text("one 1 \nsix 6 \n")
    arguments = f"align tiny --init {result.run.root} --prompts {tmp_path / 'prompts.txt'} --sync"
    arguments += (
        f" --gold {tmp_path / 'gold.py'}:score --responses 64 --labels 10 --eval-responses 64"
    )
    main([*arguments.split(), "--run", str(tmp_path / "aligned")])
    summary = json.loads((tmp_path / "aligned" / "summary.json").read_text())
    assert summary["gold_before"] > 0.15  # an untrained model writes an a in 257 letters
    assert "as what an earlier stage left in `run`" in (
        (tmp_path / "aligned" / "model" / "README.md").read_text()
    )


def test_an_earlier_stage_without_an_end_is_refused(config):
    def stop(row):
        os.kill(os.getpid(), signal.SIGTERM)

    run = sft(config, on_step=stop).run
    with pytest.raises(ConfigError, match="has no model yet; continue with prefrl resume"):
        load_start("tiny", run.root)


def test_from_the_shell(config, capsys):
    told = ["sft", "tiny", "--data", str(config.data), "--run", str(config.run)]
    main([*told, "--max-tokens", "8"])
    said = capsys.readouterr().out
    for part in ("preset tiny", "72 demonstrations to learn from, 8 held out; ", "cut to 8 tokens",
                 "25/25 steps  loss", "held-out loss", "prefrl align tiny --init"):  # fmt: skip
        assert part in said
    assert "labels" not in said
    page = config.run / "report" / "index.html"
    page.unlink()
    main(["report", str(config.run)])
    assert "fell from" in page.read_text()
    assert "<h2>Examples</h2>" in page.read_text()
    assert (page.parent / "loss.png").is_file()
    main(["status", str(config.run)])
    said = capsys.readouterr().out
    assert "agent  finished" in said
    assert "360 demonstrations" in said
    assert "reward" not in said


@pytest.mark.parametrize("command", ["resume", "replay", "label", "evaluate"])
def test_commands_that_have_nothing_to_do_say_so(config, capsys, command):
    run = RunDirectory.create(config.run)
    run.write_json(run.config, sft_config_as_json(config))
    run.write_json(run.summary, {})
    with pytest.raises(SystemExit) as ended:
        main([command, str(run.root)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("prefrl: expected a run")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", "", "expected demonstrations in"),
        ('{"text": "fine"}\n{', "", "expected JSON in line 2"),
        ('{"text": "fine"}\n{"words": 1}', "", "in line 2"),
        ('{"prompt": "p", "completion": "' + 300 * "x" + '"}', "", "line 1 of .* has 302 tokens"),
        ('{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": '
         '"yes"}]}', "", "line 1 of .*: expected a chat template"),
        ('{"text": "fine"}', "--max-tokens 1", "max_tokens must be at least 2"),
        ('{"text": "fine"}', "--finetune.warmup-steps 50", "warmup_steps to be fewer than the 5"),
        ('{"text": "fine"}', "--train-layers 3", "expected 0 to 2 layers"),
        ('{"text": "fine"}', "--init nowhere", "there is no nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_sentence_and_leaves_nothing(
    tmp_path, capsys, content, arguments, message
):
    data, run = tmp_path / "data.jsonl", tmp_path / "run"
    data.write_text(content)
    assert refused("tiny", "--data", data, "--run", run, *arguments.split())
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(said)
    assert not run.exists()


def test_a_directory_that_is_taken_is_refused(config):
    config.run.mkdir()
    (config.run / "precious").touch()
    with pytest.raises(RunDirectoryError, match="choose another --run"):
        sft(config)


def test_the_config_comes_back_from_json(config):
    told = json.loads(json.dumps(sft_config_as_json(replace(config, init=config.run))))
    assert told["method"] == "sft"
    assert sft_config_from_json(told) == replace(config, init=config.run)


def test_presets_fit_the_model():
    assert {align_preset_for(model) for model in ("smollm2", "tiny", "gpt2")} <= set(SFT_PRESETS)
    assert SFT_PRESETS["default"] == SftConfig("tiny", SFT_PRESETS["default"].data)
    assert SFT_PRESETS["instructgpt"].finetune == FinetuneConfig(
        epochs=16, batch_size=32, learning_rate=9.65e-6, schedule="cosine", final_share=0.1
    )
    assert SFT_PRESETS["tiny"].sampling == SamplingConfig(max_new_tokens=8)
    assert SftConfig("a/b", SFT_PRESETS["tiny"].data, seed=3).run_path.name == "b-sft-3"


def test_nothing_to_learn_from_is_refused(config, monkeypatch):
    monkeypatch.setattr("prefrl.text.sft.read_demonstrations", lambda *told, **options: [])
    with pytest.raises(NotEnoughDataError, match="at least one example"):
        sft(config)


def test_checkpoints_that_cannot_be_written_are_told_while_it_goes_on(config, block_checkpoints):
    said = []
    result = sft(
        replace(config, checkpoint_seconds=0.0),
        on_step=block_checkpoints,
        on_agent=lambda status: said.append(unsaved_of(status)),
    )
    assert result.finished
    assert any("No checkpoint can be written (" in text for text in said)
