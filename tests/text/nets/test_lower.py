"""Layers that are not trained are computed once for a batch, and nothing else is changed by it."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from prefrl.text.nets.layers import freeze_below
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.lower import n_frozen_blocks
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.policy import Policy
from prefrl.text.nets.tiny import byte_tokenizer, tiny_model
from prefrl.text.responses import Response


def gpt2():
    config = GPT2Config(vocab_size=257, n_positions=64, n_embd=32, n_layer=4, n_head=4)
    torch.manual_seed(0)
    return LanguageModel(GPT2LMHeadModel(config).eval(), byte_tokenizer(), "gpt2")


MODELS = {"llama": lambda: tiny_model(n_layers=4), "gpt2": gpt2}


def batch_for(language):
    texts = {"one ": "aba", "or two ": "bcb and more", "o": "h"}
    return collate(
        [
            Response(p, t, language.prompt(p).tokens, language.response_tokens(t))
            for p, t in texts.items()
        ]
    )


def gradients(policy, batch):
    said = policy.evaluate(batch)
    (said.logprobs.sum() + (said.values**2).sum()).backward()
    found = [p.grad.clone() for p in [*policy.trained, *policy.value_parameters]]
    for p in policy.parameters():
        p.grad = None
    return said, found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_trained", [1, 3])
def test_a_prepared_batch_gives_the_same_numbers_and_gradients(name, n_trained):
    policy = Policy(MODELS[name](), train_layers=n_trained)
    torch.nn.init.normal_(policy.value_head.weight)
    batch = batch_for(policy.language)
    prepared = policy.prepare(batch)
    assert prepared.states.shape[:2] == batch.ids.shape
    (plain, slopes), (fast, others) = gradients(policy, batch), gradients(policy, prepared)
    for part in ("logprobs", "values", "entropy"):
        assert torch.equal(getattr(plain, part), getattr(fast, part))
    assert all(torch.equal(*pair) for pair in zip(slopes, others, strict=True))
    assert torch.equal(policy.reference_logprobs(batch), policy.reference_logprobs(prepared))
    rows = torch.tensor([2, 0])
    some = policy.evaluate(prepared.rows(rows)).logprobs
    torch.testing.assert_close(some, plain.logprobs[rows])


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_below_are_not_computed_again(name):
    policy = Policy(MODELS[name](), train_layers=1)
    prepared = policy.prepare(batch_for(policy.language))
    with torch.no_grad():
        for p in policy.model.get_input_embeddings().parameters():
            p.add_(torch.nan)
        # Their output is tied to the embeddings: what is computed from states is in the values.
        torch.nn.init.normal_(policy.value_head.weight)
    assert torch.isfinite(policy.evaluate(prepared).values).all()


def test_where_all_is_trained_nothing_is_kept():
    policy = Policy(tiny_model())
    batch = batch_for(policy.language)
    assert policy.prepare(batch) is batch


def test_blocks_from_the_first_trained_one_on_count_as_trained():
    model = tiny_model(n_layers=4).model
    freeze_below(model, 2)
    assert n_frozen_blocks(model) == 2
    model.get_input_embeddings().requires_grad_(True)
    assert n_frozen_blocks(model) == 0
