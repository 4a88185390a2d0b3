import csv
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from prefrl.errors import NotEnoughDataError, RunDirectoryError
from prefrl.report import page as page_module
from prefrl.report import write_report
from prefrl.report.figures import (
    along_episode,
    calibration,
    disagreement,
    holdout,
    learning_curve,
    predicted_against_true,
)
from prefrl.report.measures import pearson, reliability_bins, running_mean
from prefrl.report.tables import Evaluation, find_setting, read_csv, read_evaluation
from prefrl.runtime.rundir import RunDirectory

FIGURES = {
    "learning_curve", "predicted_against_true", "along_episode", "holdout", "calibration",
    "disagreement",
}  # fmt: skip


def write_csv(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.fixture
def run(tmp_path, rng):
    made = RunDirectory.create(tmp_path / "run")
    n = 40
    steps = np.arange(1, n + 1) * 4096
    write_csv(
        made.metrics,
        {
            "rollout": np.arange(1, n + 1),
            "env_steps": steps,
            "labels": np.minimum(100, 25 + 2 * np.arange(n)),
            "episodes": np.arange(n) * 4,
            "true_return_mean": ["nan", "nan", *np.linspace(-300, 3000, n - 2)],
            "predicted_reward_mean": rng.normal(size=n),
            "predicted_reward_std": np.ones(n),
            "reward_correlation": np.linspace(0.3, 0.8, n),
            "disagreement": np.linspace(0.2, 0.1, n),
            "fit_steps": np.zeros(n),
            "wall_seconds": np.arange(n),
        },
    )
    write_csv(
        made.fits,
        {
            "fit": range(1, 6),
            "env_steps": steps[:5],
            "labels": [25, 30, 35, 40, 45],
            "steps": [100] * 5,
            "train_loss": np.linspace(0.6, 0.2, 5),
            "holdout_loss": np.linspace(0.7, 0.5, 5),
            "holdout_accuracy": np.linspace(0.6, 0.8, 5),
            "l2": [1e-4] * 5,
            "seconds": [0.5] * 5,
        },
    )
    true = rng.normal(size=(3, 50))
    np.savez(
        made.evaluation,
        true_rewards=true,
        predicted_rewards=0.5 * true + 0.1 * rng.normal(size=true.shape),
        holdout_probability=rng.uniform(size=60),
        holdout_preference=rng.choice([0.0, 0.5, 1.0], size=60),
    )
    made.write_json(made.config, {"env_id": "x", "preferences": {"labels": 100}})
    made.write_json(
        made.summary,
        {
            "env_id": "<script>alert(1)</script>", "algo": "ppo", "seed": 0, "labels": 100,
            "agent_settings": "prefrl's <b>defaults",
            "env_steps": int(steps[-1]), "wall_seconds": 131.0, "eval_return_mean": 3210.4,
            "eval_return_std": 12.0, "eval_episodes": 10, "eval_episodes_cut": 3,
            "reward_correlation": 0.75,
            "reward_accuracy_holdout": 0.8, "versions": {"torch": "2"},
        },
    )  # fmt: skip
    for side in ("left", "right"):
        cv2.imwrite(str(made.films / f"pair0_{side}.png"), np.full((20, 60, 3), 90, np.uint8))
    pair = {"query": "q1", "left": "pair0_left.png", "right": "pair0_right.png",
            "answer": "left", "disagreement": 0.31, "env_steps": 4096}  # fmt: skip
    (made.films / "pairs.json").write_text(json.dumps([pair]))
    return made


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are made and not rendered: for tests that look at the page alone."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: path.write_bytes(b"PNG"))


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in {"src", "href"}]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_stands_alone(run):
    page = Page(write_report(run))
    assert all(source.startswith("data:") for source in page.sources)
    assert len(page.sources) == len(FIGURES) + 2
    assert "script" not in page.tags
    assert not re.search("https?://", run.report.joinpath("index.html").read_text())
    for part in (
        "<script>alert(1)</script>",
        "PPO with prefrl's <b>defaults, seed 0",
        "3,210",
        "± 12",
        "100",
        "0.75",
        "0.80",
        "2.2 min",
        "3 of them cut",
    ):
        assert part in page.text
    assert "not complete" not in page.text


