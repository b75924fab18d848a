"""Rooms that LiveKit's own clients encrypt from end to end."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from helpers.encoded_video import decode_keyframe, picture_number
from helpers.livekit_anchor import AnchorSpec
from helpers.livekit_browser import livekit_page
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage, pitch_hz
from helpers.rtp import RecordingSink
from helpers.waiting import eventually

pytestmark = pytest.mark.timeout(90)

_OPUS_TICKS = 960
_START_CODE = b"\0\0\0\1"
_KEY, _OTHER_KEY = "correct horse battery staple", "another passphrase"


@pytest.fixture
async def stage(livekit: LivekitProcess, room_id: str) -> AsyncIterator[LivekitStage]:
    """Where the settings have the key."""
    async with livekit_stage(livekit, room_id, e2ee_key=_KEY) as opened:
        yield opened


def units(frame: bytes) -> tuple[bytes, ...]:
    """The NAL units of an access unit, without zeros behind them, which mean nothing: Chromium's
    parameter sets have some. A frame of another codec comes as it is."""
    return (
        tuple(each.rstrip(b"\0") for each in frame.split(b"\0\0\1"))
        if frame[:4] == _START_CODE
        else (frame,)
    )


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_what_a_browser_encrypts_is_had_bit_for_bit(stage: LivekitStage, codec: str) -> None:
    """Also after a pause, in which the server sends silence of its own, and with metadata behind
    each video frame."""
    token = stage.process.token(stage.key.room_id, "dora")
    publish = {"videoCodec": codec, "frameMetadata": {"timestamp": True, "frameId": True}}
    async with livekit_page(stage.process.url, token, e2eeKey=_KEY, publish=publish) as page:
        await eventually(lambda: "dora" in stage.room.anchors and stage.anchor("dora").video)
        audio, video = stage.audio("dora"), stage.video("dora")
        sink = RecordingSink()
        audio.add_sink(sink)
        await eventually(lambda: len(sink.packets) >= 100)
        heard = len(sink.packets)
        keyframes = [await stage.keyframe(video, within_s=5) for _ in range(3)]
        await page.switch("Microphone", on=False)
        await eventually(lambda: stage.anchor("dora").audio is None)
        await asyncio.sleep(1.5)  # the server sends a second of silence
        await page.switch("Microphone", on=True)
        before = len(sink.packets)
        await eventually(lambda: len(sink.packets) >= before + 50)
        payloads = sink.payloads
        sent = await page.sent_frames(is_audio=True)
        sent_video = await page.sent_frames(is_audio=False)
    first = payloads[:heard]
    assert any(sent[at : at + heard] == first for at in range(len(sent)))
    assert set(payloads) <= set(sent)
    assert {each.decoding.decoder for each in keyframes} == {codec}
    assert {units(each.data) for each in keyframes} <= set(map(units, sent_video))
    assert stage.room.media_counts["audio_lost"] == 0


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_what_libwebrtc_encrypts(stage: LivekitStage, codec: str) -> None:
    """By LiveKit's client for Python; beside somebody who encrypts nothing."""
    await stage.join("alice", AnchorSpec(codec=codec, e2ee_key=_KEY))
    await stage.join("bob", AnchorSpec(codec=codec, tone_hz=330, first_number=16))
    for name, number, hz in (("alice", 0, 440), ("bob", 1, 330)):
        keyframe = await stage.keyframe(stage.video(name))
        picture = decode_keyframe(keyframe.decoding, keyframe.data)
        assert picture_number(picture) // 16 == number
        sink = await stage.hear(name, 50)
        assert pitch_hz(sink) == pytest.approx(hz, abs=15)
    assert stage.room.media_counts["audio_lost"] == 0


async def test_without_the_key_it_is_left_out(livekit: LivekitProcess, room_id: str) -> None:
    with capture_logs() as logs:
        async with livekit_stage(livekit, room_id) as stage:
            await stage.join("bob", AnchorSpec(video=None))
            joining = asyncio.create_task(stage.join("alice", AnchorSpec(e2ee_key=_KEY)))
            try:
                await eventually(lambda: len(told(logs, "is left out")) == 2)
                assert set(stage.room.anchors) == {"bob"}
            finally:
                joining.cancel()
                await asyncio.wait([joining])
    assert {each["reason"] for each in told(logs, "is left out")} == {
        "the settings have no e2ee_key"
    }


async def test_another_key_is_told_and_nothing_comes(stage: LivekitStage) -> None:
    """Of those who have it; others are heard. No key is in the log."""
    with capture_logs() as logs:
        await stage.join("alice", AnchorSpec(e2ee_key=_OTHER_KEY))
        await stage.join("bob", AnchorSpec(video=None, e2ee_key=_KEY))
        sink = RecordingSink()
        stage.audio("alice").add_sink(sink)
        await eventually(lambda: told(logs, "cannot be decrypted"))
        with pytest.raises(TimeoutError):
            await stage.keyframe(stage.video("alice"))
        assert len((await stage.hear("bob", 20)).packets) >= 20
        assert sink.packets == []
    assert stage.room.media_counts["not_decrypted"] >= 10
    [line] = told(logs, "cannot be decrypted")
    assert line["identity"] == "alice"
    assert _KEY not in str(logs)
    assert _OTHER_KEY not in str(logs)


async def test_another_key_for_a_while_is_a_gap(stage: LivekitStage) -> None:
    """What comes before and after it goes on; nothing else is heard."""
    with capture_logs() as logs:
        alice = await stage.join("alice", AnchorSpec(video=None, e2ee_key=_KEY))
        keys, sink = alice.room.e2ee_manager.key_provider, RecordingSink()
        assert keys is not None
        stage.audio("alice").add_sink(sink)
        await eventually(lambda: len(sink.packets) >= 50)
        keys.set_shared_key(_OTHER_KEY.encode(), 0)
        await eventually(lambda: told(logs, "cannot be decrypted"))
        before = len(sink.packets)
        keys.set_shared_key(_KEY.encode(), 0)
        await eventually(lambda: len(sink.packets) >= before + 50)
    assert len(told(logs, "can be decrypted again")) == 1
    steps = [later - each for each, later in pairwise(sink.timestamps)]
    assert all(each > 0 and each % _OPUS_TICKS == 0 for each in steps)
    assert max(steps) > 10 * _OPUS_TICKS
    assert pitch_hz(sink) == pytest.approx(440, abs=15)
    assert sink.restarts == []
    lost = sum(each // _OPUS_TICKS - 1 for each in steps)
    assert stage.room.media_counts["not_decrypted"] == lost


def told(logs: list[Any], what: str) -> list[Any]:
    """Lines of a log."""
    return [each for each in logs if what in each["event"]]
