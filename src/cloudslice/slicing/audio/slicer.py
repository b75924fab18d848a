"""Cuts one anchor's audio into Ogg Opus files that tile its media time.

Packets are copied, never decoded. Each file begins with packets from before its cut, hidden by
pre-skip, so that a decoder has converged at the first audible sample; a packet that straddles a
cut goes into both files.
"""

from collections.abc import Callable
from math import inf

from cloudslice.clock import Clock
from cloudslice.codecs.opus import SAMPLE_RATE, MalformedPacketError, is_stereo, packet_samples
from cloudslice.events import AudioGap, GapFilling, GapReason
from cloudslice.media.tracks import OpusRun
from cloudslice.slices import SliceOrigin
from cloudslice.slicing.audio import gaps
from cloudslice.slicing.audio.clock_faults import ClockFaults
from cloudslice.slicing.audio.one_slice import OneSlice
from cloudslice.slicing.audio.open_slice import OpenSlice
from cloudslice.slicing.audio.preroll import PreRoll
from cloudslice.slicing.audio.real_time import PAUSE_S
from cloudslice.slicing.audio.slice_times import SliceTimes
from cloudslice.slicing.audio.timeline import Placed, Timeline
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.slice_store import SliceStore

_UNWRITTEN_S = 0.85
"""Packets that came this many seconds ago are written at the next tick. The spool gathers them for
0.05 s more, so they are on their way to the disk within a second."""

_CLOSED_AFTER_S = PAUSE_S + 0.5
"""Seconds without a packet after which a slice is ended. Packets are handed over some time after
they came."""

_STALL_S = 1.0
"""Seconds between two ticks; if there are more, the process stood still."""


