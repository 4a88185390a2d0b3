"""What a judge can be told, how its answers are read, and how it is called."""

from dataclasses import replace

import pytest

from prefrl.errors import ConfigError
from prefrl.runtime.judge.asking import read_answer
from prefrl.runtime.judge.config import JudgeConfig, judge_name, task_for

pytest.importorskip("openai")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000/v1", "model": "m"}, "judge.url to be an address"),
        ({"url": "http://me:pass@host/v1", "model": "m"}, "without a user name"),
        ({"url": "http://host/v1?key=1", "model": "m"}, "without a user name"),
        ({"url": "http://host/v1"}, "judge.url and judge.model together"),
        ({"url": "http://h/v1", "model": "m", "local": "tiny"}, "got both"),
        ({"max_calls": 0}, "judge.max_calls to be at least 1"),
        ({"timeout": 0}, "judge.timeout above 0"),
    ],
)
def test_settings_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        JudgeConfig(**options)


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_repeated():
    for key in ("sk-very-secret", "", "MY KEY", "KEY\n"):
        with pytest.raises(ConfigError, match="the name of an environment variable") as told:
            JudgeConfig(url="http://h/v1", model="m", key_from=key)
        assert "secret" not in str(told.value)
    assert JudgeConfig(key_from="_MY_KEY2").key_from == "_MY_KEY2"


def test_a_judge_and_oracle_ai_go_together(tmp_path):
    with pytest.raises(ConfigError, match="expected a judge with oracle ai"):
        JudgeConfig().check_for("ai")
    judge = JudgeConfig(url="http://h/v1", model="m")
    with pytest.raises(ConfigError, match="expected oracle ai with a judge"):
        judge.check_for("human")
    with pytest.raises(ConfigError, match="expected a rubric in UTF-8"):
        task_for(replace(judge, rubric=str(tmp_path / "no")), "responses", None)
    (tmp_path / "rubric.txt").write_text("Short is good.", encoding="utf-8-sig")
    task = task_for(replace(judge, rubric=str(tmp_path / "rubric.txt")), "clips", None)
    assert task.rubric == "Short is good."
    with pytest.raises(ConfigError, match=r"expected --goal or --judge\.rubric"):
        task_for(judge, "clips", None)


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ('{"reason": "x", "answer": "A"}', "first"),
        ('```json\n{"answer": "b"}\n```', "second"),
        ('<think>{"answer": "A"} perhaps</think>\n{"answer": "Tie"}', "tie"),
        ('Sure: {"reason": "a {b} c", "answer": "B"} there', "second"),
        ('{"answer": null}', None),
        ("{" * 100_000, None),
        (None, None),
    ],
)
def test_how_answers_are_read(text, better):
    said = read_answer(text)
    assert (said.better if said else None) == better


def test_names_can_be_stored():
    assert (
        judge_name(JudgeConfig(url="http://h/v1", model="Qwen/Qwen3 8B\n")) == "ai:Qwen/Qwen3-8B-"
    )
    assert judge_name(JudgeConfig(local="/models/tiny")) == "ai:tiny"
