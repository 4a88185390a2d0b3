"""``prefrl watch``: films of any length, of any policy of a run."""

import av
import pytest

from prefrl import RunDirectory
from prefrl.cli import main

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SHORT = ["--labels", "12", "--steps", "1600", "--segment-length", "10", "--warmup-segments", "10",
         "--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100",
         "--agent.n-epochs", "1", "--eval-episodes", "2", "--no-films", "--sync",
         "--evaluate-every", "800"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch") / "run"
    main(["train", DOT, *SHORT, "--run", str(path)])
    return RunDirectory.open(path)


def n_frames(path):
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def test_whole_episodes_are_filmed_one_after_another(trained, capsys):
    main(["watch", str(trained.root), "--episodes", "3"])
    said = " ".join(capsys.readouterr().out.split())
    assert "episode 3: true return" in said
    assert said.count("50 steps") == 3
    assert "the trained policy:" in said
    assert n_frames(trained.films / "watch.webm") == 150


def test_a_film_has_the_kind_place_length_and_policy_that_are_asked_for(trained, tmp_path, capsys):
    path = tmp_path / "best.mp4"
    options = ["--checkpoint", "best", "--steps", "7", "--output", str(path), "--no-show"]
    main(["watch", str(trained.root), *options])
    assert "the best of 2 evaluations" in " ".join(capsys.readouterr().out.split())
    assert n_frames(path) == 7
    assert [file.name for file in tmp_path.iterdir()] == ["best.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "film.gif"], "expected output to end in .webm or .mp4"),
        (["--output", "no/such/folder/film.webm"], "there is no folder"),
        (["--episodes", "0"], "episodes must be at least 1, got 0"),
        (["--checkpoint", "77"], "there are: 800, 1600"),
    ],
)
def test_what_cannot_be_is_one_sentence(trained, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["watch", str(trained.root), *options])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in " ".join((said.out + said.err).replace("│", " ").split())
