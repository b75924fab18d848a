"""Anchors whose media goes into the server by a `Ring`; all else of them is on a real UDP socket.

What the server's filter would have the kernel drop is numbered and counted, and not made. Nothing
is sent again: only a full ring loses packets, and the report tells.
"""

import ctypes
import functools
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pylibsrtp._binding import ffi, lib

from cloudslice.media.tracks import TrackKind
from cloudslice.rtp.socket_filter import THINNED_TO
from cloudslice.rtp.srtp import SrtpContext
from cloudslice_publisher import connection, pacer, publisher, sender
from cloudslice_publisher.media import VideoLoop
from cloudslice_publisher.playback import (
    AUDIO_CLOCK_RATE,
    VIDEO_CLOCK_RATE,
    AudioPlayback,
    VideoPlayback,
)
from cloudslice_publisher.stream import RtpStream
from harness.ring import FlightStruct, OutletStruct, Ring

_INET = struct.Struct("=H2s4s")
"""The used part of a sockaddr_in."""
_NICENESS = 19
_BEAT_S = 0.04
"""Twice the publisher's own, half as often: the server reads more seldom anyway."""
_SLOW_BEAT_S = 0.2
"""So often an anchor does what is due; while all of its video is wanted, with every beat. Packets
have the time at which they were due: to the server it is as if the network were that slow."""
_PROTECT = int(ffi.cast("uintptr_t", ffi.addressof(lib, "srtp_protect")))


@contextmanager
def injecting(path: Path) -> Iterator[None]:
    """Meanwhile publishers put what they send into the ring at `path`.

    They get what CPU time the server leaves, as if they were elsewhere.
    """
    os.nice(_NICENESS)
    ring = Ring(path)
    with (
        patch.object(pacer, "_INTERVAL_S", _BEAT_S),
        patch.object(publisher, "Connection", _InjectingConnection),
        patch.object(sender, "RtpStream", partial(_InjectedStream, ring)),
        patch.object(sender, "AudioSender", _InjectedAudio),
        patch.object(sender, "VideoSender", _InjectedVideo),
    ):
        yield


