import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from prefrl.core import trainer
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.trainer import FitConfig, _adapt_l2, _Check, fit
from prefrl.errors import ConfigError, FitInterruptedError, NotEnoughDataError


@dataclass(frozen=True)
class Point:
    id: str
    features: np.ndarray


class Linear(nn.Module):
    """M linear scores of points: as much of a reward model as the core asks for."""

    def __init__(self, n_members, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_members, width))

    @property
    def n_members(self):
        return len(self.weight)

    def module(self):
        return self

    def reset(self, generator):
        with torch.no_grad():
            self.weight.normal_(generator=generator)

    def collate(self, items):
        return torch.from_numpy(np.stack([item.features for item in items])).float()

    def score(self, batch):
        return self.weight @ batch.T


def points_and_comparisons(rng, n, width=5, *, tie_every=0):
    points = {f"p{i}": Point(f"p{i}", rng.normal(size=width)) for i in range(2 * n)}
    comparisons = []
    for i in range(n):
        left, right = points[f"p{2 * i}"], points[f"p{2 * i + 1}"]
        answer = Answer.LEFT if left.features[0] > right.features[0] else Answer.RIGHT
        if tie_every and i % tie_every == 0:
            answer = Answer.TIE
        comparisons.append(Comparison(Query(f"q{i}", left.id, right.id), answer))
    return points, comparisons


def test_it_finds_the_feature_that_the_answers_follow(rng):
    points, comparisons = points_and_comparisons(rng, 200)
    model = Linear(3, 5)
    report = fit(model, comparisons, points, config=FitConfig(learning_rate=0.05), rng=rng)
    weight = model.weight.detach()
    assert (weight[:, 0] > 3 * weight[:, 1:].abs().amax(1)).all()
    assert report.holdout_accuracy > 0.9
    assert report.holdout_loss < 0.4
    assert report.n_comparisons == 200


def test_the_holdout_is_what_the_bags_left_out(rng):
    points, comparisons = points_and_comparisons(rng, 400)
    report = fit(Linear(3, 5), comparisons, points, config=FitConfig(max_steps=1), rng=rng)
    left_out_by_all = np.isfinite(report.holdout_probability).mean()
    # A comparison is held out by at least one of three members with 1 - (1 - 1/e)^3 = 0.747.
    assert left_out_by_all == pytest.approx(0.747, abs=0.07)


def test_pure_chance_is_not_learned(rng):
    points, comparisons = points_and_comparisons(rng, 100, width=30)
    coins = [
        Comparison(c.query, Answer.LEFT if rng.random() < 0.5 else Answer.RIGHT)
        for c in comparisons
    ]
    report = fit(Linear(3, 30), coins, points, config=FitConfig(learning_rate=0.05), rng=rng)
    assert 0.3 < report.holdout_accuracy < 0.7
    assert report.holdout_loss > 0.6


@pytest.mark.parametrize(("max_steps", "least"), [(1000, 70), (25, 25)])
def test_no_parameters_from_before_min_steps_are_kept(rng, max_steps, least):
    points, comparisons = points_and_comparisons(rng, 100, width=30)
    coins = [
        Comparison(c.query, Answer.LEFT if rng.random() < 0.5 else Answer.RIGHT)
        for c in comparisons
    ]
    # Coins are only learned by heart: the hold-out gets worse from the first step on.
    config = FitConfig(learning_rate=0.05, check_every=10, min_steps=70, max_steps=max_steps)
    report = fit(Linear(3, 30), coins, points, config=config, rng=rng)
    assert report.steps >= least


def test_the_fit_goes_on_while_the_holdout_gets_better(rng):
    points, comparisons = points_and_comparisons(rng, 200)
    config = FitConfig(min_steps=1, check_every=10, learning_rate=1e-3, max_steps=500, l2=0.0)
    report = fit(Linear(3, 5), comparisons, points, config=config, rng=rng)
    assert report.steps > 400


