"""Videos are thinned out between pictures, and nothing that anybody needs is."""

import errno
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from cloudslice.clock import SystemClock
from cloudslice.media.tracks import Keyframe, TrackKind, VideoCodec
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.datagrams import DatagramSocket
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.port import RtpPort
from cloudslice.rtp.sdp import parse_offer
from cloudslice.rtp.session import Session
from cloudslice.rtp.socket_filter import THINNED_TO
from cloudslice.rtp.video import VideoReceiver
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.peer import SSRCS, Peer
from helpers.rtp import RecordingSink
from helpers.udp_peer import UdpPeer

AUDIO, VIDEO = TrackKind.AUDIO, TrackKind.VIDEO
CERTIFICATE = DtlsCertificate()
DENSE = 100
"""Packets a second: more than enough to be thinned out."""


class Anchor:
    """A peer that sends audio and H.264 or VP8 through a port that beats when it is told."""

    def __init__(self, port: RtpPort, clock: SystemClock, codec: VideoCodec) -> None:
        self.peer = Peer(video=codec)
        self.codec = codec
        self.session = Session(
            parse_offer(self.peer.offer),
            certificate=CERTIFICATE,
            send=port.send,
            wake=port.wake,
            clock=clock,
            max_video_bitrate_kbps=2500,
            consent_timeout_s=1e6,
            on_connected=lambda session: None,
            on_closed=lambda session, reason: port.remove(session),
        )
        port.add(self.session)
        answer = self.session.answer([("127.0.0.1", port.udp_port)])
        self.udp = UdpPeer(port, self.peer, answer, host="127.0.0.1")
        self.udp.connect()
        self.sequence = 0
        self.granted: list[Keyframe] = []
        self.sink = RecordingSink()
        assert isinstance(self.audio, AudioReceiver)
        self.audio.add_sink(self.sink)

    @property
    def audio(self) -> object:
        return self.session.receivers[AUDIO]

    @property
    def video(self) -> VideoReceiver:
        receiver = self.session.receivers[VIDEO]
        assert isinstance(receiver, VideoReceiver)
        return receiver

    @property
    def is_thinned(self) -> bool:
        return self.video.thinned_until == float("inf")

    def send_frame(self, number: int, lost: Sequence[int] = ()) -> None:
        payloads = encoded_frames(self.codec)[number].payloads
        for index, payload in enumerate(payloads):
            is_last = index == len(payloads) - 1
            packet = self.peer.rtp(VIDEO, self.sequence, number * 3000, payload, marker=is_last)
            self.sequence += 1
            if index not in lost:
                self.udp.socket.send(packet)

    def send_filler(self, count: int) -> None:
        """Packets that mean nothing to a decoder."""
        for _ in range(count):
            self.udp.socket.send(self.peer.rtp(VIDEO, self.sequence, self.sequence, b"\x01\x00"))
            self.sequence += 1


Join = Callable[..., Anchor]


class Stage:
    """A port with its time in the test's hands."""

    def __init__(self, port: RtpPort, clock: SystemClock) -> None:
        self.port = port
        self.clock = clock
        self.anchors: list[Anchor] = []

    def join(self, codec: VideoCodec = VideoCodec.H264) -> Anchor:
        self.anchors.append(Anchor(self.port, self.clock, codec))
        return self.anchors[-1]

    def beat(self, seconds_later: float = 0) -> None:
        self.port.beat(self.clock.monotonic() + seconds_later)

    def glance(self) -> None:
        self.port.glance(self.clock.monotonic())

    def thin(self, anchor: Anchor) -> None:
        """Bring an anchor to where its video is thinned out."""
        anchor.send_frame(1)
        self.beat()
        anchor.send_frame(4)  # a key frame, from which the parameter sets are learnt
        anchor.send_filler(2 * DENSE)
        anchor.video._rated = (self.clock.monotonic() - 1, 0)
        self.beat()
        assert anchor.is_thinned


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    clock = SystemClock()
    async with RtpPort(0, "", clock) as port:
        stage = Stage(port, clock)
        yield stage
        for each in stage.anchors:
            each.udp.close()


@pytest.mark.parametrize("codec", VideoCodec)
async def test_dense_video_that_nobody_wants_is_thinned_out(
    stage: Stage, codec: VideoCodec
) -> None:
    """One packet in eight is let through; the anchor's audio comes whole, no loss is reported."""
    anchor = stage.join(codec)
    stage.thin(anchor)
    before = anchor.video.unread
    for index in range(40):
        anchor.udp.socket.send(anchor.peer.rtp(AUDIO, index, index * 960, b"%d" % index))
        anchor.send_filler(THINNED_TO)
    stage.beat()
    assert anchor.video.unread - before == 40
    assert len(anchor.sink.packets) == 40
    report = anchor.video.report_block(0)
    assert report is not None
    assert (report.reception.packets_lost, report.reception.fraction_lost) == (0, 0)


