"""Turns one key frame into one picture file. Blocking work of a few milliseconds, for a worker.

At best, with 1280x720 of an H.264 key frame of 42 KB on one core: decode 2.7 ms; then colours
1.5 ms, up-filter and deflate by ISA-L 6.8 ms for PNG; colours 0.8 ms, libjpeg-turbo from the planes
2.1 ms for JPEG. See bench/images.py.
"""

import struct
from collections.abc import Callable

import av
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from cloudslice.media.tracks import Decoding, Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.decoding import decode
from cloudslice.slicing.pictures.picture import Picture, UndecodableKeyframeError
from cloudslice.slicing.pictures.planes import Plane, planes_of

_JPEG_QUALITY = 85
_DEFLATE_LEVEL = 1
_DEFLATE_WINDOW_BITS = 3
"""Matches reach back 8 bytes, two pixels. In what the filter leaves of a camera's picture, those
from further away cost more than they save: files are 5 % smaller than with all 32 KB."""


def encode_picture(
    keyframe: Keyframe, image_format: ImageFormat, converter: ColorConverter
) -> Picture:
    """The key frame as a picture file: pixels square, turned by its rotation, colours as meant.

    PNG is RGB, 8 bits a channel; JPEG is JFIF, 4:2:0.

    Raises:
        UndecodableKeyframeError
    """
    if image_format is ImageFormat.PNG:
        # What is done with is gone before the next step needs memory.
        rows = _filter_up(*_planes(keyframe, converter.to_rgb))
        height, width = rows.shape[0], rows.shape[1] // 3
        return Picture(_encode_png(rows, width, height), width, height)
    planes = _planes(keyframe, converter.to_jfif)
    height, width = planes[0].shape
    return Picture(_encode_jpeg(*planes), width, height)


def _planes(
    keyframe: Keyframe, convert: Callable[[av.VideoFrame, Decoding], av.VideoFrame]
) -> list[Plane]:
    """Those of the key frame's picture, converted and turned."""
    frame = decode(keyframe)
    try:
        converted = convert(frame, keyframe.decoding)
    except (av.error.FFmpegError, ValueError) as error:
        raise UndecodableKeyframeError(f"cannot convert {frame.format.name}: {error}") from error
    turns = -(keyframe.rotation // 90)
    return [np.rot90(plane, turns) for plane in planes_of(converted)]


def _filter_up(green: Plane, blue: Plane, red: Plane) -> NDArray[np.uint8]:
    """PNG's rows, (height, 1 + 3 * width), with the filter "up" in each: nearly as good as a choice
    by row, and one pass."""
    height, width = red.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2
    for channel, plane in enumerate((red, green, blue)):
        rows[0, 1 + channel :: 3] = plane[0]
        np.subtract(plane[1:], plane[:-1], out=rows[1:, 1 + channel :: 3])
    return rows


def _encode_png(rows: NDArray[np.uint8], width: int, height: int) -> bytes:
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (
            b"IDAT",
            igzip_lib.compress(
                rows, _DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=_DEFLATE_WINDOW_BITS
            ),
        ),
        (b"IEND", b""),
    )
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", *(part for chunk in chunks for part in _png_chunk(*chunk)))
    )


def _png_chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    crc = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", crc)


def _encode_jpeg(luma: Plane, blue_chroma: Plane, red_chroma: Plane) -> bytes:
    """JPEG from full-range BT.601 planes, as JFIF wants them: no way through RGB and back."""
    planes = map(np.ascontiguousarray, (luma, blue_chroma, red_chroma))
    data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=_JPEG_QUALITY)
    return data