def test_skips_are_left_out_and_nothing_but_skips_is_refused(rng):
    points, comparisons = points_and_comparisons(rng, 20)
    skips = [Comparison(c.query, Answer.SKIP) for c in comparisons]
    report = fit(Linear(2, 5), comparisons + skips, points, config=FitConfig(), rng=rng)
    assert report.n_comparisons == 20
    with pytest.raises(NotEnoughDataError, match="all skips"):
        fit(Linear(2, 5), skips, points, config=FitConfig(), rng=rng)


def test_ties_pull_scores_together_and_do_not_count_as_wrong(rng):
    points, comparisons = points_and_comparisons(rng, 50, tie_every=1)
    report = fit(Linear(2, 5), comparisons, points, config=FitConfig(learning_rate=0.05), rng=rng)
    assert math.isnan(report.holdout_accuracy)
    assert report.holdout_loss == pytest.approx(math.log(2), abs=0.1)


def test_one_comparison_is_enough_to_fit(rng):
    points, comparisons = points_and_comparisons(rng, 1)
    report = fit(Linear(3, 5), comparisons, points, config=FitConfig(), rng=rng)
    assert math.isfinite(report.train_loss)


def test_without_bagging_there_is_no_holdout(rng):
    points, comparisons = points_and_comparisons(rng, 30)
    config = FitConfig(bagging=False, learning_rate=0.05)
    report = fit(Linear(2, 5), comparisons, points, config=config, rng=rng)
    assert math.isnan(report.holdout_loss)
    assert np.isnan(report.holdout_probability).all()
    assert report.train_loss < math.log(2)


def test_the_same_generator_gives_the_same_fit_and_old_answers_keep_their_weight(rng):
    points, comparisons = points_and_comparisons(rng, 60)
    models = [Linear(3, 5) for _ in range(2)]
    for model in models:
        fit(model, comparisons, points, config=FitConfig(), rng=np.random.default_rng(1))
    assert torch.equal(models[0].weight, models[1].weight)
    few, many = (
        fit(
            Linear(3, 5), comparisons[:n], points,
            config=FitConfig(max_steps=1), rng=np.random.default_rng(1),
        )
        for n in (40, 60)
    )  # fmt: skip
    held_out = [np.isfinite(r.holdout_probability) for r in (few, many)]
    assert np.array_equal(held_out[0], held_out[1][:40])


def test_warm_start_goes_on_from_the_last_parameters(rng):
    points, comparisons = points_and_comparisons(rng, 60)
    model = Linear(3, 5)
    config = FitConfig(restart=False, max_steps=20, learning_rate=1e-6)
    with torch.no_grad():
        model.weight.fill_(0.123)
    fit(model, comparisons, points, config=config, rng=rng)
    assert torch.allclose(model.weight, torch.full((3, 5), 0.123), atol=1e-3)


@pytest.mark.parametrize(
    ("train", "holdout", "factor"),
    [(1.0, 1.6, 1.001**10), (1.0, 1.3, 1.0), (1.0, 1.05, 1.001**-10), (1.0, math.nan, 1.0)],
)
def test_l2_keeps_the_loss_ratio_in_its_band(train, holdout, factor):
    check = _Check(train_loss=train, holdout_loss=holdout, probability=torch.zeros(1, 1))
    assert _adapt_l2(1e-4, check, 10, FitConfig()) == pytest.approx(1e-4 * factor)


