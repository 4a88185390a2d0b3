"""People label on another machine: nothing is shared but a database and object storage."""

import contextlib
import json
import subprocess
import sys
import uuid

import httpx
import pytest
from labelling import Browser, link_in, prefrl, wait_for
from object_storage import running_storage
from store_places import SERVER, needs_postgres, raw

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.commands.hub import path_of
from prefrl.core.store import LabelStore
from prefrl.runtime.roles.role import read_status

pytestmark = [pytest.mark.timeout(240), needs_postgres]
TRAIN = ["train", "prefrl_envs:prefrl/MovingDot-v0", "--steps", "4000", "--labels", "12"]
TRAIN += ["--segment-length", "10", "--warmup-segments", "10", "--agent.n-envs", "4"]
TRAIN += ["--agent.n-steps", "100", "--agent.batch-size", "100", "--eval-episodes", "2"]
TRAIN += ["--no-films", "--oracle", "human", "--page.elsewhere"]


@pytest.fixture
def storage():
    with running_storage() as storage:
        yield storage


@pytest.fixture
def name():
    """A name for a run that no other test has; what it has made on the server is removed."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    such = f"starts_with(nspname, 'prefrl_{name}_')"
    for (schema,) in raw(SERVER, f"SELECT nspname FROM pg_namespace WHERE {such}"):
        raw(SERVER, f"DROP SCHEMA {schema} CASCADE")


def run_prefrl(*arguments):
    command = [sys.executable, "-m", "prefrl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def refused(capsys, why, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 2, arguments
    assert why in " ".join(capsys.readouterr().err.split())


def store_in(out):
    """The URL that the run prints for those who label elsewhere."""
    told = wait_for(lambda: [line for line in out.read_text().splitlines() if "--store" in line])
    return told[0].split("'")[1]


def test_an_agent_learns_from_people_whom_it_shares_no_disk_with(name, storage, tmp_path, capsys):
    path, folder = tmp_path / "here" / name, tmp_path / "there" / "page"
    out, said = tmp_path / "train.txt", tmp_path / "label.txt"
    told = ["--store", SERVER, "--media", storage.url, "--run", path]
    with prefrl(out, *TRAIN, *told) as training:
        with prefrl(said, "label", folder, "--store", store_in(out)):
            browser = Browser(link_in(said))
            assert browser.me["goal"] == "Bring the dot into the ring, and keep it there."
            assert browser.me["title"] == "MovingDot-v0"
            browser.label_while(lambda: browser.n_stored < 4)
            run, page = RunDirectory(path), RunDirectory(folder)
            assert not run.page.exists()
            wait_for(lambda: read_status(run, "pages").about["people"] == 1)
            told = run_prefrl("status", path).stdout
            assert "pages" in told
            assert "people 1" in told
            assert "viewer" not in told
            here = {film.name for film in run.media.glob("*.webm")}
            assert {film.name for film in page.media.iterdir()} <= here
            (schema,) = json.loads(run.store.read_text())["media"].rsplit("/", 1)[1:]
            assert {f"runs/{schema}/{film}" for film in here} <= set(storage.names())
            browser.label_while(lambda: browser.n_stored < 12)
            wait_for(lambda: training.poll() is not None, 120)
            wait_for(
                lambda: browser.client.get("/api/progress").json()["agent"]["phase"] == "finished"
            )
            progress = browser.client.get("/api/progress").json()
            assert progress["queue"]["answered"] == 12
            assert len(progress["curve"]) == 10
            for command in ("resume", "export", "report", "evaluate", "replay", "watch"):
                refused(capsys, "only the page of a run on another machine", command, folder)
    assert "after, from 12 labels" in out.read_text()
    again = tmp_path / "again.txt"
    with prefrl(again, "label", folder):  # it knows the store by now
        assert Browser(link_in(again)).me["title"] == "MovingDot-v0"


def test_while_the_storage_is_away_nothing_ends_and_nothing_is_lost(name, storage, tmp_path):
    path, folder = tmp_path / "here" / name, tmp_path / "there" / "page"
    out, said = tmp_path / "train.txt", tmp_path / "label.txt"
    told = ["--store", SERVER, "--media", storage.url, "--run", path]
    with prefrl(out, *TRAIN, *told) as training:
        store = store_in(out)
        with prefrl(said, "label", folder, "--store", store):
            browser, run = Browser(link_in(said)), RunDirectory(path)
            (task, *_) = wait_for(lambda: browser.tasks(n=1))
            storage.stop()
            film = browser.client.get(f"/media/{task['items'][0]['media']}")
            assert film.status_code == 503
            assert "its storage is away" in film.json()["error"]
            browser.answer(task)  # an answer needs no film
            wait_for(lambda: read_status(run, "renderer").state == f"waiting for {media_of(run)}")
            assert training.poll() is None
            storage.start()
            wait_for(lambda: not read_status(run, "renderer").state.startswith("waiting"))
            assert browser.client.get(f"/media/{task['items'][0]['media']}").status_code == 200
            with contextlib.suppress(httpx.HTTPStatusError):  # a pair from before may be broken
                browser.label_while(lambda: browser.n_stored < 6)
            with LabelStore(store) as labels:
                assert labels.counts().answered == browser.n_stored >= 6
                assert labels.check() == []


def media_of(run):
    return json.loads(run.store.read_text())["media"]


def test_a_language_model_at_an_address_of_several_runs(name, storage, tmp_path):
    path, there = tmp_path / "here" / name, tmp_path / "there"
    there.mkdir()
    out, served, said = (tmp_path / f"{what}.txt" for what in ("align", "serve", "label"))
    told = ["--responses", "64", "--labels", "8", "--oracle", "human", "--page.elsewhere"]
    told += ["--store", SERVER, "--media", storage.url, "--run", path]
    with (
        prefrl(out, "align", "tiny", "--prompts", "everyday", "--method", "best-of-n", *told),
        prefrl(served, "serve", there),
    ):
        browser = Browser(link_in(served))
        with prefrl(said, "label", there / "page", "--store", store_in(out)) as label:
            assert label.wait(60) == 0  # the page is served already, and this prints a link to it
        assert "/r/" in said.read_text()
        browser.client.base_url = f"{browser.address}/r/{path_of(there, there / 'page')}"
        wait_for(lambda: browser.client.get("/api/me").status_code == 200)
        (task, *_) = wait_for(lambda: browser.tasks(n=1))
        text = browser.client.get(f"/media/{task['items'][0]['media']}").raise_for_status()
        assert set(text.json()) == {"prompt", "response"}
        browser.me = browser.client.get("/api/me").json()
        browser.answer(task)
        assert browser.n_stored == 1
        run = RunDirectory(path)
        wait_for(lambda: browser.tasks(n=1) and read_status(run, "pages").about["people"] == 1)
        news = browser.client.get("/api/progress").json()["agent"]
        assert news["phase"] == "training"


def test_what_cannot_be_a_page_elsewhere_is_refused_before_anything_is_made(name, tmp_path, capsys):
    folder = tmp_path / "page"
    raw(SERVER, f"CREATE SCHEMA prefrl_{name}_empty")
    store = f"{SERVER}&options=-csearch_path%3Dprefrl_{name}_empty"
    for told, why in (
        (["--store", store], "expected the label store of a run"),
        (["--store", "sqlite:///labels.db"], "expected store to be the URL of a run's label store"),
        (["--store", store.replace("prefrl@", "prefrl:secret@")], "without a password"),
        (["--media", "s3://labels"], "expected --store with --media"),
        (["--store", store, "--sample"], "expected one of"),
    ):
        refused(capsys, why, "label", folder, *told)
        assert not folder.exists()
    assert (
        raw(SERVER, f"SELECT tablename FROM pg_tables WHERE schemaname = 'prefrl_{name}_empty'")
        == []
    )
    for told, why in (
        (["--oracle", "human", "--media", "s3://labels"], "expected --store with --media"),
        (["--store", SERVER, "--media", "s3://labels"], "expected --oracle human or mixed"),
        (
            ["--oracle", "human", "--store", SERVER, "--media", "labels"],
            "expected media to be a URL",
        ),
    ):
        place = tmp_path / name
        refused(capsys, why, "train", "CartPole-v1", *told, "--run", place)
        assert not place.exists()