def test_every_figure_is_a_picture_with_something_on_it(run):
    write_report(run)
    assert {path.stem for path in run.report.glob("*.png")} == FIGURES
    for path in run.report.glob("*.png"):
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 400
        assert picture.std() > 10


@pytest.mark.parametrize(
    "name",
    [
        "metrics.csv",
        "fits.csv",
        "evaluation.npz",
        "summary.json",
        "config.json",
        "films/pairs.json",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "rubbish"])
def test_what_is_missing_or_damaged_is_said_and_the_rest_is_shown(run, unrendered, name, damage):
    path = run.root / name
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else b"\x00\xff[{")
    page = Page(write_report(run))
    assert name in page.text
    assert "not complete" in page.text
    assert len(page.sources) >= 3


def test_a_run_with_one_rollout_has_a_report(run):
    lines = run.metrics.read_text().splitlines()[:2]
    run.metrics.write_text("\n".join(lines) + "\n")
    assert write_report(run).is_file()


def test_a_run_under_way_shows_its_newest_numbers(run, unrendered):
    run.summary.unlink()
    page = Page(write_report(run))
    for part in ("3,000", "true return in training", "100", "163,840", "0.80", "39 s"):
        assert part in page.text


def test_a_run_without_any_number_still_has_its_page(run):
    for path in (run.metrics, run.fits, run.evaluation, run.summary):
        path.unlink()
    (run.report / "holdout.png").write_bytes(b"of an earlier report")
    page = Page(write_report(run))
    assert len(page.sources) == 2
    assert not list(run.report.glob("*.png"))


def test_a_large_film_is_linked_and_a_missing_one_is_said(run, unrendered, monkeypatch):
    (run.films / "before.webm").write_bytes(b"small")
    (run.films / "after.webm").write_bytes(b"large" * 100)
    monkeypatch.setattr(page_module, "_LARGEST_FILM", 100)
    page = Page(write_report(run))
    assert page.tags.count("video") == 1
    assert [s for s in page.sources if not s.startswith("data:")] == ["../films/after.webm"]
    (run.films / "after.webm").unlink()
    assert "no film of the agent after training" in Page(write_report(run)).text


def test_a_missing_strip_is_said_and_no_path_leads_out_of_films(run, unrendered):
    pair = {"query": "<q>", "left": "../../summary.json", "right": "gone.png", "answer": "tie"}
    (run.films / "pairs.json").write_text(json.dumps([pair]))
    page = Page(write_report(run))
    assert len(page.sources) == len(FIGURES)
    for part in ("left: summary.json is missing", "right: gone.png is missing", "<q>: answer tie"):
        assert part in page.text


def test_a_row_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("rollout,labels\r\n1,\r\n2,x\r\n3\r\n4,25\r\n5,3")
    table = read_csv(path)
    assert table["rollout"].tolist() == [1, 2, 4]
    assert np.array_equal(table["labels"], [np.nan, np.nan, 25], equal_nan=True)


def test_the_outermost_setting_of_a_name_is_found():
    config = {"agent": {"seed": 5, "net": {"algo": "sac"}}, "seed": 3}
    assert find_setting(config, "seed") == 3
    assert find_setting(config, "algo") == "sac"
    assert find_setting(config, "agent") is None


def test_what_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="expected a run directory"):
        write_report(RunDirectory(tmp_path))


def test_the_learning_curve_shows_the_numbers_of_the_table(run):
    table = read_csv(run.metrics)
    axes = learning_curve(table).axes[0]
    drawn = axes.lines[0]
    finite = np.isfinite(table["true_return_mean"])
    shown = np.isfinite(np.asarray(drawn.get_ydata(), float))
    assert np.array_equal(np.asarray(drawn.get_ydata())[shown], table["true_return_mean"][finite])
    with pytest.raises(NotEnoughDataError):
        learning_curve({"env_steps": np.empty(0), "labels": np.empty(0)})


def test_the_scatter_says_the_correlation(rng):
    true = rng.normal(size=(2, 30))
    figure = predicted_against_true(Evaluation(true_rewards=true, predicted_rewards=-true))
    texts = [figure.axes[0].get_title(loc="left"), *(t.get_text() for t in figure.axes[0].texts)]
    assert any("1.00" in text for text in texts)


