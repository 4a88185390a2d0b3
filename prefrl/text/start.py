"""What a run starts from: its language model, its prompts, its oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from prefrl.core.oracle import Oracle
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.remote.media import RunMedia
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import Weights
from prefrl.text.config import AlignConfig
from prefrl.text.data.demonstrations import as_examples, read_demonstrations
from prefrl.text.data.forms import Seen
from prefrl.text.data.intake import check_usable
from prefrl.text.data.items import Items, as_items, described
from prefrl.text.data.prompts import PromptConfig, cut_prompt, read_prompts
from prefrl.text.data.records import read_preferences
from prefrl.text.gold import Gold, load_gold, text_oracle
from prefrl.text.methods.finetune import check_warmup
from prefrl.text.methods.preference_losses import TUNING_METHODS
from prefrl.text.nets.adapters import target_modules
from prefrl.text.nets.classifiers import load_classifiers
from prefrl.text.nets.generate import check_lengths
from prefrl.text.nets.layers import check_layers
from prefrl.text.nets.models import LanguageModel, load_model
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.nets.scoring import scored_part
from prefrl.text.responses import Prompt, Response, Responses

__all__ = [
    "check_adapters",
    "check_start",
    "check_texts",
    "data_of",
    "first_reward",
    "gold_of",
    "load_start",
    "new_reward",
    "prompts_of",
    "show_to_people",
    "starting_model",
    "synthetic_oracle",
    "texts_in",
]

_MOST_DEMONSTRATIONS = 256  # whose mean score becomes zero
_WHOLE = PromptConfig()


def starting_model(config: AlignConfig, device: str = "cpu") -> LanguageModel:
    """Loads the starting model of the policy, which is also the reference and the reward's trunk.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    return load_start(config.model, config.init, device)


def load_start(model: str, init: Path | None, device: str = "cpu") -> LanguageModel:
    """Loads a model, or the result of an earlier stage.

    Args:
        model: Its name.
        init: A run, or the folder of a model; None if there is no earlier stage.
        device: Device to put it on.

    Raises:
        ConfigError: If it cannot be loaded, or the earlier stage is not finished.
    """
    name = model
    if init is not None:
        run = RunDirectory(init)
        name = str(run.model if run.model.is_dir() else init)
        if not Path(name).is_dir():
            raise ConfigError(
                f"expected a run or a folder of a model in init, but there is no {init}."
            )
        if name == str(init) and run.versions.is_file():
            raise ConfigError(
                f"expected a finished run in init, but {init} has no model yet; "
                f"continue with prefrl resume {init}."
            )
    language = load_model(name)
    language.model.to(torch.device(device))
    return replace(language, source=model)


def prompts_of(config: AlignConfig, language: LanguageModel) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts for training and for the evaluation; these overlap if there are too few.

    Raises:
        ConfigError: If the file cannot be read, or a prompt is empty or too long: with its number.
    """
    told = read_prompts(config.prompts, config.prompts_options, chat=config.chat)
    prompts = [cut_prompt(language, one, config.prompt, chat=config.chat) for one in told]
    check_lengths(language, prompts, config.sampling)
    if len(prompts) < 2 * config.eval_prompts:
        return prompts, prompts[-config.eval_prompts :]
    return prompts[: -config.eval_prompts], prompts[-config.eval_prompts :]


def texts_in(
    path: Path | None,
    config: AlignConfig,
    language: LanguageModel,
    *,
    prompt: PromptConfig = _WHOLE,
) -> list[Response]:
    """Demonstrations or plain texts of a file, cut to the model's context; none without a file.

    Args:
        path: The file.
        config: Config of the run.
        language: Language model that will read them.
        prompt: Which part of their prompts the model is given.

    Raises:
        ConfigError: If the file cannot be read, or a row has no such form: with its number.
    """
    if path is None:
        return []
    examples = []
    for one in read_demonstrations(path, chat=config.chat):
        # Plain text has no prompt for a chat template.
        chat = config.chat and one.prompt is not None
        found = as_examples([one], language, max_tokens=language.context, chat=chat, prompt=prompt)
        examples += found.examples
    return examples


def _demonstrations(config: AlignConfig, language: LanguageModel) -> list[Response]:
    """Demonstrations that score 0 on average, cut like responses before scoring."""
    found = texts_in(config.demonstrations, config, language, prompt=config.prompt)
    return [scored_part(language, one, config.scoring) for one in found[:_MOST_DEMONSTRATIONS]]


def new_reward(
    config: AlignConfig,
    language: LanguageModel,
    *,
    shares: bool,
    settings: TextRewardConfig | None = None,
    is_fitted: bool = False,
) -> TextReward:
    """Makes the reward ensemble, before any fit.

    Args:
        config: Config of the run.
        language: Its trunk, unless reward models are given.
        shares: Whether it shares untrained parameters with the language model.
        settings: Settings of the ensemble; by default the config's.
        is_fitted: Whether fitted weights will be put into it, with no fit afterwards: then
            demonstrations, which only a fit needs, are not read.

    Raises:
        ConfigError: If a given reward model does not fit this language model.
    """
    zero_at = [] if is_fitted else _demonstrations(config, language)
    given = load_classifiers(config.reward_model, language)
    settings = config.reward if settings is None else settings
    if given:
        settings = replace(settings, members=len(given))
    return TextReward(language, settings, zero_at=zero_at, shares=shares, given=given)


def first_reward(config: AlignConfig, reward: TextReward) -> Weights | None:
    """A run's first reward, as ``new_reward`` made it; None unless reward models are given."""
    if not config.reward_model:
        return None
    tensors = {name: t.detach().clone() for name, t in reward.state_dict().items()}
    return Weights(1, tensors, {"from": list(config.reward_model)})


