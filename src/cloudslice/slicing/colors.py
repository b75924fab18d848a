"""Brings a decoded frame into the colours of a picture file: RGB, or YUV as JFIF has it."""

from fractions import Fraction

import av
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from cloudslice.rooms.base import VideoCodec

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""H.264's matrix_coefficients (ITU-T H.273 table 4). All else, and "unspecified", is BT.601: what
senders convert to that say nothing (libyuv, in Chromium and the mobile SDKs)."""

_YUV_420 = frozenset({"yuv420p", "yuvj420p"})
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_SAME_LIGHT = {"iprimaries": "bt709", "primaries": "bt709", "itrc": "bt709", "trc": "bt709"}
"""Equal before and after, so that the filter leaves primaries and transfer function alone."""


def to_rgb(frame: av.VideoFrame, codec: VideoCodec) -> av.VideoFrame:
    """Planes of green, blue and red, 8 bits, full range ("gbrp"), within 1 level of the exact ones.

    Planes, because swscale's accurate path takes more than twice as long for packed RGB.

    Raises:
        av.error.FFmpegError, ValueError: FFmpeg cannot convert such a frame.
    """
    matrix, color_range = _colors(codec, frame)
    return frame.reformat(
        format="gbrp",
        src_colorspace=matrix,
        src_color_range=color_range,
        dst_color_range=ColorRange.JPEG,
        interpolation=_ACCURATE,
        threads=1,
    )


def to_jfif(frame: av.VideoFrame, codec: VideoCodec) -> av.VideoFrame:
    """Planes of Y, Cb and Cr, 4:2:0, 8 bits, full-range BT.601; chroma stays in its place.

    By FFmpeg's filter "colorspace", which rounds right. swscale, needed for the few frames that the
    filter does not take, takes 2 to 6 times as long and comes out darker, by 1.2 levels on average
    for BT.709.

    Raises:
        av.error.FFmpegError, ValueError: FFmpeg cannot convert such a frame.
    """
    matrix, color_range = _colors(codec, frame)
    if frame.format.name not in _YUV_420 or frame.width % 2 or frame.height % 2:
        return frame.reformat(
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=Colorspace.ITU601,
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            # swscale's default would blur chroma.
            interpolation=Interpolation.POINT,
            threads=1,
        )
    if matrix is Colorspace.ITU601 and color_range is ColorRange.JPEG:
        return frame
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        ),
        graph.add(
            "colorspace",
            ispace=str(matrix.value),
            irange=str(color_range.value),
            space=str(Colorspace.ITU601.value),
            range=str(ColorRange.JPEG.value),
            **_SAME_LIGHT,
        ),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    return graph.vpull()


def _colors(codec: VideoCodec, frame: av.VideoFrame) -> tuple[Colorspace, ColorRange]:
    """The matrix and range of the frame's YUV.

    VP8 is always BT.601 limited (RFC 6386 section 9.2): FFmpeg takes its clamping bit, which some
    encoders set, for full range.
    """
    if codec is VideoCodec.VP8:
        return Colorspace.ITU601, ColorRange.MPEG
    is_full = frame.color_range == ColorRange.JPEG
    return (
        _MATRICES.get(frame.colorspace, Colorspace.ITU601),
        ColorRange.JPEG if is_full else ColorRange.MPEG,
    )
