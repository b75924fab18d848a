"""The video codecs that tests have encoders of."""

import pytest

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.h265 import H265
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9

PUBLISHED = (H264, VP8)
"""Those that our publisher sends, and aiortc."""
CODECS = (*PUBLISHED, VP9, AV1, H265)

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
"""Does a test for each of them, as its argument `codec`."""
each_published_codec = pytest.mark.parametrize("codec", PUBLISHED, ids=lambda codec: codec.name)
