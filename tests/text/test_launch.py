"""Whole alignments in a launch of two processes, as ``accelerate launch`` starts them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0", "-m", "prefrl"),
]


def launch(*arguments, folder, size=2):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [*LAUNCH[:4], "--num_processes", str(size), *LAUNCH[4:]]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def align_in(folder, *more):
    (folder / "prompts.txt").write_text("".join(f"one {n}\n" for n in range(8)))
    (folder / "gold.py").write_text("def score(text):\n    return sum(map(str.isalpha, text))\n")
    told = ("--responses", 256, "--labels", 40, "--eval-prompts", 4, "--device", "cpu")
    told += ("--gold", f"{folder / 'gold.py'}:score")
    where = ("--prompts", "prompts.txt", "--run", "run")
    return launch("align", "tiny", *where, *told, *more, folder=folder)


def said(process):
    output = process.communicate(timeout=300)[0]
    # What the launcher itself says of a failure begins with a trace.
    return process.returncode, re.sub(r"\s+", " ", output)


def policy_worker(launcher):
    """The process of a launch that is not the first."""
    found = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    for pid in found:
        told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if b"RANK=1" in told:
            return int(pid)
    raise AssertionError(f"expected a process of rank 1 among {found}")


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("method", ["ppo", "raft", "dpo"])
def test_two_processes_come_to_the_end_and_the_result_opens(method, tmp_path):
    from transformers import AutoModelForCausalLM

    code, output = said(align_in(tmp_path, "--method", method))
    assert code == 0, output
    run = RunDirectory(tmp_path / "run")
    assert json.loads(run.summary.read_text())["labels"] == 40
    assert output.count("preset tiny") == 1  # the first process alone shows something
    AutoModelForCausalLM.from_pretrained(run.model)

    run.summary.unlink()  # as if it had been killed in the final evaluation
    code, output = said(launch("resume", "run", folder=tmp_path))
    assert code == 0, output
    assert run.summary.is_file()


def test_in_one_process_of_a_launch_a_run_goes_on_with_another_number_of_them(tmp_path):
    launcher = align_in(tmp_path, "--sync", "--responses", 2560, "--checkpoint-seconds", 0)
    run = RunDirectory(tmp_path / "run")
    wait_for(lambda: run.metrics.is_file() and run.metrics.read_text().count("\n") > 4)
    os.kill(policy_worker(launcher), signal.SIGKILL)
    code, output = said(launcher)
    assert code != 0
    assert len(re.findall(r"prefrl: expected all 2 processes .*? but one is gone", output)) == 1

    n_before = run.metrics.read_text().count("\n")
    assert n_before < 40
    code, output = said(launch("resume", "run", folder=tmp_path, size=3))
    assert code == 0, output
    summary = json.loads(run.summary.read_text())
    assert (summary["responses"], summary["labels"]) == (2560, 40)


def test_a_killed_process_ends_the_launch_with_a_sentence_and_resume_goes_on(tmp_path):
    launcher = align_in(tmp_path, "--responses", 100_000, "--checkpoint-seconds", 0)
    run = RunDirectory(tmp_path / "run")
    wait_for(lambda: len(list(run.checkpoints.glob("0*"))) == 2)
    os.kill(policy_worker(launcher), signal.SIGKILL)
    code, output = said(launcher)
    assert code != 0
    told = re.findall(r"prefrl: the agent .*?: (.*? newest checkpoint\.)", output)
    assert len(told) == 1, output
    assert told[0].startswith("expected all 2 processes of the launch to go on, but one is gone")
    assert "launch prefrl resume run in the same way" in told[0]
    assert "Saved and stopped" not in output

    n_before = run.metrics.read_text().count("\n")
    launcher = launch("resume", "run", folder=tmp_path)
    wait_for(lambda: run.metrics.read_text().count("\n") > n_before + 1)
    assert read_status(run, "agent").about["responses"] > 0
    launcher.terminate()  # the launcher tells both to stop
    code, output = said(launcher)
    assert "Saved and stopped" in output
    assert "the agent" not in output


def test_what_happens_to_all_processes_is_said_by_the_first(tmp_path):
    code, output = said(align_in(tmp_path, "--ppo.learning-rate", "1e30"))
    assert code != 0
    told = r"prefrl: the agent cannot go on: expected a finite .*?; lower the learning rate\."
    assert len(re.findall(told, output)) == output.count("prefrl: ") == 1, output
    missing = ("align", "nowhere/at-all", "--prompts", "prompts.txt", "--device", "cpu")
    code, output = said(launch(*missing, folder=tmp_path))
    assert code != 0
    assert output.count("prefrl: ") == 1, output


def test_a_killed_agent_ends_the_launch_too(tmp_path):
    launcher = align_in(tmp_path, "--responses", 100_000)
    run = RunDirectory(tmp_path / "run")
    wait_for(lambda: run.metrics.is_file() and run.metrics.read_text().count("\n") > 1)
    os.kill(read_status(run, "agent").pid, signal.SIGKILL)
    code, output = said(launcher)
    assert code != 0
    assert "prefrl: the agent died with SIGKILL" in output
    assert "one is gone" not in output  # the others leave it to the first process
    assert f"launch prefrl resume {Path('run')}" in output


def test_what_is_done_by_one_process_is_refused_in_a_launch(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 20)
    code, output = said(launch("sft", "tiny", "--data", "data.jsonl", folder=tmp_path))
    assert code != 0
    assert "expected one process for prefrl sft, got a launch of 2" in output
    assert not (tmp_path / "runs").exists()
