"""The codecs that we take."""

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.codec import Catalog
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.h265 import H265
from cloudslice.codecs.opus import OPUS
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9

CATALOG = Catalog(audio=(OPUS,), video=(VP8, H264, VP9, AV1, H265))
