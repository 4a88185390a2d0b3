"""The policy: a language model with a value head on its trunk, and its frozen reference."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prefrl.runtime.devices import computes_in_bfloat16
from prefrl.text.nets.adapters import AdapterConfig, adapters_off, add_adapters
from prefrl.text.nets.generate import SamplingConfig, sample_responses
from prefrl.text.nets.layers import freeze_below, no_dropout
from prefrl.text.nets.logprobs import Batch, drawn_from, gathered, token_logprobs
from prefrl.text.nets.lower import from_states, n_frozen_blocks, with_states
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.values import ValueModel
from prefrl.text.responses import Prompt, Response

__all__ = ["Evaluated", "Policy"]

_NO_ADAPTERS = AdapterConfig()


@dataclass(frozen=True)
class Evaluated:
    """Outputs of the policy for a batch, each of shape (B, R)."""

    logprobs: Tensor
    """Log-probabilities of the tokens; 0 where there is no token."""
    values: Tensor
    """Values of the states before the tokens."""
    entropy: Tensor
    """Entropy of the distributions, in nats."""


class Policy(nn.Module):
    """A language model in training, with its value head and its reference.

    Args:
        language: The model to start from: it becomes the policy. The reference is a copy; with
            adapters, it is the same model with its adapters off.
        train_layers: How many of its last layers are trained, or have adapters; None for all.
        temperature: Temperature of sampling, and the default for log-probabilities.
        value_model: Computes the values, instead of a head on the policy's trunk.
        fast_sampling: Sample from a copy in bfloat16 if the processor has instructions for it. Its
            samples deviate a little from the policy in float32; PPO's ratio does not correct for
            that, because old and new log-probabilities are both those of the policy in float32.
        lora: Adapters that are trained instead of the model.
        seed: Seed of fresh adapters.
    """

    def __init__(
        self,
        language: LanguageModel,
        *,
        train_layers: int | None = None,
        temperature: float = 1.0,
        value_model: ValueModel | None = None,
        fast_sampling: bool = True,
        lora: AdapterConfig = _NO_ADAPTERS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.language = language
        self.temperature = temperature
        no_dropout(language.model)
        self._has_adapters = lora.used
        self.reference = language
        """The initial model; with adapters, the policy itself, to be used with them off."""
        if lora.used:
            generator = torch.Generator().manual_seed(seed)
            trained = add_adapters(language.model, lora, generator=generator, n_layers=train_layers)
        else:
            copied = copy.deepcopy(language.model).requires_grad_(False).eval()
            self.reference = LanguageModel(copied, language.tokenizer, language.source)
            trained = freeze_below(language.model, train_layers)
        self.trained = trained
        """Parameters of the language model that are trained."""
        self._n_frozen = n_frozen_blocks(language.model)
        self.model = language.model
        device = next(language.model.parameters()).device
        self.value_model = None if value_model is None else value_model.to(device)
        # Zero: at the start the value of every state is 0 (Huang et al. 2023, detail P2).
        self.value_head = nn.Linear(int(language.model.config.hidden_size), 1, device=device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self._sampler: LanguageModel | None = None
        if fast_sampling and computes_in_bfloat16(device.type):
            sampler = copy.deepcopy(language.model).to(torch.bfloat16).eval()
            self._sampler = LanguageModel(sampler, language.tokenizer, language.source)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.value_head.weight.device

    @property
    def value_parameters(self) -> list[nn.Parameter]:
        """Trained parameters of the value head or the value model."""
        module = self.value_head if self.value_model is None else self.value_model
        return [p for p in module.parameters() if p.requires_grad]

    def prepare(self, batch: Batch) -> Batch:
        """Adds the output of the frozen layers to a batch, for the other methods to reuse."""
        return with_states(self.model, batch, self._n_frozen)

    def evaluate(self, batch: Batch) -> Evaluated:
        """Computes log-probabilities and values of a batch with gradient, and entropy without."""
        n_kept = batch.n_kept
        needs_states = self.value_model is None
        with from_states(self.model, batch, self._n_frozen):
            output = self.model(
                **batch.inputs, logits_to_keep=n_kept, output_hidden_states=needs_states
            )
        logits = drawn_from(self.language, output.logits, self.temperature)
        shares = logits.detach().log_softmax(2)  # entropy is logged, not trained
        entropy = -(shares.exp() * shares).sum(2)
        if self.value_model is not None:
            values = self.value_model(batch)
        else:
            states = output.hidden_states[-1][:, -n_kept:-1]  # (B, R, D)
            values = self.value_head(states.float())[:, :, 0]
        return Evaluated(gathered(logits, batch), values, entropy)

    def logprobs(self, batch: Batch, *, temperature: float | None = None) -> Tensor:
        """Log-probabilities of a batch's tokens, with gradient, shape (B, R).

        Args:
            batch: Batch of responses.
            temperature: Divides the logits; None for that of sampling. Use 1 for responses from
                elsewhere, which were not sampled at the policy's temperature.
        """
        return token_logprobs(self.language, batch, temperature=self._or_own(temperature))

    @torch.no_grad()
    def reference_logprobs(self, batch: Batch, *, temperature: float | None = None) -> Tensor:
        """The reference's log-probabilities of a batch's tokens, as ``logprobs``, shape (B, R)."""
        off = adapters_off(self.model) if self._has_adapters else contextlib.nullcontext()
        with off, from_states(self.reference.model, batch, self._n_frozen):
            return token_logprobs(self.reference, batch, temperature=self._or_own(temperature))

    def _or_own(self, temperature: float | None) -> float:
        return self.temperature if temperature is None else temperature

    def sample(
        self, prompts: Sequence[Prompt], *, config: SamplingConfig, generator: torch.Generator
    ) -> list[Response]:
        """Samples a response to each prompt."""
        if self._sampler is None:
            return sample_responses(self.language, prompts, config=config, generator=generator)
        with torch.no_grad():
            pairs = zip(self._sampler.model.parameters(), self.model.parameters(), strict=True)
            for copied, trained in pairs:
                if trained.requires_grad:
                    copied.copy_(trained)
        return sample_responses(self._sampler, prompts, config=config, generator=generator)

    def trained_state(self) -> dict[str, Tensor]:
        """The trained parameters by name, without those of a separate value model."""
        return {
            name: p.detach()
            for name, p in self.named_parameters()
            if p.requires_grad and not name.startswith("value_model.")
        }

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Restores a state."""
        parameters = dict(self.named_parameters())
        for name, value in state.items():
            parameters[name].copy_(value)
