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

_LIMIT = 850
"""SSRCs in a program: some 2,600 of the 4,096 instructions that it may have, and not more than
those however the SSRCs are chosen."""
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
        self._released: dict[int, list[VideoReceiver]] = {}
        """Those let through since the last update."""
        self._is_refused = False
        self.complete_from = 0.0
        """The monotonic second from which on all packets come that were let through last."""

    def update(self, sessions: Iterable[Session], now: float) -> None:
        """Thin out what may be from monotonic second `now` on, and nothing else."""
        self._thin(_find(sessions, now))
        self._released.clear()

    def release(self) -> None:
        """Let those through that a key frame is wanted of by now; the others stay as they are."""
        wanted = {
            ssrc: receivers
            for ssrc, receivers in self._thinned.items()
            if any(each.is_wanted for each in receivers)
        }
        if wanted:
            self._released |= wanted
            self._thin({s: r for s, r in self._thinned.items() if s not in wanted})

    def restore(self, now: float) -> None:
        """Thin out again what was released and may be by monotonic second `now`. Cheaper than
        `update`, and blind to an SSRC that somebody else has taken since."""
        done = {
            ssrc: receivers
            for ssrc, receivers in self._released.items()
            if all(each.ssrc == ssrc and each.may_be_thinned(now) for each in receivers)
        }
        if done:
            self._released = {s: r for s, r in self._released.items() if s not in done}
            self._thin(self._thinned | done)

    def _thin(self, by_ssrc: dict[int, list[VideoReceiver]]) -> None:
        ssrcs = tuple(sorted(by_ssrc)[:_LIMIT])
        thinned = {ssrc: by_ssrc[ssrc] for ssrc in ssrcs}
        if thinned == self._thinned or self._is_refused:
            return
        receivers = {*_flatten(self._thinned), *_flatten(thinned)}
        for receiver in _flatten(thinned):
            receiver.thinned_until = float("inf")
        self._thinned = thinned if self._filter(ssrcs) else {}
        self.complete_from = self._clock.monotonic() + _MARGIN_S
        for receiver in receivers.difference(_flatten(self._thinned)):
            receiver.thinned_until = self.complete_from

    def _filter(self, ssrcs: tuple[int, ...]) -> bool:
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
