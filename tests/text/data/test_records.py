import json
import os
import signal
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from safetensors.torch import load_file

from prefrl.cli import main
from prefrl.errors import ConfigError
from prefrl.runtime.rundir.checkpoint import load_checkpoint
from prefrl.text.data.intake import check_usable
from prefrl.text.data.records import Labelled, Preferences, Ranking, read_preferences
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Responses
from prefrl.text.train import align, resume_alignment

PAIR = {"prompt": "one ", "chosen": "good", "rejected": "bad"}
TRIPLE = {"prompt": "p", "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}
UP = {"prompt": "one ", "completion": "good", "label": True}
DOWN = {"prompt": "one ", "completion": "bad", "label": False}


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
            {
                "prompt": "hi",
                "chosen": [user("hi"), assistant("yes")],
                "rejected": [user("hi"), assistant("no")],
            },
            Ranking((("user", "hi"),), ("yes", "no"), (1, 2)),
        ),
        (
            {"prompt": "hi", "chosen": [assistant("yes")], "rejected": [assistant("no")]},
            Ranking((("user", "hi"),), ("yes", "no"), (1, 2)),
        ),
        (PAIR | {"label": None, "responses": None}, Ranking("one ", ("good", "bad"), (1, 2))),
        (
            {"prompt": "p", "responses": [[assistant("a")], [assistant("b")]], "ranks": [2, 1]},
            Ranking((("user", "p"),), ("a", "b"), (2, 1)),
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
    path = write(tmp_path / "data.jsonl", [row])
    assert read_preferences(path) == Preferences([expected], [])
    assert read_preferences(path).rankings[0].where == f"line 1 of {path}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (UP, Labelled("one ", "good", True)),
        ({"prompt": "p", "response": "a", "label": False}, Labelled("p", "a", False)),
        (
            {"prompt": [user("hi")], "completion": [assistant("no")], "label": False},
            Labelled((("user", "hi"),), "no", False),
        ),
        (
            {"completion": [user("hi"), assistant("yes")], "label": True},
            Labelled((("user", "hi"),), "yes", True),
        ),
    ],
)
def test_single_responses_with_a_thumb_up_or_down_are_read(tmp_path, row, expected):
    path = write(tmp_path / "data.jsonl", [PAIR, row])
    found = read_preferences(path)
    assert found == Preferences([Ranking("one ", ("good", "bad"), (1, 2))], [expected])
    assert found.labelled[0].where == f"line 2 of {path}"


def test_single_responses_to_the_same_prompt_are_pairs_of_a_good_and_a_bad_one():
    said = [("p", "a", True), ("p", "b", False), ("q", "c", True), ("p", "d", True)]
    said += [("p", "both", True), ("p", "both", False), ("p", "a", True)]
    labelled = [Labelled(*one) for one in said]
    ranking = Ranking("r", ("x", "y", "z"), (1, 2, 3))
    assert Preferences([ranking], labelled).comparable() == [
        ranking,
        Ranking("p", ("a", "b"), (1, 2)),
        Ranking("p", ("d", "b"), (1, 2)),
    ]


