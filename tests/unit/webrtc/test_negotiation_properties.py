"""Whatever became of an offer, it is answered by an answer that fits it, or refused with a reason;
and in a time that grows with its length, no faster."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.webrtc.accepting import accept_offer
from cloudslice.webrtc.ice_fragment import parse_fragment
from cloudslice.webrtc.local_description import write_answer
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.offering import accept_answer, section_to_receive
from cloudslice.webrtc.remote_description import RemoteDescription, parse_remote_description
from cloudslice.webrtc.sdp import SdpError
from helpers.offers import ALL, LOCAL, POLICY

NAMES = sorted(ALL)
ROOM = replace(POLICY, max_sections={"audio": 25, "video": 50}, needs_media=False)


@st.composite
def damaged_offers(draw: st.DrawFn) -> str:
    """An offer, some of whose lines are cut, filled, doubled, moved, or those of other offers."""
    lines = ALL[draw(st.sampled_from(NAMES))].splitlines()
    foreign = ALL[draw(st.sampled_from(NAMES))].splitlines()
    for _ in range(draw(st.integers(1, 5))):
        index = draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        cut = draw(st.integers(0, len(line)))
        lines[index] = draw(
            st.sampled_from(
                [
                    "",
                    line[:cut],
                    line[cut:],
                    line[:cut] + "\x00" + line[cut:],
                    line[:cut] + "99999999999999999999" + line[cut:],
                    line[:cut] + " -1 " + line[cut:],
                    line[:cut] + "é\u2028" + line[cut:],
                    line.replace(":", " "),
                    line.replace(" ", ""),
                    line + "\n" + line,
                    line.replace("9 UDP", "0 UDP"),
                    line.upper(),
                    draw(st.sampled_from(foreign)),
                    draw(st.sampled_from(lines)),
                    draw(st.text(max_size=20)),
                ]
            )
        )
    return "\n".join(lines)


def fits(text: str, offer: RemoteDescription, negotiation: Negotiation) -> None:
    """The answer is read as what was negotiated, section by section."""
    answer = parse_remote_description(text)
    for ours, theirs, section in zip(
        answer.sections, offer.sections, negotiation.sections, strict=True
    ):
        assert (ours.media.kind, ours.media.protocol) == (theirs.media.kind, theirs.media.protocol)
        assert (ours.mid, ours.has_mid) == (theirs.mid, theirs.has_mid)
        assert set(ours.media.formats) <= set(theirs.media.formats)
        assert bool(ours.port) is section.is_taken
        assert ours.direction is section.direction
        assert [each.payload_type for each in ours.formats] == [
            each.payload_type for each in section.formats
        ]
    assert answer.bundles == ((negotiation.bundle,) if negotiation.bundle else ())
    assert (negotiation.transport is None) is (not negotiation.taken)
    assert answer.passed_over == ()
    assert all(not section.passed_over for section in answer.sections)


@settings(max_examples=400, deadline=None)
@given(st.lists(damaged_offers(), min_size=1, max_size=3))
def test_damaged_offers_are_answered_or_refused(texts: list[str]) -> None:
    """First ones and later ones; nothing but SdpError comes out."""
    former: Negotiation | None = None
    for text in texts:
        try:
            offer = parse_remote_description(text)
            former = accept_offer(offer, ROOM, former)
        except SdpError:
            continue
        fits(write_answer(former, LOCAL, 1), offer, former)


@settings(max_examples=200, deadline=None)
@given(damaged_offers(), st.lists(st.sampled_from(["audio", "video"]), min_size=1, max_size=3))
def test_damaged_answers_are_understood_or_refused(text: str, kinds: list[str]) -> None:
    offered = [
        section_to_receive(str(index), "audio" if kind == "audio" else "video")
        for index, kind in enumerate(kinds)
    ]
    try:
        agreed = accept_answer(offered, parse_remote_description(text))
    except SdpError:
        return
    assert {each.payload_type for section in agreed.sections for each in section.formats} <= {
        each.payload_type for section in offered for each in section.formats
    }


@given(st.text() | st.text().map(lambda text: f"v=0\nm=audio 9 RTP/AVP 0\n{text}"))
def test_random_text_is_refused(text: str) -> None:
    """With SdpError and nothing else; a fragment may be anything."""
    with pytest.raises(SdpError):
        accept_offer(parse_remote_description(text), POLICY)
    parse_fragment(text)


def _count_steps(text: str) -> int:
    """Lines of Python that answering an offer takes."""
    steps = 0

    def trace(_frame: object, event: str, _argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        write_answer(accept_offer(parse_remote_description(text), ROOM), LOCAL, 1)
    except SdpError:
        pass
    finally:
        sys.settrace(before)
    return steps


HEAD = "v=0\na=group:BUNDLE 0\n"
SECTION = ALL["mid-nobundle-1"][ALL["mid-nobundle-1"].index("m=") :]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: HEAD + SECTION + "a=ssrc:1 cname:x\n" * n, id="one SSRC"),
        pytest.param(
            lambda n: HEAD + SECTION + "".join(f"a=ssrc:{i}\n" for i in range(n)), id="SSRCs"
        ),
        pytest.param(
            lambda n: HEAD + SECTION + "".join(f"a=extmap:{i % 255 + 1} x{i}\n" for i in range(n)),
            id="extensions",
        ),
        pytest.param(
            lambda n: (
                HEAD
                + "".join(f"a=extmap:{i % 255 + 1} x\na=candidate:x\n" for i in range(n // 2))
                + "".join(SECTION.replace("mid:0", f"mid:{i}") for i in range(n // 40))
            ),
            id="session and sections",
        ),
        pytest.param(
            lambda n: HEAD + SECTION + "".join(f"a=rtcp-fb:* x{i}\n" for i in range(n)),
            id="feedback",
        ),
        pytest.param(lambda n: HEAD + "a=group:BUNDLE 0 1\n" * n + SECTION, id="groups"),
        pytest.param(
            lambda n: (
                HEAD
                + "a=extmap:1 x\n" * n
                + SECTION
                + "".join(f"m=audio 9 RTP/AVP 0\na=mid:{i + 1}\n" for i in range(n // 5))
            ),
            id="short sections",
        ),
        pytest.param(
            lambda n: f"v=0\na=group:BUNDLE {' '.join(map(str, range(n)))}\n" + SECTION,
            id="a group of many",
        ),
        pytest.param(
            lambda n: (
                "v=0\na=group:BUNDLE "
                + " ".join(map(str, range(n // 40)))
                + "\n"
                + "".join(SECTION.replace("mid:0", f"mid:{i}") for i in range(n // 40))
            ),
            id="sections",
        ),
        pytest.param(
            lambda n: HEAD + SECTION.replace("SAVPF 111", "SAVPF 111 " + "5 x " * n),
            id="formats",
        ),
        pytest.param(
            lambda n: (
                HEAD
                + SECTION
                + "".join(f"a=rid:{i} send\n" for i in range(n))
                + "a=simulcast:send "
                + ";".join(map(str, range(n)))
                + "\n"
            ),
            id="simulcast",
        ),
        pytest.param(lambda n: HEAD + SECTION + "a=fmtp:111 " + "a=1;" * n + "\n", id="fmtp"),
        pytest.param(lambda n: HEAD + SECTION + "a=candidate:1 1\n" * n, id="candidates"),
    ],
)
def test_steps_grow_with_the_length(make: Callable[[int], str]) -> None:
    """Four times as long, four times as many steps, and some for a beginning."""
    small, large = _count_steps(make(1000)), _count_steps(make(4000))
    assert large <= 4.4 * small
