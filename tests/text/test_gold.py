import pytest

from prefrl.errors import ConfigError
from prefrl.text.gold import load_gold


def gold_in(tmp_path, code):
    (tmp_path / "gold.py").write_text(code)
    return f"{tmp_path / 'gold.py'}:score"


def test_a_function_in_a_file_or_a_module_gives_numbers(tmp_path):
    assert load_gold(gold_in(tmp_path, "def score(text): return len(text) / 2"))("abc") == 1.5
    assert load_gold("builtins:len")("abc") == 3


def test_a_file_may_hold_what_looks_its_own_module_up(tmp_path):
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Weight:\n"
        "    each: float = 2\n"
        "def score(text: str) -> float:\n"
        "    return Weight().each * len(text)\n"
    )
    assert load_gold(gold_in(tmp_path, code))("abc") == 6


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def other(text): return 1", "a function 'score' in .*gold.py, but AttributeError"),
        ("score = ", "a function 'score' in .*gold.py, but SyntaxError"),
        ("score = 1 / 0", "but ZeroDivisionError: division by zero; it takes the text"),
        ("score = 3", "expected 'score' in .*gold.py to be a function, got 3"),
        ("def score(text): return None", "a number from .*gold.py:score .*, but TypeError"),
        ("def score(text): return [][0]", "a number from .* but IndexError: list index out of"),
        ("def score(text): return float('nan')", "expected a finite number from .*, got nan"),
    ],
)
def test_what_gives_no_number_is_refused_in_one_sentence(tmp_path, code, message):
    with pytest.raises(ConfigError, match=message):
        load_gold(gold_in(tmp_path, code))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        load_gold(f"{tmp_path}/gold.py:score")
    with pytest.raises(ConfigError, match="'score' in no_such_module, but ModuleNotFoundError"):
        load_gold("no_such_module:score")
    with pytest.raises(ConfigError, match=r"FILE.py:FUNCTION or MODULE:FUNCTION, got 'score'"):
        load_gold("score")


def test_a_text_on_which_the_function_breaks_is_named(tmp_path):
    gold = load_gold(gold_in(tmp_path, "def score(text): return 1 / len(text)"))
    with pytest.raises(ConfigError, match="for '', but ZeroDivisionError"):
        gold("")
