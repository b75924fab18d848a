"""Our offers and answers as text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cloudslice.codecs.codec import Format, Parameters
from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc
from cloudslice.webrtc.negotiation import NegotiatedSection, Negotiation
from cloudslice.webrtc.sdp import (
    Attribute,
    Attributes,
    MediaDescription,
    SessionDescription,
    write_description,
)
from cloudslice.webrtc.transport_parameters import (
    Fingerprint,
    candidate_attributes,
    credential_attributes,
)

PROTOCOL = "UDP/TLS/RTP/SAVPF"
"""Of all sections that we offer (RFC 8829, 5.1.2)."""


@dataclass(frozen=True, slots=True)
class LocalParameters:
    """Our side of a connection, whoever offers."""

    session_id: str
    """Digits; the same in all descriptions of a connection."""
    ice: IceCredentials
    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...] = ()
    is_ice_lite: bool = True


@dataclass(frozen=True, slots=True)
class OfferedSection:
    """A media section that we offer."""

    mid: str
    kind: str
    direction: Direction
    """INACTIVE pauses a section that was offered before."""
    formats: tuple[Format, ...]
    """In order of preference; at least one, if it is not removed."""
    extensions: tuple[HeaderExtension, ...] = ()
    ssrcs: tuple[Ssrc, ...] = ()
    """Those that we send."""
    msid: str = ""
    """``<stream> <track>`` of what we send."""
    is_removed: bool = False
    """Whether only its place is left, which another section may take by a later offer."""


def write_answer(negotiation: Negotiation, local: LocalParameters, version: int) -> str:
    """The answer that says what was taken of an offer.

    Args:
        negotiation: what we agree to.
        local: our transport.
        version: counts our descriptions of this connection, from 1 (RFC 3264, 8).
    """
    return _write(
        local,
        version,
        negotiation.bundle,
        [_answered(section, negotiation, local) for section in negotiation.sections],
    )


def write_offer(sections: Sequence[OfferedSection], local: LocalParameters, version: int) -> str:
    """The offer of sections, all bundled on one transport.

    Args:
        sections: those of the last offer or answer in their places, then new ones; at least one.
        local: our transport.
        version: as of `write_answer`.
    """
    bundle = [section.mid for section in sections if not section.is_removed]
    return _write(
        local,
        version,
        bundle,
        [_offered(section, local, is_first=section.mid in bundle[:1]) for section in sections],
    )


def _write(
    local: LocalParameters,
    version: int,
    bundle: Sequence[str],
    media: Iterable[MediaDescription],
) -> str:
    attributes = []
    if bundle:
        attributes.append(Attribute("group", "BUNDLE " + " ".join(bundle)))
    if local.is_ice_lite:
        attributes.append(Attribute("ice-lite"))
    else:
        attributes.append(Attribute("ice-options", "trickle ice2"))
    attributes.append(Attribute("msid-semantic", "WMS *"))
    return write_description(
        SessionDescription(local.session_id, version, Attributes(attributes), tuple(media))
    )


def _answered(
    section: NegotiatedSection, negotiation: Negotiation, local: LocalParameters
) -> MediaDescription:
    kind, protocol, first_format = section.media_line
    mid = [Attribute("mid", section.mid)] if section.has_mid else []
    transport = negotiation.transport
    if not section.is_taken or transport is None:
        attributes = Attributes([Attribute("inactive"), *mid])
        return MediaDescription(kind, 0, protocol, (first_format,), attributes)
    setup = "passive" if transport.we_are_dtls_server else "active"
    formats = [each.ours for each in section.formats]
    attributes = Attributes(
        [
            Attribute(section.direction.value),
            *mid,
            Attribute("rtcp-mux"),
            *(each.attribute() for each in section.extensions),
            *_format_attributes(formats),
            *_simulcast_attributes(section.rids),
            *_transport_attributes(local, setup, with_candidates=section.mid == transport.mid),
        ]
    )
    return MediaDescription(kind, 9, protocol, _payload_types(formats), attributes)


def _offered(
    section: OfferedSection, local: LocalParameters, *, is_first: bool
) -> MediaDescription:
    mid = Attribute("mid", section.mid)
    if section.is_removed:
        attributes = Attributes([Attribute("inactive"), mid])
        return MediaDescription(section.kind, 0, PROTOCOL, ("0",), attributes)
    attributes = Attributes(
        [
            Attribute(section.direction.value),
            mid,
            *([Attribute("msid", section.msid)] if section.msid else []),
            Attribute("rtcp-mux"),
            *(each.attribute() for each in section.extensions),
            *_format_attributes(section.formats),
            *_transport_attributes(local, "actpass", with_candidates=is_first),
            *(Attribute("ssrc", f"{each.number} cname:{each.cname}") for each in section.ssrcs),
        ]
    )
    formats = _payload_types(section.formats)
    return MediaDescription(section.kind, 9, PROTOCOL, formats, attributes)


def _payload_types(formats: Iterable[Format]) -> tuple[str, ...]:
    return tuple(str(each.payload_type) for each in formats)


def _format_attributes(formats: Iterable[Format]) -> Iterator[Attribute]:
    for each in formats:
        channels = f"/{each.channels}" if each.channels else ""
        number = each.payload_type
        yield Attribute("rtpmap", f"{number} {each.name}/{each.clock_rate}{channels}")
        if each.parameters:
            yield Attribute("fmtp", f"{number} {_parameter_text(each.parameters)}")
        for feedback in each.feedback:
            yield Attribute("rtcp-fb", f"{number} {feedback}")


def _parameter_text(parameters: Parameters) -> str:
    return ";".join(f"{name}={value}" if value else name for name, value in parameters)


def _simulcast_attributes(rids: Sequence[str]) -> Iterator[Attribute]:
    for rid in rids:
        yield Attribute("rid", f"{rid} recv")
    if rids:
        yield Attribute("simulcast", "recv " + ";".join(rids))


def _transport_attributes(
    local: LocalParameters, setup: str, *, with_candidates: bool
) -> Iterator[Attribute]:
    """Candidates stand in the first section of a bundle only (RFC 8843, 10.1)."""
    yield from credential_attributes(local.ice)
    yield local.fingerprint.attribute()
    yield Attribute("setup", setup)
    if with_candidates:
        yield from candidate_attributes(local.candidates)
