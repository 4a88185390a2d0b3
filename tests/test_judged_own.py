"""Films and texts of one's own that a model compares, over a socket."""

import contextlib
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from judge_server import JudgeServer, picture_of, says
from labelling import free_port, link_in, prefrl, wait_for
from own_films import make_film

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import FilmError
from prefrl.runtime.own.films import frames_of
from prefrl.runtime.own.folder import Chosen, make_folder

pytest.importorskip("openai")
pytestmark = pytest.mark.timeout(120)


@contextlib.contextmanager
def labelled(folder, judge, *options):
    """A page of one's own items beside which a judge works, until the block ends."""
    told = ["--oracle", "ai", "--judge.url", judge.url, "--judge.model", "stub"]
    out = folder.with_suffix(".txt")
    with prefrl(out, "label", folder, *told, "--page.port", free_port(), *options):
        link_in(out)
        yield RunDirectory(folder)


def answers_of(run, n):
    """The answers of the judge by the two names, once there are so many."""
    with LabelStore(run.labels) as store:
        wait_for(lambda: len(store.events()) >= n, 60)
        asked = {query.id: (query.left, query.right) for query in store.queries()}
        events = store.events()
    assert {event.annotator_id for event in events} == {"ai:stub"}
    return {asked[event.query_id]: event.answer for event in events}


@pytest.mark.parametrize(("orders", "n_asked"), [("both", 6), ("one", 3)])
def test_a_judge_compares_texts(tmp_path, orders, n_asked):
    lines = tmp_path / "poems.txt"
    lines.write_text("short\na little longer\nthe longest of all these\n")
    sent = []

    def say(body):
        content = body["messages"][1]["content"]
        if "Say hello." in content:
            return says("A", "the first question")
        sent.append(content)
        a, b = re.findall(r"\[Response .\]\n(.*?)\n\[End", content, re.DOTALL)
        return says("A" if len(a) > len(b) else "B", "it is longer")

    told = ["--texts", lines, "--goal", "The longer one.", "--judge.orders", orders]
    with JudgeServer(say) as judge, labelled(tmp_path / "run", judge, *told) as run:
        answers = answers_of(run, 3)
    assert len(answers) == 3
    for (left, right), answer in answers.items():
        assert answer == (Answer.LEFT if int(left) > int(right) else Answer.RIGHT)
    assert len(sent) == n_asked
    assert not any("[Prompt]" in content for content in sent)
    rubrics = {body["messages"][0]["content"] for body in judge.bodies}
    assert all("The longer one." in rubric for rubric in rubrics)


@pytest.mark.parametrize("orders", ["both", "one"])
def test_a_judge_sees_films(tmp_path, orders):
    pytest.importorskip("cv2")
    films = tmp_path / "films"
    films.mkdir()
    for hue, (name, size) in enumerate([("a.mp4", (48, 64)), ("b.webm", (96, 48))]):
        codec = {"codec": "libvpx"} if name.endswith("webm") else {}
        make_film(films / name, n=9, hue=hue, size=size, **codec)
    seen = []

    def say(body):
        picture = picture_of(body)
        width = (picture.shape[1] - 12) // 2
        columns = picture[:, :width], picture[:, width + 12 :]
        seen.append([column.shape for column in columns])
        # The upright film has black bars at its sides.
        dark = [(column[40:, :20] < 8).all(-1).mean() for column in columns]
        return says("tie" if dark[0] == dark[1] else "A" if dark[0] > dark[1] else "B")

    told = ["--videos", films, "--goal", "Upright.", "--judge.orders", orders]
    with JudgeServer(say) as judge, labelled(tmp_path / "run", judge, *told) as run:
        ((pair, answer),) = answers_of(run, 1).items()
    assert answer == (Answer.LEFT if pair[0] == "b.webm" else Answer.RIGHT)
    assert seen[-1][0] == seen[-1][1]
    told = judge.bodies[-1]["messages"]
    assert "two films" in told[0]["content"]
    assert "film A in its left column" in str(told[1]["content"])


