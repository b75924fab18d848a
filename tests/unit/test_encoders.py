"""The encoders that tests make video with."""

import os

import av
import numpy as np

from helpers.encoders import begin, open_encoder
from helpers.video_codecs import CODECS


def test_no_encoder_changes_the_priority_of_who_uses_it() -> None:
    """SVT-AV1 would: to the highest of real time, for root."""
    policy = os.sched_getscheduler(0)
    picture = av.VideoFrame.from_ndarray(np.zeros((180, 320, 3), np.uint8), format="rgb24")
    for codec in CODECS:
        encoder = open_encoder(codec, 320, 180, {})
        begin(encoder)
        assert [*encoder.encode(picture.reformat(format="yuv420p")), *encoder.encode(None)]
        assert os.sched_getscheduler(0) == policy
