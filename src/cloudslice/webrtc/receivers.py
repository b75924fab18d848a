"""The receiver that a negotiated media section needs."""

from collections.abc import Callable
from functools import partial

from cloudslice.codecs.codec import (
    AUDIO_LEVEL_URI,
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Depacketizer,
    VideoCodec,
)
from cloudslice.media.tracks import Decoding
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.negotiation import NegotiatedSection
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.video_receiver import VideoReceiver


def make_receiver(section: NegotiatedSection, hooks: ReceiverHooks) -> Receiver:
    """An AudioReceiver or a VideoReceiver of the section's codecs and extensions."""
    can_nack = any("nack" in each.feedback for each in section.formats)
    if section.kind == "audio":
        opus = [each.payload_type for each in section.formats if each.codec is not None]
        level_id = section.extension_id(AUDIO_LEVEL_URI)
        return AudioReceiver(opus, can_nack=can_nack, hooks=hooks, level_id=level_id)
    return VideoReceiver(
        _depacketizers(section),
        can_nack=can_nack,
        orientation_id=section.extension_id(ORIENTATION_URI),
        color_space_id=section.extension_id(COLOR_SPACE_URI),
        hooks=hooks,
    )


def _depacketizers(
    section: NegotiatedSection,
) -> dict[int, tuple[Decoding, Callable[[], Depacketizer]]]:
    found: dict[int, tuple[Decoding, Callable[[], Depacketizer]]] = {}
    for each in section.formats:
        if each.codec is not None and each.codec.kind == "video":
            codec: VideoCodec = each.codec  # type: ignore[assignment]
            found[each.payload_type] = codec.decoding, partial(codec.depacketizer, each.offered)
    return found