class AudioSlicer:
    """An `AudioSink` that makes one slice of every `slice_s` seconds in which packets came.

    Slices end at multiples of `slice_s` after the track's first packet, to the sample; after a
    change of length they are counted from where it took effect. The next one begins there; gaps of
    up to `PAUSE_S` are filled. Where packets stop for longer, and at `close`, a slice ends with its
    last packet, and the next one begins with the next packet.
    """

    # A packet touches most of this: without slots it takes more cache lines.
    __slots__ = (
        "_clock",
        "_counters",
        "_end",
        "_faults",
        "_finished_to",
        "_grid_start",
        "_last_packet",
        "_last_tick",
        "_origin",
        "_pre_roll",
        "_publish",
        "_since",
        "_slice",
        "_slice_samples",
        "_store",
        "_timeline",
        "_times",
        "_unwritten_since",
    )

    def __init__(
        self,
        origin: SliceOrigin,
        store: SliceStore,
        clock: Clock,
        slice_s: int,
        counters: SlicingCounters,
        publish: Callable[[AudioGap], object],
        *,
        since: float = -inf,
    ) -> None:
        """
        Args:
            origin: whose audio it is.
            store: takes the slices.
            clock: tells the ticks' time, and labels.
            slice_s: the length of a slice in seconds.
            counters: counts slices, and what packets are odd.
            publish: is told of each gap.
            since: monotonic second; what arrived before it is not sliced. A packet may have waited
                for one that is missing since before the anchor was subscribed to.
        """
        self._origin = origin
        self._store = OneSlice(store)
        self._clock = clock
        self._slice_samples = slice_s * SAMPLE_RATE
        self._grid_start = 0
        """The media position from which slices are counted."""
        self._counters = counters
        self._publish = publish
        self._since = since
        self._faults = ClockFaults(counters, task_id=origin.task_id, user_id=origin.user_id)
        self._timeline = Timeline(self._faults)
        self._times = SliceTimes(clock)
        self._end = 0
        """Media position up to which packets were taken in."""
        self._finished_to = -1
        """The media position at which the last slice ended."""
        self._last_packet = b""
        self._unwritten_since = inf
        """When the first packet came that the slice's file does not hold yet."""
        self._slice: OpenSlice | None = None
        self._last_tick = inf
        self._pre_roll = PreRoll()
        self._pre_roll.fill(0, stereo=False)

    @property
    def slicing(self) -> bool:
        """Whether packets came lately: a slice is open, or one has just ended with a packet."""
        quiet_s = self._clock.monotonic() - self._timeline.last_arrival
        return self._slice is not None or self._timeline.is_deciding or quiet_s <= PAUSE_S

    def on_opus(self, run: OpusRun) -> None:
        """See `AudioSink`. A malformed packet, or some far ahead of real time, are only counted."""
        if run.arrival < self._since:
            return
        try:
            samples = packet_samples(run.data[: run.sizes[0]])
        except MalformedPacketError:
            self._counters.packets_malformed += 1
            return
        self._take(self._timeline.take(run, samples))

    def on_restart(self) -> None:
        """See `AudioSink`."""
        self._take(self._timeline.restart())

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """See `AudioSink`."""
        self._timeline.on_sender_time(timestamp, utc_ms)

    def set_length(self, slice_s: int) -> None:
        """Make slices of `slice_s` seconds from the next one on; the one under way, or that would
        be if packets had not stopped, ends as it was to."""
        samples = slice_s * SAMPLE_RATE
        if samples == self._slice_samples:
            return
        if self._slice is not None:
            self._grid_start = self._slice.end
        elif not self._is_on_grid:
            self._grid_start = self._grid_end(self._end)
        else:
            self._grid_start = self._end
        self._slice_samples = samples

    def tick(self, now: float) -> None:
        """Write what has waited, and end a slice in which packets stopped. Cheap; to be called on
        each tick, when all that came before it was handed over.

        Args:
            now: monotonic second.
        """
        was_stalled = now - self._last_tick > _STALL_S
        self._last_tick = now
        if was_stalled:
            return  # what has come meanwhile may wait in the socket
        if self._timeline.is_deciding:
            self._take(self._timeline.tick(now))
        if self._slice is None or self._timeline.is_deciding:
            return
        if now - self._timeline.last_arrival > _CLOSED_AFTER_S:
            self._close_slice()
        elif now - self._unwritten_since >= _UNWRITTEN_S:
            self._slice.flush()
            self._unwritten_since = self._timeline.last_arrival

    def close(self) -> None:
        """End the open slice, if there is one, with its last packet, and hear nothing more, even if
        the track goes on sending."""
        self._since = inf
        try:
            self._take(self._timeline.settle())
            self._close_slice()
        finally:
            self._store.abandon()

    def _take(self, placed: list[Placed]) -> None:
        for run, samples, gap, stood_still in placed:
            if gap:
                self._take_gap(gap, stood_still=stood_still)
            # What was lost before a slice begins is no slice's.
            lost = run.lost if self._slice is not None else 0
            open_slice = self._slice or self._open(self._end)
            open_slice.note_run(run.levels, samples, lost=lost)
            if self._end + samples * len(run.sizes) < open_slice.end:
                open_slice.add(run.data, run.sizes, samples)
                self._end += samples * len(run.sizes)
                self._pre_roll.add(run.data, run.sizes, samples)
            else:
                for packet in run.packets():
                    self._add(packet, samples)
            self._last_packet = run.data[-run.sizes[-1] :]
            self._unwritten_since = min(self._unwritten_since, run.arrival)

    def _add(self, packet: bytes, samples: int) -> None:
        open_slice = self._slice or self._open(self._end)
        open_slice.add(packet, (len(packet),), samples)
        self._end += samples
        self._pre_roll.add(packet, (len(packet),), samples)
        if self._end >= open_slice.end:
            self._finish(open_slice, open_slice.end)
            if self._end > open_slice.end:
                self._open(open_slice.end)

    def _take_gap(self, samples: int, *, stood_still: bool) -> None:
        start, filling = self._end, GapFilling.SILENCE
        reason = self._why(stood_still=stood_still)
        was_closed = self._slice is None and not self._is_on_grid
        if was_closed or samples > PAUSE_S * SAMPLE_RATE:
            filling = GapFilling.NOTHING
            self._close_slice()
            self._end += samples
            self._pre_roll.fill(self._end, stereo=is_stereo(self._last_packet))
        else:
            if gaps.is_concealed(self._last_packet, samples):
                filling = GapFilling.CONCEALED
            self._fill(samples, reason, is_concealed=filling is GapFilling.CONCEALED)
        start_ms = self._clock.utc_ms(self._timeline.monotonic(start))
        self._publish(AudioGap(self._origin, start_ms, samples, reason, filling))

    def _why(self, *, stood_still: bool) -> GapReason:
        """Why nothing came after the last packet."""
        if stood_still:
            return GapReason.STOOD_STILL
        is_announced = gaps.is_announced(self._last_packet)
        return GapReason.NOT_SENT if is_announced else GapReason.MISSING

    def _fill(self, samples: int, reason: GapReason, *, is_concealed: bool) -> None:
        for packet, size in gaps.fill(self._last_packet, self._end, samples):
            open_slice = self._slice or self._open(self._end)
            inside = min(size, open_slice.end - self._end)
            open_slice.note_filled(inside, reason, is_concealed=is_concealed)
            self._add(packet, size)
            if inside < size and self._slice is not None:
                self._slice.note_filled(size - inside, reason, is_concealed=is_concealed)

    def _open(self, start: int) -> OpenSlice:
        pre_roll = self._pre_roll.before(start, end=self._end)
        start_ms = self._times.expect(self._timeline.monotonic(start))
        self._slice = OpenSlice(
            self._store.grow(self._origin, start_ms),
            start_ms,
            start=start,
            end=self._grid_end(start),
            pre_skip=start - self._end + sum(samples for _, samples in pre_roll),
            pre_roll=pre_roll,
            details=self._sender_time("sender-start-ms", start),
        )
        return self._slice

    @property
    def _is_on_grid(self) -> bool:
        """Whether a slice was to end with the last packet."""
        return (self._end - self._grid_start) % self._slice_samples == 0

    def _grid_end(self, start: int) -> int:
        """Where a slice is to end that begins at `start`."""
        slices = (start - self._grid_start) // self._slice_samples + 1
        return self._grid_start + max(slices, 0) * self._slice_samples

    def _close_slice(self) -> None:
        if self._slice is not None:
            self._finish(self._slice, self._end)

    def _finish(self, open_slice: OpenSlice, end: int) -> None:
        self._slice = None
        timeline = self._timeline
        start_ms, duration_ms = self._times.fix(
            timeline.monotonic(open_slice.start),
            timeline.monotonic(end),
            follows=open_slice.start == self._finished_to,
        )
        self._finished_to = end
        details: dict[str, int | str] = {
            **self._sender_time("sender-start-ms", open_slice.start),
            **self._sender_time("sender-end-ms", end),
        }
        if clock := self._faults.take():
            details["clock"] = clock
        open_slice.finish(end, start_ms, duration_ms, details)
        self._counters.audio_slices += 1

    def _sender_time(self, name: str, position: int) -> dict[str, int]:
        """The sender's UTC at a position by that name, if it has told."""
        utc_ms = self._timeline.sender_utc_ms(position)
        return {} if utc_ms is None else {name: round(utc_ms)}
