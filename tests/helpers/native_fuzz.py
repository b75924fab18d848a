"""Drives the native library with random datagrams while a sanitizer watches it.

    python -m helpers.native_fuzz SEED [--beyond a-datagram | --beyond a-slot]

The library must have been compiled with AddressSanitizer; then all of its memory has fences, and
what is behind a slot's datagram may not be read. The same SEED is the same run. With --beyond it is
made to read beyond something, which must be noticed.
"""

import argparse
import ctypes
import random
import socket
import time
from collections import Counter
from typing import Any, cast

from cloudslice.webrtc import native
from cloudslice.webrtc.native import MAX_EVENTS, PATH_BYTES, library
from cloudslice.webrtc.native import native_events as events
from cloudslice.webrtc.native.native_events import (
    Datagram,
    Event,
    Missing,
    Packet,
    Refused,
    Run,
    Stranger,
    Unknown,
)
from cloudslice.webrtc.native.native_port import NativePeer, NativePort, NativeStream, StreamKind
from cloudslice.webrtc.srtp import SrtpContext

_ROUNDS = 60
"""With a port of each number of slots."""
_SLOTS = (1, 3, 40, 200, 5000)
_LONGEST = 65_507
"""Bytes that UDP carries over IPv4."""
_SSRCS = (0xA0, 0xA1, 0xB0, 0xB1, 0xDEAD)
_MANY_EVENTS = MAX_EVENTS - 1000
_TO_BE_SEEN = (
    *("Run", "Packet", "Unknown", "Refused", "Datagram", "Stranger", "Missing"),
    *("read", "long", "adopted", "many events", "much output", "long runs", "roll-overs tried"),
    *("peers freed within events", "streams freed within events"),
)

_Unprotect = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
)
_SetRoc = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
_GetRoc = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
)


