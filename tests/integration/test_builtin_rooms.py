"""Rooms with aiortc as an anchor: an independent WebRTC implementation on real sockets."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import av
import numpy as np
import pytest
from aioice.ice import get_host_addresses
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from cloudslice.clock import SystemClock
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.vp8 import VP8
from cloudslice.config import RtcSettings
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import Keyframe
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.udp.port import UdpPort
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.encoded_video import decode_keyframe, numbered_picture, picture_number
from helpers.lossy_relay import LossyRelay, Weather, lossy_relay
from helpers.media_port import media_port
from helpers.room_observer import make_bus
from helpers.rtp import RecordingSink
from helpers.video_codecs import each_published_codec
from helpers.waiting import eventually

ROOM = RoomKey(1400000001, "150", RoomIdType.NUMBER)
PICTURES = 64
TONE_HZ = 440


class NumberedVideo(VideoStreamTrack):
    """30 pictures a second that show their numbers, 0..63 and again."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = numbered_picture(self.sent % PICTURES)
        frame.pts, frame.time_base = pts, time_base
        self.sent += 1
        return frame


class Tone(AudioStreamTrack):
    """A sine."""

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, av.AudioFrame)
        assert frame.pts is not None
        times = (frame.pts + np.arange(frame.samples)) / frame.sample_rate
        wave = (np.sin(2 * np.pi * TONE_HZ * times) * 10000).astype(np.int16)
        frame.planes[0].update(wave.tobytes())
        return frame


@dataclass
class Robot:
    """A RoomListener on which tests can wait."""

    joined: asyncio.Queue[Anchor] = field(default_factory=asyncio.Queue)
    left: asyncio.Queue[Anchor] = field(default_factory=asyncio.Queue)

    def on_anchor_joined(self, anchor: Anchor) -> None:
        self.joined.put_nowait(anchor)

    def on_anchor_changed(self, anchor: Anchor) -> None:
        raise AssertionError("WHIP sessions do not change")

    def on_anchor_left(self, anchor: Anchor) -> None:
        self.left.put_nowait(anchor)

    def on_evicted(self, code: LeaveCode) -> None:
        raise AssertionError("nobody put this robot out")


@dataclass
class Stage:
    """A room with a robot in it, and the way into it."""

    rooms: BuiltinRooms
    port: UdpPort
    robot: Robot
    connections: list[RTCPeerConnection] = field(default_factory=list)

    async def publish(
        self,
        user_id: str = "anchor",
        codec: VideoCodec = VP8,
        *,
        relay_port: int | None = None,
        is_dtls_server: bool = False,
    ) -> "Performer":
        """An anchor that has joined."""
        connection = RTCPeerConnection()
        self.connections.append(connection)
        video = NumberedVideo()
        connection.addTrack(Tone())
        connection.addTrack(video)
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        connection.getTransceivers()[1].setCodecPreferences(
            [
                each
                for each in capabilities
                if each.mimeType.lower() == f"video/{codec.name.lower()}"
            ]
        )
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        if is_dtls_server:
            offer = offer.replace("a=setup:actpass", "a=setup:passive")
        publication, answer = self.rooms.publish(ROOM, user_id, parse_remote_description(offer))
        if relay_port is not None:
            host, _udp_port = self.port.candidates[0]
            answer = re.sub(r"a=candidate:[^1].*\r\n", "", answer)
            answer = re.sub(rf"{re.escape(host)} \d+ typ", f"{host} {relay_port} typ", answer)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(5):
            anchor = await self.robot.joined.get()
        return Performer(anchor, publication, connection, video)


