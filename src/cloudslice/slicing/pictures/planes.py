"""The planes of a decoded frame as arrays."""

import av
import numpy as np
from av.video.plane import VideoPlane
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(height, width) uint8."""


def planes_of(frame: av.VideoFrame) -> list[Plane]:
    """Views of the frame's planes, of 8 bits a sample: writing into them changes the frame."""
    return [_rows(plane)[:, : plane.width] for plane in frame.planes]


def _rows(plane: VideoPlane) -> Plane:
    """With their padding."""
    samples = np.frombuffer(memoryview(plane), np.uint8)
    return samples.reshape(plane.height, plane.line_size)
