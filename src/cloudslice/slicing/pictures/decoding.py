"""Decodes one key frame, which comes from a stranger, into one frame or an error."""

import av
from av.codec.context import Flags as CodecFlags

from cloudslice.rooms.base import Keyframe

MAX_SIDE = 8192
MAX_PIXELS = 7680 * 4320
"""A key frame of a few bytes may claim any size: 8K video is the largest that is decoded."""


class UndecodableKeyframeError(Exception):
    """The key frame is damaged, too large, or not what it is said to be; the text says why."""


def decode(keyframe: Keyframe) -> av.VideoFrame:
    """The one frame that the key frame holds, whole.

    Raises:
        UndecodableKeyframeError
    """
    decoder = av.VideoCodecContext.create(keyframe.codec.value, "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    # Else H.264's decoder waits for frames that might come before; it still does where it must.
    decoder.flags |= CodecFlags.low_delay
    try:
        frames = decoder.decode(av.Packet(keyframe.data)) or decoder.decode(None)
    except av.error.FFmpegError as error:
        raise UndecodableKeyframeError(f"{keyframe.codec.value}: {error.strerror}") from error
    if len(frames) != 1:
        raise UndecodableKeyframeError(f"{len(frames)} frames instead of one")
    frame = frames[0]
    if frame.is_corrupt or not frame.key_frame:
        raise UndecodableKeyframeError("parts of the frame are missing or damaged")
    if max(frame.width, frame.height) > MAX_SIDE:
        raise UndecodableKeyframeError(f"{frame.width}x{frame.height} is too large")
    return frame
