"""A connection is made, receives, reports and ends, whatever its peer and the network do."""

import itertools
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from aiortc.rtp import RtcpPsfbPacket, RtcpRrPacket, RtcpRtpfbPacket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudslice.codecs.codec import VideoCodec
from cloudslice.ids import TrackKind
from cloudslice.media.tracks import Keyframe
from cloudslice.tick import PERIOD_S
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.connection_user import CloseReason, ConnectionState
from cloudslice.webrtc.dtls import DtlsCertificate, DtlsEndpoint
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.streams import Streams
from cloudslice.webrtc.transport import Transport
from cloudslice.webrtc.udp.paths import Path, make_path
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.meeting import CERTIFICATE, HOME, Meeting, meeting
from helpers.peer import SSRCS, Peer
from helpers.rtp import RecordingSink, rtp_packet
from helpers.video_codecs import each_codec

ELSEWHERE = make_path("203.0.113.9", 6000)
AUDIO, VIDEO, AUX = TrackKind.AUDIO, TrackKind.VIDEO, TrackKind.AUX


@pytest.fixture
def made() -> Iterator[Meeting]:
    """Not connected yet."""
    with meeting() as opened:
        yield opened


@pytest.fixture
def connected(made: Meeting) -> Meeting:
    return made.connect()


@pytest.mark.parametrize("is_dtls_server", [False, True], ids=["passive", "active"])
def test_connects_in_either_dtls_role(is_dtls_server: bool) -> None:
    """There is a receiver for each media section from the answer on."""
    with meeting(Peer((AUDIO, VIDEO, AUX), is_dtls_server=is_dtls_server)) as made:
        connection = made.connection
        assert connection.state is ConnectionState.CONNECTING
        assert list(connection.streams.receivers) == ["0", "1", "2"]
        made.connect()
        assert connection.state is ConnectionState.CONNECTED
        assert made.events == ["connected"]


@each_codec
def test_media_comes_through(codec: VideoCodec) -> None:
    """Opus in order, and a key frame on request."""
    with meeting(Peer(video=codec)) as made:
        made.connect()
        granted: list[Keyframe] = []
        made.video.request_keyframe(granted.append, 0)
        for index in range(5):
            made.deliver(made.peer.rtp(AUDIO, 65534 + index, index * 960, b"%d" % index))
        sequence = itertools.count()
        for number, frame in enumerate(encoded_frames(codec)[3:6]):
            for payload in frame.payloads:
                is_last = payload is frame.payloads[-1]
                packet = made.peer.rtp(
                    VIDEO, next(sequence), number * 3000, payload, marker=is_last
                )
                made.deliver(packet)
        assert made.heard() == [b"0", b"1", b"2", b"3", b"4"]
        assert picture_number(decode_keyframe(codec.decoding, granted[0].data)) == 4


def test_a_connection_is_called_when_it_has_something_to_do(made: Meeting) -> None:
    """On each tick until it is connected; then for reports, and for a key frame that is due."""
    connection, clock = made.connection, made.clock
    assert connection.next_deadline == -inf
    connection.send_due(0)
    assert connection.next_deadline == -inf
    made.connect()
    made.deliver(made.peer.rtp(AUDIO, 0, 0, b"x"), made.peer.rtp(VIDEO, 0, 0, b"x"))
    made.wait(3)
    report_due = connection.next_deadline
    assert clock.now < report_due <= clock.now + 1
    due = clock.now + 0.001
    request = made.video.request_keyframe(lambda _: None, due)
    assert connection.next_deadline == due < report_due
    request.cancel()
    made.video.request_keyframe(lambda _: None, clock.now)
    assert [each.fmt for each in made.wait() if isinstance(each, RtcpPsfbPacket)].count(1) == 1


