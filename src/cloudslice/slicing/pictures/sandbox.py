"""Takes from the calling process whatever it does not need to make pictures."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

from cloudslice.slicing.pictures.seccomp import forbid_other_calls

_NICENESS = 5
"""More than the server has: where all of a core is wanted, a worker has a quarter of it."""
_OOM_SCORE = 1000
"""When memory is short, the kernel ends a worker before anything else."""
_MEMORY_FOR_A_PICTURE = 768 << 20
"""Bytes of address space beside what the process has when it begins. 8K of noise takes 440 MB."""

_MOST_DESCRIPTORS = 1 << 20

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15


def set_apart(parent: int, name: bytes) -> None:
    """Make the process end with its parent, go after all others, and keep out of their signals.

    Args:
        parent: its process id as the parent knows it.
        name: what `top` shows, up to 15 bytes.

    Raises:
        SystemExit: the parent is gone already.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)
    libc.prctl(_PR_SET_NAME, name, 0, 0, 0)
    # A service manager's signals go to all processes of a service; the server ends its workers.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.nice(_NICENESS)
    with suppress(OSError):  # there may be no /proc
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def confine() -> str:
    """Leave the process nothing but memory, time, and what is open as descriptor 0.

    Irrevocable. What is imported afterwards, opened or started, ends the process.

    Returns:
        what of it could not be had here, or "".
    """
    address_space = _address_space() + _MEMORY_FOR_A_PICTURE
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.closerange(3, _MOST_DESCRIPTORS)
    for kind, limit in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _limit(kind, limit)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        forbid_other_calls()
    except OSError as error:
        return f"seccomp: {error.strerror or error}"
    return ""


def _limit(kind: int, limit: int) -> None:
    """To `limit`, or to less if the process was started with less."""
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        limit = min(limit, highest)
    resource.setrlimit(kind, (limit, limit))


def _address_space() -> int:
    """Bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
