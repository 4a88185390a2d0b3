import json
import os
import pty
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from prefrl import RunDirectory
from prefrl.cli import main

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SHORT = ["--labels", "12", "--steps", "3000", "--segment-length", "10", "--warmup-segments", "10",
         "--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100",
         "--agent.n-epochs", "1", "--eval-episodes", "2"]  # fmt: skip

CLIP = "gymnasium.wrappers:ClipAction"  # its actions have no bounds
OTHER = ["--env.kwargs", '{"continuous": true}', "--env.wrapper",
         "gymnasium.wrappers:TimeAwareObservation"]  # fmt: skip


def run(*arguments):
    """The exit code of a command that exits by itself."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "run"
    main(["train", DOT, *SHORT, "--run", str(path)])
    return path


def test_train_leaves_a_report_films_and_a_policy(trained):
    for name in ("report/index.html", "films/before.webm", "films/after.webm", "policy.zip"):
        assert (trained / name).stat().st_size > 1000


def test_train_says_how_it_goes_and_what_to_do_next(tmp_path, capsys):
    main(["train", DOT, *SHORT, "--run", str(tmp_path / "run"), "--no-films"])
    said = capsys.readouterr().out
    for part in ("3,200/3,000 steps", "/12", "true return", "correlation"):
        assert part in said
    for part in ("index.html", "prefrl evaluate", "prefrl train"):
        assert part in said


def test_evaluate_and_report_read_the_run(trained, capsys):
    main(["evaluate", str(trained), "--episodes", "2"])
    assert "over 2 episodes" in capsys.readouterr().out
    (trained / "report" / "index.html").unlink()
    main(["report", str(trained)])
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_status_says_what_each_role_does(trained, capsys):
    main(["status", str(trained)])
    said = capsys.readouterr().out
    for part in ("agent", "learner", "labeller", "finished", "version", "steps old", "12 answered"):
        assert part in said


def test_labels_and_reward_version_are_the_same_everywhere(trained, capsys):
    summary = json.loads((trained / "summary.json").read_text())
    main(["status", str(trained)])
    said = capsys.readouterr().out
    assert f"version {summary['reward_version']}," in said
    assert f"{summary['labels']} answered" in said
    page = (trained / "report" / "index.html").read_text()
    assert f"<b>{summary['labels']}</b><span>labels</span>" in page
    assert f"<b>{summary['reward_version']}</b><span>reward version</span>" in page


def test_replay_repeats_the_fits(trained, capsys):
    main(["replay", str(trained)])
    said = capsys.readouterr().out
    assert "the same weights" in said
    assert "fits repeated exactly" in said


def test_arguments_and_wrappers_of_the_environment_go_with_the_run(tmp_path, capsys):
    path = tmp_path / "run"
    main(["train", DOT, *SHORT, *OTHER, "--run", str(path)])
    said = capsys.readouterr().out
    assert """--env.kwargs '{"continuous": true}' --env.wrapper gymnasium.wrappers:Time""" in said
    run_of = RunDirectory(path)
    config = run_of.read_json(run_of.config)
    assert config["env"] == {
        "kwargs": {"continuous": True},
        "wrapper": ["gymnasium.wrappers:TimeAwareObservation"],
        "processes": 0,
    }
    assert "(3,)" in run_of.read_json(run_of.spaces)["observations"]
    assert (path / "films" / "after.webm").stat().st_size > 1000
    main(["evaluate", str(path), "--episodes", "1"])
    main(["replay", str(path)])
    assert "fits repeated exactly" in capsys.readouterr().out
    # The same run with other wrappers, as if their code had changed since.
    config["env"]["wrapper"] = []
    run_of.write_json(run_of.config, config)
    (path / "summary.json").unlink()
    for command in ("resume", "evaluate"):
        assert run(command, str(path)) == 2
        told = capsys.readouterr().err
        assert "as " in told
        assert "its observations being Box" in told
    assert "Traceback" not in told


def test_resume_refuses_a_finished_run(trained, capsys):
    assert run("resume", str(trained)) == 2
    assert "expected a run that is not finished" in capsys.readouterr().err


def test_doctor_does_not_praise_what_training_refuses(monkeypatch, capsys):
    monkeypatch.setenv("MUJOCO_GL", "garbage")
    main(["doctor"])
    said = capsys.readouterr().out
    assert "look films          MUJOCO_GL=garbage does not work" in said


def test_doctor_says_what_works(capsys):
    main(["doctor"])
    said = capsys.readouterr().out
    for part in ("versions", "torch", "SQLite", "films", "GPU", "disk"):
        assert part in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "HalfCheeta-v5"], "HalfCheeta"),
        (
            ["train", DOT, "--labels", "0"],
            "labels must be at least 1, or 0 with labels_from or reward, got 0",
        ),
        (["train", DOT, "--segment-length", "60"], "segment_length is 60"),
        (["train", DOT, "--steps", "1500", "--segment-length", "50"], "expected segments enough"),
        (["train", "Taxi-v4", "--algo", "sac"], "sac needs Box actions"),
        (["train", DOT, "--env.kwargs", '{"size"'], "expected env.kwargs as JSON"),
        (["train", DOT, "--env.kwargs", "[5]"], "as a JSON object"),
        (["train", DOT, "--env.kwargs", '{"render_mode": "human"}'], "render_mode"),
        (["train", DOT, "--env.kwargs", '{"nope": 1}'], "unexpected keyword argument 'nope'"),
        (["train", DOT, "--env.wrapper", "FlattenObservation"], "expected env.wrapper"),
        (["train", DOT, "--env.wrapper", "nowhere:Gone"], "no module named 'nowhere'"),
        (["train", DOT, "--env.wrapper", "gymnasium:Gone"], "has no attribute 'gone'"),
        (["train", "Pendulum-v1", "--env.wrapper", CLIP], "a lower and an upper bound"),
        (["train", DOT, "--fit.noise", "2"], "noise is a share"),
        (["train", DOT, "--selection", "psychic"], "psychic"),
        (["train", DOT, "--algo", "sac"], "sac needs Box actions"),
        (["train", DOT, "--algo", "psychic"], "psychic"),
        (["train", DOT, "--agent.tau", "0.1"], "ppo does not take tau"),
        (["train", DOT, "--agent.settings", "nowhere.yml"], "'nowhere.yml'"),
        (["train"], "env"),
        (["evaluate", "no/such/run"], "no/such/run"),
        (["report", "no/such/run"], "no/such/run"),
        (["resume", "no/such/run"], "no/such/run"),
        (["status", "no/such/run"], "no/such/run"),
        (["replay", "no/such/run"], "no/such/run"),
        (["train", DOT, "--device", "cuda:7"], "cuda:7"),
        (["train", DOT, "--checkpoint-seconds", "-1"], "checkpoint_seconds"),
    ],
)
def test_bad_input_gets_one_clear_sentence_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert message in (said.out + said.err).lower() or message in said.out + said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_refused(trained, capsys):
    assert run("train", DOT, *SHORT, "--run", str(trained)) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_without_a_command_there_is_help(capsys):
    assert run() == 0
    said = capsys.readouterr().out
    for command in ("train", "align", "label", "status", "export", "doctor", "--version"):
        assert command in said


def test_version_names_the_release(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"prefrl {metadata.version('prefrl')}\n"


def test_help_explains_every_option(capsys):
    assert run("train", "--help-all") == 0
    said = capsys.readouterr().out
    options = "labels steps algo oracle seed run segment-length members selection"
    for option in [
        *options.split(),
        "teacher.eps-mistake",
        "fit.noise",
        "agent.gamma",
        "agent.tau",
    ]:
        assert f"--{option}" in said
    words = " ".join(said.replace("│", "").split())
    assert "Comparisons to ask for over the whole training" in words


def test_on_a_terminal_there_is_a_live_bar(tmp_path):
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "prefrl", "train", DOT, *SHORT, "--no-films"]
    process = subprocess.Popen(
        [*command, "--run", str(tmp_path / "run")],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "140"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end has closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait() == 0
    text = shown.decode(errors="replace")
    assert "steps" in text
    assert "━" in text
    assert "labels" in text


def test_who_reads_may_stop_reading():
    command = [sys.executable, "-m", "prefrl", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait() == 128 + signal.SIGPIPE
        assert not process.stderr.read()
