"""Opus packets come out in order, each once, joined to runs."""

import itertools
from collections.abc import Iterator

import pytest

from cloudslice.webrtc.native.native_port import StreamKind
from helpers.native_peer import (
    AUDIO_SSRC,
    OpusSender,
    Receiving,
    missing,
    numbers,
    protect_large,
    rtp,
    runs,
)


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    receiving = Receiving()
    yield receiving
    receiving.close()


def test_packets_in_order_are_one_run(receiving: Receiving) -> None:
    receiving.audio()
    sender = OpusSender(receiving, sequence=500, timestamp=96_000)
    for index in range(30):
        receiving.put(sender.packet(), arrival=10 + index * 0.02)
    events = receiving.process(now=10.6)
    (event,) = runs(events)
    assert (event.owner, event.track) == (7, 1)
    assert numbers(events) == list(range(500, 530))
    assert event.run.timestamp == 96_000
    assert (event.run.arrival, event.run.last_arrival) == (10, pytest.approx(10.58))
    assert event.run.earliest == pytest.approx(10)


def test_a_run_grows_over_readings_until_it_is_old_enough(receiving: Receiving) -> None:
    receiving.audio()
    sender = OpusSender(receiving)
    events = []
    for tick in range(1, 10):
        now = tick * 0.08
        for index in range(4):
            receiving.put(sender.packet(), arrival=now - 0.08 + index * 0.02)
        events += receiving.process(now)
    assert [len(each.run.sizes) for each in runs(events)] == [20]
    assert numbers([*events, *receiving.flush()]) == list(range(36))


def test_flush_hands_out_what_has_come(receiving: Receiving) -> None:
    receiving.audio()
    receiving.put(*OpusSender(receiving).packets(3))
    assert runs(receiving.process()) == []
    assert numbers(receiving.flush()) == [0, 1, 2]
    assert receiving.flush() == []


def test_flush_waits_for_nothing_missing(receiving: Receiving) -> None:
    stream = receiving.audio()
    first, _, third = OpusSender(receiving).packets(3)
    receiving.put(first, third)
    receiving.process()
    events = receiving.flush()
    assert numbers(events) == [0, 2]
    assert stream.state.lost == 1


def test_reordered_packets_are_put_in_order(receiving: Receiving) -> None:
    stream = receiving.audio()
    sent = OpusSender(receiving).packets(6)
    receiving.put(*(sent[at] for at in (0, 2, 1, 5, 3, 4)))
    receiving.process()
    assert numbers(receiving.flush()) == list(range(6))
    assert stream.state.late == 0


def test_a_late_packet_is_counted_and_dropped(receiving: Receiving) -> None:
    stream = receiving.audio(patience_s=0.1)
    sent = OpusSender(receiving).packets(3)
    receiving.put(sent[0], sent[2])
    receiving.process(now=0.0)
    receiving.process(now=0.11)
    assert stream.state.lost == 1
    receiving.put(sent[1])
    receiving.process(now=0.2)
    receiving.flush()
    assert numbers(receiving.events) == [0, 2]
    assert (stream.state.late, stream.state.lost) == (1, 1)


def test_waiting_counts_from_the_reading_not_from_the_arrival(receiving: Receiving) -> None:
    """After a stall of the process there is time left to have a missing packet sent again."""
    stream = receiving.audio(patience_s=0.7)
    sent = OpusSender(receiving).packets(3)
    receiving.put(sent[0], sent[2], arrival=-60)
    receiving.process(now=0.0)
    assert stream.state.lost == 0
    assert missing(receiving.process(now=0.1)) == [1]
    receiving.put(sent[1], arrival=0.15)
    receiving.process(now=0.16)
    receiving.flush()
    assert numbers(receiving.events) == [0, 1, 2]


def test_each_gap_is_waited_for_by_itself(receiving: Receiving) -> None:
    """A loss in each tenth of a second does not add up to an ever longer wait."""
    receiving.audio(patience_s=0.2)
    sender = OpusSender(receiving)
    longest = 0.0
    for tick in range(1, 200):
        now = tick * 0.1
        sent = sender.packets(5)
        receiving.put(*sent[:2], *sent[3:], arrival=now)
        for event in runs(receiving.process(now)):
            longest = max(longest, now - event.run.arrival)
    assert longest < 0.2 + 0.4 + 0.1


def test_a_packet_is_asked_for_only_when_it_is_not_just_reordered(receiving: Receiving) -> None:
    receiving.audio()
    sent = OpusSender(receiving).packets(4)
    receiving.put(sent[0], sent[2])
    assert missing(receiving.process(now=0.0)) == []
    receiving.put(sent[1], sent[3])
    assert missing(receiving.process(now=0.08)) == []


