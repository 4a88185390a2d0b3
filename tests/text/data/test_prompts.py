import json
from pathlib import Path

import pytest

from prefrl.errors import ConfigError
from prefrl.text.config import AlignConfig, config_as_json
from prefrl.text.data.prompts import EVERYDAY, read_prompts


def test_lines_of_text_are_prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("one\n\n two \n")
    assert read_prompts(path) == ["one", " two "]


def test_json_lines_hold_texts_or_conversations(tmp_path):
    messages = [{"role": "user", "content": "hello"}]
    rows = [{"prompt": "one"}, {"messages": messages}, {"prompt": messages}, "two"]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\r\n".join(map(json.dumps, rows)))
    conversation = (("user", "hello"),)
    assert read_prompts(path) == ["one", conversation, conversation, "two"]


def test_what_json_may_hold_as_it_is_does_not_break_a_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one\u2028two\x85three"}\n', encoding="utf-8")
    assert read_prompts(path) == ["one\u2028two\x85three"]


HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{json.dumps(HELLO)}\n{json.dumps(HELLO)}\n", [(("user", "hello"),)] * 2),
        (json.dumps(HELLO), [(("user", "hello"),)]),
        (json.dumps([{"prompt": "one"}, HELLO, "two"]), ["one", (("user", "hello"),), "two"]),
        (json.dumps([{"prompt": "one"}, HELLO], indent=1), ["one", (("user", "hello"),)]),
    ],
    ids=["lists", "a list", "an array", "an array over several lines"],
)
def test_lines_may_be_lists_of_messages_and_an_array_holds_rows(tmp_path, text, expected):
    path = tmp_path / "prompts.json"
    path.write_text(text)
    assert read_prompts(path) == expected


@pytest.mark.parametrize("name", ["prompts", "prompts.md", "prompts.v2"])
def test_a_file_of_any_other_name_is_text_if_it_has_no_json(tmp_path, name):
    path = tmp_path / name
    for line in ("one", "17", "[INST] one", "{name}, hello", 'she said "no"'):
        path.write_text(f"{line}\n\ntwo\n")
        assert read_prompts(path) == [line, "two"]
    for text in ('{"prompt": "one"}\n', '[\n{"prompt": "one"}\n]', '"one"'):
        path.write_text(text)
        assert read_prompts(path) == ["one"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "broken', "expected JSON in line 2"),
        ('{"text": "no prompt"}', r"or \{\"messages\".* in line 2"),
        ('{"prompt": ""}', "line 2"),
        ('{"messages": [{"role": "user"}]}', "line 2"),
        ("17", "line 2"),
    ],
)
def test_a_line_that_is_no_prompt_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=message):
        read_prompts(path)


def test_an_empty_or_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    with pytest.raises(ConfigError, match="expected a file of prompts in"):
        read_prompts(path)
    path.write_text("\n\n")
    with pytest.raises(ConfigError, match="but it is empty"):
        read_prompts(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_prompts(path)


def test_everyday_prompts_come_along_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = AlignConfig("tiny", Path("everyday"))
    assert config_as_json(config)["prompts"] == "everyday"  # whatever holds prefrl later
    prompts = read_prompts(config.prompts)
    assert prompts == EVERYDAY.read_text().splitlines()
    assert len(set(prompts)) == len(prompts) == 96
    (tmp_path / "everyday").write_text("one of mine\n")
    assert read_prompts(config.prompts) == ["one of mine"]
    assert config_as_json(config)["prompts"] == str(tmp_path / "everyday")
