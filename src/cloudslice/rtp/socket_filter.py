"""Classic BPF programs that have the kernel drop packets before they are queued for us.

A filter of SO_ATTACH_FILTER sees a datagram from its UDP header on and returns how many bytes of it
to keep. It needs no privileges.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

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


def thinning_program(ssrcs: Sequence[int]) -> list[bytes]:
    """Instructions that keep one in `THINNED_TO` RTP packets of `ssrcs`, and all else.

    Args:
        ssrcs: ascending.
    """
    return [
        _instruction(_LOAD_LENGTH, 0),
        _instruction(_JUMP_IF_AT_LEAST, _SHORTEST, if_false=1),
        _instruction(_JUMP, 1),
        _instruction(_RETURN, _ALL),
        *_keep(_LOAD_HALF, _SEQUENCE_AT, THINNED_TO - 1, 0),
        *_keep(_LOAD_BYTE, _FLAGS_AT, 0xC0, 0x00),  # STUN, DTLS (RFC 7983)
        *_keep(_LOAD_BYTE, _TYPE_AT, 0xE0, 0xC0),  # RTCP (RFC 5761, 4)
        _instruction(_LOAD_WORD, _SSRC_AT),
        *_search(ssrcs),
    ]


def attach(sock: socket.socket, program: Sequence[bytes]) -> None:
    """Have the program see to all datagrams that come from now on, in place of an earlier one.

    Raises:
        OSError: the kernel does not take it.
    """
    code = ctypes.create_string_buffer(b"".join(program))
    argument = _PROGRAM.pack(len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)


def detach(sock: socket.socket) -> None:
    """Let everything through again."""
    with contextlib.suppress(OSError):  # there was none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _keep(load: int, position: int, mask: int, value: int) -> list[bytes]:
    """Keep a datagram in which the bits of `mask` are those of `value`."""
    return [
        _instruction(load, position),
        _instruction(_AND, mask),
        _instruction(_JUMP_IF_EQUAL, value, if_false=1),
        _instruction(_RETURN, _ALL),
    ]


def _search(ssrcs: Sequence[int]) -> list[bytes]:
    """Drop a packet whose SSRC, loaded already, is among these: a binary search."""
    if len(ssrcs) <= _LINEAR:
        comparisons = [
            each
            for ssrc in ssrcs
            for each in (
                _instruction(_JUMP_IF_EQUAL, ssrc, if_false=1),
                _instruction(_RETURN, 0),
            )
        ]
        return [*comparisons, _instruction(_RETURN, _ALL)]
    middle = len(ssrcs) // 2
    lower, upper = _search(ssrcs[:middle]), _search(ssrcs[middle:])
    # Conditional jumps reach 255 instructions, others any.
    return [
        _instruction(_JUMP_IF_AT_LEAST, ssrcs[middle], if_false=1),
        _instruction(_JUMP, len(lower)),
        *lower,
        *upper,
    ]


def _instruction(code: int, operand: int, *, if_false: int = 0) -> bytes:
    """`if_false`: how many of the next instructions are left out then."""
    return _INSTRUCTION.pack(code, 0, if_false, operand)
