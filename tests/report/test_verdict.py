"""Sentences follow from the numbers: each case is one that would need another sentence."""

import numpy as np
import pytest

from prefrl.report.tables import Evaluation, RunRecord
from prefrl.report.verdict import (
    above_chance,
    has_changed,
    how_calibrated,
    how_close,
    how_correlated,
    text_verdict,
    verdict,
)


def record(before, after, std, curve=(), *, slope=1.0):
    true = np.linspace(0, 1, 50)[None]
    noise = np.random.default_rng(0).normal(0, 0.01, true.shape)
    summary = {
        "eval_return_before_mean": before,
        "eval_return_mean": after,
        "eval_return_std": std,
        "eval_episodes": 10,
        "labels": 100,
    }
    metrics = {
        "true_return_mean": np.array(curve, float),
        "env_steps": 1000.0 * np.arange(1, len(curve) + 1),
    }
    return RunRecord(metrics, {}, Evaluation(true, slope * true + noise), summary, {}, {}, [], [])


@pytest.mark.parametrize(
    ("before", "after", "std", "said"),
    [
        (-6.0, 145.0, 10.0, "rose from -6.00 to 145 from 100 labels"),
        (145.0, -6.0, 10.0, "fell from 145 to -6.00"),
        (10.0, 11.0, 5.0, "did not change by more than chance, from 10.0 to 11.0"),
        (0.0, 4930.4, 20.0, "rose from 0 to 4,930"),
    ],
)
def test_the_return(before, after, std, said):
    assert said in " ".join(verdict(record(before, after, std)))


def test_nothing_is_said_before_the_end():
    under_way = record(0, 1, 1)
    under_way.summary.clear()
    assert verdict(under_way) == []


def test_a_better_policy_on_the_way_is_named():
    said = " ".join(verdict(record(0, 3, 0.5, curve=[0, 20, 27, 10, 3])))
    assert "better on the way: 27.0 at step 3,000" in said
    assert "on the way" not in " ".join(verdict(record(0, 27, 0.5, curve=[0, 20, 27, 26, 26])))


def test_a_good_reward_that_taught_nothing():
    assert "has not made use of it" in " ".join(verdict(record(5, 5, 1)))
    assert "has not made use of it" not in " ".join(verdict(record(5, 5, 1, slope=-1)))


def test_correlations_in_words():
    said = [how_correlated(r) for r in (0.9, 0.5, 0.0, -0.9, np.nan)]
    assert [words.split(" (")[0] for words in said] == [
        "follows the true one closely",
        "follows the true one loosely",
        "has little to do with the true one",
        "runs against the true one",
        "does not vary",
    ]


def test_what_rose_fell_or_stayed():
    noise = np.random.default_rng(0).normal(0, 1, 20)
    assert has_changed(10 * np.arange(20) + noise, "Return").startswith("Return rose from 2")
    assert has_changed(-10 * np.arange(20) + noise, "Return").startswith("Return fell")
    assert "about the same" in has_changed(5 + noise, "Return")
    assert has_changed(np.array([np.nan, 1.0]), "Return") == "Return"


def test_accuracy_against_a_coin():
    fitted = np.array([100.0])
    assert above_chance(np.array([0.86]), fitted).endswith("86%, above chance")
    assert above_chance(np.array([0.55]), fitted).endswith("not clearly above chance")
    assert above_chance(np.array([0.2]), fitted).endswith("below chance")
    assert above_chance(np.array([np.nan]), fitted) == "Accuracy on unseen answers"


def test_losses():
    assert "worse than a coin's" in how_close(np.array([0.9]), np.array([0.1]))
    assert "well above" in how_close(np.array([0.4]), np.array([0.1]))
    assert "close to" in how_close(np.array([0.4]), np.array([0.35]))


def test_calibration():
    low, high = np.array([0.3, 0.5]), np.array([0.5, 0.7])
    observed = np.array([0.4, 0.6])
    assert "agree" in how_calibrated(observed, low, high, np.array([0.35, 0.65]))
    assert "too sure" in how_calibrated(observed, low, high, np.array([0.1, 0.9]))
    assert "differ" in how_calibrated(observed, low, high, np.array([0.55, 0.65]))


def texts(**changed):
    summary = {"labels": 200, "eval_prompts": 32}
    usual = {"gold": (0.0, 0.5), "score": (0.0, 1.0), "kl": (0.0, 2.0), "length": (20, 20)}
    for name, (before, after) in (usual | changed).items():
        summary |= {f"{name}_before": before, f"{name}_after": after}
    errors = {f"{name}_{when}_error": 0.1 for name in ("gold", "score") for when in ("after",)}
    return " ".join(text_verdict(summary | errors))


def test_a_language_model_is_judged_by_its_gold_score():
    told = "from 0 to 0.500 with 200 labels, at a KL of 2.00 nats to the reference"
    assert texts() == f"The gold score rose {told}."
    assert "did not change by more than chance" in texts(gold=(0.0, 0.1))
    assert "may exploit the reward" in texts(gold=(0.0, 0.1))
    assert "may exploit" not in texts(gold=(0.0, 0.1), score=(0.0, 0.1))
    assert "fell from 0 to -0.500 with 200 labels" in texts(gold=(0.0, -0.5))
    assert "worse than before" in texts(gold=(0.0, -0.5))
    assert "The learned score rose" in texts(gold=(None, None))
    assert "no gold score" in texts(gold=(None, None))
    assert "Only 20% of the responses came to their end, 90% before." in texts(ended=(0.9, 0.2))
    assert "ended" not in texts(ended=(0.9, 0.8))
    assert "from 20.0 to 30.0 tokens" in texts(length=(20, 30))
    assert text_verdict({}) == []


def test_demonstrations_are_judged_by_the_held_out_loss():
    told = {"eval_loss_before": 2.0, "eval_loss_after": 1.5}
    assert text_verdict(told) == ["The held-out loss fell from 2.00 to 1.50."]
    told = {"eval_loss_before": 1.5, "eval_loss_after": 2.0}
    assert text_verdict(told) == [
        "The held-out loss rose from 1.50 to 2.00: that is worse than before."
    ]
    assert "unknown" in text_verdict({"eval_loss_before": None, "eval_loss_after": None})[0]
