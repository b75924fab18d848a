"""Webhooks of a cluster: in order, each once, whoever records and whoever sends them. On a real
NATS server, to a real receiver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.cluster import app_sending
from cloudslice.events import RobotEntered, RobotLeft, UploadsStarted
from cloudslice.tasks.model import NoRegistryError
from cloudslice.webhooks.history import EventQuery, Page
from helpers.event_side import EventSide
from helpers.nats_server import NatsServer
from helpers.waiting import eventually
from helpers.webhook_site import APP, CALLBACK_KEY, FAST_CALLBACKS, TASK, WebhookSite
from helpers.webhooks import WebhookReceiver

pytestmark = [
    # Its client leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OpenSide = Callable[..., Awaitable[EventSide]]


@pytest.fixture
def nats(tmp_path: Path) -> NatsServer:
    return NatsServer(tmp_path / "nats")


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as opened:
        yield opened


@pytest.fixture
async def open_side(
    nats: NatsServer, tmp_path: Path, receiver: WebhookReceiver
) -> AsyncIterator[OpenSide]:
    # A receiver in this loop, which may be busy, gets the time that real ones get.
    with nats:
        async with AsyncExitStack() as stack:

            async def open_one(name: str, **callbacks: float) -> EventSide:
                site = WebhookSite(tmp_path, receiver.url, callbacks={"timeout_s": 5, **callbacks})
                side = EventSide(name, tmp_path, nats.port, site.settings, FAST_CALLBACKS)
                await side.start()
                stack.push_async_callback(side.stop)
                return side

            yield open_one


def codes(receiver: WebhookReceiver) -> list[int]:
    """Of events 1006, each once, in the order of their first arrivals."""
    return [event["EventInfo"]["Payload"]["Code"] for event in receiver.of_type(1006)]


async def test_one_node_sends_what_all_record(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Each event once, those of a task in order, wherever they were recorded."""
    one, two = await open_side("one"), await open_side("two")
    await eventually(lambda: one.is_sender != two.is_sender)
    await one.record_many(range(20))
    await receiver.wait_for(lambda r: len(codes(r)) == 20)
    await two.record_many(range(20, 40))
    await receiver.wait_for(lambda r: len(codes(r)) == 40)
    await one.none_waits(40)
    assert codes(receiver) == list(range(40))
    assert len(receiver.requests) == 40


