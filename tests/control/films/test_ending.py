import numpy as np

from prefrl.control.films.ending import mark_ended


def test_pictures_after_an_ending_are_dark_and_say_so():
    frames = np.full((5, 64, 96, 3), 200, np.uint8)
    marked = mark_ended(frames, 2)
    assert (marked[:3] == 200).all()
    assert (frames == 200).all()  # a copy
    for frame in marked[3:]:
        assert (frame[0] == 110).all()
        assert frame[20:44].max() > 200  # the word
        assert frame[20:44].min() < 60  # and its rim


def test_where_nothing_ended_nothing_is_marked():
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    assert mark_ended(frames, 0) is frames
