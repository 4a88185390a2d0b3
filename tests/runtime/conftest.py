"""A store of pairs that wait for a judge, and a server that is asked about them."""

import pytest
from judging import ITEMS, QUERIES, parts

from prefrl.core.store import LabelStore
from prefrl.runtime.judge.asking import Judge
from prefrl.runtime.judge.cache import Cache
from prefrl.runtime.judge.config import JudgeConfig, task_for
from prefrl.runtime.judge.labeller import JudgeLabeller
from prefrl.runtime.judge.server import Server


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store:
        store.add_queries(QUERIES)
        yield store


@pytest.fixture
def asked(tmp_path, store):
    """Has a server's judge answer what is open; gives the labeller."""
    made = []

    def ask(server, steps=20, gold=None, stop=lambda: False, **options):
        options = {"retries": 3, "timeout": 5.0, "parallel": 2, **options}
        config = JudgeConfig(url=server.url, model="stub", **options)
        task = task_for(config, "responses", "letters early in the alphabet.")
        cache = Cache(tmp_path / "judge" / "answers.jsonl")
        chooser = Server(task, parts, cache)
        judge = Judge(chooser, both=config.orders == "both")
        labeller = JudgeLabeller(store, ITEMS, judge, cache=cache, task=task, gold=gold, stop=stop)
        made.append((labeller, chooser))
        for _ in range(steps):
            if not labeller.step():
                break
        return labeller

    yield ask
    for labeller, chooser in made:
        labeller.close(chooser.close)
