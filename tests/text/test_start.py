"""What is refused before a run is made: a warm-up that takes more examples than there will be."""

import json
from dataclasses import replace

import pytest

from prefrl.errors import ConfigError
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.start import check_start
from prefrl.text.train import align

PAIR = {"prompt": "p ", "chosen": "a", "rejected": "b"}
RANKING = {"prompt": "q ", "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}
SINGLE = {"prompt": "r ", "completion": "a", "label": True}


def config_for(tmp_path, method, rows=(), **settings):
    (tmp_path / "prompts.txt").write_text("one\n")
    data = tmp_path / "data.jsonl" if rows else None
    if rows:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return replace(
        ALIGN_PRESETS["tiny"],
        prompts=tmp_path / "prompts.txt",
        run=tmp_path / "run",
        data=data,
        method=method,
        **settings,
    )


@pytest.mark.parametrize(
    ("method", "labels", "rows", "n_most"),
    [
        ("dpo", 4, (), 4),
        ("dpo", 4, (PAIR, RANKING), 8),
        ("rrhf", 6, (PAIR, RANKING), 8),
        ("kto", 4, (PAIR, RANKING, SINGLE), 14),
        ("dpo", 0, (PAIR, RANKING), 4),
    ],
)
def test_a_warm_up_is_held_against_the_most_examples_there_can_be(
    tmp_path, method, labels, rows, n_most
):
    n_steps = -(-n_most // 2) * 3
    long = FinetuneConfig(epochs=3, batch_size=2, warmup_steps=n_steps)
    config = config_for(tmp_path, method, rows, labels=labels, finetune=long)
    told = f"fewer than the {n_steps} gradient steps that {n_most} examples give, got {n_steps};"
    with pytest.raises(ConfigError, match=told):
        align(config)
    assert not config.run.exists()
    shorter = replace(long, warmup_steps=n_steps - 1)
    check_start(replace(config, finetune=shorter), load_model("tiny"))


def test_how_often_people_answer_is_not_known_before(tmp_path):
    long = FinetuneConfig(warmup_steps=50)
    config = config_for(tmp_path, "dpo", labels=4, finetune=long, oracle="human")
    check_start(config, load_model("tiny"))
    # PPO has no such steps.
    check_start(replace(config, method="ppo", oracle="synthetic"), load_model("tiny"))
