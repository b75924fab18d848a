"""The port's socket, with packets that no kernel has received among those that one has."""

import socket
import time

import numpy as np

from cloudslice.rtp.datagrams import DatagramSocket
from harness.ring import Ring

_INSTRUCTION = np.dtype([("code", "u2"), ("jumps", "u2"), ("operand", "u4")])
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06


class InjectedSocket(DatagramSocket):
    """Fills the slots that `recvmmsg` has left empty with what waits in the ring.

    It overrides a private method, in the place of that one system call: all that the server does
    before and after is its own.
    """

    def __init__(self, sock: socket.socket, ring: Ring) -> None:
        super().__init__(sock)
        self._ring = ring

    def filter(self, program: bytes) -> None:
        super().filter(program)
        started = time.thread_time_ns()
        self._ring.set_filter(dropped_ssrcs(program))
        self._ring.add_taking(time.thread_time_ns() - started)

    def unfilter(self) -> None:
        super().unfilter()
        self._ring.set_filter(frozenset())

    def _fill(self) -> bool:
        is_emptied = super()._fill()
        started = time.thread_time_ns()
        is_emptied = self._ring.take(self.batch) and is_emptied
        self._ring.add_taking(time.thread_time_ns() - started)
        return is_emptied


def dropped_ssrcs(program: bytes) -> frozenset[int]:
    """The SSRCs that a program of `socket_filter` compares with and drops for."""
    instructions = np.frombuffer(program, _INSTRUCTION)
    compares = instructions["code"][:-1] == _JUMP_IF_EQUAL
    drops = (instructions["code"][1:] == _RETURN) & (instructions["operand"][1:] == 0)
    return frozenset(instructions["operand"][:-1][compares & drops].tolist())
