"""Reward models in the common exchange format: folders of ``AutoModelForSequenceClassification``.

There is one for each member, with one label, whose logit is the score. Most heads of
``transformers`` have no bias; the shift of the score is then in the folder's config, as
``prefrl_shift``: score = logit + shift. Differences between responses, and so preferences, do not
depend on it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prefrl.errors import ConfigError
from prefrl.text.nets.adapters import plain
from prefrl.text.nets.layers import trunk_of
from prefrl.text.nets.models import LanguageModel, transformers_library

__all__ = ["GivenReward", "load_classifiers", "save_classifiers"]

SHIFT = "prefrl_shift"
_PAD = "<|pad|>"
_HEADS = ("score", "classifier")


@dataclass(frozen=True)
class GivenReward:
    """One member of a reward ensemble: a trunk and a linear head."""

    trunk: nn.Module
    """The language model below the head."""
    weight: Tensor
    """Weight of its head, shape (D,)."""
    bias: Tensor
    """Bias of its head, shape ()."""


def save_classifiers(
    members: Sequence[GivenReward], language: LanguageModel, folder: Path, *, card: str
) -> list[Path]:
    """Writes a folder for each member, with the tokenizer and a card.

    A tokenizer without a pad token, or whose pad token may end a text, gets a new one: a text is
    scored at its last token that is not a pad token.

    Args:
        members: Members to write.
        language: Language model whose tokens they read.
        folder: A new folder, for member-0, member-1, and so on.
        card: Text of each README.md.

    Raises:
        ConfigError: If the folder exists, or transformers cannot classify with this kind of model.
    """
    if folder.exists():
        raise ConfigError(f"expected a new folder to write, but {folder} is there; name another.")
    tokenizer = copy.deepcopy(language.tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in language.end_tokens:
        tokenizer.add_special_tokens({"pad_token": _PAD})
    made = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    for number, member in enumerate(members):
        place = made / f"member-{number}"
        _classifier(member, language, tokenizer).save_pretrained(place)
        tokenizer.save_pretrained(place)
        (place / "README.md").write_text(card, encoding="utf-8")
    made.replace(folder)  # whole or absent
    return [folder / f"member-{number}" for number in range(len(members))]


@torch.no_grad()
def _classifier(member: GivenReward, language: LanguageModel, tokenizer: Any) -> Any:
    trunk = plain(member.trunk)
    config = copy.deepcopy(language.model.config)
    config.num_labels, config.pad_token_id = 1, None  # the pad token may be a new one
    auto = transformers_library().AutoModelForSequenceClassification
    try:
        with torch.random.fork_rng(devices=()):
            model = auto.from_config(config).float()
    except ValueError as error:
        raise ConfigError(
            f"expected a kind of model that transformers can classify texts with, got "
            f"{type(language.model).__name__}; score with prefrl.text.trl.ensemble_reward instead."
        ) from error
    trunk_of(model).load_state_dict(trunk.state_dict())
    n_before = config.vocab_size
    if len(tokenizer) > n_before:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.get_input_embeddings().weight[n_before:] = 0  # masked; equal in all members
    model.config.pad_token_id = tokenizer.pad_token_id
    head = _head_of(model)
    head.weight.copy_(member.weight[None])
    if head.bias is None:
        setattr(model.config, SHIFT, float(member.bias))
    else:
        head.bias.copy_(member.bias[None])
    return model


def load_classifiers(names: Sequence[str], language: LanguageModel) -> list[GivenReward]:
    """Loads members that were trained elsewhere; a trunk equal to the first is shared with it.

    Args:
        names: Folders or Hugging Face ids, one for each member.
        language: Language model whose tokens they have to read.

    Raises:
        ConfigError: If one is not a classifier of texts, lacks weights, does not have exactly one
            label or has another tokenizer, or if their widths differ.
    """
    found: list[GivenReward] = []
    for name in names:
        member = _loaded(name, language)
        if found and len(member.weight) != len(found[0].weight):
            raise ConfigError(
                f"expected reward models of one width, got {len(found[0].weight)} in {names[0]} "
                f"and {len(member.weight)} in {name}; give models of one kind."
            )
        if found and _are_equal(member.trunk, found[0].trunk):
            member = GivenReward(found[0].trunk, member.weight, member.bias)
        found.append(member)
    return found


@torch.no_grad()
def _loaded(name: str, language: LanguageModel) -> GivenReward:
    transformers = transformers_library()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        model, told = transformers.AutoModelForSequenceClassification.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"expected a folder of AutoModelForSequenceClassification in {name}, as prefrl reward "
            f"and reward trainers write it, but {first_line}"
        ) from error
    lacking = sorted(told["missing_keys"])
    if lacking:
        raise ConfigError(
            f"expected a reward model in {name}, but it lacks {lacking[0]}, which would be drawn "
            "at random; give a folder that prefrl reward or a reward trainer has written."
        )
    head = _head_of(model)
    if head.out_features != 1:
        raise ConfigError(
            f"expected one label in {name}, whose logit is the score, got {head.out_features}."
        )
    theirs, ours = tokenizer.get_vocab(), language.tokenizer.get_vocab()
    if any(theirs.get(token) != number for token, number in ours.items()):
        raise ConfigError(
            f"expected {name} to read the tokens of {language.source}, but its tokenizer has other "
            "ones; score texts with it as --gold FILE.py:FUNCTION instead."
        )
    shift = torch.tensor(float(getattr(model.config, SHIFT, 0.0)))
    bias = shift if head.bias is None else head.bias[0].clone() + shift
    return GivenReward(trunk_of(model), head.weight[0].clone(), bias)


def _head_of(model: Any) -> nn.Linear:
    for name in _HEADS:
        head = getattr(model, name, None)
        if isinstance(head, nn.Linear):
            return head
    raise ConfigError(
        f"expected a model whose head is one linear layer, got {type(model).__name__}; give one "
        "that was made from a causal language model."
    )


def _are_equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = first.state_dict(), second.state_dict()
    same_names = pairs[0].keys() == pairs[1].keys()
    return same_names and all(
        value.shape == pairs[1][name].shape and torch.equal(value, pairs[1][name])
        for name, value in pairs[0].items()
    )
