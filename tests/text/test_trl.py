"""The reward of a run as TRL's trainers call it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import publish_weights
from prefrl.text.config import config_as_json
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.nets.scoring import ScoringConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Response
from prefrl.text.train import align
from prefrl.text.trl import ensemble_reward

ROOT = Path(__file__).parent.parent.parent
PROMPTS = ["one ", "one ", "or two ", "or two "]
TEXTS = ["aba", "bcb", "hm", "caab and more"]


def fitted_run(folder, language=None, **changes):
    """A run with published weights, and the reward that published them."""
    config = replace(ALIGN_PRESETS["tiny"], prompts=folder / "prompts.txt", run=folder, **changes)
    run = RunDirectory.create(folder)
    run.write_json(run.config, config_as_json(config))
    language = language or load_model("tiny")
    reward = TextReward(language, config.reward)
    reward.reset(torch.Generator().manual_seed(5))
    reward.calibrate([response(language, *each) for each in zip(PROMPTS, TEXTS, strict=True)])
    publish_weights(run.reward, 3, reward.state_dict(), about={})
    return run, reward, language


def response(language, prompt, text, *, tokens=None):
    tokens = language.response_tokens(text) if tokens is None else tuple(tokens)
    return Response(prompt, text, language.prompt(prompt).tokens, tokens)


def ids_of(language, texts, *, end=True):
    return [list(language.response_tokens(text))[: None if end else -1] for text in texts]


@pytest.mark.parametrize("train_layers", [0, 1, None])
def test_rewards_are_those_of_the_published_ensemble(tmp_path, train_layers):
    config = TextRewardConfig(members=3, train_layers=train_layers)
    run, reward, language = fitted_run(tmp_path / "run", reward=config)
    function = ensemble_reward(run.root)
    rewards = function(PROMPTS, TEXTS, ids_of(language, TEXTS), trainer_state=None, label=[1] * 4)
    expected = reward.rewards([response(language, *e) for e in zip(PROMPTS, TEXTS, strict=True)])[1]
    assert rewards == expected.tolist()
    assert all(isinstance(value, float) for value in rewards)
    assert function.version == 3


@pytest.mark.parametrize("how", ["mean", "min", "mean-k-var"])
def test_the_aggregate_can_be_chosen(tmp_path, how):
    run, reward, language = fitted_run(tmp_path / "run")
    members = reward.rewards([response(language, *e) for e in zip(PROMPTS, TEXTS, strict=True)])[0]
    function = ensemble_reward(run, aggregate=how, k=0.5)
    expected = {
        "mean": members.mean(0),
        "min": members.amin(0),
        "mean-k-var": members.mean(0) - 0.5 * members.var(0, correction=0),
    }[how]
    torch.testing.assert_close(torch.tensor(function(PROMPTS, TEXTS)), expected)
    assert function.__name__ == f"ensemble_{how}"


def test_tokens_without_an_end_are_scored_without_one(tmp_path):
    run, reward, language = fitted_run(tmp_path / "run")
    cut = ids_of(language, TEXTS, end=False)
    expected = reward.rewards(
        [response(language, p, t, tokens=i) for p, t, i in zip(PROMPTS, TEXTS, cut, strict=True)]
    )[1]
    function = ensemble_reward(run)
    assert function(PROMPTS, TEXTS, cut) == expected.tolist()
    assert function(PROMPTS, TEXTS, cut) != function(PROMPTS, TEXTS)


def test_tokens_of_another_tokenizer_are_not_read(tmp_path):
    run, _, _ = fitted_run(tmp_path / "run")
    function = ensemble_reward(run)
    foreign = [[49_000, 7], [3], [2, 1], [30_000]]
    assert function(PROMPTS, TEXTS, foreign) == function(PROMPTS, TEXTS)


def test_messages_are_put_into_the_chat_template(tmp_path):
    language = load_model("tiny")
    language.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    )
    folder = tmp_path / "model"
    language.model.save_pretrained(folder)
    language.tokenizer.save_pretrained(folder)
    run, reward, _ = fitted_run(tmp_path / "run", language, model=str(folder))
    asked = [[{"role": "user", "content": "say a"}]]
    rewards = ensemble_reward(run)(asked, [[{"role": "assistant", "content": "aha"}]])
    prompt = language.prompt("[user]say a[assistant]")
    expected = Response("", "aha", prompt.tokens, language.response_tokens("aha"))
    assert rewards == reward.rewards([expected])[1].tolist()


def test_a_response_is_scored_as_in_the_run(tmp_path):
    scoring = ScoringConfig(cut_at=".", cut_after=0, missing_score=-1.0)
    run, reward, language = fitted_run(tmp_path / "run", scoring=scoring)
    rewards = ensemble_reward(run)(["one ", "one "], ["a. b", "ab"])
    cut = response(language, "one ", "a.", tokens=ids_of(language, ["a."], end=False)[0])
    assert rewards == [reward.rewards([cut])[1].item(), -1.0]


def test_disagreement_is_logged_over_pairs_of_one_prompt(tmp_path):
    run, reward, language = fitted_run(tmp_path / "run")
    told = []
    ensemble_reward(run)(PROMPTS, TEXTS, log_metric=lambda *each: told.append(each))
    members = reward.rewards([response(language, *e) for e in zip(PROMPTS, TEXTS, strict=True)])[0]
    preferences = torch.sigmoid(members[:, ::2] - members[:, 1::2])
    expected = float(preferences.std(0, correction=0).mean())
    assert told == [("disagreement", pytest.approx(expected, rel=1e-5))]
    ensemble_reward(run)(["one ", "two "], ["a", "b"], log_metric=lambda *each: told.append(each))
    assert len(told) == 1


def test_what_cannot_be_scored_is_refused(tmp_path):
    run, _, _ = fitted_run(tmp_path / "run")
    function = ensemble_reward(run)
    assert function([], []) == []
    with pytest.raises(ConfigError, match="at most 256 tokens"):
        function(["a" * 200], ["b" * 100])
    with pytest.raises(ConfigError, match="expected a prompt that is a text"):
        function([[{"role": "user"}]], ["b"])
    said = {"role": "assistant", "content": "b"}
    with pytest.raises(ConfigError, match="one message"):
        function(["a"], [[said, said]])
    with pytest.raises(ConfigError, match="chat template"):
        function([[{"role": "user", "content": "a"}]], ["b"])


def test_what_has_no_such_reward_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="run directory"):
        ensemble_reward(tmp_path)
    run, _, _ = fitted_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="mean, min or mean-k-var"):
        ensemble_reward(run, aggregate="max")
    for path in run.reward.iterdir():
        path.unlink()
    with pytest.raises(RunDirectoryError, match="published reward weights"):
        ensemble_reward(run)
    run.write_json(run.config, {"env": "HalfCheetah-v5"})
    with pytest.raises(RunDirectoryError, match="run of prefrl align"):
        ensemble_reward(run)


@pytest.fixture(scope="module")
def python_with_trl(tmp_path_factory):
    """The interpreter of an environment of its own, with prefrl and TRL in it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--constraint", ROOT / "scripts/constraints.txt"]
    subprocess.run([*install, "torch"], check=True)  # first, as scripts/install does
    subprocess.run([*install, "trl==1.16.0", "--editable", f"{ROOT}[text]"], check=True)
    return python


