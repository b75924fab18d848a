"""An independent, slow reading of Ogg Opus files, straight from RFC 3533 and RFC 7845."""

import struct
from dataclasses import dataclass

from cloudslice.codecs.opus import packet_samples


@dataclass
class Page:
    flags: int
    granule: int
    serial: int
    number: int
    packets: list[bytes]


@dataclass
class OpusFile:
    """What a file says: its audible part and all its packets, those of the pre-roll too."""

    channels: int
    pre_skip: int
    comments: list[str]
    pages: list[Page]
    """Those with audio."""

    @property
    def packets(self) -> list[bytes]:
        return [packet for page in self.pages for packet in page.packets]

    @property
    def samples(self) -> int:
        """Audible samples."""
        return self.pages[-1].granule - self.pre_skip


def read_pages(data: bytes) -> list[Page]:
    """All pages; every rule that is broken is an AssertionError."""
    pages = []
    while data:
        capture, version, flags, granule, serial, number, crc, count = struct.unpack(
            "<4sBBqIIIB", data[:27]
        )
        assert (capture, version) == (b"OggS", 0)
        lacing = data[27 : 27 + count]
        end = 27 + count + sum(lacing)
        assert len(data) >= end, "cut off"
        assert crc == bitwise_crc(data[:22] + bytes(4) + data[26:end])
        assert number == len(pages)
        packets, body, start = [], data[27 + count : end], 0
        size = 0
        for segment in lacing:
            size += segment
            if segment < 255:
                packets.append(body[start : start + size])
                start, size = start + size, 0
        assert size == 0, "a packet goes on in the next page"
        pages.append(Page(flags, granule, serial, number, packets))
        data = data[end:]
    return pages


def read_opus_file(data: bytes) -> OpusFile:
    """The whole file, checked against RFC 7845."""
    pages = read_pages(data)
    assert len({page.serial for page in pages}) == 1
    assert [page.flags for page in pages] == [2, *[0] * (len(pages) - 2), 4]
    [head], [tags] = pages[0].packets, pages[1].packets
    magic, version, channels, pre_skip, rate, gain, family = struct.unpack("<8sBBHIhB", head)
    assert (magic, version, rate, gain, family) == (b"OpusHead", 1, 48_000, 0, 0)
    assert pages[0].granule == pages[1].granule == 0
    audio = pages[2:]
    total = 0
    for page in audio:
        assert page.packets
        length = sum(packet_samples(packet) for packet in page.packets)
        assert length <= 48_000, "a page of more than a second"
        if page is audio[-1]:
            last = packet_samples(page.packets[-1])
            assert total + length - last < page.granule <= total + length
        else:
            assert page.granule == total + length
        total += length
    return OpusFile(channels, pre_skip, _comments(tags), audio)


def _comments(tags: bytes) -> list[str]:
    assert tags[:8] == b"OpusTags"
    texts, at = [], 8
    for index in range(2):
        if index == 1:
            (count,) = struct.unpack_from("<I", tags, at)
            at += 4
        for _ in range(1 if index == 0 else count):
            (size,) = struct.unpack_from("<I", tags, at)
            texts.append(tags[at + 4 : at + 4 + size].decode())
            at += 4 + size
    assert not any(tags[at:]), "zeros fill it up"
    assert texts[0] == "cloudslice"
    return texts[1:]


def bitwise_crc(data: bytes) -> int:
    """Ogg's checksum, bit by bit as RFC 3533 defines it."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
