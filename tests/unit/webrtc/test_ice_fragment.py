"""Fragments of trickle ICE and restarts (RFC 8840) as WHIP clients send them, and ours."""

import pytest

from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.ice_fragment import IceFragment, parse_fragment, write_fragment
from cloudslice.webrtc.sdp import MAX_CHARACTERS, SdpError
from helpers.offers import CASES, LOCAL, accept

HOST = Candidate("1", 1, "udp", 2130706431, "192.0.2.7", 50000, "host")
THEIRS = IceCredentials("abcd", "0123456789012345678901")
TRICKLED = """a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
m=audio 9 UDP/TLS/RTP/SAVPF 0
a=mid:0
a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host ufrag abcd
a=candidate:
"""


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        pytest.param(TRICKLED, IceFragment(THEIRS, (HOST,), False), id="trickle"),
        pytest.param(
            TRICKLED + "a=end-of-candidates\r\n", IceFragment(THEIRS, (HOST,), True), id="end"
        ),
        pytest.param(
            TRICKLED.partition("m=audio")[0], IceFragment(THEIRS, (), False), id="credentials"
        ),
        pytest.param("a=ice-ufrag:abcd\n", IceFragment(None, (), False), id="half credentials"),
        pytest.param("", IceFragment(None, (), False), id="empty"),
        pytest.param("{}", IceFragment(None, (), False), id="something else"),
    ],
)
def test_fragments_are_read(text: str, fragment: IceFragment) -> None:
    assert parse_fragment(text) == fragment


def test_a_fragment_has_a_bound() -> None:
    with pytest.raises(SdpError):
        parse_fragment("x" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("name", "mid"), [("mid-nobundle-1", "a=mid:0\r\n"), ("no-mid-1-nobundle", "")]
)
def test_our_fragment(name: str, mid: str) -> None:
    section = accept(CASES[name]).sections[0]
    text = write_fragment(section, LOCAL.ice, LOCAL.candidates, is_ice_lite=True)
    assert text.startswith("a=ice-lite\r\na=ice-ufrag:ours\r\n")
    assert f"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{mid}a=candidate" in text
    assert parse_fragment(text) == IceFragment(LOCAL.ice, LOCAL.candidates, True)


def test_the_fragment_of_a_full_agent_without_candidates() -> None:
    section = accept(CASES["mid-nobundle-1"]).sections[0]
    text = write_fragment(section, LOCAL.ice, (), is_ice_lite=False)
    assert "ice-lite" not in text
    assert parse_fragment(text) == IceFragment(LOCAL.ice, (), True)
