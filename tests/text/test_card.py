"""The card of a model says what it was made of, and nothing of the machine."""

import json
from dataclasses import replace

import pytest

from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.train import align

WORDS = ("one", "or", "two", "of", "the", "big", "six", "a")


@pytest.fixture
def config(tmp_path):
    """Settings in which every file and the model lie in a folder of the machine."""
    rows = [{"prompt": f"{w} 1", "chosen": "abc", "rejected": f"!?{w}"} for w in WORDS]
    for name in ("data", "demonstrations", "pretraining"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "gold.py").write_text("def score(text):\n    return sum(c.isalpha() for c in text)")
    (tmp_path / "prompts.txt").write_text("".join(f"{word} 2\n" for word in WORDS))
    language = load_model("tiny")
    language.model.save_pretrained(tmp_path / "base")
    language.tokenizer.save_pretrained(tmp_path / "base")
    tiny = ALIGN_PRESETS["tiny"]
    return replace(
        tiny,
        model=str(tmp_path / "base"),
        init=tmp_path / "base",
        prompts=tmp_path / "prompts.txt",
        data=tmp_path / "data.jsonl",
        demonstrations=tmp_path / "demonstrations.jsonl",
        pretraining=tmp_path / "pretraining.jsonl",
        gold=f"{tmp_path / 'gold.py'}:score",
        run=tmp_path / "run",
        responses=128,
        eval_prompts=4,
        ppo=replace(tiny.ppo, ptx_coef=0.1),
        sync=True,
    )


@pytest.mark.parametrize("labels", [0, 10])
def test_comparisons_that_were_given_are_counted_apart(config, labels):
    result = align(replace(config, labels=labels))
    assert (result.summary["labels"], result.summary["given"]) == (8 + labels, 8)
    card = (result.run.model / "README.md").read_text()
    assert " 8 comparisons were given in `data.jsonl`. 128 responses were sampled" in card
    asked = " 10 comparisons of its responses were answered by a synthetic oracle that goes by"
    assert (f"{asked} `gold.py:score`. 8 comp" in card) == (labels == 10)
    assert ("were answered" in card) == (labels == 10)


def test_files_are_named_without_their_folders(config, tmp_path):
    card = (align(config).run.model / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "# base, aligned by comparisons" in card
    settings = json.loads(card.partition("```json")[2].partition("```")[0])
    names = ("model", "init", "prompts", "data", "demonstrations", "pretraining", "gold")
    files = [f"{name}.jsonl" for name in ("data", "demonstrations", "pretraining")]
    expected = ["base", "base", "prompts.txt", *files, "gold.py:score"]
    assert [settings[name] for name in names] == expected