def check_texts(config: AlignConfig, language: LanguageModel) -> None:
    """Refuses demonstrations and pretraining texts that cannot be read or would not be used.

    Raises:
        ConfigError: If it cannot work.
    """
    coef = config.ppo.ptx_coef
    mixes_in = config.method == "ppo" and coef > 0
    if mixes_in and config.pretraining is None:
        raise ConfigError(
            f"expected texts to mix in with ptx_coef {coef}, got none; give --pretraining FILE, or "
            "--ppo.ptx-coef 0."
        )
    if config.pretraining is not None and not mixes_in:
        raise ConfigError(
            "expected method ppo and a ptx_coef above 0 with pretraining, got "
            f"{config.method} and {coef}, which would mix no text in; give --method ppo with "
            "--ppo.ptx-coef, or leave --pretraining out."
        )
    _demonstrations(config, language)
    texts_in(config.pretraining, config, language)


def check_adapters(config: AlignConfig, language: LanguageModel) -> None:
    """Refuses adapters that the model cannot have.

    Raises:
        ConfigError: If it lacks the layers.
        MissingExtraError: If PEFT is not installed.
    """
    for lora, n_layers in (
        (config.lora, config.train_layers),
        (config.reward.lora, config.reward.train_layers),
    ):
        if lora.used:
            target_modules(language.model, lora, n_layers)


def check_start(config: AlignConfig, language: LanguageModel) -> tuple[Items, str]:
    """Refuses layers that the model lacks, unusable data, and a warm-up as long as the training.

    Returns:
        The data as tokens, and a description of what was recognised in it; empty without data.

    Raises:
        ConfigError: If it cannot work, with the place in the file if it is about one; or if a
            reward model does not fit this language model.
    """
    for n_layers in (config.train_layers, config.reward.train_layers):
        check_layers(language.model, n_layers)
    load_classifiers(config.reward_model, language)
    items, told = data_of(config, language)
    if config.tunes_on_answers and not (config.asks_people and config.labels):
        check_warmup(config.finetune, _most_examples(config, items))
    return items, told


def data_of(config: AlignConfig, language: LanguageModel) -> tuple[Items, str]:
    """The data as tokens, and a description of what was recognised in it; empty without data.

    Raises:
        ConfigError: If it cannot be read, or nothing can be learned from it.
    """
    if config.data is None:
        return Items(), ""
    seen, options = Seen(), config.data_options
    preferences = read_preferences(config.data, options, chat=config.chat, seen=seen)
    check_usable(preferences, config.data, method=config.method, n_labels=config.labels)
    items = as_items(preferences, language, chat=config.chat, too_long=options.too_long)
    told = described(str(config.data), seen, items.counts, _first(items, language))
    if not items.rankings and not items.labelled:
        raise ConfigError(f"expected data to learn from, but nothing is left of {told}.")
    return items, told


def _first(items: Items, language: LanguageModel) -> list[tuple[str, str]]:
    """Name and text of each part of the first example as it will be learned, with all tokens."""
    decode = language.tokenizer.decode
    if items.rankings:
        said, ranks = items.rankings[0]
        ordered = [said[i] for i in sorted(range(len(said)), key=lambda i: ranks[i])]
        names = ("chosen", "rejected") if len(said) == 2 else (f"{n}." for n in range(1, 99))
        told = [(n, decode(list(r.tokens))) for n, r in zip(names, ordered, strict=False)]
    else:
        ordered = [items.labelled[0][0]]
        told = [("good" if items.labelled[0][1] else "bad", decode(list(ordered[0].tokens)))]
    return [("prompt", decode(list(ordered[0].prompt_tokens))), *told]


def _most_examples(config: AlignConfig, items: Items) -> int:
    """Most examples that data and an oracle that answers once can give."""
    takes = TUNING_METHODS[config.method].takes
    if takes == "single responses":
        n_compared = sum(len(said) for said, _ in items.rankings)
        return 2 * config.labels + n_compared + len(items.labelled)
    if takes == "rankings":  # in a group with a skip, each other pair is one
        return config.labels + len(items.rankings)
    return config.labels + sum(len(said) * (len(said) - 1) // 2 for said, _ in items.rankings)


def gold_of(config: AlignConfig) -> Gold | None:
    """The gold score of the evaluation, if there is one."""
    return None if config.gold_name is None else load_gold(config.gold_name)


def synthetic_oracle(config: AlignConfig, responses: Responses) -> Oracle:
    """The oracle that answers instead of people, or while none are present."""
    gold = load_gold(config.gold_name or "vader")
    return text_oracle(responses, gold, config.teacher, seed=config.seed)


def show_to_people(
    run: RunDirectory, store: LabelStore, *, waiting: Callable[[str], bool] | None = None
) -> Callable[[Response], None]:
    """Returns a function that stores a response's prompt and text for the labelling page.

    Args:
        run: Where it goes.
        store: Is told what shows which response.
        waiting: As ``RunMedia`` takes it.
    """
    media_type, media = "application/json", RunMedia(run, waiting=waiting)

    def show(response: Response) -> None:
        content = json.dumps({"prompt": response.prompt, "response": response.text}).encode()
        store.media.add(response.id, media.add(content, media_type), media_type)

    return show
