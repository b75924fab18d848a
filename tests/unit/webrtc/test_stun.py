"""STUN messages are read and written as RFC 8489 and another implementation have them."""

import contextlib
import zlib

import pytest
from aioice import stun as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.webrtc import stun
from cloudslice.webrtc.stun import StunError, StunKind
from cloudslice.webrtc.udp.paths import make_path

ID, KEY = b"transaction!", b"password of the receiver"

# RFC 5769, 2.1 to 2.3.
RFC5769_KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
RFC5769_ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
RFC5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
RFC5769_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RFC5769_RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)


def request(**changes: object) -> bytes:
    values: dict[str, object] = {
        "username": b"ours:theirs",
        "key": KEY,
        "priority": 0x6E0001FF,
        "is_controlling": True,
        "tie_breaker": 0x932FF9B151263B36,
        "is_nominating": False,
    }
    return stun.build_request(ID, **(values | changes))  # type: ignore[arg-type]


def foreign(*attributes: tuple[int, bytes], kind: int = 1, tail: bytes = b"") -> bytes:
    """A message of any attributes."""
    body = b"".join(
        number.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    body += tail
    return kind.to_bytes(2) + len(body).to_bytes(2) + b"\x21\x12\xa4\x42" + ID + body


def test_the_request_of_rfc_5769() -> None:
    message = stun.parse(RFC5769_REQUEST)
    assert message.kind is StunKind.REQUEST
    assert message.transaction_id == RFC5769_ID
    assert message.username == b"evtj:h6vY"
    assert message.addressed_ufrag == "evtj"
    assert message.priority == 0x6E0001FF
    assert message.is_controlling is False
    assert message.tie_breaker == 0x932FF9B151263B36
    assert not message.is_nominating
    assert message.is_signed_with(RFC5769_KEY)
    assert not message.is_signed_with(RFC5769_KEY + b"x")


@pytest.mark.parametrize("datagram", [RFC5769_RESPONSE, RFC5769_RESPONSE_IPV6])
def test_the_responses_of_rfc_5769(datagram: bytes) -> None:
    message = stun.parse(datagram)
    assert message.kind is StunKind.RESPONSE
    assert message.is_signed_with(RFC5769_KEY)


@pytest.mark.parametrize("is_nominating", [False, True])
@pytest.mark.parametrize("is_controlling", [False, True])
def test_a_request_is_what_the_peer_would_write(is_controlling: bool, is_nominating: bool) -> None:
    """Byte for byte; and read as it was written."""
    written = request(is_controlling=is_controlling, is_nominating=is_nominating)
    attributes: dict[str, object] = {"USERNAME": "ours:theirs", "PRIORITY": 0x6E0001FF}
    role = "ICE-CONTROLLING" if is_controlling else "ICE-CONTROLLED"
    attributes[role] = 0x932FF9B151263B36
    if is_nominating:
        attributes["USE-CANDIDATE"] = None
    expected = peer.Message(peer.Method.BINDING, peer.Class.REQUEST, ID, attributes)
    expected.add_message_integrity(KEY)
    assert written == bytes(expected)
    message = stun.parse(written)
    assert message.username == b"ours:theirs"
    assert message.priority == 0x6E0001FF
    assert message.is_controlling is is_controlling
    assert message.is_nominating is is_nominating
    assert message.tie_breaker == 0x932FF9B151263B36
    assert message.is_signed_with(KEY)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_a_response_is_what_the_peer_would_write(host: str) -> None:
    written = stun.build_response(ID, make_path(host, 50123), KEY)
    expected = peer.Message(
        peer.Method.BINDING, peer.Class.RESPONSE, ID, {"XOR-MAPPED-ADDRESS": (host, 50123)}
    )
    expected.add_message_integrity(KEY)
    assert written == bytes(expected)


def test_an_error_is_what_the_peer_would_write() -> None:
    written = stun.build_error(ID, 487, "Role Conflict", KEY)
    expected = peer.Message(
        peer.Method.BINDING, peer.Class.ERROR, ID, {"ERROR-CODE": (487, "Role Conflict")}
    )
    expected.add_message_integrity(KEY)
    assert written == bytes(expected)
    message = stun.parse(written)
    assert message.error_code == stun.ROLE_CONFLICT
    assert message.is_signed_with(KEY)


def test_what_follows_the_signature_does_not_count() -> None:
    """RFC 8489, 14.5: anybody could have put it there."""
    signed = request()[:-8] + b"\0\x25\0\0"
    datagram = signed[:2] + (len(signed) - 20).to_bytes(2) + signed[4:]
    message = stun.parse(datagram)
    assert message.is_signed_with(KEY)
    assert not message.is_nominating


def test_a_message_without_a_signature_is_signed_by_nobody() -> None:
    message = stun.parse(foreign((6, b"ours:theirs")))
    assert message.username == b"ours:theirs"
    assert not message.is_signed_with(b"")


def test_what_is_not_known_is_passed_over() -> None:
    """Chromium's network cost, Pion's and libwebrtc's nomination, and what will be."""
    message = stun.parse(foreign((0xC057, b"\0\1\0\2"), (0x7777, b"odd"), (6, b"a:b")))
    assert message.username == b"a:b"
    assert message.is_controlling is None
    assert message.priority is None


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        pytest.param(b"\0\1", "too short", id="short"),
        pytest.param(foreign(kind=0x0011), "not a STUN binding", id="indication"),
        pytest.param(foreign(kind=0x0003), "not a STUN binding", id="TURN"),
        pytest.param(foreign()[:4] + bytes(16), "not a STUN binding", id="RFC 3489"),
        pytest.param(foreign() + bytes(4), "not a STUN binding", id="longer than it says"),
        pytest.param(foreign(tail=b"\0\6"), "cut off", id="half a header"),
        pytest.param(foreign(tail=b"\0\6\0\4abc"), "cut off", id="half a value"),
        pytest.param(foreign((0x24, b"abc")), "0x0024 has 3 bytes", id="PRIORITY"),
        pytest.param(foreign((0x25, b"abc")), "0x0025 has 3 bytes", id="USE-CANDIDATE"),
        pytest.param(foreign((0x8029, b"abc")), "0x8029 has 3 bytes", id="ICE-CONTROLLED"),
        pytest.param(foreign((0x802A, b"abc")), "0x802a has 3 bytes", id="ICE-CONTROLLING"),
        pytest.param(foreign((8, bytes(16))), "0x0008 has 16 bytes", id="MESSAGE-INTEGRITY"),
        pytest.param(foreign((0x8028, b"")), "0x8028 has 0 bytes", id="FINGERPRINT"),
        pytest.param(foreign((0x8028, bytes(4))), "wrong FINGERPRINT", id="wrong FINGERPRINT"),
        pytest.param(foreign((9, b"\0\0")), "ERROR-CODE", id="ERROR-CODE"),
    ],
)
def test_what_is_malformed_is_refused(datagram: bytes, reason: str) -> None:
    with pytest.raises(StunError, match=reason):
        stun.parse(datagram)


