"""The attributes by which a media section says what RTP it carries, each read by itself.

Functions named `parse_...` take an attribute's value, what follows the colon, and give None for one
that they do not understand.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

from cloudslice.codecs.codec import Format, Parameters
from cloudslice.webrtc.sdp import Attribute, AttributeReader, is_token, parse_number

_ENCRYPTED_URI = "urn:ietf:params:rtp-hdrext:encrypt"
"""Marks a header extension that is encrypted (RFC 6904); we do not read those."""
_MAX_SSRC = 2**32 - 1
_MAX_PAYLOAD_TYPE = 127
_MAX_EXTENSION_ID = 255
_MAX_CLOCK_RATE = 2**31 - 1
_MAX_FEEDBACK = 32
"""Kinds of RTCP feedback that are read of one payload type; some eight are in use."""


class Direction(Enum):
    """Where media goes, as the side sees it whose description it is."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether that side sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether that side receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> "Direction":
        """That of a side that does so."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


@dataclass(frozen=True, slots=True)
class HeaderExtension:
    """An ``a=extmap`` (RFC 8285)."""

    identifier: int
    uri: str
    direction: Direction | None = None
    """None where it is that of the section."""

    def attribute(self) -> Attribute:
        """As SDP says it."""
        direction = f"/{self.direction.value}" if self.direction else ""
        return Attribute("extmap", f"{self.identifier}{direction} {self.uri}")


@dataclass(frozen=True, slots=True)
class Ssrc:
    """A stream's SSRC with what its ``a=ssrc`` lines say of it (RFC 5576), empty if they do not."""

    number: int
    cname: str = ""
    msid: str = ""


@dataclass(frozen=True, slots=True)
class SsrcGroup:
    """SSRCs that belong together (RFC 5576): "FID" are a stream and its retransmissions."""

    semantics: str
    ssrcs: tuple[int, ...]


class RtpMap(NamedTuple):
    """An ``a=rtpmap``."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int | None


def read_formats(reader: AttributeReader, listed: tuple[str, ...]) -> tuple[Format, ...]:
    """The payload formats of a section in the order of its m= line, those that an a=rtpmap names.

    Args:
        reader: of the section's attributes.
        listed: the m= line's formats; what is said of others is nobody's.
    """
    maps: dict[int, RtpMap] = {}
    for each in reader.all("rtpmap", parse_rtpmap):
        maps.setdefault(each.payload_type, each)
    parameters: dict[int, Parameters] = {}
    for payload_type, more in reader.all("fmtp", parse_fmtp):
        parameters.setdefault(payload_type, more)
    feedback: dict[int | None, dict[str, None]] = {}
    for applies_to, value in reader.all("rtcp-fb", parse_rtcp_fb):
        feedback.setdefault(applies_to, {})[value] = None
    numbers = (parse_number(each, _MAX_PAYLOAD_TYPE) for each in listed)
    return tuple(
        Format(
            *maps[number],
            parameters.get(number, ()),
            tuple(islice({**feedback.get(number, {}), **feedback.get(None, {})}, _MAX_FEEDBACK)),
        )
        for number in dict.fromkeys(numbers)
        if number in maps
    )


def read_ssrcs(reader: AttributeReader) -> tuple[Ssrc, ...]:
    """The streams that a section announces, in its order."""
    told: dict[int, dict[str, str]] = {}
    for number, name, value in reader.all("ssrc", parse_ssrc):
        told.setdefault(number, {}).setdefault(name, value)
    return tuple(
        Ssrc(number, cname=values.get("cname", ""), msid=values.get("msid", ""))
        for number, values in told.items()
    )


def read_sent_rids(reader: AttributeReader) -> tuple[str, ...]:
    """The simultaneous encodings that a section sends (RFC 8853); of alternatives the first one."""
    declared = {rid for rid, direction in reader.all("rid", parse_rid) if direction == "send"}
    return tuple(
        dict.fromkeys(
            rid for rid in reader.first("simulcast", parse_simulcast) or () if rid in declared
        )
    )


def parse_rtpmap(value: str) -> RtpMap | None:
    """``<payload type> <name>/<clock rate>[/<channels>]``."""
    number, _, encoding = value.partition(" ")
    name, clock, channels, *_ = [*encoding.strip().split("/"), "", ""]
    payload_type = parse_number(number, _MAX_PAYLOAD_TYPE)
    clock_rate = parse_number(clock, _MAX_CLOCK_RATE)
    if payload_type is None or clock_rate is None or not is_token(name):
        return None
    return RtpMap(payload_type, name, clock_rate, parse_number(channels, 255))


def parse_fmtp(value: str) -> tuple[int, Parameters] | None:
    """``<payload type> <name>=<value>;<name>...``; it may end after the payload type."""
    number, _, rest = value.partition(" ")
    payload_type = parse_number(number, _MAX_PAYLOAD_TYPE)
    if payload_type is None:
        return None
    pairs = (each.partition("=") for each in rest.split(";") if each.isprintable())
    return payload_type, tuple(
        (name.strip().lower(), text.strip()) for name, _, text in pairs if name.strip()
    )


def parse_rtcp_fb(value: str) -> tuple[int | None, str] | None:
    """``<payload type> <kind> [<parameters>]``, where * (here None) is every payload type."""
    number, _, kind = value.partition(" ")
    applies_to = parse_number(number, _MAX_PAYLOAD_TYPE)
    kind = " ".join(kind.split())
    if not kind.isprintable() or not kind or (applies_to is None and number != "*"):
        return None
    return applies_to, kind


def parse_extmap(value: str) -> HeaderExtension | None:
    """``<id>[/<direction>] <URI> [<attributes of the extension>]``; the latter are passed over."""
    words = value.split()
    if len(words) < 2 or not is_token(words[1]) or words[1] == _ENCRYPTED_URI:
        return None
    number, slash, direction = words[0].partition("/")
    identifier = parse_number(number, _MAX_EXTENSION_ID)
    if not identifier or (slash and direction not in DIRECTIONS):
        return None
    return HeaderExtension(identifier, words[1], DIRECTIONS.get(direction))


def parse_ssrc(value: str) -> tuple[int, str, str] | None:
    """``<SSRC> [<attribute>[:<value>]]``: number, attribute's name and its value."""
    number, _, attribute = value.partition(" ")
    ssrc = parse_number(number, _MAX_SSRC)
    name, _, text = attribute.strip().partition(":")
    return None if ssrc is None else (ssrc, name, text.strip())


def parse_ssrc_group(value: str) -> SsrcGroup | None:
    """``<semantics> <SSRC> <SSRC>...``."""
    semantics, *words = value.split() or [""]
    numbers = tuple(parse_number(each, _MAX_SSRC) for each in words)
    ssrcs = tuple(each for each in numbers if each is not None)
    return SsrcGroup(semantics, ssrcs) if ssrcs and len(ssrcs) == len(numbers) else None


def parse_rid(value: str) -> tuple[str, str] | None:
    """``<RID> <direction> [<restrictions>]`` (RFC 8851)."""
    words = value.split()
    return (words[0], words[1]) if len(words) > 1 and is_token(words[0]) else None


def parse_simulcast(value: str) -> tuple[str, ...] | None:
    """The RIDs that ``send <RID>;<RID>,<alternative>;~<paused>`` lists."""
    words = value.split()
    if "send" not in words[:-1]:
        return None
    streams = words[words.index("send") + 1].split(";")
    return tuple(each.partition(",")[0].removeprefix("~") for each in streams)


DIRECTIONS = {each.value: each for each in Direction}
"""By the names of the attributes."""
