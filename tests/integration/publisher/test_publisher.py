"""A publisher against an independent receiver: aiortc, which decodes what arrives."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice_publisher.connection import ConnectionOptions
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from cloudslice_publisher.picture import ColourBars
from cloudslice_publisher.publisher import (
    PublishConfig,
    Publisher,
    PublisherGroup,
    PublishError,
    PublisherState,
    publish,
    publisher_group,
)
from helpers.whip_receiver import WhipReceiver, whip_receiver

pytestmark = pytest.mark.timeout(30)

ACCENT = (160, 32, 64)
TONE_HZ = 523


def make_media(codec: VideoCodec) -> Media:
    """Two seconds, 30 frames a second; one key frame, so that all others were asked for."""
    spec = VideoSpec(codec, 320, 180, bitrate_kbps=300, keyframe_interval_s=2)
    return synthetic_media(Look("alice", ACCENT, TONE_HZ), video=spec, seconds=2)


@pytest.fixture(scope="module")
def h264() -> Media:
    return make_media(H264)


@pytest.fixture(scope="module")
def vp8() -> Media:
    return make_media(VP8)


@pytest.fixture
async def receiver() -> AsyncIterator[WhipReceiver]:
    async with whip_receiver() as receiver:
        yield receiver


@pytest.fixture
async def group(receiver: WhipReceiver) -> AsyncIterator[PublisherGroup]:
    async with publisher_group() as group:
        yield group


class States:
    """Collects what a publisher says of its state, and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[PublisherState, str]] = []
        self._changed = asyncio.Event()

    def __call__(self, state: PublisherState, detail: str) -> None:
        self.seen.append((state, detail))
        self._changed.set()

    async def wait_for(self, state: PublisherState, times: int = 1) -> str:
        """The detail of the state when it is there for the n-th time."""
        while len(found := [detail for each, detail in self.seen if each is state]) < times:
            self._changed.clear()
            await self._changed.wait()
        return found[times - 1]


def assert_shows_bars(frame: av.VideoFrame) -> None:
    image = frame.to_ndarray(format="rgb24").astype(int)
    for x, y, colour in ColourBars(320, 180, accent=ACCENT).swatches():
        assert np.abs(image[y, x] - colour).max() <= 12, (x, y, colour, image[y, x])


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_picture_and_sound_arrive(
    receiver: WhipReceiver, group: PublisherGroup, request: pytest.FixtureRequest, codec: str
) -> None:
    """The receiver sees the bars in each frame of a second and hears the tone."""
    publisher = group.start(PublishConfig(receiver.url, "token"), request.getfixturevalue(codec))
    await publisher.wait_live()
    assert publisher.state is PublisherState.LIVE
    for _ in range(30):
        assert_shows_bars(await receiver.video_frame())
    audio = await receiver.track("audio")
    frames = [await audio.recv() for _ in range(100)]
    # aiortc's frames are interleaved stereo; the beep takes the first 100 ms of each second.
    pcm = np.concatenate([frame.to_ndarray()[0, ::2] for frame in frames[:50]])
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    spectrum[np.arange(spectrum.size) > 800] = 0
    assert np.argmax(spectrum) * 48_000 / pcm.size == pytest.approx(TONE_HZ, abs=4)


async def test_loss_is_repaired(receiver: WhipReceiver, group: PublisherGroup, h264: Media) -> None:
    """With a tenth of all packets lost, the receiver asks for them and its pictures are whole."""
    config = PublishConfig(receiver.url, "token", connection=ConnectionOptions(loss=0.1))
    publisher = group.start(config, h264)
    for _ in range(60):
        assert_shows_bars(await receiver.video_frame())
    assert publisher.stats.packets_lost > 5
    assert publisher.stats.packets_nacked > 5


