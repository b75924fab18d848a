"""Where packets belong in media time, and when media time was."""

import pytest

from cloudslice.media.tracks import OpusRun
from cloudslice.slicing.audio.timeline import LATE_S, Timeline
from helpers.opus_runs import ArrivedPacket, make_runs

START = 1000.0
"""Monotonic second at which the first packet's audio began."""


def one_packet(timestamp: int, arrival: float) -> OpusRun:
    return OpusRun.of_one(b"\xf8", timestamp, arrival)


class Sender:
    """Sends 20 ms packets that take `delay_s` to arrive, by a clock of its own."""

    def __init__(self, *, ppm: float = 0, delay_s: float = 0) -> None:
        self.timeline = Timeline()
        self.timestamp = 4_000_000_000
        self.media_s = 0.0
        """Real seconds since the start; the timestamp may say otherwise."""
        self.rate = 1 + ppm / 1e6
        self.delay_s = delay_s

    def send(self, *, late_s: float = 0) -> int | None:
        self.media_s += 0.02 / self.rate
        arrival = START + self.media_s + self.delay_s + late_s
        gap = self.timeline.place(one_packet(self.timestamp, arrival), 960)
        self.timestamp += 960
        return gap

    def pause(self, seconds: float, *, clock_runs: bool = True) -> None:
        self.media_s += seconds
        if clock_runs:
            self.timestamp += round(seconds * 48_000)


def test_packets_follow_each_other_from_zero() -> None:
    sender = Sender()
    assert [sender.send() for _ in range(5)] == [0] * 5
    assert sender.timeline.end == 5 * 960


@pytest.mark.parametrize("lost", [1, 7, 400])
def test_lost_packets_leave_a_gap_of_their_length(lost: int) -> None:
    sender = Sender()
    sender.send()
    sender.pause(0.02 * lost)
    assert sender.send() == 960 * lost
    assert sender.send() == 0


@pytest.mark.parametrize("seconds", [0.4, 3, 3600])
def test_a_mute_with_a_running_clock_is_as_long_as_the_clock_says(seconds: float) -> None:
    sender = Sender()
    sender.send()
    sender.pause(seconds)
    assert sender.send(late_s=0.05) == seconds * 48_000


@pytest.mark.parametrize("seconds", [2.5, 30, 3600])
def test_a_mute_with_a_clock_that_stood_still_is_as_long_as_it_took(seconds: float) -> None:
    """Some senders' RTP clock pauses with the track: media time is real time all the same."""
    sender = Sender()
    sender.send()
    sender.pause(seconds, clock_runs=False)
    assert sender.send() == pytest.approx(seconds * 48_000, abs=120)
    assert sender.send() == 0


def test_packets_held_up_by_the_network_are_only_late() -> None:
    """A stall shorter than the limit opens no gap, then or when the network has caught up."""
    sender = Sender()
    sender.send()
    assert [sender.send(late_s=LATE_S - 0.1 - 0.02 * step) for step in range(90)] == [0] * 90
    assert [sender.send() for _ in range(10)] == [0] * 10


def test_delay_that_grows_while_packets_flow_opens_no_gap() -> None:
    """A full buffer on the way may delay by more than the limit: the clock did not stand still."""
    sender = Sender()
    assert [sender.send(late_s=0.01 * step) for step in range(400)] == [0] * 400
    sender.pause(0.06)
    assert sender.send(late_s=4) == 3 * 960


@pytest.mark.parametrize("step", [-4_000_000_000, -960_000, -9600, 960_000, 4_000_000_000])
def test_a_clock_that_jumps_is_left_for_the_arrival(step: int) -> None:
    """No hours of silence, and nothing lost, by a timestamp that makes no sense."""
    sender = Sender()
    for _ in range(50):
        sender.send()
    sender.timestamp += step
    sender.pause(0.1)
    assert sender.send() == pytest.approx(4800, abs=120)
    assert sender.send() == 0


def test_after_a_restart_the_arrival_tells_the_place() -> None:
    sender = Sender(delay_s=0.05)
    for _ in range(50):
        sender.send()
    sender.timeline.restart()
    sender.timestamp = 17
    sender.pause(0.5)
    assert sender.send() == pytest.approx(24_000, abs=120)
    sender.timeline.restart()
    sender.timestamp = 9_999_999_999
    assert sender.send() == 0
    assert sender.timeline.end == pytest.approx((50 + 25 + 2) * 960, abs=120)


def test_a_restart_never_overlaps_what_is_there() -> None:
    """The network may have become quicker: the new packet comes after the old one all the same."""
    sender = Sender(delay_s=0.5)
    for _ in range(5):
        sender.send()
    sender.timeline.restart()
    sender.timestamp, sender.delay_s = 0, 0
    assert sender.send() == 0
    assert sender.timeline.end == 6 * 960


