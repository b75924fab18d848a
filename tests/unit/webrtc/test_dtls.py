"""DTLS gives both sides the same SRTP keys, over lossy paths, with the right peer only."""

import datetime
import random
import time
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from cloudslice.webrtc import dtls
from cloudslice.webrtc.dtls import DtlsCertificate, DtlsEndpoint, DtlsError
from cloudslice.webrtc.transport_parameters import Fingerprint
from helpers.native_peer import SrtpReader
from helpers.rtp import rtp_packet

OURS, THEIRS = DtlsCertificate(), DtlsCertificate()


class Path:
    """Two endpoints and the datagrams between them."""

    def __init__(
        self,
        client_fingerprints: Sequence[Fingerprint] = (THEIRS.fingerprint,),
        server_fingerprints: Sequence[Fingerprint] = (OURS.fingerprint,),
        server_certificate: DtlsCertificate = OURS,
    ) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.server = DtlsEndpoint(
            server_certificate,
            is_server=True,
            peer_fingerprints=client_fingerprints,
            send=self.to_client.append,
        )
        self.client = DtlsEndpoint(
            THEIRS,
            is_server=False,
            peer_fingerprints=server_fingerprints,
            send=self.to_server.append,
        )
        self.sizes: list[int] = []

    def carry(self) -> None:
        """Deliver until both are silent."""
        while self.to_server or self.to_client:
            for datagrams, endpoint in (
                (self.to_server, self.server),
                (self.to_client, self.client),
            ):
                while datagrams:
                    self.sizes.append(len(datagrams[0]))
                    endpoint.receive(datagrams.pop(0))


def assert_keys_fit(path: Path) -> None:
    assert path.server.srtp is not None
    assert path.client.srtp is not None
    packet = rtp_packet(1, 2)
    assert SrtpReader(path.server.srtp).open(path.client.srtp.protect(packet)) == packet
    assert SrtpReader(path.client.srtp).open(path.server.srtp.protect(packet)) == packet


def test_a_handshake_keys_both_sides() -> None:
    """In datagrams that fit everywhere."""
    path = Path()
    path.server.start()
    assert not path.to_client
    path.client.start()
    path.carry()
    assert_keys_fit(path)
    assert max(path.sizes) <= 1200


def test_lost_flights_are_repeated() -> None:
    """The client's hello, and the server's last flight, which is repeated when asked for again."""
    path = Path()
    path.client.start()
    path.to_server.clear()
    time.sleep(1.05)  # OpenSSL's own timer cannot be moved
    path.client.retransmit_if_due()
    while path.to_server:
        path.server.receive(path.to_server.pop(0))
    while path.to_client:
        path.client.receive(path.to_client.pop(0))
    while path.to_server:
        path.server.receive(path.to_server.pop(0))
    assert path.server.srtp is not None
    assert path.client.srtp is None
    path.to_client.clear()
    time.sleep(1.05)
    path.client.retransmit_if_due()
    path.carry()
    assert_keys_fit(path)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_any_order_of_datagrams_works(seed: int) -> None:
    """Reordered and repeated ones."""
    shuffle = random.Random(seed)
    path = Path()
    path.client.start()
    for _ in range(20):
        for datagrams, endpoint in ((path.to_server, path.server), (path.to_client, path.client)):
            flight = [*datagrams, *datagrams]
            datagrams.clear()
            shuffle.shuffle(flight)
            for datagram in flight:
                endpoint.receive(datagram)
    assert_keys_fit(path)


@pytest.mark.parametrize(
    "fingerprints",
    [
        pytest.param([], id="none"),
        pytest.param([OURS.fingerprint], id="another"),
        pytest.param([Fingerprint("sha-1", THEIRS.fingerprint.value)], id="unknown hash"),
        pytest.param([Fingerprint("sha-256", "")], id="empty"),
        pytest.param(
            [Fingerprint("sha-512", THEIRS.fingerprint.value)], id="value of another hash"
        ),
    ],
)
def test_another_peer_than_announced_is_refused(fingerprints: list[Fingerprint]) -> None:
    """However well it knows DTLS."""
    path = Path(client_fingerprints=fingerprints)
    path.client.start()
    with pytest.raises(DtlsError):
        path.carry()
    assert path.server.srtp is None


@pytest.mark.parametrize(
    "fingerprints",
    [
        pytest.param([OURS.fingerprint, THEIRS.fingerprint], id="one of two"),
        pytest.param(
            [Fingerprint("sha-256", THEIRS.fingerprint.value.lower())], id="in lower case"
        ),
    ],
)
def test_one_of_the_announced_certificates_will_do(fingerprints: list[Fingerprint]) -> None:
    """RFC 8122, 5."""
    path = Path(client_fingerprints=fingerprints)
    path.client.start()
    path.carry()
    assert_keys_fit(path)


class RsaCertificate(DtlsCertificate):
    """What GStreamer, among others, has made itself."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
        now = datetime.datetime.now(datetime.UTC)
        self._key = key  # type: ignore[assignment]
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )


def test_a_server_with_an_rsa_certificate_is_understood() -> None:
    """We are the client when the offer says setup:passive."""
    certificate = RsaCertificate()
    path = Path(server_fingerprints=[certificate.fingerprint], server_certificate=certificate)
    path.client.start()
    path.carry()
    assert_keys_fit(path)


def test_goodbyes_are_heard_and_harmless_twice() -> None:
    """close_notify closes the other side; nothing is sent after it."""
    path = Path()
    path.client.start()
    path.carry()
    path.client.close()
    path.client.close()
    assert len(path.to_server) == 1
    path.carry()
    assert path.server.is_closed
    path.server.close()
    path.server.receive(b"\x16garbage")
    path.server.retransmit_if_due()


def test_closing_before_the_handshake_is_silent() -> None:
    """There is nobody to say goodbye to."""
    path = Path()
    path.server.close()
    assert not path.to_client


def test_application_data_is_ignored() -> None:
    """A data channel's packets are not ours to read."""
    path = Path()
    path.client.start()
    path.carry()
    path.client._connection.send(b"sctp")
    path.client._flush()
    path.carry()
    assert_keys_fit(path)


def test_a_peer_without_srtp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No protection profile in common."""
    monkeypatch.setattr(SSL.Connection, "get_selected_srtp_profile", lambda _connection: b"")
    path = Path()
    path.client.start()
    with pytest.raises(DtlsError, match="profile"):
        path.carry()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.binary(max_size=60).map(lambda b: b"\x16\xfe\xfd" + b)))
def test_garbage_breaks_no_association(datagrams: list[bytes]) -> None:
    """Before the handshake and after it."""
    path = Path()
    for garbage in datagrams:
        path.server.receive(bytes([20 + len(garbage) % 44]) + garbage)
    path.to_client.clear()
    path.client.start()
    path.carry()
    assert_keys_fit(path)
    for garbage in datagrams:
        path.server.receive(bytes([20 + len(garbage) % 44]) + garbage)
    assert not path.server.is_closed


def test_records_are_split_into_datagrams() -> None:
    """As many whole records in one as fit."""

    def record(length: int) -> bytes:
        return b"\x16\xfe\xfd" + bytes(8) + length.to_bytes(2) + bytes(length)

    records = [record(500), record(500), record(500), record(1180), record(10)]
    sizes = [len(each) for each in dtls._datagrams(b"".join(records))]
    assert sizes == [1026, 513, 1193, 23]
