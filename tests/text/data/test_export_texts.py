import itertools
import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from prefrl.cli import main
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import NotEnoughDataError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.config import config_as_json
from prefrl.text.data.export import export_responses
from prefrl.text.data.intake import take_in
from prefrl.text.data.items import as_items
from prefrl.text.data.records import Preferences, Ranking, read_preferences
from prefrl.text.nets.generate import SamplingConfig, sample_responses
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Maker, Response, Responses, response_from

TALK = (("system", "Be brief."), ("user", "Good\u2028day\n\nuser: no"))
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


@pytest.fixture
def language():
    language = load_model("tiny")
    language.tokenizer.chat_template = TEMPLATE
    return language


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, config_as_json(replace(ALIGN_PRESETS["tiny"], run=run.root)))
    return run


def labelled(run, language, rankings, *, chat=False):
    with LabelStore(run.labels) as store:
        items = as_items(Preferences(list(rankings), []), language, chat=chat)
        take_in(items, Responses(run), store)


def said(run):
    """All answers about texts: prompt as the model sees it, better, worse, whether it is a tie."""
    responses = Responses(run)
    with LabelStore(run.labels) as store:
        found = [comparison for _, comparison in store.comparisons()]
    return {
        (responses[c.query.left].prompt_tokens, *_in_order(responses, c), c.preference == 0.5)
        for c in found
    }


def _in_order(responses, comparison):
    texts = [responses[i].text for i in (comparison.query.left, comparison.query.right)]
    if comparison.preference == 0.5:
        return sorted(texts)
    return texts if comparison.preference == 1 else texts[::-1]


def rows_of(run, form, **options):
    return [json.loads(line) for line in export_responses(run, form, **options).lines()]


def answer(run, query_id, what, annotator="ann", group=None, items=None):
    with LabelStore(run.labels) as store:
        if items is not None:
            store.add_queries([Query(query_id, *items, group)])
        key = f"{annotator}/{query_id}"
        store.submit(query_id, Answer(what), submission_key=key, annotator_id=annotator)


def kept(run, language, *texts, prompt="one "):
    told = language.prompt(prompt)
    responses = [
        Response(told.text, text, told.tokens, language.response_tokens(text)) for text in texts
    ]
    Responses(run).keep(responses)
    return [response.id for response in responses]


def test_a_pair_is_written_in_all_forms(run, language):
    labelled(run, language, [Ranking("one ", ("good", "bad"), (1, 2))])
    assert rows_of(run, "preference") == [{"prompt": "one ", "chosen": "good", "rejected": "bad"}]
    (row,) = rows_of(run, "ranking")
    assert dict(zip(row.pop("responses"), row.pop("ranks"), strict=True)) == {"good": 1, "bad": 2}
    assert row == {"prompt": "one "}
    by_text = {row["completion"]: row for row in rows_of(run, "unpaired")}
    assert by_text["good"] == {"prompt": "one ", "completion": "good", "label": True}
    assert by_text["bad"]["label"] is False


def test_a_conversation_is_written_as_one(run, language):
    labelled(run, language, [Ranking(TALK, ("yes", "no"), (1, 2))])
    prompt = [{"role": role, "content": content} for role, content in TALK]
    reply = [{"role": "assistant", "content": "yes"}]
    (row,) = rows_of(run, "preference")
    assert (row["prompt"], row["chosen"]) == (prompt, reply)
    (row,) = (row for row in rows_of(run, "unpaired") if row["label"])
    assert row == {"prompt": prompt, "completion": reply, "label": True}
    (row,) = rows_of(run, "ranking")
    assert row["prompt"] == prompt
    assert sorted(row["responses"]) == ["no", "yes"]


def test_notes_are_a_column_where_there_are_any(run, language, tmp_path):
    rankings = [
        Ranking("one ", ("good", "bad"), (1, 2)),
        Ranking("two ", ("a", "b", "c"), (1, 2, 3)),
    ]
    labelled(run, language, rankings)
    with LabelStore(run.labels) as store:
        queries = store.queries()
        (pair,) = (query for query in queries if query.group is None)
        grouped = min((query for query in queries if query.group), key=lambda query: query.id)
        said = {c.query.id: c.answer for _, c in store.comparisons()}
        for query, key in ((pair, "k"), (grouped, "r/0"), (pair, "taken-back")):
            who = "eve" if key == "taken-back" else "ann"
            store.submit(query.id, said[query.id], submission_key=key, annotator_id=who)
            store.marks.add_note(query.id, who, f"note {key}", answer_key=key.partition("/")[0])
        store.undo_submission("taken-back", annotator_id="eve", submission_key="undo")
    rows = rows_of(run, "preference")
    assert [row["notes"] for row in rows if row["chosen"] == "good"] == [["note k"]]
    assert sorted(row["notes"] for row in rows) == [[], [], ["note k"], ["note r/0"]]
    assert [row["notes"] for row in rows_of(run, "ranking") if len(row["responses"]) == 3] == [
        ["note r/0"]
    ]
    assert "notes" not in rows_of(run, "preference", annotator="dataset")[0]
    path = tmp_path / "data.jsonl"
    main(["export", str(run.root), "--output", str(path)])
    assert len(read_preferences(path).rankings) == 4  # and it is read back as before


