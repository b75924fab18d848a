"""A UDP socket that is read many datagrams at a time, each with the time at which it came.

recvmmsg(2) fills a row of slots in one call; Python's only way to it is `ctypes`. The kernel's
timestamps (SO_TIMESTAMPNS) make a packet's arrival independent of when we come to read it.
"""

import ctypes
import errno
import mmap
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cloudslice.rtp.ice import Address
from cloudslice.rtp.socket_filter import attach, detach
from cloudslice.rtp.srtp import MAX_PACKET

_SLOTS = 8192
"""Datagrams of one `read`: what 500 anchors send in 200 ms, when most of their video is dropped
early. Slots take memory once they are used."""
_SLOT_BYTES = 1536
_CALL_LIMIT = 1024
"""recvmmsg takes no more at a time."""
_SO_TIMESTAMPNS = 35
_OLDEST_S = 0.3
"""Arrivals before that are held to be later. So after a stall of ours there is time left to have a
missing packet sent again, and a step of the wall clock moves no packet further."""


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _MessageHeader), ("length", ctypes.c_uint32))


_MESSAGE_BYTES = ctypes.sizeof(_Message)
_NAME = struct.Struct("=28s4x")
"""A sockaddr_in or sockaddr_in6, filled up to its slot."""
_CONTROL = struct.Struct("=16xqq")
"""A cmsghdr of SCM_TIMESTAMPNS; seconds and nanoseconds of the wall clock."""
_INET = struct.Struct("=H2s4s20x")
"""Family, port and host of a sockaddr_in."""
_INET6 = struct.Struct("=4xI16sI")
"""Flow, host and scope of a sockaddr_in6, whose family and port are in the same places."""

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
)


class DatagramSocket:
    """A UDP socket and a row of slots that it is read into. Never waits."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket = sock
        self.family = sock.family
        self.send = sock.sendto
        """`socket.socket.sendto`."""
        memory = mmap.mmap(-1, _SLOTS * _SLOT_BYTES)
        names = mmap.mmap(-1, _SLOTS * _NAME.size)
        controls = mmap.mmap(-1, _SLOTS * _CONTROL.size)
        self._memory = memoryview(memory)
        self._names = memoryview(names)
        self._controls = memoryview(controls)
        self._vectors = (_IoVector * _SLOTS)()
        self._messages = (_Message * _SLOTS)()
        data_at, names_at, controls_at = map(_address_of, (memory, names, controls))
        for index, vector in enumerate(self._vectors):
            vector.base = data_at + index * _SLOT_BYTES
            vector.length = MAX_PACKET
            header = self._messages[index].header
            header.name = names_at + index * _NAME.size
            header.name_length = _NAME.size
            header.vectors = ctypes.addressof(vector)
            header.vector_count = 1
            header.control = controls_at + index * _CONTROL.size
            header.control_length = _CONTROL.size
        self._unused = bytes(self._messages)
        words = memoryview(self._messages).cast("B").cast("I")
        self._length_words = words[_Message.length.offset // 4 :: _MESSAGE_BYTES // 4]
        self._lengths: list[int] = []
        self._now = self._since_wall = 0.0
        self.size = 0
        """How many datagrams were read the last time."""
        self.is_used = False
        """Whether any datagram was ever read."""

    @property
    def port(self) -> int:
        """The UDP port that it is bound to."""
        port: int = self._socket.getsockname()[1]
        return port

    def filter(self, program: Sequence[bytes]) -> None:
        """Have the kernel see to what comes by a program of `socket_filter`, in place of a former
        one; raises OSError."""
        attach(self._socket, program)

    def unfilter(self) -> None:
        """Let everything through again."""
        detach(self._socket)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self, now: float) -> bool:
        """Take in what there is by monotonic second `now`; whether that was all.

        Raises:
            OSError: there is nothing but an error, of an earlier datagram that was sent.
        """
        # What the kernel has changed in the headers it would take for what it may use.
        ctypes.memmove(self._messages, self._unused, self.size * _MESSAGE_BYTES)
        # Both clocks at once: filling takes milliseconds when much has come.
        self._now, self._since_wall = now, now - time.time()
        self.size, is_all = self._fill()
        if self.size:
            self.is_used = True
            self._lengths = self._length_words[: self.size].tolist()
        return is_all

    def sources(self) -> Mapping[bytes, Sequence[int]]:
        """The slots of what was read, in order, by the raw socket address that it came from (see
        `unpack_source`)."""
        slots: dict[bytes, list[int]] = defaultdict(list)
        names = self._names[: self.size * _NAME.size]
        for slot, (source,) in enumerate(_NAME.iter_unpack(names)):
            slots[source].append(slot)
        return slots

    def datagrams(self, slots: Sequence[int]) -> Iterator[tuple[memoryview, float]]:
        """What is in these slots, and when it came (monotonic second).

        The views are of memory that the next `read` overwrites.
        """
        memory, lengths, controls = self._memory, self._lengths, self._controls
        since_wall, now = self._since_wall, self._now
        oldest = now - _OLDEST_S
        for slot in slots:
            seconds, nanoseconds = _CONTROL.unpack_from(controls, slot * _CONTROL.size)
            arrival = since_wall + seconds + nanoseconds * 1e-9
            if not oldest <= arrival <= now:
                arrival = max(oldest, min(now, arrival))
            start = slot * _SLOT_BYTES
            yield memory[start : start + lengths[slot]], arrival

    def _fill(self) -> tuple[int, bool]:
        """How many slots are filled, and whether the socket is empty."""
        count = 0
        descriptor = self._socket.fileno()
        first = ctypes.addressof(self._messages)
        while count < _SLOTS:
            room = min(_CALL_LIMIT, _SLOTS - count)
            got = _recvmmsg(
                descriptor, first + count * _MESSAGE_BYTES, room, socket.MSG_DONTWAIT, None
            )
            if got < 0:
                code = ctypes.get_errno()
                if code != errno.EAGAIN and not count:
                    raise OSError(code, errno.errorcode.get(code, ""))
                return count, True
            count += got
            if got < room:
                return count, True
        return count, False


def unpack_source(source: bytes) -> Address:
    """A raw socket address as `socket` has it."""
    family, port, host = _INET.unpack(source)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port)
    flow, host, scope = _INET6.unpack(source)
    return socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port), flow, scope


def _address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
