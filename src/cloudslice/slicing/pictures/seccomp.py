"""Leaves a process the system calls that making pictures takes, and kills it at any other one.

Linux runs a small program on each system call (seccomp, in "classic BPF"). This one looks at the
call's number and at one of its arguments; it can never be taken off again.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_ON_ALL_THREADS = 1

_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_KILL_PROCESS, _ALLOW = 0x8000_0000, 0x7FFF_0000
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16
"""Where they are in `struct seccomp_data`."""

_PROT_EXEC = 4


@dataclass(frozen=True, slots=True)
class Architecture:
    """How Linux numbers system calls on a kind of machine."""

    audit_code: int
    """AUDIT_ARCH_... of linux/audit.h."""
    seccomp: int
    calls: dict[str, int]
    """The numbers of those that a worker may need."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A system call that is allowed if some bits of one argument's low half are as they must be."""

    call: str
    argument: int = 0
    mask: int = 0
    value: int = 0


def _architecture(audit_code: int, seccomp: int, calls: str) -> Architecture:
    pairs = (each.split("=") for each in calls.split())
    return Architecture(audit_code, seccomp, {name: int(number) for name, number in pairs})


ARCHITECTURES = {
    "x86_64": _architecture(
        0xC000_003E,
        317,
        "read=0 write=1 close=3 mmap=9 mprotect=10 munmap=11 brk=12 rt_sigaction=13 "
        "rt_sigprocmask=14 rt_sigreturn=15 readv=19 writev=20 sched_yield=24 mremap=25 madvise=28 "
        "getpid=39 exit=60 gettid=186 futex=202 sched_getaffinity=204 restart_syscall=219 "
        "clock_gettime=228 clock_nanosleep=230 exit_group=231 tgkill=234 getrandom=318",
    ),
    "aarch64": _architecture(
        0xC000_00B7,
        277,
        "close=57 read=63 write=64 readv=65 writev=66 exit=93 exit_group=94 futex=98 "
        "clock_gettime=113 clock_nanosleep=115 sched_getaffinity=123 sched_yield=124 "
        "restart_syscall=128 tgkill=131 rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 "
        "getpid=172 gettid=178 brk=214 munmap=215 mremap=216 mmap=222 mprotect=226 madvise=233 "
        "getrandom=278",
    ),
}


def rules(process_id: int) -> list[Rule]:
    """What a worker may do: read and write what is open, have memory that holds no program, wait,
    know the time, get random bytes, and end or abort itself."""
    free = (
        "read write readv writev close munmap mremap brk madvise futex sched_yield "
        "sched_getaffinity clock_gettime clock_nanosleep restart_syscall getrandom getpid gettid "
        "rt_sigaction rt_sigprocmask rt_sigreturn exit exit_group"
    )
    return [
        *[Rule(call) for call in free.split()],
        Rule("mmap", argument=2, mask=_PROT_EXEC, value=0),
        Rule("mprotect", argument=2, mask=_PROT_EXEC, value=0),
        Rule("tgkill", argument=0, mask=0xFFFF_FFFF, value=process_id),
    ]


def program(architecture: Architecture, allowed: Iterable[Rule]) -> bytes:
    """The filter: an array of `struct sock_filter`."""
    steps = [
        _step(_LOAD, _AT_ARCHITECTURE),
        _step(_JUMP_IF_EQUAL, architecture.audit_code, if_true=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _AT_NUMBER),
    ]
    for rule in allowed:
        number = architecture.calls[rule.call]
        if not rule.mask:
            steps += [
                _step(_JUMP_IF_EQUAL, number, if_false=1),
                _step(_RETURN, _ALLOW),
            ]
            continue
        steps += [
            _step(_JUMP_IF_EQUAL, number, if_false=5),
            _step(_LOAD, _AT_ARGUMENTS + 8 * rule.argument),
            _step(_AND, rule.mask),
            _step(_JUMP_IF_EQUAL, rule.value, if_false=1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _KILL_PROCESS),
        ]
    return b"".join((*steps, _step(_RETURN, _KILL_PROCESS)))


def forbid_other_calls() -> None:
    """Have the calling process, with all its threads, killed at a system call that `rules` lack.

    Raises:
        OSError: this kernel, or what contains the process, does not let it; the text says why.
    """
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(f"no list of system calls for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    code = program(architecture, rules(os.getpid()))
    array = ctypes.create_string_buffer(code, len(code))
    pointer = ctypes.addressof(array)
    sock_fprog = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, pointer))
    call = ctypes.c_long(architecture.seccomp)
    _check(libc.syscall(call, _SET_MODE_FILTER, _ON_ALL_THREADS, sock_fprog))


def _step(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
