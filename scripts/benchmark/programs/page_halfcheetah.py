"""HalfCheetah taught through the page; see the command file beside this."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
from csv_rows import append_row
from page_labeller import PageLabeller

from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
LINK = re.compile(r"http://\S+#enter=\S+")


def main() -> None:
    """Trains once, and writes a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds to look at each pair")
    parser.add_argument("--out", type=Path, default=TABLES / "page_halfcheetah.csv")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, said = RunDirectory(Path(folder) / "run"), Path(folder) / "said.txt"
        command = [
            *(sys.executable, "-m", "prefrl", "train", "HalfCheetah-v5", "--oracle", "human"),
            *("--labels", str(told.labels), "--steps", str(told.steps), "--seed", str(told.seed)),
            *("--run", str(run.root), "--no-films", "--page.repeat-share", "0"),
        ]
        began = time.monotonic()
        with said.open("w") as file:
            training = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while not (link := LINK.search(said.read_text())):
            assert training.poll() is None, said.read_text()
            time.sleep(0.2)
        with PageLabeller(run, link[0], pause=told.pause) as labeller:
            labeller.work()
        assert training.wait() == 0, said.read_text()
        seconds = time.monotonic() - began
        summary = json.loads(run.summary.read_text())
        with LabelStore(run.labels) as store:
            events, counts = store.events(), store.counts()
    # The last answers may have no next pair at all.
    times = np.array(labeller.times_ms)
    was_ready = np.array(labeller.was_ready[: len(times)])
    ready, dead = times[was_ready], times[~was_ready].sum() / 1000
    assert labeller.first_at is not None
    each = Counter(event.query_id for event in events)
    row = {
        "date": date.today().isoformat(),
        "seed": told.seed,
        "steps": told.steps,
        "labels": counts.answered,
        "of_the_page": sum(event.annotator_id == "owner" for event in events),
        "twice": sum(n > 1 for n in each.values()),
        "seconds": round(seconds),
        "next_was_ready": len(ready),
        "ready_ms_p50": round(float(np.percentile(ready, 50)), 1),
        "ready_ms_p95": round(float(np.percentile(ready, 95)), 1),
        "next_pair_ms_p50": round(float(np.percentile(times, 50)), 1),
        "next_pair_ms_p95": round(float(np.percentile(times, 95)), 1),
        "return_before": round(summary["eval_return_before_mean"]),
        "return": round(summary["eval_return_mean"]),
        "return_std": round(summary["eval_return_std"]),
        "pause": told.pause,
        "first_pair_s": round(labeller.first_at - began, 1),
        "labelling_s": round(labeller.last_at - labeller.first_at),
        "dead_share": round(dead / (labeller.last_at - labeller.first_at), 3),
    }
    print(row)
    append_row(told.out, row)


if __name__ == "__main__":
    main()
