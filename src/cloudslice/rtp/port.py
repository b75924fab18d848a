"""One UDP port for all peers, read on a beat.

Waking costs more than packets do, and a peer's first packet costs more than those that follow at
once, as what it touches is in no cache yet. So the socket is emptied with every heartbeat, and each
peer's datagrams are taken in together. No media is needed sooner: the kernel notes when it came,
and a sender keeps packets for longer than that in case that they are missed. Between heartbeats
there are glances, at those peers alone of whom something is waited for, and who sent a connectivity
check or DTLS; what has come from the others stays in the batch. They are at most 83 ms apart: some
senders wait half a second for an answer, round trip and all, and give up after six of them. While
no session is there, there is no beat.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Sequence
from math import inf
from types import TracebackType
from typing import ParamSpec, Self

import structlog

from cloudslice.clock import HEARTBEAT_S, SOON_S, Clock, until_heartbeat
from cloudslice.faults import Faults
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.binding import bind, own_addresses
from cloudslice.rtp.datagrams import unpack_source
from cloudslice.rtp.ice import Address, StunError, parse_check
from cloudslice.rtp.routes import Routes
from cloudslice.rtp.session import QUICK_BEAT_S, Session
from cloudslice.rtp.thinning import Thinning

_log = structlog.get_logger(__name__)

P = ParamSpec("P")

_REST = 5
"""Times as long as a beat takes it is to the next one..."""
_LONGEST_REST_S = 0.08
"""...but no longer than this, if there is something to do."""
_MOST_READINGS = 8
"""Batches that hold all that a socket's buffer can, and more."""
_ANSWER_S = HEARTBEAT_S / 5
"""A connectivity check waits for no longer than this; a whole part of a heartbeat, so that none is
begun that is not needed."""
_STALL_S = 1.0
"""Nothing but the process's or the machine's standing still keeps a beat for so long."""


