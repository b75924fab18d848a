"""Brings a decoded frame into the colours of a picture file: RGB, or YUV as JFIF has it."""

from fractions import Fraction

import av
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from cloudslice.media.tracks import Decoding
from cloudslice.slicing.pictures.gamut import Planes, cut_off_as_rgb
from cloudslice.slicing.pictures.planes import planes_of

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""MatrixCoefficients of ITU-T H.273, table 4. All else is taken for BT.601."""
_UNSPECIFIED_MATRIX = 2

_WEIGHTS = {
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
"""The shares of red and blue in luma (ITU-T H.273 table 4)."""

_YUV_420 = frozenset({"yuv420p", "yuvj420p"})
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_SAME_LIGHT = {"iprimaries": "bt709", "primaries": "bt709", "itrc": "bt709", "trc": "bt709"}
"""Equal before and after, so that the filter leaves primaries and transfer function alone."""

_Colors = tuple[Colorspace, ColorRange]
_JFIF_COLORS = Colorspace.ITU601, ColorRange.JPEG

_Conversion = tuple[int, int, str, Colorspace, ColorRange]
"""Width, height and pixel format of frames, and their matrix and range. A graph must be given no
others: the filter would write beyond its buffers."""


class ColorConverter:
    """Converts frames, one at a time; FFmpeg's set-up is kept for frames alike in a row.

    Setting up takes a third of the time for JFIF. Nothing of a frame is kept.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._kept: tuple[_Conversion, Graph] | None = None

    def to_rgb(self, frame: av.VideoFrame, decoding: Decoding) -> av.VideoFrame:
        """Planes of green, blue and red, 8 bits, full range ("gbrp"), rounded from exact colours.

        Planes, because swscale's accurate path takes more than twice as long for packed RGB; its
        fast path would take a tenth of the time, but is off by up to 3 levels.

        Raises:
            av.error.FFmpegError, ValueError: FFmpeg cannot convert such a frame.
        """
        matrix, color_range = _colors(decoding, frame)
        return self._reformatter.reformat(
            frame,
            format="gbrp",
            src_colorspace=matrix,
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=_ACCURATE,
            threads=1,
        )

    def to_jfif(self, frame: av.VideoFrame, decoding: Decoding) -> av.VideoFrame:
        """Planes of Y, Cb and Cr, 4:2:0, 8 bits, full-range BT.601; chroma stays in its place.

        What RGB cannot show is cut off as in `to_rgb`, so that both show the same.

        Raises:
            av.error.FFmpegError, ValueError: FFmpeg cannot convert such a frame.
        """
        colors = matrix, color_range = _colors(decoding, frame)
        if frame.format.name not in _YUV_420:
            frame = self._reformat(frame, colors, colors)
        if colors == _JFIF_COLORS:
            return frame
        if frame.width % 2 or frame.height % 2:
            converted = self._reformat(frame, colors, _JFIF_COLORS)
        else:
            converted = self._by_filter(frame, matrix, color_range)
        cut_off_as_rgb(
            _yuv(frame), _yuv(converted), _WEIGHTS[matrix], full=color_range is ColorRange.JPEG
        )
        return converted

    def _reformat(self, frame: av.VideoFrame, source: _Colors, wanted: _Colors) -> av.VideoFrame:
        """4:2:0 by swscale, which takes any frame, and several times as long as the filter. It is
        darker: by half a level, or by one where the matrix changes."""
        return self._reformatter.reformat(
            frame,
            format="yuv420p",
            src_colorspace=source[0],
            dst_colorspace=wanted[0],
            src_color_range=source[1],
            dst_color_range=wanted[1],
            # swscale's default would blur chroma.
            interpolation=Interpolation.POINT,
            threads=1,
        )

    def _by_filter(
        self, frame: av.VideoFrame, matrix: Colorspace, color_range: ColorRange
    ) -> av.VideoFrame:
        """By FFmpeg's filter "colorspace", which rounds exact colours. It takes even sizes only."""
        conversion = frame.width, frame.height, frame.format.name, matrix, color_range
        # A graph that fails is not kept: it might hold a frame, and give it out for the next one.
        kept, self._kept = self._kept, None
        graph = kept[1] if kept and kept[0] == conversion else _jfif_graph(*conversion)
        graph.vpush(frame)
        converted = graph.vpull()
        self._kept = conversion, graph
        return converted


def _yuv(frame: av.VideoFrame) -> Planes:
    luma, blue_chroma, red_chroma = planes_of(frame)
    return luma, blue_chroma, red_chroma


def _jfif_graph(
    width: int, height: int, pix_fmt: str, matrix: Colorspace, color_range: ColorRange
) -> Graph:
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(pix_fmt), time_base=Fraction(1)
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
    return graph


def _colors(decoding: Decoding, frame: av.VideoFrame) -> _Colors:
    """The matrix and range of the frame's YUV."""
    matrix, is_full = decoding.default_colors
    if decoding.bitstream_tells_colors:
        matrix = matrix if frame.colorspace == _UNSPECIFIED_MATRIX else frame.colorspace
        if frame.color_range != ColorRange.UNSPECIFIED:
            is_full = frame.color_range == ColorRange.JPEG
    return (
        _MATRICES.get(matrix, Colorspace.ITU601),
        ColorRange.JPEG if is_full else ColorRange.MPEG,
    )
