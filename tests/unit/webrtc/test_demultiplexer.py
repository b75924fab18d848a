"""SSRCs find their media section by MID, declaration or payload type; the newest one wins."""

from dataclasses import dataclass
from math import inf
from typing import cast

from cloudslice.codecs.codec import Format
from cloudslice.webrtc.demultiplexer import Demultiplexer
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc
from cloudslice.webrtc.negotiation import MID_URI, NegotiatedFormat, NegotiatedSection
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.rtp_packet import RtpPacket
from helpers.rtp import one_byte_extension

AUDIO, VIDEO, AUX = 111, 96, 96


@dataclass(eq=False)
class IdleReceiver:
    """What a demultiplexer sees of a receiver."""

    ssrc: int | None = None
    last_arrival: float = -inf


def section(mid: str, kind: str, payload_type: int, *ssrcs: int) -> NegotiatedSection:
    offered = Format(payload_type, "x", 90_000)
    return NegotiatedSection(
        index=int(mid),
        mid=mid,
        has_mid=True,
        kind=kind,
        media_line=(kind, "UDP/TLS/RTP/SAVPF", str(payload_type)),
        direction=Direction.RECVONLY,
        formats=(NegotiatedFormat(offered, None, None, (), ()),),
        extensions=(HeaderExtension(4, MID_URI),),
        ssrcs=tuple(map(Ssrc, ssrcs)),
    )


class Connection:
    """A demultiplexer of audio, camera and screen, and what each of them receives."""

    def __init__(self, *video_ssrcs: int, announced_only: bool = False) -> None:
        self.audio, self.video, self.aux = (IdleReceiver() for _ in range(3))
        self.demultiplexer = Demultiplexer(announced_only=announced_only)
        self.demultiplexer.set_places(
            [
                (section("0", "audio", AUDIO), cast(Receiver, self.audio)),
                (section("1", "video", VIDEO, *video_ssrcs[:1]), cast(Receiver, self.video)),
                (section("2", "video", AUX, *video_ssrcs[1:]), cast(Receiver, self.aux)),
            ]
        )

    def assign(
        self, ssrc: int, payload_type: int, *, mid: str | None = None, now: float = 0
    ) -> IdleReceiver | None:
        """Have a packet of an SSRC come that nobody receives; who receives that then."""
        extension = one_byte_extension((4, mid.encode()))[4:] if mid is not None else b""
        packet = RtpPacket(payload_type, False, 1, 2, b"x", now, extension, 0xBEDE)
        receiver = cast(IdleReceiver | None, self.demultiplexer.find(ssrc, packet, now))
        if receiver is not None:
            if receiver.ssrc is not None:
                self.demultiplexer.replaced(receiver.ssrc)
            receiver.ssrc = ssrc
        return receiver


def test_by_mid() -> None:
    """It tells sections of the same payload types apart."""
    connection = Connection()
    assert connection.assign(1, VIDEO, mid="2") is connection.aux
    assert connection.assign(2, VIDEO, mid="1") is connection.video
    assert connection.assign(3, AUDIO, mid="0") is connection.audio


def test_by_declaration() -> None:
    """a=ssrc of the offer, where there is no MID."""
    connection = Connection(10, 20)
    assert connection.assign(20, VIDEO) is connection.aux
    assert connection.assign(10, VIDEO) is connection.video


def test_a_mid_counts_more_than_a_declaration() -> None:
    connection = Connection(10, 20)
    assert connection.assign(10, VIDEO, mid="2") is connection.aux


def test_only_what_is_announced_where_sections_are_used_again() -> None:
    """A MID may be that of who had the section before, and a payload type says nothing."""
    connection = Connection(10, 20, announced_only=True)
    assert connection.assign(30, VIDEO, mid="1") is None
    assert connection.assign(30, VIDEO) is None
    assert connection.assign(40, AUDIO) is None
    assert connection.assign(20, VIDEO, mid="1") is connection.aux
    assert connection.assign(10, VIDEO) is connection.video


def test_by_payload_type() -> None:
    """Where nothing else is known; the second of one type is for the second section."""
    connection = Connection()
    assert connection.assign(1, AUDIO) is connection.audio
    assert connection.assign(2, VIDEO) is connection.video
    assert connection.assign(3, VIDEO) is connection.aux


def test_packets_of_no_section_are_nobodys() -> None:
    """RTX and FEC that we did not agree on, even with a MID, and unknown MIDs."""
    connection = Connection(10, 20)
    assert connection.assign(1, 97) is None
    assert connection.assign(2, 97, mid="1") is None
    assert connection.assign(10, 97) is None
    assert connection.assign(3, VIDEO, mid="9") is None


def test_a_new_ssrc_takes_over_at_once() -> None:
    """Nothing of it is lost; the old one's packets are nobody's then."""
    connection = Connection()
    assert connection.assign(1, AUDIO) is connection.audio
    assert connection.assign(2, AUDIO) is connection.audio


def test_ssrcs_side_by_side_do_not_take_turns() -> None:
    """The last one to come first stays, while it is heard."""
    connection = Connection()
    connection.assign(1, AUDIO)
    connection.assign(2, AUDIO)
    connection.audio.last_arrival = 5.0
    assert connection.assign(1, AUDIO, now=5.5) is None
    assert connection.assign(1, AUDIO, now=6.5) is connection.audio


def test_one_that_said_goodbye_may_come_back() -> None:
    connection = Connection()
    connection.assign(1, AUDIO)
    connection.audio.ssrc = None
    assert connection.assign(1, AUDIO) is connection.audio


def test_made_up_ssrcs_are_forgotten() -> None:
    connection = Connection()
    for ssrc in range(100, 1100):
        connection.assign(ssrc, AUDIO)
    assert len(connection.demultiplexer._replaced) <= 32


def test_sections_that_are_gone_get_nothing() -> None:
    connection = Connection()
    connection.demultiplexer.set_places([])
    assert connection.assign(1, AUDIO, mid="0") is None
