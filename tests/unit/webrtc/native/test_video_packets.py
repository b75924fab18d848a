"""Video is counted and dropped unread, until somebody wants to read it; SRTP goes on all the
while."""

import random
from collections.abc import Iterator

import pytest

from cloudslice.webrtc.native.native_events import Datagram, Stranger
from helpers.native_peer import (
    AUDIO_SSRC,
    H264,
    OTHER_PATH,
    PATH,
    VIDEO_SSRC,
    OpusSender,
    Receiving,
    missing,
    numbers,
    packets,
    refused,
    rtp,
    unknown,
)


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    receiving = Receiving()
    yield receiving
    receiving.close()


def video(sequence: int, *, payload: bytes = b"\x41video", marker: bool = False) -> bytes:
    return rtp(VIDEO_SSRC, sequence, sequence * 300, payload, payload_type=H264, marker=marker)


def send(receiving: Receiving, sequences: range, *, rate: int = 1000) -> None:
    """Packets of these sequence numbers, so many a second, read in between."""
    for sequence in sequences:
        receiving.put(receiving.protect(video(sequence)), arrival=sequence / rate)
        if sequence % 80 == 0:
            receiving.process(now=sequence / rate)
    receiving.process()


def test_unread_packets_are_counted_and_not_opened(receiving: Receiving) -> None:
    stream = receiving.video()
    send(receiving, range(900))
    assert packets(receiving.events) == []
    assert (stream.state.received, stream.state.unread) == (900, 900)
    assert stream.state.highest == 899
    assert stream.state.last_arrival == pytest.approx(0.899)
    assert receiving.peer.state.not_authentic == 0


@pytest.mark.parametrize("unread", [10_000, 70_000, 150_000])
@pytest.mark.parametrize("first", [0, 65_530])
def test_however_long_a_video_goes_unread_reading_it_works(
    receiving: Receiving, unread: int, first: int
) -> None:
    """SRTP's roll-over counter follows (RFC 3711, 3.3.1)."""
    stream = receiving.video()
    send(receiving, range(first, first + unread))
    stream.read(is_read=True)
    send(receiving, range(first + unread, first + unread + 50))
    assert [each.packet.sequence for each in packets(receiving.events)] == list(
        range(first + unread, first + unread + 50)
    )
    assert receiving.peer.state.not_authentic == 0
    assert stream.state.received == unread + 50


def test_reading_works_after_an_outage_longer_than_half_a_roll_over(receiving: Receiving) -> None:
    stream = receiving.video()
    send(receiving, range(100))
    for sequence in range(100, 40_000):  # all lost
        receiving.protect(video(sequence))
    stream.read(is_read=True)
    send(receiving, range(40_000, 40_100))
    assert [each.packet.sequence for each in packets(receiving.events)][-1] == 40_099
    assert receiving.peer.state.not_authentic <= 2


def test_strangers_cannot_move_the_roll_over_counter(receiving: Receiving) -> None:
    """They know the address and the SSRC, but not the keys."""
    stream = receiving.video()
    dice = random.Random(1)
    for sequence in range(70_000):
        receiving.put(receiving.protect(video(sequence)), arrival=sequence / 1000)
        forged = video(dice.randrange(65_536), payload=dice.randbytes(30))
        receiving.put(forged, arrival=sequence / 1000)
        if sequence % 80 == 0:
            receiving.process(now=sequence / 1000)
    receiving.process()
    stream.read(is_read=True)
    send(receiving, range(70_000, 70_010))
    assert [each.packet.sequence for each in packets(receiving.events)] == [*range(70_000, 70_010)]
    assert abs(stream.state.highest - 70_009) <= 1000


def test_a_still_screen_is_known_to_be_authentic(receiving: Receiving) -> None:
    """Of few packets each is opened, so that it counts as a sign of life."""
    stream = receiving.video()
    send(receiving, range(10), rate=1)
    assert stream.state.last_authentic == 9


