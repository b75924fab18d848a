"""Drives the native library with random datagrams while a sanitizer watches it.

    python -m helpers.native_fuzz SEED [--overrun]

The library must have been compiled with AddressSanitizer. What it may use lies in memory of exactly
the size that it was told, and what it may not read is poisoned: the rest of each slot behind its
datagram. The same SEED is the same run. With --overrun it is told of a slot that is not there,
which must be noticed.
"""

import argparse
import contextlib
import ctypes
import random
import socket
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cloudslice.rtp import native
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import (
    MAX_ITEMS,
    MAX_RUN_PACKETS,
    SLOT_BYTES,
    PeerStruct,
    StreamStruct,
)
from cloudslice.rtp.reception import Reception

from cloudslice.media.tracks import OpusRun
from helpers.rtp import GetRoc, SetRoc, Unprotect

_ROUNDS = 80
"""With a batch of each capacity."""
_CAPACITIES = (1, 3, 40, 100, 1500)
_TO_BE_SEEN = (
    *("runs", "in runs", "packets", "full of items", "full of packets", "full of bytes"),
    *("filled", "others", "opened", "roll-overs tried"),
)
_MAX_PACKET = 1500
_AUDIO, _VIDEO, _STRANGER = (0xA0, 0xA1), 0xB0, 0xDEAD

_process = ctypes.CDLL(None)
_poison, _unpoison = (
    getattr(_process, f"__asan_{name}_memory_region") for name in ("poison", "unpoison")
)
for _function in (_poison, _unpoison):
    _function.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def _exact_memory(_descriptor: int, size: int) -> memoryview:
    """In place of mmap.mmap, whose memory ends with a page."""
    return memoryview((ctypes.c_uint8 * size)()).cast("B")