class RtpPort:
    """Sends and receives all sessions' datagrams; an asynchronous context manager.

    Args:
        udp_port: bound on all addresses, IPv4 and, where the machine has it, IPv6; 0: any free one.
        advertise_ip: what anchors are told instead of this machine's addresses; may be empty.
        clock: for arrival times.
    """

    def __init__(self, udp_port: int, advertise_ip: str, clock: Clock) -> None:
        self._clock = clock
        self._sockets, self._room = bind(udp_port)
        self.udp_port = self._sockets[0].port
        self._advertise_ip = advertise_ip
        self._sessions = Routes()
        self._urgent: set[Session] = set()
        """Those that wait for something before the next heartbeat."""
        self._heartbeat = 0.0
        """The monotonic second of the next one."""
        self._thinning = Thinning(self._sockets, clock)
        self._timer: asyncio.TimerHandle | None = None
        self._last_beat = self._next_beat = 0.0
        self._is_woken = False
        self._is_taking_in = False
        self._guard = Faults("port")
        self.errors = 0
        """Exceptions that nobody foresaw; logged by their sessions."""
        self.datagrams = 0
        self.foreign = 0
        """Datagrams of nobody that we know, and such as are neither STUN, DTLS nor RTP."""
        self.unsent = 0
        """Datagrams that the socket did not take."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for session in list(self._sessions):
            session.close()
        if self._timer is not None:
            self._timer.cancel()
        for each in self._sockets:
            each.close()

    @property
    def candidates(self) -> list[tuple[str, int]]:
        """The addresses and ports that anchors may reach us by, the best first."""
        if self._advertise_ip:
            return [(self._advertise_ip, self.udp_port)]
        families = {each.family for each in self._sockets}
        return [(host, self.udp_port) for host in own_addresses(families)]

    def add(self, session: Session) -> None:
        """Give `session` the datagrams that are its own, until `remove`."""
        self._sessions.add(session)
        self._urgent.add(session)
        # Only ever sooner: however many come, the reading is not put off.
        if self._timer is None or self._clock.monotonic() + QUICK_BEAT_S < self._next_beat:
            self._schedule(QUICK_BEAT_S)

    def update(self, session: Session) -> None:
        """The session has new ICE credentials: it is found by these from now on."""
        self._sessions.update(session)

    def remove(self, session: Session) -> None:
        """Forget `session`; harmless when it is not there."""
        self._urgent.discard(session)
        self._sessions.remove(session)
        if not self._sessions and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send(self, datagram: bytes, address: Address) -> None:
        """Send at once, or count it as unsent: like the network, the socket may drop."""
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        for each in self._sockets:
            if each.family == family:
                try:
                    each.send(datagram, address)
                except OSError:
                    self.unsent += 1
                return

    def wake(self, session: Session, at: float) -> None:
        """Glance at `session` by monotonic second `at`: it will have something to ask for."""
        if session not in self._sessions:
            return
        self._is_woken = True
        self._urgent.add(session)
        if self._timer is not None and at < self._next_beat:
            self._schedule(max(at - self._clock.monotonic(), 0))

    def read(self) -> bool:
        """Take in what has come; False if there is still more."""
        is_emptied = self._fill()
        self._take_in_all()
        return is_emptied

    def catch_up(self, sessions: Collection[Session]) -> None:
        """Take in what the peers of these sessions have sent so far: before they end, or somebody
        begins or ceases to listen, as else the cut would be at the next heartbeat."""
        for _ in range(_MOST_READINGS):
            # While datagrams are taken in, which may lead here, their batch must not be cleared.
            if self._fill() or self._is_taking_in:
                break
            self._take_in_all()
        self._take_in(lambda source: self._sessions.by_source(source) in sessions)

    def give_feedback(self, now: float) -> float:
        """Let every session send what is due at monotonic second `now`; how many seconds later the
        first of them waits for something, infinitely many if none does."""
        return self._give_feedback(list(self._sessions), now)

    def beat(self, now: float) -> float:
        """Read, and do what is due at monotonic second `now`; how many seconds later to do so, or
        to glance, again at most."""
        return self._come(now, is_glance=False)

    def glance(self, now: float) -> float:
        """The same for those sessions alone that wait for something."""
        return self._come(now, is_glance=True)

    def _come(self, now: float, *, is_glance: bool) -> float:
        before = self.datagrams
        # Where we stood still, sessions are to be heard before they are judged.
        if self._is_woken and now - self._last_beat < _STALL_S:
            # Key frames come while we read what is there, which takes a while.
            self._is_woken = False
            self._attempt(self._thinning.release)
            self._give_feedback(list(self._urgent), now)
            # What comes while we read has come by now, and is not older than what was asked for.
            now = max(now, self._clock.monotonic(), self._thinning.complete_from)
        is_emptied = self._fill()
        self._take_in(
            self._is_urgent, signalling=True
        )  # so that pictures are made while we take in the rest
        if not is_glance or not is_emptied:
            self._take_in_all()
        # Before a key frame is asked for, all of it must be let through.
        if is_glance:
            self._attempt(self._thinning.restore, now)
            delay = self._give_feedback(list(self._urgent), now)
        else:
            self._attempt(self._thinning.update, self._sessions, now)
            delay = self.give_feedback(now)
            self._heartbeat = now + until_heartbeat(now)
        delay = min(delay, self._heartbeat - now, _ANSWER_S)
        since_last, self._last_beat = now - self._last_beat, now
        # The more there is to do, the more is done at once.
        delay = max(delay, min(_LONGEST_REST_S, _REST * (self._clock.monotonic() - now)))
        if taken := self.datagrams - before:
            # The buffer must not run full before we come again, four times as fast as this.
            delay = min(delay, since_last * self._room / 4 / taken)
        return delay if is_emptied else 0

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_beat = self._clock.monotonic() + delay
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        delay = _LONGEST_REST_S
        try:
            delay = self.glance(now) if self._heartbeat - now > SOON_S else self.beat(now)
        except Exception as error:
            self._caught(None, error)
            self._forget_batches()
        finally:  # else nothing would ever be read again
            if self._sessions and self._timer is None:
                self._schedule(delay)

    def _forget_batches(self) -> None:
        """Begin anew after a reading that broke, with as little lost as can be."""
        try:
            self._take_in_all()
        except Exception as error:
            self._caught(None, error)
            for each in self._sockets:
                each.batch.clear()

    def _give_feedback(self, sessions: Sequence[Session], now: float) -> float:
        """How many seconds later the first of these sessions waits for something, if any does."""
        shortest = inf
        for session in sessions:
            patience_s = inf
            try:
                patience_s = session.beat(now)
            except Exception as error:
                self._caught(session, error)
            if patience_s == inf:
                self._urgent.discard(session)
            elif session in self._sessions:
                self._urgent.add(session)
                shortest = min(shortest, patience_s)
        return shortest

    def _fill(self) -> bool:
        """Read until all sockets are empty, which is True, or it has been enough for a beat."""
        is_emptied = True
        self._sessions.forget_ssrcs()
        for each in self._sockets:
            before = each.batch.size
            try:
                is_emptied &= each.read(self._clock)
            except OSError as error:
                _log.debug("udp receive failed", error=str(error))
            self.datagrams += each.batch.size - before
        return is_emptied

    def _is_urgent(self, source: bytes) -> bool:
        session = self._sessions.by_source(source)
        return session is None or session in self._urgent

    def _take_in_all(self) -> None:
        self._take_in(lambda _source: True)
        for each in self._sockets:
            each.batch.clear()

    def _take_in(self, is_wanted: Callable[[bytes], bool], *, signalling: bool = False) -> None:
        """Hand over what has come from those sources, and from those with STUN or DTLS if so."""
        was_taking_in, self._is_taking_in = self._is_taking_in, True
        try:
            for batch in (each.batch for each in self._sockets):
                for source, slot in batch.take(is_wanted, signalling=signalling):
                    self._receive(batch, source, slot)
        finally:
            self._is_taking_in = was_taking_in

    def _receive(self, batch: Batch, source: bytes, slot: int) -> None:
        session = self._sessions.by_source(source)
        try:
            while session is None and slot >= 0:
                session = self._find_by_media(batch, source, slot)
                if session is None:
                    self._receive_other(batch.datagram(slot), source)
                    session = self._sessions.by_source(source)
                    slot = batch.next[slot]
            if session is not None:
                for other in session.receive(batch, slot, source):
                    self._receive_other(other, source)
        except Exception as error:
            self._caught(session, error)

    def _attempt(self, step: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
        """Do what the rest of a beat can do without."""
        try:
            step(*arguments, **named)
        except Exception as error:
            self._caught(None, error)

    def _find_by_media(self, batch: Batch, source: bytes, slot: int) -> Session | None:
        """The session of a peer whose address changed before its next connectivity check: SRTP
        proves that media is its own, from wherever."""
        ssrc = batch.media_ssrc(slot)
        session = None if ssrc is None else self._sessions.by_ssrc(ssrc)
        if session is None or not session.proves(batch, slot):
            return None
        self._sessions.lead(source, session)
        return session

    def _caught(self, session: Session | None, error: Exception) -> None:
        # A bug, ours or a library's: whatever it costs this session, the others' media goes on.
        guard = self._sessions.guard(session) if session is not None else None
        (guard or self._guard).caught(error)
        self.errors += 1

    def _receive_other(self, packet: bytes, source: bytes) -> None:
        kind = packet[0] if packet else 255
        session = self._sessions.by_source(source)
        if kind < 4:  # RFC 7983
            self._receive_stun(packet, source)
        elif session is not None and 20 <= kind <= 63:
            session.receive_dtls(packet)
        else:
            self.foreign += 1

    def _receive_stun(self, packet: bytes, source: bytes) -> None:
        try:
            check = parse_check(packet)
            session = self._sessions.by_ufrag(check.addressed_ufrag)
            if session is not None and session.receive_check(check, unpack_source(source)):
                self._sessions.lead(source, session)
                return
        except StunError:
            pass
        self.foreign += 1
