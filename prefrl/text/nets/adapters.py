"""Low-rank adapters (LoRA): trained while the rest of a language model stays fixed.

Next to the weight W of a linear layer there are two thin matrices A and B::

    y = W x + alpha / rank * B A x

W is never trained. B is zero in a fresh adapter, so that it changes nothing (Hu et al. 2021, arXiv
2106.09685, section 4.1). The layers are those of the library PEFT.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.nets.layers import blocks_of
from prefrl.text.nets.models import TINY

__all__ = [
    "AdapterConfig",
    "adapter_parts",
    "adapters_off",
    "add_adapters",
    "dropping_out",
    "plain",
    "reset_adapters",
    "save_adapters",
    "target_modules",
]

ALL_LINEAR = "all-linear"
"""Value of ``modules`` that selects every linear layer of a block."""

_NAME = "default"


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters, which are trained instead of the model."""

    rank: int | None = None
    """Rank of the adapters: rows of A and columns of B; None for no adapters."""
    alpha: float = 32.0
    """Scale: the adapters' output is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapters' inputs that are dropped during training."""
    modules: str | None = None
    """Linear layers of a block that have adapters, such as q_proj,v_proj; or all-linear. By default
    PEFT's choice for the architecture; for Llama these two."""

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise ConfigError(
                f"rank must be at least 1, got {self.rank}; None leaves adapters out."
            )
        if not self.alpha > 0:
            raise ConfigError(f"alpha must be positive, got {self.alpha}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is a share in [0, 1), got {self.dropout}.")
        if self.modules is not None and not all(self.modules.split(",")):
            raise ConfigError(
                f"expected modules with commas between them, as in q_proj,v_proj, got "
                f"{self.modules!r}."
            )

    @property
    def used(self) -> bool:
        """Whether adapters are configured."""
        return self.rank is not None


def target_modules(model: nn.Module, config: AdapterConfig, n_layers: int | None) -> list[str]:
    """The layers of a model that get adapters, by their full names.

    Args:
        model: A causal language model, or its trunk.
        config: Settings.
        n_layers: How many of the last blocks have adapters; None for all of them.

    Raises:
        ConfigError: If there is no such layer, or the blocks cannot be found.
        MissingExtraError: If PEFT is not installed.
    """
    blocks = list(blocks_of(model))
    n_layers = len(blocks) if n_layers is None else n_layers
    if not 1 <= n_layers <= len(blocks):
        raise ConfigError(
            f"expected adapters in 1 to {len(blocks)} of the last layers, got train_layers "
            f"{n_layers}; None takes all."
        )
    wanted = _wanted(model, config)
    linear = {id(m) for block in blocks[-n_layers:] for m in block.modules() if _is_linear(m)}
    names = [name for name, module in model.named_modules() if id(module) in linear]
    chosen = [name for name in names if wanted is None or name.split(".")[-1] in wanted]
    missing = (wanted or set()) - {name.split(".")[-1] for name in chosen}
    if missing:
        there = sorted({name.split(".")[-1] for name in names})
        raise ConfigError(
            f"expected linear layers {', '.join(sorted(missing))} in the blocks of "
            f"{type(model).__name__}, which has {', '.join(there)}; name some of these as modules, "
            f"or {ALL_LINEAR}."
        )
    return chosen


def _wanted(model: nn.Module, config: AdapterConfig) -> set[str] | None:
    """Last parts of the names of the layers to adapt; None for every linear layer."""
    peft = _peft()
    if config.modules == ALL_LINEAR:
        return None
    if config.modules is not None:
        return set(config.modules.split(","))
    kind = str(getattr(model.config, "model_type", ""))
    known = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind)
    if not isinstance(known, list):
        raise ConfigError(
            f"expected a model whose layers PEFT knows by themselves, got one of type {kind!r}; "
            f"name its linear layers as modules, or {ALL_LINEAR}."
        )
    return set(known)


