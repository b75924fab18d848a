"""Pictures of real key frames: right colours, right way up, or a clear error."""

import contextlib
import itertools
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.h265 import H265
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9
from cloudslice.media.tracks import Colors, Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures import picture_files
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.picture import MAX_SIDE, Picture, UndecodableKeyframeError
from helpers.encoders import NEARLY_LOSSLESS, begin, open_encoder
from helpers.keyframes import BAR_COLORS, color_bars, decode_picture, encode_keyframe, to_yuv420
from helpers.video_codecs import CODECS, each_codec

_STREAMS = Path(__file__).parent / "streams"
PNG, JPG = ImageFormat.PNG, ImageFormat.JPG

STREAMS = [
    pytest.param(H264, None, False, id="H.264 that says nothing"),
    pytest.param(H264, "bt601", False, id="H.264 BT.601 limited"),
    pytest.param(H264, "bt601", True, id="H.264 BT.601 full"),
    pytest.param(H264, "bt709", False, id="H.264 BT.709 limited"),
    pytest.param(H264, "bt709", True, id="H.264 BT.709 full"),
    pytest.param(VP8, None, False, id="VP8"),
    *[
        pytest.param(
            codec, matrix, full, id=f"{codec.name} {matrix or ''} {'full' if full else 'limited'}"
        )
        for codec in CODECS
        if codec not in (H264, VP8)
        for matrix in (None, "bt601", "bt709")
        for full in (False, True)
    ],
]

CONVERTER = ColorConverter()
"""One for all tests, as a thread has it: whatever came before must not show."""


def encode_picture(keyframe: Keyframe, image_format: ImageFormat) -> Picture:
    return picture_files.encode_picture(keyframe, image_format, CONVERTER)


def bar_centers(rgb: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar: (12, 3)."""
    height, width, _ = rgb.shape
    step = width // len(BAR_COLORS)
    return rgb[height // 2, step // 2 :: step].astype(int)


@pytest.mark.parametrize(("codec", "matrix", "full"), STREAMS)
@pytest.mark.parametrize(
    ("image_format", "tolerance"),
    [pytest.param(PNG, 3, id="png"), pytest.param(JPG, 6, id="jpg")],
)
def test_colours_are_what_was_sent(
    codec: VideoCodec, matrix: str | None, full: bool, image_format: ImageFormat, tolerance: int
) -> None:
    """Within 3 levels of 255; JPEG has a loss of its own."""
    keyframe = encode_keyframe(codec, color_bars(), matrix=matrix, full=full)
    shown = decode_picture(encode_picture(keyframe, image_format).data)
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= tolerance


def _bars_of_10_bits(codec: VideoCodec, *, full: bool) -> Keyframe:
    """The libvpx of PyAV encodes 8 bits only: VP9's were made by another one, in BT.709."""
    if codec is not VP9:
        return encode_keyframe(codec, color_bars(), matrix="bt709", full=full, bits=10)
    path = _STREAMS / f"vp9-10-bits-{'full' if full else 'limited'}.ivf"
    with av.open(str(path)) as container:
        return Keyframe(VP9.decoding, bytes(next(container.demux(video=0))), 0.0, 0)


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("codec", [VP9, AV1, H265], ids=lambda codec: codec.name)
def test_colours_of_10_bits_are_what_was_sent(
    codec: VideoCodec, full: bool, image_format: ImageFormat
) -> None:
    keyframe = _bars_of_10_bits(codec, full=full)
    shown = decode_picture(encode_picture(keyframe, image_format).data)
    tolerance = 3 if image_format is PNG else 6
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= tolerance


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        pytest.param(VP9, "yuv444p", id="VP9 4:4:4"),
        pytest.param(VP9, "gbrp", id="VP9 of RGB"),
        pytest.param(H265, "yuv444p", id="H.265 4:4:4"),
        pytest.param(H265, "yuv422p10le", id="H.265 4:2:2 of 10 bits"),
    ],
)
def test_colours_of_full_chroma_are_what_was_sent(
    codec: VideoCodec, pix_fmt: str, image_format: ImageFormat
) -> None:
    """As browsers send a screen whose text is to be sharp."""
    frame = av.VideoFrame.from_ndarray(color_bars(), format="rgb24")
    frame = frame.reformat(format=pix_fmt, dst_colorspace="ITU601")
    frame.pts = 0
    lossless = NEARLY_LOSSLESS[codec.name]
    encoder = open_encoder(codec, frame.width, frame.height, lossless, pix_fmt)
    begin(encoder)
    data = b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))
    keyframe = Keyframe(codec.decoding, data, 0.0, 0)
    assert codec.coded_size(data) == (frame.width, frame.height)
    shown = decode_picture(encode_picture(keyframe, image_format).data)
    tolerance = 3 if image_format is PNG else 6
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= tolerance


