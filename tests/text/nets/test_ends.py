"""Where responses end, and that what is closed already is not closed again."""

import pytest
import torch
from tokenizers import processors
from transformers import GenerationConfig

from prefrl.errors import ConfigError
from prefrl.text.nets.generate import SamplingConfig, sample_responses
from prefrl.text.nets.models import load_model
from prefrl.text.nets.scoring import ScoringConfig, scores_of
from prefrl.text.nets.tiny import tiny_model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def talker(tmp_path):
    """A model whose tokenizer ends texts with one token, and whose turns end with another."""
    language = tiny_model("tiny", context=512)
    tokenizer, model = language.tokenizer, language.model
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = TEMPLATE
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(tmp_path / "talker")
    tokenizer.save_pretrained(tmp_path / "talker")
    return load_model(str(tmp_path / "talker"))


def id_of(language, token):
    return language.tokenizer.convert_tokens_to_ids(token)


@pytest.mark.parametrize("closing", ["<|im_end|>", "<end>"])
def test_each_end_token_of_the_generation_config_ends_a_response(talker, closing):
    end = id_of(talker, closing)
    weight = talker.model.get_output_embeddings().weight
    with torch.no_grad():
        weight[end] = 0  # so that of 260 tokens this one comes up as often as others
    drawn = sample_responses(
        talker,
        [talker.prompt("hi", chat=True)] * 256,
        config=SamplingConfig(max_new_tokens=24),
        generator=torch.Generator().manual_seed(0),
    )
    ended = [r for r in drawn if end in r.tokens]
    assert ended
    assert all(r.tokens.index(end) == len(r.tokens) - 1 for r in ended)
    config = ScoringConfig(missing_score=-9.0)

    class Flat:
        def rewards(self, parts):
            return torch.zeros(1, len(parts)), torch.zeros(len(parts))

    scores = scores_of(Flat(), talker, drawn, config)[1]
    finished = torch.tensor([r.tokens[-1] in talker.end_tokens for r in drawn])
    assert torch.equal(scores == 0, finished)


def test_a_turn_is_closed_as_the_template_closes_it_and_a_text_as_the_tokenizer(talker):
    turn, text = id_of(talker, "<|im_end|>"), id_of(talker, "<end>")
    assert talker.end_tokens == {turn, text}
    assert talker.response(talker.prompt("hi", chat=True), "yes").tokens[-1] == turn
    assert talker.response(talker.prompt("hi"), "yes").tokens[-1] == text
    plain = load_model("tiny")
    plain.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    )
    asked = plain.prompt("hi", chat=True)
    assert plain.response(asked, "yes").tokens[-1] == plain.end_token
    assert plain.end_tokens == {plain.end_token}


def test_a_template_that_no_config_names_ends_turns_too(talker):
    talker.model.generation_config = GenerationConfig(eos_token_id=id_of(talker, "<end>"))
    assert id_of(talker, "<|im_end|>") in talker.end_tokens


@pytest.mark.parametrize("behind", ["<|im_end|>", "<|im_end|>\n"])
def test_what_is_in_template_form_already_is_closed_and_begun_once(talker, behind):
    begin = id_of(talker, "<|im_start|>")
    talker.tokenizer.bos_token = "<|im_start|>"
    talker.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", begin)]
    )
    asked = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    prompt = talker.prompt(asked)
    assert prompt.tokens == talker.prompt("hi", chat=True).tokens
    closed = talker.response(prompt, f"hello{behind}")
    assert closed == talker.response(prompt, "hello")
    assert closed.text == "hello"
    assert closed.tokens[-1] == id_of(talker, "<|im_end|>")
    with pytest.raises(ConfigError, match=r"it has <\|im_end\|>; leave chat out"):
        talker.prompt(asked, chat=True)
