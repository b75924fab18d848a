"""Decoding each slice and joining the PCM is decoding the whole stream.

Packets come from libopus; files are decoded by libopus and FFmpeg's own decoder (through PyAV)
and by opus-tools. The whole stream is the same packets in one endless slice.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cloudslice.media.tracks import OpusRun
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from helpers.opus_stream import (
    Pcm,
    check_with_tools,
    decode_ogg,
    decode_with_opusdec,
    encode_opus,
    encode_opus_with_dtx,
    speech_like,
)
from helpers.slice_store import ManualClock, MemoryStore

SLICE_S = 2
SECONDS = 6.5
FADE_OUT_MS = 5
"""Silence begins with libopus fading out a guess of what was lost."""
CONVERGED_MS = 320
"""After a concealed gap libopus may give what follows a little differently for so long."""


def slice_packets(
    packets: list[bytes], frame_ms: float, slice_s: int, is_lost: Callable[[int], bool]
) -> list[bytes]:
    """The files of a stream of equal packets, those that are lost left out."""
    store, clock, counters = MemoryStore(), ManualClock(), SlicingCounters()
    origin = SliceOrigin("task", "anchor", SliceKind.AUDIO, "ogg")
    slicer = AudioSlicer(origin, store, clock, slice_s, counters, counters.note)
    for index, packet in enumerate(packets):
        clock.now = (index + 1) * frame_ms / 1000
        slicer.tick(clock.now)
        if not is_lost(index):
            timestamp = index * round(frame_ms * 48)
            slicer.on_opus(OpusRun.of_one(packet, timestamp, clock.now))
    slicer.close()
    return [bytes(stored.data) for stored in store.slices]


def differences(whole: Pcm, parts: list[Pcm]) -> Pcm:
    """How far the joined parts are off, sample by sample; their length must be the same."""
    joined = np.concatenate(parts)
    assert joined.shape == whole.shape
    return np.abs(joined.astype(int) - whole).max(axis=1)


def lose(*ranges: tuple[float, float]) -> Callable[[float], bool]:
    return lambda second: any(start <= second < end for start, end in ranges)


STREAMS = [
    pytest.param("voip", 16_000, 1, 20, id="speech 16k 20 ms"),
    pytest.param("voip", 32_000, 1, 10, id="speech 32k 10 ms"),
    pytest.param("voip", 24_000, 1, 40, id="speech 24k 40 ms"),
    pytest.param("voip", 16_000, 1, 60, id="speech 16k 60 ms"),
    pytest.param("audio", 64_000, 2, 20, id="stereo 64k 20 ms"),
    pytest.param("audio", 96_000, 2, 60, id="stereo 96k 60 ms"),
    pytest.param("lowdelay", 48_000, 1, 2.5, id="low delay 2.5 ms"),
]


@pytest.mark.parametrize(("application", "bit_rate", "channels", "frame_ms"), STREAMS)
def test_slices_joined_are_the_whole_stream(
    application: str, bit_rate: int, channels: int, frame_ms: float, tmp_path: Path
) -> None:
    """To the sample, within the last bit: CELT's energy prediction converges, it never arrives."""
    packets = encode_opus(
        speech_like(SECONDS, channels=channels),
        application=application,
        frame_ms=frame_ms,
        bit_rate=bit_rate,
    )
    [whole] = slice_packets(packets, frame_ms, 1000, lambda _: False)
    files = slice_packets(packets, frame_ms, SLICE_S, lambda _: False)
    assert len(files) == 4
    for data in files:
        check_with_tools(data, tmp_path)
    decoders: dict[str, Callable[[bytes], Pcm]] = {
        "libopus": decode_ogg,
        "FFmpeg": lambda data: decode_ogg(data, codec="opus"),
        "opusdec": lambda data: decode_with_opusdec(data, tmp_path),
    }
    for name, decode in decoders.items():
        reference = decode(whole)
        assert len(reference) == len(packets) * round(frame_ms * 48)
        assert np.abs(reference.astype(int)).max() > 5000
        parts = [decode(data) for data in files]
        assert [len(part) for part in parts[:-1]] == [SLICE_S * 48_000] * 3
        assert differences(reference, parts).max() <= 1, name


