"""Files of encoded media for programs that publish them: colour bars and a tone, by FFmpeg."""

import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

WIDTH, HEIGHT, FPS = 640, 360, 30
TONE_HZ = 440
_AUDIO_SECONDS = 2
_OPUS_PACKETS = _AUDIO_SECONDS * 50
_OPUS = "-ac 2 -c:a libopus -b:a 64k"
_VIDEO_SECONDS = 20
"""From one key frame to the next, longer than anybody sends: who needs one asks for it."""
_QUICK_VIDEO_SECONDS = 1
_ENCODERS = {
    # No B frames, as real-time encoders make them.
    "H264": ("h264", "-c:v libx264 -profile:v baseline -preset superfast -tune zerolatency"),
    "VP8": ("ivf", "-c:v libvpx -deadline realtime -cpu-used 8 -max-intra-rate 400"),
}
_VIDEO_RATE = "-b:v 800k -maxrate 800k -bufsize 400k -g 9999 -pix_fmt yuv420p"


@dataclass(frozen=True)
class PublisherMedia:
    """IVF files, which any program can read in ten lines; they loop without a click.

    Attributes:
        audio: Opus packets of 20 ms.
        video: by codec, access units in Annex B or VP8 frames; only the first one is a key frame.
        quick_video: the same with a small key frame each second, for those that ignore PLI.
    """

    audio: Path
    video: Mapping[str, Path]
    quick_video: Mapping[str, Path]


def make_publisher_media(directory: Path) -> PublisherMedia:
    """Encode for some seconds; needs ffmpeg."""
    source = directory / "audio.ogg"
    tone = f"sine=frequency={TONE_HZ}:sample_rate=48000:duration={_AUDIO_SECONDS + 1},volume=12dB"
    _ffmpeg("-f", "lavfi", "-i", tone, *_OPUS.split(), str(source))
    # The first packets have the encoder's start in them.
    audio = _packets(source)[10 : 10 + _OPUS_PACKETS]
    return PublisherMedia(
        _write_ivf(directory / "opus.ivf", b"OPUS", 50, audio),
        {codec: _encode_video(directory, codec, _VIDEO_SECONDS) for codec in _ENCODERS},
        {codec: _encode_video(directory, codec, _QUICK_VIDEO_SECONDS) for codec in _ENCODERS},
    )


def _encode_video(directory: Path, codec: str, seconds: int) -> Path:
    extension, options = _ENCODERS[codec]
    source = directory / f"{codec}-{seconds}.{extension}"
    bars = f"smptebars=size={WIDTH}x{HEIGHT}:rate={FPS}:duration={seconds}"
    if seconds == _VIDEO_SECONDS:
        bars += ",noise=c0s=12:c0f=t"  # makes key frames of many packets
    _ffmpeg("-f", "lavfi", "-i", bars, *options.split(), *_VIDEO_RATE.split(), str(source))
    path = directory / f"{codec}-frames-{seconds}.ivf"
    return _write_ivf(path, codec.encode(), FPS, _packets(source))


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", *arguments], check=True, stdin=subprocess.DEVNULL)


def _packets(path: Path) -> list[bytes]:
    with av.open(path, "r") as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def _write_ivf(path: Path, fourcc: bytes, rate: int, frames: Sequence[bytes]) -> Path:
    head = struct.pack(
        "<4sHH4sHHIIII", b"DKIF", 0, 32, fourcc.ljust(4), WIDTH, HEIGHT, rate, 1, len(frames), 0
    )
    framed = (struct.pack("<IQ", len(each), at) + each for at, each in enumerate(frames))
    path.write_bytes(head + b"".join(framed))
    return path
