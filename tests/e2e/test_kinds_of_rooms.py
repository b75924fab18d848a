"""One scenario in every kind of rooms: people come and go, each packet and picture says whose it
is."""

import asyncio
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from cloudslice.codecs.opus import packet_samples
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.encoded_video import picture_number
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.numbered_media import PACKETS, PICTURES, PICTURES_PER_S, shown_speaker, spoken
from helpers.ogg_pages import read_opus_file
from helpers.room_kinds import open_rooms
from helpers.webhooks import WebhookReceiver

_FIRST_NUMBERS = {"alice": 0, "bob": PICTURES, "carol": 2 * PICTURES}
"""Of each one's pictures."""
_BUCKET = "demo-1250000000"
_ROOM = "77"


@dataclass(frozen=True)
class Outcome:
    """What came of one task: alice is there all the time, bob twice, carol once."""

    events: list[dict[str, Any]]
    files: dict[str, bytes]
    """What is in the bucket, by object key."""
    datagrams: float

    def told(self, user_id: str, media_type: int) -> list[dict[str, Any]]:
        """The payloads of one's 1004 events of a medium, in the order of their start."""
        found = [
            event["EventInfo"]["Payload"]
            for event in self.events
            if event["EventType"] == 1004 and event["EventInfo"]["StreamUserId"] == user_id
        ]
        found = [each for each in found if each["MediaType"] == media_type]
        return sorted(found, key=lambda each: each["StartTimeStamp"])


@pytest.fixture(scope="module", params=["builtin", "livekit", "janus"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(_come_and_go(request.param, tmp_path_factory.mktemp("rooms")))


async def _come_and_go(kind: str, directory: Path) -> Outcome:
    buckets = directory / "buckets"
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        open_rooms(kind, directory) as rooms,
        publisher_group() as people,
    ):
        endpoint = f'[storage.endpoints]\ncos = "{buckets.as_uri()}"\n'
        with Node(
            directory / "node",
            receiver.url,
            app_settings=rooms.app_settings,
            more_settings=endpoint,
        ) as node:
            await asyncio.to_thread(node.start)
            sdk = Sdk(node)
            storage = {
                "Vendor": 0,
                "Region": "ap-guangzhou",
                "Bucket": _BUCKET,
                "AccessKey": "a",
                "SecretKey": "s",
            }
            parameters = create_parameters(_ROOM, "robot", storage)
            task_id = await asyncio.to_thread(sdk.create, parameters)

            def come(user_id: str) -> Any:
                config = PublishConfig(*rooms.anchor(node, _ROOM, user_id))
                return people.start(config, shown_speaker(user_id, _FIRST_NUMBERS[user_id]))

            async def seen(user_id: str, media_type: int, count: int) -> None:
                def are_there(_: WebhookReceiver) -> bool:
                    events = receiver.of_task(task_id)
                    return len(Outcome(events, {}, 0).told(user_id, media_type)) >= count

                await receiver.wait_for(are_there, 40)

            come("alice")
            bob = come("bob")
            await seen("bob", 2, 1)
            await people.stop(bob)
            come("carol")
            await seen("carol", 2, 1)
            come("bob")
            await seen("bob", 2, 2)
            await seen("alice", 1, 1)
            await asyncio.to_thread(sdk.delete, task_id)
            await receiver.wait_for(
                lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 20
            )
            datagrams = node.metric("cloudslice_datagrams_total", what="received")
            assert await asyncio.to_thread(node.stop) == 0
            assert "unforeseen error" not in node.log
    root = buckets / _BUCKET
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.suffix in (".ogg", ".png")
    }
    return Outcome(receiver.of_task(task_id), files, datagrams)


def test_each_file_is_told_once_and_events_are_in_order(outcome: Outcome) -> None:
    types = [event["EventType"] for event in outcome.events]
    assert (types[0], types[-1]) == (1001, 1005)
    assert [types.count(each) for each in (1001, 1002, 1005, 1006)] == [1, 1, 1, 0]
    told = [
        each["FileName"]
        for name in _FIRST_NUMBERS
        for n in (1, 2)
        for each in outcome.told(name, n)
    ]
    assert sorted(told) == sorted(outcome.files)


@pytest.mark.parametrize(("user_id", "stays"), [("alice", 1), ("bob", 2), ("carol", 1)])
def test_what_is_heard_is_what_was_sent_to_the_packet(
    outcome: Outcome, user_id: str, stays: int
) -> None:
    """The packets of a stay's slices follow each other as they were sent: none twice, none of
    anybody else. A busy machine may lose some on its way, even to itself."""
    heard: list[list[int]] = []
    end_ms = None
    for told in outcome.told(user_id, 1):
        if told["StartTimeStamp"] != end_ms:
            heard.append([])
        heard[-1] += _numbers(outcome.files[told["FileName"]], user_id)
        end_ms = told["EndTimeStamp"]
    assert len(heard) == stays
    for numbers in heard:
        steps = [(other - one) % PACKETS for one, other in pairwise(numbers)]
        assert all(0 < step < PACKETS / 2 for step in steps)
        assert steps.count(1) >= 0.97 * len(steps)
    if user_id == "alice":
        assert sum(map(len, heard)) >= 0.97 * 15 * 50


def _numbers(data: bytes, user_id: str) -> list[int]:
    """Of the audible packets of a file, which are all that speaker's."""
    file = read_opus_file(data)
    numbers, position = [], -file.pre_skip
    for packet in file.packets:
        said = spoken(packet)
        if said is not None and position >= 0:
            assert said[0] == user_id
            numbers.append(said[1])
        position += packet_samples(packet)
    return numbers


@pytest.mark.parametrize("user_id", list(_FIRST_NUMBERS))
def test_pictures_show_their_own_anchor_at_their_own_time(outcome: Outcome, user_id: str) -> None:
    pictures = []
    for told in outcome.told(user_id, 2):
        with av.open(io.BytesIO(outcome.files[told["FileName"]]), "r") as container:
            number = picture_number(next(container.decode(video=0))) - _FIRST_NUMBERS[user_id]
        assert 0 <= number < PICTURES
        pictures.append((told["StartTimeStamp"] / 1000, number))
    assert len(pictures) >= 2
    if user_id == "bob":
        return  # his second stay begins anew
    loop_s = PICTURES / PICTURES_PER_S
    for (at, number), (next_at, next_number) in pairwise(pictures):
        error_s = (next_number - number) / PICTURES_PER_S - (next_at - at)
        assert abs((error_s + loop_s / 2) % loop_s - loop_s / 2) < 0.5


def test_all_that_came_is_counted(outcome: Outcome) -> None:
    """By the metric, whichever port it came to."""
    assert outcome.datagrams > 15 * 50
