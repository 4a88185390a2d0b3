"""Runs whose answers are on a PostgreSQL server instead of in their directories."""

import errno
import json
import re
import subprocess
import sys
import uuid

import httpx
import pytest
import sqlalchemy as sa
from labelling import Browser, link_in, prefrl, wait_for
from lines import running_line
from store_places import SERVER, needs_postgres, raw

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.core.store import LabelStore
from prefrl.core.store.glance import glance
from prefrl.core.store.on_server import drop_store, new_store
from prefrl.core.store.waiting import WAITING_FOR_STORE
from prefrl.errors import RunDirectoryError, StoreError
from prefrl.runtime.roles.role import read_status

pytestmark = pytest.mark.timeout(180)
DOT = ["prefrl_envs:prefrl/MovingDot-v0", "--steps", "8000", "--labels", "20"]
SMALL = ["--segment-length", "10", "--warmup-segments", "10", "--agent.n-envs", "4"]
SMALL += ["--agent.n-steps", "100", "--agent.batch-size", "100", "--eval-episodes", "2"]
TRAIN = ["train", *DOT, *SMALL, "--no-films"]


def schemas(name):
    """Those of runs of this name."""
    such = f"starts_with(nspname, 'prefrl_{name}_')"
    rows = raw(SERVER, f"SELECT nspname FROM pg_namespace WHERE {such}")
    return [found for (found,) in rows]


