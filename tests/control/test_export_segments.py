import json
from pathlib import Path

import numpy as np
import pytest

from prefrl.cli import main
from prefrl.control.environments.frames import PackedFrames
from prefrl.control.export import export_segments
from prefrl.control.items import Items, Truth
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.media import add_medium

TRUE_REWARD = 1234.5


def segment(name, value=0.0, **more):
    observations = np.full((3, 2), value, np.float32)
    return Segment(name, observations, -observations[:, :1], states=np.ones((3, 5)), **more)


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, {"env_id": "Any-v0"})
    return run


def labelled(run, pairs, answers, **more):
    names = sorted({name for pair in pairs for name in pair})
    truth = Truth(np.full(3, TRUE_REWARD), TRUE_REWARD)
    Items(run).keep([(segment(name, float(ord(name)), **more), truth) for name in names])
    with LabelStore(run.labels) as store:
        store.add_queries([Query("".join(pair), *pair) for pair in pairs])
        for pair, answer in zip(pairs, answers, strict=True):
            key = "".join(pair)
            store.submit(key, Answer(answer), submission_key=key, annotator_id="ann")


def test_segments_are_written_as_numbers_and_the_true_reward_is_not(run, capsys):
    labelled(run, ["ab", "cd", "ef"], ["right", "tie", "skip"])
    main(["export", str(run.root), "--output", "-"])
    shown = capsys.readouterr()
    (row,) = map(json.loads, shown.out.splitlines())
    assert row == {
        "query": "ab",
        "chosen": {"observations": [[98.0, 98.0]] * 3, "actions": [[-98.0]] * 3},
        "rejected": {"observations": [[97.0, 97.0]] * 3, "actions": [[-97.0]] * 3},
    }
    assert shown.err == "wrote 1 row; left out: 1 skipped, 1 tied\n"
    main(["export", str(run.root), "--format", "ranking", "--output", "-"])
    shown = capsys.readouterr().out
    ranks = {row["query"]: row for row in map(json.loads, shown.splitlines())}
    assert ranks["ab"]["ranks"] == [2, 1]
    assert ranks["cd"]["ranks"] == [1, 1]
    assert ranks["ab"]["segments"][1]["observations"] == [[98.0, 98.0]] * 3
    assert str(TRUE_REWARD) not in shown


def test_the_policy_that_made_a_segment_is_said_by_its_steps(run):
    labelled(run, ["ab"], ["right"], env_steps=2048)
    (row,) = export_segments(run, "preference").rows
    assert [row[side]["env_steps"] for side in ("chosen", "rejected")] == [2048, 2048]


def test_standard_output_on_a_full_disk_is_told(run, monkeypatch, capsys):
    labelled(run, ["ab"], ["right"])
    with open("/dev/full", "w", closefd=True) as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as ended:
            main(["export", str(run.root), "--output", "-"])
    assert ended.value.code == 2
    assert "write standard output, but no space left on device" in capsys.readouterr().err


def test_by_default_it_goes_to_a_file_in_the_run_which_is_named(run, capsys):
    labelled(run, ["ab", "cd"], ["right", "tie"])
    main(["export", str(run.root)])
    shown = capsys.readouterr()
    assert shown.out == f"{run.root / 'export' / 'preference.jsonl'}\n"
    assert "wrote 1 row" in shown.err
    (row,) = Path(shown.out.strip()).read_text().splitlines()
    assert json.loads(row)["query"] == "ab"
    main(["export", str(run.root), "--annotator", "ann", "--format", "ranking"])
    path = Path(capsys.readouterr().out.strip())
    assert path == run.root / "export" / "ranking-ann.jsonl"
    assert len(path.read_text().splitlines()) == 2


def test_films_that_people_were_shown_come_along(run, capsys):
    labelled(run, ["ab", "bc"], ["left", "right"])
    with LabelStore(run.labels) as store:
        for name in "ab":  # nobody was shown c
            store.media.add(name, add_medium(run.media, name.encode(), "video/webm"), "video/webm")
    main(["export", str(run.root), "--films"])
    path = Path(capsys.readouterr().out.strip())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    shown = {
        row["query"]: [row[side].get("film") for side in ("chosen", "rejected")] for row in rows
    }
    assert [(path.parent / film).read_bytes() for film in shown["ab"]] == [b"a", b"b"]
    assert shown["bc"] == [None, shown["ab"][1]]
    with pytest.raises(SystemExit):
        main(["export", str(run.root), "--films", "--output", "-"])
    assert "they go into a folder beside it" in " ".join(capsys.readouterr().err.split())


def test_what_only_oracles_may_know_is_not_even_read(run):
    labelled(run, ["ab"], ["left"])
    for path in run.truth.iterdir():
        path.unlink()
    assert len(list(export_segments(run, "preference").lines())) == 1


def test_a_segment_alone_is_neither_good_nor_bad(run, capsys):
    labelled(run, ["ab"], ["left"])
    with pytest.raises(SystemExit):
        main(["export", str(run.root), "--format", "unpaired"])
    shown = capsys.readouterr()
    assert "expected preference or ranking for a run of an agent, got unpaired" in shown.err
    assert not shown.out


def test_pictures_are_refused_with_the_place_of_their_files(run):
    frames = PackedFrames.pack(np.zeros((4, 1, 2, 2), np.uint8))
    labelled(run, ["ab"], ["left"], frames=frames)
    with pytest.raises(ConfigError, match=f"pictures.* their files are in {run.items}"):
        list(export_segments(run, "preference").lines())


def test_numbers_that_json_has_none_of_are_refused(run):
    labelled(run, ["ab"], ["left"])
    path = run.items / "a.npz"
    path.unlink()
    Items(run).keep([(segment("a", np.nan), Truth(np.zeros(3)))])
    with pytest.raises(RunDirectoryError, match="expected finite numbers in row 1"):
        list(export_segments(run, "preference").lines())


def test_what_was_made_to_try_the_page_is_no_run(tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, {"title": "Samples"})
    with pytest.raises(SystemExit):
        main(["export", str(run.root)])
    assert "expected a run of an agent or of a language model" in capsys.readouterr().err