def test_feedback_reaches_the_peer(connected: Meeting) -> None:
    """Reports with REMB, a NACK for lost audio, a PLI for a picture that is due."""
    peer = connected.peer
    connected.deliver(peer.rtp(AUDIO, 1, 0, b"x"), peer.rtp(AUDIO, 3, 0, b"x"))
    connected.deliver(peer.rtp(VIDEO, 1, 0, b"\x10\x01"))
    connected.video.request_keyframe(lambda _keyframe: None, 0)
    heard = connected.wait(0.2)
    nack = next(each for each in heard if isinstance(each, RtcpRtpfbPacket))
    assert (nack.media_ssrc, nack.lost) == (SSRCS[AUDIO], [2])
    reports = [
        report for each in heard if isinstance(each, RtcpRrPacket) for report in each.reports
    ]
    assert {report.ssrc for report in reports} == {SSRCS[AUDIO], SSRCS[VIDEO]}
    formats = {each.fmt for each in heard if isinstance(each, RtcpPsfbPacket)}
    assert formats == {1, 15}


def test_a_check_is_answered_within_a_tick(connected: Meeting) -> None:
    """Senders with little patience (aioice) wait for half a second, round trip and all."""
    connected.wait(5)
    connected.peer.check(100)
    checks = [*connected.peer.outbox]
    connected.peer.outbox.clear()
    connected.deliver(*checks)
    assert [(data[:2], path) for data, path in connected.port.sent] == [
        (b"\x01\x01", HOME) for _ in checks
    ]
    assert PERIOD_S < 0.1


def test_sender_reports_reach_the_sinks(connected: Meeting) -> None:
    """As the time of their stream."""
    connected.deliver(connected.peer.rtp(AUDIO, 1, 960, b"x"))
    connected.deliver(connected.peer.sender_report(AUDIO, 1920, (2_208_988_800 + 5) << 32))
    assert connected.sink.sender_times == [(1920, 5000.0)]


def test_a_goodbye_of_one_stream_makes_room_for_another(connected: Meeting) -> None:
    """RTCP BYE: the next SSRC restarts the track."""
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"old"))
    connected.deliver(connected.peer.goodbye(AUDIO))
    assert connected.audio.last_arrival == -inf
    connected.deliver(connected.peer.rtp(AUDIO, 9, 5, b"new", ssrc=0xABC))
    assert connected.heard() == [b"old", b"new"]
    assert connected.sink.restarts == [1]


def test_the_ssrc_that_comes_last_is_received(connected: Meeting) -> None:
    """A sender that begins anew; what came of the one before is handed out first."""
    peer = connected.peer
    connected.deliver(peer.rtp(AUDIO, 1, 0, b"old"), peer.rtp(AUDIO, 9, 5, b"new", ssrc=0xABC))
    assert connected.audio.ssrc == 0xABC
    assert connected.heard() == [b"old", b"new"]
    assert connected.sink.restarts == [1]


def test_two_ssrcs_side_by_side_do_not_take_turns(connected: Meeting) -> None:
    peer = connected.peer
    for index in range(20):
        connected.deliver(
            peer.rtp(AUDIO, index, index * 960, b"a%d" % index),
            peer.rtp(AUDIO, index, index * 960, b"b%d" % index, ssrc=0xABC),
        )
        connected.wait(0.02)
    assert connected.heard() == [b"a0", *(b"b%d" % index for index in range(20))]
    assert connected.connection.counts["unassigned"] == 19