@pytest.mark.parametrize("codec", VideoCodec)
async def test_a_wanted_key_frame_comes_through_whole(stage: Stage, codec: VideoCodec) -> None:
    """From the first beat after the wish on; what was dropped before it is not asked for."""
    anchor = stage.join(codec)
    stage.thin(anchor)
    anchor.send_filler(THINNED_TO + 3)
    anchor.video.request_keyframe(anchor.granted.append, 0)
    stage.beat()
    assert not anchor.is_thinned
    anchor.peer.rtcp.clear()
    while stage.clock.monotonic() < anchor.video.thinned_until:
        pass
    anchor.send_filler(3)
    for number in (3, 4, 5):
        anchor.send_frame(number)
    stage.beat()
    anchor.udp.exchange()
    (keyframe,) = anchor.granted
    assert picture_number(decode_keyframe(codec, keyframe.data)) == 4
    assert not [each for each in anchor.peer.rtcp if "Rtpfb" in type(each).__name__]
    stage.beat()
    assert anchor.is_thinned


async def test_a_key_frame_comes_through_however_long_video_was_thinned_out(stage: Stage) -> None:
    """SRTP's count of the roll-overs of the sequence number is kept all the while."""
    anchor = stage.join()
    stage.thin(anchor)
    for _ in range(80):
        anchor.send_filler(1000)
        stage.beat()
    assert anchor.is_thinned
    anchor.video.request_keyframe(anchor.granted.append, 0)
    stage.beat()
    while stage.clock.monotonic() < anchor.video.thinned_until:
        pass
    for number in (3, 4, 5):
        anchor.send_frame(number)
    stage.beat()
    assert len(anchor.granted) == 1
    assert anchor.session.not_authentic == 0


async def test_a_key_frame_may_come_while_what_came_before_is_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for first; a near sender is quicker than reading some thousand packets."""
    anchor = stage.join()
    stage.thin(anchor)
    ask = Session.beat

    def ask_and_be_answered(session: Session, now: float) -> float:
        monkeypatch.undo()
        delay = ask(session, now)
        assert anchor.video.keyframe_requests == 1
        while stage.clock.monotonic() < anchor.video.thinned_until:
            pass
        for number in (3, 4, 5):
            anchor.send_frame(number)
        return delay

    monkeypatch.setattr(Session, "beat", ask_and_be_answered)
    anchor.video.request_keyframe(anchor.granted.append, 0)
    stage.beat()
    assert len(anchor.granted) == 1


async def test_glances_let_a_key_frame_through_and_thin_out_again(stage: Stage) -> None:
    """Without a look at the others."""
    anchor = stage.join()
    stage.thin(anchor)
    anchor.video.request_keyframe(anchor.granted.append, 0)
    stage.glance()
    assert not anchor.is_thinned
    while stage.clock.monotonic() < anchor.video.thinned_until:
        pass
    for number in (3, 4, 5):
        anchor.send_frame(number)
    stage.glance()
    assert len(anchor.granted) == 1
    assert anchor.is_thinned


async def test_what_a_glance_does_not_thin_out_the_next_heartbeat_does(stage: Stage) -> None:
    """Here the parameter sets are unknown as long as nothing comes after the key frame."""
    anchor = stage.join()
    stage.thin(anchor)
    anchor.video.request_keyframe(anchor.granted.append, 0)
    stage.glance()
    while stage.clock.monotonic() < anchor.video.thinned_until:
        pass
    anchor.send_frame(4)
    stage.glance()
    assert len(anchor.granted) == 1
    assert not anchor.is_thinned
    anchor.send_frame(5)
    stage.beat()
    assert anchor.is_thinned


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stage, anchor: None, id="none comes any more"),
        pytest.param(lambda stage, anchor: anchor.send_filler(THINNED_TO), id="few come"),
    ],
)
async def test_sparse_video_is_not_thinned_out(
    stage: Stage, change: Callable[[Stage, Anchor], None]
) -> None:
    """A still screen is sent as a packet or two a second: each one tells that it is there."""
    anchor = stage.join()
    stage.thin(anchor)
    change(stage, anchor)
    stage.beat(seconds_later=1.1)
    assert not anchor.is_thinned


@pytest.mark.parametrize("is_connected", [True, False], ids=["heard", "announced"])
async def test_an_ssrc_that_another_anchor_needs_is_not_thinned_out(
    stage: Stage, is_connected: bool
) -> None:
    """Nothing keeps two anchors from choosing the same number."""
    one = stage.join()
    stage.thin(one)
    other = stage.join()
    if is_connected:
        other.send_frame(0)
    stage.beat()
    assert SSRCS[VIDEO] == one.video.ssrc
    assert not one.is_thinned
    assert not other.is_thinned


async def test_where_the_kernel_refuses_nothing_is_thinned_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs CPU, and is said once."""

    def refuse(_socket: DatagramSocket, _program: bytes) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    monkeypatch.setattr(DatagramSocket, "filter", refuse)
    anchor = stage.join()
    anchor.send_frame(4)
    stage.beat()
    anchor.send_filler(2 * DENSE)
    anchor.video._rated = (stage.clock.monotonic() - 1, 0)
    stage.beat()
    stage.beat()
    assert not anchor.is_thinned
    assert capsys.readouterr().out.count("packets cannot be dropped early") == 1
