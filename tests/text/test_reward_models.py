"""The learned reward as folders of transformers: out of a run, and into another one."""

import json
from dataclasses import replace

import pytest
import torch

from prefrl.cli import main
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import publish_weights
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.classifiers import load_classifiers
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.replay import replay_alignment
from prefrl.text.responses import Response
from prefrl.text.saving import save_text_reward
from prefrl.text.start import first_reward, new_reward
from prefrl.text.train import align

TEXTS = ["aba", "bcb", "hm", "caab and more"]
KINDS = {
    "heads": TextRewardConfig(members=3, train_layers=0),
    "trained heads": TextRewardConfig(members=2, train_layers=1),
    "models": TextRewardConfig(members=2, train_layers=None, ensemble="models"),
    "adapters": TextRewardConfig(
        members=2, train_layers=None, ensemble="models", lora=AdapterConfig(rank=2)
    ),
}


def written(language, texts=TEXTS):
    prompt = language.prompt("or two ")
    return [language.response(prompt, text) for text in texts]


def fitted(language, config):
    """A reward that is no longer what it began as, in all of its parts."""
    reward = TextReward(language, config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in reward.parameters():
            if p.requires_grad:
                p += 0.1 * torch.randn(p.shape, generator=generator)
    responses = written(language)
    reward.standardize_inputs(responses)
    reward.before.calibrate(torch.randn(config.members, 9, generator=generator) * 3 + 1)
    reward.calibrate(responses)
    return reward


def run_with(folder, config, language):
    settings = replace(ALIGN_PRESETS["tiny"], prompts=folder / "p.txt", run=folder, reward=config)
    run = RunDirectory.create(folder)
    run.write_json(run.config, config_as_json(settings))
    reward = fitted(language, config)
    about = {"labels": 40, "holdout_accuracy": 0.75}
    publish_weights(run.reward, 2, reward.state_dict(), about=about)
    return run, reward


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_scores_the_tokens_as_the_run_does(kind, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    language = load_model("tiny")
    run, reward = run_with(tmp_path / "run", KINDS[kind], language)
    folders, about = save_text_reward(run, tmp_path / "out")
    expected = reward.rewards(written(language))[0]
    assert about["labels"] == 40
    assert len(folders) == reward.n_members
    for folder, scores in zip(folders, expected, strict=True):
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
        assert not told["missing_keys"] | told["unexpected_keys"]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        end = tokenizer.eos_token
        tokens = tokenizer(
            [f"or two {text}{end}" for text in TEXTS], return_tensors="pt", padding=True
        )
        with torch.no_grad():
            logits = model.eval()(**tokens).logits[:, 0]
        ours = logits + model.config.prefrl_shift
        # Adapters are merged, which rounds the weights.
        torch.testing.assert_close(ours, scores, atol=1e-4 if kind == "adapters" else 1e-5, rtol=0)
        assert "fitted to 40 comparisons, right on 75%" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_what_went_out_comes_in_as_it_was(kind, tmp_path):
    language = load_model("tiny")
    run, reward = run_with(tmp_path / "run", KINDS[kind], language)
    folders, _ = save_text_reward(run, tmp_path / "out")
    config = replace(
        ALIGN_PRESETS["tiny"],
        prompts=tmp_path,
        labels=0,
        reward_model=tuple(map(str, folders)),
        reward=TextRewardConfig(train_layers=0),
    )
    assert align_config_from_json(config_as_json(config)) == replace(config, run=config.run_path)
    other = new_reward(config, language, shares=True)
    responses = written(language)
    tolerance = {"atol": 1e-4 if kind == "adapters" else 1e-5, "rtol": 0}
    expected = reward.rewards(responses)[0]
    torch.testing.assert_close(other.rewards(responses)[0], expected, **tolerance)
    scores = other.score(other.collate(responses)).detach()
    torch.testing.assert_close(scores, expected, **tolerance)
    assert len(other._trunks) == (1 if "heads" in kind else 2)  # equal trunks are one
    assert other.n_members == reward.n_members
    before = {name: t.clone() for name, t in other.state_dict().items()}
    assert first_reward(config, other).version == 1
    with torch.no_grad():
        other.weight += 1
    other.standardize_inputs(responses)
    other.reset(torch.Generator())  # each fit starts from what was given
    after = other.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_no_reward_model_is_refused(tmp_path):
    from transformers import AutoModelForSequenceClassification

    language = load_model("tiny")
    model = tmp_path / "model"
    language.model.save_pretrained(model)
    language.tokenizer.save_pretrained(model)
    with pytest.raises(ConfigError, match=r"lacks score.weight, which would be drawn at random"):
        load_classifiers([str(model)], language)
    with pytest.raises(ConfigError, match="expected a folder of AutoModelForSequenceClassif"):
        load_classifiers([str(tmp_path / "none")], language)
    two = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    two.save_pretrained(tmp_path / "two")
    language.tokenizer.save_pretrained(tmp_path / "two")
    with pytest.raises(ConfigError, match=r"one label in .*, whose logit is the score, got 2"):
        load_classifiers([str(tmp_path / "two")], language)
    one = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    one.save_pretrained(tmp_path / "one")
    language.tokenizer.save_pretrained(tmp_path / "one")
    assert load_classifiers([str(tmp_path / "one")], language)[0].bias == 0
    vocabulary = json.loads((tmp_path / "one" / "tokenizer.json").read_text())
    kept = vocabulary["model"]["vocab"]
    names = list(kept)[:2]
    kept[names[0]], kept[names[1]] = kept[names[1]], kept[names[0]]
    (tmp_path / "one" / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ConfigError, match="its tokenizer has other"):
        load_classifiers([str(tmp_path / "one")], language)


def test_settings_that_learn_nothing_from_a_reward_model_are_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="labels or data for dpo, which learns from answers"):
        replace(config, labels=0, reward_model=("x",), method="dpo")
    with pytest.raises(ConfigError, match="labels or data with demonstrations"):
        replace(config, labels=0, reward_model=("x",), demonstrations=tmp_path)
    run = RunDirectory.create(tmp_path / "other")
    run.write_json(run.config, {"env_id": "x"})
    with pytest.raises(RunDirectoryError, match="a run of prefrl align"):
        save_text_reward(run, tmp_path / "out")


def test_a_policy_learns_from_a_reward_that_another_run_has_learned(config, tmp_path, capsys):
    sizes = {"responses": 512, "labels": 160, "eval_prompts": 8, "initial_fraction": 1.0}
    first = align(replace(config, method="best-of-n", n=2, **sizes))
    main(["reward", str(first.run.root), "--output", str(tmp_path / "out")])
    assert "--labels 0 --reward-model" in capsys.readouterr().out
    members = tuple(map(str, sorted((tmp_path / "out").iterdir())))
    assert len(members) == 4
    with pytest.raises(ConfigError, match="expected a new folder to write"):
        save_text_reward(first.run, tmp_path / "out")
    frozen = replace(
        config, run=tmp_path / "frozen", labels=0, reward_model=members, method="rloo",
        per_prompt=4, responses=768, eval_prompts=8, sync=False,
    )  # fmt: skip
    result = align(frozen)
    assert result.summary["labels"] == 0
    assert result.summary["reward_version"] == 1
    assert result.summary["score_after"] > result.summary["score_before"] + 0.3
    with LabelStore(result.run.labels) as store:
        assert store.counts().queries == 0
    assert [fit.same for fit in replay_alignment(result.run)] == [True]  # what was given
    # Fits start from it: here and with people's labels it is version 1, and grows from there.
    more = replace(frozen, run=tmp_path / "more", labels=40, responses=128, sync=True)
    summary = align(more).summary
    assert summary["reward_version"] > 1
    assert summary["labels"] == 40


def test_a_response_without_its_end_is_scored_where_it_stops(tmp_path):
    from transformers import AutoModelForSequenceClassification

    language = load_model("tiny")
    run, reward = run_with(tmp_path / "run", KINDS["heads"], language)
    (folder, *_), _ = save_text_reward(run, tmp_path / "out")
    whole = written(language)[0]
    cut = Response(whole.prompt, whole.text, whole.prompt_tokens, whole.tokens[:-1])
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        ids = torch.tensor([[*cut.prompt_tokens, *cut.tokens]])
        score = float(model(input_ids=ids).logits) + model.config.prefrl_shift
    assert score == pytest.approx(float(reward.rewards([cut])[0][0]), abs=1e-5)
