"""A run that has come to its end is gone on with."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from control.test_train import short

from prefrl import RunDirectory, extend, resume, train
from prefrl.cli import main
from prefrl.errors import ConfigError, RunDirectoryError


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("ended"))).run


@pytest.fixture
def run(ended, tmp_path):
    folder = shutil.copytree(ended.root, tmp_path / "run")
    copied = RunDirectory(folder)
    config = json.loads(copied.config.read_text())
    copied.config.write_text(json.dumps({**config, "run": str(folder)}))
    return copied


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_it_goes_on_where_it_ended_with_more_labels(run):
    before, fits = rows(run.metrics), rows(run.fits)
    result = extend(run, steps=4000, labels=6)
    assert result.summary["env_steps"] == 8000
    assert result.summary["labels"] == 26
    assert rows(run.metrics)[: len(before)] == before  # nothing is done twice
    assert [int(row["env_steps"]) for row in rows(run.metrics)] == list(range(400, 8001, 400))
    assert rows(run.fits)[: len(fits)] == fits
    assert len(rows(run.fits)) > len(fits)
    assert run.policy.is_file()
    told = json.loads(run.config.read_text())
    assert (told["steps"], told["preferences"]["labels"]) == (8000, 26)


def test_without_more_labels_nothing_is_asked(run):
    assert extend(run, steps=800).summary["labels"] == 20


def test_killed_on_the_way_it_is_resumed(run, monkeypatch):
    def killed(*told, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("prefrl.control.train.resume", killed)
        with pytest.raises(KeyboardInterrupt):
            extend(run, steps=800, labels=2)
    assert not run.summary.exists()
    assert resume(run).summary["labels"] == 22


@pytest.mark.parametrize(
    ("told", "said"), [({"steps": 0}, "at least 1 step"), ({"steps": 400, "labels": -1}, "labels")]
)
def test_nothing_to_add_is_refused(run, told, said):
    with pytest.raises(ConfigError, match=said):
        extend(run, **told)
    assert run.summary.is_file()


def test_what_cannot_be_gone_on_with_is_refused_and_stays_as_it_is(run, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["extend", str(run.root), "--steps", "400", "--labels", "100000"])
    assert exit_.value.code == 2
    assert "segments enough" in " ".join(capsys.readouterr().err.split())
    assert run.summary.is_file()
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunDirectoryError, match="expected a checkpoint"):
        extend(run, steps=400)
    run.summary.unlink()
    with pytest.raises(RunDirectoryError, match="prefrl resume"):
        extend(run, steps=400)


def test_from_the_shell_with_each_role_in_a_process(tmp_path, capsys):
    folder = tmp_path / "run"
    train(replace(short(folder), sync=False))
    main(["extend", str(folder), "--steps", "800", "--labels", "2"])
    out = " ".join(capsys.readouterr().out.split())
    assert "from 22 labels and 4,800 steps" in out
    assert f"prefrl extend {folder}" in out.replace("\n", "")


def test_where_people_answer_it_serves_their_page(run, monkeypatch):
    """The run is finished when it begins: that is no reason to have no page."""
    told = json.loads(run.config.read_text())
    run.config.write_text(json.dumps({**told, "oracle": "human", "sync": False}))
    pages = []
    monkeypatch.setattr("prefrl.control.train.check_drawable", lambda *told: None)
    monkeypatch.setattr(
        "prefrl.commands.train._work", lambda begin, config, page: pages.append(page)
    )
    main(["extend", str(run.root), "--steps", "400", "--page.port", "8991"])
    assert pages[0].port == 8991
