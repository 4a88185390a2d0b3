"""An agent that learns from a judge who is shown frames: over a socket, decoded by the test."""

import numpy as np
import pytest
from judge_server import JudgeServer, picture_of, says

from prefrl import PreferenceConfig, RunDirectory, TrainConfig, train
from prefrl.cli import main
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.films.exhibit import ClipExhibit, pair_picture, picture_part
from prefrl.control.films.games import open_renderer
from prefrl.control.items import Items
from prefrl.control.queries import QueryConfig
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, FilmError
from prefrl.runtime.judge.config import JudgeConfig

pytest.importorskip("openai")
DOT = "prefrl_envs:prefrl/MovingDot-v0"
FRAMES, HEAD, GAP = 6, 36, 12


def short(path, judge, **options):
    preferences = PreferenceConfig(
        labels=24, segment_length=10, query=QueryConfig(warmup_segments=10)
    )
    agent = AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=2, hidden=(16,))
    options = {"steps": 8000, "eval_episodes": 2, "films": False, "oracle": "ai", **options}
    return TrainConfig(DOT, run=path, preferences=preferences, agent=agent, judge=judge, **options)


def columns_of(picture):
    """The frames of both clips, shape (2, N, H, W, 3), from a picture as a server gets it."""
    width = (picture.shape[1] - GAP) // 2
    step = (picture.shape[0] - HEAD) // FRAMES
    return np.stack(
        [
            np.stack([column[HEAD + i * step :][: step - GAP // 3] for i in range(FRAMES)])
            for column in (picture[:, :width], picture[:, width + GAP :])
        ]
    )


def distance(frame):
    """From the dot, which is orange, to the ring, which is blue, in pixels."""
    red, blue = frame[..., 0].astype(int), frame[..., 2].astype(int)
    dot, ring = red - blue > 100, blue - red > 100
    if not dot.any() or not ring.any():
        return None
    places = [np.argwhere(mask).mean(0) for mask in (dot, ring)]
    return float(np.linalg.norm(places[0] - places[1]))


def test_frames_are_side_by_side_under_a_and_b():
    left = np.stack([np.full((30, 40, 3), 10 * i, np.uint8) for i in range(FRAMES)])
    right = left + 100
    part = picture_part(pair_picture(left, right))
    body = {"messages": [{}, {"content": [{"type": "text", "text": "look"}, part]}]}
    found = columns_of(picture_of(body))
    assert np.array_equal(found[0], left)
    assert np.array_equal(found[1], right)
    head = picture_of(body)[:HEAD]
    assert (head[:, :40] < 100).any()  # the letters
    assert (head[:, -40:] < 100).any()


@pytest.mark.timeout(240)
def test_an_agent_learns_from_a_judge_of_clips(tmp_path, capsys):
    from clip_viewer.statistics import statistics

    near = []

    def say(body):
        columns = columns_of(picture_of(body))
        means = [
            [d for frame in column if (d := distance(frame)) is not None] for column in columns
        ]
        if not all(means):
            return says("tie", "the first question has no clips")
        a, b = (float(np.mean(told)) for told in means)
        near.append((a, b))
        return says("A" if a < b else "B", f"the dot is {a:.0f} and {b:.0f} pixels from the ring")

    path = tmp_path / "run"
    with JudgeServer(say) as server:
        judge = JudgeConfig(url=server.url, model="eyes", true_reward=True)
        train(short(path, judge))
        asked = server.bodies[-1]["messages"]
        assert "Bring the dot into the ring" in asked[0]["content"]
        assert {part["type"] for part in asked[1]["content"]} == {"text", "image_url"}
    assert len(near) > 20
    run = RunDirectory(path)
    with LabelStore(run.labels) as store:
        events, gold, reasons = store.events(), store.marks.gold(), store.marks.reasons()
        gold_by = {mark.query_id: mark.annotator_id for mark in store.marks.gold_marks()}
        query = next(iter(store.queries()))
    assert {event.annotator_id for event in events} == {"ai:eyes"}
    assert "pixels from the ring" in reasons[events[0].submission_key]
    found = statistics(events, gold, [], gold_by=gold_by)
    (person,) = found["people"]
    assert person["labels"] == len(events) > 10
    # It sees a sixth of the frames: nearly always right.
    assert person["gold_error"]["n"] > 8
    assert person["gold_error"]["value"] < 0.25
    main(["status", str(path)])
    assert "tokens" in capsys.readouterr().out

    items = Items(run)
    with open_renderer(DOT, size=224) as renderer:
        shown = ClipExhibit(renderer, n_frames=FRAMES)
        segment = items[query.left]
        drawn = renderer.frames(segment.states, segment.journals)
        parts = shown(segment, items[query.right])
        body = {"messages": [{}, {"content": parts}]}
        columns = columns_of(picture_of(body))
        assert np.array_equal(columns[0][0], drawn[0])
        assert np.array_equal(columns[0][-1], drawn[-1])
        blind = Items(run, states=False)
        with pytest.raises(FilmError, match="recorded for films"):
            ClipExhibit(renderer, n_frames=FRAMES)(blind[query.right], blind[query.left])


def test_what_cannot_work_is_refused_before_work_starts(tmp_path):
    judge = JudgeConfig(url="http://127.0.0.1:9/v1", model="eyes", retries=0)
    with pytest.raises(ConfigError, match="nothing answers at"):
        train(short(tmp_path / "run", judge))
    with pytest.raises(ConfigError, match="expected --goal or"):
        train(short(tmp_path / "run", judge, goal=""))
    with pytest.raises(ConfigError, match=r"judge\.url for clips"):
        train(short(tmp_path / "run", JudgeConfig(local="tiny")))
    with pytest.raises(ConfigError, match="leave --sync out"):
        short(tmp_path / "run", judge, sync=True)
    assert not (tmp_path / "run").exists()
