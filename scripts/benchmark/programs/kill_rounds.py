"""SIGKILL to every role of asynchronous runs, again and again; see the command file beside this."""

import argparse
import csv
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from prefrl.core.store import LabelStore
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
ROLES = ("agent", "learner", "labeller")
POINTS = (
    "store:before-commit", "store:after-commit", "items:before-fsync", "items:before-rename",
    "items:after-rename", "checkpoint:before-fsync", "checkpoint:after-fsync",
    "checkpoint:before-rename", "checkpoint:after-rename", "checkpoint:before-removal",
    "weights:before-rename", "weights:after-rename", "write:before-rename", "write:after-rename",
)  # fmt: skip
ACKNOWLEDGED = re.compile(r"acknowledged (\S+) as event (\d+)")
LABELS, STEPS = 3000, 600_000
LONGEST_RECOVERY = 90.0


class Campaign:
    """Kills roles side by side until enough rounds are done; one run at a time."""

    def __init__(self, folder, rounds, minutes, seed):
        self.folder, self.rounds, self.seed = folder, rounds, seed
        self.until = time.monotonic() + 60 * minutes
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.rows = []
        self.acknowledged = self.lost = self.duplicated = 0
        self.integrity, self.finished_runs = "ok", 0
        self.orders = folder / "fail-point"
        self.point = ""
        self.stopping = threading.Event()

    @property
    def done(self):
        return len(self.rows) >= self.rounds or time.monotonic() > self.until

    def note(self, run, role, how, recovery, unsaved):
        with self.lock:
            row = {"round": len(self.rows) + 1, "run": run.root.name, "role": role, "how": how}
            row |= {"recovery_seconds": round(recovery, 2), "unsaved_seconds": round(unsaved, 2)}
            self.rows.append(row)
            if len(self.rows) % 25 == 0:
                print(f"{len(self.rows)} rounds", flush=True)

    def start(self, run, *, resume):
        options = [DOT, "--labels", str(LABELS), "--steps", str(STEPS), "--segment-length", "10"]
        options += ["--warmup-segments", "10", "--agent.n-envs", "4", "--agent.n-steps", "100"]
        options += ["--agent.batch-size", "100", "--agent.n-epochs", "2", "--agent.hidden", "16"]
        options += ["--schedule", "constant", "--refit-growth", "0.2", "--no-films"]
        options += ["--initial-fraction", "0.02", "--checkpoint-seconds", "2"]
        options += ["--eval-episodes", "2", "--seed", str(self.seed)]
        options += ["--fit.max-steps", "60", "--fit.min-steps", "30"]
        what = ["resume", str(run.root)] if resume else ["train", *options, "--run", str(run.root)]
        log = (self.folder / f"{run.root.name}.log").open("ab")
        environment = {**os.environ, "PREFRL_FAIL_POINT_FILE": str(self.orders)}
        return subprocess.Popen(
            [sys.executable, "-m", "prefrl", *what], stdout=log, stderr=log, env=environment
        )

    def rounds_of_one_run(self, number):
        """Kills the roles of one run until it ends or enough rounds are done."""
        run = RunDirectory(self.folder / f"run{number}")
        supervisor = self.start(run, resume=False)
        over = threading.Event()
        killers = [threading.Thread(target=self.kill, args=(run, r, over)) for r in ROLES]
        killers.append(threading.Thread(target=self.kill_at_points, args=(run, over)))
        for killer in killers:
            killer.start()
        next_kill = time.monotonic() + 45
        while not self.done and not self.stopping.is_set():
            time.sleep(0.05)
            if supervisor.poll() is not None:
                if run.summary.is_file():
                    self.finished_runs += 1
                    break
                if supervisor.returncode != -signal.SIGKILL or not run.config.is_file():
                    over.set()
                    raise SystemExit(f"{run.root.name} ended with {supervisor.returncode}")
                supervisor = self.start_again(run, self.point)  # it too passes named points
            elif time.monotonic() > next_kill and all_up(run, ()):
                supervisor.kill()
                supervisor.wait()
                supervisor = self.start_again(run, "random")
                next_kill = time.monotonic() + self.rng.uniform(20, 50)
        over.set()
        for killer in killers:
            killer.join()
        supervisor.terminate()
        supervisor.wait()
        self.check(run)

    def start_again(self, run, how):
        """After the supervisor was killed, and the roles with it."""
        old = [getattr(read_status(run, role), "pid", None) for role in ROLES]
        unsaved, killed = seconds_unsaved(run), time.monotonic()
        supervisor = self.start(run, resume=True)
        if wait_until(lambda: all_up(run, old), LONGEST_RECOVERY):
            self.note(run, "supervisor", how, time.monotonic() - killed, unsaved)
        return supervisor

    def kill(self, run, role, over):
        """Kills one role at random moments."""
        rng = random.Random(f"{self.seed} {role}")
        while not over.is_set() and not self.done:
            status = read_status(run, role)
            if status is None or not working(status):
                time.sleep(0.05)
                continue
            # A role that is never left time for its work would hold up the others.
            over.wait(rng.uniform(0, 1 if role == "labeller" else 8))
            if over.is_set() or self.done:
                return
            unsaved, killed = seconds_unsaved(run), time.monotonic()
            if not kill(status.pid):
                continue  # it died by other hands
            if wait_until(lambda pid=status.pid: is_new(run, role, pid), LONGEST_RECOVERY, over):
                self.note(run, role, "random", time.monotonic() - killed, unsaved)

    def kill_at_points(self, run, over):
        """Has whoever passes a named point die there."""
        points = list(POINTS)
        while not over.is_set() and not self.done:
            self.rng.shuffle(points)
            for point in points:
                before = {r: getattr(read_status(run, r), "pid", None) for r in ROLES}
                self.point = point
                self.orders.write_text(point)
                if not wait_until(lambda: not self.orders.exists(), 15, over):
                    self.orders.unlink(missing_ok=True)
                    continue
                unsaved, killed = seconds_unsaved(run), time.monotonic()
                role = wait_until(lambda b=before: dead_role(run, b), 5, over)
                if role and wait_until(
                    lambda r=role, b=before: is_new(run, r, b[r]), LONGEST_RECOVERY, over
                ):
                    self.note(run, role, point, time.monotonic() - killed, unsaved)
                if over.wait(self.rng.uniform(0, 1)) or self.done:
                    break
        self.orders.unlink(missing_ok=True)

    def check(self, run):
        """Compares what the labeller says was acknowledged with what the store holds."""
        said = ACKNOWLEDGED.findall((run.logs / "labeller.log").read_text(errors="replace"))
        with LabelStore(run.labels) as store:
            events = {event.submission_key: event.id for event in store.events()}
            labels = Counter((event.query_id, event.annotator_id) for event in store.events())
        self.acknowledged += len(set(said))
        self.lost += sum(events.get(key) != int(number) for key, number in set(said))
        self.duplicated += sum(n - 1 for n in labels.values())
        with sqlite3.connect(run.labels) as connection:
            ((found,),) = connection.execute("PRAGMA integrity_check").fetchall()
        if found != "ok":
            self.integrity = found


