import dataclasses

import numpy as np
import pytest
from control.toys import assert_same_segments, rollout

from prefrl.control.segments import SegmentSampler
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint


def seen(cut):
    return [segment.observations[:, 0].tolist() for segment, _ in cut]


def test_segments_have_the_asked_length_and_follow_each_other():
    cut = SegmentSampler(3, 1).cut(rollout(7), env_steps=7)
    assert seen(cut) == [[0, 1, 2], [3, 4, 5]]
    segment, true_rewards = cut[0]
    assert len(segment) == 3
    assert segment.actions[:, 0].tolist() == [0, -1, -2]
    assert segment.states[:, 0].tolist() == [0, 1, 2]
    assert true_rewards.tolist() == [0, 1, 2]
    assert segment.env_steps == 7


def test_what_is_left_is_carried_into_the_next_rollout():
    sampler = SegmentSampler(3, 2)
    first = sampler.cut(rollout(4, 2), env_steps=8)
    assert seen(first) == [[0, 1, 2], [100, 101, 102]]
    second = sampler.cut(rollout(4, 2, start=4), env_steps=16)
    assert seen(second) == [[3, 4, 5], [103, 104, 105]]
    assert len({segment.id for segment, _ in first + second}) == 4


def test_rollouts_shorter_than_a_segment_are_joined():
    sampler = SegmentSampler(5, 1)
    cut = [sampler.cut(rollout(2, start=2 * i), env_steps=0) for i in range(5)]
    assert [seen(c) for c in cut] == [[], [], [[0, 1, 2, 3, 4]], [], [[5, 6, 7, 8, 9]]]


def test_no_segment_straddles_episodes():
    # Episodes are cut after steps 3 and 4: what is left of the first reaches back, and the second
    # lasts one step, which is too short for a segment.
    cut = SegmentSampler(3, 1).cut(rollout(9, ends=[(3, 0), (4, 0)]), env_steps=9)
    assert seen(cut) == [[0, 1, 2], [1, 2, 3], [5, 6, 7]]


def test_an_episode_end_at_the_rollouts_end_leaves_nothing_to_carry():
    sampler = SegmentSampler(3, 1)
    sampler.cut(rollout(4, ends=[(3, 0)]), env_steps=4)
    assert seen(sampler.cut(rollout(3, start=4), env_steps=7)) == [[4, 5, 6]]


def test_segments_do_not_keep_their_rollout_alive():
    whole = rollout(6)
    (segment, rewards), *_ = SegmentSampler(3, 1).cut(whole, env_steps=6)
    for array in (segment.observations, segment.actions, segment.states, rewards):
        assert not np.shares_memory(array, whole.observations)
        assert array.base is None or array.base.nbytes <= 2 * array.nbytes


def test_every_step_of_an_episode_as_long_as_a_segment_is_in_one(rng):
    sampler, steps, rows = SegmentSampler(7, 3), [], []
    for i in range(20):
        ends = [(t, n) for t in range(16) for n in range(3) if rng.random() < 0.05]
        ends += [(15, n) for n in range(3) if i == 19]  # all are over at last
        piece = rollout(16, 3, ends=ends, start=16 * i * 1000)
        rows.append((piece.observations[..., 0], piece.dones))
        for segment, _ in sampler.cut(piece, env_steps=0):
            steps += segment.observations[:, 0].tolist()
            assert (np.diff(segment.observations[:, 0]) >= 1).all()
    numbers, dones = (np.concatenate(part) for part in zip(*rows, strict=True))
    expected = set()
    for env in range(3):
        start = 0
        for end in np.flatnonzero(dones[:, env]) + 1:
            if end - start >= 7:
                expected |= set(numbers[start:end, env].tolist())
            start = end
    assert set(steps) == expected
    assert len(expected) < len(steps) < 2 * len(expected)  # some are in two


def test_ids_say_when_where_and_what():
    def ids(env_steps=4, n_envs=1, start=0):
        cut = SegmentSampler(2, n_envs).cut(rollout(4, n_envs, start=start), env_steps=env_steps)
        return [segment.id for segment, _ in cut]

    assert ids() == ids()
    assert len({*ids(), *ids(env_steps=5), *ids(start=1)}) == 6
    still = rollout(8, 2)
    still.observations[:], still.actions[:] = 0, 0  # the same content everywhere
    assert len({s.id for s, _ in SegmentSampler(2, 2).cut(still, env_steps=8)}) == 8


def test_a_sampler_goes_on_where_it_was():
    whole, first, second = SegmentSampler(5, 2), SegmentSampler(5, 2), SegmentSampler(5, 2)
    for sampler in (whole, first):
        sampler.cut(rollout(3, 2, ends=[(2, 0)]), env_steps=6)
        sampler.cut(rollout(3, 2, start=3), env_steps=12)
    second.load_state_dict(first.state_dict())
    expected = whole.cut(rollout(4, 2, start=6), env_steps=20)
    got = second.cut(rollout(4, 2, start=6), env_steps=20)
    assert [s.id for s, _ in got] == [s.id for s, _ in expected]
    assert seen(got) == seen(expected) == [[3, 4, 5, 6, 7], [105, 106, 107, 108, 109]]
    for (mine, rewards), (_, true) in zip(got, expected, strict=True):
        assert rewards.tolist() == true.tolist() == mine.states[:, 0].tolist()


def test_a_dropped_environment_begins_anew():
    sampler = SegmentSampler(3, 2)
    sampler.cut(rollout(2, 2), env_steps=4)
    sampler.drop(0)
    assert seen(sampler.cut(rollout(3, 2, start=2), env_steps=10)) == [[2, 3, 4], [100, 101, 102]]


