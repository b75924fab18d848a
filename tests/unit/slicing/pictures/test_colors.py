"""Colours by the book (ITU-T H.273 section 8.3), for every matrix and range a stream may have."""

from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from cloudslice.codecs import h264, vp8
from cloudslice.media.tracks import Decoding
from cloudslice.slicing.pictures import colors
from cloudslice.slicing.pictures.colors import ColorConverter

Samples = NDArray[np.float64]
"""(height, width, 3): Y, Cb and Cr, or red, green and blue."""

H264, VP8 = h264.H264.decoding, vp8.VP8.decoding
BT601 = (0.299, 0.114)
STREAMS = [
    pytest.param(H264, code, color_range, weights, id=f"{name}, {color_range.name}")
    for color_range in (ColorRange.MPEG, ColorRange.JPEG)
    for code, weights, name in (
        (1, (0.2126, 0.0722), "BT.709"),
        (2, BT601, "unspecified"),
        (4, (0.30, 0.11), "FCC"),
        (5, BT601, "BT.601 625"),
        (6, BT601, "BT.601 525"),
        (7, (0.212, 0.087), "SMPTE 240M"),
        (9, (0.2627, 0.0593), "BT.2020"),
        (10, (0.2627, 0.0593), "BT.2020, constant luminance"),
    )
] + [
    pytest.param(H264, 2, ColorRange.UNSPECIFIED, BT601, id="H.264 that says nothing"),
    pytest.param(VP8, 5, ColorRange.JPEG, BT601, id="VP8 that needs no clamping"),
]

PATCH = 8
"""Pixels: in the middle of such a square, chroma has one value however it is interpolated."""


def patches(rows: int = 60, columns: int = 80) -> NDArray[np.uint8]:
    """Squares of all YUV there is, also of what no RGB stands for: (rows * 8, columns * 8, 3)."""
    colors = np.random.default_rng(4).integers(0, 256, (rows, columns, 3), np.uint8)
    return colors.repeat(PATCH, axis=0).repeat(PATCH, axis=1)


