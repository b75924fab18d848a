"""kill -9 of LiveKit's server, and of ours, in the middle of a task: it goes on, and what was heard
is kept."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.files import decode_audio
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver
from helpers.whip_bridges import LivekitPublishing, bridging


async def test_both_servers_are_killed_one_after_the_other(
    s3_server: S3Server, media: Media, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(WebhookReceiver(CALLBACK_KEY))
        livekit = stack.enter_context(LivekitProcess(tmp_path / "livekit"))
        publishing = LivekitPublishing(livekit.url, API_KEY, API_SECRET)
        bridge = await stack.enter_async_context(bridging(publishing))
        anchors = await stack.enter_async_context(publisher_group())
        node = stack.enter_context(
            Node(
                tmp_path / "node",
                receiver.url,
                app_settings=livekit.settings,
                more_settings=f'[storage.endpoints]\ncos = "{s3_server.url}"\n',
            )
        )
        await asyncio.to_thread(node.start)
        sdk, bucket = Sdk(node), s3_server.new_bucket()
        storage = {
            "Vendor": 0,
            "Region": "ap-guangzhou",
            "Bucket": bucket,
            "AccessKey": s3_server.access_key,
            "SecretKey": s3_server.secret_key,
        }
        task_id = await asyncio.to_thread(sdk.create, create_parameters("150", "robot", storage))
        anchors.start(PublishConfig(bridge.url("150", "alice"), "-"), media)

        def files_since(utc_ms: float, media_type: int) -> list[dict[str, Any]]:
            payloads = [e["EventInfo"]["Payload"] for e in receiver.of_type(1004)]
            found = [
                each
                for each in payloads
                if each["MediaType"] == media_type and each["StartTimeStamp"] >= utc_ms
            ]
            return sorted(found, key=lambda each: each["StartTimeStamp"])

        async def wait_for_both(since_ms: float) -> None:
            await receiver.wait_for(
                lambda _: files_since(since_ms, 1) and files_since(since_ms, 2), 60
            )

        await wait_for_both(0)
        await asyncio.to_thread(livekit.kill)
        await asyncio.sleep(3)  # an outage of so long
        await asyncio.to_thread(livekit.start)
        await wait_for_both(time.time() * 1000)
        await asyncio.to_thread(node.kill)
        killed_ms = time.time() * 1000
        await asyncio.to_thread(node.start)
        await wait_for_both(killed_ms)
        assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(lambda r: r.of_type(1005), 20)
        assert [e["EventInfo"]["Payload"] for e in receiver.of_type(1002)] == [{"LeaveCode": 0}]
        audio = files_since(0, 1)
        assert all(one["EndTimeStamp"] <= other["StartTimeStamp"] for one, other in pairwise(audio))
        for each in audio:
            sound = decode_audio(s3_server.get(bucket, each["FileName"]).data)
            assert abs(sound.pitch_hz - 440) < 5
        names = [e["EventInfo"]["Payload"]["FileName"] for e in receiver.of_type(1004)]
        assert sorted(names) == s3_server.keys(bucket)
        assert "unforeseen error" not in node.log
