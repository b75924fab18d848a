"""Opus packets reach the sinks in order, each once, whatever the network did to them."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.webrtc.audio_receiver import (
    PATIENCE_S,
    PATIENCE_WITHOUT_NACK_S,
    AudioReceiver,
    extend_timestamp,
)
from cloudslice.webrtc.rtcp import SenderReport
from helpers.received_media import ReceivedMedia
from helpers.rtp import BrokenSink, RecordingSink, one_byte_extension, rtp_packet

OPUS = 111
TICKS = 960
SSRC, OTHER_SSRC = 0x1234, 0x5678
TOC = b"\xf8"
"""A CELT frame of 20 ms."""
LEVEL_ID = 3


class Audio(ReceivedMedia):
    """A receiver with a sink, and a sender of numbered packets of 20 ms."""

    def __init__(self, *, can_nack: bool = True, start: int = 0, start_ticks: int = 0) -> None:
        super().__init__(
            lambda hooks: AudioReceiver((OPUS,), can_nack=can_nack, hooks=hooks, level_id=LEVEL_ID)
        )
        assert isinstance(self.receiver, AudioReceiver)
        self.audio = self.receiver
        self.sink = RecordingSink()
        self.audio.add_sink(self.sink)
        self._start = start
        self._start_ticks = start_ticks
        self.adopt(SSRC)

    def packet(
        self, index: int, *, payload_type: int = OPUS, ssrc: int = SSRC, extension: bytes = b""
    ) -> bytes:
        return self.receiving.protect(
            rtp_packet(
                self._start + index,
                self._start_ticks + index * TICKS,
                TOC + index.to_bytes(4),
                payload_type=payload_type,
                ssrc=ssrc,
                extension=extension,
            )
        )

    def send(self, *indices: int) -> None:
        self.put(*(self.packet(index) for index in indices))

    def finish(self) -> None:
        """Wait until nothing is waited for any more."""
        self.run(self.clock.now + 1.0)
        self.take(self.receiving.flush())

    @property
    def received(self) -> list[int]:
        return [int.from_bytes(payload[1:]) for payload in self.sink.payloads]


@pytest.fixture
def audio() -> Iterator[Audio]:
    audio = Audio()
    yield audio
    audio.close()


@settings(max_examples=60)
@given(
    delays=st.lists(st.integers(0, 190), min_size=2, max_size=100),
    repeats=st.sets(st.integers(0, 99)),
    lost=st.sets(st.integers(1, 99), max_size=30),
    start=st.sampled_from([0, 0xFFC0, 0xFFFF]),
    start_ticks=st.sampled_from([0, (1 << 32) - 50 * TICKS]),
)
def test_what_comes_in_time_comes_out_in_order_and_once(
    delays: list[int], repeats: set[int], lost: set[int], start: int, start_ticks: int
) -> None:
    delays[0] = 0  # the first to come is where the order begins
    audio = Audio(start=start, start_ticks=start_ticks)
    packets = [audio.packet(index) for index in range(len(delays))]
    arrivals = [(i * 20 + delay, i) for i, delay in enumerate(delays) if i not in lost]
    arrivals += [(at + 5, index) for at, index in arrivals if index in repeats]
    for at_ms, index in sorted(arrivals):
        audio.clock.now = at_ms / 1000
        audio.put(packets[index])
        audio.process()
    audio.finish()
    expected = [index for index in range(len(delays)) if index not in lost]
    assert audio.received == expected
    first = audio.sink.timestamps[0]
    assert audio.sink.timestamps == [first + index * TICKS for index in expected]
    audio.close()


def test_missing_packets_are_asked_for(audio: Audio) -> None:
    audio.send(0, 3)
    late = [audio.packet(index) for index in (1, 2)]
    audio.run(0.25)
    assert set(audio.nacked) == {1, 2}
    audio.put(*late)
    audio.finish()
    assert audio.received == [0, 1, 2, 3]
    assert audio.receiver.counts["audio_lost"] == 0


@pytest.mark.parametrize(
    ("can_nack", "patience_s"),
    [(True, PATIENCE_S), (False, PATIENCE_WITHOUT_NACK_S)],
    ids=["retransmission", ""],
)
def test_a_missing_packet_is_waited_for_and_given_up(can_nack: bool, patience_s: float) -> None:
    audio = Audio(can_nack=can_nack)
    late = audio.packet(1)
    audio.send(0, 2, 3)
    audio.run(patience_s - 0.1)
    audio.take(audio.receiving.port.process(audio.clock.now))
    assert 2 not in audio.received
    audio.run(patience_s + 0.2)
    audio.put(late)
    audio.finish()
    assert audio.received == [0, 2, 3]
    assert audio.receiver.counts["audio_lost"] == 1
    assert audio.receiver.counts["audio_late"] == 1
    assert bool(audio.nacked) is can_nack
    assert [run.lost for run in audio.sink.runs] == [0, 1]
    audio.close()


TWO_BYTE = struct.pack(">HHBBBBBB2x", 0x1000, 2, 0, LEVEL_ID, 1, 0x80 | 30, 9, 0)


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        pytest.param(
            [one_byte_extension((1, b"abc"), (3, bytes([0x80 | 20]))), b"", TWO_BYTE],
            (2, 2, 20, 0.011),
            id="beside others, in both forms",
        ),
        pytest.param(
            [one_byte_extension((3, bytes([level]))) for level in (127, 10, 40)],
            (3, 0, 10, 0.1001),
            id="no voice",
        ),
        pytest.param([one_byte_extension((1, b"abc"), (4, b"x"))], None, id="none"),
        pytest.param([struct.pack(">HHBxxx", 0xBEDE, 1, 0x3F)], None, id="cut off"),
        pytest.param([struct.pack(">HHBBxx", 0xBEDE, 1, 0xF0, 0x30)], None, id="reserved id"),
        pytest.param([struct.pack(">HHxxxB", 0xBEDE, 1, 0x30)], None, id="at the very end"),
        pytest.param([struct.pack(">HHBBxx", 0x1234, 1, 0x30, 1)], None, id="another profile"),
    ],
)
def test_levels_that_the_sender_tells_are_summed_up(
    audio: Audio, extensions: list[bytes], expected: tuple[float, ...] | None
) -> None:
    audio.put(*(audio.packet(at, extension=each) for at, each in enumerate(extensions)))
    audio.finish()
    [run] = audio.sink.runs
    assert run.levels == (None if expected is None else pytest.approx(expected))


def test_a_packet_that_was_held_has_its_level(audio: Audio) -> None:
    levels = [one_byte_extension((3, bytes([0x80 | level]))) for level in (50, 40, 30)]
    packets = [audio.packet(at, extension=each) for at, each in enumerate(levels)]
    audio.put(packets[0], packets[2], packets[1])
    audio.finish()
    told = [run.levels for run in audio.sink.runs if run.levels is not None]
    assert sum(each.packets for each in told) == 3
    assert sum(each.energy for each in told) == pytest.approx(1e-5 + 1e-4 + 1e-3)
    assert min(each.peak for each in told) == 30


def test_packets_of_other_payload_types_keep_their_place(audio: Audio) -> None:
    """They are counted, and nobody waits for them."""
    audio.put(audio.packet(0), audio.packet(1, payload_type=13), audio.packet(2))
    audio.finish()
    assert audio.received == [0, 2]
    assert audio.receiver.counts == {
        "audio_foreign": 1, "audio_lost": 0, "audio_late": 0, "sink_errors": 0,
    }  # fmt: skip


def test_a_new_ssrc_restarts_the_timestamps(audio: Audio) -> None:
    """What was held comes out first; sinks hear of the restart before the new one's packets."""
    audio.send(0, 2)
    audio.adopt(OTHER_SSRC)
    audio.put(audio.packet(40, ssrc=OTHER_SSRC))
    audio.finish()
    assert audio.received == [0, 2, 40]
    assert audio.sink.restarts == [2]