def test_what_comes_at_once_is_taken_in_in_its_order(connected: Meeting) -> None:
    """Media, a goodbye and the next SSRC of one track in one reading of the port."""
    peer = connected.peer
    peer.check(connected.clock.now)
    connected.deliver(
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
    assert connected.heard() == [b"first", b"second", b"third", b"fourth"]
    assert connected.sink.sender_times == [(1920, 5000.0)]
    assert connected.sink.restarts == [2]
    assert connected.video.ssrc == SSRCS[VIDEO]


def test_media_that_comes_with_the_end_of_the_handshake_is_not_lost() -> None:
    """A fast peer sends it at once, and the port reads both together."""
    with meeting(Peer(is_dtls_server=True)) as made:
        peer = made.peer
        while peer.srtp is None:
            made.deliver(peer.outbox.pop(0))
            while made.port.sent:
                peer.receive(made.port.sent.pop(0)[0])
        assert made.events == []
        made.deliver(*peer.outbox, peer.rtp(AUDIO, 1, 0, b"x"), peer.rtp(AUDIO, 2, 960, b"y"))
        assert made.events == ["connected"]
        assert made.heard() == [b"x", b"y"]


def test_thousands_of_packets_in_one_reading_are_taken_in_whole(connected: Meeting) -> None:
    """As after a stall, while a key frame is waited for."""
    connected.video.request_keyframe(lambda _keyframe: None, inf)
    packets = []
    for index in range(3000):
        packets.append(connected.peer.rtp(VIDEO, index, index, b"\x10\x01"))
        packets.append(connected.peer.rtp(AUDIO, index, index * 1000, index.to_bytes(2)))
    connected.deliver(*packets)
    assert connected.heard() == [index.to_bytes(2) for index in range(3000)]
    assert connected.connection.counts["video_unread"] == 0
    block = connected.video.report_block(0)
    assert block is not None
    assert (block.report.highest, block.report.packets_lost) == (2999, 0)


def test_the_peers_goodbye_ends_the_connection(connected: Meeting) -> None:
    """DTLS close_notify; once."""
    connected.peer.close()
    connected.exchange()
    connected.connection.close()
    assert connected.events == ["connected", CloseReason.LEFT.value]
    assert connected.connection.state is ConnectionState.CLOSED
    assert not connected.port.is_active


def test_what_came_before_the_goodbye_is_heard(connected: Meeting) -> None:
    """In one reading with it, and behind a packet that is missing."""
    peer = connected.peer
    sent = [peer.rtp(AUDIO, index, 960 * index, b"%d" % index) for index in (0, 1, 3)]
    peer.close()
    connected.deliver(*sent, *peer.outbox)
    assert connected.events[-1] == CloseReason.LEFT.value
    assert connected.sink.payloads == [b"0", b"1", b"3"]
    assert connected.connection.counts["audio_lost"] == 1


def test_what_came_before_both_goodbyes_is_heard(connected: Meeting) -> None:
    """RTCP BYE and close_notify in one reading, as Firefox sends them; a straggler between them."""
    peer = connected.peer
    first = [peer.rtp(AUDIO, index, 960 * index, b"%d" % index) for index in range(3)]
    connected.deliver(*first)
    sent = [peer.rtp(AUDIO, index, 960 * index, b"%d" % index) for index in range(3, 8)]
    bye = peer.goodbye(AUDIO)
    peer.close()
    connected.deliver(*sent[:-1], bye, sent[-1], *peer.outbox)
    assert connected.events[-1] == CloseReason.LEFT.value
    assert connected.sink.payloads == [b"%d" % index for index in range(8)]


def test_closing_says_goodbye_once(connected: Meeting) -> None:
    """The peer hears of it."""
    connected.connection.close()
    connected.connection.close()
    assert connected.events == ["connected", CloseReason.ENDED.value]
    assert [data[0] for data, _path in connected.port.sent] == [21]


def test_a_silent_peer_is_lost(connected: Meeting) -> None:
    """After the consent timeout, and not before."""
    connected.wait(14.9)
    assert connected.events == ["connected"]
    connected.wait(0.3)
    assert connected.events == ["connected", CloseReason.LOST.value]


@pytest.mark.parametrize("what", ["audio", "video", "rtcp", "check"])
def test_anything_authentic_shows_that_the_peer_is_there(connected: Meeting, what: str) -> None:
    """Media, read or not, RTCP or connectivity checks alone will do."""
    for index in range(3):
        connected.wait(10)
        if what in ("audio", "video"):
            kind = AUDIO if what == "audio" else VIDEO
            connected.deliver(connected.peer.rtp(kind, index, index, b"x"))
        elif what == "rtcp":
            connected.deliver(connected.peer.sender_report(AUDIO, 1, 1 << 32))
        else:
            connected.peer.check(connected.clock.now)
            connected.exchange()
    connected.wait(10)
    assert connected.events == ["connected"]


def test_forged_media_does_not_show_that_the_peer_is_there(connected: Meeting) -> None:
    """Anybody can send from its address; also video that is believed unread."""
    packet = connected.peer.rtp(AUDIO, 1, 1, b"x")
    connected.deliver(connected.peer.rtp(VIDEO, 1, 0, b"x"))
    for index in range(20):
        connected.wait(1)
        connected.deliver(packet[:-1] + bytes([packet[-1] ^ 1]))
        connected.deliver(rtp_packet(index, 0, bytes(40), payload_type=96, ssrc=SSRCS[VIDEO]))
    assert connected.events[-1] == CloseReason.LOST.value
    assert connected.connection.counts["not_authentic"] > 20


def test_a_peer_that_never_comes_fails(made: Meeting) -> None:
    """After 20 s, and it is said what is missing."""
    made.peer.outbox.clear()
    made.wait(19.8)
    assert made.events == []
    made.wait(1)
    assert made.events == [CloseReason.FAILED.value]
    assert made.failures == ["no connectivity check of the peer came within 20 s"]


def test_a_peer_that_only_checks_fails(made: Meeting) -> None:
    """It never begins the handshake."""
    made.peer._dtls = None
    for _ in range(21):
        made.deliver(*made.peer.outbox)
        made.peer.outbox.clear()
        made.peer.check(made.clock.now)
        made.port.sent.clear()
        made.clock.now += 1
        made.port.tick(made.clock.now)
    assert made.failures == ["no connection after 20 s"]


def test_a_peer_with_another_certificate_fails(made: Meeting) -> None:
    """At once, with the reason: its fingerprint is not the announced one."""
    other = DtlsCertificate()
    made.peer._dtls = DtlsEndpoint(
        other,
        is_server=False,
        peer_fingerprints=[CERTIFICATE.fingerprint],
        send=made.peer.outbox.append,
    )
    made.exchange()
    assert made.events == [CloseReason.FAILED.value]
    assert made.failures == ["the peer's certificate has not the announced fingerprint"]


def test_an_alert_during_the_handshake_is_told(made: Meeting) -> None:
    """By the name that OpenSSL gives it."""
    made.deliver(made.peer.outbox.pop(0))
    made.peer.receive(made.port.sent.pop()[0])
    made.deliver(*made.peer.outbox)
    made.deliver(b"\x15\xfe\xfd" + bytes(7) + b"\x09\x00\x02\x02\x28")  # handshake_failure
    assert made.events == [CloseReason.FAILED.value]
    assert "handshake failure" in made.failures[0]


def test_feedback_goes_to_the_nominated_address(connected: Meeting) -> None:
    """The peer moved to another network, and sends no media for the time being."""
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    connected.wait(2.2)
    nominate(connected, ELSEWHERE)
    assert feedback_paths(connected) == {ELSEWHERE}


@pytest.mark.parametrize("kind", [AUDIO, VIDEO])
def test_feedback_goes_to_where_media_comes_from(connected: Meeting, kind: TrackKind) -> None:
    """Its sender's address changed, and nobody has nominated the new one; nor the old one again."""
    peer = connected.peer
    connected.deliver(peer.rtp(kind, 1, 0, b"x"))
    assert feedback_paths(connected) == {HOME}
    connected.deliver(peer.rtp(kind, 2, 0, b"x"), path=ELSEWHERE)
    assert feedback_paths(connected) == {ELSEWHERE}
    nominate(connected, HOME)
    assert feedback_paths(connected) == {ELSEWHERE}
    connected.wait(1)
    connected.deliver(peer.rtp(kind, 3, 0, b"x"))
    assert feedback_paths(connected) == {HOME}


def test_feedback_follows_authentic_rtcp(connected: Meeting) -> None:
    """A muted sender's reports tell where it is, too; once a check has shown the address."""
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    connected.wait(1)
    nominate(connected, ELSEWHERE)
    assert feedback_paths(connected) == {HOME}
    connected.deliver(connected.peer.sender_report(AUDIO, 1, 1), path=ELSEWHERE)
    assert feedback_paths(connected) == {ELSEWHERE}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda packet: packet[:-1] + bytes([packet[-1] ^ 1]), id="forged"),
        pytest.param(lambda packet: packet, id="replayed"),
    ],
)
def test_feedback_does_not_follow_who_proves_nothing(
    connected: Meeting, spoil: Callable[[bytes], bytes]
) -> None:
    packet = connected.peer.rtp(AUDIO, 1, 0, b"x")
    connected.deliver(packet)
    connected.deliver(spoil(packet), path=ELSEWHERE)
    assert feedback_paths(connected) == {HOME}
    assert connected.port.foreign == 1


