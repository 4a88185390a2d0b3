"""Reads settings in RL Zoo's YAML format: Stable-Baselines3's arguments, and some of the Zoo's own.

No code is evaluated: what the Zoo writes as Python, such as ``policy_kwargs``, is parsed with
``ast``, and only literals, ``dict(...)`` and names of activation functions are understood.
"""

from __future__ import annotations

import ast
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from prefrl.control.agent.algorithms import ALGORITHMS, Algorithm
from prefrl.control.agent.config import AgentConfig
from prefrl.errors import ConfigError

__all__ = ["read_settings", "translate"]

_IGNORED = {"n_timesteps", "policy"}  # from TrainConfig.steps and the observations instead
_SAME_NAME = {
    "n_envs", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range_vf",
    "normalize_advantage", "ent_coef", "target_entropy", "vf_coef", "max_grad_norm", "target_kl",
    "use_rms_prop", "cg_max_steps", "cg_damping", "line_search_shrinking_factor",
    "line_search_max_iter", "n_critic_updates", "sub_sampling_factor", "buffer_size",
    "learning_starts", "gradient_steps", "tau", "target_update_interval", "policy_delay",
    "target_policy_noise", "target_noise_clip", "exploration_fraction", "exploration_initial_eps",
    "exploration_final_eps", "top_quantiles_to_drop_per_net", "use_sde", "sde_sample_freq",
    "use_sde_at_warmup", "frame_stack",
}  # fmt: skip
_POLICY_SAME_NAME = {
    "log_std_init", "ortho_init", "n_critics", "n_quantiles", "use_expln", "lstm_hidden_size",
    "n_lstm_layers", "shared_lstm", "enable_critic_lstm",
}  # fmt: skip
_NOT_USED = {
    "env_wrapper", "vec_env_wrapper", "vec_env_class", "env_kwargs", "callback", "monitor_kwargs",
    "replay_buffer_class", "replay_buffer_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs",
    "optimize_memory_usage", "rms_prop_eps", "stats_window_size", "tensorboard_log", "verbose",
    "seed", "device", "qf_learning_rate",
}  # fmt: skip
_ACTIVATIONS = {
    "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "ELU": "elu", "LeakyReLU": "leaky_relu",
}  # fmt: skip
_HINTS = typing.get_type_hints(AgentConfig)


