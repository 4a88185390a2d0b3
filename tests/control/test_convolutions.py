import pytest

from prefrl.control.convolutions import Convolution, fitting, sides_behind
from prefrl.errors import ConfigError

PAPER = ((7, 3, 16), (5, 2, 16), (3, 1, 16), (3, 1, 16))


def test_sides_by_hand():
    layers = [Convolution(*layer) for layer in PAPER]
    # (84 - 7) / 3 + 1 = 26.67, (26 - 5) / 2 + 1 = 11.5, then two less twice
    assert sides_behind(layers, (84, 84)) == [7, 7]
    assert sides_behind(layers, (43, 42)) == [1, 0]
    assert Convolution(3, 2, 8, padding=1).side(11) == 6
    assert Convolution(3, 1, 8, padding=1).side(1) == 1


def test_what_fits_stays_as_it_is():
    assert fitting(PAPER, (43, 43)) == [Convolution(*layer) for layer in PAPER]


@pytest.mark.parametrize(
    ("sides", "behind"),
    [((42, 42), [6, 6]), ((20, 33), [5, 9]), ((7, 7), [7, 7])],
)
def test_small_pictures_get_small_kernels(sides, behind):
    layers = fitting(PAPER, sides)
    assert [layer.filters for layer in layers] == [16] * 4
    assert {layer.kernel for layer in layers} == {3}
    assert sides_behind(layers, sides) == behind


def test_large_pictures_and_larger_kernels_are_refused():
    with pytest.raises(ConfigError, match=r"got \(50, 84\) pixels; take smaller kernels"):
        fitting(((60, 1, 4),), (50, 84))
