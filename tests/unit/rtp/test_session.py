"""A session connects, receives, reports and ends, whatever its peer and the network do."""

from collections.abc import Callable
from math import inf

import pytest
from aiortc.rtp import RtcpPsfbPacket, RtcpRrPacket, RtcpRtpfbPacket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudslice.media.tracks import Keyframe, TrackKind, VideoCodec
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.ice import Address, IceCredentials, StunError
from cloudslice.rtp.reception import MISSING_PATIENCE_S
from cloudslice.rtp.session import (
    QUICK_BEAT_S,
    CloseReason,
    Session,
    SessionState,
)
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.meeting import CERTIFICATE, Meeting
from helpers.peer import ADDRESS, SSRCS, Peer, shuttle
from helpers.rtp import RecordingSink, ssrcs_heard

ELSEWHERE = ("203.0.113.9", 6000)
AUDIO, VIDEO, AUX = TrackKind.AUDIO, TrackKind.VIDEO, TrackKind.AUX


@pytest.mark.parametrize("is_dtls_server", [False, True], ids=["passive", "active"])
def test_connects_in_either_dtls_role(is_dtls_server: bool) -> None:
    """The receivers exist when it is told, one per media section."""
    meeting = Meeting(Peer((AUDIO, VIDEO, AUX), is_dtls_server=is_dtls_server))
    assert meeting.session.state is SessionState.CONNECTING
    assert meeting.session.receivers == {}
    meeting.connect()
    assert meeting.session.state is SessionState.CONNECTED
    assert meeting.events == ["connected"]
    assert list(meeting.session.receivers) == [AUDIO, VIDEO, AUX]


@pytest.mark.parametrize("codec", VideoCodec)
def test_media_comes_through(codec: VideoCodec) -> None:
    """Opus in order, and a key frame on request."""
    meeting = Meeting(Peer(video=codec)).connect()
    sink = RecordingSink()
    granted: list[Keyframe] = []
    meeting.audio.add_sink(sink)
    meeting.video.request_keyframe(granted.append, 0)
    for index in range(5):
        meeting.deliver(meeting.peer.rtp(AUDIO, 65534 + index, index * 960, b"%d" % index))
    frame = encoded_frames(codec)[0]
    for index, payload in enumerate(frame.payloads):
        is_last = index == len(frame.payloads) - 1
        meeting.deliver(meeting.peer.rtp(VIDEO, index, 0, payload, marker=is_last))
    assert sink.payloads == [b"0", b"1", b"2", b"3", b"4"]
    assert picture_number(decode_keyframe(codec, granted[0].data)) == 0


def test_a_session_is_called_the_sooner_the_more_it_waits_for() -> None:
    """Handshakes have many steps; a missing packet or a wanted key frame is worth a wake-up."""
    meeting = Meeting()
    session = meeting.session
    assert session.beat(0) == QUICK_BEAT_S
    meeting.connect()
    meeting.deliver(meeting.peer.rtp(AUDIO, 0, 0, b"x"))
    first_reports = [session.beat(each * 0.1) for each in range(25)]
    assert first_reports[0] == pytest.approx(0.1)
    assert first_reports[-1] == inf
    request = meeting.video.request_keyframe(lambda _: None, 1)
    assert session.beat(1) == inf  # no video comes
    meeting.deliver(meeting.peer.rtp(VIDEO, 0, 0, b"x"))
    assert session.beat(0.5) == pytest.approx(0.5)
    assert session.beat(0.9) == pytest.approx(0.1)
    assert MISSING_PATIENCE_S < session.beat(1) < 0.1
    request.cancel()
    assert session.beat(1) == inf
    meeting.deliver(meeting.peer.rtp(AUDIO, 2, 0, b"x"))
    assert session.beat(0) == MISSING_PATIENCE_S