@pytest.fixture(scope="module")
def letters_run(tmp_path_factory):
    """A run whose reward has learned to like letters; its model is as it was."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "gold.py").write_text(
        "def score(text): return sum(c.isascii() and c.isalpha() for c in text) / 8"
    )
    words = ("one", "or", "two", "of", "the", "big", "six", "a")
    (folder / "prompts.txt").write_text("".join(f"{w} {n}\n" for n in range(4) for w in words))
    config = replace(
        ALIGN_PRESETS["tiny"],
        method="best-of-n",
        prompts=folder / "prompts.txt",
        gold=f"{folder / 'gold.py'}:score",
        run=folder / "runs/tiny",
        responses=512,
        sync=True,
    )
    return align(config).run.root


def documented_example(**changes):
    """The script in docs/text.md, with other values in some places."""
    blocks = (ROOT / "docs/text.md").read_text().split("```python\n")[1:]
    (code,) = [block.split("```")[0] for block in blocks if "ensemble_reward" in block]
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    return code


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trainer", ["RLOO", "GRPO"])
def test_the_trainers_of_trl_raise_the_reward(python_with_trl, letters_run, tmp_path, trainer):
    small = "max_completion_length=8, learning_rate=5e-3, max_steps=30, use_cpu=True, bf16=False, "
    small += "per_device_train_batch_size=64, logging_steps=1, report_to='none', seed=0"
    changes = {
        "RLOO": trainer,
        "runs/smollm2-best-of-n-0": str(letters_run),
        "prompts.txt": str(letters_run.parent.parent / "prompts.txt"),
        "max_completion_length=20": small,
    }
    code = documented_example(**changes) + (
        "\nimport json\njson.dump(trainer.state.log_history, open('history.json', 'w'))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python_with_trl, "-c", code], check=True, cwd=tmp_path, env=environment)
    history = json.loads((tmp_path / "history.json").read_text())
    steps = [row for row in history if "rewards/ensemble_min/mean" in row]
    rewards = [row["rewards/ensemble_min/mean"] for row in steps]
    assert len(rewards) == 30
    assert sum(rewards[-5:]) / 5 > sum(rewards[:3]) / 3 + 0.5  # scores have variance 1
    assert all(0 < row["disagreement"] <= 0.5 for row in steps)
