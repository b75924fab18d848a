"""A real browser as an anchor of a real server: slices of Chromium's fake camera and microphone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.browser import browser_anchor
from helpers.files import assert_tools_accept, decode_audio, decode_picture
from helpers.node import BUCKET, CALLBACK_KEY, STORAGE, Node, Sdk, create_parameters
from helpers.webhooks import WebhookReceiver

pytestmark = pytest.mark.timeout(90)


def pictures(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    payloads = (event["EventInfo"]["Payload"] for event in events if event["EventType"] == 1004)
    return (payload for payload in payloads if payload["MediaType"] == 2)


@pytest.mark.parametrize(
    ("codec", "image_type"),
    [
        pytest.param("H264", 0, id="H264 to PNG"),
        pytest.param("VP8", 1, id="VP8 to JPG"),
        pytest.param("VP9", 0, id="VP9 to PNG"),
        pytest.param("AV1", 1, id="AV1 to JPG"),
    ],
)
async def test_a_browser_is_sliced(tmp_path: Path, codec: str, image_type: int) -> None:
    """Pictures show the fake camera's green, sound has its beeps, and PLIs were answered."""
    buckets = tmp_path / "buckets"
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        with Node(
            tmp_path / "node",
            receiver.url,
            more_settings=f'[storage.endpoints]\ncos = "{buckets.as_uri()}"',
        ) as node:
            await asyncio.to_thread(node.start)
            sdk = Sdk(node)
            parameters = create_parameters("150", "robot", STORAGE, SliceImageType=image_type)
            task_id = await asyncio.to_thread(sdk.create, parameters)
            where = node.anchor("150", "alice")
            async with browser_anchor(where.url, where.bearer, codec=codec) as anchor:
                await anchor.connected()
                await receiver.wait_for(lambda r: len(list(pictures(r.of_task(task_id)))) >= 2, 30)
                stats = await anchor.stats()
                await anchor.stop()
            await asyncio.to_thread(sdk.delete, task_id)
            await receiver.wait_for(
                lambda r: any(event["EventType"] == 1005 for event in r.of_task(task_id)), 20
            )
    assert stats["video"]["codec"] == f"video/{codec}"
    assert stats["video"]["pliCount"] >= 1
    shown = sorted((buckets / BUCKET / task_id / "alice" / "images").iterdir())
    assert {path.suffix for path in shown} == {(".png", ".jpg")[image_type]}
    for path in shown:
        assert_shows_fake_camera(decode_picture(path.read_bytes()))
    [heard] = (buckets / BUCKET / task_id / "alice" / "audios").iterdir()
    assert_tools_accept(heard.read_bytes(), tmp_path)
    sound = decode_audio(heard.read_bytes())
    assert sound.duration_s > 4
    assert np.abs(sound.samples).max() > 0.05
    payloads = [
        event["EventInfo"]["Payload"]
        for event in receiver.of_task(task_id)
        if event["EventType"] == 1004
    ]
    [told] = [each["Details"] for each in payloads if each["MediaType"] == 1]
    # Chromium says how loud it is, which decoding confirms.
    assert told["MeanDbov"] == pytest.approx(10 * np.log10((sound.samples**2).mean()), abs=3)
    assert told["MeanDbov"] < told["PeakDbov"] <= 0
    assert 0 <= told["VoiceMs"] <= 1000 * sound.duration_s + 800
    assert {each["Details"]["Codec"] for each in pictures(receiver.of_task(task_id))} == {
        codec.lower()
    }


def assert_shows_fake_camera(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Green all over, with lighter squares in its corners and a disc in its middle that turns."""
    height, width, _ = picture.shape
    assert (height, width) >= (180, 320)
    red, green, blue = np.median(picture, axis=(0, 1))
    assert green > 90
    assert max(red, blue) < 60
    lighter = picture[..., 1] > green + 60
    assert 0.005 < lighter.mean() < 0.3
