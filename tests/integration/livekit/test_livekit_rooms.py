"""What a robot hears and sees in a room of a real LiveKit server, of LiveKit's own clients."""

import asyncio
from pathlib import Path

import pytest

from helpers.encoded_video import decode_keyframe, picture_number
from helpers.livekit_anchor import AnchorSpec
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage, pitch_hz
from helpers.rtp import RecordingSink
from helpers.scripted_rooms import HearingRobot
from helpers.waiting import eventually

_ALICE = AnchorSpec(tone_hz=440, first_number=0)
_BOB = AnchorSpec(tone_hz=330, first_number=16)


async def test_anchors_come_and_go(stage: LivekitStage) -> None:
    await stage.join("alice", _ALICE)
    await stage.join("bob", _BOB)
    await stage.leave("alice")
    await eventually(lambda: ("left", "alice") in stage.robot.heard)
    assert set(stage.room.anchors) == {"bob"}
    assert stage.robot.heard[0] == ("joined", "alice")


async def test_names_that_are_no_user_ids_are_told(stage: LivekitStage) -> None:
    await stage.join("alice@example.com", _ALICE)
    [user_id] = stage.room.anchors
    assert user_id.startswith("alice_example--")
    assert stage.anchor(user_id).identity == "alice@example.com"


async def test_what_is_muted_is_not_there_and_comes_back_as_the_same_track(
    stage: LivekitStage,
) -> None:
    """What is said first after unmuting is heard: the subscription has stayed."""
    alice = await stage.join("alice", _ALICE)
    track = stage.audio("alice")
    assert len((await stage.hear("alice", 20)).packets) >= 20
    alice.audio.mute()
    await eventually(lambda: stage.anchor("alice").audio is None)
    assert stage.anchor("alice").video is not None
    alice.audio.unmute()
    await eventually(lambda: stage.anchor("alice").audio is track)
    assert len((await stage.hear("alice", 20, within_s=2)).packets) >= 20


async def test_the_camera_is_muted(stage: LivekitStage) -> None:
    alice = await stage.join("alice", _ALICE)
    track = stage.video("alice")
    await stage.keyframe(track)
    alice.video.mute()
    await eventually(lambda: stage.anchor("alice").video is None)
    alice.video.unmute()
    await eventually(lambda: stage.anchor("alice").video is track)
    await stage.keyframe(track)


async def test_a_screen_share_is_the_second_video(stage: LivekitStage) -> None:
    await stage.join("alice", AnchorSpec(video=(320, 192), screen=True))
    anchor = stage.anchor("alice")
    assert anchor.video is not None
    assert anchor.aux is not None
    assert anchor.aux is not anchor.video
    await stage.keyframe(anchor.aux)


async def test_nothing_is_sent_to_us_of_what_nobody_wants(stage: LivekitStage) -> None:
    """Neither before anybody wants it, nor some seconds after."""
    await stage.join("alice", _ALICE)
    before = stage.port.datagrams
    await asyncio.sleep(1)  # nothing is what is waited for
    assert stage.port.datagrams - before < 20
    sink = await stage.hear("alice", 50)
    assert pitch_hz(sink) == pytest.approx(440, abs=15)

    async def is_quiet() -> bool:
        former = stage.port.datagrams
        await asyncio.sleep(1)
        return stage.port.datagrams - former < 20

    async with asyncio.timeout(10):
        while not await is_quiet():
            pass


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_each_picture_is_its_own_anchors(stage: LivekitStage, codec: str) -> None:
    await stage.join("alice", AnchorSpec(codec=codec, first_number=0))
    await stage.join("bob", AnchorSpec(codec=codec, first_number=16))
    for _ in range(3):
        keyframes = await asyncio.gather(
            *(stage.keyframe(stage.video(name)) for name in ("alice", "bob"))
        )
        numbers = [picture_number(decode_keyframe(each.decoding, each.data)) for each in keyframes]
        assert [number // 16 for number in numbers] == [0, 1]


async def test_no_sound_is_anybody_elses_whoever_comes_and_goes(stage: LivekitStage) -> None:
    """Sections are used again by the server for others; each of a dozen stays is heard in its own
    pitch, and carol, who stays, is heard whole."""
    await stage.join("carol", AnchorSpec(tone_hz=660, video=None))
    carol = RecordingSink()
    stage.audio("carol").add_sink(carol)
    for turn in range(6):
        names = {f"alice{turn}": 440.0, f"bob{turn}": 330.0}
        await asyncio.gather(
            *(stage.join(n, AnchorSpec(tone_hz=hz, video=None)) for n, hz in names.items())
        )
        sinks = await asyncio.gather(*(stage.hear(name, 50) for name in names))
        for sink, hz in zip(sinks, names.values(), strict=True):
            assert pitch_hz(sink) == pytest.approx(hz, abs=15)
        await asyncio.gather(*map(stage.leave, names))
    assert pitch_hz(carol) == pytest.approx(660, abs=5)
    assert stage.room.media_counts["audio_lost"] == 0
    assert carol.timestamps == sorted(set(carol.timestamps))
    assert carol.restarts == []


async def test_two_robots_hear_the_same(stage: LivekitStage) -> None:
    await stage.join("alice", _ALICE)
    second = HearingRobot()
    attendance = await stage.rooms.enter(stage.key, "robot_2", second)
    assert second.heard == [("joined", "alice")]
    sinks = await asyncio.gather(stage.hear("alice", 30), stage.hear("alice", 30))
    assert sinks[0].packets[:30] == sinks[1].packets[:30]
    attendance.leave()
    assert len((await stage.hear("alice", 10)).packets) >= 10


async def test_an_ice_lite_server(tmp_path: Path, room_id: str) -> None:
    """It only answers checks: we find the path, as many servers in the cloud would have it."""
    with LivekitProcess(tmp_path, rtc="use_ice_lite: true") as process:
        async with livekit_stage(process, room_id) as stage:
            await stage.join("alice", _ALICE)
            assert len((await stage.hear("alice", 20)).packets) >= 20
            await stage.keyframe(stage.video("alice"))
