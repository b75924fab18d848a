"""A further codec, RED, RTX and simulcast are negotiated by adding them to the catalogue alone."""

from dataclasses import dataclass, field, replace

from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import (
    Colors,
    Depacketizer,
    Format,
    MediaKind,
    Parameters,
)
from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.webrtc.negotiation import RID_URI
from helpers.offers import POLICY, REAL, accept, answer

COLOR_SPACE_URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"


@dataclass(frozen=True)
class Vp9:
    kind: MediaKind = "video"
    name: str = "VP9"
    clock_rate: int = 90_000
    channels: None = None
    feedback: tuple[str, ...] = ("nack", "transport-cc")
    extensions: tuple[str, ...] = (COLOR_SPACE_URI,)
    variants: tuple[Parameters, ...] = ((("profile-id", "0"),),)
    decoder: str = "vp9"
    default_colors: Colors = field(default=Colors(matrix=6, is_full_range=False))
    bitstream_tells_colors: bool = True

    def answer_parameters(self, offered: Format) -> Parameters | None:
        profile = offered.parameter("profile-id") or "0"
        return (("profile-id", profile),) if profile == "0" else None

    def depacketizer(self, _negotiated: Format) -> Depacketizer:
        return Vp8Depacketizer()


@dataclass(frozen=True)
class Rtx:
    kind: MediaKind = "video"
    name: str = "rtx"
    feedback: tuple[str, ...] = ()

    def carried(self, offered: Format) -> tuple[int, ...]:
        apt = offered.parameter("apt")
        return (int(apt),) if apt.isdecimal() else ()


@dataclass(frozen=True)
class Red:
    kind: MediaKind = "audio"
    name: str = "red"
    feedback: tuple[str, ...] = ()

    def carried(self, offered: Format) -> tuple[int, ...]:
        return tuple(int(each) for name, _ in offered.parameters for each in name.split("/"))


WIDER = replace(
    POLICY,
    catalog=replace(CATALOG, video=(*CATALOG.video, Vp9()), carriers=(Rtx(), Red())),
)
SIMULCAST = replace(POLICY, catalog=replace(CATALOG, simulcast=True))


def test_a_codec_more_is_taken() -> None:
    """With its own feedback and header extension."""
    video = accept(REAL["chromium"], WIDER).sections[1]
    assert 98 in [each.payload_type for each in video.formats]
    assert video.extension_id(COLOR_SPACE_URI) == 8
    text = answer(REAL["chromium"], WIDER)
    assert "a=fmtp:98 profile-id=0;x-google-start-bitrate=1200\r\n" in text
    assert "a=rtcp-fb:98 nack\r\na=rtcp-fb:98 transport-cc\r\n" in text
    assert accept(REAL["chromium"]).sections[1].extension_id(COLOR_SPACE_URI) is None


def test_carriers_are_taken_with_what_they_carry() -> None:
    """RTX of AV1 (46) and of RED (117), which are not taken, is not."""
    audio, video = accept(REAL["chromium"], WIDER).sections
    assert [each.payload_type for each in audio.formats] == [111, 63]
    assert [each.payload_type for each in video.formats if each.carrier] == [97, 104, 108, 99, 40]
    text = answer(REAL["chromium"], WIDER)
    assert "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n" in text
    assert "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" in text
    without_parameters = REAL["chromium"].replace("a=fmtp:97 apt=96\n", "")
    assert "rtpmap:97" not in answer(without_parameters, WIDER)


def test_simulcast_is_taken_with_the_extensions_that_name_streams() -> None:
    video = accept(REAL["chromium_simulcast"], SIMULCAST).sections[1]
    assert video.rids == ("h", "m", "l")
    assert video.extension_id(RID_URI) == 10
    text = answer(REAL["chromium_simulcast"], SIMULCAST)
    assert "a=rid:h recv\r\na=rid:m recv\r\na=rid:l recv\r\na=simulcast:recv h;m;l\r\n" in text
    assert accept(REAL["chromium"], SIMULCAST).sections[1].extension_id(RID_URI) is None
