"""A language model that learns from a judge: over a socket, from start to card."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from judge_server import JudgeServer, by, texts_of

from prefrl.cli import main
from prefrl.commands.status import describe_run
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.judge.asking import Judge, SpentError, UnreadableError
from prefrl.runtime.judge.cache import Cache
from prefrl.runtime.judge.config import JudgeConfig, Task, read_task, task_for, write_task
from prefrl.runtime.judge.labeller import JudgeLabeller
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.versions import about_this_release
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.judging import LocalJudge, check_judge, chooser_for, responses_task
from prefrl.text.nets.models import load_model
from prefrl.text.responses import Response, Responses
from prefrl.text.train import align

pytest.importorskip("openai")


def letters(text):
    return sum(c.isascii() and c.isalpha() for c in text)


def as_text(table, capsys):
    from rich.console import Console

    Console(width=200).print(table)
    return capsys.readouterr().out


@pytest.mark.timeout(180)
def test_a_model_learns_from_a_judge(config, capsys):
    with JudgeServer(by(letters)) as server:
        judge = JudgeConfig(url=server.url, model="stub", parallel=8)
        config = replace(config, oracle="ai", judge=judge, sync=False, labels=100, goal="letters.")
        config = replace(config, responses=1024)
        result = align(replace(config, max_stale_batches=1))
        run = result.run
        assert texts_of(server.bodies[-1])[0] in config.prompts.read_text().splitlines()
        assert "What is wanted: letters." in server.bodies[-1]["messages"][0]["content"]
    with LabelStore(run.labels) as store:
        events, reasons = store.events(), store.marks.reasons()
        gold = store.marks.gold()
    assert len(events) > 60
    assert {event.annotator_id for event in events} == {"ai:stub"}
    assert set(reasons) == {event.submission_key for event in events}
    # The judge goes by what gold goes by.
    assert all(gold[event.query_id] is event.answer for event in events)
    summary = result.summary
    assert summary["labels"] >= len({event.query_id for event in events}) > 60
    assert summary["gold_after"] > summary["gold_before"]
    assert "the model `stub` as judge" in (run.model / "README.md").read_text()
    assert server.url not in (run.model / "README.md").read_text()
    shown = as_text(describe_run(run), capsys)
    assert f"calls {json.loads((run.status / 'judge.json').read_text())['about']['calls']:,}" in (
        shown
    )
    assert "tokens" in shown
    main(["report", str(run.root)])


@pytest.mark.timeout(180)
def test_when_the_budget_is_spent_the_run_goes_on_and_says_so(config, capsys):
    with JudgeServer(by(letters)) as server:
        judge = JudgeConfig(url=server.url, model="stub", max_calls=60)
        config = replace(config, oracle="ai", judge=judge, sync=False, responses=512, labels=60)
        # All that was asked is waited for before the policy is tuned: nothing hangs.
        config = replace(config, method="dpo", finetune=replace(config.finetune, epochs=1))
        run = align(config).run
        assert len(server.bodies) == 61  # one was asked before work started
    shown = as_text(describe_run(run), capsys)
    assert "all 60 calls are used up" in shown
    main(["report", str(run.root)])
    assert "all 60 calls are used up" in (run.report / "index.html").read_text()


def test_what_cannot_work_is_refused_before_the_folder_is_made(config):
    judge = JudgeConfig(url="http://127.0.0.1:9/v1", model="stub", retries=0)
    told = replace(config, oracle="ai", judge=judge, sync=False)
    with pytest.raises(ConfigError, match="nothing answers at"):
        align(told)
    assert not config.run.exists()
    with pytest.raises(ConfigError, match="leave --sync out"):
        replace(told, sync=True)
    with pytest.raises(ConfigError, match="expected a judge with oracle ai"):
        replace(config, oracle="ai")


def said(text, prompt="go on"):
    return Response(prompt, text, (1, 2), tuple(text.encode()))


@pytest.mark.timeout(180)
def test_a_judge_labels_a_folder_beside_people(config):
    run = RunDirectory.create(config.run)
    run.write_json(run.versions, about_this_release())
    run.write_json(run.config, config_as_json(replace(config, goal="letters.")))
    texts = [said("abc"), said("1"), said("ab"), said("2")]
    Responses(run).keep(texts)
    with LabelStore(run.labels) as store, JudgeServer(by(letters)) as server:
        store.add_queries([Query("q0", texts[0].id, texts[1].id)])
        store.add_queries([Query("q1", texts[3].id, texts[2].id)])
        asks = ["--oracle", "ai", "--judge.url", server.url, "--judge.model", "stub"]
        command = [sys.executable, "-m", "prefrl", "label", str(run.root), *asks]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
            until = time.monotonic() + 90
            while store.counts().open and time.monotonic() < until and page.poll() is None:
                time.sleep(0.1)
            page.send_signal(signal.SIGINT)
            printed = page.communicate(timeout=30)[0]
        assert "To label, open" in printed
        assert [
            (e.query_id, e.answer) for e in sorted(store.events(), key=lambda e: e.query_id)
        ] == [
            ("q0", Answer.LEFT),
            ("q1", Answer.RIGHT),
        ]
    config_now = run.config.read_text()
    assert server.url not in config_now  # who trained it is not changed


@pytest.fixture
def local():
    # The whole rubric is longer than what the tiny model reads.
    return LocalJudge(load_model("tiny"), Task(JudgeConfig(local="tiny"), "Pick.", ""), Cache(None))


def test_a_model_that_is_run_here_compares_the_letters_in_both_orders(local, tmp_path):
    import asyncio

    import torch

    first, second = said("good"), said("bad")
    found = asyncio.run(local.choose(first, second))
    tokens = local._tokens(first, second)
    tokenizer = local._language.tokenizer
    assert tokenizer.decode(tokens).endswith("Answer with A or B.\nAnswer: ")
    letter_a, letter_b = (tokenizer.encode(letter, add_special_tokens=False)[-1] for letter in "AB")
    with torch.no_grad():
        logits = local._language.model(input_ids=torch.tensor([tokens])).logits[0, -1]
    a, b = logits[letter_a].item(), logits[letter_b].item()
    assert found.better == ("first" if a > b else "second")
    assert local._cache.n_tokens == len(tokens)
    assert asyncio.run(local.choose(first, second)) == found
    assert local._cache.n_calls == 1
    items = {one.id: one for one in (first, second)}
    with LabelStore(tmp_path / "labels.db") as store:
        store.add_queries([Query("q", first.id, second.id)])
        judge = Judge(local, both=True)
        labeller = JudgeLabeller(store, items, judge, cache=local._cache, task=local._task)
        (event,) = labeller.step()
        labeller.close()
        turned = asyncio.run(local.choose(second, first))
        agree = turned.better != found.better
        winner = Answer.LEFT if found.better == "first" else Answer.RIGHT
        assert event.answer is (winner if agree else Answer.TIE)
        assert "log P(A)" in store.marks.reasons()[event.submission_key]


def test_a_local_judge_lets_its_process_say_that_it_lives_and_end(local, tmp_path, monkeypatch):
    import asyncio

    texts = [said(str(i)) for i in range(16)]
    items = {one.id: one for one in texts}
    passes, logprobs = [], local._logprobs
    monkeypatch.setattr(
        local, "_logprobs", lambda tokens: (time.sleep(0.1), passes.append(1), logprobs(tokens))[2]
    )
    with LabelStore(tmp_path / "labels.db") as store:
        store.add_queries([Query(f"q{i}", texts[2 * i].id, texts[2 * i + 1].id) for i in range(8)])
        judge, beats = Judge(local, both=True), []
        labeller = JudgeLabeller(
            store, items, judge, cache=local._cache, task=local._task, stop=lambda: len(beats) == 2
        )
        labeller.step(lambda: beats.append(len(passes)))
        labeller.close()
        # It looks around every 0.2 s, and ends there when it is told to.
        assert len(beats) == 2
        assert len(passes) < 12 < 2 * 8
        assert store.counts().open == 8 - labeller.n_answered
    chooser = chooser_for(local._task, Cache(None), beat=lambda: beats.append(0))
    asyncio.run(chooser.choose(*texts[:2]))
    assert len(beats) == 3


def test_the_folder_of_a_local_judge_is_found_from_anywhere(config, tmp_path, monkeypatch):
    tiny = load_model("tiny")
    tiny.model.save_pretrained(tmp_path / "judging")
    tiny.tokenizer.save_pretrained(tmp_path / "judging")
    monkeypatch.chdir(tmp_path)
    judge = JudgeConfig(local="judging")
    run = RunDirectory.create(config.run)
    write_task(run, responses_task(judge, "letters."))
    told = config_as_json(replace(config, oracle="ai", sync=False, judge=judge))
    run.write_json(run.config, told)
    monkeypatch.chdir("/")
    check_judge(read_task(run))
    kept = align_config_from_json(run.read_json(run.config)).judge
    assert kept.local == read_task(run).config.local == str(tmp_path / "judging")
    # A name is no folder.
    assert responses_task(JudgeConfig(local="tiny"), None).config.local == "tiny"


def test_a_local_judge_has_a_budget_and_a_context(local):
    import asyncio

    spent = Cache(None)
    spent.failed("x", calls=5)
    whole = task_for(JudgeConfig(local="tiny"), "responses", None)
    with pytest.raises(UnreadableError, match=r"the question has \d+ tokens, and tiny reads 256"):
        asyncio.run(LocalJudge(local._language, whole, Cache(None)).choose(said("a"), said("b")))
    task = Task(JudgeConfig(local="tiny", max_calls=5), "Pick.", "")
    with pytest.raises(SpentError, match="all 5 calls"):
        asyncio.run(LocalJudge(local._language, task, spent).choose(said("a"), said("b")))
    check_judge(task)
    with pytest.raises(ConfigError):
        check_judge(task_for(JudgeConfig(local="/no/such/model"), "responses", None))
