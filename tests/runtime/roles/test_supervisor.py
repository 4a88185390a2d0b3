"""The supervisor with small programs as roles: it starts, watches, starts again, stops."""

import contextlib
import math
import os
import signal
import sys
import time

import pytest

from prefrl.core import disk
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.roles import supervisor as module
from prefrl.runtime.roles.supervisor import GAVE_UP, STOPPED, RoleCommand, Supervisor
from prefrl.runtime.rundir import RunDirectory

FOREVER = "import time\nwhile True: time.sleep(0.05)"


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def role(name, code):
    return RoleCommand(name, [sys.executable, "-c", code])


def within(seconds):
    """A poll that stops after so many seconds."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def pids(run):
    return [int(path.read_text()) for path in sorted(run.root.glob("pid-*"))]


def noting(run, then):
    """A program that leaves its process id in the run, and does something."""
    return (
        f"import os; open(f'{run.root}/pid-{{os.getpid()}}', 'w').write(str(os.getpid()))\n{then}"
    )


def test_a_run_is_done_when_its_agent_is(run):
    with Supervisor(run, [role("agent", "pass"), role("learner", noting(run, FOREVER))]) as roles:
        assert roles.watch(poll=within(20)) is True
    assert all(not os.path.exists(f"/proc/{pid}") for pid in pids(run))


def test_a_poll_that_says_so_stops_all(run):
    with Supervisor(run, [role("agent", FOREVER), role("learner", FOREVER)]) as roles:
        assert roles.watch(poll=within(0.3)) is False


@pytest.mark.parametrize(("code", "ended_well"), [(0, True), (STOPPED, False)])
def test_an_agent_that_is_told_to_stop_may_finish_instead(run, code, ended_well):
    program = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *told: sys.exit({code}))\n"
    program += f"open({str(run.root / 'ready')!r}, 'w').close()\n{FOREVER}"
    with Supervisor(run, [role("agent", program), role("learner", FOREVER)]) as roles:
        assert roles.watch(poll=(run.root / "ready").exists) is False
    assert roles.ended_well is ended_well


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_role_that_dies_is_started_again(run, how):
    # It dies twice, then it is well.
    program = noting(
        run,
        f"import os, glob\nif len(glob.glob('{run.root}/pid-*')) < 3: os.kill(os.getpid(), {how})",
    )
    with Supervisor(run, [role("agent", program)]) as roles:
        assert roles.watch(poll=within(30)) is True
    assert len(pids(run)) == 3
    assert roles.n_restarts == 2


def test_a_role_that_gets_nowhere_ends_the_run_with_its_last_words(run, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.05)
    program = "import sys; print('no more of this', file=sys.stderr); sys.exit(1)"
    with pytest.raises(RoleError, match=r"died 6 times.*exit code 1: no more of this\. Look at"):
        with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
            roles.watch(poll=within(60))


@pytest.mark.parametrize("code", [2, GAVE_UP])
def test_a_role_that_cannot_go_on_is_not_tried_again(run, code):
    program = noting(run, f"import sys; print('wrong input'); sys.exit({code})")
    with pytest.raises(RoleError, match="the learner cannot go on: wrong input"):
        with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
            roles.watch(poll=within(30))
    assert len(pids(run)) == 1


def test_a_run_that_was_moved_ends_in_a_sentence(run, tmp_path):
    program = f"import os; os.rename({str(run.root)!r}, {str(tmp_path / 'moved')!r})"
    with pytest.raises(RunDirectoryError, match=r"learner cannot be started: .*moved or removed"):
        with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
            roles.watch(poll=within(20))


def test_why_a_role_died_is_told_when_it_is_started_again(run, caplog):
    program = noting(run, "import sys; sys.exit('the disk is full')")
    with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
        roles.watch(poll=lambda: len(pids(run)) > 1 or within(20)())
    assert "the learner died with exit code 1: the disk is full. It is started" in caplog.text


def test_a_full_disk_has_no_room_for_last_words_and_is_named(run, caplog, monkeypatch):
    monkeypatch.setattr(disk, "_NO_ROOM", math.inf)
    program = noting(run, "import sys; sys.exit('half a sen')")
    with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
        roles.watch(poll=lambda: len(pids(run)) > 1 or within(20)())
    assert f"exit code 1: the disk of {run.root} is full; make room" in caplog.text


def test_a_role_that_somebody_else_stopped_has_not_died(run, caplog):
    program = noting(run, f"import sys; sys.exit({STOPPED})")
    with Supervisor(run, [role("agent", FOREVER), role("learner", program)]) as roles:
        roles.watch(poll=lambda: len(pids(run)) > 1 or within(20)())
    assert "the learner was told to stop from outside. It is started again." in caplog.text
    assert "died" not in caplog.text


def test_a_role_that_ends_well_before_the_agent_is_started_again(run):
    program = noting(run, "")
    with Supervisor(run, [role("agent", FOREVER), role("labeller", program)]) as roles:
        roles.watch(poll=lambda: len(pids(run)) >= 2 or within(30)())
    assert len(pids(run)) >= 2


def test_a_role_that_does_not_stop_is_killed(run, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_STOP", 0.5)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
    with Supervisor(run, [role("agent", noting(run, deaf))]) as roles:
        roles.watch(poll=lambda: bool(pids(run)))
        time.sleep(0.2)
    assert not os.path.exists(f"/proc/{pids(run)[0]}")


def test_a_role_that_is_silent_is_killed_and_started_again(run, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_OF_SILENCE", 0.5)
    with Supervisor(run, [role("agent", noting(run, FOREVER))]) as roles:
        roles.watch(poll=lambda: len(pids(run)) > module._MOST_SILENCES + 1)
    assert roles.n_restarts > module._MOST_SILENCES  # what it has done, nobody was told


def saying(run, then):
    """A program that says that it improves, and does something."""
    return (
        "from pathlib import Path\n"
        "from prefrl.runtime.roles.role import Heartbeat\n"
        "from prefrl.runtime.rundir import RunDirectory\n"
        f"run = RunDirectory(Path({str(run.root)!r}))\n"
        f"Heartbeat(run, 'agent').beat('improving')\n{then}\n{FOREVER}"
    )


def test_a_role_that_is_silent_again_and_again_and_saves_nothing_ends_the_run(run, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_OF_SILENCE", 1.5)
    argv = [sys.executable, "-c", noting(run, saying(run, ""))]
    told = (
        r"the agent was killed 3 times, the last time after \d+ s of silence while it said "
        r'"improving", and has saved nothing in between; .* smaller batch'
    )
    with pytest.raises(RoleError, match=told):
        with Supervisor(run, [RoleCommand("agent", argv, saves=run.checkpoints)]) as roles:
            roles.watch(poll=within(60))
    assert len(pids(run)) == 3


def test_a_role_that_saves_before_each_silence_goes_on(run, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_OF_SILENCE", 0.5)
    program = noting(run, f"open(f'{run.checkpoints}/{{os.getpid()}}', 'w')\n{FOREVER}")
    roles = [RoleCommand("agent", [sys.executable, "-c", program], saves=run.checkpoints)]
    with Supervisor(run, roles) as watched:
        watched.watch(poll=lambda: len(pids(run)) > module._MOST_SILENCES + 1 or within(60)())
    assert len(pids(run)) > module._MOST_SILENCES + 1


@pytest.mark.parametrize("before", ["2026-11-25 12:39:25,436 ERROR ", "prefrl: "])
def test_the_last_words_are_without_what_logging_puts_before_them(run, before):
    program = f"import sys; print('a line\\n{before}expected more'); sys.exit({GAVE_UP})"
    with pytest.raises(RoleError, match=r"^the agent cannot go on: expected more\.$"):
        with Supervisor(run, [role("agent", program)]) as roles:
            roles.watch(poll=within(30))


def test_what_roles_print_is_in_their_logs(run):
    with Supervisor(run, [role("agent", "print('hello from the agent')")]) as roles:
        assert roles.watch(poll=within(20))
    assert (run.logs / "agent.log").read_text() == "hello from the agent\n"


def extra(name, code):
    return RoleCommand(name, [sys.executable, "-c", code], essential=False)


def test_without_a_role_that_is_not_essential_the_run_goes_on(run, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_PAUSE_WITHOUT", 0.02)
    program = noting(run, "import sys; sys.exit(1)")
    with Supervisor(run, [role("agent", FOREVER), extra("viewer", program)]) as roles:
        roles.watch(poll=lambda: len(pids(run)) > module._MOST_CRASHES + 1 or within(60)())
    assert len(pids(run)) > module._MOST_CRASHES + 1


def test_a_killed_role_that_is_not_essential_is_started_again(run):
    viewer = extra("viewer", noting(run, FOREVER))
    with Supervisor(run, [role("agent", FOREVER), viewer]) as roles:
        for n_killed in range(2):
            roles.watch(poll=lambda n=n_killed: len(pids(run)) > n or within(20)())
            newest = max(run.root.glob("pid-*"), key=lambda path: path.stat().st_mtime_ns)
            os.kill(int(newest.read_text()), signal.SIGKILL)
        roles.watch(poll=lambda: len(pids(run)) == 3 or within(20)())
    assert len(pids(run)) == 3


@pytest.mark.parametrize("code", [2, GAVE_UP])
def test_a_role_that_is_not_essential_is_left_dead_with_one_line(run, caplog, code):
    program = noting(run, f"import sys; print('no screen'); sys.exit({code})")
    with Supervisor(run, [role("agent", FOREVER), extra("viewer", program)]) as roles:
        roles.watch(poll=lambda: bool(caplog.records) or within(20)())
        roles.watch(poll=within(0.5))
    assert [record.getMessage() for record in caplog.records] == [
        "the viewer cannot go on, and the run continues without it: no screen"
    ]
    assert len(pids(run)) == 1


def alone(code):
    return RoleCommand("agent", [sys.executable, "-c", code], restarts=False)


def test_a_role_that_others_depend_on_is_not_started_again(run):
    program = noting(run, f"os.kill(os.getpid(), {signal.SIGKILL})")
    with (
        pytest.raises(RoleError, match=r"the agent died with SIGKILL\. .* launch prefrl resume"),
        Supervisor(run, [alone(program)]) as roles,
    ):
        roles.watch(poll=within(20))
    assert len(pids(run)) == 1


@pytest.mark.parametrize(("code", "saves"), [(STOPPED, True), (GAVE_UP, False), (-9, False)])
def test_it_is_said_when_such_a_role_could_not_save_as_it_was_stopped(run, code, saves):
    then = f"sys.exit({code})" if code > 0 else "os.kill(os.getpid(), signal.SIGKILL)"
    program = noting(
        run,
        "import signal, sys, time\n"
        f"def end(*a):\n print('it is gone', flush=True)\n {then}\n"
        f"signal.signal(signal.SIGTERM, end)\nopen('{run.root}/ready', 'w')\n"
        "while True: time.sleep(0.05)",
    )
    expected = (
        contextlib.nullcontext()
        if saves
        else pytest.raises(RoleError, match="not saved: it is gone")
    )
    with expected, Supervisor(run, [alone(program)]) as roles:
        assert roles.watch(poll=lambda: (run.root / "ready").exists()) is False
