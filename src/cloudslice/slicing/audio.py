"""Cuts one anchor's audio into Ogg Opus files that tile its media time (design 5).

Packets are copied, never decoded. Each file begins with packets from before its cut, hidden by
pre-skip, so that a decoder has converged at the first audible sample; a packet that straddles a
cut goes into both files. Decoding all files and joining the PCM is decoding the whole stream.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from cloudslice.clock import Clock
from cloudslice.codecs.opus import (
    MAX_PACKET_SAMPLES,
    SAMPLE_RATE,
    MalformedPacketError,
    is_stereo,
    packet_samples,
    silence,
)
from cloudslice.delivery.model import GrowingSlice, SliceOrigin, SliceStore
from cloudslice.rooms.base import OpusRun
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.ogg import OggOpusWriter
from cloudslice.slicing.timeline import LATE_S, Timeline

PRE_ROLL = 15_360
"""Samples in front of a cut, 320 ms. With the 80 ms that RFC 7845 section 4.6 suggests, the first
20 ms of a CELT slice differed from the whole stream by up to 1251 of 32768; with this by nothing.
"""

_UNWRITTEN_S = 0.5
"""So long after a packet all that has come is written, as soon as more comes. As a room hands over
what it has at least every `HEARTBEAT_S`, that is 0.92 s after its coming at most."""

_FLUSH_AFTER_S = 1.0
"""When packets stop for so long, what is in memory goes to the file, up to the last packet."""


@dataclass(slots=True)
class _OpenSlice:
    start: int
    """Media position of the first audible sample."""
    end: int
    tail: int
    """From this position on, packets are kept for the next slice's pre-roll."""
    writer: OggOpusWriter
    growing: GrowingSlice
    silence_samples: int = 0


