"""The native library of the packet path, as Python calls it. `native.h` says what each function
does.

The library has none of Python in it and is loaded by ctypes, so one build serves every version of
Python. Calls keep the interpreter's lock, except `port_read`, which may copy thousands of
datagrams.
"""

import ctypes
import struct
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

PATH_BYTES = 44
MAX_EVENTS = 4096

EVENT = struct.Struct("@PPPPqqdddIIIIIIIHHBB?qdIIB7x")
"""A struct event."""

_LIBRARY = Path(__file__).with_name("packets.so")


class NativeLibraryError(ImportError):
    """The library is missing or another version's; the text says what to do."""


class StreamState(Structure):
    """A struct stream_state: to be read only."""

    _fields_ = (
        ("last_arrival", c_double),
        ("last_authentic", c_double),
        ("highest", c_int64),
        ("received", c_int64),
        ("unread", c_uint64),
        ("late", c_uint64),
        ("lost", c_uint64),
        ("foreign", c_uint64),
        ("given_up", c_uint64),
    )
    last_arrival: float
    last_authentic: float
    highest: int
    received: int
    unread: int
    late: int
    lost: int
    foreign: int
    given_up: int


class PeerState(Structure):
    """A struct peer_state: to be read only."""

    _fields_ = (
        ("last_authentic", c_double),
        ("not_authentic", c_uint64),
        ("repeated", c_uint64),
        ("malformed", c_uint64),
        ("unassigned", c_uint64),
        ("path", c_uint8 * PATH_BYTES),
    )
    last_authentic: float
    not_authentic: int
    repeated: int
    malformed: int
    unassigned: int
    path: ctypes.Array[c_uint8]


class Report(Structure):
    """The figures of a report block (RFC 3550, 6.4.1): a struct report. Jitter in RTP ticks."""

    _fields_ = (
        ("highest", c_int64),
        ("packets_lost", c_int64),
        ("fraction_lost", c_uint32),
        ("jitter", c_uint32),
    )
    highest: int
    packets_lost: int
    fraction_lost: int
    jitter: int


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "port_new": (c_void_p, (c_uint32, c_uint64)),
    "port_free": (None, (c_void_p,)),
    "port_events": (c_void_p, (c_void_p,)),
    "port_drained": (None, (c_void_p, c_double, c_double)),
    "port_put": (c_bool, (c_void_p, c_char_p, c_uint32, c_char_p, c_double)),
    "port_process": (c_uint32, (c_void_p, c_double)),
    "port_clear": (None, (c_void_p,)),
    "port_datagrams": (c_uint64, (c_void_p,)),
    "peer_new": (c_void_p, (c_void_p, c_uint32)),
    "peer_free": (None, (c_void_p,)),
    "peer_state": (POINTER(PeerState), (c_void_p,)),
    "peer_add_path": (c_bool, (c_void_p, c_char_p)),
    "peer_remove_path": (None, (c_void_p, c_char_p)),
    "peer_set_srtp": (None, (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
    "peer_adopt": (c_bool, (c_void_p, c_uint32, c_uint32)),
    "peer_flush": (c_uint32, (c_void_p,)),
    "stream_new": (
        c_void_p,
        (c_void_p, c_uint32, c_uint32, c_int, c_uint32, c_char_p, c_uint32, c_double, c_uint8),
    ),
    "stream_flush": (c_uint32, (c_void_p,)),
    "stream_free": (None, (c_void_p,)),
    "stream_state": (POINTER(StreamState), (c_void_p,)),
    "stream_read": (None, (c_void_p, c_bool)),
    "stream_timestamp": (c_int64, (c_void_p,)),
    "stream_report": (c_bool, (c_void_p, POINTER(Report))),
    "send_on_path": (c_int, (c_int, c_char_p, c_char_p, c_uint32)),
}


def _load(kind: type[ctypes.CDLL]) -> ctypes.CDLL:
    try:
        loaded = kind(str(_LIBRARY))
    except OSError as error:
        raise NativeLibraryError(
            f"{error}: the packet path was not built; install cloudslice again (make venv)"
        ) from error
    sizes = (EVENT.size, *map(ctypes.sizeof, (StreamState, PeerState, Report)))
    try:
        found = tuple((c_uint32 * len(sizes)).in_dll(loaded, "struct_sizes"))
    except ValueError:  # it has nothing of that name
        found = ()
    if found != sizes:
        raise NativeLibraryError(
            f"{_LIBRARY} was built from other sources; install cloudslice again (make venv)"
        )
    return loaded


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


library = _declare(_load(ctypes.PyDLL))
"""Its functions by their names."""

port_read = _load(ctypes.CDLL).port_read
port_read.restype, port_read.argtypes = c_int, (c_void_p, c_int, c_double, c_double)
