"""What we take of the other side's offer (RFC 3264, RFC 9429): a first one, or a later one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import Catalog, Format, MediaKind
from cloudslice.webrtc.bundling import choose_bundle, join, obstacle, refuse
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension
from cloudslice.webrtc.negotiation import (
    MID_URI,
    REPAIRED_RID_URI,
    RID_URI,
    NegotiatedFormat,
    NegotiatedSection,
    Negotiation,
    UnusableOfferError,
)
from cloudslice.webrtc.remote_description import RemoteDescription, RemoteSection
from cloudslice.webrtc.sdp import SdpError

_START_BITRATE_KBPS = 1200
"""What Chromium and Safari begin with, if told so: with their own 300 kbit/s they begin with a
quarter of the camera's pixels, and measured, take ten seconds and more to come back to all."""


@dataclass(frozen=True, slots=True)
class ReceivePolicy:
    """What we are ready to receive."""

    max_sections: Mapping[MediaKind, int]
    """How many sections of each kind are taken: first those taken before, then those that send."""
    max_video_bitrate_kbps: int
    """What the sender will be told by REMB."""
    we_are_ice_lite: bool = True
    """Whether we leave checking connectivity to the other side (RFC 8445, 2.5)."""
    needs_media: bool = True
    """Whether a first offer, or the answer to it, is unusable that sends nothing."""
    announced_only: bool = False
    """Whether only SSRCs are received that the other side's description names in their section: of
    a server that uses sections again for other people's media."""
    preferred_codecs: Sequence[str] = ()
    """Names of codecs that the sender is to choose before all others, the best one first. Others
    follow in the order in which they were offered."""
    catalog: Catalog = CATALOG


def accept_offer(
    offer: RemoteDescription, policy: ReceivePolicy, former: Negotiation | None = None
) -> Negotiation:
    """Decide what of an offer we receive.

    Args:
        offer: the first one of a connection, or a later one.
        policy: what we want.
        former: what holds when a later offer comes.

    Raises:
        SdpError: what is needed is missing, or a later offer does not fit those before it.
        UnusableOfferError: it sends nothing that we can receive, or no connection can be made.
    """
    known = {each.mid for each in former.taken} if former else set()
    if former:
        _check_places(offer, former)
    received = [_receive(section, policy) for section in offer.sections]
    sections = _within_limits(received, policy.max_sections, known)
    wanted = [each.mid for each in sections if each.is_taken]
    if former is None and policy.needs_media and not any(map(_is_received, sections)):
        audio, video = (
            " or ".join(each.name for each in codecs)
            for codecs in (policy.catalog.audio, policy.catalog.video)
        )
        raise UnusableOfferError(
            f"the offer sends nothing that can be received: audio must be {audio}, video {video}, "
            "with a=sendonly or a=sendrecv and a=rtcp-mux" + offer.not_understood("rtpmap", "fmtp")
        )
    bundle = choose_bundle(offer, wanted, known)
    if wanted and not bundle:
        raise UnusableOfferError(
            "no section of the BUNDLE group that can be received has a transport: those that "
            "precede the bundle-only ones are refused (RFC 8843, 7.3.1)"
        )
    negotiation = join(offer, sections, bundle, former, we_are_dtls_server=True)
    if negotiation.transport and (
        reason := obstacle(negotiation.transport, we_are_ice_lite=policy.we_are_ice_lite)
    ):
        raise UnusableOfferError(f"the offer {reason}")
    return negotiation


def _check_places(offer: RemoteDescription, former: Negotiation) -> None:
    """Raises SdpError if sections are missing, or have changed places (RFC 3264, 8)."""
    if len(offer.sections) < len(former.sections):
        raise SdpError(
            f"the offer has {len(offer.sections)} media sections after {len(former.sections)}: "
            "removed ones must stay, with port 0"
        )
    places = {each.mid: each.index for each in former.taken}
    for section in offer.sections:
        if places.get(section.mid, section.index) != section.index:
            raise section.media.line.error(f"a=mid:{section.mid} was another media section before")


