"""How fast the labelling page is, alone and with many people; see the command file beside this."""

import argparse
import asyncio
import contextlib
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from datetime import date
from pathlib import Path

import gymnasium as gym
import httpx
import numpy as np
from browsers import launch
from csv_rows import append_row
from page_labeller import TIMES
from playwright.sync_api import sync_playwright

from clip_viewer.people import People, write_token
from prefrl.commands.page import PageConfig, open_page
from prefrl.commands.samples import make_samples
from prefrl.control.environments.states import read_state
from prefrl.control.films.clips import ClipRenderer
from prefrl.control.films.renderer import FILM_SIZE, FilmMaker
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.runtime.remote.media import RunMedia

TABLES = Path(__file__).parents[1] / "tables"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
N_STEPS = 50
SECONDS_PER_ANSWER = 3.6  # of a practised person, for the share of dead time
DRIFT = """async (seconds) => {
  const gaps = [];
  for (const until = performance.now() + seconds * 1000; performance.now() < until;) {
    await new Promise(requestAnimationFrame);
    const [left, right] = document.querySelectorAll('.showing.shown video');
    if (left && !left.ended && !right.ended && !left.seeking && !right.seeking) {
      gaps.push(1000 * Math.abs(left.currentTime - right.currentTime));
    }
  }
  return gaps;
}"""


def segments_of_dot(item_ids):
    """An episode of a dot with a habit of its own, for each item."""
    rng, made = np.random.default_rng(0), {}
    env = gym.make(DOT)
    for seed, item_id in enumerate(item_ids):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        skill, habit, states = rng.random(), env.action_space.sample(), []
        for _ in range(N_STEPS):
            states.append(read_state(env))
            env.step(habit if rng.random() < skill else env.action_space.sample())
        nothing = np.zeros((N_STEPS, 1), np.float32)
        made[item_id] = Segment(item_id, nothing, nothing, states=np.stack(states))
    env.close()
    return made


def add_films(run, store, queries):
    """Films of their own for every query, by what makes them beside a training."""
    segments = segments_of_dot([item for query in queries for item in (query.left, query.right)])
    store.add_queries(queries, priorities=[9.0] * len(queries))
    with ClipRenderer(DOT, size=FILM_SIZE) as clips:
        maker = FilmMaker(store, segments, RunMedia(run), clips)
        while maker.step(n_people=len(queries)):
            pass
    return maker.n_films


def add_pairs(store, queries):
    """Pairs of the samples' few films: for those who do not look at them."""
    there = store.media.of(f"clip{i}{side}" for i in range(4) for side in "ab")
    media = list(there.values())
    for i, query in enumerate(queries):
        for item, medium in ((query.left, media[i % 8]), (query.right, media[(i + 3) % 8])):
            store.media.add(item, medium.media_id, medium.media_type)
    store.add_queries(queries, priorities=[9.0] * len(queries))


@contextlib.contextmanager
def served(folder, n_pairs, *, own_films):
    """A study with that many pairs of films, and its server in a process of its own."""
    run = make_samples(folder)
    queries = [Query(f"pair{i}", f"left{i}", f"right{i}") for i in range(n_pairs)]
    with LabelStore(run.labels) as store:
        if own_films:
            n_films = add_films(run, store, queries)
            assert n_films == 2 * n_pairs, f"{n_films} films of {2 * n_pairs}"
        else:
            add_pairs(store, queries)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = open_page(run, PageConfig(port=port))
    server = subprocess.Popen(
        [sys.executable, "-m", "prefrl.commands.page", "viewer", str(run.root)]
    )
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        yield run, link, port
    finally:
        server.terminate()
        server.wait()