def working(status):
    return status.state not in ("starting", "finishing") and alive(status.pid)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def is_new(run, role, old):
    status = read_status(run, role)
    return status is not None and status.pid != old and working(status)


def all_up(run, old):
    statuses = [read_status(run, role) for role in ROLES]
    return all(s is not None and s.pid not in old and working(s) for s in statuses)


def dead_role(run, before):
    return next((r for r, pid in before.items() if pid is not None and not alive(pid)), None)


def seconds_unsaved(run):
    """Seconds of the agent's work that no checkpoint holds yet."""
    status = read_status(run, "agent")
    begun = [time.time() if status is None else status.started_at]
    saved = [path.stat().st_mtime for path in run.checkpoints.glob("[0-9]*") if path.is_dir()]
    return time.time() - max(begun + saved)


def wait_until(condition, seconds, over=None):
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (over and over.is_set()):
        if got := condition():
            return got
        time.sleep(0.02)
    return None


def report(campaign):
    rows = campaign.rows
    print("\n| role | rounds | recovery p50 | p95 | unsaved training, most |")
    print("|---|--:|--:|--:|--:|")
    for role in (*ROLES, "supervisor"):
        mine = [row for row in rows if row["role"] == role]
        if mine:
            recovery = np.array([row["recovery_seconds"] for row in mine])
            unsaved = max(row["unsaved_seconds"] for row in mine)
            print(
                f"| {role} | {len(mine)} | {np.median(recovery):.1f} s | "
                f"{np.quantile(recovery, 0.95):.1f} s | {unsaved:.1f} s |"
            )
    points = Counter(row["how"] for row in rows if row["how"] != "random")
    print(f"\nnamed points: {dict(sorted(points.items()))}")
    print(
        f"{len(rows)} rounds, {campaign.finished_runs} runs to their end, "
        f"{campaign.acknowledged} labels acknowledged, lost {campaign.lost}, duplicated "
        f"{campaign.duplicated}, integrity {campaign.integrity}. No loss in n labels: at 95 % "
        f"fewer than one in {campaign.acknowledged / 3:,.0f} is lost."
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=120, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TABLES / "kill_rounds.csv")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark/kill_rounds"))
    told = parser.parse_args()
    shutil.rmtree(told.folder, ignore_errors=True)
    told.folder.mkdir(parents=True)
    campaign = Campaign(told.folder.resolve(), told.rounds, told.minutes, told.seed)
    number = 0
    while not campaign.done:
        number += 1
        campaign.rounds_of_one_run(number)
    with told.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(campaign.rows[0]))
        writer.writeheader()
        writer.writerows(campaign.rows)
    report(campaign)
    if campaign.lost or campaign.duplicated or campaign.integrity != "ok":
        sys.exit(1)


if __name__ == "__main__":
    main()
