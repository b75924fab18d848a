"""How packets that came are heard beside a gap, by what the gap is filled with.

    python bench/gaps.py [--seconds 60] [--json FILE]

A stream is encoded by libopus and loses packets of 20 ms: singly at random (1, 5 and 10 %), or one
burst every 2 s. What is missing is filled with silence or with packets without content, and the
result is decoded by libopus and by FFmpeg's own decoder. Of each packet that came it is asked how
what is heard differs from what the intact stream gives there. It is damaged if the difference is
louder than a tenth of the signal (-20 dB), and quiet if less than half the loudness is left.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np

from cloudslice.codecs.opus import concealment, silence
from cloudslice.slicing.audio.ogg import OggOpusWriter
from harness.report import table
from helpers.opus_stream import Pcm, decode_ogg, encode_opus, music_like, speech_like

SAMPLES = 960
LOUD = 100.0
"""A packet whose loudness (RMS, of 32768) is less is not asked about."""
DAMAGED, QUIET = 0.1, 0.5

STREAMS: dict[str, tuple[Callable[[float], Pcm], str, int, int]] = {
    "CELT, music, 96 kbit/s": (lambda s: music_like(s, channels=2), "audio", 96_000, 20_000),
    "CELT, speech, 64 kbit/s": (speech_like, "lowdelay", 64_000, 20_000),
    "hybrid, speech, 32 kbit/s": (speech_like, "voip", 32_000, 20_000),
    "SILK, speech, 16 kbit/s": (speech_like, "voip", 16_000, 8_000),
}
Filler = Callable[[bytes, int, int], Iterator[tuple[bytes, int]]]


def with_silence(last: bytes, start: int, samples: int) -> Iterator[tuple[bytes, int]]:
    return silence(start, samples, stereo=bool(last[0] & 4))


def without_content(last: bytes, start: int, samples: int) -> Iterator[tuple[bytes, int]]:
    return concealment(last, samples)


FILLERS: dict[str, Filler] = {"silence": with_silence, "no content": without_content}


def lose_singly(share: float) -> Callable[[int], list[bool]]:
    def lose(count: int) -> list[bool]:
        chance = random.Random(7)  # noqa: S311 - the same losses each time
        return [False] + [chance.random() < share for _ in range(count - 1)]

    return lose


def lose_bursts(milliseconds: int) -> Callable[[int], list[bool]]:
    """One each 2.06 s, so that they begin anywhere in a syllable."""
    return lambda count: [60 <= index % 103 < 60 + milliseconds // 20 for index in range(count)]


LOSSES = {
    **{f"{share} %": lose_singly(share / 100) for share in (1, 5, 10)},
    **{f"{ms} ms": lose_bursts(ms) for ms in (20, 40, 60, 80, 100, 120, 160, 200, 300, 400, 800)},
}


def fill(packets: list[bytes], lost: list[bool], filler: Filler) -> bytes:
    """An Ogg file of a stream with its gaps filled."""
    data = bytearray()
    writer = OggOpusWriter(data.extend, serial=1, pre_skip=0, stereo=bool(packets[0][0] & 4))
    position, last = 0, packets[0]
    for is_lost, group in groupby(zip(packets, lost, strict=True), key=lambda each: each[1]):
        items = [packet for packet, _ in group]
        if is_lost:
            for packet, samples in filler(last, position, SAMPLES * len(items)):
                writer.add(packet, (len(packet),), samples)
        else:
            for packet in items:
                writer.add(packet, (len(packet),), SAMPLES)
            last = items[-1]
        position += SAMPLES * len(items)
    writer.finish(position)
    return bytes(data)


def loudness(pcm: Pcm, count: int) -> np.ndarray:
    """RMS of each packet's stretch."""
    stretches = pcm[: count * SAMPLES].astype(float).reshape(count, -1)
    return np.sqrt((stretches**2).mean(axis=1))


def judge(intact: Pcm, heard: Pcm, lost: list[bool]) -> tuple[float, float]:
    """Per cent of the packets that came that are damaged and that are quiet."""
    count = len(lost)
    assert len(intact) == len(heard) == count * SAMPLES
    signal = loudness(intact, count)
    noise = loudness(heard.astype(int) - intact, count)
    asked = ~np.array(lost) & (signal > LOUD)
    damaged = noise[asked] > DAMAGED * signal[asked]
    quiet = loudness(heard, count)[asked] < QUIET * signal[asked]
    return 100 * float(damaged.mean()), 100 * float(quiet.mean())


def measure(seconds: float) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Damaged and quiet by stream and decoder, loss, and filler."""
    results: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for stream, (make, application, bit_rate, cutoff) in STREAMS.items():
        packets = encode_opus(
            make(seconds), application=application, bit_rate=bit_rate, cutoff=cutoff
        )
        kept = [False] * len(packets)
        for codec, name in (("libopus", "libopus"), ("opus", "FFmpeg's own")):
            intact = decode_ogg(fill(packets, kept, with_silence), codec=codec)
            rows = results[f"{stream}; {name}"] = {}
            for loss, lose in LOSSES.items():
                lost = lose(len(packets))
                rows[loss] = {
                    filler: judge(
                        intact, decode_ogg(fill(packets, lost, make_up), codec=codec), lost
                    )
                    for filler, make_up in FILLERS.items()
                }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = measure(options.seconds)
    for name, rows in results.items():
        print(f"\n{name}: % of the packets that came, damaged (quiet)\n")
        header = ["lost", *FILLERS]
        print(
            table(
                header,
                [
                    [loss, *(f"{each[f][0]:.1f} ({each[f][1]:.1f})" for f in FILLERS)]
                    for loss, each in rows.items()
                ],
            )
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
