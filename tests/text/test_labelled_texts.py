"""People compare texts: a real run, its real page, a real browser."""

import re
import subprocess
import sys

import pytest
from browsers import CHROMIUM
from page_labeller import PageLabeller

from prefrl.core.oracle import OracleConfig
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import latest_weights
from prefrl.text.gold import text_oracle
from prefrl.text.responses import Responses

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM == "none", reason="there is no Chromium; scripts/test installs Debian's"
    ),
    pytest.mark.timeout(180),
]
WORDS = ("one", "or", "two", "of", "the", "big", "six", "a")


def letters(text):
    return sum(c.isascii() and c.isalpha() for c in text)


def test_twenty_pairs_of_responses_are_labelled_in_a_browser_and_train_a_reward_model(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(WORDS))
    run = RunDirectory(tmp_path / "run")
    settings = "--labels 20 --initial-fraction 1 --responses 192 --eval-prompts 4 --oracle human"
    settings += " --max-unanswered 0"  # else it may be done with some of them still open
    program = [sys.executable, "-m", "prefrl", "align", "tiny", "--prompts", str(prompts)]
    training = subprocess.Popen(
        [*program, *settings.split(), "--run", str(run.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        link = next(
            found[0] for line in training.stdout if (found := re.search(r"http://\S+", line))
        )
        responses = Responses(run)
        judge = responses, text_oracle(responses, letters, OracleConfig(), seed=0)
        with PageLabeller(run, link, pause=0.05, judge=judge) as person:
            person.page.wait_for_selector("#stage .text:visible", timeout=60_000)
            shown = person.page.inner_text("#stage")
            assert any(word in shown for word in WORDS)
            person.work(answers=20)
        assert training.wait(120) == 0
    finally:
        training.kill()
        training.wait()
        training.stdout.close()
    with LabelStore(run.labels) as store:
        answers = [comparison for _, comparison in store.comparisons()]
        assert len(answers) == store.counts().queries == 20
    for comparison in answers:
        query = comparison.query
        difference = letters(responses[query.left].text) - letters(responses[query.right].text)
        assert comparison.preference == (0.5 if difference == 0 else float(difference > 0))
    weights = latest_weights(run.reward)
    assert weights.about["fitted"] >= 1
    summary = run.read_json(run.summary)
    assert summary["labels"] == 20
    assert summary["gold_after"] is None  # nobody said what is good but people
