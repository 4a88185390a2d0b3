"""The newest segments and a sample of all, and how candidates are drawn from both."""

import dataclasses

import numpy as np
import pytest
from control.toys import assert_same_segments, rollout

from prefrl.control.pool import SegmentPool, SegmentReservoir
from prefrl.control.queries import QueryConfig, segment_pool
from prefrl.control.segments import Segment, SegmentSampler
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint


def segments(n, *, start=0, n_steps=2, episode_step=None):
    """They tell their number, and are rewarded with it."""
    for number in range(start, start + n):
        told = np.full((n_steps, 1), number, np.float32)
        states = told.astype(np.float64)
        yield Segment(f"s{number}", told, told, states, episode_step=episode_step), states[:, 0]


def filled(pool, added):
    for segment, rewards in added:
        pool.add(segment, rewards)
    return pool


def numbers(kept):
    return [int(segment.observations[0, 0]) for segment in kept]


def test_the_pool_keeps_the_newest():
    pool = SegmentPool(3)
    cut = SegmentSampler(2, 1).cut(rollout(10), env_steps=10)
    for segment, rewards in cut:
        pool.add(segment, rewards)
    assert [s.observations[0, 0] for s in pool.recent(3)] == [4, 6, 8]
    assert pool.true_rewards(cut[4][0]).tolist() == [8, 9]
    with pytest.raises(KeyError):
        pool.true_rewards(cut[1][0])


def test_random_pairs_differ_and_are_new(rng):
    pool = SegmentPool(10)
    for segment, rewards in SegmentSampler(2, 1).cut(rollout(8), env_steps=8):
        pool.add(segment, rewards)
    asked = {frozenset((pool[0].id, pool[1].id))}
    keys = set()
    for _ in range(20):
        pairs = pool.random_candidates(50, 2, asked, rng)
        new = {frozenset((left.id, right.id)) for left, right in pairs}
        assert len(new) == len(pairs)
        keys |= new
    assert all(len(key) == 2 for key in keys)
    assert len(keys) == 4 * 3 // 2 - 1
    assert not keys & asked


