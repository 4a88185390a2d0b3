"""TRL's side of the pairs in text_speed.py, for the environment with TRL: it never ends either."""

import sys
import tempfile
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer
from turns import Turns

MANY = 100_000


class TakesTurns(TrainerCallback):
    def __init__(self, turns):
        self._turns = turns

    def on_step_end(self, args, state, control, **others):
        self._turns.after_step()


def options(batch_size, learning_rate):
    return {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": MANY,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "max_length": None,
        # As ours: float32, nothing computed twice to save memory.
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
    }


def n_tokens(dataset, parts):
    """Of the first row's sides, each with what comes before it."""
    row = dataset[0]
    return sum(len(row[name]) for name in parts)


def main():
    what, folder, batch_size, n_warm, n_steps = sys.argv[1:]
    torch.set_num_threads(1)
    model, data = str(Path(folder) / "model"), str(Path(folder) / "pairs.jsonl")
    batch_size = int(batch_size)
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    pairs = load_dataset("json", data_files=data, split="train", cache_dir=tempfile.mkdtemp())
    turns = TakesTurns(Turns(int(n_warm), int(n_steps)))
    told = {"train_dataset": pairs, "processing_class": tokenizer, "callbacks": [turns]}
    if what == "dpo":
        args = DPOConfig(**options(batch_size, 1e-6), beta=0.1, precompute_ref_log_probs=True)
        language = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        trainer = DPOTrainer(language, args=args, **told)
        parts = ["prompt_ids", "chosen_ids", "prompt_ids", "rejected_ids"]
    else:
        # Ours does not clip gradients in fits of the reward; 0 turns TRL's clipping off.
        args = RewardConfig(**options(batch_size, 1e-5), max_grad_norm=0.0)
        scorer = AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=1, dtype=torch.float32
        )
        scorer.config.pad_token_id = tokenizer.pad_token_id
        trainer = RewardTrainer(scorer, args=args, **told)
        parts = ["chosen_ids", "rejected_ids"]
    print("tokens", batch_size * n_tokens(trainer.train_dataset, parts), flush=True)
    trainer.train()


if __name__ == "__main__":
    main()
