"""Cuts one anchor's audio into Ogg Opus files that tile its media time.

Packets are copied, never decoded. Each file begins with packets from before its cut, hidden by
pre-skip, so that a decoder has converged at the first audible sample; a packet that straddles a
cut goes into both files. Decoding all files and joining the PCM is decoding the whole stream.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from cloudslice.clock import Clock
from cloudslice.codecs.opus import (
    SAMPLE_RATE,
    MalformedPacketError,
    is_stereo,
    packet_samples,
    silence,
)
from cloudslice.delivery.model import GrowingSlice, SliceOrigin, SliceStore
from cloudslice.media.tracks import OpusRun
from cloudslice.slicing.audio.holds import LateRuns
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.audio.preroll import PreRoll
from cloudslice.slicing.audio.timeline import LATE_S, Timeline
from cloudslice.slicing.counters import SlicingCounters

_UNWRITTEN_S = 0.5
"""So long after a packet all that has come is written, as soon as more comes, every 0.4 s."""

_STALL_S = 1.0
"""Ticks that are further apart than this had nobody to make them."""

_FLUSH_AFTER_S = 1.0
"""When packets stop for so long, what is in memory goes to the file, up to the last packet."""


@dataclass(slots=True)
class _OpenSlice:
    start: int
    """Media position of the first audible sample."""
    end: int
    writer: OggOpusWriter
    growing: GrowingSlice
    silence_samples: int = 0


class AudioSlicer:
    """An `AudioSink` that makes one slice of every `slice_s` seconds in which packets came.

    Slice k covers the samples [k * N, (k + 1) * N) after the track's first packet, exactly; gaps
    are filled with silence. Where packets stop, and at `close`, it ends with its last packet; if
    the network has held the next ones back, another slice goes on there, to the end of the same
    seconds.
    """

    # A packet touches most of this: without slots it takes more cache lines.
    __slots__ = (
        "_clock",
        "_counters",
        "_end",
        "_last_tick",
        "_late",
        "_origin",
        "_pre_roll",
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
        self._late: LateRuns | None = None
        """Packets after a pause that may have been held back or not."""
        self._last_tick = inf
        self._pre_roll = PreRoll()
        self._stereo = False
        """Whether the last packet was; silence is made like it."""
        self._sender_zero_ms: float | None = None
        """UTC of media position 0 by the sender's clock, as its last sender report has it."""
        self._pre_roll.fill(0, stereo=False)

    @property
    def slicing(self) -> bool:
        """Whether packets came lately: a slice is open, or one has just ended with a packet."""
        quiet_s = self._clock.monotonic() - self._timeline.last_arrival
        return self._slice is not None or self._late is not None or quiet_s <= LATE_S

    def on_opus(self, run: OpusRun) -> None:
        """See `AudioSink`. A malformed packet, or some far ahead of real time, are only counted."""
        try:
            samples = packet_samples(run.data[: run.sizes[0]])
        except MalformedPacketError:
            self._counters.packets_malformed += 1
            return
        if self._late is not None:
            self._judge_late(run.arrival)
        if self._late is None and (late_s := self._timeline.late_s(run, samples)):
            self._late = LateRuns(late_s)
        if self._late is None:
            self._take(run, samples)
        else:
            self._late.add(run, samples)
            self._judge_late(run.arrival)

    def on_restart(self) -> None:
        """See `AudioSink`."""
        self._judge_late(inf)
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
        was_stalled = now - self._last_tick > _STALL_S
        self._last_tick = now
        if was_stalled:
            return  # what has come meanwhile may wait in the socket
        self._judge_late(now)
        open_slice = self._slice
        quiet_s = now - self._timeline.last_arrival
        if open_slice is None or self._late is not None or quiet_s <= _FLUSH_AFTER_S:
            return
        ended_s = now - self._timeline.monotonic(open_slice.end)
        if min(quiet_s, ended_s) > LATE_S:
            self._close_slice()
        else:
            open_slice.writer.flush()

    def close(self) -> None:
        """End the open slice, if there is one, with its last packet."""
        self._judge_late(inf)
        self._close_slice()

    def _close_slice(self) -> None:
        if self._slice is not None:
            self._finish(self._slice, self._end)

    def _judge_late(self, now: float) -> None:
        """Take what was set aside, if it is known by now where it belongs."""
        if self._late is None:
            return
        were_held = self._late.were_held_back(now)
        if were_held is None:
            return
        late, self._late = self._late, None
        for index, (run, samples) in enumerate(late.runs):
            self._take(run, samples, was_held=were_held and index == 0)

    def _take(self, run: OpusRun, samples: int, *, was_held: bool = False) -> None:
        gap = self._timeline.place(run, samples, was_held=was_held)
        if gap is None:
            self._counters.packets_ahead += len(run.sizes)
            return
        if gap:
            self._fill_gap(gap)
        self._stereo = is_stereo(run.data)
        end = self._end + samples * len(run.sizes)
        if self._slice is not None and end < self._slice.end:
            self._slice.writer.add(run.data, run.sizes, samples)
            self._end = end
            self._pre_roll.add(run.data, run.sizes, samples)
        else:
            for packet in run.packets():
                self._add(packet, samples)
        self._unwritten_since = min(self._unwritten_since, run.arrival)
        if self._slice is not None and run.last_arrival - self._unwritten_since >= _UNWRITTEN_S:
            self._slice.writer.flush()
            self._unwritten_since = run.last_arrival

    def _add(self, packet: bytes, samples: int) -> None:
        open_slice = self._slice or self._open(self._end)
        open_slice.writer.add(packet, (len(packet),), samples)
        self._end += samples
        self._pre_roll.add(packet, (len(packet),), samples)
        if self._end >= open_slice.end:
            self._finish(open_slice, open_slice.end)
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
            self._pre_roll.fill(start_of_slice, stereo=self._stereo)
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

    def _open(self, start: int) -> _OpenSlice:
        pre_roll = self._pre_roll.before(start, end=self._end)
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
        end = (start // self._slice_samples + 1) * self._slice_samples
        self._slice = _OpenSlice(start, end, writer, growing)
        return self._slice

    def _finish(self, open_slice: _OpenSlice, end: int) -> None:
        self._slice = None  # first: if this breaks, the next packet opens another one
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