@pytest.mark.parametrize("image_format", list(ImageFormat))
@each_codec
def test_colours_that_are_told_hold(codec: VideoCodec, image_format: ImageFormat) -> None:
    """Apart from the bitstream, which says nothing or another thing."""
    keyframe = encode_keyframe(codec, color_bars(), mislabelled=("bt709", True))
    told = replace(keyframe, decoding=keyframe.decoding.of_colors(Colors(1, True)))
    shown = decode_picture(encode_picture(told, image_format).data)
    tolerance = 3 if image_format is PNG else 6
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= tolerance


SATURATED = np.array(list(itertools.product((0, 128, 255), repeat=3)), np.uint8)


@pytest.mark.parametrize(
    ("codec", "matrix", "full", "mislabelled"),
    [
        *[pytest.param(*stream.values, None, id=stream.id) for stream in STREAMS],
        *[
            pytest.param(
                codec,
                None,
                False,
                (matrix, full),
                id=f"{codec.name} of {matrix} {'full' if full else 'limited'} that says nothing",
            )
            for codec in CODECS
            for matrix in ("bt601", "bt709")
            for full in (False, True)
        ],
        pytest.param(H264, "bt709", True, ("bt601", True), id="BT.601 full that says BT.709"),
    ],
)
def test_png_and_jpg_show_the_same_colours(
    codec: VideoCodec, matrix: str | None, full: bool, mislabelled: tuple[str, bool] | None
) -> None:
    """Also of YUV that no RGB stands for, which full range is that is taken for limited."""
    sent = np.broadcast_to(SATURATED.repeat(16, axis=0), (32, len(SATURATED) * 16, 3))
    keyframe = encode_keyframe(codec, sent, matrix=matrix, full=full, mislabelled=mislabelled)
    png, jpg = (
        decode_picture(encode_picture(keyframe, each).data)[16, 8::16].astype(int)
        for each in (PNG, JPG)
    )
    assert np.abs(png - jpg).max() <= 3
    if mislabelled is None:
        assert np.abs(png - SATURATED).max() <= 3


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize(
    ("sample_aspect", "shown_size"),
    [
        pytest.param("4:3", (512, 192), id="wide pixels"),
        pytest.param("3:4", (384, 256), id="high pixels"),
        pytest.param("12:11", (418, 192), id="to whole pixels"),
        pytest.param("1:1", (384, 192), id="square pixels"),
        pytest.param("0:1", (384, 192), id="nothing said"),
    ],
)
def test_pixels_are_shown_square(
    sample_aspect: str, shown_size: tuple[int, int], image_format: ImageFormat
) -> None:
    """The smaller dimension is enlarged, so that nothing that was sent is lost."""
    keyframe = encode_keyframe(H264, color_bars(384, 192), sample_aspect=sample_aspect)
    picture = encode_picture(keyframe, image_format)
    shown = decode_picture(picture.data)
    assert (picture.width, picture.height) == shown_size == (shown.shape[1], shown.shape[0])
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= 6


def test_a_turned_picture_has_square_pixels_too() -> None:
    keyframe = encode_keyframe(H264, color_bars(384, 192), sample_aspect="4:3", rotation=90)
    picture = encode_picture(keyframe, PNG)
    assert (picture.width, picture.height) == (192, 512)


def test_pixels_that_would_make_the_picture_too_large_are_refused() -> None:
    keyframe = encode_keyframe(H264, color_bars(384, 192), sample_aspect="100:1")
    with pytest.raises(UndecodableKeyframeError, match="38400x192 is too large"):
        encode_picture(keyframe, PNG)