@pytest.mark.parametrize("n_segments", [0, 3, 5])
def test_a_pool_comes_back_as_it_was(n_segments):
    pool, again = SegmentPool(4), SegmentPool(4)
    for segment, rewards in SegmentSampler(2, 1).cut(rollout(2 * n_segments), env_steps=9):
        pool.add(segment, rewards)
    again.load_state_dict(pool.state_dict())
    assert len(again) == len(pool)
    for mine, theirs in zip(again.recent(4), pool.recent(4), strict=True):
        assert (mine.id, mine.env_steps) == (theirs.id, theirs.env_steps)
        for name in ("observations", "actions", "states"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        np.testing.assert_array_equal(again.true_rewards(mine), pool.true_rewards(theirs))


@pytest.mark.parametrize("size", [0, 3, 10])
def test_a_pool_comes_back_in_order_with_its_true_rewards(size, tmp_path):
    pool, again = SegmentPool(4), SegmentPool(4)
    for segment, rewards in SegmentSampler(2, 1).cut(rollout(2 * size), env_steps=7):
        pool.add(segment, rewards)
    save_checkpoint(tmp_path, pool.state_dict())
    again.load_state_dict(load_checkpoint(tmp_path).state)
    assert len(again) == len(pool) == min(size, 4)
    both = [[(s, p.true_rewards(s)) for s in p.recent(4)] for p in (pool, again)]
    assert_same_segments(*both)
    for segment, rewards in both[1]:  # none keeps all others alive
        assert segment.observations.base is None
        assert rewards.base is None


def test_each_segment_is_as_likely_as_any_other_to_stay(rng):
    """Of 100 segments 20 stay: how often each does in 2,000 trials, against chance."""
    n_trials, n, size = 2000, 100, 20
    counts = np.zeros(n)
    for _ in range(n_trials):
        kept = SegmentReservoir(size, max_bytes=2**20, rng=rng)
        stayed = numbers(filled(kept, segments(n)).segments)
        assert len(stayed) == len(set(stayed)) == size
        counts[stayed] += 1
    share = size / n
    # Chosen without replacement: the statistic has n - 1 degrees of freedom.
    statistic = ((counts - n_trials * share) ** 2).sum() / (n_trials * share * (1 - share))
    statistic *= (n - 1) / n
    assert 60 < statistic < 150  # the 0.1 % and 99.9 % quantiles are 60.2 and 149


def test_where_bytes_are_the_bound_the_sample_is_uniform_too(rng):
    """Segments of one size in bytes, room for ten; the first half as likely as the second."""
    each = next(segments(1))[0].nbytes
    halves = np.zeros(2)
    for _ in range(1000):
        kept = SegmentReservoir(1000, max_bytes=10 * each, rng=rng)
        stayed = np.array(numbers(filled(kept, segments(60)).segments))
        assert len(stayed) == 10
        halves += [(stayed < 30).sum(), (stayed >= 30).sum()]
    # The standard deviation of each half is below sqrt(10,000 / 4) = 50.
    assert abs(halves[0] - 5000) < 150


def test_at_least_two_segments_stay_however_large_they_are(rng):
    kept = SegmentReservoir(1000, max_bytes=1, rng=rng)
    assert len(filled(kept, segments(30))) == 2


def test_a_history_comes_back_as_it_was_and_goes_on_the_same_way(tmp_path):
    config = QueryConfig(history_share=0.5, warmup_segments=4, pool_size=4)
    rng, other = np.random.default_rng(3), np.random.default_rng(0)
    pool, again = segment_pool(config, rng), segment_pool(config, other)
    filled(pool, segments(50))
    save_checkpoint(tmp_path, pool.state_dict())
    again.load_state_dict(load_checkpoint(tmp_path).state)
    other.bit_generator.state = rng.bit_generator.state
    for goes_on in (pool, again):
        filled(goes_on, segments(100, start=50))
    drawn = [
        p.random_candidates(20, 2, set(), r, history_share=0.5)
        for p, r in ((pool, rng), (again, other))
    ]
    rewarded = [
        [(segment, p.true_rewards(segment)) for pair in pairs for segment in pair]
        for p, pairs in zip((pool, again), drawn, strict=True)
    ]
    assert_same_segments(*rewarded)
    assert any(number < 146 for number in numbers(s for s, _ in rewarded[0]))


def test_a_share_of_the_candidates_is_from_the_history_with_its_true_rewards(rng):
    config = QueryConfig(history_share=0.3, warmup_segments=10, pool_size=10)
    pool = filled(segment_pool(config, rng), segments(1000))
    found = pool.random_candidates(20, 2, set(), rng, history_share=0.3)
    assert len(found) == 20
    newest = [min(numbers(pair)) >= 990 for pair in found]
    assert newest[:14] == [True] * 14
    assert not any(newest[14:])
    for pair in found:
        for segment in pair:
            assert pool.true_rewards(segment).tolist() == numbers([segment]) * 2


def test_no_pair_is_drawn_from_both_the_history_and_the_newest(rng):
    """While there are few segments, both hold the same."""
    config = QueryConfig(history_share=0.5, warmup_segments=4, pool_size=4)
    pool = filled(segment_pool(config, rng), segments(4))
    for _ in range(30):
        found = pool.random_candidates(6, 2, set(), rng, history_share=0.5)
        assert len({frozenset(numbers(pair)) for pair in found}) == len(found)


def test_without_a_share_of_the_history_no_random_number_is_drawn_for_it(rng):
    before = rng.bit_generator.state
    filled(segment_pool(QueryConfig(), rng), segments(100))
    assert rng.bit_generator.state == before


def test_history_and_newest_have_half_of_the_bytes_each(rng):
    each = next(segments(1))[0].nbytes
    config = QueryConfig(history_share=0.1, pool_bytes=40 * each)
    pool = filled(segment_pool(config, rng), segments(200))
    assert len(pool) == 20
    found = pool.random_candidates(3000, 2, set(), rng, history_share=1.0)
    assert len({number for pair in found for number in numbers(pair)} - {*range(180, 200)}) <= 20


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_segments_starts_early(rng, share):
    pool = filled(SegmentPool(1000), segments(900, n_steps=5, episode_step=10))
    filled(pool, segments(100, start=900, n_steps=5, episode_step=9))
    found = pool.random_candidates(400, 2, set(), rng, early_share=share)
    early = [number >= 900 for pair in found for number in numbers(pair)]
    # What is drawn among all is early in one of ten cases.
    expected = share + (1 - share) * 0.1
    assert abs(np.mean(early) - expected) < 3 * np.sqrt(0.25 / len(early))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.1), (0.05, 0.1), (0.5, 0.5), (1.0, 1.0)])
