import numpy as np
from control.toys import assert_same_segments, rollout

from prefrl.control.segments import SegmentSampler
from prefrl.runtime.checkpoint import load_checkpoint, save_checkpoint


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
    # Episodes end after steps 3 and 4: the second lasts one step.
    cut = SegmentSampler(3, 1).cut(rollout(9, ends=[(3, 0), (4, 0)]), env_steps=9)
    assert seen(cut) == [[0, 1, 2], [5, 6, 7]]


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


def test_every_step_is_in_at_most_one_segment(rng):
    sampler = SegmentSampler(7, 3)
    steps = []
    for i in range(20):
        ends = [(t, n) for t in range(16) for n in range(3) if rng.random() < 0.05]
        for segment, _ in sampler.cut(rollout(16, 3, ends=ends, start=16 * i * 1000), env_steps=0):
            steps += segment.observations[:, 0].tolist()
            assert (np.diff(segment.observations[:, 0]) >= 1).all()
    assert len(steps) == len(set(steps)) > 300


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
    assert starts(sampler.cut(rollout(7, 2, ends=[(4, 0)]), env_steps=14)) == [0, 0, 3]
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


def test_of_checkpoints_before_steps_were_counted_they_are_known_from_the_next_episode_on():
    sampler = SegmentSampler(2, 1)
    sampler.load_state_dict({"open": [None]})
    assert starts(sampler.cut(rollout(5, ends=[(2, 0)]), env_steps=5)) == [None, 0]