@pytest.mark.parametrize("form", ["preference", "ranking"])
def test_what_is_written_comes_in_again_as_the_same_comparisons(run, language, tmp_path, form):
    rankings = [
        Ranking("one ", ("good\u2028\n", "bad", "worse"), (1, 2, 3)),
        Ranking(TALK, ("yes", "no"), (1, 2)),
    ]
    if form == "ranking":
        rankings.append(Ranking("tied", ("a", "b", "c"), (1, 2, 2)))
    labelled(run, language, rankings)
    labelled(run, language, [Ranking("what a user says", ("a", "b"), (2, 1))], chat=True)
    path, again = tmp_path / "data.jsonl", RunDirectory.create(tmp_path / "again")
    main(["export", str(run.root), "--format", form, "--output", str(path)])
    labelled(again, language, read_preferences(path).rankings)
    assert said(again) == said(run)
    assert len(said(run)) == (8 if form == "ranking" else 5)


def test_single_responses_come_in_again(run, language, tmp_path):
    labelled(run, language, [Ranking(TALK, ("yes", "no"), (1, 2)), Ranking("p", "ab", (2, 1))])
    path = tmp_path / "data.jsonl"
    main(["export", str(run.root), "--format", "unpaired", "--output", str(path)])
    found = {(one.prompt, one.response, one.is_good) for one in read_preferences(path).labelled}
    assert found == {(TALK, "yes", True), (TALK, "no", False), ("p", "a", False), ("p", "b", True)}


def test_a_group_is_one_ranking(run, language):
    items = kept(run, language, "best", "good", "fine", "bad")
    places = dict(zip(items, (1, 2, 2, 4), strict=True))
    for number, (left, right) in enumerate(itertools.combinations(items, 2)):
        better = places[left] - places[right]
        what = "tie" if not better else "left" if better < 0 else "right"
        answer(run, f"q{number}", what, group="g", items=(left, right))
    (row,) = rows_of(run, "ranking")
    ranks = dict(zip(row["responses"], row["ranks"], strict=True))
    assert ranks == {"best": 1, "good": 2, "fine": 2, "bad": 4}
    assert len(rows_of(run, "preference")) == 5
    answer(run, "q0", "right", annotator="ann again")
    answer(run, "q0", "right", annotator="bob")
    export = export_responses(run, "ranking")
    assert export.n_rows == 6
    assert "groups written as pairs, as their answers make no order: 1" in str(export)


def test_what_is_left_out_is_counted_and_said(run, language, capsys):
    a, b, c, d, e, f = kept(run, language, *"abcdef")
    answer(run, "won", "left", items=(a, b))
    answer(run, "lost", "right", items=(a, c))
    answer(run, "tied", "tie", items=(d, e))
    answer(run, "skipped", "skip", items=(e, f))
    answer(run, "drawn", "left", items=(b, f))
    answer(run, "drawn", "right", annotator="bob")
    with LabelStore(run.labels) as store:
        store.add_queries([Query("open", c, d)])
    main(["export", str(run.root), "--output", "-"])
    shown = capsys.readouterr()
    assert [json.loads(line)["chosen"] for line in shown.out.splitlines()] == ["a", "c"]
    assert shown.err == (
        "wrote 2 rows; left out: 1 skipped, 1 on which annotators differ, 1 without an answer, "
        "1 tied\n"
    )
    main(["export", str(run.root), "--format", "unpaired", "--annotator", "ann", "--output", "-"])
    shown = capsys.readouterr()
    labels = {row["completion"]: row["label"] for row in map(json.loads, shown.out.splitlines())}
    assert labels == {"c": True, "f": False}  # b lost to a and won over f
    assert "4 responses that won as often as they lost, 1 tied" in shown.err
    main(["export", str(run.root), "--format", "ranking", "--annotator", "bob", "--output", "-"])
    assert capsys.readouterr().err == "wrote 1 row; left out: 5 without an answer\n"