async def test_when_the_sender_is_gone_another_one_goes_on(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Within ten seconds, with all that was not delivered, in order; and what is listed is the
    same with the same EventIds."""
    one = await open_side("one")
    await one.record_many(range(30))
    await one.none_waits(30)
    listed = await one.list()
    two = await open_side("two")
    receiver.answer = lambda _request: 500
    await one.record_many(range(30, 40))
    await one.all_handed_over(40)
    await one.kill()
    killed_at = asyncio.get_running_loop().time()
    await two.record_many(range(40, 50))
    await eventually(lambda: two.is_sender)
    receiver.answer = None
    await two.none_waits(50)
    assert asyncio.get_running_loop().time() - killed_at < 10
    assert codes(receiver) == list(range(50))
    delivered = await two.list()
    assert delivered[:30] == listed
    bodies = [request.body for request in receiver.requests]
    assert [each.body for each in delivered] == list(dict.fromkeys(bodies)), "one order"
    assert len({each.id for each in delivered}) == 50
    assert not any(bodies.count(each.body) > 1 for each in listed), "what was told is not repeated"


async def test_a_sender_that_stops_leaves_nothing_to_be_repeated(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Also of what it has delivered in its last moment; and another one goes on at once."""
    one, two = await open_side("one"), await open_side("two")
    await eventually(lambda: one.is_sender or two.is_sender)
    first, other = (one, two) if one.is_sender else (two, one)
    await first.record_many(range(20))
    await receiver.wait_for(lambda r: len(r.requests) == 20)
    await eventually(lambda: first.webhooks.counters.delivered == 20)
    await first.stop()
    await other.record_many(range(20, 25))
    await other.none_waits(25)
    assert codes(receiver) == list(range(25))
    assert len(receiver.requests) == 25


async def test_a_sender_that_was_paused_does_nothing_beside_the_new_one(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    one = await open_side("one")
    await eventually(lambda: one.is_sender)
    two = await open_side("two")
    one.wire.freeze()
    await eventually(lambda: two.is_sender)
    await two.record_many(range(10))
    await receiver.wait_for(lambda r: len(codes(r)) == 10)
    one.wire.restore()
    await eventually(lambda: one.lease.losses == 1 and one.lease.is_valid and not one.is_sender)
    await one.record_many(range(10, 20))
    await two.none_waits(20)
    assert codes(receiver) == list(range(20))
    assert len(receiver.requests) == 20
    assert two.is_sender


async def test_a_consumer_that_is_deleted_is_made_again(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Nothing is lost or told twice."""
    one = await open_side("one")
    for begin in (0, 5, 10):
        await one.record_many(range(begin, begin + 5))
        await receiver.wait_for(lambda r, count=begin + 5: len(codes(r)) == count)
        jetstream = one.registry.jetstream
        for consumer in await jetstream.consumers_info("cloudslice_events"):
            await jetstream.delete_consumer("cloudslice_events", consumer.name)
    await one.record_many(range(15, 20))
    await one.none_waits(20)
    assert codes(receiver) == list(range(20))
    assert len(receiver.requests) == 20


async def test_events_wait_in_the_node_while_nats_is_gone(
    nats: NatsServer, open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Also over the end of its process, and then they come in order."""
    one = await open_side("one")
    await one.record_many(range(10))
    await one.none_waits(10)
    nats.kill()
    await one.record_many(range(10, 300))
    await one.kill()
    nats.start()
    await one.start()
    await one.record_many(range(300, 310))
    await one.none_waits(310)
    assert codes(receiver) == list(range(310))
    assert len(receiver.requests) == 310


async def test_a_restart_of_nats_loses_and_repeats_nothing(
    nats: NatsServer, open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    one, two = await open_side("one"), await open_side("two")
    for begin in range(0, 60, 20):
        await one.record_many(range(begin, begin + 10))
        nats.kill()
        await one.record_many(range(begin + 10, begin + 20))
        nats.start()
        await receiver.wait_for(lambda r, count=begin + 20: len(codes(r)) == count)
    await two.none_waits(60)
    assert codes(receiver) == list(range(60))


async def test_what_is_handed_over_again_is_told_once(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """A node that was killed before it has forgotten what it has handed over."""
    one = await open_side("one")
    await one.record_many(range(1))
    await one.none_waits(1)
    columns = "id, subject, sdk_app_id, event_type, body, created_ms, since_ms"
    for statement in (
        "CREATE TABLE kept AS SELECT * FROM webhooks",
        "CREATE TRIGGER keep AFTER INSERT ON webhooks BEGIN"
        " INSERT INTO kept SELECT * FROM webhooks WHERE id = new.id; END",
    ):
        await one.database.run(lambda c, each=statement: c.execute(each))  # type: ignore[misc]
    await one.record_many(range(1, 20))
    await one.none_waits(20)
    await one.database.run(
        lambda c: c.execute(
            f"INSERT OR IGNORE INTO webhooks ({columns})"  # noqa: S608
            f" SELECT {columns} FROM kept WHERE id > 10"
        )
    )
    await one.kill()
    await one.start()
    await one.record_many(range(20, 22))
    await one.none_waits(22)
    assert codes(receiver) == list(range(22))
    assert len(receiver.requests) == 22


async def test_what_is_true_once_of_a_task_is_told_once(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """Though another node has recorded it, too: the former one was cut off in between."""
    one, two = await open_side("one"), await open_side("two")
    for side in (one, two):
        await side.record(RobotEntered(TASK, has_failed=False))
        await side.record(UploadsStarted(TASK, has_failed=False))
        await side.record_many(range(1) if side is one else range(1, 2))
        await side.record(RobotLeft(TASK, 0))
        await receiver.wait_for(lambda r, n=1 + (side is two): len(codes(r)) == n)
    await two.none_waits(5)
    types = [request.type for request in receiver.requests]
    assert types == [1001, 1003, 1006, 1002, 1006]


async def test_the_stream_forgets_what_is_not_kept(
    open_side: OpenSide, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is kept, whatever its age; and who sends next begins with what there is."""
    monkeypatch.setattr(app_sending, "_FORGET_EVERY_S", 0.1)
    one = await open_side("one", history_hours=0)
    await one.record_many(range(20))
    await eventually(lambda: one.webhooks.counters.delivered == 20)
    receiver.answer = lambda _request: 500
    await one.record_many(range(20, 23))

    async def count() -> int:
        info = await one.registry.jetstream.stream_info("cloudslice_events")
        return int(info.state.messages)

    async with asyncio.timeout(20):
        while len(await one.list()) != 3 or await count() > 3 + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await one.stop()
    receiver.answer = None
    await one.start()
    await receiver.wait_for(lambda r: len(codes(r)) == 23)
    await one.none_waits(0)
    assert codes(receiver) == list(range(23))


async def test_a_node_knows_when_all_that_it_has_recorded_is_handed_over(
    open_side: OpenSide, receiver: WebhookReceiver
) -> None:
    """So that others tell of what comes after it."""
    one, two = await open_side("one"), await open_side("two")
    for begin in range(0, 50, 10):
        await one.record_many(range(begin, begin + 5))
        await one.webhooks.wait_handed_over()
        await two.record_many(range(begin + 5, begin + 10))
        await two.webhooks.wait_handed_over()
    await one.none_waits(50)
    assert codes(receiver) == list(range(50))


async def test_nobody_lists_events_while_nobody_sends(open_side: OpenSide) -> None:
    """Which is told, and so is a lost connection; of an app without a receiver there are none."""
    one = await open_side("one")
    assert await one.events.find(EventQuery(7), 0, 10) == Page([], None)
    await one.stop()
    with pytest.raises(NoRegistryError):
        await one.events.find(EventQuery(APP), 0, 10)
    two = await open_side("two")
    assert await two.list() == []
    two.wire.cut()
    await eventually(lambda: not two.registry.is_connected)
    with pytest.raises(NoRegistryError):
        await two.events.replay(EventQuery(APP))


async def test_each_app_has_a_sender_of_its_own(
    nats: NatsServer, tmp_path: Path, receiver: WebhookReceiver
) -> None:
    """And all of a node's apps go to others when it stops."""
    apps = [
        {
            "sdk_app_id": number,
            "secret_key": "x",
            "callback_url": receiver.url,
            "callback_key": CALLBACK_KEY,
        }
        for number in range(1, 21)
    ]
    settings = WebhookSite(tmp_path, apps=apps, callbacks={"timeout_s": 5}).settings
    with nats:
        async with AsyncExitStack() as stack:
            sides = [
                EventSide(name, tmp_path, nats.port, settings, FAST_CALLBACKS)
                for name in ("one", "two")
            ]
            for side in sides:
                await side.start()
                stack.push_async_callback(side.stop)
            await eventually(lambda: sum(side.senders.count for side in sides) == 20)
            for app in apps:
                task = replace(TASK, sdk_app_id=app["sdk_app_id"], task_id=f"task{app}")
                await sides[0].record_many(range(2), task)
            await receiver.wait_for(lambda r: len(r.requests) == 40)
            await sides[0].stop()
            await eventually(lambda: sides[1].senders.count == 20)
            for app in apps:
                task = replace(TASK, sdk_app_id=app["sdk_app_id"], task_id=f"other{app}")
                await sides[1].record_many(range(2), task)
            await receiver.wait_for(lambda r: len(r.requests) == 80)