@dataclass
class Performer:
    """A connected anchor, seen from both sides."""

    anchor: Anchor
    publication: Publication
    connection: RTCPeerConnection
    source: NumberedVideo

    @property
    def audio(self) -> AudioReceiver:
        assert isinstance(self.anchor.audio, AudioReceiver)
        return self.anchor.audio

    @property
    def video(self) -> VideoReceiver:
        assert isinstance(self.anchor.video, VideoReceiver)
        return self.anchor.video

    async def keyframe(self, within_s: float = 1) -> Keyframe:
        """Ask for a key frame, which must come in so many seconds."""
        granted: asyncio.Future[Keyframe] = asyncio.get_running_loop().create_future()
        request = self.video.request_keyframe(granted.set_result, SystemClock().monotonic())
        try:
            async with asyncio.timeout(within_s):
                return await granted
        finally:
            request.cancel()

    async def hear(self, packets: int) -> RecordingSink:
        """So many Opus packets."""
        sink = RecordingSink()
        self.audio.add_sink(sink)
        await eventually(lambda: len(sink.packets) >= packets, within_s=packets * 0.02 + 5)
        self.audio.remove_sink(sink)
        return sink


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as opened:
        yield opened


@contextlib.asynccontextmanager
async def open_stage(*advertised: str) -> AsyncIterator[Stage]:
    clock = SystemClock()
    with media_port(clock, *advertised) as (port, tick):
        settings = RtcSettings(consent_timeout_s=2)
        rooms = BuiltinRooms(port, settings, clock, tick, make_bus())
        stage = Stage(rooms, port, Robot())
        await stage.rooms.enter(ROOM, "robot", stage.robot)
        yield stage
        for each in stage.connections:
            await each.close()


@contextlib.asynccontextmanager
async def in_weather(stage: Stage, weather: Weather) -> AsyncIterator[tuple[LossyRelay, int]]:
    async with lossy_relay(stage.port.candidates[0], weather) as opened:
        yield opened


def assert_intact(keyframe: Keyframe, performer: Performer) -> None:
    """The picture shows the number of one that was just sent."""
    number = picture_number(decode_keyframe(keyframe.decoding, keyframe.data))
    assert (performer.source.sent - number) % PICTURES < 30


def assert_whole(sink: RecordingSink) -> None:
    """Every packet, in order, and the tone in them."""
    first = sink.timestamps[0]
    assert sink.timestamps == [first + index * 960 for index in range(len(sink.packets))]
    assert sink.restarts == []
    decoder = av.CodecContext.create("libopus", "r")
    samples = np.concatenate(
        [
            frame.to_ndarray().reshape(-1, 2)[:, 0]
            for payload in sink.payloads
            for frame in decoder.decode(av.Packet(payload))
        ]
    ).astype(float)[4800:]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    loudest_hz = spectrum.argmax() * 48000 / len(samples)
    assert loudest_hz == pytest.approx(TONE_HZ, abs=5)


@each_published_codec
async def test_pictures_and_sound_arrive(stage: Stage, codec: VideoCodec) -> None:
    """Key frames decode to what was sent, and Opus is whole and in order."""
    performer = await stage.publish(codec=codec)
    keyframe = await performer.keyframe()
    assert keyframe.decoding is codec.decoding
    assert_intact(keyframe, performer)
    assert_whole(await performer.hear(60))
    assert_intact(await performer.keyframe(), performer)
    counts = performer.publication.connection.counts
    assert (counts["not_authentic"], counts["malformed"], counts["unassigned"]) == (0, 0, 0)
    assert counts["video_unread"] > 0


@pytest.mark.parametrize("reachable", ["127.0.0.2", "::1"])
async def test_one_of_several_advertised_addresses_is_enough(reachable: str) -> None:
    """An anchor inside, or with IPv6, finds the one that it can reach; aiortc takes answers only
    from the address that it asked."""
    if ":" in reachable and not get_host_addresses(use_ipv4=False, use_ipv6=True):
        pytest.skip("this machine has no IPv6 but of its own")
    async with open_stage("203.0.113.9", reachable) as stage:
        performer = await stage.publish()
        assert_intact(await performer.keyframe(), performer)


async def test_a_peer_that_is_the_dtls_server(stage: Stage) -> None:
    """Its offer says setup:passive; we begin the handshake."""
    performer = await stage.publish(is_dtls_server=True)
    assert_intact(await performer.keyframe(), performer)


