"""SSRCs find their media section by MID, declaration or payload type; the newest one wins."""

from cloudslice.media.tracks import TrackKind
from cloudslice.rtp import native
from cloudslice.rtp.demultiplexer import Demultiplexer
from cloudslice.rtp.native import PeerStruct
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.sdp import MID_URI, Codec, MediaPlan
from helpers.rtp import ClearSrtp, one_byte_extension, parse, rtp_packet, ssrcs_heard

AUDIO, VIDEO, AUX = 111, 96, 96


class IdleReceiver(Receiver):
    """A receiver that only remembers how often it began anew."""

    def __init__(self) -> None:
        super().__init__(native.VIDEO, 90000)
        self.restarts = 0
        self.last_arrival = 0

    def finish(self) -> None:
        pass

    def _restarted(self) -> None:
        self.restarts += 1

    def receive(self, media): ...  # type: ignore[no-untyped-def]

    def feedback(self, sender_ssrc, now):  # type: ignore[no-untyped-def]
        return []

    def patience_s(self, now):  # type: ignore[no-untyped-def]
        return None

    sink_errors = 0
    counts: dict[str, int] = {}  # noqa: RUF012


def media(kind: TrackKind, mid: str, payload_type: int, *ssrcs: int) -> MediaPlan:
    codec = Codec(payload_type, "x", 90000, None, (), (), None)
    return MediaPlan(kind, mid, (codec,), ((4, MID_URI),), ssrcs)


class Section:
    """A demultiplexer of audio, camera and screen."""

    def __init__(self, *video_ssrcs: int) -> None:
        self.srtp = ClearSrtp()
        self.peer = PeerStruct()
        self.audio, self.video, self.aux = (IdleReceiver() for _ in range(3))
        self.demultiplexer = Demultiplexer(
            self.peer,
            self.srtp.context,
            [
                (media(TrackKind.AUDIO, "0", AUDIO), self.audio),
                (media(TrackKind.VIDEO, "1", VIDEO, *video_ssrcs[:1]), self.video),
                (media(TrackKind.AUX, "2", AUX, *video_ssrcs[1:]), self.aux),
            ],
        )

    def assign(
        self, ssrc: int, payload_type: int, *, mid: str | None = None, now: float = 0
    ) -> Receiver | None:
        extension = one_byte_extension((4, mid.encode())) if mid is not None else b""
        packet = parse(rtp_packet(1, 2, payload_type=payload_type, ssrc=ssrc, extension=extension))
        assert packet is not None
        receiver = self.demultiplexer.assign(ssrc, packet, now)
        if receiver is not None:
            assert self.demultiplexer.by_ssrc[ssrc] is receiver
        assert set(ssrcs_heard(self.peer)) == self.demultiplexer.by_ssrc.keys()
        return receiver


def test_by_mid() -> None:
    """It tells sections of the same payload types apart."""
    section = Section()
    assert section.assign(1, VIDEO, mid="2") is section.aux
    assert section.assign(2, VIDEO, mid="1") is section.video
    assert section.assign(3, AUDIO, mid="0") is section.audio


def test_by_declaration() -> None:
    """a=ssrc of the offer, where there is no MID."""
    section = Section(10, 20)
    assert section.assign(20, VIDEO) is section.aux
    assert section.assign(10, VIDEO) is section.video


def test_by_payload_type() -> None:
    """Where nothing else is known; the second of one type is for the second section."""
    section = Section()
    assert section.assign(1, AUDIO) is section.audio
    assert section.assign(2, VIDEO) is section.video
    assert section.assign(3, VIDEO) is section.aux


def test_packets_of_no_section_are_nobodys() -> None:
    """RTX and FEC that we did not agree on, even with a MID, and unknown MIDs."""
    section = Section(10, 20)
    assert section.assign(1, 97) is None
    assert section.assign(2, 97, mid="1") is None
    assert section.assign(10, 97) is None
    assert section.assign(3, VIDEO, mid="9") is None
    assert section.demultiplexer.by_ssrc == {}


def test_a_new_ssrc_takes_over_at_once() -> None:
    """Nothing of it is lost; the old one's packets are nobody's then."""
    section = Section()
    assert section.assign(1, AUDIO) is section.audio
    assert section.assign(2, AUDIO) is section.audio
    assert section.audio.ssrc == 2
    assert section.audio.restarts == 2
    assert list(section.demultiplexer.by_ssrc) == [2]


def test_ssrcs_side_by_side_do_not_take_turns() -> None:
    """The last one to come first stays, while it is heard."""
    section = Section()
    section.assign(1, AUDIO)
    section.assign(2, AUDIO)
    section.audio.last_arrival = 5.0
    assert section.assign(1, AUDIO, now=5.5) is None
    assert section.assign(1, AUDIO, now=6.5) is section.audio


def test_goodbye_makes_room() -> None:
    """For any SSRC, the same one too; unknown ones are harmless."""
    section = Section()
    section.assign(1, AUDIO)
    section.demultiplexer.release(1)
    section.demultiplexer.release(77)
    assert section.demultiplexer.by_ssrc == {}
    assert ssrcs_heard(section.peer) == []
    assert section.audio.ssrc is None
    assert section.assign(1, AUDIO) is section.audio


def test_made_up_ssrcs_are_forgotten() -> None:
    """SRTP's state too, but for those in use."""
    section = Section()
    section.assign(1, VIDEO, mid="1")
    for ssrc in range(100, 1100):
        section.assign(ssrc, AUDIO)
        section.demultiplexer.note(5000 + ssrc)
    assert len(section.srtp.forgotten) > 1900
    assert 1 not in section.srtp.forgotten
    assert len(section.demultiplexer._was_replaced) <= 32
    assert section.demultiplexer.by_ssrc.keys() == {1, 1099}
