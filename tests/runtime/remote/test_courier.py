"""News between a run and its pages, whose clocks differ by hours."""

import json

import pytest
from clocks import Clock

from prefrl.core.store import LabelStore
from prefrl.runtime.people.presence import film_pixels, n_people_present
from prefrl.runtime.remote.courier import FINISHED, PageSide, RunSide
from prefrl.runtime.roles.role import Heartbeat, read_status
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable, read_rows

ROW = {"env_steps": 0, "true_return_mean": 0.0, "dropped": 0}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        yield store


@pytest.fixture
def page(tmp_path):
    """Makes the folder of a page by its name."""

    def make(name="page"):
        folder = RunDirectory.create(tmp_path / name)
        folder.write_json(folder.store, {"place": "", "media": "", "page": name})
        return folder

    return make


def beat(run, role, clock, state="serving", **about):
    told = {"role": role, "pid": 1, "state": state, "beat_at": clock(), "started_at": 0.0}
    (run.status / f"{role}.json").write_text(json.dumps({**told, "about": about}))


def test_a_page_elsewhere_shows_what_the_agent_does(run, store, page):
    here, there = Clock(1e6), Clock(2e6)
    folder = page()
    run_side, page_side = RunSide(run, store, clock=here), PageSide(folder, store, clock=there)
    page_side.step()
    assert read_status(folder, "agent") is None
    beat(run, "agent", here, "acting", env_steps=400, troubles=["all are ties"])
    table = CsvTable(run.metrics)
    for step in range(400, 1200, 400):
        table.append({**ROW, "env_steps": step, "true_return_mean": step / 100})
    table.append({**ROW, "env_steps": 1200, "true_return_mean": float("nan")})
    run_side.step()
    page_side.step()
    told = read_status(folder, "agent")
    assert (told.state, told.about["troubles"]) == ("acting", ["all are ties"])
    assert there() - told.beat_at == 10  # it may be from long ago
    points = [(row["env_steps"], row["true_return_mean"]) for row in read_rows(folder.metrics)]
    assert points == [("400", "4.0"), ("800", "8.0")]
    here.now += 5
    beat(run, "agent", here, "acting", env_steps=800)
    run_side.step()
    there.now += 5
    page_side.step()
    assert read_status(folder, "agent").beat_at == there()  # by the clock of the page's machine


def test_an_agent_that_says_nothing_any_more_grows_old(run, store, page):
    here, there = Clock(1e6), Clock(2e6)
    folder = page()
    run_side, page_side = RunSide(run, store, clock=here), PageSide(folder, store, clock=there)
    for _ in range(3):
        beat(run, "agent", here, "acting")
        run_side.step()
        page_side.step()
        here.now += 5
        there.now += 5
    last = read_status(folder, "agent").beat_at
    there.now += 60
    run_side.step()  # the courier lives, but not the agent
    page_side.step()
    assert read_status(folder, "agent").beat_at == last


def test_the_end_is_told_and_taken_back_when_the_run_is_extended(run, store, page):
    folder = page()
    run_side, page_side = RunSide(run, store), PageSide(folder, store)
    run.policy.write_bytes(b"")
    run_side.step()
    page_side.step()
    assert (folder.status / FINISHED).is_file()
    run.policy.unlink()
    run_side.step()
    page_side.step()
    assert not (folder.status / FINISHED).exists()


def test_the_run_knows_how_many_people_are_at_all_pages(run, store, page):
    here, there = Clock(1e6), Clock(2e6)
    one, two = page("one"), page("two")
    sides = [PageSide(folder, store, clock=there) for folder in (one, two)]
    run_side = RunSide(run, store, clock=here)
    run_side.step()
    Heartbeat(run, "viewer").beat("serving", people=1, pixels=300)  # the run's own page
    beat(one, "viewer", there, people=2, pixels=640)
    beat(two, "viewer", there, people=3, pixels=320)
    for side in (*sides, run_side):
        side.step()
    assert (n_people_present(run), film_pixels(run)) == (6, 640)


def test_a_page_that_is_gone_has_nobody(run, store, page):
    here, there = Clock(1e6), Clock(2e6)
    folder = page()
    run_side, page_side = RunSide(run, store, clock=here), PageSide(folder, store, clock=there)

    def people():
        run_side.step()
        told = json.loads((run.status / "pages.json").read_text())
        run_side._heartbeat._next = 0.0  # it writes twice a second at most
        return told["about"]["people"]

    assert people() == 0
    beat(folder, "viewer", there, people=2)
    page_side.step()
    people()
    assert people() == 2
    here.now += 11  # the machine of the page was switched off
    people()
    assert people() == 0
    beat(folder, "viewer", there, people=3)
    page_side.step()
    people()
    assert people() == 3
    page_side.close()
    people()
    assert people() == 0


def test_a_notice_from_before_counts_for_nobody(run, store):
    store.notices.put("page/one", {"people": 2, "pixels": 320, "beat": 1.0})
    RunSide(run, store).step()
    assert n_people_present(run) == 0


def test_a_page_whose_process_died_has_nobody(run, store, page):
    clock = Clock(1e6)
    folder = page()
    beat(folder, "viewer", clock, people=2)
    clock.now += 11
    PageSide(folder, store, clock=clock).step()
    assert store.notices.all("page/") == {"page/page": {"people": 0, "pixels": 0, "beat": 0.0}}


def test_a_long_curve_is_thinned_and_nothing_is_told_twice(run, store):
    clock, table = Clock(1e6), CsvTable(run.metrics)
    for step in range(1000):
        table.append({**ROW, "env_steps": step, "true_return_mean": 1.0})
    side = RunSide(run, store, clock=clock)
    beat(run, "agent", clock, "acting")
    side.step()
    curve = store.notices.get("agent")["curve"]
    assert len(curve) == 200
    assert (curve[0][0], curve[-1][0]) == (0, 999)
    store.notices.put("agent", {"seen": True})
    clock.now += 1
    beat(run, "agent", clock, "acting")
    side.step()
    assert store.notices.get("agent") == {"seen": True}  # four seconds are soon enough for a sign
    clock.now += 4
    side.step()
    assert store.notices.get("agent")["beat"] == 1e6 + 1
