"""Where packets belong in media time: what cannot be seen in a life of audio (see there)."""

import pytest

from cloudslice.media.tracks import OpusRun
from cloudslice.slicing.audio.clock_faults import ClockFaults
from cloudslice.slicing.audio.timeline import Placed, Timeline
from cloudslice.slicing.counters import SlicingCounters
from helpers.opus_runs import ArrivedPacket, make_runs

START = 1000.0


class Stage:
    """Packets of 20 ms, each in a run of its own."""

    def __init__(self) -> None:
        self.counters = SlicingCounters()
        self.faults = ClockFaults(self.counters, user_id="anchor")
        self.timeline = Timeline(self.faults)

    def take(self, timestamp: int, arrival: float) -> list[Placed]:
        run = OpusRun.of_one(b"\xf8", timestamp, START + arrival)
        return self.timeline.take(run, 960)

    def talk(self, count: int, timestamp: int = 0, arrival: float = 0.02) -> None:
        for index in range(count):
            self.take(timestamp + 960 * index, arrival + 0.02 * index)


def gaps(placed: list[Placed]) -> list[int]:
    return [each.gap for each in placed]


def test_odd_steps_are_kept_in_mind_until_they_make_a_gap() -> None:
    """Only multiples of 2.5 ms can be filled; what remains must not add up."""
    stage = Stage()
    found = [gaps(stage.take(step * 1000, step / 48)) for step in range(13)]
    assert found == [[each] for each in (0, 0, 0, 120, 0, 0, 120, 0, 0, 120, 0, 0, 120)]
    assert stage.timeline.end == 13 * 960 + 480


def test_a_late_packet_is_set_aside_until_others_tell_why() -> None:
    """For a second; then it, and those that came after it, are placed in order."""
    stage = Stage()
    stage.talk(50)
    assert stage.take(48_000, 2.02) == []
    assert stage.timeline.is_deciding
    for index in range(1, 40):
        assert stage.take(48_000 + 960 * index, 2.02 + 0.02 * index) == []
    assert gaps(stage.take(48_000 + 960 * 40, 2.82)) == [48_000, *[0] * 40]
    assert stage.counters.clock_stalled == 1


def test_a_late_packet_that_stays_alone_is_placed_after_a_second() -> None:
    stage = Stage()
    stage.talk(50)
    stage.take(48_000, 2.02)
    assert stage.timeline.tick(START + 3.01) == []
    assert gaps(stage.timeline.tick(START + 3.03)) == [48_000]
    assert not stage.timeline.is_deciding


def test_what_was_set_aside_is_placed_at_the_end() -> None:
    stage = Stage()
    stage.talk(50)
    stage.take(48_000, 2.02)
    stage.take(48_960, 2.04)
    assert len(stage.timeline.settle()) == 2
    assert stage.timeline.settle() == []


@pytest.mark.parametrize(("stood_still", "expected"), [(True, 48_000), (False, 0)])
def test_a_sender_report_decides_at_once(stood_still: bool, expected: int) -> None:
    """Its wall clock has gone on while its timestamps did not, or both have."""
    stage = Stage()
    stage.timeline.on_sender_time(7, 1)
    stage.talk(25)
    stage.timeline.on_sender_time(24_000, 5_000_500)
    stage.talk(25, 24_000, 0.52)
    stage.take(48_000, 2.02)
    told_ms = 5_001_020 + (1_000 if stood_still else 0)
    stage.timeline.on_sender_time(48_960, told_ms)
    assert gaps(stage.take(48_960, 2.04)) == [expected, 0]


def test_a_report_of_a_wall_clock_that_was_set_decides_nothing() -> None:
    stage = Stage()
    stage.talk(1)
    stage.timeline.on_sender_time(960, 5_000_020)
    stage.talk(49, 960, 0.04)
    stage.take(48_000, 2.02)
    stage.timeline.on_sender_time(48_960, 9_000_000)
    assert stage.take(48_960, 2.04) == []


def test_the_senders_own_time_is_known_once_it_has_told() -> None:
    stage = Stage()
    stage.timeline.on_sender_time(100, 1.0)
    assert stage.timeline.sender_utc_ms(0) is None
    stage.take(100, 0.02)
    stage.timeline.on_sender_time(48_100, 6_000.0)
    assert stage.timeline.sender_utc_ms(0) == 5_000.0


def test_of_a_run_that_goes_too_far_ahead_the_beginning_is_kept() -> None:
    """An hour of audio at once: 5 s of it may have waited at the sender."""
    stage = Stage()
    flood = [ArrivedPacket(b"\xf8", 960 * index, START) for index in range(180_000)]
    (run,) = make_runs(flood, limit=180_000)
    [placed] = stage.timeline.take(run, 960)
    assert len(placed.run.sizes) == len(placed.run.data) == 250
    assert stage.counters.packets_ahead == 179_750
    assert gaps(stage.take(960 * 180_000, 0.02)) == [0]


def test_the_quickest_packet_of_a_run_tells_when_media_time_was() -> None:
    timeline = Stage().timeline
    (run,) = make_runs(
        [
            ArrivedPacket(b"\xf8", 960 * index, START + 0.02 * (index + 1) + late_s)
            for index, late_s in enumerate([0.2, 0.1, 0, 0.3])
        ],
        limit=4,
    )
    timeline.take(run, 960)
    assert timeline.monotonic(0) == pytest.approx(START)


def test_what_a_clock_does_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Each time counted, and told with the slice in which it was."""
    stage = Stage()
    stage.talk(10)
    for index in range(3):
        stage.take(-(10**6) * (index + 1), 0.22 + 0.02 * index)
    assert stage.counters.clock_jumped == 3
    assert stage.faults.take() == "jumped"
    assert stage.faults.take() == ""
    assert capsys.readouterr().out.count("sender's audio clock differs") == 1
