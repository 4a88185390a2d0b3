"""Named settings: what follows from them when a training begins."""

import numpy as np
import pytest
from prefrl_envs.atari import _FRAMES_PER_STEP, _LONGEST_GAME

from prefrl.control.items import Items
from prefrl.control.pool import SegmentPool
from prefrl.control.presets import PRESETS, preset
from prefrl.control.queries import SegmentSource
from prefrl.control.segments import Segment
from prefrl.core.store import LabelStore
from prefrl.runtime.questioner import Questioner

PONG = "prefrl_envs:prefrl/Pong-v0"


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("atari")])
def test_the_longest_games_are_evaluated_to_their_end(name):
    assert preset(name, PONG).eval_max_steps * _FRAMES_PER_STEP == _LONGEST_GAME


@pytest.mark.parametrize("name", ["christiano-atari", "ibarz-atari"])
def test_first_labels_of_the_papers_are_about_many_segments_and_not_the_openings(name):
    """Among 500 pairs of so many, a segment comes up once on average, so e^-1 of them do not."""
    config = preset(name, PONG)
    query, due = config.preferences.query, config.preferences.label_schedule(config.steps).due(0)
    pool = SegmentPool(query.pool_size, max_bytes=query.pool_bytes)
    for number in range(query.warmup_segments):
        nothing = np.zeros((2, 1), np.float32)
        pool.add(Segment(f"s{number}", nothing, nothing), np.zeros(2))
    with LabelStore("sqlite://") as store:
        source, rng = SegmentSource(pool, Items(None), query), np.random.default_rng(0)
        questioner = Questioner(source, store, config=query, rng=rng)
        assert questioner.ask_due(due, None, run_steps=0)
        asked = questioner.asked.values()
    assert len(asked) == due == 500
    assert len({item for q in asked for item in (q.left, q.right)}) > 550
