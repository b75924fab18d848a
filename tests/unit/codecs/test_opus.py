"""Facts of Opus packets, judged by libopus."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.opus import (
    GRID,
    MalformedPacketError,
    concealment,
    is_stereo,
    packet_samples,
    silence,
)


def decoded_samples(packet: bytes) -> int | None:
    """How many samples libopus makes of `packet`; None if it refuses it."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = 48_000
    decoder.layout = "stereo"
    media = av.Packet(packet)
    media.time_base = Fraction(1, 48_000)
    try:
        return sum(frame.samples for frame in decoder.decode(media))
    except av.error.FFmpegError:
        return None


def samples_or_none(packet: bytes) -> int | None:
    try:
        return packet_samples(packet)
    except MalformedPacketError:
        return None


@pytest.mark.parametrize("config", range(32))
@pytest.mark.parametrize("code", range(3))
def test_every_configuration_has_the_duration_that_libopus_gives_it(config: int, code: int) -> None:
    packet = bytes([config << 3 | code]) + b"\x01ab"[: [0, 2, 3][code]]
    assert packet_samples(packet) == decoded_samples(packet)


@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_are_judged_as_libopus_judges_them(packet: bytes) -> None:
    assert samples_or_none(packet) == decoded_samples(packet)


@given(st.integers(0, 63), st.integers(0, 255), st.binary(max_size=1400))
def test_packets_of_counted_frames_are_judged_as_libopus_judges_them(
    config_and_channels: int, count: int, rest: bytes
) -> None:
    packet = bytes([config_and_channels << 2 | 3, count]) + rest
    assert samples_or_none(packet) == decoded_samples(packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xf8" + bytes(1276), id="one frame too long"),
        pytest.param(b"\xfb\x30" + bytes(48 * 1276 + 98), id="frames too long"),
        pytest.param(b"\xf9ab\x00", id="two equal frames of an odd size"),
        pytest.param(b"\xf9" + bytes(2 * 1276), id="two equal frames too long"),
        pytest.param(b"\xfa", id="first size missing"),
        pytest.param(b"\xfa\xfc", id="second byte of a size missing"),
        pytest.param(b"\xfa\x05ab", id="first size beyond the end"),
        pytest.param(b"\xfb", id="count missing"),
        pytest.param(b"\xfb\x00", id="no frames"),
        pytest.param(b"\xfb\x07" + bytes(7), id="140 ms"),
        pytest.param(b"\xfb\x03" + bytes(4), id="constant size that does not divide"),
        pytest.param(b"\xfb\x41", id="padding size missing"),
        pytest.param(b"\xfb\x41\xff", id="padding size cut off"),
        pytest.param(b"\xfb\x41\x09a", id="more padding than packet"),
        pytest.param(b"\xfb\x82\x09abc", id="frame size beyond the end"),
    ],
)
def test_a_packet_that_breaks_a_rule_is_refused(packet: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        packet_samples(packet)


def test_the_channel_bit_tells_stereo() -> None:
    assert is_stereo(b"\xfc")
    assert not is_stereo(b"\xf8")


@pytest.mark.parametrize("codec", ["libopus", "opus"])
@pytest.mark.parametrize(
    "stereo", [pytest.param(False, id="mono"), pytest.param(True, id="stereo")]
)
@pytest.mark.parametrize("samples", [120, 240, 480, 960])
def test_silence_packets_decode_to_digital_silence(codec: str, stereo: bool, samples: int) -> None:
    """Alone, each size, by libopus and by FFmpeg's own decoder."""
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate = 48_000
    decoder.layout = "stereo" if stereo else "mono"
    [(packet, size)] = silence(960 - samples, samples, stereo=stereo)
    assert (packet_samples(packet), is_stereo(packet)) == (size, stereo) == (samples, stereo)
    for _ in range(4):
        for frame in decoder.decode(av.Packet(packet)):
            assert frame.samples == samples
            assert not np.any(frame.to_ndarray())


@pytest.mark.parametrize(
    ("last", "samples", "expected"),
    [
        pytest.param(b"\xf8abc", 2880, [b"\xf8"] * 3, id="CELT 20 ms"),
        pytest.param(b"\xffabc", 1440, [b"\xfc", b"\xf4"], id="stereo, of several frames"),
        pytest.param(b"\x48abc", 1920, [b"\x48"] * 2, id="SILK wide 20 ms"),
        pytest.param(b"\x58abc", 3840, [b"\x58", b"\x48"], id="SILK wide 60 ms, then 20"),
        pytest.param(b"\x0cabc", 600, [b"\x04", b"\x84"], id="SILK narrow, then CELT 2.5"),
        pytest.param(b"\x28abc", 720, [b"\x20", b"\xa8"], id="SILK medium, then wide CELT 5"),
        pytest.param(b"\x68abc", 1560, [b"\x68", b"\x60", b"\xc0"], id="hybrid superwide"),
        pytest.param(b"\x7cabc", 240, [b"\xec"], id="hybrid full, CELT 5"),
        pytest.param(b"\xe0abc", 360, [b"\xe0"] * 3, id="CELT 2.5 ms"),
    ],
)
def test_a_short_gap_gets_packets_without_content(
    last: bytes, samples: int, expected: list[bytes]
) -> None:
    """Of the last packet's mode, bandwidth, channels and frame size, as long as that fits."""
    found = list(concealment(last, samples))
    assert [packet for packet, _ in found] == expected
    assert [size for _, size in found] == [packet_samples(packet) for packet in expected]


@given(st.integers(0, 255), st.integers(1, 800))
def test_packets_without_content_cover_any_gap(toc: int, steps: int) -> None:
    found = list(concealment(bytes([toc, 0, 0]), steps * GRID))
    assert sum(size for _, size in found) == steps * GRID
    assert all(packet_samples(packet) == size for packet, size in found)
    assert {is_stereo(packet) for packet, _ in found} == {bool(toc & 4)}


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_gap_is_filled_alike_wherever_it_is_cut_at_20_ms(
    start: int, first: int, rest: int
) -> None:
    """A slice's cut in a gap changes none of its packets."""
    cut = (start * GRID + first * GRID) // 960 * 960
    end = start * GRID + (first + rest) * GRID
    if cut < start * GRID:
        return
    whole = list(silence(start * GRID, end - start * GRID, stereo=False))
    parts = [
        *silence(start * GRID, cut - start * GRID, stereo=False),
        *silence(cut, end - cut, stereo=False),
    ]
    assert parts == whole
    assert sum(size for _, size in whole) == end - start * GRID
