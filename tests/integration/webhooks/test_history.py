"""What was delivered is kept for a while, in one process; more of it is in test_listing.py."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.webhooks import keeper
from cloudslice.webhooks.history import EventQuery, ListedState
from cloudslice.webhooks.webhooks import NoReceiverError
from helpers.waiting import eventually
from helpers.webhook_site import APP, CALLBACK_KEY, FAST_CALLBACKS, OpenWebhooks, WebhookSite
from helpers.webhooks import Request, WebhookReceiver

ALL = EventQuery(APP)


@pytest.fixture
def site(tmp_path: Path) -> WebhookSite:
    return WebhookSite(tmp_path / "data")


def count_rows(site: WebhookSite) -> int:
    """Events on record, while nothing has the database open."""
    with closing(sqlite3.connect(site.path)) as connection:
        count: int
        (count,) = connection.execute("SELECT count(*) FROM webhooks").fetchone()
        return count


async def states(opened: OpenWebhooks) -> list[ListedState]:
    page = await opened.webhooks.find(ALL, 0, 100)
    return [event.state for event in page.events]


async def test_what_has_ended_is_listed(site: WebhookSite) -> None:
    """Delivered or given up, with the body that was sent; also after a restart."""

    def answer(request: Request) -> int:
        return 500 if request.event["EventInfo"]["Payload"]["Status"] else 200

    async with WebhookReceiver(CALLBACK_KEY, answer=answer) as receiver:
        site.callback_url = receiver.url
        site.pace = replace(FAST_CALLBACKS, repeat_s=0.1, contract_s=0.1, retention_s=0)
        async with site.open() as opened:
            await opened.record_starts(2)
            await opened.none_waits()
        async with site.open() as opened:
            assert await states(opened) == [ListedState.DELIVERED, ListedState.GIVEN_UP]
            (delivered, given_up) = (await opened.webhooks.find(ALL, 0, 100)).events
    assert delivered.body == receiver.requests[0].body
    assert (delivered.attempts, delivered.last_error) == (1, None)
    assert given_up.last_error == "HTTP status 500"
    assert given_up.attempts == len(receiver.requests) - 1


async def test_without_a_receiver_nothing_is_replayed(site: WebhookSite) -> None:
    async with site.open() as opened:
        with pytest.raises(NoReceiverError):
            await opened.webhooks.replay(ALL)


@pytest.mark.parametrize(
    "callbacks", [{"history_hours": 0}, {"history_mib": 0}], ids=["no time", "no size"]
)
async def test_nothing_is_kept_if_nothing_is_to_be_kept(
    site: WebhookSite, callbacks: dict[str, int]
) -> None:
    site.callbacks = callbacks
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        async with site.open() as opened:
            await opened.record_starts(5)
            await opened.none_waits()
            async with asyncio.timeout(10):
                while await states(opened):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    assert count_rows(site) == 0


async def test_no_more_is_kept_than_its_size_allows(site: WebhookSite) -> None:
    """The newest are; the bound holds over a restart."""
    site.callbacks = {"history_mib": 5 * 400 / 1024**2}
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site.callback_url = receiver.url
        for _ in range(2):
            async with site.open() as opened:
                await opened.record_starts(20)
                await opened.none_waits()
                async with asyncio.timeout(10):
                    while len(await states(opened)) > 5:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                newest = (await opened.webhooks.find(ALL, 0, 100)).events
    assert newest
    assert newest[-1].body == receiver.requests[-1].body


async def test_a_fault_of_the_keeper_is_passed_over(
    site: WebhookSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be deleted is deleted the next time."""
    monkeypatch.setattr(keeper, "_LOOK_EVERY_S", 0.05)
    calls = 0

    def fail_once(*_: object) -> tuple[int, bool]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError("a bug")
        return 0, False

    monkeypatch.setattr("cloudslice.webhooks.history.delete_oldest", fail_once)
    async with site.open():
        await eventually(lambda: calls >= 3)
