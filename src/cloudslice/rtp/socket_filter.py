"""Classic BPF programs that have the kernel drop packets before they are queued for us.

A filter of SO_ATTACH_FILTER sees a datagram from its UDP header on and returns how many bytes of it
to keep. It needs no privileges.
"""

import contextlib
import ctypes
import functools
import socket
import struct
from bisect import bisect_left

from cloudslice.rtp.packet import HEADER_LENGTH

THINNED_TO = 8
"""One packet of so many is kept: those whose sequence number is a multiple of it."""

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
# linux/bpf_common.h: a class, a size or an operation, and a source.
_LOAD_LENGTH = 0x80
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD, _AND, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP, _RETURN = (
    0x30, 0x28, 0x20, 0x54, 0x15, 0x35, 0x05, 0x06,
)  # fmt: skip
_FLAGS_AT, _TYPE_AT, _SEQUENCE_AT, _SSRC_AT = (8 + at for at in (0, 1, 2, 8))
"""In an RTP packet behind its UDP header."""
_SHORTEST = 8 + HEADER_LENGTH
_ALL = 0xFFFFFFFF
_LINEAR = 4
"""So few SSRCs are compared one by one."""
_REMEMBERED = 16
"""The code to compare with so few is remembered, some 600 bytes."""


def thinning_program(ssrcs: tuple[int, ...]) -> bytes:
    """Instructions that keep one in `THINNED_TO` RTP packets of `ssrcs`, and all else.

    Args:
        ssrcs: ascending.
    """
    return _BEGINNING + _search(ssrcs)


def attach(sock: socket.socket, program: bytes) -> None:
    """Have the program see to all datagrams that come from now on, in place of an earlier one.

    Raises:
        OSError: the kernel does not take it.
    """
    code = ctypes.create_string_buffer(program)
    argument = _PROGRAM.pack(_count(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)


def detach(sock: socket.socket) -> None:
    """Let everything through again."""
    with contextlib.suppress(OSError):  # there was none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _search(ssrcs: tuple[int, ...]) -> bytes:
    """Drop a packet whose SSRC, loaded already, is among these: a binary search.

    The SSRCs are parted by the highest bit that they do not share, so that most parts stay the same
    when a few SSRCs come or go.
    """
    if len(ssrcs) <= _REMEMBERED:
        return _search_few(ssrcs)
    return _part(ssrcs)


@functools.lru_cache(1024)
def _search_few(ssrcs: tuple[int, ...]) -> bytes:
    if len(ssrcs) > _LINEAR:
        return _part(ssrcs)
    comparisons = [
        _instruction(_JUMP_IF_EQUAL, ssrc, if_false=1) + _instruction(_RETURN, 0) for ssrc in ssrcs
    ]
    return b"".join(comparisons) + _instruction(_RETURN, _ALL)


def _part(ssrcs: tuple[int, ...]) -> bytes:
    bit = (ssrcs[0] ^ ssrcs[-1]).bit_length() - 1
    first_upper = ssrcs[-1] >> bit << bit
    middle = bisect_left(ssrcs, first_upper)
    lower, upper = _search(ssrcs[:middle]), _search(ssrcs[middle:])
    # Conditional jumps reach 255 instructions, others any.
    to_upper = _instruction(_JUMP_IF_AT_LEAST, first_upper, if_false=1)
    return to_upper + _instruction(_JUMP, _count(lower)) + lower + upper


def _keep(load: int, position: int, mask: int, value: int) -> bytes:
    """Keep a datagram in which the bits of `mask` are those of `value`."""
    return b"".join(
        (
            _instruction(load, position),
            _instruction(_AND, mask),
            _instruction(_JUMP_IF_EQUAL, value, if_false=1),
            _instruction(_RETURN, _ALL),
        )
    )


def _count(code: bytes) -> int:
    return len(code) // _INSTRUCTION.size


def _instruction(code: int, operand: int, *, if_false: int = 0) -> bytes:
    """`if_false`: how many of the next instructions are left out then."""
    return _INSTRUCTION.pack(code, 0, if_false, operand)


_BEGINNING = b"".join(
    (
        _instruction(_LOAD_LENGTH, 0),
        _instruction(_JUMP_IF_AT_LEAST, _SHORTEST, if_false=1),
        _instruction(_JUMP, 1),
        _instruction(_RETURN, _ALL),
        _keep(_LOAD_HALF, _SEQUENCE_AT, THINNED_TO - 1, 0),
        _keep(_LOAD_BYTE, _FLAGS_AT, 0xC0, 0x00),  # STUN, DTLS (RFC 7983)
        _keep(_LOAD_BYTE, _TYPE_AT, 0xE0, 0xC0),  # RTCP (RFC 5761, 4)
        _instruction(_LOAD_WORD, _SSRC_AT),
    )
)
