import itertools
import math

import pytest
import torch

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.examples import examples_of
from prefrl.core.loss import bradley_terry_loss

LEFT, RIGHT, TIE, _ = Answer


class Named:
    def __init__(self, name):
        self.id = name


ITEMS = {name: Named(name) for name in "abcdefghij"}
SCORE = {name: float(place) for place, name in enumerate("abcdefghij")}


def comparison(left, right, answer, group=None):
    return Comparison(Query(f"{left}{right}", left, right, group), answer)


def ranking(names, ranks, group="g"):
    """All pairs of items of which those with the lowest rank are the best."""
    pairs = itertools.combinations(range(len(names)), 2)
    told = {True: LEFT, False: RIGHT}
    return [
        comparison(
            names[i], names[j], TIE if ranks[i] == ranks[j] else told[ranks[i] < ranks[j]], group
        )
        for i, j in pairs
    ]


def scores_of(examples, n_members=2):
    ids = [item.id for item in examples.all_items()]
    one = torch.tensor([SCORE[name] for name in ids])
    return torch.stack([one * (member + 1) / 4 for member in range(n_members)])


def pair_loss(member, left, right, preference):
    left, right = (torch.tensor([[SCORE[name] * (member + 1) / 4]]) for name in (left, right))
    return float(bradley_terry_loss(left, right, torch.tensor([preference]), noise=0.1))


def test_pairs_are_examples_of_their_own_whoever_answered():
    examples = examples_of(
        [comparison("a", "b", LEFT), comparison("a", "b", RIGHT), comparison("c", "a", TIE)], ITEMS
    )
    assert len(examples) == 3
    assert [item.id for item in examples.all_items()] == list("aacbba")  # lefts, then rights
    losses = examples.losses(scores_of(examples), best=False, noise=0.1)
    for member in (0, 1):
        assert losses[member].tolist() == pytest.approx(
            [
                pair_loss(member, "a", "b", 1.0),
                pair_loss(member, "a", "b", 0.0),
                pair_loss(member, "c", "a", 0.5),
            ]
        )


def test_the_loss_of_a_ranking_is_the_mean_of_its_pairs_and_each_item_is_scored_once():
    told = [
        comparison("i", "j", RIGHT),
        *ranking("abcd", [1, 2, 2, 3]),
        *ranking("efg", [3, 1, 2], "h"),
    ]
    examples = examples_of(told, ITEMS)
    assert len(examples) == 3
    assert sorted(item.id for item in examples.all_items()) == list("abcdefgij")
    losses = examples.losses(scores_of(examples), best=False, noise=0.1)
    for member in (0, 1):
        expected = [
            [
                pair_loss(member, c.query.left, c.query.right, c.preference)
                for c in told
                if c.query.group == group
            ]
            for group in (None, "g", "h")
        ]
        means = [sum(losses) / len(losses) for losses in expected]
        assert losses[member].tolist() == pytest.approx(means)


def test_the_best_of_k_is_a_softmax_over_their_scores():
    told = [*ranking("abcd", [2, 1, 3, 4]), comparison("e", "f", LEFT)]
    examples = examples_of(told, ITEMS)
    losses = examples.losses(scores_of(examples, 1), best=True, noise=0.0)[0]
    scores = [place / 4 for place in range(4)]  # of a, b, c, d
    by_hand = math.log(sum(map(math.exp, scores))) - scores[1]
    assert losses.tolist() == pytest.approx([by_hand, pair_loss_without_noise("e", "f")])


def pair_loss_without_noise(winner, loser):
    return math.log1p(math.exp((SCORE[loser] - SCORE[winner]) / 4))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_best_of_two_is_a_pair(noise):
    told = [comparison("a", "b", LEFT), comparison("d", "c", RIGHT), comparison("e", "f", TIE)]
    examples = examples_of(told, ITEMS)
    scores = scores_of(examples)
    pairs, best = (examples.losses(scores, best=best, noise=noise) for best in (False, True))
    decided = [0, 1]
    assert torch.allclose(pairs[:, decided], best[:, decided])
    if not noise:  # with it a tie's two halves are not one logarithm
        assert torch.allclose(pairs, best)


def test_equally_good_ones_share_being_the_best():
    examples = examples_of([*ranking("abc", [1, 1, 2]), comparison("d", "e", RIGHT)], ITEMS)
    assert examples.shares.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


def test_items_that_are_not_there_have_no_gradient_and_no_part_in_a_penalty():
    examples = examples_of([*ranking("abc", [1, 2, 3]), comparison("d", "e", LEFT)], ITEMS)
    scores = scores_of(examples).requires_grad_()
    for best in (False, True):
        loss = examples.losses(scores, best=best, noise=0.1).sum()
        (gradient,) = torch.autograd.grad(loss, scores)
        assert bool(torch.isfinite(gradient).all())
    squares = examples.squares(scores_of(examples, 1))[0]
    assert squares.tolist() == pytest.approx([(0 + 1 + 4) / 16 / 3, (9 + 16) / 16 / 2])


def test_some_of_them_are_as_among_all():
    told = [*ranking("abc", [1, 2, 3]), comparison("d", "e", LEFT), comparison("f", "g", RIGHT)]
    examples = examples_of(told, ITEMS)
    all_losses = examples.losses(scores_of(examples), best=False, noise=0.0)
    for places in ([2, 0], [1, 2], [0]):
        some = examples.some(torch.tensor(places))
        losses = some.losses(scores_of(some), best=False, noise=0.0)
        assert torch.allclose(losses, all_losses[:, places])
        probability = some.probabilities(scores_of(some))
        numbers = some.numbers[some.weight > 0].tolist()
        for number, p in zip(numbers, probability[0][some.weight > 0].tolist(), strict=True):
            query = told[number].query
            margin = (SCORE[query.left] - SCORE[query.right]) / 4
            assert p == pytest.approx(1 / (1 + math.exp(-margin)))
