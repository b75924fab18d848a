"""Connectivity checks are answered as RFC 8445 has it of a lite agent, or refused."""

import contextlib

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.rtp.ice import (
    Address,
    IceCredentials,
    StunError,
    answer_check,
    parse_check,
)

LOCAL, SOURCE = IceCredentials("ours", "our-password"), ("192.0.2.7", 5000)


def request(
    *,
    username: str | None = "ours:theirs",
    key: str | None = "our-password",
    method: stun.Method = stun.Method.BINDING,
    kind: stun.Class = stun.Class.REQUEST,
    **attributes: object,
) -> bytes:
    """A STUN message as it comes from the network: a check, if nothing else is said."""
    values = {name.replace("_", "-"): value for name, value in attributes.items()}
    if username is not None:
        values["USERNAME"] = username
    message = stun.Message(message_method=method, message_class=kind, attributes=values)
    if key is not None:
        message.add_message_integrity(key.encode())
    return bytes(message)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(SOURCE, id="IPv4"),
        pytest.param(("2001:db8::7", 5000, 0, 0), id="IPv6"),
        pytest.param(("fe80::7%eth0", 5000, 0, 2), id="IPv6 link-local"),
    ],
)
def test_a_check_is_answered_with_its_source(source: Address) -> None:
    """XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY by our password, FINGERPRINT."""
    check = parse_check(request(ICE_CONTROLLING=1, PRIORITY=2))
    assert check.addressed_ufrag == "ours"
    answer = answer_check(check, LOCAL, "theirs", source)
    assert answer.is_valid
    assert not answer.is_nominated
    response = stun.parse_message(answer.response)
    assert response.message_class is stun.Class.RESPONSE
    assert response.transaction_id == check.transaction_id
    assert response.check_message_integrity(b"our-password")
    assert "FINGERPRINT" in response.attributes
    assert response.attributes["XOR-MAPPED-ADDRESS"] == (source[0].partition("%")[0], source[1])


def test_use_candidate_nominates() -> None:
    """RFC 8445, 8.2: the controlling peer's choice."""
    answer = answer_check(parse_check(request(USE_CANDIDATE=None)), LOCAL, "theirs", SOURCE)
    assert answer.is_nominated


def test_what_follows_the_signature_does_not_count() -> None:
    """RFC 8489, 14.5: anybody could have put it there."""
    signed = request()[:-8]  # without FINGERPRINT
    extended = signed + (0x25).to_bytes(2) + bytes(2)
    datagram = extended[:2] + (len(extended) - 20).to_bytes(2) + extended[4:]
    answer = answer_check(parse_check(datagram), LOCAL, "theirs", SOURCE)
    assert answer.is_valid
    assert not answer.is_nominated


def test_a_controlled_peer_is_told_to_switch() -> None:
    """RFC 8445, 7.3.1.1: 487, as a lite agent cannot control."""
    check = parse_check(request(ICE_CONTROLLED=1, USE_CANDIDATE=None))
    answer = answer_check(check, LOCAL, "theirs", SOURCE)
    assert not answer.is_valid
    assert not answer.is_nominated
    response = stun.parse_message(answer.response)
    assert response.message_class is stun.Class.ERROR
    assert response.attributes["ERROR-CODE"][0] == 487
    assert response.check_message_integrity(b"our-password")


@pytest.mark.parametrize(
    ("username", "key"),
    [
        pytest.param("ours:theirs", "other", id="wrong password"),
        pytest.param("ours:theirs", None, id="unsigned"),
        pytest.param("ours:others", "our-password", id="another peer"),
        pytest.param("ours:", "our-password", id="no peer"),
    ],
)
def test_checks_that_are_not_the_peers_are_refused(username: str, key: str | None) -> None:
    """Without an answer."""
    with pytest.raises(StunError):
        answer_check(parse_check(request(username=username, key=key)), LOCAL, "theirs", SOURCE)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(request(username=None), id="no USERNAME"),
        pytest.param(request(username="ours"), id="USERNAME without colon"),
        pytest.param(request(kind=stun.Class.RESPONSE), id="response"),
        pytest.param(request(kind=stun.Class.INDICATION), id="indication"),
        pytest.param(request(method=stun.Method.ALLOCATE), id="TURN"),
    ],
)
def test_other_messages_are_for_nobody(message: bytes) -> None:
    """Only a binding request names a session."""
    with pytest.raises(StunError):
        parse_check(message)


def test_a_wrong_fingerprint_is_refused() -> None:
    """RFC 8489, 14.7."""
    message = bytearray(
        bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"FINGERPRINT": 1}))
    )
    with pytest.raises(StunError):
        parse_check(bytes(message))


def test_generated_credentials_are_long_enough() -> None:
    """RFC 8445, 5.3; and secret when printed."""
    first, second = IceCredentials.generate(), IceCredentials.generate()
    assert first != second
    assert len(first.ufrag) >= 4
    assert len(first.password) >= 22
    assert first.password not in repr(first)


@given(
    kind=st.integers(0, 0x3FFF),
    attributes=st.lists(
        st.tuples(
            st.sampled_from(sorted(stun.ATTRIBUTES_BY_TYPE)) | st.integers(0, 0xFFFF),
            st.binary(max_size=24),
        ),
        max_size=5,
    ),
    tail=st.binary(max_size=3),
)
def test_garbage_is_read_or_refused(
    kind: int, attributes: list[tuple[int, bytes]], tail: bytes
) -> None:
    """Nothing but StunError comes out, of any attributes."""
    body = tail
    for number, value in attributes:
        padding = bytes(-len(value) % 4)
        body = number.to_bytes(2) + len(value).to_bytes(2) + value + padding + body
    datagram = kind.to_bytes(2) + len(body).to_bytes(2) + b"\x21\x12\xa4\x42" + bytes(12) + body
    with contextlib.suppress(StunError):
        answer_check(parse_check(datagram), LOCAL, "theirs", SOURCE)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(datagram: bytes) -> None:
    """With StunError and nothing else."""
    with contextlib.suppress(StunError):
        parse_check(datagram)
