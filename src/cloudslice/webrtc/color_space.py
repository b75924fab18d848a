"""The RTP header extension by which libwebrtc says what a frame's colours are.

http://www.webrtc.org/experiments/rtp-hdrext/color-space: one byte each for the primaries, the
transfer function and the matrix (ITU-T H.273), one for the range and the place of chroma; behind
these may be 24 bytes of HDR metadata.
"""

from cloudslice.media.tracks import Colors

_RGB, _UNSPECIFIED = 0, 2
"""Matrices that say nothing of YUV."""
_LIMITED, _FULL = 1, 2


def read_color_space(element: bytes) -> Colors | None:
    """The colours that an element says; None if it does not say both matrix and range."""
    if len(element) not in (4, 28):
        return None
    matrix, color_range = element[2], element[3] >> 4 & 0x03
    if matrix in (_RGB, _UNSPECIFIED) or color_range not in (_LIMITED, _FULL):
        return None
    return Colors(matrix, color_range == _FULL)
