"""Films and texts of one's own, from the command line to the lines of JSON that come out."""

import json

import httpx
import numpy as np
import pytest
from own_films import make_film, recorded_film

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import RunDirectoryError
from prefrl.runtime.own.folder import Chosen, make_folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Meine Läufe")
    (folder / "zweiter Tag").mkdir()
    for number in range(4):
        make_film(folder / f"Lauf {number}.mp4", n=10, hue=number)
    make_film(folder / "zweiter Tag" / "größer.webm", n=20, codec="libvpx")
    (folder / "aufgenommen.webm").write_bytes(recorded_film(n=12))
    (folder / "notes.txt").write_text("not shown")
    return folder


def answer_all(run, strength):
    """Somebody who prefers what is stronger, and ties what is equal."""
    with LabelStore(run.labels) as store:
        for query in store.open_queries(1000):
            gap = strength[query.left] - strength[query.right]
            said = Answer.TIE if gap == 0 else Answer.LEFT if gap > 0 else Answer.RIGHT
            store.submit(query.id, said, submission_key=f"key-{query.id}", annotator_id="anna")


def exported(capsys, run, *options):
    main(["export", str(run.root), "--output", "-", *options])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_films_become_pairs_and_answers_a_ranking(films, tmp_path, capsys):
    made = make_folder(tmp_path / "study", "films", films, Chosen())
    assert made.notes == ("Left out, as no name in .mp4 or .webm: notes.txt (1).",)
    run = made.run
    with LabelStore(run.labels) as store:
        queries = store.queries()
        items = {item for query in queries for item in (query.left, query.right)}
        assert len(queries) == 15  # all pairs of six
        assert {"Lauf 0.mp4", "zweiter Tag/größer.webm", "aufgenommen.webm"} < items
        media = store.media.of(items)
        assert store.media.n_ready() == 15
    for item, medium in media.items():
        copy = run.media / f"{medium.media_id}{'.mp4' if item.startswith('Lauf') else '.webm'}"
        if item != "aufgenommen.webm":  # that one is told its length
            assert copy.read_bytes() == (films / item).read_bytes()
        assert copy.stat().st_size > 0
    strength = {item: rank for rank, item in enumerate(sorted(items))}
    strength["Lauf 1.mp4"] = strength["Lauf 0.mp4"]
    answer_all(run, strength)
    pairs = exported(capsys, run)
    assert len(pairs) == 14  # the tie is left out
    assert all(strength[row["chosen"]] > strength[row["rejected"]] for row in pairs)
    ranked = exported(capsys, run, "--format", "ranking")
    assert sorted(row["ranks"] for row in ranked)[0] == [1, 1]
    scores = exported(capsys, run, "--format", "scores")
    assert [row["item"] for row in scores][:4] == sorted(items)[:1:-1]
    assert all(row["low"] < row["score"] < row["high"] for row in scores)
    assert [row["n_wins"] for row in scores] == [5, 4, 3, 2, 0, 0]


def test_a_folder_is_opened_again_or_refused(films, tmp_path):
    made = make_folder(tmp_path / "study", "films", films, Chosen(n_pairs=3))
    assert made.notes[1].startswith("The 3 pairs do not link all films: they make")
    again = make_folder(tmp_path / "study", "films", films, Chosen(n_pairs=3))
    assert (again.run.root, again.notes) == (made.run.root, ())
    with pytest.raises(RunDirectoryError, match="choose another one, or serve that"):
        make_folder(tmp_path / "study", "films", films, Chosen(n_pairs=4))
    (films / "bad.mp4").write_text("<svg/>")
    try:
        with pytest.raises(ValueError, match=r"bad\.mp4 is something else"):
            make_folder(tmp_path / "new", "films", films, Chosen())
    finally:
        (films / "bad.mp4").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study"]