async def test_a_key_frame_comes_when_asked_for(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """Within a few frames of the PLI, long before the loop would have one by itself."""
    publisher = group.start(PublishConfig(receiver.url, "token"), h264)
    asked_at = (await receiver.video_frame(lambda frame: frame.time > 0.5)).time
    await receiver.ask_for_keyframe()
    keyframe = await receiver.video_frame(lambda frame: frame.key_frame)
    assert keyframe.time - asked_at < 0.3
    assert publisher.stats.keyframes_wanted == 1
    for _ in range(10):
        assert_shows_bars(await receiver.video_frame())


async def test_muting_stops_one_stream_and_not_the_other(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """While video is muted sound goes on; afterwards video goes on, with a key frame."""
    publisher = group.start(PublishConfig(receiver.url, "token"), h264)
    before = await receiver.video_frame(lambda frame: frame.time > 0.3)
    publisher.mute(TrackKind.VIDEO)
    audio = await receiver.track("audio")
    for _ in range(40):
        await audio.recv()
    publisher.mute(TrackKind.VIDEO, is_muted=False)
    after = await receiver.video_frame(lambda frame: frame.time > before.time + 0.3)
    assert after.key_frame
    assert_shows_bars(after)


async def test_audio_can_be_muted_after_a_while(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """Video goes on."""
    publisher = group.start(PublishConfig(receiver.url, "token", mute_audio_after_s=0), h264)
    await receiver.video_frame(lambda frame: frame.time > 0.5)
    report = publisher.stats
    assert h264.video is not None
    assert report.packets_sent <= sum(len(frame.payloads) for frame in h264.video.frames)


async def test_stopping_says_goodbye(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """One DELETE, and the peer's connection is closed; stopping again is harmless."""
    states = States()
    publisher = group.start(PublishConfig(receiver.url, "token"), h264, states)
    await publisher.wait_live()
    await group.stop(publisher)
    await group.stop(publisher)
    assert receiver.goodbyes == 1
    assert receiver.peers[0].connectionState == "closed"
    assert states.seen == [(PublisherState.LIVE, ""), (PublisherState.ENDED, "")]


async def test_vanishing_says_nothing(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """As when a cable is cut: the server has to notice by itself."""
    publisher = group.start(PublishConfig(receiver.url, "token"), h264)
    await publisher.wait_live()
    publisher.vanish()
    await group.stop(publisher)
    assert receiver.goodbyes == 0
    assert receiver.peers[0].connectionState == "connected"


async def test_a_publisher_that_is_thrown_out_comes_back(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """The server closes the connection; a moment later pictures flow again."""
    states = States()
    group.start(PublishConfig(receiver.url, "token"), h264, states)
    await states.wait_for(PublisherState.LIVE)
    await receiver.video_frame()
    await receiver.hang_up()
    assert "closed" in await states.wait_for(PublisherState.WAITING)
    await states.wait_for(PublisherState.LIVE, times=2)
    assert_shows_bars(await receiver.video_frame())


async def test_a_refused_publisher_tries_again(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """It says why it waits, and gets in once the server lets it."""
    receiver.bearer = "another"
    states = States()
    publisher = group.start(PublishConfig(receiver.url, "token"), h264, states)
    reason = await states.wait_for(PublisherState.WAITING, times=2)
    assert reason == "HTTP 401 Unauthorized: the token is a wrong one"
    receiver.bearer = "token"
    await publisher.wait_live()
    assert receiver.offers >= 3


async def test_without_reconnecting_a_refusal_is_an_error(
    receiver: WhipReceiver, h264: Media
) -> None:
    receiver.bearer = "another"
    config = PublishConfig(receiver.url, "token", reconnects=False)
    with pytest.raises(PublishError, match="HTTP 401"):
        await publish(config, h264)


async def test_an_absent_server_is_waited_for(group: PublisherGroup, h264: Media) -> None:
    """Started before its server, a publisher says so and goes on trying."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    states = States()
    config = PublishConfig(f"http://127.0.0.1:{port}/whip", "token")
    publisher = group.start(config, h264, states)
    assert "connect" in (await states.wait_for(PublisherState.WAITING, times=2)).lower()
    assert not publisher.stats.packets_sent


async def test_a_silent_server_is_left(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """A server that answers no check any more has lost the publisher after the timeout."""
    states = States()
    options = ConnectionOptions(consent_timeout_s=0)
    group.start(PublishConfig(receiver.url, "token", connection=options), h264, states)
    assert "the peer has not answered" in await states.wait_for(PublisherState.WAITING)


async def test_a_server_that_is_gone_is_left_soon(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """The kernel says that nobody listens there: no need to wait for the timeout."""
    states = States()
    group.start(PublishConfig(receiver.url, "token"), h264, states)
    await states.wait_for(PublisherState.LIVE)
    await receiver.vanish()
    reason = await states.wait_for(PublisherState.WAITING)
    assert reason == ("the server does not answer any more: nobody listens at the peer's address")


async def test_errors_of_the_body_come_out_as_they_are() -> None:
    """A failed assertion inside a group is not wrapped in a group of exceptions."""
    with pytest.raises(LookupError, match="the body's"):
        async with publisher_group():
            raise LookupError("the body's")


async def test_publish_leaves_when_cancelled(receiver: WhipReceiver, h264: Media) -> None:
    """What `cloudslice publish` does on Ctrl-C."""
    states = States()
    task = asyncio.create_task(publish(PublishConfig(receiver.url, "token"), h264, states))
    await states.wait_for(PublisherState.LIVE)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert receiver.goodbyes == 1


async def test_many_publishers_share_a_group(
    receiver: WhipReceiver, group: PublisherGroup, h264: Media
) -> None:
    """All get in, and all have left when the group is left."""
    audio_only = Media(None, h264.audio)
    publishers: list[Publisher] = [
        group.start(PublishConfig(receiver.url, "token"), audio_only) for _ in range(5)
    ]
    for publisher in publishers:
        await publisher.wait_live()
    await group.stop_all()
    assert receiver.goodbyes == 5