def test_measures_by_hand():
    assert pearson(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.5)
    assert running_mean(np.array([1.0, 2.0, 3.0]), 1).tolist() == [1, 2, 3]
    bins = reliability_bins(np.array([0.1, 0.15, 0.9]), np.array([0.0, 0.5, 1.0]), n_bins=2)
    assert bins.observed.tolist() == [0.25, 1.0]
    assert bins.counts.tolist() == [2, 1]
    assert bins.predicted.tolist() == pytest.approx([0.125, 0.9])


def test_calibration_without_comparisons_says_so():
    with pytest.raises(NotEnoughDataError):
        calibration(Evaluation())


def drawn(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_holdout_and_disagreement_show_the_numbers_of_their_tables(run):
    fits, metrics = read_csv(run.fits), read_csv(run.metrics)
    top, bottom = holdout(fits).axes
    assert np.array_equal(drawn(top.lines[0]), (fits["fit"], fits["holdout_accuracy"]))
    assert drawn(top.lines[1])[1].tolist() == [0.5, 0.5]
    assert np.array_equal(drawn(bottom.lines[0])[1], fits["holdout_loss"])
    assert np.array_equal(drawn(bottom.lines[1])[1], fits["train_loss"])
    top, bottom = disagreement(metrics).axes
    assert np.array_equal(drawn(top.lines[0]), (metrics["env_steps"], metrics["disagreement"]))
    assert np.array_equal(drawn(bottom.lines[0])[1], metrics["reward_correlation"])


def test_an_empty_panel_says_so():
    table = {"env_steps": np.arange(3.0), "reward_correlation": np.zeros(3)}
    top, bottom = disagreement(table).axes
    assert [text.get_text() for text in top.texts] == ["nothing recorded yet"]
    assert not bottom.texts


def test_labels_are_marked_where_they_came_in():
    table = {
        "env_steps": np.array([10.0, 20.0, 30.0, 40.0]),
        "labels": np.array([0.0, 25.0, 25.0, 30.0]),
        "true_return_mean": np.arange(4.0),
    }
    top, bottom = learning_curve(table).axes
    assert drawn(top.lines[1])[0].tolist() == [20, 40]
    assert drawn(bottom.lines[0])[0].tolist() == [0, 25, 25, 30]


def test_the_median_episode_is_shown_standardised_and_says_by_what():
    true = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 3.0, np.nan, np.nan], [9.0, 9.0, 9.0, 8.0]])
    figure = along_episode(Evaluation(true_rewards=true, predicted_rewards=-2 * true))
    (axes,) = figure.axes
    assert drawn(axes.lines[0])[1].tolist() == [-1, 1]
    assert drawn(axes.lines[1])[1].tolist() == [1, -1]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["true (mean 2, std 1)", "predicted (mean -4, std 2)"]


def test_a_long_episode_has_a_close_up(rng):
    true = rng.normal(size=(1, 1000))
    whole, close = along_episode(Evaluation(true_rewards=true, predicted_rewards=true)).axes
    assert len(drawn(whole.lines[0])[0]) == 991
    assert drawn(close.lines[0])[0].tolist() == list(range(450, 550))


def test_calibration_shows_the_bins(run):
    evaluation = read_evaluation(run.evaluation)
    top, bottom = calibration(evaluation).axes
    probability, preference = evaluation.holdout_probability, evaluation.holdout_preference
    bins = reliability_bins(probability, preference, n_bins=5)
    assert np.array_equal(drawn(top.lines[1]), (bins.predicted, bins.observed))
    assert [bar.get_height() for bar in bottom.patches] == bins.counts.tolist()
    assert bins.counts.sum() == len(preference)


@pytest.mark.parametrize("n_steps", [100, 3000])
def test_rewards_that_do_not_vary_have_no_correlation(n_steps):
    figure = predicted_against_true(
        Evaluation(true_rewards=np.ones((1, n_steps)), predicted_rewards=np.ones((1, n_steps)))
    )
    figure.draw_without_rendering()
    assert "undefined" in figure.axes[0].texts[0].get_text()
