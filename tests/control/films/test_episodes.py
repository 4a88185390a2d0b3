"""Episodes that are played again for films: they show what happened, or are refused."""

import dataclasses
import json
import os
import signal

import gymnasium as gym
import numpy as np
import pytest
from control.to_film import Walk

from prefrl.control.environments.guard import Guard
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.journals import (
    JOURNAL_KEY,
    Journal,
    as_arrays,
    as_state,
    from_arrays,
    from_state,
    shared_from_state,
    shared_state,
)
from prefrl.control.environments.making import make_environments, restore, snapshots
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.source import EnvConfig
from prefrl.control.environments.states import FINAL_STATE_KEY, STATE_KEY
from prefrl.control.films.episodes import EpisodeRenderer
from prefrl.control.films.games import open_renderer
from prefrl.control.items import Items, Truth
from prefrl.control.pool import SegmentPool
from prefrl.control.segments import SegmentSampler
from prefrl.errors import FilmError
from prefrl.runtime.rundir import RunDirectory

WALK = "control.to_film:test/Walk-v0"


def walked(n_rollouts=4, *, stop_after=None, processes=0):
    """Segments of two walks side by side over several rollouts, with ends within them."""
    env = EnvConfig(processes=processes)
    venv = HideReward(make_environments(WALK, n_envs=2, seed=4, env=env))
    venv.record(20)
    sampler, rng, segments = SegmentSampler(8, 2), np.random.default_rng(0), []
    venv.reset()
    for number in range(n_rollouts):
        if number == stop_after:  # as a resumed run goes on
            inner = make_environments(WALK, n_envs=2, seed=99, env=env)
            told, state = snapshots(venv.venv), venv.state_dict()
            venv.close()
            assert restore(inner, told, seeds=[0, 0]) == ["", ""]
            again, opened = HideReward(inner), sampler.state_dict()
            again.record(20)
            again.load_state_dict(state)
            again.see(venv._observations)
            venv, sampler = again, SegmentSampler(8, 2)
            sampler.load_state_dict(opened)
        for _ in range(20):
            venv.step(rng.integers(3, size=2))
        segments += [s for s, _ in sampler.cut(venv.take(), env_steps=number)]
    venv.close()
    return segments


def test_films_show_what_happened():
    segments = walked()
    assert len({n for s in segments for n in s.journals}) > 6
    with open_renderer(WALK, size=60) as renderer:
        assert isinstance(renderer, EpisodeRenderer)
        assert renderer.fps == 7
        for segment in segments:
            film = renderer.frames(segment.states, segment.journals)
            assert film.shape == (8, 40, 60, 3)
            assert (film == segment.observations[:, :, None, None]).all()
            some = renderer.frames(segment.states[[0, 7]], segment.journals)
            assert (some == film[[0, 7]]).all()
        assert renderer.first_frame().shape == (40, 60, 3)
    with open_renderer(WALK, size=15) as renderer:
        assert renderer.frames(segment.states, segment.journals).shape == (8, 10, 15, 3)


def test_a_segment_carries_its_episode_as_far_as_it_goes():
    for segment in walked():
        ((number, journal),) = segment.journals.items()
        assert (segment.states[:, 0] == number).all()
        steps = segment.states[:, 1].astype(int)
        first, n = segment.episode_step, segment.n_real
        assert steps.tolist() == [*range(first, first + n), *[first + n] * segment.n_held]
        assert len(journal) == steps[-1]
        assert len(journal.seen) == len(journal) + 1
        assert journal.actions.dtype == np.uint8
        taken = segment.actions[: steps[-1] - first].argmax(1)
        assert journal.actions[first:].tolist() == taken.tolist()
    assert any(segment.n_held for segment in walked())


def same(one, other):
    assert one.keys() == other.keys()
    for number, journal in one.items():
        assert dataclasses.astuple(journal)[1] == dataclasses.astuple(other[number])[1]
        for name in ("actions", "seen"):
            a, b = getattr(journal, name), getattr(other[number], name)
            assert (a.dtype, a.tolist()) == (b.dtype, b.tolist())


@pytest.mark.parametrize("processes", [0, 2])
def test_a_resumed_run_and_one_in_processes_record_the_same(processes):
    again = walked(stop_after=2, processes=processes)
    for a, b in zip(walked(), again, strict=True):
        assert a.id == b.id
        assert (a.states == b.states).all()
        same(a.journals, b.journals)


def test_segments_come_back_from_disk_and_from_a_checkpoint(tmp_path):
    run, pool, again = RunDirectory.create(tmp_path / "run"), SegmentPool(10), SegmentPool(10)
    kept = walked()[:3]
    Items(run).keep([(segment, Truth(np.zeros(8))) for segment in kept])
    for segment in kept:
        pool.add(segment, np.zeros(8))
    again.load_state_dict(pool.state_dict())
    assert again.nbytes == pool.nbytes > 0
    for number, segment in enumerate(kept):
        for back in (Items(run)[segment.id], again[number]):
            assert (back.states == segment.states).all()
            same(back.journals, segment.journals)
        assert not Items(run, states=False)[segment.id].journals


def test_journals_of_earlier_releases_are_read():
    same(from_state([[3, np.arange(4)]]), {3: Journal(np.arange(4))})
    same(
        from_arrays({"journal_3": np.arange(4), "states": np.zeros(2)}), {3: Journal(np.arange(4))}
    )
    whole = {5: Journal(np.arange(2), '{"seed": 1}', np.arange(3, dtype=np.uint32))}
    same(from_state(as_state(whole)), whole)
    same(from_arrays(as_arrays(whole)), whole)