def test_feedback_reaches_the_peer() -> None:
    """Reports with REMB, a NACK for lost audio, a PLI for a picture that is due."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x"))
    meeting.deliver(meeting.peer.rtp(AUDIO, 3, 0, b"x"))
    meeting.deliver(meeting.peer.rtp(VIDEO, 1, 0, b"\x10\x01"))
    meeting.video.request_keyframe(lambda _keyframe: None, 0)
    heard = meeting.beat(0.1)
    nack = next(each for each in heard if isinstance(each, RtcpRtpfbPacket))
    assert (nack.media_ssrc, nack.lost) == (SSRCS[AUDIO], [2])
    reports = [
        report for each in heard if isinstance(each, RtcpRrPacket) for report in each.reports
    ]
    assert {report.ssrc for report in reports} == {SSRCS[AUDIO], SSRCS[VIDEO]}
    formats = {each.fmt for each in heard if isinstance(each, RtcpPsfbPacket)}
    assert formats == {1, 15}


def test_sender_reports_reach_the_sinks() -> None:
    """As the time of their stream."""
    meeting = Meeting().connect()
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 960, b"x"))
    meeting.deliver(meeting.peer.sender_report(AUDIO, 1920, (2_208_988_800 + 5) << 32))
    assert sink.sender_times == [(1920, 5000.0)]


def test_a_goodbye_of_one_stream_makes_room_for_another() -> None:
    """RTCP BYE: the next SSRC restarts the track."""
    meeting = Meeting().connect()
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"old"))
    meeting.deliver(meeting.peer.goodbye(AUDIO))
    meeting.deliver(meeting.peer.rtp(AUDIO, 9, 5, b"new", ssrc=0xABC))
    assert sink.payloads == [b"old", b"new"]
    assert sink.restarts == [1]


def test_what_comes_at_once_is_taken_in_in_its_order() -> None:
    """Media, a goodbye and the next SSRC of one track in one reading of the port."""
    meeting = Meeting().connect()
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    peer = meeting.peer
    peer.check(meeting.clock.now)
    meeting.deliver(
        peer.rtp(AUDIO, 1, 960, b"first"),
        peer.sender_report(AUDIO, 1920, (2_208_988_800 + 5) << 32),
        *peer.outbox,
        peer.rtp(AUDIO, 2, 1920, b"second"),
        b"\x80\x6f\x00",
        peer.goodbye(AUDIO),
        peer.rtp(VIDEO, 1, 0, b"x"),
        peer.rtp(AUDIO, 9, 5, b"third", ssrc=0xABC),
        peer.rtp(AUDIO, 10, 965, b"fourth", ssrc=0xABC),
        peer.rtp(AUDIO, 3, 2880, b"of old", ssrc=0xABC, payload_type=13),
    )
    assert sink.payloads == [b"first", b"second", b"third", b"fourth"]
    assert sink.sender_times == [(1920, 5000.0)]
    assert sink.restarts == [2]
    assert meeting.video.ssrc == SSRCS[VIDEO]


def test_media_that_comes_with_the_end_of_the_handshake_is_not_lost() -> None:
    """A fast peer sends it at once, and the port reads both together."""
    sink = RecordingSink()
    meeting = Meeting(Peer(is_dtls_server=True), sink)
    peer = meeting.peer
    while peer.srtp is None:
        meeting.deliver(peer.outbox.pop(0))
        while meeting.inbox:
            peer.receive(meeting.inbox.pop(0))
    assert meeting.events == []
    meeting.deliver(*peer.outbox, peer.rtp(AUDIO, 1, 0, b"x"), peer.rtp(AUDIO, 2, 960, b"y"))
    assert meeting.events == ["connected"]
    assert sink.payloads == [b"x", b"y"]


def test_more_than_is_taken_in_at_once_is_taken_in_whole() -> None:
    """Of key frames there may be thousands of packets in one reading."""
    meeting = Meeting().connect()
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.video.request_keyframe(lambda _keyframe: None, inf)
    packets = []
    for index in range(700):
        packets.append(meeting.peer.rtp(VIDEO, index, index, b"\x10\x01"))
        packets.append(meeting.peer.rtp(AUDIO, index, index * 1000, index.to_bytes(2)))
    meeting.deliver(*packets)
    assert sink.payloads == [index.to_bytes(2) for index in range(700)]
    assert meeting.video.unread == 0
    block = meeting.video.report_block(0)
    assert block is not None
    assert (block.reception.highest_sequence, block.reception.packets_lost) == (699, 0)


def test_the_peers_goodbye_ends_the_session() -> None:
    """DTLS close_notify; once."""
    meeting = Meeting().connect()
    meeting.peer.close()
    shuttle(meeting.peer, meeting.deliver, meeting.inbox)
    meeting.session.close()
    assert meeting.events == ["connected", CloseReason.LEFT.value]
    assert meeting.session.state is SessionState.CLOSED


def test_closing_says_goodbye_once() -> None:
    """The peer hears of it."""
    meeting = Meeting().connect()
    meeting.session.close()
    meeting.session.close()
    assert meeting.events == ["connected", CloseReason.ENDED.value]
    assert len(meeting.inbox) == 1


def test_a_silent_peer_is_lost() -> None:
    """After the consent timeout, and not before."""
    meeting = Meeting().connect()
    meeting.beat(14.8)
    assert meeting.events == ["connected"]
    meeting.beat(0.4)
    assert meeting.events == ["connected", CloseReason.LOST.value]


@pytest.mark.parametrize("what", ["audio", "rtcp", "check"])
def test_anything_authentic_shows_that_the_peer_is_there(what: str) -> None:
    """Media, RTCP or ICE checks alone will do."""
    meeting = Meeting().connect()
    for index in range(3):
        meeting.beat(10)
        if what == "audio":
            meeting.deliver(meeting.peer.rtp(AUDIO, index, index, b"x"))
        elif what == "rtcp":
            meeting.deliver(meeting.peer.sender_report(AUDIO, 1, 1 << 32))
        else:
            meeting.peer.check(meeting.clock.now)
            shuttle(meeting.peer, meeting.deliver, meeting.inbox)
    meeting.beat(10)
    assert meeting.events == ["connected"]


def test_forged_media_does_not_show_that_the_peer_is_there() -> None:
    """Anybody can send from its address."""
    meeting = Meeting().connect()
    packet = meeting.peer.rtp(AUDIO, 1, 1, b"x")
    for _ in range(20):
        meeting.beat(1)
        meeting.deliver(packet[:-1] + bytes([packet[-1] ^ 1]))
    assert meeting.events[-1] == CloseReason.LOST.value
    assert meeting.session.not_authentic > 10


def test_a_peer_that_never_comes_fails() -> None:
    """After 20 s."""
    meeting = Meeting()
    meeting.peer.outbox.clear()
    meeting.beat(19.5)
    assert meeting.events == []
    meeting.beat(1)
    assert meeting.events == [CloseReason.FAILED.value]


def test_a_peer_with_another_certificate_fails() -> None:
    """At once: its fingerprint is not the announced one."""
    meeting = Meeting()
    other = DtlsCertificate()
    meeting.peer._dtls = type(meeting.peer._dtls)(  # type: ignore[misc]
        other,
        is_server=False,
        peer_fingerprints=[CERTIFICATE.fingerprint],
        send=meeting.peer.outbox.append,
    )
    meeting.connect()
    assert meeting.events == [CloseReason.FAILED.value]


def test_feedback_goes_to_the_nominated_address() -> None:
    """The peer moved to another network, and sends no media for the time being."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x"))
    meeting.clock.now += 1.1
    nominate(meeting, ELSEWHERE)
    assert feedback_addresses(meeting) == {ELSEWHERE}


