"""A life of audio in simulated time: who speaks when, what its clock says, and when it comes.

A `Life` says of each packet when it was captured, which is the truth. `Listener` reads what
arrives as the UDP port does, on ticks, joins it to runs as the native library does, and hands them
to a slicer. `check` asks whether seconds of file are seconds of life.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from cloudslice.codecs.opus import packet_samples
from cloudslice.events import AudioGap
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.tick import PERIOD_S
from helpers.ogg_pages import read_opus_file
from helpers.opus_runs import ArrivedPacket, make_runs
from helpers.slice_store import UTC_AT_ZERO_MS, ManualClock, MemoryStore, StoredSlice

START = 500.0
"""Monotonic second at which life begins."""
DELAY_S = 0.04
"""The network's least."""
_RUN_S = 0.4
_IRREGULAR_S = 0.1
_REPORT_EVERY_S = 5.0
_SENDER_UTC_MS = 1_800_000_000_000.0


@dataclass
class Packet:
    number: int
    payload: bytes
    timestamp: int
    captured: float
    """Life's second at which its first sample was captured."""
    arrival: float
    """Life's second at which the kernel has it."""
    restarts: bool = False
    """It is the first one of another SSRC."""

    @property
    def seconds(self) -> float:
        return packet_samples(self.payload) / 48_000


@dataclass
class Report:
    """A sender report."""

    timestamp: int
    utc_ms: float
    arrival: float


@dataclass
class Life:
    """What a sender does, second by second, and what the network makes of it."""

    toc: int = 0xF8
    rate: float = 1.0
    """Seconds of audio captured for each second of life."""
    step: float = 1.0
    """Ticks of timestamp for each sample."""
    jitter_s: float = 0.0
    reports: bool = False
    seed: int = 1
    packets: list[Packet] = field(default_factory=list)
    sent_reports: list[Report] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self._timestamp = 4_000_000_000.0
        self._number = 0
        self._restarts = False
        self._report_at = 1.0

    def talk(self, seconds: float, *, loss: float = 0.0) -> "Life":
        """Send packets for so long."""
        until = self.now + seconds - 1e-9
        while self.now < until:
            payload = bytes([self.toc]) + self._number.to_bytes(4)
            samples = packet_samples(payload)
            captured = self.now
            self.now += samples / 48_000 / self.rate
            delay = DELAY_S + min(self.chance.expovariate(6), 1) * self.jitter_s
            packet = Packet(
                self._number, payload, round(self._timestamp), captured, self.now + delay,
                self._restarts,
            )  # fmt: skip
            self._timestamp += samples * self.step
            if self.chance.random() >= loss or not self.packets:
                self.packets.append(packet)
                self._number += 1
                self._restarts = False
            if self.reports and self.now >= self._report_at:
                self._report(delay)
        return self

    def stall(self, seconds: float) -> "Life":
        """The capture stands still; timestamps go on without a gap."""
        self.now += seconds
        return self

    def mute(self, seconds: float) -> "Life":
        """Nothing is sent; timestamps go on."""
        self.now += seconds
        self._timestamp += seconds * 48_000 * self.step
        return self

    def jump(self, seconds: float) -> "Life":
        """Timestamps make a step."""
        self._timestamp += seconds * 48_000
        return self

    def restart(self) -> "Life":
        """Another SSRC with other timestamps."""
        self._timestamp = float(self.chance.randrange(2**32))
        self._restarts = True
        return self

    def _report(self, delay: float) -> None:
        """As browsers do: the timestamp of this moment, by the last packet's capture."""
        utc_ms = _SENDER_UTC_MS + self.now * 1000
        self.sent_reports.append(Report(round(self._timestamp), utc_ms, self.now + delay))
        self._report_at = self.now + _REPORT_EVERY_S


def hold(life: Life, at: float, seconds: float, *, speed: float = float("inf")) -> None:
    """Let the network keep what arrives from `at` on for so long, and then deliver it so many times
    as fast as it was sent."""
    last = at + seconds
    for each in life.packets:
        if each.arrival >= at:
            last = each.arrival = max(each.arrival, last + each.seconds / speed)
    for report in life.sent_reports:
        if at <= report.arrival < at + seconds:
            report.arrival = at + seconds


