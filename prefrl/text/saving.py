"""The learned reward of a run as folders that ``AutoModelForSequenceClassification`` opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.versions import installed_versions
from prefrl.runtime.rundir.weights import latest_weights, put_into
from prefrl.text.config import AlignConfig, align_config_from_json
from prefrl.text.nets.classifiers import save_classifiers
from prefrl.text.start import new_reward, starting_model

__all__ = ["save_text_reward"]


def save_text_reward(run: RunDirectory, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Writes the newest reward that a run has published, one folder per member.

    Args:
        run: A run of ``prefrl align``, finished or not.
        folder: A new folder.

    Returns:
        The members' folders, and what was published about the fit.

    Raises:
        RunDirectoryError: If it is not such a run, or has published no reward.
        ConfigError: If the folder exists, or transformers has no classifier for this kind of model.
    """
    content = run.read_json(run.config)
    if not {"prompts", "reward"} <= set(content):
        raise RunDirectoryError(
            f"expected a run of prefrl align, which fits a reward for responses, but {run.root} is "
            "another one; give the folder of such a run."
        )
    config = align_config_from_json(content)
    weights = latest_weights(run.reward)
    language = starting_model(config)
    reward = new_reward(config, language, shares=False, is_fitted=True)
    put_into(reward, weights)
    told = _card(config, weights.about, reward.n_members)
    return save_classifiers(reward.members(), language, folder, card=told), weights.about


def _card(config: AlignConfig, about: dict[str, Any], n_members: int) -> str:
    """Text of the model card, for those who score with it."""
    accuracy = about.get("holdout_accuracy")
    is_known = isinstance(accuracy, float) and accuracy == accuracy  # not NaN
    right = f", right on {accuracy:.0%} of those that it had not seen" if is_known else ""
    settings = {
        "model": Path(config.model).name,
        "members": n_members,
        "aggregate": config.reward.aggregate,
        "train_layers": config.reward.train_layers,
        "labels": about.get("labels"),
        "oracle": config.oracle,
        "seed": config.seed,
        "versions": installed_versions(),
    }
    return "\n".join(
        [
            "---", "library_name: transformers", "tags: [prefrl, reward-model]", "---", "",
            f"# A reward model for {settings['model']}", "",
            f"One of {n_members} members that were fitted to {about.get('labels', 0)} comparisons"
            f"{right}. Together they are an ensemble: `{config.reward.aggregate}` of their scores "
            "is the reward, and where they disagree it knows little.", "",
            "```python",
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer", "",
            "model = AutoModelForSequenceClassification.from_pretrained(FOLDER)",
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
            "tokens = tokenizer(prompt + response, return_tensors=\"pt\")  # to its end token",
            "score = model(**tokens).logits[0, 0] + getattr(model.config, \"prefrl_shift\", 0.0)",
            "```", "",
            "The score is of the last token, the end token of the response; `prefrl_shift` is a "
            "constant that the head of the class has no place for: no difference of two scores "
            "depends on it. Scores have mean 0 and variance 1 over the responses that the run had "
            "sampled when it was fitted. Do not take it for a judge of other kinds of text.", "",
            "```json", json.dumps(settings, indent=1), "```", "",
        ]
    )  # fmt: skip
