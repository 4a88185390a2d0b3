"""What ``prefrl serve`` finds below a folder, opens, closes and gives back; without its process."""

import asyncio
import os
import shutil
import sys
import time

import httpx
import pytest
from labelling import free_port
from pages import samples, wait_for

from clip_viewer import hub as hub_module
from clip_viewer.hub import Hub
from clip_viewer.people import People, Person, write_token
from prefrl.commands import serve as serving
from prefrl.commands.hub import HUB, find_runs, hub_above, hub_of, path_of
from prefrl.commands.page import PageConfig, viewer_config
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.glance import glance
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory

ENDS_SLOWLY = """
import pathlib, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *told: (time.sleep(5), sys.exit()))
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(100)
"""


def test_nobody_waits_until_what_draws_films_has_ended(tmp_path, monkeypatch):
    """Requests are answered where that is told to end."""
    run, said = RunDirectory(tmp_path / "runs" / "a"), tmp_path / "said"
    shutil.copytree(samples().root, run.root)
    run.write_json(run.config, {**run.read_json(run.config), "env_id": "Swimmer-v5"})
    with LabelStore(run.labels) as store:
        store.add_queries([Query("undrawn", "undrawn-l", "undrawn-r")], priorities=[99.0])
    argv = [sys.executable, "-c", ENDS_SLOWLY, str(said)]
    monkeypatch.setattr(serving, "role_command", lambda role, run: RoleCommand(role, argv))
    shelf = serving.RunShelf(tmp_path / "runs", PageConfig(port=free_port()))
    (found,) = shelf.look()
    assert shelf.take(found)
    assert shelf.take(found)  # it has it already
    shelf.tend({found.path: (1, 0)})
    pid = int(wait_for(lambda: said.is_file() and said.read_text()))
    began = time.monotonic()
    shelf.give_back(found.path)
    shelf.tend({})
    assert shelf.take(found)
    assert time.monotonic() - began < 3
    os.kill(pid, 0)  # it is still there
    shutil.rmtree(run.root)
    shelf.tend({found.path: (1, 0)})  # and what goes away takes nothing else along
    shelf.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_found_below_a_folder(tmp_path):
    assert find_runs(tmp_path) == []
    for place in ("b", "a/deep/er", ".hidden", "half"):
        shutil.copytree(samples().root, tmp_path / place)
    shutil.copytree(samples().root, tmp_path / "b" / "inside")
    (tmp_path / "half" / "labels.db").unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    found = [run.root.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert found == ["a/deep/er", "b"]
    counts, n_people = glance(tmp_path / "b" / "labels.db")
    assert (counts.open, counts.answered, n_people) == (14, 0, 0)
    with LabelStore(tmp_path / "b" / "labels.db") as store:
        (query,) = store.open_queries(1)
        for name in ("ai:gpt", "dataset", "dataset-2", "renderer", "anna"):
            store.submit(query.id, Answer.LEFT, submission_key=name, annotator_id=name)
    counts, n_people = glance(tmp_path / "b" / "labels.db")
    assert (counts.open, counts.answered, n_people) == (13, 1, 1)
    (tmp_path / "b" / "labels.db").write_text("no database")
    assert glance(tmp_path / "b" / "labels.db") is None
    assert glance(tmp_path / "none.db") is None


def test_a_run_leaves_its_page_to_those_alone_that_find_it(tmp_path):
    folder = tmp_path / "home" / ".cache" / "folder"
    places = ("a", "a/inside", "1/2/3/4/5", "1/2/3/4/5b/6", ".hidden/a", "2/.hidden/a", ".")
    runs = {place: RunDirectory(folder / place) for place in places}
    for run in runs.values():
        run.root.mkdir(parents=True, exist_ok=True)
        run.labels.touch()
        run.write_json(run.config, {})
    for served, found in [
        (folder, ["."]),  # a run itself: what lies in it is no run
        (folder, ["1/2/3/4/5", "a"]),
        (folder / "1/2/3", ["1/2/3/4/5", "1/2/3/4/5b/6"]),
        (folder / ".hidden", [".hidden/a"]),
        (folder.parent.parent, []),
    ]:
        hub = hub_of(served)
        hub.locks.mkdir(parents=True, exist_ok=True)
        hub.write_json(hub.page, {"address": "http://127.0.0.1:1/"})
        with only_one(hub, HUB):
            left = sorted(place for place, run in runs.items() if hub_above(run) == served)
        there = [run.root.relative_to(folder).as_posix() for run in find_runs(served)]
        assert (left, sorted(there)) == (found, found)
        if found == ["."]:
            runs.pop(".").config.unlink()
    assert all(hub_above(run) is None for run in runs.values())


def test_a_study_is_counted_again_when_its_store_has_changed(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "a")
    shutil.copytree(samples().root, run.root)
    page = PageConfig(port=free_port())
    shelf = serving.RunShelf(tmp_path, page)
    hub_of(tmp_path).root.mkdir()
    hub = Hub(viewer_config(hub_of(tmp_path), page, {}), shelf)
    looks = []
    monkeypatch.setattr(hub_module, "glance", lambda path: looks.append(path) or glance(path))

    def told():
        (row,) = hub._studies(Person("anna", "annotator")).studies
        return row.answered, row.people, len(looks)

    def rest():
        for path in run.root.glob("labels.db*"):
            os.utime(path, (1e9, 1e9))

    rest()
    assert [told() for _ in range(3)] == [(0, 0, 1)] * 3
    with LabelStore(run.labels) as store:
        for name in ("bob", "cid"):
            (query,) = store.open_queries(1)
            key = f"key-{name}"
            store.submit(query.id, Answer.SKIP, submission_key=key, annotator_id=name)
            # It may be written twice within one tick of the file's clock.
            n_looks = len(looks)
            assert [told()[2] for _ in range(2)] == [n_looks + 1, n_looks + 2]
    assert told()[:2] == (2, 2)
    rest()
    n_looks = len(looks)
    assert [told() for _ in range(3)] == [(2, 2, n_looks + 1)] * 3


def test_a_study_is_closed_when_what_is_asked_of_it_is_answered(tmp_path):
    """A writer that is closed answers nobody any more."""
    hub_folder = hub_of(tmp_path)
    hub_folder.root.mkdir()
    run = RunDirectory(tmp_path / "a")
    shutil.copytree(samples().root, run.root)
    page = PageConfig(port=free_port())
    config = viewer_config(hub_folder, page, {})
    shelf = serving.RunShelf(tmp_path, page)
    hub = Hub(config, shelf)
    people = People(config.people)
    session, _ = people.enter(people.invite("anna"))
    address = f"http://127.0.0.1:{page.port}"
    headers = {"Origin": address, "X-Prefrl-Token": write_token(session)}
    path = f"/r/{path_of(tmp_path, run.root)}"

    async def ask():
        transport = httpx.ASGITransport(hub)
        cookies = {f"prefrl_session_{page.port}": session}
        async with httpx.AsyncClient(
            transport=transport, base_url=address, headers=headers, cookies=cookies
        ) as anna:
            assert (await anna.get(f"{path}/api/me")).status_code == 200
            begun, goes_on = asyncio.Event(), asyncio.Event()

            async def slowly():
                begun.set()
                await goes_on.wait()
                yield b'{"n": 1}'

            headers_of_json = {"Content-Type": "application/json"}
            asking = asyncio.create_task(
                anna.post(f"{path}/api/tasks", content=slowly(), headers=headers_of_json)
            )
            await begun.wait()
            told = RunDirectory.read_json(run.config)
            run.write_json(run.config, {**told, "goal": "Anew."})
            while (await anna.get(f"{path}/api/me")).json()["goal"] != "Anew.":
                await asyncio.sleep(0.1)
            goes_on.set()
            answer = await asyncio.wait_for(asking, 10)
            assert answer.status_code == 200
            assert len(answer.json()["tasks"]) == 1

    try:
        asyncio.run(ask())
    finally:
        hub.close()
        shelf.close()
