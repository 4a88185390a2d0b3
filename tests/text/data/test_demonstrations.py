import json

import pytest

from prefrl.errors import ConfigError
from prefrl.text.data.demonstrations import Demonstration, as_examples, read_demonstrations
from prefrl.text.nets.models import load_model

HI = {"role": "user", "content": "hi"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
ASKED = (("user", "hi"),)
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{{ m.role }}:{{ m.content }}\n{% endfor %}assistant:"
)


def write(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def examples_of(*told, language=None, **options):
    demonstrations = [Demonstration(*one, f"line {i}") for i, one in enumerate(told, 1)]
    return as_examples(demonstrations, language or load_model("tiny"), **options)


def talker():
    """A tiny model that knows conversations."""
    language = load_model("tiny")
    language.tokenizer.chat_template = TEMPLATE
    return language


@pytest.mark.parametrize(
    ("row", "prompt", "response"),
    [
        ({"prompt": "p", "completion": "c"}, "p", "c"),
        ({"prompt": "p", "completion": "c", "label": True}, "p", "c"),
        ({"prompt": "p", "completion": "one\u2028line"}, "p", "one\u2028line"),
        ({"prompt": [HI], "completion": [YES]}, ASKED, "yes"),
        ({"prompt": [HI], "completion": "yes"}, ASKED, "yes"),
        ({"prompt": "hi", "completion": [YES]}, ASKED, "yes"),
        ({"prompt": "p", "response": "c", "label": True}, "p", "c"),
        ({"prompt": "p", "responses": ["b", "c"], "ranks": [2, 1]}, "p", "c"),
        ({"prompt": "p", "responses": ["b", "c"], "scores": [-1, 0.5]}, "p", "c"),
        ({"messages": [HI, YES]}, ASKED, "yes"),
        ({"messages": [HI, NO, HI, YES]}, (*ASKED, ("assistant", "no"), *ASKED), "yes"),
        ({"messages": [HI, YES, HI]}, ASKED, "yes"),
        ({"text": "plain"}, None, "plain"),
        ({"prompt": "p", "chosen": "good", "rejected": "bad"}, "p", "good"),
        ({"chosen": [HI, YES], "rejected": [HI, NO]}, ASKED, "yes"),
        ({"prompt": [HI], "chosen": [YES], "rejected": [NO]}, ASKED, "yes"),
        ({"prompt": [HI], "chosen": [HI, YES], "rejected": [HI, NO]}, ASKED, "yes"),
        ({"prompt": "hi", "chosen": [HI, YES], "rejected": [HI, NO]}, ASKED, "yes"),
    ],
)
def test_the_usual_forms_are_read(tmp_path, row, prompt, response):
    path = write(tmp_path / "data.jsonl", [row])
    where = f"line 1 of {path}"
    assert read_demonstrations(path) == [Demonstration(prompt, response, where)]


def test_a_folder_of_datasets_may_mix_forms(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = [{"prompt": "p", "completion": "c", "text": None}, {"text": "plain"}]
    data = Dataset.from_list(rows)
    DatasetDict(train=data).save_to_disk(tmp_path / "data")
    DatasetDict(test=data).save_to_disk(tmp_path / "test")
    Dataset.from_dict({"text": []}).save_to_disk(tmp_path / "empty")
    found = [(d.prompt, d.response) for d in read_demonstrations(tmp_path / "data")]
    assert found == [("p", "c"), (None, "plain")]
    with pytest.raises(ConfigError, match=r"a split named train in .*, got test"):
        read_demonstrations(tmp_path / "test")
    with pytest.raises(ConfigError, match=r"expected demonstrations in .* but it is empty"):
        read_demonstrations(tmp_path / "empty")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected JSON in line 2"),
        ("17", r"\{\"messages\"\}.* in line 2"),
        ('{"prompt": "p"}', "in line 2"),
        ('{"prompt": "", "completion": "c"}', "in line 2"),
        ('{"prompt": "p", "completion": ""}', "in line 2"),
        ('{"prompt": 3, "completion": "c"}', "in line 2"),
        ('{"completion": "c"}', "in line 2"),
        ('{"text": ""}', "in line 2"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "in line 2"),
        ('{"messages": [{"role": "assistant", "content": "yes"}]}', "in line 2"),
        ('{"messages": "hi"}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "ranks": [1, "x"]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "scores": [1]}', "in line 2"),
        ('{"prompt": "p", "completion": "c", "label": false}', "line 2 .* was found bad"),
    ],
)
def test_a_row_without_a_form_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(ConfigError, match=message):
        read_demonstrations(path)


def test_an_empty_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    with pytest.raises(ConfigError, match="expected a file of demonstrations in"):
        read_demonstrations(path)
    path.touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_demonstrations(path)


def test_a_response_ends_with_the_end_token_and_plain_text_begins_with_its_own_first_token():
    language = load_model("tiny")
    answered, plain = examples_of(("hi", "yes"), (None, "yes")).examples
    assert language.decode(answered.prompt_tokens) == "hi"
    assert language.decode(answered.tokens) == "yes"
    assert language.decode(plain.prompt_tokens) == "y"
    assert language.decode(plain.tokens) == "es"
    assert answered.tokens[-1] == plain.tokens[-1] == language.end_token
    (single,) = examples_of((None, "y")).examples
    assert single.tokens == (language.end_token,)


def test_what_is_longer_than_the_context_is_refused_or_cut_and_counted():
    language = load_model("tiny")
    told = [("p", "short"), ("p", 300 * "x"), (None, 300 * "y")]
    with pytest.raises(ConfigError, match=r"line 2 has 302 tokens .* of tiny holds 256"):
        examples_of(*told)
    found = examples_of(*told, max_tokens=100)
    assert found.n_cut == 2
    lengths = [len(e.prompt_tokens) + len(e.tokens) for e in found.examples]
    assert lengths == [7, 100, 100]
    assert all(e.tokens[-1] != language.end_token for e in found.examples[1:])
    assert found.examples[1].text == 99 * "x"
    with pytest.raises(ConfigError, match="line 1 has 300 tokens in its prompt alone"):
        examples_of((300 * "x", "c"), max_tokens=100)
    with pytest.raises(ConfigError, match="max_tokens to be at most 256"):
        examples_of(*told, max_tokens=257)


def test_messages_are_put_into_the_chat_template():
    language = talker()
    conversation, asked = examples_of((ASKED, "yes"), ("hi", "yes"), language=language).examples
    assert language.decode(conversation.prompt_tokens) == "user:hi\nassistant:"
    assert language.decode(asked.prompt_tokens) == "hi"
    (asked,) = examples_of(("hi", "yes"), language=language, chat=True).examples
    assert asked.prompt_tokens == conversation.prompt_tokens
    assert asked.tokens == conversation.tokens


def test_what_the_chat_template_does_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"line 1: expected a chat template .* tiny has none"):
        examples_of((ASKED, "yes"))
    with pytest.raises(ConfigError, match=r"line 1: .* template of tiny takes, but no system"):
        examples_of(((("system", "be kind"), *ASKED), "yes"), language=talker())
    with pytest.raises(ConfigError, match="line 1 is plain text"):
        examples_of((None, "plain"), language=talker(), chat=True)
