"""How a process that makes pictures and serves media uses the interpreter, the C library and the
kernel; for its entry point."""

import ctypes
import gc
import resource
import sys

_TURN_S = 0.0002
_COLLECT_EVERY = 5_000
"""New objects. One tick's packets of a hundred anchors are some hundreds, which live as long."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_KEPT = 32 << 20
"""Bytes; glibc takes no more. A plane of 4K video has 8 MB."""
_KEPT_FREE = 64 << 20


_MOST_FILES = 65_536


def allow_many_files() -> int:
    """Raise the limit of open files as far as the process may; returns the limit then.

    By default it is 1024, for programs that use select(). A thousand connections alone would take
    it, and then a slice could not be opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def take_short_turns() -> None:
    """Let a thread that waits for the interpreter have it after a fifth of a millisecond.

    Writing a slice is some calls to the kernel, and a few microseconds of Python between them. By
    default the thread that does it would wait for up to 5 ms after each call while the event loop
    is busy. (When pictures were made in threads, that cost one picture in six with 500 anchors.)
    """
    sys.setswitchinterval(_TURN_S)


def collect_rarely() -> None:
    """Have the collector leave alone what is there, and look at the rest less often.

    By default it looks at all that a tick has just made, several times a tick, and finds nothing.
    With 100 anchors that was 3 % of the CPU time.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, *gc.get_threshold()[1:])


def keep_freed_memory() -> bool:
    """Have malloc keep large freed blocks for the next ones; False where it is not glibc's.

    By default it gets each of a picture's buffers from the kernel anew and gives it back. For a PNG
    of 1280x720 that was 2,200 page faults and 5 of 18 ms of CPU time; for a JPEG 1,100 and 3 of 12.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
    )
