"""SDP fragments of trickle ICE and ICE restarts (RFC 8840, 9), which WHIP sends by PATCH."""

from collections.abc import Iterable
from dataclasses import dataclass

from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.negotiation import NegotiatedSection
from cloudslice.webrtc.sdp import AttributeReader, parse_attributes
from cloudslice.webrtc.transport_parameters import (
    TransportParameters,
    candidate_attributes,
    credential_attributes,
    read_transport,
)


@dataclass(frozen=True, slots=True)
class IceFragment:
    """What the other side's fragment tells."""

    ice: IceCredentials | None
    """Others than the known ones ask for an ICE restart; None if the fragment has none."""
    candidates: tuple[Candidate, ...]
    """Of all sections: one transport carries them."""
    end_of_candidates: bool


def parse_fragment(text: str) -> IceFragment:
    """Read a fragment.

    Raises:
        SdpError: it is too long.
    """
    read = read_transport(AttributeReader(parse_attributes(text)), TransportParameters())
    return IceFragment(read.ice, read.candidates, read.end_of_candidates)


def write_fragment(
    section: NegotiatedSection,
    ice: IceCredentials,
    candidates: Iterable[Candidate],
    *,
    is_ice_lite: bool,
) -> str:
    """Our side's fragment, such as the answer to an ICE restart.

    Args:
        section: the one that describes the transport.
        ice: our credentials from now on.
        candidates: ours.
        is_ice_lite: whether we are.
    """
    kind, protocol, _ = section.media_line
    lines = [
        *(["a=ice-lite"] if is_ice_lite else []),
        *map(str, credential_attributes(ice)),
        f"m={kind} 9 {protocol} 0",  # RFC 8840, 9.2: a pseudo m= line
        *([f"a=mid:{section.mid}"] if section.has_mid else []),
        *map(str, candidate_attributes(candidates)),
    ]
    return "\r\n".join(lines) + "\r\n"
