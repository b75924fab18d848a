"""What readings of a socket brought: datagrams in slots, each source's together, and what the
native library makes of them. No other module knows how it lays them out."""

import ctypes
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from cloudslice.media.tracks import OpusRun
from cloudslice.rtp import native
from cloudslice.rtp.native import NAME_BYTES, SLOT_BYTES, BatchStruct, PeerStruct
from cloudslice.rtp.packet import HEADER_LENGTH, RtpPacket, is_rtp

_SLOTS = 32768
"""Datagrams of one batch: what 900 anchors send from one heartbeat to the next, when most of their
video is dropped early; if there is more, another batch follows at once. Slots take memory once they
are used."""
_SOURCE_BYTES = 28
"""Of a sockaddr_in6, the longest raw socket address."""
_STEP_S = 0.02
_DRIFT = 0.001
"""The wall clock was set if it went on by so much more or less than the monotonic one, which itself
differs from it by so small a part where the time is being corrected."""


class Batch:
    """A row of slots that is filled, and filled further, and cleared, again and again.

    Slots of the same source follow each other by `next`; -1 is the end.
    """

    def __init__(self, slots: int = _SLOTS) -> None:
        self._oldest = -inf
        """No datagram that is read next came before this monotonic second."""
        self._former_clocks: tuple[float, float] | None = None
        """What the monotonic and the wall clock showed at the last reading."""
        self._struct = struct = BatchStruct(capacity=slots, seed=secrets.randbits(32))
        self._pointer = ctypes.pointer(struct)

        def place(field: str, item_bytes: int, count: int = slots) -> memoryview:
            # Memory that was never touched costs nothing.
            memory = mmap.mmap(-1, item_bytes * count)
            setattr(struct, field, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
            return memoryview(memory)

        self.memory = place("memory", SLOT_BYTES)
        """`SLOT_BYTES` each: the datagrams."""
        self.names = place("names", NAME_BYTES)
        """`NAME_BYTES` each: the raw socket addresses that they came from."""
        self.lengths = place("lengths", 4).cast("I")
        """Bytes of each datagram."""
        self.arrivals = place("arrivals", 8).cast("d")
        """When each came: seconds of the wall clock until `group`, then monotonic ones."""
        self.next = place("next", 4).cast("i")
        """By slot, that of the next datagram of the same source, or -1."""
        self._groups = place("groups", 4).cast("i")
        self._has_signalling = place("has_signalling", 1)
        self._run_bytes = place("run_bytes", native.MAX_RUN_BYTES, 1)
        self._run_sizes = place("run_sizes", 2, native.MAX_RUN_PACKETS).cast("H")
        self._items = place("items", native.ITEM.size, native.MAX_ITEMS)
        self._kept = (
            place("last", 4),
            place("buckets", 4, 4 * slots),
            place("messages", native.MESSAGE_BYTES),
            place("vectors", native.VECTOR_BYTES),
            place("controls", native.CONTROL_BYTES),
        )
        native.prepare(self._pointer)

    @property
    def size(self) -> int:
        """How many datagrams there are."""
        return self._struct.size

    @size.setter
    def size(self, size: int) -> None:
        self._struct.size = size

    def clear(self) -> None:
        """Empty all slots."""
        native.clear(self._pointer)

    def fill(self, descriptor: int) -> bool:
        """Fill empty slots from a UDP socket that does not block; whether that was all there is.

        Raises:
            OSError: there is nothing but an error, of an earlier datagram that was sent.
        """
        status: int = native.fill(self._pointer, descriptor)
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        return status == 0

    def put(self, datagram: bytes, source: bytes, wall: float) -> None:
        """Fill a slot with a datagram that came from a raw socket address at `wall`, a second of
        the wall clock; there must be room."""
        slot = self._struct.size
        self.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(datagram)] = datagram
        self.names[slot * NAME_BYTES : (slot + 1) * NAME_BYTES] = source.ljust(NAME_BYTES, b"\0")
        self.lengths[slot] = len(datagram)
        self.arrivals[slot] = wall
        self._struct.size = slot + 1

    def group(self, now: float, wall: float, *, emptied: float = -inf) -> None:
        """Bring what was read since the last time together by source, and its arrivals to monotonic
        time: as the kernel noted them, however long ago, and however the wall clock was set since.

        Args:
            now: monotonic second after the reading.
            wall: what the wall clock showed at that moment.
            emptied: monotonic second before a reading that left nothing: nothing that comes with
                the next one is older.
        """
        former_now, former_wall = self._former_clocks or (now, wall)
        step_s = (now - wall) - (former_now - former_wall)
        is_set = abs(step_s) > _STEP_S + _DRIFT * abs(now - former_now)
        since_wall = now - wall
        former_since_wall = former_now - former_wall if is_set else since_wall
        native.group(self._pointer, now, self._oldest, former_since_wall, since_wall)
        self._former_clocks = now, wall
        if self.size:
            self._oldest = self.arrivals[self.size - 1]
        self._oldest = max(self._oldest, min(emptied, now))

    def take(
        self, is_wanted: Callable[[bytes], bool] = lambda _source: True, *, signalling: bool = False
    ) -> Iterator[tuple[bytes, int]]:
        """By raw socket address, in the order of their coming, the first slot of each source that
        `is_wanted`, or sent STUN or DTLS if `signalling`, and was not taken yet. What is taken
        meanwhile is left out."""
        names, groups, has_signalling = self.names, self._groups, self._has_signalling
        for group in range(self._struct.group_count):
            slot = groups[group]
            if slot >= 0:
                source = bytes(names[slot * NAME_BYTES : slot * NAME_BYTES + _SOURCE_BYTES])
                if (signalling and has_signalling[group]) or is_wanted(source):
                    groups[group] = -1
                    yield source, slot

    def datagram(self, slot: int) -> bytes:
        """What is in a slot; decrypted if `open` did so."""
        start = slot * SLOT_BYTES
        return bytes(self.memory[start : start + self.lengths[slot]])

    def media_ssrc(self, slot: int) -> int | None:
        """The SSRC in the clear header of an RTP packet; None if a slot has something else."""
        start = slot * SLOT_BYTES
        memory = self.memory
        if self.lengths[slot] < HEADER_LENGTH or not is_rtp(memory[start], memory[start + 1]):
            return None
        return int.from_bytes(memory[start + 8 : start + HEADER_LENGTH])

    def receive(self, slot: int, peer: PeerStruct) -> int:
        """Take in a peer's packets from `slot` on, in order; what became of them is in `received`.

        Returns:
            The slot that it stopped at. Its datagram is none that the peer's streams have: STUN,
            DTLS, RTCP, an unknown SSRC, unless there `is_more` only. -1: that was all.
        """
        stopped_at: int = native.receive(self._pointer, slot, peer)
        return stopped_at

    @property
    def is_more(self) -> bool:
        """Whether `receive` stopped as there was too much for one call, and is to go on there."""
        return self._struct.is_full

    def received(self) -> Iterator[tuple[int, RtpPacket | OpusRun]]:
        """What came of the last `receive`, each with its stream's track.

        Runs of an audio stream in which nothing is missing, and packets: of video that is to be
        read, and of audio out of order.
        """
        count = self._struct.item_count
        if count == 0:
            return
        run_bytes, run_sizes = self._run_bytes, self._run_sizes
        for item in native.ITEM.iter_unpack(self._items[: count * native.ITEM.size]):
            (
                _,
                timestamp,
                arrival,
                last,
                earliest,
                at,
                size,
                _,
                sizes_at,
                _,
                _,
                packets,
                track,
                _,
            ) = item
            if packets:
                data = bytes(run_bytes[at : at + size])
                sizes = run_sizes[sizes_at : sizes_at + packets].tolist()
                yield track, OpusRun(data, sizes, timestamp, arrival, last, earliest)
            else:
                yield track, self._packet(item)

    def open(self, slot: int, peer: PeerStruct) -> RtpPacket | None:
        """The decrypted packet of an SSRC that none of the peer's streams has; None if it is
        refused. `receive` takes it from its slot, when its SSRC is a stream's by then."""
        if native.open_packet(self._pointer, slot, peer) < 0:
            return None
        return self._packet(native.ITEM.unpack_from(self._items))

    def restore(self, slot: int, datagram: bytes) -> None:
        """Put back what was in a slot, which `open` overwrites even when it refuses the packet."""
        self.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(datagram)] = datagram
        self.lengths[slot] = len(datagram)

    def _packet(self, item: tuple[Any, ...]) -> RtpPacket:
        memory = self.memory
        (
            sequence,
            timestamp,
            arrival,
            _,
            _,
            at,
            size,
            body_at,
            _,
            body_size,
            profile,
            _,
            _,
            second,
        ) = item
        return RtpPacket(
            second & 0x7F,
            second >= 0x80,
            sequence,
            timestamp,
            bytes(memory[at : at + size]),
            arrival,
            bytes(memory[body_at : body_at + body_size]) if body_size else b"",
            profile,
        )
