"""What SDP says of an ICE and DTLS transport (RFC 8839, 8842, 8122), read and written."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.sdp import Attribute, AttributeReader, is_token, parse_number

KNOWN_HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
"""Those of fingerprints that are worth comparing."""

_FINGERPRINT = re.compile("[0-9A-F]{2}(:[0-9A-F]{2})+")
_MAX_CREDENTIAL = 256  # RFC 8839, 5.4
_MAX_CANDIDATES = 100
"""Read of one section; hosts with more addresses are worse served by checking all of them."""


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


def credential_attributes(ice: IceCredentials) -> tuple[Attribute, Attribute]:
    """A side's credentials as SDP says them."""
    return Attribute("ice-ufrag", ice.ufrag), Attribute("ice-pwd", ice.password)


def candidate_attributes(candidates: Iterable[Candidate]) -> Iterator[Attribute]:
    """All candidates; no more will follow by trickle ICE (RFC 8840)."""
    for candidate in candidates:
        yield Attribute(
            "candidate",
            f"{candidate.foundation} {candidate.component} {candidate.transport} "
            f"{candidate.priority} {candidate.host} {candidate.port} typ {candidate.kind}",
        )
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
