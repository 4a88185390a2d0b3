"""The server speaks to nobody of itself: every connection that Python opens is written down."""

import json
import subprocess
import sys

from pages import PLAIN, Study

SCRIPT = """
import sys

opened = []


def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        opened.append(f"{event} {arguments[1:]}")


import asyncio, json

import httpx

from clip_viewer.app import create_app
from prefrl.commands.page import viewer_config, page_of
from prefrl.runtime.rundir import RunDirectory

run = RunDirectory(sys.argv[1])
config = viewer_config(run, page_of(run), {"title": "watched"})
app = create_app(config)
headers = json.loads(sys.argv[2])


async def everything():
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),  # in this process: no connection of the test's own
        base_url=headers["Origin"],
        headers=headers,
    ) as client:
        sys.addaudithook(watch)
        told = await client.post("/api/tasks", json={"n": 4})
        task = next(t for t in told.json()["tasks"] if t["kind"] == "pair")
        answer = {"kind": "answer", "submission_key": "abcdefgh", "task": task["id"]}
        answer |= {"order": task["order"], "answer": "left"}
        statuses = [told.status_code]
        statuses += [(await client.post("/api/events", json={"events": [answer]})).status_code]
        paths = ["/", "/dashboard", "/static/page.js", "/healthz", "/api/me", "/api/instructions"]
        paths += ["/api/progress", "/api/statistics", "/api/people", "/api/labels.jsonl"]
        paths += ["/api/answers", f"/api/flagged?query={task['id']}"]
        paths += [f"/media/{task['items'][0]['media']}"]
        statuses += [(await client.get(path)).status_code for path in paths]
        statuses += [(await client.post("/api/people", json={"annotator": "a"})).status_code]
    return statuses


print(json.dumps({"statuses": asyncio.run(everything()), "opened": opened}))
"""


def test_no_route_opens_a_connection(tmp_path):
    study = Study(tmp_path / "study", PLAIN)
    headers = json.dumps(study.headers("boss", "owner"))
    command = [sys.executable, "-c", SCRIPT, str(study.run.root), headers]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(ended.stdout.splitlines()[-1])
    assert set(told["statuses"]) == {200}
    assert told["opened"] == []
