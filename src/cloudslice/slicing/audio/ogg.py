"""Writes Ogg Opus files (RFC 3533, RFC 7845) page by page, as packets come."""

from collections.abc import Callable, Sequence

from cloudslice.codecs.opus import SAMPLE_RATE, is_stereo, packet_samples
from cloudslice.slicing.audio.ogg_pages import (
    FIRST,
    LAST,
    MAX_SEGMENTS,
    Page,
    lace,
    opus_head,
    opus_tags,
)

_PAGE_SAMPLES = SAMPLE_RATE
"""Of a page at most: a player that seeks finds pages."""


class OggOpusWriter:
    """Writes one Ogg Opus stream: the two header pages at once, then a page for each `flush`
    and for what a page holds.

    Granule positions count from the first packet; the first `pre_skip` samples are decoded and
    not heard. At least one packet is always held back, as the last page has to carry the end.
    """

    __slots__ = (
        "_body",
        "_comments_bytes",
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
        comments_bytes: int = 0,
    ) -> None:
        """Args:
        write: takes the file's bytes, in order.
        serial: the stream's 32 bit number, another one than that of files played before or after.
        pre_skip: samples, at most 65,535.
        stereo: whether the header is to say two channels; `head` can correct it at the end.
        comments: ``NAME=value`` for the comment header; `head` can correct them.
        comments_bytes: what the comment header takes at least.
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
        self._comments_bytes = comments_bytes
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
        lacing = bytes(sizes) if max(sizes) < 255 else b"".join(map(lace, sizes))
        room = (_PAGE_SAMPLES - self._pending_samples) // samples
        if count > room or len(self._lacing) + len(lacing) > MAX_SEGMENTS:
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
        self._flush(LAST, self._pre_skip + samples)

    def head(self, comments: Sequence[str]) -> bytes:
        """The two header pages anew if they have to say something else than they do, else nothing.

        Args:
            comments: as long as the ones they have, or within the bytes set aside for them.
        """
        stereo = is_stereo(bytes([self._toc_bits]))
        pages = self._make_head(stereo, comments)
        return b"" if pages == self._head else pages

    def _make_head(self, stereo: bool, comments: Sequence[str]) -> bytes:
        bodies = opus_head(self._pre_skip, stereo), opus_tags(comments, self._comments_bytes)
        return b"".join(
            Page(flags, 0, self._serial, number, lace(len(body)), body).to_bytes()
            for number, (flags, body) in enumerate(zip((FIRST, 0), bodies, strict=True))
        )

    def _flush(self, flags: int, granule: int) -> None:
        self._write_page(flags, granule, bytes(self._lacing), bytes(self._body))
        self._lacing.clear()
        self._body.clear()
        self._pending_samples = 0

    def _write_page(self, flags: int, granule: int, lacing: bytes, body: bytes) -> None:
        page = Page(flags, granule, self._serial, self._pages, lacing, body)
        self._write(page.to_bytes())
        self._pages += 1
