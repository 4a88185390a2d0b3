import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.text.nets.layers import blocks_of, freeze_below, no_dropout
from prefrl.text.nets.models import load_model


def test_a_prompt_and_a_response_come_back_from_their_tokens():
    language = load_model("tiny")
    prompt = language.prompt("héllo!")
    assert language.decode(prompt.tokens) == "héllo!"
    tokens = language.response_tokens(" yes")
    assert tokens[-1] == language.end_token
    assert language.decode(tokens) == " yes"


def test_a_model_without_a_pad_token_is_no_trouble():
    assert load_model("tiny").tokenizer.pad_token is None


def test_a_chat_needs_a_template():
    with pytest.raises(ConfigError, match="but tiny has none"):
        load_model("tiny").prompt("hello", chat=True)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ConfigError, match="at least one token"):
        load_model("tiny").prompt("")


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="a causal language model: a folder with its"):
        load_model(str(tmp_path))


def test_a_model_that_keeps_no_keys_and_values_is_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=257, hidden_size=8, num_hidden_layers=1, state_size=2)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    load_model("tiny").tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"expected a transformer, .* a MambaForCausalLM"):
        load_model(str(tmp_path))


def test_only_the_last_layers_are_trained():
    model = load_model("tiny").model
    trained = freeze_below(model, 1)
    last = {id(p) for p in blocks_of(model)[-1].parameters()}
    assert last < {id(p) for p in trained}
    assert not model.get_input_embeddings().weight.requires_grad
    assert not any(p.requires_grad for p in blocks_of(model)[0].parameters())


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="0 to 2 layers to train, got 3"):
        freeze_below(load_model("tiny").model, 3)


def test_without_dropout_training_gives_the_same_twice():
    model = load_model("tiny").model
    for block in blocks_of(model):
        block.self_attn.attention_dropout = 0.5
    no_dropout(model)
    model.train()
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_a_model_that_drops_out_by_functions_does_not_either():
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = OPTConfig(**sizes, word_embed_proj_dim=32, vocab_size=257, layerdrop=0.5)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = OPTForCausalLM(config).train()
        ids = torch.tensor([[1, 2, 3]])
        assert not torch.equal(model(ids).logits, model(ids).logits)
        no_dropout(model)
        first = model(ids).logits
        assert all(torch.equal(model(ids).logits, first) for _ in range(4))
