"""GRPO and RLOO against TRL's trainers: the same responses give the same gradient.

Skipped where TRL is not installed: it was written with TRL 1.16.0.
"""

import pytest
import torch

from prefrl.text.methods.groups import Groups, GrpoConfig, RlooConfig
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

SCORES = [0.0, 2.0, 1.0, 3.0, 3.0, -1.0]
PROMPTS = ["one "] * 3 + ["two three "] * 3
LENGTH = 96  # of 257 tokens, one is an end: some responses come to it


def moved(model):
    """Away from the reference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator).to(p)


def of_trl(kind, folder, **settings):
    """A trainer of TRL, a batch that it drew and scored, and the gradient that it takes."""
    language = load_model("tiny")
    language.model.save_pretrained(folder / "tiny")  # where TRL finds its reference, too
    config, trainer_of = {
        "grpo": (trl.GRPOConfig, trl.GRPOTrainer),
        "rloo": (trl.RLOOConfig, trl.RLOOTrainer),
    }[kind]
    args = config(
        str(folder / "out"), num_generations=3, per_device_train_batch_size=6, use_cpu=True,
        bf16=False, gradient_checkpointing=False, max_completion_length=LENGTH, report_to="none",
        temperature=1.0, **settings,
    )  # fmt: skip
    trainer = trainer_of(
        model=str(folder / "tiny"),
        reward_funcs=lambda completions, **told: SCORES,
        args=args,
        train_dataset=datasets.Dataset.from_list([{"prompt": text} for text in PROMPTS]),
        processing_class=language.tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    moved(trainer.model)
    trainer.model.train()
    torch.manual_seed(7)
    batch = trainer._generate_and_score_completions([{"prompt": text} for text in PROMPTS])
    trainer._compute_loss(trainer.model, batch).backward()
    return trainer, batch


def responses_of(batch, end):
    """Its responses, up to their first end token."""
    found = []
    for prompt, mask, ids in zip(
        batch["prompt_ids"], batch["prompt_mask"], batch["completion_ids"].tolist(), strict=True
    ):
        tokens = ids[: ids.index(end) + 1] if end in ids else ids
        found.append(Response("", "", tuple(prompt[mask.bool()].tolist()), tuple(tokens)))
    return found


@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (RlooConfig(kl_coef=0.3), {"beta": 0.3}),
        (RlooConfig(normalize_advantages=True), {"beta": 0.05, "normalize_advantages": True}),
        *(
            (GrpoConfig(kl_coef=0.3, loss_type=name), {"beta": 0.3, "loss_type": name})
            for name in ("grpo", "bnpo", "dr_grpo", "dapo")
        ),
        (
            GrpoConfig(kl_coef=0.3, use_bias_correction_kl=False),
            {"beta": 0.3, "use_bias_correction_kl": False},
        ),
        (
            GrpoConfig(kl_coef=0.0, loss_type="dr_grpo", scale_rewards="none"),
            {"beta": 0.0, "loss_type": "dr_grpo", "scale_rewards": "none"},
        ),
        (
            GrpoConfig(scale_rewards="batch", mask_truncated_completions=True),
            {"beta": 0.04, "scale_rewards": "batch", "mask_truncated_completions": True},
        ),
    ],
    ids=[
        "rloo",
        "normalized",
        "grpo",
        "bnpo",
        "dr_grpo",
        "dapo",
        "plain KL",
        "unscaled",
        "truncated",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_gradient_is_that_of_trl(config, theirs, tmp_path):
    kind = "rloo" if isinstance(config, RlooConfig) else "grpo"
    trainer, batch = of_trl(kind, tmp_path, **theirs)
    policy = Policy(load_model("tiny"))
    responses = responses_of(batch, policy.language.end_token)
    assert len({len(r.tokens) for r in responses}) > 1
    moved(policy.model)
    changed = {"learning_rate": 1e-12, "max_grad_norm": None, "microbatch": 4}
    config = type(config)(**{**vars(config), **changed})
    training = Groups(policy, config=config, n_each=3, longest=LENGTH, n_updates=1)
    training.improve(responses, torch.tensor(SCORES), torch.Generator())
    ours = dict(policy.model.named_parameters())
    named = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    largest = max(float(grad.abs().max()) for grad in named.values())
    furthest = max(float((ours[n].grad - grad).abs().max()) for n, grad in named.items())
    assert named
    assert furthest < 1e-5 * largest