@pytest.mark.parametrize(
    ("n_good", "n_bad"),
    [(2, 3), (4, 6), (10, 10), (11, 10), (30, 40), (1, 500), (1000, 5), (101, 1), (300, 400)],
)
def test_of_the_pairs_to_a_prompt_a_hundred_at_most_are_taken_of_all_alike(n_good, n_bad):
    labelled = [Labelled("p", f"g{i}", True) for i in range(n_good)]
    labelled += [Labelled("p", f"b{i}", False) for i in range(n_bad)]
    pairs = [ranking.responses for ranking in Preferences([], labelled).comparable()]
    assert len(set(pairs)) == len(pairs) == min(n_good * n_bad, 100)
    assert all(good[0] == "g" and bad[0] == "b" for good, bad in pairs)
    for side, n in ((0, n_good), (1, n_bad)):
        times = Counter(pair[side] for pair in pairs)
        assert len(times) == min(n, 100)
        assert max(times.values()) - min(times.values()) <= 1
        numbers = sorted(int(text[1:]) for text in times)
        assert max(b - a for a, b in pairwise([-1, *numbers, n])) <= max(1, -(-n // 100))


def test_a_folder_of_datasets_is_read(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list([PAIR, PAIR])
    data.save_to_disk(tmp_path / "plain")
    ranking = {"prompt": "p", "responses": ["a", "b"], "ranks": [2.0, 1.0]}
    none = dict.fromkeys(("responses", "ranks", "completion", "label"))
    Dataset.from_list([PAIR | none, ranking, UP]).save_to_disk(tmp_path / "mixed")
    assert read_preferences(tmp_path / "mixed") == Preferences(
        [Ranking("one ", ("good", "bad"), (1, 2)), Ranking("p", ("a", "b"), (2, 1))],
        [Labelled("one ", "good", True)],
    )
    DatasetDict(train=data).save_to_disk(tmp_path / "split")
    for name in ("plain", "split"):
        found = read_preferences(tmp_path / name)
        assert found == Preferences([Ranking("one ", ("good", "bad"), (1, 2))] * 2, [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="doesn't contain any data files; give JSON lines"):
        read_preferences(tmp_path / "empty")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected JSON in line 2"),
        ('{"prompt": "p"}', "chosen.* in line 2"),
        ('{"prompt": "p", "chosen": "a"}', "in line 2"),
        ('{"prompt": "p", "responses": ["a"], "ranks": [1]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "ranks": [1]}', "in line 2"),
        ('{"prompt": "p", "completion": "a", "label": 1}', "a label true or false, in line 2"),
        ('{"prompt": "p", "label": true}', "in line 2"),
        ('{"prompt": "p", "completion": ["a"], "label": true}', "in line 2"),
        ("17", "in line 2"),
        ('{"prompt": "p", "responses": ["a", null], "ranks": [1, 2]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", 3], "ranks": [1, 2]}', "in line 2"),
        ('{"prompt": "p", "responses": "ab", "ranks": [1, 2]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "ranks": [1, NaN]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "scores": [Infinity, 1]}', "in line 2"),
        ('{"prompt": "p", "responses": ["a", "b"], "scores": [null, 1]}', "in line 2"),
        ('{"prompt": "p", "chosen": "a", "rejected": null}', "in line 2"),
        ('{"prompt": "p", "completion": "a", "label": null}', "in line 2"),
    ],
)
def test_a_row_without_a_form_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(PAIR) + "\n" + line)
    with pytest.raises(ConfigError, match=message):
        read_preferences(path)


def test_an_empty_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    with pytest.raises(ConfigError, match="expected a file of preferences in"):
        read_preferences(path)
    path.touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_preferences(path)


@pytest.mark.parametrize(
    ("rows", "method", "labels", "message"),
    [
        ([UP, DOWN | {"prompt": "two"}], "dpo", 0, "there are only single responses"),
        ([UP, DOWN | {"prompt": "two"}], "ppo", 20, "kto learns from such ones"),
        ([UP, UP], "rrhf", 0, "there are only single responses"),
        ([UP, UP | {"label": False}], "kto", 0, "at least two responses .* for kto"),
        ([UP, UP], "kto", 0, "at least two responses"),
        ([PAIR | {"rejected": "good"}], "ppo", 0, "all are ties, read the same"),
        ([PAIR | {"rejected": "good"}], "kto", 0, "at least two responses"),
        ([{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}], "pro", 0, "all are ties"),
        ([TRIPLE, TRIPLE | {"ranks": [3, 2, 1]}], "rrhf", 0, "or are contradicted"),
    ],
)
def test_data_that_a_method_cannot_use_is_refused_before_anything_starts(
    tmp_path, rows, method, labels, message
):
    (tmp_path / "prompts.txt").write_text("one \n")
    config = replace(
        ALIGN_PRESETS["tiny"],
        prompts=tmp_path / "prompts.txt",
        data=write(tmp_path / "data.jsonl", rows),
        method=method,
        labels=labels,
        run=tmp_path / "run",
    )
    with pytest.raises(ConfigError, match=message):
        align(config)
    assert not config.run.exists()


@pytest.mark.parametrize(
    ("rows", "method", "labels"),
    [
        ([UP, DOWN], "dpo", 0),
        ([UP, DOWN | {"prompt": "two"}], "kto", 0),
        ([UP], "kto", 20),
        ([PAIR], "kto", 0),
        ([PAIR, UP], "pro", 0),
        ([{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}], "dpo", 20),
        ([TRIPLE, TRIPLE | {"ranks": [3, 2, 1]}], "dpo", 0),
        ([{"prompt": "p", "responses": ["a", "b", "a", "c"], "ranks": [1, 2, 3, 1]}], "kto", 0),
    ],
)
def test_data_that_a_method_can_use_is_not_refused(tmp_path, rows, method, labels):
    path = write(tmp_path / "data.jsonl", rows)
    check_usable(read_preferences(path), path, method=method, n_labels=labels)


def pairs_of_letters():
    return [
        {"prompt": f"{i} ", "chosen": f"a{c}a", "rejected": f"z{c}z"}
        for i in range(8)
        for c in "bcdefg"
    ]


def triples_of_letters():
    return [
        {"prompt": f"{i} ", "responses": [f"z{c}z", f"a{c}a", f"a{c}z"], "ranks": [3, 1, 2]}
        for i in range(8)
        for c in "bde"
    ]


def single_letters():
    """Good ones to some prompts and bad ones to others: nothing that could be compared."""
    return [
        {"prompt": f"{i} ", "completion": f"a{c}a" if i % 2 else f"z{c}z", "label": bool(i % 2)}
        for i in range(8)
        for c in "bcdefg"
    ]


@pytest.mark.parametrize(
    ("method", "labels", "rows"),
    [
        ("dpo", 0, pairs_of_letters()),
        ("ppo", 0, pairs_of_letters()),
        ("dpo", 20, pairs_of_letters()),
        ("dpo", 0, triples_of_letters()),
        ("pro", 0, triples_of_letters()),
        ("rrhf", 0, triples_of_letters()),
        ("kto", 0, single_letters()),
        ("kto", 20, single_letters()),
    ],
)
def test_a_model_learns_from_data_alone_or_with_labels_besides(tmp_path, method, labels, rows):
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
    pairs = {"chosen": 1, "responses": 3, "completion": 0}
    per_row = next(n for name, n in pairs.items() if name in rows[0])
    assert summary["labels"] == per_row * len(rows) + labels
    if method != "ppo":
        assert summary["gold_after"] > summary["gold_before"] + 0.1
    if method != "ppo" and labels == 0:
        assert summary["responses"] == 0
        assert summary["score_after"] is None  # no reward was fitted


def test_a_run_on_single_responses_that_is_stopped_goes_on_bit_for_bit(tmp_path):
    (tmp_path / "prompts.txt").write_text("0 \n1 \n")
    data = write(tmp_path / "data.jsonl", single_letters())
    preset = ALIGN_PRESETS["tiny"]
    config = replace(
        preset,
        prompts=tmp_path / "prompts.txt",
        data=data,
        method="kto",
        labels=0,
        run=tmp_path / "whole",
        finetune=replace(preset.finetune, epochs=9),
        eval_prompts=1,
        sync=True,
        checkpoint_seconds=0,
    )
    whole = align(config)

    def stop(row):
        os.kill(os.getpid(), signal.SIGTERM)

    stopped = align(replace(config, run=tmp_path / "stopped"), on_rollout=stop)
    assert not stopped.finished
    state = load_checkpoint(stopped.run.checkpoints).state
    responses = Responses(stopped.run)
    assert state["tuning"]["n_steps"] == 10
    assert [(responses[name].text, rank) for (name,), (rank,), _ in state["examples"]] == [
        (row["completion"], 1 if row["label"] else 2) for row in single_letters()
    ]
    data.write_text(json.dumps(UP))  # what is trained on is in the checkpoint
    resumed = resume_alignment(stopped.run)
    weights = [load_file(r.run.model / "model.safetensors") for r in (whole, resumed)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


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
