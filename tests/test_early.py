"""What is begun before the command is loaded: only a check that this command will wait for."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, threading
from prefrl.commands.early import begin_for_people
begin_for_people(sys.argv[1:])
drawing = sys.modules.get("prefrl.control.films.drawing")
print(json.dumps([sorted(drawing._under_way) if drawing else [], "torch" in sys.modules]))
print(threading.active_count())
"""
TRAIN = ["train", "CartPole-v1", "--labels", "10"]


def begun(*arguments):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    checks, n_threads = ended.stdout.splitlines()
    checks, has_torch = json.loads(checks)
    assert not has_torch
    assert n_threads == "1"  # it may still be copied
    return [env_id for env_id, _ in checks]


@pytest.mark.parametrize("told", [["--oracle", "human"], ["--oracle=mixed"]])
def test_a_check_is_begun_where_people_see_films(told):
    assert begun(*TRAIN, *told) == ["CartPole-v1"]


@pytest.mark.parametrize(
    "arguments",
    [
        TRAIN,
        [*TRAIN, "--oracle", "human", "--env.kwargs", "{}"],
        [*TRAIN, "--oracle", "human", "--config=more.yaml"],
        [*TRAIN, "--oracle", "human", "--help"],
        ["train", "--oracle", "human", "CartPole-v1"],
        ["label", "CartPole-v1", "--oracle", "human"],
        ["train"],
        [],
    ],
)
def test_none_is_begun_for_nothing(arguments):
    assert begun(*arguments) == []
