"""Opus packets reach the sinks in order, each once, whatever the network did to them."""

import pytest
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.feedback import SenderReport
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.rtp import (
    BrokenSink,
    RecordingSink,
    feed,
    forged,
    one_byte_extension,
    rtp_packet,
    runs,
)
from helpers.slice_store import ManualClock

TICKS = 960


class Stream:
    """A receiver with a sink, and a sender of numbered packets."""

    def __init__(self, *, can_nack: bool = True, start: int = 0, start_ticks: int = 0) -> None:
        self.clock = ManualClock()
        self.receiver = AudioReceiver(
            frozenset({111}), can_nack=can_nack, monotonic=self.clock.monotonic
        )
        self.receiver.adopt(0x1234)
        self.sink = RecordingSink()
        self.receiver.add_sink(self.sink)
        self._start = start
        self._start_ticks = start_ticks

    def send(
        self, index: int, arrival: float, *, payload_type: int = 111, read: float | None = None
    ) -> None:
        """Unless `read` says otherwise, it is read at once."""
        self.clock.now = arrival if read is None else read
        feed(
            self.receiver,
            rtp_packet(
                self._start + index,
                self._start_ticks + index * TICKS,
                index.to_bytes(4),
                payload_type=payload_type,
            ),
            arrival,
        )

    @property
    def received(self) -> list[int]:
        return [int.from_bytes(payload) for payload in self.sink.payloads]


@settings(max_examples=200)
@given(
    delays=st.lists(st.integers(0, 190), min_size=2, max_size=150),
    repeats=st.sets(st.integers(0, 149)),
    start=st.sampled_from([0, 0xFFC0, 0xFFFF]),
    start_ticks=st.sampled_from([0, (1 << 32) - 50 * TICKS]),
)
def test_any_order_within_the_window_comes_out_in_order(
    delays: list[int], repeats: set[int], start: int, start_ticks: int
) -> None:
    """Packets sent every 20 ms and late by less than the window: all of them, each once."""
    delays[0] = 0  # the first to come is where the order begins
    arrivals = [(index * 20 + delay, index) for index, delay in enumerate(delays)]
    arrivals += [(at + 5, index) for at, index in arrivals if index in repeats]
    stream = Stream(start=start, start_ticks=start_ticks)
    for at_ms, index in sorted(arrivals):
        stream.send(index, at_ms / 1000)
        stream.receiver.feedback(1, at_ms / 1000)
    assert stream.received == list(range(len(delays)))
    first = stream.sink.timestamps[0]
    assert stream.sink.timestamps == [first + index * TICKS for index in range(len(delays))]
    assert stream.receiver.lost == 0


@settings(max_examples=100)
@given(st.data())
def test_losses_cost_only_the_lost_packets(data: st.DataObject) -> None:
    """Whatever is lost and delayed within the window: the rest comes out in order."""
    count = 200
    lost = data.draw(st.sets(st.integers(1, count - 1), max_size=150))
    late_by = st.sampled_from((0, 0, 0, 30, 150))
    delays = [0, *data.draw(st.lists(late_by, min_size=count - 1, max_size=count - 1))]
    arrivals = sorted(
        (index * 20 + delays[index], index) for index in range(count) if index not in lost
    )
    stream = Stream(start=0xFF80)
    for at_ms, index in arrivals:
        stream.send(index, at_ms / 1000)
    stream.receiver.give_up_missing(count * 0.02 + 1)
    assert stream.received == [index for index in range(count) if index not in lost]


def test_a_missing_packet_is_waited_for_and_given_up() -> None:
    """Later ones come out when the window is over, with the time that they arrived at."""
    stream = Stream()
    stream.send(0, 1.0)
    stream.send(2, 1.04)
    stream.send(3, 1.06)
    assert stream.receiver.patience_s(1.06) is not None
    over = 1.04 + AudioReceiver.REORDER_WINDOW_S
    stream.receiver.feedback(1, over - 0.01)
    assert stream.received == [0]
    stream.receiver.feedback(1, over + 0.01)
    assert stream.received == [0, 2, 3]
    assert stream.sink.arrivals == [1.0, 1.04, 1.06]
    assert stream.receiver.patience_s(over + 0.01) is None
    assert stream.receiver.lost == 1
    stream.send(1, over + 0.02)
    assert stream.received == [0, 2, 3]
    assert stream.receiver.late == 1


