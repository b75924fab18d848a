"""Decoding each slice and joining the PCM is decoding the whole stream.

Packets come from libopus; files are decoded by libopus and FFmpeg's own decoder (through PyAV)
and by opus-tools. The whole stream is the same packets in one endless slice.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cloudslice.delivery.model import SliceKind, SliceOrigin
from cloudslice.media.tracks import OpusRun
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
DROPOUT_MS = 5
"""A gap begins with libopus fading out a guess of what was lost, made with random numbers."""


def slice_packets(
    packets: list[bytes], frame_ms: float, slice_s: int, is_lost: Callable[[int], bool]
) -> list[bytes]:
    """The files of a stream of equal packets, those that are lost left out."""
    store, clock, counters = MemoryStore(), ManualClock(), SlicingCounters()
    origin = SliceOrigin("task", "anchor", SliceKind.AUDIO, "ogg")
    slicer = AudioSlicer(origin, store, clock, slice_s, counters)
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
    "is_lost",
    [
        pytest.param(lose((1.0, 1.06), (3.4, 3.46), (4.02, 4.2)), id="loss"),
        pytest.param(lose((1.92, 2.1)), id="loss across a cut"),
        pytest.param(lose((1.5, 5.1)), id="mute over a whole slice"),
    ],
)
def test_gaps_are_silent_and_change_nothing_around_them(
    application: str,
    bit_rate: int,
    channels: int,
    frame_ms: float,
    is_lost: Callable[[float], bool],
    tmp_path: Path,
) -> None:
    packets = encode_opus(
        speech_like(SECONDS, channels=channels),
        application=application,
        frame_ms=frame_ms,
        bit_rate=bit_rate,
    )
    lost = [is_lost(index * frame_ms / 1000) for index in range(len(packets))]
    [whole] = slice_packets(packets, frame_ms, 1000, lost.__getitem__)
    files = slice_packets(packets, frame_ms, SLICE_S, lost.__getitem__)
    for data in files:
        check_with_tools(data, tmp_path)
    reference = decode_ogg(whole)
    assert len(reference) == len(packets) * round(frame_ms * 48)
    if len(files) == 4:
        off = differences(reference, [decode_ogg(data) for data in files])
    else:
        parts = [decode_ogg(data) for data in files]
        muted = round(lost.index(True) * frame_ms * 48)
        assert len(parts[0]) == muted, "the first slice ends with the last packet"
        second = SLICE_S * 48_000
        assert not np.any(reference[second : 2 * second]), "the slice left out was silent"
        off = differences(np.concatenate([reference[:muted], reference[2 * second :]]), parts)
    assert np.count_nonzero(off > 1) <= 3 * DROPOUT_MS * 48
    assert off.max() < 100


def test_silence_in_speech_does_not_click() -> None:
    """At both ends of a gap no step is larger than those of the speech itself."""
    pcm = speech_like(3)
    for application in ("voip", "audio"):
        packets = encode_opus(pcm, application=application)
        [data] = slice_packets(packets, 20, 1000, lambda index: index % 25 in (11, 12, 13))
        [intact] = slice_packets(packets, 20, 1000, lambda _: False)
        steps = np.abs(np.diff(decode_ogg(data)[:, 0].astype(int)))
        assert steps.max() <= 1.1 * np.abs(np.diff(decode_ogg(intact)[:, 0].astype(int))).max()


def test_discontinuous_transmission_is_filled(tmp_path: Path) -> None:
    """As Chromium sends it: of the packets without speech only one in 400 ms comes."""
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
