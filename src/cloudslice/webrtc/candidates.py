"""The words of ICE (RFC 8445) that SDP carries between two sides."""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cloudslice.webrtc.udp.paths import Path, make_path

_HOST_PREFERENCE, _PEER_REFLEXIVE_PREFERENCE = 126, 110
_KINDS = frozenset({"host", "srflx", "prflx", "relay"})


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """``a=ice-ufrag`` and ``a=ice-pwd`` of one side."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls) -> "IceCredentials":
        """New random ones (RFC 8445, 5.3: at least 24 and 128 bits)."""
        return cls(secrets.token_hex(8), secrets.token_hex(16))


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


def candidate_priority(type_preference: int, local_preference: int = 65535) -> int:
    """The priority of a candidate for RTP (RFC 8445, 5.1.2.1)."""
    return (type_preference << 24) + (local_preference << 8) + 255


PEER_REFLEXIVE_PRIORITY = candidate_priority(_PEER_REFLEXIVE_PREFERENCE)
"""What a check tells of the candidate that the peer may learn by it (RFC 8445, 7.1.1)."""


def host_candidates(addresses: Sequence[tuple[str, int]]) -> tuple[Candidate, ...]:
    """Our candidates, the first address with the highest priority."""
    return tuple(
        Candidate(
            foundation=str(rank),
            component=1,
            transport="udp",
            priority=candidate_priority(_HOST_PREFERENCE, 65535 - rank),
            host=host,
            port=port,
            kind="host",
        )
        for rank, (host, port) in enumerate(addresses, start=1)
    )


def candidate_path(candidate: Candidate) -> Path | None:
    """The path to the peer's candidate; None if nothing can be sent there.

    A name (mDNS) is not looked up: the peer's own checks tell its address, which gives a
    peer-reflexive candidate. The same goes for a link-local address, whose zone only the peer
    knows.
    """
    is_udp = candidate.component == 1 and candidate.transport == "udp" and candidate.port > 0
    if not is_udp or candidate.kind not in _KINDS:
        return None
    try:
        address = ipaddress.ip_address(candidate.host)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast:
        return None
    if address.version == 6 and (address.is_link_local or address.ipv4_mapped):
        return None
    return make_path(str(address), candidate.port)
