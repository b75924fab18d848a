"""How the C library handles what is freed; for the entry point of a process that makes pictures."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_KEPT = 32 << 20
"""Bytes; glibc takes no more. A plane of 4K video has 8 MB."""
_KEPT_FREE = 64 << 20


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