@pytest.mark.parametrize(("application", "bit_rate", "channels", "frame_ms"), STREAMS)
@pytest.mark.parametrize(
    ("is_lost", "is_silent"),
    [
        pytest.param(lose((1.0, 1.06), (3.4, 3.46), (4.02, 4.1)), False, id="short"),
        pytest.param(lose((1.96, 2.02)), False, id="short, across a cut"),
        pytest.param(lose((1.75, 1.81)), False, id="short, before a cut"),
        pytest.param(lose((1.02, 1.38), (3.42, 3.6), (4.02, 4.2)), True, id="long"),
        pytest.param(lose((1.92, 2.1)), True, id="long, across a cut"),
    ],
)
@pytest.mark.parametrize("codec", ["libopus", "opus"])
def test_slices_with_gaps_are_the_whole_stream_outside_of_them(
    application: str,
    bit_rate: int,
    channels: int,
    frame_ms: float,
    is_lost: Callable[[float], bool],
    is_silent: bool,
    codec: str,
    tmp_path: Path,
) -> None:
    """Silence is the same to the sample. What a decoder invents depends on what it has heard long
    before: it differs by less than -36 dB, and what follows by less than that, for a while."""
    packets = encode_opus(
        speech_like(SECONDS, channels=channels),
        application=application,
        frame_ms=frame_ms,
        bit_rate=bit_rate,
    )
    lost = [is_lost(index * frame_ms / 1000) for index in range(len(packets))]
    [whole] = slice_packets(packets, frame_ms, 1000, lost.__getitem__)
    files = slice_packets(packets, frame_ms, SLICE_S, lost.__getitem__)
    assert len(files) == 4
    if codec == "libopus":
        check_with_tools(files[1], tmp_path)
    reference = decode_ogg(whole, codec=codec)
    assert len(reference) == len(packets) * round(frame_ms * 48)
    off = differences(reference, [decode_ogg(data, codec=codec) for data in files])
    in_gap = np.repeat(lost, round(frame_ms * 48))
    gaps_so_far = np.cumsum(in_gap)
    around = gaps_so_far > np.pad(gaps_so_far, (CONVERGED_MS * 48, 0))[: len(gaps_so_far)]
    around |= in_gap
    assert off[~around].max() <= 1
    assert off.max() < 500
    if is_silent:
        assert off[~in_gap].max() <= 1
        assert np.count_nonzero(reference[in_gap]) <= 3 * FADE_OUT_MS * 48 * channels
    if codec == "opus":
        assert off.max() <= 1, "it invents nothing"


@pytest.mark.parametrize(("application", "bit_rate", "channels", "frame_ms"), STREAMS)
def test_a_mute_parts_the_stream_in_two(
    application: str, bit_rate: int, channels: int, frame_ms: float, tmp_path: Path
) -> None:
    """Nothing of it is in a file, and what is before and after it is as ever."""
    packets = encode_opus(
        speech_like(SECONDS, channels=channels),
        application=application,
        frame_ms=frame_ms,
        bit_rate=bit_rate,
    )
    lost = [1.5 <= index * frame_ms / 1000 < 5.1 for index in range(len(packets))]
    [_, after] = slice_packets(packets, frame_ms, 1000, lost.__getitem__)
    [intact] = slice_packets(packets, frame_ms, 1000, lambda _: False)
    files = slice_packets(packets, frame_ms, SLICE_S, lost.__getitem__)
    for data in files:
        check_with_tools(data, tmp_path)
    parts = [decode_ogg(data) for data in files]
    first = round(lost.index(True) * frame_ms * 48)
    begin = round((lost.index(True) + lost.count(True)) * frame_ms * 48)
    total = round(len(packets) * frame_ms * 48)
    assert [len(part) for part in parts] == [first, 6 * 48_000 - begin, total - 6 * 48_000]
    assert differences(decode_ogg(intact)[:first], parts[:1]).max() <= 1
    assert differences(decode_ogg(after), parts[1:]).max() <= 1


def test_of_single_losses_libopus_hears_more_without_content_than_with_silence() -> None:
    """At 5 % of packets of 20 ms: how many of those that came are quieter than half."""
    pcm = speech_like(20)
    packets = encode_opus(pcm, application="lowdelay", bit_rate=64_000)
    lost = [index % 20 == 7 for index in range(len(packets))]
    intact, kept, silent = (
        decode_ogg(fill_gaps(packets, missing, concealed=concealed))
        for missing, concealed in (([False] * 1000, False), (lost, True), (lost, False))
    )
    assert count_quiet(intact, kept, lost) < count_quiet(intact, silent, lost) / 4


def fill_gaps(packets: list[bytes], lost: list[bool], *, concealed: bool) -> bytes:
    """An Ogg file in which each lost packet of 20 ms is one without content, or silence."""
    data = bytearray()
    writer = OggOpusWriter(data.extend, serial=1, pre_skip=0, stereo=False)
    for packet, is_lost in zip(packets, lost, strict=True):
        filler = packet[:1] if concealed else b"\xf8\xff\xfe"
        written = filler if is_lost else packet
        writer.add(written, (len(written),), 960)
    writer.finish(960 * len(packets))
    return bytes(data)


