"""Video of a batch: read, or dropped on a look at the clear header."""

import pytest

from helpers.listening import (
    Listener,
    video,
)
from helpers.rtp import (
    forged,
)


def test_video_is_read_with_extended_sequence_numbers() -> None:
    """In the order in which it came; nobody puts it in order here."""
    heard = Listener().hear(*map(video, (65534, 1 << 16, 65535, 65537)), arrivals=[1, 2, 3, 4])
    assert [(each.sequence, each.arrival) for each in heard.packets] == [
        (65534, 1),
        (65536, 2),
        (65535, 3),
        (65537, 4),
    ]
    assert [each.timestamp for each in heard.packets] == [
        sequence // 5 * 3000 for sequence in (65534, 65536, 65535, 65537)
    ]


def test_video_before_the_sequence_number_to_read_from_is_not_decrypted() -> None:
    """But counted: by its clear header, as of another kind it would be."""
    listener = Listener()
    listener.hear(video(65529))
    listener.video.read_from = 65538
    heard = listener.hear(*map(video, range(65530, 65540)), arrivals=[0.1 * i for i in range(10)])
    assert [each.sequence for each in heard.packets] == [65538, 65539]
    assert listener.video.unread == 8
    assert listener.srtp.opened == 1 + 2
    assert (listener.video.highest, listener.video.counted) == (65539, 1 + 10)
    assert listener.video.last_arrival == pytest.approx(0.9)


def test_unread_video_shows_nothing_of_the_peer_being_there() -> None:
    """Anybody can send it; what is read and authentic does."""
    listener = Listener()
    listener.hear(video(0), arrivals=[-1])
    listener.video.read_from = 3
    listener.hear(video(1), video(2), forged(video(3)), arrivals=[1, 2, 3])
    assert (listener.video.last_arrival, listener.video.last_authentic) == (3, -1)
    assert listener.peer.not_authentic == 1
    listener.hear(video(4), arrivals=[4])
    assert listener.video.last_authentic == 4


def test_video_that_arrives_while_it_is_thinned_out_is_not_decrypted() -> None:
    """And what is missing of it is not missed."""
    listener = Listener()
    listener.hear(video(0))
    listener.video.thinned_until = 2.0
    listener.video.read_highest = 0
    heard = listener.hear(video(1), video(9), video(10), arrivals=[1.0, 1.999, 2.0])
    assert [each.sequence for each in heard.packets] == [10]
    assert listener.video.unread == 2
    assert listener.video.read_highest == -1
    assert listener.srtp.opened == 1 + 1


def test_the_first_video_is_decrypted_before_it_is_counted() -> None:
    """Nothing is known of its SSRC yet that a header could be measured by."""
    listener = Listener()
    listener.video.read_from = 9
    assert listener.hear(forged(video(5))).packets == []
    assert listener.video.highest == -1
    assert [each.sequence for each in listener.hear(video(1)).packets] == [1]


def test_malformed_video_is_counted() -> None:
    listener = Listener()
    heard = listener.hear(b"\x90" + video(1, b"")[1:], video(2))
    assert [each.sequence for each in heard.packets] == [2]
    assert listener.peer.malformed == 1