class Fuzz:
    """Peers that send anything, and what is received of it."""

    def __init__(self, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._next = dict.fromkeys(_SSRCS, 0)
        self._paths = [self._dice.randbytes(PATH_BYTES) for _ in range(6)]
        self._callbacks = _Unprotect(self._open), _SetRoc(self._set_roc), _GetRoc(self._get_roc)
        self._srtp = cast(SrtpContext, self)
        self._is_calm = False
        self._now = 0.0

    def run(self, slots: int) -> None:
        """Rounds of putting datagrams in and taking in what is there."""
        self._port = NativePort(slots)
        self._peers: dict[int, NativePeer] = {}
        self._streams: dict[int, list[NativeStream]] = {}
        for _ in range(_ROUNDS):
            self._disturb()
            if self._dice.random() < 0.2:
                self._read()
            else:
                self._put(slots)
            self._take_in()
        for ssrc in (0xA0, 0xB0):  # as much as there can be of events and of what they point to
            self._put(slots, ssrc=ssrc, is_long=ssrc == 0xA0)
            self._take_in()
        if self._dice.random() < 0.5:
            self._put(slots)  # nobody takes it in
        for owner in list(self._peers):
            self._free_peer(owner)
        self._port.close()

    @property
    def native_functions(self) -> tuple[int, int, int, int]:
        """As an SrtpContext has them."""
        found = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in self._callbacks)
        unprotect, set_roc, get_roc = found
        return unprotect, set_roc, get_roc, 0x5EED

    def _take_in(self) -> None:
        self._now += self._dice.choice([0, 0.01, 0.08, 0.5, 3])
        while True:
            count = library.port_process(self._port.pointer, self._now)
            found = list(events.take_events(self._port._events, count))
            if not found:
                break
            self._note(found)
            for each in found:
                self._act(each)
        self._port.clear()

    def _note(self, found: list[Event]) -> None:
        assert len(found) <= MAX_EVENTS
        self.seen.update(type(each).__name__ for each in found)
        runs = [each.run for each in found if isinstance(each, Run)]
        assert all(sum(run.sizes) == len(run.data) for run in runs)
        self.seen["many events"] += len(found) >= _MANY_EVENTS
        self.seen["much output"] += sum(len(run.data) for run in runs) > 3_000_000
        self.seen["long runs"] += any(len(run.sizes) == 1024 for run in runs)

    def _act(self, event: Event) -> None:
        dice = self._dice
        match event:
            case Stranger() if self._peers:
                if dice.random() < 0.5:
                    peer = dice.choice(list(self._peers.values()))
                    self.seen["adopted"] += peer.adopt(event)
                if dice.random() < 0.2:
                    dice.choice(list(self._peers.values())).add_path(event.path)
            case Unknown() | Refused() if event.owner in self._peers and dice.random() < 0.5:
                self._add_stream(event.owner, event.ssrc)
            case Datagram() if event.owner in self._peers and dice.random() < 0.5:
                self._peers[event.owner].set_srtp(self._srtp)
            case Run() | Packet() | Missing() if dice.random() < 0.02:
                self._free_something(event.owner)
            case _:
                pass

    def _free_something(self, owner: int) -> None:
        if self._streams.get(owner) and self._dice.random() < 0.7:
            self._free_stream(owner)
            self.seen["streams freed within events"] += 1
        elif owner in self._peers:
            self._free_peer(owner)
            self.seen["peers freed within events"] += 1

    def _disturb(self) -> None:
        """Peers, paths and streams come and go."""
        dice = self._dice
        while len(self._peers) < 2 or dice.random() < 0.1:
            self._add_peer()
        for owner, peer in list(self._peers.items()):
            for path in self._paths:
                if dice.random() < 0.3:
                    dice.choice([peer.add_path, peer.add_path, peer.remove_path])(path)
            if dice.random() < 0.5:
                self._add_stream(owner, dice.choice(_SSRCS))
            for stream in self._streams[owner]:
                self._use(peer, stream)
            if dice.random() < 0.05:
                self._free_peer(owner)

    def _add_peer(self) -> None:
        owner = self._dice.randrange(1 << 32)
        self._peers[owner] = NativePeer(self._port, owner)
        self._streams[owner] = []
        if self._dice.random() < 0.8:
            self._peers[owner].set_srtp(self._srtp)

    def _use(self, peer: NativePeer, stream: NativeStream) -> None:
        dice = self._dice
        if dice.random() < 0.3:
            stream.read(is_read=dice.random() < 0.8)
        if dice.random() < 0.2:
            stream.report()
            assert (stream.timestamp is None) == (stream.timestamp is None)
        if dice.random() < 0.2:
            self._note(list(self._port.flush_stream(stream)))
        while dice.random() < 0.1 and (found := list(self._port.flush(peer))):
            self._note(found)

    def _add_stream(self, owner: int, ssrc: int) -> None:
        dice = self._dice
        if any(each.ssrc == ssrc for each in self._streams[owner]):
            return
        kind = StreamKind.VIDEO if ssrc in (0xB0, 0xB1) else StreamKind.AUDIO
        stream = self._peers[owner].add_stream(
            ssrc,
            dice.randrange(1 << 32),
            kind,
            clock_rate=dice.choice([48_000, 90_000]),
            payload_types=(111, 127),
            attempts=dice.choice([0, 3]),
            patience_s=dice.choice([0, 0.25, 1e9]),
            level_id=dice.choice([0, 1, 3, 255]),
        )
        stream.read(is_read=dice.random() < 0.8)
        self._streams[owner].append(stream)

    def _free_stream(self, owner: int) -> None:
        self._streams[owner].pop(self._dice.randrange(len(self._streams[owner]))).close()

    def _free_peer(self, owner: int) -> None:
        self._peers.pop(owner).close()
        del self._streams[owner]

    def _put(self, slots: int, *, ssrc: int = 0, is_long: bool = False) -> None:
        """Datagrams of any kind, or a calm or long stream of one SSRC."""
        dice = self._dice
        count = slots if ssrc or dice.random() < 0.5 else dice.randrange(slots + 1)
        paths = dice.choice([self._paths, self._paths[:1], [dice.randbytes(PATH_BYTES)]])
        is_pure = bool(ssrc)
        self._is_calm = is_pure or dice.random() < 0.4
        ssrc = ssrc or dice.choice(_SSRCS)
        payload = b"\xf8" + dice.randbytes(dice.choice([3, 30, 1000]))
        if self._is_calm:
            self._listen(paths[0], ssrc)
            paths = paths[:1]
        for index in range(min(count, 150) if is_long else count):
            if is_long:
                datagram = self._rtp(ssrc, b"\xfb\x83" + bytes(dice.randrange(40_000, _LONGEST)))
            elif is_pure or (self._is_calm and dice.random() < 0.999):
                datagram = self._rtp(ssrc, payload)
            else:
                datagram = self._any()
            self.seen["long"] += len(datagram) > 1536
            arrival = self._now + (
                0.02 * index if self._is_calm else dice.choice([0, 0, 0, 0.02, -5, 1e6])
            )
            if not self._port.put(datagram[:65_536], dice.choice(paths), arrival):
                assert len(datagram) > 65_536 or count > slots

    def _listen(self, path: bytes, ssrc: int) -> None:
        """Have a peer read this SSRC from this path."""
        if not self._peers:
            self._add_peer()
        owner, peer = self._dice.choice(list(self._peers.items()))
        peer.add_path(path)
        peer.set_srtp(self._srtp)
        self._add_stream(owner, ssrc)
        for stream in self._streams[owner]:
            if stream.ssrc == ssrc:
                stream.read(is_read=True)

    def _read(self) -> None:
        """By the kernel."""
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
            receiver.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
            if family == socket.AF_INET6:
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            before = self._port.datagrams
            for _ in range(dice.choice([1, 5, 70])):
                datagram = self._any()
                if dice.random() < 0.1:
                    datagram = (datagram or b"x") * 2000
                sender.sendto(datagram[:_LONGEST], receiver.getsockname())
            self._port.read(receiver.fileno(), self._now, self._now - time.time())
            self.seen["read"] += self._port.datagrams - before

    def _any(self) -> bytes:
        dice = self._dice
        kind = dice.random()
        if kind < 0.15:
            return dice.randbytes(dice.choice([0, 1, 11, 12, 13, 40, 1535, 1536, 1537]))
        packet = self._rtp(dice.choice(_SSRCS))
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
        is_next = calm_payload is not None or dice.random() < 0.95
        step = 1 if is_next else dice.choice([0, 2, -3, 400, 40_000])
        sequence = self._next[ssrc] = self._next[ssrc] + step
        head = bytearray(12)
        head[:2] = 0x80, 111
        head[2:4] = (sequence & 0xFFFF).to_bytes(2)
        head[4:8] = (sequence * 960 & 0xFFFFFFFF).to_bytes(4)
        head[8:12] = ssrc.to_bytes(4)
        if calm_payload is not None:
            return bytes(head) + calm_payload
        head[1] = dice.choice([111] * 20 + [127, 13, 0xEF])
        payload = dice.choice([b"\xf8", b"\xf8", b"\xf8", b"\x08", b"\xfb"]) + dice.randbytes(
            dice.choice([0, 3, 60, 60, dice.randrange(1600), 1275, 1300])
        )
        if dice.random() < 0.1:
            csrcs, words = dice.randrange(16), dice.randrange(8)
            head[0] |= 0x10 | csrcs
            head += dice.randbytes(4 * csrcs) + b"\xbe\xde" + words.to_bytes(2)
            head += dice.randbytes(4 * words)
        if dice.random() < 0.1:
            head[0] |= 0x20
            payload += bytes([dice.randrange(256)])
        return bytes(head + payload)

    def _open(self, _srtp: int | None, _packet: int, length: Any) -> int:
        """What libsrtp may say, and what it never does."""
        dice = self._dice
        if self._is_calm or dice.random() < 0.97:
            length[0] -= 16 if length[0] > 60 else 0  # as if there were an authentication tag
            return 0
        length[0] = dice.choice([-1, 0, 5, 11, length[0] + 1, (1 << 31) - 1, -(1 << 31)])
        return dice.choice([0, 0, 7, 7, 9, 10])

    def _get_roc(self, _srtp: int | None, _ssrc: int, roc: Any) -> int:
        roc[0] = self._dice.choice([0, 0, 1, 7, 0xFFFFFFFF])
        return self._dice.choice([0, 0, 0, 2])

    def _set_roc(self, _srtp: int | None, _ssrc: int, _roc: int) -> int:
        self.seen["roll-overs tried"] += 1
        return 0


