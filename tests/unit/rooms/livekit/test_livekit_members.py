"""Who is in a LiveKit room, and which of their tracks are sliced."""

from typing import Any

import pytest
from livekit.protocol import models

from cloudslice.rooms.livekit.livekit_members import LivekitMembers

MICROPHONE = models.TrackInfo(sid="mic", type="AUDIO", source="MICROPHONE")
CAMERA = models.TrackInfo(sid="cam", type="VIDEO", source="CAMERA")
SCREEN = models.TrackInfo(sid="screen", type="VIDEO", source="SCREEN_SHARE")
SCREEN_SOUND = models.TrackInfo(sid="sound", type="AUDIO", source="SCREEN_SHARE_AUDIO")
UNNAMED_AUDIO = models.TrackInfo(sid="audio", type="AUDIO")
UNNAMED_VIDEO = models.TrackInfo(sid="video", type="VIDEO")


def changed(track: models.TrackInfo, **fields: Any) -> models.TrackInfo:
    """The track with other fields."""
    other = models.TrackInfo(**fields)
    other_track = models.TrackInfo()
    other_track.CopyFrom(track)
    other_track.MergeFrom(other)
    return other_track


def member(identity: str, *tracks: models.TrackInfo, **fields: Any) -> models.ParticipantInfo:
    info = {"sid": f"PA_{identity}", "state": "ACTIVE", "version": 1} | fields
    return models.ParticipantInfo(identity=identity, tracks=tracks, **info)


def chosen(*tracks: models.TrackInfo) -> list[str | None]:
    members = LivekitMembers()
    members.update([member("alice", *tracks)])
    found = members.published["alice"]
    return [each.sid if each else None for each in (found.audio, found.video, found.aux)]


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([MICROPHONE, CAMERA, SCREEN], ["mic", "cam", "screen"]),
        ([SCREEN, CAMERA], [None, "cam", "screen"]),
        ([SCREEN, SCREEN_SOUND], ["sound", None, "screen"]),
        ([SCREEN_SOUND, MICROPHONE], ["mic", None, None]),
        ([UNNAMED_AUDIO, UNNAMED_VIDEO], ["audio", "video", None]),
        ([changed(MICROPHONE, muted=True), UNNAMED_AUDIO], ["audio", None, None]),
        ([changed(MICROPHONE, muted=True), SCREEN_SOUND], ["mic", None, None]),
    ],
)
def test_which_track_counts(tracks: list[models.TrackInfo], expected: list[str | None]) -> None:
    assert chosen(*tracks) == expected


def test_what_is_told_of_a_track() -> None:
    members = LivekitMembers()
    encrypted = changed(CAMERA, muted=True, encryption="GCM", mime_type="video/VP8")
    members.update([member("alice", encrypted)])
    video = members.published["alice"].video
    assert video is not None
    assert (video.is_muted, video.encryption, video.mime_type) == (
        True,
        models.Encryption.GCM,
        "video/VP8",
    )


def test_who_publishes_nothing_is_no_anchor() -> None:
    members = LivekitMembers()
    members.update([member("alice"), member("bob", MICROPHONE)])
    assert set(members.published) == {"bob"}


def test_who_leaves_is_gone_unless_he_has_come_back_already() -> None:
    members = LivekitMembers()
    members.update([member("alice", MICROPHONE, sid="PA_1")])
    members.update([member("alice", CAMERA, sid="PA_2")])
    members.update([member("alice", sid="PA_1", state="DISCONNECTED", version=9)])
    assert set(members.published) == {"alice"}
    members.update([member("alice", sid="PA_2", state="DISCONNECTED", version=9)])
    assert members.published == {}


def test_what_is_older_is_passed_over() -> None:
    members = LivekitMembers()
    members.update([member("alice", MICROPHONE, version=3)])
    members.update([member("alice", CAMERA, version=2)])
    assert members.published["alice"].video is None


def test_another_stay_has_a_count_of_its_own() -> None:
    members = LivekitMembers()
    members.update([member("alice", MICROPHONE, sid="PA_1", version=9)])
    members.update([member("alice", CAMERA, sid="PA_2", version=1)])
    assert members.published["alice"].video is not None


def test_a_new_visit_sees_who_is_there_now() -> None:
    members = LivekitMembers()
    members.update([member("alice", MICROPHONE, version=9)])
    members.replace([member("bob", CAMERA)])
    assert set(members.published) == {"bob"}