def in_the_browser(folder, n_answers, seconds_of_drift):
    """Milliseconds from key to next pair, gaps between the films' clocks, the browser's version."""
    with (
        served(folder, n_answers + 20, own_films=True) as (_, link, _),
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(link)
        page.wait_for_selector("#instructions[open]")
        page.click("#instructions-close")
        page.wait_for_selector("body[data-state=showing]")
        page.wait_for_timeout(3000)
        gaps = page.evaluate(DRIFT, seconds_of_drift)
        for _ in range(n_answers):
            page.wait_for_timeout(random.uniform(500, 1200))
            page.wait_for_selector("body[data-takes=yes]")
            page.keyboard.press(random.choice(["ArrowLeft", "ArrowRight"]))
        page.wait_for_selector("body[data-outbox='0']")
        times, version = page.evaluate(TIMES), browser.version
        browser.close()
    assert len(times) >= n_answers - 1, f"{len(times)} of {n_answers} keys brought a next pair"
    return np.array(times), np.array(gaps), version


class Simulated:
    """One of many people: fetches pairs as the page does, and answers one a second."""

    def __init__(self, port, session):
        address = f"http://127.0.0.1:{port}"
        headers = {"Origin": address, "X-Prefrl-Token": write_token(session)}
        cookies = {f"prefrl_session_{port}": session}
        self.client = httpx.AsyncClient(
            base_url=address, headers=headers, cookies=cookies, timeout=30
        )
        self.tasks, self.keys, self.times, self.topping = [], [], [], None

    async def top_up(self):
        have = [task["id"] for task in self.tasks]
        told = await self.client.post("/api/tasks", json={"n": 4, "have": have, "shown": None})
        known = set(have) | {key[1] for key in self.keys[-20:]}
        new = [t for t in told.raise_for_status().json()["tasks"] if t["id"] not in known]
        self.tasks += [task for task in new if task["kind"] == "pair"]

    async def work(self, seconds):
        await asyncio.sleep(random.random())
        await self.top_up()
        until = time.monotonic() + seconds
        due = time.monotonic()
        while (due := due + 1) < until:
            await asyncio.sleep(max(0, due - time.monotonic()))
            if len(self.tasks) < 3 and (self.topping is None or self.topping.done()):
                self.topping = asyncio.create_task(self.top_up())
            if self.tasks:
                await self.answer(self.tasks.pop(0))
        if self.topping:
            await self.topping
        await self.client.aclose()

    async def answer(self, task):
        key = str(uuid.uuid4())
        event = {"kind": "answer", "submission_key": key, "task": task["id"]}
        event |= {"order": task["order"], "answer": random.choice(["left", "right"])}
        began = time.perf_counter()
        told = await self.client.post("/api/events", json={"events": [event]})
        self.times.append(1000 * (time.perf_counter() - began))
        assert told.raise_for_status().json()["results"][0]["stored"]
        self.keys.append((key, task["id"]))


def many_people(folder, n_people, seconds):
    """Milliseconds until an answer was acknowledged; how many were lost and doubled."""

    async def all_of_them(people):
        await asyncio.gather(*(person.work(seconds) for person in people))

    with served(folder, n_people * seconds + 200, own_films=False) as (run, _, port):
        names = People(run.people)
        sessions = [names.enter(names.invite(f"person {i}"))[0] for i in range(n_people)]
        people = [Simulated(port, session) for session in sessions]
        asyncio.run(all_of_them(people))
        with LabelStore(run.labels) as store:
            events = store.events()
    # One who answers a pair twice, as when it is shown again to see how far one agrees with
    # oneself, has two events; what is more than was sent is doubled. (The store holds a key once.)
    stored = Counter((event.annotator_id, event.query_id) for event in events)
    sent = Counter(
        (f"person {i}", task) for i, person in enumerate(people) for _, task in person.keys
    )
    keys = {event.submission_key for event in events}
    lost = sum(key not in keys for person in people for key, _ in person.keys)
    doubled = (stored - sent).total()
    return np.array([t for person in people for t in person.times]), lost, doubled


def percentile(times, share):
    """Of some times; nothing if there are none."""
    return round(float(np.percentile(times, share)), 1) if len(times) else ""


def dead_share(times):
    """Of the time of a practised person; nothing if nobody was at the page."""
    return round(float(times.mean()) / 1000 / SECONDS_PER_ANSWER, 4) if len(times) else ""


def main() -> None:
    """Measures, prints, and writes one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--answers", type=int, default=200, help="keys pressed in the browser, or 0"
    )
    parser.add_argument("--drift-seconds", type=int, default=60)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=120, help="how long all of them answer")
    parser.add_argument("--out", type=Path, default=TABLES / "labelling.csv")
    told = parser.parse_args()
    random.seed(0)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        times, gaps, chromium = np.array([]), np.array([]), ""
        if told.answers:
            times, gaps, chromium = in_the_browser(
                Path(folder) / "one", told.answers, told.drift_seconds
            )
        acks, lost, doubled = many_people(Path(folder) / "many", told.people, told.seconds)
    row = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load": round(load, 2),
        "versions": f"Python {platform.python_version()}, Chromium {chromium}",
        "answers_in_browser": len(times),
        "next_pair_ms_p50": percentile(times, 50),
        "next_pair_ms_p95": percentile(times, 95),
        "next_pair_ms_max": percentile(times, 100),
        "dead_time_share": dead_share(times),
        "drift_ms_p50": percentile(gaps, 50),
        "drift_ms_p95": percentile(gaps, 95),
        "drift_ms_max": percentile(gaps, 100),
        "people": told.people,
        "answers": len(acks),
        "ack_ms_p50": percentile(acks, 50),
        "ack_ms_p99": percentile(acks, 99),
        "lost": lost,
        "doubled": doubled,
    }
    for name, value in row.items():
        print(f"{name:<20} {value}")
    append_row(told.out, row)


if __name__ == "__main__":
    main()
