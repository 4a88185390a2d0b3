"""The presets of papers on SmolLM2-135M, with less of everything: all stages by their commands."""

import csv
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefrl.cli import main
from prefrl.text.nets.models import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PLACES = ("station", "harbour", "garden", "library", "kitchen", "market", "bridge", "museum")
LESS = {
    "instructgpt": {"--ppo.ptx-examples": 2, "--sampling.max-new-tokens": 8, "--labels": 12},
    "n-plus": {"--sampling.max-new-tokens": 8, "--labels": 8},
    "stackllama": {"--sampling.max-new-tokens": 8, "--labels": 0},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Prompts, demonstrations, texts and pairs in a folder."""
    folder = tmp_path_factory.mktemp("files")
    prompts = [f"Question: Where is the {place}?\n\nAnswer: " for place in PLACES]
    good, bad = "Ask the first person you meet on the way.", "I do not know, go away."
    rows = {
        "prompts": [{"prompt": prompt} for prompt in prompts],
        "demonstrations": [
            {"prompt": p, "completion": a} for p in prompts for a in (good, "By the river.")
        ],
        "texts": [{"text": prompt + good} for prompt in prompts],
        "pairs": [{"prompt": prompt, "chosen": good, "rejected": bad} for prompt in prompts],
    }
    for name, content in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


@pytest.mark.parametrize("preset", LESS)
def test_all_stages_of_a_paper(files, tmp_path, preset):
    sft, run = tmp_path / "sft", tmp_path / "run"
    stage = "stackllama" if preset == "stackllama" else "instructgpt"
    demonstrations = ["--data", files / "demonstrations.jsonl", "--preset", stage, "--run", sft]
    smaller = {"--finetune.batch-size": 4, "--finetune.epochs": 1, "--finetune.warmup-steps": 0}
    smaller |= {"--finetune.learning-rate": 2e-5, "--eval-examples": 1}
    command("sft", "smollm2", demonstrations, smaller)
    summary = json.loads((sft / "summary.json").read_text())
    assert summary["eval_loss_after"] < summary["eval_loss_before"]

    more = ["--prompts", files / "prompts.jsonl", "--preset", preset, "--init", sft, "--run", run]
    more += ["--sync"]  # so few responses are sampled before a fit beside them is done
    if preset == "stackllama":
        more += ["--data", files / "pairs.jsonl"]
    else:
        more += ["--demonstrations", files / "demonstrations.jsonl"]
    if preset == "instructgpt":
        more += ["--pretraining", files / "texts.jsonl"]
    smaller = {"--responses": 48, "--batch": 16, "--eval-prompts": 2, "--eval-responses": 1}
    command("align", "smollm2", more, smaller | LESS[preset])

    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert abs(float(rows[0]["kl"])) < 0.05  # sampled before the first update
    assert float(rows[-1]["kl"]) != float(rows[0]["kl"])
    before, after = (AutoModelForCausalLM.from_pretrained(of / "model") for of in (sft, run))
    assert not list(run.glob("model/adapter*"))
    tokens = AutoTokenizer.from_pretrained(run / "model")("Question: Where", return_tensors="pt")
    with torch.no_grad():
        change = (after(**tokens).logits - before(**tokens).logits).abs().max()
    assert 0 < change < 10
    assert load_model(str(run / "model")).model.num_parameters() == before.num_parameters()


def command(verb, model, options, numbers):
    main([verb, model, *map(str, options), *(str(x) for pair in numbers.items() for x in pair)])
