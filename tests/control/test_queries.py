import numpy as np
import pytest

from prefrl.control.items import Items, Truth
from prefrl.control.pool import SegmentPool
from prefrl.control.queries import QueryConfig, SegmentSource
from prefrl.control.segments import Segment
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_open": 0}, "max_open must be at least 1,"),
        ({"ranked": 4, "max_open": 5}, "max_open must be at least 6,"),
        ({"ranked": 1}, "2 <= ranked <= warmup_segments"),
        ({"history_share": 1.1}, r"history_share is a share in \[0, 1\], got 1.1"),
        ({"early_share": float("nan")}, r"early_share is a share in \[0, 1\], got nan"),
    ],
)
def test_what_could_never_work_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        QueryConfig(**changes)


def test_room_for_one_ranking_is_enough():
    assert QueryConfig(ranked=4, max_open=6).max_open == 6


def segment(number, slow, fast):
    """Two steps of two numbers, of which the second is measured in large units."""
    seen = np.array([[slow, 100.0 * fast], [slow, 100.0 * fast]], np.float32)
    return Segment(f"s{number}", seen, np.zeros((2, 1), np.float32))


@pytest.mark.parametrize(("standardize", "expected"), [(False, [0, 2]), (True, [0, 1])])
def test_features_can_be_told_on_one_scale(standardize, expected, rng):
    """The second pair is far off in slow numbers, the third a little in fast ones."""
    shown = [segment(0, 0, 0), segment(1, 9, 0), segment(2, 0, 1)]
    pool = SegmentPool(100)
    for number, (slow, fast) in enumerate(rng.normal(size=(90, 2))):
        pool.add(segment(100 + number, slow, fast), np.zeros(2))
    config = QueryConfig(selection="k_center", standardize_features=standardize)
    source = SegmentSource(pool, Items(None), config)
    features = source.features([(one, shown[0]) for one in shown])
    assert features.shape == (3, 8)
    distances = np.square(features - features[0]).sum(1)
    assert [0, int(np.argmax(distances))] == expected
    if not standardize:
        np.testing.assert_array_equal(features[2], [0, 100, 0, 100, 0, 0, 0, 0])


def test_a_number_that_never_changes_is_left_as_it_is():
    pool = SegmentPool(10)
    pool.add(segment(0, 3, 0), np.zeros(2))
    source = SegmentSource(pool, Items(None), QueryConfig(standardize_features=True))
    assert source.features([(pool[0],)]).tolist() == [[3, 0, 3, 0]]


@pytest.mark.parametrize("start", [0, 150, None])
def test_files_of_segments_say_how_far_into_their_episode_they_start(tmp_path, start):
    run = RunDirectory.create(tmp_path / "run")
    nothing = np.zeros((2, 1), np.float32)
    kept = Segment("s1", nothing, nothing, episode_step=start)
    Items(run).keep([(kept, Truth(np.zeros(2)))])
    assert Items(run)["s1"].episode_step == start
    with np.load(run.items / "s1.npz") as content:  # as files of earlier releases
        assert ("episode_step" in content) == (start is not None)
