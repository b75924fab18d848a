"""From anchors in rooms of LiveKit and Janus to files in a bucket and signed webhooks: their own
servers and clients that nobody here wrote, a real bucket and a receiver of webhooks."""

import asyncio
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import pytest

from helpers import janus_anchor, livekit_anchor
from helpers.encoded_video import picture_number
from helpers.files import assert_tools_accept, decode_audio
from helpers.janus_server import API_SECRET, PIN, running_janus
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver
from helpers.whip_bridges import JanusPublishing


@dataclass(frozen=True)
class Sender:
    """What an anchor sends; its pictures' numbers go from the first one to 15 more, and again."""

    tone_hz: float
    first_number: int
    codec: str = "vp8"


_SENDERS = {
    "alice": Sender(440, 0),
    "bob": Sender(330, 16),
    "carol": Sender(550, 32, "h264"),
    "dave": Sender(660, 48),
}
_SLICED = ("alice", "bob", "carol")
"""dave is blocked."""


@dataclass(frozen=True)
class Outcome:
    """What came of one task."""

    task_id: str
    bucket: str
    statuses: list[str]
    events: list[dict[str, Any]]
    sent: dict[str, list[tuple[float, int]]]
    """By anchor: Unix second of each picture, and its number."""


class OpenRooms(Protocol):
    """Rooms that have begun, of one kind."""

    app_settings: str

    def anchor(self, name: str, sender: Sender) -> AbstractAsyncContextManager[Any]:
        """An anchor in room 150, with `sent`."""
        ...


class LivekitRooms:
    """See `OpenRooms`."""

    e2ee_key = ""
    """What anchors encrypt with from end to end."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._server = stack.enter_context(LivekitProcess(directory))
        self.app_settings = f'{self._server.settings}e2ee_key = "{self.e2ee_key}"\n'

    def anchor(self, name: str, sender: Sender) -> AbstractAsyncContextManager[Any]:
        spec = livekit_anchor.AnchorSpec(
            tone_hz=sender.tone_hz,
            first_number=sender.first_number,
            codec=sender.codec,
            e2ee_key=self.e2ee_key,
        )
        token = self._server.token("150", name)
        return livekit_anchor.livekit_anchor(self._server.url, token, name, spec)


class EncryptedRooms(LivekitRooms):
    """See `OpenRooms`."""

    e2ee_key = "correct horse battery staple"


class JanusRooms:
    """See `OpenRooms`."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        server = stack.enter_context(running_janus(directory))
        self._publishing = JanusPublishing(server.url, API_SECRET, {"pin": PIN})
        self.app_settings = server.app_settings

    def anchor(self, name: str, sender: Sender) -> AbstractAsyncContextManager[Any]:
        spec = janus_anchor.AnchorSpec(sender.tone_hz, sender.first_number, sender.codec.upper())
        return janus_anchor.janus_anchor(self._publishing, "150", name, spec)


@pytest.fixture(
    scope="module",
    params=[LivekitRooms, EncryptedRooms, JanusRooms],
    ids=["livekit", "livekit encrypted", "janus"],
)
def outcome(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    return asyncio.run(_slice(request.param, s3_server, tmp_path_factory.mktemp("rooms")))


async def _slice(
    open_rooms: Callable[[AsyncExitStack, Path], OpenRooms], s3_server: S3Server, directory: Path
) -> Outcome:
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        rooms = open_rooms(stack, directory / "rooms")
        node = stack.enter_context(
            Node(
                directory / "node",
                receiver.url,
                app_settings=rooms.app_settings,
                more_settings=f'[storage.endpoints]\ns3 = "{s3_server.url}"\n',
            )
        )
        await asyncio.to_thread(node.start)
        sdk, bucket = Sdk(node), s3_server.new_bucket()
        storage = {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": bucket,
            "AccessKey": s3_server.access_key,
            "SecretKey": s3_server.secret_key,
        }
        parameters = create_parameters("150", "robot", storage)
        parameters["SliceParams"]["SubscribeStreamUserIds"] = {
            "UnSubscribeAudioUserIds": ["dave"],
            "UnSubscribeVideoUserIds": ["dave"],
        }
        task_id = await asyncio.to_thread(sdk.create, parameters)
        statuses = [await asyncio.to_thread(sdk.describe, task_id)]
        anchors = {
            name: await stack.enter_async_context(rooms.anchor(name, sender))
            for name, sender in _SENDERS.items()
        }

        def has_two_audio_slices_each(r: WebhookReceiver) -> bool:
            audio = [
                e["EventInfo"]["StreamUserId"]
                for e in r.of_task(task_id)
                if e["EventType"] == 1004 and e["EventInfo"]["Payload"]["MediaType"] == 1
            ]
            return all(audio.count(name) >= 2 for name in _SLICED)

        await receiver.wait_for(has_two_audio_slices_each, 60)
        statuses.append(await asyncio.to_thread(sdk.describe, task_id))
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 20
        )
        assert await asyncio.to_thread(node.stop) == 0
        assert "unforeseen error" not in node.log
    sent = {name: anchor.sent for name, anchor in anchors.items()}
    return Outcome(task_id, bucket, statuses, receiver.of_task(task_id), sent)


