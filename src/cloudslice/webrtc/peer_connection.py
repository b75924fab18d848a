"""A connection to a peer: one transport, with the media sections on it.

1. Sections come and go by negotiation, whoever offers; a section that goes on keeps its receiver.
   Which section is whose track is the business of those who use the connection.
2. A receiver receives one SSRC at a time. Its stream is the native library's, made and freed by
   `Streams`.
3. A connection ends once, for one reason. After that nothing comes of it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import inf

from cloudslice.clock import Clock
from cloudslice.webrtc.candidates import Candidate, IceCredentials, host_candidates
from cloudslice.webrtc.connection_user import (
    CloseReason,
    ConnectionOptions,
    ConnectionState,
    ConnectionUser,
    RtcpListener,
)
from cloudslice.webrtc.descriptions import Descriptions
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.ice import IceAgent
from cloudslice.webrtc.local_description import OfferedSection
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.receiver import ReceiverHooks
from cloudslice.webrtc.receiver_reports import ReceiverReports
from cloudslice.webrtc.remote_description import RemoteDescription
from cloudslice.webrtc.rtcp import ReportBlock, RtcpParseError, parse_rtcp
from cloudslice.webrtc.srtp import RepeatedPacketError, SrtpError
from cloudslice.webrtc.streams import Streams
from cloudslice.webrtc.transport import Transport, TransportFailedError
from cloudslice.webrtc.udp.port import UdpPort

_REPORT_RETRY_S = 0.1


class PeerConnection:
    """See the module.

    Args:
        port: where its datagrams come in and go out.
        certificate: ours.
        options: how it behaves.
        user: hears of its beginning and end.
        clock: for time-outs and arrivals.
    """

    def __init__(
        self,
        port: UdpPort,
        certificate: DtlsCertificate,
        options: ConnectionOptions,
        user: ConnectionUser,
        clock: Clock,
    ) -> None:
        now = clock.monotonic()
        ice = IceAgent(
            is_lite=options.policy.we_are_ice_lite,
            is_controlling=options.is_controlling,
            send=self._send_check,
            now=now,
            consent_timeout_s=options.consent_timeout_s,
        )
        self.state = ConnectionState.CONNECTING
        self.transport = Transport(ice, certificate, port.send, now)
        self.rtcp_listener: RtcpListener | None = None
        self._port = port
        self._descriptions = Descriptions(options.policy, certificate.fingerprint)
        self._options = options
        self._user = user
        self._clock = clock
        self._last_authentic = self._heard_until = now
        self._reports = ReceiverReports(options.policy.max_video_bitrate_kbps)
        self._refused = Counter[str]()
        self._deadline = -inf
        self.peer = port.owners.add(self)
        """For `UdpPort.catch_up`."""
        self.streams = Streams(
            port,
            self.peer,
            ReceiverHooks(
                self._send_feedback,
                self._wake,
                clock.monotonic,
            ),
            announced_only=options.policy.announced_only,
        )
        port.owners.set_ufrags(self.peer, ice.ufrags)

    @property
    def negotiation(self) -> Negotiation | None:
        """What is agreed on; None before the first offer and answer."""
        return self._descriptions.agreed

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Where the peer may reach us."""
        return host_candidates(self._port.candidates)

    def answer(self, offer: RemoteDescription) -> str:
        """Agree to an offer, the first or a later one; the answer to it.

        Raises:
            SdpError: we cannot agree to it; nothing has changed then.
        """
        self._apply(self._descriptions.take_offer(offer))
        return self._descriptions.write_answer(self.transport.ice.local, self.candidates)

    def offer(self, sections: Sequence[OfferedSection], *, restarts_ice: bool = False) -> str:
        """An offer of ours with these sections.

        Args:
            sections: see `write_offer`.
            restarts_ice: whether it has new credentials of ours (RFC 8445, 9). The path in use
                stays until the answer leads to another one.
        """
        if restarts_ice:
            self.transport.ice.restart(self._clock.monotonic())
            self._port.owners.set_ufrags(self.peer, self.transport.ice.ufrags)
        return self._descriptions.write_offer(sections, self.transport.ice.local, self.candidates)

    def accept(self, answer: RemoteDescription) -> None:
        """Agree to the answer to our last offer.

        Raises:
            SdpError: it is none to our offer; nothing has changed then.
        """
        self._apply(self._descriptions.take_answer(answer))

    def add_candidate(self, candidate: Candidate) -> None:
        """The peer may be reached there, too (trickle ICE, RFC 8838)."""
        self.transport.ice.add_candidate(candidate)
        self._wake(-inf)

    def restart_ice(self, remote: IceCredentials) -> None:
        """The peer has new credentials, perhaps at a new address; ours are new, too (RFC 8445,
        9)."""
        self.transport.restart_ice(remote, self._clock.monotonic())
        self._port.owners.set_ufrags(self.peer, self.transport.ice.ufrags)

    def close(self, reason: CloseReason = CloseReason.ENDED, failure: str = "") -> None:
        """End the connection, whose media is taken in to the last packet that has come; harmless
        when it has ended."""
        if self.state is ConnectionState.CLOSED:
            return
        self.state = ConnectionState.CLOSED
        with ExitStack() as stack:  # whatever breaks, the end is told
            stack.callback(self._user.on_closed, reason, failure)
            stack.callback(self._port.owners.remove, self.peer)
            stack.callback(self.streams.stop)
            stack.callback(self.transport.close)
            stack.callback(self._port.catch_up, (self.peer,))

    @property
    def last_authentic(self) -> float:
        """Monotonic second at which anything last came that is surely the peer's."""
        return max(self._last_authentic, self.peer.state.last_authentic)

    @property
    def counts(self) -> Counter[str]:
        """What was received and what was dropped so far, all sections together."""
        state = self.peer.state
        total = Counter(
            not_authentic=state.not_authentic,
            repeated=state.repeated,
            malformed=state.malformed,
            unassigned=state.unassigned,
        )
        total.update(self._refused)
        total.update(self.streams.counts)
        return total

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`."""
        return self._deadline

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`, and end what is over."""
        self._follow_media()
        try:
            self.transport.send_due(now)
        except TransportFailedError as error:
            self._fail(str(error))
        lost_at = self.last_authentic + self._options.consent_timeout_s
        if self.state is ConnectionState.CONNECTED and now > lost_at:
            self.close(CloseReason.LOST)
        if self.state is not ConnectionState.CONNECTED:
            return
        receivers = self.streams.receivers.values()
        for report in self._reports.report(receivers, now):
            self.transport.send_rtcp(report)
        deadlines = [self.transport.next_deadline, lost_at]
        if receivers:
            deadlines.append(max(self._reports.due, now + _REPORT_RETRY_S))
        for receiver in receivers:
            receiver.send_due(now)
            deadlines.append(receiver.next_deadline)
        self._deadline = min(deadlines)

    def on_datagram(self, data: bytes, path: bytes, arrival: float) -> bool:
        """See `udp.port.Connection`."""
        kind = data[0] if data else 255
        if kind < 4:  # RFC 7983
            return self._receive_check(data, path)
        if 20 <= kind <= 63:
            self._receive_dtls(data)
        elif 128 <= kind <= 191:
            self._receive_rtcp(data, path, arrival)
        else:
            return False
        return True

    def on_moved(self, path: bytes, arrival: float) -> None:
        """Authentic media has come from a new address."""
        self._port.owners.add_path(self.peer, path)
        self._hear(path, arrival)

    def _follow_media(self) -> None:
        """Send to where authentic media came from last."""
        state = self.peer.state
        if state.last_authentic > self._heard_until:
            self._hear(bytes(state.path), state.last_authentic)

    def _hear(self, path: bytes, arrival: float) -> None:
        if arrival >= self._heard_until:
            self._heard_until = arrival
            self.transport.ice.heard(path, arrival)

    def _send_feedback(self, make: Callable[[int], bytes], block: ReportBlock | None) -> None:
        self._follow_media()
        self.transport.send_rtcp(self._reports.feedback(make, block))

    def on_unreachable(self, path: bytes) -> None:
        """The network says that nobody listens at the other end of a path."""
        self.transport.ice.refused(path, self._clock.monotonic())
        self._wake(-inf)

    def _send_check(self, data: bytes, path: bytes) -> None:
        self._port.send_check(self.peer, data, path)

    def _wake(self, at: float) -> None:
        self._deadline = min(self._deadline, at)

    def _apply(self, negotiation: Negotiation) -> None:
        if negotiation.transport is not None:
            self.transport.negotiate(negotiation.transport, self._clock.monotonic())
            self._port.owners.set_ufrags(self.peer, self.transport.ice.ufrags)
        self.streams.negotiate(negotiation)
        self._wake(-inf)

    def _receive_check(self, data: bytes, path: bytes) -> bool:
        now = self._clock.monotonic()
        is_valid = self.transport.receive_check(data, path, now)
        if is_valid:
            self._last_authentic = now
            self._port.owners.add_path(self.peer, path)
        return is_valid

    def _receive_dtls(self, data: bytes) -> None:
        try:
            has_new_keys = self.transport.receive_dtls(data)
        except TransportFailedError as error:
            self._fail(str(error))
            return
        if has_new_keys and self.transport.srtp is not None:
            self.streams.use_keys(self.transport.srtp)
            self._wake(-inf)
            if self.state is ConnectionState.CONNECTING:
                self.state = ConnectionState.CONNECTED
                self._begin()
        if self.transport.is_closed_by_peer:
            self.close(CloseReason.LEFT)

    def _begin(self) -> None:
        try:
            self._user.on_connected()
        except Exception:
            self.close(CloseReason.FAILED)  # half connected, it would never end
            raise

    def _fail(self, failure: str) -> None:
        is_new = self.state is ConnectionState.CONNECTING
        self.close(CloseReason.FAILED if is_new else CloseReason.LOST, failure)

    def _receive_rtcp(self, data: bytes, path: bytes, arrival: float) -> None:
        if self.transport.srtp is None:
            return
        try:
            packet = self.transport.srtp.unprotect_rtcp(data)
            parts = parse_rtcp(packet)
        except RepeatedPacketError:
            self._refused["repeated"] += 1
        except SrtpError:
            self._refused["not_authentic"] += 1
        except RtcpParseError:
            self._refused["malformed"] += 1
        else:
            self._last_authentic = max(self._last_authentic, arrival)
            self._hear(path, arrival)
            for part in parts:
                self.streams.on_rtcp(part, arrival)
            if self.rtcp_listener is not None:
                self.rtcp_listener.on_rtcp(packet)
