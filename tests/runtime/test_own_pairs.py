from collections import Counter

import numpy as np
import pytest

from prefrl.core.bradley_terry import groups_of
from prefrl.errors import ConfigError
from prefrl.runtime.own.drawing import draw_pairs, named_pairs


def uses(pairs):
    return Counter(item for pair in pairs for item in pair)


@pytest.mark.parametrize("n_items", [2, 3, 4, 7, 12, 25])
def test_each_item_comes_equally_often_from_the_first_pair_on(n_items):
    items = [f"i{i}" for i in range(n_items)]
    rng = np.random.default_rng(n_items)
    whole = draw_pairs([items], 10_000, rng)
    assert len({frozenset(pair) for pair in whole}) == len(whole) == n_items * (n_items - 1) // 2
    for n in range(1, len(whole) + 1):
        used = uses(whole[:n])
        assert max(used.values()) - min(used[item] for item in items) <= 2
        if n >= n_items:
            assert len(groups_of(whole[:n])) == 1


def test_groups_take_turns():
    groups = [[f"a{i}" for i in range(10)], ["b0", "b1"], ["c0"], [f"d{i}" for i in range(4)]]
    pairs = draw_pairs(groups, 16, np.random.default_rng(0))
    assert all(left[0] == right[0] for left, right in pairs)
    assert Counter(left[0] for left, _ in pairs) == {"a": 11, "b": 1, "d": 4}  # b has one pair
    assert "c0" not in uses(pairs)


def test_draws_differ_with_the_seed_and_the_default_is_enough():
    items = [f"i{i}" for i in range(60)]
    first, again, other = (draw_pairs([items], None, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == again != other
    assert len(first) == 180
    assert len(draw_pairs([items[:20]], None, np.random.default_rng(0))) == 100
    with pytest.raises(ConfigError, match="at least 1 pair"):
        draw_pairs([items], 0, np.random.default_rng(0))


def test_a_table_names_the_pairs(tmp_path):
    table = tmp_path / "pairs.csv"
    names = {"a.mp4": "a.mp4", "a": "a.mp4", "Über, uns.mp4": "Über, uns.mp4", "c.mp4": "c.mp4"}
    groups = [["a.mp4", "Über, uns.mp4"], ["c.mp4"]]
    table.write_text('\ufeffone,other\r\na,"Über, uns.mp4"\n\n"Über, uns.mp4",a.mp4\n')
    assert named_pairs(table, names, groups) == [("a.mp4", "Über, uns.mp4")]
    for content, why in [
        ("one,two\n", "found none"),
        ("one,other\na,nobody\n", r"nothing is called 'nobody'"),
        ("a,a.mp4\n", "they are the same"),
        ("a,c.mp4\n", "their prompts differ"),
        ("a,a,a\n", "it has 3"),
        ("", "found none"),
        ("x" * 200_000 + "\n", "field larger"),
    ]:
        table.write_text(content)
        with pytest.raises(ConfigError, match=why):
            named_pairs(table, names, groups)
    with pytest.raises(ConfigError, match="No such file"):
        named_pairs(tmp_path / "none.csv", names, groups)
