"""All runs of a folder at one address: as a person sees it, and as somebody who is not let in."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from labelling import LINK, free_port
from pages import Visitor, needs_chromium, picture, samples, wait_for

from clip_viewer.people import People, write_token
from prefrl.commands.hub import OPENED, hub_of, path_of
from prefrl.commands.page import PageConfig, open_page
from prefrl.core.store import LabelStore
from prefrl.runtime.own.folder import Chosen, make_folder
from prefrl.runtime.people.presence import film_pixels
from prefrl.runtime.roles.role import is_taken, read_status
from prefrl.runtime.rundir import RunDirectory


class Folder:
    """A folder of runs, and the process that serves all of them."""

    def __init__(self, root):
        self.root, self.port = root, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.out = root.parent / "out"
        self.process = None
        (root / "day 1").mkdir(parents=True)
        shutil.copytree(samples().root, root / "day 1" / "clips")
        (root.parent / "lines.txt").write_text("one\ntwo\nthree\nfour\n")
        self.add_texts("texts")
        self.clips = RunDirectory(root / "day 1" / "clips")
        goal = {**RunDirectory.read_json(self.clips.config), "goal": "Go to the ring."}
        RunDirectory.write_json(self.clips.config, goal)

    def add_texts(self, name):
        return make_folder(self.root / name, "texts", self.root.parent / "lines.txt", Chosen()).run

    def serve(self):
        options = [
            "--page.port", str(self.port), "--page.overlap-share", "0", "--page.repeat-share", "0",
        ]  # fmt: skip
        command = [sys.executable, "-m", "prefrl", "serve", str(self.root), *options]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

        def link():
            assert self.process.poll() is None, self.out.read_text()
            return LINK.search(self.out.read_text())

        return wait_for(link)[0]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def path(self, run):
        return f"/r/{path_of(self.root, run.root)}"

    def client(self, name=None, role="annotator"):
        client = httpx.Client(base_url=self.address, headers={"Origin": self.address})
        if name is not None:
            people = People(hub_of(self.root).people)
            session, _ = people.enter(people.invite(name, role=role))
            client.cookies.set(f"prefrl_session_{self.port}", session)
            client.headers["X-Prefrl-Token"] = write_token(session)
        return client


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path / "runs")
    folder.link = folder.serve()
    yield folder
    folder.kill()


def events(run):
    with LabelStore(run.labels) as store:
        return store.events()


@needs_chromium
def test_a_person_finds_what_waits_and_answers_it(folder, browser, tmp_path):
    visitor = Visitor(browser, folder.link, begins=False)
    page = visitor.page
    rows = page.locator("#studies .study")
    page.wait_for_selector(".study >> nth=1")
    assert [rows.nth(i).locator(".name").inner_text() for i in range(2)] == [
        "Samples (day 1/clips)", "lines (texts)",
    ]  # fmt: skip
    assert "Go to the ring." in rows.nth(0).inner_text()
    assert "0 of 6 answered" in rows.nth(1).inner_text()
    # What comes and goes is noticed without a word.
    third = folder.add_texts("third")
    page.wait_for_selector(".study >> nth=2")
    shutil.rmtree(third.root)
    page.wait_for_selector(".study >> nth=2", state="detached")
    page.get_by_role("link", name="Samples").click()
    visitor.begin()
    assert page.inner_text("#title") == "Samples"
    assert page.inner_text("#goal") == "Go to the ring."
    other = visitor.tab()
    other.goto(page.url)
    other.wait_for_selector("body[data-state=showing]")
    assert other.locator("#stage").get_attribute("data-task") != visitor.task
    other.close()
    shown = [visitor.next("ArrowLeft")[0] for _ in range(2)]
    visitor.wait_until_saved()
    assert [event.query_id for event in events(folder.clips)] == shown
    # An oracle that fills in leaves it to them.
    wait_for(lambda: read_status(folder.clips, "viewer").about["people"] == 1)
    # The server dies; what is answered meanwhile is kept, and sent from the list, too.
    folder.kill()
    shown += [visitor.next("ArrowRight")[0] for _ in range(2)]
    page.wait_for_selector("#saved[data-how=offline]")
    assert page.evaluate("document.body.dataset.outbox") == "2"
    folder.serve()
    page.goto(folder.address)
    wait_for(lambda: len(events(folder.clips)) == 4)
    assert [event.query_id for event in events(folder.clips)] == shown
    page.wait_for_function("() => document.querySelector('.done').textContent.startsWith('4')")
    picture(page, "studies")
    # The dashboard of each, and back; one sign-in for all.
    page.get_by_role("link", name="lines (texts)").click()
    visitor.wait("showing")  # the instructions are the same, and were read
    page.click("#to-dashboard")
    page.wait_for_url("**/dashboard")
    page.wait_for_selector("body[data-state=showing]")
    assert page.inner_text("#title") == "lines"
    page.click("#to-list")
    page.wait_for_selector("#studies .study")
    assert page.url == f"{folder.address}/"
    assert visitor.faults == []
    visitor.context.close()


def test_each_route_is_guarded_and_media_stay_in_their_study(folder):
    clips, texts = folder.path(folder.clips), f"/r/{path_of(folder.root, folder.root / 'texts')}"
    with LabelStore(folder.clips.labels) as store:
        film = store.media.of(["clip0a"])["clip0a"].media_id
    with (
        folder.client() as nobody,
        folder.client("anna") as anna,
        folder.client("boss", "owner") as boss,
    ):
        for path in ("/api/me", "/api/studies", f"{clips}/api/me", f"{clips}/media/{film}"):
            assert nobody.get(path).status_code == 401, path
            answer = anna.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert anna.put(path).status_code == 405
            assert anna.get(path, headers={"Host": "evil.example"}).status_code == 400
        # Writing needs the token and our own page, in each study.
        for headers, why in [({"X-Prefrl-Token": "no"}, "token"), ({"Origin": "null"}, "own page")]:
            refused = anna.post(f"{clips}/api/tasks", json={"n": 1}, headers=headers)
            assert refused.status_code == 403
            assert why in refused.json()["error"]
        assert anna.post(f"{clips}/api/tasks", json={"n": 1}).status_code == 200
        for path in ("statistics", "people", "labels.jsonl", "standings"):
            assert anna.get(f"{clips}/api/{path}").status_code == 403
            assert boss.get(f"{clips}/api/{path}").status_code == 200
        assert anna.get(f"{texts}/media/{film}").status_code == 404
        for path in ("/r/", "/r/nowhere/", f"{clips}", f"{clips}/api/none"):
            assert nobody.get(path).status_code in (401, 404), path
            assert anna.get(path).status_code == 404, path
        assert nobody.get(f"{clips}/").status_code == 200  # the page, which asks to sign in
        names = {row["name"]: row for row in anna.get("/api/studies").json()["studies"]}
        assert {name: row["here"] for name, row in names.items()} == {"day 1/clips": 1, "texts": 0}
        # Without a session of the hub, one of the run's own is nothing here.
        own = People(folder.clips.people)
        session, _ = own.enter(own.invite("anna"))
        nobody.cookies.set(f"prefrl_session_{folder.port}", session)
        assert nobody.get(f"{clips}/api/me").status_code == 401
        assert anna.delete("/api/session").status_code == 204
        assert anna.get(f"{clips}/api/me").status_code == 401


def test_what_draws_a_runs_films_is_told_how_large_they_are_shown(folder):
    with folder.client("anna") as anna:
        asked = {"n": 1, "pixels": 431}
        assert anna.post(f"{folder.path(folder.clips)}/api/tasks", json=asked).status_code == 200
        wait_for(lambda: film_pixels(folder.clips) == 431)


def test_a_study_whose_settings_change_is_opened_anew(folder):
    """Nobody is turned away meanwhile, and who is there is known."""
    run, path = folder.clips, folder.path(folder.clips)
    told = RunDirectory.read_json(run.config)
    with folder.client("anna") as anna:

        def goal():
            answer = anna.get(f"{path}/api/me")
            assert answer.status_code == 200
            return answer.json()["goal"]

        assert anna.post(f"{path}/api/tasks", json={"n": 1}).status_code == 200
        assert goal() == "Go to the ring."
        for new in ("Stay away from the ring.", "Go to the ring."):
            run.write_json(run.config, {**told, "goal": new})
            wait_for(lambda new=new: goal() == new)
            rows = {row["name"]: row for row in anna.get("/api/studies").json()["studies"]}
            assert (rows["day 1/clips"]["goal"], rows["day 1/clips"]["here"]) == (new, 1)
        run.config.write_text("no JSON")
        wait_for(lambda: anna.get(f"{path}/api/me").status_code == 404)
        run.write_json(run.config, told)
        wait_for(lambda: anna.get(f"{path}/api/me").status_code == 200)


def test_a_study_that_cannot_be_opened_is_opened_when_it_is_mended(folder):
    run, me = folder.clips, f"{folder.path(folder.clips)}/api/me"
    with folder.client("anna") as anna:
        for is_folder in (True, False):
            run.people.mkdir() if is_folder else run.people.write_text("no database")
            for _ in range(2):
                assert anna.get(me).status_code == 404
            wait_for(lambda: not is_taken(run, OPENED))  # nobody else is kept from it
            names = [row["name"] for row in anna.get("/api/studies").json()["studies"]]
            assert names == ["day 1/clips", "texts"]
            run.people.rmdir() if is_folder else run.people.unlink()
        assert anna.get(me).status_code == 200


def test_a_run_is_served_by_one_server_alone(folder, capsys):
    """A page of its own stands by while the folder is served, and takes over when it is not."""
    run = folder.clips
    port = free_port()
    open_page(run, PageConfig(port=port))
    command = [sys.executable, "-m", "prefrl.commands.page", "viewer", str(run.root)]
    own = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def answers(port):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True

    try:
        wait_for(lambda: (status := read_status(run, "viewer")) and status.state == "standing by")
        with folder.client("anna") as anna:
            assert anna.get(f"{folder.path(run)}/api/me").status_code == 200
        assert not answers(port)
        wait_for(
            lambda: read_status(run, "viewer").state == "serving"
        )  # the folder's server says so
        from prefrl.cli import main

        main(["label", str(run.root)])
        said = capsys.readouterr().out
        assert f"{folder.address}{folder.path(run)}/#enter=" in said.replace("\n", "")
        folder.kill()
        wait_for(lambda: answers(port))
        folder.serve()  # now the run's own server is there first: it is left to it
        with folder.client("boss", "owner") as boss, folder.client("anna") as anna:
            rows = {row["name"]: row for row in boss.get("/api/studies").json()["studies"]}
            assert rows["day 1/clips"]["elsewhere"] == f"http://127.0.0.1:{port}/"
            assert boss.get(f"{folder.path(run)}/api/me").status_code == 404
            rows = {row["name"]: row for row in anna.get("/api/studies").json()["studies"]}
            assert rows["day 1/clips"]["elsewhere"] == ""  # the address is the owner's
    finally:
        own.terminate()
        own.wait(20)


def test_bad_input_gets_one_sentence(tmp_path, capsys):
    from prefrl.cli import main

    for arguments, message in [
        ([str(tmp_path / "none")], "expected a folder with runs"),
        ([str(tmp_path), "--invite", "anna"], "expected a folder that is served"),
        ([str(tmp_path), "--page.host", "0.0.0.0"], "loopback"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(["serve", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
