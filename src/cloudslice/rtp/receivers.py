"""The receiver that a media section of an offer needs."""

from collections.abc import Callable

from cloudslice.clock import Clock
from cloudslice.codecs.h264 import H264Depacketizer
from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.keyframes import Depacketizer
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.sdp import ORIENTATION_URI, MediaPlan
from cloudslice.rtp.video import VideoReceiver


def make_receiver(plan: MediaPlan, clock: Clock, wake: Callable[[float], None]) -> Receiver:
    """An AudioReceiver or a VideoReceiver of the codecs and extensions of `plan`.

    Args:
        plan: of the media section.
        clock: of arrival times.
        wake: called with the monotonic second by which `feedback` is to be called.
    """
    can_nack = any(("nack", None) in codec.feedback for codec in plan.codecs)
    if plan.kind is TrackKind.AUDIO:
        payload_types = frozenset(codec.payload_type for codec in plan.codecs)
        return AudioReceiver(payload_types, can_nack=can_nack, monotonic=clock.monotonic)
    codecs: dict[int, tuple[VideoCodec, Depacketizer]] = {
        codec.payload_type: (
            codec.video,
            H264Depacketizer(codec.parameter("sprop-parameter-sets"))
            if codec.video is VideoCodec.H264
            else Vp8Depacketizer(),
        )
        for codec in plan.codecs
        if codec.video is not None
    }
    return VideoReceiver(
        codecs,
        can_nack=can_nack,
        orientation_id=plan.extension_id(ORIENTATION_URI),
        monotonic=clock.monotonic,
        wake=wake,
    )
