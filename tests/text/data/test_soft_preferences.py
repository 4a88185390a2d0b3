"""How strong a preference is, where data tells: read, kept, fitted to, and learned by DPO."""

import json
import math
from dataclasses import replace

import pytest
import torch

from prefrl.core.examples import examples_of
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.people.strengths import judgements_of, strengths_of
from prefrl.text.config import align_config_from_json, config_as_json
from prefrl.text.data.demonstrations import read_demonstrations
from prefrl.text.data.forms import DataConfig
from prefrl.text.data.records import read_preferences
from prefrl.text.methods.examples import pairs_of
from prefrl.text.methods.preference_losses import cdpo_loss, dpo_loss
from prefrl.text.replay import replay_alignment
from prefrl.text.responses import Responses
from prefrl.text.train import align


def written(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def pair(n, **more):
    return {"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}", **more}


def read(path, **options):
    return [(r.ranks, r.strength) for r in read_preferences(path, DataConfig(**options)).rankings]


def test_strengths_are_read_from_a_column_or_the_difference_of_two(tmp_path):
    rows = [pair(1, p=0.8, strength=2), pair(2, p=0.5, strength=0), pair(3, p=0.25, strength=-1)]
    path = written(tmp_path / "data.jsonl", rows)
    better, tie, worse = (1, 2), (1, 1), (2, 1)
    assert read(path, preference="p") == [(better, (0.8, 0)), (tie, (0.5, 0)), (worse, (0.25, 0))]
    # Of a margin alone: what is below 0 says that the other one is better, as in HelpSteer.
    expected = [(better, (1.0, 2)), (better, (1.0, 0)), (worse, (0.0, 1))]
    assert read(path, margin="strength") == expected
    assert read(path, preference="p", margin="strength")[2] == (worse, (0.25, 1))
    rows = [pair(1, score_chosen=8.5, score_rejected=6), pair(2, score_chosen=1, score_rejected=2)]
    path = written(tmp_path / "scores.jsonl", rows)
    expected = [(better, (1.0, 2.5)), (worse, (0.0, 1.0))]
    assert read(path, margin="score_chosen-score_rejected") == expected
    assert read(path) == [(better, None), (better, None)]


def test_what_tells_no_strength_is_refused(tmp_path, config):
    ranked = [{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "m": 1}]
    path = written(tmp_path / "ranked.jsonl", ranked)
    with pytest.raises(ConfigError, match=r"expected pairs with data.preference and data.margin"):
        read(path, margin="m")
    with pytest.raises(ConfigError, match="the column p"):
        read(written(tmp_path / "a.jsonl", [pair(1)]), preference="p")
    with pytest.raises(ConfigError, match=r"as data.margin, in line 1 of"):
        read(tmp_path / "a.jsonl", margin="m")
    with pytest.raises(ConfigError, match=r"number in .0, 1. as data.preference"):
        read(written(tmp_path / "b.jsonl", [pair(1, p=1.5)]), preference="p")
    with pytest.raises(ConfigError, match=r"no data.preference and data.margin for demonstrations"):
        read_demonstrations(path, DataConfig(margin="m"))
    with pytest.raises(ConfigError, match="expected dpo, or a method on the learned reward"):
        replace(config, method="ipo", data_options=DataConfig(margin="m"))


def test_dpo_with_a_preference_and_an_offset_by_hand():
    h = torch.tensor([5.0, -2.0])
    p, m = torch.tensor([0.8, 1.0]), torch.tensor([0.3, 0.5])
    losses = dpo_loss(h, beta=0.1, preference=p, offset=m).tolist()
    # beta h - m: 0.2 and -0.7; -ln sigmoid(0.2) = 0.598139, of -0.2 0.798139; of -0.7 1.103186.
    assert losses == pytest.approx([0.8 * 0.598139 + 0.2 * 0.798139, 1.103186], abs=1e-6)
    of_cdpo = cdpo_loss(h, beta=0.1, flip_rate=0.2)
    torch.testing.assert_close(dpo_loss(h, beta=0.1, preference=0.8), of_cdpo)
    assert dpo_loss(h, beta=0.1).tolist() == pytest.approx(
        [math.log1p(math.exp(-0.5)), math.log1p(math.exp(0.2))]
    )


@pytest.mark.parametrize("method", ["dpo", "ppo"])
def test_a_run_learns_from_strengths(method, config, tmp_path):
    rows = [pair(n, p=0.9 if n % 2 else 0.3, m=n / 10) for n in range(1, 33)]
    config = replace(
        config,
        method=method,
        data=written(tmp_path / "data.jsonl", rows),
        data_options=DataConfig(preference="p", margin="m"),
        labels=0,
        responses=64,
        eval_prompts=4,
        sync=False,
    )
    assert align_config_from_json(config_as_json(config)) == config
    run = align(config).run
    with LabelStore(run.labels) as store:
        judged = judgements_of(store, strengths_of(run), certainties={})
        hard = [comparison.preference for _, comparison in store.comparisons()]
    responses = Responses(run)
    assert len(judged) == 32
    for told, answer in zip(judged, hard, strict=True):
        left = responses[told.query.left].text
        n = int(left.split()[1])
        share = 0.9 if n % 2 else 0.3
        assert told.preference == pytest.approx(share if left.startswith("good") else 1 - share)
        assert told.margin == pytest.approx(n / 10)
        assert answer == float(told.preference > 0.5)  # what the page and exports show
    # What a fit minimises: the loss of the soft target, at scores that differ by the margin too.
    fitted = examples_of(judged[:1], responses)
    scores = torch.tensor([[0.7, 0.2]])
    told = judged[0]
    x = 0.5 - told.margin * (1 if told.preference > 0.5 else -1)
    expected = told.preference * math.log1p(math.exp(-x)) + (1 - told.preference) * math.log1p(
        math.exp(x)
    )
    loss = fitted.losses(scores, best=False, noise=0.0)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    strengths = [example.strength for example in pairs_of(judged)]
    assert {round(share, 6) for share, _ in strengths} == {0.9, 0.7}
    if method == "ppo":
        fits = list(replay_alignment(run))
        assert fits
        assert all(fit.same for fit in fits)
