"""What the agent of an alignment says while it works: who is silent for too long is killed."""

from collections import Counter
from dataclasses import replace

import pytest

from prefrl.runtime.role import Heartbeat
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.train import align


@pytest.mark.parametrize("method", ["ppo", "raft", "dpo", "kto"])
def test_the_agent_says_that_it_lives_in_each_pass_of_the_model(method, tmp_path, monkeypatch):
    beats, beat = Counter(), Heartbeat.beat

    def count(self, state=None, **about):
        beat(self, state, **about)
        beats[self._state] += 1

    monkeypatch.setattr(Heartbeat, "beat", count)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n" * 8)
    (tmp_path / "gold.py").write_text("def score(text):\n    return sum(map(str.isalpha, text))\n")
    tiny = ALIGN_PRESETS["tiny"]
    ppo = replace(tiny.ppo, microbatch=2)
    tuning = FinetuneConfig(epochs=2, batch_size=8, microbatch=1)
    config = replace(
        tiny,
        prompts=tmp_path / "prompts.txt",
        gold=f"{tmp_path / 'gold.py'}:score",
        run=tmp_path / "run",
        method=method,
        responses=64,
        batch=32,
        per_prompt=4,
        labels=16,
        initial_fraction=1.0,
        eval_prompts=2,
        sync=True,
        ppo=ppo,
        finetune=tuning,
    )
    align(config)
    n_tokens = config.sampling.max_new_tokens
    assert beats["sampling"] > config.n_batches * n_tokens
    n_passes = {
        "ppo": 32 // ppo.microbatch * ppo.n_epochs,
        "raft": 8 * tuning.epochs,
        "dpo": 16,
        "kto": 16,
    }
    assert beats["improving"] > n_passes[method]