def test_odd_steps_are_kept_in_mind_until_they_make_a_gap() -> None:
    """Only multiples of 2.5 ms can be filled; what remains must not add up."""
    timeline = Timeline()
    gaps = [timeline.place(one_packet(step * 1000, START + step / 48), 960) for step in range(13)]
    assert gaps == [0, 0, 0, 120, 0, 0, 120, 0, 0, 120, 0, 0, 120]
    assert timeline.end == 13 * 960 + 480


def test_a_sender_that_floods_is_stopped_a_minute_ahead_of_real_time() -> None:
    sender = Sender()
    sender.rate = 1000
    gaps = [sender.send() for _ in range(5000)]
    assert gaps[:3000] == [0] * 3000
    assert gaps[-1000:].count(None) >= 998
    assert sender.timeline.end <= 62 * 48_000


@pytest.mark.parametrize("ppm", [pytest.param(200, id="fast"), pytest.param(-200, id="slow")])
def test_a_drifting_clock_is_followed_for_hours(ppm: float) -> None:
    """200 ppm are 2.9 s in 4 hours; the times given stay within 10 ms of the truth."""
    sender = Sender(ppm=ppm, delay_s=0.04)
    worst = 0.0
    for packet in range(4 * 3600 * 50 // 10):
        if packet % 10 == 9:
            sender.pause(1.8 / sender.rate, clock_runs=False)
            sender.timestamp += 86_400
        sender.send(late_s=0.03 * (packet % 7))
        told = sender.timeline.monotonic(sender.timeline.end)
        if packet > 5:
            worst = max(worst, abs(told - (START + sender.media_s + sender.delay_s)))
    assert worst < 0.01


def test_a_mute_of_hours_leaves_the_times_right() -> None:
    """What was known of the clocks before is worth nothing afterwards: 50 ppm of 6 h are 1.1 s."""
    sender = Sender(ppm=-50)
    sender.send()
    sender.pause(21_600, clock_runs=False)
    sender.timestamp += round(21_600 * sender.rate * 48_000)
    sender.send()
    told = sender.timeline.monotonic(sender.timeline.end)
    assert told == pytest.approx(START + sender.media_s, abs=0.01)


def test_times_are_not_moved_by_jitter() -> None:
    """The first packet may be late; from the first punctual one on the times are right."""
    sender = Sender()
    sender.send(late_s=0.2)
    assert sender.timeline.monotonic(0) == pytest.approx(START + 0.2)
    sender.send()
    for step in range(2000):
        sender.send(late_s=0.001 * (step % 100))
        assert sender.timeline.monotonic(0) == pytest.approx(START)


def test_a_run_is_placed_as_its_packets_would_be() -> None:
    timeline = Timeline()
    timeline.place(one_packet(0, START + 0.02), 960)
    late = [0.07, 0.01, 0.04, 0]
    packets = [
        ArrivedPacket(b"\xf8", 2880 + 960 * index, START + 0.08 + 0.02 * index + late_s)
        for index, late_s in enumerate(late)
    ]
    (run,) = make_runs(packets, limit=4)
    assert timeline.place(run, 960) == 1920
    assert timeline.end == 7 * 960
    assert timeline.last_arrival == packets[-1].arrival


def test_the_quickest_packet_of_a_run_tells_when_media_time_was() -> None:
    timeline = Timeline()
    (run,) = make_runs(
        [
            ArrivedPacket(b"\xf8", 960 * index, START + 0.02 * (index + 1) + late_s)
            for index, late_s in enumerate([0.2, 0.1, 0, 0.3])
        ],
        limit=4,
    )
    timeline.place(run, 960)
    assert timeline.monotonic(0) == pytest.approx(START)


@pytest.mark.parametrize(("count", "gap"), [(990, 0), (1010, None)])
def test_a_run_that_ends_more_than_a_minute_ahead_is_dropped_whole(
    count: int, gap: int | None
) -> None:
    timeline = Timeline()
    timeline.place(one_packet(0, START), 960)
    flood = [ArrivedPacket(b"\x18", 960 + 2880 * index, START) for index in range(count)]
    (run,) = make_runs(flood, limit=count)
    assert timeline.place(run, 2880) == gap
    assert timeline.end == (960 if gap is None else 960 + 2880 * count)


def test_a_timestamp_has_a_position_once_a_packet_came() -> None:
    timeline = Timeline()
    assert timeline.position(5000) is None
    timeline.place(one_packet(5000, START), 960)
    assert timeline.position(5480) == 480
    timeline.restart()
    assert timeline.position(5480) is None