def test_a_checkpoint_holds_each_episode_once():
    journal = Journal(np.arange(4), "{}", np.array([7, 8, 9, 10, 11], np.uint32))
    segments = [{3: journal.until(2)}, {3: journal, 4: Journal(np.arange(2))}, {}]
    state = shared_state(segments)
    assert [number for number, *_ in state["episodes"]] == [3, 4]
    for one, back in zip(segments, shared_from_state(state), strict=True):
        same(one, back)
    assert journal.until(2).seen.tolist() == [7, 8, 9]


def test_what_comes_out_otherwise_is_refused():
    segment = walked()[1]
    ((number, journal),) = segment.journals.items()
    with open_renderer(WALK) as renderer:
        with pytest.raises(FilmError, match="got none"):
            renderer.frames(segment.states, {})
        with pytest.raises(FilmError, match=f"expected the {len(journal)} actions of an episode"):
            renderer.frames(segment.states, {number: journal.until(len(journal) - 1)})
        with pytest.raises(FilmError, match="shape"):
            renderer.frames(segment.states[:0], segment.journals)
        other = dataclasses.replace(journal, actions=2 - journal.actions)
        with pytest.raises(FilmError, match="was different: it is not reproducible"):
            renderer.frames(segment.states, {number: other})
        # One that goes on where this environment has ended.
        longer = Journal(np.ones(20, np.uint8), journal.beginning)
        with pytest.raises(FilmError, match="they ended the episode after 17 steps"):
            renderer.frames(np.array([[0.0, 19.0]]), {0: longer})
        beginning = json.dumps({**json.loads(journal.beginning), "generator": {"no": 1}})
        broken = dataclasses.replace(journal, beginning=beginning)
        with pytest.raises(FilmError, match="it broke with"):
            renderer.frames(segment.states, {number: broken})


def test_nothing_is_kept_of_what_draws_nothing_and_of_options_that_are_no_data():
    class Plain(Walk):
        metadata = {"render_modes": ["human"]}  # noqa: RUF012

    env = Rewind(Plain())
    env.reset(seed=0)
    assert STATE_KEY not in env.step(1)[4]
    assert env.journals() == {}
    env = Rewind(Walk())
    env.reset(seed=0, options={"of": object()})
    told = [env.step(1)[4] for _ in range(17)][-1]
    assert told[STATE_KEY][1] == 16
    assert told[FINAL_STATE_KEY][1] == 17
    assert JOURNAL_KEY not in told


def test_an_episode_after_a_fault_is_filmed_too():
    class Breaks(gym.Wrapper):
        def step(self, action):
            if self.env.unwrapped.place % 7 == 0:
                raise OSError("no more")
            return self.env.step(action)

    env = Rewind(Guard(lambda: Breaks(gym.make(WALK))))
    rng, ended, places = np.random.default_rng(0), {}, {}
    observation, _ = env.reset(seed=0)
    for _ in range(200):
        shown = observation[0]
        observation, _, terminated, truncated, told = env.step(rng.integers(3))
        number, _ = told[STATE_KEY]
        places.setdefault(int(number), []).append(shown)
        if terminated or truncated:
            ended |= dict([told[JOURNAL_KEY]])
            observation, _ = env.reset()
        if env.get_wrapper_attr("n_faults") == 3:
            break
    assert len(ended) == 3
    with EpisodeRenderer(WALK, size=30) as renderer:
        for number, journal in ended.items():
            states = np.stack([np.full(len(journal), number), np.arange(len(journal))], axis=1)
            film = renderer.frames(states.astype(np.float64), {number: journal})
            assert film[:, 0, 0, 0].tolist() == places[number]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0", "LunarLander-v3"])
def test_environments_of_gymnasium_are_filmed(env_id):
    pytest.importorskip("pygame")
    if env_id.startswith("Lunar"):
        pytest.importorskip("Box2D")
    with open_renderer(env_id, size=160) as renderer:
        assert isinstance(renderer, EpisodeRenderer)
        assert renderer.first_frame().shape[1:] == (160, 3)


def test_what_a_process_took_with_it_is_refused():
    """One of two processes is killed: its step is unknown, and the others' films are whole."""
    venv = HideReward(make_environments(WALK, n_envs=2, seed=4, env=EnvConfig(processes=2)))
    venv.record(40)
    venv.reset()
    for t in range(12):
        if t == 6:
            os.kill(venv.get_attr("pid")[0], signal.SIGKILL)
        venv.step(np.ones(2, np.int64))
    rollout = venv.take()
    venv.close()
    assert np.isnan(rollout.states[6, 0]).all()
    assert not np.isnan(rollout.states[:, 1]).any()
    segments = [s for s, _ in SegmentSampler(4, 2).cut(rollout, env_steps=1)]
    with open_renderer(WALK, size=60) as renderer:
        for segment in segments:
            if np.isnan(segment.states).any():
                with pytest.raises(FilmError, match="a process died"):
                    renderer.frames(segment.states, segment.journals)
        whole = [s for s in segments if s.journals]
        assert {int(s.states[0, 0]) for s in whole} >= {int(rollout.states[0, 1, 0])}
        for segment in whole:
            film = renderer.frames(segment.states, segment.journals)
            assert (film == segment.observations[:, :, None, None]).all()