class Fuzz:
    """A peer that sends anything, and what is received of it."""

    def __init__(self, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._next = dict.fromkeys((*_AUDIO, _VIDEO), 0)
        self._is_calm = False
        self._unprotect = Unprotect(self._open)
        self._get_roc, self._set_roc = GetRoc(self._count_roll_overs), SetRoc(self._set_roll_overs)
        self._peer = PeerStruct(
            **{
                name: ctypes.cast(getattr(self, f"_{name}"), ctypes.c_void_p).value
                for name in ("unprotect", "get_roc", "set_roc")
            }
        )
        self._streams = [
            self._stream(native.AUDIO, _AUDIO[0]),
            self._stream(native.AUDIO, _AUDIO[1]),
            self._stream(native.VIDEO, _VIDEO),
        ]
        self._peer.listen_to(self._streams)

    def run(self, capacity: int) -> None:
        """Rounds of filling a batch and taking in what is there."""
        batch = Batch(capacity)
        memory = _address(batch)
        for _ in range(_ROUNDS):
            _unpoison(memory, capacity * SLOT_BYTES)
            if self._dice.random() < 0.7:
                batch.clear()
            self._is_calm = False
            if self._dice.random() < 0.2:
                self._fill(batch)
            else:
                self._put(batch)
            for slot in range(capacity):
                used = batch.lengths[slot] if slot < batch.size else 0
                _poison(memory + slot * SLOT_BYTES + used, SLOT_BYTES - used)
            self._disturb_streams()
            batch.group(100.0, wall=1e9)
            for _source, slot in batch.take(
                lambda _source: self._is_calm or self._dice.random() < 0.8
            ):
                self._take_in(batch, slot)
        _unpoison(memory, capacity * SLOT_BYTES)

    def _stream(self, kind: int, ssrc: int) -> StreamStruct:
        reception = Reception(kind, 48_000, self._dice.choice([1, 8]))
        reception.restart(ssrc)
        stream = reception.stream
        stream.expected = stream.read_highest = -1
        stream.is_in_order = True
        for number in (111, 127):
            stream.payload_types[number // 8] |= 1 << number % 8
        return stream

    def _put(self, batch: Batch) -> None:
        dice = self._dice
        room = len(batch.lengths) - batch.size
        count = room if dice.random() < 0.5 else dice.randrange(room + 1)
        ssrc = dice.choice([None, *_AUDIO, _VIDEO])
        sources = dice.choice([1, 2, count or 1]) if ssrc is None else 1
        self._is_calm = ssrc is not None and batch.size == 0 and dice.random() < 0.5
        calm_payload = b"\xf8" + dice.randbytes(dice.choice([3, 1000]))
        for _ in range(count):
            if ssrc is None or (not self._is_calm and dice.random() < 0.01):
                datagram = self._any()
            else:
                datagram = self._rtp(ssrc, calm_payload if self._is_calm else None)
            source = dice.randrange(sources).to_bytes(28, dice.choice(["big", "little"]))
            batch.put(datagram, source, 1e9 - dice.choice([0, 0.1, -5, 1e6, float("-inf")]))

    def _fill(self, batch: Batch) -> None:
        """By the kernel, with datagrams among them that are too long."""
        dice = self._dice
        host = dice.choice(["127.0.0.1", "::1"])
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with (
            socket.socket(family, socket.SOCK_DGRAM) as receiver,
            socket.socket(family, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind((host, 0))
            receiver.setblocking(False)
            receiver.setsockopt(socket.SOL_SOCKET, 35, dice.choice([0, 1]))  # SO_TIMESTAMPNS
            before = batch.size
            count = dice.randrange(min(len(batch.lengths) - before, 20) + 1)
            for _ in range(count):
                sender.sendto(self._any() * dice.choice([1, 1, 3]), receiver.getsockname())
            batch.fill(receiver.fileno())
            assert batch.size == before + count
        self.seen["filled"] += count

    def _any(self) -> bytes:
        dice = self._dice
        kind = dice.random()
        if kind < 0.1:
            return dice.randbytes(dice.choice([0, 1, 11, 12, 13, 40]))
        packet = self._rtp(dice.choice([*_AUDIO, *_AUDIO, _VIDEO, _STRANGER]))
        if kind < 0.4:
            mutated = bytearray(packet)
            for _ in range(dice.randrange(1, 4)):
                mutated[dice.randrange(min(len(mutated), 20))] = dice.randrange(256)
            packet = bytes(mutated)
        if kind < 0.5:
            packet = packet[: dice.randrange(len(packet) + 1)]
        return packet

    def _rtp(self, ssrc: int, calm_payload: bytes | None = None) -> bytes:
        """In order mostly, with all that a header may have now and then; nothing of it if it is
        calm."""
        dice = self._dice
        is_next = calm_payload is not None or dice.random() < 0.99
        step = 1 if is_next else dice.choice([0, 2, -3, 40_000])
        sequence = self._next[ssrc] = self._next.get(ssrc, 0) + step
        head = bytearray(12)
        head[0] = 0x80
        head[1] = 111
        head[2:4] = (sequence & 0xFFFF).to_bytes(2)
        head[4:8] = (sequence * 960 & 0xFFFFFFFF).to_bytes(4)
        head[8:12] = ssrc.to_bytes(4)
        if calm_payload is not None:
            return bytes(head) + calm_payload
        head[1] = dice.choice([111] * 20 + [127, 13, 0xEF])
        payload = dice.choice([b"\xf8", b"\xf8", b"\xf8", b"\x08", b"\xfb"]) + dice.randbytes(
            dice.choice([0, 3, 60, 60, dice.randrange(1200), 1275, 1300])
        )
        if dice.random() < 0.1:
            csrcs, words = dice.randrange(16), dice.randrange(8)
            head[0] |= 0x10 | csrcs
            head += dice.randbytes(4 * csrcs) + b"\xbe\xde" + words.to_bytes(2)
            head += dice.randbytes(4 * words)
        if dice.random() < 0.1:
            head[0] |= 0x20
            payload += bytes([dice.randrange(256)])
        return bytes(head + payload)[:_MAX_PACKET]

    def _disturb_streams(self) -> None:
        dice = self._dice
        for stream in self._streams:
            if stream.kind == native.VIDEO:
                stream.read_from = max(0, stream.highest + dice.choice([-10, 0, 0, 20]))
                stream.thinned_until = dice.choice([float("-inf")] * 3 + [99.9])
            elif dice.random() < 0.5:
                stream.expected = -1
                stream.is_in_order = dice.random() < 0.9
                stream.has_media_timestamp = dice.random() < 0.5

    def _take_in(self, batch: Batch, slot: int) -> None:
        dice = self._dice
        while slot >= 0:
            stopped_at = batch.receive(slot, self._peer)
            self._note(batch)
            if stopped_at < 0 or batch.is_more:
                slot = stopped_at
                continue
            self.seen["others"] += 1
            datagram = batch.datagram(stopped_at)
            is_rtp = len(datagram) >= 12 and datagram[0] >> 6 == 2
            if is_rtp and dice.random() < 0.7 and batch.open(stopped_at, self._peer) is not None:
                self.seen["opened"] += 1
                if dice.random() < 0.3:
                    with self._adopted(int.from_bytes(datagram[8:12])):
                        batch.receive(stopped_at, self._peer)
                        self._note(batch)
            slot = batch.next[stopped_at]

    @contextlib.contextmanager
    def _adopted(self, ssrc: int) -> Iterator[None]:
        stream = self._dice.choice(self._streams)
        former, stream.ssrc = stream.ssrc, ssrc
        yield
        stream.ssrc = former

    def _note(self, batch: Batch) -> None:
        """Look at all that was received, and bring audio back into order."""
        media = [media for _track, media in batch.received()]
        runs = [each for each in media if isinstance(each, OpusRun)]
        in_runs = sum(len(run.sizes) for run in runs)
        assert all(sum(run.sizes) == len(run.data) for run in runs)
        self.seen.update({"runs": len(runs), "in runs": in_runs, "packets": len(media) - len(runs)})
        if batch.is_more:
            is_of_items, is_of_packets = len(media) == MAX_ITEMS, in_runs == MAX_RUN_PACKETS
            what = "items" if is_of_items else "packets" if is_of_packets else "bytes"
            self.seen[f"full of {what}"] += 1
        for stream in self._streams[:2]:
            if not stream.is_in_order and self._dice.random() < 0.5:
                stream.expected = self._dice.choice([-1, stream.highest + 1])
                stream.is_in_order = True

    def _open(self, _srtp: int | None, _packet: int, length: Any) -> int:
        """What libsrtp may say, and what it never does."""
        dice = self._dice
        if self._is_calm or dice.random() < 0.99:
            length[0] -= 16 if length[0] > 60 else 0  # as if there were an authentication tag
            return 0
        length[0] = dice.choice([-1, 0, 5, 11, _MAX_PACKET + 1, (1 << 31) - 1, -(1 << 31)])
        return dice.choice([0, 0, 7, 9, 10])

    def _count_roll_overs(self, _srtp: int | None, _ssrc: int, roc: Any) -> int:
        roc[0] = self._dice.choice([0, 0, 1, 7, 0xFFFFFFFF])
        return self._dice.choice([0, 0, 0, 2])

    def _set_roll_overs(self, _srtp: int | None, _ssrc: int, _roc: int) -> int:
        self.seen["roll-overs tried"] += 1
        return 0


def _address(batch: Batch) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(batch.memory))


def main() -> None:
    """Exit with 0 if nothing was found; a sanitizer that finds something ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("--overrun", action="store_true")
    options = parser.parse_args()
    with patch("cloudslice.rtp.batch.mmap", SimpleNamespace(mmap=_exact_memory)):
        if options.overrun:
            batch = Batch(4)
            batch._struct.capacity += 1
            native.prepare(batch._pointer)
            return
        fuzz = Fuzz(options.seed)
        for capacity in _CAPACITIES:
            fuzz.run(capacity)
    print(native.__file__, dict(fuzz.seen))
    assert all(fuzz.seen[what] for what in _TO_BE_SEEN), "the dice left something out"


if __name__ == "__main__":
    main()
