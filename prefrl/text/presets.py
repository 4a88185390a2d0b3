"""Named settings for language models: starting points whose values may all be overridden.

Figures without a source are ours. Differences from the papers are noted beside them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefrl.core.trainer import FitConfig
from prefrl.text.candidates import TextQueryConfig
from prefrl.text.config import AlignConfig
from prefrl.text.data.prompts import PromptConfig
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.groups import GrpoConfig, RlooConfig
from prefrl.text.methods.ppo import PpoConfig
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.reward_model import TextRewardConfig
from prefrl.text.nets.scoring import ScoringConfig
from prefrl.text.sft_config import SftConfig

__all__ = ["ALIGN_PRESETS", "SFT_PRESETS", "align_preset_for"]

_DEFAULT = AlignConfig("tiny", Path())
_ONCE = 1e6
"""A ``refit_growth`` that no run reaches: there is no refit between first and last answers."""

# For 135 M parameters on two cores: responses are short, and only the policy's last layers and the
# reward's heads are trained. Fitted to some 400 answers about sentiment, in a second, the heads are
# right about 76 of 100 unseen pairs; training two layers as well takes minutes.
_CPU = replace(
    _DEFAULT,
    labels=400,
    initial_fraction=0.25,
    responses=1024,
    batch=32,
    train_layers=6,
    sampling=SamplingConfig(max_new_tokens=20),
    reward=TextRewardConfig(train_layers=0),
    fit=FitConfig(
        epochs=30, batch_size=16, learning_rate=3e-3, linear_decay=True, noise=0.0, l2=30.0
    ),
    ppo=PpoConfig(learning_rate=1e-4, kl_coef=0.02, n_epochs=2),
    grpo=GrpoConfig(learning_rate=1e-4, n_epochs=2),
    rloo=RlooConfig(learning_rate=1e-4, kl_coef=0.02, n_epochs=2),
    finetune=FinetuneConfig(learning_rate=1e-4, epochs=2),
)

# A tiny model with random parameters: to try a command in seconds.
_TINY = replace(
    _DEFAULT,
    sampling=SamplingConfig(max_new_tokens=8),
    reward=TextRewardConfig(train_layers=None),
    fit=FitConfig(
        epochs=8, batch_size=16, learning_rate=1e-3, linear_decay=True, noise=0.0, l2=0.0
    ),
    ppo=PpoConfig(learning_rate=1e-3, kl_coef=0.02),
    grpo=GrpoConfig(learning_rate=1e-3, n_epochs=4),
    rloo=RlooConfig(learning_rate=1e-3, kl_coef=0.02, n_epochs=4),
    finetune=FinetuneConfig(learning_rate=2e-3, epochs=3),
)

# Ziegler et al. 2019 and its code, with the details that Huang et al. 2023 list: 4,992 rankings of
# four, whose six pairs count as labels; the reward is fitted to which response is the best. Their
# PPO then samples one response to each prompt; here it samples four.
_LM_HUMAN_PREFERENCES = replace(
    _DEFAULT,
    labels=6 * 4992,
    initial_fraction=1.0,
    refit_growth=_ONCE,
    responses=(39 + 1954) * 512,  # four to each of 4,992 rankings, then 1,000,000 episodes of PPO
    batch=512,
    per_prompt=4,
    prompt=PromptConfig(mark=".", max_tokens=64),
    sampling=SamplingConfig(max_new_tokens=24, temperature=0.7, stop_at_end=False),
    scoring=ScoringConfig(cut_at=".", cut_after=16, missing_score=-1.0),
    query=TextQueryConfig(selection="uniform", ranked=4, max_open=10_000),
    reward=TextRewardConfig(members=1, train_layers=None),
    fit=FitConfig(
        epochs=1, batch_size=32, learning_rate=5e-5, linear_decay=True, noise=0.0, l2=0.0,
        bagging=False, group_loss="best",
    ),
    ppo=PpoConfig(
        learning_rate=1e-5, kl_coef=0.15, adaptive_kl=True, kl_target=6.0, kl_horizon=10_000,
        n_epochs=4, n_minibatches=1, whiten_rewards=True, max_grad_norm=None, adam_eps=1e-5,
        tf_adam=True,
    ),
)  # fmt: skip

# Ouyang et al. 2022, section 3.5 and appendix C: rankings of four (theirs are of four to nine),
# ties dropped, the reward fitted once; PPO-ptx, one pass over each batch. The policy's learning
# rate is below 8.05e-6, from which theirs diverged; they name no gradient clipping. It needs
# --pretraining FILE; --demonstrations FILE shifts the mean score of these to zero; --init RUN names
# the stage before. Prompts of more than 1,000 tokens are cut, while they leave them out. Scores are
# also scaled to variance 1, while theirs are only shifted.
_INSTRUCTGPT_PPO = replace(
    _DEFAULT,
    labels=6 * 33_206,
    initial_fraction=1.0,
    refit_growth=_ONCE,
    responses=(260 + 500) * 512,  # four to each of 33,206 rankings, then 256,000 episodes of PPO
    batch=512,
    per_prompt=4,
    prompt=PromptConfig(max_tokens=1000),
    sampling=SamplingConfig(max_new_tokens=1000),
    query=TextQueryConfig(selection="uniform", ranked=4, max_open=10_000),
    reward=TextRewardConfig(members=1, train_layers=None),
    fit=FitConfig(
        epochs=1, batch_size=64, learning_rate=9e-6, noise=0.0, l2=0.0, bagging=False,
        drop_ties=True,
    ),
    ppo=PpoConfig(
        learning_rate=8e-6, linear_decay=False, kl_coef=0.02, n_epochs=1, n_minibatches=8,
        value_from_reward=True, value_learning_rate=9e-6, ptx_coef=27.8, ptx_examples=512,
        ema=0.992, max_grad_norm=None,
    ),
)  # fmt: skip

# Huang et al. 2024 (arXiv 2403.17031), TL;DR: score and value are read at the end token, a response
# without one scores -1, values start from the reward model. --demonstrations FILE shifts the mean
# score of the references to zero; scores are also scaled to variance 1, while theirs are only
# shifted. They use some 90,000 human pairs: --data FILE --labels 0 --responses 1000000 does so.
_N_PLUS = replace(
    _DEFAULT,
    labels=90_000,
    initial_fraction=1.0,
    refit_growth=_ONCE,
    responses=(352 + 1954) * 512,  # two to each of 90,000 pairs, then 1,000,000 episodes of PPO
    batch=512,
    prompt=PromptConfig(max_tokens=512),
    sampling=SamplingConfig(max_new_tokens=53, temperature=0.7),
    scoring=ScoringConfig(missing_score=-1.0),
    query=TextQueryConfig(selection="uniform", max_open=10_000),
    reward=TextRewardConfig(members=1, train_layers=None),
    fit=FitConfig(
        epochs=1, batch_size=64, learning_rate=3e-6, linear_decay=True, noise=0.0, l2=0.0,
        bagging=False,
    ),
    ppo=PpoConfig(
        learning_rate=3e-6, kl_coef=0.05, n_epochs=4, n_minibatches=1, value_from_reward=True,
        whiten_rewards=False, max_grad_norm=None, adam_eps=1e-5,
    ),
)  # fmt: skip

# StackLLaMA (Beeching et al. 2023), with the values of the scripts that TRL kept, in 8 processes
# with 8 responses or 4 pairs each. Its 100,000 pairs are votes on Stack Exchange, which --data FILE
# --labels 0 reads; here half of the responses give the pairs that are asked about. Unlike this, it
# draws one response to a prompt, of 32 to 128 tokens; subtracts a constant from scores instead of
# normalising them; stops the passes over a batch early, at a target of 0.1 for the KL to the
# sampling policy; uses dropout of 0.05 in the policy's adapters during PPO, and a weight decay of
# 0.001 for the reward; and keeps the base model in 8 bits, which is in float32 here.
_STACKLLAMA = replace(
    _DEFAULT,
    labels=32_000,
    initial_fraction=1.0,
    refit_growth=_ONCE,
    responses=128_000,
    batch=64,
    prompt=PromptConfig(max_tokens=512),
    sampling=SamplingConfig(max_new_tokens=128, stop_at_end=False),
    query=TextQueryConfig(selection="uniform", max_open=10_000),
    lora=AdapterConfig(rank=16, alpha=32),
    reward=TextRewardConfig(
        members=1, train_layers=None, lora=AdapterConfig(rank=8, alpha=32, dropout=0.1)
    ),
    fit=FitConfig(
        epochs=1, batch_size=32, learning_rate=2e-5, linear_decay=True, noise=0.0, l2=0.0,
        bagging=False,
    ),
    ppo=PpoConfig(
        learning_rate=1.4e-5, linear_decay=False, kl_coef=0.2, adaptive_kl=True, kl_target=6.0,
        kl_horizon=10_000, n_epochs=4, n_minibatches=1, max_grad_norm=None, adam_eps=1e-8,
    ),
)  # fmt: skip

ALIGN_PRESETS = {
    "default": _DEFAULT,
    "cpu": _CPU,
    "tiny": _TINY,
    "lm-human-preferences": _LM_HUMAN_PREFERENCES,
    "instructgpt": _INSTRUCTGPT_PPO,
    "n-plus": _N_PLUS,
    "stackllama": _STACKLLAMA,
}
"""Presets by name; ``default`` has the defaults of the classes."""


def align_preset_for(model: str) -> str:
    """The preset for a model if none is named, also for fine-tuning on demonstrations."""
    return {"smollm2": "cpu", "tiny": "tiny"}.get(model, "default")


_SFT_DEFAULT = SftConfig("tiny", Path())

# As for alignment on two cores: only the last layers are trained, and microbatches are small.
_SFT_CPU = replace(
    _SFT_DEFAULT,
    train_layers=6,
    finetune=FinetuneConfig(learning_rate=1e-4, epochs=2, microbatch=4),
)

_SFT_TINY = replace(
    _SFT_DEFAULT,
    sampling=SamplingConfig(max_new_tokens=8),
    finetune=FinetuneConfig(learning_rate=3e-3, epochs=5),
)

# Ouyang et al. 2022 (arXiv 2203.02155), appendix C.1, for models of 1.3 and 6 billion parameters.
# They use a residual dropout of 0.2 and choose the epoch by the score of a reward model; here
# models are trained without dropout, and the last epoch is taken.
_INSTRUCTGPT = replace(
    _SFT_DEFAULT,
    finetune=FinetuneConfig(
        learning_rate=9.65e-6, epochs=16, batch_size=32, schedule="cosine", final_share=0.1
    ),
)

# StackLLaMA, as above. It packs demonstrations into sequences of 1,024 tokens, and takes 5,000
# steps on 32 of these; here a batch has 32 demonstrations, and all are seen once.
_STACKLLAMA_SFT = replace(
    _SFT_DEFAULT,
    lora=AdapterConfig(rank=16, alpha=32, dropout=0.05),
    finetune=FinetuneConfig(
        learning_rate=1e-5, batch_size=32, schedule="cosine", warmup_steps=100, weight_decay=0.05
    ),
)

SFT_PRESETS = {
    "default": _SFT_DEFAULT,
    "cpu": _SFT_CPU,
    "tiny": _SFT_TINY,
    "instructgpt": _INSTRUCTGPT,
    "stackllama": _STACKLLAMA_SFT,
}
"""Presets for fine-tuning on demonstrations, by name."""
