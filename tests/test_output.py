"""What commands print: on a disk that is full, in a pipe, in ASCII, on a narrow terminal."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from prefrl.cli import main
from prefrl.commands.console import Output
from prefrl.commands.progress import AlignProgress, TrainingProgress
from prefrl.runtime.roles.role import RoleStatus
from prefrl.runtime.rundir import RunDirectory

ROW = {"env_steps": 400_000, "labels": 1000, "true_return_mean": -1234.5, "reward_correlation": 0.8}


@pytest.fixture
def full():
    """A file on a disk that is full."""
    with open(os.open("/dev/full", os.O_WRONLY), "w", closefd=False) as file:
        yield file


def test_a_full_disk_loses_what_is_printed_and_says_so_in_the_end(full):
    output = Output(file=full)
    with TrainingProgress(1_000_000, 1000, console=output) as progress:
        progress.start()
        progress.update(ROW)
        progress.say("evaluating")
    assert "No space left" in str(output.finish())
    assert output.finish() is None  # what follows has room


def test_a_command_whose_output_is_lost_ends_with_code_1(full, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 1
    assert "not all could be printed: No space left on device." in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, {"env_id": "x"})
    run.report.rmdir()
    run.report.symlink_to("/dev/full")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run.root)])
    assert ended.value.code == 2
    assert f"{run.report}, but file exists; look whether" in capsys.readouterr().err


def test_lines_in_a_pipe_are_whole():
    file = io.StringIO()
    Output(file=file).print("a word " * 100)
    assert file.getvalue().count("\n") == 1


def test_what_a_stream_has_no_letters_for_is_a_question_mark():
    raw = io.BytesIO()
    output = Output(file=io.TextIOWrapper(raw, encoding="ascii"))
    output.print("Läufe \udcc3")
    assert raw.getvalue() == b"L?ufe ?\n"


@pytest.mark.parametrize("width", [80, 140])
def test_the_time_left_is_shown_on_a_narrow_terminal(width):
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=width)
    with TrainingProgress(1_000_000, 1000, console=terminal) as progress:
        progress.start()
        for steps in (100_000, 400_000):
            progress.update(ROW | {"env_steps": steps})
            time.sleep(0.05)
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", file.getvalue()).splitlines()[-1]
    assert re.match(r"400,000 steps  \d+ s left  labels 1000/1000  true return -1", shown)
    assert ("━" in shown) == (width == 140)


def test_checkpoints_that_fail_are_told_once_whatever_is_trained(capsys):
    about = {"responses": 8, "unsaved": "File too large", "saved": "response 4"}
    status = RoleStatus("agent", os.getpid(), "not saved", time.time(), time.time(), about)
    with AlignProgress(100, 10, console=Console(file=io.StringIO())) as progress:
        progress.hear(status, None)
        progress.hear(status, None)
    assert capsys.readouterr().err.count("No checkpoint can be written (File too large)") == 1


INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may ignore it
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rich":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["prefrl", "--version"]
runpy.run_module("prefrl", run_name="__main__")
"""


def test_an_interrupt_while_modules_are_loaded_leaves_no_traceback():
    process = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert process.returncode == -signal.SIGINT
    assert process.stderr == ""


ENTERED = """
import sys, types
sys.modules["prefrl.cli"] = types.SimpleNamespace(main=lambda: print(sys.argv[1]))
from prefrl.__main__ import main
main()
"""


def test_where_python_reads_ascii_alone_umlauts_are_read_as_they_are():
    ascii_alone = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", ENTERED, "Läufe"]
    assert subprocess.check_output(command, env=ascii_alone) == "Läufe\n".encode()
