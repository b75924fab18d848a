"""One peer that sends us media: its ICE, DTLS, SRTP and RTCP, over a port that many share."""

import secrets
from collections.abc import Callable, Sequence
from enum import Enum

from aioice import stun

from cloudslice.clock import Clock
from cloudslice.rooms.base import TrackKind, VideoCodec
from cloudslice.rtp import feedback
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.dtls import DtlsCertificate, DtlsEndpoint, DtlsError
from cloudslice.rtp.h264 import H264Depacketizer
from cloudslice.rtp.ice import Address, IceCredentials, answer_check
from cloudslice.rtp.keyframes import Depacketizer
from cloudslice.rtp.packet import RtpParseError, find_extension, parse_rtp
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.sdp import MID_URI, ORIENTATION_URI, Codec, MediaPlan, Offer, make_answer
from cloudslice.rtp.srtp import SrtpContext, SrtpError
from cloudslice.rtp.video import VideoReceiver
from cloudslice.rtp.vp8 import Vp8Depacketizer

_CONNECT_TIMEOUT_S = 20.0
_SLOW_INTERVAL_S = 0.1
_REPORT_INTERVAL_S = 1.0
# The first estimate counts most: Chromium jumps to it at once in its first two seconds, later it
# only climbs by some percent a second.
_EAGER_REPORTS = 20


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
        clock: for timeouts and arrival times.
        max_video_bitrate_kbps: told to the sender by REMB.
        consent_timeout_s: the peer is lost when nothing authentic came for so long.
        on_connected: called once, when media can come; the receivers exist from then on.
        on_closed: called once, when the session ends, whoever ended it.
    """

    def __init__(
        self,
        offer: Offer,
        *,
        certificate: DtlsCertificate,
        send: Callable[[bytes, Address], None],
        clock: Clock,
        max_video_bitrate_kbps: int,
        consent_timeout_s: float,
        on_connected: Callable[["Session"], None],
        on_closed: Callable[["Session", CloseReason], None],
    ) -> None:
        self.offer = offer
        self.ice = IceCredentials.generate()
        self.state = SessionState.CONNECTING
        self.receivers: dict[TrackKind, Receiver] = {}
        self._remote_ice = offer.ice
        self._certificate = certificate
        self._send_datagram = send
        self._clock = clock
        self._max_video_bitrate_kbps = max_video_bitrate_kbps
        self._consent_timeout_s = consent_timeout_s
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._remote: Address | None = None
        self._dtls = DtlsEndpoint(
            certificate,
            is_server=offer.we_are_dtls_server,
            peer_fingerprints=offer.fingerprints,
            send=self._send,
        )
        self._srtp: SrtpContext | None = None
        self._ssrc = secrets.randbits(32)
        self._by_ssrc: dict[bytes, Receiver] = {}
        self._created = self._last_authentic = clock.monotonic()
        self._next_slow = self._next_report = self._created
        self._reports_sent = 0
        self.not_authentic = 0
        self.malformed = 0
        self.unassigned = 0
        """RTP packets of no media section that was agreed on."""

    def answer(self, candidates: Sequence[tuple[str, int]]) -> str:
        """The SDP answer, with the addresses that our port is reached at."""
        return make_answer(
            self.offer,
            ice=self.ice,
            fingerprint=self._certificate.fingerprint,
            candidates=candidates,
        )

    def restart_ice(self, remote: IceCredentials) -> None:
        """The peer has new credentials, perhaps at a new address; `ice` is new, too."""
        self._remote_ice = remote
        self.ice = IceCredentials.generate()

    def receive_check(self, request: stun.Message, source: Address) -> bool:
        """Answer a connectivity check that names our ufrag; whether `source` is the peer's now.

        Raises:
            StunError: the check is not the peer's.
        """
        answer = answer_check(request, self.ice, self._remote_ice.ufrag, source)
        self._send_datagram(answer.response, source)
        if answer.is_valid:
            self._last_authentic = self._clock.monotonic()
            is_first = self._remote is None
            if is_first or answer.is_nominated:
                self._remote = source
            if is_first:
                self._dtls.start()
        return answer.is_valid

    def receive_dtls(self, datagram: bytes) -> None:
        """Take in a datagram of the DTLS range from an address of the peer."""
        try:
            self._dtls.receive(datagram)
        except DtlsError:
            # A forged datagram breaks nothing that works; a broken handshake stays broken.
            if self._srtp is None:
                self._close(CloseReason.FAILED)
            return
        if self._dtls.srtp is not None and self._srtp is None:
            self._connect(self._dtls.srtp)
        if self._dtls.is_closed:
            self._close(CloseReason.LEFT)

    def receive_rtp(self, packet: bytes, arrival: float) -> None:
        """Take in an SRTP packet from an address of the peer, at monotonic second `arrival`."""
        receiver = self._by_ssrc.get(packet[8:12])
        try:
            if receiver is not None:
                receiver.receive(packet, arrival)
            else:
                self._receive_unknown(packet, arrival)
        except SrtpError:
            self.not_authentic += 1
        except RtpParseError:
            self.malformed += 1

    def receive_rtcp(self, packet: bytes, arrival: float) -> None:
        """Take in an SRTCP packet from an address of the peer, at monotonic second `arrival`."""
        if self._srtp is None:
            return
        try:
            parts = feedback.parse_rtcp(self._srtp.unprotect_rtcp(packet))
        except SrtpError:
            self.not_authentic += 1
            return
        except feedback.RtcpParseError:
            self.malformed += 1
            return
        self._last_authentic = arrival
        for part in parts:
            if isinstance(part, feedback.SenderReport):
                receiver = self._by_ssrc.get(part.ssrc.to_bytes(4))
                if receiver is not None:
                    receiver.on_sender_report(part, arrival)
            else:
                for ssrc in part.ssrcs:
                    self._forget(ssrc)

    def beat(self, now: float) -> None:
        """Do what is due at monotonic second `now`; call every 20 ms."""
        for receiver in self.receivers.values():
            if receiver.needs_attention:
                for packet in receiver.feedback(self._ssrc, now):
                    self._send_rtcp(packet)
        if now >= self._next_slow:
            self._next_slow = now + _SLOW_INTERVAL_S
            self._check_timeouts(now)

    def close(self) -> None:
        """End the session; harmless when it has ended."""
        self._close(CloseReason.ENDED)

    def _connect(self, srtp: SrtpContext) -> None:
        self._srtp = srtp
        self.state = SessionState.CONNECTED
        for plan in self.offer.media:
            self.receivers[plan.kind] = self._make_receiver(plan, srtp)
        self._on_connected(self)

    def _make_receiver(self, plan: MediaPlan, srtp: SrtpContext) -> Receiver:
        if plan.kind is TrackKind.AUDIO:
            return AudioReceiver(
                srtp,
                frozenset(codec.payload_type for codec in plan.codecs),
                can_nack=any(("nack", None) in codec.feedback for codec in plan.codecs),
            )
        return VideoReceiver(
            srtp,
            {
                codec.payload_type: (codec.video, _depacketizer(codec))
                for codec in plan.codecs
                if codec.video is not None
            },
            orientation_id=plan.extension_id(ORIENTATION_URI),
            monotonic=self._clock.monotonic,
        )

    def _receive_unknown(self, packet: bytes, arrival: float) -> None:
        if self._srtp is None:
            return
        clear = parse_rtp(self._srtp.unprotect(packet))
        ssrc = packet[8:12]
        number = int.from_bytes(ssrc)
        for plan in self.offer.media:
            receiver = self.receivers[plan.kind]
            mid_id = plan.extension_id(MID_URI)
            mid = find_extension(clear, mid_id) if mid_id is not None else None
            if mid is not None:
                is_of_plan = mid == plan.mid.encode()
            elif any(number in each.ssrcs for each in self.offer.media):
                is_of_plan = number in plan.ssrcs
            else:
                is_of_plan = any(clear.payload_type == each.payload_type for each in plan.codecs)
            if is_of_plan and receiver.may_adopt(arrival):
                if receiver.ssrc is not None:
                    self._by_ssrc.pop(receiver.ssrc.to_bytes(4), None)
                self._by_ssrc[ssrc] = receiver
                receiver.adopt(number)
                receiver.receive_clear(clear, arrival)
                return
        self.unassigned += 1

    def _forget(self, ssrc: int) -> None:
        receiver = self._by_ssrc.pop(ssrc.to_bytes(4), None)
        if receiver is not None:
            receiver.last_arrival = float("-inf")

    def _check_timeouts(self, now: float) -> None:
        if self.state is SessionState.CONNECTING:
            self._dtls.retransmit_if_due()
            if now - self._created > _CONNECT_TIMEOUT_S:
                self._close(CloseReason.FAILED)
            return
        last = max(self._last_authentic, *(each.last_authentic for each in self.receivers.values()))
        if now - last > self._consent_timeout_s:
            self._close(CloseReason.LOST)
        elif now >= self._next_report:
            self._report(now)

    def _report(self, now: float) -> None:
        self._reports_sent += 1
        is_eager = self._reports_sent < _EAGER_REPORTS
        self._next_report = now + (_SLOW_INTERVAL_S if is_eager else _REPORT_INTERVAL_S)
        blocks = [
            block
            for receiver in self.receivers.values()
            if (block := receiver.report_block(now)) is not None
        ]
        if not blocks:
            return
        packet = feedback.receiver_report(self._ssrc, self.ice.ufrag, blocks)
        video = [
            receiver.ssrc
            for receiver in self.receivers.values()
            if isinstance(receiver, VideoReceiver) and receiver.ssrc is not None
        ]
        if video:
            packet += feedback.remb(self._ssrc, self._max_video_bitrate_kbps * 1000, video)
        self._send_rtcp(packet)

    def _send_rtcp(self, packet: bytes) -> None:
        if self._srtp is not None:
            self._send(self._srtp.protect_rtcp(packet))

    def _send(self, datagram: bytes) -> None:
        if self._remote is not None:
            self._send_datagram(datagram, self._remote)

    def _close(self, reason: CloseReason) -> None:
        if self.state is not SessionState.CLOSED:
            self.state = SessionState.CLOSED
            self._dtls.close()
            self._on_closed(self, reason)


def _depacketizer(codec: Codec) -> Depacketizer:
    if codec.video is VideoCodec.H264:
        return H264Depacketizer(codec.parameter("sprop-parameter-sets"))
    return Vp8Depacketizer()
