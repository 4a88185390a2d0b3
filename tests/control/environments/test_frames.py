import numpy as np
import pytest
from control.toys import Screen, screens
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.stacking import StackFrames, stack_frames

STAY = np.zeros(2, np.int64)


def test_packed_pictures_come_back_and_take_little_room(rng):
    moving = np.zeros((28, 1, 84, 84), np.uint8)
    for t in range(28):
        moving[t, 0, t : t + 8, 40:44] = 200
    packed = PackedFrames.pack(moving)
    back = packed.unpack()
    assert (back == moving).all()
    back[:] = 1  # of its own
    assert packed.nbytes < moving.nbytes / 50
    noise = rng.integers(256, size=(3, 3, 5, 5)).astype(np.uint8)
    assert (PackedFrames.pack(noise[::-1]).unpack() == noise[::-1]).all()


def test_stacks_are_those_of_stable_baselines():
    ours = StackFrames(screens(2, length=5, shape=(24, 24, 3)), 4)
    theirs = VecTransposeImage(VecFrameStack(screens(2, length=5, shape=(24, 24, 3)), 4))
    assert ours.observation_space == theirs.observation_space
    assert (ours.reset() == theirs.reset()).all()
    for _ in range(13):
        one, other = ours.step(STAY), theirs.step(STAY)
        assert (one[0] == other[0]).all()
        for mine, yours in zip(one[3], other[3], strict=True):
            assert ("terminal_observation" in mine) == ("terminal_observation" in yours)
            if "terminal_observation" in mine:
                assert (mine["terminal_observation"] == yours["terminal_observation"]).all()


def test_in_a_dict_only_the_picture_is_stacked():
    venv = StackFrames(screens(2, as_dict=True), 3)
    assert venv.observation_space["picture"].shape == (3, 8, 8)
    venv.reset()
    seen, *_ = venv.step(STAY)
    assert seen["picture"][0, :, 0, 0].tolist() == [0, 1, 2]
    assert seen["time"].tolist() == [[2], [2]]
    for _ in range(4):
        seen, _, dones, infos = venv.step(STAY)
    assert dones.all()
    assert infos[0]["terminal_observation"]["picture"][:, 0, 0].tolist() == [4, 5, 6]
    assert seen["picture"][0, :, 0, 0].tolist() == [0, 0, 1]


def test_a_history_goes_on_elsewhere():
    venv, again = StackFrames(screens(2), 3), StackFrames(screens(2), 3)
    venv.reset()
    for _ in range(3):
        seen, *_ = venv.step(STAY)
    raw = np.full((2, 8, 8, 1), 4, np.uint8)
    assert (again.go_back(venv.history.frames, raw) == seen).all()
    cut = again.go_back(venv.history.frames, raw, cut=[1])
    assert cut[:, :, 0, 0].tolist() == [[2, 3, 4], [0, 0, 4]]


def test_nothing_is_stacked_where_there_are_no_pictures():
    from control.toys import counters

    assert stack_frames(counters(), 4) is None


def test_pictures_are_recorded_once_with_those_before():
    venv = HideReward(screens(1, length=5))
    venv.record(4, n_before=3)
    venv.reset()
    told = []
    for _ in range(3):
        for _ in range(4):
            venv.step(STAY[:1])
        taken = venv.take()
        assert taken.frames.shape == (7, 1, 1, 8, 8)
        assert taken.observations.shape == (4, 1, 0)
        told.append(taken.frames[:, 0, 0, 0, 0].tolist())
    # Episodes show 1 to 5. What was before an episode is black where a rollout begins in it, and
    # told by ``dones`` within a rollout.
    assert told == [[0, 0, 0, 1, 2, 3, 4], [2, 3, 4, 5, 1, 2, 3], [1, 2, 3, 4, 5, 1, 2]]


def test_a_reset_between_two_rollouts_begins_with_nothing_before():
    venv = HideReward(screens(1, length=9))
    venv.record(4, n_before=3)
    venv.reset()
    for _ in range(4):
        venv.step(STAY[:1])
    venv.take()
    venv.reset()
    venv.step(STAY[:1])
    assert venv.take().frames[:, 0, 0, 0, 0].tolist() == [0, 0, 0, 1]


def test_the_pictures_before_survive_a_resume():
    venv = HideReward(screens(2, length=9))
    venv.record(4, n_before=3)
    venv.reset()
    for _ in range(4):
        venv.step(STAY)
    venv.take()
    state = venv.state_dict()
    again = HideReward(screens(2, length=9))
    again.load_state_dict(state)
    again.interrupt(1)
    again.record(4, n_before=3)
    again.see(np.full((2, 8, 8, 1), 5, np.uint8))
    again.venv.reset()
    again.step(STAY)
    assert again.take().frames[:, :, 0, 0, 0].T.tolist() == [[2, 3, 4, 5], [0, 0, 0, 5]]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (1, 8, 8), (8, 8, 3), (3, 8, 8)])
def test_pictures_in_all_orders_come_out_channels_first(shape):
    from prefrl.control.environments.spaces import layout_of

    env = Screen(shape=shape)
    layout = layout_of(env.observation_space)
    batch = np.stack([env.reset()[0]] * 2)
    numbers, pictures = layout.split(batch)
    assert numbers.shape == (2, 0)
    assert pictures.shape == (2, *layout.picture)
    assert layout.picture in {(1, 8, 8), (3, 8, 8)}


def test_what_cannot_be_read_is_said_before_work_starts():
    from prefrl.control.environments.spaces import layout_of
    from prefrl.errors import UnsupportedSpaceError

    picture = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    floats = spaces.Box(0, 1, (8, 8, 3), np.float32)
    for space, word in (
        (spaces.Dict({"a": picture, "b": picture}), "at most one picture"),
        (floats, "uint8"),
        (spaces.Discrete(100_000), "one-hot"),
        (spaces.Dict({"a": spaces.Text(3)}), "adapt_spaces"),
        (spaces.Box(0, 255, (40, 40, 40), np.uint8), "channels"),
    ):
        with pytest.raises(UnsupportedSpaceError, match=word):
            layout_of(space)
    ram = spaces.Box(0, 255, (128,), np.uint8)
    assert layout_of(ram).width == 128