def test_nothing_may_follow_a_fingerprint() -> None:
    """RFC 8489, 14.7; though it be right for the longer message."""
    whole = foreign((6, b"ours:theirs"), (0x8028, bytes(4)), (0x25, b""))
    value = (zlib.crc32(whole[:-12]) ^ 0x5354554E).to_bytes(4)
    with pytest.raises(StunError, match="wrong FINGERPRINT"):
        stun.parse(whole[:-8] + value + whole[-4:])


@settings(deadline=None)
@given(
    kind=st.sampled_from(StunKind) | st.integers(0, 0x3FFF),
    attributes=st.lists(
        st.tuples(
            st.sampled_from(sorted(peer.ATTRIBUTES_BY_TYPE)) | st.integers(0, 0xFFFF),
            st.binary(max_size=24),
        ),
        max_size=5,
    ),
    tail=st.binary(max_size=8),
)
def test_garbage_is_read_or_refused(
    kind: int, attributes: list[tuple[int, bytes]], tail: bytes
) -> None:
    """Nothing but StunError comes out, of any attributes."""
    with contextlib.suppress(StunError):
        message = stun.parse(foreign(*attributes, kind=kind, tail=tail))
        assert not message.is_signed_with(KEY)
        assert message.addressed_ufrag is not None


@given(
    username=st.binary(max_size=600),
    priority=st.integers(0, 2**32 - 1),
    tie_breaker=st.integers(0, 2**64 - 1),
    is_controlling=st.booleans(),
    is_nominating=st.booleans(),
    key=st.binary(max_size=80),
)
def test_requests_come_out_as_they_went_in(
    username: bytes,
    priority: int,
    tie_breaker: int,
    is_controlling: bool,
    is_nominating: bool,
    key: bytes,
) -> None:
    message = stun.parse(
        request(
            username=username,
            priority=priority,
            tie_breaker=tie_breaker,
            is_controlling=is_controlling,
            is_nominating=is_nominating,
            key=key,
        )
    )
    assert message.is_signed_with(key)
    assert message.username == username
    assert message.priority == priority
    assert message.tie_breaker == tie_breaker
    assert message.is_controlling is is_controlling
    assert message.is_nominating is is_nominating
