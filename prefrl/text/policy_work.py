"""The work with the policy, in one process or shared by several.

The first process is the agent: it decides what comes next and tells the others, which follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.fitting import weights_hash
from prefrl.runtime.roles.parallel import Workers
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.config import AlignConfig
from prefrl.text.methods.examples import Example
from prefrl.text.methods.finetune import Finetuning
from prefrl.text.methods.groups import Groups
from prefrl.text.methods.ppo import Ppo
from prefrl.text.methods.raft import Raft
from prefrl.text.methods.tuning import on_examples
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.nets.values import ValueModel
from prefrl.text.responses import Prompt, Response, digest_of
from prefrl.text.start import texts_in

__all__ = ["PolicyWork", "check_shareable", "how_to_go_on"]

_SEEDS_APART = 100_003  # between ranks (Huang et al. 2023, detail G6)


def check_shareable(config: AlignConfig, n_processes: int) -> None:
    """Refuses a batch that is too small for several processes to share.

    Raises:
        ConfigError: If a batch has fewer responses than there are processes.
    """
    if n_processes > config.batch:
        raise ConfigError(
            f"expected at least one response of a batch for each of {n_processes} processes, got a "
            f"batch of {config.batch}; launch fewer, or raise --batch."
        )


def how_to_go_on(run: RunDirectory) -> str:
    """Advice for when a process of a launch has ended: the end of a sentence."""
    return (
        f"launch prefrl resume {run.root} in the same way: it continues from the newest checkpoint"
    )


class PolicyWork:
    """Samples from the policy and improves it.

    All methods but ``follow`` are called in the first process. The others copy its policy once they
    follow; if nothing is left to do, the first process may have none.

    Args:
        config: Config of the run.
        language: The model to start from: it becomes the policy.
        reward: Reward ensemble that a separate value model starts from.
        responses: Responses by id.
        workers: Workers that share the work.
    """

    def __init__(
        self,
        config: AlignConfig,
        language: LanguageModel,
        reward: TextReward,
        responses: Mapping[str, Response],
        workers: Workers,
    ) -> None:
        own_values = config.method == "ppo" and config.ppo.value_from_reward
        values = ValueModel(reward, train_layers=config.train_layers) if own_values else None
        self.policy = Policy(
            language,
            train_layers=config.train_layers,
            temperature=config.sampling.temperature,
            value_model=values,
            lora=config.lora,
            seed=config.seed,
        )
        texts = texts_in(config.pretraining, config, language)
        self._read = {
            "demonstrations": digest_of(reward.zero_at),
            "pretraining": digest_of(texts),
        }
        if config.reward_model:
            self._read["reward_model"] = weights_hash(reward.state_dict())
        self.ppo = Ppo(
            self.policy,
            config=config.ppo,
            n_updates=config.n_batches,
            texts=texts,
            workers=workers,
        )
        self._workers = workers
        self.raft = self._new_raft(config) if config.method == "raft" else None
        self.groups = self._new_groups(config) if config.method in ("grpo", "rloo") else None
        self.tuning: Finetuning | None = None
        """The fine-tuning on answers, once it has begun."""
        self._config, self._reward, self._responses = config, reward, responses
        self._generator = torch.Generator()
        if workers.rank == 0:
            self._do("_copy")

    def sample(self, prompts: Sequence[Prompt], number: int) -> list[Response]:
        """Samples a response to each prompt of the batch with this number."""
        drawn: list[Response] = self._do("_sample", prompts, number)
        return drawn

    def improve(self, responses: Sequence[Response], scores: Tensor) -> dict[str, float]:
        """Updates the policy on responses that were just sampled, with scores of shape (B,)."""
        row: dict[str, float] = self._do("_improve", responses, scores, self._generator.get_state())
        return row

    def skip(self) -> None:
        """Skips a batch from which nothing can be learned yet."""
        self._do("_skip")

    def begin_tuning(self, examples: Sequence[Example]) -> None:
        """Prepares the fine-tuning on answers."""
        self._do("_begin_tuning", examples)

    def tune(self) -> dict[str, float]:
        """Takes a gradient step on answers."""
        row: dict[str, float] = self._do("_tune")
        return row

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "ppo": self.ppo.state_dict() if self._config.method == "ppo" else None,
            "raft": None if self.raft is None else self.raft.state_dict(),
            "groups": None if self.groups is None else self.groups.state_dict(),
            "tuning": None if self.tuning is None else self.tuning.state_dict(),
            "read": self._read,
        }

    def load_state_dict(self, state: Mapping[str, Any], examples: Sequence[Example]) -> None:
        """Restores a state, with the answers that it was fine-tuned on.

        Raises:
            RunDirectoryError: If demonstrations, pretraining texts or reward models have changed.
        """
        for name, digest in state["read"].items():
            if digest != self._read[name]:
                raise RunDirectoryError(
                    f"expected the {name} file that the run began with, but "
                    f"{getattr(self._config, name)} has changed since; bring it back, or start a "
                    "new run."
                )
        # Older checkpoints have no groups.
        parts = {name: state.get(name) for name in ("ppo", "raft", "groups", "tuning")}
        self._do("_load", parts, examples)

    def follow(self) -> None:
        """Makes the calls that the first process sends, until it sends no more."""
        while (said := self._workers.broadcast(None)) is not None:
            name, told = said
            getattr(self, name)(*told)

    def _do(self, name: str, *told: Any) -> Any:
        """Sends a call to the other processes, and makes it here as well."""
        self._workers.broadcast((name, told))
        return getattr(self, name)(*told)

    def _copy(self) -> None:
        self._workers.copy(self.policy.trained_state().values())

    def _sample(self, prompts: Sequence[Prompt], number: int) -> list[Response]:
        config, workers = self._config, self._workers
        seed = config.seed + workers.rank * _SEEDS_APART
        self._generator.manual_seed(seed * 1_000_003 + number)
        drawn = self.policy.sample(
            prompts[workers.share(len(prompts))],
            config=config.sampling,
            generator=self._generator,
        )
        return workers.gather(drawn)

    def _improve(
        self, responses: Sequence[Response], scores: Tensor, random_state: Tensor
    ) -> dict[str, float]:
        if self.raft is not None:
            return self.raft.improve(responses, scores)
        values = self.policy.value_model
        if values is not None and self.ppo.n_updates == 0:
            if self._workers.rank == 0:
                values.take(self._reward)
            self._workers.copy(values.own_state().values())
        self._generator.set_state(random_state)  # the order of responses is the same for all
        return (self.groups or self.ppo).improve(responses, scores, self._generator)

    def _skip(self) -> None:
        (self.raft or self.groups or self.ppo).skip()

    def _new_raft(self, config: AlignConfig) -> Raft:
        return Raft(
            self.policy,
            config=config.raft,
            finetune=config.finetune,
            n_prompts=config.batch // config.per_prompt,
            n_updates=config.n_batches,
            seed=config.seed,
            workers=self._workers,
        )

    def _new_groups(self, config: AlignConfig) -> Groups:
        return Groups(
            self.policy,
            config=config.grpo if config.method == "grpo" else config.rloo,
            n_each=config.per_prompt,
            longest=config.sampling.max_new_tokens,
            n_updates=config.n_batches,
            workers=self._workers,
        )

    def _begin_tuning(self, examples: Sequence[Example]) -> None:
        config = self._config
        self.tuning = on_examples(
            self.policy,
            examples,
            self._responses,
            method=config.method,
            loss=config.loss,
            config=config.finetune,
            seed=config.seed,
            workers=self._workers,
        )

    def _tune(self) -> dict[str, float]:
        assert self.tuning is not None
        return self.tuning.step()

    def _load(self, state: Mapping[str, Any], examples: Sequence[Example]) -> None:
        if state["ppo"] is not None:
            self.ppo.load_state_dict(state["ppo"])
        if self.raft is not None:
            self.raft.load_state_dict(state["raft"])
        if self.groups is not None:
            self.groups.load_state_dict(state["groups"])
        if state["tuning"] is not None:
            self._begin_tuning(examples)
            assert self.tuning is not None
            self.tuning.load_state_dict(state["tuning"])
