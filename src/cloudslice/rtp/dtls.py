"""DTLS-SRTP keying (RFC 5764) without I/O: datagrams go in, datagrams come out, keys result."""

import datetime
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from cloudslice.rtp.srtp import PROFILES, SrtpContext, SrtpKeys

_MTU = 1200
_RECORD_HEADER = 13
_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


class DtlsError(Exception):
    """The handshake failed, or the peer is not the one that signalling announced."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """An SDP ``a=fingerprint`` (RFC 8122): hash name as SDP spells it, hash as AB:CD:..."""

    algorithm: str
    value: str

    @property
    def is_known(self) -> bool:
        """Whether it is of a hash that we compute, and that is worth comparing."""
        return self.algorithm in _DIGESTS


class DtlsCertificate:
    """A self-signed P-256 certificate, made anew for each process."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(16))])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .sign(self._key, hashes.SHA256())
        )

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What signalling announces of this certificate."""
        return Fingerprint("sha-256", _digest(self._certificate, "sha-256"))

    @cached_property
    def context(self) -> SSL.Context:
        """The OpenSSL context that all of this certificate's endpoints share."""
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        # Any certificate passes here; DtlsEndpoint compares it with the announced fingerprint.
        context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_arguments: True
        )
        context.use_certificate(self._certificate)
        context.use_privatekey(self._key)
        context.set_cipher_list(
            b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
            b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA:"
            # For peers that are the DTLS server and have an RSA certificate.
            b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:"
            b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-SHA"
        )
        context.set_tlsext_use_srtp(b":".join(profile.dtls_name for profile in PROFILES))
        return context


class DtlsEndpoint:
    """One side of a DTLS association over an unreliable path.

    Args:
        certificate: our certificate.
        is_server: True: wait for the peer's hello (SDP ``a=setup:passive``).
        peer_fingerprints: what signalling announced of the peer's certificates.
        send: takes each datagram that is to be sent; at most 1200 bytes.
    """

    def __init__(
        self,
        certificate: DtlsCertificate,
        *,
        is_server: bool,
        peer_fingerprints: Iterable[Fingerprint],
        send: Callable[[bytes], None],
    ) -> None:
        self._is_server = is_server
        self._peer_fingerprints = tuple(peer_fingerprints)
        self._send = send
        self._connection = SSL.Connection(certificate.context)
        self._connection.set_ciphertext_mtu(_MTU)
        if is_server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self.srtp: SrtpContext | None = None
        """The keys' ciphers, once the handshake is complete."""
        self.is_closed = False
        """Whether the peer said goodbye (close_notify), or we did."""

    def start(self) -> None:
        """Send the client's first flight; a server waits for it."""
        if not self._is_server:
            self._advance()

    def receive(self, datagram: bytes) -> None:
        """Take in a datagram of the DTLS range (RFC 7983: first byte 20..63).

        Raises:
            DtlsError: the handshake failed, for good.
        """
        if self.is_closed:
            return
        try:
            self._connection.bio_write(datagram)
        except SSL.Error as error:
            raise DtlsError(f"DTLS datagram refused: {_reason(error)}") from error
        self._advance()

    def retransmit_if_due(self) -> None:
        """Repeat our last flight if its timer ran out; call a few times a second until `srtp`.

        Raises:
            DtlsError: it was repeated too often.
        """
        if self.srtp is None and not self.is_closed:
            try:
                self._connection.DTLSv1_handle_timeout()  # does nothing before its time
            except SSL.Error as error:
                raise DtlsError(f"DTLS timed out: {_reason(error)}") from error
            self._flush()

    def close(self) -> None:
        """Say goodbye (close_notify); harmless when it was said before.

        Nothing is sent after it.
        """
        if not self.is_closed:
            self.is_closed = True
            self._say_goodbye()
        # It leads to our owner. Without it OpenSSL's memory is free at once, not when the garbage
        # collector comes.
        self._send = _drop

    def _say_goodbye(self) -> None:
        if self.srtp is not None:
            try:
                self._connection.shutdown()
            except SSL.Error:
                return  # the association is broken: there is nobody to say goodbye to
            self._flush()

    def _advance(self) -> None:
        try:
            if self.srtp is None:
                self._connection.do_handshake()
                self.srtp = SrtpContext(self._verified_keys())
            while self._connection.recv(_MTU):
                pass  # application data (a data channel's) is not ours to read
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.is_closed = True
        except SSL.Error as error:
            raise DtlsError(f"DTLS failed: {_reason(error)}") from error
        finally:
            self._flush()

    def _verified_keys(self) -> SrtpKeys:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not any(
            fingerprint.value.upper() == _digest(certificate, fingerprint.algorithm)
            for fingerprint in self._peer_fingerprints
            if fingerprint.is_known
        ):
            # RFC 8122, 5: a peer may announce several certificates, and show one of them.
            raise DtlsError("the peer's certificate has not the announced fingerprint")
        name = self._connection.get_selected_srtp_profile()
        profile = next((each for each in PROFILES if each.dtls_name == name), None)
        if profile is None:
            raise DtlsError("the peer offers no SRTP protection profile that is known here")
        material = self._connection.export_keying_material(
            _EXPORTER_LABEL, 2 * (profile.key_length + profile.salt_length)
        )
        return profile.split(material, is_server=self._is_server)

    def _flush(self) -> None:
        try:
            pending = self._connection.bio_read(65536)
        except SSL.WantReadError:
            return
        for datagram in _datagrams(pending):
            self._send(datagram)


def _drop(_datagram: bytes) -> None:
    pass


def _datagrams(records: bytes) -> Iterator[bytes]:
    """Split a run of DTLS records, which OpenSSL's memory BIO glues together, into datagrams."""
    start = end = 0
    while end + _RECORD_HEADER <= len(records):
        length = int.from_bytes(records[end + 11 : end + _RECORD_HEADER])
        record_end = end + _RECORD_HEADER + length
        if record_end - start > _MTU and end > start:
            yield records[start:end]
            start = end
        end = record_end
    if end > start:
        yield records[start:end]


def _digest(certificate: x509.Certificate, algorithm: str) -> str:
    return certificate.fingerprint(_DIGESTS[algorithm]).hex(":").upper()


def _reason(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args else ()
    return "; ".join(entry[-1] for entry in reasons) if isinstance(reasons, list) else str(error)
