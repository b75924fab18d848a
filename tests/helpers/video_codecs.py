"""The video codecs that tests have encoders of."""

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8

CODECS = (H264, VP8)

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
"""Does a test for each of them, as its argument `codec`."""