@each_published_codec
async def test_lost_packets_of_key_frames_are_repaired(stage: Stage, codec: VideoCodec) -> None:
    """With one packet in ten lost, every picture comes in time, by NACK rather than by PLI."""
    weather = Weather(loss=0.1, repeat=0.05, late=0.1, late_s=0.03)
    async with in_weather(stage, weather) as (_relay, relay_port):
        performer = await stage.publish(codec=codec, relay_port=relay_port)
        for _ in range(8):
            assert_intact(await performer.keyframe(within_s=1.5), performer)
        assert weather.lost > 10
        assert performer.video.counts["keyframes"] == 8
        assert performer.video.counts["keyframe_requests"] <= 14


async def test_reordered_and_repeated_sound_comes_out_in_order(stage: Stage) -> None:
    """Whatever is late by less than the window."""
    weather = Weather(repeat=0.2, late=0.3, late_s=0.1)
    async with in_weather(stage, weather) as (_relay, relay_port):
        performer = await stage.publish(relay_port=relay_port)
        assert_whole(await performer.hear(100))
        assert performer.publication.connection.counts["repeated"] > 0


async def test_a_vanished_anchor_leaves(stage: Stage) -> None:
    """Nobody said goodbye: after the consent timeout it is gone."""
    async with in_weather(stage, Weather()) as (relay, relay_port):
        performer = await stage.publish(relay_port=relay_port)
        relay.weather.blocks = True
        async with asyncio.timeout(3.5):
            assert await stage.robot.left.get() is performer.anchor
        assert not stage.rooms.holds_user(ROOM, "anchor")


async def test_a_closed_connection_leaves_at_once(stage: Stage) -> None:
    """It said goodbye by DTLS."""
    performer = await stage.publish()
    await performer.keyframe()
    await performer.connection.close()
    async with asyncio.timeout(1):
        assert await stage.robot.left.get() is performer.anchor


async def test_the_same_user_again_replaces_its_older_self(stage: Stage) -> None:
    """Its media goes on from the new connection."""
    older = await stage.publish()
    newer = await stage.publish()
    async with asyncio.timeout(1):
        assert await stage.robot.left.get() is older.anchor
    assert_intact(await newer.keyframe(), newer)


async def test_two_robots_share_one_key_frame(stage: Stage) -> None:
    """And one request for it."""
    performer = await stage.publish()
    await performer.keyframe()
    await performer.hear(50)  # by then no key frame comes on its own any more
    requests = performer.video.counts["keyframe_requests"]
    first, second = await asyncio.gather(performer.keyframe(), performer.keyframe())
    assert first is second
    assert performer.video.counts["keyframe_requests"] == requests + 1


async def test_garbage_from_the_anchors_own_address_is_harmless(stage: Stage) -> None:
    """Counted, and nothing else: media goes on."""
    async with in_weather(stage, Weather()) as (relay, relay_port):
        performer = await stage.publish(relay_port=relay_port)
        await performer.keyframe()
        audio_ssrc = (performer.audio.ssrc or 0).to_bytes(4)
        video_ssrc = (performer.video.ssrc or 0).to_bytes(4)
        for garbage in (
            b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
            b"\x16\xfe\xfd" + bytes(40),
            b"\x80\x60" + bytes(6) + audio_ssrc + bytes(40),
            b"\x80\x61" + bytes(6) + video_ssrc + bytes(40),
            b"\x80\xc8\x00\x06" + audio_ssrc + bytes(40),
            b"\xbf\x60" + bytes(60),
            b"\x45" * 20,
            b"x",
        ):
            relay.inject(garbage)
        assert_whole(await performer.hear(50))
        assert_intact(await performer.keyframe(), performer)
        # Which it is hangs on the random sequence numbers that the garbage is next to.
        counts = performer.publication.connection.counts
        assert counts["not_authentic"] + counts["repeated"] >= 3
        assert stage.rooms.media_counts() == counts
        assert counts["keyframes"] >= 2
        assert stage.port.foreign >= 2
        assert stage.port.errors == 0
