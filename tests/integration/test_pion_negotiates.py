"""Pion (Go) applies our answers to its offers, reads all our answers, and answers our offers."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.local_description import write_answer, write_offer
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.offering import accept_answer, section_to_receive
from cloudslice.webrtc.remote_description import parse_remote_description
from helpers.offers import ALL, FULL_ICE, LOCAL, POLICY, answer

PROGRAM = Path(__file__).parents[1] / "go-interop" / "target" / "pion"
UNUSABLE = {"session-level-recvonly", "video-unknown-first+audio-bundle-only"}
UNREADABLE = {"m-image-t38"}  # Pion knows no m=image, and so never offers one
ROOM = ReceivePolicy({"audio": 25, "video": 50}, 2500)

Pion = Callable[..., str]
"""Takes a command of tests/go-interop/main.go, gives the SDP that it leads to."""


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    if not PROGRAM.exists():
        pytest.skip("tests/go-interop is not built: `make tools` does it where Go is installed")
    with subprocess.Popen(
        [PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def pion(program: subprocess.Popen[str]) -> Pion:
    def obey(do: str, **arguments: str) -> str:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        program.stdin.flush()
        result: dict[str, Any] = json.loads(program.stdout.readline())
        assert not result["error"]
        return str(result["sdp"])

    obey("new")
    return obey


def exchange(pion: Pion, former: Negotiation | None = None, version: int = 1) -> Negotiation:
    """Have it offer and apply our answer."""
    agreed = accept_offer(parse_remote_description(pion("offer")), ROOM, former)
    pion("apply", sdp=write_answer(agreed, LOCAL, version))
    return agreed


@pytest.mark.parametrize("kinds", [["audio"], ["audio", "video"], ["video", "audio", "video"]])
def test_our_answers_are_applied(pion: Pion, kinds: list[str]) -> None:
    for kind in kinds:
        pion("add", kind=kind)
    agreed = exchange(pion)
    assert [each.kind for each in agreed.taken] == kinds
    assert all(each.direction.receives for each in agreed.taken)


def test_sections_are_added(pion: Pion) -> None:
    agreed = None
    for version, kind in enumerate(["audio", "video", "video", "audio"], start=1):
        pion("add", kind=kind)
        agreed = exchange(pion, agreed, version)
        assert len(agreed.taken) == version


def test_our_offers_are_answered(pion: Pion) -> None:
    offered = [section_to_receive("a", "audio"), section_to_receive("v", "video")]
    for section in offered:
        pion("add", kind=section.kind)
    answered = pion("answer", sdp=write_offer(offered, FULL_ICE, 1))
    agreed = accept_answer(offered, parse_remote_description(answered))
    assert [each.mid for each in agreed.taken] == ["a", "v"]
    assert agreed.transport is not None
    assert agreed.transport.we_are_dtls_server


@pytest.mark.parametrize("name", sorted({*ALL} - UNUSABLE - UNREADABLE))
def test_pions_parser_reads_our_answers(pion: Pion, name: str) -> None:
    pion("parse", sdp=answer(ALL[name], POLICY))
