"""What roles of an alignment say while they work: who is silent for too long is killed."""

import csv
from collections import Counter
from dataclasses import replace

import pytest

from prefrl.core.store import LabelStore
from prefrl.runtime.roles.role import Heartbeat
from prefrl.runtime.rundir.weights import newest_version
from prefrl.text.candidates import ResponsePool, ResponseSamples
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.process import _ROLES
from prefrl.text.responses import Responses
from prefrl.text.train import align


@pytest.fixture
def beats(monkeypatch):
    """How often a role has said that it lives, by its state."""
    counted, beat = Counter(), Heartbeat.beat

    def count(self, state=None, **about):
        beat(self, state, **about)
        counted[self._state] += 1

    monkeypatch.setattr(Heartbeat, "beat", count)
    return counted


@pytest.fixture
def config(tmp_path):
    (tmp_path / "prompts.txt").write_text("one\ntwo\n" * 8)
    (tmp_path / "gold.py").write_text("def score(text):\n    return sum(map(str.isalpha, text))\n")
    tiny = ALIGN_PRESETS["tiny"]
    return replace(
        tiny,
        prompts=tmp_path / "prompts.txt",
        gold=f"{tmp_path / 'gold.py'}:score",
        run=tmp_path / "run",
        responses=64,
        batch=32,
        per_prompt=4,
        labels=16,
        initial_fraction=1.0,
        eval_prompts=2,
        sync=True,
        ppo=replace(tiny.ppo, microbatch=2),
        finetune=FinetuneConfig(epochs=2, batch_size=8, microbatch=1),
    )


@pytest.mark.parametrize("method", ["ppo", "raft", "dpo", "kto"])
def test_the_agent_says_that_it_lives_in_each_pass_of_the_model(config, method, beats):
    align(replace(config, method=method))
    n_tokens = config.sampling.max_new_tokens
    assert beats["sampling"] > config.n_batches * n_tokens
    n_passes = {
        "ppo": 32 // config.ppo.microbatch * config.ppo.n_epochs,
        "raft": 8 * config.finetune.epochs,
        "dpo": 16,
        "kto": 16,
    }
    assert beats["improving"] > n_passes[method]


class UntilItIsPublished:
    """Tells a learner to stop once it has published a reward."""

    def __init__(self, run):
        self.run = run

    @property
    def requested(self):
        return newest_version(self.run.reward) is not None


def test_the_learner_says_so_too(config, beats):
    run = align(replace(config, method="best-of-n")).run
    for path in (*run.reward.iterdir(), run.fits):
        path.unlink()
    with LabelStore(run.labels) as store:
        compared = [Responses(run)[query.left] for query in store.queries()]
    samples = ResponseSamples(ResponsePool(100), run)
    samples.save(1, compared, run_steps=64)
    beats.clear()
    _ROLES["learner"](run, Heartbeat(run, "learner"), UntilItIsPublished(run))
    with run.fits.open(newline="") as file:
        (fit,) = csv.DictReader(file)
    assert beats["fitting"] > 2 * int(fit["steps"])  # a step is a pass, and so is a check