def test_what_went_unread_before_reading_began_is_not_missed(receiving: Receiving) -> None:
    stream = receiving.video()
    send(receiving, range(5))
    receiving.protect(video(5))
    stream.read(is_read=True)
    receiving.put(receiving.protect(video(6)), receiving.protect(video(7)))
    receiving.protect(video(8))
    receiving.put(receiving.protect(video(9)))
    receiving.process(now=1.0)
    assert missing(receiving.process(now=1.1)) == [5, 8]


def test_missing_packets_are_given_up_at_last(receiving: Receiving) -> None:
    stream = receiving.video(attempts=2)
    stream.read(is_read=True)
    receiving.put(receiving.protect(video(0)))
    receiving.protect(video(1))
    receiving.put(receiving.protect(video(2)))
    for tick in range(20):
        receiving.process(now=tick * 0.08)
    assert missing(receiving.events) == [1, 1]
    assert stream.state.given_up == 1


def test_reading_ends_when_it_is_told_to(receiving: Receiving) -> None:
    stream = receiving.video()
    stream.read(is_read=True)
    receiving.put(receiving.protect(video(0, marker=True)))
    (event,) = packets(receiving.process())
    assert (event.packet.payload, event.packet.marker) == (b"\x41video", True)
    assert event.packet.payload_type == H264
    stream.read(is_read=False)
    receiving.put(receiving.protect(video(1)))
    assert receiving.process() == []


@pytest.mark.parametrize("loss", [0.0, 0.04, 0.25])
def test_reports_tell_the_loss_of_all_packets(receiving: Receiving, loss: float) -> None:
    """RFC 3550, 6.4.1: expected less received, whether they are read or not."""
    stream = receiving.video()
    dice = random.Random(2)
    worst = 0.0
    for second in range(20):
        for sequence in range(second * 200, second * 200 + 200):
            packet = receiving.protect(video(sequence))
            if dice.random() >= loss:
                receiving.put(packet, arrival=sequence / 200)
        receiving.process(now=second + 1)
        report = stream.report()
        assert report is not None
        worst = max(worst, abs(report.fraction_lost / 256 - loss))
    assert worst < 0.08
    assert report.packets_lost == pytest.approx(4000 * loss, abs=60)


def test_there_is_no_report_before_the_first_packet(receiving: Receiving) -> None:
    assert receiving.video().report() is None


def test_an_unknown_ssrc_is_offered_and_then_taken(receiving: Receiving) -> None:
    receiving.put(*OpusSender(receiving, sequence=9).packets(2))
    (event,) = list(receiving.port.process(0.0))
    assert unknown([event])[0].ssrc == AUDIO_SSRC
    receiving.audio()
    receiving.process(now=1.0)
    assert numbers(receiving.events) == [9, 10]
    assert receiving.peer.state.unassigned == 0


def test_an_unknown_ssrc_that_nobody_takes_is_counted(receiving: Receiving) -> None:
    receiving.put(*OpusSender(receiving).packets(3))
    assert len(unknown(receiving.process())) == 3
    assert receiving.peer.state.unassigned == 3


def test_a_stream_whose_first_packets_were_lost_around_a_roll_over_is_received(
    receiving: Receiving,
) -> None:
    sender = OpusSender(receiving, sequence=65_530)
    sender.packets(10)
    receiving.put(*sender.packets(3))
    (event,) = refused(receiving.port.process(0.0))
    assert (event.ssrc, event.sequence) == (AUDIO_SSRC, 4)
    receiving.srtp.expect(AUDIO_SSRC, 1)
    assert unknown(receiving.port.process(0.0))
    receiving.audio()
    receiving.process(now=1.0)
    assert numbers(receiving.events) == [65_540, 65_541, 65_542]
    assert receiving.peer.state.not_authentic == 0


def test_what_is_refused_twice_is_counted_once(receiving: Receiving) -> None:
    receiving.put(rtp(AUDIO_SSRC, 1, 0, bytes(40)))
    assert len(refused(receiving.process())) == 1
    assert receiving.peer.state.not_authentic == 1