def test_stragglers_from_the_former_address_change_nothing(connected: Meeting) -> None:
    """They came before what came from the new one, and are only read after it."""
    peer = connected.peer
    connected.deliver(peer.rtp(AUDIO, 1, 0, b"x"))
    straggler = peer.rtp(AUDIO, 2, 0, b"x")
    connected.clock.now += 0.2
    connected.deliver(peer.rtp(AUDIO, 3, 0, b"x"), path=ELSEWHERE)
    connected.deliver(straggler, arrival=connected.clock.now - 0.1)
    assert feedback_paths(connected) == {ELSEWHERE}
    assert connected.connection.last_authentic == connected.clock.now


def nominate(meeting: Meeting, path: Path) -> None:
    """Send a check with USE-CANDIDATE from there."""
    meeting.peer.check(meeting.clock.now + 1000)
    for check in meeting.peer.outbox:
        meeting.deliver(check, path=path)
    meeting.peer.outbox.clear()
    meeting.port.sent.clear()


def feedback_paths(meeting: Meeting) -> set[Path]:
    """Where a request for a key frame goes now."""
    meeting.port.sent.clear()
    meeting.connection.streams._hooks.send(lambda ssrc: b"", None)
    paths = {path for _data, path in meeting.port.sent}
    meeting.port.sent.clear()
    return paths