def test_a_missing_packet_is_asked_for_three_times(receiving: Receiving) -> None:
    receiving.audio(attempts=3, patience_s=10)
    sent = OpusSender(receiving).packets(3)
    receiving.put(sent[0], sent[2])
    asked = [now / 100 for now in range(0, 100, 8) if missing(receiving.process(now=now / 100))]
    assert len(asked) == 3
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(asked))


def test_nothing_is_asked_for_where_the_sender_cannot_answer(receiving: Receiving) -> None:
    receiving.audio(attempts=0)
    sent = OpusSender(receiving).packets(3)
    receiving.put(sent[0], sent[2])
    assert missing(receiving.process(now=0.0) + receiving.process(now=0.5)) == []


def test_an_outage_is_not_asked_for(receiving: Receiving) -> None:
    stream = receiving.audio()
    sender = OpusSender(receiving)
    receiving.put(sender.packet())
    sender.packets(100)
    receiving.put(sender.packet())
    assert missing(receiving.process(now=0.0) + receiving.process(now=0.5)) == []
    assert stream.state.given_up == 100


def test_a_run_ends_where_another_kind_of_packet_begins(receiving: Receiving) -> None:
    receiving.audio()
    sender = OpusSender(receiving)
    receiving.put(sender.packet(), sender.packet(b"\xf0" + bytes(8)), sender.packet())
    receiving.process()
    receiving.flush()
    assert [len(each.run.sizes) for each in runs(receiving.events)] == [1, 1, 1]


def test_a_run_ends_where_the_timestamp_jumps(receiving: Receiving) -> None:
    receiving.audio()
    sender = OpusSender(receiving)
    receiving.put(*sender.packets(2))
    sender.timestamp += 4800
    receiving.put(*sender.packets(2))
    receiving.process()
    receiving.flush()
    assert [each.run.timestamp for each in runs(receiving.events)] == [0, 6720]


def test_a_run_ends_where_packets_come_irregularly(receiving: Receiving) -> None:
    """So that the timeline sees that the sender has stood still."""
    receiving.audio()
    sender = OpusSender(receiving)
    for index in range(4):
        receiving.put(sender.packet(), arrival=index * 0.02 + (1.0 if index > 1 else 0))
    receiving.process(now=2.0)
    assert [each.run.arrival for each in runs(receiving.events)] == [0, pytest.approx(1.04)]


def test_timestamps_go_on_beyond_32_bits(receiving: Receiving) -> None:
    stream = receiving.audio()
    receiving.put(*OpusSender(receiving, timestamp=2**32 - 960).packets(2))
    receiving.process()
    receiving.flush()
    assert stream.timestamp == 2**32


def test_a_foreign_payload_type_keeps_its_place(receiving: Receiving) -> None:
    stream = receiving.audio()
    sender = OpusSender(receiving)
    receiving.put(sender.packet())
    comfort = rtp(AUDIO_SSRC, 1, 960, b"\x40", payload_type=13)
    receiving.put(receiving.protect(comfort))
    sender.sequence, sender.timestamp = 2, 1920
    receiving.put(sender.packet())
    receiving.process()
    receiving.flush()
    assert numbers(receiving.events) == [0, 2]
    assert (stream.state.lost, stream.state.foreign) == (0, 1)


def test_packets_up_to_the_limit_of_opus_are_taken(receiving: Receiving) -> None:
    receiving.audio()
    large = b"\xfb\x83" + bytes(61_000)
    packet = rtp(AUDIO_SSRC, 0, 0, large)
    receiving.put(protect_large(receiving.sender, packet))
    receiving.process()
    (event,) = runs(receiving.flush())
    assert event.run.data == large


def test_two_streams_have_a_run_each(receiving: Receiving) -> None:
    """However their packets are mixed."""
    receiving.audio()
    receiving.peer.add_stream(
        0xA1, 5, StreamKind.AUDIO, clock_rate=48_000, payload_types=(111,), attempts=0, patience_s=1
    )
    for index in range(20):
        for ssrc in (AUDIO_SSRC, 0xA1):
            packet = rtp(ssrc, index, index * 960, b"\xf8" + bytes(8))
            receiving.put(receiving.protect(packet), arrival=index * 0.02)
    receiving.process(now=0.4)
    found = runs(receiving.events)
    assert sorted((each.track, len(each.run.sizes)) for each in found) == [(1, 20), (5, 20)]