def test_counts_go_on_with_a_new_ssrc(audio: Audio) -> None:
    audio.put(audio.packet(0), audio.packet(1, payload_type=13))
    audio.adopt(OTHER_SSRC)
    audio.put(audio.packet(0, ssrc=OTHER_SSRC), audio.packet(1, payload_type=13, ssrc=OTHER_SSRC))
    audio.finish()
    assert audio.receiver.counts["audio_foreign"] == 2


def test_the_first_ssrc_is_no_restart(audio: Audio) -> None:
    """There was nothing before it."""
    audio.adopt(OTHER_SSRC)
    assert audio.sink.restarts == []


def test_sender_reports_are_told_in_extended_time() -> None:
    """A report's 32 bits are those nearest to the newest packet."""
    audio = Audio(start_ticks=(1 << 32) - TICKS)
    report = SenderReport(SSRC, timestamp=480, utc_ms=1234.5, compact_ntp=9)
    audio.audio.on_sender_report(report, 0.0)
    assert audio.sink.sender_times == []  # before the first packet it ties nothing to anything
    audio.send(0)
    audio.finish()
    audio.audio.on_sender_report(report, 1.1)
    assert audio.sink.sender_times == [((1 << 32) + 480, 1234.5)]
    block = audio.audio.report_block(1.6)
    assert block is not None
    assert (block.last_sender_report, block.delay_s) == (9, pytest.approx(0.5))
    audio.close()


