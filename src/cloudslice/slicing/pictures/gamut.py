"""Colours that no RGB stands for.

A stream may hold them: full range that is taken for limited because the stream does not say what
it is, or what an encoder makes at an edge. Whoever shows a picture cuts off red, green and blue at
0 and 255. JFIF's Y, Cb and Cr end at 0 and 255, too, and cutting *them* off gives another colour.
"""

import numpy as np
from numpy.typing import NDArray

from cloudslice.slicing.pictures.planes import Plane

Planes = tuple[Plane, Plane, Plane]
"""Y, Cb and Cr, 4:2:0."""

_NEUTRAL = 1
"""Chroma so near to grey makes no more than two levels of difference."""
_BLOCKS_AT_ONCE = 1 << 16

_Samples = NDArray[np.float32]
_Where = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns."""


def cut_off_as_rgb(
    source: Planes, converted: Planes, weights: tuple[float, float], *, full: bool
) -> None:
    """Where `converted` (full-range BT.601) was cut off in YUV, cut it off in RGB instead, in
    place, with one chroma for each block of 2x2 pixels.

    Args:
        source: what `converted` was converted from.
        weights: the shares of red and blue in the luma of `source` (ITU-T H.273 table 4).
        full: whether `source` is of full range.
    """
    luma, blue_chroma, red_chroma = converted
    width = blue_chroma.shape[1]
    rows = _rows_with_ends(*converted)
    luma_rows = np.minimum(2 * rows[:, None] + (0, 1), len(luma) - 1).ravel()
    cut_off = np.flatnonzero(_cut_off(luma[luma_rows], blue_chroma[rows], red_chroma[rows]))
    for start in range(0, cut_off.size, _BLOCKS_AT_ONCE):
        blocks_y, blocks_x = np.divmod(cut_off[start : start + _BLOCKS_AT_ONCE], width)
        _convert_blocks(source, converted, (rows[blocks_y], blocks_x), weights, full=full)


def _convert_blocks(
    source: Planes, converted: Planes, blocks: _Where, weights: tuple[float, float], *, full: bool
) -> None:
    pixels = _pixels(*blocks, source[0].shape)
    red, green, blue = _rgb(
        source[0][pixels].astype(np.float32),
        source[1][blocks].astype(np.float32)[:, None],
        source[2][blocks].astype(np.float32)[:, None],
        weights,
        full=full,
    )
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    converted[0][pixels] = _rounded(luma)
    converted[1][blocks] = _rounded(128 + (blue - luma).mean(axis=1) / 1.772)
    converted[2][blocks] = _rounded(128 + (red - luma).mean(axis=1) / 1.402)


def _rows_with_ends(luma: Plane, blue_chroma: Plane, red_chroma: Plane) -> NDArray[np.intp]:
    """The rows of blocks with a sample of 0 or 255, or all. In most pictures they are few, and
    found in a third of the time that a look at each block takes."""
    rows = len(blue_chroma)
    if len(luma) % 2 or any(map(_has_end, (blue_chroma, red_chroma))):
        return np.arange(rows)
    pairs = luma.reshape(rows, -1)
    return np.flatnonzero((pairs.min(axis=1) == 0) | (pairs.max(axis=1) == 255))


def _has_end(plane: Plane) -> bool:
    return bool(plane.min() == 0 or plane.max() == 255)


def _cut_off(luma: Plane, blue_chroma: Plane, red_chroma: Plane) -> NDArray[np.bool_]:
    """The blocks that were cut off, or may have been: 0 and 255 are also values of their own.
    There are two rows of luma for each of chroma."""
    cut = _is_end(blue_chroma) | _is_end(red_chroma)
    luma_ends = _is_end(luma)
    if luma_ends.any():
        colored = _is_colored(blue_chroma) | _is_colored(red_chroma)
        cut |= colored & _any_in_block(luma_ends)
    return cut


def _is_end(plane: Plane) -> NDArray[np.bool_]:
    return plane + np.uint8(1) <= 1  # 255 wraps to 0


def _is_colored(chroma: Plane) -> NDArray[np.bool_]:
    return chroma - np.uint8(128 - _NEUTRAL) > 2 * _NEUTRAL  # what is below wraps


def _any_in_block(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if pixels.shape[1] % 2:
        pixels = np.pad(pixels, ((0, 0), (0, 1)))
    pairs = np.ascontiguousarray(pixels).view(np.uint16)
    either: NDArray[np.bool_] = (pairs[::2] | pairs[1::2]) != 0
    return either


def _pixels(
    blocks_y: NDArray[np.intp], blocks_x: NDArray[np.intp], shape: tuple[int, ...]
) -> _Where:
    """Where the four pixels of each block are; beyond an odd edge, the one before it again."""
    rows = 2 * blocks_y[:, None] + np.array([0, 0, 1, 1])
    columns = 2 * blocks_x[:, None] + np.array([0, 1, 0, 1])
    return np.minimum(rows, shape[0] - 1), np.minimum(columns, shape[1] - 1)


def _rgb(
    luma: _Samples,
    blue_chroma: _Samples,
    red_chroma: _Samples,
    weights: tuple[float, float],
    *,
    full: bool,
) -> tuple[_Samples, _Samples, _Samples]:
    """Red, green and blue, cut off at 0 and 255 (ITU-T H.273 section 8.3)."""
    red_share, blue_share = weights
    blue_chroma, red_chroma = blue_chroma - 128, red_chroma - 128
    if not full:
        luma = (luma - 16) * (255 / 219)
        blue_chroma, red_chroma = blue_chroma * (255 / 224), red_chroma * (255 / 224)
    red = luma + 2 * (1 - red_share) * red_chroma
    blue = luma + 2 * (1 - blue_share) * blue_chroma
    green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return red.clip(0, 255), green.clip(0, 255), blue.clip(0, 255)


def _rounded(samples: _Samples) -> Plane:
    return (samples + 0.5).clip(0, 255).astype(np.uint8)
