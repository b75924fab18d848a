"""Pictures and sound to encoded frames, as a real-time encoder of a browser makes them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice_publisher.picture import RgbImage
from cloudslice_publisher.sound import SAMPLE_RATE, Pcm

OPUS_FRAME_SAMPLES = SAMPLE_RATE // 50
"""20 ms, what browsers send."""


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """How video is encoded.

    Attributes:
        codec: H.264 (constrained baseline) or VP8.
        width, height: in pixels, even.
        fps: frames a second; 90000 is a multiple of it.
        bitrate_kbps: the average.
        keyframe_interval_s: between key frames that nobody asked for. It bounds, too, how far a
            loop jumps when somebody asks for one.
    """

    codec: VideoCodec = H264
    width: int = 1280
    height: int = 720
    fps: int = 30
    bitrate_kbps: int = 1500
    keyframe_interval_s: float = 4

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            raise ValueError(f"width and height must be even, not {self.width}x{self.height}")
        if self.fps < 1 or 90_000 % self.fps:
            raise ValueError(f"fps must divide 90000, which {self.fps} does not")

    @property
    def keyframe_interval(self) -> int:
        """In frames; at least one."""
        return max(1, round(self.keyframe_interval_s * self.fps))


@dataclass(frozen=True, slots=True)
class AudioSpec:
    """How audio is encoded: Opus, mono, in packets of 20 ms."""

    bitrate_kbps: int = 48


class EncodedFrame(NamedTuple):
    """H.264: an access unit in Annex B, key frames with their parameter sets; VP8: a frame."""

    data: bytes
    is_keyframe: bool


def encode_video(pictures: Iterable[RgbImage], spec: VideoSpec) -> Iterator[EncodedFrame]:
    """One encoded frame for each picture, the first one and each `keyframe_interval` a key frame.

    Frames refer backwards only, and never beyond a key frame. Colours are those of BT.709 for
    H.264, and for VP8, whose format knows no other, of BT.601.
    """
    encoder = _open_encoder(spec)
    matrix = "ITU709" if spec.codec is H264 else "ITU601"
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            width=spec.width, height=spec.height, format="yuv420p", dst_colorspace=matrix
        )
        frame.pts, frame.time_base = index, Fraction(1, spec.fps)
        if index % spec.keyframe_interval == 0:
            frame.pict_type = PictureType.I
        yield from _frames(encoder.encode(frame))
    yield from _frames(encoder.encode(None))


def encode_audio(pcm: Pcm, spec: AudioSpec) -> Iterator[bytes]:
    """The Opus packets of all whole 20 ms in `pcm`."""
    encoder = av.AudioCodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "s16"
    encoder.bit_rate = spec.bitrate_kbps * 1000
    encoder.options = {"frame_duration": "20", "application": "voip"}
    whole = pcm[: pcm.size - pcm.size % OPUS_FRAME_SAMPLES].reshape(-1, 1, OPUS_FRAME_SAMPLES)
    for index, block in enumerate(np.ascontiguousarray(whole)):
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, index * OPUS_FRAME_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield from (bytes(packet) for packet in encoder.encode(frame))


def _open_encoder(spec: VideoSpec) -> av.VideoCodecContext:
    name: Literal["libx264", "libvpx"] = "libx264" if spec.codec is H264 else "libvpx"
    encoder = av.VideoCodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = spec.width, spec.height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(spec.fps), Fraction(1, spec.fps)
    encoder.bit_rate = spec.bitrate_kbps * 1000
    encoder.thread_count = 1  # libvpx's others would spin while they wait
    encoder.gop_size = 2**15  # key frames only where they are forced
    # Half a second of buffer keeps a key frame from being a burst that a socket would drop.
    rate = {"maxrate": f"{spec.bitrate_kbps}k", "bufsize": f"{spec.bitrate_kbps // 2}k"}
    if spec.codec is H264:
        colours = "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv"
        # One slice a frame and no look-ahead, as hardware encoders do it.
        encoder.options = rate | {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "x264-params": f"scenecut=0:sliced-threads=0:threads=1:repeat-headers=1:{colours}",
        }
    else:
        encoder.options = rate | {
            "minrate": f"{spec.bitrate_kbps}k",
            "qmax": "25",  # its first guess at a key frame is so coarse that colours are off
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
        }
    return encoder


def _frames(packets: "Iterable[av.Packet[Any]]") -> Iterator[EncodedFrame]:
    return (EncodedFrame(bytes(packet), packet.is_keyframe) for packet in packets)
