"""The synthetic picture shows what tests look for."""

import numpy as np
import pytest

from cloudslice_publisher.lettering import text_mask
from cloudslice_publisher.picture import BARS, ColourBars

SIZES = [
    pytest.param(1280, 720, id="720p"),
    pytest.param(320, 180, id="180p"),
    pytest.param(360, 640, id="upright"),
    pytest.param(64, 48, id="tiny"),
]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_swatches_have_their_colours_at_all_times(width: int, height: int) -> None:
    """Every swatch keeps its colour within a few pixels around, whatever the clock shows."""
    bars = ColourBars(width, height, "alice", accent=(10, 120, 30))
    for second in (0, 0.5, 59.9, 3599):
        picture = bars.paint(second)
        assert picture.shape == (height, width, 3)
        for x, y, colour in bars.swatches():
            around = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
            assert {tuple(pixel) for pixel in around.tolist()} == {colour}


def test_the_bars_are_all_there() -> None:
    """Seven bars of 75 % and the accent."""
    colours = [swatch.colour for swatch in ColourBars(320, 180, accent=(1, 2, 3)).swatches()]
    assert colours == [*BARS, (1, 2, 3)]


def test_the_picture_moves() -> None:
    """A tenth of a second changes the clock and the texture, and nothing of the bars."""
    bars = ColourBars(320, 180)
    before, after = bars.paint(1.0), bars.paint(1.1)
    changed = np.any(before != after, axis=(1, 2))
    assert changed.any()
    assert not changed[:99].any()


def test_a_name_too_long_for_the_band_is_cut() -> None:
    """It neither fails nor runs over the edge."""
    picture = ColourBars(64, 48, "a name that nobody could fit in there").paint(0)
    assert picture.shape == (48, 64, 3)


def test_unknown_letters_are_question_marks() -> None:
    """A picture is painted for every name, if not with every letter."""
    assert np.array_equal(text_mask("é", 2), text_mask("?", 2))
    assert text_mask("AB", 3).shape == (21, 36)
    assert text_mask("", 3).shape == (21, 0)
