"""Films of what people will be shown next: which, how, and what becomes of those that fail."""

import io
import subprocess
import sys

import av
import numpy as np
import pytest

from prefrl import RunDirectory
from prefrl.control.films.clips import ClipRenderer, choose_gl, encode_film
from prefrl.control.films.renderer import FILM_SIZE, FilmMaker
from prefrl.control.films.sized import SizedRenderer
from prefrl.control.items import Items, Truth
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.remote.media import RunMedia

DOT = "prefrl_envs:prefrl/MovingDot-v0"
N_STEPS = 10


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def store(run):
    with LabelStore(run.labels) as store:
        yield store


@pytest.fixture
def films(run, store):
    with ClipRenderer(DOT, size=FILM_SIZE) as clips:
        yield FilmMaker(store, Items(run), RunMedia(run), clips)


def ask(run, store, n, *, states=True):
    """Queries q0, q1, ...: the smaller the number, the more urgent."""
    rng = np.random.default_rng(n)
    for number in range(n):
        for side in ("left", "right"):
            places = rng.uniform(-1, 1, (N_STEPS, 2))
            segment = Segment(
                id=f"{side}{number}",
                observations=places.astype(np.float32),
                actions=np.zeros((N_STEPS, 1), np.float32),
                states=places if states else None,
            )
            Items(run).keep([(segment, Truth(np.zeros(N_STEPS)))])
    queries = [Query(f"q{i}", f"left{i}", f"right{i}") for i in range(n)]
    store.add_queries(queries, priorities=[-float(i) for i in range(n)])


def test_films_are_made_of_the_most_urgent_queries_and_no_others(run, store, films):
    ask(run, store, 30)
    assert films.step()
    assert sorted(store.media.of(["left0", "right0", "left1"])) == ["left0", "right0"]
    while films.step():
        pass
    assert films.n_films == 2 * 12
    assert {query.id for query in store.media.missing(30)} == {f"q{i}" for i in range(12, 30)}
    while films.step(n_people=1):
        pass
    assert films.n_films == 2 * 20


def test_what_is_answered_is_filmed_no_more(run, store, films):
    ask(run, store, 2)
    store.submit("q0", Answer.LEFT, submission_key="0", annotator_id="oracle")
    while films.step():
        pass
    assert sorted(store.media.of(["left0", "right0", "left1", "right1"])) == ["left1", "right1"]


def test_a_film_is_what_browsers_play(run, store, films):
    ask(run, store, 1)
    films.step()
    medium = store.media.of(["left0"])["left0"]
    assert medium.media_type == "video/webm"
    with av.open(str(run.media / f"{medium.media_id}.webm")) as film:
        (stream,) = film.streams.video
        assert stream.codec_context.name == "vp9"
        assert stream.average_rate == 20
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == N_STEPS
    with ClipRenderer(DOT) as clips:
        drawn = clips.frames(Items(run)["left0"].states)
    assert np.abs(np.stack(frames).astype(int) - drawn).mean() < 3


DIES = """
import os
from prefrl import RunDirectory
from prefrl.control.films.renderer import FilmMaker
from prefrl.control.items import Items
from prefrl.core.store import LabelStore
from prefrl.runtime.remote.media import RunMedia

class Clips:
    fps = 20

    def frames(self, states, journals):
        os._exit(9)  # as a GL that aborts

run = RunDirectory(Path(sys.argv[1]))
with LabelStore(run.labels) as store:
    FilmMaker(store, Items(run), RunMedia(run), Clips()).step()
"""


class Breaks:
    """Draws nothing."""

    fps = 20

    def __init__(self, how):
        self.how = how

    def frames(self, states, journals):
        raise self.how


@pytest.mark.parametrize("how", [MemoryError(), ValueError("what no renderer says")])
def test_whatever_breaks_in_drawing_leaves_no_pair_open(run, store, how):
    ask(run, store, 2)
    films = FilmMaker(store, Items(run), RunMedia(run), Breaks(how))
    while films.step():
        pass
    assert store.counts().open == 0
    assert store.counts().skipped == 2


@pytest.mark.parametrize(("deaths", "expected"), [(1, 0), (2, 1)])
def test_a_film_that_ends_the_process_is_tried_twice(run, store, films, deaths, expected):
    ask(run, store, 1)
    program = "import sys; from pathlib import Path\n" + DIES
    for _ in range(deaths):
        ended = subprocess.run([sys.executable, "-c", program, str(run.root)])
        assert ended.returncode == 9
    with ClipRenderer(DOT) as clips:
        again = FilmMaker(store, Items(run), RunMedia(run), clips)
        while again.step():
            pass
    counts = store.counts()
    assert (counts.open, counts.skipped) == (1 - expected, expected)
    assert not (run.media / ".drawing").exists()


@pytest.mark.skipif(choose_gl() is None, reason="no EGL and no OSMesa here")
def test_films_are_drawn_as_large_as_they_are_shown():
    with SizedRenderer("InvertedPendulum-v5") as clips:
        state = np.zeros((1, 4))  # positions and velocities
        assert clips.frames(state, {}).shape == (1, 256, 256, 3)  # somebody may wait already
        sizes = []
        for pixels in (0, 300, 305, 320, 420, 4096, 10):
            clips.fit(pixels)
            sizes.append((clips.size, clips.frames(state, {}).shape[1]))
        for pixels, in_a_hurry in ((512, True), (200, True), (0, False)):
            clips.fit(pixels, in_a_hurry=in_a_hurry)
            sizes.append((clips.size, clips.frames(state, {}).shape[1]))
    wanted = (512, 320, 320, 320, 448, 512, 192, 256, 256, 256)
    assert sizes == [(s, s) for s in wanted]


def test_the_first_two_pairs_are_late(run, store, films):
    ask(run, store, 30)
    late = []
    for _ in range(3):
        late.append(films.is_late(0))
        films.step()
    assert late == [True, True, False]


def test_the_same_frames_give_the_same_film():
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    film = encode_film(frames, fps=20)
    assert film == encode_film(frames, fps=20)
    with av.open(io.BytesIO(film)) as opened:
        assert opened.format.name == "matroska,webm"


def test_a_film_that_cannot_be_made_holds_up_no_other(run, store, films, caplog):
    ask(run, store, 15)
    for number in range(13):  # more than it looks ahead
        (run.items / f"left{number}.npz").write_bytes(b"damaged")
    while films.step():
        pass
    assert not store.media.missing(15)
    assert sorted(store.media.of(["left13", "right13", "left14"])) == [
        "left13",
        "left14",
        "right13",
    ]
    assert len(caplog.records) == 13
    assert "no film of segment left0: expected a segment" in caplog.text
    # What cannot be shown is skipped: the agent, which waits while too much is unanswered, must not
    # wait for it.
    assert store.counts().open == 2
    skipped = store.events()
    assert {(e.answer, e.annotator_id) for e in skipped} == {(Answer.SKIP, "renderer")}
    assert sorted(event.query_id for event in skipped) == sorted(f"q{i}" for i in range(13))


def test_segments_without_states_are_left_out_with_a_word(run, store, films, caplog):
    ask(run, store, 1, states=False)
    assert films.step()
    assert not films.step()
    assert "expected segment left0 to be recorded" in caplog.text