@pytest.fixture
def name():
    """A name for a run that no other test has; what it has made on the server is removed."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    for schema in schemas(name):
        raw(SERVER, f"DROP SCHEMA {schema} CASCADE")


def run_prefrl(*arguments):
    command = [sys.executable, "-m", "prefrl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@needs_postgres
def test_runs_in_one_database_keep_their_answers_apart(name, tmp_path):
    for place in (tmp_path / name, tmp_path / f"{name} No. 2!"):
        done = run_prefrl(*TRAIN, "--store", SERVER, "--run", place)
        assert done.returncode == 0, done.stderr
        run = RunDirectory.open(place)
        assert not run.labels.exists()
        with LabelStore(run.label_store) as store:
            assert store.counts().answered == 20
        assert glance(run.label_store)[0].answered == 20
    one, two = sorted(schemas(name), key=len)
    assert re.fullmatch(rf"prefrl_{name}_\w{{8}}", one)
    assert re.fullmatch(rf"prefrl_{name}_no_2_\w{{8}}", two)
    run = tmp_path / name
    assert "20 answered" in run_prefrl("status", run).stdout
    rows = run_prefrl("export", run, "--output", "-").stdout.splitlines()
    assert len(rows) == len(list(map(json.loads, rows))) > 0
    replayed = run_prefrl("replay", run)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert run_prefrl("report", run).returncode == 0
    RunDirectory(run).store.unlink()
    lost = run_prefrl("status", run)
    assert lost.returncode == 2
    assert "restore it" in " ".join(lost.stderr.split())


@needs_postgres
def test_people_answer_and_a_run_that_was_stopped_goes_on(name, tmp_path):
    path, out = tmp_path / name, tmp_path / "out.txt"
    told = ["--oracle", "human", "--store", SERVER, "--run", path]
    with prefrl(out, *TRAIN, *told):
        browser = Browser(link_in(out))
        browser.label_while(lambda: browser.n_stored < 6)
        run = RunDirectory(path)
        with LabelStore(run.label_store) as store:
            assert store.counts().answered == 6
    again = tmp_path / "again.txt"
    with prefrl(again, "resume", path):
        browser = Browser(link_in(again))
        browser.label_while(lambda: browser.n_stored < 2)
        wait_for(lambda: run_prefrl("status", path).stdout.count("8 answered"))
    assert not run.labels.exists()


@needs_postgres
def test_while_the_server_is_away_no_role_dies_and_no_answer_is_lost(name, tmp_path):
    path, out = tmp_path / name, tmp_path / "out.txt"
    with running_line() as line:
        told = ["--oracle", "human", "--store", line.url(), "--run", path]
        with prefrl(out, *TRAIN, *told):
            browser = Browser(link_in(out))
            browser.label_while(lambda: browser.n_stored < 4)
            (task,), run = wait_for(lambda: browser.tasks(n=1)), RunDirectory(path)
            roles = ("agent", "learner", "renderer")
            before = {role: read_status(run, role).pid for role in roles}
            line.cut()
            for role in roles:
                wait_for(lambda role=role: read_status(run, role).state == WAITING_FOR_STORE)
            with pytest.raises(httpx.HTTPStatusError, match="503 Service Unavailable"):
                browser.answer(task)  # the page keeps it, and sends it again
            line.mend()
            for role in roles:
                wait_for(lambda role=role: read_status(run, role).state != WAITING_FOR_STORE)
            browser.answer(task)
            browser.label_while(lambda: browser.n_stored < 10)
            assert {role: read_status(run, role).pid for role in roles} == before
            with LabelStore(run.label_store) as store:
                assert store.counts().answered == browser.n_stored == 10
                assert store.check() == []


@needs_postgres
def test_a_language_model_too(name, tmp_path):
    gold = tmp_path / "gold.py"
    gold.write_text("def length(text):\n    return float(len(text))\n")
    told = ["--responses", "64", "--labels", "16", "--gold", f"{gold}:length"]
    told += ["--store", SERVER, "--run", tmp_path / name]
    done = run_prefrl("align", "tiny", "--prompts", "everyday", "--method", "best-of-n", *told)
    assert done.returncode == 0, done.stderr
    run = RunDirectory.open(tmp_path / name)
    assert not run.labels.exists()
    counts, n_people = glance(run.label_store)
    assert counts.answered == counts.queries > 0
    assert n_people == 0


@needs_postgres
def test_a_store_is_made_and_removed(name):
    place = new_store(SERVER, f"{name} {'x' * 99}")
    (schema,) = schemas(name)
    assert len(schema) <= 63
    drop_store(place)
    assert schemas(name) == []


@needs_postgres
def test_what_fails_at_the_start_leaves_nothing(name, tmp_path, monkeypatch):
    def fails(run):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "make_folders", fails)
        with pytest.raises(RunDirectoryError, match="no space left"):
            RunDirectory.create(tmp_path / name, database=SERVER)
    assert schemas(name) == []
    run = RunDirectory.create(tmp_path / name, database=SERVER)
    assert len(schemas(name)) == 1
    run.remove()
    assert schemas(name) == []
    assert not run.root.exists()


@needs_postgres
def test_where_nothing_may_be_made_nothing_is_left(name, tmp_path, capsys):
    raw(SERVER, f"CREATE ROLE {name} LOGIN")
    url = sa.make_url(SERVER).set(username=name).render_as_string()
    try:
        with pytest.raises(SystemExit) as ended:
            main([*TRAIN, "--store", url, "--run", str(tmp_path / "run")])
    finally:
        raw(SERVER, f"DROP ROLE {name}")
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "permission denied for database" in told
    assert "grant CREATE" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("labels.db", "expected store to be postgresql://USER@HOST/DATABASE, got 'labels.db'"),
        ("sqlite:///labels.db", "leave it out to keep the answers in the run's directory"),
        ("postgresql://me:secret@here/db", "Put the password into ~/.pgpass, or set PGPASSWORD"),
        ("postgresql://me@here/db?password=secret", "Put the password into ~/.pgpass"),
        ("postgresql://me@here/db?options=-cx", "each run makes a schema of its own"),
        ("postgresql://me@127.0.0.1:9/db", "expected a PostgreSQL server at"),
    ],
)
def test_what_is_no_such_database_is_refused_before_anything_is_made(
    tmp_path, capsys, store, message
):
    with pytest.raises(SystemExit) as ended:
        main([*TRAIN, "--store", store, "--run", str(tmp_path / "run")])
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert message in told
    assert "secret" not in told
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_away_is_no_reason_for_a_list_to_fail():
    assert glance("postgresql://me@127.0.0.1:9/db") is None
    with pytest.raises(StoreError, match="expected a PostgreSQL server"):
        LabelStore("postgresql://me@127.0.0.1:9/db")