def test_checks_of_others_are_refused(made: Meeting) -> None:
    """And answered by nothing."""
    check = made.peer.outbox[0]
    made.connection.restart_ice(IceCredentials("new", "password"))
    made.deliver(check)
    assert made.port.sent == []
    assert made.port.foreign == 1


def test_an_ice_restart_changes_both_sides_credentials(connected: Meeting) -> None:
    """The connection stays."""
    ice = connected.connection.transport.ice
    before = ice.local
    connected.connection.restart_ice(IceCredentials("new", "password"))
    assert ice.local != before
    assert connected.connection.state is ConnectionState.CONNECTED
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    assert connected.heard() == [b"x"]


def test_repeated_packets_are_counted_apart(connected: Meeting) -> None:
    """They are no attack."""
    packet = connected.peer.rtp(AUDIO, 1, 0, b"x")
    connected.deliver(packet)
    connected.deliver(packet)
    report = connected.peer.sender_report(AUDIO, 1, 1)
    connected.deliver(report, report)
    counts = connected.connection.counts
    assert (counts["repeated"], counts["not_authentic"]) == (2, 0)


def test_packets_of_no_section_are_counted(connected: Meeting) -> None:
    """A payload type that nobody agreed on."""
    connected.deliver(connected.peer.rtp(VIDEO, 1, 0, b"x", payload_type=99, ssrc=5))
    assert connected.connection.counts["unassigned"] == 1


def test_media_before_the_handshake_is_refused(connected: Meeting) -> None:
    """There are no keys yet."""
    with meeting() as early:
        early.port.owners.add_path(early.connection.peer, HOME)
        early.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
        early.deliver(connected.peer.sender_report(AUDIO, 1, 1))
        assert early.events == []
        assert early.connection.counts["not_authentic"] == 1


