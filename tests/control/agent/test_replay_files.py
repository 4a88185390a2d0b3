"""A replay buffer on disk: whole, written once, and as long as a checkpoint needs it."""

import numpy as np
import pytest
from gymnasium import spaces

from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.agent.replay_files import ReplayFiles

BOX = spaces.Box(-1, 1, (2,), np.float32)
DICT = spaces.Dict({"a": BOX, "b": spaces.Box(0, 255, (3, 3, 1), np.uint8)})


def buffer(space=BOX, size=20, n_envs=2):
    return RelabelledReplayBuffer(size * n_envs, space, BOX, n_envs=n_envs)


def add(to, n):
    """n steps, each of which tells its number."""
    for step in range(to.n_added, to.n_added + n):
        seen = np.full((to.n_envs, 2), step, np.float32)
        if isinstance(to.observation_space, spaces.Dict):
            seen = {"a": seen, "b": np.full((to.n_envs, 3, 3, 1), step, np.uint8)}
        infos = [{"TimeLimit.truncated": step % 3 == 0}] * to.n_envs
        numbers = np.full(to.n_envs, step)
        to.add(seen, seen, np.full((to.n_envs, 2), -step), numbers, numbers % 2, infos)


def content(of):
    parts = (of.observations, of.next_observations, of.actions, of.rewards, of.dones, of.timeouts)
    flat = [list(part.values()) if isinstance(part, dict) else [part] for part in parts]
    return [array[: of.size()].tolist() for arrays in flat for array in arrays]


def read_back(folder, told, space=BOX):
    made = buffer(space)
    ReplayFiles(folder, made).load(told)
    return made


@pytest.mark.parametrize("space", [BOX, DICT], ids=["box", "dict"])
@pytest.mark.parametrize("counts", [[7], [7, 5], [15, 15], [7, 50, 3]], ids=str)
def test_what_is_read_back_is_what_was_there(tmp_path, space, counts):
    written = buffer(space)
    files = ReplayFiles(tmp_path, written)
    for n in counts:
        add(written, n)
        told = files.save()
    made = read_back(tmp_path, told, space)
    assert (made.pos, made.full, made.n_added) == (written.pos, written.full, sum(counts))
    assert content(made) == content(written)


def test_each_step_is_written_once(tmp_path):
    written = buffer()
    files = ReplayFiles(tmp_path, written)
    sizes = {}
    for _ in range(4):
        add(written, 4)
        files.save()
        files.tidy()
        now = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert sizes.items() <= now.items()
        assert len(now) == len(sizes) + 1
        sizes = now
    assert files.save()["files"] == files.save()["files"]  # nothing is new
    assert len(list(tmp_path.iterdir())) == 4


def test_the_two_newest_checkpoints_can_be_read_and_the_rest_goes(tmp_path):
    written = buffer()
    files = ReplayFiles(tmp_path, written)
    told = []
    for _ in range(8):
        add(written, 10)
        told.append((files.save(), content(written)))
        files.tidy()
        for one, expected in told[-2:]:
            assert content(read_back(tmp_path, one)) == expected
    assert len(list(tmp_path.iterdir())) == 3  # 20 steps of either


def test_a_new_process_goes_on_where_the_checkpoint_was(tmp_path):
    first = buffer()
    files = ReplayFiles(tmp_path, first)
    add(first, 12)
    told = files.save()
    add(first, 5)
    files.save()  # of a checkpoint that was never written

    second = buffer()
    files = ReplayFiles(tmp_path, second)
    files.load(told)
    add(second, 9)
    again = files.save()
    assert [(file["start"], file["stop"]) for file in again["files"]] == [(0, 12), (12, 21)]
    assert content(read_back(tmp_path, again)) == content(second)


def test_a_damaged_file_costs_what_is_before_it_and_says_so(tmp_path, caplog):
    written = buffer()
    files = ReplayFiles(tmp_path, written)
    for _ in range(3):
        add(written, 5)
        told = files.save()
    damaged = tmp_path / told["files"][1]["name"]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    made = read_back(tmp_path, told)
    assert "IS DAMAGED: the agent continues without the steps before 10" in caplog.text
    assert (made.size(), made.pos, made.full) == (5, 5, False)
    assert made.rewards[:5, 0].tolist() == [10, 11, 12, 13, 14]
    # And what is left is written anew, under names of its own.
    files = ReplayFiles(tmp_path, made)
    add(made, 2)
    assert content(read_back(tmp_path, files.save())) == content(made)


def test_a_file_that_is_gone_is_damaged(tmp_path, caplog):
    written = buffer()
    files = ReplayFiles(tmp_path, written)
    add(written, 5)
    told = files.save()
    (tmp_path / told["files"][0]["name"]).unlink()
    assert read_back(tmp_path, told).size() == 0
    assert "IS DAMAGED" in caplog.text
