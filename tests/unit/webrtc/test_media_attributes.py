"""Attributes of media sections: what is understood of each, and what is passed over."""

import pytest

from cloudslice.codecs.codec import Format
from cloudslice.webrtc.media_attributes import (
    Direction,
    HeaderExtension,
    RtpMap,
    Ssrc,
    SsrcGroup,
    parse_extmap,
    parse_fmtp,
    parse_rid,
    parse_rtcp_fb,
    parse_rtpmap,
    parse_simulcast,
    parse_ssrc,
    parse_ssrc_group,
    read_formats,
    read_sent_rids,
    read_ssrcs,
)
from cloudslice.webrtc.sdp import AttributeReader, parse_attributes

LAST_SSRC = 2**32 - 1


def reader(*lines: str) -> AttributeReader:
    return AttributeReader(parse_attributes("\n".join(f"a={line}" for line in lines)))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param("111 opus/48000/2", RtpMap(111, "opus", 48000, 2), id="audio"),
        pytest.param("96 VP8/90000", RtpMap(96, "VP8", 90000, None), id="video"),
        pytest.param("96  VP8/90000", RtpMap(96, "VP8", 90000, None), id="two blanks"),
        pytest.param("96 VP8/90000/x", RtpMap(96, "VP8", 90000, None), id="channels"),
        pytest.param("128 VP8/90000", None, id="payload type"),
        pytest.param("VP8/90000", None, id="no payload type"),
        pytest.param("96", None, id="no encoding"),
        pytest.param("96 VP8", None, id="no clock"),
        pytest.param("96 /90000", None, id="no name"),
        pytest.param("96 V P/90000", None, id="two words"),
        pytest.param("", None, id="empty"),
    ],
)
def test_rtpmap(value: str, read: RtpMap | None) -> None:
    assert parse_rtpmap(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param("96 A=1; b = x=y ;C", (96, (("a", "1"), ("b", "x=y"), ("c", ""))), id="many"),
        pytest.param("63 111/111", (63, (("111/111", ""),)), id="RED"),
        pytest.param("111", (111, ()), id="no parameters"),
        pytest.param("111 ;;", (111, ()), id="empty parameters"),
        pytest.param("111 a=\u2028;b=1", (111, (("b", "1"),)), id="unprintable"),
        pytest.param("x a=1", None, id="no payload type"),
        pytest.param("", None, id="empty"),
    ],
)
def test_fmtp(value: str, read: object) -> None:
    assert parse_fmtp(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("96 nack", (96, "nack")),
        ("96  nack   pli", (96, "nack pli")),
        ("* nack", (None, "nack")),
        ("96", None),
        ("x nack", None),
        ("96 na\x00ck", None),
        ("", None),
    ],
)
def test_rtcp_fb(value: str, read: object) -> None:
    assert parse_rtcp_fb(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param("4 uri", HeaderExtension(4, "uri"), id="plain"),
        pytest.param("4 uri short x=1", HeaderExtension(4, "uri"), id="attributes"),
        pytest.param(
            "4/sendonly uri", HeaderExtension(4, "uri", Direction.SENDONLY), id="direction"
        ),
        pytest.param("4/both uri", None, id="unknown direction"),
        pytest.param("4/ uri", None, id="empty direction"),
        pytest.param("0 uri", None, id="id 0"),
        pytest.param("4096 uri", None, id="provisional id"),
        pytest.param("5 urn:ietf:params:rtp-hdrext:encrypt uri", None, id="encrypted"),
        pytest.param("4 \x00", None, id="unprintable"),
        pytest.param("4", None, id="no URI"),
        pytest.param("", None, id="empty"),
    ],
)
def test_extmap(value: str, read: HeaderExtension | None) -> None:
    assert parse_extmap(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("1 cname:x y", (1, "cname", "x y")),
        (f"{LAST_SSRC} msid:a b", (LAST_SSRC, "msid", "a b")),
        ("1", (1, "", "")),
        (str(LAST_SSRC + 1), None),
        ("x cname:y", None),
        ("", None),
    ],
)
def test_ssrc(value: str, read: object) -> None:
    assert parse_ssrc(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("FID 1 2", SsrcGroup("FID", (1, 2))),
        ("FID 1 x", None),
        ("FID", None),
        ("", None),
    ],
)
def test_ssrc_group(value: str, read: SsrcGroup | None) -> None:
    assert parse_ssrc_group(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [("h send", ("h", "send")), ("h recv pt=96", ("h", "recv")), ("h", None), ("", None)],
)
def test_rid(value: str, read: object) -> None:
    assert parse_rid(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("send h;m;l", ("h", "m", "l")),
        ("recv x send h,i;~m", ("h", "m")),
        ("recv x", None),
        ("send", None),
        ("", None),
    ],
)
def test_simulcast(value: str, read: object) -> None:
    assert parse_simulcast(value) == read


def test_formats_come_in_the_order_of_the_media_line() -> None:
    """Those of the m= line that have a name; the first a=rtpmap and a=fmtp of each count."""
    formats = read_formats(
        reader(
            "rtpmap:96 VP8/90000",
            "rtpmap:111 opus/48000/2",
            "rtpmap:96 VP9/90000",
            "rtpmap:112 opus/48000/2",
            "fmtp:111 a=1",
            "fmtp:111 a=2",
            "fmtp:18 annexb=no",
            "rtcp-fb:96 nack pli",
            "rtcp-fb:* nack",
            "rtcp-fb:96 nack",
        ),
        ("111", "0", "96", "300", "x", "111"),
    )
    assert formats == (
        Format(111, "opus", 48000, 2, (("a", "1"),), ("nack",)),
        Format(96, "VP8", 90000, None, (), ("nack pli", "nack")),
    )
    assert formats[0].parameter("a") == "1"
    assert formats[0].parameter("b") == ""


def test_kinds_of_feedback_are_bounded() -> None:
    lines = [f"rtcp-fb:* kind{index}" for index in range(100)]
    [only] = read_formats(reader("rtpmap:96 VP8/90000", *lines), ("96",))
    assert len(only.feedback) == 32


def test_ssrcs_are_gathered_of_their_lines() -> None:
    read = read_ssrcs(
        reader("ssrc:2 cname:x", "ssrc:1", "ssrc:2 msid:a b", "ssrc:2 cname:y", "ssrc:z")
    )
    assert read == (Ssrc(2, "x", "a b"), Ssrc(1))


def test_rids_that_are_sent() -> None:
    """Those that are listed and declared, each once."""
    lines = ("rid:h send", "rid:m send", "rid:r recv")
    assert read_sent_rids(reader(*lines, "simulcast:send m;h;r;x;m")) == ("m", "h")
    assert read_sent_rids(reader(*lines)) == ()


@pytest.mark.parametrize("direction", Direction)
def test_directions_are_made_of_what_they_say(direction: Direction) -> None:
    assert Direction.of(sends=direction.sends, receives=direction.receives) is direction
