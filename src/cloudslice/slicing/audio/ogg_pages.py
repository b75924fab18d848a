"""What an Ogg Opus file consists of: pages (RFC 3533, section 6), and the two headers that are on
the first ones (RFC 7845, section 5).

No library is used: the packets are there already, and what remains is a header of 27 bytes for
a page.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cloudslice.codecs.opus import SAMPLE_RATE

FIRST, LAST = 0x02, 0x04
"""Flags of the pages that a stream begins and ends with."""
MAX_SEGMENTS = 255

_HEADER = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, flags, granule position, serial number, page number, checksum,
segments."""
_CHECKSUM_AT = 22
_CAPTURE = b"OggS"
_OPUS_HEAD = struct.Struct("<8sBBHIhB")
"""Magic, version, channels, pre-skip, input rate, gain, mapping family."""
_OPUS_TAGS = b"OpusTags"
_VENDOR = "cloudslice"
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A page; `lacing` has the sizes of its segments."""

    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return _HEADER.size + len(self.lacing) + len(self.body)

    def packets(self) -> Iterator[bytes]:
        """The packets of the page; none of ours goes on in the next page."""
        start = end = 0
        for segment in self.lacing:
            end += segment
            if segment < 255:
                yield self.body[start:end]
                start = end

    def to_bytes(self) -> bytes:
        """As it is in a file."""
        header = _HEADER.pack(
            _CAPTURE,
            0,
            self.flags,
            self.granule,
            self.serial,
            self.number,
            0,
            len(self.lacing),
        )
        page = bytearray(b"".join((header, self.lacing, self.body)))
        page[_CHECKSUM_AT : _CHECKSUM_AT + 4] = _checksum(page)
        return bytes(page)


def whole_pages(data: bytes) -> Iterator[Page]:
    """The pages of `data` up to the first that is cut off or damaged."""
    at = 0
    while len(data) - at >= _HEADER.size:
        capture, _, flags, granule, serial, number, _, segments = _HEADER.unpack_from(data, at)
        body_at = at + _HEADER.size + segments
        lacing = data[at + _HEADER.size : body_at]
        end = body_at + sum(lacing)
        page = Page(flags, granule, serial, number, lacing, data[body_at:end])
        if capture != _CAPTURE or page.to_bytes() != data[at:end]:
            return
        yield page
        at = end


def is_cut_off(rest: bytes) -> bool:
    """Whether what follows the whole pages is nothing, or a page whose end is missing."""
    if len(rest) < _HEADER.size:
        return (_CAPTURE + rest[4:]).startswith(rest)
    body_at = _HEADER.size + rest[_HEADER.size - 1]
    return rest.startswith(_CAPTURE) and len(rest) < body_at + sum(rest[_HEADER.size : body_at])


def lace(size: int) -> bytes:
    """The segment sizes of a packet of `size` bytes (RFC 3533 section 5)."""
    return b"\xff" * (size // 255) + bytes([size % 255])


def _checksum(page: bytearray) -> bytes:
    """Ogg's CRC-32 (RFC 3533 section 6) of a page whose checksum field is zero, as it goes there.

    The polynomial is zlib's, with the bits of every byte and of the result the other way round,
    and without zlib's inversions at start and end.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)


def opus_head(pre_skip: int, stereo: bool) -> bytes:
    """The identification header (section 5.1). `pre_skip`: samples, at most 65,535."""
    return _OPUS_HEAD.pack(b"OpusHead", 1, 2 if stereo else 1, pre_skip, SAMPLE_RATE, 0, 0)


def pre_skip_of(head: bytes) -> int:
    """The samples that an identification header hides."""
    pre_skip: int = _OPUS_HEAD.unpack(head)[3]
    return pre_skip


def opus_tags(comments: Sequence[str], size: int = 0) -> bytes:
    """The comment header (section 5.2); `comments`: ``NAME=value``.

    Args:
        size: bytes that it is filled up to with zeros, which readers skip.
    """
    texts = [text.encode() for text in (_VENDOR, *comments)]
    vendor, *fields = (struct.pack("<I", len(text)) + text for text in texts)
    tags = b"".join((_OPUS_TAGS, vendor, struct.pack("<I", len(fields)), *fields))
    return tags.ljust(size, b"\0")


def comments_of(tags: bytes) -> list[str]:
    """The comments of a comment header that `opus_tags` has made.

    Raises:
        ValueError: it is none.
    """
    texts: list[str] = []
    at = len(_OPUS_TAGS)
    count = 1
    try:
        while len(texts) < count:
            (length,) = struct.unpack_from("<I", tags, at)
            at += 4 + length
            texts.append(tags[at - length : at].decode())
            if len(texts) == 1:
                (more,) = struct.unpack_from("<I", tags, at)
                count, at = 1 + more, at + 4
    except struct.error as error:
        raise ValueError("the comment header is cut off") from error
    return texts[1:]