@pytest.mark.parametrize("kind", [AUDIO, VIDEO])
def test_feedback_goes_to_where_media_comes_from(kind: TrackKind) -> None:
    """Its sender's address changed, and nobody has nominated the new one; nor the old one again."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(kind, 1, 0, b"x"))
    assert feedback_addresses(meeting) == {ADDRESS}
    meeting.deliver(meeting.peer.rtp(kind, 2, 0, b"x"), source=ELSEWHERE)
    assert feedback_addresses(meeting) == {ELSEWHERE}
    nominate(meeting, ADDRESS)
    assert feedback_addresses(meeting) == {ELSEWHERE}
    meeting.deliver(meeting.peer.rtp(kind, 3, 0, b"x"))
    assert feedback_addresses(meeting) == {ADDRESS}


def test_feedback_follows_video_that_nobody_reads() -> None:
    """One packet of it is decrypted then, as a proof."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(VIDEO, 1, 0, b"\x10\x00"))
    meeting.video.stream.read_from = 1 << 62
    before = meeting.video.unread
    for sequence in range(2, 6):
        packet = meeting.peer.rtp(VIDEO, sequence, 0, b"\x10\x00")
        meeting.deliver(packet, source=ELSEWHERE)
    assert meeting.video.unread == before + 4
    assert feedback_addresses(meeting) == {ELSEWHERE}


