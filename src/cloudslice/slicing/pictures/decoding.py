"""Decodes one key frame, which comes from a stranger, into one frame or an error."""

from fractions import Fraction

import av
from av.codec.context import Flags as CodecFlags
from av.video.reformatter import Interpolation, VideoReformatter

from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.pictures.picture import (
    MAX_PIXELS,
    MAX_SIDE,
    UndecodableKeyframeError,
)


def decode(keyframe: Keyframe) -> av.VideoFrame:
    """The one frame that the key frame holds, whole, with square pixels.

    Raises:
        UndecodableKeyframeError
    """
    decoder = av.CodecContext.create(keyframe.decoding.decoder, "r")
    if not isinstance(decoder, av.VideoCodecContext):
        raise TypeError(f"{keyframe.decoding.decoder} decodes no video")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    # Else H.264's decoder waits for frames that might come before; it still does where it must.
    decoder.flags |= CodecFlags.low_delay
    try:
        frames = decoder.decode(av.Packet(keyframe.data)) or decoder.decode(None)
    except av.error.FFmpegError as error:
        raise UndecodableKeyframeError(f"{keyframe.decoding.decoder}: {error.strerror}") from error
    has_layers = keyframe.decoding.has_layers
    if not frames or (len(frames) > 1 and not has_layers):
        raise UndecodableKeyframeError(f"{len(frames)} frames instead of one")
    frame = frames[-1]
    # An upper layer is no key frame by itself. Without the lower ones it would not have come out.
    if frame.is_corrupt or not (frame.key_frame or has_layers):
        raise UndecodableKeyframeError("parts of the frame are missing or damaged")
    size = _shown_size(frame.width, frame.height, decoder.sample_aspect_ratio)
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise UndecodableKeyframeError(f"{size[0]}x{size[1]} is too large")
    return frame if size == (frame.width, frame.height) else _scaled(frame, *size)


def _shown_size(width: int, height: int, sample_aspect: Fraction | None) -> tuple[int, int]:
    """The size with square pixels: the smaller dimension is enlarged, so that nothing that was sent
    is lost. It is even, as chroma wants it, if it is another one."""
    if not sample_aspect or sample_aspect == 1:
        return width, height
    if sample_aspect > 1:
        return round(width * sample_aspect / 2) * 2, height
    return width, round(height / sample_aspect / 2) * 2


def _scaled(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The frame in another size, in its own format and colours."""
    scaled = VideoReformatter().reformat(
        frame, width=width, height=height, interpolation=Interpolation.BICUBIC, threads=1
    )
    scaled.colorspace, scaled.color_range = frame.colorspace, frame.color_range
    return scaled