def test_what_is_lost_is_skipped_and_the_rest_is_judged(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("one\nthree\nseventeen\n")
    run = make_folder(tmp_path / "run", "texts", lines, Chosen()).run
    with LabelStore(run.labels) as store:
        medium = store.media.of(["2"])["2"]
    (run.media / f"{medium.media_id}.json").unlink()
    with (
        JudgeServer(lambda body: says("A")) as judge,
        labelled(run.root, judge, "--goal", "Any.", "--judge.orders", "one"),
    ):
        answers = answers_of(run, 3)
    skipped = {pair for pair, answer in answers.items() if answer is Answer.SKIP}
    assert skipped == {pair for pair in answers if "2" in pair}
    assert len(skipped) == 2


def test_what_a_judge_cannot_do_is_refused_before_it_starts(tmp_path, capsys):
    lines = tmp_path / "lines.txt"
    lines.write_text("one\ntwo\n")
    films = tmp_path / "films"
    films.mkdir()
    for number in range(2):
        make_film(films / f"{number}.mp4", n=3, hue=number)
    judge = ["--oracle", "ai", "--judge.url", "http://127.0.0.1:1/v1", "--judge.model", "none"]
    texts, clips = ["--texts", str(lines)], ["--videos", str(films)]
    for source, more, expected in (
        (texts, [*judge, "--judge.true-reward"], "nothing knows the true reward of the texts"),
        (texts, judge, "nothing tells the judge what is better"),
        (clips, judge, "nothing tells the judge what is better"),
        (clips, ["--oracle", "ai", "--judge.local", "x", "--goal", "y"], "judge.url for films"),
    ):
        with pytest.raises(SystemExit):
            main(["label", str(tmp_path / f"run-{source[0][2:]}"), *source, *more])
        assert expected in " ".join(capsys.readouterr().err.split())
        if "--judge.true-reward" in more:
            assert not (tmp_path / f"run-{source[0][2:]}").exists()


def test_frames_of_a_film_are_from_its_first_to_its_last(tmp_path):
    path = tmp_path / "film.webm"
    make_film(path, n=5, codec="libvpx")
    all_of_it = frames_of(path, 5)
    assert len({frame.tobytes() for frame in all_of_it}) == 5
    assert [frame.tobytes() for frame in frames_of(path, 2)] == [
        all_of_it[0].tobytes(),
        all_of_it[-1].tobytes(),
    ]
    assert len(frames_of(path, 9)) == 9
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FilmError, match=r"found none|but \[Errno"):
        frames_of(path, 2)


def test_frames_are_spaced_in_time_and_not_by_number(tmp_path):
    path = tmp_path / "film.webm"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number, at in enumerate([0, 1, 2, 3, 60]):  # a recording that stood still
            picture = np.full((32, 32, 3), 50 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    shown = [round(float(frame.mean()) / 50) for frame in frames_of(path, 5)]
    assert shown == [0, 3, 3, 3, 4]


@pytest.mark.parametrize(
    ("matrix", "white_half"),
    [
        ((1, 0, 0, 1), np.s_[:48, :]),
        ((0, 1, -1, 0), np.s_[:, 48:]),  # a quarter to the right, as phones held upright ask
        ((-1, 0, 0, -1), np.s_[48:, :]),
        ((0, -1, 1, 0), np.s_[:, :48]),
    ],
)
def test_frames_are_turned_as_the_film_asks(tmp_path, matrix, white_half):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 96
        stream.pix_fmt = "yuv420p"
        picture = np.zeros((96, 64, 3), np.uint8)
        picture[:48] = 255  # the upper half is white
        for frame in 3 * [av.VideoFrame.from_ndarray(picture, format="rgb24")]:
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the matrix of the track's header, rows of three, 16.16
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 20] = struct.pack(">5i", a, b, 0, c, d)
    path.write_bytes(content)
    for frame in frames_of(path, 2):
        assert frame.shape == ((96, 64, 3) if matrix[1] == 0 else (64, 96, 3))
        white = np.zeros(frame.shape[:2], bool)
        white[white_half] = True
        assert frame[white].mean() > 230 > 25 > frame[~white].mean()
