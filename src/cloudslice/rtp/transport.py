"""The way between one peer and us: ICE-lite and DTLS, over a port that many share."""

from collections.abc import Callable

from cloudslice.clock import Clock
from cloudslice.rtp.dtls import DtlsCertificate, DtlsEndpoint, DtlsError
from cloudslice.rtp.ice import Address, Check, IceCredentials, answer_check
from cloudslice.rtp.sdp import Offer
from cloudslice.rtp.srtp import SrtpContext

_CONNECT_TIMEOUT_S = 20.0


class TransportFailedError(Exception):
    """The handshake cannot succeed any more; the text says why."""


class Transport:
    """Finds the peer by its connectivity checks, and agrees with it on keys.

    Args:
        offer: the peer's.
        certificate: ours.
        send: sends a datagram to an address.
        clock: for time-outs.
    """

    __slots__ = ("_clock", "_created", "_dtls", "_remote_ice", "_send_to", "ice", "remote")

    def __init__(
        self,
        offer: Offer,
        *,
        certificate: DtlsCertificate,
        send: Callable[[bytes, Address], None],
        clock: Clock,
    ) -> None:
        self.ice = IceCredentials.generate()
        """Ours."""
        self._remote_ice = offer.ice
        self.remote: Address | None = None
        """Where we send to: whoever knows better than the checks where the peer is, sets it."""
        self._send_to = send
        self._clock = clock
        self._created = clock.monotonic()
        self._dtls = DtlsEndpoint(
            certificate,
            is_server=offer.we_are_dtls_server,
            peer_fingerprints=offer.fingerprints,
            send=self.send,
        )

    @property
    def srtp(self) -> SrtpContext | None:
        """What media is protected with; None until the handshake is done."""
        return self._dtls.srtp

    @property
    def is_closed(self) -> bool:
        """Whether the peer said goodbye."""
        return self._dtls.is_closed

    def restart_ice(self, remote: IceCredentials) -> None:
        """The peer has new credentials, perhaps at a new address; `ice` is new, too."""
        self._remote_ice = remote
        self.ice = IceCredentials.generate()

    def receive_check(self, check: Check, source: Address, *, may_move: bool) -> bool:
        """Answer a connectivity check that names our ufrag; whether `source` is the peer's now.

        Args:
            check: with our ufrag.
            source: where it came from.
            may_move: whether we send to `source` from now on if the peer nominates it.

        Raises:
            StunError: the check is not the peer's.
        """
        answer = answer_check(check, self.ice, self._remote_ice.ufrag, source)
        self._send_to(answer.response, source)
        if answer.is_valid:
            is_first = self.remote is None
            if is_first or (answer.is_nominated and may_move):
                self.remote = source
            if is_first:
                self._dtls.start()
        return answer.is_valid

    def receive_dtls(self, datagram: bytes) -> None:
        """Take in a datagram of the DTLS range from an address of the peer.

        Raises:
            TransportFailedError: and there are no keys yet. A forged datagram breaks nothing that
                works; a broken handshake stays broken.
        """
        try:
            self._dtls.receive(datagram)
        except DtlsError as error:
            if self.srtp is None:
                raise TransportFailedError(str(error)) from error

    def drive_handshake(self, now: float) -> None:
        """Repeat what got no answer by monotonic second `now`. Raises TransportFailedError."""
        try:
            self._dtls.retransmit_if_due()
        except DtlsError as error:
            raise TransportFailedError(str(error)) from error
        if now - self._created > _CONNECT_TIMEOUT_S:
            raise TransportFailedError(f"no connection after {_CONNECT_TIMEOUT_S:.0f} s")

    def send(self, datagram: bytes) -> None:
        """Send to the peer, if it is known where it is."""
        if self.remote is not None:
            self._send_to(datagram, self.remote)

    def close(self) -> None:
        """Say goodbye."""
        self._dtls.close()