def test_at_least_a_share_of_the_segments_shows_an_ending(rng, share, expected):
    pool = SegmentPool(1000)
    for number, (one, true_rewards) in enumerate(segments(1000)):
        pool.add(dataclasses.replace(one, n_held=int(number % 10 == 0)), true_rewards)
    found = pool.random_candidates(400, 2, set(), rng, ending_share=share)
    ends = [one.n_held for pair in found for one in pair]
    assert abs(np.mean(ends) - expected) < 3 * np.sqrt(0.25 / len(ends))


@pytest.mark.parametrize("size", [2, 3])
def test_in_a_share_of_the_candidates_one_side_is_that_all_is_over(rng, size):
    pool = SegmentPool(1000)
    for number, (one, true_rewards) in enumerate(segments(1000)):
        pool.add(dataclasses.replace(one, n_held=int(number % 10 == 0)), true_rewards)
    found = pool.random_candidates(400, size, set(), rng, over_share=0.25)
    over = np.array([[one.is_over for one in candidate] for candidate in found])
    assert over.sum(1).max() == 1
    assert abs(over.any(1).mean() - 0.25) < 3 * np.sqrt(0.25 * 0.75 / 400)
    assert (over.sum(0) > 10).all()  # on each side
    shown = next(one for candidate in found for one in candidate if one.is_over)
    assert pool.true_rewards(shown).tolist() == [0, 0]
    assert int(shown.observations[0, 0]) % 10 == 0  # what comes after an ending


def test_a_segment_is_compared_with_what_is_over_only_once(rng):
    """Whatever is over is worth the same: a second answer would say nothing new."""
    pool = SegmentPool(20)
    for number, (one, true_rewards) in enumerate(segments(20)):
        pool.add(dataclasses.replace(one, n_held=number % 2), true_rewards)
    asked = set()
    for _ in range(30):
        for pair in pool.random_candidates(20, 2, asked, rng, over_share=0.9):
            asked.add(frozenset(one.id for one in pair))
    against = [min(pair, key=len) for pair in map(tuple, asked) if any("over" in i for i in pair)]
    assert sorted(against) == sorted(set(against))
    assert len(against) == 20


def test_where_nothing_ends_nothing_is_over(rng):
    pool = filled(SegmentPool(100), segments(100))
    before = np.random.default_rng(3), np.random.default_rng(3)
    plain = pool.random_candidates(20, 2, set(), before[0])
    shares = {"ending_share": 0.5, "over_share": 0.5}
    assert pool.random_candidates(20, 2, set(), before[1], **shares) == plain


def test_where_no_segment_is_known_to_start_early_all_are_drawn_from(rng):
    pool = filled(SegmentPool(100), segments(100))
    assert len(pool.random_candidates(20, 2, set(), rng, early_share=1.0)) == 20
