"""How memory is collected and kept; for the entry point of a process that serves for months."""

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_KEPT = 32 << 20
"""Bytes; glibc takes no more. A plane of 4K video has 8 MB."""
_KEPT_FREE = 64 << 20
_NEW_OBJECTS = 20_000
"""Between collections of the youngest: some MB, should all of it be in cycles."""


def keep_freed_memory() -> bool:
    """Have malloc keep large freed blocks for the next ones; False where it is not glibc's.

    By default it gets each of a picture's buffers from the kernel anew and gives it back: 2,200
    page faults for a PNG of 1280x720, a quarter of its CPU time. What is kept is bounded by what
    was in use at one time, some 10 MB for each picture thread.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
    )


def collect_rarely() -> None:
    """Have the garbage collector look at what is new, and seldom; call it when all is imported.

    Hardly anything here is in cycles, so references free it at once. With Python's defaults the
    collector took an eighth of the event loop's time at 100 anchors, for next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
