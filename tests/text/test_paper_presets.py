"""The presets of papers on a tiny model, with less of everything: whole runs."""

import csv
import json
from dataclasses import replace

import pytest

from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.presets import ALIGN_PRESETS
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


def test_texts_to_mix_in_must_be_there(files):
    with pytest.raises(ConfigError, match=r"texts to mix in with ptx_coef 27\.8, got none"):
        align(small("instructgpt", files))
    assert not (files / "run").exists()
