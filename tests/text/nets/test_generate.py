"""Sampling: what is left out of the computing changes nothing of what is drawn."""

from collections import Counter

import pytest
import torch

from prefrl.text.nets.generate import SamplingConfig, drawn_at, sample_responses
from prefrl.text.nets.models import load_model

TEXTS = ("one ", "or two of the big ones ", "a", "one ", "one ", "a", "six ", "six ")


@pytest.fixture(scope="module")
def language():
    """A model that often comes to an end."""
    made = load_model("tiny")
    made.model.generation_config.eos_token_id = list(range(5, 257, 12))
    return made


def greedily(language, prompt, n):
    """The likeliest tokens, without a cache, one text at a time."""
    found = []
    for _ in range(n):
        ids = torch.tensor([[*prompt.tokens, *found]])
        with torch.no_grad():
            found.append(int(language.model(input_ids=ids).logits[0, -1].argmax()))
        if found[-1] in language.end_tokens:
            break
    return tuple(found)


def test_the_coldest_responses_are_the_likeliest_tokens(language):
    prompts = [language.prompt(text) for text in TEXTS]
    config = SamplingConfig(max_new_tokens=12, temperature=1e-4)
    drawn = sample_responses(language, prompts, config=config, generator=torch.Generator())
    for prompt, response in zip(prompts, drawn, strict=True):
        assert response.prompt_tokens == prompt.tokens
        assert response.tokens == greedily(language, prompt, 12)


class WithoutRows(torch.nn.Module):
    """A model whose cache has no rows that could be chosen."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.n_rows = model, []

    def forward(self, past_key_values=None, **inputs):
        self.n_rows.append(len(inputs["input_ids"]))
        kept = None if past_key_values is None else past_key_values.cache
        output = self.inner(past_key_values=kept, **inputs)
        output.past_key_values = Plain(output.past_key_values)
        return output


class Plain:
    def __init__(self, cache):
        self.cache = cache


def test_responses_are_the_same_where_all_rows_are_computed_to_the_end(language):
    prompts = [language.prompt(text) for text in TEXTS] * 4
    config = SamplingConfig(max_new_tokens=24)

    def drawn(made):
        generator = torch.Generator().manual_seed(4)
        return sample_responses(made, prompts, config=config, generator=generator)

    inner, rows = language.model, []
    handle = inner.register_forward_pre_hook(
        lambda module, told, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    fast = drawn(language)
    handle.remove()
    whole = WithoutRows(inner)
    whole.config, whole.generation_config = inner.config, inner.generation_config
    slow = drawn(type(language)(whole, language.tokenizer, "whole"))
    assert [r.tokens for r in fast] == [r.tokens for r in slow]
    assert len({len(r.tokens) for r in fast}) > 3
    assert whole.n_rows[1:] == [32] * (len(whole.n_rows) - 1)
    assert rows[0] == 4  # each prompt is read once
    assert rows[1] == 32
    assert rows[-1] < 20  # what has ended is dropped


def test_draws_by_one_number_have_the_shares_of_the_distribution():
    shares = torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0]]).expand(20_000, 5)
    numbers = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = Counter(drawn_at(shares, numbers).tolist())
    assert set(counts) == {0, 2, 3}
    for place in counts:  # four standard errors
        p = float(shares[0, place])
        assert counts[place] / 20_000 == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)
    edges = torch.tensor([[0.0], [0.49], [0.51], [0.79], [0.81], [1.0]], dtype=torch.float64)
    assert drawn_at(shares[:6], edges).tolist()[:5] == [0, 0, 2, 2, 3]
