"""FFmpeg's encoders, one for each codec, set up as a browser sets up its own."""

import os
from fractions import Fraction

import av

from cloudslice.codecs.codec import VideoCodec

_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "H264": ("libx264", {"tune": "zerolatency"}),
    "VP8": ("libvpx", {"deadline": "good"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "AV1": ("libsvtav1", {"preset": "10", "svtav1-params": "pred-struct=1:lookahead=0:lp=1"}),
    "H265": (
        "libx265",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "forced-idr": "1",
            "x265-params": "scenecut=0:log-level=none:repeat-headers=1",
        },
    ),
}
"""By SDP's name, FFmpeg's name and what makes it give each frame at once."""

NEARLY_LOSSLESS: dict[str, dict[str, str]] = {
    "H264": {"preset": "fast", "qp": "4"},
    "VP8": {"qmin": "0", "qmax": "2", "crf": "0"},
    "VP9": {"lossless": "1"},
    "AV1": {"crf": "1", "preset": "8"},
    "H265": {"x265-params": "lossless=1:log-level=none:repeat-headers=1"},
}
"""Options that make colours be those that were given."""


def open_encoder(
    codec: VideoCodec, width: int, height: int, options: dict[str, str], pix_fmt: str = "yuv420p"
) -> av.VideoCodecContext:
    """An encoder whose key frames come where they are asked for; `options` replace ours."""
    name, ours = _ENCODERS[codec.name]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pix_fmt
    encoder.time_base = Fraction(1, 30)
    encoder.thread_count = 1
    encoder.gop_size = 2**15
    encoder.options = ours | options
    return encoder


def begin(encoder: av.VideoCodecContext) -> None:
    """Have an encoder begin, with all that was set in it, and the thread's priority stay as it was.

    SVT-AV1 gives the thread of root that opens it the highest real-time priority. All that it
    starts has it then: a browser, beside which nothing else comes to run.
    """
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    encoder.open()
    os.sched_setscheduler(0, policy, parameter)
