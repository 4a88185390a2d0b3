import json
import time

import pytest

from clip_viewer.news import RunNews
from prefrl.runtime.roles.role import Heartbeat
from prefrl.runtime.roles.supervisor import STOPPED


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"troubles": ["30 of 30 answers are ties."]}, ["30 of 30 answers are ties."]),
        ({"troubles": []}, []),
        ({"env_steps": 3}, []),
        ({"troubles": "rubbish"}, []),
        ("rubbish", []),
    ],
)
def test_what_keeps_the_agent_from_learning_is_news(tmp_path, about, expected):
    (tmp_path / "agent.json").write_text(json.dumps({"state": "acting", "about": about}))
    assert RunNews(None, tmp_path).agent(for_owner=True).troubles == expected
    assert RunNews(None, tmp_path).agent(for_owner=False).troubles == []


@pytest.mark.parametrize(
    ("state", "age", "is_done", "expected"),
    [
        (None, 0, False, "starting"),
        ("starting", 1, False, "starting"),
        ("starting", 60, False, "starting"),
        ("starting", 600, False, "stopped"),
        ("acting", 1, False, "training"),
        ("acting", 1, True, "training"),  # a script goes on that has trained before
        ("acting", 99, False, "stopped"),
        ("stopped", 1, False, "stopped"),
        ("finishing", 1, False, "training"),
        ("finishing", 1, True, "finished"),
        ("finishing", 99, True, "finished"),
        (None, 0, True, "finished"),
    ],
)
def test_where_the_training_is(tmp_path, state, age, is_done, expected):
    done = tmp_path / "policy"
    if is_done:
        done.touch()
    if state is not None:
        told = {"state": state, "beat_at": time.time() - age}
        (tmp_path / "agent.json").write_text(json.dumps(told))
    news = RunNews(None, tmp_path, finished=[tmp_path / "summary", done])
    assert news.agent(for_owner=False).phase == expected


def test_a_folder_of_pairs_has_no_agent(tmp_path):
    assert RunNews(None, tmp_path, trains=False).agent(for_owner=True).phase == "none"


def test_a_server_that_is_told_to_stop_waits_until_an_open_page_knows_why(study):
    study.kill()
    study.run.write_json(study.run.config, {"algo": "ppo"})
    study.serve()
    page, agent = study.client("ann"), Heartbeat(study.run, "agent")
    agent.beat("acting")
    assert page.get("/api/progress").json()["agent"]["phase"] == "training"
    agent.beat("finishing")
    study.run.policy.touch()
    study.process.terminate()
    time.sleep(5)  # as a tab does that is hidden
    assert page.get("/api/progress").json()["agent"]["phase"] == "finished"
    page.close()
    assert study.process.wait(5) == STOPPED
