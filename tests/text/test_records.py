import json
from dataclasses import replace

import pytest

from prefrl.cli import main
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.text.intake import take_in
from prefrl.text.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.records import Ranking, read_rankings
from prefrl.text.responses import Responses
from prefrl.text.train import align

PAIR = {"prompt": "one ", "chosen": "good", "rejected": "bad"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (PAIR, Ranking("one ", ("good", "bad"), (1, 2))),
        (
            {"chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), assistant("no")]},
            Ranking((("user", "hi"),), ("yes", "no"), (1, 2)),
        ),
        (
            {"prompt": [user("hi")], "chosen": [assistant("yes")], "rejected": [assistant("no")]},
            Ranking((("user", "hi"),), ("yes", "no"), (1, 2)),
        ),
        (
            {"prompt": "p", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]},
            Ranking("p", ("a", "b", "c"), (2, 1, 2)),
        ),
        (
            {"prompt": "p", "responses": ["a", "b"], "scores": [0.5, 2]},
            Ranking("p", ("a", "b"), (-0.5, -2)),
        ),
    ],
)
def test_the_usual_forms_are_read(tmp_path, row, expected):
    assert read_rankings(write(tmp_path / "data.jsonl", [row])) == [expected]


def test_a_folder_of_datasets_is_read(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list([PAIR, PAIR])
    data.save_to_disk(tmp_path / "plain")
    DatasetDict(train=data).save_to_disk(tmp_path / "split")
    for name in ("plain", "split"):
        assert read_rankings(tmp_path / name) == [Ranking("one ", ("good", "bad"), (1, 2))] * 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="a folder that datasets saved"):
        read_rankings(tmp_path / "empty")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected JSON in line 2"),
        ('{"prompt": "p"}', "chosen.* in line 2"),
        ('{"prompt": "p", "chosen": "a"}', "in line 2"),
        ('{"prompt": "p", "responses": ["a"], "ranks": [1]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "ranks": [1]}', "in line 2"),
        ('{"prompt": "p", "completion": "a", "label": true}', "line 2 .* is a single response"),
        ("17", "in line 2"),
    ],
)
def test_a_row_without_a_form_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(PAIR) + "\n" + line)
    with pytest.raises(ConfigError, match=message):
        read_rankings(path)


def test_an_empty_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    with pytest.raises(ConfigError, match="expected a file of preferences in"):
        read_rankings(path)
    path.touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_rankings(path)


def test_what_is_taken_in_is_answered_once_and_sides_tell_nothing():
    language, responses = load_model("tiny"), Responses()
    rankings = [Ranking(f"{i} ", ("good", "bad", "bad too"), (1, 2, 2)) for i in range(100)]
    with LabelStore("sqlite://") as store:
        for _ in range(2):
            assert take_in(rankings, language, responses, store) == 300
        answers = [comparison for _, comparison in store.comparisons()]
    assert len(answers) == 300
    assert sum(c.answer == Answer.TIE for c in answers) == 100
    lefts = sum(c.answer == Answer.LEFT for c in answers)
    assert 70 < lefts < 130
    for comparison in answers:
        left, right = (responses[i].text for i in (comparison.query.left, comparison.query.right))
        expected = {("good", True): Answer.LEFT, ("good", False): Answer.RIGHT}
        if "good" in (left, right):
            assert comparison.answer == expected["good", left == "good"]


def test_a_text_that_is_too_long_is_named_by_its_number():
    rankings = [Ranking("p", ("a", "b"), (1, 2)), Ranking("p", (300 * "a", "b"), (1, 2))]
    with LabelStore("sqlite://") as store, pytest.raises(ConfigError, match="preference 2 has 30"):
        take_in(rankings, load_model("tiny"), Responses(), store)


@pytest.mark.parametrize(("method", "labels"), [("dpo", 0), ("ppo", 0), ("dpo", 20)])
def test_a_model_learns_from_data_alone_or_with_labels_besides(tmp_path, method, labels):
    rows = [
        {"prompt": f"{i} ", "chosen": f"a{c}a", "rejected": f"z{c}z"}
        for i in range(8)
        for c in "bcdefg"
    ]
    (tmp_path / "prompts.txt").write_text("0 \n1 \n2 \n3 \n")
    (tmp_path / "gold.py").write_text("def score(text): return text.count('a') - text.count('z')")
    preset = ALIGN_PRESETS["tiny"]
    result = align(
        replace(
            preset,
            prompts=tmp_path / "prompts.txt",
            data=write(tmp_path / "data.jsonl", rows),
            gold=f"{tmp_path / 'gold.py'}:score",
            method=method,
            labels=labels,
            responses=128,
            run=tmp_path / "run",
            finetune=replace(preset.finetune, epochs=25),
            eval_responses=32,
            sync=True,
        )
    )
    summary = result.summary
    assert summary["labels"] == len(rows) + labels
    if method == "dpo":
        assert summary["gold_after"] > summary["gold_before"] + 0.1
    if (method, labels) == ("dpo", 0):
        assert summary["responses"] == 0
        assert summary["score_after"] is None  # no reward was fitted


def test_without_data_some_labels_are_needed():
    with pytest.raises(ConfigError, match="labels must be at least 1, or 0 with data"):
        replace(ALIGN_PRESETS["tiny"], labels=0)


def test_from_the_shell_data_is_all_that_a_model_is_trained_on(tmp_path, capsys):
    data = write(tmp_path / "data.jsonl", [PAIR, PAIR | {"chosen": "fine"}])
    (tmp_path / "prompts.txt").write_text("one \n")
    run = tmp_path / "run"
    told = f"align tiny --data {data} --labels 0 --method dpo --sync --run {run}"
    main([*told.split(), "--prompts", str(tmp_path / "prompts.txt")])
    shown = capsys.readouterr().out
    assert "0/0 responses  labels 2  gold -" in shown
    assert "tiny by dpo: gold" in shown
    assert (run / "report" / "index.html").is_file()
    main(["status", str(run)])
    assert "2 answered" in capsys.readouterr().out