def test_a_decoder_that_waits_for_more_gives_its_picture_all_the_same() -> None:
    keyframe = encode_keyframe(H264, color_bars(), reorders=True)
    shown = decode_picture(encode_picture(keyframe, PNG).data)
    assert np.abs(bar_centers(shown) - BAR_COLORS).max() <= 3


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_vp8_that_needs_no_clamping_is_of_limited_range_all_the_same(
    image_format: ImageFormat,
) -> None:
    """FFmpeg calls it full range for a bit that means something else."""
    data = bytearray(encode_keyframe(VP8, color_bars(96, 48)).data)
    data[10] ^= 0x40  # the first partition's second bit; what follows is another, valid picture
    decoder = av.CodecContext.create("vp8", "r")
    [frame] = [*decoder.decode(av.Packet(bytes(data))), *decoder.decode(None)]
    assert frame.color_range == av.video.reformatter.ColorRange.JPEG
    luma = np.frombuffer(frame.planes[0], np.uint8).reshape(48, -1)[:, :96].astype(int)
    shown = decode_picture(
        encode_picture(Keyframe(VP8.decoding, bytes(data), 0.0, 0), image_format).data
    )
    assert np.median(np.abs(to_yuv420(shown)[0] - luma)) <= 1


@pytest.mark.parametrize("image_format", list(ImageFormat))
@each_codec
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_picture_is_turned_clockwise(
    rotation: int, codec: VideoCodec, image_format: ImageFormat
) -> None:
    sent = color_bars(192, 96)
    sent[48:] = sent[48:] // 2
    keyframe = encode_keyframe(codec, sent, rotation=rotation)
    picture = encode_picture(keyframe, image_format)
    shown = decode_picture(picture.data).astype(int)
    expected = np.rot90(sent, -rotation // 90).astype(int)
    assert (picture.height, picture.width) == shown.shape[:2] == expected.shape[:2]
    assert np.median(np.abs(shown - expected)) <= 3
    for row, column in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
        assert np.abs(shown[row, column] - expected[row, column]).max() <= 12


@pytest.mark.parametrize("image_format", list(ImageFormat))
@each_codec
@pytest.mark.parametrize(
    ("width", "height"),
    [(48, 16), (854, 480), (640, 1136), (1366, 768), (1920, 1080), (426, 240)],
)
def test_any_size_is_kept(
    width: int, height: int, codec: VideoCodec, image_format: ImageFormat
) -> None:
    """Also those that are not whole blocks, and whose rows are padded in memory."""
    picture = encode_picture(encode_keyframe(codec, color_bars(width, height)), image_format)
    shown = decode_picture(picture.data)
    assert (picture.width, picture.height) == (width, height)
    assert shown.shape == (height, width, 3)
    assert np.abs(shown[:, -1].astype(int) - BAR_COLORS[-1]).max() <= 12


@pytest.mark.parametrize("image_format", list(ImageFormat))
@pytest.mark.parametrize("codec", [VP8, VP9, AV1], ids=lambda codec: codec.name)
def test_sizes_may_be_odd(codec: VideoCodec, image_format: ImageFormat) -> None:
    picture = encode_picture(encode_keyframe(codec, color_bars(321, 181)), image_format)
    assert decode_picture(picture.data).shape == (181, 321, 3)


def test_a_png_file_is_made_by_the_book() -> None:
    picture = encode_picture(encode_keyframe(H264, color_bars(96, 32)), PNG)
    data = picture.data
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + size
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    assert chunks[0][1] == struct.pack(">IIBBBBB", 96, 32, 8, 2, 0, 0, 0)
    assert len(zlib.decompress(chunks[1][1])) == 32 * (1 + 96 * 3)


_RANDOM = np.random.default_rng(2)
_LINES = np.zeros((90, 160, 3), np.uint8)
_LINES[::7] = 255
_LINES[:, ::11] = (200, 40, 90)


@pytest.mark.parametrize(
    "rgb",
    [
        pytest.param(_RANDOM.integers(0, 256, (90, 160, 3), np.uint8), id="noise"),
        pytest.param(_RANDOM.integers(120, 136, (90, 160, 3), np.uint8), id="grain"),
        pytest.param(np.zeros((90, 160, 3), np.uint8), id="black"),
        pytest.param(np.linspace(0, 255, 90 * 160 * 3).reshape(90, 160, 3), id="a ramp"),
        pytest.param(_LINES, id="lines"),
    ],
)
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_png_loses_nothing(rgb: np.ndarray, rotation: int) -> None:
    """Every pixel is as it was converted, whatever deflate makes of it."""
    keyframe = encode_keyframe(H264, rgb.astype(np.uint8), rotation=rotation)
    decoder = av.VideoCodecContext.create("h264", "r")
    [frame] = [*decoder.decode(av.Packet(keyframe.data)), *decoder.decode(None)]
    converted = CONVERTER.to_rgb(frame, H264.decoding).to_ndarray()
    shown = decode_picture(encode_picture(keyframe, PNG).data)
    assert np.array_equal(shown, np.rot90(converted, -rotation // 90))


def h264_units(data: bytes) -> list[bytes]:
    starts = [match.start() for match in re.finditer(b"\0\0\1", data)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


_FOUR_SLICES = encode_keyframe(H264, color_bars(320, 256), slices=4).data
_NOISE = np.random.default_rng(1).bytes(2000)
_VP8 = encode_keyframe(VP8, color_bars(320, 256)).data


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        pytest.param(H264, b"", id="H.264 of nothing"),
        pytest.param(VP8, b"", id="VP8 of nothing"),
        pytest.param(H264, _NOISE, id="H.264 of noise"),
        pytest.param(VP8, b"\x10" + _NOISE, id="VP8 of noise"),
        pytest.param(H264, _FOUR_SLICES[: len(_FOUR_SLICES) * 3 // 4], id="H.264 cut off"),
        pytest.param(H264, b"".join(h264_units(_FOUR_SLICES)[:-1]), id="last slice lost"),
        pytest.param(
            H264,
            b"".join(unit for index, unit in enumerate(h264_units(_FOUR_SLICES)) if index != 4),
            id="slice lost in the middle",
        ),
        pytest.param(H264, b"".join(h264_units(_FOUR_SLICES)[2:]), id="no parameter sets"),
        pytest.param(H264, b"".join(h264_units(_FOUR_SLICES)[:2]), id="parameter sets alone"),
        pytest.param(H264, _FOUR_SLICES + _FOUR_SLICES, id="two frames"),
        pytest.param(VP8, _VP8[:12], id="VP8 header alone"),
        pytest.param(VP8, b"\x01" + _VP8[1:], id="VP8 frame that is no key frame"),
        pytest.param(H264, _VP8, id="VP8 for H.264"),
        pytest.param(VP8, _FOUR_SLICES, id="H.264 for VP8"),
    ],
)
@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_what_cannot_be_decoded_whole_is_refused(
    codec: VideoCodec, data: bytes, image_format: ImageFormat
) -> None:
    """No grey, torn or stale picture, and no other error."""
    with pytest.raises(UndecodableKeyframeError):
        encode_picture(Keyframe(codec.decoding, data, 0.0, 0), image_format)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(16_383, 16_383, id="as large as VP8 can say"),
        pytest.param(MAX_SIDE + 1, 16, id="too wide"),
        pytest.param(16, MAX_SIDE + 1, id="too high"),
    ],
)
def test_a_frame_that_claims_a_huge_size_is_refused(width: int, height: int) -> None:
    """A few bytes must not make us allocate gigabytes."""
    data = _VP8[:6] + struct.pack("<HH", width, height) + _VP8[10:]
    with pytest.raises(UndecodableKeyframeError):
        encode_picture(Keyframe(VP8.decoding, data, 0.0, 0), PNG)


_FUZZED = {
    H264: encode_keyframe(H264, color_bars(96, 64), slices=2).data,
    **{each: encode_keyframe(each, color_bars(96, 64)).data for each in CODECS if each is not H264},
}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CODECS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    st.integers(0, 4000),
)
def test_damage_of_any_kind_gives_a_picture_or_the_one_error(
    codec: VideoCodec, changes: list[tuple[int, int]], length: int
) -> None:
    """Bytes that come from a stranger raise nothing else, and bring nothing down."""
    data = bytearray(_FUZZED[codec][:length])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    for image_format in ImageFormat:
        with contextlib.suppress(UndecodableKeyframeError):
            picture = encode_picture(Keyframe(codec.decoding, bytes(data), 0.0, 0), image_format)
            assert picture.data
