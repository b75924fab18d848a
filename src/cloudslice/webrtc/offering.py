"""Offers of our own: what we offer to receive, and what the answer leaves of an offer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import Catalog, Format, MediaKind
from cloudslice.webrtc.bundling import choose_bundle, join, obstacle, refuse
from cloudslice.webrtc.local_description import PROTOCOL, OfferedSection
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension
from cloudslice.webrtc.negotiation import (
    MID_URI,
    NegotiatedFormat,
    NegotiatedSection,
    Negotiation,
    UnusableAnswerError,
)
from cloudslice.webrtc.remote_description import RemoteDescription, RemoteSection

_FIRST_PAYLOAD_TYPE = 96
"""Dynamic payload types go from 96 to 127 (RFC 3551, 6)."""
_FIRST_AUDIO_PAYLOAD_TYPE = 111
"""Audio and video on one transport must differ (RFC 8843, 9.1); Opus is 111 in browsers."""


def section_to_receive(mid: str, kind: MediaKind, catalog: Catalog = CATALOG) -> OfferedSection:
    """A section that receives, by all codecs of its kind that we know."""
    start = _FIRST_AUDIO_PAYLOAD_TYPE if kind == "audio" else _FIRST_PAYLOAD_TYPE
    codecs = catalog.of_kind(kind)
    numbers = count(start)
    formats = tuple(
        Format(next(numbers), codec.name, codec.clock_rate, codec.channels, variant, codec.feedback)
        for codec in codecs
        for variant in codec.variants
    )
    uris = {MID_URI, *(uri for codec in codecs for uri in codec.extensions)}
    extensions = tuple(each for each in _extensions(catalog) if each.uri in uris)
    return OfferedSection(mid, kind, Direction.RECVONLY, formats, extensions)


def _extensions(catalog: Catalog) -> Iterator[HeaderExtension]:
    """Those of all kinds of media: in sections that are bundled a number stands for one URI (RFC
    8843, 8)."""
    codecs = (*catalog.video, *catalog.audio)
    uris = dict.fromkeys([MID_URI, *(uri for codec in codecs for uri in codec.extensions)])
    return (HeaderExtension(number, uri) for number, uri in enumerate(uris, start=1))


def accept_answer(
    offered: Sequence[OfferedSection],
    answer: RemoteDescription,
    former: Negotiation | None = None,
    *,
    we_are_ice_lite: bool = False,
    needs_media: bool = True,
    catalog: Catalog = CATALOG,
) -> Negotiation:
    """What the other side's answer leaves of our offer.

    Args:
        offered: the offer's sections.
        answer: the answer to it.
        former: what held before the offer.
        we_are_ice_lite: whether the offer says so.
        needs_media: whether the answer to a first offer is unusable that uses none of its sections.
        catalog: the codecs that were offered.

    Raises:
        SdpError: what is needed is missing.
        UnusableAnswerError: it is no answer to this offer, takes nothing of a first offer, or no
            connection can be made.
    """
    if len(answer.sections) != len(offered):
        raise UnusableAnswerError(
            f"the answer has {len(answer.sections)} media sections, the offer {len(offered)}"
        )
    answer = _with_mids(answer, [each.mid for each in offered])
    sections = [
        _agree(ours, theirs, catalog) for ours, theirs in zip(offered, answer.sections, strict=True)
    ]
    taken = [each for each in sections if each.is_taken]
    if (
        needs_media
        and former is None
        and all(each.direction is Direction.INACTIVE for each in taken)
    ):
        raise UnusableAnswerError("the other side takes none of the streams")
    known = {each.mid for each in former.taken} if former else set()
    bundle = choose_bundle(answer, [each.mid for each in taken], known)
    negotiation = join(answer, sections, bundle, former, we_are_dtls_server=False)
    if negotiation.transport and (
        reason := obstacle(negotiation.transport, we_are_ice_lite=we_are_ice_lite)
    ):
        raise UnusableAnswerError(f"the answer {reason}")
    return negotiation


def _with_mids(answer: RemoteDescription, mids: Sequence[str]) -> RemoteDescription:
    """The answer with our mids in sections that have none. Raises UnusableAnswerError."""
    named = []
    for section, mid in zip(answer.sections, mids, strict=True):
        if section.has_mid and section.mid != mid:
            raise UnusableAnswerError(
                f"the answer's media section {section.index} is a=mid:{section.mid}, the offer's "
                f"is a=mid:{mid}"
            )
        named.append(replace(section, mid=mid))
    return replace(answer, sections=tuple(named))


def _agree(ours: OfferedSection, theirs: RemoteSection, catalog: Catalog) -> NegotiatedSection:
    formats = tuple(_agreed_formats(ours, theirs, catalog))
    known = {(each.identifier, each.uri) for each in theirs.extensions}
    agreed = NegotiatedSection(
        theirs.index,
        ours.mid,
        has_mid=True,
        kind=ours.kind,
        media_line=(ours.kind, PROTOCOL, theirs.media.formats[0]),
        direction=Direction.of(
            sends=ours.direction.sends and theirs.direction.receives,
            receives=ours.direction.receives and theirs.direction.sends,
        ),
        formats=formats,
        extensions=tuple(each for each in ours.extensions if (each.identifier, each.uri) in known),
        ssrcs=theirs.ssrcs,
        ssrc_groups=theirs.ssrc_groups,
        msid=theirs.msid,
    )
    if ours.is_removed:
        return refuse(agreed, "removed by us")
    if not theirs.port or not formats or not theirs.rtcp_mux:
        return refuse(agreed, "refused by the other side")
    return agreed


def _agreed_formats(
    ours: OfferedSection, theirs: RemoteSection, catalog: Catalog
) -> Iterator[NegotiatedFormat]:
    """Those of the answer that are the offer's, in the answer's order."""
    offered = {(each.payload_type, each.name.lower()): each for each in ours.formats}
    for answered in theirs.formats:
        same = offered.get((answered.payload_type, answered.name.lower()))
        codec = catalog.codec(ours.kind, answered)
        if same and codec:
            feedback = tuple(each for each in same.feedback if each in answered.feedback)
            yield NegotiatedFormat(answered, codec, None, same.parameters, feedback)
