import json

import pytest

from prefrl.errors import ConfigError
from prefrl.runtime.own.texts import Text, read_texts


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_texts(path)


def test_lines_of_json_tables_and_plain_lines(tmp_path):
    both = [Text("1", "", "Grüße"), Text("zwei", "Sag Hallo.", "Hallo,\n\nWelt")]
    rows = ["Grüße", {"name": "zwei", "prompt": "Sag Hallo.", "response": "Hallo,\n\nWelt"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert read(tmp_path / "a.jsonl", lines) == both
    assert read(tmp_path / "a.jsonl", "\ufeff" + lines.replace("\n", "\r\n")) == both
    table = 'Name,Prompt,Text\n1,,Grüße\nzwei,Sag Hallo.,"Hallo,\n\nWelt"\n'
    assert read(tmp_path / "a.csv", table) == both
    tabs = "text\tname\nGrüße\t1\nWelt\tzwei\n"
    assert [t.text for t in read(tmp_path / "a.tsv", tabs)] == ["Grüße", "Welt"]
    no_name = read(tmp_path / "a.csv", "text,name\none\ntwo\n")
    assert [text.name for text in no_name] == ["2", "3"]
    plain = read(tmp_path / "a.txt", "one\n\n  two \nthree")
    assert plain == [Text("1", "", "one"), Text("3", "", "two"), Text("4", "", "three")]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", "", "found none"),
        ("a.txt", "one\n", "found 1"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.txt", "one\n" + "x" * 60_000, r"line 2 of .* has 60,000"),
        ("a.txt", "one\ntw\0o", "line 2 .* damaged"),
        ("a.jsonl", '{"text": "one"}\n{"tex', r"JSON in line 2"),
        ("a.jsonl", "[" * 100_000, r"JSON in line 1"),
        ("a.jsonl", '"one"\n{"words": "two"}\n', r'"text".* in line 2 of .*, got'),
        ("a.jsonl", '"one"\n{"text": 2}\n', r'"text".* in line 2'),
        ("a.jsonl", '"one"\n{"text": "\\ud800"}\n', "line 2 .* damaged"),
        ("a.jsonl", '{"name": "x", "text": "1"}\n{"name": "x", "text": "2"}\n', "'x' comes twice"),
        ("a.csv", "words\none\ntwo\n", '"text"'),
        ("a.csv", "text\n" + "x" * 60_000 + "\nb\n", "50,000"),
    ],
)
def test_rubbish_gets_one_sentence(tmp_path, name, content, why):
    with pytest.raises(ConfigError, match=why) as refused:
        read(tmp_path / name, content)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_places_that_are_no_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        read_texts(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_texts(tmp_path / "none.txt")
