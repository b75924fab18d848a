"""Ogg Opus files (RFC 3533, RFC 7845): written page by page as packets come, and repaired.

No library is used: the packets are there already, and what remains is a header of 27 bytes for
a page.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cloudslice.codecs.opus import SAMPLE_RATE, is_stereo, packet_samples
from cloudslice.slices import Repaired

MAX_PRE_SKIP = 0xFFFF
"""The header's field for samples to be hidden has 16 bits."""

_PAGE_HEADER = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, flags, granule position, serial number, page number, checksum,
segments (RFC 3533 section 6)."""
_CHECKSUM_AT = 22
_CAPTURE = b"OggS"
_FIRST, _LAST = 0x02, 0x04
_OPUS_HEAD = struct.Struct("<8sBBHIhB")
"""Magic, version, channels, pre-skip, input rate, gain, mapping family (RFC 7845 section 5.1)."""
_MAX_SEGMENTS = 255
_PAGE_SAMPLES = SAMPLE_RATE
"""Of a page at most: a player that seeks finds pages."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggOpusWriter:
    """Writes one Ogg Opus stream: the two header pages at once, then a page for each `flush`
    and for what a page holds.

    Granule positions count from the first packet; the first `pre_skip` samples are decoded and
    not heard. At least one packet is always held back, as the last page has to carry the end.
    """

    __slots__ = (
        "_body",
        "_granule",
        "_head",
        "_lacing",
        "_last_size",
        "_pages",
        "_pending_samples",
        "_pre_skip",
        "_serial",
        "_toc_bits",
        "_write",
    )

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        serial: int,
        pre_skip: int,
        stereo: bool,
        comments: Sequence[str] = (),
    ) -> None:
        """Args:
        write: takes the file's bytes, in order.
        serial: the stream's 32 bit number, another one than that of files played before or after.
        pre_skip: samples, at most `MAX_PRE_SKIP`.
        stereo: whether the header is to say two channels; `head` can correct it at the end.
        comments: ``NAME=value`` for the comment header; `head` can correct them.
        """
        self._write = write
        self._serial = serial & 0xFFFFFFFF
        self._pre_skip = pre_skip
        self._toc_bits = 0
        self._granule = 0
        self._pending_samples = 0
        self._pages = 2
        self._lacing = bytearray()
        # Not a list of packets: their memory would be cold by the time it is used again.
        self._body = bytearray()
        self._last_size = 0
        """Bytes of the last packet in it."""
        self._head = self._make_head(stereo, comments)
        write(self._head)

    def add(self, data: bytes, sizes: Sequence[int], samples: int) -> None:
        """Put packets at the end of the stream.

        Args:
            data: the packets, joined; of one TOC byte.
            sizes: bytes of each; at least one.
            samples: of 48 kHz, of each.
        """
        count = len(sizes)
        lacing = bytes(sizes) if max(sizes) < 255 else b"".join(map(_lace, sizes))
        room = (_PAGE_SAMPLES - self._pending_samples) // samples
        if count > room or len(self._lacing) + len(lacing) > _MAX_SEGMENTS:
            if count > 1:
                first = max(room, 1) if count > room else count // 2
                end = sum(sizes[:first])
                self.add(data[:end], sizes[:first], samples)
                self.add(data[end:], sizes[first:], samples)
                return
            self._flush(0, self._granule)
        self._toc_bits |= data[0]
        self._lacing += lacing
        self._body += data
        self._last_size = sizes[-1]
        self._granule += samples * count
        self._pending_samples += samples * count

    def flush(self) -> None:
        """Write all packets but the last, however few they are."""
        if len(self._body) == self._last_size:
            return
        last = bytes(self._body[-self._last_size :])
        samples = packet_samples(last)
        del self._body[-len(last) :]
        del self._lacing[-(len(last) // 255 + 1) :]
        self._granule -= samples
        self._flush(0, self._granule)
        self.add(last, (len(last),), samples)

    def finish(self, samples: int) -> None:
        """End the stream `samples` audible samples after its start.

        The end must lie in the last packet; what that has beyond it is not heard.
        """
        self._flush(_LAST, self._pre_skip + samples)

    def head(self, comments: Sequence[str]) -> bytes:
        """The two header pages anew if they have to say something else than they do, else nothing.

        Args:
            comments: as long as the ones they have.
        """
        stereo = is_stereo(bytes([self._toc_bits]))
        pages = self._make_head(stereo, comments)
        return b"" if pages == self._head else pages

    def _make_head(self, stereo: bool, comments: Sequence[str]) -> bytes:
        bodies = _opus_head(self._pre_skip, stereo), _opus_tags(comments)
        return b"".join(
            _Page(flags, 0, self._serial, number, _lace(len(body)), body).to_bytes()
            for number, (flags, body) in enumerate(zip((_FIRST, 0), bodies, strict=True))
        )

    def _flush(self, flags: int, granule: int) -> None:
        self._write_page(flags, granule, bytes(self._lacing), bytes(self._body))
        self._lacing.clear()
        self._body.clear()
        self._pending_samples = 0

    def _write_page(self, flags: int, granule: int, lacing: bytes, body: bytes) -> None:
        page = _Page(flags, granule, self._serial, self._pages, lacing, body)
        self._write(page.to_bytes())
        self._pages += 1


def repair_ogg(data: bytes) -> Repaired | None:
    """Make a valid file of what `OggOpusWriter` had written when it was cut off.

    What follows the last whole page goes, that page is marked as the last one, and the header
    gets the channel count of the packets. A file that is whole stays as it is.

    Returns:
        None if there is nothing to be heard in it.

    Raises:
        ValueError: it is damaged before its first audible page.
    """
    pages = list(_whole_pages(data))
    if len(pages) < 3 or not pages[0].body.startswith(b"OpusHead"):
        if not _is_cut_off(data[sum(page.size for page in pages) :]):
            raise ValueError("it is no beginning of an Ogg Opus file")
        return None
    pre_skip: int = _OPUS_HEAD.unpack(pages[0].body)[3]
    samples = pages[-1].granule - pre_skip
    if samples <= 0:
        return None
    stereo = any(is_stereo(packet) for page in pages[2:] for packet in page.packets())
    head = replace(pages[0], body=_opus_head(pre_skip, stereo))
    last = replace(pages[-1], flags=pages[-1].flags | _LAST)
    middle = data[pages[0].size : sum(page.size for page in pages[:-1])]
    content = head.to_bytes() + middle + last.to_bytes()
    return Repaired(content, round(samples * 1000 / SAMPLE_RATE))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    @property
    def size(self) -> int:
        return _PAGE_HEADER.size + len(self.lacing) + len(self.body)

    def packets(self) -> Iterator[bytes]:
        """The packets of the page; none of ours goes on in the next page."""
        start = end = 0
        for segment in self.lacing:
            end += segment
            if segment < 255:
                yield self.body[start:end]
                start = end

    def to_bytes(self) -> bytes:
        header = _PAGE_HEADER.pack(
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


def _whole_pages(data: bytes) -> Iterator[_Page]:
    """The pages of `data` up to the first that is cut off or damaged."""
    at = 0
    while len(data) - at >= _PAGE_HEADER.size:
        capture, _, flags, granule, serial, number, _, segments = _PAGE_HEADER.unpack_from(data, at)
        body_at = at + _PAGE_HEADER.size + segments
        lacing = data[at + _PAGE_HEADER.size : body_at]
        end = body_at + sum(lacing)
        page = _Page(flags, granule, serial, number, lacing, data[body_at:end])
        if capture != _CAPTURE or page.to_bytes() != data[at:end]:
            return
        yield page
        at = end


def _is_cut_off(rest: bytes) -> bool:
    """Whether what follows the whole pages is nothing, or a page whose end is missing."""
    if len(rest) < _PAGE_HEADER.size:
        return (_CAPTURE + rest[4:]).startswith(rest)
    body_at = _PAGE_HEADER.size + rest[_PAGE_HEADER.size - 1]
    return rest.startswith(_CAPTURE) and len(rest) < body_at + sum(
        rest[_PAGE_HEADER.size : body_at]
    )


def _checksum(page: bytearray) -> bytes:
    """Ogg's CRC-32 (RFC 3533 section 6) of a page whose checksum field is zero, as it goes there.

    The polynomial is zlib's, with the bits of every byte and of the result the other way round,
    and without zlib's inversions at start and end.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)


def _lace(size: int) -> bytes:
    """The segment sizes of a packet of `size` bytes (RFC 3533 section 5)."""
    return b"\xff" * (size // 255) + bytes([size % 255])


def _opus_head(pre_skip: int, stereo: bool) -> bytes:
    return _OPUS_HEAD.pack(b"OpusHead", 1, 2 if stereo else 1, pre_skip, SAMPLE_RATE, 0, 0)


def _opus_tags(comments: Sequence[str]) -> bytes:
    """The comment header (RFC 7845 section 5.2)."""
    texts = [text.encode() for text in ("cloudslice", *comments)]
    vendor, *fields = (struct.pack("<I", len(text)) + text for text in texts)
    return b"".join((b"OpusTags", vendor, struct.pack("<I", len(fields)), *fields))