def make_frame(
    yuv: NDArray[np.uint8], matrix: int, color_range: ColorRange, pix_fmt: str = "yuv420p"
) -> av.VideoFrame:
    height, width, _ = yuv.shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for index, plane in enumerate(frame.planes):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        down, across = -(-height // plane.height), -(-width // plane.width)
        rows[:, : plane.width] = yuv[::down, ::across, index]
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = matrix, color_range
    return frame


def samples(frame: av.VideoFrame) -> Samples:
    """All planes of the frame, each sample of a smaller one repeated."""
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        down, across = -(-frame.height // plane.height), -(-frame.width // plane.width)
        full = rows[:, : plane.width].repeat(down, axis=0).repeat(across, axis=1)
        planes.append(full[: frame.height, : frame.width])
    return np.stack(planes, axis=-1).astype(float)


def exact_rgb(yuv: NDArray[Any], weights: tuple[float, float], *, full: bool) -> Samples:
    """From 0 to 255 and beyond."""
    red_share, blue_share = weights
    luma, blue_chroma, red_chroma = np.moveaxis(yuv.astype(float), 2, 0)
    blue_chroma, red_chroma = blue_chroma - 128, red_chroma - 128
    if not full:
        luma = (luma - 16) * 255 / 219
        blue_chroma, red_chroma = blue_chroma * 255 / 224, red_chroma * 255 / 224
    red = luma + 2 * (1 - red_share) * red_chroma
    blue = luma + 2 * (1 - blue_share) * blue_chroma
    green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return np.stack((red, green, blue), axis=-1)


def exact_jfif(rgb: Samples) -> Samples:
    red, green, blue = np.moveaxis(rgb, 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack((luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402), axis=-1)


def is_full(codec: Decoding, color_range: ColorRange) -> bool:
    return codec is H264 and color_range is ColorRange.JPEG


def middle_of_patches(picture: Samples) -> Samples:
    return picture[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]


@pytest.mark.parametrize(("codec", "matrix", "color_range", "weights"), STREAMS)
def test_rgb_is_the_exact_colour_rounded(
    codec: Decoding, matrix: int, color_range: ColorRange, weights: tuple[float, float]
) -> None:
    """But for blue of more than twice white, which no camera sends: swscale wraps around there."""
    yuv = patches()
    converted = samples(ColorConverter().to_rgb(make_frame(yuv, matrix, color_range), codec))[
        ..., [2, 0, 1]
    ]
    exact = exact_rgb(yuv, weights, full=is_full(codec, color_range))
    error = middle_of_patches(converted - exact.clip(0, 255))[middle_of_patches(exact) < 511]
    assert np.abs(error).max() < 0.6


def assert_jfif_shows(converted: av.VideoFrame, exact: Samples, *, within: float) -> None:
    """In each pixel: the exact colour, rounded, if JFIF has it; else what is shown is as in RGB."""
    jfif = samples(converted)
    in_jfif = exact_jfif(exact)
    is_in_jfif = np.abs(in_jfif - 127.5).max(axis=2) <= 126
    assert np.abs(jfif - in_jfif)[is_in_jfif].max() < within
    shown = exact_rgb(jfif, BT601, full=True).clip(0, 255)
    assert np.abs(shown - exact.clip(0, 255)).max() < 2.8 * within


@pytest.mark.parametrize(("codec", "matrix", "color_range", "weights"), STREAMS)
def test_jfif_is_the_exact_colour_rounded(
    codec: Decoding, matrix: int, color_range: ColorRange, weights: tuple[float, float]
) -> None:
    """In each pixel: chroma is neither moved nor blurred."""
    yuv = patches()
    converted = ColorConverter().to_jfif(make_frame(yuv, matrix, color_range), codec)
    exact = exact_rgb(yuv, weights, full=is_full(codec, color_range))
    assert_jfif_shows(converted, exact, within=0.6)


@pytest.mark.parametrize(("height", "width"), [(479, 640), (480, 639), (479, 639)])
def test_vp8_of_odd_sizes_is_as_good_but_for_half_a_level(height: int, width: int) -> None:
    yuv = patches()[:height, :width]
    converted = ColorConverter().to_jfif(make_frame(yuv, 5, ColorRange.MPEG), VP8)
    assert (converted.height, converted.width) == (height, width)
    assert_jfif_shows(converted, exact_rgb(yuv, BT601, full=False), within=1.1)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p"])
@pytest.mark.parametrize("color_range", [ColorRange.MPEG, ColorRange.JPEG])
def test_chroma_that_is_not_subsampled_is_for_jfif(pix_fmt: str, color_range: ColorRange) -> None:
    """No browser sends it, but H.264 has it."""
    yuv = patches()
    converted = ColorConverter().to_jfif(make_frame(yuv, 5, color_range, pix_fmt), H264)
    assert converted.format.name in ("yuv420p", "yuvj420p")
    is_full = color_range is ColorRange.JPEG
    assert_jfif_shows(converted, exact_rgb(yuv, BT601, full=is_full), within=1.1)


def test_grey_beyond_black_and_white_is_black_and_white() -> None:
    """As it comes from cameras. It needs no second look, though all of it is cut off."""
    yuv = np.full((32, 32, 3), 128, np.uint8)
    yuv[:, :16, 0], yuv[:, 16:, 0] = 3, 250
    converted = ColorConverter().to_jfif(make_frame(yuv, 1, ColorRange.MPEG), H264)
    assert np.array_equal(samples(converted)[0, [0, 31]], [(0, 128, 128), (255, 128, 128)])


def test_frames_do_not_show_in_those_after_them() -> None:
    """A converter serves the anchors of all rooms, in sizes, matrices and ranges of all kinds."""
    converter = ColorConverter()
    frames = [
        (make_frame(patches(rows, columns), matrix, color_range), codec)
        for rows, columns, codec, matrix, color_range in (
            (60, 80, H264, 1, ColorRange.MPEG),
            (60, 80, VP8, 5, ColorRange.MPEG),
            (60, 80, H264, 1, ColorRange.JPEG),
            (80, 60, H264, 1, ColorRange.MPEG),
            (61, 80, H264, 6, ColorRange.MPEG),
        )
    ]
    for frame, codec in [*frames, *frames[1::-1], *reversed(frames)]:
        for convert, alone in (
            (converter.to_rgb, ColorConverter().to_rgb),
            (converter.to_jfif, ColorConverter().to_jfif),
        ):
            assert np.array_equal(samples(convert(frame, codec)), samples(alone(frame, codec)))


class CountedGraph:
    """A real graph that takes a second frame, but does not give it out."""

    made = 0

    def __init__(self, *conversion: Any) -> None:
        CountedGraph.made += 1
        self._graph = make_graph(*conversion)
        self._pulls = 0
        self.vpush = self._graph.vpush

    def vpull(self) -> av.VideoFrame:
        self._pulls += 1
        if self._pulls == 2:
            raise av.error.FFmpegError(1, "out of something")
        return self._graph.vpull()


make_graph = colors._jfif_graph


def test_after_a_fault_no_frame_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What FFmpeg was given, but not asked for, must not come out as the next anchor's picture."""
    monkeypatch.setattr(colors, "_jfif_graph", CountedGraph)
    monkeypatch.setattr(CountedGraph, "made", 0)
    ours, lost, theirs = (
        make_frame(np.roll(patches(), shift, axis=0), 1, ColorRange.MPEG) for shift in range(3)
    )
    converter = ColorConverter()
    converter.to_jfif(ours, H264)
    with pytest.raises(av.error.FFmpegError):
        converter.to_jfif(lost, H264)
    assert CountedGraph.made == 1, "a graph is kept for frames alike"
    converted = converter.to_jfif(theirs, H264)
    alone = ColorConverter().to_jfif(theirs, H264)
    assert np.array_equal(samples(converted), samples(alone))
