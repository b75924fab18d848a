"""The filter of system calls, run as Linux runs it; for machines that no test runs on, too."""

import struct

import pytest

from cloudslice.slicing.pictures.seccomp import ARCHITECTURES, Architecture, program, rules

PID = 4711
ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
EVERY_ARCHITECTURE = pytest.mark.parametrize(
    "architecture", ARCHITECTURES.values(), ids=[*ARCHITECTURES]
)


def run(code: bytes, audit_code: int, number: int, *arguments: int) -> int:
    """What a filter in classic BPF says to a system call."""
    data = struct.pack("<IIQ6Q", number, audit_code, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = [*struct.iter_unpack("=HBBI", code)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = steps[at]
        at += 1
        if operation == 0x20:
            [accumulator] = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            assert operation == 0x06
            return int(value)


def verdict(architecture: Architecture, number: int, *arguments: int) -> int:
    return run(program(architecture, rules(PID)), architecture.audit_code, number, *arguments)


@EVERY_ARCHITECTURE
def test_a_call_is_allowed_if_it_is_in_the_list(architecture: Architecture) -> None:
    free = {rule.call for rule in rules(PID) if not rule.mask}
    conditional = {rule.call for rule in rules(PID) if rule.mask}
    assert free | conditional == set(architecture.calls)
    allowed = {architecture.calls[call] for call in free}
    for number in range(600):
        if number not in {architecture.calls[call] for call in conditional}:
            assert verdict(architecture, number) == (ALLOW if number in allowed else KILL)


@EVERY_ARCHITECTURE
def test_another_numbering_is_none(architecture: Architecture) -> None:
    """A program may make calls as 32-bit programs do, or as x32 ones do."""
    code = program(architecture, rules(PID))
    read = architecture.calls["read"]
    assert run(code, architecture.audit_code, read) == ALLOW
    assert run(code, 0x4000_0003, read) == KILL
    assert run(code, architecture.audit_code, read | 0x4000_0000) == KILL


@EVERY_ARCHITECTURE
@pytest.mark.parametrize("call", ["mmap", "mprotect"])
@pytest.mark.parametrize(
    ("protection", "expected"), [(0, ALLOW), (3, ALLOW), (4, KILL), (5, KILL), (7, KILL)]
)
def test_memory_may_not_be_executable(
    architecture: Architecture, call: str, protection: int, expected: int
) -> None:
    assert verdict(architecture, architecture.calls[call], 0, 4096, protection) == expected


@EVERY_ARCHITECTURE
def test_it_can_kill_nobody_but_itself(architecture: Architecture) -> None:
    tgkill = architecture.calls["tgkill"]
    assert verdict(architecture, tgkill, PID, PID, 6) == ALLOW
    assert verdict(architecture, tgkill, PID + 1, PID + 1, 9) == KILL