def test_feedback_follows_authentic_rtcp() -> None:
    """A muted sender's reports tell where it is, too."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x"))
    meeting.clock.now += 1
    meeting.deliver(meeting.peer.sender_report(AUDIO, 1, 1), source=ELSEWHERE)
    assert feedback_addresses(meeting) == {ELSEWHERE}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda packet: packet[:-1] + bytes([packet[-1] ^ 1]), id="forged"),
        pytest.param(lambda packet: packet, id="replayed"),
    ],
)
def test_feedback_does_not_follow_who_proves_nothing(spoil: Callable[[bytes], bytes]) -> None:
    """And what it sends is counted as what it is, once."""
    meeting = Meeting().connect()
    packet = meeting.peer.rtp(AUDIO, 1, 0, b"x")
    meeting.deliver(packet)
    meeting.deliver(spoil(packet), source=ELSEWHERE)
    assert feedback_addresses(meeting) == {ADDRESS}
    assert meeting.session.repeated + meeting.session.not_authentic == 1


def test_stragglers_from_the_former_address_change_nothing() -> None:
    """They came before what came from the new one, and are only read after it."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x"))
    straggler = meeting.peer.rtp(AUDIO, 2, 0, b"x")
    meeting.clock.now += 0.2
    meeting.deliver(meeting.peer.rtp(AUDIO, 3, 0, b"x"), source=ELSEWHERE)
    meeting.clock.now -= 0.1
    meeting.deliver(straggler)
    meeting.clock.now += 0.1
    assert feedback_addresses(meeting) == {ELSEWHERE}


def nominate(meeting: Meeting, source: Address) -> None:
    """Send a check with USE-CANDIDATE from there."""
    meeting.peer.check(meeting.clock.now + 10)
    for check in meeting.peer.outbox:
        meeting.deliver(check, source=source)
    meeting.peer.outbox.clear()


def feedback_addresses(meeting: Meeting) -> set[Address]:
    """Where a report goes now."""
    meeting.sent_to.clear()
    meeting.session._next_slow = meeting.session._reporter.due = 0
    meeting.session.beat(meeting.clock.now)
    meeting.inbox.clear()
    return set(meeting.sent_to)


def test_checks_of_others_are_refused() -> None:
    """And answered by nothing."""
    meeting = Meeting()
    meeting.session.restart_ice(IceCredentials("new", "password"))
    with pytest.raises(StunError):
        meeting.deliver(meeting.peer.outbox[0])
    assert meeting.inbox == []


def test_an_ice_restart_changes_both_sides_credentials() -> None:
    """The session stays connected."""
    meeting = Meeting().connect()
    before = meeting.session.ice
    meeting.session.restart_ice(IceCredentials("new", "password"))
    assert meeting.session.ice != before
    assert meeting.session.state is SessionState.CONNECTED
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x"))
    assert sink.payloads == [b"x"]


