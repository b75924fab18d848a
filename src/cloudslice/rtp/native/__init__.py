"""The native library of the packet path, and its structures as `native.h` has them.

It has none of Python in it and is loaded by ctypes, so one build serves every version of Python.
Calls keep the interpreter's lock, but for `fill`, which may have thousands of datagrams to copy.
"""

import ctypes
import struct
from collections.abc import Iterable
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path

SLOT_BYTES, NAME_BYTES, CONTROL_BYTES = 1536, 32, 32
MESSAGE_BYTES, VECTOR_BYTES = 64, 16
"""Of a struct mmsghdr and a struct iovec."""
MAX_ITEMS = 256
MAX_RUN_PACKETS = 1024
MAX_RUN_BYTES = 65536
AUDIO, VIDEO = 0, 1

ITEM = struct.Struct("@qqdddIIIIHHHBB")
"""A struct item."""

_PATH = Path(__file__).with_name("packets.so")


class NativeLibraryError(ImportError):
    """The library is missing or another version's; the text says what to do."""


class BatchStruct(Structure):
    """A struct batch."""

    _fields_ = (
        ("capacity", c_uint32),
        ("memory", c_void_p),
        ("names", c_void_p),
        ("lengths", c_void_p),
        ("arrivals", c_void_p),
        ("next", c_void_p),
        ("groups", c_void_p),
        ("has_signalling", c_void_p),
        ("last", c_void_p),
        ("buckets", c_void_p),
        ("messages", c_void_p),
        ("vectors", c_void_p),
        ("controls", c_void_p),
        ("items", c_void_p),
        ("run_bytes", c_void_p),
        ("run_sizes", c_void_p),
        ("seed", c_uint32),
        ("size", c_uint32),
        ("grouped", c_uint32),
        ("group_count", c_uint32),
        ("opened", c_int32),
        ("item_count", c_uint32),
        ("is_full", c_bool),
    )
    size: int
    group_count: int
    opened: int
    item_count: int
    is_full: bool


class StreamStruct(Structure):
    """A struct stream: see there what each is."""

    _fields_ = (
        ("next", c_void_p),
        ("ssrc", c_uint32),
        ("kind", c_uint8),
        ("track", c_uint8),
        ("payload_types", c_uint8 * 16),
        ("clock_rate", c_uint32),
        ("counted_in", c_uint32),
        ("base", c_int64),
        ("highest", c_int64),
        ("counted", c_int64),
        ("timestamp", c_int64),
        ("transit", c_double),
        ("jitter", c_double),
        ("last_arrival", c_double),
        ("last_authentic", c_double),
        ("authentic", c_int64),
        ("refused", c_uint32),
        ("expected", c_int64),
        ("media_timestamp", c_int64),
        ("has_media_timestamp", c_bool),
        ("is_in_order", c_bool),
        ("foreign", c_uint64),
        ("read_from", c_int64),
        ("read_highest", c_int64),
        ("thinned_until", c_double),
        ("unread", c_uint64),
    )
    next: int | None
    ssrc: int
    kind: int
    track: int
    clock_rate: int
    counted_in: int
    base: int
    highest: int
    counted: int
    timestamp: int
    jitter: float
    last_arrival: float
    last_authentic: float
    authentic: int
    refused: int
    expected: int
    media_timestamp: int
    has_media_timestamp: bool
    is_in_order: bool
    foreign: int
    read_from: int
    read_highest: int
    thinned_until: float
    unread: int


class PeerStruct(Structure):
    """A struct peer."""

    _fields_ = (
        ("unprotect", c_void_p),
        ("get_roc", c_void_p),
        ("set_roc", c_void_p),
        ("srtp", c_void_p),
        ("streams", c_void_p),
        ("not_authentic", c_uint64),
        ("repeated", c_uint64),
        ("malformed", c_uint64),
    )
    unprotect: int | None
    get_roc: int | None
    set_roc: int | None
    srtp: int | None
    streams: int | None
    not_authentic: int
    repeated: int
    malformed: int

    def listen_to(self, streams: Iterable[StreamStruct]) -> None:
        """Have `receive` know these streams and no others; they must live on."""
        following = None
        for each in streams:
            each.next = following
            following = ctypes.addressof(each)
        self.streams = following


def _load(kind: type[ctypes.CDLL]) -> ctypes.CDLL:
    try:
        library = kind(str(_PATH))
    except OSError as error:
        raise NativeLibraryError(
            f"{error}: the packet path was not built; install cloudslice again (make venv)"
        ) from error
    sizes = (
        ITEM.size,
        *map(ctypes.sizeof, (BatchStruct, StreamStruct, PeerStruct)),
        MESSAGE_BYTES,
        VECTOR_BYTES,
    )
    try:
        found = tuple((c_uint32 * len(sizes)).in_dll(library, "struct_sizes"))
    except ValueError:  # it has nothing of that name
        found = ()
    if found != sizes:
        raise NativeLibraryError(
            f"{_PATH} was built from other sources; install cloudslice again (make venv)"
        )
    return library


_holding = _load(ctypes.PyDLL)
_releasing = _load(ctypes.CDLL)

fill = _releasing.fill
fill.argtypes = (POINTER(BatchStruct), c_int)

prepare = _holding.prepare
prepare.argtypes = (POINTER(BatchStruct),)
prepare.restype = None

clear = _holding.clear
clear.argtypes = (POINTER(BatchStruct),)
clear.restype = None

group = _holding.group
group.argtypes = (POINTER(BatchStruct), c_double, c_double, c_double, c_double)
group.restype = None

receive = _holding.receive
receive.argtypes = (POINTER(BatchStruct), c_int32, POINTER(PeerStruct))
receive.restype = c_int32

open_packet = _holding.open_packet
open_packet.argtypes = (POINTER(BatchStruct), c_int32, POINTER(PeerStruct))

count_packet = _holding.count_packet
count_packet.argtypes = (POINTER(StreamStruct), c_uint16, c_uint32, c_double)
count_packet.restype = c_int64
