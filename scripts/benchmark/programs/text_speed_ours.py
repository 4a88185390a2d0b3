"""Our side of the pairs in text_speed.py: a training that never ends."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from turns import Turns

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.trainer import FitConfig, fit
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.methods.tuning import on_pairs
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.responses import Response

MANY = 100_000


def read_pairs(path, language):
    pairs = []
    for line in path.read_text().splitlines():
        told = json.loads(line)
        prompt = language.prompt(told["prompt"])
        pairs.append(
            [
                Response(prompt.text, text, prompt.tokens, language.response_tokens(text))
                for text in (told["chosen"], told["rejected"])
            ]
        )
    return pairs


def dpo(language, pairs, batch_size, turns):
    config = FinetuneConfig(
        epochs=MANY, batch_size=batch_size, microbatch=batch_size, learning_rate=1e-6
    )
    tuning = on_pairs(
        Policy(language, fast_sampling=False),
        [tuple(pair) for pair in pairs],
        method="dpo",
        loss=PairLossConfig(beta=0.1),
        config=config,
        seed=0,
    )
    while not tuning.done:
        tuning.step()
        turns.after_step()


def reward(language, pairs, batch_size, turns):
    model = TextReward(language, TextRewardConfig(members=1, train_layers=None))
    items = {r.id: r for pair in pairs for r in pair}
    comparisons = [
        Comparison(Query(f"q{i}", chosen.id, rejected.id), Answer.LEFT)
        for i, (chosen, rejected) in enumerate(pairs)
    ]
    config = FitConfig(
        epochs=MANY, batch_size=batch_size, learning_rate=1e-5, linear_decay=True, noise=0.0,
        l2=0.0, bagging=False,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    fit(model, comparisons, items, config=config, rng=rng, go_on=turns.after_step)


def main():
    what, folder, batch_size, n_warm, n_steps = sys.argv[1:]
    torch.set_num_threads(1)
    language = load_model(str(Path(folder) / "model"))
    language = replace(language, source=folder)
    pairs = read_pairs(Path(folder) / "pairs.jsonl", language)
    turns = Turns(int(n_warm), int(n_steps))
    {"dpo": dpo, "reward": reward}[what](language, pairs, int(batch_size), turns)


if __name__ == "__main__":
    main()
