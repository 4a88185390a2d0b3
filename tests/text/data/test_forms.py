"""Each form in which data sets have preferences, as a small file: read, and learned from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from prefrl.cli import main
from prefrl.errors import ConfigError
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.data.demonstrations import read_demonstrations
from prefrl.text.data.forms import DataConfig, Seen
from prefrl.text.data.prompts import PromptsConfig, read_prompts
from prefrl.text.data.records import Labelled, Preferences, Ranking, read_preferences
from prefrl.text.data.sources import SourceConfig, absolute_source, numbered_rows
from prefrl.text.presets import ALIGN_PRESETS

TALK = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: soup\n\nAssistant:"
ROLES = (("user", "hi"), ("assistant", "yes?"), ("user", "soup"))
INFO = {"id": "t3", "post": "It rained.", "title": "Rain", "subreddit": "weather", "article": None}
POST = "SUBREDDIT: r/weather\n\nTITLE: Rain\n\nPOST: It rained.\n\nTL;DR:"
TEXTS = [{"text": " wet", "policy": "a"}, {"text": " dry", "policy": "b"}]
PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}
OTHERS = {
    "hh": {"chosen": f"{TALK} hot", "rejected": f"{TALK} cold"},
    "summaries": {"info": INFO, "summaries": TEXTS, "choice": 0, "worker": "w"},
    "shp": {"history": "why?", "human_ref_A": "so", "human_ref_B": "no", "labels": 0, "score_A": 3},
    "nectar": {
        "prompt": "\n\nHuman: soup\n\nAssistant: ",
        "answers": [{"answer": t, "rank": r, "model": "m"} for t, r in (("c", 3.0), ("a", 1.0))],
    },
    "pku": {
        "prompt": "p",
        "response_0": "a",
        "response_1": "b",
        "better_response_id": 1,
        "safer_response_id": 0,
    },
    "stack": {"qid": 7, "question": "how?", "response_j": "so", "response_k": "no", "date": "d"},
}
AS_TEXTS = {
    "hh": Ranking(TALK, (" hot", " cold"), (1, 2)),
    "summaries": Ranking(POST, (" wet", " dry"), (1, 2)),
    "shp": Ranking("why?", ("no", "so"), (1, 2)),
    "nectar": Ranking("\n\nHuman: soup\n\nAssistant: ", ("c", "a"), (3.0, 1.0)),
    "pku": Ranking("p", ("b", "a"), (1, 2)),
    "stack": Ranking("Question: how?\n\nAnswer: ", ("so", "no"), (1, 2)),
}
AS_TALK = {
    "hh": Ranking(ROLES, ("hot", "cold"), (1, 2)),
    "summaries": Ranking(POST, ("wet", "dry"), (1, 2)),
    "nectar": Ranking((("user", "soup"),), ("c", "a"), (3.0, 1.0)),
    "stack": Ranking("how?", ("so", "no"), (1, 2)),
}
UNREAD = {
    "summaries": {"worker"},
    "shp": {"score_A"},
    "pku": {"safer_response_id"},
    "stack": {"qid", "date"},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("name", list(OTHERS))
def test_a_form_of_others_is_recognised_for_pairs_demonstrations_and_prompts(tmp_path, name):
    path, seen = write(tmp_path / "data.jsonl", OTHERS[name], OTHERS[name]), Seen()
    expected = AS_TEXTS[name]
    assert read_preferences(path, seen=seen) == Preferences([expected] * 2, [])
    assert list(seen.forms.values()) == [2]
    assert seen.unread == UNREAD.get(name, set())
    best = expected.responses[expected.ranks.index(1)]
    found = read_demonstrations(path)
    assert [(one.prompt, one.response) for one in found] == [(expected.prompt, best)] * 2
    assert read_prompts(path) == [expected.prompt] * 2
    told = AS_TALK.get(name, expected)
    assert read_preferences(path, chat=True).rankings[0] == told
    assert read_demonstrations(path, chat=True)[0].prompt == told.prompt
    assert read_prompts(path, chat=True)[0] == told.prompt


def test_what_transcripts_share_is_the_prompt(tmp_path):
    rows = [
        # They part before the last turn: what was said in another one counts to neither.
        {"chosen": f"{TALK} a\n\nHuman: x\n\nAssistant: b", "rejected": f"{TALK} c"},
        {"chosen": f"{TALK} a", "rejected": f"{TALK} ab\n\nHuman: y\n\nAssistant: b"},
    ]
    found = read_preferences(write(tmp_path / "data.jsonl", *rows)).rankings
    assert found == [Ranking(TALK, (" a", " c"), (1, 2)), Ranking(TALK, (" a", " ab"), (1, 2))]
    apart = write(tmp_path / "apart.jsonl", {"chosen": f"x{TALK} a", "rejected": f"y{TALK} b"})
    with pytest.raises(ConfigError, match="in line 1 of"):
        read_preferences(apart)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (OTHERS["summaries"] | {"choice": 2}, "expected .* in line 2"),
        (OTHERS["pku"] | {"better_response_id": None}, "expected .* in line 2"),
        (OTHERS["shp"] | {"labels": "A"}, "expected .* in line 2"),
        (OTHERS["nectar"] | {"answers": [{"answer": "a"}]}, "expected .* in line 2"),
        (OTHERS["stack"] | {"question": 3}, "expected .* in line 2"),
        ({"ask": "p", "good": "a", "bad": "b"}, "name its columns, as in --data.prompt question"),
    ],
)
def test_what_is_wrong_in_a_form_is_refused_with_its_line_and_a_mend(tmp_path, row, message):
    path = write(tmp_path / "data.jsonl", PAIR, row)
    with pytest.raises(ConfigError, match=message):
        read_preferences(path)


def test_any_other_form_is_mapped(tmp_path):
    row = {
        "question": "how?",
        "response_j": "so",
        "response_k": "no",
        "who": "x",
        "rules": "be kind",
    }
    mapping = DataConfig(prompt="question", chosen="response_j", rejected="response_k")
    path, seen = write(tmp_path / "data.jsonl", row), Seen()
    assert read_preferences(path, mapping, seen=seen).rankings[0].prompt == "how?"
    assert seen.unread == {"who", "rules"}
    found = read_preferences(path, replace(mapping, system="rules")).rankings[0]
    assert found.prompt == (("system", "be kind"), ("user", "how?"))
    demonstrations = read_demonstrations(path, DataConfig(prompt="who", completion="response_k"))
    assert [(one.prompt, one.response) for one in demonstrations] == [("x", "no")]
    assert read_prompts(path, PromptsConfig(column="who")) == ["x"]
    with pytest.raises(
        ConfigError, match=r"the column answer in line 1 .* got question, response_j"
    ):
        read_preferences(path, replace(mapping, chosen="answer"))
    with pytest.raises(ConfigError, match="the column ask in line 1"):
        read_prompts(path, PromptsConfig(column="ask"))


USER, YES, NO = (
    {"role": r, "content": c} for r, c in (("user", "p"), ("assistant", "y"), ("assistant", "n"))
)
SYSTEM = (("system", "be kind"), ("user", "p"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "chosen": "y", "rejected": "n"},
        {"prompt": [USER], "chosen": "y", "rejected": "n"},
        {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
        {"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": "p", "chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": "p", "chosen": [YES], "rejected": [NO]},
        {"chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": "p", "responses": ["y", "n"], "ranks": [1, 2]},
        {"prompt": "p", "responses": [[USER, YES], [USER, NO]], "ranks": [1, 2]},
        {"prompt": [USER], "responses": [[USER, YES], [USER, NO]], "ranks": [1, 2]},
        {"prompt": [USER], "responses": [[YES], [NO]], "ranks": [1, 2]},
        {"responses": [[USER, YES], [USER, NO]], "ranks": [1, 2]},
    ],
)
def test_a_system_column_is_the_first_message_and_once(tmp_path, row):
    path, seen = write(tmp_path / "data.jsonl", row | {"system": "be kind", "id": 1}), Seen()
    assert read_preferences(path, seen=seen).rankings == [Ranking(SYSTEM, ("y", "n"), (1, 2))]
    assert seen.unread == {"id"}
    assert read_demonstrations(path)[0].prompt == SYSTEM
    assert read_prompts(path) == [SYSTEM]


@pytest.mark.parametrize("prompt", ["p", [USER], None])
def test_a_system_message_leads_single_responses_too(tmp_path, prompt):
    row = {"response": [USER, YES], "label": True, "system": "be kind"}
    path = write(tmp_path / "data.jsonl", row if prompt is None else row | {"prompt": prompt})
    assert read_preferences(path).labelled == [Labelled(SYSTEM, "y", True)]
    assert read_demonstrations(path)[0].prompt == SYSTEM
    assert read_prompts(path) == [SYSTEM]


def test_a_row_without_a_system_message_has_none_where_the_column_is_mapped(tmp_path):
    rows = [PAIR | {"rules": "be kind"}, PAIR | {"rules": None}, OTHERS["pku"]]
    path = write(tmp_path / "data.jsonl", *rows)
    found = read_preferences(path, DataConfig(system="rules")).rankings
    assert [one.prompt for one in found] == [SYSTEM, "p", "p"]
    assert found[2].responses == ("b", "a")


RANKED = [{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}]


@pytest.mark.parametrize(
    "others",
    [
        {"answers": ["4"]},
        {"answers": RANKED},
        {"question": "q", "response_j": "j", "response_k": "k"},
        {"response_0": "a", "response_1": "b", "better_response_id": 0},
        {"history": "h", "human_ref_A": "a", "human_ref_B": "b", "labels": 0},
        {"info": INFO, "summaries": TEXTS, "choice": 0},
    ],
)
def test_what_is_ours_in_a_row_comes_before_what_looks_like_others(tmp_path, others):
    expected = Ranking("p", ("good", "bad"), (1, 2))
    path = write(tmp_path / "data.jsonl", PAIR | others)
    assert read_preferences(path).rankings == [expected]
    path = write(
        tmp_path / "single.jsonl", {"prompt": "p", "response": "r", "label": True} | others
    )
    assert read_preferences(path).labelled == [Labelled("p", "r", True)]
    path = write(tmp_path / "prompts.jsonl", {"prompt": "p"} | others)
    assert read_prompts(path) == ["p"]


def save_as(kind, folder, rows):
    from datasets import Dataset, DatasetDict

    data, path = Dataset.from_list(rows), folder / f"data.{kind}"
    if kind == "array.json":
        path.write_text(json.dumps(rows, indent=1))
    elif kind == "jsonl":
        path.write_text("\ufeff" + "\r\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "jsonl.gz":
        data.to_json(path, compression="gzip")
    elif kind in ("csv", "tsv"):
        data.to_csv(path, sep="\t" if kind == "tsv" else ",")
    elif kind == "parquet":
        data.to_parquet(path)
    elif kind == "folder":
        path.mkdir()
        data.to_parquet(path / "train-0.parquet")
        data.select([0]).to_parquet(path / "test-0.parquet")
    elif kind == "saved":
        DatasetDict(train=data, test=data.select([0])).save_to_disk(path)
    elif kind == "glob":
        for number, row in enumerate(rows):
            write(folder / f"part{number}.jsonl", row)
        path = folder / "part*.jsonl"
    elif kind == "arrow":
        data.save_to_disk(folder / "saved")
        path = next((folder / "saved").glob("*.arrow"))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "array.json",
        "jsonl",
        "jsonl.gz",
        "csv",
        "tsv",
        "parquet",
        "arrow",
        "folder",
        "saved",
        "glob",
    ],
)
def test_every_kind_of_file_is_read_up_to_a_limit(tmp_path, kind):
    rows = [PAIR | {"prompt": f"p{n}, é"} for n in range(3)]
    path = save_as(kind, tmp_path, rows)
    expected = [Ranking(row["prompt"], ("good", "bad"), (1, 2)) for row in rows]
    assert read_preferences(path).rankings == expected
    assert read_preferences(path, DataConfig(limit=2)).rankings == expected[:2]
    assert [one.response for one in read_demonstrations(path)] == ["good"] * 3
    assert read_prompts(path, PromptsConfig(limit=1)) == [rows[0]["prompt"]]
    if kind not in ("folder", "saved"):
        with pytest.raises(ConfigError, match=r"with split or subset, got .* leave them out"):
            read_preferences(path, DataConfig(subset="part"))
    if kind in ("folder", "saved"):
        assert read_preferences(path, DataConfig(split="test")).rankings == expected[:1]
        with pytest.raises(ConfigError, match="none"):
            read_preferences(path, DataConfig(split="none"))
    if kind == "jsonl":
        with pytest.raises(ConfigError, match=r"with split or subset, got .* leave them out"):
            read_preferences(path, DataConfig(split="test"))


def test_no_part_of_a_saved_data_set_that_has_none_is_ignored_in_silence(tmp_path):
    from datasets import Dataset, DatasetDict

    Dataset.from_list([PAIR]).save_to_disk(tmp_path / "one")
    DatasetDict(train=Dataset.from_list([PAIR])).save_to_disk(tmp_path / "several")
    assert len(read_preferences(tmp_path / "one", DataConfig(split="train")).rankings) == 1
    for name, config in (
        ("one", DataConfig(split="test")),
        ("one", DataConfig(subset="part")),
        ("several", DataConfig(subset="part")),
    ):
        with pytest.raises(ConfigError, match=rf"with split or subset, got .*{name}, which has no"):
            read_preferences(tmp_path / name, config)


@pytest.mark.parametrize("kind", ["csv", "tsv", "folder"])
def test_what_stands_in_a_table_of_texts_is_read_as_it_is(tmp_path, kind):
    rows = [("007", "None", "1.50"), ("NA", "true", "null"), ("nan", "2024", "-0")]
    table = "\n".join(map(",".join, [("prompt", "chosen", "rejected"), *rows])) + "\n"
    path = tmp_path / f"data.{kind}"
    if kind == "folder":
        path.mkdir()
        (path / "train.csv").write_text(table)
    else:
        path.write_text(table.replace(",", "\t") if kind == "tsv" else table)
    expected = [Ranking(prompt, sides, (1, 2)) for prompt, *sides in rows]
    expected = [Ranking(one.prompt, tuple(one.responses), (1, 2)) for one in expected]
    assert read_preferences(path).rankings == expected


def test_labels_and_choices_in_a_table_of_texts_are_read(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("prompt,response,good,why\np,1,True,\np,2,false,NA\n")
    found = read_preferences(path, DataConfig(label="good")).labelled
    assert found == [Labelled("p", "1", True), Labelled("p", "2", False)]
    path = tmp_path / "shp.csv"
    path.write_text("history,human_ref_A,human_ref_B,labels\nh,1,2,0\nh,1,2,1\n")
    found = [one.responses for one in read_preferences(path).rankings]
    assert found == [("2", "1"), ("1", "2")]


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    for name in ("no.csv", "no.parquet", "no*.jsonl"):
        with pytest.raises(ConfigError, match=rf"expected .* preferences in .*{name[:2]}"):
            read_preferences(tmp_path / name)
    (tmp_path / "broken.parquet").write_bytes(b"no such thing")
    with pytest.raises(ConfigError, match=r"expected preferences in .*broken.parquet, but "):
        read_preferences(tmp_path / "broken.parquet")
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        SourceConfig(limit=0)
    with pytest.raises(ConfigError, match="too_long to be refuse, drop"):
        DataConfig(too_long="cut")


def test_the_id_of_a_data_set_on_the_hub_is_no_path_and_goes_to_datasets(tmp_path, monkeypatch):
    import datasets

    monkeypatch.chdir(tmp_path)
    name, asked = Path("Anthropic/hh-rlhf"), []

    def load(path, **told):
        asked.append((path, told))
        return datasets.Dataset.from_list([PAIR] * 3)

    monkeypatch.setattr(datasets, "load_dataset", load)
    config = DataConfig(split="test", subset="harmless-base", limit=2)
    assert len(read_preferences(name, config).rankings) == 2
    assert asked == [("Anthropic/hh-rlhf", {"name": "harmless-base", "split": "test"})]
    assert absolute_source(name) == "Anthropic/hh-rlhf"
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "x", PAIR)
    assert absolute_source(Path("data/x")) == str(tmp_path / "data" / "x")
    assert absolute_source(Path("a/*.jsonl")) == str(tmp_path / "a" / "*.jsonl")
    config = replace(ALIGN_PRESETS["tiny"], prompts=name, data=name, data_options=config)
    again = align_config_from_json(json.loads(json.dumps(config_as_json(config))))
    assert (again.data, again.prompts, again.data_options) == (name, name, config.data_options)


def test_half_a_character_is_named_by_its_line_and_a_whole_one_is_read(tmp_path):
    path = tmp_path / "data.jsonl"
    whole = json.dumps(PAIR | {"chosen": "\U0001f600"})
    path.write_text(f'{whole}\n{{"prompt": "p", "chosen": "a \\ud83d b", "rejected": "c"}}')
    with pytest.raises(ConfigError, match=r"in line 2 of .* it has \\ud83d, half of a character"):
        read_preferences(path)
    path.write_text(whole)
    assert read_preferences(path).rankings[0].responses[0] == "\U0001f600"


def test_a_byte_order_mark_is_in_no_prompt(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffone\ntwo\n", encoding="utf-8")
    assert read_prompts(path) == ["one", "two"]
    assert read_prompts(path, PromptsConfig(limit=1)) == ["one"]


def test_rows_of_data_are_numbered_where_they_come_from_several_files(tmp_path):
    path = save_as("glob", tmp_path, [PAIR, {"prompt": "no more"}])
    wheres = [where for where, _ in numbered_rows(path, "rows")]
    assert wheres == [f"line 1 of {tmp_path / f'part{n}.jsonl'}" for n in (0, 1)]


@pytest.mark.parametrize("name", list(OTHERS))
def test_a_form_of_others_is_learned_from_and_said_to_be_recognised(tmp_path, capsys, name):
    data = write(tmp_path / "data.jsonl", OTHERS[name], PAIR | {"rejected": 300 * "x"})
    (tmp_path / "prompts.txt").write_text("one \n")
    run = tmp_path / "run"
    told = f"align tiny --data {data} --data.too-long drop --labels 0 --method dpo --sync"
    told += f" --run {run} --eval-prompts 1 --eval-responses 1"
    main([*told.split(), "--prompts", str(tmp_path / "prompts.txt")])
    shown = capsys.readouterr().out
    assert "data.jsonl: 1 row of" in shown
    assert "1 row of pairs; dropped: 1 too long" in shown
    best = AS_TEXTS[name].responses[AS_TEXTS[name].ranks.index(1)]
    assert f"{best}<end>" in shown
    assert json.loads((run / "summary.json").read_text())["labels"] == 1
