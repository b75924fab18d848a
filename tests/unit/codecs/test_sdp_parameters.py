"""Which payload formats of an offer each codec takes, and what it answers."""

import base64

import pytest

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import Codec, Format, Parameters
from cloudslice.codecs.h264 import H264, H264Depacketizer
from cloudslice.codecs.h265 import H265
from cloudslice.codecs.opus import OPUS
from cloudslice.codecs.vp8 import VP8, Vp8Depacketizer
from cloudslice.codecs.vp9 import VP9

H265_SETS = [
    base64.b64encode(unit.rstrip(b"\0")).decode() for unit in H265.sample.split(b"\0\0\1")[1:4]
]
OPUS_ANSWER = (("minptime", "10"), ("useinbandfec", "1"))


def offered(codec: Codec, *parameters: tuple[str, str]) -> Format:
    return Format(96, codec.name, codec.clock_rate, codec.channels, parameters)


@pytest.mark.parametrize(
    ("codec", "parameters", "answer"),
    [
        pytest.param(OPUS, (), OPUS_ANSWER, id="Opus"),
        pytest.param(OPUS, (("stereo", "1"),), OPUS_ANSWER, id="Opus that wants stereo"),
        pytest.param(
            OPUS, (("sprop-stereo", "1"),), (*OPUS_ANSWER, ("stereo", "1")), id="Opus in stereo"
        ),
        pytest.param(VP8, (("max-fr", "30"),), (), id="VP8"),
        pytest.param(VP9, (), (), id="VP9"),
        pytest.param(VP9, (("profile-id", "0"),), (("profile-id", "0"),), id="VP9 of 8 bits"),
        pytest.param(
            VP9,
            (("profile-id", "2"), ("max-fr", "30")),
            (("profile-id", "2"),),
            id="VP9 of 10 bits",
        ),
        pytest.param(VP9, (("profile-id", "4"),), None, id="VP9 of no profile"),
        pytest.param(AV1, (), (), id="AV1"),
        pytest.param(
            AV1,
            (("level-idx", "5"), ("profile", "1"), ("tier", "0")),
            (("profile", "1"), ("level-idx", "5"), ("tier", "0")),
            id="AV1 of 4:4:4",
        ),
        pytest.param(AV1, (("profile", "3"),), None, id="AV1 of no profile"),
        pytest.param(AV1, (("level-idx", "x"),), None, id="AV1 of no level"),
        pytest.param(H265, (), (), id="H.265"),
        pytest.param(
            H265,
            (
                ("level-id", "180"),
                ("profile-id", "2"),
                ("tier-flag", "0"),
                ("tx-mode", "SRST"),
                ("sprop-max-don-diff", "0"),
                ("sprop-vps", "QAEM"),
            ),
            (("level-id", "180"), ("profile-id", "2"), ("tier-flag", "0"), ("tx-mode", "SRST")),
            id="H.265 of 10 bits",
        ),
        pytest.param(H265, (("sprop-max-don-diff", "2"),), None, id="interleaved H.265"),
        pytest.param(H265, (("tx-mode", "MRST"),), None, id="H.265 of several streams"),
        pytest.param(H265, (("level-id", "x"),), None, id="H.265 of no level"),
        pytest.param(H264, (), (), id="H.264 baseline, mode 0"),
        pytest.param(
            H264,
            (
                ("packetization-mode", "1"),
                ("profile-level-id", "42E01f"),
                ("level-asymmetry-allowed", "1"),
                ("sprop-parameter-sets", "Z0I=,aM4="),
            ),
            (
                ("level-asymmetry-allowed", "1"),
                ("packetization-mode", "1"),
                ("profile-level-id", "42E01f"),
            ),
            id="H.264",
        ),
        pytest.param(
            H264, (("packetization-mode", "0"),), (("packetization-mode", "0"),), id="H.264 mode 0"
        ),
        pytest.param(H264, (("packetization-mode", "2"),), None, id="interleaved H.264"),
        pytest.param(H264, (("profile-level-id", "42e0"),), None, id="H.264 of no profile"),
    ],
)
def test_answers(codec: Codec, parameters: Parameters, answer: Parameters | None) -> None:
    assert codec.answer_parameters(offered(codec, *parameters)) == answer


@pytest.mark.parametrize("codec", [*CATALOG.audio, *CATALOG.video], ids=lambda codec: codec.name)
def test_what_we_offer_we_would_take(codec: Codec) -> None:
    assert codec.variants
    for variant in codec.variants:
        answer = codec.answer_parameters(offered(codec, *variant))
        assert answer is not None
        assert set(answer) <= set(variant)


@pytest.mark.parametrize(
    ("kind", "name", "clock_rate", "codec"),
    [
        ("audio", "OPUS", 48000, OPUS),
        ("audio", "opus", 16000, None),
        ("video", "opus", 48000, None),
        ("video", "vp8", 90000, VP8),
        ("video", "vp9", 90000, VP9),
        ("video", "av1", 90000, AV1),
        ("video", "h264", 90000, H264),
        ("video", "H265", 90000, H265),
        ("video", "H266", 90000, None),
        ("text", "red", 1000, None),
    ],
)
def test_codecs_are_found_by_name_and_clock(
    kind: str, name: str, clock_rate: int, codec: Codec | None
) -> None:
    assert CATALOG.codec(kind, Format(96, name, clock_rate)) is codec


def test_depacketizers_are_made_for_each_stream() -> None:
    """H.264's knows the parameter sets that SDP brought."""
    h264 = offered(H264, ("sprop-parameter-sets", "Z0LgH6o=,aM48gA=="))
    first, second = H264.depacketizer(h264), H264.depacketizer(h264)
    assert isinstance(first, H264Depacketizer)
    assert first is not second
    assert first.is_ready
    assert not H264.depacketizer(offered(H264)).is_ready
    sprops = zip(("sprop-vps", "sprop-sps", "sprop-pps"), H265_SETS, strict=True)
    assert H265.depacketizer(offered(H265, *sprops)).is_ready
    assert not H265.depacketizer(offered(H265, ("sprop-vps", "QAE="))).is_ready
    assert isinstance(VP8.depacketizer(offered(VP8)), Vp8Depacketizer)


def test_the_best_codec_comes_first() -> None:
    assert CATALOG.of_kind("audio") == (OPUS,)
    assert CATALOG.of_kind("video") == (VP8, H264, VP9, AV1, H265)
