"""One peer that sends us media: its packets, and when it is connected or gone."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from math import inf

from cloudslice.clock import Clock
from cloudslice.media.tracks import TrackKind
from cloudslice.rtp.answer import make_answer
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.datagrams import unpack_source
from cloudslice.rtp.demultiplexer import Demultiplexer
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.feedback import RtcpParseError, SenderReport, parse_rtcp
from cloudslice.rtp.ice import Address, Check, IceCredentials
from cloudslice.rtp.native import PeerStruct
from cloudslice.rtp.packet import HEADER_LENGTH, RtpPacket
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.receivers import make_receiver
from cloudslice.rtp.reporter import Reporter
from cloudslice.rtp.sdp import Offer
from cloudslice.rtp.srtp import RepeatedPacketError, SrtpContext, SrtpError
from cloudslice.rtp.transport import Transport, TransportFailedError

_HALF_THE_SEQUENCE_NUMBERS = 0x8000
_SLOW_INTERVAL_S = 0.1
_MEDIA_FLOWS_S = 1.0
"""While media came so lately, it tells where the peer is, and no nomination does."""
QUICK_BEAT_S = 0.01
"""While a peer connects, which takes some exchanges."""


class SessionState(Enum):
    """Where a session is on its way; it never goes back."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class CloseReason(Enum):
    """Why a session ended."""

    LEFT = "left"
    """The peer said goodbye."""
    LOST = "lost"
    """Nothing authentic came from the peer for too long."""
    FAILED = "failed"
    """The connection was never made."""
    ENDED = "ended"
    """We ended it."""