def read_beyond_a_datagram() -> None:
    """Tell the library of more bytes than there are."""
    port = NativePort(4)
    library.port_put(port.pointer, b"x" * 100, 2000, bytes(PATH_BYTES), 0.0)


def read_beyond_a_slot() -> None:
    """Read what is behind a datagram in its slot."""
    port = NativePort(4)
    port.put(b"x" * 100, bytes(PATH_BYTES), 0.0)
    (event,) = port.process(0.0)
    assert isinstance(event, Stranger)
    (fields,) = native.EVENT.iter_unpack(ctypes.string_at(port._events, native.EVENT.size))
    ctypes.string_at(fields[0], 101)


def main() -> None:
    """Exit with 0 if nothing was found; a sanitizer that finds something ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("--beyond", choices=["a-datagram", "a-slot"])
    options = parser.parse_args()
    if options.beyond == "a-datagram":
        read_beyond_a_datagram()
    elif options.beyond == "a-slot":
        read_beyond_a_slot()
    else:
        fuzz = Fuzz(options.seed)
        for slots in _SLOTS:
            fuzz.run(slots)
        print(native.__file__, dict(fuzz.seen))
        unseen = [what for what in _TO_BE_SEEN if not fuzz.seen[what]]
        assert not unseen, f"the dice left out {unseen}"


if __name__ == "__main__":
    main()