class AudioSlicer:
    """An `AudioSink` that makes one slice of every `slice_s` seconds in which packets came.

    Slice k covers the samples [k * N, (k + 1) * N) after the track's first packet, exactly; gaps
    are filled with silence. Only the last one, cut off by `close`, ends with its last packet.
    """

    # A packet touches most of this: without slots it takes more cache lines.
    __slots__ = (
        "_clock",
        "_counters",
        "_end",
        "_origin",
        "_recent",
        "_recent_samples",
        "_sender_zero_ms",
        "_slice",
        "_slice_samples",
        "_stereo",
        "_store",
        "_timeline",
        "_unwritten_since",
    )

    def __init__(
        self,
        origin: SliceOrigin,
        store: SliceStore,
        clock: Clock,
        slice_s: int,
        counters: SlicingCounters,
    ) -> None:
        self._origin = origin
        self._store = store
        self._clock = clock
        self._slice_samples = slice_s * SAMPLE_RATE
        self._counters = counters
        self._timeline = Timeline()
        self._end = 0
        """Media position up to which packets, or silence for them, were taken in."""
        self._unwritten_since = inf
        """When the first packet came that the slice's file does not hold yet."""
        self._slice: _OpenSlice | None = None
        self._recent: list[tuple[bytes, int]] = []
        """The packets from the open slice's `tail` to `_end`, or before `_end` if none is open, and
        their samples: the next slice's pre-roll."""
        self._recent_samples = 0
        self._stereo = False
        """Whether the last packet was; silence is made like it."""
        self._sender_zero_ms: float | None = None
        """UTC of media position 0 by the sender's clock, as its last sender report has it."""
        self._remember_silence(0)

    @property
    def slicing(self) -> bool:
        """Whether packets came lately: a slice is open, or one has just ended with a packet."""
        quiet_s = self._clock.monotonic() - self._timeline.last_arrival
        return self._slice is not None or quiet_s <= LATE_S

    def on_opus(self, run: OpusRun) -> None:
        """See `AudioSink`. A malformed packet, or some far ahead of real time, are only counted."""
        try:
            samples = packet_samples(run.data[: run.sizes[0]])
        except MalformedPacketError:
            self._counters.packets_malformed += 1
            return
        gap = self._timeline.place(run, samples)
        if gap is None:
            self._counters.packets_ahead += len(run.sizes)
            return
        if gap:
            self._fill_gap(gap)
        self._stereo = is_stereo(run.data)
        end = self._end + samples * len(run.sizes)
        if self._slice is not None and end <= self._slice.tail:
            self._slice.writer.add(run.data, run.sizes, samples)
            self._end = end
        else:
            for packet in run.packets():
                self._add(packet, samples)
        self._unwritten_since = min(self._unwritten_since, run.arrival)
        if self._slice is not None and run.last_arrival - self._unwritten_since >= _UNWRITTEN_S:
            self._slice.writer.flush()
            self._unwritten_since = run.last_arrival

    def on_restart(self) -> None:
        """See `AudioSink`."""
        self._timeline.restart()

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """See `AudioSink`."""
        position = self._timeline.position(timestamp)
        if position is not None:
            self._sender_zero_ms = utc_ms - position * 1000 / SAMPLE_RATE

    def tick(self, now: float) -> None:
        """Look after a slice in which packets stopped. Cheap; to be called a few times a
        second.

        Args:
            now: monotonic second.
        """
        open_slice = self._slice
        quiet_s = now - self._timeline.last_arrival
        if open_slice is None or quiet_s <= _FLUSH_AFTER_S:
            return
        ended_s = now - self._timeline.monotonic(open_slice.end)
        if min(quiet_s, ended_s) > LATE_S:
            self._counters.gaps_filled += 1
            self._timeline.end = open_slice.end
            self._add_silence(open_slice.end)
        else:
            open_slice.writer.flush()

    def close(self) -> None:
        """End the open slice, if there is one, with its last packet."""
        if self._slice is not None:
            self._finish(self._slice, self._end)
            self._slice = None

    def _add(self, packet: bytes, samples: int) -> None:
        open_slice = self._slice or self._open(self._end)
        open_slice.writer.add(packet, (len(packet),), samples)
        self._end += samples
        if self._end > open_slice.tail:
            self._recent.append((packet, samples))
            self._recent_samples += samples
            if self._end >= open_slice.end:
                self._finish(open_slice, open_slice.end)
                self._slice = None
                if self._end > open_slice.end:
                    self._open(open_slice.end)

    def _fill_gap(self, samples: int) -> None:
        self._counters.gaps_filled += 1
        to = self._end + samples
        if self._slice is not None:
            self._add_silence(min(to, self._slice.end))
        start_of_slice = to // self._slice_samples * self._slice_samples
        if self._end < start_of_slice:
            self._end = start_of_slice
            self._remember_silence(start_of_slice)
        self._add_silence(to)

    def _add_silence(self, to: int) -> None:
        """Make silence up to `to`, in the slice that holds it."""
        samples = to - self._end
        if samples == 0:
            return
        self._counters.silence_samples += samples
        open_slice = self._slice or self._open(self._end)
        open_slice.silence_samples += samples
        for packet, size in silence(self._end, samples, stereo=self._stereo):
            self._add(packet, size)

    def _remember_silence(self, end: int) -> None:
        """Nothing but silence came before `end`, a slice's start."""
        samples = PRE_ROLL + MAX_PACKET_SAMPLES
        self._recent = list(silence(end - samples, samples, stereo=self._stereo))
        self._recent_samples = samples

    def _open(self, start: int) -> _OpenSlice:
        position = self._end - self._recent_samples
        pre_roll = []
        for packet, samples in self._recent:
            position += samples
            if position > start - PRE_ROLL:
                pre_roll.append((packet, samples))
        first = self._end - sum(samples for _, samples in pre_roll)
        start_utc_ms = self._clock.utc_ms(self._timeline.monotonic(start))
        growing = self._store.grow(self._origin, start_utc_ms)
        writer = OggOpusWriter(
            growing.append,
            serial=start_utc_ms,
            pre_skip=start - first,
            stereo=any(is_stereo(packet) for packet, _ in pre_roll),
            comments=(f"DATE={_iso_utc(start_utc_ms)}",),
        )
        for packet, samples in pre_roll:
            writer.add(packet, (len(packet),), samples)
        end = start + self._slice_samples
        self._slice = _OpenSlice(start, end, end - PRE_ROLL - MAX_PACKET_SAMPLES, writer, growing)
        self._recent.clear()
        self._recent_samples = 0
        return self._slice

    def _finish(self, open_slice: _OpenSlice, end: int) -> None:
        samples = end - open_slice.start
        open_slice.writer.finish(samples)
        open_slice.growing.finish(
            round(samples * 1000 / SAMPLE_RATE),
            self._details(open_slice, samples),
            head=open_slice.writer.head(),
        )
        self._counters.audio_slices += 1

    def _details(self, open_slice: _OpenSlice, samples: int) -> dict[str, str]:
        details = {
            "first-sample": str(open_slice.start),
            "samples": str(samples),
            "silence-samples": str(open_slice.silence_samples),
        }
        if self._sender_zero_ms is not None:
            sender_ms = self._sender_zero_ms + open_slice.start * 1000 / SAMPLE_RATE
            details["sender-start-ms"] = str(round(sender_ms))
        return details


def _iso_utc(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds")
