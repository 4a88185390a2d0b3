"""prefrl evaluate on language models: against gold, a judge, and several others at once."""

import json
from dataclasses import replace

import pytest
from judge_server import JudgeServer, by

from prefrl.cli import main
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.config import config_as_json
from prefrl.text.evaluation import Comparing, _as_read_by, compare_models
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.responses import Response
from prefrl.text.train import align

N = 32


def letters(text):
    return sum(c.isascii() and c.isalpha() for c in text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learned to write letters."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "gold.py").write_text(
        "def score(t): return sum(c.isascii() and c.isalpha() for c in t)"
    )
    (folder / "prompts.txt").write_text("".join(f"word {i}\n" for i in range(2 * N)))
    config = replace(
        ALIGN_PRESETS["tiny"],
        prompts=folder / "prompts.txt",
        gold=f"{folder / 'gold.py'}:score",
        run=folder / "run",
        eval_prompts=N,
        sync=True,
    )
    return align(replace(config, responses=1536, labels=200)).run


def results_of(run):
    return json.loads((run.root / "comparison" / "results.json").read_text())


@pytest.mark.timeout(240)
def test_a_model_is_compared_with_what_it_started_from_and_with_itself(run, capsys):
    main(["evaluate", str(run.root), "--against", "tiny", "--against", str(run.root)])
    printed = capsys.readouterr().out
    told = results_of(run)
    better, same = (told["results"][f"win_rate_vs_{n}"] for n in ("tiny", f"{run.root.name}-2"))
    assert better["win_rate,none"] > 0.6
    assert better["win_rate_low,none"] < better["win_rate,none"] < better["win_rate_high,none"]
    assert same["win_rate,none"] == 0.5  # the same draws of the same model
    assert better["reward_acc,none"] > 0.6
    assert 0 <= better["reward_ece,none"] <= 0.5
    assert sum(n for _, _, n in better["reward_calibration"]) <= N
    elo = {name: told["results"][f"elo_{name}"]["elo,none"] for name in ("tiny", run.root.name)}
    assert elo[run.root.name] > elo["tiny"] + 50
    # What readers of lm-evaluation-harness's results look for.
    task = "win_rate_vs_tiny"
    assert told["n-samples"][task] == {"original": N, "effective": N}
    assert told["higher_is_better"][task]["win_rate"] is True
    assert {"configs", "versions", "n-shot", "config", "date"} < told.keys()
    assert better["win_rate_stderr,none"] > 0
    lines = (run.root / "comparison" / f"samples_{task}.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert sum(sample["win_rate"] for sample in samples) / N == better["win_rate,none"]
    ours, theirs = samples[0]["resps"]
    assert samples[0]["win_rate"] == (
        0.5 if letters(ours[0]) == letters(theirs[0]) else letters(ours[0]) > letters(theirs[0])
    )
    assert "Elo tiny" in printed
    page = (run.report / "index.html").read_text()
    assert "Against others" in page
    assert (run.report / "calibration.png").is_file()


@pytest.mark.timeout(240)
def test_a_judge_may_say_who_wins_and_nothing_is_asked_twice(run, capsys):
    pytest.importorskip("openai")
    with JudgeServer(by(letters)) as server:
        asks = ["--judge.url", server.url, "--judge.model", "stub"]
        main(["evaluate", str(run.root), *asks])
        by_judge = results_of(run)
        n_asked = len(server.bodies)
        assert n_asked > N
        main(["evaluate", str(run.root), *asks])
        assert len(server.bodies) == n_asked + 1  # the question before work starts
    main(["evaluate", str(run.root)])
    by_gold = results_of(run)
    # Both go by the letters, from the same draws.
    rates = [told["results"]["win_rate_vs_start"]["win_rate,none"] for told in (by_judge, by_gold)]
    assert rates[0] == pytest.approx(rates[1])
    assert by_judge["config"]["judge"] == "ai:stub"
    assert by_gold["config"]["judge"].startswith("gold ")


def test_what_cannot_be_compared_is_said(run, tmp_path, config, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(run.root), "--against", "/no/such/model"])
    assert ended.value.code == 2
    begun = RunDirectory.create(tmp_path / "begun")
    begun.write_json(begun.config, config_as_json(replace(config, sync=False)))
    with pytest.raises(RunDirectoryError, match="has no model yet"):
        compare_models(begun, Comparing(gold="vader"))
    begun.write_json(begun.versions, {})
    with pytest.raises(ConfigError, match="has no model yet"):
        compare_models(run, Comparing((str(begun.root),), gold="vader"))


def test_the_reward_reads_what_others_wrote_in_its_own_ids():
    """Ids of another tokenizer mean other texts to it."""
    language = load_model("tiny")
    prompt = language.prompt("word 1")
    own = language.response(prompt, "good")
    assert _as_read_by(language, prompt, own, longest=8) is own
    # The same text by a tokenizer whose ids are those of ours, each one higher.
    shifted = [tuple(i + 1 for i in tokens) for tokens in (own.prompt_tokens, own.tokens)]
    foreign = Response("word 1", "good", *shifted)
    assert _as_read_by(language, prompt, foreign, longest=8) == own
    # It was cut off where it has as many ids as were allowed.
    cut_off = _as_read_by(language, prompt, foreign, longest=len(own.tokens))
    assert cut_off.tokens == own.tokens[:-1]
    assert language.decode(cut_off.tokens) == "good"
