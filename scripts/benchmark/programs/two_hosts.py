"""What is lost when the link to the people, or their servers, go away; see the command beside."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

from browsers import open_browser
from csv_rows import append_row
from hosts import HERE, THERE, on, plug, running_servers, two_hosts
from page_runs import commit

from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
LINK = re.compile(r"http://\S+#enter=\S+")
STORE = re.compile(r"--store '([^']+)'")
ROLES = ("agent", "learner", "renderer", "courier")
SECONDS_AWAY = {"link": 60, "servers": 20}
BEFORE, AFTER = 15, 30
"""Answers before the cut, and after it."""
TRAIN = ["train", "HalfCheetah-v5", "--oracle", "human", "--page.elsewhere", "--no-films"]
TRAIN += ["--labels", "100", "--steps", "300000"]


def person(link, told):
    """Presses a key for each pair, about one a second, until told to stop; says how many."""
    n_answers = 0
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(link)
        page.wait_for_selector("#instructions[open]")
        page.click("#instructions-close")
        while not (told / "stop").exists():
            state = page.evaluate("document.body.dataset.state")
            has_task = page.evaluate("'task' in document.getElementById('stage').dataset")
            if state != "showing" or not has_task:
                if not (told / "nothing.png").exists() and (told / "away").exists():
                    page.screenshot(path=told / "nothing.png")
                time.sleep(0.1)
                continue
            time.sleep(0.8)
            page.wait_for_selector("body[data-takes=yes]")
            page.keyboard.press("ArrowLeft" if n_answers % 2 else "ArrowRight")
            n_answers += 1
            (told / "answers.tmp").write_text(str(n_answers))
            (told / "answers.tmp").rename(told / "answers")
            page.wait_for_function(
                "n => performance.getEntriesByName('prefrl:key').length >= n"
                " && document.body.dataset.busy === 'no'",
                arg=n_answers,
            )
        page.wait_for_selector("body[data-outbox='0']", timeout=120_000)
        page.screenshot(path=told / "end.png")
    (told / "done").write_text(str(n_answers))


def wait_for(condition, seconds=180):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return found


def n_answers(told):
    return int((told / "answers").read_text()) if (told / "answers").exists() else 0


def pids(run):
    return {role: read_status(run, role).pid for role in ROLES}


def is_back(run):
    """Whether no role waits for anything but people, by what it has said lately."""
    for role in ROLES:
        status = read_status(run, role)
        if status.state.startswith("waiting for") and "answers" not in status.state:
            return False
        if time.time() - status.beat_at > 3:
            return False
    return True


def stored(store, environment):
    """What the store has, asked on the host where it is: each answer's query and key."""
    ask = (
        "import json, sys; from prefrl.core.store import LabelStore\n"
        "with LabelStore(sys.argv[1]) as store:\n"
        "    faults = store.check()\n"
        "    events = [e for e in store.events() if e.annotator_id == 'owner']\n"
        "    print(json.dumps([faults, [[e.query_id, e.submission_key] for e in events]]))\n"
    )
    command = on(THERE, sys.executable, "-c", ask, store)
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def one_round(what, folder):
    """Trains, labels, takes something away in the middle; gives a row."""
    folder.mkdir(parents=True)
    run, said, told = RunDirectory(folder / "run"), folder / "train.txt", folder / "person"
    told.mkdir()
    with two_hosts(), running_servers() as servers:
        started = []

        def start(host, out, *command):
            command = on(host, sys.executable, *command)
            with (folder / out).open("w") as file:
                process = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, env=servers.environment
                )
            started.append(process)
            return process

        try:
            media = ["--store", servers.database, "--media", "s3://labels/runs"]
            start(HERE, said.name, "-m", "prefrl", *TRAIN, *media, "--run", run.root)
            store = wait_for(lambda: STORE.search(said.read_text()))[1]
            page = ["-m", "prefrl", "label", folder / "page", "--store", store]
            page += ["--page.repeat-share", "0"]
            start(THERE, "label.txt", *page)
            link = wait_for(lambda: LINK.search((folder / "label.txt").read_text()))[0]
            labeller = start(THERE, "person.txt", __file__, "--person", link, "--told", told)
            wait_for(lambda: n_answers(told) >= BEFORE)
            row = _away(what, run, told, servers)
            goal = n_answers(told) + AFTER
            wait_for(lambda: n_answers(told) >= goal, 300)
            (told / "stop").touch()
            assert labeller.wait(180) == 0, (folder / "person.txt").read_text()
            faults, events = stored(store, servers.environment)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(90)
    given = int((told / "done").read_text())
    each, keys = Counter(query for query, _ in events), {key for _, key in events}
    row |= {"answers": given, "lost": given - len(keys), "faults": len(faults)}
    return row | {"twice": sum(n > 1 for n in each.values())}


def _away(what, run, told, servers):
    """Takes away the link or the servers for a while, and watches the training come back."""
    before, first = pids(run), n_answers(told)
    (told / "away").touch()
    if what == "link":
        plug(is_in=False)
        time.sleep(SECONDS_AWAY[what])
        plug(is_in=True)
    else:
        servers.kill()
        time.sleep(SECONDS_AWAY[what])
        servers.start_again()
    began, answers = time.monotonic(), n_answers(told) - first
    wait_for(lambda: is_back(run), 300)
    seconds = round(time.monotonic() - began, 1)
    after = pids(run)
    died = [role for role in ROLES if after[role] != before[role]]
    return {"answers_meanwhile": answers, "back_s": seconds, "died": " ".join(died)}


def main() -> None:
    """Does some rounds of each kind, and adds a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--what", choices=["link", "servers"])
    parser.add_argument("--out", type=Path, default=TABLES / "two_hosts.csv")
    parser.add_argument("--keep", type=Path, help="where logs and pictures stay")
    parser.add_argument("--person", help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.person:
        person(told.person, told.told)
        return
    if os.geteuid() != 0:
        sys.exit("two_hosts: expected to be root, which may make network namespaces.")
    for number in range(told.rounds):
        for what in (told.what,) if told.what else SECONDS_AWAY:
            with tempfile.TemporaryDirectory() as folder:
                place = (told.keep or Path(folder)) / f"{what}-{number}"
                row = {"date": date.today().isoformat(), "commit": commit(), "what": what}
                row |= {"seconds_away": SECONDS_AWAY[what]} | one_round(what, place)
            print(row, flush=True)
            append_row(told.out, row)


if __name__ == "__main__":
    main()
