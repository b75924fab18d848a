"""A key frame of a lower layer waits for one of the highest, but not for long."""

from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice.rooms.remote.layer_choice import LayerChoice


def keyframe(width: int, height: int, arrival: float) -> Keyframe:
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return Keyframe(VP8.decoding, b"\x10\x02\x00\x9d\x01\x2a" + size, arrival, 0)


def test_the_largest_is_used_at_once() -> None:
    layers = LayerChoice(1280, 720, 0)
    large = keyframe(1280, 720, 1)
    assert layers.choose(large, 1) is large
    assert layers.choose_due(9) is None


def test_a_small_one_waits_for_a_large_one() -> None:
    layers = LayerChoice(1280, 720, 0)
    assert layers.choose(keyframe(320, 180, 1), 1) is None
    assert layers.choose_due(1.2) is None
    large = keyframe(1280, 720, 1.3)
    assert layers.choose(large, 1.3) is large
    assert layers.choose_due(9) is None


def test_a_small_one_is_better_than_none() -> None:
    layers = LayerChoice(1280, 720, 0)
    small = keyframe(320, 180, 1)
    assert layers.choose(small, 1) is None
    assert layers.choose_due(1.6) is small
    assert layers.choose_due(1.7) is None


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    layers = LayerChoice(1280, 720, 0)
    layers.choose(keyframe(320, 180, 1), 1)
    layers.forget()
    assert layers.choose_due(9) is None


def test_who_sends_small_ones_for_long_is_waited_for_no_more() -> None:
    """And when large ones come again, they count again."""
    layers = LayerChoice(1280, 720, 0)
    small = keyframe(320, 180, 61)
    assert layers.choose(small, 61) is small
    large = keyframe(1280, 720, 65)
    assert layers.choose(large, 65) is large
    assert layers.choose(keyframe(320, 180, 70), 70) is None
