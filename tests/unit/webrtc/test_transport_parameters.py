"""ICE and DTLS parameters are read and written as RFC 8839, 8842 and 8122 have them."""

import pytest

from cloudslice.webrtc.candidates import Candidate, IceCredentials, host_candidates
from cloudslice.webrtc.sdp import AttributeReader, Line, parse_attributes
from cloudslice.webrtc.transport_parameters import (
    Fingerprint,
    TransportParameters,
    candidate_attributes,
    parse_candidate,
    read_transport,
)

SESSION = TransportParameters(
    IceCredentials("session", "p" * 22), (Fingerprint("sha-256", "00:11"),), "passive"
)
HOST = Candidate("1", 1, "udp", 2130706431, "192.0.2.7", 50000, "host")
HOST_LINE = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host"


def read(text: str, session: TransportParameters = SESSION) -> TransportParameters:
    return read_transport(AttributeReader(parse_attributes(text)), session)


def test_a_section_says_all_itself() -> None:
    parameters = read(
        "a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=setup:active\n"
        "a=fingerprint:SHA-256 ab:cd\na=fingerprint:sha-1 12:34\n"
        f"{HOST_LINE}\na=end-of-candidates\n"
    )
    assert parameters == TransportParameters(
        IceCredentials("abcd", "0123456789012345678901"),
        (Fingerprint("sha-256", "AB:CD"), Fingerprint("sha-1", "12:34")),
        "active",
        (HOST,),
        end_of_candidates=True,
    )
    assert [each.is_known for each in parameters.fingerprints] == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="says nothing"),
        pytest.param("a=ice-ufrag:abcd\n", id="no password"),
        pytest.param("a=ice-pwd:abcd\n", id="no ufrag"),
        pytest.param("a=ice-ufrag:a b\na=ice-pwd:abcd\n", id="two words"),
        pytest.param(f"a=ice-ufrag:{'a' * 257}\na=ice-pwd:abcd\n", id="long"),
        pytest.param("a=fingerprint:sha-256 xy\n", id="no hash"),
        pytest.param("a=fingerprint\n", id="empty fingerprint"),
        pytest.param("a=setup:holdconn\n", id="holdconn"),
    ],
)
def test_else_the_session_says_it(text: str) -> None:
    assert read(text) == SESSION


def test_without_a_role_it_is_ours_to_choose() -> None:
    assert read("", TransportParameters()).setup == "actpass"


@pytest.mark.parametrize(
    ("text", "candidate"),
    [
        pytest.param("1 1 udp 2130706431 192.0.2.7 50000 typ host", HOST, id="host"),
        pytest.param("1 1 UDP 2130706431 192.0.2.7 50000 TYP HOST", HOST, id="upper case"),
        pytest.param(
            "1 1 udp 2130706431 192.0.2.7 50000 typ host generation 0 ufrag abcd network-cost 999",
            HOST,
            id="extensions",
        ),
        pytest.param(
            "842163049 2 tcp 1677729535 2001:db8::7 9 typ srflx raddr 0.0.0.0 rport 0",
            Candidate("842163049", 2, "tcp", 1677729535, "2001:db8::7", 9, "srflx"),
            id="TCP",
        ),
        pytest.param(
            "1 1 udp 1 0b2c.local 5 typ host",
            Candidate("1", 1, "udp", 1, "0b2c.local", 5, "host"),
            id="name",
        ),
        pytest.param("", None, id="empty"),
        pytest.param("1 1 udp", None, id="short"),
        pytest.param("1 1 udp 1 192.0.2.7 50000 host typ", None, id="wrong order"),
        pytest.param("1 x udp 1 192.0.2.7 50000 typ host", None, id="component"),
        pytest.param("1 1 udp 4294967296 192.0.2.7 50000 typ host", None, id="priority"),
        pytest.param("1 1 udp 1 192.0.2.7 65536 typ host", None, id="port"),
        pytest.param("1 1 udp 1 192.0\x002.7 1 typ host", None, id="control character"),
    ],
)
def test_candidates(text: str, candidate: Candidate | None) -> None:
    assert parse_candidate(text) == candidate


def test_candidates_that_cannot_be_understood_are_passed_over() -> None:
    reader = AttributeReader(parse_attributes(f"a=candidate\na=candidate:1\n{HOST_LINE}\n"))
    assert read_transport(reader, SESSION).candidates == (HOST,)
    assert reader.passed_over == [Line(1, "a=candidate"), Line(2, "a=candidate:1")]


def test_a_hundred_candidates_are_enough() -> None:
    assert len(read(f"{HOST_LINE}\n" * 200).candidates) == 100


def test_our_candidates_come_in_order_of_priority() -> None:
    """RFC 8445, 5.1.2.1; what is written is read the same."""
    candidates = host_candidates([("192.0.2.1", 7882), ("2001:db8::1", 7882)])
    priorities = [each.priority for each in candidates]
    assert priorities == sorted(set(priorities), reverse=True)
    attributes = list(candidate_attributes(candidates))
    assert [parse_candidate(each.value) for each in attributes[:-1]] == list(candidates)
    assert str(attributes[-1]) == "a=end-of-candidates"