def test_a_table_names_films_with_or_without_their_ends(films, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("Lauf 0,Lauf 1.mp4\nzweiter Tag/größer,aufgenommen\n")
    made = make_folder(tmp_path / "study", "films", films, Chosen(table=table))
    with LabelStore(made.run.labels) as store:
        told = [(query.left, query.right) for query in store.queries()]
    assert told == [
        ("Lauf 0.mp4", "Lauf 1.mp4"), ("zweiter Tag/größer.webm", "aufgenommen.webm"),
    ]  # fmt: skip


def test_texts_are_compared_with_those_to_the_same_prompt(tmp_path, capsys):
    source = tmp_path / "texts.jsonl"
    rows = [{"prompt": f"p{i % 3}", "text": f"text {i}"} for i in range(9)]
    rows.append({"prompt": "alone", "text": "nobody to compare with"})
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = make_folder(tmp_path / "study", "texts", source, Chosen())
    assert made.notes == ("Left out, as the only ones to their prompts: 1 texts.",)
    with LabelStore(made.run.labels) as store:
        pairs = [(int(query.left), int(query.right)) for query in store.queries()]
    assert len(pairs) == 9
    assert all(left % 3 == right % 3 for left, right in pairs)
    answer_all(made.run, {str(i): i for i in range(1, 11)})
    told = exported(capsys, made.run)
    assert {(row["prompt"], row["chosen"]) for row in told} >= {("p0", "text 6"), ("p2", "text 8")}
    assert all(int(a) > int(b) for a, b in (row["names"] for row in told))
    groups = {row["group"] for row in exported(capsys, made.run, "--format", "scores")}
    assert groups == {0, 1, 2}
    labels = exported(capsys, made.run, "--format", "unpaired")
    assert {(row["name"], row["label"]) for row in labels} >= {("1", False), ("9", True)}


def test_rubbish_gets_one_sentence(films, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.txt").write_text("only one")
    (tmp_path / "prompts.csv").write_text("prompt,text\na,1\nb,2\n")
    for options, why in [
        (["--videos", "empty"], "has 0 films"),
        (["--videos", "one.txt"], "is a file"),
        (["--texts", "empty"], "is a folder"),
        (["--texts", "one.txt"], "found 1"),
        (["--texts", "prompts.csv"], "each of the 2 prompts has one"),
        (["--videos", str(films), "--texts", "one.txt"], "got --videos and --texts"),
        (["--videos", str(films), "--pairs", "0"], "at least 1 pair"),
        (["--videos", str(films), "--pairs", "nowhere.csv"], "No such file"),
        (["--pairs", "3"], "--pairs with --videos"),
        (["--segments", "minari:x/y-v0", "--pairs", "pairs.csv"], "--pairs NUMBER"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(["label", "study", *options])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert why in said
        assert "Traceback" not in said
    assert not (tmp_path / "study").exists()


def test_what_a_folder_of_texts_is_no_place_for(tmp_path, capsys):
    source = tmp_path / "lines.txt"
    source.write_text("one\ntwo\nthree\n")
    run = make_folder(tmp_path / "study", "texts", source, Chosen()).run
    for command in (["export", "--format", "scores"], ["resume"]):
        with pytest.raises(SystemExit) as ended:
            main([command[0], str(run.root), *command[1:]])
        assert ended.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_media_are_served_with_their_type_and_nothing_else(films, tmp_path):
    from clip_viewer.app import create_app
    from clip_viewer.config import ViewerConfig
    from clip_viewer.people import People, write_token

    run = make_folder(tmp_path / "study", "films", films, Chosen()).run
    config = ViewerConfig(store=str(run.labels), media=run.media, people=run.people, ranks=True)
    people = People(run.people)
    session, _ = people.enter(people.invite("owner", role="owner"))

    async def ask():
        transport = httpx.ASGITransport(create_app(config))
        headers = {"Cookie": f"prefrl_session_8770={session}"}
        headers["X-Prefrl-Token"] = write_token(session)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8770", headers=headers
        ) as client:
            told = (await client.get("/api/standings")).json()
            rows = told["groups"][0]
            return told, [(row, await client.get(f"/media/{row['media']}")) for row in rows]

    import asyncio

    told, films_told = asyncio.run(ask())
    assert (told["items"], told["compared"]) == (6, 0)
    for row, answer in films_told:
        assert answer.status_code == 200
        kind = "video/mp4" if row["item"].endswith(".mp4") else "video/webm"
        assert answer.headers["content-type"] == row["media_type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert np.allclose([row["chance"] for row, _ in films_told], 0.5)
    assert RunDirectory.open(run.root)
