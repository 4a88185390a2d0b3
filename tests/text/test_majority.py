"""``--majority``: what most people, or ratings of data, said of a pair is what is learned."""

import csv
import json
from dataclasses import replace

import pytest

from prefrl.text import policy_work
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.replay import replay_alignment
from prefrl.text.responses import Responses
from prefrl.text.train import align

N = 12
"""Prompts. Of three ratings of each two prefer what is good, and of two more prompts one of two."""


@pytest.fixture
def rated(config, tmp_path):
    """Settings with pairs that several people have rated."""
    rows = []
    for n in range(N + 2):
        good, bad = f"good {n}", f"bad {n}"
        row = {"prompt": f"p{n} ", "chosen": good, "rejected": bad}
        other = {"prompt": f"p{n} ", "chosen": bad, "rejected": good}
        rows += [row, other, row][: 3 if n < N else 2]
    path = tmp_path / "rated.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return replace(config, data=path, labels=0, responses=64, eval_prompts=4, eval_responses=1)


@pytest.mark.parametrize("method", ["dpo", "pro", "kto"])
@pytest.mark.parametrize("majority", [True, False])
def test_losses_on_answers_learn_it(rated, method, majority, monkeypatch):
    told = []

    def spy(policy, examples, responses, **options):
        told.extend(examples)
        return real(policy, examples, responses, **options)

    real = policy_work.on_examples
    monkeypatch.setattr(policy_work, "on_examples", spy)
    run = align(replace(rated, method=method, majority=majority)).run
    responses = Responses(run)
    first = [responses[example.ids[0]].text.split()[0] for example in told]
    if method == "kto":  # each response once, with or without: it won more often than it lost
        assert first.count("good") == first.count("bad") == N
    elif majority:
        assert first == ["good"] * N  # two against one; one against one is a tie
    else:
        assert (first.count("good"), first.count("bad")) == (2 * N + 2, N + 2)


def test_the_reward_learns_it_and_so_does_its_replay(rated):
    config = replace(rated, method="best-of-n", n=2, majority=True, sync=False)
    assert align_config_from_json(config_as_json(config)) == config
    run = align(config).run
    with run.fits.open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["labels"], last["ties"]) == (str(N + 2), "2")
    fits = list(replay_alignment(run))
    assert fits
    assert all(fit.same for fit in fits)


def test_a_run_of_a_release_without_it_counts_each_answer(config):
    content = config_as_json(config)
    del content["majority"]
    assert align_config_from_json(content) == config