def test_there_is_no_report_before_the_first_packet(audio: Audio) -> None:
    assert audio.audio.report_block(1.0) is None
    audio.send(0)
    audio.process()
    block = audio.audio.report_block(1.0)
    assert block is not None
    assert (block.ssrc, block.last_sender_report, block.delay_s) == (SSRC, 0, 0)


def test_a_sender_without_a_wall_clock_tells_no_time(audio: Audio) -> None:
    """RFC 3550, 6.4.1: its NTP timestamp is zero."""
    audio.send(0)
    audio.finish()
    audio.audio.on_sender_report(SenderReport(SSRC, 0, None, 0), 1.1)
    assert audio.sink.sender_times == []


def test_sinks_come_and_go(audio: Audio) -> None:
    """Each gets the packets of its time; removing one that is not there is harmless."""
    second = RecordingSink()
    audio.send(0)
    audio.process()
    audio.take(audio.receiving.flush())
    audio.audio.add_sink(second)
    audio.send(1)
    audio.process()
    audio.take(audio.receiving.flush())
    audio.audio.remove_sink(audio.sink)
    audio.audio.remove_sink(audio.sink)
    audio.send(2)
    audio.finish()
    assert audio.received == [0, 1]
    assert len(second.packets) == 2


def test_a_broken_sink_disturbs_no_other(audio: Audio, capsys: pytest.CaptureFixture[str]) -> None:
    """Its errors are counted, and the first of each kind is logged."""
    audio.audio.remove_sink(audio.sink)
    audio.audio.add_sink(BrokenSink())
    audio.audio.add_sink(audio.sink)
    for index in range(3):
        audio.send(index)
        audio.process()
        audio.take(audio.receiving.flush())
    audio.audio.on_sender_report(SenderReport(SSRC, 0, 5.0, 0), 1.1)
    audio.adopt(OTHER_SSRC)
    assert audio.received == [0, 1, 2]
    assert audio.sink.sender_times == [(0, 5.0)]
    assert audio.sink.restarts == [3]
    assert audio.receiver.counts["sink_errors"] == 5
    logged = capsys.readouterr().out
    assert logged.count("unforeseen error") == 3
    assert "a bug in on_opus" in logged


def test_nothing_comes_of_no_ssrc(audio: Audio) -> None:
    stream = audio.audio.release()
    assert stream is not None
    stream.close()
    assert audio.audio.ssrc is None
    assert audio.audio.last_arrival == audio.audio.last_authentic == float("-inf")
    assert audio.audio.report_block(1.0) is None
    assert audio.audio.release() is None
    audio.audio.ask_again((1, 2))
    audio.audio.on_sender_report(SenderReport(SSRC, 0, 5.0, 0), 1.1)
    assert audio.feedback == []
    assert audio.audio.next_deadline == float("inf")
    audio.audio.send_due(5.0)


def test_arrivals_are_told(audio: Audio) -> None:
    audio.clock.now = 1.5
    audio.send(0)
    audio.process()
    assert audio.audio.last_arrival == audio.audio.last_authentic == 1.5


@pytest.mark.parametrize(
    ("timestamp", "reference", "extended"),
    [
        (5, 0, 5),
        (0xFFFFFFFF, 0, -1),
        (3, (1 << 32) - 2, (1 << 32) + 3),
        (0xFFFFFFFE, (5 << 32) + 1, (5 << 32) - 2),
    ],
)
def test_timestamps_are_extended(timestamp: int, reference: int, extended: int) -> None:
    assert extend_timestamp(timestamp, reference) == extended