def read_settings(path: Path) -> dict[str, Any]:
    """Reads a file of settings.

    Args:
        path: A YAML file.

    Returns:
        Its content.

    Raises:
        ConfigError: If it cannot be read or is not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"expected settings in YAML in {path}, but {told}.") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"expected settings in YAML in {path}, environments with Stable-Baselines3's arguments "
            f"each, got {type(content).__name__}."
        )
    return content


def translate(
    arguments: Any, algo: str, *, where: str, strict: bool
) -> tuple[dict[str, Any], list[str]]:
    """Converts the arguments of one environment to fields of ``AgentConfig``.

    Args:
        arguments: The environment's arguments, as in the file.
        algo: Name of their algorithm.
        where: Their description in errors.
        strict: Whether to refuse arguments that no algorithm takes, instead of ignoring them.

    Returns:
        Values by field, and the names of arguments that could not be used.

    Raises:
        ConfigError: If a value is not possible for its setting, or a name is refused.
    """
    if not isinstance(arguments, Mapping):
        raise ConfigError(
            f"expected arguments of {algo} for {where}, got {type(arguments).__name__}."
        )
    reader = _Reader(ALGORITHMS[algo], where, strict)
    for name, value in arguments.items():
        if name not in _IGNORED:
            reader.read(str(name), value)
    return reader.fields, reader.unused


class _Reader:
    """Collects the fields that result from the arguments of one environment."""

    def __init__(self, algorithm: Algorithm, where: str, strict: bool) -> None:
        self.fields: dict[str, Any] = {}
        self.unused: list[str] = []
        self._algorithm = algorithm
        self._where = where
        self._strict = strict

    def read(self, name: str, value: Any) -> None:
        """Reads one argument."""
        special = getattr(self, f"_{name}", None) if name in _SPECIAL else None
        if special is not None:
            special(value)
        elif name == "n_steps" and not self._algorithm.on_policy:
            self.unused.append("n_steps (returns over several steps)")
        elif name in _SAME_NAME:
            self._put(name, value)
        elif name in _NOT_USED:
            if value not in (None, False):
                self.unused.append(name)
        else:
            self._unknown(name)

    def _learning_rate(self, value: Any) -> None:
        number, falls = _schedule(value)
        self._put("learning_rate", number)
        self._put("linear_decay", falls)
        if "clip_range_decay" in self._algorithm.own:
            self.fields.setdefault("clip_range_decay", False)

    def _clip_range(self, value: Any) -> None:
        number, falls = _schedule(value)
        self._put("clip_range", number)
        self._put("clip_range_decay", falls)

    def _train_freq(self, value: Any) -> None:
        value = _literal(value) if isinstance(value, str) else value
        number, unit = value if isinstance(value, list | tuple) else (value, "step")
        self._put("train_freq", number)
        self._put("train_freq_unit", unit)

    def _normalize(self, value: Any) -> None:
        told = _literal(value) if isinstance(value, str) else value
        if isinstance(told, Mapping):
            # norm_reward is ignored, since prefrl normalises rewards itself.
            others = sorted(set(told) - {"norm_obs", "norm_reward"})
            self.unused += [f"normalize.{name}" for name in others]
            told = told.get("norm_obs", True)
        self._put("normalize_observations", told)

    def _noise_type(self, value: Any) -> None:
        self._put("action_noise", "none" if value is None else value)

    def _noise_std(self, value: Any) -> None:
        self._put("action_noise_std", value)

    def _policy_kwargs(self, value: Any) -> None:
        told = _literal(value) if isinstance(value, str) else value
        if not isinstance(told, Mapping):
            self._wrong("policy_kwargs", "a dict of literals and names", value)
        for name, part in told.items():
            if name == "net_arch":
                self._net_arch(part)
            elif name == "activation_fn":
                known = _ACTIVATIONS.get(str(part).rpartition(".")[-1])
                if known is None:
                    self._wrong("activation_fn", " or ".join(_ACTIVATIONS), part)
                self._put("activation", known)
            elif name in _POLICY_SAME_NAME:
                self._put(name, part)
            else:
                self.unused.append(f"policy_kwargs.{name}")

    def _net_arch(self, value: Any) -> None:
        if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
            value = value[0]  # the format of Stable-Baselines3 before 1.8
        if not isinstance(value, Mapping):
            self._put("hidden", value)
            return
        critic = [value[key] for key in ("vf", "qf") if key in value]
        if set(value) - {"pi", "vf", "qf"} or len(critic) != 1 or "pi" not in value:
            self._wrong("net_arch", "a list, or lists for pi and for vf or qf", dict(value))
        self._put("hidden", value["pi"])
        if critic[0] != value["pi"]:
            self._put("critic_hidden", critic[0])

    def _put(self, name: str, value: Any) -> None:
        if name in self._algorithm.own:
            if value is not None:
                self.fields[name] = self._converted(name, value)
        elif value not in (None, False):
            self._unknown(name)

    def _unknown(self, name: str) -> None:
        if self._strict:
            known = sorted({*_SAME_NAME, *_SPECIAL} & {*self._algorithm.own, *_SPECIAL})
            raise ConfigError(
                f"expected arguments of {self._algorithm.name} for {self._where}, got {name!r}; "
                f"it takes {', '.join(known)}."
            )
        self.unused.append(name)

    def _converted(self, name: str, value: Any) -> Any:
        """Converts a value to the field's type."""
        hint = _HINTS[name]
        kinds = typing.get_args(hint)  # the hint is a union with None
        choices = [c for k in kinds if typing.get_origin(k) is typing.Literal for c in k.__args__]
        if isinstance(value, str) and (value in choices or str in kinds):
            return value
        if bool in kinds and isinstance(value, bool):
            return value
        if any(typing.get_origin(kind) is tuple for kind in kinds):
            if isinstance(value, list | tuple) and all(_is_whole(part) for part in value):
                return tuple(int(part) for part in value)
        elif int in kinds and _is_whole(value):
            return int(value)
        elif float in kinds and (number := _number(value)) is not None:
            return number
        words = choices or [getattr(kind, "__name__", "list of int") for kind in kinds]
        self._wrong(name, " or ".join(str(word) for word in words if word != "NoneType"), value)

    def _wrong(self, name: str, words: str, value: Any) -> typing.NoReturn:
        raise ConfigError(f"expected {name} for {self._where} to be {words}, got {value!r}.")


_SPECIAL = {
    "learning_rate", "clip_range", "train_freq", "normalize", "noise_type", "noise_std",
    "policy_kwargs",
}  # fmt: skip


def _schedule(value: Any) -> tuple[Any, bool]:
    """Returns a value, and whether it falls linearly to zero, as ``lin_3e-4`` does."""
    if isinstance(value, str) and value.startswith("lin_"):
        return value.removeprefix("lin_"), True
    return value, False


def _number(value: Any) -> float | None:
    """Parses a number, which YAML may have read as text (1e-3); None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_whole(value: Any) -> bool:
    number = _number(value)
    return number is not None and number.is_integer()


def _literal(text: str) -> Any:
    """Evaluates a Python expression of literals, dicts and names; a name stands for itself.

    Args:
        text: The expression, such as ``dict(activation_fn=nn.ReLU, net_arch=[64, 64])``.

    Returns:
        Its value; the text itself if it is not such an expression.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return text


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("a dict of named values only")
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(key): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(part) for part in node.elts]
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    return ast.literal_eval(node)
