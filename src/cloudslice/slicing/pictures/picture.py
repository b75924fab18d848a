"""What comes of a key frame: a picture, or the reason why there is none."""

from dataclasses import dataclass

MAX_SIDE = 8192
MAX_PIXELS = 7680 * 4320
"""A key frame of a few bytes may claim any size: 8K video is the largest that is decoded."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file, and its size as shown."""

    data: bytes
    width: int
    height: int


class PictureError(Exception):
    """There is no picture; the text says why."""


class UndecodableKeyframeError(PictureError):
    """The key frame is damaged, too large, or not what it is said to be."""


class PictureLostError(PictureError):
    """There was no process to make it."""


class DeadlyKeyframeError(PictureLostError):
    """The process that was to make it died of it, or took too long."""