def test_a_sampler_brought_back_cuts_what_it_would_have_cut(rng, tmp_path):
    through, cut = SegmentSampler(7, 3), []
    for i in range(12):
        ends = [(t, n) for t in range(5) for n in range(3) if rng.random() < 0.05]
        piece = rollout(5, 3, ends=ends, start=1000 * i)
        save_checkpoint(tmp_path, through.state_dict())
        again = SegmentSampler(7, 3)
        again.load_state_dict(load_checkpoint(tmp_path).state)
        cut.append(through.cut(piece, env_steps=i))
        assert_same_segments(again.cut(piece, env_steps=i), cut[-1])
    assert sum(map(len, cut)) > 10


def test_open_steps_of_an_episode_that_was_cut_can_be_dropped():
    sampler = SegmentSampler(3, 2)
    sampler.cut(rollout(2, 2), env_steps=4)
    sampler.drop(0)
    assert seen(sampler.cut(rollout(2, 2, start=2), env_steps=8)) == [[100, 101, 102]]


def starts(cut):
    return [segment.episode_step for segment, _ in cut]


def test_segments_know_how_far_into_their_episode_they_start(tmp_path):
    sampler = SegmentSampler(3, 2)
    # The first environment's episode ends at its step 4, the second one's goes on.
    assert starts(sampler.cut(rollout(7, 2, ends=[(4, 0)]), env_steps=14)) == [0, 2, 0, 3]
    save_checkpoint(tmp_path, sampler.state_dict())
    again = SegmentSampler(3, 2)
    again.load_state_dict(load_checkpoint(tmp_path).state)
    for goes_on in (sampler, again):
        cut = goes_on.cut(rollout(7, 2, start=7), env_steps=28)
        assert seen(cut) == [[5, 6, 7], [8, 9, 10], [11, 12, 13], [106, 107, 108], [109, 110, 111]]
        assert starts(cut) == [0, 3, 6, 6, 9]


def test_where_an_episode_was_cut_the_next_one_begins():
    sampler = SegmentSampler(2, 1)
    sampler.cut(rollout(3), env_steps=3)
    sampler.drop(0)
    assert starts(sampler.cut(rollout(4, start=3), env_steps=7)) == [0, 2]


def ending(n_steps, *, at, length=4, start=0):
    """Segments of a rollout of one environment that ends the episode at a step."""
    piece = rollout(n_steps, ends=[(at, 0)], start=start)
    after = piece.observations + 0.5
    piece = dataclasses.replace(
        piece, ended=piece.dones, next_observations=after, final_states=after.astype(float)
    )
    return SegmentSampler(length, 1).cut(piece, env_steps=n_steps)


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (5, [[0, 1, 2, 3], [4, 5, 5.5, 5.5]]),  # two steps are left: the others are held
        (4, [[0, 1, 2, 3], [3, 4, 4.5, 4.5]]),  # one is left: at most half are held
        (6, [[0, 1, 2, 3], [4, 5, 6, 6.5]]),
        (7, [[0, 1, 2, 3], [5, 6, 7, 7.5]]),  # it always is shown that it ended
        (3, [[1, 2, 3, 3.5]]),
        (1, [[0, 1, 1.5, 1.5]]),
        (0, [[0, 0.5, 0.5, 0.5]]),  # an episode shorter than half of a segment
    ],
)
def test_an_ending_is_in_a_segment_which_goes_on_when_all_is_over(at, shown):
    cut = ending(at + 1, at=at)
    assert seen(cut) == shown
    (segment, true_rewards) = cut[-1]
    n_held = sum(number % 1 > 0 for number in shown[-1])
    assert (segment.n_held, segment.n_real, len(segment)) == (n_held, 4 - n_held, 4)
    assert segment.ended.tolist() == [step == 3 - n_held for step in range(4)]
    assert segment.next_observations[-n_held - 1 :, 0].tolist() == [at + 0.5] * (n_held + 1)
    assert segment.states[-n_held:, 0].tolist() == [at + 0.5] * n_held
    assert segment.actions[-n_held:, 0].tolist() == true_rewards[-n_held:].tolist() == [0] * n_held
    assert all(not other.n_held and not other.ended.any() for other, _ in cut[:-1])


def test_after_an_ending_the_next_episode_begins():
    cut = ending(10, at=4)
    assert seen(cut)[2:] == [[5, 6, 7, 8]]
    assert starts(cut) == [0, 3, 0]


def test_a_time_limit_is_no_ending():
    cut = SegmentSampler(4, 1).cut(rollout(6, ends=[(5, 0)]), env_steps=6)
    assert seen(cut) == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert not any(segment.n_held for segment, _ in cut)


def test_of_pictures_the_last_one_is_held():
    frames = np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1, 1, 1)  # one of the step before
    piece = dataclasses.replace(rollout(4, ends=[(3, 0)]), frames=frames)
    piece = dataclasses.replace(piece, ended=piece.dones)
    ((segment, _),) = SegmentSampler(6, 1).cut(piece, env_steps=4)
    assert segment.frames.unpack().ravel().tolist() == [1, 2, 3, 4, 5, 5, 5]


def test_when_all_is_over_nothing_happens_any_more():
    (_, (segment, _)) = ending(5, at=4)
    over = segment.when_over()
    assert over.is_over
    assert not segment.is_over
    assert over.id != segment.id
    assert (len(over), over.n_real, over.ended.any()) == (4, 0, False)
    for part in (over.observations, over.next_observations, over.states):
        assert part[:, 0].tolist() == [4.5] * 4
    assert not over.actions.any()
