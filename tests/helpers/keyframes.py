"""Key frames from real encoders, of colour bars whose colours are known."""

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from helpers.encoders import NEARLY_LOSSLESS, begin, open_encoder

Rgb = NDArray[np.uint8]
"""(height, width, 3) uint8."""

WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""The shares of red and blue in luma (ITU-T H.273 table 4)."""

BAR_COLORS = np.array(
    [
        (255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0),
        (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0),
        (192, 128, 64), (64, 128, 192), (128, 128, 128), (31, 97, 203),
    ],
    np.uint8,
)  # fmt: skip


def color_bars(width: int = 384, height: int = 128) -> Rgb:
    """Bars from left to right in `BAR_COLORS`; the top left corner is white, the right one not."""
    columns = np.arange(width) * len(BAR_COLORS) // width
    return np.broadcast_to(BAR_COLORS[columns], (height, width, 3)).copy()


def to_yuv420(rgb: Rgb, matrix: str = "bt601", *, full: bool = False) -> list[NDArray[np.uint8]]:
    """Y, Cb and Cr by the book (ITU-T H.273 section 8.3), chroma of every second pixel."""
    red_share, blue_share = WEIGHTS[matrix]
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    blue_chroma = (blue - luma) / (2 * (1 - blue_share))
    red_chroma = (red - luma) / (2 * (1 - red_share))
    if not full:
        luma = 16 + luma * 219 / 255
        blue_chroma, red_chroma = blue_chroma * 224 / 255, red_chroma * 224 / 255
    planes = luma, 128 + blue_chroma[::2, ::2], 128 + red_chroma[::2, ::2]
    return [plane.round().clip(0, 255).astype(np.uint8) for plane in planes]


def encode_keyframe(
    codec: VideoCodec,
    rgb: Rgb,
    *,
    matrix: str | None = None,
    full: bool = False,
    rotation: int = 0,
    slices: int = 1,
    reorders: bool = False,
    sample_aspect: str | None = None,
    mislabelled: tuple[str, bool] | None = None,
    bits: int = 8,
    arrival: float = 0.0,
) -> Keyframe:
    """`rgb` as one key frame of nearly no loss.

    Args:
        codec: by its encoder. VP8 cannot say anything about colours, nor VP9 nothing of the range.
        matrix: what the stream says its matrix is; None: nothing, and it is BT.601.
        full: whether the stream is, and says to be, of full range.
        slices: parts of an H.264 frame that can be lost alone.
        reorders: whether the H.264 stream may have B-frames, so that decoders wait for more.
        sample_aspect: the width of a pixel to its height that the H.264 stream says, as "4:3".
        mislabelled: the matrix and whether it is full range, if they are not what the stream says.
        bits: of a sample in the stream; not of VP8 and H.264.
    """
    height, width, _ = rgb.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    true_matrix, true_full = mislabelled or (matrix or "bt601", full)
    for plane, values in zip(
        frame.planes, to_yuv420(rgb, true_matrix, full=true_full), strict=True
    ):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.pts = 0
    options = dict(NEARLY_LOSSLESS[codec.name])
    if codec is H264:
        x264 = f"repeat-headers=1:annexb=1:slices={slices}:fullrange={'on' if full else 'off'}"
        if matrix is not None:
            x264 += f":colormatrix={ {'bt601': 'smpte170m', 'bt709': 'bt709'}[matrix] }"
        if sample_aspect is not None:
            x264 += f":sar={sample_aspect.replace(':', '/')}"
        options |= {"x264-params": x264} | ({"tune": ""} if reorders else {})
    if bits > 8:
        frame = frame.reformat(format=f"yuv420p{bits}le")
    encoder = open_encoder(codec, width, height, options, frame.format.name)
    if codec is VP8:
        encoder.bit_rate = 20_000_000
    elif codec is not H264:
        encoder.colorspace = {None: 2, "bt601": 6, "bt709": 1}[matrix]
        encoder.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        frame.colorspace, frame.color_range = encoder.colorspace, encoder.color_range
    begin(encoder)
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    return Keyframe(codec.decoding, data, arrival, rotation)


def decode_picture(data: bytes) -> Rgb:
    """A PNG or JPEG file as a viewer shows it, by FFmpeg."""
    name = "png" if data.startswith(b"\x89PNG") else "mjpeg"
    decoder = av.CodecContext.create(name, "r")
    [frame] = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    return frame.to_ndarray(format="rgb24")
