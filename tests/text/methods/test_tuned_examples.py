import pytest

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.text.methods.examples import (
    BAD,
    GOOD,
    Example,
    pairs_of,
    rankings_of,
    single_responses_of,
)


def said(left, right, answer, group=None, by=""):
    return Comparison(Query(f"{left}{right}{group}", left, right, group), Answer(answer))


def test_pairs_have_what_was_chosen_first_and_leave_out_ties_and_skips():
    comparisons = [said("a", "b", "right"), said("a", "c", "tie"), said("c", "d", "left")]
    comparisons.append(said("a", "d", "skip"))
    assert pairs_of(comparisons) == [Example(("b", "a"), (1, 2)), Example(("c", "d"), (1, 2))]


def test_a_group_that_is_answered_in_full_is_a_ranking_and_a_pair_a_ranking_of_two():
    comparisons = [
        said("a", "b", "right", "g"),
        said("x", "y", "left"),
        said("a", "c", "left", "g"),
        said("b", "c", "left", "g"),
        said("x", "z", "tie"),
    ]
    found = rankings_of(comparisons)
    assert found == [Example(("b", "a", "c"), (1, 2, 3)), Example(("x", "y"), (1, 2))]


def test_ties_in_a_ranking_share_a_place_and_a_group_of_ties_alone_has_no_order():
    best = [said("a", "b", "left", "g"), said("a", "c", "left", "g"), said("b", "c", "tie", "g")]
    assert rankings_of(best) == [Example(("a", "b", "c"), (1, 2, 2))]
    ties = [said(*pair, "tie", "g") for pair in ("ab", "ac", "bc")]
    assert rankings_of(ties) == []


def test_of_a_group_with_a_skip_or_a_pair_that_is_open_there_are_pairs():
    group = [said("a", "b", "left", "g"), said("a", "c", "left", "g"), said("b", "c", "skip", "g")]
    pairs = [Example(("a", "b"), (1, 2)), Example(("a", "c"), (1, 2))]
    assert rankings_of(group) == pairs
    assert rankings_of(group[:2]) == pairs


def test_several_people_count_by_their_mean():
    first = [said("a", "b", "left", "g"), said("a", "c", "left", "g"), said("b", "c", "left", "g")]
    second = [said("a", "b", "right", "g"), *first[1:]]
    assert rankings_of(first + second) == [Example(("a", "b", "c"), (1, 1, 3))]


def test_each_response_is_good_or_bad_once_by_what_it_won_and_lost():
    comparisons = [said("a", "b", "left"), said("b", "c", "left"), said("d", "e", "tie")]
    comparisons += [said("f", "g", answer) for answer in ("left", "left", "right")]  # of three
    labels = [("x", True), ("y", False), ("x", True), ("y", True), ("a", True)]
    found = single_responses_of(comparisons, labels)
    good, bad = ("a", "f", "x"), ("c", "g")
    assert {example.ids[0]: example.ranks[0] for example in found} == dict.fromkeys(
        good, GOOD
    ) | dict.fromkeys(bad, BAD)


@pytest.mark.parametrize("examples_of", [pairs_of, rankings_of])
def test_of_nothing_there_is_nothing(examples_of):
    assert examples_of([]) == []
