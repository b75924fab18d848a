"""The native library's objects: a port, its peers, and their streams."""

import ctypes
import os
import secrets
from collections.abc import Collection, Iterator
from enum import IntEnum
from weakref import WeakSet

from cloudslice.webrtc.native import (
    PeerState,
    Report,
    StreamState,
    library,
    port_read,
)
from cloudslice.webrtc.native.native_events import Event, Stranger, take_events
from cloudslice.webrtc.srtp import SrtpContext

_NO_TIMESTAMP = -(1 << 63)


class StreamKind(IntEnum):
    """How the packets of a stream come out: Opus as runs, video one by one while it is read."""

    AUDIO = 0
    VIDEO = 1


class FreedError(RuntimeError):
    """What was freed is used: an error in our code, of which the process is not to die."""


class _Native:
    """Something of the library's, until it is freed."""

    def __init__(self, pointer: int | None) -> None:
        if pointer is None:
            raise MemoryError
        self._pointer: int | None = pointer

    @property
    def is_freed(self) -> bool:
        """Whether it can be used no more."""
        return self._pointer is None

    @property
    def pointer(self) -> int:
        """For the library.

        Raises:
            FreedError
        """
        if self._pointer is None:
            raise FreedError(type(self).__name__)
        return self._pointer


class NativePort(_Native):
    """Where datagrams are read and taken in. Call `close` at last, after all its peers'.

    Args:
        slots: datagrams of one reading. A slot takes memory once it is used.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(library.port_new(slots, secrets.randbits(64)))
        self._datagrams = 0
        self._events: int = library.port_events(self.pointer)

    def close(self) -> None:
        """Free its memory; harmless when that was done."""
        if not self.is_freed:
            self._datagrams = self.datagrams
            library.port_free(self.pointer)
            self._pointer = None

    @property
    def datagrams(self) -> int:
        """How many were read so far."""
        return self._datagrams if self.is_freed else library.port_datagrams(self.pointer)

    def read(self, descriptor: int, now: float, since_wall: float) -> bool:
        """Read what has come to a UDP socket; whether that was all.

        Args:
            descriptor: of a socket that does not block.
            now: monotonic second.
            since_wall: seconds that the monotonic clock shows more than the wall clock.

        Raises:
            OSError: there is nothing but an error, of an earlier datagram that was sent.
        """
        status: int = port_read(self.pointer, descriptor, now, since_wall)
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        return status == 0

    def drained(self, now: float, since_wall: float) -> None:
        """All sockets were empty at monotonic second `now`: what comes later has arrived later."""
        library.port_drained(self.pointer, now, since_wall)

    def put(self, datagram: bytes, path: bytes, arrival: float) -> bool:
        """Have a datagram taken in as if it had come on `path` at monotonic second `arrival`;
        False if there is no room."""
        taken: bool = library.port_put(self.pointer, datagram, len(datagram), path, arrival)
        return taken

    def process(self, now: float) -> Iterator[Event]:
        """Take in what was read, and do what is due at monotonic second `now`. Call it again, when
        these events have been acted on, until there are none."""
        return take_events(self._events, library.port_process(self.pointer, now))

    def clear(self) -> None:
        """Empty the slots, when there are no more events."""
        library.port_clear(self.pointer)

    def flush(self, peer: "NativePeer") -> Iterator[Event]:
        """Hand out all audio of a peer that was taken in, waiting for nothing. Call it again until
        there is none."""
        return take_events(self._events, library.peer_flush(peer.pointer))

    def flush_stream(self, stream: "NativeStream") -> Iterator[Event]:
        """Hand out all audio of a stream that was taken in, waiting for nothing."""
        return take_events(self._events, library.stream_flush(stream.pointer))


class NativePeer(_Native):
    """One peer connection's part in the library. Call `close` when it is not needed any more.

    Args:
        port: where its datagrams come in.
        owner: a number by which events name it.
    """

    def __init__(self, port: NativePort, owner: int) -> None:
        super().__init__(library.peer_new(port.pointer, owner))
        self.owner = owner
        self._state = library.peer_state(self.pointer).contents
        self._srtp: SrtpContext | None = None
        self._streams: WeakSet[NativeStream] = WeakSet()

    def close(self) -> None:
        """Free it with its streams; harmless when that was done. Their `state` stays as it was."""
        if not self.is_freed:
            for each in list(self._streams):
                each.close()
            self._state = PeerState.from_buffer_copy(self._state)
            library.peer_free(self.pointer)
            self._pointer = self._srtp = None

    @property
    def state(self) -> PeerState:
        """To be read only."""
        state: PeerState = self._state
        return state

    def add_path(self, path: bytes) -> None:
        """What comes on `path` is this peer's from now on."""
        if not library.peer_add_path(self.pointer, path):
            raise MemoryError

    def remove_path(self, path: bytes) -> None:
        """What comes on `path` is nobody's; harmless if it is not this peer's."""
        library.peer_remove_path(self.pointer, path)

    def set_srtp(self, srtp: SrtpContext) -> None:
        """How its RTP packets are opened."""
        self._srtp = srtp  # lives as long as the library may use it
        library.peer_set_srtp(self.pointer, *srtp.native_functions)

    def adopt(self, stranger: Stranger) -> bool:
        """Whether a stranger's RTP packet is authentic, of one of this peer's streams; its path is
        the peer's then."""
        adopted: bool = library.peer_adopt(self.pointer, stranger.slot, stranger.reading)
        return adopted

    def add_stream(
        self,
        ssrc: int,
        track: int,
        kind: StreamKind,
        *,
        clock_rate: int,
        payload_types: Collection[int] = (),
        attempts: int,
        patience_s: float = 0,
        level_id: int = 0,
    ) -> "NativeStream":
        """Receive an SSRC.

        Args:
            ssrc: not received yet.
            track: a number by which events name the stream.
            kind: audio or video.
            clock_rate: of its RTP timestamps.
            payload_types: those of Opus; packets of others are counted and dropped.
            attempts: how often a missing packet is asked for.
            patience_s: how long later audio packets wait for a missing one, since it was noticed.
            level_id: of the header extension that tells audio levels (RFC 6464); 0: there is none.
        """
        bits = bytearray(16)
        for each in payload_types:
            bits[each // 8] |= 1 << each % 8
        pointer = library.stream_new(
            self.pointer, ssrc, track, kind, clock_rate, bytes(bits), attempts, patience_s, level_id
        )
        stream = NativeStream(pointer, ssrc)
        self._streams.add(stream)
        return stream


class NativeStream(_Native):
    """One SSRC. Freed with its peer, or by `close` before; then only `state` is to be used."""

    def __init__(self, pointer: int | None, ssrc: int) -> None:
        super().__init__(pointer)
        self.ssrc = ssrc
        self._state = library.stream_state(pointer).contents

    def close(self) -> None:
        """Forget it; harmless when that was done. `state` stays as it was."""
        if not self.is_freed:
            self._state = StreamState.from_buffer_copy(self._state)
            library.stream_free(self.pointer)
            self._pointer = None

    @property
    def state(self) -> StreamState:
        """To be read only."""
        state: StreamState = self._state
        return state

    def read(self, *, is_read: bool) -> None:
        """Hand out a video's packets from now on, or no more."""
        library.stream_read(self.pointer, is_read)

    @property
    def timestamp(self) -> int | None:
        """The extended timestamp of the last Opus packet in order; None before the first one."""
        timestamp: int = library.stream_timestamp(self.pointer)
        return None if timestamp == _NO_TIMESTAMP else timestamp

    def report(self) -> Report | None:
        """What to report since the last call (RFC 3550, 6.4.1); None before the first packet."""
        report = Report()
        return report if library.stream_report(self.pointer, ctypes.byref(report)) else None
