"""What a LiveKit server is told of tracks: what somebody wants, once, and no more."""

from collections.abc import Mapping
from typing import Any

import pytest
from livekit.protocol import models, rtc
from structlog.testing import capture_logs

from cloudslice.faults import Faults
from cloudslice.media.tracks import Keyframe
from cloudslice.rooms.livekit.encrypted_tracks import EncryptedAudioTrack, EncryptedVideoTrack
from cloudslice.rooms.livekit.frame_decryption import FrameKey
from cloudslice.rooms.livekit.livekit_members import Published, PublishedTracks
from cloudslice.rooms.livekit.livekit_room_tracks import RoomTracks
from cloudslice.rooms.livekit.livekit_subscriptions import Subscriptions
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.room_server import Tracks
from helpers.rtp import RecordingSink
from helpers.slice_store import ManualClock


class Stage:
    """A room of alice, and what the server is told."""

    def __init__(self, *, on_demand: bool = True, key: FrameKey | None = None) -> None:
        self.clock = ManualClock()
        self.faults = Faults("test")
        self.tracks = RoomTracks(self.clock, self.faults.caught, {}, on_demand=on_demand, key=key)
        self.subscriptions = Subscriptions(self._send)
        self.tracks.wake = self.update
        self.told: list[tuple[str, list[str], bool]] = []
        self.alice = self.publish()

    def publish(
        self,
        *,
        muted: bool = False,
        encryption: models.Encryption.Type = models.Encryption.Type.NONE,
    ) -> Tracks:
        audio = Published("audio", muted, "audio/opus", encryption)
        video = Published("video", muted, "video/VP8", encryption)
        by_name: Mapping[str, PublishedTracks] = {"alice": PublishedTracks(audio, video, None)}
        return self.tracks.update(by_name)["alice"]

    def update(self) -> None:
        self.subscriptions.update(self.tracks.all, self.clock.now)

    def after(self, seconds: float) -> list[tuple[str, list[str], bool]]:
        """What the server is told until then, and was not told before."""
        self.clock.now += seconds
        self.update()
        told, self.told = self.told, []
        return told

    def ask(self) -> Any:
        assert self.alice.video is not None
        return self.alice.video.request_keyframe(_ignore, self.clock.now)

    def _send(self, request: rtc.SignalRequest) -> None:
        if request.WhichOneof("message") == "subscription":
            told = request.subscription
            self.told.append(("subscribe", list(told.track_sids), told.subscribe))
        else:
            settings = request.track_setting
            self.told.append(("send", list(settings.track_sids), not settings.disabled))


class BrokenSink(RecordingSink):
    """An AudioSink with a bug."""

    def on_restart(self) -> None:
        raise ZeroDivisionError


def _ignore(_keyframe: Keyframe) -> None:
    pass


def test_nobody_wants_anything() -> None:
    assert Stage().after(10) == []


def test_audio_is_wanted_while_it_has_a_sink_and_a_little_longer() -> None:
    stage, sink = Stage(), RecordingSink()
    assert stage.alice.audio is not None
    stage.alice.audio.add_sink(sink)
    assert stage.after(0) == [("subscribe", ["audio"], True)]
    assert stage.after(60) == []
    stage.alice.audio.remove_sink(sink)
    assert stage.after(4) == []
    assert stage.after(2) == [("subscribe", ["audio"], False)]


def test_muted_audio_stays_subscribed() -> None:
    """What is said first after it is not lost by a negotiation."""
    stage, sink = Stage(), RecordingSink()
    assert stage.alice.audio is not None
    stage.alice.audio.add_sink(sink)
    stage.after(0)
    assert stage.publish(muted=True).audio is None
    stage.alice.audio.remove_sink(sink)
    assert stage.after(60) == []
    assert stage.publish().audio is stage.alice.audio
    assert stage.after(4) == []
    assert stage.after(2) == [("subscribe", ["audio"], False)]


def test_what_a_listener_raises_is_counted() -> None:
    stage = Stage()
    audio = stage.alice.audio
    assert isinstance(audio, RemoteAudioTrack)
    audio.add_sink(BrokenSink())
    audio.on_restart()
    assert stage.faults.errors == 1


def test_video_is_sent_while_a_key_frame_is_asked_for() -> None:
    stage = Stage()
    request = stage.ask()
    assert stage.after(0) == [("subscribe", ["video"], True), ("send", ["video"], True)]
    request.cancel()
    assert stage.after(0) == [("send", ["video"], False)]
    stage.after(50)
    stage.ask().cancel()
    assert stage.after(0) == [("send", ["video"], True), ("send", ["video"], False)]
    assert stage.after(100) == [("subscribe", ["video"], False)]


def test_video_that_is_not_on_demand_stays_on() -> None:
    stage = Stage(on_demand=False)
    stage.ask().cancel()
    assert stage.after(0) == [("subscribe", ["video"], True), ("send", ["video"], True)]
    assert stage.after(60) == []


def test_after_a_resume_all_is_told_again() -> None:
    stage = Stage()
    stage.ask()
    told = stage.after(0)
    stage.subscriptions.forget()
    assert stage.after(0) == told


def test_what_the_server_refuses_is_not_asked_for_again() -> None:
    stage = Stage()
    stage.ask()
    stage.after(0)
    assert stage.alice.video is not None
    stage.tracks.refuse("video", "SE_CODEC_UNSUPPORTED")
    assert not stage.alice.video.flowing
    assert stage.publish().video is None
    assert stage.after(0) == [("subscribe", ["video"], False)]


def test_tracks_that_are_gone_are_forgotten() -> None:
    stage = Stage()
    stage.ask()
    stage.after(0)
    stage.tracks.update({})
    assert stage.after(0) == []
    assert stage.publish().video is not stage.alice.video


@pytest.mark.parametrize(
    ("encryption", "key", "reason"),
    [
        ("GCM", None, "the settings have no e2ee_key"),
        ("CUSTOM", FrameKey("passphrase"), "its encryption is custom"),
    ],
)
def test_what_cannot_be_decrypted_is_left_out(
    encryption: str, key: FrameKey | None, reason: str
) -> None:
    """And the log says why: once for each track."""
    stage = Stage(key=key)
    with capture_logs() as logs:
        for _ in range(2):
            published = stage.publish(encryption=models.Encryption.Type.Value(encryption))
            assert published == Tracks()
    told = {each["track"]: each["reason"] for each in logs}
    assert told == {"audio": reason, "video": reason}
    assert len(logs) == 2


def test_what_is_encrypted_is_there_where_the_key_is_known() -> None:
    stage = Stage(key=FrameKey("passphrase"))
    stage.tracks.update({})
    published = stage.publish(encryption=models.Encryption.Type.GCM)
    assert isinstance(published.audio, EncryptedAudioTrack)
    assert isinstance(published.video, EncryptedVideoTrack)


def test_video_that_is_switched_off_by_us_flows() -> None:
    """Its packets cannot tell: signalling does. When it is on for a while and nothing comes, it
    does not."""
    stage = Stage()
    assert stage.alice.video is not None
    assert stage.alice.video.flowing
    stage.ask()
    assert stage.alice.video.flowing
    stage.clock.now += 2
    assert not stage.alice.video.flowing
