"""A further codec is negotiated and pictured by adding it to the catalogue alone; RED, RTX and
simulcast are negotiated so."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg

from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import (
    Depacketizer,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.ids import TrackKind
from cloudslice.media.tracks import Colors, Decoding, Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.picture import Picture, PictureError
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.webrtc.negotiation import RID_URI
from helpers.keyframes import color_bars, decode_picture
from helpers.meeting import meeting
from helpers.offers import POLICY, REAL, accept, answer
from helpers.peer import Peer

VIDEO_TIMING_URI = "http://www.webrtc.org/experiments/rtp-hdrext/video-timing"
OTHER_DECODING = Decoding("mpeg4", Colors(6, False), bitstream_tells_colors=True)
OFFER = REAL["chromium"].replace("VP9/90000", "X-OTHER/90000")
JPEG_DECODING = Decoding("mjpeg", Colors(6, True), bitstream_tells_colors=True)


@dataclass(frozen=True)
class Other:
    """One that Chromium is made to offer."""

    kind: MediaKind = "video"
    name: str = "X-OTHER"
    clock_rate: int = 90_000
    channels: None = None
    feedback: tuple[str, ...] = ("nack", "transport-cc")
    extensions: tuple[str, ...] = (VIDEO_TIMING_URI,)
    variants: tuple[Parameters, ...] = ((("profile-id", "0"),),)
    decoding: Decoding = OTHER_DECODING
    sample: bytes = b""

    def answer_parameters(self, offered: Format) -> Parameters | None:
        profile = offered.parameter("profile-id") or "0"
        return (("profile-id", profile),) if profile == "0" else None

    def depacketizer(self, _negotiated: Format) -> Depacketizer:
        return Vp8Depacketizer()


class JpegDepacketizer:
    """Each frame is one packet, and a key frame."""

    is_ready = True

    def take(self, _payload: bytes, _sequence: int) -> PayloadKind:
        return PayloadKind(opens=True, has_picture=True, begins_keyframe=True)

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        return b"".join(payloads)

    def split(self, frame: bytes) -> list[bytes]:
        return [frame]

    def assemble(
        self, payloads: Sequence[bytes], _first: int, *, is_first_known: bool
    ) -> bytes | None:
        return self.join(payloads)


@dataclass(frozen=True)
class Jpeg:
    """A codec that nobody has: a JPEG file in each packet."""

    kind: MediaKind = "video"
    name: str = "X-MADE-UP"
    clock_rate: int = 90_000
    channels: None = None
    feedback: tuple[str, ...] = ("nack pli",)
    extensions: tuple[str, ...] = ()
    variants: tuple[Parameters, ...] = ((),)
    decoding: Decoding = JPEG_DECODING
    sample: bytes = b""

    def answer_parameters(self, _offered: Format) -> Parameters | None:
        return ()

    def depacketizer(self, _negotiated: Format) -> JpegDepacketizer:
        return JpegDepacketizer()


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
    catalog=replace(CATALOG, video=(*CATALOG.video, Other()), carriers=(Rtx(), Red())),
)
SIMULCAST = replace(POLICY, catalog=replace(CATALOG, simulcast=True))


def test_a_codec_more_is_taken() -> None:
    """With its own feedback and header extension."""
    video = accept(OFFER, WIDER).sections[1]
    assert 98 in [each.payload_type for each in video.formats]
    assert video.extension_id(VIDEO_TIMING_URI) == 7
    text = answer(OFFER, WIDER)
    assert "a=fmtp:98 profile-id=0;x-google-start-bitrate=1200\r\n" in text
    assert "a=rtcp-fb:98 nack\r\na=rtcp-fb:98 transport-cc\r\n" in text
    assert accept(OFFER).sections[1].extension_id(VIDEO_TIMING_URI) is None


async def test_a_codec_more_is_pictured() -> None:
    """From the offer to a picture that a process of its own has made."""
    sent = simplejpeg.encode_jpeg(color_bars(96, 16))
    catalog = replace(CATALOG, video=(*CATALOG.video, Jpeg()))
    taken: list[Keyframe] = []
    with meeting(Peer(video=Jpeg()), catalog) as made:
        made.connect()
        made.video.request_keyframe(taken.append, 0)
        for number in range(3):
            packet = made.peer.rtp(TrackKind.VIDEO, number, 3000 * number, sent, marker=True)
            made.deliver(packet)
    done: asyncio.Future[Picture | PictureError] = asyncio.get_running_loop().create_future()
    with PicturePool(1) as pool:
        assert pool.encode(taken[0], ImageFormat.PNG, done.set_result)
        picture = await done
    assert isinstance(picture, Picture)
    error = decode_picture(picture.data).astype(int) - decode_picture(sent)
    assert np.abs(error).max() <= 3


def test_carriers_are_taken_with_what_they_carry() -> None:
    """RTX of RED (117), which is not taken, is not."""
    audio, video = accept(REAL["chromium"], WIDER).sections
    assert [each.payload_type for each in audio.formats] == [111, 63]
    carriers = [each.payload_type for each in video.formats if each.carrier]
    assert carriers == [97, 104, 108, 46, 99, 40]
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
