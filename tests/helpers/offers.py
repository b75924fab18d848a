"""Offers to test negotiation with, and our side of a connection.

`REAL` are of real senders. `CASES` are small ones, each with something in it that parsers have
stumbled over. Both by the names of their files.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.candidates import IceCredentials, host_candidates
from cloudslice.webrtc.local_description import LocalParameters, write_answer
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.transport_parameters import Fingerprint

_TESTS = Path(__file__).parents[1] / "unit" / "webrtc"


def _read(folder: str) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (_TESTS / folder).glob("*.sdp")}


REAL = _read("real_offers")
CASES = _read("offers")
ALL = {**REAL, **CASES}

POLICY = ReceivePolicy({"audio": 1, "video": 2}, max_video_bitrate_kbps=2500)
"""Of a room that anchors come into by WHIP."""
LOCAL = LocalParameters(
    session_id="4611686018427387904",
    ice=IceCredentials("ours", "our-password-of-24-chars"),
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32)),
    candidates=host_candidates([("192.0.2.1", 7882), ("2001:db8::1", 7882)]),
)
FULL_ICE = replace(LOCAL, is_ice_lite=False)


def accept(
    offer: str, policy: ReceivePolicy = POLICY, former: Negotiation | None = None
) -> Negotiation:
    """What is agreed on after an offer."""
    return accept_offer(parse_remote_description(offer), policy, former)


def answer(offer: str, policy: ReceivePolicy = POLICY) -> str:
    """The answer to a first offer."""
    return write_answer(accept(offer, policy), LOCAL, 1)


def without(line: str) -> Callable[[str], str]:
    """Takes the lines away that begin so."""
    return lambda text: "".join(
        each for each in text.splitlines(keepends=True) if not each.startswith(line)
    )


def changed(old: str, new: str) -> Callable[[str], str]:
    """Puts `new` in place of `old`, which must be there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change