@pytest.mark.parametrize(("n", "weight"), [(1, 0.4011), (4, 1.0426)])
def test_l2_is_weighed_against_the_sum_of_losses(rng, n, weight):
    # n times "1 is better than 0", a weight w and l2 = 1/2: n log(1 + exp(-w)) + w^2 / 2 is least
    # where n = w (1 + exp(w)): 0.4011 (1 + 1.4935) = 1.0001, 1.0426 (1 + 2.8366) = 4.0000.
    points = {f"p{x}": Point(f"p{x}", np.array([x], np.float32)) for x in (0, 1)}
    comparisons = [Comparison(Query(f"q{i}", "p1", "p0"), Answer.LEFT) for i in range(n)]
    config = FitConfig(
        l2=0.5, bagging=False, noise=0.0, learning_rate=0.02, min_steps=1000, max_steps=1000
    )
    model = Linear(2, 1)
    fit(model, comparisons, points, config=config, rng=rng)
    assert model.weight.detach().numpy() == pytest.approx(weight, abs=2e-3)


def test_l2_never_exceeds_that_of_the_config(rng):
    over = _Check(train_loss=1.0, holdout_loss=1.6, probability=torch.zeros(1, 1))
    assert _adapt_l2(0.4999, over, 10, FitConfig(l2=0.5)) == 0.5
    points, comparisons = points_and_comparisons(rng, 30)
    report = fit(Linear(3, 5), comparisons, points, config=FitConfig(), rng=rng, l2=10.0)
    assert 0 < report.l2 <= 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": 1.0},
        {"max_steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"l2_low": 2.0},
        {"l2": math.nan},
        {"score_l2": math.nan},
        {"min_steps": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FitConfig(**wrong)


def test_a_check_may_look_at_the_newest_alone(rng):
    points, comparisons = points_and_comparisons(rng, 60)
    config = FitConfig(learning_rate=0.05, check_comparisons=20)
    report = fit(Linear(3, 5), comparisons, points, config=config, rng=rng)
    assert np.isnan(report.holdout_probability[:-20]).all()
    assert np.isfinite(report.holdout_probability[-20:]).sum() > 5
    assert len(report.preference) == 60
    assert math.isfinite(report.holdout_loss)
    assert math.isfinite(report.train_loss)


def test_a_penalty_on_scores_keeps_them_small(rng):
    points, comparisons = points_and_comparisons(rng, 100)
    sizes = []
    for score_l2 in (0.0, 0.1):
        model = Linear(3, 5)
        config = FitConfig(learning_rate=0.05, score_l2=score_l2, l2=0.0)
        fit(model, comparisons, points, config=config, rng=np.random.default_rng(0))
        scores = model.score(model.collate(list(points.values())))
        sizes.append(scores.square().mean().item())
    assert sizes[1] < sizes[0] / 2


def test_a_fit_ends_when_it_is_told_to(rng):
    points, comparisons = points_and_comparisons(rng, 20)
    steps = []

    def go_on():
        steps.append(1)
        return len(steps) < 7

    with pytest.raises(FitInterruptedError, match="7 steps"):
        fit(Linear(3, 5), comparisons, points, config=FitConfig(), rng=rng, go_on=go_on)
    assert len(steps) == 7


def test_what_a_model_draws_does_not_touch_what_others_draw(rng):
    class Noisy(Linear):
        def score(self, batch):
            return super().score(batch + 0.1 * torch.randn_like(batch))

    points, comparisons = points_and_comparisons(rng, 20)
    config, weights = FitConfig(max_steps=20, min_steps=20), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        untouched = torch.rand(3)
        torch.manual_seed(seed)
        model = Noisy(3, 5)
        fit(model, comparisons, points, config=config, rng=np.random.default_rng(0))
        assert torch.equal(torch.rand(3), untouched)
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)


@pytest.mark.parametrize(("n", "steps"), [(20, 15), (17, 15), (4, 3)])
def test_epochs_are_passes_over_all_comparisons_without_an_early_stop(rng, n, steps):
    points, comparisons = points_and_comparisons(rng, n)
    config = FitConfig(epochs=3, batch_size=4, patience=1, max_steps=2)
    assert fit(Linear(2, 5), comparisons, points, config=config, rng=rng).steps == steps


def test_the_learning_rate_falls_to_nothing_over_a_fit(rng, monkeypatch):
    rates = []
    descend = trainer._descend

    def watched(loss, optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        descend(loss, optimizer)

    monkeypatch.setattr(trainer, "_descend", watched)
    points, comparisons = points_and_comparisons(rng, 16)
    config = FitConfig(epochs=1, batch_size=4, learning_rate=0.4, linear_decay=True)
    fit(Linear(2, 5), comparisons, points, config=config, rng=rng)
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_what_a_shared_bag_leaves_out_no_member_has_seen(rng):
    points, comparisons = points_and_comparisons(rng, 400)
    judged = []
    for shared in (True, False):
        config = FitConfig(max_steps=20, min_steps=20, shared_bag=shared)
        report = fit(Linear(4, 5), comparisons, points, config=config, rng=rng)
        judged.append(np.isfinite(report.holdout_probability).mean())
    # Left out by the one bag: 1/e. By at least one of four: 1 - (1 - 1/e)^4.
    assert judged == pytest.approx([0.37, 0.84], abs=0.06)


def rankings(rng, n, *, k=4, width=5):
    """Groups of k points, all pairs of each: the larger first feature is better."""
    points = {f"p{i}": Point(f"p{i}", rng.normal(size=width)) for i in range(k * n)}
    comparisons = []
    for i in range(n):
        names = [f"p{k * i + j}" for j in range(k)]
        for left, right in itertools.combinations(names, 2):
            better = points[left].features[0] > points[right].features[0]
            query = Query(f"{left}-{right}", left, right, group=f"g{i}")
            comparisons.append(Comparison(query, Answer.LEFT if better else Answer.RIGHT))
    return points, comparisons


@pytest.mark.parametrize("group_loss", ["pairs", "best"])
def test_it_learns_from_rankings_whose_pairs_are_held_out_together(rng, group_loss):
    points, comparisons = rankings(rng, 80)
    model = Linear(3, 5)
    config = FitConfig(learning_rate=0.05, group_loss=group_loss)
    report = fit(model, comparisons, points, config=config, rng=rng)
    weight = model.weight.detach()
    assert (weight[:, 0] > 3 * weight[:, 1:].abs().amax(1)).all()
    assert report.n_comparisons == 80 * 6
    assert report.holdout_accuracy > 0.9
    held_out = np.isfinite(report.holdout_probability).reshape(80, 6)
    assert (held_out.all(1) | ~held_out.any(1)).all()  # a group is held out whole
    assert 0 < held_out.all(1).mean() < 1


def test_a_batch_counts_rankings_and_scores_each_item_once(rng):
    points, comparisons = rankings(rng, 8)
    model, seen = Linear(2, 5), []
    collate = model.collate
    model.collate = lambda items: seen.append(len(items)) or collate(items)
    fit(model, comparisons, points, config=FitConfig(epochs=1, batch_size=4), rng=rng)
    assert seen == [16, 16, 32]  # two batches of four rankings, and the check


def test_ties_may_be_left_out(rng):
    points, comparisons = points_and_comparisons(rng, 40, tie_every=2)
    config = FitConfig(max_steps=1, drop_ties=True)
    report = fit(Linear(3, 5), comparisons, points, config=config, rng=rng)
    assert report.n_comparisons == 20
    ties = [c for c in comparisons if c.answer is Answer.TIE]
    report = fit(Linear(3, 5), ties, points, config=config, rng=rng)
    assert report.n_comparisons == 20  # better than no fit at all


@pytest.mark.parametrize("shared_bag", [False, True])
def test_a_single_comparison_is_in_some_bag(shared_bag):
    config = FitConfig(max_steps=1, shared_bag=shared_bag)
    for seed in range(30):  # of bags of one, 1 / e are empty
        points, comparisons = points_and_comparisons(np.random.default_rng(seed), 1)
        report = fit(
            Linear(1, 5), comparisons, points, config=config, rng=np.random.default_rng(seed)
        )
        assert math.isfinite(report.train_loss)
