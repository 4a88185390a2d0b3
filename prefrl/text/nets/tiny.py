"""A tiny language model over bytes, with random parameters: for tests, and to try a command."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from prefrl.text.nets.models import LanguageModel

__all__ = ["byte_tokenizer", "tiny_model"]

_END = "<end>"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 257 ids: the bytes, and an end token. It has no pad token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)} | {_END: len(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END)


def tiny_model(
    source: str = "tiny", *, seed: int = 0, width: int = 64, n_layers: int = 2, context: int = 256
) -> LanguageModel:
    """A small Llama with random parameters.

    Args:
        source: Its name.
        seed: Seed of its parameters.
        width: Width of its hidden states.
        n_layers: Number of its blocks.
        context: Most tokens of prompt and response together.
    """
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return LanguageModel(model.eval(), tokenizer, source)
