"""What tracks of other servers' rooms want, and where what they get comes from."""

from collections.abc import Iterator

import pytest

from cloudslice.codecs.vp8 import VP8, Vp8Depacketizer
from cloudslice.faults import Faults
from cloudslice.media.tracks import Keyframe
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.receiver import ReceiverHooks
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.encoded_video import encoded_frames
from helpers.received_media import ReceivedMedia
from helpers.rtp import RecordingSink, rtp_packet
from helpers.slice_store import ManualClock

VP8_TYPE = 96


def make_audio(hooks: ReceiverHooks) -> AudioReceiver:
    return AudioReceiver([111], can_nack=False, hooks=hooks)


def make_video(hooks: ReceiverHooks) -> VideoReceiver:
    return VideoReceiver(
        {VP8_TYPE: (VP8.decoding, Vp8Depacketizer)},
        can_nack=True,
        orientation_id=None,
        color_space_id=None,
        hooks=hooks,
    )


class Camera:
    """A video track, what it is bound to, and a sender of numbered frames."""

    def __init__(self, *, on_demand: bool = True) -> None:
        self.media = ReceivedMedia(make_video)
        self.clock: ManualClock = self.media.clock
        self.faults = Faults("track")
        self.track = RemoteVideoTrack(self.clock, self.faults.caught, on_demand=on_demand)
        self.changes = 0
        self.track.on_change = self._count
        self.taken: list[Keyframe] = []
        self.sequence = self.timestamp = 0
        self.media.adopt(1)

    def bind(self, *, is_on: bool = True) -> None:
        self.track.bind(self.media.receiver)
        self.track.switched(is_on=is_on, now=self.clock.now)

    def want(self) -> object:
        return self.track.request_keyframe(self.taken.append, self.clock.now)

    def send(self, seconds: float = 0.2) -> None:
        """A key frame, then others that are none."""
        until = self.clock.now + seconds
        for frame in encoded_frames(VP8, 12, 12):
            if self.clock.now >= until:
                return
            self.timestamp += 3000
            for index, payload in enumerate(frame.payloads):
                self.sequence += 1
                is_last = index == len(frame.payloads) - 1
                packet = rtp_packet(
                    self.sequence,
                    self.timestamp,
                    payload,
                    payload_type=VP8_TYPE,
                    marker=is_last,
                    ssrc=1,
                )
                self.media.put(self.media.receiving.protect(packet))
            self.media.tick()
            self.clock.now += 0.05

    @property
    def is_wanted(self) -> tuple[bool, bool]:
        """Whether it is to be subscribed to, and switched on."""
        now = self.clock.now
        return self.track.is_wanted(now), self.track.is_on(now)

    def _count(self) -> None:
        self.changes += 1


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.media.close()


def test_video_is_wanted_for_a_key_frame_and_is_off_between_two(camera: Camera) -> None:
    assert camera.is_wanted == (False, False)
    camera.want()
    assert camera.changes == 1
    assert camera.is_wanted == (True, True)
    camera.bind()
    camera.send()
    assert len(camera.taken) == 1
    assert camera.changes == 2
    assert camera.is_wanted == (True, False)
    camera.track.switched(is_on=False, now=camera.clock.now)
    camera.clock.now += 100
    assert camera.track.flowing
    assert camera.is_wanted == (False, False)


def test_video_that_is_not_on_demand_stays_on() -> None:
    camera = Camera(on_demand=False)
    camera.want()
    camera.bind()
    camera.send()
    assert camera.is_wanted == (True, True)
    camera.media.close()


def test_the_server_has_asked_the_sender_and_we_wait_for_that(camera: Camera) -> None:
    """Two requests would give two key frames."""
    camera.bind(is_on=False)
    camera.send()  # the stream is known
    camera.want()
    camera.media.run(camera.clock.now + 0.5)
    assert camera.media.plis == []
    camera.media.run(camera.clock.now + 0.5)
    assert len(camera.media.plis) == 1


def test_a_request_goes_on_by_another_receiver(camera: Camera) -> None:
    camera.want()
    camera.bind()
    other = Camera()
    camera.track.bind(None)
    camera.track.bind(other.media.receiver)
    camera.send()
    assert camera.taken == []
    other.send()
    assert len(camera.taken) == 1
    other.media.close()


def test_a_request_can_be_withdrawn_once(camera: Camera) -> None:
    request = camera.track.request_keyframe(camera.taken.append, camera.clock.now)
    camera.bind()
    request.cancel()
    request.cancel()
    assert camera.changes == 2
    camera.send()
    assert camera.taken == []


def test_a_video_flows_until_it_is_on_and_silent(camera: Camera) -> None:
    """While it is off, nobody can tell: as before."""
    assert camera.track.flowing
    request = camera.track.request_keyframe(camera.taken.append, camera.clock.now)
    camera.bind()
    assert camera.track.flowing
    camera.clock.now += 3
    assert not camera.track.flowing
    request.cancel()
    camera.clock.now += 1000
    assert camera.is_wanted == (True, True)  # to see it begin again
    camera.send()
    assert camera.track.flowing


def test_audio_is_wanted_while_somebody_hears_and_a_moment_longer() -> None:
    clock, sink = ManualClock(), RecordingSink()
    track = RemoteAudioTrack(clock, Faults("track").caught)
    assert not track.is_wanted(clock.now)
    track.add_sink(sink)
    clock.now += 1000
    assert track.is_wanted(clock.now)
    track.remove_sink(sink)
    assert track.is_wanted(clock.now)
    assert not track.is_wanted(clock.now + 6)


def test_sinks_hear_of_another_connection_before_its_first_packet() -> None:
    clock, sink, late = ManualClock(), RecordingSink(), RecordingSink()
    track = RemoteAudioTrack(clock, Faults("track").caught)
    track.add_sink(sink)
    receivers = [ReceivedMedia(make_audio) for _ in range(2)]
    for number, media in enumerate(receivers):
        track.bind(media.receiver)
        media.adopt(1)
        media.put(media.receiving.protect(rtp_packet(1, 960, b"%d" % number, ssrc=1)))
        media.process()
        media.take(media.receiving.flush())
    track.add_sink(late)
    track.bind(None)
    assert sink.payloads == [b"0", b"1"]
    assert sink.restarts == [1]
    assert late.restarts == []
    for media in receivers:
        media.close()


def test_a_receiver_of_another_kind_is_nothing_to_bind_to(camera: Camera) -> None:
    audio = RemoteAudioTrack(camera.clock, Faults("track").caught)
    audio.bind(camera.media.receiver)
    assert not audio.is_bound_to(camera.media.receiver)
