"""Webhooks to a real receiver: order, repetition, patience (docs/wire.md, 10.1)."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.events import MediaStarted, RobotEntered, RoomDismissed
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.webhooks import line_reader
from helpers.delivery import SteppingClock
from helpers.waiting import eventually
from helpers.webhook_site import APP, CALLBACK_KEY, FAST_CALLBACKS, TASK, WebhookSite
from helpers.webhooks import NO_ANSWER, Request, WebhookReceiver

ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
STARTED = RobotEntered(TASK, has_failed=False)


@pytest.fixture
def site(tmp_path: Path) -> WebhookSite:
    return WebhookSite(tmp_path / "data")


def statuses(receiver: WebhookReceiver) -> list[int]:
    return [request.event["EventInfo"]["Payload"]["Status"] for request in receiver.requests]


async def test_a_request_is_as_the_contract_has_it(site: WebhookSite) -> None:
    """Method, target, headers and signature; the receiver checks the latter two by itself."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record(STARTED)
            await receiver.wait_for_type(1001)
    (request,) = receiver.requests
    assert request.target == "/hook?from=cloudslice"
    assert request.headers["SdkAppId"] == str(APP)
    event = request.event
    assert event["EventInfo"]["EventMsTs"] // 1000 == event["EventInfo"]["EventTs"]
    assert event["CallbackTs"] >= event["EventInfo"]["EventMsTs"]


async def test_without_a_key_there_is_no_signature(site: WebhookSite) -> None:
    async with WebhookReceiver("") as receiver:
        site.callback_url, site.callback_key = receiver.url, ""
        async with site.open() as opened:
            await opened.record(STARTED)
            await receiver.wait_for_type(1001)
    assert "Sign" not in receiver.requests[0].headers


async def test_first_attempts_come_in_order(site: WebhookSite) -> None:
    """Within a task, one after the other, even to a receiver that takes its time."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(50)
            await receiver.wait_for(lambda r: len(r.requests) == 50)
    assert statuses(receiver) == [n % 2 for n in range(50)]
    times = [request.event["CallbackTs"] for request in receiver.requests]
    assert times == sorted(times)


async def test_more_events_than_memory_holds_come_in_order(
    site: WebhookSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those beyond are fetched from the record when there is room; none is left out or doubled."""
    monkeypatch.setattr(line_reader, "_WINDOW", 2)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            async with asyncio.TaskGroup() as group:
                for n in range(30):
                    start = opened.record(RobotEntered(TASK, has_failed=bool(n % 2)))
                    group.create_task(start)
            await receiver.wait_for(lambda r: len(r.requests) >= 30)
    assert statuses(receiver) == [n % 2 for n in range(30)]


async def test_events_come_without_asking_the_database(
    site: WebhookSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new event is handed over when it is on record; the record need not be read for it."""

    def refuse(*_args: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr("cloudslice.webhooks.outbox.find_in_line", refuse)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(3)
            await receiver.wait_for_type(1001, count=2)


async def test_a_delivered_event_is_not_repeated_after_a_restart(site: WebhookSite) -> None:
    """That it was delivered is on record by the end of the process, however soon that comes."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(1)
            await receiver.wait_for_type(1001)
            await eventually(lambda: opened.counters.delivered)
        async with site.open() as opened:
            assert await opened.webhooks.count_waiting() == 0
    assert len(receiver.requests) == 1


async def test_a_room_does_not_wait_for_a_task(site: WebhookSite) -> None:
    """Each is told of in order; one that gets no answers keeps the other from nothing."""

    def answer(request: Request) -> int:
        return NO_ANSWER if request.type == 1001 else 200

    site.callbacks = {"timeout_s": 5}
    async with WebhookReceiver(CALLBACK_KEY, answer=answer) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(2)
            for n in range(20):
                opened.bus.publish(MediaStarted(ROOM, f"user_{n}", TrackKind.AUDIO))
            await receiver.wait_for(lambda r: len(r.of_type(203)) == 20, within_s=5)
    users = [event["EventInfo"]["UserId"] for event in receiver.of_type(203)]
    assert users == [f"user_{n}" for n in range(20)]


async def test_an_app_that_has_not_asked_is_told_nothing_of_rooms(site: WebhookSite) -> None:
    """Nor is one that is not in the settings any more."""
    site.callback_url, site.room_events = "http://127.0.0.1:9/nobody", False
    async with site.open() as opened:
        opened.bus.publish(RoomDismissed(ROOM))
        opened.bus.publish(RoomDismissed(replace(ROOM, sdk_app_id=2)))
        assert await opened.webhooks.count_waiting() == 0


async def test_an_app_without_a_url_is_told_nothing(site: WebhookSite) -> None:
    async with site.open() as opened:
        opened.bus.publish(RoomDismissed(ROOM))
        assert await opened.webhooks.count_waiting() == 0


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(500, id="an error"),
        pytest.param(302, id="a redirect, which is not followed"),
        pytest.param(NO_ANSWER, id="no answer in time"),
    ],
)
async def test_a_failure_is_repeated_with_the_same_bytes(site: WebhookSite, failure: int) -> None:
    """At once, and then after a pause, until the receiver answers with success."""

    def fail_twice(_request: Request) -> int:
        return failure if len(receiver.requests) <= 2 else 200

    async with WebhookReceiver(CALLBACK_KEY, answer=fail_twice) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record(STARTED)
            await receiver.wait_for(lambda r: len(r.requests) == 3)
            await eventually(lambda: opened.counters.delivered)
        assert len({request.body for request in receiver.requests}) == 1
        first, second, third = (request.at for request in receiver.requests)
        timeout = site.settings.callbacks.timeout_s if failure == NO_ANSWER else 0
        assert second - first == pytest.approx(timeout, abs=0.3)
        assert third - second == pytest.approx(timeout + FAST_CALLBACKS.repeat_s, abs=0.3)