def test_transformer_libraries_read_what_is_written(run, language, tmp_path):
    from datasets import Dataset

    labelled(run, language, [Ranking(TALK, ("yes", "no"), (1, 2)), Ranking(TALK, "ab", (1, 2))])
    for form, columns in {
        "preference": {"prompt", "chosen", "rejected"},
        "ranking": {"prompt", "responses", "ranks"},
        "unpaired": {"prompt", "completion", "label"},
    }.items():
        path = tmp_path / f"{form}.jsonl"
        main(["export", str(run.root), "--format", form, "--output", str(path)])
        data = Dataset.from_json(str(path), cache_dir=str(tmp_path / "cache"))
        assert set(data.column_names) == columns
        assert data[0]["prompt"][0] == {"role": "system", "content": "Be brief."}


def test_responses_remember_their_conversation_and_older_ones_are_read(language):
    prompt = language.prompt("hi", chat=True)
    assert prompt.messages == (("user", "hi"),)
    assert language.prompt("hi").messages == ()
    (response,) = sample_responses(
        language, [prompt], config=SamplingConfig(max_new_tokens=2), generator=None
    )
    stored = json.loads(json.dumps(asdict(response)))
    assert response_from(stored) == response
    del stored["messages"]
    older = response_from(stored)
    assert older.id == response.id
    assert older.messages == ()


@pytest.mark.parametrize("many", [False, True])
def test_what_wrote_a_response_is_kept_and_written(run, language, monkeypatch, many):
    monkeypatch.setattr("prefrl.text.responses._MANY", 2 if many else 1000)
    told = language.prompt("one ")
    makers = {"good": Maker("tiny", 64, 2), "bad": None}
    made = [
        Response(told.text, text, told.tokens, language.response_tokens(text), made_by=maker)
        for text, maker in makers.items()
    ]
    Responses(run).keep(made)
    again = Responses(run)  # from the files
    assert [again[response.id].made_by for response in made] == list(makers.values())
    assert again[made[0].id] == replace(made[0], made_by=None)  # it is the same response
    answer(run, "q", "left", items=[response.id for response in made])
    by = [{"model": "tiny", "step": 64, "reward_version": 2}, None]
    assert [row["made_by"] for row in rows_of(run, "preference")] == [by]
    (row,) = rows_of(run, "ranking")
    assert row["made_by"] == (by if row["responses"] == ["good", "bad"] else by[::-1])
    written = {row["completion"]: row.get("made_by") for row in rows_of(run, "unpaired")}
    assert written == {"good": by[:1], "bad": None}


def test_without_answers_nothing_is_written(run, language, tmp_path, capsys):
    path = tmp_path / "data.jsonl"
    with pytest.raises(SystemExit):
        main(["export", str(run.root), "--output", str(path)])
    assert "expected answers in" in capsys.readouterr().err
    assert not run.labels.exists()
    answer(run, "tied", "tie", items=kept(run, language, "a", "b"))
    with pytest.raises(SystemExit):
        main(["export", str(run.root), "--output", str(path)])
    assert "got 0 rows; left out: 1 tied; label some more" in capsys.readouterr().err
    with pytest.raises(NotEnoughDataError, match="1 tied"):
        export_responses(run, "preference")
    assert not path.exists()


def test_a_lost_response_is_named_and_no_half_file_is_left(run, language, tmp_path):
    labelled(run, language, [Ranking("p", (f"a{n}", f"b{n}"), (1, 2)) for n in range(20)])
    lost = sorted(run.items.iterdir())[7]
    lost.unlink()
    path = tmp_path / "data.jsonl"
    path.write_text("as it was")
    with pytest.raises(RunDirectoryError, match=f"expected a response in .*{lost.name}"):
        list(export_responses(run, "preference").lines())
    with pytest.raises(SystemExit):
        main(["export", str(run.root), "--output", str(path)])
    assert path.read_text() == "as it was"
    assert {p.name for p in tmp_path.iterdir()} == {"run", "data.jsonl"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "csv"),
        (["--annotator", "eve"], "expected annotator to be one of dataset, got 'eve'"),
        (["--output", "."], "expected a file to write, but . is a folder"),
        (["--output", "no/such/folder/x"], "expected to write no/such/folder/x"),
    ],
)
def test_bad_options_get_one_clear_sentence(run, language, options, message, capsys):
    labelled(run, language, [Ranking("one ", ("good", "bad"), (1, 2))])
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.root), *options])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err


def test_who_has_read_enough_may_go(run, language):
    labelled(run, language, [Ranking("p", ("a" * 90, f"b{n}"), (1, 2)) for n in range(600)])
    command = f"{sys.executable} -m prefrl export {run.root} --output - | head -n 1"
    shown = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["prompt"] == "p"
    assert not shown.stderr
