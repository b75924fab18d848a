"""Events are listed and sent again, in the same way by one process and by a cluster: the same tests
for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from cloudslice.api.event_actions import EventService
from cloudslice.bus import Bus
from cloudslice.events import MediaStarted, UploadsEnded, UploadsOutcome
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.slices import TaskRef
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.history import EventQuery, ListedEvent, ListedState
from helpers.event_side import EventSide
from helpers.nats_server import NatsServer
from helpers.waiting import eventually
from helpers.webhook_site import APP, CALLBACK_KEY, FAST_CALLBACKS, TASK, WebhookSite
from helpers.webhooks import WebhookReceiver

ALL = EventQuery(APP)
OTHER_TASK = TaskRef("other", APP, 150, "bot")
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
WAITING, DELIVERED, GIVEN_UP = ListedState

pytestmark = [
    # Its client leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Recorder(Protocol):
    """Puts events on record."""

    bus: Bus

    async def record(self, event: object) -> None: ...

    async def record_many(self, numbers: range, task: TaskRef = TASK) -> None: ...


Open = Callable[..., AbstractAsyncContextManager[tuple[Recorder, EventService]]]


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as opened:
        yield opened


@pytest.fixture(params=["one process", "a cluster"])
def open_service(request: pytest.FixtureRequest, tmp_path: Path, receiver: WebhookReceiver) -> Open:
    """Opens what records events and what lists them, over the same data each time."""
    nats = NatsServer(tmp_path / "nats")

    @asynccontextmanager
    async def open_one(
        pace: CallbackPace = FAST_CALLBACKS, **callbacks: Any
    ) -> AsyncIterator[tuple[Recorder, EventService]]:
        site = WebhookSite(
            tmp_path / "data",
            receiver.url,
            callbacks={"timeout_s": 5, **callbacks},
            pace=pace,
        )
        if request.param == "one process":
            async with site.open() as opened:
                yield opened, opened.webhooks
        else:
            with nats:
                side = EventSide("one", tmp_path, nats.port, site.settings, pace)
                await side.start()
                try:
                    await eventually(lambda: side.is_sender)
                    yield side, side.events
                finally:
                    await side.stop()

    return open_one


async def list_all(
    service: EventService, query: EventQuery = ALL, limit: int = 100
) -> list[ListedEvent]:
    """Over all pages."""
    found: list[ListedEvent] = []
    marker: int | None = 0 if query.event_id is None else query.event_id - 1
    while marker is not None:
        page = await service.find(query, marker, limit)
        assert len(page.events) <= limit
        found += page.events
        marker = page.marker
    return found


async def wait_ended(service: EventService, count: int) -> list[ListedEvent]:
    """The events, once there are `count` and none waits."""
    async with asyncio.timeout(20):
        while True:
            events = await list_all(service)
            if len(events) == count and all(each.state is not WAITING for each in events):
                return events
            await asyncio.sleep(0.05)


async def test_events_are_listed_in_the_order_of_their_ids(
    open_service: Open, receiver: WebhookReceiver
) -> None:
    """With the bodies that were sent; over pages of any size; after a restart, too."""
    async with open_service() as (recorder, service):
        await recorder.record_many(range(10))
        events = await wait_ended(service, 10)
        assert await list_all(service, limit=3) == events
    assert [each.body for each in events] == [each.body for each in receiver.requests]
    ids = [each.id for each in events]
    assert ids == sorted(set(ids))
    assert {(each.event_type, each.state, each.attempts) for each in events} == {
        (1006, DELIVERED, 1)
    }
    assert all(each.last_error is None and each.ended_ms for each in events)
    async with open_service() as (recorder, service):
        assert await list_all(service) == events


async def test_each_filter_means_what_it_says(
    open_service: Open, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda request: 500 if request.type == 1005 else 200
    pace = replace(FAST_CALLBACKS, repeat_s=0.05, contract_s=0.05, retention_s=0)
    async with open_service(pace) as (recorder, service):
        # One after the other: between tasks there is no order that a cluster keeps.
        await recorder.record_many(range(2))
        await wait_ended(service, 2)
        await recorder.record_many(range(2, 4), OTHER_TASK)
        await wait_ended(service, 4)
        await recorder.record(UploadsEnded(TASK, UploadsOutcome.ALL_STORED))
        events = await wait_ended(service, 5)
        for query, meant in (
            (ALL, [0, 1, 2, 3, 4]),
            (replace(ALL, sdk_app_id=7), []),
            (replace(ALL, event_id=events[3].id), [3]),
            (replace(ALL, event_id=events[4].id + 10), []),
            (replace(ALL, task_id=TASK.task_id), [0, 1, 4]),
            (replace(ALL, task_id="nobody"), []),
            (replace(ALL, since_ms=events[2].created_ms), [2, 3, 4]),
            (replace(ALL, event_type=1005), [4]),
            (replace(ALL, state=DELIVERED), [0, 1, 2, 3]),
            (replace(ALL, state=GIVEN_UP), [4]),
            (replace(ALL, state=WAITING), []),
            (replace(ALL, task_id=TASK.task_id, state=DELIVERED), [0, 1]),
        ):
            found = await list_all(service, query)
            assert [events.index(each) for each in found] == meant, query
        assert events[4].last_error == "HTTP status 500"
        assert events[4].attempts > 1


async def test_what_waits_is_listed_and_not_replayed(
    open_service: Open, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda _request: 500
    async with open_service() as (recorder, service):
        await recorder.record_many(range(3))
        await receiver.wait_for(lambda r: len(r.events) == 3)
        assert [each.state for each in await list_all(service)] == [WAITING] * 3
        assert await service.replay(ALL) == 0


async def test_what_is_replayed_has_the_same_bytes_and_ids(
    open_service: Open, receiver: WebhookReceiver
) -> None:
    """In order; and one event alone."""
    async with open_service() as (recorder, service):
        await recorder.record_many(range(10))
        await wait_ended(service, 10)
        await recorder.record_many(range(10, 12), OTHER_TASK)
        events = await wait_ended(service, 12)
        assert await service.replay(replace(ALL, task_id=TASK.task_id)) == 10
        await receiver.wait_for(lambda r: len(r.requests) == 22)
        assert [each.id for each in await wait_ended(service, 12)] == [each.id for each in events]
        again = [each.body for each in receiver.requests[12:]]
        assert again == [each.body for each in events[:10]]
        assert await service.replay(replace(ALL, event_id=events[4].id)) == 1
        await receiver.wait_for(lambda r: len(r.requests) == 23)
        assert receiver.requests[-1].body == events[4].body
        assert await service.replay(replace(ALL, task_id="nobody")) == 0


async def test_a_replay_survives_a_restart(open_service: Open, receiver: WebhookReceiver) -> None:
    async with open_service() as (recorder, service):
        await recorder.record_many(range(3))
        events = await wait_ended(service, 3)
        receiver.answer = lambda _request: 500
        assert await service.replay(replace(ALL, event_id=events[1].id)) == 1
    receiver.answer = None
    count = len(receiver.requests)
    async with open_service() as (recorder, service):
        await receiver.wait_for(lambda r: len(r.requests) > count)
        assert receiver.requests[-1].body == events[1].body
        await wait_ended(service, 3)
    assert {each.body for each in receiver.requests[count:]} == {events[1].body}


async def test_events_of_rooms_are_listed_too(
    open_service: Open, receiver: WebhookReceiver
) -> None:
    async with open_service() as (recorder, service):
        for n in range(3):
            recorder.bus.publish(MediaStarted(ROOM, f"user_{n}", TrackKind.AUDIO))
        events = await wait_ended(service, 3)
    assert [each.body for each in events] == [each.body for each in receiver.requests]
    assert [each.event_type for each in events] == [203] * 3


@pytest.mark.parametrize("callbacks", [{"history_hours": 0}, {"history_mib": 0}])
async def test_nothing_is_listed_that_is_not_to_be_kept(
    open_service: Open, receiver: WebhookReceiver, callbacks: dict[str, float]
) -> None:
    async with open_service(**callbacks) as (recorder, service):
        await recorder.record_many(range(5))
        await receiver.wait_for(lambda r: len(r.requests) == 5)
        await wait_ended(service, 0)
