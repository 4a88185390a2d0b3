"""The whole loop on a tiny model: from prompts to a model that people's answers have changed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from prefrl.cli import main
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.partners import Together
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint
from prefrl.runtime.rundir.saving import unsaved_of
from prefrl.text.candidates import TextQueryConfig
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.responses import Responses
from prefrl.text.train import align, resume_alignment


def rows_of(run):
    with run.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def better(summary, n_errors=2):
    """Whether the gold score rose by more than chance explains."""
    error = summary["gold_before_error"] ** 2 + summary["gold_after_error"] ** 2
    return summary["gold_after"] - summary["gold_before"] > n_errors * error**0.5


@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo", "raft", "dpo", "best-of-n"])
def test_a_tiny_model_learns_what_the_answers_prefer(config, method):
    config = replace(config, method=method)
    if method == "dpo":
        config = replace(
            config,
            labels=300,
            finetune=replace(config.finetune, epochs=12),
            loss=PairLossConfig(beta=0.3),
        )
    if method in ("raft", "grpo", "rloo"):
        config = replace(config, per_prompt=8)
    result = align(config)
    assert better(result.summary)
    assert result.summary["labels"] == config.labels
    # Each response that was compared says which policy wrote it.
    makers = [response.made_by for response in Responses(result.run).values()]
    assert {maker.model for maker in makers} == {config.model}
    assert {maker.step % config.batch for maker in makers} == {0}
    assert max(maker.reward_version for maker in makers) > 0 or not config.improves_batches
    if method == "best-of-n":
        golds = [point["gold"] for point in result.summary["best_of_n"]]
        assert golds[-1] > golds[0]
    else:
        assert result.summary["kl_after"] > 0.1


@pytest.mark.parametrize("method", ["ppo", "raft"])
def test_side_by_side_it_learns_too_and_the_result_opens_with_transformers(config, method):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    per_prompt = 8 if method == "raft" else 2
    config = replace(config, method=method, per_prompt=per_prompt)
    result = align(replace(config, sync=False, max_stale_batches=1))
    assert better(result.summary)
    model = AutoModelForCausalLM.from_pretrained(result.run.model)
    tokenizer = AutoTokenizer.from_pretrained(result.run.model)
    assert model.config.vocab_size == len(tokenizer)
    card = (result.run.model / "README.md").read_text()
    labels = result.summary["labels"]  # the last ones may come when it is done
    assert 150 < labels <= 200
    assert f"{labels} comparisons" in card
    assert f"fine-tuned by {method}" in card


@pytest.mark.parametrize("group_loss", ["pairs", "best"])
def test_it_learns_from_rankings_of_four(config, group_loss):
    config = replace(
        config,
        per_prompt=4,
        labels=240,
        query=TextQueryConfig(ranked=4),
        fit=replace(config.fit, group_loss=group_loss),
    )
    result = align(config)
    assert better(result.summary)
    with LabelStore(result.run.labels) as store:
        groups = Counter(query.group for query in store.queries())
    assert set(groups.values()) == {6}
    assert len(groups) == 40
    with pytest.raises(ConfigError, match="labels to be a multiple of the pairs of a ranking"):
        replace(config, labels=241)


def test_a_run_without_any_reward_says_so(config, capsys):
    told = f"align tiny --prompts {config.prompts} --run {config.run} --sync --teacher.eps-skip 100"
    main([*told.split(), "--labels", "8", "--responses", "128", "--eval-prompts", "2"])
    said = capsys.readouterr().err.replace("\n", " ")
    assert "No reward was learned from 8 labels" in said


def test_the_best_of_n_waits_for_all_answers_and_the_last_fit(config):
    def slow(left, right):
        time.sleep(0.1)
        return len(left.text) >= len(right.text)

    config = replace(
        config, method="best-of-n", responses=128, labels=48, eval_prompts=4, n=4, sync=False
    )
    result = align(config, oracle=slow)
    assert result.summary["labels"] == 48
    assert result.summary["score_after"] is not None
    with result.run.fits.open(newline="") as file:
        fits = [int(row["labels"]) for row in csv.DictReader(file)]
    assert fits[-1] == 48  # however few were new


@pytest.mark.parametrize("sync", [True, False], ids=["in one process", "side by side"])
def test_where_all_labels_come_first_the_policy_learns_from_a_reward_of_all_of_them(config, sync):
    sizes = {"responses": 640, "labels": 128, "eval_prompts": 4}
    config = replace(config, initial_fraction=1.0, refit_growth=100.0, sync=sync, **sizes)
    rows = rows_of(align(config).run)
    improved = [row for row in rows if row["kl"] != "nan"]
    assert len(improved) == 9
    with (config.run / "fits.csv").open(newline="") as file:
        fits = {row["fit"]: row["labels"] for row in csv.DictReader(file)}
    assert [fits[row["reward_version"]] for row in improved] == 9 * ["128"]
    assert list(fits.values()).count("128") == 1


@pytest.fixture
def half_asked(config):
    """Settings with which half of the responses give fewer pairs than there are labels."""
    sizes = {"responses": 160, "batch": 16, "labels": 120, "eval_prompts": 4}
    return replace(config, initial_fraction=1.0, refit_growth=100.0, checkpoint_seconds=0, **sizes)


def test_labels_that_found_no_pair_at_first_are_learned_from_once_they_are_there(
    half_asked, tmp_path
):
    whole = align(half_asked)

    def stop(row):
        if row["responses"] == 80:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = align(replace(half_asked, run=tmp_path / "stopped"), on_rollout=stop)
    assert not stopped.finished
    resumed = resume_alignment(stopped.run)
    for run in (whole.run, resumed.run):
        with run.fits.open(newline="") as file:
            fits = [int(row["labels"]) for row in csv.DictReader(file)]
        assert fits == [8, 88, 120]
    assert [r["kl"] for r in rows_of(whole.run)] == [r["kl"] for r in rows_of(resumed.run)]


def test_without_a_reward_of_all_answers_the_policy_stays_as_it_is(half_asked, monkeypatch):
    monkeypatch.setattr(Together, "settle", lambda self, run_steps: False)  # told to stop
    rows = rows_of(align(half_asked).run)
    assert rows[-1]["reward_version"] == "1"
    assert {row["kl"] for row in rows} == {"nan"}


def test_the_first_rankings_are_all_asked_where_the_first_labels_are_no_whole_number(config):
    query = TextQueryConfig(ranked=4)
    sizes = {"responses": 320, "labels": 30, "per_prompt": 4, "eval_prompts": 4}
    rows = rows_of(align(replace(config, query=query, **sizes)).run)
    assert rows[0]["labels"] == "12"
    assert all(row["kl"] != "nan" for row in rows)


@pytest.mark.parametrize("method", ["ppo", "raft"])
def test_the_policy_stays_as_it_is_until_the_first_labels_are_asked_for(config, method):
    config = replace(config, method=method, responses=640, labels=128, eval_prompts=4)
    config = replace(config, initial_fraction=0.75)
    rows = rows_of(align(config).run)
    asked = [int(row["labels"]) for row in rows]
    assert 0 < asked[0] < 96 < asked[-1]
    assert [row["kl"] != "nan" for row in rows] == [n >= 96 for n in asked]


def test_the_same_seed_gives_the_same_numbers(config, tmp_path):
    config = replace(config, responses=256, labels=40, eval_prompts=4)
    first, second = (align(replace(config, run=tmp_path / name)) for name in ("a", "b"))
    for result in (first, second):
        del result.summary["wall_seconds"]
    assert first.summary == second.summary
    weights = [load_file(r.run.model / "model.safetensors") for r in (first, second)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


@pytest.mark.parametrize("method", ["ppo", "grpo", "raft", "dpo"])
def test_a_run_that_is_stopped_goes_on_bit_for_bit(config, tmp_path, method):
    config = replace(
        config,
        method=method,
        responses=320,
        labels=60,
        eval_prompts=4,
        checkpoint_seconds=0,
        finetune=replace(config.finetune, epochs=10),
    )
    whole = align(replace(config, run=tmp_path / "whole"))
    seen = 0

    def stop_in_the_middle(row):
        nonlocal seen
        seen += 1
        if seen == (6 if method == "dpo" else 3):
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = align(replace(config, run=tmp_path / "stopped"), on_rollout=stop_in_the_middle)
    assert not stopped.finished
    resumed = resume_alignment(stopped.run)
    for result in (whole, resumed):
        del result.summary["wall_seconds"]
    assert resumed.summary == whole.summary
    weights = [load_file(r.run.model / "model.safetensors") for r in (whole, resumed)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert [r["kl"] for r in rows_of(whole.run)] == [r["kl"] for r in rows_of(resumed.run)]
    with pytest.raises(RunDirectoryError, match="not finished"):
        resume_alignment(resumed.run)


def test_a_run_with_data_that_broke_in_a_batch_goes_on_as_if_nothing_had_happened(config, tmp_path):
    rows = [{"prompt": f"{w} 1", "chosen": "abc", "rejected": f"!?{w}"} for w in "abcdefgh"]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = replace(
        config,
        data=tmp_path / "data.jsonl",
        responses=192,
        labels=40,
        eval_prompts=4,
        checkpoint_seconds=1000,
    )
    whole = align(replace(config, run=tmp_path / "whole"))

    def break_in_the_middle(row):
        if row["rollout"] == 2:
            raise KeyboardInterrupt

    run = RunDirectory(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        align(replace(config, run=run.root), on_rollout=break_in_the_middle)
    assert load_checkpoint(run.checkpoints) is None  # the store knows queries that no run has asked
    resumed = resume_alignment(run)
    weights = [load_file(r.run.model / "model.safetensors") for r in (whole, resumed)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_killed_at_any_moment_a_run_goes_on_and_loses_no_answer(config):
    config = replace(config, sync=False, checkpoint_seconds=1, responses=1024, eval_prompts=4)
    arguments = ["align", "tiny", "--prompts", str(config.prompts), "--gold", config.gold]
    arguments += ["--responses", "1024", "--labels", "120", "--run", str(config.run)]
    arguments += ["--checkpoint-seconds", "1", "--eval-prompts", "4"]
    program = [sys.executable, "-m", "prefrl"]
    training = subprocess.Popen([*program, *arguments], stdout=subprocess.DEVNULL)
    run = RunDirectory(config.run)
    until = time.monotonic() + 60
    while time.monotonic() < until and not (run.metrics.is_file() and len(rows_of(run)) > 6):
        time.sleep(0.05)
    for role in ("agent", "learner", "labeller"):
        pid = json.loads((run.status / f"{role}.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
    training.kill()
    training.wait()
    with LabelStore(run.labels) as store:
        before = {event.submission_key for event in store.events()}
    assert before
    subprocess.run([*program, "resume", str(config.run)], check=True, stdout=subprocess.DEVNULL)
    with LabelStore(run.labels) as store:
        after = [event.submission_key for event in store.events()]
        assert not store.check()
    assert before <= set(after)
    assert len(after) == len(set(after))
    assert run.read_json(run.summary)["labels"] == 120
    numbers = [int(row["rollout"]) for row in rows_of(run)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_responses_of_one_token_and_without_an_end_are_fine(config):
    config = replace(config, responses=128, labels=10, eval_prompts=4)
    for number, sampling in enumerate(
        (SamplingConfig(max_new_tokens=1), SamplingConfig(stop_at_end=False, max_new_tokens=6))
    ):
        run = config.run.with_name(f"run{number}")
        result = align(replace(config, sampling=sampling, run=run))
        assert result.summary["length_after"] == sampling.max_new_tokens


def test_a_plain_function_of_two_responses_may_answer(config):
    config = replace(config, responses=128, labels=10, eval_prompts=4)
    result = align(config, oracle=lambda left, right: "left")
    with LabelStore(result.run.labels) as store:
        assert {c.answer.value for _, c in store.comparisons()} == {"left"}


def test_checkpoints_that_cannot_be_written_are_told_while_it_goes_on(config, block_checkpoints):
    said = []
    result = align(
        replace(config, checkpoint_seconds=0.0, responses=64, labels=8),
        on_rollout=block_checkpoints,
        on_agent=lambda status, counts: said.append(unsaved_of(status)),
    )
    assert result.finished
    assert any("No checkpoint can be written (" in text for text in said)
