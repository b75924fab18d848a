"""From datagrams to slices: silence stands only where packets are missing.

Simulated time, the real native library: the kernel notes when datagrams come, on each tick they are
read, and then the slicer is asked. What senders' clocks do is in test_audio_life.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import pytest

from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.tick import PERIOD_S
from cloudslice.webrtc.audio_receiver import PATIENCE_S
from helpers.native_peer import AUDIO_SSRC, Receiving, rtp, runs
from helpers.ogg_pages import read_opus_file
from helpers.slice_store import UTC_AT_ZERO_MS, ManualClock, MemoryStore, StoredSlice

SLICE_S = 15
START = 500.0
"""Monotonic second at which the anchor's audio began."""
DELAY_S = 0.04
"""Of the network."""
PACKET_S = 0.02
_CELT_20_MS = b"\xf8"
"""A TOC byte: one frame of 20 ms, 960 samples."""


@dataclass
class Sent:
    """A packet of 20 ms, and when it arrives in seconds after the start."""

    sequence: int
    timestamp: int
    arrival: float


@dataclass
class House:
    """A port, and the slicer of an anchor's audio."""

    clock: ManualClock = field(default_factory=ManualClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    counters: SlicingCounters = field(default_factory=SlicingCounters)

    def __post_init__(self) -> None:
        self._receiving = Receiving()
        self._receiving.audio(patience_s=PATIENCE_S)
        origin = SliceOrigin("task", "anchor", SliceKind.AUDIO, "ogg")
        self._slicer = AudioSlicer(
            origin, self.store, self.clock, SLICE_S, self.counters, self.counters.note
        )

    def run(self, packets: Sequence[Sent], *, stalls: Sequence[tuple[float, float]] = ()) -> None:
        """Read what comes, until a while after the last packet; during the stalls, from a second
        after the start to another one, the process does nothing."""
        waiting = sorted(packets, key=lambda each: each.arrival)
        end = waiting[-1].arrival + 0.5
        now = 0.0
        while now < end:
            now += PERIOD_S
            for begin, until in stalls:
                now = until if begin < now < until else now
            self.clock.now = START + now
            count = sum(each.arrival <= now for each in waiting)
            self._read(waiting[:count])
            del waiting[:count]
            self._slicer.tick(self.clock.now)
        self.flush()
        self._slicer.close()
        self._receiving.close()

    def flush(self) -> None:
        """Hand all that has come to the slicer."""
        for event in runs(self._receiving.flush()):
            self._slicer.on_opus(event.run)

    def _read(self, packets: Sequence[Sent]) -> None:
        for each in packets:
            payload = _CELT_20_MS + each.sequence.to_bytes(4)
            packet = rtp(AUDIO_SSRC, each.sequence, each.timestamp, payload)
            self._receiving.put(self._receiving.protect(packet), arrival=START + each.arrival)
        for event in runs(self._receiving.process(self.clock.now)):
            self._slicer.on_opus(event.run)

    @property
    def slices(self) -> list[StoredSlice]:
        return self.store.slices


def talk(seconds: float) -> list[Sent]:
    """Packets that arrive as they were sent."""
    return [
        Sent(index, 960 * index, (index + 1) * PACKET_S + DELAY_S)
        for index in range(round(seconds / PACKET_S))
    ]


def hold(packets: list[Sent], at: float, seconds: float, *, speed: float = inf) -> None:
    """Let the network keep what comes from `at` on for so long, and then deliver it so many times
    as fast as it was sent."""
    last = at + seconds
    for each in packets:
        if each.arrival >= at:
            last = each.arrival = max(each.arrival, last + PACKET_S / speed)


def stand_still(packets: list[Sent], at: float, seconds: float, *, clock_runs: bool) -> None:
    """Let the sender pause."""
    for each in packets:
        if each.arrival >= at:
            each.arrival += seconds
            each.timestamp += round(seconds * 48_000) if clock_runs else 0


def first_sample(stored: StoredSlice) -> int:
    return int(stored.details["first-sample"])


def sample_after(stored: StoredSlice) -> int:
    return first_sample(stored) + int(stored.details["samples"])


def silence_s(house: House) -> float:
    return house.counters.silence_samples / 48_000


def check_times(house: House) -> None:
    """Media time is real time: each slice begins when it says, and lies in its 15 s."""
    for stored in house.slices:
        truth_ms = UTC_AT_ZERO_MS + START * 1000 + first_sample(stored) / 48
        assert stored.start_utc_ms - DELAY_S * 1000 == pytest.approx(truth_ms, abs=100)
        assert stored.duration_ms is not None
        cell = first_sample(stored) // (SLICE_S * 48_000)
        assert sample_after(stored) <= (cell + 1) * SLICE_S * 48_000
    for former, stored in pairwise(house.slices):
        assert sample_after(former) <= first_sample(stored)


def check_tiling(house: House, packets: Sequence[Sent]) -> None:
    """All that was sent is there once, in its place, and nothing else."""
    for former, stored in pairwise(house.slices):
        assert sample_after(former) == first_sample(stored)
        assert former.duration_ms is not None
        end_ms = former.start_utc_ms + former.duration_ms
        assert stored.start_utc_ms == pytest.approx(end_ms, abs=2)
    assert sample_after(house.slices[-1]) == 960 * len(packets)
    assert heard(house) == [each.sequence for each in packets]
    assert silence_s(house) == 0


def heard(house: House) -> list[int]:
    """The numbers of the packets that are heard, in order."""
    found = []
    for stored in house.slices:
        file = read_opus_file(bytes(stored.data))
        hidden = file.pre_skip // 960
        audible = file.packets[hidden : hidden + file.samples // 960]
        found += [int.from_bytes(packet[1:]) for packet in audible if len(packet) == 5]
    return found


def test_a_process_that_stood_still_makes_no_silence() -> None:
    """Every packet waited in the socket: four times for 5 s, over ends of slices and within."""
    packets = talk(89)
    house = House()
    house.run(packets, stalls=[(12, 17), (27.5, 32.5), (50, 55), (74.9, 79.9)])
    check_times(house)
    check_tiling(house, packets)
    assert [stored.duration_ms for stored in house.slices] == [15_000] * 5 + [14_000]


@pytest.mark.parametrize("speed", [inf, 1.5], ids=["at once", "slowly"])
@pytest.mark.parametrize("seconds", [2.05, 5, 40])
@pytest.mark.parametrize("at", [20.0, 29.97], ids=["in a slice", "at an end"])
def test_what_the_network_held_back_makes_no_silence(
    at: float, seconds: float, speed: float
) -> None:
    """It comes late, faster than real time, and none of it is missing."""
    packets = talk(80)
    hold(packets, at, seconds, speed=speed)
    house = House()
    house.run(packets)
    check_times(house)
    check_tiling(house, packets)


def test_holds_that_follow_each_other_make_no_silence() -> None:
    """The second one begins before what the first one held back has come."""
    packets = talk(60)
    hold(packets, 20.0, 6, speed=3)
    hold(packets, 27.0, 4, speed=3)
    house = House()
    house.run(packets)
    check_times(house)
    check_tiling(house, packets)


@pytest.mark.parametrize("seconds", [2.1, 30])
@pytest.mark.parametrize("at", [28.5])
@pytest.mark.parametrize("clock_runs", [False, True])
def test_while_the_sender_stood_still_life_went_on(
    at: float, seconds: float, clock_runs: bool
) -> None:
    """Whether its clock went on or not: what it sends then lies where it was said."""
    packets = talk(70)
    stand_still(packets, at, seconds, clock_runs=clock_runs)
    house = House()
    house.run(packets)
    check_times(house)
    assert heard(house) == [each.sequence for each in packets]
    end_s = sample_after(house.slices[-1]) / 48_000
    assert end_s == pytest.approx(70 + seconds, abs=0.05)


def test_a_sender_that_goes_on_with_what_it_had_in_its_buffers_has_stood_still() -> None:
    """A part of a second comes at once, and the rest in real time."""
    packets = talk(40)
    stand_still(packets, 20.0, 5, clock_runs=False)
    for each in packets:
        if each.arrival > 25 and each.timestamp < 20.4 * 48_000:
            each.arrival = 25.4
    house = House()
    house.run(sorted(packets, key=lambda each: each.arrival))
    assert sample_after(house.slices[-1]) / 48_000 == pytest.approx(45, abs=0.5)
    check_times(house)


def test_what_is_missing_of_what_was_held_back_is_silence() -> None:
    """As much as is missing."""
    packets = talk(60)
    hold(packets, 20.0, 5)
    del packets[1050:1100]
    house = House()
    house.run(packets)
    check_times(house)
    assert silence_s(house) == pytest.approx(1.0)
    assert sample_after(house.slices[-1]) == 60 * 48_000


def test_a_mute_ends_the_slice_with_its_last_packet() -> None:
    """No silence is made up for the rest of it."""
    packets = talk(20)
    stand_still(packets, 10.0, 40, clock_runs=True)
    house = House()
    house.run(packets)
    first = house.slices[0]
    assert (first_sample(first), sample_after(first)) == (0, 497 * 960)
    assert first.details["silence-samples"] == 0
    assert sample_after(house.slices[-1]) == 60 * 48_000


@pytest.mark.parametrize("finish", [AudioSlicer.close, AudioSlicer.on_restart], ids=["end", "SSRC"])
def test_what_was_set_aside_is_not_lost(finish: Callable[[AudioSlicer], None]) -> None:
    """If nothing follows by which to tell what it was."""
    packets = talk(20)
    hold(packets, 19.9, 5)
    house = House()
    taken = [each for each in packets if each.arrival < 19.9]
    house._slicer.tick(START)
    for each in [*taken, packets[len(taken)]]:
        house.clock.now = START + each.arrival
        house._read([each])
    assert house.counters.silence_samples == 0
    assert house._slicer.slicing
    house.flush()
    finish(house._slicer)
    house._slicer.close()
    assert heard(house)[-1] == len(taken)
