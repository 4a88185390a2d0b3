import json
import shutil

import pytest
from benchmark.suites import small_suite

from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.work import COLUMNS
from prefrl.errors import ConfigError, RoleError, RunDirectoryError


def done(folder, run, **values):
    """Puts a row there as a training does."""
    row = dict.fromkeys(COLUMNS, "") | {"arm": run.arm, "task": run.task, "seed": run.seed}
    (folder.prepare(run) / "row.json").write_text(json.dumps(row | values))
    return folder.gather(run)


def test_what_is_done_is_known_from_the_table_alone(tmp_path):
    folder, suite = BenchmarkFolder(tmp_path / "new"), small_suite()
    with folder.alone():
        folder.begin(suite)
    first, second = suite.runs()
    done(folder, first, return_mean=3.5)
    done(folder, first, return_mean=3.5)  # a second time changes nothing
    assert folder.done() == {first.key}
    assert [row["return_mean"] for row in folder.rows()] == ["3.5"]
    done(folder, second)
    shutil.rmtree(folder.root / "runs")
    with folder.alone():
        folder.begin(suite)
    assert folder.done() == {first.key, second.key}
    assert folder.suite() == suite


def test_other_settings_are_refused_with_what_changed(tmp_path):
    folder, suite = BenchmarkFolder(tmp_path), small_suite()
    folder.begin(suite)
    folder.prepare(suite.runs()[1])
    changed = small_suite(arms={"true reward": {"true_reward": True}, "6 labels": {"labels": 7}})
    with pytest.raises(ConfigError, match=r"of 6 labels, .*labels was 6 and is 7"):
        folder.begin(changed)
    folder.begin(
        small_suite(arms={"true reward": {"true_reward": True, "steps": 64}, **suite.arms})
    )
    assert folder.suite().arms["true reward"] == {"true_reward": True}


def test_nothing_that_was_begun_is_forgotten(tmp_path):
    folder, suite = BenchmarkFolder(tmp_path), small_suite()
    folder.begin(suite)
    done(folder, suite.runs()[0])
    other = small_suite(seeds=[5], arms={"9 labels": {"labels": 9}})
    folder.begin(other)
    assert list(folder.suite().arms) == ["true reward", "9 labels"]  # no "6 labels": not begun
    assert folder.suite().seeds == (0, 5)


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is neither"), BenchmarkFolder(tmp_path).alone():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunDirectoryError, match=r"has no suite\.json"):
        BenchmarkFolder(tmp_path).suite()


def test_two_do_not_work_in_one_folder(tmp_path):
    folder = BenchmarkFolder(tmp_path / "out")
    with folder.alone(), pytest.raises(RoleError, match="benchmark"), folder.alone():
        pass


def test_what_is_refused_leaves_the_suite_as_it_was(tmp_path):
    folder, suite = BenchmarkFolder(tmp_path), small_suite()
    folder.begin(suite)
    folder.prepare(suite.runs()[1])
    # Other options for all, in a file that does not even name what was begun.
    longer = small_suite(options={**suite.options, "steps": 1024}, arms={"9 labels": {"labels": 9}})
    with pytest.raises(ConfigError, match=r"of 6 labels, .*steps was 512 and is 1024"):
        folder.begin(longer)
    assert folder.suite() == suite


@pytest.mark.parametrize("line", ["a,b", "x" + "," * (len(COLUMNS) - 1), "," * len(COLUMNS)])
def test_a_damaged_table_is_refused_with_its_line(tmp_path, line):
    folder, suite = BenchmarkFolder(tmp_path), small_suite()
    folder.begin(suite)
    done(folder, suite.runs()[0])
    with folder.results.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunDirectoryError, match="line 3"):
        folder.rows()
