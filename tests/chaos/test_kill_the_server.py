"""kill -9 of the server in the middle of a run: nothing that was finished is lost or doubled."""

import asyncio
import io
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import publisher_group
from helpers.files import assert_tools_accept, decode_audio
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_HEARD_UNTIL_S = 1.5
"""What was heard a second ago is on the disk; half a second more for the machine's noise."""


@dataclass(frozen=True)
class Outcome:
    bucket: str
    killed_at_ms: float
    status_after_restart: str
    events: list[dict[str, Any]]

    def files(self, media_type: int) -> list[dict[str, Any]]:
        """The payloads of all 1004 events of a medium, in the order of their start."""
        payloads = [e["EventInfo"]["Payload"] for e in self.events if e["EventType"] == 1004]
        found = [each for each in payloads if each["MediaType"] == media_type]
        return sorted(found, key=lambda each: each["StartTimeStamp"])


@pytest.fixture(scope="module")
def outcome(s3_server: S3Server, media: Media, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(_kill_and_restart(s3_server, media, tmp_path_factory.mktemp("node")))


async def _kill_and_restart(s3_server: S3Server, media: Media, directory: Path) -> Outcome:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(WebhookReceiver(CALLBACK_KEY))
        anchors = await stack.enter_async_context(publisher_group())
        node = stack.enter_context(
            Node(
                directory,
                receiver.url,
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
        alice = anchors.start(node.anchor("150", "alice"), media)
        await alice.wait_live()

        def whole_slices(r: WebhookReceiver) -> int:
            files = [e["EventInfo"]["Payload"] for e in r.of_type(1004)]
            return sum(
                each["EndTimeStamp"] - each["StartTimeStamp"] == 15000
                for each in files
                if each["MediaType"] == 1
            )

        await receiver.wait_for(lambda r: whole_slices(r) >= 1, 30)
        # The first picture may be due at the cut itself; at the second the slice has grown by 5 s.
        files = len(receiver.of_type(1004))
        await receiver.wait_for(lambda r: len(r.of_type(1004)) >= files + 2, 15)
        killed_at_ms = time.time() * 1000
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        status = await asyncio.to_thread(sdk.describe, task_id)
        await receiver.wait_for(lambda r: whole_slices(r) >= 2, 50)
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for_type(1005)
        assert await asyncio.to_thread(node.stop) == 0
        return Outcome(bucket, killed_at_ms, status, receiver.of_task(task_id))


def test_the_task_goes_on(outcome: Outcome) -> None:
    assert outcome.status_after_restart in ("Idle", "InProgress")
    for media_type in (1, 2):
        assert outcome.files(media_type)[-1]["StartTimeStamp"] > outcome.killed_at_ms


def test_each_finished_slice_is_in_the_bucket_once_and_told_once(
    outcome: Outcome, s3_server: S3Server
) -> None:
    told = [each["FileName"] for media_type in (1, 2) for each in outcome.files(media_type)]
    assert len(set(told)) == len(told)
    assert sorted(told) == s3_server.keys(outcome.bucket)


def test_each_event_comes_once_and_in_order(outcome: Outcome) -> None:
    types = [event["EventType"] for event in outcome.events]
    assert [types.count(each) for each in (1001, 1002, 1003, 1005, 1006)] == [1, 1, 1, 1, 0]
    assert types[:2] == [1001, 1003]
    assert types[-1] == 1005


def test_what_was_heard_until_a_moment_before_the_kill_is_there(
    outcome: Outcome, s3_server: S3Server, tmp_path: Path
) -> None:
    """The slice that was growing is repaired into a valid file of the right length."""
    cut_off = [each for each in outcome.files(1) if each["StartTimeStamp"] < outcome.killed_at_ms][
        -1
    ]
    duration_ms = cut_off["EndTimeStamp"] - cut_off["StartTimeStamp"]
    assert 0 < duration_ms < 15000
    assert cut_off["EndTimeStamp"] > outcome.killed_at_ms - _HEARD_UNTIL_S * 1000
    stored = s3_server.get(outcome.bucket, cut_off["FileName"])
    assert_tools_accept(stored.data, tmp_path)
    assert decode_audio(stored.data).duration_s * 1000 == pytest.approx(duration_ms, abs=1)
    assert decode_audio(stored.data).pitch_hz == pytest.approx(440, abs=2)
    with av.open(io.BytesIO(stored.data)) as container:
        note = container.streams.audio[0].metadata["CLOUDSLICE"].split()
    told = cut_off["Details"]
    assert told["Samples"] == pytest.approx(duration_ms * 48, abs=48)
    assert f"samples={told['Samples']}" in note
    assert note[-1] == "repaired=true"
