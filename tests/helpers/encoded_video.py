"""RTP payloads of real encoders, cut by packetisers that are not ours, and what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from av.video.frame import PictureType

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9
from cloudslice.media.tracks import Decoding
from helpers.encoders import begin, open_encoder
from helpers.payloads import av1_payloads, h265_payloads, vp9_payloads

WIDTH, HEIGHT = 320, 192
_SQUARES = 12
"""Of one gray each: the frame's number in base 2, and then its complement."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as RTP carries it."""

    number: int
    is_key: bool
    payloads: tuple[bytes, ...]


@cache
def encoded_frames(
    codec: VideoCodec, count: int = 12, keyframe_every: int = 4
) -> list[EncodedFrame]:
    """A numbered picture sequence; each key frame takes several packets."""
    if codec not in (H264, VP8):
        return list(_encoded_frames(codec, count, keyframe_every))
    encoder: Encoder = H264Encoder() if codec is H264 else Vp8Encoder()
    frames = []
    for number in range(count):
        is_key = number % keyframe_every == 0
        payloads, _timestamp = encoder.encode(numbered_picture(number), force_keyframe=is_key)
        frames.append(EncodedFrame(number, is_key, tuple(payloads)))
    return frames


def _encoded_frames(codec: VideoCodec, count: int, keyframe_every: int) -> Iterator[EncodedFrame]:
    """By encoders that aiortc has not."""
    encoder = open_encoder(codec, WIDTH, HEIGHT, {})
    begin(encoder)
    for number in range(count):
        picture = numbered_picture(number)
        picture.pts, picture.time_base = number, encoder.time_base
        is_key = number % keyframe_every == 0
        picture.pict_type = PictureType.I if is_key else PictureType.NONE
        [packet] = encoder.encode(picture)
        assert packet.is_keyframe is is_key
        yield EncodedFrame(number, is_key, tuple(payloads_of(codec, bytes(packet), is_key=is_key)))


def payloads_of(codec: VideoCodec, frame: bytes, *, is_key: bool) -> list[bytes]:
    """What an independent packetiser makes of a frame of FFmpeg's encoder."""
    if codec is VP9:
        return vp9_payloads([frame], is_key=is_key)
    if codec is AV1:
        return av1_payloads(frame, is_key=is_key)
    return h265_payloads(frame)


def numbered_picture(number: int) -> av.VideoFrame:
    """A picture from which `picture_number` reads `number` (0..63) again."""
    bits = [number >> index & 1 for index in range(_SQUARES // 2)]
    bits += [1 - bit for bit in bits]
    # The same for some frames, or the encoder would make each of them an I picture.
    noise = np.random.default_rng(number // 4).integers(0, 60, (HEIGHT // 2, WIDTH), dtype=np.uint8)
    squares = np.repeat(np.array(bits, np.uint8) * 200 + 20, -(-WIDTH // _SQUARES))[:WIDTH]
    luma = np.concatenate([np.broadcast_to(squares, (HEIGHT // 2, WIDTH)), noise])
    chroma = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
    frame.pts = number * 3000
    frame.time_base = Fraction(1, 90000)
    return frame


def picture_number(frame: av.VideoFrame) -> int:
    """The number that a decoded `numbered_picture` shows. Raises ValueError if it is damaged."""
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)
    luma = frame.to_ndarray(format="gray")[: HEIGHT // 2]
    width = -(-WIDTH // _SQUARES)
    grays = [luma[8:-8, index * width + 8 : (index + 1) * width - 8] for index in range(_SQUARES)]
    if any(np.ptp(gray.astype(int)) > 60 for gray in grays):
        raise ValueError("a square is not of one gray")
    bits = [int(gray.mean() > 120) for gray in grays]
    half = _SQUARES // 2
    if any(bit == complement for bit, complement in zip(bits[:half], bits[half:], strict=True)):
        raise ValueError("the number contradicts its complement")
    return sum(bit << index for index, bit in enumerate(bits[:half]))


def decode_keyframe(decoding: Decoding, data: bytes) -> av.VideoFrame:
    """The picture of one key frame, by FFmpeg's decoder alone."""
    decoder = av.CodecContext.create(decoding.decoder, "r")
    frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    (frame,) = frames
    assert isinstance(frame, av.VideoFrame)
    return frame
