"""Ogg Opus files, read back by an independent reader and by Debian's tools."""

import io
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.codecs.opus import packet_samples
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from helpers.ogg_pages import read_opus_file, read_pages
from helpers.opus_stream import check_with_tools, encode_opus, speech_like

COMMENTS = ("DATE=2023",)


def write_file(
    packets: list[bytes],
    samples_each: int = 960,
    *,
    pre_skip: int = 0,
    stereo: bool = False,
    audible: int | None = None,
) -> tuple[list[bytes], OggOpusWriter]:
    """The appended pieces of a finished file, and its writer."""
    pieces: list[bytes] = []
    writer = OggOpusWriter(
        pieces.append, serial=7, pre_skip=pre_skip, stereo=stereo, comments=COMMENTS
    )
    for packet in packets:
        writer.add(packet, [len(packet)], samples_each)
    writer.finish(len(packets) * samples_each - pre_skip if audible is None else audible)
    return pieces, writer


def packet_of(size: int) -> bytes:
    """A valid 20 ms packet of `size` bytes: two frames of 10 ms, the first of 2 bytes."""
    return b"\xf2\x02" + bytes(size - 2)


def test_a_file_says_what_it_was_told() -> None:
    packets = [packet_of(10 + index) for index in range(120)]
    pieces, _ = write_file(packets, pre_skip=15_360, audible=99_500)
    file = read_opus_file(b"".join(pieces))
    assert file.packets == packets
    assert (file.channels, file.pre_skip, file.samples) == (1, 15_360, 99_500)
    assert file.comments == ["DATE=2023"]


def test_a_page_holds_at_most_a_second() -> None:
    pieces, _ = write_file([packet_of(50)] * 120)
    pages = read_pages(b"".join(pieces))
    assert [len(page.packets) for page in pages] == [1, 1, 50, 50, 20]
    assert [page.granule for page in pages[2:]] == [48_000, 96_000, 115_200]
    assert len(pieces) == len(pages) - 1, "the two headers come together"


@pytest.mark.parametrize(
    ("size", "per_page"),
    [
        pytest.param(254, 50, id="one segment"),
        pytest.param(255, 50, id="a full segment and an empty one"),
        pytest.param(510, 50, id="two full segments and an empty one"),
        pytest.param(1785, 31, id="eight segments: 255 hold 31 packets"),
        pytest.param(2549, 25, id="ten segments"),
    ],
)
def test_long_packets_are_laced_and_never_span_pages(size: int, per_page: int) -> None:
    packets = [b"\xf1" + bytes(size - 1 - (size % 2 == 0)) for _ in range(60)]
    pieces, _ = write_file(packets)
    file = read_opus_file(b"".join(pieces))
    assert file.packets == packets
    assert len(file.pages[0].packets) == per_page


_SAMPLES = st.sampled_from([120, 960, 2880])
_SIZES = st.lists(st.one_of(st.integers(1, 40), st.integers(240, 1300)), min_size=1, max_size=400)


@given(st.lists(st.tuples(_SAMPLES, _SIZES), min_size=1, max_size=4))
def test_many_packets_at_once_make_the_same_pages(runs: list[tuple[int, list[int]]]) -> None:
    one_by_one: list[bytes] = []
    at_once: list[bytes] = []
    single = OggOpusWriter(one_by_one.append, serial=7, pre_skip=0, stereo=False)
    multiple = OggOpusWriter(at_once.append, serial=7, pre_skip=0, stereo=False)
    for number, (samples, sizes) in enumerate(runs):
        packets = [bytes([index % 256]) * size for index, size in enumerate(sizes, number)]
        for packet in packets:
            single.add(packet, [len(packet)], samples)
        multiple.add(b"".join(packets), sizes, samples)
    for writer in (single, multiple):
        writer.finish(sum(samples * len(sizes) for samples, sizes in runs))
    assert at_once == one_by_one


def test_flushing_writes_all_but_the_last_packet() -> None:
    """The last page must be able to carry the end, so it cannot be gone already."""
    pieces: list[bytes] = []
    writer = OggOpusWriter(pieces.append, serial=7, pre_skip=0, stereo=False)
    packets = [packet_of(300 + index) for index in range(5)]
    for packet in packets[:3]:
        writer.add(packet, [len(packet)], 960)
    writer.flush()
    assert [len(page.packets) for page in read_pages(b"".join(pieces))] == [1, 1, 2]
    writer.flush()
    assert len(pieces) == 2
    for packet in packets[3:]:
        writer.add(packet, [len(packet)], 960)
    writer.finish(5 * 960)
    assert read_opus_file(b"".join(pieces)).packets == packets


@pytest.mark.parametrize(
    ("said", "packet", "channels"),
    [
        pytest.param(False, b"\xf8ab", 1, id="mono as said"),
        pytest.param(True, b"\xfcab", 2, id="stereo as said"),
        pytest.param(False, b"\xfcab", 2, id="stereo came"),
        pytest.param(True, b"\xf8ab", 1, id="no stereo came"),
    ],
)
def test_the_head_is_made_anew_when_the_channels_were_not_as_said(
    said: bool, packet: bytes, channels: int
) -> None:
    pieces, writer = write_file([packet] * 3, stereo=said)
    head = writer.head(COMMENTS)
    assert bool(head) == (said != (channels == 2))
    assert len(head) in (0, len(pieces[0]))
    data = head + b"".join(pieces)[len(head) :]
    assert read_opus_file(data).channels == channels


def test_the_comments_can_be_corrected_at_the_end() -> None:
    """They tell a start that is known for good only then."""
    pieces, writer = write_file([b"\xf8ab"] * 3)
    head = writer.head(("DATE=2024",))
    file = read_opus_file(head + b"".join(pieces)[len(head) :])
    assert (file.comments, file.channels, file.samples) == (["DATE=2024"], 1, 2880)


