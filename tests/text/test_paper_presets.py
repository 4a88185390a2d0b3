"""The presets of papers on a tiny model, with less of everything: whole runs."""

import csv
import json
import math
from dataclasses import replace

import pytest

from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.questioner import n_pairs
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.data.prompts import PromptConfig
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.start import new_reward
from prefrl.text.train import align, resume_alignment

WORDS = ("one.", "or two.", "of the big six.", "a way.")
TEXTS = [{"text": f"it goes on and on, {word}"} for word in WORDS]
DEMONSTRATIONS = [{"prompt": f"Say {word}", "completion": "yes and no"} for word in WORDS]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "prompts.txt").write_text("".join(f"Well. Say {w} It {w}\n" for w in WORDS))
    for name, rows in (("texts", TEXTS), ("demonstrations", DEMONSTRATIONS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "gold.py").write_text("def score(text):\n    return sum(c.isalpha() for c in text)")
    return tmp_path


def small(name, files, **more):
    preset = ALIGN_PRESETS[name]
    n = 6 * 12 if preset.query.ranked == 4 else 24
    return replace(
        preset,
        model="tiny",
        prompts=files / "prompts.txt",
        gold=f"{files / 'gold.py'}:score",
        run=files / "run",
        labels=n,
        responses=96,
        batch=32,
        eval_prompts=2,
        sampling=replace(preset.sampling, max_new_tokens=24),
        ppo=replace(preset.ppo, learning_rate=1e-4, ptx_examples=4),
        sync=True,
        **more,
    )


def rows_of(run):
    with run.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["lm-human-preferences", "instructgpt", "n-plus"])
def test_the_presets_of_the_papers_come_to_their_end(files, name):
    more = {}
    if name != "lm-human-preferences":
        more["demonstrations"] = files / "demonstrations.jsonl"
    if name == "instructgpt":
        more["pretraining"] = files / "texts.jsonl"
    config = small(name, files, **more)
    result = align(config)
    rows = rows_of(result.run)
    assert result.summary["labels"] == config.labels
    with result.run.fits.open(newline="") as file:
        assert [int(row["labels"]) for row in csv.DictReader(file)] == [config.labels]
    assert [row["kl"] != "nan" for row in rows][-1]
    assert (rows[-1]["ptx"] != "nan") == (name == "instructgpt")
    with LabelStore(result.run.labels) as store:
        assert {query.group is None for query in store.queries()} == {name == "n-plus"}


def test_instructgpt_goes_on_bit_for_bit_where_it_was_stopped(files):
    def run(name, *, stopped):
        config = replace(
            small("instructgpt", files, pretraining=files / "texts.jsonl"), run=files / name
        )
        if not stopped:
            return align(config)

        def stop(row):
            if row["rollout"] == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            align(replace(config, checkpoint_seconds=0.0), on_rollout=stop)
        return resume_alignment(RunDirectory(files / name))

    whole, parts = run("whole", stopped=False), run("parts", stopped=True)
    files_of = [(r.run.model / "model.safetensors").read_bytes() for r in (whole, parts)]
    assert files_of[0] == files_of[1]


@pytest.mark.parametrize(
    ("name", "n_episodes"),
    [("lm-human-preferences", 1_000_000), ("instructgpt", 256_000), ("n-plus", 1_000_000)],
)
def test_ppo_has_the_episodes_of_the_papers_after_the_first_labels(name, n_episodes):
    preset = ALIGN_PRESETS[name]
    pairs_of_a_batch = preset.batch // preset.per_prompt * n_pairs(preset.query.ranked)
    warm_up = math.ceil(preset.labels / pairs_of_a_batch)
    assert preset.labels_due(0) == preset.labels
    assert 2 * warm_up < preset.n_batches
    assert preset.n_batches - warm_up == math.ceil(n_episodes / preset.batch)


def test_the_presets_of_ppo_with_values_of_their_own_clip_no_gradients():
    assert {ALIGN_PRESETS[name].ppo.max_grad_norm for name in ("instructgpt", "n-plus")} == {None}


def test_responses_of_instructgpt_are_as_long_as_theirs_and_a_short_context_says_what_to_do(files):
    preset = ALIGN_PRESETS["instructgpt"]
    assert (preset.prompt.max_tokens, preset.sampling.max_new_tokens) == (1000, 1000)
    config = small("instructgpt", files, pretraining=files / "texts.jsonl")
    message = (
        r"up to 1000 tokens, but the context of tiny holds 256; lower sampling\.max_new_tokens"
    )
    with pytest.raises(ConfigError, match=message):
        align(replace(config, sampling=preset.sampling))
    assert not (files / "run").exists()


@pytest.mark.parametrize("method", ["dpo", "raft"])
def test_what_another_method_than_ppo_has_learned_is_in_the_model(files, method):
    config = small("instructgpt", files, method=method)
    finetune = replace(config.finetune, learning_rate=1e-3)
    result = align(replace(config, finetune=finetune))
    before, after = load_model("tiny").model, load_model(str(result.run.model)).model
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    assert max(float((p - q).detach().abs().max()) for p, q in pairs) > 1e-4


def test_texts_to_mix_in_must_be_there(files):
    with pytest.raises(ConfigError, match=r"texts to mix in with ptx_coef 27\.8, got none"):
        align(small("instructgpt", files))
    assert not (files / "run").exists()


@pytest.mark.parametrize(
    ("name", "method", "got"), [("n-plus", "ppo", "ppo and 0.0"), ("instructgpt", "dpo", "dpo and")]
)
def test_texts_that_nothing_would_mix_in_are_refused(files, name, method, got):
    config = small(name, files, method=method, pretraining=files / "texts.jsonl")
    with pytest.raises(ConfigError, match=f"a ptx_coef above 0 with pretraining, got {got}"):
        align(config)
    assert not (files / "run").exists()


@pytest.mark.parametrize("name", ["demonstrations", "texts"])
def test_files_that_changed_since_the_run_began_are_refused(files, name):
    texts, demonstrations = files / "texts.jsonl", files / "demonstrations.jsonl"
    config = small("instructgpt", files, pretraining=texts, demonstrations=demonstrations)

    def stop(row):
        if row["rollout"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(replace(config, checkpoint_seconds=0.0), on_rollout=stop)
    file = files / f"{name}.jsonl"
    file.write_text(file.read_text().splitlines()[0])
    with pytest.raises(RunDirectoryError, match=rf"{name}\.jsonl has changed since; bring it back"):
        resume_alignment(RunDirectory(config.run))


def test_demonstrations_are_cut_as_the_responses_that_are_scored(files):
    rows = [{"prompt": 30 * "x" + " end", "completion": "First one. Second one. Third"}]
    (files / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = small("lm-human-preferences", files, demonstrations=files / "long.jsonl")
    config = replace(
        config,
        prompt=PromptConfig(max_tokens=20),
        scoring=replace(config.scoring, cut_after=12),
    )
    (one,) = new_reward(config, load_model("tiny"), shares=False).zero_at
    assert len(one.prompt_tokens) == 20
    assert one.text == "First one. Second one."
