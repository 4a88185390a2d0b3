from prefrl.core.comparisons import Answer, Comparison, Query, SoftComparison
from prefrl.runtime.people.votes import majority

LEFT, RIGHT, TIE, SKIP = Answer
QUERY, OTHER = Query("q", "a", "b"), Query("p", "a", "c")


def said(*answers):
    """What comes of answers to one query, with how sure each is."""
    told = [one if isinstance(one, tuple) else (one, 1.0) for one in answers]
    (found,) = majority(Comparison(QUERY, answer, sure) for answer, sure in told)
    return found.answer, found.certainty


def test_the_answer_of_most_counts():
    assert said(LEFT, RIGHT, LEFT) == (LEFT, 1.0)
    assert said(RIGHT) == (RIGHT, 1.0)
    assert said(TIE, TIE, LEFT) == (TIE, 1.0)


def test_without_a_majority_it_is_a_tie():
    assert said(LEFT, RIGHT) == (TIE, 1.0)
    assert said(LEFT, TIE) == (TIE, 1.0)


def test_who_cannot_tell_has_no_vote():
    assert said(SKIP, SKIP, RIGHT) == (RIGHT, 1.0)
    assert said(SKIP, SKIP) == (SKIP, 1.0)


def test_it_is_as_sure_as_those_who_gave_it():
    assert said((LEFT, 0.75), LEFT, (RIGHT, 0.6)) == (LEFT, 0.875)


def test_queries_come_in_the_order_of_their_newest_answers():
    told = [Comparison(QUERY, LEFT), Comparison(OTHER, LEFT), Comparison(QUERY, LEFT)]
    assert [c.query.id for c in majority(told)] == ["p", "q"]


def test_what_data_says_with_a_strength_of_its_own_is_no_vote():
    soft = SoftComparison(QUERY, 0.6)
    told = [Comparison(QUERY, LEFT), soft, Comparison(QUERY, RIGHT)]
    assert majority(told) == [soft, Comparison(QUERY, TIE)]