@pytest.mark.parametrize("status", [201, 202, 204, 299])
async def test_any_success_is_taken(site: WebhookSite, status: int) -> None:
    """RFC 9110, 15.3: every 2xx says that the request was accepted."""
    async with WebhookReceiver(CALLBACK_KEY, answer=lambda _request: status) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record(STARTED)
            await eventually(lambda: opened.counters.delivered + opened.counters.failed_attempts)
            assert opened.counters.failed_attempts == 0
    assert len(receiver.requests) == 1


async def test_a_repeated_event_does_not_hold_back_later_ones(site: WebhookSite) -> None:
    """The second event comes while the first is still being repeated."""

    def refuse_the_first(request: Request) -> int:
        return 500 if request.body == receiver.requests[0].body else 200

    async with WebhookReceiver(CALLBACK_KEY, answer=refuse_the_first) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(2)
            await receiver.wait_for(lambda r: len(r.requests) >= 5)
    counts = Counter(statuses(receiver))
    assert counts[1] == 1
    assert statuses(receiver).index(1) <= 2


async def test_a_slow_receiver_is_waited_for_a_second_at_most(site: WebhookSite) -> None:
    """Order is kept by starting in order; then the next event goes out without an answer."""
    site.callbacks = {"timeout_s": 5}
    async with WebhookReceiver(CALLBACK_KEY, answer=lambda _request: NO_ANSWER) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(7)
            await receiver.wait_for(lambda r: len(r.requests) == 7, within_s=4)
    assert statuses(receiver) == [0, 1, 0, 1, 0, 1, 0]
    waits = [b.at - a.at for a, b in itertools.pairwise(receiver.requests)]
    assert waits[0] == pytest.approx(1.0, abs=0.3)


async def test_a_dead_receiver_delays_no_other_app(site: WebhookSite) -> None:
    """One app's receiver never answers; another's gets its events at once."""
    async with (
        WebhookReceiver(CALLBACK_KEY, answer=lambda _request: NO_ANSWER) as dead,
        WebhookReceiver(CALLBACK_KEY) as alive,
    ):
        site.apps = [
            {"sdk_app_id": 1, "secret_key": "x", "callback_url": dead.url,
             "callback_key": CALLBACK_KEY},
            {"sdk_app_id": 2, "secret_key": "x", "callback_url": alive.url,
             "callback_key": CALLBACK_KEY},
        ]  # fmt: skip
        async with site.open() as opened:
            begun = asyncio.get_running_loop().time()
            for n in range(100):
                task = replace(TASK, task_id=f"dead{n}", sdk_app_id=1)
                await opened.record_starts(2, task)
            await dead.wait_for(lambda r: len(r.requests) >= 60)
            started = asyncio.get_running_loop().time()
            await opened.record_starts(20, replace(TASK, sdk_app_id=2))
            await alive.wait_for(lambda r: len(r.requests) == 20)
            assert asyncio.get_running_loop().time() - started < 2
            rounds = (asyncio.get_running_loop().time() - begun) / 0.5 + 2
            assert len(dead.requests) <= 64 * rounds  # so many under way at a time


async def test_unsent_events_survive_a_restart(site: WebhookSite) -> None:
    """What no receiver took is sent by the next process, to the URL of its settings, in order."""
    site.callback_url = "http://127.0.0.1:9/nobody"
    async with site.open() as opened:
        await opened.record_starts(10)
        await eventually(lambda: opened.counters.failed_attempts >= 3)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await receiver.wait_for(lambda r: len(r.events) == 10)
            await opened.none_waits()
    assert len(receiver.requests) == 10


async def test_events_are_given_up_after_the_retention(site: WebhookSite) -> None:
    """After the first minute (here 3 s) nothing is sent if nothing more is asked for."""
    async with WebhookReceiver(CALLBACK_KEY, answer=lambda _request: 500) as receiver:
        site.callback_url = receiver.url
        site.pace = replace(FAST_CALLBACKS, repeat_s=0.1, contract_s=0.35, retention_s=0)
        async with site.open() as opened:
            await opened.record(STARTED)
            await eventually(lambda: opened.counters.given_up)
            attempts = len(receiver.requests)
            await opened.none_waits()
    assert 3 <= attempts <= 5
    assert receiver.requests[-1].at - receiver.requests[0].at < 0.4


async def test_a_step_of_the_wall_clock_gives_up_no_event(site: WebhookSite) -> None:
    """Neither at once nor over a restart."""
    site.pace = replace(FAST_CALLBACKS, repeat_s=0.05, contract_s=0.1, late_first_s=0.1)
    clock = SteppingClock()
    site.callback_url = "http://127.0.0.1:9/nobody"
    async with site.open(clock) as opened:
        await opened.record_starts(1)
        await eventually(lambda: opened.counters.failed_attempts >= 3)
        clock.step_ms = 25 * 3_600_000
        await eventually(lambda: opened.counters.failed_attempts >= 5)
    clock.step_ms = 50 * 3_600_000
    async with site.open(clock) as opened:
        await eventually(lambda: opened.counters.failed_attempts >= 2)
        assert opened.counters.given_up == 0


async def test_events_of_an_app_that_no_longer_wants_them_are_given_up(site: WebhookSite) -> None:
    """The URL is gone from the settings: nothing can be sent, nothing is kept."""
    site.callback_url = "http://127.0.0.1:9/nobody"
    async with site.open() as opened:
        await opened.record_starts(3)
    site.callback_url = ""
    async with site.open() as opened:
        await eventually(lambda: opened.counters.given_up == 3)