def count_quiet(intact: Pcm, heard: Pcm, lost: list[bool]) -> int:
    """Packets that came and are less than half as loud as they were."""
    power = [
        np.square(pcm.astype(float)).reshape(len(lost), -1).mean(axis=1) for pcm in (intact, heard)
    ]
    return int((~np.array(lost) & (power[0] > 100**2) & (power[1] < power[0] / 4)).sum())


@pytest.mark.parametrize("lost", [{11}, {11, 12, 13}, {*range(4, 14)}], ids=["20", "60", "200"])
def test_what_stands_in_a_gap_does_not_click(lost: set[int]) -> None:
    """At both ends of a gap no step is larger than those of the speech itself."""
    pcm = speech_like(3)
    for application in ("voip", "audio"):
        packets = encode_opus(pcm, application=application)
        [data] = slice_packets(packets, 20, 1000, lambda index: index % 25 in lost)
        [intact] = slice_packets(packets, 20, 1000, lambda _: False)
        steps = np.abs(np.diff(decode_ogg(data)[:, 0].astype(int)))
        assert steps.max() <= 1.1 * np.abs(np.diff(decode_ogg(intact)[:, 0].astype(int))).max()


def test_discontinuous_transmission_is_filled(tmp_path: Path) -> None:
    """Of the packets without speech only one in 400 ms comes, as some send it: that is silence."""
    pcm = speech_like(SECONDS)
    pcm[2 * 48_000 : 5 * 48_000] = 0
    packets = encode_opus_with_dtx(pcm, tmp_path)
    lost = [len(packet) <= 2 for packet in packets]
    assert lost.count(True) > 100
    [whole] = slice_packets(packets, 20, 1000, lost.__getitem__)
    files = slice_packets(packets, 20, SLICE_S, lost.__getitem__)
    assert len(files) == 4
    for data in files:
        check_with_tools(data, tmp_path)
    reference = decode_ogg(whole)
    last = max(index for index, is_lost in enumerate(lost) if not is_lost)
    assert len(reference) == (last + 1) * 960
    assert differences(reference, [decode_ogg(data) for data in files]).max() < 100


def test_discontinuous_transmission_that_is_announced_is_as_if_all_had_come(
    tmp_path: Path,
) -> None:
    """As browsers send it: of the packets that say that nothing is sent only the first one of each
    row comes. Decoders make their comfort noise, by the very bytes that were not sent."""
    pcm = speech_like(SECONDS)
    pcm[2 * 48_000 : 5 * 48_000] = 0
    packets = encode_opus_with_dtx(pcm, tmp_path)
    empty = [len(packet) <= 2 for packet in packets]
    left_out = [now and before for before, now in zip([False, *empty], empty, strict=False)]
    assert left_out.count(True) > 100
    [intact] = slice_packets(packets, 20, 1000, lambda _: False)
    [whole] = slice_packets(packets, 20, 1000, left_out.__getitem__)
    reference = decode_ogg(intact)
    assert differences(reference[: len(decode_ogg(whole))], [decode_ogg(whole)]).max() == 0


def test_packets_that_say_nothing_was_sent_are_copied(tmp_path: Path) -> None:
    """Other senders send packets of one byte meanwhile: the decoder makes its comfort noise."""
    pcm = speech_like(SECONDS)
    pcm[2 * 48_000 : 5 * 48_000] = 0
    packets = encode_opus_with_dtx(pcm, tmp_path)
    files = slice_packets(packets, 20, SLICE_S, lambda _: False)
    for data in files:
        check_with_tools(data, tmp_path)
    assert sum(len(decode_ogg(data)) for data in files) == len(packets) * 960


def test_a_stream_that_turns_stereo_is_decoded_in_stereo(tmp_path: Path) -> None:
    """The header written first says mono; the one at the end is right."""
    packets = [
        *encode_opus(speech_like(1), bit_rate=48_000),
        *encode_opus(speech_like(2, channels=2), application="audio", bit_rate=64_000),
    ]
    first, _ = slice_packets(packets, 20, SLICE_S, lambda _: False)
    check_with_tools(first, tmp_path)
    pcm = decode_ogg(first)
    assert pcm.shape == (SLICE_S * 48_000, 2)
    left, right = np.abs(pcm[60_000:].astype(int)).max(axis=0)
    assert right == pytest.approx(left / 2, rel=0.2)