def test_made_up_ssrcs_cost_no_memory(connected: Meeting) -> None:
    """However many an authentic peer sends."""
    for ssrc in range(2000):
        connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x", ssrc=ssrc))
    assert len(connected.connection.streams._tracks) == 1
    assert len(connected.port.owners._by_ssrc) == 1
    assert srtp_streams(connected) == 1


def test_ssrcs_that_strangers_make_up_cost_no_memory(connected: Meeting) -> None:
    """They know the peer's address, and not its keys."""
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    for ssrc in range(1000, 3000):
        connected.deliver(rtp_packet(ssrc, 0, bytes(40), ssrc=ssrc))
    assert srtp_streams(connected) <= 2
    assert connected.connection.counts["not_authentic"] == 2000
    connected.deliver(connected.peer.rtp(AUDIO, 2, 0, b"y"))
    assert connected.heard() == [b"x", b"y"]


def srtp_streams(meeting: Meeting) -> int:
    """How many SSRCs of the peer SRTP keeps something of."""
    srtp = meeting.connection.transport.srtp
    assert srtp is not None
    count = 0
    for ssrc in {*range(4000), *SSRCS.values()}:
        try:
            srtp._inbound.remove_stream(ssrc)
        except Exception:  # noqa: S112 - of which nothing is kept
            continue
        srtp.expect(ssrc, 0)
        count += 1
    return count


@pytest.mark.parametrize("count", [33, 300])
def test_many_ssrcs_in_use_are_harmless(connected: Meeting, count: int) -> None:
    """A peer that uses more than a room can hear; the last ones to come are heard."""
    peer = connected.peer
    for round_ in range(5):
        for ssrc in range(1, count + 1):
            connected.deliver(peer.rtp(AUDIO, round_, round_ * 960, b"x", ssrc=ssrc))
        connected.wait(2)
    assert connected.events == ["connected"]
    assert connected.port.errors == 0
    assert connected.audio.ssrc is not None


