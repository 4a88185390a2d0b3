import pytest

from prefrl.core.comparisons import Answer, Comparison, Query


@pytest.mark.parametrize(
    ("answer", "preference"),
    [(Answer.LEFT, 1.0), (Answer.RIGHT, 0.0), (Answer.TIE, 0.5), (Answer.SKIP, None)],
)
def test_preference_is_the_probability_that_left_is_better(answer, preference):
    assert answer.preference == preference
    assert Comparison(Query("q", "a", "b"), answer).preference == preference


def test_mirroring_exchanges_the_sides_and_nothing_else():
    assert Answer.LEFT.mirrored is Answer.RIGHT
    assert Answer.RIGHT.mirrored is Answer.LEFT
    assert Answer.TIE.mirrored is Answer.TIE
    assert Answer.SKIP.mirrored is Answer.SKIP
