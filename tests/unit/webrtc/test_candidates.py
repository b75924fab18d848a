"""Candidates: ours, and which of the peer's can be sent to."""

import pytest

from cloudslice.webrtc.candidates import (
    PEER_REFLEXIVE_PRIORITY,
    Candidate,
    IceCredentials,
    candidate_path,
    candidate_priority,
    host_candidates,
)
from cloudslice.webrtc.udp.paths import make_path


def candidate(**changes: object) -> Candidate:
    values: dict[str, object] = {
        "foundation": "1",
        "component": 1,
        "transport": "udp",
        "priority": 1,
        "host": "192.0.2.1",
        "port": 5000,
        "kind": "host",
    }
    return Candidate(**(values | changes))  # type: ignore[arg-type]


def test_generated_credentials_are_long_enough() -> None:
    """RFC 8445, 5.3; and secret when printed."""
    first, second = IceCredentials.generate(), IceCredentials.generate()
    assert first != second
    assert len(first.ufrag) >= 4
    assert len(first.password) >= 22
    assert first.password not in repr(first)


def test_priorities_are_those_of_the_formula() -> None:
    """RFC 8445, 5.1.2.1."""
    assert candidate_priority(126) == 2**24 * 126 + 2**8 * 65535 + 256 - 1
    assert candidate_priority(126, 1) == 2**24 * 126 + 2**8 + 255
    assert PEER_REFLEXIVE_PRIORITY == 2**24 * 110 + 2**8 * 65535 + 255


def test_our_candidates_stand_in_their_order() -> None:
    first, second = host_candidates([("192.0.2.1", 7882), ("2001:db8::1", 7882)])
    assert first == candidate(priority=first.priority, port=7882)
    assert first.priority > second.priority > PEER_REFLEXIVE_PRIORITY
    assert first.foundation != second.foundation


@pytest.mark.parametrize("kind", ["host", "srflx", "prflx", "relay"])
def test_addresses_that_can_be_sent_to(kind: str) -> None:
    assert candidate_path(candidate(kind=kind)) == make_path("192.0.2.1", 5000)
    path = candidate_path(candidate(kind=kind, host="2001:DB8::1"))
    assert path == make_path("2001:db8::1", 5000)


@pytest.mark.parametrize(
    "changes",
    [
        {"component": 2},
        {"transport": "tcp"},
        {"port": 0},
        {"kind": "other"},
        {"host": "5ba1d9c2.local"},
        {"host": "0.0.0.0"},  # noqa: S104
        {"host": "224.0.0.1"},
        {"host": "fe80::1"},
        {"host": "::ffff:192.0.2.1"},
        {"host": "::"},
    ],
    ids=str,
)
def test_candidates_that_are_passed_over(changes: dict[str, object]) -> None:
    assert candidate_path(candidate(**changes)) is None
