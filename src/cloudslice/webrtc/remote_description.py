"""What the other side's offer or answer says, as far as a WebRTC endpoint needs it (RFC 9429)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from cloudslice.codecs.codec import Format
from cloudslice.webrtc.media_attributes import (
    DIRECTIONS,
    Direction,
    HeaderExtension,
    Ssrc,
    SsrcGroup,
    parse_extmap,
    parse_ssrc_group,
    read_formats,
    read_sent_rids,
    read_ssrcs,
)
from cloudslice.webrtc.sdp import (
    AttributeReader,
    Attributes,
    Line,
    MediaDescription,
    SdpError,
    is_token,
    parse_description,
)
from cloudslice.webrtc.transport_parameters import TransportParameters, read_transport

MAX_SECTIONS = 1000
NO_MID = "no-mid-"
"""What the names begin with that we give to sections without a=mid. No a=mid is taken that does."""


@dataclass(frozen=True, slots=True)
class RemoteSection:
    """A media section."""

    index: int
    mid: str
    """Its a=mid; where it has none, a name that no other section has."""
    has_mid: bool
    kind: str
    """"audio", "video", "application"..., in lower case."""
    port: int
    """0: refused, removed, or not offered but for a bundle (`is_bundle_only`)."""
    media: MediaDescription = field(repr=False)
    """The section as it was written."""
    direction: Direction
    formats: tuple[Format, ...]
    """Its RTP payload formats in the order of preference; without those that it does not name."""
    extensions: tuple[HeaderExtension, ...]
    ssrcs: tuple[Ssrc, ...]
    ssrc_groups: tuple[SsrcGroup, ...]
    sent_rids: tuple[str, ...]
    """The simultaneous encodings that it sends (RFC 8853), in its order."""
    msid: str
    """``<stream> <track>`` (RFC 8830), empty if it does not say."""
    is_bundle_only: bool
    rtcp_mux: bool
    transport: TransportParameters
    passed_over: tuple[Line, ...] = field(repr=False)
    """Lines that were wanted and not understood."""

    @property
    def is_rtp(self) -> bool:
        """Whether it carries RTP, as audio and video do."""
        return self.kind in ("audio", "video") and "RTP/" in self.media.protocol.upper()

    @property
    def is_offered(self) -> bool:
        """Whether it is to be used: port 0 means that it is not, but of those that a bundle brings
        along (RFC 8843, 6)."""
        return self.port != 0 or self.is_bundle_only


@dataclass(frozen=True, slots=True)
class RemoteDescription:
    """An offer or an answer."""

    is_ice_lite: bool
    bundles: tuple[tuple[str, ...], ...]
    """The mids of each BUNDLE group (RFC 8843) in its order, those that are of a section."""
    sections: tuple[RemoteSection, ...]
    """At least one, in the order of the text."""
    passed_over: tuple[Line, ...] = field(repr=False, default=())
    """Lines of the session that were wanted and not understood."""

    def not_understood(self, *names: str) -> str:
        """For errors: the first line of an attribute of these names that could not be understood,
        in brackets; empty if there is none."""
        starts = tuple(f"a={name}" for name in names)
        lines = chain(self.passed_over, *(section.passed_over for section in self.sections))
        first = next((line for line in lines if line.text.startswith(starts)), None)
        return f" (not understood: {first})" if first else ""


def parse_remote_description(text: str) -> RemoteDescription:
    """Read an offer or an answer.

    Raises:
        SdpError: it is no SDP, has no media section or too many, or two of the same mid.
    """
    description = parse_description(text)
    if not description.media:
        raise SdpError("the description has no media section")
    if len(description.media) > MAX_SECTIONS:
        raise SdpError(f"the description has more than {MAX_SECTIONS} media sections")
    session = _Session.read(description.attributes)
    mids = _mids(description.media)
    return RemoteDescription(
        is_ice_lite=session.reader.attributes.has("ice-lite"),
        bundles=_bundles(session.reader.attributes, {mid for mid in mids if mid}),
        sections=tuple(
            _read_section(index, media, mid, session)
            for index, (media, mid) in enumerate(zip(description.media, mids, strict=True))
        ),
        passed_over=tuple(session.reader.passed_over),
    )


class _Session(NamedTuple):
    """What holds for the sections that do not say it themselves."""

    reader: AttributeReader
    transport: TransportParameters
    direction: Direction
    extensions: dict[int, HeaderExtension]
    rtcp_mux: bool

    @classmethod
    def read(cls, attributes: Attributes) -> "_Session":
        reader = AttributeReader(attributes)
        return cls(
            reader,
            read_transport(reader, TransportParameters()),
            _direction(attributes, Direction.SENDRECV),
            _extensions(reader, ()),
            _has_rtcp_mux(attributes),
        )


def _mids(sections: Sequence[MediaDescription]) -> list[str | None]:
    """The mid of each section, None where there is none. Raises SdpError if two are the same."""
    mids: dict[str, None] = {}
    listed: list[str | None] = []
    for media in sections:
        attribute = media.attributes.first("mid")
        mid = attribute.value if attribute and _is_mid(attribute.value) else None
        if attribute and mid in mids:
            raise attribute.line.error("two media sections have the same a=mid")
        if mid is not None:
            mids[mid] = None
        listed.append(mid)
    return listed


def _is_mid(text: str) -> bool:
    return is_token(text) and not text.startswith(NO_MID)


def _bundles(attributes: Attributes, mids: set[str]) -> tuple[tuple[str, ...], ...]:
    groups = (each.value.split() for each in attributes.all("group"))
    bundles = (group[1:] for group in groups if group[:1] == ["BUNDLE"])
    return tuple(tuple(dict.fromkeys(mid for mid in each if mid in mids)) for each in bundles)


def _read_section(
    index: int, media: MediaDescription, mid: str | None, session: _Session
) -> RemoteSection:
    attributes = media.attributes
    reader = AttributeReader(attributes)
    return RemoteSection(
        index=index,
        mid=mid or f"{NO_MID}{index}",
        has_mid=mid is not None,
        kind=media.kind.lower(),
        port=media.port,
        media=media,
        direction=_direction(attributes, session.direction),
        formats=read_formats(reader, media.formats),
        extensions=tuple(_extensions(reader, session.extensions.values()).values()),
        ssrcs=read_ssrcs(reader),
        ssrc_groups=tuple(reader.all("ssrc-group", parse_ssrc_group)),
        sent_rids=read_sent_rids(reader),
        msid=reader.first("msid", _parse_words) or "",
        is_bundle_only=media.port == 0 and attributes.has("bundle-only"),
        rtcp_mux=session.rtcp_mux or _has_rtcp_mux(attributes),
        transport=read_transport(reader, session.transport),
        passed_over=tuple(reader.passed_over),
    )


def _direction(attributes: Attributes, default: Direction) -> Direction:
    names = (each.name for each in attributes)
    return next((DIRECTIONS[name] for name in names if name in DIRECTIONS), default)


def _extensions(
    reader: AttributeReader, inherited: Iterable[HeaderExtension]
) -> dict[int, HeaderExtension]:
    """By id; where two have the same, the section's and then the first one counts."""
    extensions: dict[int, HeaderExtension] = {}
    for extension in chain(reader.all("extmap", parse_extmap), inherited):
        extensions.setdefault(extension.identifier, extension)
    return extensions


def _has_rtcp_mux(attributes: Attributes) -> bool:
    return attributes.has("rtcp-mux") or attributes.has("rtcp-mux-only")


def _parse_words(value: str) -> str | None:
    return " ".join(value.split()) if value.isprintable() else None