class _InjectingConnection(connection.Connection):
    """Does nothing most of the time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._slow_beat = 0.0

    def beat(self, now: float) -> None:
        if now >= self._slow_beat or any(each.is_hurried for each in self._senders):
            super().beat(now)
            if self._senders:
                self._slow_beat = now + _SLOW_BEAT_S

    def _begin_media(self, srtp: SrtpContext) -> None:
        super()._begin_media(srtp)
        assert self._socket is not None
        host, port = self._socket.getsockname()
        name = _INET.pack(socket.AF_INET, port.to_bytes(2), socket.inet_aton(host))
        for each in self._senders:
            each._stream.come_from(name)


class _Units:
    """A loop's units in memory, twice, so that what goes on after the end follows there.

    Args:
        units: the RTP payloads of each.
        ticks: from one to the next.
    """

    def __init__(self, units: Sequence[Sequence[bytes]], ticks: int, clock_rate: int) -> None:
        self.count = len(units)
        payloads = [each for unit in units for each in unit] * 2
        self._bytes = ctypes.create_string_buffer(b"".join(payloads))
        self._ends = _numbers(accumulate(map(len, payloads)))
        self._unit_ends = _numbers(accumulate(map(len, [*units, *units])))
        self.flight = FlightStruct(
            payloads=ctypes.addressof(self._bytes),
            ends=ctypes.addressof(self._ends),
            unit_ends=ctypes.addressof(self._unit_ends),
            step=ticks,
            period=ticks / clock_rate,
            thinned_to=1,
        )
        """Shared by all that send the loop, one after the other."""


def _numbers(values: Iterable[int]) -> "ctypes.Array[ctypes.c_uint32]":
    numbers = list(values)
    return (ctypes.c_uint32 * len(numbers))(*numbers)


@functools.cache
def _audio_units(packets: tuple[bytes, ...], ticks: int) -> _Units:
    return _Units([(each,) for each in packets], ticks, AUDIO_CLOCK_RATE)


@functools.cache
def _video_units(loop: VideoLoop, ticks: int) -> _Units:
    units = _Units([frame.payloads for frame in loop.frames], ticks, VIDEO_CLOCK_RATE)
    units.flight.marks_ends = True
    return units


class _InjectedStream(RtpStream):
    """Puts its packets into the ring."""

    def __init__(self, ring: Ring, *, protect: Callable[[bytes], bytes], **options: Any) -> None:
        super().__init__(protect=protect, **options)
        context: SrtpContext = protect.__self__  # type: ignore[attr-defined]
        self.ring = ring
        self._start_wall = time.time() - time.monotonic() + self._start
        self._outlet = OutletStruct(
            protect=_PROTECT,
            srtp=int(ffi.cast("uintptr_t", context._outbound._srtp[0])),
            ssrc=self.ssrc,
            sequence=self._sequence,
            payload_type=self._payload_type,
        )
        self._context = context  # lives as long as what is protected by it

    def come_from(self, name: bytes) -> None:
        """Packets seem to come from this raw socket address."""
        ctypes.memmove(self._outlet.name, name, len(name))

    def number(self, at: float, period: float) -> int:
        """That of the first unit that is due after monotonic second `at`."""
        return math.ceil((at - self._start) / period)

    def put(self, flight: FlightStruct, number: int) -> None:
        """Send units, the first of which is that `number` of the stream; they leave when due."""
        flight.timestamp = (self._first_timestamp + number * flight.step) & 0xFFFFFFFF
        flight.arrival = self._start_wall + number * flight.period
        self.ring.put(self._outlet, flight)

    def sender_report(self, now: float, utc_ms: float, cname: str) -> bytes | None:
        assert self._outlet.refused == 0
        self._packets, self._octets = self._outlet.packets, self._outlet.octets
        return super().sender_report(now, utc_ms, cname)


class _InjectedAudio(sender.AudioSender):
    """Puts all packets of some beats by one call."""

    _stream: _InjectedStream

    def __init__(self, stream: _InjectedStream, playback: AudioPlayback) -> None:
        super().__init__(stream, playback)
        self._units = _audio_units(playback._packets, playback._ticks)
        self.is_hurried = False

    def due(self, now: float) -> Iterator[bytes]:
        playback, flight = self._playback, self._units.flight
        if numbers := playback._schedule.due(now):
            flight.first = (numbers.start + playback._offset) % self._units.count
            flight.count = len(numbers)
            flight.marks_first, playback._was_silent = playback._was_silent, False
            self._stream.put(flight, numbers.start)
        return iter(())


class _InjectedVideo(sender.VideoSender):
    """Puts only what the filter lets through, and that less often if it is little."""

    _stream: _InjectedStream

    def __init__(
        self, kind: TrackKind, stream: _InjectedStream, playback: VideoPlayback, rotation: int
    ) -> None:
        super().__init__(kind, stream, playback, rotation)
        self._units = _video_units(playback._loop, playback._ticks)
        self._was_dropped = False
        self._filters = 0

    @property
    def is_hurried(self) -> bool:
        """Whether all packets are wanted, or were until now."""
        return not (self._was_dropped and self._stream.ring.is_dropped(self.ssrc))

    def due(self, now: float) -> Iterator[bytes]:
        numbers, ring = self._playback._schedule.due(now), self._stream.ring
        is_dropped = ring.is_dropped(self.ssrc)
        if is_dropped != self._was_dropped:
            # What was due under the former filter is put as that would have let it through.
            changed = self._stream.number(
                ring.filtered_at(self._filters + 1), self._units.flight.period
            )
            middle = min(max(changed, numbers.start), numbers.stop)
            self._put(range(numbers.start, middle), now, is_thinned=self._was_dropped)
            numbers = range(middle, numbers.stop)
            self._was_dropped = is_dropped
        self._filters = ring.filters
        self._put(numbers, now, is_thinned=is_dropped)
        return iter(())

    def request_keyframe(self) -> None:
        self.due(time.monotonic())  # frames that are due already are none that it asks for
        super().request_keyframe()

    def _put(self, numbers: range, now: float, *, is_thinned: bool) -> None:
        playback, flight = self._playback, self._units.flight
        flight.thinned_to = THINNED_TO if is_thinned else 1
        while numbers:
            playback._frame(numbers.start, now)  # which may be where the loop goes on from
            flight.first = (numbers.start + playback._offset + playback._shift) % self._units.count
            flight.count = 1 if playback._is_keyframe_wanted else len(numbers)
            self._stream.put(flight, numbers.start)
            numbers = numbers[flight.count :]
