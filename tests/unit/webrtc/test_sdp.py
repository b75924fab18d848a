"""SDP is read as far as it is needed, in bounds, and written so that it is read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc.sdp import (
    MAX_CHARACTERS,
    MAX_LINES,
    Attribute,
    AttributeReader,
    Attributes,
    Line,
    MediaDescription,
    SdpError,
    SessionDescription,
    is_token,
    parse_attributes,
    parse_description,
    parse_number,
    write_description,
)

TEXT = """v=0
o=- 12 3 IN IP4 127.0.0.1
s=-
t=0 0
a=ice-lite
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF 111 0
c=IN IP4 0.0.0.0
b=AS:100
a=mid:0
a=rtpmap:111 opus/48000/2
m=image 0 udptl t38
"""


def test_a_description_is_read() -> None:
    read = parse_description(TEXT)
    assert read == SessionDescription(
        "12",
        3,
        Attributes([Attribute("ice-lite"), Attribute("group", "BUNDLE 0")]),
        (
            MediaDescription(
                "audio",
                9,
                "UDP/TLS/RTP/SAVPF",
                ("111", "0"),
                Attributes([Attribute("mid", "0"), Attribute("rtpmap", "111 opus/48000/2")]),
            ),
            MediaDescription("image", 0, "udptl", ("t38",), Attributes()),
        ),
    )
    assert read.media[0].line == Line(7, "m=audio 9 UDP/TLS/RTP/SAVPF 111 0")
    assert read.media[0].attributes[1].line.number == 11


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(TEXT.replace("\n", "\r"), id="CR"),
        pytest.param("\n\n" + TEXT.replace("\n", "\n\n"), id="empty lines"),
        pytest.param(TEXT.replace("\n", " \t\n "), id="blanks around lines"),
        pytest.param(TEXT.replace("c=IN IP4 0.0.0.0", "c=?\nk=\nz\n=\n\x00"), id="broken lines"),
        pytest.param(TEXT.replace("audio 9 UDP", "audio  9/2  UDP"), id="blanks and ports in m="),
        pytest.param(TEXT.replace("a=mid:0", "a= mid : 0"), id="blanks in an attribute"),
    ],
)
def test_the_same_is_read_of_texts_that_differ_in_what_nobody_needs(text: str) -> None:
    assert parse_description(text) == parse_description(TEXT)


@pytest.mark.parametrize(
    ("origin", "session"),
    [
        pytest.param("o=- 12 3 IN IP4 x", ("12", 3), id="whole"),
        pytest.param("o=alice 12 3", ("12", 3), id="short"),
        pytest.param("o=- x 3 IN IP4 x", ("0", 0), id="no number"),
        pytest.param("o=- 12 x IN IP4 x", ("0", 0), id="no version"),
        pytest.param("o=", ("0", 0), id="empty"),
        pytest.param("s=-", ("0", 0), id="missing"),
    ],
)
def test_an_origin_is_read_if_it_can_be(origin: str, session: tuple[str, int]) -> None:
    read = parse_description(f"v=0\n{origin}\n")
    assert (read.session_id, read.version) == session


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "does not begin with v=0", id="empty"),
        pytest.param("<html>", "does not begin with v=0", id="HTML"),
        pytest.param("v=1\n" + TEXT, "does not begin with v=0", id="another version"),
        pytest.param(TEXT + "m=audio\n", r"line 13: 'm=audio'", id="short m="),
        pytest.param(TEXT + "m=audio 9 RTP/AVP\n", r"line 13: ", id="no formats"),
        pytest.param(TEXT + "m=audio x RTP/AVP 0\n", r"line 13: ", id="no port"),
        pytest.param(TEXT + "m=audio 65536 RTP/AVP 0\n", r"line 13: ", id="large port"),
        pytest.param(TEXT + "m=au\x00 9 RTP/AVP 0\n", r"line 13: ", id="unprintable"),
        pytest.param(TEXT + "a=x\n" * MAX_LINES, "more than 10000 lines", id="many lines"),
        pytest.param(TEXT + "a" * MAX_CHARACTERS, "more than 524288 characters", id="long"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, reason: str) -> None:
    with pytest.raises(SdpError, match=reason):
        parse_description(text)


def test_an_error_shows_a_line_in_plain_characters_and_not_too_much_of_it() -> None:
    text = str(Line(3, "m=" + "\x1b\u2028" + "x" * 1000).error("wrong"))
    assert text.startswith(r"wrong (line 3: 'm=\x1b\u2028xxx")
    assert text.endswith("...')")
    assert len(text) < 150
    assert text.isprintable()


def test_attributes_are_found_by_name() -> None:
    attributes = parse_attributes("a=x:1\nv=?\na=y\na=x:2\nx\n")
    assert [each.value for each in attributes.all("x")] == ["1", "2"]
    first = attributes.first("x")
    assert first is not None
    assert (first.value, first.line) == ("1", Line(1, "a=x:1"))
    assert attributes.first("z") is None
    assert attributes.has("y")
    assert not attributes.has("X")


def test_a_reader_remembers_what_it_passed_over() -> None:
    reader = AttributeReader(parse_attributes("a=n:1\na=n:x\na=n:3\na=m:y\n"))

    def parse(value: str) -> int | None:
        return parse_number(value, 5)

    assert list(reader.all("n", parse)) == [1, 3]
    assert reader.first("m", parse) is None
    assert reader.passed_over == [Line(2, "a=n:x"), Line(4, "a=m:y")]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("10", 10), ("11", None), ("010", None), ("", None), ("-1", None), ("٣", None)],
)
def test_numbers_have_limits(text: str, number: int | None) -> None:
    assert parse_number(text, 10) == number


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("0", True), ("{a}", True), ("é", True), ("", False), ("a b", False), ("a\x85", False)],
)
def test_tokens_are_one_printable_word(text: str, is_one: bool) -> None:
    assert is_token(text) is is_one


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)
attributes = st.builds(
    Attribute,
    words.filter(lambda word: ":" not in word),
    st.lists(words, max_size=3).map(" ".join),
).map(lambda each: Attribute(each.name, each.value))
media = st.builds(
    MediaDescription,
    words,
    st.integers(0, 65535),
    words,
    st.lists(words, min_size=1, max_size=4).map(tuple),
    st.lists(attributes, max_size=5).map(Attributes),
)


@given(
    st.builds(
        SessionDescription,
        st.integers(0, 2**62).map(str),
        st.integers(0, 2**31),
        st.lists(attributes, max_size=5).map(Attributes),
        st.lists(media, max_size=4).map(tuple),
    )
)
def test_what_is_written_is_read_the_same(description: SessionDescription) -> None:
    text = write_description(description)
    assert text.endswith("\r\n")
    assert parse_description(text) == description
