"""The labelling page as its user gets it: served beside a training, after it, or for a try."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labelling import LINK, Browser, free_port, link_in, prefrl, wait_for

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.commands import page as label_page
from prefrl.commands.announcing import announce
from prefrl.commands.hub import HUB, hub_of
from prefrl.commands.page import (
    PageConfig,
    check_page,
    invite,
    is_served,
    open_page,
    page_of,
    viewer_command,
)
from prefrl.commands.samples import make_samples
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, MissingExtraError, RunDirectoryError
from prefrl.runtime.roles.role import only_one, read_status

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SHORT = ["--labels", "24", "--steps", "8000", "--segment-length", "10", "--warmup-segments", "10",
         "--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100",
         "--agent.n-epochs", "1", "--eval-episodes", "2", "--no-films"]  # fmt: skip


@pytest.mark.timeout(240)
def test_a_training_is_labelled_killed_stopped_and_resumed_through_its_page(tmp_path):
    run, out, port = RunDirectory(tmp_path / "run"), tmp_path / "out", free_port()
    page = ["--page.port", str(port), "--page.overlap-share", "0", "--page.repeat-share", "0"]
    with prefrl(out, "train", DOT, *SHORT, "--oracle", "human", *page, "--run", run.root):
        link = link_in(out)
        assert int(link[1]) == port
        browser = Browser(link)
        assert (browser.me["annotator"], browser.me["role"]) == ("owner", "owner")
        assert browser.me["title"] == "MovingDot-v0"
        wait_for(browser.tasks)  # the first films are there
        browser.label_while(lambda: browser.n_stored < 4)

        killed = read_status(run, "viewer").pid
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: read_status(run, "viewer").pid != killed and browser.is_there())
        browser.label_while(lambda: browser.n_stored < 8)
        assert not run.summary.exists()
    assert "Saved and stopped" in out.read_text()
    assert not browser.is_there()

    with prefrl(out, "resume", run.root) as resumed:
        link = link_in(out)
        assert int(link[1]) == port
        wait_for(browser.is_there)  # the session of before still holds
        browser.label_while(lambda: resumed.poll() is None)
    assert run.summary.is_file()
    with LabelStore(run.labels) as store:
        events = store.events()
    assert {event.annotator_id for event in events} == {"owner"}
    # An answer may be on disk whose acknowledgement was lost when training ended.
    assert browser.n_stored <= len(events) <= browser.n_stored + 1
    assert len({event.query_id for event in events}) == len(events)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    out = folder / "out"
    arguments = ["label", folder / "run", "--sample", "--page.port", free_port()]
    with prefrl(out, *arguments):
        yield RunDirectory(folder / "run"), Browser(link_in(out))


def test_a_newcomer_can_try_the_page_with_samples(sample):
    _, browser = sample
    tasks = browser.tasks()
    while more := browser.tasks(have=[task["id"] for task in tasks]):
        tasks += more
    kinds = [(task["kind"], task["media_type"], len(task["items"])) for task in tasks]
    assert kinds.count(("pair", "video/webm", 2)) == 4
    assert kinds.count(("pair", "application/json", 2)) == 4
    assert kinds.count(("ranking", "application/json", 4)) == 1
    for task in tasks:
        for item in task["items"]:
            medium = browser.client.get(f"/media/{item['media']}")
            assert medium.headers["content-type"] == task["media_type"]
            if task["media_type"] == "application/json":
                assert set(json.loads(medium.text)) == {"prompt", "response"}


def test_others_are_invited_by_a_link_of_their_own(sample, capsys):
    run, _ = sample
    main(["label", str(run.root), "--invite", "anna"])
    said = capsys.readouterr().out
    assert "For anna" in said
    anna = Browser(LINK.search(said)).me
    assert (anna["annotator"], anna["role"]) == ("anna", "annotator")


def test_a_page_that_is_served_is_not_served_twice(sample, capsys):
    run, browser = sample
    assert is_served(run)
    main(["label", str(run.root)])
    said = capsys.readouterr().out
    assert "served already" in said
    again = Browser(LINK.search(said))
    assert again.address == browser.address
    assert again.me["role"] == "owner"


def test_what_begins_with_a_page_is_refused_where_one_is_served(sample, tmp_path, capsys):
    """Neither a judge nor a setting is left out without a word."""
    judge = ["--oracle", "ai", "--judge.url", "http://127.0.0.1:1/v1", "--judge.model", "none"]
    run, browser = sample
    (tmp_path / "folder").mkdir()
    below = make_samples(tmp_path / "folder" / "below")
    open_page(below, PageConfig(port=8888, strength=True))
    hub = hub_of(tmp_path / "folder")
    hub.locks.mkdir(parents=True)
    hub.write_json(hub.page, {"address": "http://127.0.0.1:8889/"})
    port = browser.address.rpartition(":")[2]
    with only_one(hub, HUB):
        for one, by in ((run, "its page is open"), (below, "prefrl serve")):
            told = RunDirectory.read_json(one.config)
            for asked, message in [
                ([*judge, "--goal", "Be brief."], "--oracle ai takes effect"),
                (["--page.answers-per-pair", "3"], "--page.answers-per-pair takes"),
                ([*judge, "--page.port", "8890"], "--oracle ai and --page.port take effect"),
            ]:
                with pytest.raises(SystemExit) as ended:
                    main(["label", str(one.root), *asked])
                assert ended.value.code == 2
                said = " ".join(capsys.readouterr().err.split())
                assert message in said
                assert by in said
            assert RunDirectory.read_json(one.config) == told
        # What it is served with already is no such thing, nor is an invitation.
        for arguments in (
            [run.root, "--page.port", port],
            [below.root, "--page.strength", "--page.name", "berta"],
            [below.root, "--invite", "anna"],
        ):
            main(["label", *map(str, arguments)])
            assert "#enter=" in capsys.readouterr().out


def test_a_page_of_a_training_and_one_of_its_own_stand_by_for_each_other(tmp_path):
    run = make_samples(tmp_path / "run")
    open_page(run, PageConfig(port=free_port()))
    command = [sys.executable, "-m", "prefrl.commands.page", "viewer", str(run.root)]
    pages = [subprocess.Popen(command)]
    try:
        wait_for(lambda: _serves(run, pages[0]))
        pages.append(subprocess.Popen(command))
        time.sleep(1.5)
        assert _serves(run, pages[0])
        pages[0].kill()
        wait_for(lambda: _serves(run, pages[1]))
    finally:
        for page in pages:
            page.terminate()
            page.wait(20)
    assert not is_served(run)
    assert read_status(run, "viewer").about["people"] == 0


def test_of_two_pages_that_chose_the_same_port_the_later_one_moves(tmp_path):
    runs = [make_samples(tmp_path / name) for name in ("first", "second")]
    port = check_page(PageConfig()).port
    links = [open_page(run, PageConfig(port=port)) for run in runs]  # neither listens yet
    pages, told = [], []
    try:
        for run, link in zip(runs, links, strict=True):
            n_told = len(told)
            announce(run, link, told.append)
            pages.append(subprocess.Popen(viewer_command(run).argv))
            wait_for(lambda n_told=n_told: len(told) > n_told)
        first, second = (Browser(LINK.search(link)) for link in told)
        assert first.address != second.address
        assert first.address == f"http://127.0.0.1:{page_of(runs[0]).port}"
        assert first.tasks()
        assert second.tasks()
        moved = page_of(runs[1]).port
        assert second.address == f"http://127.0.0.1:{moved}"
        # Where people came once, the page stays: their browsers keep answers for that address.
        pages[1].kill()
        pages[1].wait()
        with contextlib.ExitStack() as taken:
            with contextlib.suppress(OSError):  # another took it already: the same
                taken.enter_context(socket.create_server(("127.0.0.1", moved)))
            refused = subprocess.run(
                viewer_command(runs[1]).argv, capture_output=True, text=True, timeout=60
            )
        assert f"expected to listen on 127.0.0.1 port {moved}" in refused.stderr
        assert page_of(runs[1]).port == moved
    finally:
        for page in pages:
            page.kill()
            page.wait()


def _serves(run, process):
    status = read_status(run, "viewer")
    return status is not None and (status.pid, status.state) == (process.pid, "serving")


def test_a_link_without_a_page_says_how_to_serve_it(tmp_path, capsys):
    run = make_samples(tmp_path / "run")
    open_page(run, PageConfig(port=8888))
    main(["label", str(run.root), "--invite", "anna"])
    assert f"prefrl label {run.root}" in capsys.readouterr().out.replace("\n", " ")


def test_a_page_has_a_free_port_and_keeps_it(tmp_path, monkeypatch):
    first = free_port()
    monkeypatch.setattr(label_page, "_PORTS", range(first, first + 100))
    assert check_page(PageConfig()).port == first
    run = make_samples(tmp_path / "run")
    with socket.create_server(("127.0.0.1", first)):
        page = check_page(PageConfig(name="berta", hosts=("labels.example.org",)))
        assert page.port > first
        with pytest.raises(ConfigError, match=rf"listen on 127.0.0.1 port {first}, but"):
            check_page(PageConfig(port=first))
    open_page(run, page)
    assert page_of(run) == page
    assert check_page(PageConfig(), run) == page
    assert check_page(PageConfig(name="carla"), run).port == page.port
    with socket.create_server(("127.0.0.1", page.port)):
        assert check_page(PageConfig(), run).port == first


def test_an_exposed_page_is_called_by_the_name_that_others_use(tmp_path):
    run = make_samples(tmp_path / "run")
    for hosts, start in [
        (("labels.example.org",), "http://labels.example.org:8799/#enter="),
        (("labels.example.org:80",), "http://labels.example.org:80/#enter="),
    ]:
        page = PageConfig(port=8799, host="0.0.0.0", expose=True, hosts=hosts)
        assert open_page(run, page).startswith(start)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"host": "0.0.0.0"}, "expected a loopback address"),
        ({"expose": True}, "--page.hosts"),
        ({"gold_share": 0.9}, "gold_share"),
    ],
)
def test_a_page_that_cannot_be_served_is_refused_before_anything_starts(page, message):
    with pytest.raises(ConfigError, match=message):
        check_page(PageConfig(**page))


def test_instructions_must_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PageConfig(instructions=tmp_path / "rules.md")
    with pytest.raises(ConfigError, match=r"rules\.md"):
        check_page(page)
    (tmp_path / "rules.md").write_text("# Which is better?")
    relative = PageConfig(instructions=(tmp_path / "rules.md").relative_to(tmp_path))
    assert check_page(relative).instructions == tmp_path / "rules.md"


@pytest.mark.parametrize(
    ("told", "rules", "goal", "budget"),
    [
        ({"preferences": {"labels": 60}}, None, "Run to the right as fast as possible.", 60),
        ({"preferences": {"labels": 60}}, "rules.md", None, 60),  # they say what is better
        ({"preferences": {"labels": 60}, "goal": "Lie."}, "rules.md", "Lie.", 60),
        ({"preferences": {"labels": 60}, "goal": ""}, None, None, 60),
        ({"preferences": {"labels": 60, "labels_from": ["RUN"]}, "goal": ""}, None, None, None),
        ({"labels": 60, "data": "pairs.jsonl", "goal": ""}, None, None, None),
        ({"labels": 60, "data": None, "goal": ""}, None, None, 60),
    ],
)
def test_a_page_says_what_is_asked_for(told, rules, goal, budget):
    page = PageConfig(port=8770, instructions=rules and Path(rules))
    told = {"env_id": "HalfCheetah-v5", **told}
    served = label_page.viewer_config(RunDirectory("."), page, told)
    assert (served.goal, served.budget) == (goal, budget)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(label_page, "_NEEDED", ("uvicorn", "no_such_library"))
    with pytest.raises(MissingExtraError, match=r"no_such_library.*pip install 'prefrl\[viewer\]'"):
        check_page(PageConfig())


def test_a_run_without_a_page_has_nobody_to_invite(tmp_path):
    run = make_samples(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="expected a run with a labelling page"):
        invite(run, "anna", role="annotator")
    run.write_json(run.page, {"port": 8770, "no_such_setting": 1})
    with pytest.raises(RunDirectoryError, match="remove the file"):
        invite(run, "anna", role="annotator")


def test_bad_input_gets_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, message in [
        (["label", "no/such/run"], "no/such/run"),
        (["train", DOT, "--oracle", "human", "--sync"], "leave --sync out"),
        (["train", DOT, "--oracle", "human", "--page.host", "0.0.0.0"], "loopback"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
