"""SDP (RFC 8866) as text and as a small model.

Only what WebRTC needs is modelled: media sections, attributes, and where each stood in the text.
Everything else (bandwidth, times, e-mail addresses...) is passed over, however it is written, so
that a line that nobody needs never makes a description unreadable. The same holds of attributes:
`AttributeReader` passes over those that cannot be understood and remembers their lines, for the
error that names them if what they should have said turns out to be needed.

Reading takes time linear in the text's length, and the length is bounded.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

MAX_CHARACTERS = 512 * 1024
MAX_LINES = 10_000
"""Twice what Chromium writes for 25 cameras, 25 screens and 25 microphones with all its codecs."""

_LINE_END = re.compile("\r\n|\n|\r")  # str.splitlines would end lines at U+2028, too
_SHOWN = 100
"""Characters of a line that an error repeats."""


class SdpError(Exception):
    """A description that cannot be read; the text says why, and names the line if there is one."""


class Line(NamedTuple):
    """A line of a description and its number, counted from 1."""

    number: int
    text: str

    def error(self, reason: str) -> SdpError:
        """The error that says what is wrong with this line."""
        return SdpError(f"{reason} ({self})")

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."
        return f"line {self.number}: {shown!a}"


@dataclass(frozen=True, slots=True)
class Attribute:
    """``a=<name>:<value>``; the value is empty where there is none.

    A line is only of attributes that were read, and no part of what they say.
    """

    name: str
    value: str = ""
    line: Line = field(default=Line(0, ""), compare=False, repr=False)

    def __str__(self) -> str:
        return f"a={self.name}:{self.value}" if self.value else f"a={self.name}"


class Attributes(tuple[Attribute, ...]):
    """The attributes of a media section, or of the session, in the order of their lines.

    Names are compared with their case (RFC 8866, 6).
    """

    @cached_property
    def _by_name(self) -> dict[str, list[Attribute]]:
        by_name: dict[str, list[Attribute]] = {}
        for attribute in self:
            by_name.setdefault(attribute.name, []).append(attribute)
        return by_name

    def all(self, name: str) -> Sequence[Attribute]:
        """All attributes of that name."""
        return self._by_name.get(name, ())

    def first(self, name: str) -> Attribute | None:
        """The first attribute of that name."""
        return next(iter(self.all(name)), None)

    def has(self, name: str) -> bool:
        """Whether there is an attribute of that name."""
        return name in self._by_name


class AttributeReader:
    """Reads the values of attributes, each kind of them by a function that gives None for what it
    does not understand."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.passed_over: list[Line] = []
        """Of attributes that were wanted and not understood."""

    def all(self, name: str, parse: Callable[[str], _T | None]) -> Iterator[_T]:
        """The values of all attributes of that name that are understood."""
        for attribute in self.attributes.all(name):
            value = parse(attribute.value)
            if value is None:
                self.passed_over.append(attribute.line)
            else:
                yield value

    def first(self, name: str, parse: Callable[[str], _T | None]) -> _T | None:
        """The first of them."""
        return next(self.all(name, parse), None)


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """A media section: ``m=<kind> <port> <protocol> <formats>`` and its attributes."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    """At least one."""
    attributes: Attributes
    line: Line = field(default=Line(0, ""), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description."""

    session_id: str
    """Of the o= line: digits, by which a description and its later versions are known as one."""
    version: int
    """Of the o= line: goes up with each change (RFC 3264, 8)."""
    attributes: Attributes
    media: tuple[MediaDescription, ...]


def parse_description(text: str) -> SessionDescription:
    """Read a description.

    Raises:
        SdpError: it is too long, is no SDP, or has an m= line that cannot be understood.
    """
    lines = split_lines(text)
    first = next(lines, None)
    if first is None or first.text != "v=0":
        raise SdpError("the text is not SDP: it does not begin with v=0")
    session_id, version = "0", 0
    session: list[Attribute] = []
    attributes = session
    sections: list[tuple[Line, list[Attribute]]] = []
    for line in lines:
        if line.text.startswith("a="):
            attributes.append(_attribute(line))
        elif line.text.startswith("m="):
            attributes = []
            sections.append((line, attributes))
        elif line.text.startswith("o="):
            session_id, version = _origin(line.text)
    return SessionDescription(
        session_id,
        version,
        Attributes(session),
        tuple(_media(line, Attributes(of_section)) for line, of_section in sections),
    )


def parse_attributes(text: str) -> Attributes:
    """All attributes of a text, whatever stands between them: of a part of a description.

    Raises:
        SdpError: it is too long.
    """
    return Attributes(_attribute(line) for line in split_lines(text) if line.text.startswith("a="))


def split_lines(text: str) -> Iterator[Line]:
    """The lines of a text that are not empty, without blanks around them.

    Raises:
        SdpError: there are more than `MAX_CHARACTERS` or `MAX_LINES`.
    """
    if len(text) > MAX_CHARACTERS:
        raise SdpError(f"the text has more than {MAX_CHARACTERS} characters")
    lines = _LINE_END.split(text)
    if len(lines) > MAX_LINES:
        raise SdpError(f"the text has more than {MAX_LINES} lines")
    numbered = (Line(number, each.strip()) for number, each in enumerate(lines, start=1))
    return (line for line in numbered if line.text)


def write_description(description: SessionDescription) -> str:
    """The text of a description that we made: its values are taken to be fit for SDP."""
    lines = [
        "v=0",
        f"o=- {description.session_id} {description.version} IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        *map(str, description.attributes),
    ]
    for media in description.media:
        formats = " ".join(media.formats)
        lines += [
            f"m={media.kind} {media.port} {media.protocol} {formats}",
            "c=IN IP4 0.0.0.0",
            *map(str, media.attributes),
        ]
    return "\r\n".join(lines) + "\r\n"


def is_token(text: str) -> bool:
    """Whether a text can be repeated in SDP as one word: not empty, and without blanks, line ends
    and control characters. (RFC 8866's token has a few printable characters less.)"""
    return text.isprintable() and len(text.split()) == 1


def parse_number(text: str, limit: int) -> int | None:
    """A decimal number from 0 to `limit`; None if `text` is anything else."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(limit)):
        return None
    number = int(text)
    return number if number <= limit else None


def _attribute(line: Line) -> Attribute:
    name, _, value = line.text[2:].partition(":")
    return Attribute(name.strip(), value.strip(), line)


def _media(line: Line, attributes: Attributes) -> MediaDescription:
    """Raises SdpError."""
    kind, port_text, protocol, *formats = [*line.text[2:].split(), "", "", ""]
    formats = [each for each in formats if each]
    # The port may be followed by a number of ports (RFC 8866, 5.14).
    port = parse_number(port_text.partition("/")[0], 65535)
    if port is None or not formats or not all(map(is_token, (kind, protocol, *formats))):
        raise line.error("a media section must be m=<media> <port> <protocol> <formats>")
    return MediaDescription(kind, port, protocol, tuple(formats), attributes, line)


def _origin(text: str) -> tuple[str, int]:
    """Session id and version of an o= line; zeros where they cannot be read, as nobody needs
    another side's."""
    words = [*text.split(), "", "", ""]
    version = parse_number(words[2], 2**64)
    return (words[1], version) if words[1].isdecimal() and version is not None else ("0", 0)
