"""The layers of a language model: finding them, and freezing those that are not trained."""

from __future__ import annotations

from torch import nn

from prefrl.errors import ConfigError

__all__ = ["blocks_of", "check_layers", "freeze_below", "no_dropout", "trunk_of"]


def freeze_below(model: nn.Module, n_layers: int | None) -> list[nn.Parameter]:
    """Freezes all but the last layers of a language model.

    Args:
        model: A causal language model with its blocks in one ``ModuleList``.
        n_layers: How many of the last blocks stay trainable, with the norm that follows them;
            embeddings and head do not. None trains everything.

    Returns:
        The parameters to train.

    Raises:
        ConfigError: If the blocks cannot be found, or there are fewer.
    """
    if n_layers is None:
        return [p for p in model.parameters() if p.requires_grad]
    check_layers(model, n_layers)
    blocks = blocks_of(model)
    model.requires_grad_(False)
    for block in blocks[len(blocks) - n_layers :]:
        block.requires_grad_(True)
    for name, module in trunk_of(model).named_children():
        if "norm" in name or name == "ln_f":  # the last one, between blocks and head
            module.requires_grad_(n_layers > 0)
    return [p for p in model.parameters() if p.requires_grad]


def check_layers(model: nn.Module, n_layers: int | None) -> None:
    """Refuses more layers to train than a language model has; None means all.

    Raises:
        ConfigError: If the blocks cannot be found, or there are fewer.
    """
    if n_layers is not None and not 0 <= n_layers <= len(blocks_of(model)):
        raise ConfigError(f"expected 0 to {len(blocks_of(model))} layers to train, got {n_layers}.")


def trunk_of(model: nn.Module) -> nn.Module:
    """The model without its head; a model without one is its own trunk."""
    name = str(model.base_model_prefix)
    return model.get_submodule(name) if hasattr(model, name) else model


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks of a language model, from the first to the last.

    Raises:
        ConfigError: If they cannot be found.
    """
    n_layers = getattr(model.config, "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise ConfigError(
        f"expected the {n_layers} blocks of {type(model).__name__} in one ModuleList, found none; "
        "train all layers instead."
    )


def no_dropout(model: nn.Module) -> None:
    """Turns dropout off for good, also in training (Huang et al. 2023, detail P4).

    Models use dropout modules, or functions whose rate is an attribute of the calling module or of
    the config: ``attn_pdrop``, ``hidden_dropout``, ``layerdrop``, and so on.
    """
    for holder in (*model.modules(), getattr(model, "config", None)):
        if isinstance(holder, nn.Dropout):
            holder.p = 0.0
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if "drop" in name and isinstance(value, float):
                setattr(holder, name, 0.0)
