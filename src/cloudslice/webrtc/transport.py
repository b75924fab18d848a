"""The transport of a peer connection: ICE finds the path, DTLS agrees on keys, SRTP protects what
is sent on it."""

from collections.abc import Callable
from math import inf

from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.dtls import DtlsCertificate, DtlsEndpoint, DtlsError
from cloudslice.webrtc.ice import IceAgent, IceState
from cloudslice.webrtc.negotiation import Transport as NegotiatedTransport
from cloudslice.webrtc.srtp import SrtpContext

_CONNECT_TIMEOUT_S = 20.0
_MAX_UNSENT = 8
"""Datagrams; a flight of DTLS has three or four."""


class TransportFailedError(Exception):
    """There will be no connection, or there is none any more; the text says why."""


class Transport:
    """Carries all media sections of a connection.

    Args:
        ice: our agent.
        certificate: ours.
        send: sends a datagram on a path.
        now: monotonic second.
    """

    def __init__(
        self,
        ice: IceAgent,
        certificate: DtlsCertificate,
        send: Callable[[bytes, bytes], None],
        now: float,
    ) -> None:
        self.ice = ice
        self.srtp: SrtpContext | None = None
        """What media is protected with; None until the first handshake is done."""
        self._certificate = certificate
        self._send_on_path = send
        self._created = now
        self._negotiated: NegotiatedTransport | None = None
        self._dtls: DtlsEndpoint | None = None
        self._unsent: list[bytes] = []
        """Our answer to a peer that found the path before we did."""

    @property
    def is_closed_by_peer(self) -> bool:
        """Whether the peer said goodbye."""
        return self._dtls is not None and self._dtls.is_closed

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`."""
        return -inf if self.srtp is None else self.ice.next_deadline

    def negotiate(self, negotiated: NegotiatedTransport, now: float) -> None:
        """Go by what was agreed on. Other credentials than before restart ICE (RFC 8445, 9), other
        fingerprints or another role begin a new DTLS association (RFC 8842, 4)."""
        former, self._negotiated = self._negotiated, negotiated
        if former is not None and former.ice != negotiated.ice and self.ice.remote is not None:
            self.ice.restart(now)
        if self.ice.remote is None:  # at first, or restarted by them or by our offer
            self.ice.set_remote(negotiated.ice, is_lite=negotiated.is_ice_lite, now=now)
        for candidate in negotiated.candidates:
            self.ice.add_candidate(candidate)
        if negotiated.end_of_candidates:
            self.ice.end_of_candidates()
        association = negotiated.fingerprints, negotiated.we_are_dtls_server
        if former is None or association != (former.fingerprints, former.we_are_dtls_server):
            self._associate(negotiated)

    def restart_ice(self, remote: IceCredentials, now: float) -> None:
        """The peer has new credentials, perhaps at a new address; ours are new, too."""
        is_lite = self._negotiated is not None and self._negotiated.is_ice_lite
        self.ice.restart(now)
        self.ice.set_remote(remote, is_lite=is_lite, now=now)

    def receive_check(self, data: bytes, path: bytes, now: float) -> bool:
        """Take in a STUN datagram; whether it is surely the peer's."""
        had_path = self.ice.path is not None
        is_valid = self.ice.receive(data, path, now)
        if not had_path and self.ice.path is not None and self._dtls is not None:
            unsent, self._unsent = self._unsent, []
            for each in unsent:
                self.send(each)
            self._dtls.start()
        return is_valid

    def receive_dtls(self, data: bytes) -> bool:
        """Take in a datagram of the DTLS range; whether `srtp` is a new one then.

        Raises:
            TransportFailedError: the handshake has failed. A forged datagram breaks nothing that
                works.
        """
        if self._dtls is None:
            return False
        try:
            self._dtls.receive(data)
        except DtlsError as error:
            if self._dtls.srtp is None:
                raise TransportFailedError(str(error)) from error
            return False
        if self._dtls.srtp is None or self._dtls.srtp is self.srtp:
            return False
        self.srtp = self._dtls.srtp
        return True

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`: checks, and what of a handshake got no
        answer.

        Raises:
            TransportFailedError
        """
        self.ice.send_due(now)
        if self.ice.state is IceState.FAILED:
            raise TransportFailedError(self.ice.failure)
        if self.srtp is not None:
            return
        if now - self._created > _CONNECT_TIMEOUT_S:
            raise TransportFailedError(f"no connection after {_CONNECT_TIMEOUT_S:.0f} s")
        if self._dtls is not None:
            try:
                self._dtls.retransmit_if_due()
            except DtlsError as error:
                raise TransportFailedError(str(error)) from error

    def send(self, data: bytes) -> None:
        """Send to the peer, if a path is known."""
        if self.ice.path is not None:
            self._send_on_path(data, self.ice.path)

    def send_rtcp(self, packet: bytes) -> None:
        """Protect an RTCP packet and send it, if there are keys."""
        if self.srtp is not None:
            self.send(self.srtp.protect_rtcp(packet))

    def close(self) -> None:
        """Say goodbye, and free the association."""
        dtls, self._dtls = self._dtls, None
        if dtls is not None:
            dtls.close()

    def _associate(self, negotiated: NegotiatedTransport) -> None:
        self._dtls = DtlsEndpoint(
            self._certificate,
            is_server=negotiated.we_are_dtls_server,
            peer_fingerprints=negotiated.fingerprints,
            send=self._send_dtls,
        )
        self._unsent.clear()
        if self.ice.path is not None:
            self._dtls.start()

    def _send_dtls(self, data: bytes) -> None:
        if self.ice.path is not None:
            self.send(data)
        elif len(self._unsent) < _MAX_UNSENT:
            self._unsent.append(data)