def test_missing_packets_are_nacked() -> None:
    """At the next beat, for as long as they are of use."""
    stream = Stream()
    stream.send(0, 1.0)
    stream.send(3, 1.06)
    (packet,) = stream.receiver.feedback(1, 1.06)
    assert packet[12:] == (1).to_bytes(2) + (1).to_bytes(2)  # packet 1, and the one after it
    assert stream.receiver.feedback(1, 1.08) == []
    stream.send(1, 1.1)
    (packet,) = stream.receiver.feedback(1, 1.13)
    assert packet[12:] == (2).to_bytes(2) + bytes(2)
    stream.send(2, 1.14)
    assert stream.received == [0, 1, 2, 3]
    assert stream.receiver.feedback(1, 1.2) == []


def test_after_a_stall_of_ours_a_missing_packet_is_asked_for_all_the_same() -> None:
    """It is missed when the ones after it are read, however long they waited in the socket."""
    stream = Stream()
    for index in (0, 1, 2, *range(4, 200)):
        stream.send(index, 1 + index * 0.02, read=6)
    assert stream.received == [0, 1, 2]
    (packet,) = stream.receiver.feedback(1, 6.0)
    assert packet[12:] == (3).to_bytes(2) + bytes(2)
    stream.receiver.feedback(1, 6 + AudioReceiver.REORDER_WINDOW_S - 0.01)
    stream.send(3, 6.69)
    assert stream.received == list(range(200))
    assert stream.receiver.lost == 0


def test_no_nack_where_it_was_not_negotiated() -> None:
    """The sender could not answer it."""
    stream = Stream(can_nack=False)
    stream.send(0, 1.0)
    stream.send(3, 1.06)
    assert stream.receiver.feedback(1, 1.06) == []


def test_a_flood_after_a_gap_is_not_held_for_long() -> None:
    """Memory and time stay bounded when thousands of packets come within the window."""
    stream = Stream()
    stream.send(0, 1.0)
    for index in range(2, 5000):
        stream.send(index, 1.001)
    assert runs(stream.received) == [(0, 0), (2, 4999)]


def test_gaps_without_end_are_not_held_for_long() -> None:
    """Every second packet missing, all at once."""
    stream = Stream()
    for index in range(0, 10000, 2):
        stream.send(index, 1.0)
    assert len(stream.received) >= 5000 - AudioReceiver._HELD_LIMIT


def test_packets_of_other_payload_types_keep_their_place() -> None:
    """They are counted, and nobody waits for them."""
    stream = Stream()
    stream.send(0, 1.0)
    stream.send(1, 1.0, payload_type=13)
    stream.send(2, 1.0)
    assert stream.received == [0, 2]
    assert stream.receiver.foreign == 1
    assert stream.receiver.lost == 0


def test_a_header_extension_is_not_part_of_the_packet() -> None:
    """Browsers send one until they hear of us."""
    stream = Stream()
    extension = one_byte_extension((1, b"0"))
    feed(stream.receiver, rtp_packet(0, 0, b"opus", extension=extension), 1.0)
    assert stream.sink.payloads == [b"opus"]


def test_a_new_ssrc_restarts_the_timestamps() -> None:
    """What was held comes out first; sinks hear of the restart before the new one's packets."""
    stream = Stream()
    stream.send(0, 1.0)
    stream.send(2, 1.04)
    stream.receiver.adopt(0x5678)
    feed(stream.receiver, rtp_packet(40000, 77, b"new", ssrc=0x5678), 1.06)
    assert stream.sink.payloads == [bytes(4), (2).to_bytes(4), b"new"]
    assert stream.sink.restarts == [2]
    assert stream.sink.timestamps == [0, 2 * TICKS, 77]


def test_a_new_ssrc_begins_in_order() -> None:
    """Even if a bug has kept what the library left to the receiver of the old one from it."""
    stream = Stream()
    stream.receiver.stream.is_in_order = False
    stream.receiver.adopt(0x5678)
    assert stream.receiver.stream.is_in_order


