"""The cost of polling a label store that holds a million labels; see the command file."""

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore

OUT = Path(__file__).parents[1] / "tables" / "store_polling.csv"
N_QUERIES = 10_000
N_ANSWERED = 9_000  # the other queries are open

# Every answered query has an answer from each of some hundred annotators.
FILL = """
INSERT INTO label_event
    (id, query_id, annotator_id, submission_key, answer, answered_at, server_ver)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n_labels})
SELECT i, 'query-' || (i % {n_answered}), 'annotator-' || (i / {n_answered}),
       '3f2b8c1e-5d7a-4e09-' || i,
       CASE i % 4 WHEN 0 THEN 'left' WHEN 1 THEN 'right' WHEN 2 THEN 'tie' ELSE 'skip' END,
       1700000000.0 + i, '0.1.0' FROM n
"""


def fill(store, n_labels):
    queries = [
        Query(f"query-{i}", f"segment-{2 * i}", f"segment-{2 * i + 1}") for i in range(N_QUERIES)
    ]
    store.add_queries(queries, priorities=np.random.default_rng(0).uniform(0, 0.5, N_QUERIES))
    with store._database.transaction(write=True) as connection:
        connection.execute(sa.text(FILL.format(n_labels=n_labels, n_answered=N_ANSWERED)))
    store.rebuild()
    with store._database.transaction(write=True) as connection:
        if connection.dialect.name == "postgresql":  # as it does by itself when a table has grown
            connection.exec_driver_sql("ANALYZE")


def percentiles(action, n):
    passed = []
    for _ in range(n):
        started = time.perf_counter()
        action()
        passed.append(1e3 * (time.perf_counter() - started))
    return np.percentile(passed, [50, 99])


def resident_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure(database, place, n_labels, n_calls):
    with LabelStore(place) as store:
        fill(store, n_labels)
        end = store.changes(n_labels - 10)[-1].event_id
        numbers = iter(range(10**9))
        before = resident_mb()

        def submit():
            number = next(numbers)
            name = f"new-{number}"
            store.submit(f"query-{number}", Answer.LEFT, submission_key=name, annotator_id=name)

        calls = {
            "open_queries(10)": lambda: store.open_queries(10),
            "counts()": store.counts,
            "changes(10 before the end)": lambda: store.changes(end - 10, limit=10),
            "changes(at the end)": lambda: store.changes(end),
            "comparisons(10 before the end)": lambda: store.comparisons(since=end - 10),
            "lease(n=1), to be committed": lambda: store.lease(f"annotator-{next(numbers)}"),
            "submit(), to be committed": submit,
        }
        rows = []
        for name, action in calls.items():
            action()
            rows.append([name, n_calls, *percentiles(action, n_calls)])
        grown = resident_mb() - before
        rows.append(
            ["open and close a store", 20, *percentiles(lambda: LabelStore(place).close(), 20)]
        )
        rows.append(["check()", 1, *percentiles(store.check, 1)])
    for name, n, p50, p99 in rows:
        print(f"{database:12} {name:32} {n:5} p50 {p50:10.2f} ms  p99 {p99:10.2f} ms")
    print(f"{database:12} resident {before + grown:.0f} MB, {grown:+.1f} MB by polling")
    return [[database, *row, round(before + grown, 1)] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=300)
    options = parser.parse_args()
    server = os.environ.get("PREFRL_TEST_POSTGRES", "none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.db"
        rows = measure("sqlite", path, options.labels, options.calls)
        print(f"{path.stat().st_size / 2**20:.0f} MB in SQLite")
    if server != "none":
        rows += measure("postgresql", server, options.labels, options.calls)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["database", "call", "calls", "p50_ms", "p99_ms", "resident_mb"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
