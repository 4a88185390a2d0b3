import pytest

from prefrl.control.queries import QueryConfig
from prefrl.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_open": 0}, "max_open must be at least 1,"),
        ({"ranked": 4, "max_open": 5}, "max_open must be at least 6,"),
        ({"ranked": 1}, "2 <= ranked <= warmup_segments"),
    ],
)
def test_what_could_never_ask_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        QueryConfig(**changes)


def test_room_for_one_ranking_is_enough():
    assert QueryConfig(ranked=4, max_open=6).max_open == 6