def test_the_first_ssrc_is_no_restart() -> None:
    """There was nothing before it."""
    assert Stream().sink.restarts == []


def test_sender_reports_are_told_in_extended_time() -> None:
    """A report's 32 bits are those nearest to the newest packet."""
    stream = Stream(start_ticks=(1 << 32) - TICKS)
    report = SenderReport(0x1234, timestamp=480, utc_ms=1234.5, compact_ntp=9)
    stream.receiver.on_sender_report(report, 0.9)
    assert stream.sink.sender_times == []  # before the first packet it ties nothing to anything
    stream.send(0, 1.0)
    stream.receiver.on_sender_report(report, 1.1)
    assert stream.sink.sender_times == [((1 << 32) + 480, 1234.5)]
    block = stream.receiver.report_block(1.6)
    assert block is not None
    assert (block.last_sender_report, block.delay_s) == (9, pytest.approx(0.5))


def test_a_sender_without_a_wall_clock_tells_no_time() -> None:
    """RFC 3550, 6.4.1: its NTP timestamp is zero."""
    stream = Stream()
    stream.send(0, 1.0)
    stream.receiver.on_sender_report(SenderReport(0x1234, 0, None, 0), 1.1)
    assert stream.sink.sender_times == []


def test_sinks_come_and_go() -> None:
    """Each gets the packets of its time; removing one that is not there is harmless."""
    stream = Stream()
    second = RecordingSink()
    stream.send(0, 1.0)
    stream.receiver.add_sink(second)
    stream.send(1, 1.02)
    stream.receiver.remove_sink(stream.sink)
    stream.receiver.remove_sink(stream.sink)
    stream.send(2, 1.04)
    assert stream.received == [0, 1]
    assert len(second.packets) == 2


def test_a_broken_sink_disturbs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Its errors are counted, and the first of each kind is logged."""
    stream = Stream()
    stream.receiver.remove_sink(stream.sink)
    stream.receiver.add_sink(BrokenSink())
    stream.receiver.add_sink(stream.sink)
    for index in range(3):
        stream.send(index, 1.0)
    stream.receiver.on_sender_report(SenderReport(0x1234, 0, 5.0, 0), 1.1)
    stream.receiver.adopt(0x5678)
    assert stream.received == [0, 1, 2]
    assert stream.sink.sender_times == [(0, 5.0)]
    assert stream.sink.restarts == [3]
    assert stream.receiver.sink_errors == 5
    logged = capsys.readouterr().out
    assert logged.count("unforeseen error") == 3
    assert "a bug in on_opus" in logged
    assert logged.count("RuntimeError: a bug in on_opus") == 1


def test_forged_packets_change_nothing() -> None:
    """They are refused before anything of them is believed."""
    stream = Stream()
    stream.send(0, 1.0)
    assert feed(stream.receiver, forged(rtp_packet(9, 9)), 1.01).not_authentic == 1
    stream.send(1, 1.02)
    assert stream.received == [0, 1]
    assert stream.receiver.last_authentic == 1.02


def test_a_sink_that_leaves_hears_what_waits_for_a_missing_packet() -> None:
    """It came before; the others go on waiting, and hear all in order."""
    stream = Stream()
    leaving = RecordingSink()
    stream.receiver.add_sink(leaving)
    for index in (0, 1, 3, 5):
        stream.send(index, index * 0.02)
    stream.receiver.remove_sink(leaving)
    assert [int.from_bytes(payload) for payload in leaving.payloads] == [0, 1, 3, 5]
    assert [tick // TICKS for tick in leaving.timestamps] == [0, 1, 3, 5]
    assert stream.received == [0, 1]
    for index in (2, 4, 6):
        stream.send(index, 0.12)
    assert stream.received == [*range(7)]
    assert len(leaving.payloads) == 4
    stream.receiver.remove_sink(leaving)


def test_a_broken_sink_may_leave() -> None:
    stream = Stream()
    broken = BrokenSink()
    stream.receiver.add_sink(broken)
    stream.send(0, 0)
    stream.send(2, 0.04)
    stream.receiver.remove_sink(broken)
    stream.send(1, 0.05)
    assert stream.received == [0, 1, 2]
