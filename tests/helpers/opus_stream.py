"""Opus packets from a real encoder, and PCM back from Ogg Opus files by real decoders."""

import io
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.ogg_pages import read_pages

Pcm = NDArray[np.int16]
"""(samples, channels) at 48 kHz."""

RATE = 48_000


def speech_like(seconds: float, *, channels: int = 1, seed: int = 1) -> Pcm:
    """Voiced syllables with pauses between them, over faint noise: both modes of Opus have work."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * time), 0, 1) * (
        np.sin(2 * np.pi * 0.31 * time) > 0
    )
    signal = 0.25 * voice * syllables + 0.002 * rng.standard_normal(time.size)
    sides = [signal * (1 - 0.5 * side) for side in range(channels)]
    return (np.stack(sides, axis=1) * 32767).clip(-32768, 32767).astype(np.int16)


def music_like(seconds: float, *, channels: int = 1, seed: int = 1) -> Pcm:
    """Chords of plucked notes that ring into each other, and a brushed drum on each beat."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    signal = np.zeros((time.size, channels))
    for beat in range(int(seconds * 2)):
        since = time[beat * RATE // 2 :] - beat / 2
        since = since[: RATE * 3 // 2]
        start = beat * RATE // 2
        for note in rng.choice([0, 3, 5, 7, 10, 12, 15, 19], 3, replace=False):
            pitch = 220 * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * pitch * h * since) / h**1.5 for h in range(1, 8))
            for side in range(channels):
                pan = 0.5 + 0.5 * rng.random()
                signal[start : start + since.size, side] += pan * tone * np.exp(-2.5 * since)
        drum = rng.standard_normal(since.size) * np.exp(-40 * since)
        signal[start : start + since.size] += 0.3 * drum[:, None]
    return (signal * 0.1 * 32767).clip(-32768, 32767).astype(np.int16)


def encode_opus(
    pcm: Pcm,
    *,
    application: str = "voip",
    frame_ms: float = 20,
    bit_rate: int = 32_000,
    cutoff: int = 20_000,
) -> list[bytes]:
    """The packets of libopus for `pcm`, one for each `frame_ms`.

    Args:
        cutoff: the highest frequency; with 8000 speech is SILK, with 20000 often hybrid.
    """
    channels = pcm.shape[1]
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = RATE
    encoder.format = "s16"
    encoder.layout = "stereo" if channels == 2 else "mono"
    encoder.bit_rate = bit_rate
    encoder.options = {
        "application": application,
        "frame_duration": str(frame_ms),
        "cutoff": str(cutoff),
    }
    encoder.open()
    size = round(frame_ms * RATE / 1000)
    packets = []
    for start in range(0, len(pcm) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm[start : start + size].reshape(1, -1)),
            format="s16",
            layout=encoder.layout.name,
        )
        frame.sample_rate = RATE
        frame.pts = start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def encode_opus_with_dtx(pcm: Pcm, folder: Path) -> list[bytes]:
    """20 ms packets of mono speech; in pauses they have one byte, and 17 or so every 400 ms.

    By opusenc, as FFmpeg's wrapper of libopus does not offer discontinuous transmission.
    """
    source, target = folder / "in.raw", folder / "out.opus"
    source.write_bytes(pcm.tobytes())
    command = [tool("opusenc"), "--quiet", "--raw", "--raw-rate", "48000", "--raw-chan", "1"]
    command += ["--speech", "--bitrate", "16", "--set-ctl-int", "4016=1"]  # OPUS_SET_DTX_REQUEST
    subprocess.run([*command, str(source), str(target)], check=True)
    _, _, *audio = read_pages(target.read_bytes())
    return [packet for page in audio for packet in page.packets]


def decode_ogg(data: bytes, *, codec: str = "libopus") -> Pcm:
    """The audible PCM of an Ogg Opus file by PyAV; `codec` is libopus or FFmpeg's own opus."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        decoder = av.CodecContext.create(codec, "r")
        decoder.extradata = stream.codec_context.extradata
        decoder.sample_rate = RATE
        decoder.layout = stream.layout.name
        resampler = av.AudioResampler(format="s16", layout=stream.layout.name)
        parts = []
        for packet in container.demux(stream):
            for frame in decoder.decode(packet):
                parts += [out.to_ndarray() for out in resampler.resample(frame)]
    return np.concatenate(parts, axis=1).reshape(-1, stream.channels)


def decode_with_opusdec(data: bytes, folder: Path) -> Pcm:
    """The audible PCM of an Ogg Opus file by opus-tools; no warning allowed."""
    source, target = folder / "in.ogg", folder / "out.raw"
    source.write_bytes(data)
    command = [tool("opusdec"), "--rate", "48000", "--no-dither", str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "warning" not in (result.stdout + result.stderr).lower(), result.stderr
    channels = data[data.index(b"OpusHead") + 9]
    return np.fromfile(target, np.int16).reshape(-1, channels)


def check_with_tools(data: bytes, folder: Path) -> None:
    """Let opusinfo and ffprobe read the file: no warning allowed.

    Neither is asked for its length: ffprobe counts the hidden pre-roll in.
    """
    path = folder / "checked.ogg"
    path.write_bytes(data)
    for command in (["opusinfo"], ["ffprobe", "-v", "warning", "-count_packets"]):
        result = subprocess.run(
            [tool(command[0]), *command[1:], str(path)], capture_output=True, text=True, check=True
        )
        assert "warning" not in (result.stdout + result.stderr).lower(), result.stdout
        assert result.stderr == ""


def tool(name: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: opus-tools, ffmpeg)")
    return path
