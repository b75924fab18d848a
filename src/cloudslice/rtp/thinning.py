"""Has the kernel drop most packets of the videos that nobody reads.

Three of four packets are video, and between two pictures none is read: all that is needed of them
is that they come, how many are lost, and SRTP's roll-over. One packet in eight tells as much. What
is not queued for us is not copied, costs no wake-up and no look at its header.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog

from cloudslice.clock import Clock
from cloudslice.rtp.datagrams import DatagramSocket
from cloudslice.rtp.session import Session
from cloudslice.rtp.socket_filter import thinning_program
from cloudslice.rtp.video import VideoReceiver

_log = structlog.get_logger(__name__)

_LIMIT = 1000
"""SSRCs in a program: some 3,000 of the 4,096 instructions that it may have."""
_MARGIN_S = 0.0002
"""For a packet that was on its way through the former program when it was replaced. A near sender's
key frame begins half a millisecond after it was asked for."""


class Thinning:
    """Keeps the sockets' filter as the receivers need it.

    A packet that one of them needs is never dropped by mistake for long: SSRCs are thinned out
    only if all that have or announced them agree.

    Args:
        sockets: those that the receivers' packets come from.
        clock: tells when a new filter works.
    """

    def __init__(self, sockets: Sequence[DatagramSocket], clock: Clock) -> None:
        self._sockets = sockets
        self._clock = clock
        self._thinned: dict[int, list[VideoReceiver]] = {}
        self._is_refused = False
        self.complete_from = 0.0
        """The monotonic second from which on all packets come that were let through last."""

    def update(self, sessions: Iterable[Session], now: float) -> None:
        """Thin out what may be from monotonic second `now` on, and nothing else."""
        self._thin(_find(sessions, now))

    def release(self) -> None:
        """Let those through that a key frame is wanted of by now; the others stay as they are."""
        self._thin(
            {
                ssrc: receivers
                for ssrc, receivers in self._thinned.items()
                if not any(each.is_wanted for each in receivers)
            }
        )

    def _thin(self, by_ssrc: dict[int, list[VideoReceiver]]) -> None:
        if by_ssrc == self._thinned or self._is_refused:
            return
        receivers = {*_flatten(self._thinned), *_flatten(by_ssrc)}
        for receiver in _flatten(by_ssrc):
            receiver.thinned_until = float("inf")
        self._thinned = by_ssrc if self._filter(sorted(by_ssrc)[:_LIMIT]) else {}
        self.complete_from = self._clock.monotonic() + _MARGIN_S
        for receiver in receivers.difference(_flatten(self._thinned)):
            receiver.thinned_until = self.complete_from

    def _filter(self, ssrcs: Sequence[int]) -> bool:
        """Whether the kernel thins these out now."""
        program = thinning_program(ssrcs)
        try:
            for each in self._sockets:
                if each.is_used:
                    each.filter(program)
        except OSError as error:
            _log.warning("packets cannot be dropped early, which costs more CPU", error=str(error))
            for each in self._sockets:
                each.unfilter()
            self._is_refused = True
        return not self._is_refused


def _find(sessions: Iterable[Session], now: float) -> dict[int, list[VideoReceiver]]:
    """By SSRC, the receivers that may be thinned out."""
    found: dict[int, list[VideoReceiver]] = defaultdict(list)
    kept: set[int] = set()
    for session in sessions:
        for announced, receiver in session.streams:
            if receiver is None or receiver.ssrc is None:
                kept.update(announced)
            # Not isinstance: of an abstract class that is slow, and all sessions are looked at.
            elif type(receiver) is VideoReceiver and receiver.may_be_thinned(now):
                found[receiver.ssrc].append(receiver)
            else:
                kept.add(receiver.ssrc)
    for ssrc in kept & found.keys():
        del found[ssrc]
    return found


def _flatten(by_ssrc: dict[int, list[VideoReceiver]]) -> list[VideoReceiver]:
    return [receiver for receivers in by_ssrc.values() for receiver in receivers]