def test_status_goes_from_idle_to_in_progress(outcome: Outcome) -> None:
    assert outcome.statuses == ["Idle", "InProgress"]


def test_events_come_in_order_and_name_each_file_once(
    outcome: Outcome, s3_server: S3Server
) -> None:
    types = [event["EventType"] for event in outcome.events]
    assert types[:2] == [1001, 1003]
    assert types[-1] == 1005
    assert [types.count(each) for each in (1001, 1002, 1003, 1005, 1006)] == [1, 1, 1, 1, 0]
    files = [
        e["EventInfo"]["Payload"]["FileName"] for e in outcome.events if e["EventType"] == 1004
    ]
    assert sorted(files) == s3_server.keys(outcome.bucket)
    payloads = {event["EventType"]: event["EventInfo"]["Payload"] for event in outcome.events}
    assert payloads[1002] == {"LeaveCode": 0}


def test_nobody_is_sliced_who_is_blocked(outcome: Outcome, s3_server: S3Server) -> None:
    assert {key.split("/")[1] for key in s3_server.keys(outcome.bucket)} == set(_SLICED)


@pytest.mark.parametrize("name", _SLICED)
def test_audio_slices_tile_and_are_in_their_anchors_pitch(
    outcome: Outcome, s3_server: S3Server, name: str, tmp_path: Path
) -> None:
    keys = [key for key in s3_server.keys(outcome.bucket) if f"/{name}/audios/" in key]
    slices = [s3_server.get(outcome.bucket, key) for key in keys]
    spans = sorted((int(s.metadata["first-sample"]), int(s.metadata["samples"])) for s in slices)
    assert spans[0] == (0, 15 * 48000)
    for (start, samples), (next_start, _) in pairwise(spans):
        assert next_start == start + samples
    for each in slices:
        assert_tools_accept(each.data, tmp_path)
        assert decode_audio(each.data).pitch_hz == pytest.approx(_SENDERS[name].tone_hz, abs=2)


@pytest.mark.parametrize("name", _SLICED)
def test_pictures_show_the_right_anchor_at_the_right_time(
    outcome: Outcome, s3_server: S3Server, name: str
) -> None:
    """Within a second of when they were due; events say when they were sent, within a packet's
    way and the encoder's."""
    keys = [key for key in s3_server.keys(outcome.bucket) if f"/{name}/images/" in key]
    assert len(keys) >= 5
    times = {
        event["EventInfo"]["Payload"]["FileName"]: event["EventInfo"]["Payload"]["StartTimeStamp"]
        for event in outcome.events
        if event["EventType"] == 1004
    }
    sent = outcome.sent[name]
    for key in keys:
        stored = s3_server.get(outcome.bucket, key)
        with av.open(io.BytesIO(stored.data), "r") as container:
            number = picture_number(next(container.decode(video=0)))
        told_s = times[key] / 1000
        assert min(abs(told_s - at) for at, each in sent if each == number) < 0.5, key
        assert told_s - int(stored.metadata["due-ms"]) / 1000 < 1