def _receive(section: RemoteSection, policy: ReceivePolicy) -> NegotiatedSection:
    """The section as far as it depends on no other one."""
    formats = _preferred_first(_accept_formats(section, policy), policy.preferred_codecs)
    rids = section.sent_rids if policy.catalog.simulcast and section.kind == "video" else ()
    negotiated = NegotiatedSection(
        section.index,
        section.mid,
        section.has_mid,
        section.kind,
        (section.media.kind, section.media.protocol, section.media.formats[0]),
        Direction.RECVONLY if section.direction.sends else Direction.INACTIVE,
        formats=formats,
        extensions=tuple(_accept_extensions(section, formats, rids)),
        ssrcs=section.ssrcs,
        ssrc_groups=section.ssrc_groups,
        rids=rids,
        msid=section.msid,
    )
    reason = _reason_to_refuse(section, formats)
    return refuse(negotiated, reason) if reason else negotiated


def _reason_to_refuse(section: RemoteSection, formats: Sequence[NegotiatedFormat]) -> str:
    if not section.is_offered:
        return "not offered any more, or not yet: its port is 0"
    if not section.is_rtp:
        return f"of {section.kind} by {section.media.protocol}: not RTP of audio or video"
    if not section.rtcp_mux and not section.is_bundle_only:
        return "without a=rtcp-mux"
    return "" if formats else "without a codec that can be received"


def _accept_formats(section: RemoteSection, policy: ReceivePolicy) -> Iterator[NegotiatedFormat]:
    """Codecs first, then what carries packets of these."""
    taken = set()
    for offered in section.formats:
        codec = policy.catalog.codec(section.kind, offered)
        parameters = codec.answer_parameters(offered) if codec else None
        if codec is None or parameters is None:
            continue
        taken.add(offered.payload_type)
        if codec.kind == "video":
            start = min(_START_BITRATE_KBPS, policy.max_video_bitrate_kbps)
            parameters = (*parameters, ("x-google-start-bitrate", str(start)))
        feedback = _common(codec.feedback, offered)
        yield NegotiatedFormat(offered, codec, None, parameters, feedback)
    for offered in section.formats:
        carrier = policy.catalog.carrier(section.kind, offered)
        carried = carrier.carried(offered) if carrier else ()
        if carrier and carried and taken.issuperset(carried):
            feedback = _common(carrier.feedback, offered)
            yield NegotiatedFormat(offered, None, carrier, offered.parameters, feedback)


def _preferred_first(
    formats: Iterable[NegotiatedFormat], names: Sequence[str]
) -> tuple[NegotiatedFormat, ...]:
    """A sender uses the first codec of an answer that it can (RFC 3264, 7)."""
    ranks = {name.lower(): rank for rank, name in enumerate(names)}
    return tuple(sorted(formats, key=lambda each: ranks.get(each.offered.name.lower(), len(ranks))))


def _common(wanted: Iterable[str], offered: Format) -> tuple[str, ...]:
    return tuple(each for each in wanted if each in offered.feedback)


def _accept_extensions(
    section: RemoteSection, formats: Iterable[NegotiatedFormat], rids: Sequence[str]
) -> Iterator[HeaderExtension]:
    wanted = {uri for each in formats if each.codec for uri in each.codec.extensions}
    if section.has_mid:
        wanted.add(MID_URI)
    if rids:
        wanted |= {RID_URI, REPAIRED_RID_URI}
    for each in section.extensions:
        if each.uri in wanted and (each.direction is None or each.direction.sends):
            wanted.remove(each.uri)
            direction = Direction.RECVONLY if each.direction else None
            yield HeaderExtension(each.identifier, each.uri, direction)


def _within_limits(
    sections: Sequence[NegotiatedSection], limits: Mapping[MediaKind, int], known: set[str]
) -> list[NegotiatedSection]:
    """The same sections, those refused that are too many."""
    left: dict[str, int] = dict(limits.items())
    kept = list(sections)
    ranked = sorted(sections, key=lambda each: (each.mid not in known, not _is_received(each)))
    for section in ranked:
        if not section.is_taken:
            continue
        if left.get(section.kind, 0) > 0:
            left[section.kind] -= 1
        else:
            reason = f"one more {section.kind} than are taken"
            kept[section.index] = refuse(section, reason)
    return kept


def _is_received(section: NegotiatedSection) -> bool:
    return section.is_taken and section.direction.receives