@pytest.mark.parametrize("sequence", [5, 40_000])
def test_a_forged_first_packet_decides_nothing(connected: Meeting, sequence: int) -> None:
    """Whether it looks like one from before or after a roll-over."""
    connected.deliver(rtp_packet(sequence, 0, bytes(40), ssrc=SSRCS[AUDIO]))
    assert connected.connection.counts["not_authentic"] == 1
    connected.deliver(connected.peer.rtp(AUDIO, 7, 0, b"x"))
    assert connected.heard() == [b"x"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    with meeting() as made:
        made.connect()
        srtp = made.peer.srtp
        assert srtp is not None
        for kind, tail in parts:
            if kind == "clear rtp":
                made.deliver(b"\x80\x6f" + tail + bytes(10))
            elif kind == "clear rtcp":
                made.deliver(b"\x80\xc8" + tail + bytes(10))
            elif kind == "rtp":
                header = bytes([0x80 | len(tail) & 0x3F]) + b"\x6f\x00\x01" + bytes(7) + b"\x07"
                try:
                    made.deliver(srtp.protect(header + tail))
                except Exception:  # noqa: S112 - the sender's library refuses some
                    continue
            elif kind == "rtcp":
                body = tail + bytes(-len(tail) % 4)
                header = bytes([0x80 | len(tail) & 0x3F, 200 + len(tail) % 8])
                made.deliver(
                    srtp.protect_rtcp(header + (len(body) // 4).to_bytes(2) + body + bytes(8))
                )
            else:
                made.deliver(b"\x16" + tail)
        made.wait(0.4)
        assert made.port.errors == 0
        assert made.events == ["connected"]
        made.deliver(made.peer.rtp(AUDIO, 40000, 0, b"good", ssrc=0xDEAD))
        assert made.heard()[-1:] == [b"good"]


def test_a_connection_whose_user_breaks_is_closed(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half connected, nobody would hear it, and it would never end."""
    monkeypatch.setattr(made, "on_connected", fail)
    made.exchange()
    assert made.connection.state is ConnectionState.CLOSED
    assert made.events == ["failed"]
    assert made.port.errors == 1


@pytest.mark.parametrize(("part", "step"), [(Streams, "stop"), (Transport, "close")])
def test_the_end_is_told_whatever_breaks_at_it(
    connected: Meeting, monkeypatch: pytest.MonkeyPatch, part: type, step: str
) -> None:
    """And figures can be read after it."""
    connected.deliver(connected.peer.rtp(VIDEO, 1, 0, b"x"))
    monkeypatch.setattr(part, step, fail)
    with pytest.raises(ZeroDivisionError):
        connected.connection.close()
    connected.connection.close()
    assert connected.events == ["connected", "ended"]
    assert not connected.port.is_active
    assert connected.connection.counts["not_authentic"] == 0


def fail(*_given: Any) -> None:
    raise ZeroDivisionError("a bug")


def test_a_section_that_is_paused_or_offered_again_keeps_its_receiver(connected: Meeting) -> None:
    """A later offer; one that is removed is received no more."""
    streams = connected.connection.streams
    receivers = dict(streams.receivers)
    connected.deliver(connected.peer.rtp(AUDIO, 1, 0, b"x"))
    offer = connected.peer.offer
    connected.connection.answer(parse_remote_description(offer))
    assert dict(streams.receivers) == receivers
    paused = offer.replace("a=sendonly", "a=inactive")
    connected.connection.answer(parse_remote_description(paused))
    assert dict(streams.receivers) == receivers
    assert connected.events == ["connected"]
    removed = offer.replace("m=video 9", "m=video 0")
    connected.connection.answer(parse_remote_description(removed))
    assert list(streams.receivers) == ["0"]
    connected.deliver(connected.peer.rtp(AUDIO, 2, 960, b"y"))
    assert connected.heard() == [b"x", b"y"]
    assert connected.sink.restarts == []


def test_a_section_that_another_sender_takes_over_goes_on_with_the_same_ssrc(
    connected: Meeting,
) -> None:
    """The former one's sink hears what came before. SRTP's count of wraps goes on: two are more
    than can be guessed."""
    peer, streams = connected.peer, connected.connection.streams
    for sequence in range(65_000, 65_000 + 2 * 65_536, 500):
        connected.deliver(peer.rtp(AUDIO, sequence, sequence * 960, b"a"))
    heard_before = len(connected.heard())
    connected.deliver(peer.rtp(AUDIO, 65_000 + 2 * 65_536, 0, b"last"))
    former = connected.audio
    assert streams.renew("0") is connected.audio is not former
    assert connected.sink.payloads[heard_before:] == [b"last"]

    sink = RecordingSink()
    connected.audio.add_sink(sink)
    connected.deliver(peer.rtp(AUDIO, 65_001 + 2 * 65_536, 0, b"b"))
    connected.heard()
    assert sink.payloads == [b"b"]
    assert connected.connection.counts["not_authentic"] == 0
    assert streams.renew("no such section") is None


def test_a_section_that_is_offered_with_another_format_goes_on_with_the_same_ssrc(
    connected: Meeting,
) -> None:
    peer = connected.peer
    for sequence in range(65_000, 65_000 + 2 * 65_536, 500):
        connected.deliver(peer.rtp(AUDIO, sequence, sequence * 960, b"a"))
    former = connected.audio
    other = peer.offer.replace("a=rtcp-fb:111 nack", "a=fmtp:111 stereo=1")
    connected.connection.answer(parse_remote_description(other))
    assert connected.audio is not former
    sink = RecordingSink()
    connected.audio.add_sink(sink)
    connected.deliver(peer.rtp(AUDIO, 65_001 + 2 * 65_536, 0, b"b"))
    connected.heard()
    assert sink.payloads == [b"b"]
