"""What SDP says of an ICE and DTLS transport (RFC 8839, 8842, 8122), read and written."""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from cloudslice.webrtc.sdp import Attribute, AttributeReader, is_token, parse_number

KNOWN_HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
"""Those of fingerprints that are worth comparing."""

_FINGERPRINT = re.compile("[0-9A-F]{2}(:[0-9A-F]{2})+")
_MAX_CREDENTIAL = 256  # RFC 8839, 5.4
_MAX_CANDIDATES = 100
"""Read of one section; hosts with more addresses are worse served by checking all of them."""


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """``a=ice-ufrag`` and ``a=ice-pwd`` of one side."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls) -> "IceCredentials":
        """New random ones (RFC 8445, 5.3: at least 24 and 128 bits)."""
        return cls(secrets.token_hex(8), secrets.token_hex(16))

    def attributes(self) -> tuple[Attribute, ...]:
        """As SDP says them."""
        return Attribute("ice-ufrag", self.ufrag), Attribute("ice-pwd", self.password)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """An ``a=fingerprint``: hash name in lower case, hash as AB:CD:... in upper case."""

    algorithm: str
    value: str

    @property
    def is_known(self) -> bool:
        """Whether it is of a hash that we compute, and that is worth comparing."""
        return self.algorithm in KNOWN_HASHES

    def attribute(self) -> Attribute:
        """As SDP says it."""
        return Attribute("fingerprint", f"{self.algorithm} {self.value}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ``a=candidate`` (RFC 8839, 5.1): an address that a side may be reached at."""

    foundation: str
    component: int
    """1 for RTP, 2 for RTCP where that has a port of its own."""
    transport: str
    """"udp" or "tcp", in lower case."""
    priority: int
    host: str
    """An IP address, or a name: browsers hide their addresses behind names in .local."""
    port: int
    kind: str
    """"host", "srflx", "prflx" or "relay"."""

    def attribute(self) -> Attribute:
        """As SDP says it."""
        return Attribute(
            "candidate",
            f"{self.foundation} {self.component} {self.transport} {self.priority} {self.host} "
            f"{self.port} typ {self.kind}",
        )

    @property
    def is_usable(self) -> bool:
        """Whether media can be sent there: by UDP, RTP and RTCP on one port."""
        return self.component == 1 and self.transport == "udp" and self.port > 0


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """What a media section, or the session for all that do not say it themselves, says."""

    ice: IceCredentials | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: str = "actpass"
    """DTLS role: "active" and "passive", else "actpass" (what is missing or else, "holdconn"
    among it, leaves the choice to us, too)."""
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False


def read_transport(reader: AttributeReader, session: TransportParameters) -> TransportParameters:
    """The parameters of a media section.

    Args:
        reader: of the section's attributes.
        session: what holds where the section says nothing.
    """
    ufrag = reader.first("ice-ufrag", _parse_credential)
    password = reader.first("ice-pwd", _parse_credential)
    return TransportParameters(
        ice=IceCredentials(ufrag, password) if ufrag and password else session.ice,
        fingerprints=tuple(reader.all("fingerprint", _parse_fingerprint)) or session.fingerprints,
        setup=reader.first("setup", _parse_setup) or session.setup,
        candidates=tuple(islice(reader.all("candidate", parse_candidate), _MAX_CANDIDATES)),
        end_of_candidates=reader.attributes.has("end-of-candidates") or session.end_of_candidates,
    )


def parse_candidate(text: str) -> Candidate | None:
    """Read what follows ``candidate:``; None if it cannot be understood."""
    words = text.split()
    if len(words) < 8 or words[6].lower() != "typ" or not all(map(is_token, words[:8])):
        return None
    component, priority, port = (
        parse_number(words[index], limit) for index, limit in ((1, 256), (3, 2**32 - 1), (5, 65535))
    )
    if component is None or priority is None or port is None:
        return None
    return Candidate(
        words[0], component, words[2].lower(), priority, words[4], port, words[7].lower()
    )


def host_candidates(addresses: Sequence[tuple[str, int]]) -> tuple[Candidate, ...]:
    """Our host candidates, the first address with the highest priority (RFC 8445, 5.1.2.1)."""
    return tuple(
        Candidate(
            str(rank), 1, "udp", (126 << 24) + ((65535 - rank) << 8) + 255, host, port, "host"
        )
        for rank, (host, port) in enumerate(addresses, start=1)
    )


def candidate_attributes(
    candidates: Iterable[Candidate], *, is_complete: bool
) -> Iterator[Attribute]:
    """All candidates, and whether more may follow by trickle ICE (RFC 8840)."""
    for candidate in candidates:
        yield candidate.attribute()
    if is_complete:
        yield Attribute("end-of-candidates")


def _parse_credential(text: str) -> str | None:
    return text if is_token(text) and len(text) <= _MAX_CREDENTIAL else None


def _parse_setup(text: str) -> str | None:
    setup = text.lower()
    return setup if setup in ("active", "passive", "actpass") else None


def _parse_fingerprint(text: str) -> Fingerprint | None:
    algorithm, _, value = text.partition(" ")
    value = value.strip().upper()
    return Fingerprint(algorithm.lower(), value) if _FINGERPRINT.fullmatch(value) else None
