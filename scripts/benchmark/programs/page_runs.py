"""Trainings that a script teaches through the page; see the command file beside this."""

import argparse
import contextlib
import csv
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

import numpy as np
from browsers import open_browser
from csv_rows import append_row
from page_labeller import PageLabeller

from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
LINK = re.compile(r"http://\S+#enter=\S+")
HALFCHEETAH, PONG = "HalfCheetah-v5", "prefrl_envs:prefrl/Pong-v0"
SECONDS_TO_STOP = 60
COLUMNS = """date commit load env oracle seed steps labels pause of_the_page twice seconds
first_pair_s labelling_s dead_share next_was_ready ready_ms_p50 ready_ms_p95 next_pair_ms_p50
next_pair_ms_p95 return_before return return_std""".split()
# The environment, who answers, seconds to look at each pair, and after how many answers it stops
# (None: when the training is finished).
ALL = (
    (HALFCHEETAH, "human", 1.0, None),
    (HALFCHEETAH, "synthetic", 0.0, None),
    (PONG, "human", 1.0, 60),
    (HALFCHEETAH, "human", 3.6, 40),
    (PONG, "human", 3.6, 40),
)


def of_the_answers(labeller, began):
    """When the first pair came, and how long the person had nothing to compare."""
    # The last answers may have no next pair at all.
    times = np.array(labeller.times_ms)
    was_ready = np.array(labeller.was_ready[: len(times)])
    ready, dead = times[was_ready], times[~was_ready].sum() / 1000
    labelling_s = labeller.last_at - labeller.first_at
    row = {
        "first_pair_s": round(labeller.first_at - began, 1),
        "labelling_s": round(labelling_s),
        "dead_share": round(dead / labelling_s, 3),
        "next_was_ready": len(ready),
    }
    for name, found in (("ready_ms", ready), ("next_pair_ms", times)):
        for share in (50, 95):
            value = round(float(np.percentile(found, share)), 1) if len(found) else ""
            row[f"{name}_p{share}"] = value
    return row


def of_the_run(run):
    """The labels that were given, and what the agent has learned if it is finished."""
    with LabelStore(run.labels) as store:
        events, counts = store.events(), store.counts()
    each = Counter(event.query_id for event in events)
    row = {
        "labels": counts.answered,
        "of_the_page": sum(event.annotator_id == "owner" for event in events),
        "twice": sum(n > 1 for n in each.values()),
    }
    if run.summary.is_file():
        summary = json.loads(run.summary.read_text())
        row["return_before"] = round(summary["eval_return_before_mean"])
        row["return"] = round(summary["eval_return_mean"])
        row["return_std"] = round(summary["eval_return_std"])
    return row


def answered(training, run, said, pause, answers, began, browser):
    """Answers what a training asks, until it is finished or so many answers are given."""
    while not (link := LINK.search(said.read_text())):
        assert training.poll() is None, said.read_text()
        time.sleep(0.05)
    with PageLabeller(run, link[0], pause=pause, browser=browser) as labeller:
        labeller.work(answers=answers)
    if answers is not None:
        training.terminate()
        training.wait(SECONDS_TO_STOP)
    return of_the_answers(labeller, began)


def trained(folder, told, env, oracle, pause, answers, browser):
    """Trains once; gives a row. A person's browser is open before it begins."""
    run, said, row = RunDirectory(folder / "run"), folder / "said.txt", {}
    command = [sys.executable, "-m", "prefrl", "train", env, "--oracle", oracle]
    command += ["--seed", str(told.seed), "--run", str(run.root), "--no-films"]
    if env == HALFCHEETAH:  # a game keeps to its preset
        command += ["--labels", str(told.labels), "--steps", str(told.steps)]
    if oracle == "human":
        command += ["--page.repeat-share", "0"]
    load, began = os.getloadavg()[0], time.monotonic()
    with said.open("w") as file:
        training = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        if oracle == "human":
            row = answered(training, run, said, pause, answers, began, browser)
        if answers is None:
            assert training.wait() == 0, said.read_text()
    finally:
        if training.poll() is None:
            training.kill()
    row |= of_the_run(run) | {"seconds": round(time.monotonic() - began), "load": round(load, 2)}
    row |= {"date": date.today().isoformat(), "env": env, "oracle": oracle, "seed": told.seed}
    row["pause"] = pause
    row["steps"] = json.loads(run.config.read_text())["steps"]
    return row


def commit():
    """Of the working tree, with a plus if something is not committed."""
    told = ["git", "describe", "--always", "--exclude", "*", "--dirty=+"]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()


def is_there(path, settings, made_at, seed):
    """Whether a table has a row of these settings at this commit."""
    if not path.is_file():
        return False
    env, oracle, pause, _ = settings
    with path.open(newline="") as file:
        return any(
            (row["env"], row["oracle"], row["commit"]) == (env, oracle, made_at)
            and (float(row["pause"]), int(row["seed"])) == (pause, seed)
            for row in csv.DictReader(file)
        )


def main() -> None:
    """Trains what is told, or all that has no row at this commit, and adds a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", help=f"one training only: {HALFCHEETAH} or {PONG}")
    parser.add_argument("--oracle", choices=["human", "synthetic"], default="human")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds to look at each pair")
    parser.add_argument("--answers", type=int, help="stop after so many; default: at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=100, help="of HalfCheetah")
    parser.add_argument("--steps", type=int, default=300_000, help="of HalfCheetah")
    parser.add_argument("--out", type=Path, default=TABLES / "page_runs.csv")
    told = parser.parse_args()
    one = (told.env, told.oracle, told.pause, told.answers)
    made_at = commit()
    for settings in (one,) if told.env else ALL:
        if not told.env and is_there(told.out, settings, made_at, told.seed):
            continue
        opened = open_browser() if settings[1] == "human" else contextlib.nullcontext()
        with tempfile.TemporaryDirectory() as folder, opened as browser:
            row = trained(Path(folder), told, *settings, browser) | {"commit": made_at}
        row = {name: row.get(name, "") for name in COLUMNS}
        print(row, flush=True)
        append_row(told.out, row)


if __name__ == "__main__":
    main()
