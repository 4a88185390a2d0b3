"""Steps of reward model and DPO against TRL's, and PPO's time; see the command file beside."""

import argparse
import json
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from csv_rows import append_row
from text_speed_ppo import ppo_breakdown
from turns import Worker

from prefrl.text.data.prompts import EVERYDAY
from prefrl.text.nets.models import load_model
from prefrl.text.nets.tiny import tiny_model

TABLES = Path(__file__).parents[1] / "tables"
PROMPT, RESPONSE = 32, 32  # tokens, with the end token


def a_text(language, n_tokens, rng, *, begin=""):
    """A text of so many tokens: of words, or of letters where a token is a byte."""
    words = EVERYDAY.read_text().split()
    while True:
        text = begin + " ".join(rng.choices(words, k=n_tokens))
        tokens = language.tokenizer(text, add_special_tokens=False)["input_ids"]
        text = language.decode(tokens[:n_tokens])
        again = language.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(again) == n_tokens:
            return text


def write_folder(folder, language, n_pairs):
    """A model, and pairs for it that are all of the same length."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    language.model.save_pretrained(folder / "model")
    language.tokenizer.save_pretrained(folder / "model")
    rng = random.Random(0)
    rows = []
    while len(rows) < n_pairs:
        prompt = a_text(language, PROMPT, rng)
        # From a space on, so that prompt and response are the same tokens together and apart.
        said = [a_text(language, RESPONSE - 1, rng, begin=" ") for _ in range(2)]
        texts = {"prompt": prompt, "chosen": said[0], "rejected": said[1]}
        lengths = [len(language.response_tokens(text)) for text in said]
        whole = [len(language.response_tokens(prompt + text)) for text in said]
        if lengths == [RESPONSE] * 2 and whole == [PROMPT + RESPONSE] * 2:
            rows.append(texts)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def in_pairs(what, name, folder, told, n_pairs, *, batch_size, n_warm, n_steps):
    """Turns of ours and theirs, in changing order.

    Seconds are of the processor, of which each has one thread: on a machine that others use too,
    the wall clock says more of them.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONWARNINGS"] = "ignore"
    options = [what, str(folder), str(batch_size), str(n_warm), str(n_steps)]
    workers = {
        "ours": Worker(
            [sys.executable, Path(__file__).with_name("text_speed_ours.py"), *options], environment
        ),
        "theirs": Worker(
            [told.trl, Path(__file__).with_name("text_speed_trl.py"), *options], environment
        ),
    }
    tokens = workers["theirs"].tokens
    assert tokens == 2 * batch_size * (PROMPT + RESPONSE), f"TRL has {tokens} tokens in a step"
    ratios = []
    for pair in range(n_pairs):
        order = sorted(workers, reverse=bool(pair % 2))
        took = {side: [s / n_steps for s in workers[side].turn()] for side in order}
        (our_wall, ours), (their_wall, theirs) = took["ours"], took["theirs"]
        ratios.append(ours / theirs)
        row = {"what": what, "model": name, "pair": pair, "tokens_per_step": tokens}
        row |= {"our_seconds": f"{ours:.4f}", "their_seconds": f"{theirs:.4f}"}
        row |= {"ratio": f"{ratios[-1]:.3f}", "our_wall": f"{our_wall:.3f}"}
        row |= {"their_wall": f"{their_wall:.3f}", "load": f"{os.getloadavg()[0]:.2f}"}
        append_row(TABLES / "text_speed.csv", row)
        print(row, flush=True)
    for worker in workers.values():
        worker.close()
    low, middle, high = min(ratios), float(np.median(ratios)), max(ratios)
    print(f"{what}, {name}: ours / theirs {middle:.2f} (median), {low:.2f} to {high:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trl", required=True, help="Python of the environment with TRL")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--smollm2-pairs", type=int, default=3)
    parser.add_argument("--ppo-batches", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark/text_speed"))
    told = parser.parse_args()
    torch.set_num_threads(1)
    if told.pairs:
        small = told.folder / "small"
        write_folder(small, tiny_model(width=256, n_layers=4), 256)
        for what in ("reward", "dpo"):
            sizes = {"batch_size": 16, "n_warm": 2, "n_steps": 2}
            in_pairs(what, "2.7M", small, told, told.pairs, **sizes)
    if told.smollm2_pairs:
        large = told.folder / "smollm2"
        write_folder(large, load_model("smollm2"), 16)
        for what in ("reward", "dpo"):
            sizes = {"batch_size": 2, "n_warm": 1, "n_steps": 1}
            in_pairs(what, "smollm2", large, told, told.smollm2_pairs, **sizes)
    if told.ppo_batches:
        ppo_breakdown(told.ppo_batches, TABLES / "text_speed_ppo.csv")


if __name__ == "__main__":
    main()