class Listener:
    """Reads on ticks what arrives and has it sliced."""

    def __init__(self, slice_s: int = 15) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.counters = SlicingCounters()
        origin = SliceOrigin("task", "anchor", SliceKind.AUDIO, "ogg")
        self.slice_s = slice_s
        self.gaps: list[AudioGap] = []
        self.slicer = AudioSlicer(
            origin, self.store, self.clock, slice_s, self.counters, self._note_gap
        )
        self._open: list[Packet] = []

    def hear(self, life: Life, *, stalls: Sequence[tuple[float, float]] = ()) -> "Listener":
        """Read all of it; in the stalls, from a second of life to another, we do nothing."""
        last = 0.0
        for packet in life.packets:  # the native library puts them in order
            last = packet.arrival = max(packet.arrival, last)
        events: Iterator[Packet | Report] = heapq.merge(
            life.packets, life.sent_reports, key=lambda each: each.arrival
        )
        waiting = next(events, None)
        end = max([last, *(until for _begin, until in stalls)]) + 0.5
        tick = 0
        while tick * PERIOD_S < end:
            tick += 1
            now = tick * PERIOD_S
            if any(begin < now < until for begin, until in stalls):
                continue
            self.clock.now = START + now
            while waiting is not None and waiting.arrival <= now:
                self._take(waiting)
                waiting = next(events, None)
            if self._open and now - self._open[0].arrival >= _RUN_S:
                self._hand_out()
            self.slicer.tick(self.clock.now)
        self._hand_out()
        self.slicer.close()
        return self

    def _note_gap(self, gap: AudioGap) -> None:
        self.gaps.append(gap)
        self.counters.note(gap)

    def _take(self, event: Packet | Report) -> None:
        if isinstance(event, Report):
            self.slicer.on_sender_time(event.timestamp, event.utc_ms)
            return
        if event.restarts:
            self._hand_out()
            self.slicer.on_restart()
        if self._open and not self._goes_on(event):
            self._hand_out()
        self._open.append(event)

    def _goes_on(self, packet: Packet) -> bool:
        last = self._open[-1]
        due = last.arrival + packet.seconds
        return (
            packet.payload[0] == last.payload[0]
            and packet.timestamp == last.timestamp + packet_samples(last.payload)
            and abs(packet.arrival - due) < _IRREGULAR_S
        )

    def _hand_out(self) -> None:
        packets = [
            ArrivedPacket(each.payload, each.timestamp, START + each.arrival) for each in self._open
        ]
        self._open.clear()
        for run in make_runs(packets, limit=1024):
            self.slicer.on_opus(run)

    @property
    def slices(self) -> list[StoredSlice]:
        return self.store.slices

    @property
    def made_up_s(self) -> float:
        """Seconds in the files for which nothing came."""
        return (self.counters.silence_samples + self.counters.concealed_samples) / 48_000

    def heard(self) -> dict[int, float]:
        """The packets that are heard, by number, in their order: the second of life at which each
        begins, as its slice has it."""
        found: dict[int, float] = {}
        for stored in self.slices:
            file = read_opus_file(bytes(stored.data))
            assert stored.duration_ms is not None
            position = -file.pre_skip
            scale = stored.duration_ms / file.samples
            for packet in file.packets:
                samples = packet_samples(packet)
                if position + samples > 0 and position < file.samples and len(packet) == 5:
                    at_ms = stored.start_utc_ms + position * scale - UTC_AT_ZERO_MS
                    found.setdefault(int.from_bytes(packet[1:]), at_ms / 1000 - START - DELAY_S)
                position += samples
        return found


def check_tiles(listener: Listener) -> None:
    """Slices lie in their cells; one that goes on begins when the one before ends."""
    cell = listener.slice_s * 48_000
    end, end_ms = 0, 0
    for stored in listener.slices:
        first, samples = (int(stored.details[name]) for name in ("first-sample", "samples"))
        assert samples > 0
        assert first >= end
        assert first // cell == (first + samples - 1) // cell
        assert stored.duration_ms is not None
        if first == end and end:
            assert stored.start_utc_ms == end_ms
        else:
            assert stored.start_utc_ms >= end_ms
        end, end_ms = first + samples, stored.start_utc_ms + stored.duration_ms


def check_times(listener: Listener, life: Life, *, within_s: float = 0.1) -> None:
    """Each packet is where its slice's times say that it was captured, and in order."""
    truth = {each.number: each.captured for each in life.packets}
    heard = listener.heard()
    assert list(heard) == sorted(heard)
    worst = max((abs(at - truth[number]), number, at) for number, at in heard.items())
    assert worst[0] <= within_s, (
        f"packet {worst[1]} of {truth[worst[1]]:.3f} s is at {worst[2]:.3f}"
    )


def check_seconds(listener: Listener, *, within_s: float = 0.1) -> None:
    """Each slice has as many seconds of audio as it covers of life."""
    for stored in listener.slices:
        assert stored.duration_ms is not None
        seconds = int(stored.details["samples"]) / 48_000
        assert abs(seconds - stored.duration_ms / 1000) <= within_s


def numbers(packets: Iterable[Packet]) -> list[int]:
    return [each.number for each in packets]
