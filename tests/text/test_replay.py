"""The reward learning of a language model's run comes out of its log again, bit for bit."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from prefrl.cli import main
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig
from prefrl.errors import RunDirectoryError, StoreError
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.candidates import ResponsePool, ResponseSamples, load_recent
from prefrl.text.config import config_as_json
from prefrl.text.nets.models import load_model
from prefrl.text.nets.reward_model import TextReward, TextRewardConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.replay import replay_alignment
from prefrl.text.responses import Response, Responses
from prefrl.text.train import align

GOLD = "def score(text): return sum(c.isascii() and c.isalpha() for c in text) / 8"
SHORT_FIT = FitConfig(
    epochs=2, batch_size=16, learning_rate=1e-3, linear_decay=True, noise=0.0, l2=0.0
)
REWARDS = {
    "heads on a trunk that is trained": TextRewardConfig(train_layers=None),
    "several trunks": TextRewardConfig(members=3, ensemble="models", train_layers=1),
    "heads alone": TextRewardConfig(train_layers=0),
}


def rows_of(run):
    with run.fits.open(newline="") as file:
        return list(csv.DictReader(file))


def aligned(folder, reward):
    """An asynchronous run, to its end."""
    (folder / "gold.py").write_text(GOLD)
    (folder / "prompts.txt").write_text("".join(f"{n} words\n" for n in (3, 20, 100, 4000)))
    return align(
        replace(
            ALIGN_PRESETS["tiny"],
            prompts=folder / "prompts.txt",
            gold=f"{folder / 'gold.py'}:score",
            run=folder / "run",
            responses=512,
            labels=80,
            eval_prompts=2,
            max_stale_batches=1,
            fit=SHORT_FIT,
            reward=reward,
        )
    )


@pytest.mark.parametrize("name", REWARDS)
def test_the_reward_learning_of_a_whole_run_is_repeated_exactly(tmp_path, name):
    result = aligned(tmp_path, REWARDS[name])
    assert result.summary["labels"] == 80
    again = list(replay_alignment(result.run))
    assert [fit.number for fit in again] == [int(row["fit"]) for row in rows_of(result.run)]
    assert len(again) > 1
    assert all(fit.same for fit in again)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run of which two learners have fitted heads on a fixed trunk, one after the other."""
    config = replace(
        ALIGN_PRESETS["tiny"], run=tmp_path_factory.mktemp("learned") / "run", seed=5,
        fit=SHORT_FIT, reward=TextRewardConfig(train_layers=0, members=2), refit_growth=0.1,
    )  # fmt: skip
    run, language, pool = RunDirectory.create(config.run), load_model("tiny"), ResponsePool(256)
    run.write_json(run.config, config_as_json(config))
    responses, samples = Responses(run), ResponseSamples(pool, run)
    written = _written(language)
    with LabelStore(run.labels) as store:
        for number in range(1, 7):
            if number in (1, 4):  # the second learner's process knows what the first has published
                reward = TextReward(language, config.reward)
                learner = RewardLearner(
                    reward, store, Responses(run), config=config.learner, seed=5, run=run
                )
                learner.resume()
            newest = written[40 * (number - 1) : 40 * number]
            pool.add(newest)
            samples.save(number, samples.take(), run_steps=40 * number)
            responses.keep(newest)
            _ask(store, newest)
            assert learner.step(lambda number=number: load_recent(run, number)) is not None
    return run


def _written(language):
    """Responses of all lengths to prompts of all lengths."""
    draws = torch.randint(0, 256, (240, 8), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [language.prompt(f"{7**i} ") for i in range(12)]
    return [
        Response(prompts[n % 12].text, "", prompts[n % 12].tokens, tuple(draw[: 3 + n % 6]))
        for n, draw in enumerate(draws)
    ]


def _ask(store, responses):
    for left, right in zip(responses[::2], responses[1::2], strict=True):
        store.add_queries([Query(left.id, left.id, right.id)])
        answer = Answer.LEFT if sum(left.tokens) > sum(right.tokens) else Answer.RIGHT
        store.submit(left.id, answer, submission_key=left.id, annotator_id="oracle")


def test_a_learner_that_was_started_anew_is_repeated_exactly_too(learned):
    assert [row["began_after"] for row in rows_of(learned)] == ["0"] * 3 + ["3"] * 3
    again = list(replay_alignment(learned))
    assert [fit.labels for fit in again] == [20, 40, 60, 80, 100, 120]
    assert all(fit.same for fit in again)


def test_the_command_says_which_fits_were_repeated(learned, capsys):
    main(["replay", str(learned.root)])
    assert "6 of 6 fits repeated exactly" in capsys.readouterr().out


def without(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:50])


def other(path):
    path.write_text(json.dumps(["something else"]) + "\n17\n")


@pytest.mark.parametrize("damage", [without, cut, other])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("recent/000002.json", "expected a sample of responses in .*000002.json, but"),
        ("items/{item}.json", "expected a response in .*json, but .*from a backup"),
        ("fits.csv", "expected a row for each fit in .*backup|expected fits to repeat in"),
        ("labels.db", "expected at least 20 answer events in|expected an SQLite database at"),
    ],
)
def test_what_is_missing_or_damaged_gets_one_clear_sentence(learned, damage, what, message):
    item = sorted(learned.items.glob("*.json"))[0].stem
    path = learned.root / what.format(item=item)
    content = path.read_bytes()
    try:
        damage(path)
        with pytest.raises((RunDirectoryError, StoreError), match=message):
            list(replay_alignment(learned))
    finally:
        path.write_bytes(content)


def test_a_run_in_one_process_left_no_samples_to_repeat_it_with(tmp_path):
    (tmp_path / "prompts.txt").write_text("a\nb\n")
    config = replace(
        ALIGN_PRESETS["tiny"], prompts=tmp_path / "prompts.txt", run=tmp_path / "run", sync=True,
        responses=64, labels=10, eval_prompts=1, gold="builtins:len", fit=SHORT_FIT,
    )  # fmt: skip
    result = align(config)
    with pytest.raises(RunDirectoryError, match="only asynchronous runs whose recent/"):
        list(replay_alignment(result.run))