class Session:
    """Receives what one offer sends.

    Args:
        offer: the peer's.
        certificate: ours.
        send: sends a datagram to an address.
        wake: called with us and the monotonic second by which `beat` is to be called.
        clock: for timeouts and arrival times.
        max_video_bitrate_kbps: told to the sender by REMB.
        consent_timeout_s: the peer is lost when nothing authentic came for so long.
        on_connected: called once, when media can come; the receivers exist from then on.
        on_closed: called once, when the session ends, whoever ended it.
    """

    __slots__ = (
        "_certificate",
        "_clock",
        "_consent_timeout_s",
        "_demultiplexer",
        "_last_authentic",
        "_max_video_bitrate_kbps",
        "_moved_at",
        "_next_slow",
        "_on_closed",
        "_on_connected",
        "_peer",
        "_reporter",
        "_source",
        "_srtp",
        "_tracks",
        "_transport",
        "_wake",
        "offer",
        "receivers",
        "remote_ice",
        "state",
        "streams",
        "unassigned",
    )

    def __init__(
        self,
        offer: Offer,
        *,
        certificate: DtlsCertificate,
        send: Callable[[bytes, Address], None],
        wake: Callable[["Session", float], None],
        clock: Clock,
        max_video_bitrate_kbps: int,
        consent_timeout_s: float,
        on_connected: Callable[["Session"], None],
        on_closed: Callable[["Session", CloseReason], None],
    ) -> None:
        self.offer = offer
        self.remote_ice = offer.ice
        """The peer's."""
        self.state = SessionState.CONNECTING
        self.receivers: dict[TrackKind, Receiver] = {}
        self.streams: Sequence[tuple[Sequence[int], Receiver | None]] = [
            (plan.ssrcs, None) for plan in offer.media
        ]
        """By media section the SSRCs that were announced, and its receiver once there is one."""
        self._transport = Transport(offer, certificate=certificate, send=send, clock=clock)
        self._certificate = certificate
        self._clock = clock
        self._wake = wake
        self._max_video_bitrate_kbps = max_video_bitrate_kbps
        self._consent_timeout_s = consent_timeout_s
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._srtp: SrtpContext | None = None
        self._demultiplexer: Demultiplexer | None = None
        self._peer = PeerStruct()
        self._tracks: Sequence[Receiver] = ()
        """By the number that the native library knows them by."""
        self._reporter = Reporter(max_video_bitrate_kbps)
        self._last_authentic = self._next_slow = clock.monotonic()
        self._source = b""
        """The raw socket address that authentic packets last came from, if we send there."""
        self._moved_at = -inf
        """When the packet came that made it this address."""
        self.unassigned = 0
        """RTP packets of no media section that was agreed on."""

    @property
    def ice(self) -> IceCredentials:
        """Ours."""
        return self._transport.ice

    def answer(self, candidates: Sequence[tuple[str, int]]) -> str:
        """The SDP answer, with the addresses that our port is reached at."""
        return make_answer(
            self.offer,
            ice=self.ice,
            fingerprint=self._certificate.fingerprint,
            candidates=candidates,
            max_video_bitrate_kbps=self._max_video_bitrate_kbps,
        )

    def restart_ice(self, remote: IceCredentials) -> None:
        """The peer has new credentials, perhaps at a new address; `ice` is new, too."""
        self.remote_ice = remote
        self._transport.restart_ice(remote)

    def receive_check(self, check: Check, source: Address) -> bool:
        """Answer a connectivity check that names our ufrag; whether `source` is the peer's now.

        Raises:
            StunError: the check is not the peer's.
        """
        now = self._clock.monotonic()
        media_at = max((each.last_arrival for each in self.receivers.values()), default=-inf)
        former = self._transport.remote
        is_valid = self._transport.receive_check(
            check, source, may_move=now - media_at > _MEDIA_FLOWS_S
        )
        if self._transport.remote is not former:
            self._source = b""
        if is_valid:
            self._last_authentic = now
        return is_valid

    def receive_dtls(self, datagram: bytes) -> None:
        """Take in a datagram of the DTLS range from an address of the peer."""
        try:
            self._transport.receive_dtls(datagram)
        except TransportFailedError:
            self._close(CloseReason.FAILED)
            return
        if self._transport.srtp is not None and self._srtp is None:
            try:
                self._connect(self._transport.srtp)
            except Exception:
                self._close(CloseReason.FAILED)  # half connected, it would be heard by nobody
                raise
        if self._transport.is_closed:
            self._close(CloseReason.LEFT)

    def proves(self, batch: Batch, slot: int) -> bool:
        """Whether the RTP packet in a slot is the peer's although its address does not say so.
        `receive` takes it as it is then; else nothing has happened."""
        if self._srtp is None:
            return False
        original, peer = batch.datagram(slot), self._peer
        counts = peer.not_authentic, peer.repeated, peer.malformed
        if batch.open(slot, peer) is not None:
            return True
        batch.restore(slot, original)
        peer.not_authentic, peer.repeated, peer.malformed = counts
        return False

    def receive(self, batch: Batch, slot: int, source: bytes) -> Iterator[bytes]:
        """Take in SRTP and SRTCP packets of `batch` from `slot` on, which came from an address of
        the peer, and yield what is neither, in its place among them.

        Args:
            batch: what was read.
            slot: the first one's.
            source: the raw socket address that they came from. What we send goes there from now on,
                if it is where the newest authentic packet came from.
        """
        while True:
            if source != self._source:
                self._follow(batch, slot, source)
            slot = batch.receive(slot, self._peer)
            for track, media in batch.received():
                self._tracks[track].receive(media)
            if slot < 0:
                return
            if batch.is_more:
                continue
            datagram = batch.datagram(slot)
            if len(datagram) < HEADER_LENGTH or datagram[0] >> 6 != 2:
                yield datagram
            elif 192 <= datagram[1] <= 223:  # RFC 5761, 4
                self._receive_rtcp(datagram, batch.arrivals[slot], source)
            elif self._find_receiver(batch, slot):
                continue
            slot = batch.next[slot]

    def beat(self, now: float) -> float:
        """Do what is due at monotonic second `now`; how many seconds later to call again at most,
        infinitely many if nothing is waited for.

        What comes is to be read by then, too.
        """
        if self.state is SessionState.CLOSED:
            return inf  # by what another session did in the same beat
        delay = inf
        for receiver in self.receivers.values():
            patience_s = receiver.patience_s(now)
            if patience_s is not None:
                delay = min(delay, patience_s)
                self._send_rtcp(self._reporter.feedback(receiver, now))
        if now >= self._next_slow:
            self._check_timeouts(now)
            self._next_slow = max(now + _SLOW_INTERVAL_S, self._reporter.due)
        if self.state is SessionState.CONNECTING:
            return QUICK_BEAT_S
        return min(delay, _SLOW_INTERVAL_S) if self._reporter.is_eager else delay

    @property
    def not_authentic(self) -> int:
        """Packets refused."""
        return self._peer.not_authentic

    @property
    def repeated(self) -> int:
        """Packets that came twice, or too late for SRTP."""
        return self._peer.repeated

    @property
    def malformed(self) -> int:
        """Authentic packets that are no RTP or RTCP."""
        return self._peer.malformed

    @property
    def counts(self) -> Counter[str]:
        """What was received and what was dropped so far, all media sections together."""
        total = Counter(
            not_authentic=self.not_authentic,
            repeated=self.repeated,
            malformed=self.malformed,
            unassigned=self.unassigned,
        )
        for receiver in self.receivers.values():
            total.update(receiver.counts)
        return total

    def close(self, reason: CloseReason = CloseReason.ENDED) -> None:
        """End the session; harmless when it has ended."""
        self._close(reason)

    @property
    def last_authentic(self) -> float:
        """Monotonic second at which anything last came that is surely the peer's."""
        media = (each.last_authentic for each in self.receivers.values())
        return max([self._last_authentic, *media])

    def _connect(self, srtp: SrtpContext) -> None:
        self._srtp = srtp
        self.state = SessionState.CONNECTED
        wake = partial(self._wake, self)
        media = [(plan, make_receiver(plan, self._clock, wake)) for plan in self.offer.media]
        self._tracks = [receiver for _plan, receiver in media]
        for track, receiver in enumerate(self._tracks):
            receiver.stream.track = track
        self.receivers = {plan.kind: receiver for plan, receiver in media}
        self.streams = [(plan.ssrcs, receiver) for plan, receiver in media]
        srtp.open_packets_of(self._peer)
        self._demultiplexer = Demultiplexer(self._peer, srtp, media)
        self._on_connected(self)

    def _follow(self, batch: Batch, slot: int, source: bytes) -> None:
        """Send to where media came from, if it proves itself and is the newest."""
        if slot < 0 or batch.media_ssrc(slot) is None:
            return
        arrival = batch.arrivals[slot]
        if arrival >= self._newest_media and self.proves(batch, slot):
            self._move(source, arrival)

    @property
    def _newest_media(self) -> float:
        """Monotonic second of the last media that was surely the peer's."""
        media = (each.last_authentic for each in self.receivers.values())
        return max([self._moved_at, *media])

    def _move(self, source: bytes, arrival: float) -> None:
        self._source = source
        self._moved_at = arrival
        self._transport.remote = unpack_source(source)

    def _receive_rtcp(self, packet: bytes, arrival: float, source: bytes) -> None:
        if self._srtp is None or self._demultiplexer is None:
            return
        try:
            clear = self._srtp.unprotect_rtcp(packet)
            self._last_authentic = arrival
            if source != self._source and arrival >= self._newest_media:
                self._move(source, arrival)
            self._demultiplexer.note(int.from_bytes(packet[4:8]))
            parts = parse_rtcp(clear)
        except SrtpError as error:
            self._count_refused(error)
            return
        except RtcpParseError:
            self._peer.malformed += 1
            return
        for part in parts:
            if isinstance(part, SenderReport):
                receiver = self._demultiplexer.by_ssrc.get(part.ssrc)
                if receiver is not None:
                    receiver.on_sender_report(part, arrival)
            else:
                for ssrc in part.ssrcs:
                    self._demultiplexer.release(ssrc)

    def _find_receiver(self, batch: Batch, slot: int) -> bool:
        """Whether there is a receiver for the packet of an unknown SSRC; it has that SSRC then."""
        if self._demultiplexer is None:
            return False
        original = batch.datagram(slot)
        ssrc = int.from_bytes(original[8:12])
        packet = batch.open(slot, self._peer) or self._open_rolled_over(batch, slot, original)
        if packet is None:
            return False
        if self._demultiplexer.assign(ssrc, packet, packet.arrival) is None:
            self.unassigned += 1
            return False
        return True

    def _open_rolled_over(self, batch: Batch, slot: int, original: bytes) -> RtpPacket | None:
        """Decrypt the first packet that came of an SSRC which began shortly before its sequence
        number rolled over, and lost all packets before that."""
        ssrc = int.from_bytes(original[8:12])
        is_possible = int.from_bytes(original[2:4]) < _HALF_THE_SEQUENCE_NUMBERS
        if self._srtp is None or not is_possible or not self._srtp.begin_rolled_over(ssrc):
            return None
        batch.restore(slot, original)
        packet = batch.open(slot, self._peer)
        if packet is None:
            self._srtp.forget(ssrc)
        # It was counted as refused once too often, whatever came of it.
        self._peer.not_authentic -= 1
        return packet

    def _count_refused(self, error: SrtpError) -> None:
        if isinstance(error, RepeatedPacketError):
            self._peer.repeated += 1
        else:
            self._peer.not_authentic += 1

    def _check_timeouts(self, now: float) -> None:
        if self.state is SessionState.CONNECTING:
            try:
                self._transport.drive_handshake(now)
            except TransportFailedError:
                self._close(CloseReason.FAILED)
            return
        if now - self.last_authentic > self._consent_timeout_s:
            self._close(CloseReason.LOST)
        else:
            self._send_rtcp(self._reporter.report(self.receivers.values(), now))

    def _send_rtcp(self, packet: bytes | None) -> None:
        if packet is not None and self._srtp is not None:
            self._transport.send(self._srtp.protect_rtcp(packet))

    def _close(self, reason: CloseReason) -> None:
        if self.state is not SessionState.CLOSED:
            self.state = SessionState.CLOSED
            on_closed = self._on_closed
            # They lead to our owner: without them our memory is free at once.
            self._on_connected = self._on_closed = _ignore
            try:
                for receiver in self.receivers.values():
                    receiver.finish()
                self._transport.close()
            finally:  # a session that nobody hears of any more would hold its UserId for ever
                on_closed(self, reason)


def _ignore(*_arguments: object) -> None:
    pass
