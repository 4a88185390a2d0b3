"""The output of the frozen lower layers for a batch, computed once.

If only the last layers of a policy are trained, the lower layers give the same output in each pass
of PPO over a batch, and in the reference, which shares them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from prefrl.text.nets.layers import blocks_of, trunk_of
from prefrl.text.nets.logprobs import Batch

__all__ = ["from_states", "n_frozen_blocks", "with_states"]


def n_frozen_blocks(model: Any) -> int:
    """Number of frozen blocks below the first trained one; 0 if the embeddings are trained."""
    if all(p.requires_grad for p in model.parameters()):
        return 0
    if any(p.requires_grad for p in model.get_input_embeddings().parameters()):
        return 0
    for place, block in enumerate(blocks_of(model)):
        if any(p.requires_grad for p in block.parameters()):
            return place
    return 0


@torch.no_grad()
def with_states(model: Any, batch: Batch, n_blocks: int) -> Batch:
    """Adds the output of the first blocks to a batch.

    Args:
        model: A causal language model.
        batch: B texts.
        n_blocks: Number of these blocks. With 0, or if blocks return anything but a tensor, the
            batch stays as it is.
    """
    if n_blocks == 0:
        return batch
    blocks, found = blocks_of(model), []
    handle = blocks[n_blocks - 1].register_forward_hook(lambda *each: found.append(each[2]))
    try:
        with _skipped(blocks[n_blocks:]):
            trunk_of(model)(**batch.inputs)
    finally:
        handle.remove()
    return replace(batch, states=found[0]) if isinstance(found[0], Tensor) else batch


@contextlib.contextmanager
def from_states(model: Any, batch: Batch, n_blocks: int) -> Iterator[None]:
    """Runs a model from the states of a batch, if it has any, instead of its tokens."""
    states = batch.states
    if states is None:
        yield
        return
    blocks = blocks_of(model)
    handle = blocks[n_blocks].register_forward_pre_hook(lambda _, told: (states, *told[1:]))
    try:
        with _skipped(blocks[:n_blocks]):
            yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _skipped(blocks: nn.ModuleList) -> Iterator[None]:
    """Makes blocks return their input."""
    for block in blocks:
        block.forward = lambda hidden_states, *others, **named: hidden_states
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