def test_a_repeated_packet_is_counted(receiving: Receiving) -> None:
    receiving.audio()
    packet = OpusSender(receiving).packet()
    receiving.put(packet, packet)
    receiving.process()
    assert receiving.peer.state.repeated == 1


def test_what_is_no_rtp_comes_out_in_its_place(receiving: Receiving) -> None:
    receiving.audio()
    receiving.put(b"\x00\x01stun", b"\x16dtls", b"\x80\xc8rtcp-of-a-peer", b"\x80")
    events = receiving.process()
    assert [each.data for each in events if isinstance(each, Datagram)] == [
        b"\x00\x01stun", b"\x16dtls", b"\x80\xc8rtcp-of-a-peer", b"\x80",
    ]  # fmt: skip
    assert all(isinstance(each, Datagram) and each.path == PATH for each in events)


def test_keys_that_come_with_a_datagram_open_what_follows_it() -> None:
    receiving = Receiving()
    peer = receiving.peer
    peer.close()
    receiving.peer = type(peer)(receiving.port, 8)
    receiving.peer.add_path(PATH)
    receiving.put(b"\x16dtls", *OpusSender(receiving).packets(2))
    assert [type(each) for each in receiving.port.process(0.0)] == [Datagram]
    receiving.peer.set_srtp(receiving.srtp)
    assert [type(each).__name__ for each in receiving.port.process(0.0)] == ["Unknown"]
    receiving.audio()
    receiving.process(now=1.0)
    assert numbers(receiving.events) == [0, 1]
    receiving.close()


def test_media_from_a_new_address_is_adopted_if_it_is_authentic(receiving: Receiving) -> None:
    """A sender whose NAT has given it another port."""
    receiving.audio()
    sender = OpusSender(receiving)
    receiving.put(*sender.packets(2))
    receiving.process()
    receiving.put(rtp(AUDIO_SSRC, 2, 0, bytes(50)), path=OTHER_PATH)
    receiving.put(*sender.packets(3), path=OTHER_PATH)
    adopted = []
    while events := list(receiving.port.process(1.0)):
        receiving.events += events
        for each in events:
            if isinstance(each, Stranger):
                assert (each.path, each.ssrc) == (OTHER_PATH, AUDIO_SSRC)
                adopted.append(receiving.peer.adopt(each))
    assert adopted == [False, True]
    receiving.flush()
    assert numbers(receiving.events) == [0, 1, 2, 3, 4]
    assert receiving.peer.state.repeated == 0


def test_a_stranger_is_adopted_in_its_reading_only(receiving: Receiving) -> None:
    receiving.audio()
    receiving.put(OpusSender(receiving).packet(), path=OTHER_PATH)
    (event,) = receiving.process()
    assert isinstance(event, Stranger)
    assert not receiving.peer.adopt(event)


def test_a_check_makes_what_follows_it_known(receiving: Receiving) -> None:
    receiving.audio()
    receiving.put(b"\x00\x01check", *OpusSender(receiving).packets(2), path=OTHER_PATH)
    (event,) = receiving.port.process(0.0)
    assert isinstance(event, Stranger)
    receiving.peer.add_path(event.path)
    receiving.process(now=1.0)
    assert numbers(receiving.events) == [0, 1]


def test_a_path_that_is_removed_is_a_strangers(receiving: Receiving) -> None:
    receiving.peer.remove_path(PATH)
    receiving.put(b"\x16dtls")
    assert [type(each) for each in receiving.process()] == [Stranger]


def test_many_paths_are_told_apart(receiving: Receiving) -> None:
    paths = [index.to_bytes(4) + bytes(40) for index in range(5000)]
    for path in paths:
        receiving.peer.add_path(path)
    receiving.put(b"\x16", path=paths[4321])
    assert [type(each) for each in receiving.process()] == [Datagram]
    for path in paths:
        receiving.peer.remove_path(path)
    receiving.put(b"\x16", path=paths[4321])
    assert [type(each) for each in receiving.process()] == [Stranger]