def test_repeated_packets_are_counted_apart() -> None:
    """They are no attack."""
    meeting = Meeting().connect()
    packet = meeting.peer.rtp(AUDIO, 1, 0, b"x")
    meeting.deliver(packet)
    meeting.deliver(packet)
    assert (meeting.session.repeated, meeting.session.not_authentic) == (1, 0)


def test_packets_of_no_section_are_counted() -> None:
    """A payload type that nobody agreed on."""
    meeting = Meeting().connect()
    meeting.deliver(meeting.peer.rtp(VIDEO, 1, 0, b"x", payload_type=99, ssrc=5))
    assert meeting.session.unassigned == 1


def test_media_before_the_handshake_is_ignored() -> None:
    """There are no keys yet."""
    connected = Meeting().connect()
    early = Meeting(Peer())
    early.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    early.deliver(connected.peer.sender_report(AUDIO, 1, 1))
    assert early.events == []


def test_made_up_ssrcs_cost_no_memory() -> None:
    """However many an authentic peer sends."""
    meeting = Meeting().connect()
    for ssrc in range(2000):
        meeting.deliver(meeting.peer.rtp(AUDIO, 1, 0, b"x", ssrc=ssrc))
    assert meeting.session._demultiplexer is not None
    assert len(meeting.session._demultiplexer.by_ssrc) == 1
    assert len(ssrcs_heard(meeting.session._peer)) == 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["clear rtp", "clear rtcp", "rtp", "rtcp", "dtls"]),
            st.binary(max_size=60),
        ),
        max_size=20,
    )
)
def test_garbage_of_any_kind_is_harmless(parts: list[tuple[str, bytes]]) -> None:
    """From outside, and encrypted by the peer itself."""
    meeting = Meeting().connect()
    srtp = meeting.peer.srtp
    assert srtp is not None
    for kind, tail in parts:
        if kind == "clear rtp":
            meeting.deliver(b"\x80\x6f" + tail + bytes(10))
        elif kind == "clear rtcp":
            meeting.deliver(b"\x80\xc8" + tail + bytes(10))
        elif kind == "rtp":
            header = bytes([0x80 | len(tail) & 0x3F]) + b"\x6f\x00\x01" + bytes(7) + b"\x07"
            try:
                meeting.deliver(srtp.protect(header + tail))
            except Exception:  # noqa: S112 - the sender's library refuses some
                continue
        elif kind == "rtcp":
            body = tail + bytes(-len(tail) % 4)
            header = bytes([0x80 | len(tail) & 0x3F, 200 + len(tail) % 8])
            meeting.deliver(
                srtp.protect_rtcp(header + (len(body) // 4).to_bytes(2) + body + bytes(8))
            )
        else:
            meeting.deliver(b"\x16" + tail)
    sink = RecordingSink()
    meeting.beat(0.4)
    if meeting.session.state is SessionState.CONNECTED:
        meeting.audio.add_sink(sink)
        meeting.deliver(meeting.peer.rtp(AUDIO, 40000, 0, b"good", ssrc=0xDEAD))
        meeting.beat(0.4)
        assert sink.payloads[-1:] == [b"good"]
    assert meeting.events == ["connected"]


def test_a_session_whose_owner_breaks_is_closed() -> None:
    """Half connected, nobody would hear it, and it would never end."""
    meeting = Meeting()

    def fail(_session: Session) -> None:
        raise ZeroDivisionError("a bug")

    meeting.session._on_connected = fail
    with pytest.raises(ZeroDivisionError):
        meeting.connect()
    assert meeting.session.state is SessionState.CLOSED
    assert meeting.events == ["failed"]


def test_the_end_is_told_whatever_breaks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting().connect()

    def fail(_receiver: AudioReceiver) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(AudioReceiver, "finish", fail)
    with pytest.raises(ZeroDivisionError):
        meeting.session.close()
    meeting.session.close()
    assert meeting.events == ["connected", "ended"]