def add_adapters(
    model: nn.Module,
    config: AdapterConfig,
    *,
    generator: torch.Generator,
    n_layers: int | None = None,
) -> list[nn.Parameter]:
    """Adds fresh adapters to a model in place, and freezes everything else.

    Args:
        model: A causal language model, or its trunk.
        config: Settings, with a rank.
        generator: Generator for A, on the CPU.
        n_layers: How many of the last blocks have adapters; None for all of them.

    Returns:
        The parameters to train.

    Raises:
        ConfigError: If there is no such layer, or the blocks cannot be found.
        MissingExtraError: If PEFT is not installed.
    """
    peft, names = _peft(), target_modules(model, config, n_layers)
    model.requires_grad_(False)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=names,
        fan_in_fan_out=any(not isinstance(model.get_submodule(name), nn.Linear) for name in names),
    )
    with torch.random.fork_rng(devices=()):  # what PEFT draws is drawn again below
        peft.inject_adapter_in_model(settings, model, _NAME)
    model.train(model.training)  # new layers come in training mode
    reset_adapters(model, generator)
    return [p for p in model.parameters() if p.requires_grad]


@torch.no_grad()
def reset_adapters(model: nn.Module, generator: torch.Generator) -> None:
    """Draws fresh adapters: A uniform within 1 / sqrt(inputs), as in the paper's code; B zero."""
    for layer in _adapted(model).values():
        a, b = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight
        drawn = 2 * torch.rand(a.shape, generator=generator) - 1
        a.copy_(drawn / math.sqrt(a.shape[1]))
        b.zero_()


def adapter_parts(model: nn.Module) -> nn.ModuleDict:
    """The adapters of a model as a module of their own, to be saved without the rest."""
    parts = {
        name.replace(".", "_"): nn.ModuleDict(
            {
                "A": layer.lora_A[_NAME],
                "B": layer.lora_B[_NAME],
                "dropout": layer.lora_dropout[_NAME],
            }
        )
        for name, layer in _adapted(model).items()
    }
    return nn.ModuleDict(parts)


@contextlib.contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Switches a model's adapters off, so that it computes exactly as before it had any."""
    layers = list(_adapted(model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextlib.contextmanager
def dropping_out(model: nn.Module, *, seed: int) -> Iterator[None]:
    """Enables dropout only in the adapters of a model.

    Args:
        model: A model with adapters.
        seed: Seed of the dropout; torch's own generators continue as if nothing had been drawn.
    """
    dropouts = [layer.lora_dropout[_NAME] for layer in _adapted(model).values()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for dropout in dropouts:
            dropout.train()
        try:
            yield
        finally:
            for dropout in dropouts:
                dropout.eval()


@torch.no_grad()
def plain(model: Any) -> Any:
    """Returns a copy with the adapters merged into the weights; the model itself, if it has none.

    The copy shares all other parameters with the model, which stays as it is.
    """
    if not hasattr(model, "peft_config"):
        return model
    made = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for name, layer in _adapted(made).items():
        linear = layer.get_base_layer()
        weight = linear.weight + layer.get_delta_weight(_NAME)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        made.set_submodule(name, linear)
    del made.peft_config
    return made


def save_adapters(model: Any, folder: Path) -> None:
    """Writes a model's adapters for ``PeftModel.from_pretrained``, with the name of their base.

    Args:
        model: A model with adapters.
        folder: Folder to write to.
    """
    peft_config = copy.copy(model.peft_config[_NAME])
    base = model.config._name_or_path or TINY
    is_folder = Path(base).is_dir()
    peft_config.base_model_name_or_path = str(Path(base).absolute()) if is_folder else base
    peft_config.task_type, peft_config.inference_mode = "CAUSAL_LM", True
    peft_config.save_pretrained(str(folder))
    tensors = {
        f"base_model.model.{name}.lora_{which}.weight": part[_NAME].weight.detach().contiguous()
        for name, layer in _adapted(model).items()
        for which, part in (("A", layer.lora_A), ("B", layer.lora_B))
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _adapted(model: nn.Module) -> dict[str, Any]:
    """The layers with adapters, by name."""
    kind = _peft().tuners.lora.LoraLayer
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _peft() -> Any:
    """Imports the library only when it is needed: that takes seconds."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            "expected peft, which adapters need, but it is not installed; "
            "pip install 'prefrl[text]', or leave the ranks of adapters out"
        ) from error
    return peft