def largest_packet() -> bytes:
    """120 ms in 48 frames of 1275 bytes, each with its size but the last, and a byte of padding:
    the 61,298 bytes are all that a packet may have (RFC 6716 section 3.4)."""
    return b"\xe3\xf0\x01" + b"\xff\xff" * 47 + bytes([1]) * 48 * 1275 + b"\x00"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 254, 255, 256, 1275, 20_000, 61_000, 61_298]), min_size=1),
    st.sets(st.integers(0, 20)),
)
def test_packets_of_any_size_go_into_pages_whole(sizes: list[int], flushes: set[int]) -> None:
    """None goes on in the next page, and the last page is there for the end."""
    pieces: list[bytes] = []
    writer = OggOpusWriter(pieces.append, serial=7, pre_skip=0, stereo=False)
    # All of them say that they have 1 frame of 20 ms; the writer does not look further.
    packets = [b"\xf8" + bytes([index % 256]) * (size - 1) for index, size in enumerate(sizes)]
    for index, packet in enumerate(packets):
        writer.add(packet, [len(packet)], 960)
        if index in flushes and len(packet) <= 1276:
            writer.flush()
    writer.finish(960 * len(packets))
    pages = read_pages(b"".join(pieces))[2:]
    assert [packet for page in pages for packet in page.packets] == packets
    assert pages[-1].packets


def test_the_largest_packet_there_is_can_be_written_and_read() -> None:
    packet = largest_packet()
    assert (len(packet), packet_samples(packet)) == (61_298, 5760)
    pieces, _writer = write_file([packet] * 3, samples_each=5760)
    assert read_opus_file(b"".join(pieces)).packets == [packet] * 3


@pytest.fixture(scope="module")
def opus_packets() -> list[bytes]:
    return encode_opus(speech_like(3.5, channels=2), application="audio", bit_rate=64_000)


def grown(packets: list[bytes]) -> bytes:
    """A file as it is on disk when its writer dies after the last packet."""
    pieces: list[bytes] = []
    writer = OggOpusWriter(pieces.append, serial=9, pre_skip=15_360, stereo=False)
    for packet in packets:
        writer.add(packet, [len(packet)], 960)
    return b"".join(pieces)


def test_a_file_cut_anywhere_is_repaired_up_to_its_last_whole_page(
    opus_packets: list[bytes],
) -> None:
    """Every length that a kill or a torn write can leave: None, or a file without fault."""
    data = grown(opus_packets)
    ends = [len(data)]
    while (page := data.rfind(b"OggS", 0, ends[0])) > 0:
        ends.insert(0, page)
    assert len(ends) == 5
    near_ends = {end + step for end in ends for step in (-1, 0, 1)}
    for length in sorted({*range(0, len(data), 97), *near_ends}):
        pages = sum(length >= end for end in ends[2:])
        repaired = repair_ogg(data[:length])
        if pages == 0:
            assert repaired is None, length
        else:
            assert repaired is not None
            assert repaired.duration_ms == pages * 1000 - 320, length
            file = read_opus_file(repaired.content)
            assert file.samples == pages * 48_000 - 15_360
            assert file.packets == opus_packets[: pages * 50]
            assert file.channels == 2


def repaired_content(data: bytes, duration_ms: int) -> bytes:
    """What a repair has made of a file that it can make something of."""
    repaired = repair_ogg(data)
    assert repaired is not None
    assert repaired.duration_ms == duration_ms
    return repaired.content


def test_tools_accept_a_repaired_file(tmp_path: Path, opus_packets: list[bytes]) -> None:
    content = repaired_content(grown(opus_packets)[:-500], 1680)
    check_with_tools(content, tmp_path)
    with av.open(io.BytesIO(content)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 1.68 * 48_000


def test_a_page_with_a_flipped_bit_ends_the_file(opus_packets: list[bytes]) -> None:
    """After a power cut a block may hold anything."""
    data = bytearray(grown(opus_packets))
    data[-5] ^= 1
    repaired_content(bytes(data), 1680)


def test_repairing_twice_or_what_is_whole_changes_nothing(opus_packets: list[bytes]) -> None:
    pieces, writer = write_file(opus_packets, pre_skip=15_360, audible=150_000)
    data = writer.head(COMMENTS) + b"".join(pieces)[len(writer.head(COMMENTS)) :]
    assert repaired_content(data, 3125) == data
    once = repaired_content(grown(opus_packets), 2680)
    assert repaired_content(once, 2680) == once


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0" * 5000, id="zeros"),
        pytest.param(b"\0" * 5, id="few zeros"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"x" * 5000, id="another file"),
    ],
)
def test_what_is_no_ogg_file_is_not_taken_for_an_empty_one(data: bytes) -> None:
    """Somebody may want to look at it."""
    with pytest.raises(ValueError, match="no beginning of an Ogg Opus file"):
        repair_ogg(data)


def test_a_damaged_header_is_not_taken_for_an_empty_file(opus_packets: list[bytes]) -> None:
    """There may be much behind it."""
    data = bytearray(grown(opus_packets))
    data[30] ^= 1
    with pytest.raises(ValueError, match="no beginning of an Ogg Opus file"):
        repair_ogg(bytes(data))


def test_nothing_is_kept_of_an_empty_file() -> None:
    assert repair_ogg(b"") is None


def test_pre_roll_alone_is_not_worth_keeping() -> None:
    pieces: list[bytes] = []
    writer = OggOpusWriter(pieces.append, serial=9, pre_skip=15_360, stereo=False)
    for _ in range(17):
        writer.add(b"\xf8\xff\xfe", [3], 960)
    writer.flush()
    assert repair_ogg(b"".join(pieces)) is None
